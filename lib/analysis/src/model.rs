//! The configured model: the JSON of the parameter `models/default`.

use std::fmt;

use serde::Deserialize;
use strum::IntoStaticStr;
use switchboard_domain::{ConfigError, Seconds, Secret};
use switchboard_http::address::leads_nowhere_public;
use url::Url;

/// The default limit of a response, tokens. Twelve scores with their quotes, a summary and ten tasks take
/// about half of it.
pub const DEFAULT_OUTPUT: u32 = 4_096;
/// The default limit of the transcript in a prompt, characters: about an hour and a half of talk.
pub const DEFAULT_TRANSCRIPT: u32 = 80_000;
/// The default timeout of a request.
pub const DEFAULT_TIMEOUT: Seconds = Seconds(45);
/// A worker must be able to ask twice within its time.
const LONGEST_TIMEOUT: u32 = 50;

/// A model.
#[derive(Clone, PartialEq, Eq)]
pub struct Model {
    /// The API and its settings.
    pub api: Api,
    /// The model's id there.
    pub id: String,
    /// The limit of a response, tokens.
    pub max_output_tokens: u32,
    /// The limit of the transcript in a prompt, characters.
    pub max_transcript_chars: u32,
    /// The timeout of a request.
    pub timeout: Seconds,
}

/// The API of a model.
#[derive(Clone, PartialEq, Eq)]
pub enum Api {
    /// Amazon Bedrock, with the function's own rights.
    Bedrock {
        /// The region, if not the function's own.
        region: Option<String>,
        /// Whether it is made to use the tool. Some models cannot be.
        force_tool: bool,
    },
    /// Chat completions as OpenAI has them.
    OpenAi {
        /// The base: `https://api.example.com/v1`, to which `/chat/completions` is added.
        base_url: Url,
        /// The key, if one is needed.
        api_key: Option<Secret>,
        /// The form of a response.
        answers: ResponseForm,
        /// The name of the field that limits the tokens of an answer.
        limit: &'static str,
    },
}

/// The form of a model's response.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResponseForm {
    /// As the arguments of a tool.
    #[default]
    Tool,
    /// As a text that is held to a schema.
    JsonSchema,
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Model").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The parameter as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    api: Kind,
    model: String,
    max_output_tokens: Option<u32>,
    max_transcript_chars: Option<u32>,
    timeout_seconds: Option<u32>,
    region: Option<String>,
    force_tool: Option<bool>,
    base_url: Option<String>,
    api_key: Option<Secret>,
    answers: Option<ResponseForm>,
    token_limit: Option<Limit>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Bedrock,
    #[serde(rename = "openai")]
    OpenAi,
}

#[derive(Clone, Copy, Deserialize, IntoStaticStr)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
enum Limit {
    MaxTokens,
    MaxCompletionTokens,
}

impl Model {
    /// Reads and checks the JSON of a model's parameter. With `allow_private`, for a stage on one's own
    /// machine, its address may be `http` and private.
    pub fn parse(json: &str, allow_private: bool) -> Result<Self, ConfigError> {
        let written: Written = ConfigError::read(json, "model")?;
        let is_id = |b: u8| b.is_ascii_alphanumeric() || b".:/_@+-".contains(&b);
        let id = written.model.clone();
        let has_id = !id.is_empty() && id.len() <= 2_048 && id.bytes().all(is_id);
        check(has_id, "model", "must be a model's id: letters, digits and . : / _ @ + -")?;
        let max_output_tokens = written.max_output_tokens.unwrap_or(DEFAULT_OUTPUT);
        let is_valid = (256..=32_768).contains(&max_output_tokens);
        check(is_valid, "max_output_tokens", "must be a whole number, 256 to 32768")?;
        let max_transcript_chars = written.max_transcript_chars.unwrap_or(DEFAULT_TRANSCRIPT);
        let is_valid = (1_000..=1_000_000).contains(&max_transcript_chars);
        check(is_valid, "max_transcript_chars", "must be a whole number, 1000 to 1000000")?;
        let timeout = written.timeout_seconds.map_or(DEFAULT_TIMEOUT, Seconds);
        let is_valid = (1..=LONGEST_TIMEOUT).contains(&timeout.0);
        check(is_valid, "timeout_seconds", "must be a whole number of seconds, 1 to 50")?;
        let api = match written.api {
            Kind::Bedrock => bedrock(written)?,
            Kind::OpenAi => openai(written, allow_private)?,
        };
        Ok(Self { api, id, max_output_tokens, max_transcript_chars, timeout })
    }
}

fn check(is_valid: bool, field: &str, problem: &str) -> Result<(), ConfigError> {
    if is_valid { Ok(()) } else { Err(ConfigError::new(field, problem)) }
}

fn bedrock(written: Written) -> Result<Api, ConfigError> {
    let only = "is for the api openai alone";
    check(written.base_url.is_none(), "base_url", only)?;
    check(written.api_key.is_none(), "api_key", only)?;
    check(written.answers.is_none(), "answers", only)?;
    check(written.token_limit.is_none(), "token_limit", only)?;
    let is_plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let is_region =
        |region: &String| (3..=32).contains(&region.len()) && region.bytes().all(is_plain);
    let has_region = written.region.as_ref().is_none_or(is_region);
    check(has_region, "region", "must be an AWS region, as eu-central-1")?;
    Ok(Api::Bedrock { region: written.region, force_tool: written.force_tool.unwrap_or(true) })
}

fn openai(written: Written, allow_private: bool) -> Result<Api, ConfigError> {
    let only = "is for the api bedrock alone";
    check(written.region.is_none(), "region", only)?;
    check(written.force_tool.is_none(), "force_tool", only)?;
    let is_header =
        |key: &Secret| !key.is_empty() && key.expose().bytes().all(|b| (b'!'..=b'~').contains(&b));
    let has_key = written.api_key.as_ref().is_none_or(is_header);
    check(has_key, "api_key", "must be of plain ASCII characters, without spaces")?;
    Ok(Api::OpenAi {
        base_url: read_url(written.base_url.as_deref(), allow_private)?,
        api_key: written.api_key,
        answers: written.answers.unwrap_or_default(),
        limit: written.token_limit.unwrap_or(Limit::MaxTokens).into(),
    })
}

fn read_url(text: Option<&str>, allow_private: bool) -> Result<Url, ConfigError> {
    let fault = |problem: &str| ConfigError::new("base_url", problem);
    let text = text.ok_or_else(|| fault("is missing: as https://api.example.com/v1"))?;
    let url = Url::parse(text).map_err(|_| fault("is no URL, as https://api.example.com/v1"))?;
    if !(url.scheme() == "https" || (allow_private && url.scheme() == "http")) {
        return Err(fault("must begin with https://"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(fault("must not hold a user: use api_key"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(fault("must end with its path: /chat/completions is added to it"));
    }
    if !allow_private && leads_nowhere_public(&url) {
        return Err(fault("must not lead to a private address"));
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEDROCK: &str = r#"{"api": "bedrock", "model": "eu.anthropic.claude-x-v1:0"}"#;
    const OPENAI: &str = r#"{"api": "openai", "model": "gpt-x", "base_url": "https://api.example.com/v1",
        "api_key": "fake-key"}"#;

    fn with(json: &str, more: &str) -> String {
        format!("{}, {more}}}", json.trim_end_matches('}'))
    }

    #[test]
    fn a_model_is_read_with_its_defaults() {
        let model = Model::parse(BEDROCK, false).unwrap();
        assert!(model.api == Api::Bedrock { region: None, force_tool: true });
        assert_eq!((model.max_output_tokens, model.max_transcript_chars), (4_096, 80_000));
        assert_eq!(model.timeout, Seconds(45));
        let model = Model::parse(OPENAI, false).unwrap();
        assert!(matches!(
            model.api,
            Api::OpenAi { answers: ResponseForm::Tool, limit: "max_tokens", .. }
        ));
        assert!(!format!("{model:?}").contains("fake"));
        let other =
            with(OPENAI, r#""answers": "json_schema", "token_limit": "max_completion_tokens""#);
        let limit = "max_completion_tokens";
        let model = Model::parse(&other, false).unwrap();
        assert!(
            matches!(model.api, Api::OpenAi { answers: ResponseForm::JsonSchema, limit: l, .. } if l == limit)
        );
        let arn = BEDROCK
            .replace("eu.", "arn:aws:bedrock:eu-central-1:123456789012:inference-profile/eu.");
        assert!(
            Model::parse(&with(&arn, r#""region": "eu-west-1", "force_tool": false"#), false)
                .is_ok()
        );
    }

    #[test]
    fn errors_name_the_field_and_show_no_value() {
        let private = OPENAI.replace("api.example.com", "10.0.0.1");
        assert!(Model::parse(&private.replace("https", "http"), true).is_ok());
        for (json, field) in [
            (private, "base_url"),
            (OPENAI.replace("https", "http"), "base_url"),
            (OPENAI.replace("https://", "https://user:fake-secret@"), "base_url"),
            (OPENAI.replace("/v1", "/v1?key=fake-secret"), "base_url"),
            (OPENAI.replace("fake-key", "fake secret"), "api_key"),
            (OPENAI.replace("\"api_key\"", "\"apikey\""), "apikey"),
            (with(OPENAI, r#""region": "eu-central-1""#), "region"),
            (with(OPENAI, r#""force_tool": true"#), "force_tool"),
            (with(OPENAI, r#""answers": "fake-secret""#), "answers"),
            (with(BEDROCK, r#""api_key": "fake-secret""#), "api_key"),
            (with(BEDROCK, r#""base_url": "https://x.example""#), "base_url"),
            (with(BEDROCK, r#""region": "EU""#), "region"),
            (with(BEDROCK, r#""max_output_tokens": 5"#), "max_output_tokens"),
            (with(BEDROCK, r#""max_transcript_chars": 5"#), "max_transcript_chars"),
            (with(BEDROCK, r#""timeout_seconds": 51"#), "timeout_seconds"),
            (with(BEDROCK, r#""timeout_seconds": "fake-secret""#), "timeout_seconds"),
            (BEDROCK.replace("eu.", "eu "), "model"),
            (BEDROCK.replace("bedrock", "other"), "api"),
            (format!("{BEDROCK} fake-secret"), "model"),
            ("{".into(), "model"),
        ] {
            let error = Model::parse(&json, false).unwrap_err();
            assert_eq!(error.field, field, "{json}: {error}");
            assert!(!error.to_string().contains("fake"), "{error}");
        }
    }
}
