//! Presses in memory, under the same conditions.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use switchboard_domain::Digest;
use switchboard_domain::press::Press;

use super::{Presses, PutPress, Tally};
use crate::StoreError;

/// Presses in memory. Clones share them.
#[derive(Clone, Default)]
pub struct MemoryPresses(Arc<Mutex<Tables>>);

#[derive(Default)]
struct Tables {
    presses: BTreeMap<Digest, Press>,
    tallies: BTreeMap<(Digest, String), u32>,
}

impl MemoryPresses {
    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Presses for MemoryPresses {
    async fn press(&self, id: &Digest) -> Result<Option<Press>, StoreError> {
        Ok(self.tables().presses.get(id).cloned())
    }

    async fn put_press(&self, press: &Press) -> Result<PutPress, StoreError> {
        let mut tables = self.tables();
        let stored = tables.presses.get(&press.id);
        let written = Press { version: press.version + 1, ..press.clone() };
        if stored == Some(&written) {
            return Ok(PutPress::Stored(written.version));
        }
        if stored.map_or(0, |stored| stored.version) != press.version {
            return Ok(PutPress::Conflict(stored.cloned().map(Box::new)));
        }
        let version = written.version;
        tables.presses.insert(press.id.clone(), written);
        Ok(PutPress::Stored(version))
    }

    async fn count(&self, tally: &Tally, most: u32) -> Result<bool, StoreError> {
        let mut tables = self.tables();
        let count = tables.tallies.entry((tally.who.clone(), tally.stretch.clone())).or_default();
        if *count >= most {
            return Ok(false);
        }
        *count += 1;
        Ok(true)
    }
}
