//! One provider message about one call, normalized: a partial call.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use crate::digest::Digest;
use crate::party::Party;
use crate::private::{LONGEST_NAME, Personal};
use crate::time::{Flag, Seconds};

/// The kind of an update that a caller of the API sent, and no provider.
pub const CONTEXT: &str = "context";

/// Bodies and transcripts up to this many bytes stay inside the call's own item; larger ones
/// become blobs, so that the item stays far below DynamoDB's 400 KB.
pub const INLINE_LIMIT: usize = 4 * 1024;

/// About what an update takes beside its texts: its digest, its times, the names of its fields.
const OVERHEAD: usize = 512;

/// An authenticated message, normalized, with the body it came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Update {
    /// Identity: the same bytes sent to the same path and query are the same update.
    pub digest: Digest,
    /// The kind of message, in the provider's words (`status`, `amd`, `call_finished`).
    pub kind: String,
    /// Where the provider puts it among its other messages about the call.
    #[serde(default)]
    pub order: Order,
    /// When it was received first.
    pub received_at: Timestamp,
    /// The path and query that it was sent to, which may say something about the call too.
    #[serde(default)]
    pub target: Personal,
    /// Its facts.
    pub facts: Facts,
    /// The raw body, for replay after a mapping was mended.
    pub raw: Body,
}

impl Update {
    /// An update whose digest is that of `kind` and `raw`. Names are cleaned here, whatever provider sent
    /// them.
    pub fn new(
        kind: &str,
        order: Order,
        received_at: Timestamp,
        facts: Facts,
        raw: Vec<u8>,
    ) -> Self {
        Self {
            digest: Digest::of(&[kind.as_bytes(), &raw]),
            kind: kind.to_owned(),
            order,
            received_at,
            target: Personal::default(),
            facts: facts.cleaned(),
            raw: Body::Inline(raw),
        }
    }

    /// Sets its path and query: the same bytes with another query are another update.
    pub fn sent_to(mut self, target: &str) -> Self {
        self.digest = Digest::of(&[self.digest.as_str().as_bytes(), target.as_bytes()]);
        self.target = Personal::new(target);
        self
    }

    /// Whether it is a context from a caller of the API, and no provider's message.
    pub fn is_context(&self) -> bool {
        self.kind == CONTEXT && self.target.expose().is_empty()
    }

    /// About how many bytes it takes in the call's item.
    pub fn weight(&self) -> usize {
        let raw = match &self.raw {
            Body::Inline(bytes) => bytes.len(),
            Body::Stored(_) => 0,
        };
        // Text, numbers and lists of them, which always serialize; as JSON they are a little longer
        // than as an item.
        let facts = serde_json::to_vec(&self.facts).map_or(0, |facts| facts.len());
        OVERHEAD + self.kind.len() + self.target.expose().len() + raw + facts
    }

    /// Takes out what is larger than `limit` bytes and so too large for the call's item. The
    /// blobs must be stored before the update that points to them.
    pub fn offload(mut self, limit: usize) -> (Self, Vec<Blob>) {
        let mut blobs = Vec::new();
        if let Body::Inline(bytes) = &mut self.raw
            && bytes.len() > limit
        {
            let blob = Blob::new(std::mem::take(bytes));
            self.raw = Body::Stored(blob.reference());
            blobs.push(blob);
        }
        if let Some(Text::Inline(text)) = &self.facts.transcript
            && text.expose().len() > limit
        {
            let blob = Blob::new(text.expose().as_bytes().to_vec());
            self.facts.transcript = Some(Text::Stored(blob.reference()));
            blobs.push(blob);
        }
        (self, blobs)
    }
}

/// The place of an update among the others of its call, before arrival order could matter.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// The provider says nothing about it.
    #[default]
    Unordered,
    /// The provider counts its messages.
    Sequence(u64),
    /// The provider's own time of the event.
    At(Timestamp),
}

/// Bytes kept with an update: in it, or beside it as a blob. They hold what the provider sent, so
/// they do not print.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Body {
    /// Small enough to stay.
    Inline(#[serde(with = "serde_bytes")] Vec<u8>),
    /// Stored on its own.
    Stored(BlobRef),
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Inline(bytes) => write!(f, "Inline({} bytes)", bytes.len()),
            Self::Stored(blob) => write!(f, "Stored({}, {} bytes)", blob.digest, blob.bytes),
        }
    }
}

/// Text of any length: in place, or stored as a blob.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Text {
    /// Small enough to stay.
    Inline(Personal),
    /// Stored on its own.
    Stored(BlobRef),
}

/// Where a blob is, and how large it is before compression.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlobRef {
    /// Its name under the call.
    pub digest: Digest,
    /// Its length in bytes.
    pub bytes: u64,
}

/// A large value on its way to the store.
#[derive(Clone, PartialEq, Eq)]
pub struct Blob {
    /// Its name under the call.
    pub digest: Digest,
    /// The bytes, not compressed.
    pub bytes: Vec<u8>,
}

impl Blob {
    /// Names bytes by their content, so that storing them twice is storing them once.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self { digest: Digest::of(&[b"blob", &bytes]), bytes }
    }

    /// The pointer that a call keeps.
    pub fn reference(&self) -> BlobRef {
        BlobRef { digest: self.digest.clone(), bytes: self.bytes.len() as u64 }
    }
}

impl std::fmt::Debug for Blob {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Blob({}, {} bytes)", self.digest, self.bytes.len())
    }
}

/// Which way a call went, seen from our side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// The customer called us.
    Inbound,
    /// We called the customer.
    Outbound,
    /// Neither end is a customer.
    Internal,
}

/// How far a call has come. Later in this list beats earlier; the last is never left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Asked for, not ringing yet.
    Queued,
    /// Ringing.
    Ringing,
    /// A person or a machine answered.
    InProgress,
    /// Over.
    Ended,
}

/// How a call ended, in the provider's judgement. The call's outcome also weighs who answered
/// and for how long they talked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Disposition {
    /// It was picked up.
    Answered,
    /// It rang out.
    NoAnswer,
    /// The line was engaged.
    Busy,
    /// It could not be connected.
    Failed,
    /// The caller gave up, or took it back.
    Canceled,
}

/// Who or what picked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AnsweredBy {
    /// The detection could not tell.
    Unknown,
    /// A person.
    Human,
    /// A fax.
    Fax,
    /// An answering machine or voicemail.
    Machine,
}

/// A recording of a call, or of a part of it.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recording {
    /// Where it can be fetched: an `https` or `http` address.
    pub url: Option<Personal>,
    /// A path on the PBX's own disk: kept for the operator, never given to a CRM as an address.
    pub path: Option<Personal>,
    /// Its length.
    pub duration: Option<Seconds>,
    /// The provider's word for its state (`completed`, `absent`).
    pub status: Option<String>,
}

/// The facts of one message about a call. Absent: the message says nothing of it.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Facts {
    /// How far the call has come.
    pub state: Option<State>,
    /// How it ended.
    pub disposition: Option<Disposition>,
    /// Who picked up.
    pub answered_by: Option<AnsweredBy>,
    /// Which way it went.
    pub direction: Option<Direction>,
    /// Who called.
    pub from: Option<Party>,
    /// Who was called.
    pub to: Option<Party>,
    /// The customer's side, where the provider names it so.
    pub contact: Option<Party>,
    /// Our side, where the provider names it so.
    pub employee: Option<Party>,
    /// The customer's name.
    pub contact_name: Option<Personal>,
    /// What the call was made for.
    pub campaign: Option<String>,
    /// The contact's id in the directory, from the call's context.
    pub contact_id: Option<String>,
    /// The lead's id, in the directory or in the system that placed the call.
    pub lead_id: Option<String>,
    /// When the call began. The earliest that any message says.
    pub started_at: Option<Timestamp>,
    /// When it was picked up. The earliest that any message says.
    pub answered_at: Option<Timestamp>,
    /// When it ended. The latest that any message says.
    pub ended_at: Option<Timestamp>,
    /// How long the two sides were connected.
    pub talk: Option<Seconds>,
    /// From the first ring to the end.
    pub total: Option<Seconds>,
    /// What the provider bills for.
    pub billed: Option<Seconds>,
    /// Recordings by the provider's id of each.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub recordings: BTreeMap<String, Recording>,
    /// The id of the AI conversation that was held on this call.
    pub conversation: Option<String>,
    /// The conversation in short.
    pub summary: Option<Personal>,
    /// The conversation in full.
    pub transcript: Option<Text>,
    /// The call id of the call that this one is a leg of.
    pub parent: Option<String>,
    /// The script that the analysis scores the conversation by.
    pub script_context: Option<Personal>,
    /// Whether the sender wants the transcript analysed.
    pub auto_analyze: Option<bool>,
    /// Whether the sender wants tasks made from the analysis.
    pub create_tasks: Option<bool>,
    /// The provider's reason for the end of the call, in its words (`SIP 486`).
    pub cause: Option<String>,
    /// What had to be decided about its times.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub flags: BTreeSet<Flag>,
    /// Fields that have no place above, as they came.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub extra: BTreeMap<String, Personal>,
}

impl Facts {
    /// The same with its names as one line each: the directory and CRMs refuse control characters.
    fn cleaned(mut self) -> Self {
        let name = |name: &mut Personal| *name = Personal::new(line(name.expose()));
        self.contact_name.iter_mut().for_each(name);
        self.contact_name = self.contact_name.filter(|name| !name.expose().is_empty());
        let is_name = |(field, _): &(&String, &mut Personal)| field.ends_with("name");
        self.extra.iter_mut().filter(is_name).for_each(|(_, text)| name(text));
        for text in [&mut self.campaign, &mut self.cause] {
            *text = text.take().map(|text| line(&text)).filter(|text| !text.is_empty());
        }
        self
    }
}

/// A text as one line of at most [`LONGEST_NAME`] characters: the end of a line and a tab are a space,
/// other control characters nothing.
fn line(text: &str) -> String {
    let is_break =
        |c: char| c.is_whitespace() && (c.is_control() || "\u{2028}\u{2029}".contains(c));
    let spaced = text.chars().map(|c| if is_break(c) { ' ' } else { c });
    let plain: String = spaced.filter(|c| !c.is_control()).take(LONGEST_NAME).collect();
    if plain == text {
        plain
    } else {
        plain.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_update_prints_no_personal_data() {
        let facts = Facts {
            from: Party::read("+61491570156"),
            contact_name: Some(Personal::new("Kim Example")),
            transcript: Some(Text::Inline(Personal::new("agent: hello"))),
            ..Facts::default()
        };
        let raw = b"From=%2B61491570156&Name=Kim".to_vec();
        let update = Update::new("status", Order::Unordered, Timestamp::UNIX_EPOCH, facts, raw);
        let printed = format!("{:?}", update.sent_to("/callback?contact_name=Kim"));
        assert!(printed.contains("Inline(28 bytes)"), "{printed}");
        // Neither as text nor as the numbers of its bytes.
        for private in ["491570156", "Kim", "hello", "70, 114, 111, 109"] {
            assert!(!printed.contains(private), "{private} is in {printed}");
        }
    }
}
