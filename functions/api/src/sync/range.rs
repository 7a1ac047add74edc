//! Which calls a job is to pull: ranges as callers write them, as moments.

use jiff::Timestamp;
use jiff::civil::Date;
use switchboard_providers::Source;
use switchboard_providers::pull::{Pull, day, days};

use crate::problem::Problem;

/// The longest range of one job, days.
const LONGEST: i32 = 92;
/// So many days before today belong to the last week.
const WEEK: i64 = 7;

type Range = Result<(Timestamp, Timestamp), Problem>;

/// The source's own today, to its end: the same range all day long.
pub fn today(now: Timestamp, pull: &dyn Pull, source: &Source) -> Range {
    let today = day(pull, source, now);
    whole_days(pull, source, today, today)
}

/// The seven days before today, and today.
pub fn last_week(now: Timestamp, pull: &dyn Pull, source: &Source) -> Range {
    let today = day(pull, source, now);
    let first = today.checked_sub(jiff::Span::new().days(WEEK)).unwrap_or(today);
    whole_days(pull, source, first, today)
}

/// From the beginning of one day to the end of another, in the source's zone.
pub fn dates(pull: &dyn Pull, source: &Source, first: &str, last: &str) -> Range {
    let read = |field: &str, text: &str| {
        let problem = "must be a day, as 2026-02-20";
        text.trim().parse::<Date>().map_err(|_| Problem::invalid(field, problem))
    };
    let (first, last) = (read("startDate", first)?, read("endDate", last)?);
    checked(whole_days(pull, source, first, last)?, "endDate")
}

/// From a day or a moment up to another. A day is the whole day in the source's zone.
pub fn between(pull: &dyn Pull, source: &Source, from: &str, to: &str) -> Range {
    let moment = |field: &str, text: &str, is_end: bool| -> Result<Timestamp, Problem> {
        let text = text.trim();
        if let Ok(at) = text.parse::<Timestamp>() {
            return Ok(at);
        }
        let whole = text.parse::<Date>().ok().and_then(|day| days(pull, source, day, day));
        let problem = "must be a time, as 2026-02-20T09:00:00Z, or a day, as 2026-02-20";
        let (begins, ends) = whole.ok_or_else(|| Problem::invalid(field, problem))?;
        Ok(if is_end { ends } else { begins })
    };
    checked((moment("from", from, false)?, moment("to", to, true)?), "to")
}

fn whole_days(pull: &dyn Pull, source: &Source, first: Date, last: Date) -> Range {
    let out_of_range = || Problem::invalid("endDate", "is out of range");
    days(pull, source, first, last).ok_or_else(out_of_range)
}

fn checked((from, to): (Timestamp, Timestamp), field: &str) -> Range {
    if to <= from {
        return Err(Problem::invalid(field, "must be after the beginning"));
    }
    let longest = jiff::SignedDuration::from_hours(24 * i64::from(LONGEST) + 2);
    if to.duration_since(from) > longest {
        let problem = format!("must be within {LONGEST} days of the beginning: start several jobs");
        return Err(Problem::invalid(field, &problem));
    }
    Ok((from, to))
}
