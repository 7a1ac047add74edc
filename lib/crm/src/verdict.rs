//! What an answer means: whether a delivery is done, tried again, or over. That no answer came always
//! means that it is tried again.

use jiff::Timestamp;
use switchboard_domain::delivery::Verdict;
use switchboard_http::retry_after;

/// What an answer's status means, and the same in a few words. `wait` is `Retry-After` as it
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
pub fn judge(status: u16, wait: Option<&str>, now: Timestamp) -> (Verdict, String) {
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
        Verdict::Retry { not_before: wait.and_then(|text| retry_after(text, now)) }
    } else {
        Verdict::Refused
    };
    (verdict, format!("{words}: {status}"))
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    fn now() -> Timestamp {
        "2026-02-20T09:00:00Z".parse().unwrap()
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
