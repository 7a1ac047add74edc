//! What is shown of people: personal values masked, unless the caller may see them.

use serde_json::{Map, Value, json};
use switchboard_domain::Personal;
use switchboard_domain::directory::{Activity, Contact, Employee, Entry, Extension};

use crate::access::Caller;

fn all<'a>(values: impl IntoIterator<Item = &'a Personal>, caller: &Caller) -> Value {
    values.into_iter().map(|value| caller.show(value)).collect()
}

/// Without what is not known.
fn known(fields: Value) -> Value {
    match fields {
        Value::Object(fields) => {
            let known = fields.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(known.collect::<Map<_, _>>())
        }
        other => other,
    }
}

pub(super) fn entry(entry: &Entry, caller: &Caller) -> Value {
    match entry {
        Entry::Contact(one) => contact(one, caller),
        Entry::Employee(one) => employee(one, caller),
    }
}

pub(super) fn contact(contact: &Contact, caller: &Caller) -> Value {
    known(json!({
        "id": contact.id,
        "kind": contact.kind,
        "name": caller.show_known(contact.name.as_ref()),
        "numbers": all(&contact.numbers, caller),
        "emails": all(&contact.emails, caller),
        "external_ids": all(&contact.external_ids, caller),
        "status": contact.status,
        "last_contacted_at": contact.last_contacted_at,
        "origin": contact.origin,
        "updated_at": contact.updated_at,
        "version": contact.version,
    }))
}

pub(super) fn employee(employee: &Employee, caller: &Caller) -> Value {
    let extension = |one: &Extension| {
        known(json!({ "source": one.source, "number": caller.show(&one.number) }))
    };
    known(json!({
        "id": employee.id,
        "kind": "employee",
        "name": caller.show_known(employee.name.as_ref()),
        "numbers": all(&employee.numbers, caller),
        "extensions": employee.extensions.iter().map(extension).collect::<Vec<_>>(),
        "emails": all(&employee.emails, caller),
        "external_ids": all(&employee.external_ids, caller),
        "origin": employee.origin,
        "updated_at": employee.updated_at,
        "version": employee.version,
    }))
}

pub(super) fn activity(activity: &Activity, caller: &Caller) -> Value {
    known(json!({
        "call": activity.call,
        "at": activity.at,
        "direction": activity.direction,
        "outcome": activity.outcome,
        "talk_seconds": activity.talk,
        "recording": caller.show_known(activity.recording.as_ref()),
        "employee": activity.employee,
    }))
}

pub(super) fn own_number(number: &Personal, own: bool, caller: &Caller) -> Value {
    json!({ "number": caller.show(number), "own": own })
}
