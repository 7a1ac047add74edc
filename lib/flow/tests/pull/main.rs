//! Pulling calls, in one process: the real hook, pull, enrich and deliver over the in-memory twins,
//! providers that answer as their interfaces do, and virtual time.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
// What the tests of the pipeline have and these do not use.
#![allow(dead_code, reason = "shared with the tests of the pipeline")]

mod counts;
mod law;
mod place;
mod providers;
mod refusals;

#[path = "../pipeline/bucket.rs"]
mod bucket;
#[path = "../pipeline/effects.rs"]
mod effects;
#[path = "../pipeline/models.rs"]
mod models;
#[path = "../pipeline/samples.rs"]
mod samples;
#[path = "../pipeline/servers.rs"]
mod servers;
#[path = "../pipeline/token_store.rs"]
mod token_store;
#[path = "../pipeline/world.rs"]
mod world;
