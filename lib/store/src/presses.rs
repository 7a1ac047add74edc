//! Every access pattern of presses of the button "call": who was dialled, and how often.
//!
//! They lie in the table of calls, whose clock deletes them, under partition keys that begin with
//! `press`: a function that dials can be kept to those.

use std::future::Future;

use jiff::Timestamp;
use switchboard_domain::Digest;
use switchboard_domain::press::Press;

use crate::StoreError;

mod dynamodb;
mod memory;

pub use dynamodb::DynamoPresses;
pub use memory::MemoryPresses;

/// What a store of presses can do.
pub trait Presses: Send + Sync {
    /// Reads a press, consistently.
    fn press(&self, id: &Digest) -> impl Future<Output = Result<Option<Press>, StoreError>> + Send;

    /// Writes a press as version `press.version + 1`, if the stored version is `press.version`
    /// (0: if there is none). A write that took place though its answer was lost, and is tried
    /// again, counts as stored: `press.attempt` tells it from another's.
    fn put_press(&self, press: &Press)
    -> impl Future<Output = Result<PutPress, StoreError>> + Send;

    /// Counts one more, unless there are `most` already. Whether it was counted.
    fn count(
        &self,
        tally: &Tally,
        most: u32,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;
}

/// What became of a conditional write of a press.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PutPress {
    /// Written. The new version.
    Stored(u64),
    /// Not written: the press as it is stored now, if there is one.
    Conflict(Option<Box<Press>>),
}

/// What is counted: the presses of somebody, in a stretch of time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tally {
    /// Whose.
    pub who: Digest,
    /// In which stretch: as `minute 2026-02-20T09:01`.
    pub stretch: String,
    /// When nobody asks for it any more.
    pub expires_at: Timestamp,
}
