//! A source's configuration: its JSON, read once into typed settings and checked by its provider.

use switchboard_domain::{ConfigError, Policy, Seconds};

use crate::provider::Provider;
use crate::settings::{read, shown};
use crate::source::Source;

/// Members that belong to some providers. A source of another provider may have them, without effect.
const PROVIDERS_OWN: [&str; 7] =
    ["agents", "api_key", "calls", "date_order", "dial", "pull", "start_tolerance_seconds"];

impl Source {
    /// Reads and checks the JSON of a source's parameter. `provider` is absent for systems that
    /// only send (no webhook of their own here).
    pub fn parse(json: &str, provider: Option<&dyn Provider>) -> Result<Self, ConfigError> {
        let source = Self::read(json, provider)?;
        source.check()?;
        if let Some(provider) = provider {
            if provider.is_signed() && !source.trusted_networks.is_empty() {
                let problem = "cannot be: this provider signs, and only its signature opens";
                return Err(ConfigError::new("trusted_networks", problem));
            }
            provider.check(&source)?;
        }
        Ok(source)
    }

    /// Reads the JSON of a source without checking more than its types and the names of its members.
    pub fn read(json: &str, provider: Option<&dyn Provider>) -> Result<Self, ConfigError> {
        let (mut source, ignored) = read::<Self>(json)?;
        if let Some(provider) = provider {
            source.own = provider.settings(json)?;
        }
        match unknown(&ignored, source.own.ignored()) {
            Some(path) => Err(ConfigError::new(shown(path), "is unknown")),
            None => Ok(source),
        }
    }

    /// How this source's calls are folded and delivered.
    pub fn policy(&self, provider: &dyn Provider) -> Policy {
        let settle = self.settle_seconds.map_or_else(|| provider.settle(), Seconds);
        Policy { settle, legs: self.legs, starts: self.announce_starts }
    }
}

/// The first member that neither the source nor its provider knows. `common` and `own` are the paths
/// that each of them ignored; `own` is `None` where no provider read its settings.
fn unknown<'a>(common: &'a [String], own: Option<&'a [String]>) -> Option<&'a str> {
    let is_within = |path: &str, other: &str| {
        path.strip_prefix(other).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    let is_in = |path: &str, ignored: &[String]| ignored.iter().any(|one| is_within(path, one));
    let of_another_provider = |path: &&String| {
        let root = path.split('.').next().unwrap_or_default();
        let is_ignored = own.is_none_or(|own| own.iter().any(|one| one == root));
        PROVIDERS_OWN.contains(&root) && is_ignored
    };
    let by_both = common.iter().filter(|path| own.is_none_or(|own| is_in(path, own)));
    let deeper = own.unwrap_or_default().iter().filter(|path| is_in(path, common));
    by_both.chain(deeper).find(|path| !of_another_provider(path)).map(String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(json: &str) -> String {
        Source::parse(json, None).unwrap_err().to_string()
    }

    #[test]
    fn a_full_source_is_read() {
        let source = Source::parse(
            r#"{"secrets": ["fake-new", {"secret": "fake-old", "account": "AC1"}],
                "public_url": "https://calls.example.com/prod", "country": "AU",
                "time_zone": "Australia/Sydney", "allowed_networks": ["203.0.113.0/24"],
                "legs": "each", "settle_seconds": 5,
                "conversations": {"source": "elevenlabs"}}"#,
            None,
        )
        .unwrap();
        assert_eq!(source.secrets[1].account.as_deref(), Some("AC1"));
        assert_eq!(source.conversations.unwrap().patience().wait, Seconds(600));
    }

    #[test]
    fn errors_name_the_field_and_show_no_value() {
        assert_eq!(problem(r#"{"country": "au"}"#), "country: must be two capital letters, as AU");
        assert_eq!(
            problem(r#"{"time_zone": "Sydney"}"#),
            "time_zone: is not an IANA zone, as Australia/Sydney"
        );
        assert!(problem(r#"{"public_url": "https://user@x"}"#).starts_with("public_url: "));
        assert!(problem(r#"{"public_url": "https://x/"}"#).starts_with("public_url: "));
        assert!(problem(r#"{"secrets": [""]}"#).starts_with("secrets: "));
        for numbers in
            [r#"["0255501234"]"#, r#"["+61255501234", "101"]"#, r#"["sip:a@b"]"#, r#"[""]"#]
        {
            let said = problem(&format!(r#"{{"own_numbers": {numbers}}}"#));
            assert!(said.starts_with("own_numbers: ") && !said.contains("0255501234"), "{said}");
        }
        let national = r#"{"country": "AU", "own_numbers": ["02 5550 1234", "+61255501235"]}"#;
        assert_eq!(Source::parse(national, None).unwrap().own_numbers.len(), 2);
        for (json, field) in [
            (r#"{"secret": "fake-and-not-to-be-shown"}"#, "secret: is unknown"),
            (r#"{"secrets": [{"secret": "fake", "acount": "fake"}]}"#, "secrets[0]: is unknown"),
            (
                r#"{"conversations": {"source": "elevenlabs", "wait_seconds": "fake"}}"#,
                "conversations.wait_seconds: is unknown or of a wrong type",
            ),
            (r#"{"country\":\"RU\",\"secrets\":[\"fake": 1}"#, "source: is unknown"),
        ] {
            let said = problem(json);
            assert!(said.starts_with(field) && !said.contains("fake"), "{said}");
        }
    }
}
