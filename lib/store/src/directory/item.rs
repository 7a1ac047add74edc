//! What the directory's items look like: attributes, and places in lists.

use std::collections::{BTreeSet, HashMap};

use switchboard_domain::Name;
use switchboard_domain::directory::{ContactKind, Entry, EntryFault, Holder};

use crate::item::{damaged, from_item, text, to_versioned};
use crate::table::{Item, Value, text_of};
use crate::{StoreError, keys};

/// Refuses an entry that could not be found again.
pub(super) fn checked(entry: &Entry) -> Result<(), StoreError> {
    let refused =
        |fault: EntryFault| StoreError::Refused { operation: "write", code: fault.to_string() };
    entry.check().map_err(refused)
}

fn listed(mut item: Item, list: &str, place: &str) -> Item {
    let attributes = [("list", list), ("place", place)];
    let attributes = attributes.map(|(name, value)| (name.to_owned(), text(value)));
    item.extend(HashMap::from(attributes));
    item
}

pub(super) fn entry_item(entry: &Entry) -> Result<Item, StoreError> {
    let (key, version) = (keys::entry(&entry.holder()), entry.version());
    let (item, list) = match entry {
        Entry::Contact(contact) => {
            (to_versioned("contact", contact, key, version)?, keys::CONTACTS)
        }
        Entry::Employee(employee) => {
            (to_versioned("employee", employee, key, version)?, keys::EMPLOYEES)
        }
    };
    Ok(listed(item, list, entry.id().as_str()))
}

pub(super) fn entry(item: Item) -> Result<Entry, StoreError> {
    match text_of(&item, "list") {
        Some(keys::CONTACTS) => from_item("contact", item).map(Entry::Contact),
        Some(keys::EMPLOYEES) => from_item("employee", item).map(Entry::Employee),
        _ => Err(damaged("entry", "it is neither a contact nor an employee")),
    }
}

/// Where a lead stands in the list of leads; `None` for an entry that is no lead.
pub(super) fn lead_place(entry: &Entry) -> Option<String> {
    match entry {
        Entry::Contact(contact) if contact.kind == ContactKind::Lead => {
            Some(format!("{}#{}", contact.status.as_deref().unwrap_or_default(), contact.id))
        }
        _ => None,
    }
}

pub(super) fn lead_item(holder: &Holder, place: &str) -> Item {
    listed(keys::lead(holder).item(), keys::LEADS, place)
}

/// In which set of a handle a holder is, and as what.
pub(super) fn set_of(holder: &Holder) -> (&'static str, Value) {
    match holder {
        Holder::Contact(id) => ("contacts", Value::Ss(vec![id.to_string()])),
        Holder::Employee(id) => ("employees", Value::Ss(vec![id.to_string()])),
        Holder::Own => ("own", Value::Ss(vec![String::new()])),
    }
}

pub(super) fn holders_of(item: &Item) -> Result<BTreeSet<Holder>, StoreError> {
    let ids = |set: &str, holder: fn(Name) -> Holder| {
        let ids = match item.get(set) {
            Some(Value::Ss(ids)) => ids.as_slice(),
            _ => &[],
        };
        let wrong = |_| damaged("handle", "a holder's id is no id");
        ids.iter().map(move |id| Name::new("id", id).map(holder).map_err(wrong))
    };
    let own = item.contains_key("own").then_some(Ok(Holder::Own));
    ids("contacts", Holder::Contact).chain(ids("employees", Holder::Employee)).chain(own).collect()
}
