//! `GET /calls`: the newest first, by day or by contact, with filters.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use switchboard_domain::{Delivery, DeliveryState, Digest, Name, Outcome};
use switchboard_store::{Line, LineSide, List, Place, day_of};

use super::{Calls, TwilioSources, cursor, named};
use crate::request::LARGEST_PAGE;
use crate::{Caller, Problem, Request, Response, Right, ok};

const PARAMETERS: [&str; 11] = [
    "provider", "source", "from", "to", "contact", "employee", "number", "outcome", "delivery",
    "limit", "cursor",
];
/// How far back is looked where nothing is said.
const DEFAULT_RANGE: SignedDuration = SignedDuration::from_hours(24 * 30);
/// A call may have begun a little later than our clock says it is.
const AHEAD: SignedDuration = SignedDuration::from_hours(24);
/// So many reads of a list one page may cost; then it ends, full or not.
const MOST_READS: usize = 45;
/// And so many calls whose deliveries are read, one read each.
const MOST_LOOKUPS: usize = 100;

/// Where the deliveries of a call stand, the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryStatus {
    /// At least one destination refused it for good.
    Failed,
    /// At least one is pending.
    Pending,
    /// All were delivered.
    Delivered,
    /// The call has no delivery, or none yet.
    None,
}

impl DeliveryStatus {
    /// Where a call stands whose deliveries are these.
    pub fn of(deliveries: &[Delivery]) -> Self {
        let any = |state| deliveries.iter().any(|delivery| delivery.state == state);
        if any(DeliveryState::Failed) {
            Self::Failed
        } else if any(DeliveryState::Pending) {
            Self::Pending
        } else if any(DeliveryState::Delivered) {
            Self::Delivered
        } else {
            Self::None
        }
    }
}

/// What was asked for.
struct Filters {
    provider: Option<Name>,
    source: Option<Name>,
    contact: Option<Name>,
    employee: Option<Name>,
    number: Option<String>,
    outcome: Option<Outcome>,
    status: Option<DeliveryStatus>,
    since: Timestamp,
    until: Timestamp,
    limit: usize,
    /// What a cursor is bound to.
    digest: Digest,
}

impl Filters {
    fn read(request: &Request) -> Result<Self, Problem> {
        request.only(&PARAMETERS)?;
        let name = |parameter: &'static str| -> Result<Option<Name>, Problem> {
            let read = |value| Name::new(parameter, value);
            let wrong =
                |error: switchboard_domain::KeyError| Problem::invalid(parameter, error.problem);
            request.parameter(parameter).map(read).transpose().map_err(wrong)
        };
        let until = match request.parameter("to") {
            Some(text) => moment("to", text, 1)?,
            None => request.now.saturating_add(AHEAD).unwrap_or(request.now),
        };
        let since = match request.parameter("from") {
            Some(text) => moment("from", text, 0)?,
            // A contact has few calls: all of them.
            None if request.parameter("contact").is_some() => Timestamp::MIN,
            None => until.saturating_sub(DEFAULT_RANGE).unwrap_or(until),
        };
        if request.parameter("from").is_some() && since >= until {
            return Err(Problem::invalid("from", "must be before to"));
        }
        let bound = PARAMETERS.iter().filter(|name| !["limit", "cursor"].contains(name));
        let bound: Vec<_> = bound.map(|name| (name, request.parameter(name))).collect();
        Ok(Self {
            provider: name("provider")?,
            source: name("source")?,
            contact: name("contact")?,
            employee: name("employee")?,
            number: request.parameter("number").map(|number| digits(number).to_owned()),
            outcome: request.word(
                "outcome",
                "must be answered, no_answer, busy, failed, canceled or voicemail",
            )?,
            status: request.word("delivery", "must be delivered, pending, failed or none")?,
            since,
            until,
            limit: request.limit()?.into(),
            // Names and texts always serialize.
            digest: Digest::of(&[&serde_json::to_vec(&bound).unwrap_or_default()]),
        })
    }

    fn hold(&self, line: &Line) -> bool {
        fn is<T: PartialEq>(wanted: &Option<T>, found: Option<&T>) -> bool {
            wanted.as_ref().is_none_or(|wanted| found == Some(wanted))
        }
        let entry = |side: &Option<LineSide>| side.as_ref().and_then(|side| side.entry.clone());
        let has = |side: &Option<LineSide>, number: &str| {
            side.as_ref().is_some_and(|side| digits(side.address.expose()) == number)
        };
        is(&self.provider, Some(&line.key.provider))
            && is(&self.source, Some(&line.key.source))
            && is(&self.contact, entry(&line.contact).as_ref())
            && is(&self.employee, entry(&line.employee).as_ref())
            && is(&self.outcome, line.outcome.as_ref())
            && self
                .number
                .as_ref()
                .is_none_or(|number| has(&line.contact, number) || has(&line.employee, number))
    }
}

/// A number without its `+`, which is a blank where a query was not written with care.
fn digits(number: &str) -> &str {
    number.trim().trim_start_matches('+')
}

/// A time, or a day, which begins at 00:00 UTC; `to` a day takes all of it in.
fn moment(parameter: &str, text: &str, more_days: i32) -> Result<Timestamp, Problem> {
    let day = || {
        let day: Date = text.parse().ok().filter(|_| text.len() == "2026-02-20".len())?;
        let day = day.checked_add(jiff::Span::new().days(more_days)).ok()?;
        Some(day.to_zoned(TimeZone::UTC).ok()?.timestamp())
    };
    // In a query a + that was not escaped is a blank.
    let at = day().or_else(|| text.replace(' ', "+").parse().ok());
    let known = "is neither a time, as 2026-02-20T09:00:00Z, nor a day, as 2026-02-20";
    at.ok_or_else(|| Problem::invalid(parameter, known))
}

/// Where a walk through a list has come to.
struct Walk<'a> {
    filters: &'a Filters,
    /// What comes next stands before this.
    before: Place,
}

impl Walk<'_> {
    /// The part of the list to read next: a day at a time, back from the newest. `None`: the end.
    fn next(&self) -> Option<List> {
        if self.before <= Place::of(self.filters.since) {
            return None;
        }
        if let Some(contact) = &self.filters.contact {
            return Some(List::Contact(contact.clone()));
        }
        let at = self.before.at()?;
        // A place that is only a moment stands before all that began then: at the first moment of a
        // day, what comes next is of the day before.
        let is_moment = self.before == Place::of(at);
        let back = SignedDuration::from_nanos(i64::from(is_moment));
        Some(List::Day(day_of(at.saturating_sub(back).unwrap_or(at))))
    }

    /// All of a part of the list has been read.
    fn leave(&mut self, list: &List) {
        let begin = match list {
            List::Day(day) => day.to_zoned(TimeZone::UTC).ok().map(|begin| begin.timestamp()),
            List::Contact(_) => None,
        };
        let since = self.filters.since;
        self.before = Place::of(begin.unwrap_or(since).max(since));
    }
}

impl<N: TwilioSources> Calls<N> {
    /// A page of calls.
    pub(super) async fn list(
        &self,
        request: &Request,
        caller: &Caller,
    ) -> Result<Response, Problem> {
        caller.needs(Right::Read)?;
        let filters = Filters::read(request)?;
        if filters.number.is_some() {
            // Else numbers that are masked could be guessed one after the other.
            caller.needs(Right::Personal)?;
        }
        let before = match request.parameter("cursor") {
            Some(text) => cursor::read(text, &filters.digest)?,
            None => Place::of(filters.until),
        };
        let mut walk = Walk { filters: &filters, before };
        let (mut calls, mut reads, mut lookups) = (Vec::new(), 0, 0);
        let next = 'page: loop {
            let Some(list) = walk.next() else { break None };
            if reads == MOST_READS {
                break Some(walk.before);
            }
            reads += 1;
            let part =
                self.store.lines(&list, filters.since, &walk.before, LARGEST_PAGE.into()).await?;
            for line in part.lines {
                if filters.hold(&line) {
                    if calls.len() == filters.limit || lookups == MOST_LOOKUPS {
                        break 'page Some(walk.before);
                    }
                    if filters.status.is_some() {
                        lookups += 1;
                        let status = DeliveryStatus::of(&self.store.deliveries(&line.key).await?);
                        if filters.status == Some(status) {
                            calls.push(show(&line, Some(status), caller));
                        }
                    } else {
                        calls.push(show(&line, None, caller));
                    }
                }
                walk.before = line.place();
            }
            if !part.more {
                walk.leave(&list);
            }
        };
        let next = next.map(|place| cursor::write(&place, &filters.digest));
        ok(json!({ "calls": calls, "next": next }))
    }
}

/// A line of the response. Every member is always present; null means unknown.
fn show(line: &Line, status: Option<DeliveryStatus>, caller: &Caller) -> Value {
    let side = |side: &Option<LineSide>| {
        side.as_ref().map(|side| {
            json!({
                "kind": side.kind,
                "address": caller.show_address(side.kind, &side.address),
                "id": side.entry,
            })
        })
    };
    let members = json!({
        "began_at": line.began_at,
        "ended_at": line.ended_at,
        "state": line.state,
        "outcome": line.outcome,
        "direction": line.direction,
        "talk_seconds": line.talk,
        "contact": side(&line.contact),
        "employee": side(&line.employee),
        "contact_name": caller.show_known(line.contact_name.as_ref()),
        "campaign": line.campaign,
    });
    let delivery = status.map(|status| json!({ "delivery": status }));
    named(&line.key, std::iter::once(members).chain(delivery))
}
