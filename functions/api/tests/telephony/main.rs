//! Click-to-call in one process: real HTTP stand-ins for the providers, the store in memory, time
//! as an argument, and faults where they hurt.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod answers;
mod crash;
mod employees;
mod law;
mod provider;
mod world;
