//! ElevenLabs Agents: the conversations that were held on calls.

pub mod conversation;
pub mod lookup;
pub mod pull;
pub mod recording;
pub mod settings;
pub mod signature;
pub mod webhook;

pub use conversation::{Conversation, Status, conversation, page};
pub use webhook::ElevenLabs;
