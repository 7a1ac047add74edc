//! The shapes in which a CRM is told of a call. One module each, and one line in this list.

pub mod canonical;
pub mod conversation_ai;
#[cfg(test)]
pub(crate) mod testing;

use serde::{Deserialize, Serialize};
use switchboard_domain::{CallRecord, Event, Party, PartyKind, Person};

/// A shape of the body that a destination is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// Seven fields about a call, for a CRM that has an endpoint of that shape.
    ConversationAi,
    /// All that is known about a call: our own format, versioned.
    Canonical,
}

impl Format {
    /// The body, as JSON. It depends on nothing but the arguments, and of the record on nothing
    /// but the key, the call and the people: however the call's messages arrived, and however
    /// often it is rendered, the bytes are the same.
    ///
    /// `transcript` is the text where it was stored as a blob; a short one is in the record.
    pub fn render(self, record: &CallRecord, event: Event, transcript: Option<&str>) -> Vec<u8> {
        match self {
            Self::ConversationAi => conversation_ai::render(record, event, transcript),
            Self::Canonical => canonical::render(record, event, transcript),
        }
    }

    /// Whether it can say that something more is known about a call that was told already.
    pub fn takes_updates(self) -> bool {
        match self {
            // It has no id: a second body would be a second call.
            Self::ConversationAi => false,
            Self::Canonical => true,
        }
    }

    /// Whether the body holds the transcript, so that a stored one must be read first.
    pub fn tells_transcript(self) -> bool {
        match self {
            Self::ConversationAi => false,
            Self::Canonical => true,
        }
    }
}

/// A party's number in E.164: as `enrich` concluded, or as the provider wrote it.
fn e164<'a>(party: Option<&'a Party>, person: Option<&'a Person>) -> Option<&'a str> {
    let concluded = person.and_then(|person| person.e164.as_ref()).map(|number| number.expose());
    concluded.or_else(|| {
        let party = party.filter(|party| party.kind == PartyKind::E164)?;
        Some(number(party))
    })
}

/// A party's address without the scheme that a number may come with.
fn number(party: &Party) -> &str {
    let raw = party.raw.expose();
    match raw.get(..4) {
        Some(scheme) if scheme.eq_ignore_ascii_case("tel:") => &raw[4..],
        _ => raw,
    }
}
