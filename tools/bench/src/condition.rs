//! The few condition expressions that calls and deliveries are written under.

use serde_json::Value;

/// Whether a condition holds of an item (`None`: there is none). `None` is a condition that is not
/// known here: the answer to that must not be yes.
pub fn holds(expression: &str, item: Option<&Value>, values: &Value) -> Option<bool> {
    expression
        .split(" AND ")
        .map(|part| one(part.trim(), item, values))
        .try_fold(true, |all, this| Some(all & this?))
}

fn one(part: &str, item: Option<&Value>, values: &Value) -> Option<bool> {
    let attribute = |name: &str| item.and_then(|item| item.get(name));
    let argument = |function: &str| {
        let name = part.strip_prefix(function)?.strip_prefix('(')?.strip_suffix(')')?;
        is_name(name).then_some(name)
    };
    if let Some(name) = argument("attribute_not_exists") {
        return Some(attribute(name).is_none());
    }
    if let Some(name) = argument("attribute_exists") {
        return Some(attribute(name).is_some());
    }
    let (name, value) = part.split_once(" = ")?;
    let value = values.get(value)?;
    is_name(name).then(|| attribute(name) == Some(value))
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn known_conditions_are_judged_and_others_are_not() {
        let item = json!({"pk": {"S": "a"}, "version": {"N": "2"}});
        let values = json!({":version": {"N": "2"}, ":other": {"N": "3"}});
        for (expression, there, absent) in [
            ("attribute_not_exists(pk)", Some(false), Some(true)),
            ("attribute_exists(pk)", Some(true), Some(false)),
            ("version = :version", Some(true), Some(false)),
            ("version = :other", Some(false), Some(false)),
            ("attribute_exists(pk) AND attribute_not_exists(frozen)", Some(true), Some(false)),
            ("attribute_exists(pk) AND attribute_exists(frozen)", Some(false), Some(false)),
            ("version = :absent", None, None),
            ("version < :version", None, None),
            ("attribute_exists(pk) OR version = :version", None, None),
            ("", None, None),
        ] {
            assert_eq!(holds(expression, Some(&item), &values), there, "{expression}");
            assert_eq!(holds(expression, None, &values), absent, "{expression}, no item");
        }
    }
}
