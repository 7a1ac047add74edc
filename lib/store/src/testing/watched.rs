//! A table whose writes are effects, each called after what it writes.

use std::sync::Arc;

use async_trait::async_trait;

use super::{Effects, Fault};
use crate::StoreError;
use crate::keys::{self, DUE};
use crate::table::{
    Action, Condition, Item, Key, PRIMARY, Page, Query, Range, Table, Unmet, Write, Written,
};

/// A table over another.
pub struct Watched {
    below: Arc<dyn Table>,
    effects: Effects,
}

impl Watched {
    /// With the effects that its writes are among.
    pub fn new(below: Arc<dyn Table>, effects: Effects) -> Self {
        Self { below, effects }
    }
}

fn unavailable<T>(_: Fault) -> Result<T, StoreError> {
    Err(StoreError::Unavailable { operation: "write", code: "test".into() })
}

/// What an item is.
fn kind(Key { pk, sk }: &Key) -> &'static str {
    let by_partition = [
        ("number#", "holders"),
        ("extension#", "holders"),
        ("email#", "holders"),
        ("external#", "holders"),
        (keys::GATES, "gate"),
        ("destination-pace#", "line"),
        ("lease#", "lease"),
        ("sync#", "job"),
        (keys::JOBS, "jobs"),
        ("gap#", "gap"),
        ("press#", "dial request"),
        ("press-rate#", "counter"),
        ("quarantine#", "quarantined"),
        ("quarantine-body#", "quarantined bytes"),
        ("employee#", "employee"),
    ];
    if let Some((_, kind)) = by_partition.iter().find(|(prefix, _)| pk.starts_with(prefix)) {
        return kind;
    }
    let by_sort = [
        (keys::CALL_SK, "call"),
        (keys::DELIVERIES, "delivery"),
        ("analysis", "analysis"),
        (keys::TASKS, "analysis"),
        ("blob#", "blob"),
        (keys::ACTIVITIES, "activity"),
        (keys::ENTRY_SK, "contact"),
        (keys::LEADS, "contact"),
    ];
    by_sort.iter().find(|(prefix, _)| sk.starts_with(prefix)).map_or("item", |(_, kind)| kind)
}

/// What writes do, as one effect.
fn effect(writes: &[Write]) -> &'static str {
    let kinds: Vec<&str> = writes.iter().filter_map(Write::key).map(|key| kind(&key)).collect();
    let deletes = matches!(writes.first().map(|write| &write.action), Some(Action::Delete(_)));
    let is_new =
        writes.first().and_then(|write| write.condition.as_ref()) == Some(&Condition::no_item());
    match kinds.first().copied().unwrap_or_default() {
        "call" if kinds.contains(&"delivery") => "put call and deliveries",
        "call" if kinds.contains(&"analysis") => "put call and analysis",
        "call" => "put call",
        "delivery" => "put delivery",
        "blob" => "put blob",
        "quarantined" if deletes => "release",
        "quarantined" => "quarantine",
        "quarantined bytes" if deletes => "release bytes",
        "quarantined bytes" => "quarantine bytes",
        "gate" => "put gate",
        "line" => "reserve",
        "lease" => "lease",
        "jobs" => "start job",
        "job" => "put job",
        "gap" => "put gap",
        "dial request" => "put dial request",
        "counter" => "count",
        "contact" if deletes => "delete contact",
        "contact" if is_new => "create contact",
        "contact" => "put contact",
        "employee" if deletes => "delete employee",
        "employee" => "put employee",
        "activity" if deletes => "delete activity",
        "activity" => "put activity",
        "holders" => "put holders",
        _ => "write",
    }
}

/// What a query reads.
fn queried(query: &Query) -> &'static str {
    if query.index == &DUE {
        return "due";
    }
    if query.index != &PRIMARY {
        return "list";
    }
    let prefix = match &query.range {
        Range::Prefix(prefix) => prefix.as_str(),
        _ => "",
    };
    match kind(&Key::new(query.partition.as_str(), prefix)) {
        "gate" => "gates",
        "delivery" => "deliveries",
        kind => kind,
    }
}

#[async_trait]
impl Table for Watched {
    async fn get(&self, key: &Key) -> Result<Option<Item>, StoreError> {
        self.effects.read(kind(key), self.below.get(key), unavailable).await
    }

    async fn batch_get(&self, keys: &[Key], paths: &[&[&str]]) -> Result<Vec<Item>, StoreError> {
        let kind = keys.first().map_or("item", kind);
        self.effects.read(kind, self.below.batch_get(keys, paths), unavailable).await
    }

    async fn query(&self, query: &Query) -> Result<Page, StoreError> {
        self.effects.read(queried(query), self.below.query(query), unavailable).await
    }

    async fn scan(&self, filter: &Condition, start: Option<Item>) -> Result<Page, StoreError> {
        self.effects.read("scan", self.below.scan(filter, start), unavailable).await
    }

    async fn write(&self, write: Write) -> Result<Written, StoreError> {
        let what = effect(std::slice::from_ref(&write));
        self.effects.act(what, self.below.write(write), unavailable).await
    }

    async fn transact(&self, writes: Vec<Write>) -> Result<Vec<Unmet>, StoreError> {
        self.effects.act(effect(&writes), self.below.transact(writes), unavailable).await
    }
}
