//! Placing and ending calls over a provider's REST interface.
//!
//! Every response to a request to dial is read for one question: may the provider have dialled? What
//! it certainly did not is [`Placing::Refused`] or [`Placing::NotAuthenticated`]; all else that is no
//! plain yes is [`Placing::Unknown`].

use std::time::Duration;

use async_trait::async_trait;
use http::HeaderValue;
use http::header::AUTHORIZATION;
use jiff::Timestamp;
use serde_json::Value;
use switchboard_domain::dial_request::{DialFault, DialRequest};
use switchboard_domain::directory::Employee;
use switchboard_domain::{ConfigError, Name, Personal};
use switchboard_http::{Http, Limits, Request, SendError};

use crate::dialing::Dialing;
use crate::provider::Provider;
use crate::rest::{Logins, with};
use crate::source::Source;

/// A login is answered within this.
pub const LOGIN: Limits = Limits { timeout: Duration::from_secs(4), largest: 64 * 1024 };
/// Every other request within this: twice that and two logins fit into the function's time.
pub const LIMITS: Limits = Limits { timeout: Duration::from_secs(8), largest: 1024 * 1024 };

/// Where a call is placed.
#[derive(Clone, Copy)]
pub struct Account<'a> {
    /// The source's name.
    pub name: &'a Name,
    /// The source.
    pub source: &'a Source,
    /// The limits within which it places calls.
    pub dialing: &'a Dialing,
}

impl Account<'_> {
    /// The source among the logins.
    pub fn place(&self) -> String {
        format!("dial {}", self.name)
    }
}

/// An account of a provider, and what opens it.
pub struct Client<'a> {
    /// What reaches the provider.
    pub http: &'a dyn Http,
    /// The account.
    pub account: Account<'a>,
    /// The value of `Authorization`.
    pub authorization: HeaderValue,
}

impl Client<'_> {
    /// Sends a request. The body of the response is JSON, or `Null` where it is none.
    pub async fn send(
        &self,
        request: Result<Request, SendError>,
    ) -> Result<(u16, Value), SendError> {
        let request = with(request?, AUTHORIZATION, self.authorization.clone());
        let response = self.http.send(request).await?;
        Ok((response.status, serde_json::from_slice(&response.body).unwrap_or(Value::Null)))
    }
}

/// A provider that can place and end calls.
#[async_trait]
pub trait Dialer: Sync {
    /// The provider.
    fn provider(&self) -> &'static dyn Provider;

    /// Checks what placing calls needs. The source has `dial`.
    fn check(&self, dialing: &Dialing, source: &Source) -> Result<(), ConfigError>;

    /// Whether an agent is a phone number that is dialled as the customer's is.
    fn rings_numbers(&self) -> bool;

    /// The number or extension of an employee that is rung.
    fn agent_of(&self, employee: &Employee, source: &Name) -> Option<Personal>;

    /// Whether an id is of the kind that ends a call: a provider may have several.
    fn can_end(&self, call_id: &str) -> bool;

    /// The `Authorization` of further requests: as configured, else by a login, which dials nothing.
    async fn authorize(
        &self,
        http: &dyn Http,
        logins: &Logins,
        account: &Account<'_>,
        now: Timestamp,
    ) -> Result<HeaderValue, DialError>;

    /// Dials: one request, and no more.
    async fn place(&self, client: &Client<'_>, dial_request: &DialRequest) -> Placing;

    /// Ends a call.
    async fn hang_up(&self, client: &Client<'_>, call_id: &str) -> Ending;

    /// The live calls, among which that of a dial request may be.
    async fn live(
        &self,
        client: &Client<'_>,
        dial_request: &DialRequest,
    ) -> Result<Vec<Live>, DialError>;
}

/// What became of a request to dial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Placing {
    /// The provider accepted it.
    Placed {
        /// The provider's id of the call, where the response has it.
        call_id: Option<String>,
        /// The provider's reference, which its webhook repeats.
        ref_id: Option<String>,
    },
    /// It certainly did not dial, because it did not accept the credentials.
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

/// What became of a hang-up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The call is being ended.
    Done,
    /// There is no such call, or it is over.
    NotLive,
    /// The provider did not accept the credentials.
    NotAuthenticated,
    /// The request failed.
    Failed(DialError),
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

/// A request to a provider that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DialError {
    /// Whether the provider did not accept the credentials.
    pub is_authentication: bool,
    /// Whose fault.
    pub fault: DialFault,
    /// Why, without any personal value.
    pub why: String,
}

impl DialError {
    /// Of a response with this status, other than 2xx.
    pub fn of(status: u16) -> Self {
        let why = format!("the provider responded {status}");
        Self { is_authentication: status == 401, fault: fault_of(status), why }
    }

    /// Of a response that cannot be read.
    pub fn unreadable() -> Self {
        let why = "the provider's response cannot be parsed".to_owned();
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

/// What a status other than 2xx means for a request to dial; `detail` is the provider's code for it.
///
/// A 408 comes from a server that gave up in the middle, and a redirect may come after the call.
pub fn not_placed(status: u16, detail: Option<u64>) -> Placing {
    let detail = detail.map(|code| format!(" (code {code})")).unwrap_or_default();
    let why = format!("the provider responded {status}{detail}");
    match status {
        401 => Placing::NotAuthenticated,
        408 => Placing::Unknown { why },
        400..=499 => Placing::Refused { fault: fault_of(status), why },
        _ => Placing::Unknown { why },
    }
}

/// Whether the request certainly never reached the provider, and the error.
fn unsent(error: SendError) -> (bool, DialError) {
    let (is_certain, fault) = match error {
        SendError::NotConnected | SendError::NotResolved | SendError::NotSecure => {
            (true, DialFault::Provider)
        }
        SendError::PrivateAddress
        | SendError::NotBuilt
        | SendError::OverBudget(_)
        | SendError::NoCredentials => (true, DialFault::Configuration),
        SendError::TimedOut | SendError::BrokeOff | SendError::TooLarge => {
            (false, DialFault::Provider)
        }
    };
    let why = format!("the provider: {error}");
    (is_certain, DialError { is_authentication: false, fault, why })
}

impl From<SendError> for DialError {
    fn from(error: SendError) -> Self {
        unsent(error).1
    }
}

impl From<SendError> for Placing {
    fn from(error: SendError) -> Self {
        match unsent(error) {
            (true, DialError { fault, why, .. }) => Self::Refused { fault, why },
            (false, DialError { why, .. }) => Self::Unknown { why },
        }
    }
}

/// Text that is one path segment or header and no more: an id as providers make them.
pub fn is_id(text: &str) -> bool {
    (1..=128).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        && text.bytes().any(|b| b.is_ascii_alphanumeric())
}

/// An id in a response: as text or as a number.
pub fn id(value: &Value) -> Option<String> {
    let text = match value {
        Value::String(text) => text.trim().to_owned(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    is_id(&text).then_some(text)
}
