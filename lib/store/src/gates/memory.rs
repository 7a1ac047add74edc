//! Gates in memory.

use jiff::Timestamp;
use switchboard_domain::{Deferred, Gate, Name, Pace};

use super::{Gates, PARKED_SHARDS, PutGate, first_of, shard};
use crate::{Due, MemoryStore, StoreError};

impl Gates for MemoryStore {
    async fn gates(&self) -> Result<Vec<Gate>, StoreError> {
        Ok(self.tables().gates.values().cloned().collect())
    }

    async fn gate(&self, destination: &Name) -> Result<Option<Gate>, StoreError> {
        Ok(self.tables().gates.get(destination).cloned())
    }

    async fn put_gate(&self, gate: &Gate) -> Result<PutGate, StoreError> {
        let mut tables = self.tables();
        let stored = tables.gates.get(&gate.destination).map_or(0, |stored| stored.version);
        if stored != gate.version {
            return Ok(PutGate::Conflict);
        }
        let version = gate.version + 1;
        tables.gates.insert(gate.destination.clone(), Gate { version, ..gate.clone() });
        Ok(PutGate::Stored(version))
    }

    async fn reserve(
        &self,
        destination: &Name,
        pace: Pace,
        now: Timestamp,
    ) -> Result<Timestamp, StoreError> {
        let mut tables = self.tables();
        let (slot, given) = pace.next(tables.paces.get(destination).copied(), now);
        tables.paces.insert(destination.clone(), given);
        Ok(slot)
    }

    async fn deferred(
        &self,
        destination: &Name,
        among: Deferred,
        until: Timestamp,
        limit: usize,
    ) -> Result<Vec<Due>, StoreError> {
        let tables = self.tables();
        let shards = (0..PARKED_SHARDS).map(|n| shard(destination, among, n));
        let lists = shards.map(|shard| tables.due.first(&shard, until, None, limit));
        Ok(first_of(lists.collect(), limit))
    }
}
