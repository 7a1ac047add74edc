//! The copies of a call's recordings in our bucket: their states and retries.
//!
//! They stand beside the fold: what a provider says of a recording is a fact, the state of its copy is
//! ours.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use crate::backoff::Backoff;
use crate::digest::Digest;
use crate::private::Personal;

/// The id of an AI conversation's recording among those of its call. It has no address: it is
/// fetched by the conversation's id.
pub const CONVERSATION: &str = "conversation";

/// The waits between tries, seconds: a recording is there within seconds or minutes of its message,
/// and an outage ends within a day. About a day and a half in all.
const BACKOFF: Backoff<'_> = Backoff::new(&[10, 30, 120, 600, 1_800, 7_200, 28_800, 86_400]);

/// The copy of one recording.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordingCopy {
    /// Its state.
    pub state: CopyState,
    /// Fingerprint of the recording's address: another address is tried anew.
    pub of: Digest,
    /// The link that CRMs receive, which never changes. Absent where links are not configured.
    pub link: Option<Personal>,
    /// When the next try is due. Absent when none is.
    pub due_at: Option<Timestamp>,
    /// How often it failed.
    #[serde(default)]
    pub failures: u32,
    /// The last problem, without personal data.
    pub problem: Option<String>,
    /// The object in the bucket.
    pub object: Option<Object>,
}

/// The state of a copy. Everything but `Waiting` is final.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CopyState {
    /// To be made.
    Waiting,
    /// It is in the bucket.
    Copied,
    /// It cannot be made; `problem` says why.
    Failed,
}

/// An object in the bucket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Object {
    /// Its name in the bucket.
    pub key: String,
    /// Its length, bytes.
    pub bytes: u64,
    /// Its media type, as `audio/mpeg`.
    pub media_type: String,
    /// The SHA-256 of its bytes, in hexadecimal digits.
    pub sha256: String,
    /// When it was put there.
    pub at: Timestamp,
}

/// The result of one try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tried {
    /// It is in the bucket.
    Copied(Object),
    /// It may be there later.
    Later {
        /// Not before this moment, if the provider asked for that.
        not_before: Option<Timestamp>,
        /// The problem, without personal data.
        problem: String,
    },
    /// It will never be there.
    Never {
        /// Why, without personal data.
        problem: String,
    },
}

impl RecordingCopy {
    /// A copy to be made now.
    pub fn planned(of: Digest, link: Option<Personal>, now: Timestamp) -> Self {
        let state = CopyState::Waiting;
        Self { state, of, link, due_at: Some(now), failures: 0, problem: None, object: None }
    }

    /// Whether it is to be made by now.
    pub fn is_due(&self, now: Timestamp) -> bool {
        self.due_at.is_some_and(|due_at| due_at <= now)
    }

    /// The copy after a try.
    pub fn concluded(self, tried: Tried, now: Timestamp) -> Self {
        let failures = self.failures.saturating_add(1);
        let (problem, due_at) = match tried {
            Tried::Copied(object) => {
                let (state, object) = (CopyState::Copied, Some(object));
                return Self { state, due_at: None, problem: None, object, ..self };
            }
            Tried::Never { problem } => (problem, None),
            Tried::Later { not_before, problem } => {
                (problem, BACKOFF.next(failures, not_before, now))
            }
        };
        let state = if due_at.is_none() { CopyState::Failed } else { self.state };
        Self { state, due_at, failures, problem: Some(problem), ..self }
    }
}
