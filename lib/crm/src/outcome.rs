//! What an attempt comes to: delivered, tried again, or over. An attempt without a response is always
//! tried again.

use std::fmt;

use jiff::Timestamp;
use serde_json::Value;
use switchboard_domain::delivery::Verdict;
use switchboard_http::{Response, SendError, retry_after};

/// What one attempt came to. As an error it ends the attempt where `?` meets it.
#[derive(Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Whether it is done, to be tried again, or refused for good.
    pub verdict: Verdict,
    /// The status that decided it, if there was a response.
    pub status: Option<u16>,
    /// The same in a few words without personal data.
    pub result: String,
}

impl fmt::Debug for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.verdict, self.result)
    }
}

impl Outcome {
    /// What a response means by its status. `Retry-After` is obeyed where it is seconds or a date.
    ///
    /// | status | verdict | why |
    /// | --- | --- | --- |
    /// | 2xx | delivered | |
    /// | 3xx | retry | not followed; an operator corrects the URL here, and then nothing is lost |
    /// | 401, 403, 407 | retry | an operator corrects the credentials here, and then nothing is lost |
    /// | 408, 5xx, and what [`passes`] | retry | it will pass |
    /// | 404 | retry briefly | an endpoint is away while it is deployed; later it is refused |
    /// | 410 | gone | the endpoint takes nothing any more: it is stopped, and nothing is lost |
    /// | other 4xx | refused | this body will never be taken |
    /// | anything else | retry | no sense can be made of it |
    pub fn of(response: &Response, now: Timestamp) -> Self {
        let status = response.status;
        let not_before = response.header("retry-after").and_then(|text| retry_after(text, now));
        let retry = Verdict::Retry { not_before };
        let (verdict, words) = match status {
            200..=299 => (Verdict::Delivered, "delivered"),
            300..=399 => (retry, "redirected, not followed"),
            401 | 403 | 407 => (retry, "not authorized"),
            404 => (Verdict::RetryBriefly { not_before }, "not found"),
            408 => (retry, "timed out there"),
            410 => (Verdict::Gone, "gone"),
            500..=599 => (retry, "failed there"),
            _ if passes(status) => (retry, "retry later"),
            400..=499 => (Verdict::Refused, "refused"),
            _ => (retry, "not understood"),
        };
        Self { verdict, status: Some(status), result: format!("{words}: {status}") }
    }

    /// It is done.
    pub fn delivered(status: u16, result: String) -> Self {
        Self { verdict: Verdict::Delivered, status: Some(status), result }
    }

    /// It is tried again, not before a moment.
    pub fn retry(status: u16, not_before: Option<Timestamp>, result: String) -> Self {
        Self { verdict: Verdict::Retry { not_before }, status: Some(status), result }
    }

    /// It is refused for good, in these words.
    pub fn refused(status: impl Into<Option<u16>>, result: impl Into<String>) -> Self {
        Self { verdict: Verdict::Refused, status: status.into(), result: result.into() }
    }

    /// A response that holds not what it must hold: tried again.
    pub fn not_understood(status: u16) -> Self {
        Self::retry(status, None, format!("not understood: {status}"))
    }

    /// An administrator corrects it in the CRM, and then nothing is lost: what was refused for good is
    /// tried again, with the words that say what is to be set up.
    pub fn to_be_set_up(self, what: &str) -> Self {
        match (self.is_refusal(), self.status) {
            (true, Some(status)) => {
                let result = format!("to be set up there: {what}: {}", self.result);
                Self::retry(status, self.not_before(), result)
            }
            _ => self,
        }
    }

    /// Whether the other side will not take this, for all that is known.
    pub fn is_refusal(&self) -> bool {
        matches!(self.verdict, Verdict::Refused | Verdict::RetryBriefly { .. })
    }

    /// Whether it is done.
    pub fn is_delivered(&self) -> bool {
        self.verdict == Verdict::Delivered
    }

    /// Before when it is not tried again, if the other side said so.
    pub fn not_before(&self) -> Option<Timestamp> {
        match self.verdict {
            Verdict::Retry { not_before } | Verdict::RetryBriefly { not_before } => not_before,
            _ => None,
        }
    }

    /// With the step whose response this is in front. An attempt without a response says itself what
    /// is wrong.
    pub fn during(mut self, step: &str) -> Self {
        if self.status.is_some() {
            self.result = format!("{step}: {}", self.result);
        }
        self
    }

    /// With more words behind.
    pub fn with(mut self, words: &str) -> Self {
        self.result.push_str(words);
        self
    }
}

/// Whether a status says that another moment will do: a conflict or a request in progress, a connection
/// that leads elsewhere, a lock, a request before this one, too early, too many.
pub fn passes(status: u16) -> bool {
    matches!(status, 409 | 421 | 423 | 424 | 425 | 429)
}

/// The JSON object that an API responds with where it has done as it was asked. A login page, an empty body
/// and `{"success": false}` are none: what they mean is not known.
pub fn object(response: &Response) -> Result<Value, Outcome> {
    let body = response.json();
    let denies = body.get("success").is_some_and(|success| success != true);
    match body.is_object() && !denies {
        true => Ok(body),
        false => Err(Outcome::not_understood(response.status)),
    }
}

/// No response: the other side may have taken the request all the same, and it is sent again.
impl From<SendError> for Outcome {
    fn from(error: SendError) -> Self {
        let verdict = Verdict::Retry { not_before: None };
        Self { verdict, status: None, result: error.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;
    use serde_json::Value;

    use super::*;
    use crate::testing::{response, with_header};

    fn now() -> Timestamp {
        "2026-02-20T09:00:00Z".parse().unwrap()
    }

    #[test]
    fn every_status_has_its_class() {
        let retry = Verdict::Retry { not_before: None };
        for (statuses, verdict, words) in [
            (&[200, 201, 202, 204, 299][..], Verdict::Delivered, "delivered"),
            (&[300, 301, 302, 303, 304, 307, 308, 399], retry, "redirected, not followed"),
            (&[401, 403, 407], retry, "not authorized"),
            (&[408], retry, "timed out there"),
            (&[409, 421, 423, 424, 425, 429], retry, "retry later"),
            (&[404], Verdict::RetryBriefly { not_before: None }, "not found"),
            (&[500, 501, 502, 503, 504, 529, 599], retry, "failed there"),
            (&[410], Verdict::Gone, "gone"),
            (&[400, 402, 405, 406, 411, 413, 415, 422, 451, 499], Verdict::Refused, "refused"),
            (&[100, 199, 600, 999], retry, "not understood"),
        ] {
            for status in statuses {
                let outcome = Outcome::of(&response(*status, Value::Null), now());
                let result = format!("{words}: {status}");
                assert_eq!(outcome, Outcome { verdict, status: Some(*status), result });
            }
        }
    }

    #[test]
    fn only_a_retry_waits() {
        let verdict = |status| {
            let waiting = with_header(response(status, Value::Null), "retry-after", "60");
            Outcome::of(&waiting, now()).verdict
        };
        assert_eq!(verdict(200), Verdict::Delivered);
        assert_eq!(verdict(410), Verdict::Gone);
        assert_eq!(verdict(422), Verdict::Refused);
        for status in [302, 401, 408, 409, 423, 429, 503] {
            let not_before = now().checked_add(SignedDuration::from_secs(60)).ok();
            assert_eq!(verdict(status), Verdict::Retry { not_before });
        }
    }
}
