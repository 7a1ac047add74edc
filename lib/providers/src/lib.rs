//! Phone and voice-AI systems: how each authenticates a message, how a message is parsed, how calls are
//! pulled and placed.
//!
//! A provider is one folder, declared and listed in [`registry`]. A body cannot be parsed before it was
//! authenticated: [`Provider::parse`] takes an [`Authenticated`], which only [`authenticate`] makes.

pub mod body;
pub mod cdr;
pub mod configure;
pub mod dial;
pub mod dialing;
pub mod form;
pub mod ids;
pub mod json;
pub mod provider;
pub mod pull;
pub mod recordings;
pub mod registry;
pub mod reject;
mod repair;
pub mod request;
pub mod rest;
pub mod secret;
pub mod settings;
pub mod source;
#[cfg(test)]
mod testing;

pub use provider::{
    Authenticated, Content, Parsed, Provider, Record, Route, Sources, Unread, authenticate,
};
pub use registry::*;
pub use reject::{Refusal, Reject};
pub use request::Request;
pub use source::{Credential, Source};
pub use switchboard_domain::ConfigError;
