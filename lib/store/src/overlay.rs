//! A table for a dry run: it reads what is stored, and keeps what is written in memory, so that a dry
//! run takes the very way of the run that it shows.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;

use crate::table::{Condition, Item, Key, PRIMARY, Page, Query, Table, Unmet, Write, Written};
use crate::{MemoryTable, StoreError};

/// A table over another. Scans and indexes show what is stored, without what was written here.
pub struct Overlay {
    below: Arc<dyn Table>,
    above: MemoryTable,
    /// The keys whose items are `above`, or are deleted.
    above_keys: Mutex<BTreeSet<Key>>,
}

impl Overlay {
    /// With no writes yet.
    pub fn new(below: Arc<dyn Table>) -> Self {
        Self { below, above: MemoryTable::default(), above_keys: Mutex::default() }
    }

    fn is_above(&self, key: &Key) -> bool {
        self.above_keys.lock().unwrap_or_else(PoisonError::into_inner).contains(key)
    }

    /// Copies an item up before it is written.
    async fn raise(&self, key: Key) -> Result<(), StoreError> {
        if self.is_above(&key) {
            return Ok(());
        }
        if let Some(item) = self.below.get(&key).await? {
            self.above.write(Write::put(item)).await?;
        }
        self.above_keys.lock().unwrap_or_else(PoisonError::into_inner).insert(key);
        Ok(())
    }
}

#[async_trait]
impl Table for Overlay {
    async fn get(&self, key: &Key) -> Result<Option<Item>, StoreError> {
        match self.is_above(key) {
            true => self.above.get(key).await,
            false => self.below.get(key).await,
        }
    }

    async fn batch_get(&self, keys: &[Key], paths: &[&[&str]]) -> Result<Vec<Item>, StoreError> {
        let (above, below): (Vec<Key>, Vec<Key>) =
            keys.iter().cloned().partition(|key| self.is_above(key));
        let mut items = Vec::with_capacity(keys.len());
        if !above.is_empty() {
            items.extend(self.above.batch_get(&above, paths).await?);
        }
        if !below.is_empty() {
            items.extend(self.below.batch_get(&below, paths).await?);
        }
        Ok(items)
    }

    async fn query(&self, query: &Query) -> Result<Page, StoreError> {
        let mut page = self.below.query(query).await?;
        if query.index != &PRIMARY {
            return Ok(page);
        }
        page.items.retain(|item| Key::of(item).is_none_or(|key| !self.is_above(&key)));
        let end = page.next.as_ref().and_then(Key::of);
        let is_in_page = |item: &Item| match (&end, Key::of(item)) {
            (Some(end), Some(key)) if query.backward => key >= *end,
            (Some(end), Some(key)) => key <= *end,
            _ => true,
        };
        let mut start = query.start.clone();
        loop {
            let above = self.above.query(&query.clone().start(start)).await?;
            page.items.extend(above.items.into_iter().filter(is_in_page));
            start = above.next;
            if start.is_none() {
                break;
            }
        }
        page.items.sort_by_cached_key(Key::of);
        if query.backward {
            page.items.reverse();
        }
        Ok(page)
    }

    async fn scan(&self, filter: &Condition, start: Option<Item>) -> Result<Page, StoreError> {
        self.below.scan(filter, start).await
    }

    async fn write(&self, write: Write) -> Result<Written, StoreError> {
        if let Some(key) = write.key() {
            self.raise(key).await?;
        }
        self.above.write(write).await
    }

    async fn transact(&self, writes: Vec<Write>) -> Result<Vec<Unmet>, StoreError> {
        for key in writes.iter().filter_map(Write::key) {
            self.raise(key).await?;
        }
        self.above.transact(writes).await
    }
}
