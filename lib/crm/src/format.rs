//! What a body looks like: one module per format, each a plain function of the call.

pub mod canonical;
pub mod conversation_ai;

use serde::Deserialize;
use switchboard_domain::{CallRecord, Event};

/// The formats that a destination can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// The conversation-AI CRM's flat body.
    ConversationAi,
    /// Our own, versioned: everything that is known.
    Canonical,
}

impl Format {
    /// The body for an event of a call. The same call gives the same bytes, always.
    pub fn render(self, record: &CallRecord, event: Event, transcript: Option<&str>) -> Vec<u8> {
        let body = match self {
            Self::ConversationAi => serde_json::to_vec(&conversation_ai::body(record)),
            Self::Canonical => serde_json::to_vec(&canonical::body(record, event, transcript)),
        };
        // Structs of text and numbers: there is nothing in them that could fail to serialize.
        body.unwrap_or_default()
    }

    /// Whether a second request about the same call can be told from a second call.
    pub fn takes_updates(self) -> bool {
        match self {
            Self::ConversationAi => false,
            Self::Canonical => true,
        }
    }

    /// Whether the body holds the transcript, which may have to be fetched.
    pub fn has_transcript(self) -> bool {
        match self {
            Self::ConversationAi => false,
            Self::Canonical => true,
        }
    }
}
