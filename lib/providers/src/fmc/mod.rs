//! FMC: the virtual PBXs of Russian mobile operators.

mod beeline;
mod generic;
mod megafon;
pub mod webhook;

pub use webhook::Fmc;
