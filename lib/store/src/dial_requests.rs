//! Dial requests of the button "call", and how many there were.
//!
//! Their partition keys begin with `press`: the rights of a function that dials can end there.

use jiff::Timestamp;
use switchboard_domain::Digest;
use switchboard_domain::dial_request::DialRequest;

use crate::item::{from_item, number, to_versioned};
use crate::store::expires_after;
use crate::table::{Change, Condition, Write, Written};
use crate::{Store, StoreError, keys};

/// A key is remembered for so long at least, however soon calls are deleted.
const SHORTEST_MEMORY_DAYS: u32 = 30;

/// What became of a conditional write of a dial request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PutDialRequest {
    /// Written. The new version.
    Stored(u64),
    /// Not written: the dial request as it is stored now, if there is one.
    Conflict(Option<Box<DialRequest>>),
}

/// A counter of dial requests of one caller in a window of time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RateCounter {
    /// The caller.
    pub who: Digest,
    /// The window: as `minute 2026-02-20T09:01`.
    pub window: String,
    /// When it is needed no more.
    pub expires_at: Timestamp,
}

impl Store {
    /// Reads a dial request, consistently.
    pub async fn dial_request(&self, id: &Digest) -> Result<Option<DialRequest>, StoreError> {
        self.read("press", keys::dial_request(id)).await
    }

    /// Writes a dial request as version `dial_request.version + 1`, if the stored version is
    /// `dial_request.version` (0: if there is none). A write that took place though its response was
    /// lost, and is sent again, counts as stored: `dial_request.attempt` tells it from another's.
    ///
    /// It expires as a call does, but not before 30 days are over: until then its key dials no second
    /// time.
    pub async fn put_dial_request(
        &self,
        dial_request: &DialRequest,
    ) -> Result<PutDialRequest, StoreError> {
        let DialRequest { id, version, .. } = dial_request;
        let mut item = to_versioned("press", dial_request, keys::dial_request(id), *version)?;
        let days = self.retention_days.max(SHORTEST_MEMORY_DAYS);
        item.insert("expires_at".into(), expires_after(days));
        let put = Write::put(item).only_if(Condition::version(*version));
        let Written::Unmet(stored) = self.table.write(put).await? else {
            return Ok(PutDialRequest::Stored(version + 1));
        };
        let stored: Option<DialRequest> =
            stored.map(|item| from_item("press", item)).transpose()?;
        let written = DialRequest { version: version + 1, ..dial_request.clone() };
        if stored.as_ref() == Some(&written) {
            return Ok(PutDialRequest::Stored(written.version));
        }
        Ok(PutDialRequest::Conflict(stored.map(Box::new)))
    }

    /// Counts one more, unless there are `most` already. Whether it was counted.
    pub async fn count(&self, counter: &RateCounter, most: u32) -> Result<bool, StoreError> {
        let changes = vec![
            Change::Add("count", number(1)),
            Change::Set("expires_at", number(counter.expires_at.as_second())),
        ];
        let below = Condition::Below("count", number(i64::from(most)));
        let few = Condition::Any(vec![Condition::Absent("count"), below]);
        let write = Write::update(keys::rate(&counter.who, &counter.window), changes).only_if(few);
        Ok(self.table.write(write).await?.is_done())
    }
}
