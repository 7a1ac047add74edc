//! Calls in lists: what a line of one holds, and where it stands.

use futures_util::future::try_join_all;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use switchboard_domain::{
    CallKey, CallRecord, Direction, Name, Outcome, Party, PartyKind, Person, Personal, Seconds,
    State,
};

use crate::item::{damaged, text};
use crate::keys::{self, CONTACT, DAY};
use crate::table::{self, Query, Range, text_of};
use crate::{Store, StoreError};

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
    /// When it began or, where no message says, when the first message came.
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
        Place(format!("{}#{}", keys::moment(self.began_at), self.key))
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
        Self(keys::moment(at))
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

impl Store {
    /// Part of a list, the newest first: at most `limit` calls that began at `since` or later and
    /// stand before `before`. It may lag a little behind the calls.
    pub async fn lines(
        &self,
        list: &List,
        since: Timestamp,
        before: &Place,
        limit: usize,
    ) -> Result<Lines, StoreError> {
        // DynamoDB refuses a range whose end comes before its beginning: here it is an empty one.
        if *before <= Place::of(since) {
            return Ok(Lines::default());
        }
        let parts = match list {
            List::Day(day) => {
                let shard = |shard| Query::by(&DAY, keys::day_shard(*day, shard));
                (0..DAY_SHARDS).map(shard).collect()
            }
            List::Contact(id) => vec![Query::by(&CONTACT, id.as_str())],
        };
        let parts = parts.into_iter().map(|part| self.listed(part, since, before, limit));
        let (mut lines, mut more) = (Vec::new(), false);
        for (part, goes_on) in try_join_all(parts).await? {
            lines.extend(part);
            more |= goes_on;
        }
        Ok(Lines::newest(lines, limit, more))
    }

    /// Part of one partition of an index that lists calls, the newest first, and whether it goes on.
    async fn listed(
        &self,
        partition: Query,
        since: Timestamp,
        before: &Place,
        limit: usize,
    ) -> Result<(Vec<Line>, bool), StoreError> {
        // The upper bound of the range is in it: one more line is read, for the one that stands there.
        let range = Range::Between(text(Place::of(since).as_str()), text(before.as_str()));
        let query = partition.within(range).backward().limit(limit.saturating_add(1));
        let (items, more) = table::all(&*self.table, query, limit.saturating_add(1)).await?;
        let mut lines = Vec::with_capacity(items.len());
        for line in items.iter().filter_map(|item| text_of(item, "line")) {
            let line: Line = serde_json::from_str(line)
                .map_err(|_| damaged("line", "a field is missing or of another type"))?;
            if line.place() < *before {
                lines.push(line);
            }
        }
        Ok((lines, more))
    }
}
