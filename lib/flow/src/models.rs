//! Asking a model: Amazon Bedrock, or any endpoint of chat completions as OpenAI has them.
//!
//! What is asked and what a response means is decided in `switchboard-analysis`; here it is sent.
//! Bedrock gets one signed request: its SDK would add a crate of its own with streams and all its types to
//! what the SDKs of DynamoDB and SQS have brought already, the signature among it.

use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_credential_types::provider::ProvideCredentials as _;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use aws_types::SdkConfig;
use http::Method;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue};
use jiff::Timestamp;
use switchboard_analysis::model::Api;
use switchboard_analysis::reply::Received;
use switchboard_analysis::{Model, Prompt, Reply, bedrock, chat};
use switchboard_http::{Client, ClientError, Http as _, Limits, Request};
use url::Url;

/// A response is a few kilobytes; what is larger is none.
const LARGEST_RESPONSE: usize = 1024 * 1024;

/// The models of both APIs.
pub struct Models {
    aws: SdkConfig,
    /// Where Bedrock is, if it is not in its usual place.
    bedrock_url: Option<String>,
    bedrock: Client,
    chat: Client,
}

impl Models {
    /// With the function's own region and rights. `allow_private` is for the local stage alone.
    /// `bedrock_url` is where Bedrock is, if it is not in its usual place.
    pub fn new(
        aws: &SdkConfig,
        bedrock_url: Option<String>,
        allow_private: bool,
    ) -> Result<Self, ClientError> {
        Ok(Self {
            aws: aws.clone(),
            bedrock_url: bedrock_url.or_else(|| aws.endpoint_url().map(str::to_owned)),
            // Its address is ours and not a parameter's, and a private one where the region's endpoint is
            // one of the operator's own network.
            bedrock: Client::new(true)?,
            chat: Client::new(allow_private)?,
        })
    }

    /// Asks once; `now` is what a signature and `Retry-After` count from.
    pub async fn ask(&self, model: &Model, prompt: &Prompt, now: Timestamp) -> Reply {
        type Read = fn(Received<'_>) -> Reply;
        let (request, client, read) = match &model.api {
            Api::Bedrock { .. } => {
                (self.to_bedrock(model, prompt, now).await, &self.bedrock, bedrock::read as Read)
            }
            Api::OpenAi { .. } => (to_chat(model, prompt), &self.chat, chat::read as Read),
        };
        let trouble = |problem: String| Reply::Trouble { problem, not_before: None };
        let Some(mut request) = request else {
            return trouble("the request to the model cannot be made: check its settings".into());
        };
        let timeout = Duration::from_secs(model.timeout.0.into());
        request.limits = Limits { timeout, largest: LARGEST_RESPONSE };
        match client.send(request).await {
            Ok(response) => read(Received {
                status: response.status,
                retry_after: response.header("retry-after"),
                body: &response.body,
                at: now,
            }),
            Err(error) => trouble(format!("the model did not answer: {error}")),
        }
    }

    async fn to_bedrock(&self, model: &Model, prompt: &Prompt, now: Timestamp) -> Option<Request> {
        let Api::Bedrock { region, force_tool } = &model.api else { return None };
        let own = self.aws.region().map(|region| region.as_ref().to_owned());
        let region = region.clone().or(own)?;
        let suffix = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
        let usual = || format!("https://bedrock-runtime.{region}.{suffix}");
        let base = self.bedrock_url.clone().unwrap_or_else(usual);
        let path = bedrock::path(&model.id);
        let url = Url::parse(&format!("{}{path}", base.trim_end_matches('/'))).ok()?;
        let body = bedrock::body(model, prompt, *force_tool);
        let credentials = self.aws.credentials_provider()?.provide_credentials().await.ok()?;
        let signature = signature(&url, &body, &region, credentials, now)?;
        let mut request = post(url, body);
        for (name, value) in signature {
            with_secret(&mut request, HeaderName::from_static(name), &value)?;
        }
        Some(request)
    }
}

fn to_chat(model: &Model, prompt: &Prompt) -> Option<Request> {
    let Api::OpenAi { base_url, api_key, answers, limit } = &model.api else { return None };
    let mut url = base_url.clone();
    url.path_segments_mut().ok()?.pop_if_empty().extend(["chat", "completions"]);
    let mut request = post(url, chat::body(model, prompt, *answers, limit));
    if let Some(key) = api_key {
        with_secret(&mut request, AUTHORIZATION, &format!("Bearer {}", key.expose()))?;
    }
    Some(request)
}

/// Adds a header that no log may show.
fn with_secret(request: &mut Request, name: HeaderName, value: &str) -> Option<()> {
    let mut value = HeaderValue::from_str(value).ok()?;
    value.set_sensitive(true);
    request.headers.insert(name, value);
    Some(())
}

const JSON: &str = "application/json";

fn post(url: Url, body: Vec<u8>) -> Request {
    Request::new(Method::POST, url).with_body(HeaderValue::from_static(JSON), body)
}

/// The headers that sign a request to Bedrock (AWS Signature Version 4).
fn signature(
    url: &Url,
    body: &[u8],
    region: &str,
    credentials: Credentials,
    now: Timestamp,
) -> Option<Vec<(&'static str, String)>> {
    let identity = credentials.into();
    let parameters = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name("bedrock")
        .time(SystemTime::from(now))
        .settings(SigningSettings::default())
        .build()
        .ok()?
        .into();
    let headers = [(CONTENT_TYPE.as_str(), JSON)].into_iter();
    let request =
        SignableRequest::new("POST", url.as_str(), headers, SignableBody::Bytes(body)).ok()?;
    let (instructions, _) = sign(request, &parameters).ok()?.into_parts();
    let (headers, _) = instructions.into_parts();
    Some(headers.into_iter().map(|header| (header.name(), header.value().to_owned())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Computed with botocore, which the AWS command line signs with.
    #[test]
    fn a_signature_is_the_one_that_another_signer_makes() {
        let arn = "arn:aws:bedrock:eu-central-1:123456789012:inference-profile/eu.fake-v1:0";
        for (model, expected) in [
            ("fake.model-v1:0", "8d0873212b8a594e36cc48631a1183a3c735dda9a673c7d9d7697b0a87a0e18b"),
            (arn, "a6e44803663020575b0150e7171c5d29789987662133909ce8e8061f4fdea90c"),
        ] {
            let base = "https://bedrock-runtime.eu-central-1.amazonaws.com";
            let url = Url::parse(&format!("{base}{}", bedrock::path(model))).unwrap();
            let session = Some("fake-session".to_owned());
            let keys = Credentials::new("AKIDFAKE", "fake-key", session, None, "test");
            let now = "2026-02-20T09:30:00Z".parse().unwrap();
            let headers = signature(&url, b"{\"fake\":1}", "eu-central-1", keys, now).unwrap();
            let signed = headers.iter().find(|(name, _)| *name == "authorization").unwrap();
            assert!(signed.1.ends_with(&format!("Signature={expected}")), "{model}: {}", signed.1);
        }
    }
}
