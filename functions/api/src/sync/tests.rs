//! The paths, their rights, and what they answer.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::sync::Arc;

use serde_json::{Value, json};
use switchboard_domain::sync::Step;
use switchboard_flow::Values;
use switchboard_queue::MemoryQueue;
use switchboard_shell::gateway::HttpRequest;
use switchboard_store::Store;

use super::*;

const NOW: &str = "2026-02-20T23:30:00Z";

struct Fixed(Arc<Pullable>);

impl Sources for Fixed {
    async fn sources(&self) -> Result<Arc<Pullable>, ParameterError> {
        Ok(self.0.clone())
    }
}

type Served = Sync<Fixed>;

fn area() -> Served {
    queued().0
}

/// An area, and the queue that it sends to.
fn queued() -> (Served, MemoryQueue) {
    let queue = MemoryQueue::default();
    let onecom = json!({
        "secrets": ["fake"],
        "pull": {"url": "https://pbx.example/proxyapi.php", "token": "fake", "tenant": "ACME"},
    });
    let values = Values::from([
        ("sources/onecom/onecom".to_owned(), onecom.to_string()),
        ("sources/smartflo/smartflo".to_owned(), r#"{"secrets": ["fake"]}"#.to_owned()),
    ]);
    let sources = Fixed(Arc::new(Pullable::read(&values)));
    let store = Store::in_memory();
    (Sync { store, queue: Arc::new(queue.clone()), sources }, queue)
}

async fn ask(area: &Served, rights: &[Right], what: &str, body: Value) -> Result<Value, Problem> {
    ask_at(area, rights, what, body, NOW.parse().unwrap()).await
}

async fn ask_at(
    area: &Served,
    rights: &[Right],
    what: &str,
    body: Value,
    now: jiff::Timestamp,
) -> Result<Value, Problem> {
    let (method, target) = what.split_once(' ').unwrap();
    let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
    let http = HttpRequest { body: Some(body), ..HttpRequest::new(method, target) };
    let request = Request::new(http, "id", now).unwrap();
    let caller = Caller::new("test", rights.iter().copied());
    let answer = area.respond(&request, &caller).await?;
    let mut body = answer.body;
    body["status"] = json!(answer.status);
    Ok(body)
}

async fn done(area: &Served, what: &str, body: Value) -> Value {
    ask(area, &[Right::Read, Right::Sync], what, body).await.unwrap()
}

async fn problem(area: &Served, what: &str, body: Value) -> Problem {
    ask(area, &[Right::Read, Right::Sync], what, body).await.unwrap_err()
}

#[tokio::test]
async fn every_path_asks_for_its_right() {
    let area = area();
    for (what, wrong) in [
        ("POST /sync", Right::Read),
        ("POST /api/onecom/sync/today", Right::Read),
        ("POST /api/onecom/sync/last-week", Right::Read),
        ("POST /api/onecom/sync", Right::Read),
        ("POST /sync/x/cancel", Right::Read),
        ("GET /sync", Right::Sync),
        ("GET /sync/x", Right::Sync),
    ] {
        let refused = ask(&area, &[wrong], what, Value::Null).await.unwrap_err();
        assert_eq!(refused.status, 403, "{what}");
    }
    assert!(area.store.jobs().await.unwrap().is_empty());
}

#[tokio::test]
async fn today_and_last_week_are_the_sources_own() {
    let (area, queue) = queued();
    // In Jerusalem it is the 21st already.
    for (path, from) in [("today", "2026-02-20T22:00:00Z"), ("last-week", "2026-02-13T22:00:00Z")] {
        let said = done(&area, &format!("POST /api/onecom/sync/{path}"), Value::Null).await;
        assert_eq!((&said["status"], &said["started"]), (&json!(202), &json!(true)));
        let follow = said["follow"].as_str().unwrap();
        let job = done(&area, &format!("GET {follow}"), Value::Null).await;
        assert_eq!((&job["from"], &job["to"]), (&json!(from), &json!("2026-02-21T22:00:00Z")));
        assert_eq!((&job["state"], &job["source"]), (&json!("running"), &json!("onecom/onecom")));
    }
    assert_eq!(queue.drain().len(), 2);
}

#[tokio::test]
async fn a_range_that_is_running_is_not_started_twice() {
    let (area, queue) = queued();
    let body = json!({"startDate": "2026-02-01", "endDate": "2026-02-03"});
    let first = done(&area, "POST /api/onecom/sync", body.clone()).await;
    let second = done(&area, "POST /api/onecom/sync", body).await;
    assert_eq!((&second["job"], &second["started"]), (&first["job"], &json!(false)));
    // The same range in other words.
    let body =
        json!({"source": "onecom/onecom", "from": "2026-01-31T22:00:00Z", "to": "2026-02-03"});
    assert_eq!(done(&area, "POST /sync", body).await["job"], first["job"]);
    assert_eq!(queue.drain().len(), 1);
    let list = done(&area, "GET /sync", Value::Null).await;
    assert_eq!(list["jobs"].as_array().unwrap().len(), 1);
    let job = area.store.jobs().await.unwrap().remove(0);
    assert_eq!(job.steps.len(), 3, "a step for each day");
    assert_eq!(job.steps[0], Step::first("cdrs", job.from, job.steps[1].from));
}

#[tokio::test]
async fn what_cannot_be_done_is_told() {
    let area = area();
    let range = |start: &str, end: &str| json!({"startDate": start, "endDate": end});
    let of = |source: &str| json!({"source": source, "from": "2026-02-01", "to": "2026-02-01"});
    let onecom = "POST /api/onecom/sync";
    for (what, body, status, expected) in [
        (onecom, range("2026-02-02", "2026-02-01"), 400, "endDate must be after"),
        (onecom, range("yesterday", "2026-02-01"), 400, "startDate must be a day"),
        (onecom, range("2025-01-01", "2026-02-01"), 400, "endDate must be within"),
        (onecom, json!({"startDate": "2026-02-01"}), 400, "is missing"),
        ("POST /sync", of("onecom"), 400, "source must be"),
        ("POST /sync", of("asterisk/main"), 422, "provider: has no calls"),
        ("POST /sync", of("onecom/other"), 422, "source: is not configured"),
        ("POST /sync", of("smartflo/smartflo"), 422, "pull: is missing"),
        ("POST /api/onecom/sync/today?sorce=x", Value::Null, 400, "unknown parameter"),
        ("POST /api/onecom/sync/tomorrow", Value::Null, 404, "no such"),
        ("GET /sync/20260101T000000Z-00000000", Value::Null, 404, "no such job"),
        ("GET /sync/a%20b", Value::Null, 404, "no such job"),
        ("POST /sync/20260101T000000Z-00000000/cancel", Value::Null, 404, "no such job"),
    ] {
        let problem = problem(&area, what, body).await;
        assert_eq!(problem.status, status, "{what}: {}", problem.detail);
        assert!(problem.detail.contains(expected), "{what}: {}", problem.detail);
    }
    assert!(area.store.jobs().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_job_is_canceled_once_and_one_that_is_over_is_not() {
    let area = area();
    let started = done(&area, "POST /api/onecom/sync/today", Value::Null).await;
    let id = started["job"].as_str().unwrap().to_owned();
    let cancel = format!("POST /sync/{id}/cancel");
    for _ in 0..2 {
        assert_eq!(done(&area, &cancel, Value::Null).await["state"], "canceled");
    }
    // A job's id holds the moment of its start: one canceled within the same moment would be in the way.
    let later = NOW.parse::<jiff::Timestamp>().unwrap() + jiff::SignedDuration::from_secs(1);
    let start = "POST /api/onecom/sync/today";
    let again = ask_at(&area, &[Right::Sync], start, Value::Null, later).await.unwrap();
    assert_eq!(again["started"], true, "a canceled job does not stand in the way");
    let id = Name::new("job", again["job"].as_str().unwrap()).unwrap();
    let job = area.store.job(&id).await.unwrap().unwrap();
    area.store.put_job(&job.ended(Progress::Done, None, NOW.parse().unwrap())).await.unwrap();
    assert_eq!(problem(&area, &format!("POST /sync/{id}/cancel"), Value::Null).await.status, 409);
}

#[tokio::test]
async fn gaps_are_summed_by_day() {
    let area = area();
    let name = |text| Name::new("name", text).unwrap();
    for (day, job, missing) in
        [("2026-02-19", "a", 2), ("2026-02-19", "b", 3), ("2026-02-01", "c", 9)]
    {
        let gap = Gap {
            provider: name("onecom"),
            source: name("onecom"),
            day: day.parse().unwrap(),
            job: name(job),
            missing,
        };
        area.store.put_gap(&gap).await.unwrap();
    }
    let list = done(&area, "GET /sync", Value::Null).await;
    let expected = json!([{"source": "onecom/onecom", "day": "2026-02-19", "missing": 5}]);
    assert_eq!(list["gaps"], expected);
}
