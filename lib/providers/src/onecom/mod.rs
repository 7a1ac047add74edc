//! OneCom: webhooks and pulling of the call detail records of a MiRTA PBX.

pub mod pull;
pub mod settings;
mod sides;
pub mod webhook;

pub use webhook::OneCom;
