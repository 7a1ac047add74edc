//! Leases in memory, under the same conditions.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

use super::{Leases, Take};
use crate::StoreError;

/// Leases in memory. Clones share them.
#[derive(Clone, Default)]
pub struct MemoryLeases(Arc<Mutex<BTreeMap<String, Lease>>>);

#[derive(Default)]
struct Lease {
    holder: Option<String>,
    held_until: Option<Timestamp>,
    mark: u64,
}

impl MemoryLeases {
    fn all(&self) -> MutexGuard<'_, BTreeMap<String, Lease>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Leases for MemoryLeases {
    async fn take(
        &self,
        lease: &str,
        holder: &str,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Take, StoreError> {
        let mut all = self.all();
        let lease = all.entry(lease.to_owned()).or_default();
        let is_ours = lease.holder.as_deref() == Some(holder);
        match lease.held_until.filter(|held| *held > now && !is_ours) {
            Some(held) if lease.holder.is_some() => Ok(Take::Held(held)),
            Some(held) => Ok(Take::Rests(held)),
            None => {
                (lease.holder, lease.held_until) = (Some(holder.to_owned()), Some(until));
                Ok(Take::Ingested(lease.mark))
            }
        }
    }

    async fn give_back(
        &self,
        lease: &str,
        holder: &str,
        mark: u64,
        rests: Option<Timestamp>,
    ) -> Result<(), StoreError> {
        if let Some(lease) = self.all().get_mut(lease)
            && lease.holder.as_deref() == Some(holder)
        {
            *lease = Lease { holder: None, held_until: rests, mark };
        }
        Ok(())
    }
}
