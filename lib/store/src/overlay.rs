//! A table for a dry run: it reads what is stored, and keeps what is written in memory, so that a dry
//! run takes the very way of the run that it shows.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::lock::Mutex;

use crate::table::{Condition, Item, Key, PRIMARY, Page, Query, Table, Unmet, Write, Written};
use crate::{MemoryTable, StoreError};

/// A table over another. Scans and indexes show what is stored, without what was written here.
pub struct Overlay {
    below: Arc<dyn Table>,
    above: MemoryTable,
    /// The keys whose items are `above`, or are deleted.
    raised: Mutex<BTreeSet<Key>>,
}

impl Overlay {
    /// With no writes yet.
    pub fn new(below: Arc<dyn Table>) -> Self {
        Self { below, above: MemoryTable::default(), raised: Mutex::default() }
    }

    /// Copies items up before they are written, in one read.
    async fn raise(&self, mut keys: Vec<Key>) -> Result<(), StoreError> {
        let mut raised = self.raised.lock().await;
        keys.retain(|key| !raised.contains(key));
        if !keys.is_empty() {
            for item in self.below.batch_get(&keys, &[]).await? {
                self.above.write(Write::put(item)).await?;
            }
        }
        raised.extend(keys);
        Ok(())
    }
}

#[async_trait]
impl Table for Overlay {
    async fn get(&self, key: &Key) -> Result<Option<Item>, StoreError> {
        match self.raised.lock().await.contains(key) {
            true => self.above.get(key).await,
            false => self.below.get(key).await,
        }
    }

    async fn batch_get(&self, keys: &[Key], paths: &[&[&str]]) -> Result<Vec<Item>, StoreError> {
        let raised = self.raised.lock().await;
        let (above, below): (Vec<Key>, Vec<Key>) =
            keys.iter().cloned().partition(|key| raised.contains(key));
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
        let raised = self.raised.lock().await;
        page.items.retain(|item| Key::of(item).is_none_or(|key| !raised.contains(&key)));
        let end = page.next.as_ref().and_then(Key::of);
        let is_in_page = |item: &Item| match (&end, Key::of(item)) {
            (Some(end), Some(key)) if query.backward => key >= *end,
            (Some(end), Some(key)) => key <= *end,
            _ => true,
        };
        let (above, _) = crate::table::all(&self.above, query.clone(), usize::MAX).await?;
        page.items.extend(above.into_iter().filter(is_in_page));
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
        self.raise(write.key().into_iter().collect()).await?;
        self.above.write(write).await
    }

    async fn transact(&self, writes: Vec<Write>) -> Result<Vec<Unmet>, StoreError> {
        self.raise(writes.iter().filter_map(Write::key).collect()).await?;
        self.above.transact(writes).await
    }
}
