//! Who may do what: tokens with rights, or the scopes of a JWT that API Gateway has checked.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use switchboard_domain::{Name, PartyKind, Personal};
pub use switchboard_flow::api_token::{Right, Token};

use crate::problem::Problem;

/// Before a right in a JWT's scopes.
const SCOPE: &str = "switchboard/";

/// The caller of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The token's name, or the JWT's subject, for the audit line.
    pub name: String,
    rights: BTreeSet<Right>,
    /// The only employee in whose name they may place calls.
    pub employee: Option<String>,
    /// Whether there was neither token nor JWT.
    pub is_anonymous: bool,
}

impl Caller {
    /// A caller with some rights.
    pub fn new(name: &str, rights: impl IntoIterator<Item = Right>) -> Self {
        Self {
            name: name.to_owned(),
            rights: rights.into_iter().collect(),
            employee: None,
            is_anonymous: false,
        }
    }

    /// Who sent neither token nor JWT. It has no right.
    pub fn anonymous() -> Self {
        Self { is_anonymous: true, ..Self::new("anonymous", []) }
    }

    /// 404 for a path that is not served; 401 where nothing is known of the caller.
    pub fn unknown_path(&self) -> Problem {
        if self.is_anonymous { Problem::unauthenticated() } else { Problem::not_found("path") }
    }

    /// Whether they have a right.
    pub fn may(&self, right: Right) -> bool {
        self.rights.contains(&right)
    }

    /// A personal value as this caller may see it: masked without the right to it.
    pub fn show(&self, value: &Personal) -> String {
        if self.may(Right::Personal) { value.expose().to_owned() } else { value.masked() }
    }

    /// A personal value, if it is known.
    pub fn show_known(&self, value: Option<&Personal>) -> Option<String> {
        value.map(|value| self.show(value))
    }

    /// An address. What hides its number is no secret.
    pub fn show_address(&self, kind: PartyKind, address: &Personal) -> String {
        if kind == PartyKind::Anonymous { address.expose().to_owned() } else { self.show(address) }
    }

    /// Asks for a right.
    pub fn needs(&self, right: Right) -> Result<(), Problem> {
        match self.may(right) {
            true => Ok(()),
            false if self.is_anonymous => Err(Problem::unauthenticated()),
            false => Err(Problem::forbidden(right.as_str())),
        }
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
pub struct Access(pub BTreeMap<Name, Token>);

impl Access {
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
        Access(BTreeMap::from([(name, Token::parse(&json).unwrap())]))
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
}
