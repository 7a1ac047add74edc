//! The changes of a call, by the names of its facts and without personal values.

use serde_json::{Map, Value};
use switchboard_domain::CallRecord;

/// Facts that are not personal, and so are shown with their values.
const PUBLIC: [&str; 12] = [
    "outcome",
    "state",
    "disposition",
    "answered_by",
    "direction",
    "started_at",
    "answered_at",
    "ended_at",
    "talk",
    "total",
    "billed",
    "flags",
];

/// A call that was not stored before.
pub fn new(call: &CallRecord) -> String {
    let facts = facts(call).into_iter().map(|(name, value)| match is_public(&name) {
        true => format!("{name} {}", text(Some(&value))),
        false => name,
    });
    format!("new call {}: {}{}", call.key, join(facts), owes(call))
}

/// The changes of a stored call: `None` if there are none.
pub fn between(before: &CallRecord, after: &CallRecord) -> Option<String> {
    if (&before.updates, &before.call) == (&after.updates, &after.call) {
        return None;
    }
    let (old, mut new) = (facts(before), facts(after));
    let mut changes = Vec::new();
    for (name, old) in &old {
        let new = new.remove(name);
        match &new {
            Some(new) if new == old => {}
            _ if is_public(name) => {
                changes.push(format!("{name} {} → {}", text(Some(old)), text(new.as_ref())));
            }
            Some(_) => changes.push(format!("{name} changed")),
            None => changes.push(format!("{name} gone")),
        }
    }
    for (name, new) in &new {
        match is_public(name) {
            true => changes.push(format!("{name} – → {}", text(Some(new)))),
            false => changes.push(format!("{name} new")),
        }
    }
    if changes.is_empty() {
        let count = after.updates.iter().filter(|(id, one)| before.updates.get(id) != Some(one));
        changes.push(format!("{} updates changed, the call is the same", count.count()));
    }
    Some(format!("call {}: {}{}", after.key, join(changes), owes(after)))
}

fn facts(call: &CallRecord) -> Map<String, Value> {
    match serde_json::to_value(&call.call) {
        Ok(Value::Object(facts)) => facts,
        _ => Map::new(),
    }
}

fn is_public(name: &str) -> bool {
    PUBLIC.contains(&name)
}

fn text(value: Option<&Value>) -> String {
    match value {
        None => "–".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

fn join(changes: impl IntoIterator<Item = String>) -> String {
    changes.into_iter().collect::<Vec<_>>().join(", ")
}

fn owes(after: &CallRecord) -> &'static str {
    if after.owed.is_empty() { "; nothing follows" } else { "; its follow-ups are due" }
}
