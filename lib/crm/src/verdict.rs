//! What an answer means: whether a delivery is done, tried again, or over. That no answer came always
//! means that it is tried again.

use jiff::civil::DateTime;
use jiff::fmt::rfc2822::DateTimeParser;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use switchboard_domain::delivery::Verdict;

/// What an answer's status means, and the same in a few words. `retry_after` is the header as it
/// came: seconds or a date; anything else in it is ignored.
///
/// | status | verdict | why |
/// | --- | --- | --- |
/// | 2xx | delivered | |
/// | 3xx | retry | not followed; the URL is to be mended here, and then nothing is lost |
/// | 401, 403, 407 | retry | the credentials are to be mended here, and then nothing is lost |
/// | 408, 425, 429, 5xx | retry | it will pass |
/// | 410 | gone | the endpoint takes nothing any more: it is stopped, and nothing is lost |
/// | other 4xx | refused | this body will never be taken |
/// | anything else | retry | no sense can be made of it |
pub fn judge(status: u16, retry_after: Option<&str>, now: Timestamp) -> (Verdict, String) {
    let (is_retried, words) = match status {
        200..=299 => return (Verdict::Delivered, format!("delivered: {status}")),
        300..=399 => (true, "redirected, not followed"),
        401 | 403 | 407 => (true, "not authorized"),
        408 => (true, "timed out there"),
        425 | 429 => (true, "asked to wait"),
        410 => return (Verdict::Gone, format!("gone: {status}")),
        400..=499 => (false, "refused"),
        500..=599 => (true, "failed there"),
        _ => (true, "not understood"),
    };
    let verdict = if is_retried {
        Verdict::Retry { not_before: retry_after.and_then(|text| read_retry_after(text, now)) }
    } else {
        Verdict::Refused
    };
    (verdict, format!("{words}: {status}"))
}

/// Reads `Retry-After`: whole seconds from now, or an HTTP date in any of its three forms.
fn read_retry_after(text: &str, now: Timestamp) -> Option<Timestamp> {
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

    fn now() -> Timestamp {
        "2026-02-20T09:00:00Z".parse().unwrap()
    }

    fn wait(retry_after: &str) -> Option<i64> {
        let (verdict, _) = judge(429, Some(retry_after), now());
        let Verdict::Retry { not_before } = verdict else { panic!("{verdict:?}") };
        not_before.map(|at| at.duration_since(now()).as_secs())
    }

    #[test]
    fn every_status_has_its_class() {
        let retry = Verdict::Retry { not_before: None };
        for (statuses, verdict, words) in [
            (&[200, 201, 202, 204, 299][..], Verdict::Delivered, "delivered"),
            (&[300, 301, 302, 303, 304, 307, 308, 399], retry, "redirected, not followed"),
            (&[401, 403, 407], retry, "not authorized"),
            (&[408], retry, "timed out there"),
            (&[425, 429], retry, "asked to wait"),
            (&[500, 501, 502, 503, 504, 529, 599], retry, "failed there"),
            (&[410], Verdict::Gone, "gone"),
            (
                &[400, 402, 404, 405, 406, 409, 411, 413, 415, 422, 451, 499],
                Verdict::Refused,
                "refused",
            ),
            (&[100, 199, 600, 999], retry, "not understood"),
        ] {
            for status in statuses {
                let expected = (verdict, format!("{words}: {status}"));
                assert_eq!(judge(*status, None, now()), expected);
            }
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        assert_eq!(wait("0"), Some(0));
        assert_eq!(wait(" 120 "), Some(120));
        assert_eq!(wait("Fri, 20 Feb 2026 09:02:00 GMT"), Some(120));
        assert_eq!(wait("Friday, 20-Feb-26 09:02:00 GMT"), Some(120));
        assert_eq!(wait("Fri Feb 20 09:02:00 2026"), Some(120));
        // The past is no reason to wait, nor to fail.
        assert_eq!(wait("Fri, 20 Feb 2026 08:59:00 GMT"), Some(-60));
    }

    #[test]
    fn a_retry_after_beyond_all_measure_is_as_late_as_can_be() {
        for text in ["999999999999", "9223372036854775807", "99999999999999999999999999"] {
            let (verdict, _) = judge(503, Some(text), now());
            assert_eq!(verdict, Verdict::Retry { not_before: Some(Timestamp::MAX) }, "{text}");
        }
    }

    #[test]
    fn garbage_in_retry_after_is_ignored() {
        for text in
            ["", " ", "soon", "-5", "1.5", "+5", "5s", "0x10", "２", "2026-02-20", "Fri, 99 Feb"]
        {
            assert_eq!(wait(text), None, "{text}");
        }
    }

    #[test]
    fn only_a_retry_waits() {
        assert_eq!(judge(200, Some("60"), now()).0, Verdict::Delivered);
        assert_eq!(judge(410, Some("60"), now()).0, Verdict::Gone);
        assert_eq!(judge(422, Some("60"), now()).0, Verdict::Refused);
        for status in [302, 401, 408, 429, 503] {
            let not_before = now().checked_add(SignedDuration::from_secs(60)).ok();
            assert_eq!(judge(status, Some("60"), now()).0, Verdict::Retry { not_before });
        }
    }
}
