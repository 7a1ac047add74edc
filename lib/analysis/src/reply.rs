//! A model's reply, before it is checked.

use jiff::Timestamp;
use serde_json::Value;
use switchboard_domain::Tokens;
use switchboard_http::retry_after;

/// A model's reply, whichever API it came from.
#[derive(Clone, PartialEq)]
pub enum Reply {
    /// A response, to be checked.
    Content {
        /// The JSON.
        response: Value,
        /// The tokens that it took.
        tokens: Tokens,
    },
    /// A response in another form than requested. Worth one more request.
    Malformed {
        /// The problem, as a phrase about the response.
        problem: &'static str,
        /// The tokens that it took.
        tokens: Tokens,
    },
    /// The model, or a filter, declines this request.
    Declined {
        /// The reason, as far as it is known.
        problem: &'static str,
        /// The tokens that it took.
        tokens: Tokens,
    },
    /// There was no response: worth a later retry.
    Trouble {
        /// The problem, without personal data.
        problem: String,
        /// Not before this moment, if it asked for that.
        not_before: Option<Timestamp>,
    },
    /// The request will never be accepted.
    Refused {
        /// The reason, and what to do.
        problem: String,
    },
}

/// An HTTP response, in full.
#[derive(Clone, Copy)]
pub struct Received<'a> {
    /// The status.
    pub status: u16,
    /// `Retry-After`, as it came.
    pub retry_after: Option<&'a str>,
    /// The body.
    pub body: &'a [u8],
    /// When it came.
    pub at: Timestamp,
}

impl Received<'_> {
    /// The JSON of an answer that is one; or what any other status means, for every API.
    ///
    /// A request that is refused for its content will be refused again. All else may pass: a key that
    /// is being rotated, a model that is being allowed, a quota, an outage.
    pub(crate) fn json(&self) -> Result<Value, Reply> {
        let status = self.status;
        let problem = match status {
            200..=299 => {
                return serde_json::from_slice(self.body).map_err(|_| Reply::Trouble {
                    problem: "the model's answer is no JSON, or was cut off".into(),
                    not_before: None,
                });
            }
            400 | 405 | 406 | 413..=415 | 422 => {
                let problem = format!(
                    "the model refused the request ({status}): check the model's \
                                       id and settings, and whether the transcript is too long for it"
                );
                return Err(Reply::Refused { problem });
            }
            401 | 403 => {
                format!(
                    "the model refused the credentials ({status}): check its key, or the right to use it"
                )
            }
            404 => "the model is not there (404): check its id and address".to_owned(),
            408 | 504 => format!("the model took too long ({status})"),
            429 => "the model throttles (429)".to_owned(),
            300..=399 => format!("the model's address leads elsewhere ({status}): check it"),
            _ => format!("the model is in trouble ({status})"),
        };
        let not_before = self.retry_after.and_then(|text| retry_after(text, self.at));
        Err(Reply::Trouble { problem, not_before })
    }
}

/// What was counted, where it was.
pub(crate) fn tokens(usage: &Value, input: &str, output: &str) -> Tokens {
    let count = |name: &str| usage.get(name).and_then(Value::as_u64).unwrap_or_default();
    Tokens { input: count(input), output: count(output) }
}
