//! Calls, destinations and CRMs for tests. Calls are made as a hook makes them: from an update.

pub mod any_call;
mod double;
mod laws;

use jiff::Timestamp;
use serde_json::{Value, json};
use switchboard_domain::{
    Analysis, AnsweredBy, CallRecord, Direction, Disposition, Event, Facts, Legs, Name, Order,
    Party, PartyKind, Person, Personal, Policy, Recording, Seconds, State, Update,
};

use crate::destination::Destination;
use crate::format::RenderContext;
use crate::registry;

pub use double::{
    Attempt, How, Scripted, cut_short, deliver, deliver_again, deliver_first, scripted,
};
pub use switchboard_testkit::stand_in::salesforce::PRIVATE_KEY;
pub use switchboard_testkit::stand_in::{StandIn, response, with_header};

pub const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
/// When every attempt is made.
pub const NOW: &str = "2026-02-20T09:05:00Z";

/// How a call went.
#[derive(Clone, Copy, Debug)]
pub enum Case {
    Held,
    Dropped,
    NoAnswer,
    Busy,
    Failed,
    Canceled,
    Voicemail,
    Unknown,
}

impl Case {
    /// Each way that a call may go.
    pub const ALL: [Self; 8] = [
        Self::Held,
        Self::Dropped,
        Self::NoAnswer,
        Self::Busy,
        Self::Failed,
        Self::Canceled,
        Self::Voicemail,
        Self::Unknown,
    ];
}

pub const POLICY: Policy = Policy { settle: Seconds(0), legs: Legs::Parent, starts: false };

/// The first JSON example of a page after a heading.
pub fn example(page: &str, heading: &str) -> String {
    let (_, rest) = page.split_once(&format!("## {heading}\n")).unwrap();
    let (_, rest) = rest.split_once("```json\n").unwrap();
    rest.split_once("```").unwrap().0.to_owned()
}

/// What a model made of a call.
pub fn analysis() -> Analysis {
    let json = json!({
        "summary": "Wants a fake offer by Monday.", "outcome": "follow_up", "sentiment": "positive",
        "scorecard": [
            {
                "criterion": "greeting", "asked": "Says who calls.", "score": 4, "scale": 5,
                "confidence": 90, "evidence": [{"turn": 1, "quote": "Hello"}],
            },
            {"criterion": "script_1", "asked": "Says who calls.", "scale": 5, "confidence": 90},
        ],
        "tasks": [
            {"title": "Send a fake offer", "due": "2026-02-23", "owner": "employee"},
            {"title": "Think about it"},
        ],
        "turns": {"total": 2, "shown": 2}, "model": "fake-model",
        "tokens": {"input": 900, "output": 120},
        "basis": switchboard_domain::Digest::of(&[b"basis"]), "made_at": "2026-02-20T09:02:20Z",
    });
    serde_json::from_value(json).unwrap()
}

pub fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

pub fn person(kind: PartyKind, e164: Option<&str>) -> Person {
    Person::unknown(kind, e164.map(Personal::new))
}

/// An outbound call to a number kept for fiction, changed as a test needs it.
pub fn record(case: Case, change: impl FnOnce(&mut Facts)) -> CallRecord {
    let (disposition, answered_by, talk) = match case {
        Case::Held => (Some(Disposition::Answered), None, Some(125)),
        Case::Dropped => (Some(Disposition::Answered), None, Some(0)),
        Case::NoAnswer => (Some(Disposition::NoAnswer), None, Some(0)),
        Case::Busy => (Some(Disposition::Busy), None, None),
        Case::Failed => (Some(Disposition::Failed), None, None),
        Case::Canceled => (Some(Disposition::Canceled), None, None),
        Case::Voicemail => (Some(Disposition::Answered), Some(AnsweredBy::Machine), Some(18)),
        Case::Unknown => (None, None, None),
    };
    let mut facts = Facts {
        state: Some(State::Ended),
        disposition,
        answered_by,
        direction: Some(Direction::Outbound),
        from: Party::read("+61255501234"),
        to: Party::read("+61491570156"),
        ended_at: Some(at("2026-02-20T09:02:05Z")),
        talk: talk.map(Seconds),
        ..Facts::default()
    };
    change(&mut facts);
    let received_at = at("2026-02-20T09:02:07Z");
    let update = Update::new("status", Order::Unordered, received_at, facts, b"{}".to_vec());
    let key = "twilio/twilio-main/CA00000000000000000000000000000001".parse().unwrap();
    CallRecord::first(key, update, POLICY, received_at)
}

/// A call of which all is known that a CRM's entry holds.
pub fn full(change: impl FnOnce(&mut Facts)) -> CallRecord {
    let mut record = record(Case::Held, |facts| {
        facts.direction = Some(Direction::Inbound);
        facts.from = Party::read("0491 570 156");
        facts.to = Party::read("+61255501234");
        facts.started_at = Some(at("2026-02-20T09:00:00.75Z"));
        facts.campaign = Some("Spring \"Renewal\"".into());
        facts.recordings = [("RE1".to_owned(), recording("https://pbx.example/RE1.mp3"))].into();
        change(facts);
    });
    record.people.contact = Some(person(PartyKind::E164, Some("+61491570156")));
    record.people.employee = Some(employee("emp-1"));
    record
}

/// A recording at an address.
pub fn recording(url: &str) -> Recording {
    Recording { url: Some(Personal::new(url)), path: None, duration: None, status: None }
}

/// Our side of a call, as the directory has it.
pub fn employee(entry: &str) -> Person {
    Person {
        entry: Name::new("employee", entry).ok(),
        ..person(PartyKind::E164, Some("+61255501234"))
    }
}

/// A destination of a format, as it is configured with the least.
pub fn destination(format: &str) -> Destination {
    configured(format, json!({}))
}

/// A destination of a format, with some of its fields changed.
pub fn configured(format: &str, changes: Value) -> Destination {
    let capabilities = registry::find(format).unwrap();
    let mut json = json!({"url": "https://crm.example.com", "format": format});
    if !capabilities.is_api {
        json["signing_secrets"] = json!([SECRET]);
    }
    match capabilities.auths.first() {
        Some(&"bearer") => json["auth"] = json!({"type": "bearer", "token": "fake-token"}),
        Some(&"oauth_jwt") => {
            json["auth"] = json!({
                "type": "oauth_jwt", "client_id": "fake-consumer-key",
                "user": "switchboard@example.com", "private_key": PRIVATE_KEY,
            });
        }
        Some(&"header" | &"oauth_refresh") => {
            json["auth"] = json!({"type": "header", "name": "x-api-token", "value": "fake-token"});
        }
        _ => {}
    }
    if format == "template" {
        json["settings"] = json!({"template": "{{ data }}"});
    }
    json.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    Destination::parse(&json.to_string(), false).unwrap()
}

/// The payload of a call that is over.
pub fn rendered(destination: &Destination, record: &CallRecord) -> Vec<u8> {
    rendered_of(destination, record, Event::Completed)
}

/// The payload of an event.
pub fn rendered_of(destination: &Destination, record: &CallRecord, event: Event) -> Vec<u8> {
    let context = RenderContext { record, event, transcript: None, analysis: None };
    destination.format.render(&context)
}

/// Everything about a call that must not be shown, marked.
pub const CANARIES: [&str; 4] = ["61491570156", "491570156", "Canary", "fakeCANARY"];

/// A call with marked data wherever there can be any.
pub fn marked() -> CallRecord {
    let mut record = record(Case::Held, |facts| {
        facts.contact_name = Some(Personal::new("Zoë Canary"));
        facts.summary = Some(Personal::new("Wants fakeCANARY <b>now</b> & \"soon\"."));
        facts.campaign = Some("fakeCANARY".into());
    });
    record.people.contact = Some(person(PartyKind::E164, Some("+61491570156")));
    record
}
