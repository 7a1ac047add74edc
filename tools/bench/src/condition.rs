//! The condition expressions that the functions write under.

use std::collections::BTreeSet;

use serde_json::{Value, json};

/// Whether a condition holds of an item (`None`: there is none). `None` is a condition that is not
/// known here: the answer to that must not be yes.
pub fn holds(
    expression: &str,
    item: Option<&Value>,
    names: &Value,
    values: &Value,
) -> Option<bool> {
    let both = |all: &str| {
        all.split(" AND ")
            .map(|part| one(part.trim(), item, names, values))
            .try_fold(true, |all, this| Some(all & this?))
    };
    expression.split(" OR ").map(both).try_fold(false, |any, this| Some(any | this?))
}

/// An attribute's name, as it stands or by its placeholder; `None`: it is neither.
pub fn name<'a>(word: &'a str, names: &'a Value) -> Option<&'a str> {
    if word.starts_with('#') {
        return names.get(word)?.as_str();
    }
    let is_name = !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    is_name.then_some(word)
}

fn one(part: &str, item: Option<&Value>, names: &Value, values: &Value) -> Option<bool> {
    let attribute = |name: &str| item.and_then(|item| item.get(name));
    let argument = |text: &'_ str, function: &str| {
        let word = text.strip_prefix(function)?.strip_prefix('(')?.strip_suffix(')')?;
        name(word, names).map(str::to_owned)
    };
    if let Some(name) = argument(part, "attribute_not_exists") {
        return Some(attribute(&name).is_none());
    }
    if let Some(name) = argument(part, "attribute_exists") {
        return Some(attribute(&name).is_some());
    }
    let (left, operator, right) = ["=", "<", ">"].into_iter().find_map(|operator| {
        let (left, right) = part.split_once(&format!(" {operator} "))?;
        Some((left, operator, right))
    })?;
    let right = values.get(right)?;
    let left = match argument(left, "size") {
        Some(name) => match attribute(&name) {
            Some(value) => Some(size(value)?),
            None => None,
        },
        None => attribute(name(left, names)?).cloned(),
    };
    // What is not there is not equal to, less or more than anything.
    let Some(left) = left else { return Some(false) };
    match operator {
        "=" => Some(is_same(&left, right)),
        "<" => Some(number(&left)? < number(right)?),
        _ => Some(number(&left)? > number(right)?),
    }
}

fn number(value: &Value) -> Option<i64> {
    value.get("N")?.as_str()?.parse().ok()
}

/// How many a set has: nothing else's size is asked for.
fn size(value: &Value) -> Option<Value> {
    Some(json!({"N": value.get("SS")?.as_array()?.len().to_string()}))
}

/// Sets have no order.
fn is_same(a: &Value, b: &Value) -> bool {
    let set = |value: &Value| -> Option<BTreeSet<String>> {
        value.get("SS")?.as_array()?.iter().map(|id| id.as_str().map(str::to_owned)).collect()
    };
    match (set(a), set(b)) {
        (Some(a), Some(b)) => a == b,
        _ => a == b,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn known_conditions_are_judged_and_others_are_not() {
        let item = json!({
            "pk": {"S": "a"}, "version": {"N": "2"}, "ids": {"SS": ["x", "y"]}, "own": {"BOOL": true},
        });
        let names = json!({"#ids": "ids", "#version": "version"});
        let values = json!({
            ":version": {"N": "2"}, ":other": {"N": "3"}, ":one": {"N": "1"}, ":ten": {"N": "10"},
            ":ids": {"SS": ["y", "x"]}, ":x": {"SS": ["x"]}, ":a": {"S": "a"},
        });
        for (expression, there, absent) in [
            ("attribute_not_exists(pk)", Some(false), Some(true)),
            ("attribute_exists(pk)", Some(true), Some(false)),
            ("version = :version", Some(true), Some(false)),
            ("version = :other", Some(false), Some(false)),
            ("attribute_exists(pk) AND attribute_not_exists(frozen)", Some(true), Some(false)),
            ("attribute_exists(pk) AND attribute_exists(frozen)", Some(false), Some(false)),
            ("attribute_not_exists(#version) OR #version < :ten", Some(true), Some(true)),
            ("attribute_not_exists(#version) OR #version < :version", Some(false), Some(true)),
            ("attribute_not_exists(#ids) OR size(#ids) < :other", Some(true), Some(true)),
            ("attribute_not_exists(#ids) OR size(#ids) < :version", Some(false), Some(true)),
            ("size(ids) > :one OR attribute_exists(frozen)", Some(true), Some(false)),
            ("size(ids) > :version OR attribute_exists(frozen)", Some(false), Some(false)),
            ("ids = :ids AND attribute_not_exists(frozen)", Some(true), Some(false)),
            ("ids = :ids AND attribute_not_exists(own)", Some(false), Some(false)),
            ("ids = :x", Some(false), Some(false)),
            ("frozen = :x AND pk = :a OR pk = :a", Some(true), Some(false)),
            ("version = :absent", None, None),
            ("version <= :version", None, None),
            ("version <> :version", None, None),
            ("NOT version = :version", None, None),
            ("(attribute_exists(pk) OR version = :version)", None, None),
            ("attribute_exists(pk) OR begins_with(pk, :a)", None, None),
            ("attribute_exists(#absent)", None, None),
            ("", None, None),
        ] {
            assert_eq!(holds(expression, Some(&item), &names, &values), there, "{expression}");
            assert_eq!(holds(expression, None, &names, &values), absent, "{expression}, no item");
        }
        assert_eq!(holds("size(own) > :one", Some(&item), &names, &values), None);
        assert_eq!(holds("pk < :one", Some(&item), &names, &values), None);
    }
}
