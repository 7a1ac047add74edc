//! What a configuration says under `settings`.

use std::collections::BTreeMap;

use serde_json::Value;
use switchboard_domain::ConfigError;

use crate::fields::Fields;

/// What a configuration says under `settings`.
#[derive(Debug)]
pub struct Settings {
    /// The owner of an entry: Pipedrive's user, by the directory's employee.
    pub owners: BTreeMap<String, u64>,
}

impl Settings {
    /// Reads and checks them.
    pub fn read(settings: Value) -> Result<Self, ConfigError> {
        const OWNERS: &str = "must be an object: the directory's id of an employee, and the id of \
                              Pipedrive's user, a whole number";
        let mut fields = Fields::of("settings", "settings.", settings)?;
        let owners = fields.optional("owners", OWNERS)?.unwrap_or_default();
        fields.end()?;
        Ok(Self { owners })
    }
}
