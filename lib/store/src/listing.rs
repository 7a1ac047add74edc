//! Calls in lists: what a line of one holds, and where it stands.

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use switchboard_domain::{
    CallKey, CallRecord, Direction, Name, Outcome, Party, PartyKind, Person, Personal, Seconds,
    State,
};

/// How many partitions the index of one day has. DynamoDB writes a partition 1,000 times a second,
/// and every write of a call may be one of its day: a rush must not slow webhooks down.
pub const DAY_SHARDS: u16 = 4;
/// Longer texts are cut in a line: it shows what a call is, and the call itself says it in full.
const LONGEST: usize = 128;

/// A call as a list shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Which call.
    pub key: CallKey,
    /// When it began or, where nothing tells, when it was heard of first.
    pub began_at: Timestamp,
    /// How far it has come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<State>,
    /// How it went.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// Which way it went.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub direction: Option<Direction>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// How long the two sides were connected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub talk: Option<Seconds>,
    /// The customer's side.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contact: Option<LineSide>,
    /// Our side.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub employee: Option<LineSide>,
    /// The customer's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contact_name: Option<Personal>,
    /// What the call was made for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub campaign: Option<String>,
}

/// One side of a call in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineSide {
    /// What kind of address it has.
    pub kind: PartyKind,
    /// Its number in E.164, else its address as it came.
    pub address: Personal,
    /// Whom the directory has for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry: Option<Name>,
}

impl Line {
    /// The line of a call.
    pub fn of(record: &CallRecord) -> Self {
        let call = &record.call;
        let facts = &call.facts;
        Self {
            key: record.key.clone(),
            began_at: record.began_at(),
            state: facts.state,
            outcome: call.outcome,
            direction: facts.direction,
            ended_at: facts.ended_at,
            talk: facts.talk,
            contact: side(call.contact(), record.people.contact.as_ref()),
            employee: side(call.employee(), record.people.employee.as_ref()),
            contact_name: facts.contact_name.as_ref().map(|name| Personal::new(cut(name.expose()))),
            campaign: facts.campaign.as_deref().map(cut),
        }
    }

    /// Its place in every list that it stands in: by time, then by key.
    pub fn place(&self) -> Place {
        Place(format!("{:.9}#{}", self.began_at, self.key))
    }

    /// The day that it stands under, UTC.
    pub fn day(&self) -> Date {
        day_of(self.began_at)
    }
}

/// Under which contact a call stands.
pub(crate) fn contact_of(record: &CallRecord) -> Option<&Name> {
    record.people.contact.as_ref()?.entry.as_ref()
}

fn side(party: Option<&Party>, person: Option<&Person>) -> Option<LineSide> {
    let party = party?;
    let e164 = person.and_then(|person| person.e164.as_ref());
    Some(LineSide {
        kind: person.map_or(party.kind, |person| person.kind),
        address: Personal::new(cut(e164.unwrap_or(&party.raw).expose())),
        entry: person.and_then(|person| person.entry.clone()),
    })
}

fn cut(text: &str) -> String {
    text.chars().take(LONGEST).collect()
}

/// The day of a moment, UTC.
pub fn day_of(at: Timestamp) -> Date {
    at.to_zoned(TimeZone::UTC).date()
}

/// Which calls stand in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum List {
    /// Those that began on a day, UTC.
    Day(Date),
    /// Those with a contact, by its id in the directory.
    Contact(Name),
}

/// Where in a list: text that sorts as the list does, whatever list it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place(String);

impl Place {
    /// Reads back what [`Place::as_str`] gave. Any text is some place.
    pub fn read(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// Before all that began at this moment or later.
    pub fn of(at: Timestamp) -> Self {
        Self(format!("{at:.9}"))
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The moment in it.
    pub fn at(&self) -> Option<Timestamp> {
        self.0.split('#').next()?.parse().ok()
    }
}

/// A part of a list, the newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lines {
    /// The lines.
    pub lines: Vec<Line>,
    /// Whether the stretch that was asked for holds more of them.
    pub more: bool,
}

impl Lines {
    /// The newest `limit` of these. `more`: whether there are others that are older than these.
    pub(crate) fn newest(mut lines: Vec<Line>, limit: usize, more: bool) -> Self {
        lines.sort_by_cached_key(|line| std::cmp::Reverse(line.place()));
        let more = more || lines.len() > limit;
        lines.truncate(limit);
        Self { lines, more }
    }
}
