//! Counts are exact whatever happens on the way.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use jiff::SignedDuration;
use serde_json::{Value, json};
use switchboard_domain::sync::{Counts, Kind, Progress};
use switchboard_http::SendError;
use switchboard_queue::{Job as Message, Queue as _};

use super::place::{Place, answer, asked};
use super::providers::refusal;
use crate::effects::{Effects, Fault, WatchedQueue, Which};

/// The id of the n-th record: every 50th has none, some are listed twice on a page, and some once
/// more on the next.
fn id_of(n: usize) -> Option<String> {
    let id = if n % 40 == 39 || (n > 0 && n.is_multiple_of(100)) { n - 1 } else { n };
    (n % 50 != 7).then(|| format!("u{id:05}"))
}

/// A Smartflo of so many records, in pages of 100; each seventh question is answered with 429.
fn smartflo(place: &mut Place, records: usize) {
    let pull = json!({"token": "fake-token", "page_size": 100});
    place.configure("smartflo", json!({"secrets": ["fake"], "pull": pull}));
    let listed: Vec<Value> = (0..records)
        .map(|n| {
            let id = id_of(n);
            json!({
                "uuid": id, "direction": "inbound", "status": "answered", "date": "2026-02-20",
                "time": format!("{:02}:{:02}:{:02}", 5, 10, 20),
                "call_duration": 30, "answered_seconds": 25, "client_number": "919876543210",
                "did_number": "2025550100",
            })
        })
        .collect();
    let asked_so_far = Arc::new(AtomicUsize::new(0));
    place.simulate("api-smartflo.tatateleservices.com", move |question, _| {
        if asked_so_far.fetch_add(1, Ordering::SeqCst) % 7 == 6 {
            return Ok(refusal(429, Some(("retry-after", "90"))));
        }
        let number: usize = asked(question)["page"].parse().unwrap();
        let page: Vec<&Value> = listed.iter().skip((number - 1) * 100).take(100).collect();
        answer(200, &json!({"count": listed.len(), "results": page}))
    });
}

fn expected(records: usize) -> Counts {
    let ids: Vec<Option<String>> = (0..records).map(id_of).collect();
    let calls: BTreeSet<&String> = ids.iter().flatten().collect();
    let rejected = ids.iter().filter(|id| id.is_none()).count();
    let new = calls.len();
    Counts {
        pages: records as u64 / 100,
        seen: records as u64,
        new: new as u64,
        duplicates: (records - rejected - new) as u64,
        rejected: rejected as u64,
        unfinished: 0,
    }
}

#[tokio::test]
async fn ten_thousand_records_with_waits_and_a_crash_are_counted_exactly() {
    let mut place = Place::alone();
    smartflo(&mut place, 10_000);
    let job = place.start(Kind::Sync, "smartflo").await;
    place.queue.drain();
    // The worker dies after it has stored a part of a page.
    let effects = Effects::default();
    effects.arm(Which::Nth(1_234), Fault::Crash);
    loop {
        let store = place.store.watched(&effects);
        let queue = Arc::new(WatchedQueue { queue: place.queue.clone(), effects: effects.clone() });
        let died = tokio::select! {
            biased;
            () = effects.crashed() => true,
            () = place.piece(store, queue, &job.id) => false,
        };
        if died {
            break;
        }
        place.clock.pass(SignedDuration::from_secs(90));
    }
    let so_far = place.job(&job.id).await.counts;
    let stored = place.store.calls().len() as u64;
    assert!(so_far.pages > 0 && stored > so_far.new, "{so_far:?}, {stored} stored");
    place.queue.drain();

    place.settle().await;
    let over = place.job(&job.id).await;
    assert_eq!((over.progress, over.counts), (Progress::Done, expected(10_000)));
    assert_eq!(place.store.calls().len() as u64, over.counts.new);
    assert_eq!(place.store.all_quarantined().len() as u64, 1, "equal bytes are kept once");

    // The same once more: nothing is new.
    let again = place.start(Kind::Sync, "smartflo").await;
    assert_ne!(again.id, job.id);
    place.settle().await;
    let counts = place.job(&again.id).await.counts;
    assert_eq!((counts.new, counts.seen), (0, 10_000));
    assert_eq!(counts.duplicates, expected(10_000).new + expected(10_000).duplicates);
    assert!(place.store.calls().iter().all(|call| call.updates.len() == 1));
}

/// A reconciliation of 100 records at whose n-th effect something goes wrong. How many effects the
/// first piece had.
async fn faulty(fault: Option<(usize, Fault)>) -> usize {
    let mut place = Place::alone();
    smartflo(&mut place, 100);
    let job = place.start(Kind::Reconcile, "smartflo").await;
    place.queue.drain();
    let effects = Effects::default();
    if let Some((nth, fault)) = fault {
        effects.arm(Which::Nth(nth), fault);
    }
    let store = place.store.watched(&effects);
    let queue = Arc::new(WatchedQueue { queue: place.queue.clone(), effects: effects.clone() });
    tokio::select! {
        biased;
        () = effects.crashed() => {}
        () = place.piece(store, queue, &job.id) => {}
    }
    place.queue.drain();
    place.settle().await;
    let over = place.job(&job.id).await;
    assert_eq!((over.progress, over.counts), (Progress::Done, expected(100)), "{fault:?}");
    let missing: u64 = over.missing.values().sum();
    assert_eq!(missing, over.counts.new, "{fault:?}: every call was missing");
    let since = "2026-01-01".parse().unwrap();
    let gaps = place.store.gaps(&over.provider, &over.source, since).await.unwrap();
    assert_eq!(gaps.iter().map(|gap| gap.missing).sum::<u64>(), missing, "{fault:?}");
    effects.log().len()
}

#[tokio::test]
async fn a_crash_at_any_effect_changes_no_count() {
    let effects = faulty(None).await;
    assert!(effects > 100, "{effects}");
    // Those at both ends, where jobs are written, and some between.
    let chosen = (1..=effects).filter(|n| *n < 5 || n + 6 > effects || n % 23 == 0);
    for nth in chosen {
        for fault in [Fault::Crash, Fault::AnswerLost, Fault::Refused] {
            faulty(Some((nth, fault))).await;
        }
    }
}

#[tokio::test]
async fn retry_after_is_obeyed_without_a_worker_that_waits() {
    let mut place = Place::alone();
    smartflo(&mut place, 1_000);
    let job = place.start(Kind::Sync, "smartflo").await;
    place.queue.drain();
    place.piece(place.store.clone(), Arc::new(place.queue.clone()), &job.id).await;
    let waiting = place.job(&job.id).await;
    let until = place.clock.now().checked_add(SignedDuration::from_secs(90)).unwrap();
    assert_eq!((waiting.not_before, waiting.counts.pages), (Some(until), 6));
    let sends = place.queue.drain();
    let pulls: Vec<_> =
        sends.iter().filter(|send| matches!(send.job, Message::Pull { .. })).collect();
    assert_eq!((pulls.len(), pulls[0].delay), (1, 90));
    // An early message makes no request.
    let before = place.providers.asked.lock().unwrap().len();
    place.piece(place.store.clone(), Arc::new(place.queue.clone()), &job.id).await;
    assert_eq!(place.providers.asked.lock().unwrap().len(), before);
}

#[tokio::test]
async fn two_messages_of_one_job_do_it_once() {
    let mut place = Place::alone();
    smartflo(&mut place, 300);
    let job = place.start(Kind::Sync, "smartflo").await;
    tokio::join!(
        place.piece(place.store.clone(), Arc::new(place.queue.clone()), &job.id),
        place.piece(place.store.clone(), Arc::new(place.queue.clone()), &job.id),
    );
    assert_eq!(place.providers.asked.lock().unwrap().len(), 3);
    assert_eq!(place.job(&job.id).await.counts, expected(300));
}

#[tokio::test]
async fn a_canceled_job_asks_nothing_more() {
    let mut place = Place::alone();
    smartflo(&mut place, 1_000);
    let job = place.start(Kind::Sync, "smartflo").await;
    let stored = place.job(&job.id).await;
    let canceled = stored.ended(Progress::Canceled, None, place.clock.now());
    place.store.put_job(&canceled).await.unwrap();
    place.settle().await;
    assert!(place.providers.asked.lock().unwrap().is_empty());
    assert_eq!(place.job(&job.id).await.progress, Progress::Canceled);
}

#[tokio::test]
async fn a_provider_that_is_out_of_reach_is_tried_again_and_then_given_up() {
    let mut place = Place::alone();
    smartflo(&mut place, 100);
    place.simulate("api-smartflo.tatateleservices.com", |_, _| Err(SendError::TimedOut));
    let job = place.start(Kind::Reconcile, "smartflo").await;
    place.settle().await;
    let over = place.job(&job.id).await;
    assert_eq!(over.progress, Progress::Failed);
    assert_eq!(over.problem.as_deref(), Some("failed after 8 tries: timed out"));
    assert_eq!(place.metric("pull_failed"), [1]);
    assert!(place.metric("gap").is_empty(), "what was not looked for is not known to be none");
    assert!(place.queue.waiting().await.unwrap().pull == 0);
}
