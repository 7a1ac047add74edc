//! Which calls and events are delivered to a destination, and why a call was not.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;
use strum::IntoStaticStr;
use switchboard_domain::{
    CallKey, CallRecord, ConfigError, Deferred, Delivery, DeliveryState, Direction, Event, Name,
    Outcome, Planned, Seconds, Work,
};

use crate::fields::Fields;

/// Which calls and events are delivered to a destination. An empty set lets every call pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// Kinds of phone system.
    pub providers: BTreeSet<Name>,
    /// Installations.
    pub sources: BTreeSet<Name>,
    /// Ways. A call of unknown direction passes only where none is listed.
    pub directions: BTreeSet<Direction>,
    /// Outcomes. A call of unknown outcome passes only where none is listed.
    pub outcomes: BTreeSet<Outcome>,
    /// Calls with less talk do not pass. A talk of unknown length counts as none.
    pub min_talk: Seconds,
    /// Which events.
    pub events: BTreeSet<Event>,
}

impl Default for Filter {
    fn default() -> Self {
        Self {
            providers: BTreeSet::new(),
            sources: BTreeSet::new(),
            directions: BTreeSet::new(),
            outcomes: BTreeSet::new(),
            min_talk: Seconds(0),
            events: BTreeSet::from([Event::Completed]),
        }
    }
}

impl Filter {
    /// Reads the field `filter` of a destination; with `can_deliver`, for a format that delivers these events.
    pub(crate) fn read(value: Value, can_deliver: Option<&[Event]>) -> Result<Self, ConfigError> {
        let mut fields = Fields::of("filter", "filter.", value)?;
        let names = "must be a list of names, each 1 to 64 of A-Z a-z 0-9 . _ -";
        let directions = "must be a list of inbound, outbound, internal";
        let outcomes = "must be a list of answered, no_answer, busy, failed, canceled, voicemail";
        let events = "must be a list of call.started, call.completed, call.updated, task.created";
        let filter = Self {
            providers: fields.optional("providers", names)?.unwrap_or_default(),
            sources: fields.optional("sources", names)?.unwrap_or_default(),
            directions: fields.optional("directions", directions)?.unwrap_or_default(),
            outcomes: fields.optional("outcomes", outcomes)?.unwrap_or_default(),
            min_talk: fields
                .optional("min_talk_seconds", "must be a whole number of seconds")?
                .unwrap_or_default(),
            events: match fields.optional("events", events)? {
                Some(events) => events,
                None => Self::default().events,
            },
        };
        if filter.events.is_empty() {
            return Err(fields.fault("events", "must have at least one event"));
        }
        if filter.events.contains(&Event::Updated) && !filter.events.contains(&Event::Completed) {
            let problem = "must have call.completed: an update is only sent after it";
            return Err(fields.fault("events", problem));
        }
        let cannot = |event: &&Event| can_deliver.is_some_and(|events| !events.contains(event));
        if let Some(event) = filter.events.iter().find(cannot) {
            let problem =
                format!("must not have {}: this format cannot deliver it", event.as_str());
            return Err(fields.fault("events", problem));
        }
        fields.end()?;
        Ok(filter)
    }

    /// The member that keeps this event of a call back, if one does.
    pub fn excludes(&self, key: &CallKey, call: &Planned, event: Event) -> Option<&'static str> {
        fn lists<T: Ord>(set: &BTreeSet<T>, value: Option<&T>) -> bool {
            set.is_empty() || value.is_some_and(|value| set.contains(value))
        }
        // How a call goes, and for how long, is not known when it starts.
        let starts = event == Event::Started;
        let members = [
            ("events", self.events.contains(&event)),
            ("providers", lists(&self.providers, Some(&key.provider))),
            ("sources", lists(&self.sources, Some(&key.source))),
            ("directions", lists(&self.directions, call.direction.as_ref())),
            ("outcomes", starts || lists(&self.outcomes, call.outcome.as_ref())),
            ("min_talk_seconds", starts || call.talk >= self.min_talk),
        ];
        members.into_iter().find(|(_, passes)| !passes).map(|(member, _)| member)
    }
}

/// What of a destination's configuration keeps calls back: read without its format and its credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wishes {
    /// Which calls and events are delivered to it.
    pub filter: Filter,
    /// Nothing is sent while it is set.
    pub paused: bool,
}

impl Wishes {
    /// Out of the JSON of a destination's parameter. `None`: it cannot be read.
    pub fn read(json: &str) -> Option<Self> {
        let mut fields = Fields::of("destination", "", serde_json::from_str(json).ok()?).ok()?;
        let filter = fields.raw("filter").map(|filter| Filter::read(filter, None));
        let filter = filter.transpose().ok()?.unwrap_or_default();
        let paused = fields.optional("paused", "must be true or false").ok()?.unwrap_or_default();
        Some(Self { filter, paused })
    }
}

/// The destinations among parameters, by the last part of their paths. `None`: one that cannot be read.
pub fn configured(values: &BTreeMap<String, String>) -> BTreeMap<Name, Option<Wishes>> {
    let named = values.iter().filter_map(|(path, json)| {
        let name = Name::new("destination", path.rsplit('/').next()?).ok()?;
        Some((name, Wishes::read(json)))
    });
    named.collect()
}

/// A destination to which `call.completed` of a call was not delivered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Undelivered {
    /// The destination.
    pub destination: Name,
    /// Why, in one word.
    pub reason: Reason,
    /// Why, for an operator.
    pub detail: String,
}

/// Why a call was not delivered to a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, IntoStaticStr)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Reason {
    /// The call has not ended.
    NotEnded,
    /// Its deliveries are not planned yet.
    NotPlanned,
    /// It is a leg of another call.
    Leg,
    /// The destination's filter excludes it.
    Filter,
    /// The destination or its filter was configured after the call's deliveries were planned.
    ConfiguredLater,
    /// The destination is not sent to at present.
    Paused,
    /// The destination's configuration cannot be read.
    Invalid,
    /// It is to be sent, now or later.
    Pending,
    /// The destination refused it, or the retry schedule ran out.
    Failed,
}

impl Reason {
    /// The word that is shown.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// The configured destinations to which a call was not delivered, and why: by the configuration, the call and
/// its deliveries as they are now. `None` is a configuration that cannot be read.
pub fn undelivered(
    record: &CallRecord,
    deliveries: &[Delivery],
    destinations: &BTreeMap<Name, Option<Wishes>>,
) -> Vec<Undelivered> {
    let mut all = Vec::new();
    for (destination, wishes) in destinations {
        let is_its = |delivery: &&Delivery| {
            delivery.id.destination == *destination && delivery.id.event == Event::Completed
        };
        let why = match deliveries.iter().find(is_its) {
            Some(delivery) => why_not_sent(delivery, wishes.as_ref()),
            None => Some(why_not_planned(record, wishes.as_ref())),
        };
        all.extend(why.map(|(reason, detail)| Undelivered {
            destination: destination.clone(),
            reason,
            detail,
        }));
    }
    all
}

const INVALID: &str = "the destination's configuration cannot be read: correct it";

fn why_not_sent(delivery: &Delivery, wishes: Option<&Wishes>) -> Option<(Reason, String)> {
    let (reason, detail) = match (delivery.state, delivery.deferred) {
        (DeliveryState::Delivered, _) => return None,
        (DeliveryState::Unwanted, _) => {
            (Reason::Filter, "the filter excluded the call when it was due: redeliver it")
        }
        (DeliveryState::Failed, _) => {
            let result = delivery.attempts.last().map_or("", |attempt| attempt.result.as_str());
            return Some((Reason::Failed, format!("{result}: correct the cause and redeliver it")));
        }
        (DeliveryState::Pending, _) if wishes.is_none() => (Reason::Invalid, INVALID),
        (DeliveryState::Pending, _) if wishes.is_some_and(|wishes| wishes.paused) => {
            (Reason::Paused, "the destination's configuration says paused")
        }
        (DeliveryState::Pending, Some(Deferred::Shut)) => (
            Reason::Paused,
            "it waits until the destination is sent to again: paused, stopped or circuit breaker open",
        ),
        (DeliveryState::Pending, Some(Deferred::New)) => {
            (Reason::Paused, "it waits until the destination, which is drained, is resumed")
        }
        (DeliveryState::Pending, None) => (Reason::Pending, "it is being sent or due to be sent"),
    };
    Some((reason, detail.to_owned()))
}

fn why_not_planned(record: &CallRecord, wishes: Option<&Wishes>) -> (Reason, String) {
    let excluded_by = |wishes: &Wishes| {
        wishes.filter.excludes(&record.key, &record.as_planned(), Event::Completed)
    };
    let (reason, detail) = if !record.call.has_ended() {
        (Reason::NotEnded, "the call has not ended")
    } else if record.owed.contains_key(&Work::Enrich) {
        (Reason::NotPlanned, "the call's deliveries are not planned yet")
    } else if record.call.facts.parent.is_some() && record.deliveries.is_empty() {
        (Reason::Leg, "the call is a leg of another call, which is delivered")
    } else if let Some(member) = wishes.and_then(excluded_by) {
        return (Reason::Filter, format!("filter.{member} excludes the call"));
    } else {
        let later = "the destination, or its filter, was configured after the call's deliveries were planned: \
                     redeliver the call";
        (Reason::ConfiguredLater, if wishes.is_none() { INVALID } else { later })
    };
    (reason, detail.to_owned())
}
