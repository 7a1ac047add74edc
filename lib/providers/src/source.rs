//! One installation of a provider, as it is configured: the JSON of one parameter.

use std::net::IpAddr;

use ipnet::IpNet;
use jiff::tz::TimeZone;
use serde::Deserialize;
use switchboard_domain::lookup::Patience;
use switchboard_domain::{ConfigError, Legs, Name, Party, PartyKind, Personal, Seconds, Secret};

use crate::dialing::Dialing;
use crate::settings::ProviderSettings;

/// A source: what a hook and the workers know about one phone system. [`crate::configure`] reads it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
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
    /// Whether a contact is created for a number without one. Default: yes.
    pub create_contacts: Option<bool>,
    /// How long to wait after a call's end for messages that follow it closely, seconds.
    pub settle_seconds: Option<u32>,
    /// Which legs are delivered to CRMs: `parent` (default) or `each`.
    pub legs: Legs,
    /// Whether calls are delivered as soon as they start, where a destination wants it. Default: no.
    pub announce_starts: bool,
    /// Where the conversations on this source's calls are found.
    pub conversations: Option<Conversations>,
    /// The base of the provider's REST API, where it is not the usual one (data residency).
    pub api_url: Option<String>,
    /// How calls are placed, where they may be: the limits that all providers have.
    pub dial: Option<Dialing>,
    /// Whether calls are pulled from the provider's REST API.
    pub pull: Option<Pulling>,
    /// Whether and how this source's transcripts are analysed.
    pub analyze: Option<switchboard_domain::analysis::Settings>,
    /// Whether recordings are copied to our bucket, and which.
    pub recordings: Option<crate::recordings::Settings>,
    /// The provider's own members.
    #[serde(skip)]
    pub own: ProviderSettings,
}

/// What every source that can be pulled says about it. The provider's own settings say how.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(default)]
pub struct Pulling {
    /// Whether the schedule looks for calls whose webhook never came. Default true.
    pub reconcile: bool,
}

impl Default for Pulling {
    fn default() -> Self {
        Self { reconcile: true }
    }
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
    /// How long to wait for a summary before the call is delivered without one, seconds.
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
    /// Checks what types cannot say.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
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
                    let problem = "holds a number without +: set the country, or write it with +";
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

    /// Whether a contact is created for a number without one.
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

    /// The provider's own settings, if they were read.
    pub fn own<T: 'static>(&self) -> Option<&T> {
        self.own.get()
    }
}
