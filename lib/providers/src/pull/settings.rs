//! What a source must say so that its calls can be pulled: its member `pull`.

use std::collections::BTreeMap;

use serde::Deserialize;
use switchboard_domain::{ConfigError, Secret};

/// How to reach a provider's REST interface. Which members a provider needs is on its page.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Whether the schedule looks for calls whose webhook never came. Default true.
    pub reconcile: bool,
    /// The account (Twilio's `AC…`).
    pub account: Option<String>,
    /// The id of an API key (Twilio's `SK…`), whose secret is then the token.
    pub key: Option<String>,
    /// The token or API key's secret.
    pub token: Option<Secret>,
    /// With whom to log in, where there is no token.
    pub email: Option<String>,
    /// And with what.
    pub password: Option<Secret>,
    /// Where the interface is, where that is not the same for all.
    pub url: Option<String>,
    /// Parameters of the address that differ from the usual ones; an empty one is left out.
    pub parameters: BTreeMap<String, String>,
    /// The header that carries the token, where it is no parameter.
    pub header: Option<String>,
    /// Whose calls, at a provider of several.
    pub tenant: Option<String>,
    /// In what format the interface answers. Default `csv`.
    pub format: Format,
    /// How it wants dates, in `strftime`'s way. Default `%Y-%m-%d`.
    pub date_format: Option<String>,
    /// How many records a page has.
    pub page_size: Option<u32>,
    /// Whether recordings are pulled too. Default true.
    pub recordings: bool,
}

/// The format of a list of calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// A line of names, and a line for each record.
    #[default]
    Csv,
    /// A list of objects, or an object with one.
    Json,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            reconcile: true,
            account: None,
            key: None,
            token: None,
            email: None,
            password: None,
            url: None,
            parameters: BTreeMap::new(),
            header: None,
            tenant: None,
            format: Format::default(),
            date_format: None,
            page_size: None,
            recordings: true,
        }
    }
}

impl Settings {
    /// What is wrong whatever the provider.
    pub fn check(&self) -> Result<(), ConfigError> {
        for (field, secret) in [("pull.token", &self.token), ("pull.password", &self.password)] {
            if secret.as_ref().is_some_and(Secret::is_empty) {
                return Err(ConfigError::new(field, "is empty: leave it out"));
            }
        }
        if let Some(url) = &self.url {
            let is_address = url.starts_with("https://") || url.starts_with("http://");
            if !is_address || url.contains(['?', '#', '@', ' ']) {
                let problem = "must be https://host/path without query or user";
                return Err(ConfigError::new("pull.url", problem));
            }
        }
        if let Some(format) = &self.date_format {
            let sample = jiff::civil::datetime(2026, 2, 20, 9, 30, 0, 0);
            if jiff::fmt::strtime::format(format, sample).is_err() {
                let problem = "cannot write a date: as %Y-%m-%d or %d/%m/%Y %H:%M:%S";
                return Err(ConfigError::new("pull.date_format", problem));
            }
        }
        if self.page_size.is_some_and(|size| !(1..=1_000).contains(&size)) {
            return Err(ConfigError::new("pull.page_size", "must be 1 to 1000"));
        }
        Ok(())
    }
}
