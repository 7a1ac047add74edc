//! What a configuration says under `settings`.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use switchboard_domain::ConfigError;

use crate::fields::Fields;

/// The external id of tasks that holds our key, where a configuration names no other field.
pub const FIELD: &str = "Switchboard_Call_Key__c";
const VERSION: &str = "v62.0";

/// What a configuration says under `settings`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The external id of tasks that holds our key.
    pub field: String,
    /// The version of the REST API.
    pub version: String,
    /// The status of a task that is over.
    pub status: String,
    /// What is created for an unknown number.
    pub creates: Creates,
    /// Salesforce's users by the directory's employees.
    pub owners: BTreeMap<String, String>,
}

/// What is created for an unknown number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Creates {
    /// A contact.
    #[default]
    Contact,
    /// A lead.
    Lead,
}

impl Creates {
    /// The object's API name.
    pub fn object(self) -> &'static str {
        match self {
            Self::Contact => "Contact",
            Self::Lead => "Lead",
        }
    }
}

impl Settings {
    /// Reads and checks them.
    pub fn read(settings: Value) -> Result<Self, ConfigError> {
        let mut fields = Fields::of("settings", "settings.", settings)?;
        let field = fields.checked(
            "field",
            "must be the API name of a field, as Switchboard_Call_Key__c",
            |field: &String| is_api_name(field),
        )?;
        let version = fields.checked(
            "api_version",
            "must be a version of the REST API, as v62.0",
            |version: &String| is_version(version),
        )?;
        let status = fields.checked(
            "status",
            "must be a status of tasks, as Completed",
            |status: &String| !status.trim().is_empty() && status.chars().count() <= 40,
        )?;
        let creates = fields.optional("creates", "must be contact or lead")?;
        let owners = fields.owners(
            "must be an object of user ids, 15 or 18 letters and digits, by employee ids",
            is_id,
        )?;
        fields.end()?;
        Ok(Self {
            field: field.unwrap_or_else(|| FIELD.to_owned()),
            version: version.unwrap_or_else(|| VERSION.to_owned()),
            status: status.unwrap_or_else(|| "Completed".to_owned()),
            creates: creates.unwrap_or_default(),
            owners,
        })
    }
}

fn is_api_name(field: &str) -> bool {
    let is_plain = |b: u8| b == b'_' || b.is_ascii_alphanumeric();
    field.starts_with(|c: char| c.is_ascii_alphabetic())
        && field.len() <= 80
        && field.bytes().all(is_plain)
}

/// From v46 on the response to an upsert holds the id.
fn is_version(version: &str) -> bool {
    let number = version.strip_prefix('v').and_then(|rest| rest.strip_suffix(".0"));
    number
        .and_then(|number| number.parse::<u16>().ok())
        .is_some_and(|version| (46..1_000).contains(&version))
}

fn is_id(id: &str) -> bool {
    [15, 18].contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric())
}
