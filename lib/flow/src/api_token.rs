//! Tokens of the API as they are configured: the parameters `api/<name>`.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use switchboard_domain::{ConfigError, Name, Secret};

use crate::config::name_of;

/// Shorter tokens can be guessed.
const SHORTEST_TOKEN: usize = 24;

/// What a caller may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Right {
    /// See calls, the directory and jobs, personal values masked.
    Read,
    /// See personal values as they are, with [`Right::Read`].
    Personal,
    /// Deliver calls again.
    Deliver,
    /// Say what a call is about.
    Context,
    /// Change contacts, employees and leads.
    Directory,
    /// Place and end calls.
    Dial,
    /// Pull calls from providers.
    Sync,
}

impl Right {
    /// Every right.
    pub const ALL: [Self; 7] = [
        Self::Read,
        Self::Personal,
        Self::Deliver,
        Self::Context,
        Self::Directory,
        Self::Dial,
        Self::Sync,
    ];

    /// As it is configured: `read`, `personal`, …
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Personal => "personal",
            Self::Deliver => "deliver",
            Self::Context => "context",
            Self::Directory => "directory",
            Self::Dial => "dial",
            Self::Sync => "sync",
        }
    }
}

/// One caller's tokens, as they are configured: the JSON of one parameter under `api/`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Token {
    /// What opens. Several during a rotation.
    pub tokens: Vec<Secret>,
    /// What they open.
    pub rights: BTreeSet<Right>,
    /// The only employee in whose name calls may be placed with it, by the id in the directory.
    #[serde(default)]
    pub employee: Option<String>,
}

impl Token {
    /// Reads and checks a parameter: the name of the token, and its JSON.
    pub fn read(name: &str, json: &str) -> Result<(Name, Self), ConfigError> {
        Ok((name_of("token", name)?, Self::parse(json)?))
    }

    /// Reads and checks the JSON of a parameter.
    pub fn parse(json: &str) -> Result<Self, ConfigError> {
        let token: Self = serde_json::from_str(json).map_err(|error| {
            let place = format!("line {}, column {}", error.line(), error.column());
            ConfigError::new("token", format!("cannot be read: tokens and rights ({place})"))
        })?;
        if token.tokens.is_empty() {
            return Err(ConfigError::new("tokens", "is empty: it would open nothing"));
        }
        if token.tokens.iter().any(|token| token.expose().len() < SHORTEST_TOKEN) {
            return Err(ConfigError::new("tokens", "holds one of under 24 characters"));
        }
        if token.rights.is_empty() {
            return Err(ConfigError::new("rights", "is empty: it would allow nothing"));
        }
        Ok(token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_that_opens_nothing_or_too_easily_is_refused() {
        for (json, field) in [
            (r#"{"tokens": [], "rights": ["read"]}"#, "tokens: "),
            (r#"{"tokens": ["fake-short"], "rights": ["read"]}"#, "tokens: "),
            (r#"{"tokens": ["fake-token-of-an-operator-1"], "rights": []}"#, "rights: "),
            (r#"{"tokens": ["fake-token-of-an-operator-1"], "rights": ["all"]}"#, "token: "),
            ("fake", "token: "),
        ] {
            let said = Token::parse(json).unwrap_err().to_string();
            assert!(said.starts_with(field) && !said.contains("fake"), "{said}");
        }
    }
}
