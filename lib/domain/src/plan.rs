//! The follow-ups and deliveries of a call, given how it was, how it is, and what its source and
//! destinations want.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::call::{Call, Outcome};
use crate::delivery::{DeliveryId, Event};
use crate::digest::Digest;
use crate::key::Name;
use crate::time::{Seconds, later};
use crate::update::{Direction, State};

/// A follow-up that a call itself owes. Deliveries are records of their own, each due by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Work {
    /// Numbers to E.164, the conversation's summary, then one delivery per destination.
    Enrich,
    /// The people on a call that has just started, and one delivery for each destination that wants
    /// `call.started`. A call that has ended owes it no more.
    Announce,
    /// A summary, a scorecard and tasks of its transcript.
    Analyze,
    /// Its recordings to our bucket.
    Recordings,
}

/// The follow-ups that are owed, each with when it is due.
pub type Owed = BTreeMap<Work, Timestamp>;

/// How a source wants its calls handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// How long to wait after the end of a call for messages that follow it closely.
    pub settle: Seconds,
    /// Which legs are delivered to CRMs.
    pub legs: Legs,
    /// Whether `call.started` may be delivered.
    pub starts: bool,
}

/// Which legs of a call are delivered to CRMs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Legs {
    /// Only the call itself: one phone call is one CRM entry.
    #[default]
    Parent,
    /// Every leg on its own.
    Each,
}

/// The follow-ups that a call owes after an update. None that it owed before is forgotten.
///
/// A call owes `enrich` once it has ended, and again when its fingerprint has changed since, or when a
/// context names its conversation, its contact or how it is analysed. A leg of another call owes
/// nothing unless the source delivers each leg.
///
/// Where the source announces starts, a call whose first message comes before its end owes `announce`,
/// once.
pub fn follow_ups(
    before: Option<&Call>,
    after: &Call,
    owed: &Owed,
    policy: Policy,
    now: Timestamp,
) -> Owed {
    let mut owed = owed.clone();
    let has_changes = match before {
        Some(before) if before.has_ended() => {
            before.fingerprint() != after.fingerprint()
                || before.facts.conversation != after.facts.conversation
                || before.pointers() != after.pointers()
                || before.facts.auto_analyze != after.facts.auto_analyze
                || before.facts.script_context != after.facts.script_context
        }
        _ => true,
    };
    if after.has_ended() && is_delivered(after, policy.legs) && has_changes {
        let due_at = later(now, policy.settle);
        owed.entry(Work::Enrich).and_modify(|at| *at = due_at.min(*at)).or_insert(due_at);
    }
    if after.has_ended() {
        owed.remove(&Work::Announce);
    } else if policy.starts
        && is_delivered(after, policy.legs)
        && is_under_way(after)
        && !before.is_some_and(is_under_way)
    {
        owed.insert(Work::Announce, now);
    }
    owed
}

/// Whether a phone system has reported that the call goes on. A context sent beforehand is no start.
fn is_under_way(call: &Call) -> bool {
    call.facts.state.is_some_and(|state| state != State::Ended)
}

/// Whether a call is delivered to CRMs by itself. A leg may turn out to be one after its end.
pub fn is_delivered(call: &Call, legs: Legs) -> bool {
    call.facts.parent.is_none() || legs == Legs::Each
}

/// What destinations' filters see of a call, its tasks, and which destinations there were: stored when its
/// deliveries are planned, so that the next plan knows a change of the call from a change of the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Planned {
    /// Its direction.
    pub direction: Option<Direction>,
    /// Its outcome.
    pub outcome: Option<Outcome>,
    /// Its talk; one of unknown length counts as none.
    pub talk: Seconds,
    /// How many tasks follow from it.
    pub tasks: u32,
    /// The destinations that do not take its end, by their filters.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub kept_back: BTreeSet<Name>,
}

impl Planned {
    /// Of a call as it is now.
    pub fn of(call: &Call, tasks: u32) -> Self {
        let Call { facts, outcome, .. } = call;
        let talk = facts.talk.unwrap_or_default();
        let kept_back = BTreeSet::new();
        Self { direction: facts.direction, outcome: *outcome, talk, tasks, kept_back }
    }
}

/// The events of one call that a destination wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscriber {
    /// The destination.
    pub destination: Name,
    /// Which events of this call it wants, its filter considered.
    pub events: Vec<Event>,
    /// Which of them it would have wanted when the call's deliveries were planned last. What is not
    /// planned of these is configured since: it is redelivered on request and never by itself.
    pub wanted_before: Vec<Event>,
}

/// What deliveries depend on, as the call is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallSummary<'a> {
    /// Whether the call has ended.
    pub has_ended: bool,
    /// Its fingerprint.
    pub fingerprint: &'a Digest,
    /// How many tasks follow from it.
    pub tasks: u32,
}

impl Subscriber {
    /// Without updates while the analysis is owed: a call has one update, which waits for all that is
    /// known.
    pub fn without_updates(mut self, owed: &Owed) -> Self {
        if owed.contains_key(&Work::Analyze) {
            self.events.retain(|event| *event != Event::Updated);
        }
        self
    }
}

/// Which deliveries to make now, beside those that exist.
///
/// `existing` holds each planned delivery with the fingerprint of its payload, once that is rendered.
/// While a call lasts, only its start is delivered. A destination that got its end and wants updates
/// gets one, if the fingerprint has changed since. Tasks are delivered once, all at once. A destination
/// that was configured after the first plan gets nothing of the call.
pub fn deliveries(
    summary: CallSummary<'_>,
    subscribers: &[Subscriber],
    existing: &BTreeMap<DeliveryId, Option<Digest>>,
) -> Vec<DeliveryId> {
    let mut planned = Vec::new();
    for subscriber in subscribers {
        let id = |event| DeliveryId { destination: subscriber.destination.clone(), event };
        let is_planned = |event| existing.contains_key(&id(event));
        let is_late = |event| subscriber.wanted_before.contains(&event) && !is_planned(event);
        if is_late(Event::Completed) {
            continue;
        }
        let mut due = Vec::new();
        if summary.has_ended {
            match existing.get(&id(Event::Completed)) {
                None => due.push(Event::Completed),
                Some(Some(rendered)) if rendered != summary.fingerprint => due.push(Event::Updated),
                // Unchanged since, or not rendered yet: then it will describe the call of that time.
                Some(_) => {}
            }
            if summary.tasks > 0 && !is_late(Event::TaskCreated) {
                due.push(Event::TaskCreated);
            }
        } else {
            due.push(Event::Started);
        }
        let is_new = |event: &Event| subscriber.events.contains(event) && !is_planned(*event);
        planned.extend(due.into_iter().filter(is_new).map(id));
    }
    planned
}
