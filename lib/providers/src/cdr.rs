//! What the call detail records of PBXs have in common: words, names and durations.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use switchboard_domain::time::{Reading, is_plausible, read_iso, read_wall_clock};
use switchboard_domain::{Disposition, Facts, Flag, Order, Personal, Recording, Seconds, written};

use crate::json::{Fields, seconds};

/// So many fields without a place of their own are kept with a call, which is not a document store.
pub const MOST_EXTRA: usize = 20;
/// How long such a field may be, bytes.
const LONGEST_EXTRA: usize = 512;

/// Asterisk's dispositions (`main/cdr.c`), and what PBXs on top of it make of them. Case, spaces
/// and punctuation do not count: `NO ANSWER`, `no answer`, `NOANSWER`, `NO_ANSWER`.
///
/// `None` is a word that says nothing about how the call ended (`UNKNOWN`, `REDIRECT`).
pub fn disposition(text: &str) -> Option<Disposition> {
    let letters: String = text.chars().filter(char::is_ascii_alphabetic).collect();
    match letters.to_ascii_uppercase().as_str() {
        "ANSWERED" | "ANSWER" => Some(Disposition::Answered),
        "NOANSWER" => Some(Disposition::NoAnswer),
        "BUSY" => Some(Disposition::Busy),
        "FAILED" | "CONGESTION" | "CHANUNAVAIL" => Some(Disposition::Failed),
        "CANCEL" | "CANCELED" | "CANCELLED" => Some(Disposition::Canceled),
        _ => None,
    }
}

/// The name and the number of a caller id: `"Name" <number>` with escaped quotes, a bare number, or
/// a bare name.
pub fn caller_id(text: &str) -> (Option<String>, Option<String>) {
    let known = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
    let text = text.trim();
    if let Some((name, rest)) = text.rsplit_once('<')
        && let Some(number) = rest.strip_suffix('>')
    {
        let name = name.trim();
        let quoted = name.strip_prefix('"').and_then(|name| name.strip_suffix('"'));
        let name = quoted.unwrap_or(name).replace("\\\"", "\"").replace("\\\\", "\\");
        return (known(&name), known(number));
    }
    let plain = written::number(text);
    let is_number = plain.chars().any(|c| c.is_ascii_digit())
        && plain.chars().all(|c| c.is_ascii_digit() || "+()-. #*".contains(c));
    if is_number { (None, known(text)) } else { (known(text.trim_matches('"')), None) }
}

/// A duration: `45`, `45.9`, `4:32`, `00:04:32` or .NET's `1.00:04:32`, in whole seconds.
pub fn duration(text: &str) -> Option<Seconds> {
    let text = text.trim();
    if !text.contains(':') {
        return seconds(text);
    }
    let whole = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| text.parse::<u32>().ok()).flatten()
    };
    let parts: Vec<&str> = text.split(':').collect();
    let (days, hours, minutes, seconds) = match parts[..] {
        [minutes, seconds] => (None, "0", minutes, seconds),
        [hours, minutes, seconds] => match hours.split_once('.') {
            Some((days, hours)) => (Some(days), hours, minutes, seconds),
            None => (None, hours, minutes, seconds),
        },
        _ => return None,
    };
    let seconds = seconds.split_once('.').map_or(seconds, |(whole, _)| whole);
    let days = days.map_or(Some(0), whole)?;
    let (hours, minutes, seconds) = (whole(hours)?, whole(minutes)?, whole(seconds)?);
    if minutes > 59 || seconds > 59 {
        return None;
    }
    let total = days.checked_mul(86_400)?.checked_add(hours.checked_mul(3_600)?)?;
    total.checked_add(minutes * 60 + seconds).map(Seconds)
}

/// A time as phone systems write one: ISO 8601, a wall clock of `zone` (`2026-04-09 12:54:21`, also
/// with dots or slashes between the parts of the date), or an epoch in seconds or milliseconds.
pub fn time(text: &str, zone: Option<&TimeZone>) -> Option<Reading> {
    let text = text.trim();
    if let Some(at) = epoch(text) {
        return Some(Reading { at, flag: None });
    }
    if let Some(reading) = read_iso(text, zone) {
        return Some(reading);
    }
    let (date, rest) = text.split_once([' ', 'T'])?;
    let wall: DateTime = format!("{}T{rest}", date.replace(['.', '/'], "-")).parse().ok()?;
    Some(read_wall_clock(wall, zone))
}

/// An epoch in seconds (with or without a fraction), or in milliseconds where it has 13 digits.
pub fn epoch(text: &str) -> Option<Timestamp> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || !(9..=13).contains(&whole.len()) {
        return None;
    }
    let number: i64 = whole.parse().ok()?;
    if whole.len() == 13 {
        return Timestamp::from_millisecond(number).ok();
    }
    Timestamp::from_second(number).ok()
}

/// Takes a field as a time: see [`time`] and [`place`].
pub fn moment(
    fields: &mut Fields,
    name: &str,
    zone: Option<&TimeZone>,
    facts: &mut Facts,
) -> Option<Timestamp> {
    let text = fields.optional(name)?;
    place(time(&text, zone), facts)
}

/// As [`moment`], of a column that holds a time before 2000 where it says nothing.
pub fn moment_if_any(
    fields: &mut Fields,
    name: &str,
    zone: Option<&TimeZone>,
    facts: &mut Facts,
) -> Option<Timestamp> {
    let text = fields.optional(name)?;
    place(time(&text, zone).filter(|reading| is_plausible(reading.at)), facts)
}

/// Takes a field as a duration. One that cannot be read is left out.
pub fn lasted(fields: &mut Fields, name: &str) -> Option<Seconds> {
    fields.optional(name).as_deref().and_then(duration)
}

/// Keeps the only recording of a call, if there is one.
pub fn keep_recording(facts: &mut Facts, place: Option<String>) {
    let recordings = place.map(|place| ("recording".to_owned(), recording(&place)));
    facts.recordings.extend(recordings);
}

/// Notes what was decided about a time, and drops one before 2000: a template's fault.
pub fn place(reading: Option<Reading>, facts: &mut Facts) -> Option<Timestamp> {
    let reading = reading?;
    if !is_plausible(reading.at) {
        facts.flags.insert(Flag::StartDiscarded);
        return None;
    }
    facts.flags.extend(reading.flag);
    Some(reading.at)
}

/// The place of one leg's record among those of its call: by `position` (a sequence number or a
/// time), and after every leg that was not answered, because the leg that was tells how the call went.
pub fn leg_order(position: u64, disposition: Option<Disposition>) -> Order {
    let answered = u64::from(disposition == Some(Disposition::Answered));
    Order::Sequence((answered << 48) | position.min((1 << 48) - 1))
}

/// A moment so many seconds before another.
pub fn before(at: Timestamp, lasted: Seconds) -> Timestamp {
    at.checked_sub(SignedDuration::from_secs(lasted.0.into())).unwrap_or(at)
}

/// Keeps a field that has no place of its own, if it is short enough.
pub fn keep(facts: &mut Facts, name: &str, text: Option<String>) {
    if let Some(text) = text.filter(|text| text.len() <= LONGEST_EXTRA) {
        facts.extra.insert(name.to_owned(), Personal::new(text));
    }
}

/// A recording from what a provider calls its URL: an address, or only a path on the PBX's disk.
pub fn recording(text: &str) -> Recording {
    let place = Some(Personal::new(text));
    let is_address = text.starts_with("https://") || text.starts_with("http://");
    let (url, path) = if is_address { (place, None) } else { (None, place) };
    Recording { url, path, duration: None, status: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dispositions_however_they_are_written() {
        for (text, expected) in [
            ("ANSWERED", Some(Disposition::Answered)),
            ("NO ANSWER", Some(Disposition::NoAnswer)),
            ("no answer", Some(Disposition::NoAnswer)),
            ("NOANSWER", Some(Disposition::NoAnswer)),
            ("NO_ANSWER", Some(Disposition::NoAnswer)),
            ("BUSY", Some(Disposition::Busy)),
            ("FAILED", Some(Disposition::Failed)),
            ("CONGESTION", Some(Disposition::Failed)),
            ("CANCEL", Some(Disposition::Canceled)),
            ("UNKNOWN", None),
            ("REDIRECT", None),
            ("", None),
        ] {
            assert_eq!(disposition(text), expected, "{text}");
        }
    }

    #[test]
    fn caller_ids_in_every_form() {
        let some = |text: &str| Some(text.to_owned());
        for (text, name, number) in [
            (r#""Name" <0501234567>"#, some("Name"), some("0501234567")),
            (r#""Ann \"Annie\" B" <101>"#, some("Ann \"Annie\" B"), some("101")),
            ("<101>", None, some("101")),
            (r#""" <101>"#, None, some("101")),
            ("0501234567", None, some("0501234567")),
            ("+41 22 555 12 34", None, some("+41 22 555 12 34")),
            ("+41\u{2011}225551234\u{200e}", None, some("+41\u{2011}225551234\u{200e}")),
            ("Front desk", some("Front desk"), None),
            ("", None, None),
            ("דנה <0501234567>", some("דנה"), some("0501234567")),
        ] {
            assert_eq!(caller_id(text), (name, number), "{text}");
        }
    }

    #[test]
    fn durations_in_every_form() {
        for (text, seconds) in [
            ("272", Some(272)),
            ("272.9", Some(272)),
            ("4:32", Some(272)),
            ("00:04:32", Some(272)),
            ("0:04:32", Some(272)),
            ("1.00:04:32", Some(86_672)),
            ("00:04:32.1234567", Some(272)),
            ("", None),
            ("00:61:00", None),
            ("-1", None),
            ("1:2:3:4", None),
            ("99999999.00:00:00", None),
            ("[Duration]", None),
        ] {
            assert_eq!(duration(text), seconds.map(Seconds), "{text}");
        }
    }

    #[test]
    fn times_in_every_form() {
        let zone = switchboard_domain::time::zone("Asia/Kolkata");
        for text in [
            "2026-04-09 12:54:21",
            "2026-04-09T12:54:21+05:30",
            "2026.04.09 12:54:21",
            "2026/04/09 12:54:21",
            "1775719461",
            "1775719461.306731",
            "1775719461000",
        ] {
            let read = time(text, zone.as_ref()).map(|reading| reading.at.as_second());
            assert_eq!(read, Some(1_775_719_461), "{text}");
        }
        for text in ["", "$start_stamp", "12:54:21", "17757", "99999999999999"] {
            assert_eq!(time(text, zone.as_ref()), None, "{text}");
        }
    }
}
