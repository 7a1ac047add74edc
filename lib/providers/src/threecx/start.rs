//! When a call began, as well as its messages tell.
//!
//! The start is a part of the call's key, so two messages must come to the same one, though the
//! first may state it and the second state only an end and a duration, both rounded, or a minute.
//! What is known of a start is therefore a moment and the other moments that it may have been.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use switchboard_domain::time::{Reading, is_plausible, read_wall_clock};
use switchboard_domain::{Flag, Seconds};

use super::settings::DateOrder;
use crate::cdr;

/// Whose clock a variable shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// UTC, whether or not the text says so.
    Utc,
    /// The PBX's wall clock. Templates print it with a `Z` behind that means nothing.
    Local,
}

/// A moment in a call's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// When.
    pub at: Timestamp,
    /// What was decided about its zone.
    pub flag: Option<Flag>,
    /// Whether it was reported without seconds: it lies within the minute that begins at `at`.
    pub is_whole_minute: bool,
    /// Whether it was reported, and not computed.
    pub is_stated: bool,
}

/// What a variable says about a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadTime {
    /// This moment.
    At(Moment),
    /// That there was none: 3CX prints such a time as the year 1.
    Never,
    /// Nothing that can be read.
    Unreadable,
}

impl ReadTime {
    /// The moment, if it is one.
    pub fn moment(self) -> Option<Moment> {
        match self {
            Self::At(moment) => Some(moment),
            Self::Never | Self::Unreadable => None,
        }
    }
}

/// Reads a time: ISO 8601 with or without seconds, an epoch, or the text of a culture
/// (`02.01.2026 15:04`, `1/2/2026 3:04 PM`), which only `order` makes into a date.
pub fn read(
    text: &str,
    clock: Clock,
    zone: Option<&TimeZone>,
    order: Option<DateOrder>,
) -> ReadTime {
    let utc = TimeZone::UTC;
    let (text, zone) = match clock {
        Clock::Utc => (text, Some(&utc)),
        Clock::Local => (text.trim_end_matches(['Z', 'z']), zone),
    };
    let iso = || {
        let text = with_colons(text);
        cdr::time(&text, zone).map(|reading| (reading, is_whole_minute(&text)))
    };
    let culture = || {
        let (wall, is_whole_minute) = wall_clock(text, order?)?;
        Some((read_wall_clock(wall, zone), is_whole_minute))
    };
    match iso().or_else(culture) {
        None => ReadTime::Unreadable,
        Some((Reading { at, .. }, _)) if !is_plausible(at) => ReadTime::Never,
        Some((Reading { at, flag }, is_whole_minute)) => {
            ReadTime::At(Moment { at, flag, is_whole_minute, is_stated: true })
        }
    }
}

/// .NET's `:` is the separator of the server's culture: some write `09.00.00`.
fn with_colons(text: &str) -> String {
    match text.trim().split_once(['T', ' ']) {
        Some((date, time)) if !time.contains(':') => format!("{date}T{}", time.replace('.', ":")),
        _ => text.to_owned(),
    }
}

/// Whether the clock in an ISO time has hours and minutes alone.
fn is_whole_minute(text: &str) -> bool {
    let clock = text.split_once(['T', ' ']).map(|(_, clock)| clock).unwrap_or_default();
    let clock = clock.split(['Z', 'z', '+', '-']).next().unwrap_or_default();
    clock.matches(':').count() == 1
}

/// A date and a time as .NET's cultures print them, and whether there were no seconds.
fn wall_clock(text: &str, order: DateOrder) -> Option<(DateTime, bool)> {
    let mut words = text.split_whitespace();
    let (date, clock, half) = (words.next()?, words.next()?, words.next());
    let number = |text: &str| text.parse::<i16>().ok().filter(|_| text.len() <= 4);
    let date = date.trim_end_matches(',');
    let date: Vec<i16> = date.split(['.', '/', '-']).filter_map(number).collect();
    let clock: Vec<i16> = clock.split([':', '.']).filter_map(number).collect();
    let (first, second, year) = match date[..] {
        // Some cultures print two digits. The year 1, which means never, has four.
        [first, second, year @ 10..=99] => (first, second, 2000 + year),
        [first, second, year] => (first, second, year),
        _ => return None,
    };
    let (day, month) = match order {
        DateOrder::DayFirst => (first, second),
        DateOrder::MonthFirst => (second, first),
    };
    let (hour, minute, seconds) = match clock[..] {
        [hour, minute] => (hour, minute, None),
        [hour, minute, second] => (hour, minute, Some(second)),
        _ => return None,
    };
    let hour = match half.map(str::to_ascii_uppercase).as_deref() {
        None => hour,
        Some("AM") if (1..=12).contains(&hour) => hour % 12,
        Some("PM") if (1..=12).contains(&hour) => hour % 12 + 12,
        Some(_) => return None,
    };
    let small = |number: i16| i8::try_from(number).ok();
    let second = small(seconds.unwrap_or(0))?;
    let (month, day, hour, minute) = (small(month)?, small(day)?, small(hour)?, small(minute)?);
    let wall = DateTime::new(year, month, day, hour, minute, second, 0).ok()?;
    Some((wall, seconds.is_none()))
}

/// The first of several readings of one moment; if that tells only the minute, one of the others
/// that tells the second within it.
pub fn best(moments: impl Iterator<Item = Moment>) -> Option<Moment> {
    let moments: Vec<Moment> = moments.collect();
    let first = *moments.first()?;
    let is_finer = |moment: &&Moment| {
        let later = moment.at.as_second() - first.at.as_second();
        first.is_whole_minute && !moment.is_whole_minute && (0..60).contains(&later)
    };
    moments.iter().find(is_finer).copied().or(Some(first))
}

impl Moment {
    /// The start of a call that ended at this moment.
    pub fn worked_out(self, lasted: Seconds) -> Self {
        Self { at: cdr::before(self.at, lasted), is_stated: false, ..self }
    }

    /// When else the call may have begun, the nearest first and at most `most`: as many seconds
    /// before and after as `tolerance` says, and anywhere within a minute that is reported
    /// without seconds.
    pub fn others(self, tolerance: u32, most: usize) -> Vec<Timestamp> {
        let tolerance = i64::from(tolerance);
        let ahead = tolerance + if self.is_whole_minute { 59 } else { 0 };
        let both = (1..=ahead).flat_map(|n| [n, -n]).filter(|n| *n >= -tolerance);
        let moved = |n: i64| self.at.checked_add(SignedDuration::from_secs(n)).ok();
        both.take(most).filter_map(moved).collect()
    }
}
