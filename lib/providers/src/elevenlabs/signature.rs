//! `ElevenLabs-Signature: t=<unix seconds>,v0=<hex>`: HMAC-SHA256 over `<t>.<body>`.
//!
//! As the official SDKs check it, and stricter where they are lax: the time may be off to either
//! side, any of several `v0` may fit, and codes are compared in constant time.

use hmac::{Hmac, Mac as _};
use jiff::Timestamp;
use sha2::Sha256;
use switchboard_domain::Secret;

use crate::reject::Refusal;
use crate::secret;

/// How far the signed time may lie from now, to either side, seconds: the SDKs' 30 minutes.
const TOLERANCE: u64 = 30 * 60;

/// Checks a signature header against a body. The secret is taken as it is written, `wsec_` and all.
pub fn check(header: &str, body: &[u8], secret: &Secret, now: Timestamp) -> Result<(), Refusal> {
    let parts = || header.split(',').map(str::trim);
    let time = parts().find_map(|part| part.strip_prefix("t=")).ok_or(Refusal::BadHeader)?;
    let signed_at: i64 = time.parse().map_err(|_| Refusal::BadHeader)?;
    let mut codes = parts().filter_map(|part| part.strip_prefix("v0=")).peekable();
    codes.peek().ok_or(Refusal::BadHeader)?;

    let expected = code(time, body, secret);
    // Every code is compared, whichever fits first.
    let fitting = codes.filter(|code| secret::equal(code.as_bytes(), expected.as_bytes())).count();
    if fitting == 0 {
        return Err(Refusal::Mismatch);
    }
    if now.as_second().abs_diff(signed_at) > TOLERANCE {
        return Err(Refusal::Stale);
    }
    Ok(())
}

/// The code of a body signed at `time`, in lower-case hexadecimal digits.
fn code(time: &str, body: &[u8], secret: &Secret) -> String {
    // An HMAC takes a key of any length, so this is never the empty code.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes()) else {
        return String::new();
    };
    mac.update(time.as_bytes());
    mac.update(b".");
    mac.update(body);
    mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &[u8] = br#"{"event_type": "speech.completed", "id": "123456"}"#;
    const CODE: &str = "f8a0d1dc33ee963cb54d2f31514555995e93313c9d2042c030adbb82b87fae13";

    fn checked(header: &str, seconds_later: i64) -> Result<(), Refusal> {
        let now = Timestamp::from_second(1_600_000_000 + seconds_later).unwrap();
        check(header, BODY, &Secret::new("test_secret"), now)
    }

    #[test]
    fn any_of_several_codes_will_do() {
        for header in [
            format!("t=1600000000,v0={CODE}"),
            format!("v0={CODE},t=1600000000"),
            format!("t=1600000000, v0={CODE}"),
            format!("t=1600000000,v0=00,v0={CODE}"),
            format!("t=1600000000,v0={CODE},v0=00,v1=anything"),
        ] {
            assert_eq!(checked(&header, 0), Ok(()), "{header}");
        }
    }

    #[test]
    fn what_is_wrong_has_a_name() {
        for (header, refusal) in [
            (String::new(), Refusal::BadHeader),
            ("t=1600000000".to_owned(), Refusal::BadHeader),
            (format!("v0={CODE}"), Refusal::BadHeader),
            (format!("t=now,v0={CODE}"), Refusal::BadHeader),
            (format!("t=1600000000,v1={CODE}"), Refusal::BadHeader),
            (format!("t=1600000001,v0={CODE}"), Refusal::Mismatch),
            ("t=1600000000,v0=".to_owned(), Refusal::Mismatch),
            (format!("t=1600000000,v0={}", &CODE[..63]), Refusal::Mismatch),
            (format!("t=1600000000,v0={}", CODE.to_uppercase()), Refusal::Mismatch),
        ] {
            assert_eq!(checked(&header, 0), Err(refusal), "{header}");
        }
    }

    #[test]
    fn half_an_hour_to_either_side_is_fresh() {
        let header = format!("t=1600000000,v0={CODE}");
        for (later, result) in [
            (1800, Ok(())),
            (-1800, Ok(())),
            (1801, Err(Refusal::Stale)),
            (-1801, Err(Refusal::Stale)),
        ] {
            assert_eq!(checked(&header, later), result, "{later} s later");
        }
    }
}
