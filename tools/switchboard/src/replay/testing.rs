//! What tests of the quarantine and of replays have in common.

use clap::Parser as _;
use indicatif::ProgressBar;
use jiff::Timestamp;
use switchboard_domain::{CallRecord, Digest, Name};
use switchboard_flow::ingest::Ingest;
use switchboard_flow::{Configuration, Values};
use switchboard_providers::{Content, Request, authenticate, provider};
use switchboard_store::{Quarantined, Store};

use super::Report;
use crate::{Answer, Arguments, Command, Failure};

/// What a template with an empty variable makes.
pub const HOLE: &str = r#"{"provider":"asterisk","externalCallId":"1708416000.1",
 "clientPhone":"+79991234567","clientName":"Kim Example","durationSec":,"source":"asterisk-main"}"#;
/// The same with everything in its place.
pub const WHOLE: &str = r#"{"provider":"asterisk","externalCallId":"1708416000.1",
 "clientPhone":"+79991234567","clientName":"Kim Example","durationSec":42,"source":"asterisk-main"}"#;

pub fn at(minute: i64) -> Timestamp {
    Timestamp::from_second(1_771_577_000 + 60 * minute).unwrap()
}

pub fn text(answer: Result<Answer, Failure>) -> String {
    match answer {
        Ok(Answer::Text(text)) => text,
        Ok(Answer::Bytes(bytes)) => panic!("{} bytes", bytes.len()),
        Err(failure) => panic!("{failure}"),
    }
}

/// Sources as operators configure them.
pub fn configured() -> Configuration {
    let intake = r#"{"secrets": ["fake-intake-secret"]}"#;
    let twilio = r#"{"secrets": ["fake"], "public_url": "https://calls.example.com"}"#;
    let values: Values = [
        ("intake/intake", intake),
        ("intake/asterisk-main", intake),
        ("twilio/twilio", twilio),
        ("elevenlabs/elevenlabs", r#"{"api_key": "fake"}"#),
    ]
    .map(|(name, json)| (name.to_owned(), json.to_owned()))
    .into();
    crate::parameter::sources(&values).unwrap()
}

/// Puts a body into quarantine as a hook does.
pub async fn keep(store: &Store, of: &str, received_at: Timestamp, body: &str) {
    let (path, content_type) = match of {
        "intake" => ("/api/crm/intake/calls", "application/json"),
        _ => ("/call-status-callback", "application/x-www-form-urlencoded"),
    };
    let source = if of == "intake" { "intake,asterisk-main" } else { of };
    let one = Quarantined {
        provider: Name::new("provider", of).unwrap(),
        source: source.to_owned(),
        received_at,
        digest: Digest::of(&[path.as_bytes(), body.as_bytes()]),
        target: if of == "intake" { format!("{path}?source=asterisk-main") } else { path.into() },
        content_type: content_type.to_owned(),
        problem: "durationSec: is not followed by a JSON value (line 2, column 65)".to_owned(),
        length: body.len() as u64,
    };
    store.put_quarantined(&one, body.as_bytes()).await.unwrap();
}

/// Takes a webhook to the intake, and gives the call as it is stored then.
pub async fn post(store: &Store, target: &str, received_at: Timestamp, body: &str) -> CallRecord {
    let configured = configured();
    let provider = provider("intake").unwrap();
    let sources = configured.of("intake");
    let request = Request::new("POST", target, received_at)
        .header("content-type", "application/json")
        .header("x-crm-intake-secret", "fake-intake-secret")
        .body(body.as_bytes().to_vec());
    let message = authenticate(provider, &request, sources).unwrap();
    let Ok(Content::Calls(mut records)) = provider.parse(&message) else { panic!() };
    let ingest = Ingest { provider, store, sources };
    let taken = ingest.ingest(records.remove(0).unwrap(), received_at).await;
    let Ok(taken) = taken else { panic!() };
    store.call(&taken.key).await.unwrap().unwrap()
}

/// Runs `replay` with arguments as an operator writes them: its lines, then its summary.
pub async fn replay(store: &Store, arguments: &str) -> String {
    let line = format!("switchboard replay {arguments} --table calls");
    let arguments = Arguments::try_parse_from(line.split_whitespace());
    let arguments = arguments.unwrap_or_else(|error| panic!("{error}"));
    let Command::Replay(replay) = arguments.command else { panic!() };
    let mut said = String::new();
    let mut say = |line: &str| said.push_str(&format!("{line}\n"));
    let mut report = Report { say: &mut say, bar: ProgressBar::hidden() };
    let summary = text(replay.run(store, &configured(), &mut report).await);
    said + &summary
}
