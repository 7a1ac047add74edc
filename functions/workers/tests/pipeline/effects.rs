//! Everything that changes something outside, counted, and able to go wrong at a chosen one.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use switchboard_domain::{Blob, BlobRef, CallKey, CallRecord, Delivery, DeliveryId, Digest, Name};
use switchboard_queue::{MemoryQueue, Queue, QueueError, Send, Waiting};
use switchboard_store::{
    Between, CallsCursor, CallsPage, DueCursor, DuePage, Lines, List, MemoryStore, Place, Put,
    PutDelivery, QuarantineCursor, QuarantinePage, Quarantined, Store, StoreError, Trace,
};
use tokio::sync::Notify;
use tokio::task::yield_now;

/// What happens to the chosen effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It takes place, and then the process is gone.
    Crash,
    /// It takes place, and the answer to it is lost.
    AnswerLost,
    /// It does not take place, and we are told so.
    Refused,
}

/// Which effect is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// The n-th of all, from 1.
    Nth(usize),
    /// The next one of a kind.
    Next(&'static str),
}

#[derive(Default)]
struct State {
    log: Vec<&'static str>,
    armed: Option<(Which, Fault)>,
    hit: Option<&'static str>,
}

/// The effects so far, and the one that is to go wrong.
#[derive(Clone, Default)]
pub struct Effects {
    state: Arc<Mutex<State>>,
    crashed: Arc<Notify>,
}

impl Effects {
    /// Chooses what goes wrong, once.
    pub fn arm(&self, which: Which, fault: Fault) {
        self.state.lock().unwrap().armed = Some((which, fault));
    }

    /// Nothing goes wrong any more.
    pub fn disarm(&self) {
        self.state.lock().unwrap().armed = None;
    }

    /// The kind of the effect that went wrong, if one did.
    pub fn hit(&self) -> Option<&'static str> {
        self.state.lock().unwrap().hit
    }

    /// The kinds of all effects so far.
    pub fn log(&self) -> Vec<&'static str> {
        self.state.lock().unwrap().log.clone()
    }

    /// Resolves when the process is to be gone.
    pub async fn crashed(&self) {
        self.crashed.notified().await;
    }

    fn next(&self, what: &'static str) -> Option<Fault> {
        let mut state = self.state.lock().unwrap();
        state.log.push(what);
        let n = state.log.len();
        let (which, fault) = state.armed?;
        let is_it = match which {
            Which::Nth(nth) => nth == n,
            Which::Next(kind) => kind == what,
        };
        if !is_it {
            return None;
        }
        state.armed = None;
        state.hit = Some(what);
        Some(fault)
    }

    /// Does something that changes something outside.
    pub async fn act<T, E>(
        &self,
        what: &'static str,
        act: impl Future<Output = Result<T, E>>,
        failed: impl FnOnce() -> E,
    ) -> Result<T, E> {
        yield_now().await;
        let fault = self.next(what);
        if fault == Some(Fault::Refused) {
            return Err(failed());
        }
        let result = act.await;
        match fault {
            Some(Fault::Crash) => {
                self.crashed.notify_one();
                std::future::pending().await
            }
            Some(Fault::AnswerLost) => Err(failed()),
            _ => {
                // Others get their turn between a write and what follows it.
                yield_now().await;
                result
            }
        }
    }
}

fn unavailable() -> StoreError {
    StoreError::Unavailable { operation: "write", code: "test".into() }
}

/// A store whose writes are effects.
#[derive(Clone)]
pub struct Watched {
    pub store: MemoryStore,
    pub effects: Effects,
}

impl Store for Watched {
    async fn put_call(&self, record: &CallRecord) -> Result<Put, StoreError> {
        self.effects.act("put call", self.store.put_call(record), unavailable).await
    }

    async fn put_call_and_deliveries(
        &self,
        record: &CallRecord,
        planned: &[Delivery],
        untried: &[DeliveryId],
    ) -> Result<Put, StoreError> {
        let put = self.store.put_call_and_deliveries(record, planned, untried);
        self.effects.act("put call and deliveries", put, unavailable).await
    }

    async fn call(&self, key: &CallKey) -> Result<Option<CallRecord>, StoreError> {
        yield_now().await;
        self.store.call(key).await
    }

    async fn traces(
        &self,
        keys: &[CallKey],
        update: &Digest,
    ) -> Result<BTreeMap<CallKey, Trace>, StoreError> {
        yield_now().await;
        self.store.traces(keys, update).await
    }

    async fn deliveries(&self, key: &CallKey) -> Result<Vec<Delivery>, StoreError> {
        yield_now().await;
        self.store.deliveries(key).await
    }

    async fn delivery(
        &self,
        key: &CallKey,
        id: &DeliveryId,
    ) -> Result<Option<Delivery>, StoreError> {
        yield_now().await;
        self.store.delivery(key, id).await
    }

    async fn put_delivery(
        &self,
        delivery: &Delivery,
        call_version: Option<u64>,
    ) -> Result<PutDelivery, StoreError> {
        let put = self.store.put_delivery(delivery, call_version);
        self.effects.act("put delivery", put, unavailable).await
    }

    async fn put_blob(&self, key: &CallKey, blob: &Blob) -> Result<(), StoreError> {
        self.effects.act("put blob", self.store.put_blob(key, blob), unavailable).await
    }

    async fn blob(&self, key: &CallKey, blob: &BlobRef) -> Result<Vec<u8>, StoreError> {
        yield_now().await;
        self.store.blob(key, blob).await
    }

    async fn due(
        &self,
        shard: u16,
        until: Timestamp,
        page: Option<DueCursor>,
    ) -> Result<DuePage, StoreError> {
        self.store.due(shard, until, page).await
    }

    async fn calls_page(
        &self,
        provider: Option<&Name>,
        page: Option<CallsCursor>,
    ) -> Result<CallsPage, StoreError> {
        self.store.calls_page(provider, page).await
    }

    async fn lines(
        &self,
        list: &List,
        since: Timestamp,
        before: &Place,
        limit: usize,
    ) -> Result<Lines, StoreError> {
        self.store.lines(list, since, before, limit).await
    }

    async fn put_quarantined(&self, one: &Quarantined, body: &[u8]) -> Result<(), StoreError> {
        self.effects.act("quarantine", self.store.put_quarantined(one, body), unavailable).await
    }

    async fn quarantined(
        &self,
        provider: &Name,
        between: &Between,
        page: Option<QuarantineCursor>,
    ) -> Result<QuarantinePage, StoreError> {
        self.store.quarantined(provider, between, page).await
    }

    async fn quarantined_body(&self, one: &Quarantined) -> Result<Vec<u8>, StoreError> {
        self.store.quarantined_body(one).await
    }

    async fn delete_quarantined(&self, one: &Quarantined) -> Result<(), StoreError> {
        self.effects.act("release", self.store.delete_quarantined(one), unavailable).await
    }
}

/// A queue whose every message is an effect: a batch may stop half-way.
#[derive(Clone)]
pub struct WatchedQueue {
    pub queue: MemoryQueue,
    pub effects: Effects,
}

impl Queue for WatchedQueue {
    async fn send(&self, jobs: &[Send]) -> Result<(), QueueError> {
        for job in jobs {
            let send = self.queue.send(std::slice::from_ref(job));
            self.effects.act("send", send, || QueueError { code: "test".into() }).await?;
        }
        Ok(())
    }

    async fn waiting(&self) -> Result<Waiting, QueueError> {
        self.queue.waiting().await
    }
}
