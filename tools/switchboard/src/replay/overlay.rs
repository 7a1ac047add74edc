//! A store that reads what is stored and keeps to itself what is written: what a dry run acts on, so
//! that it takes the very way of the run that it foretells.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use switchboard_domain::{
    Analysis, Blob, BlobRef, CallKey, CallRecord, Delivery, DeliveryId, Digest, Name,
};
use switchboard_store::{
    Between, CallStub, CallsCursor, CallsPage, DueCursor, DuePage, Lines, List, Place, Put,
    PutDelivery, QuarantineCursor, QuarantinePage, Quarantined, Store, StoreError,
};

/// What is stored, and above it what would be.
pub struct Overlay<'a, S> {
    below: &'a S,
    calls: Mutex<BTreeMap<CallKey, CallRecord>>,
    blobs: Mutex<BTreeMap<(CallKey, Digest), Vec<u8>>>,
}

impl<'a, S> Overlay<'a, S> {
    /// Nothing is written yet.
    pub fn new(below: &'a S) -> Self {
        Self { below, calls: Mutex::default(), blobs: Mutex::default() }
    }
}

fn lock<T>(what: &Mutex<T>) -> MutexGuard<'_, T> {
    what.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a replay does not do.
fn refused<T>(operation: &'static str) -> Result<T, StoreError> {
    Err(StoreError::Refused { operation, code: "not in a dry run".into() })
}

impl<S: Store> Store for Overlay<'_, S> {
    async fn put_call(&self, record: &CallRecord) -> Result<Put, StoreError> {
        match self.call(&record.key).await? {
            Some(stored) if stored.version != record.version => Ok(Put::Conflict(Box::new(stored))),
            _ => {
                let version = record.version + 1;
                let written = CallRecord { version, ..record.clone() };
                lock(&self.calls).insert(record.key.clone(), written);
                Ok(Put::Stored(version))
            }
        }
    }

    async fn put_call_and_deliveries(
        &self,
        _record: &CallRecord,
        _planned: &[Delivery],
        _untried: &[DeliveryId],
    ) -> Result<Put, StoreError> {
        refused("transaction")
    }

    async fn call(&self, key: &CallKey) -> Result<Option<CallRecord>, StoreError> {
        let written = lock(&self.calls).get(key).cloned();
        if written.is_some() { Ok(written) } else { self.below.call(key).await }
    }

    async fn put_call_and_analysis(
        &self,
        _record: &CallRecord,
        _analysis: &Analysis,
    ) -> Result<Put, StoreError> {
        refused("write")
    }

    async fn analysis(&self, key: &CallKey) -> Result<Option<Analysis>, StoreError> {
        self.below.analysis(key).await
    }

    async fn stubs(
        &self,
        keys: &[CallKey],
        update: &Digest,
    ) -> Result<BTreeMap<CallKey, CallStub>, StoreError> {
        let mut stubs = self.below.stubs(keys, update).await?;
        let calls = lock(&self.calls);
        for call in keys.iter().filter_map(|key| calls.get(key)) {
            let has_update = call.updates.contains_key(update);
            stubs.insert(call.key.clone(), CallStub { state: call.call.facts.state, has_update });
        }
        Ok(stubs)
    }

    async fn deliveries(&self, key: &CallKey) -> Result<Vec<Delivery>, StoreError> {
        self.below.deliveries(key).await
    }

    async fn delivery(
        &self,
        key: &CallKey,
        id: &DeliveryId,
    ) -> Result<Option<Delivery>, StoreError> {
        self.below.delivery(key, id).await
    }

    async fn put_delivery(
        &self,
        _delivery: &Delivery,
        _call_version: Option<u64>,
    ) -> Result<PutDelivery, StoreError> {
        refused("write")
    }

    async fn put_blob(&self, key: &CallKey, blob: &Blob) -> Result<(), StoreError> {
        let at = (key.clone(), blob.digest.clone());
        lock(&self.blobs).insert(at, blob.bytes.clone());
        Ok(())
    }

    async fn blob(&self, key: &CallKey, blob: &BlobRef) -> Result<Vec<u8>, StoreError> {
        let written = lock(&self.blobs).get(&(key.clone(), blob.digest.clone())).cloned();
        match written {
            Some(bytes) => Ok(bytes),
            None => self.below.blob(key, blob).await,
        }
    }

    async fn due(
        &self,
        shard: u16,
        until: Timestamp,
        page: Option<DueCursor>,
    ) -> Result<DuePage, StoreError> {
        self.below.due(shard, until, page).await
    }

    async fn calls_page(
        &self,
        provider: Option<&Name>,
        page: Option<CallsCursor>,
    ) -> Result<CallsPage, StoreError> {
        self.below.calls_page(provider, page).await
    }

    async fn lines(
        &self,
        list: &List,
        since: Timestamp,
        before: &Place,
        limit: usize,
    ) -> Result<Lines, StoreError> {
        self.below.lines(list, since, before, limit).await
    }

    async fn put_quarantined(&self, _one: &Quarantined, _body: &[u8]) -> Result<(), StoreError> {
        Ok(())
    }

    async fn quarantined(
        &self,
        provider: &Name,
        between: &Between,
        page: Option<QuarantineCursor>,
    ) -> Result<QuarantinePage, StoreError> {
        self.below.quarantined(provider, between, page).await
    }

    async fn quarantined_body(&self, one: &Quarantined) -> Result<Vec<u8>, StoreError> {
        self.below.quarantined_body(one).await
    }

    async fn delete_quarantined(&self, _one: &Quarantined) -> Result<(), StoreError> {
        Ok(())
    }
}
