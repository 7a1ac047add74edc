//! Destinations: what a CRM is told, how it is signed, how it is sent, and what its answer means.
//!
//! Everything but the client (feature `client`) is plain functions over plain types.

pub mod auth;
#[cfg(feature = "client")]
pub mod client;
pub mod contacts;
pub mod destination;
pub mod exchange;
mod fields;
pub mod format;
pub mod oauth;
pub mod phone;
pub mod signing;
pub mod verdict;

#[cfg(feature = "client")]
pub use client::{Client, Headers, NoTokens, Tokens};
pub use destination::Destination;
pub use switchboard_domain::ConfigError;
