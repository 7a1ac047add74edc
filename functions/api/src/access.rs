//! Who may do what: tokens with rights, or the scopes of a JWT that API Gateway has checked.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use switchboard_domain::{ConfigError, Name, Secret};

use crate::problem::Problem;

/// Fewer characters can be guessed.
const SHORTEST_TOKEN: usize = 24;
/// Before a right in a JWT's scopes.
const SCOPE: &str = "switchboard/";

/// What a caller may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Right {
    /// See calls, the directory and jobs, personal values masked.
    Read,
    /// See personal values as they are, with [`Right::Read`].
    Personal,
    /// Have calls told to destinations again.
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

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The token's name, or the JWT's subject, for the audit line.
    pub name: String,
    rights: BTreeSet<Right>,
    /// The only employee in whose name they may place calls.
    pub employee: Option<String>,
}

impl Caller {
    /// A caller with some rights.
    pub fn new(name: &str, rights: impl IntoIterator<Item = Right>) -> Self {
        Self { name: name.to_owned(), rights: rights.into_iter().collect(), employee: None }
    }

    /// Whether they have a right.
    pub fn may(&self, right: Right) -> bool {
        self.rights.contains(&right)
    }

    /// Asks for a right.
    pub fn needs(&self, right: Right) -> Result<(), Problem> {
        if self.may(right) { Ok(()) } else { Err(Problem::forbidden(right.as_str())) }
    }

    /// The caller that a checked JWT speaks for: its scopes `switchboard/<right>` are their rights.
    pub fn of_jwt(subject: &str, scopes: &str, employee: Option<&str>) -> Self {
        let granted: BTreeSet<&str> =
            scopes.split_whitespace().filter_map(|scope| scope.strip_prefix(SCOPE)).collect();
        let rights = Right::ALL.into_iter().filter(|right| granted.contains(right.as_str()));
        Self { employee: employee.map(str::to_owned), ..Self::new(subject, rights) }
    }
}

/// All tokens.
#[derive(Clone, Debug, Default)]
pub struct Access(BTreeMap<Name, Token>);

impl Access {
    /// Over the tokens that are configured.
    pub fn new(tokens: BTreeMap<Name, Token>) -> Self {
        Self(tokens)
    }

    /// Who a token is. Every token is compared, and as long whatever the values are: what is
    /// compared are digests.
    pub fn caller(&self, authorization: Option<&str>) -> Result<Caller, Problem> {
        let sent = authorization
            .and_then(|value| value.trim().split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| token.trim())
            .filter(|token| !token.is_empty())
            .ok_or_else(Problem::unauthenticated)?;
        let sent = Sha256::digest(sent);
        let mut found = None;
        for (name, token) in &self.0 {
            for one in &token.tokens {
                if bool::from(sent.ct_eq(&Sha256::digest(one.expose()))) {
                    found = Some((name, token));
                }
            }
        }
        let (name, token) = found.ok_or_else(Problem::unauthenticated)?;
        let employee = token.employee.clone();
        Ok(Caller { employee, ..Caller::new(name.as_str(), token.rights.iter().copied()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "fake-token-of-an-operator-1";
    const OLD: &str = "fake-token-of-an-operator-0";

    fn access() -> Access {
        let json = format!(r#"{{"tokens": ["{TOKEN}", "{OLD}"], "rights": ["read", "deliver"]}}"#);
        let name = Name::new("token", "operator").unwrap();
        Access::new(BTreeMap::from([(name, Token::parse(&json).unwrap())]))
    }

    #[test]
    fn a_token_opens_its_rights_and_the_old_one_too() {
        for token in [TOKEN, OLD] {
            let caller = access().caller(Some(&format!("bearer  {token}"))).unwrap();
            assert_eq!(caller.name, "operator");
            assert!(caller.needs(Right::Read).is_ok() && caller.needs(Right::Deliver).is_ok());
            assert_eq!(caller.needs(Right::Dial).unwrap_err().status, 403);
        }
    }

    #[test]
    fn nothing_else_opens() {
        for sent in
            [None, Some(""), Some("Bearer "), Some("Basic Zm9v"), Some("Bearer fake"), Some(TOKEN)]
        {
            assert_eq!(access().caller(sent).unwrap_err().status, 401, "{sent:?}");
        }
        let shortened = format!("Bearer {}", &TOKEN[..26]);
        assert_eq!(access().caller(Some(&shortened)).unwrap_err().status, 401);
        assert_eq!(Access::default().caller(Some("Bearer x")).unwrap_err().status, 401);
    }

    #[test]
    fn a_jwt_gives_the_rights_that_its_scopes_name() {
        let caller =
            Caller::of_jwt("kim", "openid switchboard/read switchboard/dial dial", Some("e1"));
        assert!(caller.may(Right::Read) && caller.may(Right::Dial) && !caller.may(Right::Sync));
        assert_eq!(caller.employee.as_deref(), Some("e1"));
        assert!(!Caller::of_jwt("kim", "read", None).may(Right::Read));
    }

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
