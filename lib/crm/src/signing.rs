//! Standard Webhooks: the headers by which a CRM knows that a request is ours, and which one.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use standardwebhooks::Webhook;
use switchboard_domain::Secret;

const PREFIX: &str = "whsec_";
/// How many random bytes a secret must be of.
const KEY_LENGTH: std::ops::RangeInclusive<usize> = 24..=64;

/// The three headers of a signed request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// `webhook-id`: which request this is. The same in every attempt.
    pub id: String,
    /// `webhook-timestamp`: when this attempt was made, seconds since 1970.
    pub timestamp: String,
    /// `webhook-signature`: one for each secret, in their order, separated by spaces.
    pub signature: String,
}

impl Signed {
    /// The headers, by name.
    pub fn headers(&self) -> [(&'static str, &str); 3] {
        [
            (standardwebhooks::HEADER_WEBHOOK_ID, &self.id),
            (standardwebhooks::HEADER_WEBHOOK_TIMESTAMP, &self.timestamp),
            (standardwebhooks::HEADER_WEBHOOK_SIGNATURE, &self.signature),
        ]
    }
}

/// Nothing can be signed: there is no secret, one that is not `whsec_` and base64 of enough bytes,
/// or a body that is not text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot be signed")]
pub struct CannotSign;

/// Whether a secret can sign: `whsec_` and the base64 of 24 to 64 bytes.
pub fn is_valid(secret: &Secret) -> bool {
    let key = secret.expose().strip_prefix(PREFIX).and_then(|text| STANDARD.decode(text).ok());
    key.is_some_and(|key| KEY_LENGTH.contains(&key.len()))
}

/// Signs a body with every secret, as sent at `at` under `id`.
pub fn sign(
    secrets: &[Secret],
    id: &str,
    at: Timestamp,
    body: &[u8],
) -> Result<Signed, CannotSign> {
    if secrets.is_empty() || !secrets.iter().all(is_valid) {
        return Err(CannotSign);
    }
    let seconds = at.as_second();
    let signatures: Result<Vec<String>, _> = secrets
        .iter()
        .map(|secret| Webhook::new(secret.expose())?.sign(id, seconds, body))
        .collect();
    let signature = signatures.map_err(|_| CannotSign)?.join(" ");
    Ok(Signed { id: id.to_owned(), timestamp: seconds.to_string(), signature })
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderMap, HeaderName};

    struct Vector {
        secret: &'static str,
        id: &'static str,
        at: i64,
        body: &'static str,
        signature: &'static str,
    }

    /// Of the official libraries' tests.
    const VECTORS: [Vector; 2] = [
        Vector {
            secret: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            id: "msg_p5jXN8AQM9LWM0D4loKWxJek",
            at: 1_614_265_330,
            body: r#"{"test": 2432232314}"#,
            signature: "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
        },
        Vector {
            secret: "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD",
            id: "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk",
            at: 1_649_367_553,
            body: r#"{"email":"test@example.com","username":"test_user"}"#,
            signature: "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=",
        },
    ];

    fn secrets(texts: &[&str]) -> Vec<Secret> {
        texts.iter().map(|text| Secret::new(*text)).collect()
    }

    fn accepts(secret: &str, body: &[u8], headers: &[(&str, &str)]) -> bool {
        let headers: HeaderMap = headers
            .iter()
            .map(|(name, value)| (HeaderName::try_from(*name).unwrap(), value.parse().unwrap()))
            .collect();
        Webhook::new(secret).unwrap().verify(body, &headers).is_ok()
    }

    #[test]
    fn the_official_vectors_hold() {
        for Vector { secret, id, at, body, signature } in VECTORS {
            let at = Timestamp::from_second(at).unwrap();
            let signed = sign(&secrets(&[secret]), id, at, body.as_bytes()).unwrap();
            assert_eq!(signed.signature, signature);
            assert_eq!(
                signed.headers(),
                [
                    ("webhook-id", id),
                    ("webhook-timestamp", at.as_second().to_string().as_str()),
                    ("webhook-signature", signature),
                ]
            );
        }
    }

    #[test]
    fn both_secrets_of_a_rotation_are_accepted_and_no_other() {
        let [old, new] = VECTORS.map(|vector| vector.secret);
        let body = br#"{"type":"call.completed"}"#;
        let signed = sign(&secrets(&[new, old]), "msg_1", Timestamp::now(), body).unwrap();
        assert_eq!(signed.signature.split(' ').count(), 2);
        let other = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        for (secret, expected) in [(old, true), (new, true), (other, false)] {
            assert_eq!(accepts(secret, body, &signed.headers()), expected);
        }
        // The one in use comes first: a receiver that reads only one reads that.
        let alone = sign(&secrets(&[new]), "msg_1", Timestamp::now(), body).unwrap();
        assert_eq!(signed.signature.split(' ').next(), Some(alone.signature.as_str()));
    }

    #[test]
    fn the_verifier_refuses_what_must_fail() {
        let secret = VECTORS[0].secret;
        let body = VECTORS[0].body.as_bytes();
        let now = Timestamp::now();
        let signed = sign(&secrets(&[secret]), "msg_1", now, body).unwrap();
        let (id, timestamp) = (signed.id.as_str(), signed.timestamp.as_str());
        let good = signed.signature.as_str();
        let digest = good.strip_prefix("v1,").unwrap();
        let verdict = |signature: &str| {
            let headers = [
                ("webhook-id", id),
                ("webhook-timestamp", timestamp),
                ("webhook-signature", signature),
            ];
            accepts(secret, body, &headers)
        };
        for refused in [
            "",
            "v1,",
            "v1",
            digest,
            &good[..good.len() - 8],
            &good[..good.len() - 1],
            &format!("v2,{digest}"),
            &format!("v1a,{digest}"),
            "v1,AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
        ] {
            assert!(!verdict(refused), "{refused}");
        }
        let others = "v1,AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA= v2,x v1a,y";
        assert!(verdict(good));
        assert!(verdict(&format!("{others} {good}")));
        assert!(verdict(&format!("{good} {others}")));

        // A missing header, another body, another id, another time.
        let all = signed.headers();
        for missing in 0..3 {
            let rest: Vec<_> = (0..3).filter(|n| *n != missing).map(|n| all[n]).collect();
            assert!(!accepts(secret, body, &rest), "without {}", all[missing].0);
        }
        assert!(!accepts(secret, b"{}", &all));
        let other_id = [("webhook-id", "msg_2"), all[1], all[2]];
        assert!(!accepts(secret, body, &other_id));
        let later = (now.as_second() + 1).to_string();
        assert!(!accepts(secret, body, &[all[0], ("webhook-timestamp", &later), all[2]]));
    }

    #[test]
    fn a_signature_is_valid_for_five_minutes_both_ways() {
        let secret = VECTORS[0].secret;
        // At exactly 300 seconds libraries differ.
        for (offset, expected) in
            [(0, true), (-290, true), (290, true), (-310, false), (310, false)]
        {
            let at = Timestamp::from_second(Timestamp::now().as_second() + offset).unwrap();
            let signed = sign(&secrets(&[secret]), "msg_1", at, b"{}").unwrap();
            assert_eq!(accepts(secret, b"{}", &signed.headers()), expected, "{offset}");
        }
    }

    #[test]
    fn a_weak_secret_signs_nothing() {
        let of = |length: usize| format!("whsec_{}", STANDARD.encode(vec![7u8; length]));
        for good in [of(24), of(32), of(64)] {
            assert!(is_valid(&Secret::new(good)));
        }
        let plain = VECTORS[0].secret.strip_prefix("whsec_").unwrap();
        for bad in [of(0), of(23), of(65), String::new(), plain.into(), "whsec_not base64!".into()]
        {
            assert!(!is_valid(&Secret::new(&bad)), "{bad}");
            let secrets = secrets(&[VECTORS[0].secret, &bad]);
            assert_eq!(sign(&secrets, "msg_1", Timestamp::UNIX_EPOCH, b"{}"), Err(CannotSign));
        }
        assert_eq!(sign(&[], "msg_1", Timestamp::UNIX_EPOCH, b"{}"), Err(CannotSign));
    }
}
