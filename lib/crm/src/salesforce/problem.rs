//! What Salesforce's errors mean. An error is a list: `[{"errorCode": …, "message": …, "fields": …}]`.

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use switchboard_domain::later;
use switchboard_http::Response;

use crate::optional::Refusal;
use crate::outcome::Outcome;
use crate::payload;

/// How long an attempt waits where the org's requests of a day are used up.
const USED_UP: SignedDuration = SignedDuration::from_mins(15);

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
const WILL_PASS: [&str; 6] = [
    "UNABLE_TO_LOCK_ROW",
    "ENTITY_IS_LOCKED",
    "SERVER_UNAVAILABLE",
    "QUERY_TIMEOUT",
    "REQUEST_RUNNING_TOO_LONG",
    "EXCEEDED_ID_LIMIT",
];
/// An administrator makes room in the org, and then nothing is lost.
const FULL: &str = "STORAGE_LIMIT_EXCEEDED";
/// An administrator corrects it in the org, and then nothing is lost.
const TO_BE_SET_UP: [&str; 3] = ["INVALID_FIELD", "NOT_FOUND", "INVALID_TYPE"];
/// The record that `WhoId` names does not exist.
const NOT_THERE: [&str; 3] = ["ENTITY_IS_DELETED", "INVALID_CROSS_REFERENCE_KEY", "MALFORMED_ID"];

/// An error, and what it means.
pub struct Problem {
    /// What it means, and what it says.
    pub refusal: Refusal,
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
    /// What a response says is wrong; `None`: it is a success.
    ///
    /// | response | meaning |
    /// | --- | --- |
    /// | 300 | several records have the external id: tried again, to be corrected there |
    /// | 403 `REQUEST_LIMIT_EXCEEDED` | tried again after a quarter of an hour |
    /// | a locked row, a server that is away, also in the message of another error | tried again |
    /// | the storage is used up | room is to be made there: tried again |
    /// | a field or object that does not exist, 404 of an upsert | to be set up there: tried again |
    /// | others | as everywhere |
    pub fn of(response: &Response, field: &str, now: Timestamp) -> Option<Self> {
        let outcome = Outcome::of(response, now);
        if outcome.is_delivered() {
            return None;
        }
        let errors: Vec<Error> = serde_json::from_slice(&response.body).unwrap_or_default();
        // A trigger or a flow wraps the error that counts into its own.
        let holds = |code: &&&str| {
            errors.iter().any(|error| error.error_code == **code || error.message.contains(**code))
        };
        let inner = WILL_PASS.iter().chain([&FULL]).find(holds).map(|code| (*code).to_owned());
        let Error { error_code, message, fields } = errors.into_iter().next().unwrap_or_default();
        let code = payload::code(&error_code).unwrap_or_default().to_owned();
        let code = inner.unwrap_or(code);
        let named: Vec<&str> = fields
            .iter()
            .map(String::as_str)
            .filter(|name| OUR_FIELDS.contains(name) || *name == field)
            .collect();
        let mut about = String::new();
        if !code.is_empty() {
            about = format!(" {code}");
        }
        if !named.is_empty() {
            about = format!("{about} ({})", named.join(", "));
        }
        let status = response.status;
        let retry = |not_before, words: &str| {
            Outcome::retry(status, not_before, format!("{words}: {status}{about}"))
        };
        let outcome = match (status, code.as_str()) {
            (300, _) => retry(None, &format!("several records have the key in {field}")),
            (_, "REQUEST_LIMIT_EXCEEDED") => {
                let soonest = Some(later(now, USED_UP));
                retry(soonest.max(outcome.not_before()), "retry later")
            }
            // Another attempt created the task meanwhile: the next one finds it.
            (_, "DUPLICATE_VALUE") if message.contains(field) => retry(None, "retry later"),
            (_, FULL) => retry(None, "to be set up there: the storage is used up"),
            (_, code) if WILL_PASS.contains(&code) => retry(None, "failed there"),
            (400 | 404, code) if TO_BE_SET_UP.contains(&code) => {
                retry(None, &format!("to be set up there: the field {field} or another"))
            }
            _ => outcome.with(&about),
        };
        let text = String::from_utf8_lossy(&response.body).into_owned();
        let refusal = Refusal { outcome, text, names_a_field: !fields.is_empty() };
        Some(Self { refusal, code, message, fields })
    }

    /// Whether it is this error, about this field.
    pub fn is_about(&self, code: &str, field: &str) -> bool {
        self.code == code
            && (self.fields.iter().any(|one| one == field) || self.message.contains(field))
    }

    /// Whether the contact that a task names does not exist, or no longer.
    pub fn is_about_a_missing_contact(&self) -> bool {
        NOT_THERE.iter().any(|code| self.is_about(code, "WhoId"))
            || (self.code == "ENTITY_IS_DELETED" && self.fields.is_empty())
    }
}
