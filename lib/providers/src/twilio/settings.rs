//! The members of a source's configuration that Twilio's sources have.

use serde::Deserialize;
use switchboard_domain::{ConfigError, Secret};

use crate::settings::{Checked, check_page_size, check_secrets};
use crate::source::Source;

/// Where the REST API is, unless the source has another `api_url` (data residency).
pub const API_URL: &str = "https://api.twilio.com";

/// Twilio's own settings of a source.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// How calls and recordings are listed.
    pub pull: Option<Pull>,
    /// With which credentials calls are placed.
    pub dial: Option<Dial>,
}

/// The member `pull`.
#[derive(Debug, Deserialize)]
#[serde(default)]
pub struct Pull {
    /// The account, `AC…`. Default: the account that a signing secret is bound to.
    pub account: Option<String>,
    /// The id of an API key (`SK…`), whose secret is then the token.
    pub key: Option<String>,
    /// The auth token, or the API key's secret. Default: the account's signing secret.
    pub token: Option<Secret>,
    /// How many records a page has.
    pub page_size: Option<u32>,
    /// Whether recordings are pulled too. Default true.
    pub recordings: bool,
}

impl Default for Pull {
    fn default() -> Self {
        Self { account: None, key: None, token: None, page_size: None, recordings: true }
    }
}

/// The credentials in the member `dial`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Dial {
    /// The account, `AC…`.
    pub account: Option<String>,
    /// The account's auth token.
    pub auth_token: Option<Secret>,
    /// In place of the auth token: an API key, `SK…`.
    pub api_key: Option<String>,
    /// Its secret.
    pub api_secret: Option<Secret>,
}

impl Checked for Settings {
    fn check(&self) -> Result<(), ConfigError> {
        let Some(pull) = &self.pull else { return Ok(()) };
        check_secrets(&[("pull.token", &pull.token)])?;
        check_page_size(pull.page_size)
    }
}

impl Pull {
    /// The account, which is safe in a path.
    pub fn account<'a>(&'a self, source: &'a Source) -> Result<&'a str, ConfigError> {
        let bound = || source.secrets.iter().find_map(|secret| secret.account.as_deref());
        let missing = || ConfigError::new("pull.account", "is required: the account's SID, AC…");
        let account = self.account.as_deref().or_else(bound).ok_or_else(missing)?;
        if account.is_empty() || !account.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return Err(ConfigError::new("pull.account", "must be the account's SID, AC…"));
        }
        Ok(account)
    }

    /// The token: as set for pulling, else the account's signing secret.
    pub fn token<'a>(
        &'a self,
        source: &'a Source,
        account: &str,
    ) -> Result<&'a Secret, ConfigError> {
        if self.key.is_some() && self.token.is_none() {
            return Err(ConfigError::new("pull.token", "is required: the secret of pull.key"));
        }
        let signing = || {
            let mut secrets = source.secrets.iter();
            let fits = |of: &Option<String>| of.as_deref().is_none_or(|of| of == account);
            secrets.find(|secret| fits(&secret.account)).map(|secret| &secret.secret)
        };
        let missing = || ConfigError::new("pull.token", "is required: the account's auth token");
        self.token.as_ref().or_else(signing).ok_or_else(missing)
    }
}
