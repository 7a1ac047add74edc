//! The update expressions that the functions write with: `SET`, `ADD`, `REMOVE` and `DELETE` of one
//! attribute each.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::condition::name;

/// What an update makes of an item (`None`: there is none, so it begins as its key). `None` is an
/// update that is not known here: it must not be taken for done.
pub fn updated(
    expression: &str,
    item: Option<&Value>,
    key: &Value,
    names: &Value,
    values: &Value,
) -> Option<Value> {
    let mut new = item.unwrap_or(key).clone();
    let attributes = new.as_object_mut()?;
    let mut words = expression.split_whitespace().peekable();
    words.peek()?;
    while let Some(clause) = words.next() {
        let name = name(words.next()?, names).filter(|name| !matches!(*name, "pk" | "sk"))?;
        if clause == "REMOVE" {
            attributes.remove(name);
            continue;
        }
        if clause == "SET" && words.next()? != "=" {
            return None;
        }
        let value = values.get(words.next()?)?;
        let old = attributes.get(name);
        let value = match clause {
            "SET" => Some(value.clone()),
            "ADD" => Some(added(old, value)?),
            "DELETE" => taken(old, value)?,
            _ => return None,
        };
        match value {
            Some(value) => drop(attributes.insert(name.to_owned(), value)),
            None => drop(attributes.remove(name)),
        }
    }
    Some(new)
}

fn set(value: &Value) -> Option<BTreeSet<&str>> {
    value.get("SS")?.as_array()?.iter().map(Value::as_str).collect()
}

fn added(old: Option<&Value>, value: &Value) -> Option<Value> {
    let number = |value: &Value| value.get("N")?.as_str()?.parse::<i64>().ok();
    match (old, number(value)) {
        (None, Some(_)) => Some(value.clone()),
        (None, None) => set(value).map(|_| value.clone()),
        (Some(old), Some(more)) => Some(json!({"N": number(old)?.checked_add(more)?.to_string()})),
        (Some(old), None) => Some(json!({"SS": &set(old)? | &set(value)?})),
    }
}

/// A set without its last member is no attribute any more.
fn taken(old: Option<&Value>, value: &Value) -> Option<Option<Value>> {
    let value = set(value)?;
    let Some(old) = old else { return Some(None) };
    let left = &set(old)? - &value;
    Some((!left.is_empty()).then(|| json!({ "SS": left })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_updates_are_made_and_others_are_not() {
        let item = json!({
            "pk": {"S": "a"}, "n": {"N": "2"}, "ids": {"SS": ["x", "y"]}, "own": {"BOOL": true},
        });
        let names = json!({"#n": "n", "#ids": "ids"});
        let values = json!({
            ":one": {"N": "1"}, ":x": {"SS": ["x"]}, ":z": {"SS": ["z"]},
            ":both": {"SS": ["y", "x"]}, ":yes": {"BOOL": true},
        });
        let with = |change: &dyn Fn(&mut serde_json::Map<String, Value>)| {
            let mut item = item.clone();
            change(item.as_object_mut().unwrap());
            Some(item)
        };
        let put = |name: &'static str, value: Value| {
            with(&|item| drop(item.insert(name.to_owned(), value.clone())))
        };
        let cases = [
            ("ADD #n :one", put("n", json!({"N": "3"}))),
            ("ADD new :one", put("new", json!({"N": "1"}))),
            ("ADD #ids :z", put("ids", json!({"SS": ["x", "y", "z"]}))),
            ("ADD #ids :x", put("ids", json!({"SS": ["x", "y"]}))),
            ("DELETE ids :x", put("ids", json!({"SS": ["y"]}))),
            ("DELETE ids :both", with(&|item| drop(item.remove("ids")))),
            ("DELETE absent :x", Some(item.clone())),
            ("REMOVE own", with(&|item| drop(item.remove("own")))),
            ("SET own = :yes", Some(item.clone())),
            (
                "ADD #n :one SET until = :yes",
                with(&|item| {
                    item.insert("n".into(), json!({"N": "3"}));
                    item.insert("until".into(), json!({"BOOL": true}));
                }),
            ),
            ("", None),
            ("ADD own :one", None),
            ("ADD #ids :one", None),
            ("ADD n :x", None),
            ("ADD #unknown :one", None),
            ("ADD n :unknown", None),
            ("SET n = n + :one", None),
            ("SET n = if_not_exists(n, :one)", None),
            ("REMOVE own, n", None),
            ("SET pk = :yes", None),
            ("PUT n :one", None),
        ];
        for (expression, expected) in cases {
            let found = updated(expression, Some(&item), &Value::Null, &names, &values);
            assert_eq!(found, expected, "{expression}");
        }
    }

    #[test]
    fn an_update_of_what_is_not_there_begins_with_its_key() {
        let (key, values) =
            (json!({"pk": {"S": "a"}, "sk": {"S": "b"}}), json!({":x": {"SS": ["x"]}}));
        let found = updated("ADD ids :x", None, &key, &Value::Null, &values);
        assert_eq!(found, Some(json!({"pk": {"S": "a"}, "sk": {"S": "b"}, "ids": {"SS": ["x"]}})));
    }
}
