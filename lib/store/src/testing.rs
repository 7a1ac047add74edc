//! For tests: looks at all that a table in memory holds, and faults at chosen effects.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

use std::future::Future;

use futures_util::FutureExt as _;
use switchboard_domain::directory::{Activity, Contact};
use switchboard_domain::{CallKey, CallRecord, Digest};

mod effects;
mod watched;

pub use effects::{Effects, Fault, Which};
pub use watched::Watched;

use crate::item::from_item;
use crate::table::{Condition, Item, text_of};
use crate::{Directory, Quarantined, Store, StoreError, Table, keys};

/// The result of a future that never waits, as those of tables in memory.
fn now<T>(future: impl Future<Output = Result<T, StoreError>>) -> T {
    future.now_or_never().expect("a table in memory").expect("a table in memory has no faults")
}

/// Every item of a table in memory of which an attribute exists.
fn items_with(table: &dyn Table, attribute: &'static str) -> Vec<Item> {
    now(async {
        let (mut items, mut start) = (Vec::new(), None);
        loop {
            let page = table.scan(&Condition::Exists(attribute), start).await?;
            items.extend(page.items);
            start = page.next;
            if start.is_none() {
                return Ok(items);
            }
        }
    })
}

fn read<T: serde::de::DeserializeOwned>(what: &'static str, item: Item) -> T {
    from_item(what, item).expect("an item of this kind")
}

impl Store {
    /// The store through another table, which wraps this one's.
    pub fn watched(&self, effects: &Effects) -> Self {
        Self::new(Watched::new(self.table.clone(), effects.clone()), self.retention_days)
    }

    /// Every call of a store in memory, in the order of their keys.
    pub fn calls(&self) -> Vec<CallRecord> {
        let items = items_with(&*self.table, "day_shard").into_iter();
        let mut calls: Vec<CallRecord> = items.map(|item| read("call", item)).collect();
        calls.sort_by(|one, other| one.key.cmp(&other.key));
        calls
    }

    /// Everything in quarantine in a store in memory, with its bytes.
    pub fn all_quarantined(&self) -> Vec<(Quarantined, Vec<u8>)> {
        let items = items_with(&*self.table, "problem").into_iter();
        let is_body =
            |item: &Item| text_of(item, "pk").is_some_and(|pk| pk.starts_with("quarantine#"));
        let bodies = items.filter(is_body).map(|item| read("quarantined body", item));
        bodies.map(|one: Quarantined| (one.clone(), now(self.quarantined_body(&one)))).collect()
    }

    /// Loses a blob of a store in memory, as no table should.
    pub fn lose_blob(&self, key: &CallKey, digest: &Digest) {
        now(self.delete_parts(keys::call_pk(key), &keys::blob_parts(digest)));
    }
}

impl Directory {
    /// The directory through another table, which wraps this one's.
    pub fn watched(&self, effects: &Effects) -> Self {
        Self::new(Watched::new(self.table.clone(), effects.clone()))
    }

    /// Every contact of a directory in memory, in the order of their ids.
    pub fn all_contacts(&self) -> Vec<Contact> {
        let items = items_with(&*self.table, "list").into_iter();
        let items = items.filter(|item| text_of(item, "list") == Some(keys::CONTACTS));
        let mut contacts: Vec<Contact> = items.map(|item| read("contact", item)).collect();
        contacts.sort_by(|one, other| one.id.cmp(&other.id));
        contacts
    }

    /// Every activity of a directory in memory, by contact and call.
    pub fn all_activities(&self) -> Vec<Activity> {
        let is_activity =
            |item: &Item| text_of(item, "sk").is_some_and(|sk| sk.starts_with(keys::ACTIVITIES));
        let items = items_with(&*self.table, "list").into_iter().filter(is_activity);
        let mut all: Vec<Activity> = items.map(|item| read("activity", item)).collect();
        all.sort_by(|one, other| (&one.contact, &one.call).cmp(&(&other.contact, &other.call)));
        all
    }
}
