//! Asterisk: call detail records, however they are posted.

mod sides;
pub mod webhook;

pub use webhook::Asterisk;
