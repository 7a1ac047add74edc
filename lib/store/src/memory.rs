//! The in-memory twin: the same conditions, no table. For tests and for whoever runs everything
//! in one process.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use jiff::civil::Date;
use switchboard_domain::sync::{Gap, Job};
use switchboard_domain::{Blob, BlobRef, CallKey, CallRecord, Delivery, DeliveryId, Digest, Name};

use crate::listing::contact_of;
use crate::{
    Between, CallsCursor, CallsPage, Due, DueCursor, DuePage, Line, Lines, List, Overdue, Place,
    Put, PutDelivery, QuarantineCursor, QuarantinePage, Quarantined, Store, StoreError, Trace,
};

/// As many items as a query gives at a time.
const PAGE: usize = 100;

/// A store in memory. Clones share it.
#[derive(Clone, Default)]
pub struct MemoryStore(Arc<Mutex<Tables>>);

#[derive(Default)]
pub(crate) struct Tables {
    calls: BTreeMap<CallKey, CallRecord>,
    deliveries: BTreeMap<(CallKey, DeliveryId), Delivery>,
    blobs: BTreeMap<(CallKey, Digest), Vec<u8>>,
    /// By provider and [`place`].
    quarantine: BTreeMap<(Name, String), (Quarantined, Vec<u8>)>,
    pub(crate) jobs: BTreeMap<Name, Job>,
    /// Which job has a slot.
    pub(crate) slots: BTreeMap<String, Name>,
    pub(crate) gaps: BTreeMap<(Name, Name, Date, Name), Gap>,
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
        Put::Stored(version)
    }
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
        let at = |id: &DeliveryId| (record.key.clone(), id.clone());
        let exists = planned.iter().any(|one| tables.deliveries.contains_key(&at(&one.id)));
        let was_tried = untried.iter().any(|id| {
            tables.deliveries.get(&at(id)).is_none_or(|delivery| delivery.frozen.is_some())
        });
        if exists || was_tried {
            return Ok(Put::DeliveryConflict);
        }
        let put = tables.write(record);
        for delivery in planned {
            let version = delivery.version + 1;
            let stored = Delivery { version, ..delivery.clone() };
            tables.deliveries.insert(at(&delivery.id), stored);
        }
        Ok(put)
    }

    async fn call(&self, key: &CallKey) -> Result<Option<CallRecord>, StoreError> {
        Ok(self.tables().calls.get(key).cloned())
    }

    async fn traces(
        &self,
        keys: &[CallKey],
        update: &Digest,
    ) -> Result<BTreeMap<CallKey, Trace>, StoreError> {
        let tables = self.tables();
        let trace = |key: &CallKey| {
            let call = tables.calls.get(key)?;
            let has_update = call.updates.contains_key(update);
            Some((key.clone(), Trace { state: call.call.facts.state, has_update }))
        };
        Ok(keys.iter().filter_map(trace).collect())
    }

    async fn deliveries(&self, key: &CallKey) -> Result<Vec<Delivery>, StoreError> {
        let tables = self.tables();
        let of_call = |(at, _): &(&(CallKey, DeliveryId), &Delivery)| at.0 == *key;
        Ok(tables.deliveries.iter().filter(of_call).map(|(_, one)| one.clone()).collect())
    }

    async fn delivery(
        &self,
        key: &CallKey,
        id: &DeliveryId,
    ) -> Result<Option<Delivery>, StoreError> {
        Ok(self.tables().deliveries.get(&(key.clone(), id.clone())).cloned())
    }

    async fn put_delivery(
        &self,
        delivery: &Delivery,
        call_version: Option<u64>,
    ) -> Result<PutDelivery, StoreError> {
        let mut tables = self.tables();
        let at = (delivery.key.clone(), delivery.id.clone());
        let stored = tables.deliveries.get(&at).map_or(0, |stored| stored.version);
        let call = tables.calls.get(&delivery.key).map(|call| call.version);
        if stored != delivery.version || (call_version.is_some() && call != call_version) {
            return Ok(PutDelivery::Conflict);
        }
        let version = delivery.version + 1;
        tables.deliveries.insert(at, Delivery { version, ..delivery.clone() });
        Ok(PutDelivery::Stored(version))
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
        let calls = tables
            .calls
            .values()
            .map(|call| (call.key.due_shard(), Overdue::Call(call.key.clone()), call.due_at()));
        let deliveries = tables.deliveries.values().map(|one| {
            let what = Overdue::Delivery(one.key.clone(), one.id.clone());
            (one.key.due_shard(), what, one.due_at)
        });
        let jobs = tables
            .jobs
            .values()
            .map(|job| (job.due_shard(), Overdue::Pull(job.id.clone()), job.not_before));
        let mut items: Vec<Due> = calls
            .chain(deliveries)
            .chain(jobs)
            .filter(|(of, _, _)| *of == shard)
            .filter_map(|(_, what, due_at)| {
                let due_at = in_milliseconds(due_at?);
                (due_at <= until).then_some(Due { what, due_at })
            })
            .collect();
        let place = |due: &Due| (due.due_at, due.what.clone());
        items.sort_by_key(place);
        if let Some(DueCursor(last)) = page {
            items.retain(|due| place(due) > place(&last));
        }
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
