//! Analysis of transcripts, without any request: the prompt, the bodies that two kinds of API take, and
//! the checks of a response.
//!
//! A transcript is data, and whatever is said in it remains data: see [`prompt`] for how it is fenced
//! in and [`response`] for what no response can do, whatever the model heard.

pub mod bedrock;
pub mod chat;
pub mod clean;
pub mod criteria;
pub mod fields;
pub mod model;
pub mod prompt;
pub mod reply;
pub mod response;
pub mod schema;
pub mod transcript;

pub use model::Model;
pub use prompt::{AnalysisRequest, Prompt};
pub use reply::Reply;
