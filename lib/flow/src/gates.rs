//! What a worker knows of destinations' gates, and what it has seen of their answers.
//!
//! All gates are read in one request, at most every few seconds, whatever is delivered: a
//! destination that works costs nothing more.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex as Lock, PoisonError};

use crate::JobError;
use crate::update::rounds;
use futures_util::lock::Mutex;
use jiff::{SignedDuration, Timestamp};
use switchboard_domain::gate::{Change, Evidence, Gate};
use switchboard_domain::{Name, later};
use switchboard_queue::{Job, Queue, Send};
use switchboard_store::{Due, Overdue, PutIf, Store, StoreError};

/// So old may be what a worker knows of a gate that others have changed.
pub const FRESH: SignedDuration = SignedDuration::from_secs(5);

/// What waits is let out at this rate, for each destination: ten a second.
pub const RELEASED: usize = 600;
/// For how long at a time.
const RELEASE: SignedDuration = SignedDuration::from_secs(60);

/// Gates as this worker knows them. Clones share it.
#[derive(Clone, Default)]
pub struct Gates {
    known: Arc<Mutex<Option<Known>>>,
    evidence: Arc<Lock<BTreeMap<Name, Evidence>>>,
}

struct Known {
    read_at: Timestamp,
    gates: BTreeMap<Name, Gate>,
}

impl Gates {
    /// A destination's gate, as it was seconds ago at most.
    pub async fn of(
        &self,
        store: &Store,
        destination: &Name,
        now: Timestamp,
    ) -> Result<Gate, StoreError> {
        // A caller during a read waits for it.
        let mut known = self.known.lock().await;
        let is_fresh = |known: &Known| now.duration_since(known.read_at) < FRESH;
        let gates = match known.take().filter(is_fresh) {
            Some(fresh) => fresh,
            None => {
                let gates = store.gates().await?;
                let named = gates.into_iter().map(|gate| (gate.destination.clone(), gate));
                Known { read_at: now, gates: named.collect() }
            }
        };
        let gates = &known.insert(gates).gates;
        Ok(gates.get(destination).cloned().unwrap_or_else(|| Gate::new(destination.clone())))
    }

    /// Changes a gate, if the change changes it: as it is by then, not as it was known here. Gives
    /// the gate that it made.
    pub async fn change(
        &self,
        store: &Store,
        destination: &Name,
        change: Change,
        now: Timestamp,
    ) -> Result<Option<Gate>, StoreError> {
        let mut gate = self.of(store, destination, now).await?;
        rounds("gate", async || {
            let Some(mut next) = gate.after(&change, now) else {
                return Ok(ControlFlow::Break(None));
            };
            if let PutIf::Stored(version) = store.put_gate(&next).await? {
                next.version = version;
                self.remember(next.clone()).await;
                return Ok(ControlFlow::Break(Some(next)));
            }
            let stored = store.gate(destination).await?;
            gate = stored.unwrap_or_else(|| Gate::new(destination.clone()));
            self.remember(gate.clone()).await;
            Ok(ControlFlow::Continue(()))
        })
        .await
    }

    async fn remember(&self, gate: Gate) {
        if let Some(known) = self.known.lock().await.as_mut() {
            known.gates.insert(gate.destination.clone(), gate);
        }
    }

    /// Notes that a destination works.
    pub fn answered(&self, destination: &Name, now: Timestamp) {
        self.evidence(|all| all.entry(destination.clone()).or_default().answered(now));
    }

    /// Notes a failure. Says whether it is time to open the breaker.
    pub fn failed(&self, destination: &Name, now: Timestamp) -> bool {
        self.evidence(|all| all.entry(destination.clone()).or_default().failed(now))
    }

    fn evidence<T>(&self, with: impl FnOnce(&mut BTreeMap<Name, Evidence>) -> T) -> T {
        with(&mut self.evidence.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Releases the deliveries that wait for a gate, as many as are allowed in a minute, evenly over it; for
/// a probe, one. Returns the number of jobs sent. A concurrent release does nothing.
pub async fn release(
    (store, queue): (&Store, &dyn Queue),
    gates: &Gates,
    gate: &Gate,
    now: Timestamp,
) -> Result<usize, JobError> {
    let Some((most, which)) = gate.lets_out(RELEASED, now) else { return Ok(0) };
    let destination = &gate.destination;
    let next = later(now, RELEASE);
    if gates.change(store, destination, Change::Released { next }, now).await?.is_none() {
        return Ok(0);
    }
    // A probe is sent by what is due. Once a destination works nothing that waits is to wait longer.
    let until = if gate.is_open() { now } else { Timestamp::MAX };
    let mut waiting: Vec<Due> = Vec::new();
    for among in which {
        waiting.extend(store.deferred(destination, *among, until, most).await?);
    }
    waiting.sort_by_key(|one| one.due_at);
    waiting.truncate(most);
    if waiting.is_empty() {
        gates.change(store, destination, Change::FoundEmpty, now).await?;
    }
    let jobs = spread(waiting);
    if !jobs.is_empty() {
        queue.send(&jobs).await?;
    }
    Ok(jobs.len())
}

/// Jobs over a minute, in order, so that each second has as many as any other: however few there
/// are, no faster than the rate.
fn spread(waiting: Vec<Due>) -> Vec<Send> {
    let per_second = RELEASED / RELEASE.as_secs() as usize;
    let of = |(n, due): (usize, Due)| {
        let Overdue::Delivery(call, delivery) = due.what else { return None };
        let delay = u32::try_from(n / per_second).ok()?;
        Some(Send { job: Job::Deliver { call, delivery }, delay })
    };
    waiting.into_iter().enumerate().filter_map(of).collect()
}
