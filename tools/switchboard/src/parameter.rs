//! Sources, destinations, models, API tokens and lead rules in the Parameter Store.

use aws_sdk_ssm::Client;
use aws_sdk_ssm::types::ParameterType;
use serde_json::Value;
use switchboard_flow::{Configuration, Values, configuration};
use switchboard_shell::parameters::Parameters;

use crate::Failure;

/// Fields whose values are secrets, at any depth.
const SECRET_FIELDS: [&str; 15] = [
    "keys",
    "secrets",
    "secret",
    "api_key",
    "signing_secrets",
    "token",
    "tokens",
    "password",
    "value",
    "auth_token",
    "api_secret",
    "client_secret",
    "refresh_token",
    "access_token",
    "private_key",
];

/// Checks a parameter as the functions that read it will.
pub fn check(name: &str, json: &str, allow_private: bool) -> Result<(), Failure> {
    configuration::check(name, json, allow_private)
        .map_err(|problem| Failure::Wrong(format!("{name}: {problem}")))
}

/// The parameters of one stage.
pub struct Stage {
    client: Client,
    prefix: String,
    /// Whether destinations may be on one's own machine.
    is_local: bool,
}

impl Stage {
    /// The parameters of a stage.
    pub fn new(client: Client, stage: &str) -> Self {
        Self { client, prefix: format!("/switchboard/{stage}"), is_local: stage == "local" }
    }

    /// Writes a parameter, encrypted.
    pub async fn put(&self, name: &str, json: &str) -> Result<(), Failure> {
        let put = self.client.put_parameter().name(format!("{}/{name}", self.prefix));
        let put = put.value(json).r#type(ParameterType::SecureString).overwrite(true);
        let failed = |_| Failure::Aws(format!("{name} could not be written"));
        put.send().await.map(|_| ()).map_err(failed)
    }

    /// The names of all parameters.
    pub async fn list(&self) -> Result<String, Failure> {
        let values = Parameters::new(self.client.clone()).under(&self.prefix).await;
        let values = values.map_err(|error| Failure::Aws(error.to_string()))?;
        let names: Vec<String> = values.into_keys().collect();
        let none = || format!("nothing is configured under {}", self.prefix);
        Ok(if names.is_empty() { none() } else { names.join("\n") })
    }

    /// Every source, as the functions read it. An invalid source is an error here: its messages would be
    /// parsed without its time zone.
    pub async fn sources(&self) -> Result<Configuration, Failure> {
        sources(&self.values("sources").await?)
    }

    /// Every source and, as deliver has them, every destination: an invalid one has no settings.
    pub async fn configuration(&self) -> Result<Configuration, Failure> {
        let mut configuration = self.sources().await?;
        for (name, json) in self.values("destinations").await? {
            // Its name is known all the same.
            let _ = configuration.add(&format!("destinations/{name}"), &json, self.is_local);
        }
        Ok(configuration)
    }

    /// The JSON of everything in a folder, by its name there.
    pub async fn values(&self, folder: &str) -> Result<Values, Failure> {
        let path = format!("{}/{folder}", self.prefix);
        let values = Parameters::new(self.client.clone()).under(&path).await;
        values.map_err(|error| Failure::Aws(error.to_string()))
    }

    /// Checks that a parameter exists, without decrypting it.
    pub async fn find(&self, name: &str) -> Result<(), Failure> {
        let get = self.client.get_parameter().name(format!("{}/{name}", self.prefix));
        get.send().await.map(|_| ()).map_err(|error| match error.as_service_error() {
            Some(error) if error.is_parameter_not_found() => {
                Failure::Wrong(format!("{name} is not configured"))
            }
            _ => Failure::Aws(format!("{name} could not be read")),
        })
    }

    /// A parameter with masked secrets.
    pub async fn show(&self, name: &str) -> Result<String, Failure> {
        let get = self.client.get_parameter().name(format!("{}/{name}", self.prefix));
        let answer = get.with_decryption(true).send().await;
        let answer = answer.map_err(|_| Failure::Aws(format!("{name} could not be read")))?;
        let json = answer.parameter.and_then(|parameter| parameter.value).unwrap_or_default();
        masked(&json)
    }
}

/// Sources, named `<provider>/<source>`.
pub fn sources(values: &Values) -> Result<Configuration, Failure> {
    let mut configuration = Configuration::default();
    for (name, json) in values {
        let path = format!("sources/{name}");
        let read = configuration.add(&path, json, false);
        read.map_err(|error| Failure::Wrong(format!("{path}: {error}")))?;
    }
    Ok(configuration)
}

fn masked(json: &str) -> Result<String, Failure> {
    let not_json = |_| Failure::Wrong("the stored value is not JSON".to_owned());
    let mut value: Value = serde_json::from_str(json).map_err(not_json)?;
    mask(&mut value, false);
    serde_json::to_string_pretty(&value).map_err(not_json)
}

/// Masks every text under a secret field. An account's name beside its secret stays.
fn mask(value: &mut Value, is_secret: bool) {
    match value {
        Value::String(text) if is_secret => "[secret]".clone_into(text),
        Value::Array(items) => items.iter_mut().for_each(|item| mask(item, is_secret)),
        Value::Object(fields) => {
            for (name, field) in fields {
                mask(field, SECRET_FIELDS.contains(&name.as_str()));
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_functions_would_refuse_is_refused_here() {
        let twilio = r#"{"secrets": ["fake"], "public_url": "https://calls.example.com"}"#;
        let hubspot = r#"{"format": "hubspot", "auth": {"type": "bearer", "token": "fake"}}"#;
        assert!(check("destinations/crm", hubspot, false).is_ok());
        assert!(check("sources/twilio/main", twilio, false).is_ok());
        let both = r#"{"tokens": ["fake-token-of-a-crm-0001", "fake-token-of-a-crm-0002"], "rights": ["read"]}"#;
        assert!(check("api/crm", both, false).is_ok());
        let own = r#"{"country": "AU", "own_numbers": ["02 5550 1234", "+61255501235"]}"#;
        assert!(check("sources/intake/main", own, false).is_ok());
        assert!(check("leads/rules", r#"{"statuses": ["new"]}"#, false).is_ok());
        let model = r#"{"api": "bedrock", "model": "eu.anthropic.claude-haiku-4-5-20251001-v1:0"}"#;
        assert!(check("models/default", model, false).is_ok());
        let analyze =
            r#"{"analyze": {"criteria": [{"name": "greeting", "description": "Says who."}]}}"#;
        assert!(check("sources/intake/main", analyze, false).is_ok());
        let no_account = twilio.replace('}', r#", "pull": {}}"#);
        for (name, json, problem) in [
            ("sources/twilio/main", r#"{"secrets": ["fake"]}"#, "public_url: is required"),
            ("sources/twilio/main", &no_account, "pull.account: is required"),
            ("sources/fmc/fmc", r#"{"pull": {}}"#, "pull: this provider has none"),
            ("sources/twillio/main", twilio, "there is no provider twillio"),
            ("sources/twilio/a b", twilio, "source has a character"),
            ("source/twilio", twilio, "must be sources/<provider>/<source>"),
            (
                "sources/intake/main",
                r#"{"country": "AU", "own_numbers": ["0255501234", "025550"]}"#,
                "own_numbers: holds one that is not a possible number",
            ),
            ("leads/rules", r#"{"statuses": []}"#, "leads/rules: statuses: is empty"),
            ("destinations/crm", r#"{"url": "http://crm.example.com"}"#, "destinations/crm: "),
            (
                "destinations/crm",
                r#"{"format": "hubspot", "auth": {"type": "bearer", "token": "fake"},
                    "deduplication": "search"}"#,
                "deduplication: must be upsert or none, and not search",
            ),
            (
                "destinations/crm",
                r#"{"format": "salesforce", "url": "https://x.my.salesforce.com", "auth":
                    {"type": "oauth_jwt", "client_id": "x", "user": "x", "private_key": "fake"}}"#,
                "auth.private_key: must be an RSA private key",
            ),
            (
                "destinations/crm",
                r#"{"format": "hubspot", "auth": {"type": "bearer", "token": "fake"},
                    "settings": {"property": "fake Property"}}"#,
                "settings.property: must be",
            ),
            ("tokens/crm", "{}", "must be sources/"),
            ("sources/twilio/main", "{", "is not valid JSON"),
            ("models/default", r#"{"api": "openai", "model": "x"}"#, "base_url: is missing"),
            ("models/other", r#"{"api": "bedrock", "model": "x"}"#, "must be sources/"),
            (
                "sources/intake/main",
                r#"{"analyze": {"wait_seconds": 9999}}"#,
                "analyze.wait_seconds: must be",
            ),
            ("api/a b", "{}", "token has a character"),
            ("api/crm", r#"{"tokens": ["fake-short"], "rights": ["read"]}"#, "under 24 characters"),
            ("api/crm", r#"{"tokens": ["fake-token-of-a-crm-0001"], "rights": []}"#, "rights: "),
            ("api/crm/x", "{}", "api/<token>, leads/rules or recordings/links"),
            (
                "recordings/links",
                r#"{"url": "https://api.example.com", "keys": ["fake"], "days": 3}"#,
                "recordings/links: keys: holds",
            ),
        ] {
            let error = check(name, json, false).unwrap_err().to_string();
            assert!(error.contains(problem) && !error.contains("fake"), "{error}");
        }
    }

    #[test]
    fn no_secret_is_shown() {
        let shown = masked(
            r#"{"secrets": ["fake-1", {"secret": "fake-2", "account": "AC1"}], "api_key": "fake-3",
                "auth": {"type": "header", "name": "X-Key", "value": "fake-4"},
                "signing_secrets": ["fake-5"], "country": "AU",
                "tokens": ["fake-6", "fake-7"], "rights": ["read"], "keys": ["fake-8"]}"#,
        )
        .unwrap();
        let refresh = r#"{"format": "hubspot", "auth": {"type": "oauth_refresh", "client_id": "AC1",
            "client_secret": "fake-8", "refresh_token": "fake-9"}, "contacts": "find"}"#;
        let jwt = r#"{"auth": {"type": "oauth_jwt", "user": "AU", "private_key": "fake-10"}}"#;
        let kept = r#"{"access_token": "fake-11", "refresh_token": "fake-12", "of": "read"}"#;
        for json in [refresh, jwt, kept] {
            let shown = masked(json).unwrap();
            assert!(!shown.contains("fake") && shown.contains("[secret]"), "{shown}");
        }
        assert!(!shown.contains("fake"), "{shown}");
        for kept in ["AC1", "X-Key", "header", "AU", "read"] {
            assert!(shown.contains(kept), "{shown}");
        }
    }
}
