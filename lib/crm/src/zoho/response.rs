//! What Zoho's responses mean. Each is about a list of records, of which we always send one: its code
//! counts, also under 2xx.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use switchboard_http::Response;

use super::settings::{is_api_name, is_id};
use crate::outcome::Outcome;
use crate::payload;

/// What a response says of the record that was sent.
pub struct ParsedRecord<'a> {
    /// `SUCCESS`, or what is wrong. Empty where there is no code.
    pub code: &'a str,
    /// The field that it is about, by its API name.
    pub field: Option<&'a str>,
    /// The record that was written, or that is there already.
    pub id: Option<String>,
}

/// Reads a response's body.
pub fn parse_record(body: &Value) -> ParsedRecord<'_> {
    let record = body["data"].get(0).unwrap_or(body);
    let details = &record["details"];
    let there = [&details["duplicate_record"]["id"], &details["id"]];
    // Of a field inside another one, as `Owner.id`, the outer one is ours.
    let named = [&details["parent_api_name"], &details["api_name"]];
    ParsedRecord {
        code: record["code"].as_str().and_then(payload::code).unwrap_or_default(),
        field: named.into_iter().find_map(Value::as_str).filter(|name| is_api_name(name)),
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
    is_id(&text).then_some(text)
}

/// What a response means where it is not a success.
pub fn judge(response: &Response, now: Timestamp) -> Outcome {
    let body = response.json();
    let ParsedRecord { code, field, .. } = parse_record(&body);
    let status = response.status;
    let about = field.map(|field| format!(", for {field}")).unwrap_or_default();
    let result = |words: &str| format!("{words}: {status} {code}{about}");
    let retry = |words: &str| Outcome::retry(status, None, result(words));
    let refused = || Outcome::refused(status, result("refused"));
    match code {
        // It passes.
        "TOO_MANY_REQUESTS" | "LIMIT_EXCEEDED" | "API_LIMIT_EXCEEDED" => {
            Outcome::retry(status, until(response, now), result("retry later"))
        }
        "INTERNAL_ERROR" | "RECORD_LOCKED" | "RECORD_IN_PROCESS" => retry("failed there"),
        // An operator corrects it there or here, and then nothing is lost.
        "INVALID_TOKEN" | "AUTHENTICATION_FAILURE" | "INVALID_OAUTHTOKEN" => {
            retry("not authorized")
        }
        "OAUTH_SCOPE_MISMATCH" => retry("not authorized: the token lacks a scope"),
        "NO_PERMISSION" | "PERMISSION_DENIED" | "AUTHORIZATION_FAILED" => {
            retry("not authorized: the user lacks a right")
        }
        // This record will never be taken.
        "MANDATORY_NOT_FOUND"
        | "INVALID_DATA"
        | "DUPLICATE_DATA"
        | "INVALID_MODULE"
        | "INVALID_REQUEST"
        | "INVALID_QUERY" => refused(),
        // A page, an empty body, or `{"success": false}`.
        "" if response.is_success() => Outcome::not_understood(status),
        // A code under 2xx that is not known: it was not taken, and an operator must see why.
        _ if response.is_success() => refused(),
        _ if status == 429 => {
            Outcome::retry(status, until(response, now), Outcome::of(response, now).result)
        }
        _ => Outcome::of(response, now),
    }
}

/// Until when to wait: `Retry-After`, or when the window of `X-RATELIMIT-RESET` ends, in milliseconds
/// since 1970. A reset more than a day away is no time of a window.
fn until(response: &Response, now: Timestamp) -> Option<Timestamp> {
    let retry_after = || switchboard_http::retry_after(response.header("retry-after")?, now);
    let window = || {
        let reset = response.header("x-ratelimit-reset")?.trim().parse::<i64>().ok()?;
        let at = Timestamp::from_millisecond(reset).ok()?;
        let wait = at.duration_since(now);
        (wait > SignedDuration::ZERO && wait <= SignedDuration::from_hours(24)).then_some(at)
    };
    retry_after().or_else(window)
}
