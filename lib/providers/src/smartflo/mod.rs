//! Tata Smartflo: webhooks, the call detail records, and placing calls.

mod agent;
pub mod dial;
mod login;
mod outcome;
pub mod pull;
pub mod settings;
pub mod webhook;

pub use webhook::Smartflo;
