//! The workers as functions: what each acts on, and the events that start it.

pub mod start;
mod token_store;
