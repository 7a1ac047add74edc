//! Copies of a call's recordings in a bucket of ours: what is to be copied, when, and what came of it.
//!
//! They stand beside the fold: what a provider says of a recording is a fact, what became of its copy
//! is concluded by us.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::plan::Work;
use crate::private::Personal;
use crate::record::CallRecord;
use crate::update::Recording;

/// What the recording of an AI conversation is called among those of its call. It has no address: it
/// is fetched by the conversation's id.
pub const CONVERSATION: &str = "conversation";

/// More recordings of one call than this are not copied: its item would grow without end.
const MOST: usize = 20;

/// The waits between tries, seconds: a recording is there within seconds or minutes of its message,
/// and what is out of order is mended within a day. About a day and a half in all.
const RETRIES: [u32; 8] = [10, 30, 120, 600, 1_800, 7_200, 28_800, 86_400];

/// The words of providers for a recording that is not, or not yet, there to be fetched.
const NOT_THERE: [&str; 7] =
    ["in-progress", "in_progress", "processing", "paused", "absent", "failed", "deleted"];

/// The copy of one recording: how far it has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordingCopy {
    /// Where it stands.
    pub state: CopyState,
    /// Of which address: another one is tried anew.
    pub of: Digest,
    /// Where CRMs are told to find it: the same for ever. Absent where links are not configured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<Personal>,
    /// When the next try is due. Absent when none is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_at: Option<Timestamp>,
    /// How often it failed.
    #[serde(default)]
    pub failures: u32,
    /// What was wrong the last time, without personal data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// What lies in the bucket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<Object>,
}

/// Where a copy stands. Everything but `Waiting` is final.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CopyState {
    /// To be made.
    Waiting,
    /// It is in the bucket.
    Copied,
    /// It cannot be made, and it says why.
    Failed,
}

/// A copy as it lies in the bucket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Object {
    /// Its name in the bucket.
    pub key: String,
    /// Its length, bytes.
    pub bytes: u64,
    /// What it is, as `audio/mpeg`.
    pub media_type: String,
    /// Of its bytes, in hexadecimal digits.
    pub sha256: String,
    /// When it was put there.
    pub at: Timestamp,
}

/// What one try brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tried {
    /// It is in the bucket.
    Copied(Object),
    /// It may be got later.
    Later {
        /// Not before this moment, if that was said.
        not_before: Option<Timestamp>,
        /// What was wrong, without personal data.
        problem: String,
    },
    /// It can never be got.
    Never {
        /// Why, without personal data.
        problem: String,
    },
}

impl RecordingCopy {
    /// One to be made now.
    fn planned(of: Digest, link: Option<Personal>, now: Timestamp) -> Self {
        let state = CopyState::Waiting;
        Self { state, of, link, due_at: Some(now), failures: 0, problem: None, object: None }
    }

    /// Whether it is to be made by now.
    pub fn is_due(&self, now: Timestamp) -> bool {
        self.due_at.is_some_and(|due_at| due_at <= now)
    }

    /// The copy after a try.
    pub fn concluded(mut self, tried: Tried, now: Timestamp) -> Self {
        self.due_at = None;
        match tried {
            Tried::Copied(object) => {
                self.state = CopyState::Copied;
                self.problem = None;
                self.object = Some(object);
            }
            Tried::Never { problem } => {
                self.state = CopyState::Failed;
                self.failures = self.failures.saturating_add(1);
                self.problem = Some(problem);
            }
            Tried::Later { not_before, problem } => {
                let wait = RETRIES.get(self.failures as usize);
                self.failures = self.failures.saturating_add(1);
                self.problem = Some(problem);
                match wait {
                    Some(seconds) => {
                        let again = after(now, *seconds);
                        // Whoever asks for more than the longest wait does not mean it.
                        let latest = after(now, RETRIES[RETRIES.len() - 1]);
                        let not_before = not_before.map_or(again, |at| at.min(latest));
                        self.due_at = Some(again.max(not_before));
                    }
                    None => self.state = CopyState::Failed,
                }
            }
        }
        self
    }
}

fn after(at: Timestamp, seconds: u32) -> Timestamp {
    at.checked_add(SignedDuration::from_secs(seconds.into())).unwrap_or(Timestamp::MAX)
}

/// Whether a recording is there to be copied, as far as its provider says. One that lies on a PBX's
/// own disk is not.
fn is_there(id: &str, recording: &Recording) -> bool {
    let status = recording.status.as_deref().unwrap_or_default().to_ascii_lowercase();
    let has_place = recording.url.is_some() || id == CONVERSATION;
    has_place && !NOT_THERE.contains(&status.as_str())
}

impl CallRecord {
    /// Where a recording can be listened to: our link where there is one, else the provider's address.
    /// It is this that CRMs are told.
    pub fn address<'a>(&'a self, id: &str, recording: &'a Recording) -> Option<&'a Personal> {
        let link = self.copies.get(id).and_then(|copy| copy.link.as_ref());
        link.or(recording.url.as_ref())
    }

    /// Plans a copy of each recording that is wanted, is there, and has none; and of one that failed
    /// and has another address since. Says whether it planned any.
    pub fn plan_copies(
        &mut self,
        is_wanted: impl Fn(&str) -> bool,
        link: impl Fn(&str) -> Option<Personal>,
        now: Timestamp,
    ) -> bool {
        let mut planned = BTreeMap::new();
        for (id, recording) in &self.call.facts.recordings {
            if !is_there(id, recording) || !is_wanted(id) {
                continue;
            }
            let of = self.address_digest(id, recording);
            let kept = match self.copies.get(id) {
                None if self.copies.len() + planned.len() >= MOST => continue,
                None => None,
                Some(copy) if copy.state == CopyState::Failed && copy.of != of => Some(copy),
                Some(_) => continue,
            };
            // A link that a CRM may know stays as it is.
            let link = kept.map_or_else(|| link(id), |copy| copy.link.clone());
            planned.insert(id.clone(), RecordingCopy::planned(of, link, now));
        }
        let any = !planned.is_empty();
        self.copies.extend(planned);
        self.owe_copies();
        any
    }

    fn address_digest(&self, id: &str, recording: &Recording) -> Digest {
        let url = recording.url.as_ref().map_or("", Personal::expose);
        let conversation = self.call.facts.conversation.as_deref().unwrap_or_default();
        let conversation = if id == CONVERSATION { conversation } else { "" };
        Digest::of(&[url.as_bytes(), conversation.as_bytes()])
    }

    /// The copy that is due first.
    pub fn due_copy(&self, now: Timestamp) -> Option<&String> {
        let due = self.copies.iter().filter(|(_, copy)| copy.is_due(now));
        due.min_by_key(|(id, copy)| (copy.due_at, *id)).map(|(id, _)| id)
    }

    /// Makes the call owe its copies when the next of them is due, or not at all.
    pub fn owe_copies(&mut self) {
        match self.copies.values().filter_map(|copy| copy.due_at).min() {
            Some(due_at) => self.owed.insert(Work::Recordings, due_at),
            None => self.owed.remove(&Work::Recordings),
        };
    }
}

#[cfg(test)]
mod tests;
