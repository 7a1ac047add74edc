//! What a call is, and what it still owes, as plain values and plain functions.
//!
//! Nothing here knows AWS, HTTP or the clock: time comes in as an argument, decisions come out
//! as values. The shell acts on them.

pub mod analysis;
pub mod analysis_plan;
pub mod backoff;
pub mod call;
pub mod config;
pub mod context;
pub mod copies;
pub mod copy_plan;
pub mod delivery;
pub mod dial_request;
pub mod digest;
pub mod directory;
pub mod enrich_plan;
pub mod gate;
pub mod key;
pub mod lookup;
pub mod pace;
pub mod party;
pub mod plan;
pub mod private;
pub mod record;
pub mod sync;
pub mod time;
pub mod update;
pub mod written;

pub use analysis::{Analysed, Analysis, AnalysisState, Tokens};
pub use backoff::Backoff;
pub use call::{Call, Outcome, fold};
pub use config::ConfigError;
pub use context::Context;
pub use copies::{CopyState, RecordingCopy};
pub use delivery::{Attempt, Deferred, Delivery, DeliveryId, DeliveryState, Event, Remote};
pub use digest::Digest;
pub use gate::Gate;
pub use key::{CallKey, KeyError, Name};
pub use lookup::{Lookup, LookupState};
pub use pace::Pace;
pub use party::{Party, PartyKind};
pub use plan::{Legs, Planned, Policy, Work};
pub use private::{Personal, Secret};
pub use record::{Absorbed, CallRecord, MatchedBy, People, Person, Unmatched};
pub use strum::VariantArray;
pub use time::{Flag, Seconds, earlier, later};
pub use update::{
    AnsweredBy, Blob, BlobRef, Body, Direction, Disposition, Facts, Order, Recording, State, Text,
    Update,
};
