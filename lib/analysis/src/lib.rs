//! Analysis of transcripts, without asking anybody: the question that a model is put, the bytes in
//! which two kinds of API take it, and whether what comes back is an answer.
//!
//! A transcript is data, and whatever is said in it remains data: see [`prompt`] for how it is fenced
//! in and [`answer`] for what no answer can do, whoever talked the model into it.

pub mod answer;
pub mod bedrock;
pub mod chat;
pub mod clean;
pub mod criteria;
pub mod model;
pub mod prompt;
pub mod reply;
pub mod schema;
pub mod transcript;

pub use model::Model;
pub use prompt::{Prompt, Question};
pub use reply::Reply;
