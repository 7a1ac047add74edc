//! Destinations: what a CRM receives of a call, how requests are signed and authorized, and what a
//! response means.
//!
//! Everything is plain code over the [`Http`](switchboard_http::Http) port. The formats stand on the
//! modules about payloads, contacts, outcomes and credentials and know nothing of each other; the
//! [registry] lists them, and a [`Destination`] is one of them as it is configured.

pub mod auth;
pub mod canonical;
pub mod contacts;
pub mod conversation_ai;
mod credentials;
pub mod destination;
mod fields;
pub mod filter;
pub mod format;
pub mod hubspot;
mod layers;
pub mod oauth;
mod optional;
pub mod outcome;
mod payload;
pub mod phone;
pub mod pipedrive;
pub mod registry;
pub mod salesforce;
pub mod signing;
pub mod template;
#[cfg(test)]
mod testing;
pub mod webhook;
pub mod zoho;

pub use contacts::{ContactRef, Contacts};
pub use destination::{Destination, Payload};
pub use format::{Clock, Deduplication, Format, RenderContext};
pub use oauth::{NoToken, Tokens};
pub use outcome::Outcome;
pub use switchboard_domain::ConfigError;
