//! Every access pattern of destinations' gates: their state, their line, and what waits for them.

use std::future::Future;

use jiff::Timestamp;
use switchboard_domain::{CallKey, Deferred, Gate, Name, Pace};

use crate::{Due, StoreError};

mod dynamodb;
mod memory;

/// What waits for one destination is spread over so many shards: an index's partition takes a
/// thousand writes a second.
pub(crate) const PARKED_SHARDS: u16 = 4;

/// What a store of gates can do.
pub trait Gates: Send + Sync {
    /// Reads every gate, consistently, in the order of their destinations: one request.
    fn gates(&self) -> impl Future<Output = Result<Vec<Gate>, StoreError>> + Send;

    /// Reads one gate, consistently.
    fn gate(
        &self,
        destination: &Name,
    ) -> impl Future<Output = Result<Option<Gate>, StoreError>> + Send;

    /// Writes a gate as version `gate.version + 1`, if the stored version is `gate.version` (0: if
    /// there is none). Gates never expire: a destination that is paused stays so.
    fn put_gate(&self, gate: &Gate) -> impl Future<Output = Result<PutGate, StoreError>> + Send;

    /// Takes the next place in a destination's line: when to send. No place is given out twice.
    fn reserve(
        &self,
        destination: &Name,
        pace: Pace,
        now: Timestamp,
    ) -> impl Future<Output = Result<Timestamp, StoreError>> + Send;

    /// The deliveries that wait for a destination's gate and are due by then, the longest due first: at
    /// most `limit`.
    fn deferred(
        &self,
        destination: &Name,
        among: Deferred,
        until: Timestamp,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<Due>, StoreError>> + Send;
}

/// What became of a conditional write of a gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutGate {
    /// Written. The new version.
    Stored(u64),
    /// Not written: somebody else wrote it meanwhile.
    Conflict,
}

/// The shard of the index of what is due in which a delivery waits for its destination's gate.
pub(crate) fn parked_shard(destination: &Name, among: Deferred, key: &CallKey) -> String {
    shard(destination, among, key.due_shard() % PARKED_SHARDS)
}

pub(crate) fn shard(destination: &Name, among: Deferred, n: u16) -> String {
    format!("{}#{destination}#{n}", among.as_str())
}

/// The first of several lists, each in order.
fn first_of(lists: Vec<Vec<Due>>, limit: usize) -> Vec<Due> {
    let mut all: Vec<Due> = lists.into_iter().flatten().collect();
    all.sort_by(|one, other| (one.due_at, &one.what).cmp(&(other.due_at, &other.what)));
    all.truncate(limit);
    all
}
