//! One event of one call on its way to one destination.

use std::fmt;
use std::str::FromStr;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::gate::LONGEST_RETRY_AFTER;
use crate::key::{CallKey, KeyError, Name};
use crate::record::CallRecord;
use crate::update::{Body, Seconds};

/// How many attempts a delivery remembers in full.
const HISTORY: usize = 20;
/// A message may be a little early against the clock of the one who set `due_at`.
const SLACK: SignedDuration = SignedDuration::from_secs(2);
/// Further off than this no message can be held back: the sweep wakes a delivery up a little before
/// its slot, and then a message brings it in time.
const LONGEST_MESSAGE: SignedDuration = SignedDuration::from_mins(15);
const WAKE_UP: SignedDuration = SignedDuration::from_secs(90);
/// A start that is not told by then is of no use to anybody.
const START_IS_NEWS_FOR: SignedDuration = SignedDuration::from_secs(60);

/// What a destination is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Event {
    /// A call has started, and has not ended yet.
    #[serde(rename = "call.started")]
    Started,
    /// A call has ended.
    #[serde(rename = "call.completed")]
    Completed,
    /// Something more is known about a call that the destination was told of.
    #[serde(rename = "call.updated")]
    Updated,
    /// Tasks follow from a call: all of them at once.
    #[serde(rename = "task.created")]
    TaskCreated,
}

impl Event {
    /// Every event, in the order in which they come about.
    pub const ALL: [Event; 4] =
        [Event::Started, Event::Completed, Event::Updated, Event::TaskCreated];

    /// The event type as it is written everywhere.
    pub fn as_str(self) -> &'static str {
        match self {
            Event::Started => "call.started",
            Event::Completed => "call.completed",
            Event::Updated => "call.updated",
            Event::TaskCreated => "task.created",
        }
    }

    /// Whether it tells more of a call of which `call.completed` told first.
    pub fn is_more(self) -> bool {
        matches!(self, Event::Updated | Event::TaskCreated)
    }

    /// Whether a start would be told too late: the call is over, or it is a while since it was heard
    /// of. Every other event can wait.
    pub fn is_too_late(self, record: &CallRecord, now: Timestamp) -> bool {
        let is_old = || now.duration_since(record.heard_at()) > START_IS_NEWS_FOR;
        self == Event::Started && (record.call.has_ended() || is_old())
    }
}

/// Which delivery of a call. Written `destination#event`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DeliveryId {
    /// To whom.
    pub destination: Name,
    /// What.
    pub event: Event,
}

impl fmt::Display for DeliveryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.destination, self.event.as_str())
    }
}

impl FromStr for DeliveryId {
    type Err = KeyError;
    fn from_str(text: &str) -> Result<Self, KeyError> {
        let (destination, event) = text.split_once('#').unwrap_or((text, ""));
        let event = Event::ALL.into_iter().find(|one| one.as_str() == event);
        let problem = "is not one that is delivered";
        let event = event.ok_or(KeyError { part: "event", problem })?;
        Ok(Self { destination: Name::new("destination", destination)?, event })
    }
}

impl TryFrom<String> for DeliveryId {
    type Error = KeyError;
    fn try_from(text: String) -> Result<Self, KeyError> {
        text.parse()
    }
}

impl From<DeliveryId> for String {
    fn from(id: DeliveryId) -> Self {
        id.to_string()
    }
}

/// Where a delivery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryState {
    /// To be tried, or tried and to be tried again.
    Pending,
    /// The destination said 2xx.
    Delivered,
    /// The destination refused it for good, or the schedule ran out. Kept, and can be sent anew.
    Failed,
    /// The destination's filter keeps the call back.
    Unwanted,
}

/// Among what a delivery waits that is due while its destination's [gate](crate::gate) is shut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Deferred {
    /// What waits until the gate opens.
    Shut,
    /// What was planned while it is drained: that waits until it is resumed.
    New,
}

impl Deferred {
    /// The word that is stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Shut => "parked",
            Self::New => "held",
        }
    }
}

/// One try.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// When it ended.
    pub at: Timestamp,
    /// How long the destination took, milliseconds.
    pub took_ms: u64,
    /// The HTTP status, if an answer came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// What it came to, in a few words without personal data (`timed out`, `refused: 422`).
    pub result: String,
}

/// The body that every attempt sends, made at the first one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RenderedPayload {
    /// The call's news as this body tells them.
    #[serde(rename = "news")]
    pub fingerprint: Digest,
    /// The bytes.
    pub body: Body,
}

/// What a CRM calls what it was told of. Ids of its own, so that it can be told more of the same.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Remote {
    /// The call's entry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call: Option<String>,
    /// The contact's entry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contact: Option<String>,
}

impl Remote {
    /// With what is known by now: an id that is not said again is not forgotten.
    pub fn learn(&mut self, fingerprint: Remote) {
        self.call = fingerprint.call.or(self.call.take());
        self.contact = fingerprint.contact.or(self.contact.take());
    }

    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A delivery as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// Of which call.
    pub key: CallKey,
    /// To whom, and what.
    pub id: DeliveryId,
    /// Where it stands.
    pub state: DeliveryState,
    /// When it is due next. Absent when it is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_at: Option<Timestamp>,
    /// When it was planned, or made due anew. Absent on what was planned before this was noted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub planned_at: Option<Timestamp>,
    /// That it waits for its destination's gate, though it is due.
    #[serde(rename = "parked", default, skip_serializing_if = "Option::is_none")]
    pub deferred: Option<Deferred>,
    /// Its place in its destination's line, where that has a rate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<Timestamp>,
    /// Counts the writes: 0 is a delivery that was never stored. The store counts.
    pub version: u64,
    /// How many attempts counted against the retry schedule.
    pub failures: u32,
    /// The latest attempts, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attempts: Vec<Attempt>,
    /// The body, once it was tried.
    #[serde(rename = "frozen", default, skip_serializing_if = "Option::is_none")]
    pub rendered: Option<RenderedPayload>,
    /// Set when an operator sends it anew on purpose: makes another idempotency key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nonce: Option<String>,
    /// What the destination calls what it was told of, as far as it said so.
    #[serde(default, skip_serializing_if = "Remote::is_empty")]
    pub remote: Remote,
}

/// What an attempt came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// 2xx.
    Delivered,
    /// Worth trying again.
    Retry {
        /// Not before this moment, if the destination said so.
        not_before: Option<Timestamp>,
    },
    /// It will never be accepted as it is.
    Refused,
    /// The destination takes nothing any more (410). It is stopped, and this waits with the rest.
    Gone,
}

impl Delivery {
    /// A delivery that is due now.
    pub fn planned(key: CallKey, id: DeliveryId, now: Timestamp) -> Self {
        Self {
            key,
            id,
            state: DeliveryState::Pending,
            due_at: Some(now),
            planned_at: Some(now),
            deferred: None,
            slot: None,
            version: 0,
            failures: 0,
            attempts: Vec::new(),
            rendered: None,
            nonce: None,
            remote: Remote::default(),
        }
    }

    /// The idempotency key: the same for every attempt of this delivery, for ever.
    pub fn idempotency_key(&self) -> String {
        let digest = Digest::of(&[
            self.key.to_string().as_bytes(),
            self.id.to_string().as_bytes(),
            self.nonce.as_deref().unwrap_or_default().as_bytes(),
        ]);
        format!("msg_{digest}")
    }

    /// Whether it is to be tried now. What waits for its destination is: it is let out as soon as that
    /// works again, whenever it would have been tried else.
    pub fn is_due(&self, now: Timestamp) -> bool {
        let is_time = |due_at: Timestamp| due_at.duration_since(now) <= SLACK;
        self.due_at.is_some_and(|due_at| self.deferred.is_some() || is_time(due_at))
    }

    /// Takes it up: nobody else will before `lease` is over, and then somebody must.
    pub fn claimed(mut self, now: Timestamp, lease: Seconds, rendered: RenderedPayload) -> Self {
        self.due_at = Some(later(now, SignedDuration::from_secs(lease.0.into())));
        if self.rendered.is_none() {
            // Nothing was ever sent: what failed so far was finding the destination.
            self.failures = 0;
        }
        self.rendered = Some(rendered);
        self.deferred = None;
        self.slot = None;
        self
    }

    /// Puts it off without counting an attempt.
    pub fn postponed(mut self, until: Timestamp) -> Self {
        self.due_at = Some(until);
        self.deferred = None;
        self
    }

    /// Puts it among what waits for its destination's gate. It stays due when it is, so that the
    /// oldest go first one day, and none is a probe before its time.
    pub fn deferred(mut self, among: Deferred) -> Self {
        self.deferred = Some(among);
        self.slot = None;
        self
    }

    /// Gives it a place in its destination's line. One far down the line is woken up before.
    pub fn scheduled(mut self, slot: Timestamp, now: Timestamp) -> Self {
        let is_far = slot.duration_since(now) > LONGEST_MESSAGE;
        let wake_up = slot.checked_sub(WAKE_UP).unwrap_or(slot);
        self.due_at = Some(if is_far { wake_up } else { slot });
        self.slot = Some(slot);
        self.deferred = None;
        self
    }

    /// Ends it without an attempt: the destination does not want it after all.
    pub fn unwanted(mut self) -> Self {
        self.state = DeliveryState::Unwanted;
        self.due_at = None;
        self.deferred = None;
        self.slot = None;
        self
    }

    /// Makes it due anew, with the call as it is now, under another idempotency key: an operator
    /// wants it to take effect once more. `nonce` tells this replay from every other.
    pub fn again(mut self, nonce: &str, now: Timestamp) -> Self {
        self.state = DeliveryState::Pending;
        self.due_at = Some(now);
        self.planned_at = Some(now);
        self.deferred = None;
        self.slot = None;
        self.failures = 0;
        self.rendered = None;
        self.nonce = Some(nonce.to_owned());
        self
    }

    /// Records what an attempt came to. `schedule` holds the waits after the first, second, …
    /// failure, in seconds; when it has run out, the delivery has failed.
    pub fn concluded(mut self, attempt: Attempt, verdict: Verdict, schedule: &[u32]) -> Self {
        let now = attempt.at;
        self.deferred = None;
        self.attempts.push(attempt);
        if self.attempts.len() > HISTORY {
            self.attempts.remove(0);
        }
        match verdict {
            Verdict::Delivered => {
                self.state = DeliveryState::Delivered;
                self.due_at = None;
            }
            Verdict::Refused => {
                self.state = DeliveryState::Failed;
                self.due_at = None;
            }
            Verdict::Gone => self.due_at = Some(now),
            Verdict::Retry { not_before } => {
                self.failures += 1;
                let wait = schedule.get(self.failures as usize - 1);
                self.due_at = wait.map(|wait| self.next_try(now, *wait, not_before));
                if self.due_at.is_none() {
                    self.state = DeliveryState::Failed;
                }
            }
        }
        self
    }

    fn next_try(&self, now: Timestamp, wait: u32, not_before: Option<Timestamp>) -> Timestamp {
        // Up to a fifth longer, by delivery and attempt, so that an outage does not end in a rush.
        let spread = Digest::of(&[self.idempotency_key().as_bytes(), &self.failures.to_be_bytes()]);
        let millis = u64::from(wait) * (1_000 + u64::from(spread.bucket(200)));
        let planned = later(now, SignedDuration::from_millis(millis as i64));
        match not_before {
            Some(not_before) => planned.max(not_before.min(later(now, LONGEST_RETRY_AFTER))),
            None => planned,
        }
    }
}

fn later(at: Timestamp, by: SignedDuration) -> Timestamp {
    at.checked_add(by).unwrap_or(Timestamp::MAX)
}
