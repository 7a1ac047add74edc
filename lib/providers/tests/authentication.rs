//! Who may send for which source: secrets, networks, and where a secret is looked for.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use jiff::Timestamp;
use serde_json::{Value, json};
use switchboard_domain::Name;
use switchboard_providers::INTAKE;
use switchboard_providers::elevenlabs::ElevenLabs;
use switchboard_providers::twilio::Twilio;
use switchboard_providers::{Content, Provider as _, Request, Source, Sources, authenticate};

const PATH: &str = "/api/crm/intake/calls";

fn sources(named: &[(&str, Value)]) -> Sources {
    let source = |json: &Value| Source::parse(&json.to_string(), Some(&INTAKE)).unwrap();
    named.iter().map(|(name, json)| (Name::new("source", name).unwrap(), source(json))).collect()
}

fn request(target: &str, headers: &[(&str, &str)], sender: &str) -> Request {
    let request = Request::new("POST", target, Timestamp::UNIX_EPOCH).sender(sender.parse().ok());
    let request =
        headers.iter().fold(request, |request, (name, value)| request.header(name, value));
    request.body(br#"{"provider":"test","externalCallId":"1"}"#.to_vec())
}

/// The key of the call that a request is about, or why it was refused.
fn key(request: &Request, sources: &Sources) -> String {
    let parsed = authenticate(&INTAKE, request, sources).and_then(|message| INTAKE.parse(&message));
    match parsed {
        Err(why) => why.reason().to_owned(),
        Ok(Content::Calls(records)) => match &records[0] {
            Ok(record) => record.key.to_string(),
            Err(unread) => unread.why.reason().to_owned(),
        },
        Ok(Content::Other(_)) => "other".to_owned(),
    }
}

#[test]
fn a_secret_opens_its_own_source_and_no_other() {
    let sources = sources(&[
        ("north", json!({"secrets": ["fake-north"]})),
        ("south", json!({"secrets": ["fake-south"]})),
    ]);
    for (target, secret, expected) in [
        ("", "fake-north", "test/north/1"),
        ("", "fake-south", "test/south/1"),
        ("?source=north", "fake-north", "test/north/1"),
        ("?source=south", "fake-north", "mismatch"),
        ("?source=north", "fake-south", "mismatch"),
        ("?source=east", "fake-north", "unknown_source"),
        ("", "fake-north ", "mismatch"),
        ("", "fake-nort", "mismatch"),
        ("", "FAKE-NORTH", "mismatch"),
        ("", "", "unauthenticated"),
    ] {
        let request = request(&format!("{PATH}{target}"), &[("X-Webhook-Secret", secret)], "");
        assert_eq!(key(&request, &sources), expected, "{target} {secret}");
    }
}

#[test]
fn a_source_in_the_body_is_opened_by_its_own_secret_alone() {
    let sources = sources(&[
        ("north", json!({"secrets": ["fake-north"]})),
        ("south", json!({"secrets": ["fake-south"]})),
    ]);
    let body = br#"{"provider":"test","externalCallId":"1","source":"south"}"#.to_vec();
    let with = |secret| request(PATH, &[("x-api-key", secret)], "").body(body.clone());
    assert_eq!(key(&with("fake-south"), &sources), "test/south/1");
    assert_eq!(key(&with("fake-north"), &sources), "other_source");
}

#[test]
fn a_secret_is_found_wherever_phone_systems_can_put_one() {
    let sources = sources(&[("intake", json!({"secrets": ["fake-new", "fake-old"]}))]);
    for (target, headers) in [
        ("", vec![("X-Webhook-Secret", "fake-new")]),
        ("", vec![("x-api-key", "fake-old")]),
        ("", vec![("X-CRM-Intake-Secret", "fake-new")]),
        ("", vec![("Authorization", "Bearer fake-new")]),
        ("", vec![("Authorization", "bearer  fake-new")]),
        ("?secret=fake-old", vec![]),
        ("?source=intake&secret=fake-new", vec![]),
    ] {
        let request = request(&format!("{PATH}{target}"), &headers, "");
        let key = key(&request, &sources);
        assert!(key == "test/test/1" || key == "test/intake/1", "{headers:?}: {key}");
        assert!(!request.kept_target().contains("fake"), "{}", request.kept_target());
    }
    for headers in [
        vec![("Authorization", "Basic fake-new")],
        vec![("Authorization", "fake-new")],
        vec![("X-Other", "fake-new")],
    ] {
        assert_eq!(key(&request(PATH, &headers, ""), &sources), "unauthenticated", "{headers:?}");
    }
}

#[test]
fn a_trusted_network_needs_no_secret_and_a_secret_says_more() {
    let sources = sources(&[
        ("intake", json!({"secrets": ["fake-one"], "trusted_networks": ["203.0.113.7/32"]})),
        ("south", json!({"secrets": ["fake-south"]})),
    ]);
    for (target, secret, sender, expected) in [
        ("", None, "203.0.113.7", "test/test/1"),
        ("", None, "203.0.113.8", "unauthenticated"),
        ("", None, "", "unauthenticated"),
        ("", Some("fake-one"), "203.0.113.8", "test/test/1"),
        ("", Some("fake-south"), "203.0.113.7", "test/south/1"),
        ("?source=south", None, "203.0.113.7", "mismatch"),
        ("?source=south", Some("fake-one"), "203.0.113.7", "mismatch"),
    ] {
        let headers: Vec<_> = secret.map(|secret| ("x-api-key", secret)).into_iter().collect();
        let request = request(&format!("{PATH}{target}"), &headers, sender);
        assert_eq!(key(&request, &sources), expected, "{target} {secret:?} from {sender}");
    }
}

#[test]
fn everybody_is_no_network_and_who_signs_needs_none() {
    let problem = |json: &str, provider| Source::parse(json, provider).unwrap_err().to_string();
    let everybody = r#"{"trusted_networks": ["0.0.0.0/0"]}"#;
    assert!(
        problem(everybody, Some(&INTAKE as _)).starts_with("trusted_networks: holds everybody")
    );
    let one = r#"{"public_url": "https://x.example", "trusted_networks": ["203.0.113.7/32"]}"#;
    for provider in [&Twilio as &dyn switchboard_providers::Provider, &ElevenLabs] {
        assert!(problem(one, Some(provider)).starts_with("trusted_networks: cannot be"));
    }
    // And if such a configuration was written all the same, it opens nothing.
    let source = Source::parse(one, None).unwrap();
    let sources = Sources::from([(Name::new("source", "elevenlabs").unwrap(), source)]);
    let request = request("/webhooks/elevenlabs", &[], "203.0.113.7");
    assert!(authenticate(&ElevenLabs, &request, &sources).is_err());
}
