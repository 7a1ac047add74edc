//! What the directory's items look like: keys, attributes, and places in the index.

use std::collections::BTreeSet;

use jiff::Timestamp;
use switchboard_domain::directory::{ContactKind, Entry, EntryFault, Handle, Holder};
use switchboard_domain::{CallKey, Name};

use crate::StoreError;
use crate::directory::EntryCursor;
use crate::dynamodb::{Item, damaged, from_item, primary_key, text, to_item, version_after};

pub(super) const ENTRY: &str = "entry";
pub(super) const LEAD: &str = "lead";
pub(super) const HOLDERS: &str = "holders";
pub(super) const CONTACTS: &str = "contact";
pub(super) const EMPLOYEES: &str = "employee";
pub(super) const ACTIVITY: &str = "activity#";

/// What cannot be found again is not stored.
pub(super) fn checked(entry: &Entry) -> Result<(), StoreError> {
    let refused =
        |fault: EntryFault| StoreError::Refused { operation: "write", code: fault.to_string() };
    entry.check().map_err(refused)
}

pub(super) fn entry_pk(holder: &Holder) -> String {
    match holder {
        Holder::Contact(id) => format!("{CONTACTS}#{id}"),
        Holder::Employee(id) => format!("{EMPLOYEES}#{id}"),
        Holder::Own => "own".to_owned(),
    }
}

/// Whose an index entry is.
pub(super) fn holder_of(key: &Item) -> Option<Holder> {
    let (kind, id) = key.get("pk")?.as_s().ok()?.split_once('#')?;
    match kind {
        CONTACTS => Name::new("contact", id).ok().map(Holder::Contact),
        EMPLOYEES => Name::new("employee", id).ok().map(Holder::Employee),
        _ => None,
    }
}

pub(super) fn entry_item(entry: &Entry) -> Result<Item, StoreError> {
    let (mut item, list) = match entry {
        Entry::Contact(contact) => (to_item("contact", contact)?, CONTACTS),
        Entry::Employee(employee) => (to_item("employee", employee)?, EMPLOYEES),
    };
    item.insert("version".into(), version_after(entry.version()));
    item.insert("pk".into(), text(entry_pk(&entry.holder())));
    item.insert("sk".into(), text(ENTRY.to_owned()));
    item.insert("list".into(), text(list.to_owned()));
    item.insert("place".into(), text(entry.id().to_string()));
    Ok(item)
}

pub(super) fn entry(item: Item) -> Result<Entry, StoreError> {
    match item.get("list").and_then(|list| list.as_s().ok()).map(String::as_str) {
        Some(CONTACTS) => from_item("contact", item).map(Entry::Contact),
        Some(EMPLOYEES) => from_item("employee", item).map(Entry::Employee),
        _ => Err(damaged("entry", "it is neither a contact nor an employee")),
    }
}

/// Where a lead stands in the list of leads; nowhere, if it is none.
pub(super) fn lead_place(entry: &Entry) -> Option<String> {
    match entry {
        Entry::Contact(contact) if contact.kind == ContactKind::Lead => {
            Some(format!("{}#{}", contact.status.as_deref().unwrap_or_default(), contact.id))
        }
        _ => None,
    }
}

pub(super) fn handle_pk(handle: &Handle) -> String {
    match handle {
        Handle::Number(number) => format!("number#{}", number.expose()),
        Handle::Extension(extension) => {
            let source = extension.source.as_ref().map_or("", Name::as_str);
            format!("extension#{source}#{}", extension.number.expose())
        }
        Handle::Email(email) => format!("email#{}", email.expose()),
        Handle::External(id) => format!("external#{}", id.expose()),
    }
}

pub(super) fn handle_key(handle: &Handle) -> Item {
    primary_key(handle_pk(handle), HOLDERS.to_owned())
}

/// In which set of a handle a holder is, and as what.
pub(super) fn set_of(holder: &Holder) -> (&'static str, String) {
    match holder {
        Holder::Contact(id) => ("contacts", id.to_string()),
        Holder::Employee(id) => ("employees", id.to_string()),
        Holder::Own => ("own", String::new()),
    }
}

pub(super) fn holders_of(item: &Item) -> Result<BTreeSet<Holder>, StoreError> {
    let ids = |set: &str, holder: fn(Name) -> Holder| {
        let ids = item.get(set).and_then(|set| set.as_ss().ok()).into_iter().flatten();
        let wrong = |_| damaged("handle", "a holder's id is no id");
        ids.map(move |id| Name::new("id", id).map(holder).map_err(wrong))
    };
    let own = item.contains_key("own").then_some(Ok(Holder::Own));
    ids("contacts", Holder::Contact).chain(ids("employees", Holder::Employee)).chain(own).collect()
}

pub(super) fn contact_id(holder: Holder) -> Option<Name> {
    match holder {
        Holder::Contact(id) => Some(id),
        Holder::Employee(_) | Holder::Own => None,
    }
}

pub(super) fn entry_place(place: &str) -> Option<Item> {
    let id = Name::new("contact", place).ok()?;
    Some(primary_key(entry_pk(&Holder::Contact(id)), ENTRY.to_owned()))
}

/// All keys of the index entry at a place.
pub(super) fn start_at(
    EntryCursor(place): EntryCursor,
    list: &str,
    key: impl Fn(&str) -> Option<Item>,
) -> Result<Item, StoreError> {
    let wrong = || damaged("cursor", "it is not one of this list");
    let mut start = key(&place).ok_or_else(wrong)?;
    start.insert("list".into(), text(list.to_owned()));
    start.insert("place".into(), text(place));
    Ok(start)
}

pub(super) fn timeline(contact: &Name) -> String {
    format!("timeline#{contact}")
}

pub(super) fn activity_sk(call: &CallKey) -> String {
    format!("{ACTIVITY}{call}")
}

/// Sorts by time: written with all its digits.
pub(super) fn activity_place(at: Timestamp, call: &CallKey) -> String {
    format!("{at:.9}#{call}")
}
