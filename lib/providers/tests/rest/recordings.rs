//! Where recordings are fetched from, and with which credentials.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::AUTHORIZATION;
use jiff::Timestamp;
use switchboard_domain::Personal;
use switchboard_providers::recordings::{Settings, Status, judge};
use switchboard_providers::{Source, elevenlabs, provider, registry};

const RECORDING: &str =
    "https://api.twilio.com/2010-04-01/Accounts/AC00000000000000000000000000000001/Recordings/RE1";

fn of(provider: &str, json: &str) -> Source {
    Source::read(json, self::provider(provider)).unwrap()
}

fn source(json: &str) -> Source {
    of("twilio", json)
}

/// The address and the decoded pair of a request.
fn asked(source: &Source, url: &str) -> (String, Option<String>) {
    let wanted = registry::recording("twilio", source, &Personal::new(url)).unwrap();
    let pair = wanted.headers.first().map(|(name, value)| {
        assert!(*name == AUTHORIZATION && value.is_sensitive());
        let pair = value.to_str().unwrap().strip_prefix("Basic ").unwrap();
        String::from_utf8(STANDARD.decode(pair).unwrap()).unwrap()
    });
    (wanted.url.expose().to_owned(), pair)
}

#[test]
fn twilio_is_asked_for_the_format_in_the_name_of_the_recordings_account() {
    let bound = source(
        r#"{"secrets": ["fake-any",
            {"secret": "fake-of-1", "account": "AC00000000000000000000000000000001"}]}"#,
    );
    let account = "AC00000000000000000000000000000001";
    let (url, pair) = asked(&bound, RECORDING);
    assert_eq!(url, format!("{RECORDING}.mp3"));
    assert_eq!(pair.as_deref(), Some(&*format!("{account}:fake-of-1")));
    for written in [".mp3", ".wav", ".json", ".mp3?RequestedChannels=2"] {
        assert_eq!(asked(&bound, &format!("{RECORDING}{written}")).0, format!("{RECORDING}.mp3"));
    }
    let wav = source(r#"{"secrets": ["fake-any"], "recordings": {"copy": true, "format": "wav"}}"#);
    let (url, pair) = asked(&wav, RECORDING);
    assert_eq!((url, pair), (format!("{RECORDING}.wav"), Some(format!("{account}:fake-any"))));
    let keyed = format!(
        r#"{{"secrets": ["fake-any"],
            "pull": {{"account": "{account}", "key": "SK1", "token": "fake-secret-of-key"}}}}"#
    );
    assert_eq!(asked(&source(&keyed), RECORDING).1.as_deref(), Some("SK1:fake-secret-of-key"));
    let regional = RECORDING.replace("api.", "api.dublin.ie1.");
    assert!(asked(&wav, &regional).1.is_some());
}

#[test]
fn credentials_go_to_twilios_own_hosts_alone() {
    let source = source(r#"{"secrets": ["fake-any"]}"#);
    for url in [
        "https://api.twilio.com.evil.example/Accounts/AC1/Recordings/RE1",
        "https://api.twilio.com@evil.example/Accounts/AC1/Recordings/RE1",
        "https://evil.example@api.twilio.com/Accounts/AC1/Recordings/RE1",
        "https://eviltwilio.com/Accounts/AC1/Recordings/RE1",
        "https://evil.example/.twilio.com/Accounts/AC1/Recordings/RE1",
        "https://evil.example?.twilio.com",
        "https://evil.example\\.twilio.com/Accounts/AC1",
        "http://api.twilio.com/Accounts/AC1/Recordings/RE1",
        "https://customers-bucket.s3.amazonaws.com/RE1.wav",
    ] {
        assert_eq!(asked(&source, url), (url.to_owned(), None));
    }
    let none = Source::default();
    let error = registry::recording("twilio", &none, &Personal::new(RECORDING)).err().unwrap();
    assert_eq!(error.to_string(), "secrets: holds no auth token of the recording's account");
}

#[test]
fn other_providers_addresses_are_taken_as_they_are_and_get_no_credentials() {
    let source = source(r#"{"secrets": ["fake-any"]}"#);
    let url = "https://cloudphone.example/file/recording?callId=1&token=fake-token";
    for provider in ["smartflo", "threecx", "asterisk", "any"] {
        let wanted = registry::recording(provider, &source, &Personal::new(url)).unwrap();
        assert_eq!((wanted.url.expose(), wanted.headers.len()), (url, 0));
    }
}

#[test]
fn a_conversations_audio_is_asked_for_by_its_id() {
    let source =
        of("elevenlabs", r#"{"api_key": "fake-key", "api_url": "https://api.eu.example"}"#);
    let wanted = elevenlabs::recording::request(&source, "conv_1").unwrap();
    assert_eq!(wanted.url.expose(), "https://api.eu.example/v1/convai/conversations/conv_1/audio");
    assert_eq!(wanted.headers[0].0, "xi-api-key");
    assert!(wanted.headers[0].1.is_sensitive());
    for id in ["", "../../user", "conv_1/audio?x=", "conv 1"] {
        assert!(elevenlabs::recording::request(&source, id).is_err(), "{id}");
    }
    assert!(elevenlabs::recording::request(&Source::default(), "conv_1").is_err());
}

#[test]
fn a_status_says_whether_it_is_worth_asking_again() {
    let now: Timestamp = "2026-02-20T09:00:00Z".parse().unwrap();
    let class = |status, has_credentials| match judge(status, has_credentials, None, now) {
        Status::Here => "here",
        Status::Later { .. } => "later",
        Status::Never { .. } => "never",
    };
    for (status, known, unknown) in [
        (200, "here", "here"),
        (206, "later", "later"),
        (302, "later", "later"),
        (401, "later", "never"),
        (403, "later", "never"),
        (404, "later", "later"),
        (410, "never", "never"),
        (429, "later", "later"),
        (503, "later", "later"),
    ] {
        assert_eq!((class(status, true), class(status, false)), (known, unknown), "{status}");
    }
    let Status::Later { not_before, problem } = judge(429, true, Some(" 90 "), now) else {
        panic!("429 is later")
    };
    assert_eq!(not_before.unwrap().duration_since(now).as_secs(), 90);
    assert_eq!(problem, "responded 429: in trouble");
}

#[test]
fn settings_are_off_by_default_and_checked() {
    assert!(source(r#"{"recordings": {}}"#).recordings.is_some_and(|set| !set.copy));
    let all = r#"{"recordings": {"copy": true, "largest_megabytes": 400, "format": "wav",
                  "hosts": ["pbx.example.com"]}}"#;
    let set = source(all).recordings.unwrap();
    assert_eq!(set.largest(), 400 * 1024 * 1024);
    assert!(set.allows("pbx.example.com") && !set.allows("example.com"));
    assert!(Settings::default().allows("example.com"));
    for (json, field) in [
        (r#"{"recordings": {"largest_megabytes": 0}}"#, "recordings.largest_megabytes: must"),
        (r#"{"recordings": {"largest_megabytes": 401}}"#, "recordings.largest_megabytes: must"),
        (r#"{"recordings": {"hosts": ["https://pbx.example"]}}"#, "recordings.hosts: holds"),
        (r#"{"recordings": {"hosts": ["PBX.example"]}}"#, "recordings.hosts: holds"),
        (r#"{"recordings": {"copies": true}}"#, "recordings.copies: is unknown"),
        (r#"{"recordings": {"format": "ogg"}}"#, "recordings.format: is unknown"),
    ] {
        let said = Source::parse(json, None).unwrap_err().to_string();
        assert!(said.starts_with(field), "{said}");
    }
}
