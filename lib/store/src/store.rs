//! The store of calls and of all that belongs to them: what its files have in common.

use std::sync::Arc;

use aws_sdk_dynamodb::Client;
use jiff::Timestamp;

use crate::item::{from_item, number};
use crate::table::{self, Condition, Item, Key, Query, Table, Value, Write};
use crate::{DynamoTable, MemoryTable, Overlay, StoreError};

pub(crate) const SECONDS_PER_DAY: i64 = 86_400;

/// The table of calls and of all that belongs to them. Clones share it.
///
/// Every write is conditional: a writer overwrites only the version that it has read.
#[derive(Clone)]
pub struct Store {
    pub(crate) table: Arc<dyn Table>,
    pub(crate) retention_days: u32,
}

impl Store {
    /// Over a table, which deletes what is written here after `retention_days`.
    pub fn new(table: impl Table + 'static, retention_days: u32) -> Self {
        Self { table: Arc::new(table), retention_days }
    }

    /// Over the DynamoDB table of this name.
    pub fn dynamodb(client: &Client, table: String, retention_days: u32) -> Self {
        Self::new(DynamoTable::new(client, table), retention_days)
    }

    /// Over an empty table in memory.
    pub fn in_memory() -> Self {
        Self::new(MemoryTable::default(), 400)
    }

    /// The same store in a dry run: it reads what is stored, and keeps what it writes in memory.
    pub fn dry_run(&self) -> Self {
        Self::new(Overlay::new(self.table.clone()), self.retention_days)
    }

    /// Opens a connection, so that the first request need not wait for it, by a put whose condition
    /// cannot hold: a function that may put has the right to it. The response does not matter.
    pub async fn connect(&self) {
        let impossible = Condition::All(vec![Condition::Exists("pk"), Condition::Absent("pk")]);
        let put = Write::put(Key::new("connect", "connect").item()).only_if(impossible);
        let _ = self.table.write(put).await;
    }

    /// When what is written now is deleted, in seconds of Unix time.
    pub(crate) fn expires_at(&self) -> Value {
        expires_after(self.retention_days)
    }

    pub(crate) async fn read<T: serde::de::DeserializeOwned>(
        &self,
        what: &'static str,
        key: Key,
    ) -> Result<Option<T>, StoreError> {
        self.table.get(&key).await?.map(|item| from_item(what, item)).transpose()
    }

    pub(crate) async fn put(&self, item: Item) -> Result<(), StoreError> {
        self.table.write(Write::put(item)).await.map(|_| ())
    }

    /// Puts an item under the condition that the stored version is `version` (0: that there is none).
    pub(crate) async fn put_version(&self, item: Item, version: u64) -> Result<PutIf, StoreError> {
        let put = Write::put(item).only_if(Condition::version(version));
        Ok(PutIf::of(self.table.write(put).await?.is_done(), version))
    }

    /// Every item that a query finds.
    pub(crate) async fn all(&self, query: Query) -> Result<Vec<Item>, StoreError> {
        Ok(table::all(&*self.table, query, usize::MAX).await?.0)
    }
}

pub(crate) fn expires_after(days: u32) -> Value {
    let seconds = i64::from(days).saturating_mul(SECONDS_PER_DAY);
    number(Timestamp::now().as_second().saturating_add(seconds))
}

/// What became of a conditional write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutIf {
    /// Written (or deleted). The new version.
    Stored(u64),
    /// Not written: what is stored has another version, or is gone.
    Conflict,
}

impl PutIf {
    pub(crate) fn of(done: bool, version: u64) -> Self {
        if done { Self::Stored(version + 1) } else { Self::Conflict }
    }
}

/// A page of what is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T, C = Cursor> {
    /// What was read. A page may be empty and not the last one.
    pub items: Vec<T>,
    /// Where the next page begins, if there may be one.
    pub next: Option<C>,
}

impl<T, C> Default for Page<T, C> {
    fn default() -> Self {
        Self { items: Vec::new(), next: None }
    }
}

impl<T, C> Page<T, C> {
    /// The same page of what `change` makes of each.
    pub fn map<U>(self, change: impl FnMut(T) -> U) -> Page<U, C> {
        Page { items: self.items.into_iter().map(change).collect(), next: self.next }
    }
}

impl<T> Page<T> {
    pub(crate) fn read(
        page: table::Page,
        read: impl FnMut(Item) -> Result<T, StoreError>,
    ) -> Result<Self, StoreError> {
        let items = page.items.into_iter().map(read).collect::<Result<_, _>>()?;
        Ok(Self { items, next: page.next.map(Cursor) })
    }
}

/// Where a page begins: opaque to all but the table that made it.
#[derive(Clone, PartialEq, Eq)]
pub struct Cursor(pub(crate) Item);

impl std::fmt::Debug for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Cursor")
    }
}
