//! Telling a CRM of a call, one request after another, without sending any: what to ask next, given
//! what was answered. The [client](crate::client) does the sending.

use std::fmt;

use http::Method;
use jiff::Timestamp;
use switchboard_domain::delivery::{Remote, Verdict};
use url::Url;

use crate::destination::Destination;
use crate::verdict;

/// A request to a CRM. It does not print: its URL may hold personal data. The client adds what every request of a delivery has: who we are, the
/// signature, the idempotency key.
pub struct Ask {
    /// How.
    pub method: Method,
    /// Where.
    pub url: Url,
    /// JSON, or nothing.
    pub body: Vec<u8>,
}

/// An answer, whatever it says.
#[derive(Clone, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// `Retry-After` as it came.
    pub retry_after: Option<String>,
    /// The beginning of the body. May hold personal data: it does not print.
    pub body: Vec<u8>,
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

/// One attempt to tell a CRM of a call.
pub trait Exchange: Send {
    /// What to do next. `answer` is that to the last request, and absent at the beginning.
    fn next(&mut self, answer: Option<&Answer>, now: Timestamp) -> Step;
}

/// The exchange by which a destination of this format is told.
pub fn begin(destination: &Destination, told: &Told<'_>) -> Box<dyn Exchange> {
    Box::new(Post { url: destination.url.clone(), body: told.body.to_vec() })
}

/// One POST of the whole body: its status is the verdict.
struct Post {
    url: Url,
    body: Vec<u8>,
}

impl Exchange for Post {
    fn next(&mut self, answer: Option<&Answer>, now: Timestamp) -> Step {
        let Some(answer) = answer else {
            let body = std::mem::take(&mut self.body);
            return Step::Ask(Ask { method: Method::POST, url: self.url.clone(), body });
        };
        let (verdict, result) = verdict::judge(answer.status, answer.retry_after.as_deref(), now);
        let status = Some(answer.status);
        Step::Over(Over { verdict, status, result, remote: Remote::default() })
    }
}
