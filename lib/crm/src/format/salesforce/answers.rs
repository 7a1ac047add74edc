//! What Salesforce's answers mean. An error is a list: `[{"errorCode": …, "message": …, "fields": …}]`.

use jiff::Timestamp;
use serde::Deserialize;
use switchboard_domain::delivery::Verdict;

use super::USED_UP;
use crate::exchange::Answer;
use crate::format::sheet;
use crate::verdict;

/// Fields that we send, and may therefore name.
const OUR_FIELDS: [&str; 16] = [
    "ActivityDate",
    "CallDisposition",
    "CallDurationInSeconds",
    "CallObject",
    "CallType",
    "Company",
    "Description",
    "FirstName",
    "LastName",
    "OwnerId",
    "Phone",
    "Status",
    "Subject",
    "TaskSubtype",
    "WhatId",
    "WhoId",
];

/// It will pass.
const WILL_PASS: [&str; 4] =
    ["UNABLE_TO_LOCK_ROW", "SERVER_UNAVAILABLE", "QUERY_TIMEOUT", "EXCEEDED_ID_LIMIT"];
/// To be mended in the org, and then nothing is lost.
const TO_BE_SET_UP: [&str; 3] = ["INVALID_FIELD", "NOT_FOUND", "INVALID_TYPE"];
/// What `WhoId` names is not there.
const NOT_THERE: [&str; 3] = ["ENTITY_IS_DELETED", "INVALID_CROSS_REFERENCE_KEY", "MALFORMED_ID"];

/// What an answer means.
pub(super) struct Problem {
    pub(super) verdict: Verdict,
    pub(super) words: String,
    code: String,
    message: String,
    fields: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Error {
    error_code: String,
    message: String,
    fields: Vec<String>,
}

impl Problem {
    /// Whether it is this error, about this field.
    pub(super) fn is_about(&self, code: &str, field: &str) -> bool {
        self.verdict != Verdict::Delivered
            && self.code == code
            && (self.fields.iter().any(|one| one == field) || self.message.contains(field))
    }

    /// Whether the contact that a task names does not exist, or does no longer.
    pub(super) fn is_about_a_missing_contact(&self) -> bool {
        NOT_THERE.iter().any(|code| self.is_about(code, "WhoId"))
            || (self.verdict != Verdict::Delivered
                && self.code == "ENTITY_IS_DELETED"
                && self.fields.is_empty())
    }
}

/// | answer | meaning |
/// | --- | --- |
/// | 300 | several records have the external id: tried again, to be mended there |
/// | 403 `REQUEST_LIMIT_EXCEEDED` | tried again after a quarter of an hour |
/// | a locked row, a server that is away | tried again |
/// | a field or object that does not exist, 404 of an upsert | to be set up there: tried again |
/// | others | as everywhere |
pub(super) fn problem(answer: &Answer, field: &str, now: Timestamp) -> Problem {
    let (verdict, words) = verdict::judge(answer.status, answer.retry_after.as_deref(), now);
    let status = answer.status;
    let retry = |not_before| Verdict::Retry { not_before };
    if verdict == Verdict::Delivered {
        return Problem {
            verdict,
            words,
            code: String::new(),
            message: String::new(),
            fields: Vec::new(),
        };
    }
    let errors: Vec<Error> = serde_json::from_slice(&answer.body).unwrap_or_default();
    let Error { error_code, message, fields } = errors.into_iter().next().unwrap_or_default();
    let code = sheet::code(&error_code).unwrap_or_default().to_owned();
    let named: Vec<&str> = fields
        .iter()
        .map(String::as_str)
        .filter(|name| OUR_FIELDS.contains(name) || *name == field)
        .collect();
    let mut what = status.to_string();
    if !code.is_empty() {
        what = format!("{what} {code}");
    }
    if !named.is_empty() {
        what = format!("{what} ({})", named.join(", "));
    }
    let (verdict, words) = match (status, code.as_str()) {
        (300, _) => (retry(None), format!("several records have the key in {field}: {what}")),
        (_, "REQUEST_LIMIT_EXCEEDED") => {
            let said = match verdict {
                Verdict::Retry { not_before } => not_before,
                _ => None,
            };
            let soonest = now.checked_add(USED_UP).unwrap_or(now);
            (
                retry(Some(said.map_or(soonest, |said| said.max(soonest)))),
                format!("asked to wait: {what}"),
            )
        }
        (_, code) if WILL_PASS.contains(&code) => (retry(None), format!("failed there: {what}")),
        (400 | 404, code) if TO_BE_SET_UP.contains(&code) => {
            (retry(None), format!("to be set up there: the field {field} or another: {what}"))
        }
        _ => {
            let words = words.strip_suffix(&status.to_string()).unwrap_or(&words).to_owned();
            (verdict, format!("{words}{what}"))
        }
    };
    Problem { verdict, words, code, message, fields }
}
