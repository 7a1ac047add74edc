//! The workers: what a call still owes after its webhook was answered.
//!
//! Each worker is given a pointer, reads what is due now, does it, and clears it in the write that
//! holds the result. Whatever stops in between is due again when its lease is over.

pub mod analyze;
pub mod configuration;
pub mod conversations;
pub mod deliver;
pub mod enrich;
pub mod gates;
pub mod models;
pub mod people;
pub mod pull;
pub mod reconcile;
pub mod recordings;
pub mod start;
pub mod sweep;
pub mod teller;
pub mod tokens;

pub use configuration::Configuration;
