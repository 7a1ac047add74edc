//! Values from and to items.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::StoreError;
use crate::table::{Item, Key, Value};

pub(crate) fn text(value: impl Into<String>) -> Value {
    Value::S(value.into())
}

pub(crate) fn number(value: i64) -> Value {
    Value::N(value.to_string())
}

/// A value as an item under a key. `what` names its kind in an error.
pub(crate) fn to_item<T: Serialize>(
    what: &'static str,
    value: &T,
    key: Key,
) -> Result<Item, StoreError> {
    let item = serde_dynamo::to_item(value);
    let mut item: Item = item.map_err(|_| damaged(what, "it cannot be written as an item"))?;
    item.extend(key.attributes());
    Ok(item)
}

/// As [`to_item`], in the version after the one that was read.
pub(crate) fn to_versioned<T: Serialize>(
    what: &'static str,
    value: &T,
    key: Key,
    version: u64,
) -> Result<Item, StoreError> {
    let mut item = to_item(what, value, key)?;
    item.insert("version".into(), Value::N((version + 1).to_string()));
    Ok(item)
}

/// An item as a value. `what` names its kind in an error.
pub(crate) fn from_item<T: DeserializeOwned>(
    what: &'static str,
    item: Item,
) -> Result<T, StoreError> {
    // The error's text may quote a value, so the error says only that there is one.
    serde_dynamo::from_item(item)
        .map_err(|_| damaged(what, "a field is missing or of another type"))
}

/// What is stored is not as this release writes it.
pub(crate) fn damaged(what: &'static str, problem: &str) -> StoreError {
    StoreError::Damaged { what, problem: problem.to_owned() }
}
