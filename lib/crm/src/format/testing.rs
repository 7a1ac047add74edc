//! Calls for tests, made as a hook makes them: from an update.

use jiff::Timestamp;
use switchboard_domain::{
    AnsweredBy, CallRecord, Direction, Disposition, Facts, Legs, Order, Party, PartyKind, Person,
    Personal, Policy, Seconds, State, Update,
};

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

pub const POLICY: Policy = Policy { settle: Seconds(0), legs: Legs::Parent };

/// The first JSON example of a page after a heading.
pub fn example(page: &str, heading: &str) -> String {
    let (_, rest) = page.split_once(&format!("## {heading}\n")).unwrap();
    let (_, rest) = rest.split_once("```json\n").unwrap();
    rest.split_once("```").unwrap().0.to_owned()
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
