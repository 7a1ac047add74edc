//! What Zoho's answers mean. Each is about a list of records, of which we always send one: its code
//! counts, also under 2xx.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use switchboard_domain::delivery::Verdict;

use crate::exchange::Answer;
use crate::format::sheet;
use crate::verdict;

use super::is_api_name;

/// What an answer says of the record that was sent.
pub struct Said<'a> {
    /// `SUCCESS`, or what is wrong. Empty where there is no code.
    pub code: &'a str,
    /// The field that it is about, by its API name.
    pub field: Option<&'a str>,
    /// The record that was written, or that is there already.
    pub id: Option<String>,
}

/// Reads an answer's body.
pub fn said(body: &Value) -> Said<'_> {
    let record = body["data"].get(0).unwrap_or(body);
    let details = &record["details"];
    let there = [&details["duplicate_record"]["id"], &details["id"]];
    Said {
        code: record["code"].as_str().and_then(sheet::code).unwrap_or_default(),
        field: details["api_name"].as_str().filter(|name| is_api_name(name)),
        id: there.into_iter().find_map(id),
    }
}

/// An id as Zoho writes it.
pub fn id(value: &Value) -> Option<String> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    let is_one = (1..=32).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    is_one.then_some(text)
}

/// What an answer means where it is not a success.
pub fn judge(answer: &Answer, now: Timestamp) -> (Verdict, String) {
    let body = answer.json();
    let Said { code, field, .. } = said(&body);
    let status = answer.status;
    let retry = Verdict::Retry { not_before: None };
    let (verdict, words) = match code {
        // It passes.
        "TOO_MANY_REQUESTS" | "LIMIT_EXCEEDED" | "API_LIMIT_EXCEEDED" => {
            (Verdict::Retry { not_before: until(answer, now) }, "asked to wait")
        }
        "INTERNAL_ERROR" | "RECORD_LOCKED" | "RECORD_IN_PROCESS" => (retry, "failed there"),
        // Mended there or here, and then nothing is lost.
        "INVALID_TOKEN" | "AUTHENTICATION_FAILURE" | "INVALID_OAUTHTOKEN" => {
            (retry, "not authorized")
        }
        "OAUTH_SCOPE_MISMATCH" => (retry, "not authorized: the token lacks a scope"),
        "NO_PERMISSION" | "PERMISSION_DENIED" | "AUTHORIZATION_FAILED" => {
            (retry, "not authorized: the user lacks a right")
        }
        // This record will never be taken.
        "MANDATORY_NOT_FOUND"
        | "INVALID_DATA"
        | "DUPLICATE_DATA"
        | "INVALID_MODULE"
        | "INVALID_REQUEST"
        | "INVALID_QUERY" => (Verdict::Refused, "refused"),
        // A code under 2xx that is not known: it was not taken, and why is for somebody to look at.
        _ if answer.is_success() => (Verdict::Refused, "refused"),
        _ => {
            let (verdict, words) = verdict::judge(status, answer.retry_after.as_deref(), now);
            let verdict = match (status, verdict) {
                (429, Verdict::Retry { .. }) => Verdict::Retry { not_before: until(answer, now) },
                _ => verdict,
            };
            return (verdict, words);
        }
    };
    let about = field.map(|field| format!(", for {field}")).unwrap_or_default();
    (verdict, format!("{words}: {status} {code}{about}"))
}

/// Until when to wait: `Retry-After`, or when the window of `X-RATELIMIT-RESET` ends, in milliseconds
/// since 1970. A reset more than a day away is no time of a window.
fn until(answer: &Answer, now: Timestamp) -> Option<Timestamp> {
    let (verdict, _) = verdict::judge(429, answer.retry_after.as_deref(), now);
    if let Verdict::Retry { not_before: Some(at) } = verdict {
        return Some(at);
    }
    let reset = answer.reset.as_ref()?.trim().parse::<i64>().ok()?;
    let at = Timestamp::from_millisecond(reset).ok()?;
    let wait = at.duration_since(now);
    (wait > SignedDuration::ZERO && wait <= SignedDuration::from_hours(24)).then_some(at)
}
