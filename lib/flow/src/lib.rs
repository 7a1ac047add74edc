//! Use cases: what happens to a call between its webhook and its CRMs.
//!
//! Each worker is given a pointer, reads what is due now, does it, and clears it in the write that
//! holds the result. Whatever stops in between is due again when its lease is over.

#[cfg(feature = "workers")]
pub mod analyze;
pub mod api_token;
pub mod config;
#[cfg(feature = "workers")]
pub mod configuration;
#[cfg(feature = "workers")]
pub mod conversations;
#[cfg(feature = "workers")]
pub mod deliver;
#[cfg(feature = "workers")]
pub mod deliverer;
#[cfg(feature = "dial")]
pub mod dial;
#[cfg(feature = "workers")]
pub mod enrich;
mod error;
pub mod follow_ups;
#[cfg(feature = "workers")]
pub mod gates;
pub mod ingest;
pub mod metrics;
#[cfg(feature = "workers")]
pub mod models;
#[cfg(feature = "workers")]
pub mod people;
#[cfg(feature = "workers")]
pub mod planning;
#[cfg(feature = "workers")]
pub mod pull;
pub mod pull_jobs;
#[cfg(feature = "workers")]
pub mod reconcile;
#[cfg(feature = "workers")]
pub mod recordings;
pub mod redeliver;
#[cfg(feature = "workers")]
pub mod rematch;
#[cfg(feature = "workers")]
pub mod replay;
#[cfg(feature = "workers")]
pub mod sweep;
pub mod telemetry;
#[cfg(feature = "workers")]
pub mod tokens;
mod update;

#[cfg(feature = "workers")]
pub use configuration::Configuration;
pub use error::JobError;

/// The values of parameters below a path, by the rest of their names (`sources/twilio/main`).
pub type Values = std::collections::BTreeMap<String, String>;
