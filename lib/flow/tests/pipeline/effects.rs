//! Everything that changes something outside, counted, and able to go wrong at a chosen one.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use jiff::civil::Date;
use switchboard_domain::directory::{Activity, Contact, Employee, EntryWrite, Handle, Holder};
use switchboard_domain::sync::{Gap, Job};
use switchboard_domain::{
    Analysis, Blob, BlobRef, CallKey, CallRecord, Deferred, Delivery, DeliveryId, Digest, Gate,
    Name, Pace, Personal,
};
use switchboard_queue::{MemoryQueue, Queue, QueueError, Send, Waiting};
use switchboard_store::directory::{EntryCursor, EntryPage, PutEntry};
use switchboard_store::gates::PutGate;
use switchboard_store::jobs::{PutJob, Started};
use switchboard_store::{
    Between, CallStub, CallsCursor, CallsPage, Directory, Due, DueCursor, DuePage, Gates, Jobs,
    Lines, List, MemoryDirectory, MemoryStore, Place, Put, PutDelivery, QuarantineCursor,
    QuarantinePage, Quarantined, Store, StoreError,
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
    reads: Vec<&'static str>,
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

    /// The kinds of all reads so far that are counted.
    pub fn reads(&self) -> Vec<&'static str> {
        self.state.lock().unwrap().reads.clone()
    }

    fn read(&self, what: &'static str) {
        self.state.lock().unwrap().reads.push(what);
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

    async fn put_call_and_analysis(
        &self,
        record: &CallRecord,
        analysis: &Analysis,
    ) -> Result<Put, StoreError> {
        let put = self.store.put_call_and_analysis(record, analysis);
        self.effects.act("put call and analysis", put, unavailable).await
    }

    async fn analysis(&self, key: &CallKey) -> Result<Option<Analysis>, StoreError> {
        yield_now().await;
        self.store.analysis(key).await
    }

    async fn call(&self, key: &CallKey) -> Result<Option<CallRecord>, StoreError> {
        yield_now().await;
        self.store.call(key).await
    }

    async fn stubs(
        &self,
        keys: &[CallKey],
        update: &Digest,
    ) -> Result<BTreeMap<CallKey, CallStub>, StoreError> {
        yield_now().await;
        self.store.stubs(keys, update).await
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
        self.effects.read("delivery");
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

impl Gates for Watched {
    async fn gates(&self) -> Result<Vec<Gate>, StoreError> {
        self.effects.read("gates");
        yield_now().await;
        self.store.gates().await
    }

    async fn gate(&self, destination: &Name) -> Result<Option<Gate>, StoreError> {
        yield_now().await;
        self.store.gate(destination).await
    }

    async fn put_gate(&self, gate: &Gate) -> Result<PutGate, StoreError> {
        self.effects.act("put gate", self.store.put_gate(gate), unavailable).await
    }

    async fn reserve(
        &self,
        destination: &Name,
        pace: Pace,
        now: Timestamp,
    ) -> Result<Timestamp, StoreError> {
        let reserve = self.store.reserve(destination, pace, now);
        self.effects.act("reserve", reserve, unavailable).await
    }

    async fn deferred(
        &self,
        destination: &Name,
        among: Deferred,
        until: Timestamp,
        limit: usize,
    ) -> Result<Vec<Due>, StoreError> {
        self.store.deferred(destination, among, until, limit).await
    }
}

impl Jobs for Watched {
    async fn start_job(&self, job: &Job) -> Result<Started, StoreError> {
        self.effects.act("start job", self.store.start_job(job), unavailable).await
    }

    async fn put_job(&self, job: &Job) -> Result<PutJob, StoreError> {
        self.effects.act("put job", self.store.put_job(job), unavailable).await
    }

    async fn job(&self, id: &Name) -> Result<Option<Job>, StoreError> {
        yield_now().await;
        self.store.job(id).await
    }

    async fn jobs(&self) -> Result<Vec<Job>, StoreError> {
        self.store.jobs().await
    }

    async fn put_gap(&self, gap: &Gap) -> Result<(), StoreError> {
        self.effects.act("put gap", self.store.put_gap(gap), unavailable).await
    }

    async fn gaps(
        &self,
        provider: &Name,
        source: &Name,
        since: Date,
    ) -> Result<Vec<Gap>, StoreError> {
        self.store.gaps(provider, source, since).await
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

/// A directory whose writes are effects, and whose requests are counted.
#[derive(Clone)]
pub struct WatchedDirectory {
    pub directory: MemoryDirectory,
    pub effects: Effects,
}

impl Directory for WatchedDirectory {
    async fn holders(
        &self,
        handles: &BTreeSet<Handle>,
    ) -> Result<BTreeMap<Handle, BTreeSet<Holder>>, StoreError> {
        self.effects.read("holders");
        yield_now().await;
        self.directory.holders(handles).await
    }

    async fn contact(&self, id: &Name) -> Result<Option<Contact>, StoreError> {
        self.effects.read("contact");
        yield_now().await;
        self.directory.contact(id).await
    }

    async fn employee(&self, id: &Name) -> Result<Option<Employee>, StoreError> {
        self.effects.read("employee");
        self.directory.employee(id).await
    }

    async fn put_entries(&self, writes: &[EntryWrite]) -> Result<Vec<PutEntry>, StoreError> {
        self.effects.act("put entries", self.directory.put_entries(writes), unavailable).await
    }

    async fn put_contact(&self, contact: &Contact) -> Result<PutEntry, StoreError> {
        self.effects.act("put contact", self.directory.put_contact(contact), unavailable).await
    }

    async fn put_employee(&self, employee: &Employee) -> Result<PutEntry, StoreError> {
        self.effects.act("put employee", self.directory.put_employee(employee), unavailable).await
    }

    async fn create_contact_once(
        &self,
        number: &Personal,
        contact: &Contact,
    ) -> Result<Contact, StoreError> {
        let create = self.directory.create_contact_once(number, contact);
        self.effects.act("create contact", create, unavailable).await
    }

    async fn delete_contact(&self, id: &Name, version: u64) -> Result<PutEntry, StoreError> {
        self.directory.delete_contact(id, version).await
    }

    async fn delete_employee(&self, id: &Name, version: u64) -> Result<PutEntry, StoreError> {
        self.directory.delete_employee(id, version).await
    }

    async fn set_own_number(&self, number: &Personal, own: bool) -> Result<(), StoreError> {
        self.directory.set_own_number(number, own).await
    }

    async fn contacts(
        &self,
        page: Option<EntryCursor>,
        limit: u16,
    ) -> Result<EntryPage<Contact>, StoreError> {
        self.directory.contacts(page, limit).await
    }

    async fn employees(
        &self,
        page: Option<EntryCursor>,
        limit: u16,
    ) -> Result<EntryPage<Employee>, StoreError> {
        self.directory.employees(page, limit).await
    }

    async fn leads(
        &self,
        status: Option<&str>,
        page: Option<EntryCursor>,
        limit: u16,
    ) -> Result<EntryPage<Contact>, StoreError> {
        self.directory.leads(status, page, limit).await
    }

    async fn put_activity(&self, activity: &Activity) -> Result<(), StoreError> {
        self.effects.act("put activity", self.directory.put_activity(activity), unavailable).await
    }

    async fn delete_activity(&self, contact: &Name, call: &CallKey) -> Result<(), StoreError> {
        let delete = self.directory.delete_activity(contact, call);
        self.effects.act("delete activity", delete, unavailable).await
    }

    async fn activities(
        &self,
        contact: &Name,
        page: Option<EntryCursor>,
        limit: u16,
    ) -> Result<EntryPage<Activity>, StoreError> {
        self.directory.activities(contact, page, limit).await
    }
}
