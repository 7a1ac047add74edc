//! The whole pipeline in one process: real hook, enrich, deliver and sweep over the in-memory twins,
//! real HTTP servers on the loopback for the CRM and for ElevenLabs, and virtual time.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod answers;
mod crash;
mod effects;
mod lease;
mod once;
mod orders;
mod people;
mod private;
mod refused;
mod samples;
mod servers;
mod summary;
mod told;
mod webhook;
mod world;
