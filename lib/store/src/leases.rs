//! Leases: what only one may do at a time, whoever does it.
//!
//! They lie in the table of calls, under partition keys that begin with `lease`: a function can be kept
//! to those. A lease is never deleted: what its last holder left is for the next.

use std::future::Future;

use jiff::Timestamp;

use crate::StoreError;

mod dynamodb;
mod memory;

pub use dynamodb::DynamoLeases;
pub use memory::MemoryLeases;

/// What a store of leases can do.
pub trait Leases: Send + Sync {
    /// Takes a lease until a moment, if at `now` nobody has it and it does not rest. `holder` is who:
    /// a name that nobody else has.
    fn take(
        &self,
        lease: &str,
        holder: &str,
        now: Timestamp,
        until: Timestamp,
    ) -> impl Future<Output = Result<Take, StoreError>> + Send;

    /// Gives back what `holder` has, and leaves a mark for the next; with `rests`, nobody may take it
    /// before then. Who has it no more changes nothing.
    fn give_back(
        &self,
        lease: &str,
        holder: &str,
        mark: u64,
        rests: Option<Timestamp>,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// What came of taking a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Take {
    /// It is ours. What the last one who gave it back left; 0 if nobody did.
    Ingested(u64),
    /// Somebody has it until then, unless they give it back.
    Held(Timestamp),
    /// Nobody may take it before then.
    Rests(Timestamp),
}
