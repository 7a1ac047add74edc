use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};
use switchboard_crm::filter::configured;
use switchboard_domain::delivery::RenderedPayload;
use switchboard_domain::{
    Analysed, Analysis, AnalysisState, Attempt, Blob, Body, CallKey, CallRecord, Delivery,
    DeliveryState, Digest, Facts, Legs, MatchedBy, Name, Order, Outcome, Party, PartyKind, Person,
    Personal, Policy, Seconds, State, Text, Tokens, Update, Work,
};
use switchboard_queue::{Job, MemoryQueue, Send};
use switchboard_shell::gateway::HttpRequest;
use switchboard_shell::parameters::ParameterError;
use switchboard_store::Store;

use DeliveryState::{Delivered, Failed, Pending, Unwanted};

use super::destinations::{Known, KnowsDestinations};
use super::list::DeliveryStatus;
use super::{Calls, TwilioSources};
use crate::{Area as _, Caller, Problem, Request, Response, Right};

const POLICY: Policy = Policy { settle: Seconds(0), legs: Legs::Parent, starts: false };

struct Sources(Vec<&'static str>);

impl TwilioSources for Sources {
    async fn names(&self) -> Result<Arc<Vec<Name>>, ParameterError> {
        Ok(Arc::new(self.0.iter().map(|source| name(source)).collect()))
    }
}

/// `erp` takes busy calls, `idle` is paused, `odd` cannot be read; the others take every call. `new` is known
/// once they are read again.
struct Configured;

impl KnowsDestinations for Configured {
    fn destinations(&self, again: bool) -> Known<'_> {
        let busy = r#"{"filter": {"outcomes": ["busy"]}}"#;
        let paused = r#"{"paused": true}"#;
        let all = [("crm", "{}"), ("erp", busy), ("idle", paused), ("late", "{}"), ("odd", "{")];
        let new = again.then_some(("new", "{}"));
        let named = |(name, json): (&str, &str)| (format!("destinations/{name}"), json.to_owned());
        let values = all.into_iter().chain(new).map(named).collect();
        Box::pin(async move { Ok(Arc::new(configured(&values))) })
    }
}

fn name(text: &str) -> Name {
    Name::new("name", text).unwrap()
}

fn key(text: &str) -> CallKey {
    text.parse().unwrap()
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn now() -> Timestamp {
    at("2026-02-20T12:00:00Z")
}

type Area = Calls<Sources>;

fn area() -> Area {
    queued().0
}

/// An area, and the queue that it sends to.
fn queued() -> (Area, MemoryQueue) {
    let queue = MemoryQueue::default();
    let area = Calls {
        store: Store::in_memory(),
        queue: Arc::new(queue.clone()),
        sources: Sources(vec!["main", "twilio"]),
        destinations: Box::new(Configured),
        recordings: None,
    };
    (area, queue)
}

async fn ask_as(
    area: &Area,
    rights: &[Right],
    request: &str,
    body: &str,
) -> Result<Response, Problem> {
    let (method, target) = request.split_once(' ').unwrap();
    let body = Some(body.as_bytes().to_vec());
    let http = HttpRequest { body, ..HttpRequest::new(method, target) };
    let caller = Caller::new("tester", rights.iter().copied());
    area.respond(&Request::new(http, "request-1", now())?, &caller).await
}

async fn ask(area: &Area, request: &str) -> Value {
    ask_as(area, &[Right::Read, Right::Personal], request, "").await.unwrap().body
}

async fn refused(area: &Area, rights: &[Right], request: &str, body: &str) -> (u16, String) {
    let problem = ask_as(area, rights, request, body).await.unwrap_err();
    (problem.status, problem.detail)
}

/// A call that began then, with a contact of the directory.
async fn call(area: &Area, call_key: &str, began: &str, contact: Option<&str>) -> CallRecord {
    let facts = json!({
        "state": "ended", "direction": "inbound",
        "from": Party::read("+61491570156"), "to": Party::read("101"),
        "contact_name": "Kim Example", "summary": "About prices", "started_at": began, "talk": 42,
        "transcript": { "inline": "agent: hello" },
        "recordings": { "RE1": { "url": "https://pbx.example/RE1" } },
        "extra": { "Stir": "secret-level" },
    });
    let facts: Facts = serde_json::from_value(facts).unwrap();
    let update = Update::new("status", Order::Sequence(3), at(began), facts, call_key.into());
    let mut record = CallRecord::first(key(call_key), update, POLICY, at(began));
    record.owed.clear();
    let mut person = Person::unknown(PartyKind::E164, Some(Personal::new("+61491570156")));
    if let Some(contact) = contact {
        person.entry = Some(name(contact));
        person.matched_by = Some(MatchedBy::Number);
    }
    record.people.contact = Some(person);
    area.store.put_call(&record).await.unwrap();
    area.store.call(&record.key).await.unwrap().unwrap()
}

/// Plans deliveries of a stored call, in these states.
async fn delivered(area: &Area, record: &CallRecord, states: &[(&str, DeliveryState)]) {
    let mut record = record.clone();
    let mut planned = Vec::new();
    for (id, state) in states {
        let mut delivery = Delivery::planned(record.key.clone(), id.parse().unwrap(), now());
        let rendered = RenderedPayload {
            fingerprint: record.call.fingerprint(),
            body: Body::Inline(b"{}".to_vec()),
        };
        delivery = delivery.claimed(now(), Seconds(30), rendered);
        let result = "refused: 422".to_owned();
        delivery.attempts = vec![Attempt { at: now(), took_ms: 12, status: Some(422), result }];
        delivery.state = *state;
        record.deliveries.insert(delivery.id.clone());
        planned.push(delivery);
    }
    area.store.put_call_and_deliveries(&record, &planned, &[]).await.unwrap();
}

fn ids(page: &Value) -> Vec<&str> {
    page["calls"].as_array().unwrap().iter().map(|call| call["call_id"].as_str().unwrap()).collect()
}

/// Every page of a list, and how many there were.
async fn pages(area: &Area, query: &str) -> (Vec<String>, usize) {
    let (mut all, mut cursor, mut count) = (Vec::new(), String::new(), 0);
    loop {
        let page = ask(area, &format!("GET /calls?{query}{cursor}")).await;
        all.extend(ids(&page).into_iter().map(str::to_owned));
        count += 1;
        assert!(count < 100, "it does not go on");
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return (all, count),
        }
    }
}

#[tokio::test]
async fn calls_are_listed_newest_first_over_days_and_pages() {
    let area = area();
    let mut wanted = Vec::new();
    for n in 0..23 {
        // Several at the same moment, and some at the first moment of a day.
        let began =
            at("2026-02-20T00:00:00Z") - jiff::SignedDuration::from_hours(i64::from(n / 3) * 8);
        let id = format!("CA{:02}", 99 - n);
        call(&area, &format!("twilio/twilio/{id}"), &began.to_string(), None).await;
        wanted.push(id);
    }
    for limit in [1, 2, 7, 23, 100] {
        let (found, count) = pages(&area, &format!("limit={limit}")).await;
        assert_eq!(found, wanted, "{limit}");
        assert!(count <= 23 / limit + 1);
    }
    // A day is all of it; a time is in from and out to.
    let (found, _) = pages(&area, "from=2026-02-19&to=2026-02-19").await;
    assert_eq!(found, wanted[3..12]);
    let (found, _) = pages(&area, "from=2026-02-19T08:00:00Z&to=2026-02-20T00:00:00%2B00:00").await;
    assert_eq!(found, wanted[3..9]);
    assert!(found.iter().all(|id| wanted.contains(id)));
}

#[tokio::test]
async fn what_is_long_past_is_listed_where_it_is_asked_for_alone() {
    let area = area();
    call(&area, "twilio/twilio/old", "2024-06-01T09:00:00Z", Some("c1")).await;
    assert_eq!(pages(&area, "").await.0, Vec::<String>::new());
    let (found, count) = pages(&area, "from=2024-01-01").await;
    assert_eq!(found, ["old"]);
    assert!(count > 1, "so many empty days take more than one page");
    let (found, count) = pages(&area, "contact=c1").await;
    assert_eq!((found.as_slice(), count), (["old".to_owned()].as_slice(), 1));
}

#[tokio::test]
async fn filters_leave_out_the_others() {
    let area = area();
    let began = "2026-02-20T09:00:00Z";
    let one = call(&area, "twilio/main/one", began, Some("c1")).await;
    let two = call(&area, "asterisk/main/two", began, Some("c2")).await;
    let mut three = call(&area, "twilio/twilio/three", began, None).await;
    three.people.employee =
        Some(Person { entry: Some(name("e1")), ..Person::unknown(PartyKind::Extension, None) });
    three.call.outcome = Some(Outcome::Busy);
    area.store.put_call(&three).await.unwrap();
    delivered(&area, &one, &[("crm#call.completed", Delivered), ("b#call.completed", Failed)])
        .await;
    delivered(&area, &two, &[("crm#call.completed", Delivered), ("b#call.completed", Pending)])
        .await;
    for (query, wanted) in [
        ("provider=twilio", vec!["three", "one"]),
        ("source=main", vec!["one", "two"]),
        ("provider=twilio&source=main", vec!["one"]),
        ("contact=c2", vec!["two"]),
        ("contact=c2&provider=twilio", vec![]),
        ("employee=e1", vec!["three"]),
        ("outcome=busy", vec!["three"]),
        ("outcome=failed", vec![]),
        ("delivery=failed", vec!["one"]),
        ("delivery=pending", vec!["two"]),
        ("delivery=delivered", vec![]),
        ("delivery=none", vec!["three"]),
        ("number=%2B61491570156", vec!["three", "one", "two"]),
        ("number=+61491570156", vec!["three", "one", "two"]),
        ("number=61491570157", vec![]),
    ] {
        let page = ask(&area, &format!("GET /calls?{query}")).await;
        assert_eq!(BTreeSet::from_iter(ids(&page)), BTreeSet::from_iter(wanted), "{query}");
        assert_eq!(page["next"], Value::Null);
        let has_delivery =
            page["calls"].as_array().unwrap().iter().all(|c| c.get("delivery").is_some());
        assert!(has_delivery || !query.contains("delivery"));
    }
    assert_eq!(DeliveryStatus::of(&[]), DeliveryStatus::None);
    let mut unwanted = Delivery::planned(one.key, "crm#call.completed".parse().unwrap(), now());
    unwanted.state = Unwanted;
    assert_eq!(DeliveryStatus::of(&[unwanted]), DeliveryStatus::None);
}

#[tokio::test]
async fn one_call_is_found_behind_many_others() {
    let area = area();
    for n in 0..250 {
        call(&area, &format!("asterisk/main/{n}"), "2026-02-20T09:00:00Z", None).await;
    }
    call(&area, "twilio/main/one", "2026-02-20T08:00:00Z", None).await;
    let page = ask(&area, "GET /calls?provider=twilio").await;
    assert_eq!((ids(&page), &page["next"]), (vec!["one"], &Value::Null));
}

#[tokio::test]
async fn a_cursor_is_good_for_its_filters_alone() {
    let area = area();
    for id in ["one", "two"] {
        call(&area, &format!("twilio/main/{id}"), "2026-02-20T09:00:00Z", None).await;
    }
    let page = ask(&area, "GET /calls?limit=1&provider=twilio").await;
    let next = page["next"].as_str().unwrap();
    let page = ask(&area, &format!("GET /calls?limit=100&provider=twilio&cursor={next}")).await;
    assert_eq!(ids(&page), ["one"]);
    for query in [
        format!("cursor={next}"),
        format!("provider=asterisk&cursor={next}"),
        format!("provider=twilio&cursor={next}x"),
        format!("provider=twilio&cursor=A{next}"),
        "cursor=~".to_owned(),
        format!("cursor={}", "A".repeat(2_000)),
    ] {
        let (status, detail) =
            refused(&area, &[Right::Read], &format!("GET /calls?{query}"), "").await;
        assert_eq!(status, 400, "{query}");
        assert!(detail.starts_with("cursor "), "{detail}");
    }
}

#[tokio::test]
async fn a_filter_that_cannot_be_read_is_refused_by_name() {
    let area = area();
    for (query, field) in [
        ("limit=0", "limit "),
        ("limit=101", "limit "),
        ("limit=x", "limit "),
        ("outcome=good", "outcome "),
        ("delivery=lost", "delivery "),
        ("provider=a%20b", "provider "),
        ("contact=%2F", "contact "),
        ("from=yesterday", "from "),
        ("to=20260220", "to "),
        ("from=2026-02-21&to=2026-02-20", "from "),
        ("form=2026-02-20", "query "),
    ] {
        let (status, detail) =
            refused(&area, &[Right::Read], &format!("GET /calls?{query}"), "").await;
        assert!(status == 400 && detail.starts_with(field), "{query}: {detail}");
    }
}

const STORY: &str = "GET /calls/twilio/main/CA1";

#[tokio::test]
async fn a_call_is_whole_and_masked_but_for_those_who_may() {
    let area = area();
    let mut record = call(&area, "twilio/main/CA1", "2026-02-20T09:00:00Z", Some("c1")).await;
    let late = Facts { cause: Some("SIP 200".into()), ..Facts::default() };
    let late =
        Update::new("late", Order::Unordered, at("2026-02-20T09:05:00Z"), late, b"late".to_vec());
    record.absorb(late, POLICY, now());
    record.owed.insert(Work::Enrich, now());
    area.store.put_call(&record).await.unwrap();
    let record = area.store.call(&record.key).await.unwrap().unwrap();
    delivered(&area, &record, &[("crm#call.completed", Failed)]).await;

    let story = ask_as(&area, &[Right::Read], STORY, "").await.unwrap().body;
    for kept in ["+6149157", "Kim", "prices", "hello", "pbx.example", "secret-level"] {
        assert!(!story.to_string().contains(kept), "{kept} is in {story:#}");
    }
    assert_eq!(story["contact"]["e164"], "••••••••••56");
    for (pointer, wanted) in [
        ("/call_id", json!("CA1")),
        ("/outcome", json!("answered")),
        ("/talk_seconds", json!(42)),
        ("/has_transcript", json!(true)),
        ("/contact/id", json!("c1")),
        ("/contact/matched_by", json!("number")),
        ("/contact/unmatched", Value::Null),
        ("/owes/0/work", json!("enrich")),
        ("/owes/0/due_at", json!("2026-02-20T12:00:00Z")),
        ("/updates/0/kind", json!("status")),
        ("/updates/0/order/sequence", json!(3)),
        ("/updates/1/changed", json!(["cause"])),
        ("/delivery", json!("failed")),
        ("/deliveries/0/destination", json!("crm")),
        ("/deliveries/0/attempts/0/result", json!("refused: 422")),
        ("/deliveries/0/attempts/0/status", json!(422)),
        ("/deliveries/0/due_at", json!("2026-02-20T12:00:30Z")),
    ] {
        assert_eq!(story.pointer(pointer), Some(&wanted), "{pointer} in {story:#}");
    }
    let open = ask(&area, STORY).await;
    for expected in ["+61491570156", "Kim Example", "About prices", "https://pbx.example/RE1"] {
        assert!(open.to_string().contains(expected), "{expected} is not in {open:#}");
    }
    // In a list too.
    let line = ask_as(&area, &[Right::Read], "GET /calls", "").await.unwrap().body;
    assert!(!line.to_string().contains("6149157") && !line.to_string().contains("Kim"), "{line}");
    assert_eq!(ask(&area, "GET /calls").await["calls"][0]["contact_name"], "Kim Example");
}

#[tokio::test]
async fn a_call_shows_its_analysis_and_its_tasks_masked_but_for_those_who_may() {
    let area = area();
    let mut record = call(&area, "twilio/main/CA1", "2026-02-20T09:00:00Z", Some("c1")).await;
    assert_eq!(ask(&area, STORY).await["analysis"], Value::Null);
    assert_eq!(ask(&area, STORY).await["tasks"], json!([]));

    let waiting = Analysed {
        reason: Some("the model throttles (429)".into()),
        attempts: 1,
        ..Analysed::new(AnalysisState::Waiting)
    };
    record.analysis = Some(waiting.clone());
    area.store.put_call(&record).await.unwrap();
    let story = ask(&area, STORY).await;
    assert_eq!(story["analysis"]["state"], "waiting");
    assert_eq!(story["analysis"]["reason"], "the model throttles (429)");
    assert_eq!(
        (&story["analysis"]["summary"], &story["analysis"]["scorecard"]),
        (&Value::Null, &json!([]))
    );

    let mut record = area.store.call(&record.key).await.unwrap().unwrap();
    let analysis = json!({
        "summary": "Kim asks about prices.", "outcome": "follow_up", "sentiment": "positive",
        "scorecard": [{ "criterion": "greeting", "asked": "Says who calls.", "score": 4, "scale": 5,
            "confidence": 90, "evidence": [{ "turn": 1, "quote": "hello Kim" }] }],
        "tasks": [{ "title": "Send Kim prices", "due": "2026-02-23", "owner": "employee" }],
        "turns": { "total": 2, "shown": 2 }, "model": "fake-model",
        "tokens": { "input": 900, "output": 120 }, "basis": Digest::of(&[]), "made_at": now(),
    });
    let analysis: Analysis = serde_json::from_value(analysis).unwrap();
    record.analysis = Some(Analysed {
        state: AnalysisState::Done,
        digest: Some(analysis.digest()),
        tasks: 1,
        reason: None,
        tokens: Tokens { input: 1_800, output: 240 },
        ..waiting
    });
    area.store.put_call_and_analysis(&record, &analysis).await.unwrap();
    let open = ask(&area, STORY).await;
    for (pointer, wanted) in [
        ("/analysis/state", json!("done")),
        ("/analysis/reason", Value::Null),
        ("/analysis/tokens", json!({"input": 1_800, "output": 240})),
        ("/analysis/summary", json!("Kim asks about prices.")),
        ("/analysis/outcome", json!("follow_up")),
        ("/analysis/scorecard/0/score", json!(4)),
        ("/analysis/scorecard/0/evidence/0", json!({"turn": 1, "quote": "hello Kim"})),
        ("/analysis/turns", json!({"total": 2, "shown": 2})),
        ("/analysis/model", json!("fake-model")),
        ("/tasks", json!([{"title": "Send Kim prices", "due": "2026-02-23", "owner": "employee"}])),
    ] {
        assert_eq!(open.pointer(pointer), Some(&wanted), "{pointer} in {open:#}");
    }
    let masked = ask_as(&area, &[Right::Read], STORY, "").await.unwrap().body.to_string();
    for kept in ["Kim", "Says who"] {
        assert!(!masked.contains(kept), "{kept} is in {masked}");
    }
}

#[tokio::test]
async fn a_transcript_is_read_wherever_it_is() {
    let area = area();
    let mut record = call(&area, "twilio/main/CA1", "2026-02-20T09:00:00Z", None).await;
    let path = "GET /calls/twilio/main/CA1/transcript";
    assert_eq!(ask(&area, path).await["transcript"], "agent: hello");
    let blob = Blob::new("é".repeat(3 * 1024 * 1024).into_bytes());
    area.store.put_blob(&record.key, &blob).await.unwrap();
    record.call.facts.transcript = Some(Text::Stored(blob.reference()));
    area.store.put_call(&record).await.unwrap();
    let long = ask(&area, path).await;
    assert_eq!(
        (long["bytes"].as_u64(), long["is_whole"].as_bool()),
        (Some(6 * 1024 * 1024), Some(false))
    );
    assert_eq!(long["transcript"].as_str().unwrap().len(), 4 * 1024 * 1024);
    record.version += 1;
    record.call.facts.transcript = None;
    area.store.put_call(&record).await.unwrap();
    assert_eq!(refused(&area, &Right::ALL, path, "").await.0, 404);
}

#[tokio::test]
async fn an_id_with_slashes_is_one_id_however_it_is_written() {
    let area = area();
    call(&area, "asterisk/main/pbx//17.1#2/x", "2026-02-20T09:00:00Z", None).await;
    for path in ["pbx%2F%2F17.1%232%2Fx", "pbx//17.1#2/x", "pbx//17.1%232/x"] {
        let story = ask(&area, &format!("GET /calls/asterisk/main/{path}")).await;
        assert_eq!(story["call_id"], "pbx//17.1#2/x");
        let read = ask(&area, &format!("GET /calls/asterisk/main/{path}/transcript")).await;
        assert_eq!(read["transcript"], "agent: hello");
    }
    for (request, status) in [
        ("GET /calls/asterisk/main/pbx/17.1", 404),
        ("GET /calls/asterisk/ma%20in/1", 400),
        ("GET /calls/asterisk/main/%00", 400),
        ("GET /calls/asterisk/main", 404),
        ("POST /calls/asterisk/main/1", 404),
        ("PUT /calls/asterisk/main/redeliver", 404),
        ("DELETE /calls/asterisk/main/1", 404),
        ("GET /elsewhere", 404),
    ] {
        assert_eq!(refused(&area, &Right::ALL, request, "").await.0, status, "{request}");
    }
}

#[tokio::test]
async fn redelivery_is_due_under_another_key_and_queued() {
    let (area, queue) = queued();
    let record = call(&area, "twilio/main/CA1", "2026-02-20T09:00:00Z", None).await;
    let post = "POST /calls/twilio/main/CA1/redeliver";
    assert_eq!(refused(&area, &[Right::Deliver], post, "").await.0, 409);
    delivered(
        &area,
        &record,
        &[
            ("b#call.completed", Failed),
            ("crm#call.completed", Delivered),
            ("crm#call.updated", Delivered),
        ],
    )
    .await;
    let crm = "crm#call.completed".parse().unwrap();
    let before = area.store.delivery(&record.key, &crm).await.unwrap().unwrap();
    let answer =
        ask_as(&area, &[Right::Deliver], post, r#"{"destinations": ["crm"]}"#).await.unwrap();
    assert_eq!(answer.status, 202);
    let after = area.store.delivery(&record.key, &crm).await.unwrap().unwrap();
    assert_eq!((after.state, after.due_at, &after.rendered), (Pending, Some(now()), &None));
    assert_ne!(after.idempotency_key(), before.idempotency_key());
    assert_eq!(answer.body["queued"][0]["idempotency_key"], after.idempotency_key());
    let jobs = queue.drain();
    let job = Job::Deliver { call: record.key.clone(), delivery: crm };
    assert_eq!(jobs, [Send { job, delay: 0 }]);

    // To all, the event that says all.
    ask_as(&area, &[Right::Deliver], post, " ").await.unwrap();
    let job_ids = |jobs: Vec<Send>| -> Vec<String> {
        jobs.into_iter()
            .map(|send| match send.job {
                Job::Deliver { delivery, .. } => delivery.to_string(),
                other => panic!("{other:?} was queued"),
            })
            .collect()
    };
    assert_eq!(job_ids(queue.drain()), ["b#call.completed", "crm#call.completed"]);
    ask_as(&area, &[Right::Deliver], post, r#"{"event": "call.updated"}"#).await.unwrap();
    assert_eq!(job_ids(queue.drain()), ["crm#call.updated"]);
    for (body, status) in [
        (r#"{"destinations": ["absent"]}"#, 404),
        (r#"{"destinations": ["b"], "event": "call.updated"}"#, 404),
        (r#"{"destinations": ["a b"]}"#, 400),
        (r#"{"destination": "crm"}"#, 400),
        ("[", 400),
    ] {
        assert_eq!(refused(&area, &Right::ALL, post, body).await.0, status, "{body}");
    }
    assert_eq!(queue.drain(), []);
}

#[tokio::test]
async fn what_was_kept_back_is_named_with_its_reason_and_redelivered_on_request() {
    let (area, queue) = queued();
    let mut record = call(&area, "twilio/main/CA1", "2026-02-20T09:00:00Z", None).await;
    let ask_reasons = async |area: &Area| -> Vec<String> {
        let story = ask(area, STORY).await;
        let all = story["undelivered"].as_array().unwrap().iter();
        all.map(|one| format!("{} {}", one["destination"], one["reason"]).replace('"', ""))
            .collect()
    };
    use DeliveryState::{Delivered, Failed, Pending};
    let later = ["crm configured_later", "erp filter", "idle configured_later"];
    assert_eq!(ask_reasons(&area).await[..3], later);
    record.owed.insert(switchboard_domain::Work::Enrich, now());
    area.store.put_call(&record).await.unwrap();
    let post = "POST /calls/twilio/main/CA1/redeliver";
    let body = |to: &str| format!(r#"{{"destinations": ["{to}"]}}"#);
    assert_eq!(ask_reasons(&area).await[0], "crm not_planned");
    assert_eq!(refused(&area, &Right::ALL, post, &body("late")).await.0, 409);
    record = area.store.call(&record.key).await.unwrap().unwrap();
    record.owed.clear();
    let states = [
        ("crm#call.completed", Delivered),
        ("idle#call.completed", Pending),
        ("odd#call.completed", Failed),
    ];
    delivered(&area, &record, &states).await;
    let reasons = ["erp filter", "idle paused", "late configured_later", "odd failed"];
    assert_eq!(ask_reasons(&area).await, reasons);
    let story = ask(&area, STORY).await;
    assert_eq!(story["undelivered"][0]["detail"], "filter.outcomes excludes the call");

    // A filter and a late configuration are overruled; a name that is not configured is a mistake.
    for (n, to) in ["erp", "late"].into_iter().enumerate() {
        let answer = ask_as(&area, &[Right::Deliver], post, &body(to)).await.unwrap();
        assert_eq!((answer.status, &answer.body["queued"][0]["destination"]), (202, &json!(to)));
        assert_eq!(queue.drain().len(), 1);
        assert!(!ask_reasons(&area).await.iter().any(|one| one.ends_with("filter")), "{n}");
    }
    let pending = ["erp pending", "idle paused", "late pending", "odd failed"];
    assert_eq!(ask_reasons(&area).await, pending);
    let typo = refused(&area, &Right::ALL, post, &body("lete")).await;
    assert!(typo.0 == 404 && typo.1.contains("lete#call.completed"), "{typo:?}");
    // Again before a worker has it: one delivery, one key.
    ask_as(&area, &[Right::Deliver], post, &body("late")).await.unwrap();
    assert_eq!(area.store.deliveries(&record.key).await.unwrap().len(), 5);
    ask_as(&area, &[Right::Deliver], post, &body("new")).await.unwrap();
}

#[tokio::test]
async fn a_delivery_that_a_worker_has_is_not_redelivered() {
    let (area, queue) = queued();
    let record = call(&area, "twilio/main/CA1", "2026-02-20T09:00:00Z", None).await;
    let states = [("crm#call.completed", DeliveryState::Pending)];
    delivered(&area, &record, &states).await;
    let before = area.store.deliveries(&record.key).await.unwrap();
    let post = "POST /calls/twilio/main/CA1/redeliver";
    let (status, detail) = refused(&area, &Right::ALL, post, "").await;
    assert!(status == 409 && detail.contains("a worker is delivering the call"), "{detail}");
    assert_eq!(area.store.deliveries(&record.key).await.unwrap(), before);
    assert_eq!(queue.drain(), []);
}

#[tokio::test]
async fn a_twilio_call_is_found_by_its_sid_over_all_sources() {
    let (area, queue) = queued();
    let record = call(&area, "twilio/main/CA1", "2026-02-20T09:00:00Z", None).await;
    delivered(&area, &record, &[("crm#call.completed", Delivered)]).await;
    let post = "POST /api/test-crm-webhook";
    for body in [r#"{"callSid": "CA1"}"#, r#"{"call": "twilio/main/CA1"}"#] {
        let answer = ask_as(&area, &[Right::Deliver], post, body).await.unwrap();
        assert_eq!((answer.status, &answer.body["source"]), (202, &json!("main")));
        assert_eq!(queue.drain().len(), 1);
    }
    for (body, status) in [
        (r#"{"callSid": "CA2"}"#, 404),
        (r#"{"call": "twilio/main/CA2"}"#, 404),
        (r#"{"call": "twilio"}"#, 400),
        (r#"{"callSid": "CA1", "call": "twilio/main/CA1"}"#, 400),
        (r#"{"callSid": " "}"#, 400),
        ("{}", 400),
        ("", 400),
    ] {
        assert_eq!(refused(&area, &Right::ALL, post, body).await.0, status, "{body}");
    }
}

#[tokio::test]
async fn a_context_is_kept_before_and_after_and_has_the_change_delivered() {
    let (area, queue) = queued();
    let put = "PUT /calls/twilio/main/CA1/context";
    let body = r#"{"campaign": " Spring ", "contact_id": "c1"}"#;
    let answer = ask_as(&area, &[Right::Context], put, body).await.unwrap();
    assert_eq!(answer.status, 200);
    assert_eq!(answer.body["context"]["campaign"], "Spring");
    let stub = area.store.call(&key("twilio/main/CA1")).await.unwrap().unwrap();
    assert!(stub.owed.is_empty() && queue.drain().is_empty());
    // The same again is no write.
    ask_as(&area, &[Right::Context], put, body).await.unwrap();
    assert_eq!(area.store.call(&stub.key).await.unwrap().unwrap(), stub);

    // The call takes place, and is delivered.
    let facts = Facts { state: Some(State::Ended), ..Facts::default() };
    let mut record = stub.clone();
    record.absorb(Update::new("status", Order::Unordered, now(), facts, vec![1]), POLICY, now());
    assert_eq!(record.call.facts.contact_id.as_deref(), Some("c1"));
    record.owed.clear();
    area.store.put_call(&record).await.unwrap();
    ask_as(&area, &[Right::Context], put, body).await.unwrap();
    assert_eq!(queue.drain(), []);
    let named = r#"{"contact_name": "Kim Example"}"#;
    let answer = ask_as(&area, &[Right::Context], put, named).await.unwrap();
    assert!(!answer.body.to_string().contains("Kim"), "{}", answer.body);
    let jobs = queue.drain();
    assert_eq!(jobs, [Send { job: Job::Enrich { call: stub.key.clone() }, delay: 0 }]);
    let record = area.store.call(&stub.key).await.unwrap().unwrap();
    assert_eq!(record.due_at(), Some(now()));
    assert_eq!(record.call.facts.campaign.as_deref(), Some("Spring"));

    for body in ["{}", r#"{"campaign": ""}"#, r#"{"campagne": "x"}"#, "[]", "", r#"{"lead_id": 5}"#]
    {
        assert_eq!(refused(&area, &Right::ALL, put, body).await.0, 400, "{body}");
    }
}

#[tokio::test]
async fn each_request_needs_its_right() {
    let area = area();
    call(&area, "twilio/main/CA1", "2026-02-20T09:00:00Z", None).await;
    for (request, right) in [
        ("GET /calls", Right::Read),
        (STORY, Right::Read),
        ("GET /calls?number=1", Right::Personal),
        ("GET /calls/twilio/main/CA1/transcript", Right::Personal),
        ("POST /calls/twilio/main/CA1/redeliver", Right::Deliver),
        ("POST /api/test-crm-webhook", Right::Deliver),
        ("PUT /calls/twilio/main/CA1/context", Right::Context),
    ] {
        let others: Vec<_> = Right::ALL.into_iter().filter(|other| *other != right).collect();
        let problem = ask_as(&area, &others, request, "{}").await.unwrap_err();
        assert_eq!((problem.status, problem.kind), (403, "forbidden"), "{request}");
        assert_eq!(problem.more["right"], right.as_str());
    }
    assert_eq!(
        refused(&area, &[Right::Personal], "GET /calls/twilio/main/CA1/transcript", "").await.0,
        403
    );
}
