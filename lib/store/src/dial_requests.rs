//! Every access pattern of dial requests of the button "call": who was dialled, and how often.
//!
//! They lie in the table of calls, whose clock deletes them, under partition keys that begin with
//! `dial request`: a function that dials can be kept to those.

use std::future::Future;

use jiff::Timestamp;
use switchboard_domain::Digest;
use switchboard_domain::dial_request::DialRequest;

use crate::StoreError;

mod dynamodb;
mod memory;

pub use dynamodb::DynamoDialRequests;
pub use memory::MemoryDialRequests;

/// What a store of dial requests can do.
pub trait DialRequests: Send + Sync {
    /// Reads a dial request, consistently.
    fn dial_request(
        &self,
        id: &Digest,
    ) -> impl Future<Output = Result<Option<DialRequest>, StoreError>> + Send;

    /// Writes a dial request as version `dial request.version + 1`, if the stored version is `dial request.version`
    /// (0: if there is none). A write that took place though its answer was lost, and is tried
    /// again, counts as stored: `dial request.attempt` tells it from another's.
    fn put_dial_request(
        &self,
        dial_request: &DialRequest,
    ) -> impl Future<Output = Result<PutDialRequest, StoreError>> + Send;

    /// Counts one more, unless there are `most` already. Whether it was counted.
    fn count(
        &self,
        tally: &RateCounter,
        most: u32,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;
}

/// What became of a conditional write of a dial request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PutDialRequest {
    /// Written. The new version.
    Stored(u64),
    /// Not written: the dial request as it is stored now, if there is one.
    Conflict(Option<Box<DialRequest>>),
}

/// What is counted: the dial requests of somebody, in a stretch of time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RateCounter {
    /// Whose.
    pub who: Digest,
    /// In which stretch: as `minute 2026-02-20T09:01`.
    pub stretch: String,
    /// When nobody asks for it any more.
    pub expires_at: Timestamp,
}
