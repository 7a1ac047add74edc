//! 3CX: the call journaling of its CRM templates.

pub mod settings;
mod start;
mod variables;
pub mod webhook;

pub use webhook::ThreeCx;
