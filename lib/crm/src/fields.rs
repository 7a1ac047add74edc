//! A configuration read field by field, as JSON.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use switchboard_domain::ConfigError;
use switchboard_http::address::leads_nowhere_public;
use url::Url;

/// The fields of a JSON object, taken out one by one, so that every error names its field and
/// none shows a value.
pub(crate) struct Fields {
    prefix: &'static str,
    map: Map<String, Value>,
}

impl Fields {
    pub(crate) fn of(name: &str, prefix: &'static str, value: Value) -> Result<Self, ConfigError> {
        match value {
            Value::Object(map) => Ok(Self { prefix, map }),
            _ => Err(ConfigError::new(name, "must be a JSON object")),
        }
    }

    pub(crate) fn raw(&mut self, name: &str) -> Option<Value> {
        self.map.remove(name)
    }

    pub(crate) fn optional<T: DeserializeOwned>(
        &mut self,
        name: &str,
        expected: &str,
    ) -> Result<Option<T>, ConfigError> {
        let Some(value) = self.raw(name) else { return Ok(None) };
        serde_json::from_value(value).map(Some).map_err(|_| self.fault(name, expected))
    }

    /// An optional field whose value must be valid as well. The error is the same.
    pub(crate) fn checked<T: DeserializeOwned>(
        &mut self,
        name: &str,
        expected: &str,
        is_valid: impl FnOnce(&T) -> bool,
    ) -> Result<Option<T>, ConfigError> {
        match self.optional(name, expected)? {
            Some(value) if !is_valid(&value) => Err(self.fault(name, expected)),
            value => Ok(value),
        }
    }

    /// The CRM's users by the directory's employees: `owners`, where each id must be valid.
    pub(crate) fn owners(
        &mut self,
        expected: &str,
        is_id: fn(&str) -> bool,
    ) -> Result<BTreeMap<String, String>, ConfigError> {
        let all = |owners: &BTreeMap<String, String>| owners.values().all(|id| is_id(id));
        Ok(self.checked("owners", expected, all)?.unwrap_or_default())
    }

    pub(crate) fn required<T: DeserializeOwned>(
        &mut self,
        name: &str,
        expected: &str,
    ) -> Result<T, ConfigError> {
        self.optional(name, expected)?
            .ok_or_else(|| self.fault(name, format!("is missing: {expected}")))
    }

    pub(crate) fn fault(&self, name: &str, problem: impl Into<String>) -> ConfigError {
        ConfigError::new(format!("{}{name}", self.prefix), problem)
    }

    /// Refuses what was not taken out: a misspelt field would silently do nothing.
    pub(crate) fn end(self) -> Result<(), ConfigError> {
        let Some(name) = self.map.keys().next() else { return Ok(()) };
        // A secret in the place of a name is not shown either.
        let looks_like_a_name =
            name.len() <= 24 && name.bytes().all(|b| b == b'_' || b.is_ascii_lowercase());
        let name = if looks_like_a_name { name } else { "(a field)" };
        Err(self.fault(name, "is not a field that exists here"))
    }
}

/// Reads the URL of another system. With `allow_private`, for a stage on one's own machine, it may be
/// `http` and lead to private addresses.
pub(crate) fn read_url(field: &str, text: &str, allow_private: bool) -> Result<Url, ConfigError> {
    let fault = |problem: &str| Err(ConfigError::new(field, problem));
    let Ok(url) = Url::parse(text) else {
        return fault("is not a URL, as https://crm.example.com/calls");
    };
    match url.scheme() {
        "https" => {}
        "http" if allow_private => {}
        _ => return fault("must begin with https://"),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return fault("must not hold a user or password: use auth");
    }
    if url.fragment().is_some() {
        return fault("must not have a fragment (#…): it would not be sent");
    }
    if !allow_private && leads_nowhere_public(&url) {
        return fault("must not lead to a private, local or otherwise special address");
    }
    Ok(url)
}

/// Words as a sentence lists them: `a, b or c`.
pub(crate) fn listed<'a>(words: impl Iterator<Item = &'a str>) -> String {
    let words: Vec<&str> = words.collect();
    match words.split_last() {
        Some((last, [])) => (*last).to_owned(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
        None => String::new(),
    }
}
