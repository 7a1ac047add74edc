//! DialRequests in memory, under the same conditions.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use switchboard_domain::Digest;
use switchboard_domain::dial_request::DialRequest;

use super::{DialRequests, PutDialRequest, RateCounter};
use crate::StoreError;

/// DialRequests in memory. Clones share them.
#[derive(Clone, Default)]
pub struct MemoryDialRequests(Arc<Mutex<Tables>>);

#[derive(Default)]
struct Tables {
    dial_requests: BTreeMap<Digest, DialRequest>,
    tallies: BTreeMap<(Digest, String), u32>,
}

impl MemoryDialRequests {
    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl DialRequests for MemoryDialRequests {
    async fn dial_request(&self, id: &Digest) -> Result<Option<DialRequest>, StoreError> {
        Ok(self.tables().dial_requests.get(id).cloned())
    }

    async fn put_dial_request(
        &self,
        dial_request: &DialRequest,
    ) -> Result<PutDialRequest, StoreError> {
        let mut tables = self.tables();
        let stored = tables.dial_requests.get(&dial_request.id);
        let written = DialRequest { version: dial_request.version + 1, ..dial_request.clone() };
        if stored == Some(&written) {
            return Ok(PutDialRequest::Stored(written.version));
        }
        if stored.map_or(0, |stored| stored.version) != dial_request.version {
            return Ok(PutDialRequest::Conflict(stored.cloned().map(Box::new)));
        }
        let version = written.version;
        tables.dial_requests.insert(dial_request.id.clone(), written);
        Ok(PutDialRequest::Stored(version))
    }

    async fn count(&self, tally: &RateCounter, most: u32) -> Result<bool, StoreError> {
        let mut tables = self.tables();
        let count = tables.tallies.entry((tally.who.clone(), tally.stretch.clone())).or_default();
        if *count >= most {
            return Ok(false);
        }
        *count += 1;
        Ok(true)
    }
}
