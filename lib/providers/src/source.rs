//! One installation of a provider, as it is configured: the JSON of one parameter.

use std::net::IpAddr;

use ipnet::IpNet;
use jiff::tz::TimeZone;
use serde::Deserialize;
use switchboard_domain::lookup::Patience;
use switchboard_domain::{
    ConfigError, Legs, Name, Party, PartyKind, Personal, Policy, Seconds, Secret,
};

use crate::Provider;

/// A source: what a hook and the workers know about one phone system.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Source {
    /// What opens this source. Several during a rotation; none refuses everything.
    pub secrets: Vec<Credential>,
    /// The address that the provider sends to, without the path: `https://calls.example.com`.
    /// Signatures that cover the URL are checked against it, never against the `Host` header.
    pub public_url: Option<String>,
    /// The country of national numbers: two capital letters (ISO 3166-1), as `AU`.
    pub country: Option<String>,
    /// The IANA time zone of wall clocks, as `Australia/Sydney`.
    pub time_zone: Option<String>,
    /// Who may send, as CIDR blocks. Empty: anyone who knows a secret.
    pub allowed_networks: Vec<IpNet>,
    /// From where no secret is asked for, as CIDR blocks: for systems that can send none, and whose
    /// messages are not signed. Behind one address there may be others who are trusted with it.
    pub trusted_networks: Vec<IpNet>,
    /// Our own numbers (main lines, DIDs), in E.164 or as the source's country writes them: they are
    /// never a customer's.
    pub own_numbers: Vec<Personal>,
    /// Whether a contact is created for a number that nobody holds. Default: yes.
    pub create_contacts: Option<bool>,
    /// How the provider writes a date with slashes or dots: `day_first` or `month_first`.
    pub date_order: Option<DateOrder>,
    /// How far two stated starts of one call may lie apart, where the provider gives no id and a
    /// start must be worked out from an end and a duration, seconds. Default 3.
    pub start_tolerance_seconds: Option<u32>,
    /// The `twilio` source on whose calls the conversations of this one are held; default
    /// `twilio`. With `none`, each conversation is a call of its own.
    pub calls: Option<Name>,
    /// How long to wait after a call's end for messages that follow it closely, seconds.
    pub settle_seconds: Option<u32>,
    /// Which legs are told to CRMs: `parent` (default) or `each`.
    pub legs: Legs,
    /// Whether destinations may be told of a call as soon as it starts. Default: no.
    pub announce_starts: bool,
    /// Where the conversations on this source's calls are found.
    pub conversations: Option<Conversations>,
    /// The key of the provider's REST API.
    pub api_key: Option<Secret>,
    /// The base of the provider's REST API, where it is not the usual one (data residency).
    pub api_url: Option<String>,
    /// Whose conversations are looked through, by agent id.
    pub agents: Vec<String>,
    /// How calls are placed, where they may be. See [`crate::dial::check`].
    pub dial: Option<crate::dial::Dialing>,
    /// How calls are pulled from the provider's REST API.
    pub pull: Option<crate::pull::Settings>,
    /// What is made of this source's transcripts.
    pub analyze: Option<switchboard_domain::analysis::Settings>,
    /// Whether recordings are copied to our bucket, and which.
    pub recordings: Option<crate::recordings::Settings>,
}

/// How a date is written where its parts do not tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DateOrder {
    /// 02.01.2026 is the second of January.
    DayFirst,
    /// 02/01/2026 is the first of February.
    MonthFirst,
}

/// A secret, alone or bound to one account of the provider.
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "Written")]
pub struct Credential {
    /// The shared secret or signing token.
    pub secret: Secret,
    /// The account it belongs to, where the provider has accounts (Twilio's `AC…`): it opens
    /// messages of that account alone.
    pub account: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Plain(Secret),
    Bound { secret: Secret, account: String },
}

impl From<Written> for Credential {
    fn from(written: Written) -> Self {
        match written {
            Written::Plain(secret) => Self { secret, account: None },
            Written::Bound { secret, account } => Self { secret, account: Some(account) },
        }
    }
}

/// Where to look for the AI conversation that was held on a call.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Conversations {
    /// The `elevenlabs` source that has them.
    pub source: Name,
    /// How long to wait for a summary before the CRM is told without one, seconds.
    #[serde(default = "ten_minutes")]
    pub wait_seconds: u32,
    /// How long to wait for a conversation to show up at all, seconds.
    #[serde(default = "half_a_minute")]
    pub grace_seconds: u32,
}

fn ten_minutes() -> u32 {
    600
}

fn half_a_minute() -> u32 {
    30
}

impl Conversations {
    /// How long to wait.
    pub fn patience(&self) -> Patience {
        Patience { wait: Seconds(self.wait_seconds), grace: Seconds(self.grace_seconds) }
    }
}

impl Source {
    /// Reads and checks the JSON of a source's parameter. `provider` is absent for systems that
    /// only answer (no webhook of their own here).
    pub fn parse(json: &str, provider: Option<&dyn Provider>) -> Result<Self, ConfigError> {
        let mut reader = serde_json::Deserializer::from_str(json);
        let source: Self = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
            // The field and the place, not the message: that may quote a secret.
            let (line, column) = (error.inner().line(), error.inner().column());
            let place = format!("line {line}, column {column}");
            match error.inner().classify() {
                serde_json::error::Category::Data => {
                    let problem = format!("is unknown or of a wrong type ({place})");
                    // After a lost quotation mark a name may hold what was meant as a value.
                    let path = error.path().to_string();
                    let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-[]".contains(&b);
                    let is_plain = path.len() <= 64 && path.bytes().all(plain);
                    ConfigError::new(if is_plain { path } else { "source".to_owned() }, problem)
                }
                _ => ConfigError::new("source", format!("is not valid JSON ({place})")),
            }
        })?;
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

    fn check(&self) -> Result<(), ConfigError> {
        for credential in &self.secrets {
            if credential.secret.is_empty() {
                return Err(ConfigError::new("secrets", "holds an empty one: leave it out"));
            }
        }
        for (field, url) in [("public_url", &self.public_url), ("api_url", &self.api_url)] {
            let Some(url) = url else { continue };
            let host = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
            let plain = |host: &str| !host.is_empty() && !host.contains(['?', '#', '@', ' ']);
            if !host.is_some_and(plain) || url.ends_with('/') {
                let expected = "must be https://host with no slash at the end, query or user";
                return Err(ConfigError::new(field, expected));
            }
        }
        if let Some(country) = &self.country
            && !(country.len() == 2 && country.bytes().all(|b| b.is_ascii_uppercase()))
        {
            return Err(ConfigError::new("country", "must be two capital letters, as AU"));
        }
        for number in &self.own_numbers {
            match Party::read(number.expose()).map(|party| party.kind) {
                Some(PartyKind::E164) => {}
                Some(PartyKind::Number) if self.country.is_some() => {}
                Some(PartyKind::Number) => {
                    let problem = "holds a number without +: say the country, or write it with +";
                    return Err(ConfigError::new("own_numbers", problem));
                }
                _ => {
                    let problem = "holds something that is no phone number, as +61491570156";
                    return Err(ConfigError::new("own_numbers", problem));
                }
            }
        }
        if self.time_zone.is_some() && self.zone().is_none() {
            return Err(ConfigError::new("time_zone", "is not an IANA zone, as Australia/Sydney"));
        }
        if self.settle_seconds.is_some_and(|seconds| seconds > 900) {
            return Err(ConfigError::new("settle_seconds", "must be 900 at most"));
        }
        if self.trusted_networks.iter().any(|network| network.prefix_len() == 0) {
            let problem = "holds everybody: name the networks, or give the system a secret";
            return Err(ConfigError::new("trusted_networks", problem));
        }
        if self.start_tolerance_seconds.is_some_and(|seconds| seconds > 30) {
            return Err(ConfigError::new("start_tolerance_seconds", "must be 30 at most"));
        }
        if let Some(pull) = &self.pull {
            pull.check()?;
        }
        if let Some(analyze) = &self.analyze {
            analyze.check()?;
        }
        if let Some(recordings) = &self.recordings {
            recordings.check()?;
        }
        if self.conversations.as_ref().is_some_and(|c| c.wait_seconds > 86_400) {
            return Err(ConfigError::new("conversations.wait_seconds", "must be 86400 at most"));
        }
        Ok(())
    }

    /// Whether a contact is created for a number that nobody holds.
    pub fn creates_contacts(&self) -> bool {
        self.create_contacts.unwrap_or(true)
    }

    /// The source's time zone.
    pub fn zone(&self) -> Option<TimeZone> {
        self.time_zone.as_deref().and_then(switchboard_domain::time::zone)
    }

    /// Whether a sender needs no secret.
    pub fn trusts(&self, sender: Option<IpAddr>) -> bool {
        sender.is_some_and(|sender| self.trusted_networks.iter().any(|net| net.contains(&sender)))
    }

    /// What to do with this source's calls.
    pub fn policy(&self, provider: &dyn Provider) -> Policy {
        let settle = self.settle_seconds.map_or_else(|| provider.settle(), Seconds);
        Policy { settle, legs: self.legs, starts: self.announce_starts }
    }
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
