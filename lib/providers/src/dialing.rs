//! The limits within which a source places calls.

use serde::Deserialize;
use switchboard_domain::{ConfigError, Personal};

/// How a source places calls: what the member `dial` of its configuration has whatever the provider.
/// The provider's own settings hold the credentials.
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
pub struct Dialing {
    /// The numbers that may be shown to customers, the usual one first.
    pub caller_ids: Vec<Personal>,
    /// The countries that may be called (ISO 3166-1 alpha-2). Required: there is no default.
    pub countries: Vec<String>,
    /// How many calls an employee may place in a minute.
    pub per_minute: u32,
    /// How many calls an employee may place in a day (UTC).
    pub per_day: u32,
    /// How long a phone rings, seconds. Twilio.
    pub ring_seconds: u32,
    /// After how many seconds a call is ended.
    pub longest_seconds: Option<u32>,
    /// The base of the REST interface, where it is not the usual one.
    pub api_url: Option<String>,
}

impl Default for Dialing {
    fn default() -> Self {
        Self {
            caller_ids: Vec::new(),
            countries: Vec::new(),
            per_minute: 6,
            per_day: 200,
            ring_seconds: 30,
            longest_seconds: None,
            api_url: None,
        }
    }
}

impl Dialing {
    /// Checks what types cannot say. `allow_private` is for the local stage: the REST interface may then
    /// be without TLS.
    pub fn check(&self, allow_private: bool) -> Result<(), ConfigError> {
        let wrong =
            |field: &str, problem: &str| Err(ConfigError::new(format!("dial.{field}"), problem));
        let is_country =
            |text: &String| text.len() == 2 && text.bytes().all(|b| b.is_ascii_uppercase());
        if self.countries.is_empty() {
            return wrong("countries", "is required: name every country that may be called");
        }
        if !self.countries.iter().all(is_country) {
            return wrong("countries", "must hold two capital letters each, as AU");
        }
        let is_number = |number: &Personal| {
            let number = number.expose();
            let digits = number.strip_prefix('+').unwrap_or(number);
            (3..=15).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit())
        };
        if !self.caller_ids.iter().all(is_number) {
            return wrong(
                "caller_ids",
                "must hold numbers of digits alone, a + before them or not",
            );
        }
        for (field, value, range) in [
            ("per_minute", Some(self.per_minute), 1..=600),
            ("per_day", Some(self.per_day), 1..=100_000),
            ("ring_seconds", Some(self.ring_seconds), 5..=120),
            ("longest_seconds", self.longest_seconds, 30..=14_400),
        ] {
            if value.is_some_and(|value| !range.contains(&value)) {
                let problem = format!("must be from {} to {}", range.start(), range.end());
                return wrong(field, &problem);
            }
        }
        if let Some(url) = &self.api_url {
            let host = url.strip_prefix("https://");
            let host = host.or_else(|| url.strip_prefix("http://").filter(|_| allow_private));
            let is_plain =
                |host: &str| !host.is_empty() && !host.contains(['?', '#', '@', ' ', '/']);
            if !host.is_some_and(is_plain) {
                return wrong("api_url", "must be https://host with no path, query or user");
            }
        }
        Ok(())
    }

    /// The caller id that is shown: one that was asked for, if it is configured, else the usual
    /// one. `Err`: another was asked for.
    pub fn caller_id(&self, asked: Option<&str>) -> Result<Option<Personal>, NotOurs> {
        let digits = |text: &str| text.chars().filter(char::is_ascii_digit).collect::<String>();
        match asked {
            None => Ok(self.caller_ids.first().cloned()),
            Some(asked) => {
                let is_it = |one: &&Personal| digits(one.expose()) == digits(asked);
                self.caller_ids.iter().find(is_it).cloned().map(Some).ok_or(NotOurs)
            }
        }
    }
}

/// A caller id was asked for that is not configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotOurs;
