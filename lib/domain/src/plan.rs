//! What a call owes, given how it was, how it is, and what its source and destinations want.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::call::Call;
use crate::delivery::{DeliveryId, Event};
use crate::digest::Digest;
use crate::key::Name;
use crate::update::Seconds;

/// A follow-up that a call itself owes. Deliveries are records of their own, each due by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Work {
    /// Numbers to E.164, the conversation's summary, then one delivery per destination.
    Enrich,
}

/// What is owed, and from when on.
pub type Owed = BTreeMap<Work, Timestamp>;

/// What a source wants done with its calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// How long to wait after the end of a call for messages that follow it closely.
    pub settle: Seconds,
    /// Which legs are told to CRMs.
    pub legs: Legs,
}

/// Which legs of a call are told to CRMs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Legs {
    /// Only the call itself: one phone call is one CRM entry.
    #[default]
    Parent,
    /// Every leg on its own.
    Each,
}

/// What a call owes after an update. Nothing that was owed before is forgotten.
///
/// A call owes `enrich` once it has ended, and again when something that CRMs want to know has
/// changed since, or when a conversation was named whose summary they may want, or when somebody says
/// whom the call was with. A leg of another call owes nothing unless the source wants each leg told.
pub fn follow_ups(
    before: Option<&Call>,
    after: &Call,
    owed: &Owed,
    policy: Policy,
    now: Timestamp,
) -> Owed {
    let mut owed = owed.clone();
    let has_news = match before {
        Some(before) if before.has_ended() => {
            before.news() != after.news()
                || before.facts.conversation != after.facts.conversation
                || before.pointers() != after.pointers()
        }
        _ => true,
    };
    if after.has_ended() && is_told(after, policy.legs) && has_news {
        let settle = SignedDuration::from_secs(policy.settle.0.into());
        let due_at = now.checked_add(settle).unwrap_or(now);
        owed.entry(Work::Enrich).and_modify(|at| *at = due_at.min(*at)).or_insert(due_at);
    }
    owed
}

/// Whether CRMs are told of a call by itself. A leg may turn out to be one after its end.
pub fn is_told(call: &Call, legs: Legs) -> bool {
    call.facts.parent.is_none() || legs == Legs::Each
}

/// What a destination wants to hear of one call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscriber {
    /// The destination.
    pub destination: Name,
    /// Which events of this call it wants, its filter considered.
    pub events: Vec<Event>,
}

/// Which deliveries to make now, beside those that exist.
///
/// `existing` holds each planned delivery with the news it froze when it was first tried. A
/// destination that was told of the call and takes updates gets one, if there is news since:
/// `news` is what there is to be told now.
pub fn deliveries(
    news: &Digest,
    subscribers: &[Subscriber],
    existing: &BTreeMap<DeliveryId, Option<Digest>>,
) -> Vec<DeliveryId> {
    let mut planned = Vec::new();
    for subscriber in subscribers {
        let id = |event| DeliveryId { destination: subscriber.destination.clone(), event };
        let next = match existing.get(&id(Event::Completed)) {
            None => Event::Completed,
            Some(Some(told)) if told != news => Event::Updated,
            // Told already, or not tried yet: then it will be told as the call is by that time.
            Some(_) => continue,
        };
        if subscriber.events.contains(&next) && !existing.contains_key(&id(next)) {
            planned.push(id(next));
        }
    }
    planned
}
