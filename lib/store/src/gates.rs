//! Destinations' gates: their state, their line, and the deliveries that wait for them.

use futures_util::future::try_join_all;
use jiff::Timestamp;
use switchboard_domain::{Deferred, Gate, Name, Pace};

use crate::item::{damaged, from_item, number, to_versioned};
use crate::store::SECONDS_PER_DAY;
use crate::table::{Change, Condition, Query, Write, Written, number_of};
use crate::{Due, PutIf, Store, StoreError, keys};

/// What waits for one destination is spread over so many shards: an index's partition takes a
/// thousand writes a second.
pub(crate) const DEFERRED_SHARDS: u16 = 4;
/// How often a place is tried for against others at the moment when a line begins or ends.
const ROUNDS: usize = 10;

impl Store {
    /// Reads every gate, consistently, in the order of their destinations: one request.
    pub async fn gates(&self) -> Result<Vec<Gate>, StoreError> {
        let items = self.all(Query::of(keys::GATES)).await?.into_iter();
        items.map(|item| from_item("gate", item)).collect()
    }

    /// Reads one gate, consistently.
    pub async fn gate(&self, destination: &Name) -> Result<Option<Gate>, StoreError> {
        self.read("gate", keys::gate(destination)).await
    }

    /// Writes a gate as version `gate.version + 1`, if the stored version is `gate.version` (0: if
    /// there is none). Gates never expire: a destination that is paused stays so.
    pub async fn put_gate(&self, gate: &Gate) -> Result<PutIf, StoreError> {
        let item = to_versioned("gate", gate, keys::gate(&gate.destination), gate.version)?;
        self.put_version(item, gate.version).await
    }

    /// Takes the next place in a destination's line: when to send. No place is given out twice.
    pub async fn reserve(
        &self,
        destination: &Name,
        pace: Pace,
        now: Timestamp,
    ) -> Result<Timestamp, StoreError> {
        let floor = number(pace.floor(now).as_microsecond());
        let expires_at = number(now.as_second().saturating_add(2 * SECONDS_PER_DAY));
        let update = |given: Change, condition| {
            let changes = vec![given, Change::Set("expires_at", expires_at.clone())];
            self.table.write(Write::update(keys::pace(destination), changes).only_if(condition))
        };
        for _ in 0..ROUNDS {
            // Behind those who stand in line; or, where the line is empty, at its head. The table
            // adds, so that no read comes first.
            let behind = Condition::Above("given", floor.clone());
            if let Written::Done(line) =
                update(Change::Add("given", number(pace.step)), behind).await?
            {
                let given: Option<i64> = number_of(&line, "given");
                let slot = given.and_then(|given| given.checked_sub(pace.step));
                let slot = slot.and_then(|slot| Timestamp::from_microsecond(slot).ok());
                return Ok(slot.ok_or_else(|| damaged("line", "it has no end"))?.max(now));
            }
            let after = number(pace.after(pace.floor(now)).as_microsecond());
            let empty = vec![Condition::Absent("given"), Condition::UpTo("given", floor.clone())];
            if update(Change::Set("given", after), Condition::Any(empty)).await?.is_done() {
                return Ok(now);
            }
        }
        let code = "too many at one line".to_owned();
        Err(StoreError::Unavailable { operation: "write", code })
    }

    /// The deliveries that wait for a destination's gate and are due by then, the longest due first:
    /// at most `limit`.
    pub async fn deferred(
        &self,
        destination: &Name,
        among: Deferred,
        until: Timestamp,
        limit: usize,
    ) -> Result<Vec<Due>, StoreError> {
        let shards = (0..DEFERRED_SHARDS).map(|n| keys::deferred_shard(destination, among, n));
        let lists = shards.map(|shard| self.oldest_due(shard, until, limit));
        let mut all: Vec<Due> = try_join_all(lists).await?.into_iter().flatten().collect();
        all.sort_by(|one, other| (one.due_at, &one.what).cmp(&(other.due_at, &other.what)));
        all.truncate(limit);
        Ok(all)
    }
}
