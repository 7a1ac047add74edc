//! `Retry-After`: when a server that cannot answer now is to be asked again.

use jiff::civil::DateTime;
use jiff::fmt::rfc2822::DateTimeParser;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// Reads the header: whole seconds from now, or an HTTP date in any of the three forms of RFC 9110,
/// section 5.6.7. `None`: it is neither, and nothing was said.
pub fn retry_after(text: &str, now: Timestamp) -> Option<Timestamp> {
    let text = text.trim();
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        // More digits than fit mean: as late as can be.
        let wait = text.parse::<i64>().map_or(SignedDuration::MAX, SignedDuration::from_secs);
        return Some(now.checked_add(wait).unwrap_or(Timestamp::MAX));
    }
    if let Ok(at) = DateTimeParser::new().parse_timestamp(text) {
        return Some(at);
    }
    let obsolete = ["%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"];
    let read = |form| DateTime::strptime(form, text).ok();
    TimeZone::UTC.to_timestamp(obsolete.into_iter().find_map(read)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(text: &str) -> Option<i64> {
        let now = "2026-02-20T09:00:00Z".parse().unwrap();
        retry_after(text, now).map(|at| at.duration_since(now).as_secs())
    }

    #[test]
    fn it_is_seconds_or_a_date() {
        assert_eq!(wait("0"), Some(0));
        assert_eq!(wait(" 120 "), Some(120));
        assert_eq!(wait("Fri, 20 Feb 2026 09:02:00 GMT"), Some(120));
        assert_eq!(wait("Friday, 20-Feb-26 09:02:00 GMT"), Some(120));
        assert_eq!(wait("Fri Feb 20 09:02:00 2026"), Some(120));
        // The past is no reason to wait, nor to fail.
        assert_eq!(wait("Fri, 20 Feb 2026 08:59:00 GMT"), Some(-60));
    }

    #[test]
    fn beyond_all_measure_is_as_late_as_can_be() {
        for text in ["999999999999", "9223372036854775807", "99999999999999999999999999"] {
            assert_eq!(retry_after(text, Timestamp::UNIX_EPOCH), Some(Timestamp::MAX), "{text}");
        }
    }

    #[test]
    fn garbage_says_nothing() {
        for text in
            ["", " ", "soon", "-5", "1.5", "+5", "5s", "0x10", "２", "2026-02-20", "Fri, 99 Feb"]
        {
            assert_eq!(wait(text), None, "{text}");
        }
    }
}
