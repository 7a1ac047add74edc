//! Placing and ending calls over a provider's REST interface: requests out of plain values, and
//! what an answer means. Nothing here sends anything.
//!
//! The one question that every answer is read for: may the provider have dialled? What it
//! certainly did not is [`Placing::Refused`] or [`Placing::NotAuthenticated`]; all else that is
//! no plain yes is [`Placing::Unknown`].

mod smartflo;
#[cfg(test)]
mod tests;
mod twilio;

use http::{Request, Response};
use serde::Deserialize;
use serde_json::Value;
use switchboard_domain::dial_request::{DialFault, DialRequest};
use switchboard_domain::directory::Employee;
use switchboard_domain::{ConfigError, Name, Personal, Seconds, Secret};

use crate::source::Source;

pub use smartflo::SmartfloDial;
pub use twilio::TwilioDial;

/// Every provider that can place calls. Apart from [`crate::ALL`], because no hook dials.
pub static ALL: &[&dyn Dial] = &[&SmartfloDial, &TwilioDial];

/// The provider of a name, among those that can place calls.
pub fn provider(name: &str) -> Option<&'static dyn Dial> {
    ALL.iter().copied().find(|dial| dial.name() == name)
}

/// How a source places calls: the member `dial` of its configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Dialing {
    /// Smartflo: a token of the portal's.
    pub token: Option<Secret>,
    /// Smartflo, in place of a token: who logs in.
    pub email: Option<Personal>,
    /// Smartflo: their password.
    pub password: Option<Secret>,
    /// Twilio: the account, `AC…`.
    pub account: Option<String>,
    /// Twilio: the account's auth token.
    pub auth_token: Option<Secret>,
    /// Twilio, in place of the auth token: an API key, `SK…`.
    pub api_key: Option<String>,
    /// Twilio: its secret.
    pub api_secret: Option<Secret>,
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
            token: None,
            email: None,
            password: None,
            account: None,
            auth_token: None,
            api_key: None,
            api_secret: None,
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

/// Checks the member `dial` of a source, if it has one, as the function that dials will.
/// `allow_private` is for the local stage: the REST interface may then be without TLS.
pub fn check(provider_name: &str, source: &Source, allow_private: bool) -> Result<(), ConfigError> {
    let Some(dialing) = &source.dial else { return Ok(()) };
    let Some(provider) = provider(provider_name) else {
        return Err(ConfigError::new("dial", "cannot be: this provider places no calls"));
    };
    dialing.check(allow_private)?;
    provider.check(dialing, source)
}

impl Dialing {
    fn check(&self, allow_private: bool) -> Result<(), ConfigError> {
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
        let secrets = [&self.token, &self.password, &self.auth_token, &self.api_secret];
        let fields = ["token", "password", "auth_token", "api_secret"];
        for (field, secret) in fields.into_iter().zip(secrets) {
            let is_sendable = |secret: &Secret| {
                !secret.is_empty() && secret.expose().bytes().all(|b| (0x21..0x7f).contains(&b))
            };
            if secret.as_ref().is_some_and(|secret| field != "password" && !is_sendable(secret)) {
                return wrong(field, "must be characters without spaces, and some");
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

/// Where a call is placed.
#[derive(Clone, Copy)]
pub struct Site<'a> {
    /// The source's name.
    pub name: &'a Name,
    /// The source.
    pub source: &'a Source,
    /// How it places calls.
    pub dialing: &'a Dialing,
}

/// A request to a provider. `Err`: a configured value fits into none.
pub type Built = Result<Request<Vec<u8>>, http::Error>;

/// A provider that can place and end calls.
pub trait Dial: Sync {
    /// The provider's name.
    fn name(&self) -> &'static str;

    /// What `dial` must say for this provider.
    fn check(&self, dialing: &Dialing, source: &Source) -> Result<(), ConfigError>;

    /// Whether an agent is a phone number that is dialled as the customer's is.
    fn rings_numbers(&self) -> bool;

    /// What of an employee is rung.
    fn agent_of(&self, employee: &Employee, source: &Name) -> Option<Personal>;

    /// The request for a token that lasts a while. `None`: what is configured opens by itself.
    fn login(&self, _site: &Site<'_>) -> Option<Built> {
        None
    }

    /// What a login was answered.
    fn read_login(&self, answer: &Response<Vec<u8>>) -> Result<Login, Trouble> {
        Err(Trouble::of(answer.status().as_u16()))
    }

    /// The request that dials. `token` is one of [`Dial::login`].
    fn place(&self, site: &Site<'_>, token: Option<&Secret>, dial_request: &DialRequest) -> Built;

    /// What it was answered.
    fn read_placing(&self, answer: &Response<Vec<u8>>) -> Placing;

    /// Whether an id is of the kind that ends a call: a provider may have several.
    fn can_end(&self, call_id: &str) -> bool;

    /// The request that ends a call.
    fn hang_up(&self, site: &Site<'_>, token: Option<&Secret>, call_id: &str) -> Built;

    /// What it was answered.
    fn read_ending(&self, answer: &Response<Vec<u8>>) -> Ending;

    /// The request for the calls that are going on, among which that of a dial request may be.
    fn live(
        &self,
        site: &Site<'_>,
        token: Option<&Secret>,
        dial_request: Option<&DialRequest>,
    ) -> Built;

    /// The calls that are going on.
    fn read_live(&self, answer: &Response<Vec<u8>>) -> Result<Vec<Live>, Trouble>;
}

/// A token that lasts a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// The token.
    pub token: Secret,
    /// For how long.
    pub lasts: Seconds,
}

/// What the answer to an order means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Placing {
    /// The provider took it.
    Placed {
        /// The provider's id of the call, where it tells one.
        call_id: Option<String>,
        /// The provider's reference, which its webhook repeats.
        ref_id: Option<String>,
    },
    /// It certainly did not dial, because it does not know who asks.
    NotAuthenticated,
    /// It certainly did not dial.
    Refused {
        /// Whose fault.
        fault: DialFault,
        /// Why, without any personal value.
        why: String,
    },
    /// It may have dialled.
    Unknown {
        /// Why, without any personal value.
        why: String,
    },
}

/// What the answer to a hang-up means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The call is being ended.
    Done,
    /// There is no such call, or it is over.
    NotLive,
    /// The provider does not know who asks.
    NotAuthenticated,
    /// Something else.
    Trouble(Trouble),
}

/// A call that is going on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Live {
    /// The id that ends it.
    pub call_id: String,
    /// The customer's number as the provider writes it, where it tells.
    pub customer: Option<Personal>,
    /// The agent's number, where it tells.
    pub agent: Option<Personal>,
}

/// An answer that is not the one asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// Whether it was that the provider does not know who asks.
    pub is_authentication: bool,
    /// Whose fault.
    pub fault: DialFault,
    /// Why, without any personal value.
    pub why: String,
}

impl Trouble {
    /// What a status tells.
    pub fn of(status: u16) -> Self {
        let why = format!("the provider answered {status}");
        Self { is_authentication: status == 401, fault: fault_of(status), why }
    }

    fn unreadable() -> Self {
        let why = "the provider answered what cannot be read".to_owned();
        Self { is_authentication: false, fault: DialFault::Provider, why }
    }
}

/// Whose fault a status other than 2xx is.
fn fault_of(status: u16) -> DialFault {
    match status {
        300..=399 | 401..=405 | 407 | 410 => DialFault::Configuration,
        408 | 425 | 429 | 500.. => DialFault::Provider,
        _ => DialFault::Request,
    }
}

/// What a status other than 2xx means for an order; `detail` is the provider's code for it.
///
/// A 408 comes from a server that gave up in the middle, and a redirect may come after the deed.
fn not_placed(status: u16, detail: Option<u64>) -> Placing {
    let detail = detail.map(|code| format!(" (code {code})")).unwrap_or_default();
    let why = format!("the provider answered {status}{detail}");
    match status {
        401 => Placing::NotAuthenticated,
        408 => Placing::Unknown { why },
        400..=499 => Placing::Refused { fault: fault_of(status), why },
        _ => Placing::Unknown { why },
    }
}

/// An answer's status, and its body as JSON where it is some.
fn parts(answer: &Response<Vec<u8>>) -> (u16, Value) {
    (answer.status().as_u16(), serde_json::from_slice(answer.body()).unwrap_or(Value::Null))
}

/// Text that is one path segment or header and no more: an id as providers make them.
pub fn is_id(text: &str) -> bool {
    (1..=128).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        && text.bytes().any(|b| b.is_ascii_alphanumeric())
}

/// An id in an answer: as text or as a number.
fn id(value: &Value) -> Option<String> {
    let text = match value {
        Value::String(text) => text.trim().to_owned(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    is_id(&text).then_some(text)
}
