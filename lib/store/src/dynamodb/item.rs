//! Items: their attributes and versions, and values from and to them.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::StoreError;

/// An item: its attributes by their names.
pub(crate) type Item = HashMap<String, AttributeValue>;

/// The keys of an item.
pub(crate) fn primary_key(pk: String, sk: String) -> Item {
    HashMap::from([("pk".to_owned(), text(pk)), ("sk".to_owned(), text(sk))])
}

/// The condition that the stored version is `version` (0: that there is no item), and its values.
pub(crate) fn version_condition(version: u64) -> (String, Option<Item>) {
    match version {
        0 => ("attribute_not_exists(pk)".to_owned(), None),
        _ => {
            let values = HashMap::from([(":version".to_owned(), number(version as i64))]);
            ("version = :version".to_owned(), Some(values))
        }
    }
}

pub(crate) fn text(value: String) -> AttributeValue {
    AttributeValue::S(value)
}

/// The version that a write makes of the one that was read.
pub(crate) fn version_after(version: u64) -> AttributeValue {
    AttributeValue::N((version + 1).to_string())
}

pub(crate) fn number(value: i64) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

/// A value as an item. `what` names its kind in an error.
pub(crate) fn to_item<T: Serialize>(what: &'static str, value: &T) -> Result<Item, StoreError> {
    serde_dynamo::to_item(value).map_err(|_| damaged(what, "it cannot be written as an item"))
}

/// An item as a value. `what` names its kind in an error.
pub(crate) fn from_item<T: DeserializeOwned>(
    what: &'static str,
    item: Item,
) -> Result<T, StoreError> {
    // The error's text may quote a value, so only its being one is told.
    serde_dynamo::from_item(item)
        .map_err(|_| damaged(what, "a field is missing or of another type"))
}

/// What is stored is not as we write it.
pub(crate) fn damaged(what: &'static str, problem: &str) -> StoreError {
    StoreError::Damaged { what, problem: problem.to_owned() }
}
