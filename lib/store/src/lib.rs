//! Everything that is stored, over a port to a table of items.
//!
//! [`Store`] and [`Directory`] are plain code over [`Table`]. [`DynamoTable`] and [`MemoryTable`] are
//! the two tables: the same contract tests run over both.

mod analysis;
mod blobs;
mod calls;
mod compression;
mod deliveries;
mod dial_requests;
mod directory;
mod due;
mod dynamodb;
mod error;
mod gates;
mod item;
mod jobs;
mod keys;
mod leases;
mod listing;
mod memory;
mod overlay;
mod quarantine;
mod store;
pub mod table;
#[cfg(feature = "testing")]
pub mod testing;

pub use calls::{CallStub, Put};
pub use dial_requests::{PutDialRequest, RateCounter};
pub use directory::{Directory, EntryCursor, EntryPage, Upserted, Upserts, fresh_id};
pub use due::Due;
pub use dynamodb::DynamoTable;
pub use error::StoreError;
pub use jobs::{MOST_LISTED, Started};
pub use keys::Overdue;
pub use leases::Lease;
pub use listing::{DAY_SHARDS, Line, LineSide, Lines, List, Place, day_of};
pub use memory::MemoryTable;
pub use overlay::Overlay;
pub use quarantine::{Between, Quarantined};
pub use store::{Cursor, Page, PutIf, Store};
pub use table::Table;
