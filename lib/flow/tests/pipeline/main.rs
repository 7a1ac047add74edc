//! The whole pipeline in one process: real hook, enrich, deliver and sweep over the in-memory twins,
//! real HTTP servers on the loopback for the CRM and for ElevenLabs, and virtual time.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod analysed;
mod answers;
mod asked;
mod bucket;
mod crash;
mod deliverer;
mod effects;
mod gates;
mod hubspot;
mod injected;
mod kept_back;
mod kinds;
mod lease;
mod models;
mod once;
mod orders;
mod people;
mod private;
mod pull;
mod recordings;
mod refused;
mod routed;
mod samples;
mod servers;
mod started;
mod summary;
mod token_store;
mod tokens;
mod webhook;
mod world;
