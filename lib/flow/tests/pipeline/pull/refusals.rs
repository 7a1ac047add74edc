//! Providers that refuse, logins, calls that are too young, and what was not understood.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;
use switchboard_domain::sync::{Kind, Progress};
use switchboard_store::Store;

use super::place::{Place, answer, asked};
use super::providers::{day, refusal, serve};
use crate::world::START;

#[tokio::test]
async fn a_refusal_ends_the_job_at_once_and_says_whose_fault_it_is() {
    for status in [401, 403, 404] {
        let mut place = Place::alone();
        serve(&mut place, &day("twilio"));
        place.simulate("api.twilio.com", move |_, _| Ok(refusal(status, None)));
        let job = place.start(Kind::Sync, "twilio").await;
        place.settle().await;
        let over = place.job(&job.id).await;
        assert_eq!(over.progress, Progress::Failed);
        let problem = over.problem.unwrap();
        assert!(problem.starts_with(&format!("responded {status}: the source's ")), "{problem}");
        assert_eq!(place.providers.asked.lock().unwrap().len(), 1);
    }
}

#[tokio::test]
async fn one_login_serves_a_job_and_one_that_ended_early_is_made_again() {
    let mut place = Place::alone();
    let pull = json!({"email": "ops@example.com", "password": "fake", "page_size": 1});
    place.configure("smartflo", json!({"secrets": ["fake"], "pull": pull}));
    let logins = Arc::new(AtomicUsize::new(0));
    let count = logins.clone();
    place.simulate("api-smartflo.tatateleservices.com", move |request, _| {
        if request.url.path() == "/v1/auth/login" {
            let n = count.fetch_add(1, Ordering::SeqCst);
            return answer(200, &json!({"access_token": format!("fake-{n}"), "expires_in": 3600}));
        }
        let page = asked(request)["page"].clone();
        // The first token ends before the third page.
        let is_old = request.headers["authorization"] == "Bearer fake-0";
        if is_old && page == "3" {
            return Ok(refusal(401, None));
        }
        let one = json!({"uuid": format!("u{page}"), "status": "missed", "direction": "inbound"});
        answer(200, &json!({"count": 4, "results": [one]}))
    });
    let job = place.start(Kind::Sync, "smartflo").await;
    place.settle().await;
    let over = place.job(&job.id).await;
    assert_eq!((over.progress, over.counts.new), (Progress::Done, 4));
    assert_eq!(logins.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_reconciliation_leaves_calls_alone_whose_webhook_may_be_on_its_way() {
    let mut place = Place::alone();
    serve(&mut place, &day("twilio"));
    let ended = |minute: &str| {
        json!({"sid": format!("CA{minute}"), "account_sid": "AC00000000000000000000000000000001",
               "status": "busy", "start_time": format!("Fri, 20 Feb 2026 09:{minute}:00 +0000"),
               "end_time": format!("Fri, 20 Feb 2026 09:{minute}:30 +0000")})
    };
    let list = json!({"calls": [ended("19"), ended("21")], "recordings": []});
    place.simulate("api.twilio.com", move |_, _| answer(200, &list));
    assert_eq!(START, "2026-02-20T09:30:00Z");
    place.reconcile().await;
    place.settle().await;
    let keys =
        || place.store.calls().iter().map(|c| c.key.call_id().to_owned()).collect::<Vec<_>>();
    assert_eq!(keys(), ["CA19"]);
    assert_eq!(place.metric("gap"), [1]);
    // An hour later the other is old enough, and is missing still.
    place.clock.pass(jiff::SignedDuration::from_hours(1));
    place.reconcile().await;
    place.settle().await;
    assert_eq!(keys(), ["CA19", "CA21"]);
    assert_eq!(place.metric("gap"), [1, 1]);
    // A sync that was requested pulls everything at once.
    let other = Place::new(Store::in_memory(), place.clock.clone());
    assert!(other.store.calls().is_empty());
}

#[tokio::test]
async fn a_call_that_is_not_over_is_left_to_the_next_job() {
    let mut place = Place::alone();
    serve(&mut place, &day("twilio"));
    let list = json!({"calls": [{"sid": "CA1", "status": "in-progress"}], "recordings": []});
    place.simulate("api.twilio.com", move |_, _| answer(200, &list));
    let job = place.start(Kind::Sync, "twilio").await;
    place.settle().await;
    let counts = place.job(&job.id).await.counts;
    assert_eq!((counts.unfinished, counts.seen), (1, 0));
    assert!(place.store.calls().is_empty());
}

#[tokio::test]
async fn what_cannot_be_read_is_kept_once_however_often_it_is_pulled() {
    let mut place = Place::alone();
    serve(&mut place, &day("onecom"));
    place.simulate("onecom.example", move |_, _| {
        answer(
            200,
            &json!("uniqueid,start,duration\n,2026-02-20 10:00:00,5\n1.1,2026-02-20 10:00:00,x\n"),
        )
    });
    for _ in 0..3 {
        let job = place.start(Kind::Sync, "onecom").await;
        place.settle().await;
        let counts = place.job(&job.id).await.counts;
        assert_eq!((counts.rejected, counts.new), (counts.seen, 0));
        place.clock.pass(jiff::SignedDuration::from_hours(1));
    }
    assert_eq!(place.store.all_quarantined().len(), 2);
}

#[tokio::test]
async fn a_source_that_is_not_set_up_for_it_is_not_reconciled() {
    let mut place = Place::alone();
    serve(&mut place, &day("onecom"));
    let mut source = day("twilio").source;
    source["pull"]["reconcile"] = json!(false);
    place.configure("twilio", source);
    place.configure("smartflo", json!({"secrets": ["fake"]}));
    assert_eq!(place.reconcile().await, 1);
    // The same again while that one runs: none.
    assert_eq!(place.reconcile().await, 0);
}
