//! Telling a CRM of a call, one request after another, without sending any: what to ask next, given
//! what was answered. The [client](crate::client) does the sending.

use std::fmt;

use http::Method;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use switchboard_domain::delivery::{Remote, Verdict};
use switchboard_domain::{Name, Personal};
use url::Url;

use crate::destination::Destination;
use crate::verdict;

/// No attempt asks more often, whatever it is answered. The longest that is of use: a cached contact is
/// gone, a new one is looked for twice and created, the call is looked for, created and attached.
pub const MOST_REQUESTS: usize = 10;

/// A request to a CRM. It does not print: its URL may hold personal data. The client adds what every
/// request of a delivery has: who we are, the signature, the idempotency key.
#[derive(Clone)]
pub struct Ask {
    /// How.
    pub method: Method,
    /// Where.
    pub url: Url,
    /// The body, or nothing.
    pub body: Vec<u8>,
    /// What the body is, where there is one.
    pub content_type: String,
}

impl Ask {
    /// A request with a body of JSON.
    pub fn json(method: Method, url: Url, body: &Value) -> Self {
        Self::bytes(method, url, body.to_string().into_bytes())
    }

    /// A request with a body that is JSON already.
    pub fn bytes(method: Method, url: Url, body: Vec<u8>) -> Self {
        Self { method, url, body, content_type: "application/json".to_owned() }
    }

    /// A request without a body.
    pub fn bare(method: Method, url: Url) -> Self {
        Self::bytes(method, url, Vec::new())
    }
}

/// An answer, whatever it says.
#[derive(Clone, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// `Retry-After` as it came.
    pub retry_after: Option<String>,
    /// `X-RateLimit-Reset` as it came: what it counts, and from when, is the CRM's own.
    pub reset: Option<String>,
    /// The beginning of the body. May hold personal data: it does not print.
    pub body: Vec<u8>,
}

impl Answer {
    /// The body, or null where it is no JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// Whether it is 2xx.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer")
            .field("status", &self.status)
            .field("bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// What to do next.
pub enum Step {
    /// Send this, and come back with the answer.
    Ask(Ask),
    /// It is over.
    Over(Over),
}

/// What telling a CRM came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Over {
    /// Whether it is done, to be tried again, or refused for good.
    pub verdict: Verdict,
    /// The status that decided it, if there was an answer.
    pub status: Option<u16>,
    /// The same in a few words without personal data.
    pub result: String,
    /// What the CRM calls what was told, where it said so.
    pub remote: Remote,
}

/// What one attempt tells: all of it is stored with the delivery, so that every attempt tells the
/// same.
pub struct Told<'a> {
    /// What [`crate::format::Format::render`] made of the call at the first attempt.
    pub body: &'a [u8],
    /// The delivery's idempotency key: the same for every attempt, for ever.
    pub idempotency_key: &'a str,
    /// What the CRM is known to call the call and its contact, from earlier deliveries and attempts.
    pub remote: &'a Remote,
}

/// Whom the call was with. A format that attaches calls to the CRM's contacts has it under `contact`
/// in what it renders.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Whom {
    /// The number by which the CRM's contact is looked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub e164: Option<Personal>,
    /// The name that one is created with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<Personal>,
    /// The directory's contact, which remembers what the CRM calls it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entry: Option<Name>,
}

impl Whom {
    /// Out of what was rendered.
    pub fn of(body: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct Sheet {
            contact: Whom,
        }
        serde_json::from_slice(body).ok().map(|sheet: Sheet| sheet.contact)
    }
}

/// One attempt to tell a CRM of a call.
pub trait Exchange: Send {
    /// What to do next. `answer` is that to the last request, and absent at the beginning.
    fn next(&mut self, answer: Option<&Answer>, now: Timestamp) -> Step;

    /// All that the CRM is known to call the call and its contact by now, for when no answer comes any
    /// more.
    fn learned(&self) -> Remote {
        Remote::default()
    }
}

/// The exchange by which a destination of this format is told.
pub fn begin(destination: &Destination, told: &Told<'_>) -> Box<dyn Exchange> {
    (destination.format.kind().begin)(destination, told)
}

/// The exchange of a webhook: one POST of the whole body.
pub fn post(destination: &Destination, told: &Told<'_>) -> Box<dyn Exchange> {
    let ask = Ask::bytes(Method::POST, destination.url.clone(), told.body.to_vec());
    Box::new(Single::of(ask))
}

/// One request, whose status is the verdict.
pub struct Single(Option<Ask>);

impl Single {
    /// Of this request.
    pub fn of(ask: Ask) -> Self {
        Self(Some(ask))
    }
}

impl Exchange for Single {
    fn next(&mut self, answer: Option<&Answer>, now: Timestamp) -> Step {
        if let Some(ask) = self.0.take() {
            return Step::Ask(ask);
        }
        let Some(answer) = answer else { return Step::Over(not_begun()) };
        let (verdict, result) = verdict::judge(answer.status, answer.retry_after.as_deref(), now);
        let status = Some(answer.status);
        Step::Over(Over { verdict, status, result, remote: Remote::default() })
    }
}

/// An exchange cannot begin: what was rendered cannot be read, or it was asked twice.
pub(crate) fn not_begun() -> Over {
    Over {
        verdict: Verdict::Refused,
        status: None,
        result: "what is to be told cannot be read: redeliver it".to_owned(),
        remote: Remote::default(),
    }
}

/// Where an API stands, and below it a path. Ids in it come from a CRM: as segments they can only name
/// something below.
pub fn below(base: &Url, path: &[&str]) -> Url {
    let mut url = base.clone();
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().extend(path);
    }
    url
}
