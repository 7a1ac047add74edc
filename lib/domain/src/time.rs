//! Instants, and wall clocks that only a time zone makes into instants.

use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// Whole seconds.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Seconds(pub u32);

impl From<Seconds> for SignedDuration {
    fn from(seconds: Seconds) -> Self {
        Self::from_secs(seconds.0.into())
    }
}

/// The moment this much later, or the last one that there is.
pub fn later(at: Timestamp, by: impl Into<SignedDuration>) -> Timestamp {
    at.checked_add(by.into()).unwrap_or(Timestamp::MAX)
}

/// The moment this much earlier, or the first one that there is.
pub fn earlier(at: Timestamp, by: impl Into<SignedDuration>) -> Timestamp {
    at.checked_sub(by.into()).unwrap_or(Timestamp::MIN)
}

/// A remark on the times of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Flag {
    /// The provider sent a start that cannot be (before 2000), and it was dropped.
    StartDiscarded,
    /// The start is worked out from the end and a duration, or is when we heard of the call.
    StartEstimated,
    /// A wall clock that happens twice in its zone (clocks went back): the earlier was taken.
    ZoneFold,
    /// A wall clock that never happens in its zone (clocks went forward): moved on by the gap.
    ZoneGap,
    /// A wall clock came, and its source has no time zone configured: read as UTC.
    ZoneUnknown,
    /// The call ends before it starts.
    EndsBeforeStart,
    /// The call ends more than five minutes after the message that says so came.
    InFuture,
}

/// An instant, and how it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The instant, UTC.
    pub at: Timestamp,
    /// The decision, where one was needed.
    pub flag: Option<Flag>,
}

/// How far a provider's clock may run ahead of ours before a call counts as in the future.
const CLOCK_TOLERANCE: SignedDuration = SignedDuration::from_mins(5);

/// Whether a call can have started then: not before 2000-01-01T00:00:00Z.
/// Asterisk's `STRFTIME`, given text for an epoch, writes 1970.
pub fn is_plausible(at: Timestamp) -> bool {
    at.as_second() >= 946_684_800
}

/// Whether `ended_at` lies too far after the moment we received the message that says so.
pub fn is_in_future(ended_at: Timestamp, received_at: Timestamp) -> bool {
    ended_at.duration_since(received_at) > CLOCK_TOLERANCE
}

/// Reads an ISO 8601 time. With an offset or `Z` it is an instant; without, a wall clock of
/// `zone`. Minute precision and a space for the `T` are accepted.
pub fn read_iso(text: &str, zone: Option<&TimeZone>) -> Option<Reading> {
    let text = text.trim();
    if let Ok(at) = text.parse::<Timestamp>() {
        return Some(Reading { at, flag: None });
    }
    let wall = text.parse::<DateTime>().ok()?;
    Some(read_wall_clock(wall, zone))
}

/// Places a wall clock in its zone. A time that happens twice is the earlier of the two, one
/// that never happens moves forward by the width of the gap; both are flagged.
pub fn read_wall_clock(wall: DateTime, zone: Option<&TimeZone>) -> Reading {
    let Some(zone) = zone else {
        let at = TimeZone::UTC.to_timestamp(wall).unwrap_or(Timestamp::MIN);
        return Reading { at, flag: Some(Flag::ZoneUnknown) };
    };
    let ambiguous = zone.to_ambiguous_timestamp(wall);
    let flag = match ambiguous.offset() {
        AmbiguousOffset::Unambiguous { .. } => None,
        AmbiguousOffset::Fold { .. } => Some(Flag::ZoneFold),
        AmbiguousOffset::Gap { .. } => Some(Flag::ZoneGap),
    };
    Reading { at: ambiguous.compatible().unwrap_or(Timestamp::MIN), flag }
}

/// A time zone by its IANA name, from the database that is linked in: `provided.al2023` has none.
pub fn zone(name: &str) -> Option<TimeZone> {
    jiff::tz::db().get(name).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, zone_name: &str) -> (String, Option<Flag>) {
        let reading = read_iso(text, zone(zone_name).as_ref()).unwrap();
        (reading.at.to_string(), reading.flag)
    }

    #[test]
    fn an_offset_beats_the_zone() {
        assert_eq!(read("2026-02-20T10:00:00+01:00", "Asia/Kolkata").0, "2026-02-20T09:00:00Z");
        assert_eq!(read("2026-02-20T09:00Z", "Asia/Kolkata").0, "2026-02-20T09:00:00Z");
    }

    #[test]
    fn a_wall_clock_is_read_in_its_zone() {
        assert_eq!(
            read("2026-04-09 12:54:21", "Asia/Kolkata"),
            ("2026-04-09T07:24:21Z".into(), None)
        );
    }

    #[test]
    fn a_time_that_happens_twice_is_the_earlier_one_and_flagged() {
        for (wall, zone_name, instant) in [
            ("2026-10-25T01:30:00", "Asia/Jerusalem", "2026-10-24T22:30:00Z"),
            ("2026-10-25T02:30:00", "Europe/Zurich", "2026-10-25T00:30:00Z"),
            ("2026-04-05T02:30:00", "Australia/Sydney", "2026-04-04T15:30:00Z"),
        ] {
            assert_eq!(
                read(wall, zone_name),
                (instant.into(), Some(Flag::ZoneFold)),
                "{zone_name}"
            );
        }
    }

    #[test]
    fn a_time_that_never_happens_moves_on_and_is_flagged() {
        for (wall, zone_name, instant) in [
            ("2026-03-27T02:30:00", "Asia/Jerusalem", "2026-03-27T00:30:00Z"),
            ("2026-03-29T02:30:00", "Europe/Zurich", "2026-03-29T01:30:00Z"),
            ("2026-10-04T02:30:00", "Australia/Sydney", "2026-10-03T16:30:00Z"),
        ] {
            assert_eq!(read(wall, zone_name), (instant.into(), Some(Flag::ZoneGap)), "{zone_name}");
        }
    }

    #[test]
    fn a_wall_clock_without_a_zone_says_so() {
        let reading = read_iso("2026-04-09 12:54:21", None).unwrap();
        assert_eq!(reading.flag, Some(Flag::ZoneUnknown));
    }

    #[test]
    fn text_that_is_no_time_is_refused() {
        for text in ["", "yesterday", "2026-13-01T00:00:00Z", "$start_stamp"] {
            assert_eq!(read_iso(text, None), None, "{text}");
        }
    }
}
