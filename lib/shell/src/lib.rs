//! The imperative shell: everything that touches AWS, the environment or the clock.
//!
//! The core decides, this acts: configuration is read here and nowhere else, requests and batches
//! become plain values here, and what the core wants written, sent and said is done here.

pub mod aws;
pub mod environment;
pub mod gateway;
pub mod hook;
pub mod parameters;
pub mod worker;
