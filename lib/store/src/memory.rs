//! The in-memory twin: the same conditions, no table. For tests and for whoever runs everything
//! in one process.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use jiff::civil::Date;
use switchboard_domain::sync::{Gap, Job};
use switchboard_domain::{
    Analysis, Blob, BlobRef, CallKey, CallRecord, Delivery, DeliveryId, Digest, Gate, Name,
};

use crate::gates::parked_shard;
use crate::listing::contact_of;
use crate::{
    Between, CallStub, CallsCursor, CallsPage, Due, DueCursor, DuePage, Line, Lines, List, Overdue,
    Place, Put, PutDelivery, QuarantineCursor, QuarantinePage, Quarantined, Store, StoreError,
};

/// As many items as a query gives at a time.
const PAGE: usize = 100;

/// A store in memory. Clones share it.
#[derive(Clone, Default)]
pub struct MemoryStore(Arc<Mutex<Tables>>);

#[derive(Default)]
pub(crate) struct Tables {
    calls: BTreeMap<CallKey, CallRecord>,
    deliveries: BTreeMap<CallKey, BTreeMap<DeliveryId, Delivery>>,
    analyses: BTreeMap<CallKey, Analysis>,
    blobs: BTreeMap<(CallKey, Digest), Vec<u8>>,
    /// By provider and [`place`].
    quarantine: BTreeMap<(Name, String), (Quarantined, Vec<u8>)>,
    pub(crate) due: DueIndex,
    pub(crate) gates: BTreeMap<Name, Gate>,
    /// Up to when each line is given out.
    pub(crate) paces: BTreeMap<Name, Timestamp>,
    jobs: BTreeMap<Name, Job>,
    /// Which job has a slot.
    pub(crate) slots: BTreeMap<String, Name>,
    pub(crate) gaps: BTreeMap<(Name, Name, Date, Name), Gap>,
}

/// Everything due, by its shard and time; and where each of it stands.
#[derive(Default)]
pub(crate) struct DueIndex {
    shards: BTreeMap<String, BTreeSet<(Timestamp, Overdue)>>,
    places: BTreeMap<Overdue, (String, Timestamp)>,
}

impl DueIndex {
    fn set(&mut self, what: Overdue, shard: String, due_at: Option<Timestamp>) {
        if let Some((shard, due_at)) = self.places.remove(&what)
            && let Some(entries) = self.shards.get_mut(&shard)
        {
            entries.remove(&(due_at, what.clone()));
        }
        if let Some(due_at) = due_at.map(in_milliseconds) {
            self.shards.entry(shard.clone()).or_default().insert((due_at, what.clone()));
            self.places.insert(what, (shard, due_at));
        }
    }

    /// The oldest of a shard, after one of them: at most `limit`.
    pub(crate) fn first(
        &self,
        shard: &str,
        until: Timestamp,
        after: Option<Due>,
        limit: usize,
    ) -> Vec<Due> {
        let begin =
            after.map_or(Bound::Unbounded, |Due { what, due_at }| Bound::Excluded((due_at, what)));
        let entries = self.shards.get(shard).into_iter();
        let entries = entries.flat_map(|entries| entries.range((begin.clone(), Bound::Unbounded)));
        let entries = entries.take_while(|(due_at, _)| *due_at <= until).take(limit);
        entries.map(|(due_at, what)| Due { what: what.clone(), due_at: *due_at }).collect()
    }
}

impl MemoryStore {
    pub(crate) fn tables(&self) -> MutexGuard<'_, Tables> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every call, in the order of their keys.
    pub fn calls(&self) -> Vec<CallRecord> {
        self.tables().calls.values().cloned().collect()
    }

    /// Everything in quarantine, with its bytes.
    pub fn all_quarantined(&self) -> Vec<(Quarantined, Vec<u8>)> {
        self.tables().quarantine.values().cloned().collect()
    }

    /// Loses a blob, as no table should.
    pub fn lose_blob(&self, key: &CallKey, digest: &Digest) {
        self.tables().blobs.remove(&(key.clone(), digest.clone()));
    }
}

impl Tables {
    /// What is in the way of writing this version of a call, if anything is.
    fn in_the_way(&self, record: &CallRecord) -> Result<Option<Put>, StoreError> {
        match self.calls.get(&record.key) {
            Some(stored) if stored.version != record.version => {
                Ok(Some(Put::Conflict(Box::new(stored.clone()))))
            }
            None if record.version > 0 => Err(gone()),
            _ => Ok(None),
        }
    }

    fn write(&mut self, record: &CallRecord) -> Put {
        let version = record.version + 1;
        self.calls.insert(record.key.clone(), CallRecord { version, ..record.clone() });
        let shard = shard_name(record.key.due_shard());
        self.due.set(Overdue::Call(record.key.clone()), shard, record.due_at());
        Put::Stored(version)
    }

    fn delivery(&self, key: &CallKey, id: &DeliveryId) -> Option<&Delivery> {
        self.deliveries.get(key)?.get(id)
    }

    fn write_delivery(&mut self, delivery: &Delivery) {
        let (key, id) = (&delivery.key, &delivery.id);
        let stored = Delivery { version: delivery.version + 1, ..delivery.clone() };
        self.deliveries.entry(key.clone()).or_default().insert(id.clone(), stored);
        let shard = match delivery.deferred {
            Some(among) => parked_shard(&id.destination, among, key),
            None => shard_name(key.due_shard()),
        };
        self.due.set(Overdue::Delivery(key.clone(), id.clone()), shard, delivery.due_at);
    }

    pub(crate) fn jobs(&self) -> &BTreeMap<Name, Job> {
        &self.jobs
    }

    pub(crate) fn write_job(&mut self, job: Job) {
        let shard = shard_name(job.due_shard());
        self.due.set(Overdue::Pull(job.id.clone()), shard, job.not_before);
        self.jobs.insert(job.id.clone(), job);
    }
}

fn shard_name(shard: u16) -> String {
    format!("{shard:02}")
}

/// DynamoDB's index holds times in milliseconds.
fn in_milliseconds(at: Timestamp) -> Timestamp {
    Timestamp::from_millisecond(at.as_millisecond()).unwrap_or(at)
}

/// Where a body stands among the quarantined of its provider: by time, written with all its digits.
fn place(received_at: Timestamp, digest: &Digest) -> String {
    format!("{received_at:.9}#{digest}")
}

fn gone() -> StoreError {
    StoreError::Damaged { what: "call", problem: "it was there when read, and is gone".into() }
}

impl Store for MemoryStore {
    async fn put_call(&self, record: &CallRecord) -> Result<Put, StoreError> {
        let mut tables = self.tables();
        let in_the_way = tables.in_the_way(record)?;
        Ok(in_the_way.unwrap_or_else(|| tables.write(record)))
    }

    async fn put_call_and_deliveries(
        &self,
        record: &CallRecord,
        planned: &[Delivery],
        untried: &[DeliveryId],
    ) -> Result<Put, StoreError> {
        let mut tables = self.tables();
        if let Some(in_the_way) = tables.in_the_way(record)? {
            return Ok(in_the_way);
        }
        let stored = |id: &DeliveryId| tables.delivery(&record.key, id);
        let exists = planned.iter().any(|one| stored(&one.id).is_some());
        let was_tried =
            untried.iter().any(|id| stored(id).is_none_or(|delivery| delivery.rendered.is_some()));
        if exists || was_tried {
            return Ok(Put::DeliveryConflict);
        }
        let put = tables.write(record);
        for delivery in planned {
            tables.write_delivery(delivery);
        }
        Ok(put)
    }

    async fn put_call_and_analysis(
        &self,
        record: &CallRecord,
        analysis: &Analysis,
    ) -> Result<Put, StoreError> {
        let mut tables = self.tables();
        if let Some(in_the_way) = tables.in_the_way(record)? {
            return Ok(in_the_way);
        }
        tables.analyses.insert(record.key.clone(), analysis.clone());
        Ok(tables.write(record))
    }

    async fn analysis(&self, key: &CallKey) -> Result<Option<Analysis>, StoreError> {
        Ok(self.tables().analyses.get(key).cloned())
    }

    async fn call(&self, key: &CallKey) -> Result<Option<CallRecord>, StoreError> {
        Ok(self.tables().calls.get(key).cloned())
    }

    async fn stubs(
        &self,
        keys: &[CallKey],
        update: &Digest,
    ) -> Result<BTreeMap<CallKey, CallStub>, StoreError> {
        let tables = self.tables();
        let stub = |key: &CallKey| {
            let call = tables.calls.get(key)?;
            let has_update = call.updates.contains_key(update);
            Some((key.clone(), CallStub { state: call.call.facts.state, has_update }))
        };
        Ok(keys.iter().filter_map(stub).collect())
    }

    async fn deliveries(&self, key: &CallKey) -> Result<Vec<Delivery>, StoreError> {
        let tables = self.tables();
        let of_call = tables.deliveries.get(key).into_iter().flat_map(BTreeMap::values);
        Ok(of_call.cloned().collect())
    }

    async fn delivery(
        &self,
        key: &CallKey,
        id: &DeliveryId,
    ) -> Result<Option<Delivery>, StoreError> {
        Ok(self.tables().delivery(key, id).cloned())
    }

    async fn put_delivery(
        &self,
        delivery: &Delivery,
        call_version: Option<u64>,
    ) -> Result<PutDelivery, StoreError> {
        let mut tables = self.tables();
        let stored = tables.delivery(&delivery.key, &delivery.id);
        let stored = stored.map_or(0, |stored| stored.version);
        let call = tables.calls.get(&delivery.key).map(|call| call.version);
        if stored != delivery.version || (call_version.is_some() && call != call_version) {
            return Ok(PutDelivery::Conflict);
        }
        tables.write_delivery(delivery);
        Ok(PutDelivery::Stored(delivery.version + 1))
    }

    async fn put_blob(&self, key: &CallKey, blob: &Blob) -> Result<(), StoreError> {
        self.tables().blobs.insert((key.clone(), blob.digest.clone()), blob.bytes.clone());
        Ok(())
    }

    async fn blob(&self, key: &CallKey, blob: &BlobRef) -> Result<Vec<u8>, StoreError> {
        let stored = self.tables().blobs.get(&(key.clone(), blob.digest.clone())).cloned();
        let damaged = |problem: &str| StoreError::Damaged { what: "blob", problem: problem.into() };
        let bytes = stored.ok_or_else(|| damaged("a part is missing"))?;
        if bytes.len() as u64 == blob.bytes {
            Ok(bytes)
        } else {
            Err(damaged("its length is another"))
        }
    }

    async fn due(
        &self,
        shard: u16,
        until: Timestamp,
        page: Option<DueCursor>,
    ) -> Result<DuePage, StoreError> {
        let tables = self.tables();
        let after = page.map(|DueCursor(last)| last);
        let mut items = tables.due.first(&shard_name(shard), until, after, PAGE + 1);
        let more = items.len() > PAGE;
        items.truncate(PAGE);
        let next = items.last().filter(|_| more).cloned().map(DueCursor);
        Ok(DuePage { items, next })
    }

    async fn calls_page(
        &self,
        provider: Option<&Name>,
        page: Option<CallsCursor>,
    ) -> Result<CallsPage, StoreError> {
        let tables = self.tables();
        let place = |key: &CallKey| [key.to_string(), String::new()];
        let is_wanted = |call: &&CallRecord| {
            provider.is_none_or(|provider| call.key.provider == *provider)
                && page.as_ref().is_none_or(|last| place(&call.key) > last.0)
        };
        // Pages follow the written key, by which the map is not sorted.
        let mut calls: Vec<CallRecord> = tables.calls.values().filter(is_wanted).cloned().collect();
        calls.sort_by_key(|call| place(&call.key));
        let more = calls.len() > PAGE;
        calls.truncate(PAGE);
        let next = calls.last().filter(|_| more).map(|call| CallsCursor(place(&call.key)));
        Ok(CallsPage { calls, next })
    }

    async fn lines(
        &self,
        list: &List,
        since: Timestamp,
        before: &Place,
        limit: usize,
    ) -> Result<Lines, StoreError> {
        let tables = self.tables();
        let stands = |call: &CallRecord, line: &Line| match list {
            List::Day(day) => line.day() == *day,
            List::Contact(id) => contact_of(call) == Some(id),
        };
        let since = Place::of(since);
        let lines = tables.calls.values().filter_map(|call| {
            let line = Line::of(call);
            let place = line.place();
            (stands(call, &line) && since <= place && place < *before).then_some(line)
        });
        Ok(Lines::newest(lines.collect(), limit, false))
    }

    async fn put_quarantined(&self, one: &Quarantined, body: &[u8]) -> Result<(), StoreError> {
        let at = (one.provider.clone(), place(one.received_at, &one.digest));
        self.tables().quarantine.insert(at, (one.clone(), body.to_vec()));
        Ok(())
    }

    async fn quarantined(
        &self,
        provider: &Name,
        between: &Between,
        page: Option<QuarantineCursor>,
    ) -> Result<QuarantinePage, StoreError> {
        let tables = self.tables();
        let found = tables.quarantine.iter().rev().filter(|((of, at), (one, _))| {
            let is_next = page.as_ref().is_none_or(|last| *at < last.0);
            of == provider && between.holds(one.received_at) && is_next
        });
        let mut items: Vec<Quarantined> =
            found.take(PAGE + 1).map(|(_, (one, _))| one.clone()).collect();
        let more = items.len() > PAGE;
        items.truncate(PAGE);
        let cursor = |one: &Quarantined| QuarantineCursor(place(one.received_at, &one.digest));
        let next = items.last().filter(|_| more).map(cursor);
        Ok(QuarantinePage { items, next })
    }

    async fn quarantined_body(&self, one: &Quarantined) -> Result<Vec<u8>, StoreError> {
        let at = (one.provider.clone(), place(one.received_at, &one.digest));
        let stored = self.tables().quarantine.get(&at).map(|(_, body)| body.clone());
        stored.ok_or_else(|| StoreError::Damaged {
            what: "blob",
            problem: "a part is missing".into(),
        })
    }

    async fn delete_quarantined(&self, one: &Quarantined) -> Result<(), StoreError> {
        let at = (one.provider.clone(), place(one.received_at, &one.digest));
        self.tables().quarantine.remove(&at);
        Ok(())
    }
}
