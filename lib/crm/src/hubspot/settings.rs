//! What a configuration says under `settings`.

use std::collections::BTreeMap;

use serde_json::Value;
use switchboard_domain::ConfigError;

use crate::fields::Fields;

/// The unique property of calls that holds our key, where a configuration names no other.
pub const PROPERTY: &str = "switchboard_call_key";

/// What a configuration says under `settings`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The unique property of calls that holds our key.
    pub property: String,
    /// HubSpot's owners by the directory's employees.
    pub owners: BTreeMap<String, String>,
}

impl Settings {
    /// Reads and checks them.
    pub fn read(settings: Value) -> Result<Self, ConfigError> {
        let mut fields = Fields::of("settings", "settings.", settings)?;
        let property = fields.checked(
            "property",
            "must be a property's internal name: small letters, digits and _, 64 at most",
            |name: &String| is_internal_name(name),
        )?;
        let owners =
            fields.owners("must be an object of owner ids, in digits, by employee ids", is_id)?;
        fields.end()?;
        let property = property.unwrap_or_else(|| PROPERTY.to_owned());
        Ok(Self { property, owners })
    }
}

fn is_internal_name(name: &str) -> bool {
    let is_plain = |b: u8| b == b'_' || b.is_ascii_lowercase() || b.is_ascii_digit();
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.len() <= 64
        && name.bytes().all(is_plain)
}

fn is_id(id: &str) -> bool {
    !id.is_empty() && id.bytes().all(|b| b.is_ascii_digit())
}
