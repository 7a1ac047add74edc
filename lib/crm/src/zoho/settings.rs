//! What a configuration says under `settings`.

use std::collections::BTreeMap;

use serde_json::Value;
use switchboard_domain::{ConfigError, Outcome as CallOutcome};

use crate::fields::Fields;

/// What a configuration says under `settings`.
#[derive(Debug)]
pub struct Settings {
    /// The field of a call that holds its key, by its API name. None: the description does.
    pub key_field: Option<String>,
    /// The text of an outcome, where an organisation has its own.
    pub results: BTreeMap<CallOutcome, String>,
    /// The owner of a record: Zoho's user, by the directory's employee.
    pub owners: BTreeMap<String, String>,
}

impl Settings {
    /// Reads and checks them.
    pub fn read(settings: Value) -> Result<Self, ConfigError> {
        let mut fields = Fields::of("settings", "settings.", settings)?;
        let key_field = fields.checked(
            "key_field",
            "must be the API name of a field of one line in the module Calls, as Switchboard_Key",
            |name: &String| is_api_name(name) && !OURS.contains(&name.as_str()),
        )?;
        let results = fields.checked(
            "results",
            "must be an object: an outcome (answered, no_answer, busy, failed, canceled, \
             voicemail), and the text of it, up to 120 characters",
            |results: &BTreeMap<CallOutcome, String>| results.values().all(|text| is_result(text)),
        )?;
        let owners = fields.owners(
            "must be an object: the directory's id of an employee, and the id of Zoho's user, a \
             text of digits",
            is_id,
        )?;
        fields.end()?;
        Ok(Self { key_field, results: results.unwrap_or_default(), owners })
    }
}

/// Fields that hold something else.
const OURS: [&str; 10] = [
    "Subject",
    "Call_Type",
    "Call_Start_Time",
    "Call_Duration",
    "Call_Result",
    "Description",
    "Owner",
    "Who_Id",
    "What_Id",
    "id",
];

/// Whether a text can be the API name of a field.
pub fn is_api_name(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|b| b == b'_' || b.is_ascii_alphanumeric())
}

/// Whether a text can be an id of Zoho.
pub fn is_id(text: &str) -> bool {
    (1..=32).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit())
}

fn is_result(text: &str) -> bool {
    !text.trim().is_empty() && text.chars().count() <= 120
}
