//! Links to copies: an address of our API that proves by itself that it may be opened, until it is over.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac as _};
use jiff::Timestamp;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use sha2::Sha256;
use switchboard_domain::{CallKey, ConfigError, Personal, Secret};

/// A day, seconds.
const DAY: i64 = 86_400;
/// Fewer characters can be guessed.
const SHORTEST_KEY: usize = 32;
/// What goes into every signature first, so that nothing else that is signed with the key is a link.
const PURPOSE: &[u8] = b"switchboard recording link 1";

/// What may stand in a path as it is.
const SEGMENT: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// How links are made and checked: the JSON of the parameter `recordings/links`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Links {
    /// Where the API is, without a path: `https://api.example.com`.
    url: String,
    /// What links are signed with. The first signs; the others still open, during a rotation.
    keys: Vec<Secret>,
    /// How many days after its call a link opens.
    days: u32,
}

/// Why a link does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It is none of ours.
    #[error("is none of ours")]
    Forged,
    /// It was one of ours.
    #[error("has expired")]
    Expired,
}

impl Links {
    /// Reads and checks the JSON of the parameter.
    pub fn parse(json: &str) -> Result<Self, ConfigError> {
        let links: Self = serde_json::from_str(json).map_err(|error| {
            let place = format!("line {}, column {}", error.line(), error.column());
            ConfigError::new("links", format!("cannot be read: url, keys and days ({place})"))
        })?;
        let host = links.url.strip_prefix("https://").or_else(|| links.url.strip_prefix("http://"));
        let is_host = |host: &str| !host.is_empty() && !host.contains(['?', '#', '@', ' ']);
        if !host.is_some_and(is_host) || links.url.ends_with('/') {
            let problem = "must be https://host with no slash at the end, query or user";
            return Err(ConfigError::new("url", problem));
        }
        if links.keys.is_empty() {
            return Err(ConfigError::new("keys", "is empty: nothing could be signed"));
        }
        if links.keys.iter().any(|key| key.expose().len() < SHORTEST_KEY) {
            return Err(ConfigError::new("keys", "holds one of under 32 characters"));
        }
        if !(1..=3_650).contains(&links.days) {
            return Err(ConfigError::new("days", "must be from 1 to 3650"));
        }
        Ok(links)
    }

    /// The link to a recording's copy. It depends on nothing but what is configured, the call, the
    /// recording, and the day of `call_at`: however often it is made, it is the same.
    pub fn to(&self, call: &CallKey, recording: &str, call_at: Timestamp) -> Personal {
        // To the end of a day, so that a later message that moves the call by seconds moves no link.
        let last = call_at.as_second().div_euclid(DAY) + 1 + i64::from(self.days);
        let until = last.saturating_mul(DAY);
        let tag = match self.keys.first() {
            Some(key) => mac(key, call, recording, until).finalize().into_bytes(),
            None => Default::default(),
        };
        let segment = |text| utf8_percent_encode(text, &SEGMENT);
        Personal::new(format!(
            "{}/calls/{}/{}/{}/recordings/{}?until={until}&signature={}",
            self.url,
            call.provider,
            call.source,
            segment(call.call_id()),
            segment(recording),
            URL_SAFE_NO_PAD.encode(tag),
        ))
    }

    /// Whether a link opens. Every key is tried, each in constant time; a date is believed only after
    /// its signature.
    pub fn check(
        &self,
        call: &CallKey,
        recording: &str,
        until: &str,
        signature: &str,
        now: Timestamp,
    ) -> Result<(), Refused> {
        let until: i64 = until.parse().map_err(|_| Refused::Forged)?;
        let tag = URL_SAFE_NO_PAD.decode(signature).map_err(|_| Refused::Forged)?;
        let mut is_ours = false;
        for key in &self.keys {
            is_ours |= mac(key, call, recording, until).verify_slice(&tag).is_ok();
        }
        match is_ours {
            false => Err(Refused::Forged),
            true if now.as_second() >= until => Err(Refused::Expired),
            true => Ok(()),
        }
    }
}

fn mac(key: &Secret, call: &CallKey, recording: &str, until: i64) -> Hmac<Sha256> {
    // A key of any length will do, so this cannot fail; a default one would sign nothing of ours.
    let mut mac = Hmac::<Sha256>::new_from_slice(key.expose().as_bytes())
        .unwrap_or_else(|_| Hmac::new(&Default::default()));
    let until = until.to_be_bytes();
    let parts: [&[u8]; 6] = [
        PURPOSE,
        call.provider.as_str().as_bytes(),
        call.source.as_str().as_bytes(),
        call.call_id().as_bytes(),
        recording.as_bytes(),
        &until,
    ];
    for part in parts {
        // Each with its length, so that no two different links are the same bytes.
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part);
    }
    mac
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEY: &str = "fake-key-of-links-0000000000000001";
    const NEXT: &str = "fake-key-of-links-0000000000000002";

    fn links(keys: &[&str]) -> Links {
        let json = serde_json::json!({"url": "https://api.example.com", "keys": keys, "days": 30});
        Links::parse(&json.to_string()).unwrap()
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn call(text: &str) -> CallKey {
        text.parse().unwrap()
    }

    /// The two parameters of a link.
    fn parameters(link: &Personal) -> (String, String) {
        let query = link.expose().split_once("?until=").unwrap().1;
        let (until, signature) = query.split_once("&signature=").unwrap();
        (until.to_owned(), signature.to_owned())
    }

    #[test]
    fn a_link_opens_until_it_is_over_and_no_other_does() {
        let links = links(&[KEY]);
        let key = call("twilio/main/CA1");
        let link = links.to(&key, "RE1", at("2026-02-20T09:00:00Z"));
        assert!(
            link.expose().starts_with(
                "https://api.example.com/calls/twilio/main/CA1/recordings/RE1?until=17"
            ),
        );
        let (until, signature) = parameters(&link);
        let check = |call: &CallKey, id: &str, until: &str, signature: &str, now: &str| {
            links.check(call, id, until, signature, at(now))
        };
        let soon = "2026-02-20T09:00:01Z";
        assert_eq!(check(&key, "RE1", &until, &signature, soon), Ok(()));
        assert_eq!(check(&key, "RE1", &until, &signature, "2026-03-22T23:59:59Z"), Ok(()));
        assert_eq!(
            check(&key, "RE1", &until, &signature, "2026-03-23T00:00:00Z"),
            Err(Refused::Expired)
        );
        let later = (until.parse::<i64>().unwrap() + 1).to_string();
        let other = call("twilio/main/CA2");
        let forged = Err(Refused::Forged);
        assert_eq!(check(&other, "RE1", &until, &signature, soon), forged);
        assert_eq!(check(&key, "RE2", &until, &signature, soon), forged);
        assert_eq!(check(&key, "RE1", &later, &signature, soon), forged);
        // A forged link is refused as forged, also after its expiry.
        assert_eq!(check(&key, "RE1", "1", &signature, soon), forged);
        for wrong in
            ["", "AAAA", &signature[1..], &format!("{signature}="), &signature.to_uppercase()]
        {
            assert_eq!(check(&key, "RE1", &until, wrong, soon), forged, "{wrong}");
        }
        assert_eq!(check(&key, "RE1", "soon", &signature, soon), forged);
    }

    #[test]
    fn where_one_part_ends_and_the_next_begins_matters() {
        let links = links(&[KEY]);
        let now = at("2026-02-20T09:00:00Z");
        let (until, signature) = parameters(&links.to(&call("twilio/a/bc"), "d", now));
        assert_eq!(
            links.check(&call("twilio/a/b"), "cd", &until, &signature, now),
            Err(Refused::Forged)
        );
        assert_eq!(
            links.check(&call("twilio/ab/c"), "d", &until, &signature, now),
            Err(Refused::Forged)
        );
    }

    #[test]
    fn while_a_key_is_rotated_both_open() {
        let (key, now) = (call("twilio/main/CA1"), at("2026-02-20T09:00:00Z"));
        let (old, both, new) = (links(&[KEY]), links(&[NEXT, KEY]), links(&[NEXT]));
        let (until, of_old) = parameters(&old.to(&key, "RE1", now));
        let (_, of_both) = parameters(&both.to(&key, "RE1", now));
        assert_eq!(both.check(&key, "RE1", &until, &of_old, now), Ok(()));
        assert_eq!(new.check(&key, "RE1", &until, &of_both, now), Ok(()));
        assert_eq!(new.check(&key, "RE1", &until, &of_old, now), Err(Refused::Forged));
    }

    #[test]
    fn a_link_is_the_same_all_day() {
        let (links, key) = (links(&[KEY]), call("twilio/main/CA1"));
        let link = |when: &str| links.to(&key, "RE1", at(when));
        assert_eq!(link("2026-02-20T00:00:00Z"), link("2026-02-20T23:59:59Z"));
        assert_ne!(link("2026-02-20T23:59:59Z"), link("2026-02-21T00:00:00Z"));
    }

    #[test]
    fn parameters_are_checked_and_no_error_tells_a_key() {
        for (json, field) in [
            (
                r#"{"url": "https://x/", "keys": ["fake-key-of-links-0000000000000001"], "days": 1}"#,
                "url",
            ),
            (
                r#"{"url": "x.example", "keys": ["fake-key-of-links-0000000000000001"], "days": 1}"#,
                "url",
            ),
            (r#"{"url": "https://x.example", "keys": [], "days": 1}"#, "keys"),
            (r#"{"url": "https://x.example", "keys": ["fake-short"], "days": 1}"#, "keys"),
            (
                r#"{"url": "https://x.example", "keys": ["fake-key-of-links-0000000000000001"], "days": 0}"#,
                "days",
            ),
            (
                r#"{"url": "https://x.example", "keys": ["fake-key-of-links-0000000000000001"], "days": 3651}"#,
                "days",
            ),
            (
                r#"{"url": "https://x.example", "keys": "fake-key-of-links-0000000000000001"}"#,
                "links",
            ),
            ("fake", "links"),
        ] {
            let said = Links::parse(json).unwrap_err().to_string();
            assert!(said.starts_with(&format!("{field}: ")) && !said.contains("fake"), "{said}");
        }
        assert!(!format!("{:?}", links(&[KEY])).contains("fake"));
    }

    proptest! {
        #[test]
        fn whatever_the_ids_are_a_link_is_an_address_that_opens_them(
            id in "[^\\p{Cc}]{1,40}", recording in "\\PC{1,40}",
        ) {
            let Ok(key) = CallKey::new(call("any/main/1").provider, call("any/main/1").source, &id) else {
                return Ok(());
            };
            let (links, now) = (links(&[KEY]), at("2026-02-20T09:00:00Z"));
            let link = links.to(&key, &recording, now);
            prop_assert!(link.expose().bytes().all(|b| b.is_ascii_graphic()));
            let path = link.expose().split('?').next().unwrap();
            let last = path.rsplit('/').next().unwrap();
            let read = percent_encoding::percent_decode_str(last).decode_utf8().unwrap();
            prop_assert_eq!(&*read, &*recording);
            let (until, signature) = parameters(&link);
            prop_assert_eq!(links.check(&key, &recording, &until, &signature, now), Ok(()));
        }
    }
}
