//! The directory: contacts, employees, what they are found by, and timelines.
//!
//! A handle (a number, an extension, an address, an id) is one item with its holders in sets, and not one
//! item for each holder: so that it is free can be a condition of a transaction, and one request reads a
//! hundred.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use aws_sdk_dynamodb::Client;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use switchboard_domain::directory::{Contact, Employee, Entry, Handle, Holder};
use switchboard_domain::{Name, Personal};

use crate::item::damaged;
use crate::table::{BATCH_LIMIT, Change, Condition, Item, Key, Value, Write, text_of};
use crate::{DynamoTable, MemoryTable, Overlay, StoreError, Table, keys};

mod item;
mod lists;
mod upsert;
mod write;

pub use lists::{EntryCursor, EntryPage};
pub use upsert::{Upserted, Upserts, fresh_id};

/// How often a write is decided anew, because what it was decided on has changed meanwhile.
const ATTEMPTS: usize = 10;
/// How many requests of one batch are under way at a time.
const CONCURRENT: usize = 8;

/// The table `directory`. Clones share it.
///
/// Every write of an entry is conditional on its version and keeps what the entry is found by in step, in
/// one transaction.
#[derive(Clone)]
pub struct Directory {
    pub(crate) table: Arc<dyn Table>,
}

impl Directory {
    /// Over a table.
    pub fn new(table: impl Table + 'static) -> Self {
        Self { table: Arc::new(table) }
    }

    /// Over the DynamoDB table of this name.
    pub fn dynamodb(client: &Client, table: String) -> Self {
        Self::new(DynamoTable::new(client, table))
    }

    /// Over an empty table in memory.
    pub fn in_memory() -> Self {
        Self::new(MemoryTable::default())
    }

    /// The same directory in a dry run: it reads what is stored, and keeps what it writes in memory.
    pub fn dry_run(&self) -> Self {
        Self::new(Overlay::new(self.table.clone()))
    }

    /// Opens a connection, so that the first request need not wait for it, with a read that finds
    /// nothing. The response does not matter.
    pub async fn connect(&self) {
        let _ = self.table.get(&Key::new("connect", "connect")).await;
    }

    /// The items under these keys, in no order.
    async fn batch(&self, keys: Vec<Key>) -> Result<Vec<Item>, StoreError> {
        let chunks: Vec<Vec<Key>> = keys.chunks(BATCH_LIMIT).map(<[Key]>::to_vec).collect();
        let read = async |keys: Vec<Key>| self.table.batch_get(&keys, &[]).await;
        let read = stream::iter(chunks).map(read).buffer_unordered(CONCURRENT);
        let items: Vec<Vec<Item>> = read.try_collect().await?;
        Ok(items.into_iter().flatten().collect())
    }

    /// Who is found under each of these handles, consistently. A handle without holders is left out.
    pub async fn holders(
        &self,
        handles: &BTreeSet<Handle>,
    ) -> Result<BTreeMap<Handle, BTreeSet<Holder>>, StoreError> {
        let by_key: HashMap<String, &Handle> =
            handles.iter().map(|handle| (keys::handle(handle).pk, handle)).collect();
        let mut found = BTreeMap::new();
        for item in self.batch(handles.iter().map(keys::handle).collect()).await? {
            let handle = text_of(&item, "pk").and_then(|pk| by_key.get(pk));
            let handle = handle.ok_or_else(|| damaged("handle", "it was not asked for"))?;
            let holders = item::holders_of(&item)?;
            if !holders.is_empty() {
                found.insert((*handle).clone(), holders);
            }
        }
        Ok(found)
    }

    /// Reads contacts and employees, each consistently. One that is not stored is left out.
    pub async fn entries(
        &self,
        holders: &BTreeSet<Holder>,
    ) -> Result<BTreeMap<Holder, Entry>, StoreError> {
        let real = holders.iter().filter(|holder| **holder != Holder::Own);
        let items = self.batch(real.map(keys::entry).collect()).await?.into_iter();
        items.map(|item| item::entry(item).map(|entry| (entry.holder(), entry))).collect()
    }

    async fn entry(&self, holder: Holder) -> Result<Option<Entry>, StoreError> {
        Ok(self.entries(&BTreeSet::from([holder.clone()])).await?.remove(&holder))
    }

    /// Reads a contact, consistently.
    pub async fn contact(&self, id: &Name) -> Result<Option<Contact>, StoreError> {
        match self.entry(Holder::Contact(id.clone())).await? {
            Some(Entry::Contact(contact)) => Ok(Some(contact)),
            _ => Ok(None),
        }
    }

    /// Reads an employee, consistently.
    pub async fn employee(&self, id: &Name) -> Result<Option<Employee>, StoreError> {
        match self.entry(Holder::Employee(id.clone())).await? {
            Some(Entry::Employee(employee)) => Ok(Some(employee)),
            _ => Ok(None),
        }
    }

    /// Sets whether a number is one of our own.
    pub async fn set_own_number(&self, number: &Personal, own: bool) -> Result<(), StoreError> {
        let key = keys::handle(&Handle::Number(number.clone()));
        if own {
            let set = Change::Set("own", Value::Bool(true));
            return self.table.write(Write::update(key, vec![set])).await.map(|_| ());
        }
        let unheld = Condition::All(["contacts", "employees"].map(Condition::Absent).to_vec());
        let held = Condition::Any(["contacts", "employees"].map(Condition::Exists).to_vec());
        for _ in 0..ATTEMPTS {
            let delete = Write::delete(key.clone()).only_if(unheld.clone());
            if self.table.write(delete).await?.is_done() {
                return Ok(());
            }
            let remove = Write::update(key.clone(), vec![Change::Remove("own")]);
            if self.table.write(remove.only_if(held.clone())).await?.is_done() {
                return Ok(());
            }
        }
        Err(StoreError::Unavailable {
            operation: "write",
            code: "its holders kept changing".into(),
        })
    }
}
