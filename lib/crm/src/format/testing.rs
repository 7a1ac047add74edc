//! Calls for tests, made as a hook makes them: from an update.

use std::collections::VecDeque;

use jiff::Timestamp;
use serde_json::{Value, json};
use switchboard_domain::analysis::{Conclusion, Evidence, Owner, Score, Sentiment, Task, Turns};
use switchboard_domain::delivery::Remote;
use switchboard_domain::{
    Analysis, AnsweredBy, CallRecord, Direction, Disposition, Event, Facts, Legs, Order, Party,
    PartyKind, Person, Personal, Policy, Seconds, State, Update,
};

use super::{Format, RenderContext};
use crate::destination::Destination;
use crate::exchange::{self, Answer, Ask, Exchange, MOST_REQUESTS, Over, Step, Told};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
/// Made for these tests, and for nothing else.
pub const PRIVATE_KEY: &str = include_str!("../oauth/testing-key.pem");

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
    let score = |criterion: &str, score, evidence| Score {
        criterion: criterion.into(),
        asked: Personal::new("Says who calls."),
        score,
        scale: 5,
        confidence: 90,
        evidence,
    };
    Analysis {
        summary: Personal::new("Wants a fake offer by Monday."),
        outcome: Conclusion::FollowUp,
        sentiment: Sentiment::Positive,
        scorecard: vec![
            score("greeting", Some(4), vec![Evidence { turn: 1, quote: Personal::new("Hello") }]),
            score("script_1", None, vec![]),
        ],
        tasks: vec![
            Task {
                title: Personal::new("Send a fake offer"),
                due: Some("2026-02-23".parse().unwrap()),
                owner: Some(Owner::Employee),
            },
            Task { title: Personal::new("Think about it"), due: None, owner: None },
        ],
        turns: Turns { total: 2, shown: 2 },
        model: "fake-model".into(),
        tokens: switchboard_domain::Tokens { input: 900, output: 120 },
        basis: switchboard_domain::Digest::of(&[b"basis"]),
        made_at: at("2026-02-20T09:02:20Z"),
    }
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

/// A destination of a format, as it is configured with the least.
pub fn destination(format: Format) -> Destination {
    configured(format, json!({}))
}

/// A destination of a format, with some of its fields changed.
pub fn configured(format: Format, changes: Value) -> Destination {
    let mut json = json!({"url": "https://crm.example.com", "format": format});
    if !format.kind().is_api {
        json["signing_secrets"] = json!([SECRET]);
    }
    match format.kind().auths.first() {
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
    if format == Format::Template {
        json["settings"] = json!({"template": "{{ data }}"});
    }
    for (name, value) in changes.as_object().unwrap() {
        json[name] = value.clone();
    }
    Destination::parse(&json.to_string(), false).unwrap()
}

/// What the delivery of a call that is over keeps.
pub fn rendered(destination: &Destination, record: &CallRecord) -> Vec<u8> {
    rendered_of(destination, record, Event::Completed)
}

/// What a delivery keeps.
pub fn rendered_of(destination: &Destination, record: &CallRecord, event: Event) -> Vec<u8> {
    let context = RenderContext { record, event, transcript: None, analysis: None };
    destination.format.render(destination, &context)
}

/// An answer with JSON; null is no body at all.
pub fn answer(status: u16, body: Value) -> Answer {
    let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
    Answer { status, retry_after: None, reset: None, body }
}

/// An attempt, as it went.
pub struct Attempt {
    pub asked: Vec<Ask>,
    /// Nothing: the process was gone before it was over.
    pub over: Option<Over>,
}

impl Attempt {
    /// How and where was asked, without the host.
    pub fn lines(&self) -> Vec<String> {
        let line = |ask: &Ask| {
            let query = ask.url.query().map(|query| format!("?{query}")).unwrap_or_default();
            format!("{} {}{query}", ask.method, ask.url.path())
        };
        self.asked.iter().map(line).collect()
    }

    pub fn result(&self) -> &str {
        &self.over.as_ref().unwrap().result
    }

    pub fn body(&self, n: usize) -> Value {
        serde_json::from_slice(&self.asked[n].body).unwrap()
    }
}

pub const NOW: &str = "2026-02-20T09:05:00Z";

/// Makes an attempt against something that answers; `None` from it: the process is gone.
pub fn attempt(
    destination: &Destination,
    body: &[u8],
    remote: &Remote,
    mut crm: impl FnMut(&Ask) -> Option<Answer>,
) -> Attempt {
    let told = Told { body, idempotency_key: "msg_1", remote };
    let mut exchange = exchange::begin(destination, &told);
    let mut asked = Vec::new();
    let mut answered = None;
    for _ in 0..=MOST_REQUESTS {
        match exchange.next(answered.as_ref(), at(NOW)) {
            Step::Over(over) => return Attempt { asked, over: Some(over) },
            Step::Ask(ask) => {
                asked.push(ask.clone());
                let Some(answer) = crm(&ask) else { return Attempt { asked, over: None } };
                answered = Some(answer);
            }
        }
    }
    panic!("it does not end");
}

/// Answers that were made beforehand, and then 500 for ever.
pub fn scripted(answers: impl IntoIterator<Item = Answer>) -> impl FnMut(&Ask) -> Option<Answer> {
    let mut answers: VecDeque<Answer> = answers.into_iter().collect();
    move |_| Some(answers.pop_front().unwrap_or_else(|| answer(500, json!({}))))
}

/// Everything about a call that nobody else may see, marked.
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

/// Laws of every format that speaks a CRM's own API, whatever is answered.
pub fn obeys_the_laws(destination: &Destination, answers: &[Answer]) {
    let body = rendered(destination, &marked());
    assert_eq!(body, rendered(destination, &marked()));
    let run = || attempt(destination, &body, &Remote::default(), scripted(answers.to_vec()));
    let (one, two) = (run(), run());
    let asked = |attempt: &Attempt| -> Vec<(String, Vec<u8>)> {
        attempt.lines().into_iter().zip(attempt.asked.iter().map(|ask| ask.body.clone())).collect()
    };
    // Given the same answers, every attempt sends the same.
    assert_eq!(asked(&one), asked(&two));
    assert_eq!(one.over, two.over);
    assert!(one.asked.len() <= MOST_REQUESTS);
    let result = one.result();
    for canary in CANARIES {
        assert!(!result.contains(canary), "{result}");
    }
    for ask in &one.asked {
        assert_eq!(ask.url.host_str(), Some("crm.example.com"));
    }
}

/// Where an exchange goes when nothing works: what it has learned is not lost with it.
pub fn learned_after(
    destination: &Destination,
    body: &[u8],
    remote: &Remote,
    answers: Vec<Answer>,
) -> Remote {
    let told = Told { body, idempotency_key: "msg_1", remote };
    let mut exchange: Box<dyn Exchange> = exchange::begin(destination, &told);
    exchange.next(None, at(NOW));
    for answer in answers {
        exchange.next(Some(&answer), at(NOW));
    }
    exchange.learned()
}

/// The most entries that a CRM is left with where an attempt ends after any of its first requests, which
/// the CRM has taken, and is then made again. `remembers` says whether what was learned until then was
/// written down.
pub fn most_after_a_crash<C>(
    destination: &Destination,
    requests: usize,
    remembers: bool,
    new: impl Fn() -> C,
    take: impl Fn(&mut C, &Ask) -> Answer,
    entries: impl Fn(&C) -> usize,
) -> usize {
    let body = rendered(destination, &marked());
    let after = |k: usize| {
        let mut crm = new();
        let mut answers = Vec::new();
        attempt(destination, &body, &Remote::default(), |ask| {
            let answer = take(&mut crm, ask);
            answers.push(answer.clone());
            (answers.len() < k).then_some(answer)
        });
        let learned = match remembers {
            true => learned_after(destination, &body, &Remote::default(), answers),
            false => Remote::default(),
        };
        let told = attempt(destination, &body, &learned, |ask| Some(take(&mut crm, ask)));
        assert!(told.result().starts_with("delivered: "), "{}", told.result());
        entries(&crm)
    };
    (1..=requests).map(after).max().unwrap()
}
