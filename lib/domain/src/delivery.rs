//! One event of one call on its way to one destination.

use std::fmt;
use std::str::FromStr;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_with::{DeserializeFromStr, SerializeDisplay, skip_serializing_none};
use strum::{EnumString, IntoStaticStr, VariantArray};

use crate::backoff::Backoff;
use crate::digest::Digest;
use crate::key::{CallKey, KeyError, Name};
use crate::time::{Seconds, earlier, later};
use crate::update::Body;

/// How many attempts a delivery remembers in full.
const HISTORY: usize = 20;
/// How many attempts in a row may have a status that passes soon or never. By the default schedule that is
/// more than two and a half hours.
const BRIEFLY: usize = 5;
/// A message may arrive a little before `due_at`: the clock that set it differs from the worker's.
const SLACK: SignedDuration = SignedDuration::from_secs(2);
/// SQS delays a message for at most this long: the sweep wakes a delivery up a little before its
/// slot, and then a message brings it in time.
const LONGEST_MESSAGE: SignedDuration = SignedDuration::from_mins(15);
const WAKE_UP: SignedDuration = SignedDuration::from_secs(90);

/// An event that destinations receive.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    EnumString,
    IntoStaticStr,
    VariantArray,
)]
pub enum Event {
    /// A call has started, and has not ended yet.
    #[serde(rename = "call.started")]
    #[strum(serialize = "call.started")]
    Started,
    /// A call has ended.
    #[serde(rename = "call.completed")]
    #[strum(serialize = "call.completed")]
    Completed,
    /// More is known about a call whose end was delivered.
    #[serde(rename = "call.updated")]
    #[strum(serialize = "call.updated")]
    Updated,
    /// Tasks follow from a call: all of them at once.
    #[serde(rename = "task.created")]
    #[strum(serialize = "task.created")]
    TaskCreated,
}

impl Event {
    /// The event type as it is stored and shown.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// Whether it adds to a call of which `call.completed` was delivered first.
    pub fn is_more(self) -> bool {
        matches!(self, Event::Updated | Event::TaskCreated)
    }
}

/// Which delivery of a call. Written `destination#event`.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, SerializeDisplay, DeserializeFromStr,
)]
pub struct DeliveryId {
    /// The destination.
    pub destination: Name,
    /// The event.
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
        let problem = "is not one that is delivered";
        let event = event.parse().map_err(|_| KeyError { part: "event", problem })?;
        Ok(Self { destination: Name::new("destination", destination)?, event })
    }
}

/// Where a delivery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryState {
    /// To be sent, now or later.
    Pending,
    /// The destination answered 2xx.
    Delivered,
    /// The destination refused it, or the retry schedule ran out. An operator can redeliver it.
    Failed,
    /// The destination's filter excludes the call.
    Unwanted,
}

/// Why a due delivery waits for its destination's [gate](crate::gate).
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, IntoStaticStr,
)]
#[serde(rename_all = "snake_case")]
pub enum Deferred {
    /// The gate is shut: it waits until the gate opens.
    #[strum(serialize = "parked")]
    Shut,
    /// It was planned while the destination is drained: it waits until the operator resumes that.
    #[strum(serialize = "held")]
    New,
}

impl Deferred {
    /// The word as it is stored and shown.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// One attempt.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// When it ended.
    pub at: Timestamp,
    /// How long the destination took, milliseconds.
    pub took_ms: u64,
    /// The HTTP status, if a response came.
    pub status: Option<u16>,
    /// The result, in a few words without personal data (`timed out`, `refused: 422`).
    pub result: String,
}

/// The payload that every attempt sends, rendered before the first one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RenderedPayload {
    /// The fingerprint of the call that this payload describes.
    #[serde(rename = "news")]
    pub fingerprint: Digest,
    /// The bytes.
    pub body: Body,
}

/// The ids of a CRM's own entries, so that later deliveries update the same entries.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Remote {
    /// The call's entry.
    pub call: Option<String>,
    /// The contact's entry.
    pub contact: Option<String>,
}

impl Remote {
    /// Takes over newer ids. One that is absent from them is kept.
    pub fn learn(&mut self, newer: Remote) {
        self.call = newer.call.or(self.call.take());
        self.contact = newer.contact.or(self.contact.take());
    }

    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A delivery as it is stored.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// The call.
    pub key: CallKey,
    /// The destination and the event.
    pub id: DeliveryId,
    /// Its state.
    pub state: DeliveryState,
    /// When it is due next. Absent when it has ended.
    pub due_at: Option<Timestamp>,
    /// When it was planned, or made due anew. Absent on items of releases that did not store it.
    pub planned_at: Option<Timestamp>,
    /// Set while it waits for its destination's gate, though it is due.
    #[serde(rename = "parked")]
    pub deferred: Option<Deferred>,
    /// When its destination's rate limit lets it be sent, where that has one.
    pub slot: Option<Timestamp>,
    /// Until when a worker has it, from its claim until its result is stored.
    pub leased_until: Option<Timestamp>,
    /// Counts the writes: 0 is a delivery that was never stored. The store counts.
    pub version: u64,
    /// How many attempts counted against the retry schedule.
    pub failures: u32,
    /// The latest attempts, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attempts: Vec<Attempt>,
    /// The payload, from the first attempt on.
    #[serde(rename = "frozen")]
    pub rendered: Option<RenderedPayload>,
    /// Set when an operator redelivers it: makes another idempotency key, and no filter keeps it back.
    pub nonce: Option<String>,
    /// The ids of the destination's entries, as far as its responses named them.
    #[serde(default, skip_serializing_if = "Remote::is_empty")]
    pub remote: Remote,
}

/// The verdict on an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// 2xx.
    Delivered,
    /// Worth trying again.
    Retry {
        /// Not before this moment, if the destination asked for that.
        not_before: Option<Timestamp>,
    },
    /// Worth a few attempts: it passes soon, or never.
    RetryBriefly {
        /// Not before this moment, if the destination asked for that.
        not_before: Option<Timestamp>,
    },
    /// The payload will never be accepted.
    Refused,
    /// The destination accepts nothing any more (410). It is stopped, and this waits with the rest.
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
            leased_until: None,
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

    /// Whether it is to be sent now. A deferred delivery is: it is released as soon as its destination
    /// works again, whenever its next attempt would have been.
    pub fn is_due(&self, now: Timestamp) -> bool {
        let is_time = |due_at: Timestamp| due_at.duration_since(now) <= SLACK;
        self.due_at.is_some_and(|due_at| self.deferred.is_some() || is_time(due_at))
    }

    /// Whether a worker has it now: its request may be under way.
    pub fn is_leased(&self, now: Timestamp) -> bool {
        let is_held = self.leased_until.is_some_and(|until| until > now);
        self.state == DeliveryState::Pending && is_held
    }

    /// Claims it for one worker: it is due for another one when `lease` is over.
    pub fn claimed(mut self, now: Timestamp, lease: Seconds, rendered: RenderedPayload) -> Self {
        self.due_at = Some(later(now, lease));
        self.leased_until = self.due_at;
        if self.rendered.is_none() {
            // Nothing was sent yet: the failures so far were of reading the configuration.
            self.failures = 0;
        }
        self.rendered = Some(rendered);
        self.deferred = None;
        self.slot = None;
        self
    }

    /// Postpones it without counting an attempt.
    pub fn postponed(mut self, until: Timestamp) -> Self {
        self.due_at = Some(until);
        self.deferred = None;
        self
    }

    /// Makes it wait for its destination's gate. Its `due_at` stays, so that the oldest is released
    /// first, and none is a probe before its time.
    pub fn deferred(mut self, why: Deferred) -> Self {
        self.deferred = Some(why);
        self.slot = None;
        self
    }

    /// Gives it a slot of its destination's rate limit. For one that is far off it is woken up before.
    pub fn scheduled(mut self, slot: Timestamp, now: Timestamp) -> Self {
        let is_far = slot.duration_since(now) > LONGEST_MESSAGE;
        self.due_at = Some(if is_far { earlier(slot, WAKE_UP) } else { slot });
        self.slot = Some(slot);
        self.deferred = None;
        self
    }

    /// Ends it without an attempt: the destination no longer wants it.
    pub fn unwanted(mut self) -> Self {
        self.state = DeliveryState::Unwanted;
        self.due_at = None;
        self.deferred = None;
        self.slot = None;
        self
    }

    /// Redelivers it on an operator's behalf: makes it due, with the call as it is now, under another
    /// idempotency key. `nonce` makes that key differ from every earlier one.
    pub fn again(mut self, nonce: &str, now: Timestamp) -> Self {
        self.state = DeliveryState::Pending;
        self.due_at = Some(now);
        self.planned_at = Some(now);
        self.deferred = None;
        self.slot = None;
        self.leased_until = None;
        self.failures = 0;
        self.rendered = None;
        self.nonce = Some(nonce.to_owned());
        self
    }

    /// Records the result of an attempt. `schedule` holds the waits after the first, second, …
    /// failure, seconds; when it has run out, the delivery has failed.
    pub fn concluded(mut self, attempt: Attempt, verdict: Verdict, schedule: &[u32]) -> Self {
        let now = attempt.at;
        self.leased_until = None;
        self.deferred = None;
        self.attempts.push(attempt);
        if self.attempts.len() > HISTORY {
            self.attempts.remove(0);
        }
        match verdict {
            Verdict::Delivered => {
                (self.state, self.due_at) = (DeliveryState::Delivered, None);
            }
            Verdict::Refused => (self.state, self.due_at) = (DeliveryState::Failed, None),
            Verdict::Gone => self.due_at = Some(now),
            Verdict::RetryBriefly { .. } if self.is_brief_retry_over() => {
                (self.state, self.due_at) = (DeliveryState::Failed, None);
            }
            Verdict::Retry { not_before } | Verdict::RetryBriefly { not_before } => {
                self.failures += 1;
                let key = self.idempotency_key();
                let spread_by = Digest::of(&[key.as_bytes(), &self.failures.to_be_bytes()]);
                let backoff = Backoff::new(schedule);
                self.due_at = backoff.next_spread(self.failures, &spread_by, not_before, now);
                if self.due_at.is_none() {
                    self.state = DeliveryState::Failed;
                }
            }
        }
        self
    }

    /// Whether the latest attempts all had the status of the last one, and there are enough of them.
    fn is_brief_retry_over(&self) -> bool {
        let last = self.attempts.last().map(|attempt| attempt.status);
        let same = |attempt: &&Attempt| Some(attempt.status) == last;
        self.attempts.iter().rev().take_while(same).count() >= BRIEFLY
    }
}
