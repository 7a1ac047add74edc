//! Twilio voice: webhooks, the lists of calls and recordings, and placing calls.

pub mod dial;
pub mod pull;
pub mod recording;
pub mod settings;
pub mod signature;
pub mod webhook;

pub use webhook::Twilio;
