use clap::Parser as _;
use switchboard_domain::{
    Blob, Body, CallKey, CallRecord, Facts, Legs, Order, Party, Personal, Policy, Seconds, State,
    Text, Update, Work,
};
use switchboard_providers::elevenlabs;
use switchboard_store::{Quarantined, Store};

use super::testing::{HOLE, WHOLE, at, keep, post, replay};
use crate::Arguments;

const CALL: &str = "asterisk/asterisk-main/1708416000.1";
const INTAKE: &str = "/api/crm/intake/calls";
const POLICY: Policy = Policy { settle: Seconds(0), legs: Legs::Parent, starts: false };

fn key(text: &str) -> CallKey {
    text.parse().unwrap()
}

async fn call(store: &Store, text: &str) -> CallRecord {
    store.call(&key(text)).await.unwrap().unwrap()
}

/// Everything that a store holds.
fn all(store: &Store) -> (Vec<CallRecord>, Vec<(Quarantined, Vec<u8>)>) {
    (store.calls(), store.all_quarantined())
}

/// A call as the workers leave it after its deliveries.
async fn delivered(store: &Store, text: &str) -> CallRecord {
    let mut record = call(store, text).await;
    assert!(record.owed.remove(&Work::Enrich).is_some());
    store.put_call(&record).await.unwrap();
    call(store, text).await
}

/// Puts a call, and what is stored apart of it.
async fn put(store: &Store, record: &CallRecord, blobs: &[Blob]) {
    for blob in blobs {
        store.put_blob(&record.key, blob).await.unwrap();
    }
    store.put_call(record).await.unwrap();
}

/// All of these are in what was printed.
fn says(said: &str, parts: &[&str]) {
    for part in parts {
        assert!(said.contains(part), "{part} is not in:\n{said}");
    }
}

fn is_private(said: &str) {
    for kept in ["9991234567", "Kim", "Example", "prices"] {
        assert!(!said.contains(kept), "{kept} is in:\n{said}");
    }
}

#[tokio::test]
async fn a_body_that_is_understood_by_now_becomes_a_call_and_leaves() {
    let store = Store::in_memory();
    keep(&store, "intake", at(1), WHOLE).await;
    // It was sent again, in vain.
    keep(&store, "intake", at(2), WHOLE).await;
    let before = all(&store);
    let foretold = replay(&store, "quarantine intake --dry-run").await;
    assert_eq!(all(&store), before);
    assert!(foretold.ends_with("Nothing was written"), "{foretold}");

    let said = replay(&store, "quarantine intake").await;
    let lines = [
        "new call asterisk/asterisk-main/1708416000.1: ",
        "outcome answered, ",
        "contact, contact_name, ",
        "talk 42; its follow-ups are due",
        "call asterisk/asterisk-main/1708416000.1 has it already",
        "2 read: 1 new calls, 0 changed, 1 unchanged; 0 still invalid; 2 removed from quarantine",
    ];
    says(&said, &lines);
    says(&foretold, &lines);
    is_private(&said);
    let stored = call(&store, CALL).await;
    assert_eq!((stored.version, stored.updates.len()), (1, 1));
    assert_eq!(stored.updates.values().next().unwrap().received_at, at(1));
    assert!(stored.owed.contains_key(&Work::Enrich));

    assert_eq!(store.all_quarantined(), []);
    let before = all(&store);
    assert!(replay(&store, "quarantine intake").await.starts_with("0 read"));
    // Its sender may still send it again: it is known.
    post(&store, &format!("{INTAKE}?source=asterisk-main"), at(3), WHOLE).await;
    assert_eq!(all(&store), before);
}

#[tokio::test]
async fn a_body_that_was_ingested_and_stays_in_quarantine_is_not_delivered_again() {
    let store = Store::in_memory();
    keep(&store, "intake", at(1), WHOLE).await;
    replay(&store, "quarantine intake").await;
    let done = delivered(&store, CALL).await;
    // As if it had ended between the two.
    keep(&store, "intake", at(1), WHOLE).await;
    let said = replay(&store, "quarantine intake").await;
    says(&said, &["1 unchanged", "1 removed"]);
    assert_eq!(call(&store, CALL).await, done);
    assert_eq!(store.all_quarantined(), []);
}

#[tokio::test]
async fn what_is_still_not_understood_stays() {
    let store = Store::in_memory();
    keep(&store, "intake", at(1), HOLE).await;
    keep(&store, "intake", at(2), r#"{"provider":"asterisk","clientName":"Kim"}"#).await;
    keep(&store, "twilio", at(3), "CallStatus=completed").await;
    let before = all(&store);
    let said = replay(&store, "quarantine intake").await;
    assert!(said.contains("is still invalid: durationSec: "), "{said}");
    assert!(said.contains("is still invalid: externalCallId: is required"), "{said}");
    assert!(said.contains("2 still invalid"), "{said}");
    is_private(&said);
    let said = replay(&store, "quarantine twilio").await;
    assert!(said.contains("CallSid: is required"), "{said}");
    assert_eq!(all(&store), before);
}

#[tokio::test]
async fn of_a_batch_what_is_not_understood_is_kept_by_itself() {
    let store = Store::in_memory();
    let one =
        |n: u8| format!(r#"{{"provider":"asterisk","externalCallId":"b-{n}","durationSec":{n}}}"#);
    let bad = r#"{"provider":"asterisk","clientName":"Kim"}"#;
    keep(&store, "intake", at(1), &format!("[{}, {bad}, {}]", one(1), one(2))).await;
    let said = replay(&store, "quarantine intake").await;
    says(&said, &["leaves a record of it in quarantine as", "1 read: 2 new calls"]);
    let kept = store.all_quarantined();
    let bodies: Vec<_> = kept.iter().map(|(_, body)| String::from_utf8_lossy(body)).collect();
    assert_eq!(bodies.len(), 1);
    assert!(bodies[0].contains("Kim") && !bodies[0].contains("b-1"), "{}", bodies[0]);
    assert_eq!(store.calls().len(), 2);
    let before = all(&store);
    let said = replay(&store, "quarantine intake").await;
    assert!(said.contains("1 still invalid") && !said.contains("leaves a record"), "{said}");
    assert_eq!(all(&store), before);
}

#[tokio::test]
async fn one_body_or_those_of_a_time_are_chosen() {
    let store = Store::in_memory();
    let body = |n: i64| format!(r#"{{"provider":"asterisk","externalCallId":"c-{n}"}}"#);
    for n in 0..4 {
        keep(&store, "intake", at(n), &body(n)).await;
    }
    let id = store.all_quarantined()[3].0.digest.to_string();
    replay(&store, &format!("quarantine intake --id {}", &id[..8])).await;
    assert_eq!(store.calls().len(), 1);
    assert_eq!(store.calls()[0].key.call_id(), "c-3");
    let arguments = format!("quarantine intake --since {} --until {}", at(1), at(2));
    replay(&store, &arguments).await;
    let ids: Vec<String> = store.calls().iter().map(|one| one.key.call_id().to_owned()).collect();
    assert_eq!(ids, ["c-1", "c-3"]);
    assert_eq!(store.all_quarantined().len(), 2);
}

/// A call as an earlier release misread it: its one message has the bytes and little of the facts.
async fn misread(store: &Store, change: impl FnOnce(&mut Update)) -> CallRecord {
    let right = post(store, &format!("{INTAKE}?source=asterisk-main"), at(0), WHOLE).await;
    let mut update = right.updates.values().next().unwrap().clone();
    change(&mut update);
    let wrong = CallRecord::first(right.key.clone(), update, POLICY, at(0));
    let wrong = CallRecord { version: right.version, ..wrong };
    store.put_call(&wrong).await.unwrap();
    right
}

#[tokio::test]
async fn a_message_that_was_misread_is_read_again_and_told_once() {
    let store = Store::in_memory();
    let right = misread(&store, |update| {
        update.facts.talk = None;
        update.facts.contact = Party::read("unknown");
        update.facts.contact_name = None;
    })
    .await;
    let wrong = delivered(&store, CALL).await;
    let foretold = replay(&store, &format!("calls {CALL} --dry-run")).await;
    assert_eq!(call(&store, CALL).await, wrong);
    let said = replay(&store, "calls --provider asterisk").await;
    says(
        &said,
        &["talk – → 42", "contact changed", "contact_name new", "; its follow-ups are due"],
    );
    says(&said, &["1 read: 0 new calls, 1 changed, 0 unchanged"]);
    assert!(foretold.starts_with(said.lines().next().unwrap()), "{foretold}");
    is_private(&said);
    let mended = call(&store, CALL).await;
    assert_eq!((&mended.updates, &mended.call), (&right.updates, &right.call));
    assert!(mended.owed.contains_key(&Work::Enrich) && mended.replayed_at.is_some());
    assert_eq!(mended.version, wrong.version + 1);

    let done = delivered(&store, CALL).await;
    for _ in 0..2 {
        let said = replay(&store, &format!("calls {CALL}")).await;
        assert!(said.starts_with("1 read: 0 new calls, 0 changed, 1 unchanged"), "{said}");
        assert_eq!(call(&store, CALL).await, done);
    }
}

#[tokio::test]
async fn a_message_that_is_of_another_kind_today_takes_the_place_of_the_old_one() {
    let store = Store::in_memory();
    let right = misread(&store, |update| {
        let raw = WHOLE.as_bytes().to_vec();
        let facts = Facts { state: Some(State::Ringing), ..Facts::default() };
        let target = format!("{INTAKE}?source=asterisk-main");
        *update = Update::new("call_ringing", Order::Unordered, at(0), facts, raw).sent_to(&target);
    })
    .await;
    assert_eq!(call(&store, CALL).await.owed.len(), 0);
    let said = replay(&store, &format!("calls {CALL}")).await;
    says(&said, &["outcome – → answered", "state ringing → ended"]);
    let mended = call(&store, CALL).await;
    assert_eq!((&mended.updates, mended.owed.len()), (&right.updates, 1));
}

#[tokio::test]
async fn what_cannot_be_read_today_stays_as_it_was_and_harms_no_other() {
    let store = Store::in_memory();
    let right = misread(&store, |update| update.facts.talk = Some(Seconds(1))).await;
    let mut record = call(&store, CALL).await;
    let facts = || Facts { cause: Some("SIP 486".into()), ..Facts::default() };
    let update = |kind: &str, raw: &str, target: &str| {
        let raw = raw.as_bytes().to_vec();
        Update::new(kind, Order::Unordered, at(5), facts(), raw).sent_to(target)
    };
    let other = WHOLE.replace("1708416000.1", "1708416000.2");
    let lost = Blob::new(b"never stored".to_vec());
    let mut missing = update("missing", "", INTAKE);
    missing.raw = Body::Stored(lost.reference());
    for update in [
        update("hole", HOLE, INTAKE),
        update("other", &other, INTAKE),
        update("gone", "{}", "/callback-of-old"),
        missing,
    ] {
        record.absorb(update, POLICY, at(5));
    }
    store.put_call(&record).await.unwrap();
    let before = call(&store, CALL).await;
    let said = replay(&store, &format!("calls {CALL}")).await;
    let lines = [
        "hole of 2026-02-20T08:48:20.000Z stays as it was: durationSec: ",
        "it is about asterisk/asterisk-main/1708416000.2 today",
        "no provider has a webhook at its path",
        "missing of 2026-02-20T08:48:20.000Z stays as it was: a stored blob cannot be read",
        "talk 1 → 42",
        "4 still invalid",
    ];
    says(&said, &lines);
    is_private(&said);
    let mut expected = before.updates.clone();
    expected.extend(right.updates.clone());
    assert_eq!(call(&store, CALL).await.updates, expected);
    assert_eq!(store.calls().len(), 1);
    let said = replay(&store, &format!("calls {CALL}")).await;
    assert!(said.contains("1 unchanged; 4 still invalid"), "{said}");
}

#[tokio::test]
async fn a_conversation_that_was_fetched_is_read_again_with_its_large_values_in_place() {
    let store = Store::in_memory();
    let key = key("twilio/twilio/CA1");
    let transcript: Vec<_> = (0..400)
        .map(|n| serde_json::json!({"role": "agent", "message": format!("turn {n} about prices")}))
        .collect();
    let body = serde_json::json!({
        "conversation_id": "conv_1", "status": "done", "transcript": transcript,
        "analysis": {"transcript_summary": "About prices"},
    });
    let read = elevenlabs::conversation(body.to_string().as_bytes(), at(0)).unwrap();
    let (mut update, blobs) = read.update.offload(100);
    assert_eq!(blobs.len(), 2);
    let right = CallRecord::first(key.clone(), update.clone(), POLICY, at(0));
    put(&store, &right, &blobs).await;
    let said = replay(&store, "calls twilio/twilio/CA1").await;
    assert!(said.starts_with("1 read: 0 new calls, 0 changed, 1 unchanged; 0 still"), "{said}");

    // An earlier release took half of it.
    update.facts.transcript = Some(Text::Inline(Personal::new("agent: turn 0")));
    update.facts.summary = None;
    let wrong = CallRecord::first(key, update, POLICY, at(0));
    store.put_call(&CallRecord { version: 1, ..wrong }).await.unwrap();
    let said = replay(&store, "calls --since 2026-02-20 --until 2026-02-21").await;
    says(&said, &["summary new", "transcript changed"]);
    is_private(&said);
    let mended = call(&store, "twilio/twilio/CA1").await;
    assert_eq!(mended.updates, right.updates);
}

#[tokio::test]
async fn what_was_stored_apart_because_a_call_had_many_messages_stays_apart() {
    let store = Store::in_memory();
    let body = format!("{},\"transcriptRaw\":\"agent: hello\"}}", WHOLE.trim_end_matches('}'));
    let first = post(&store, &format!("{INTAKE}?source=asterisk-main"), at(0), &body).await;
    let update = first.updates.values().next().unwrap().clone();
    let (update, blobs) = update.offload(0);
    assert_eq!(blobs.len(), 2);
    let apart = CallRecord::first(first.key, update, POLICY, at(0));
    put(&store, &CallRecord { version: 1, ..apart }, &blobs).await;
    let before = all(&store);
    let said = replay(&store, &format!("calls {CALL}")).await;
    assert!(said.starts_with("1 read: 0 new calls, 0 changed, 1 unchanged; 0 still"), "{said}");
    assert_eq!(all(&store), before);
}

#[tokio::test]
async fn calls_are_chosen_by_provider_and_time() {
    let store = Store::in_memory();
    for n in 0..150 {
        let body =
            format!(r#"{{"provider":"{}","externalCallId":"c-{n}"}}"#, ["fmc", "asterisk"][n % 2]);
        post(&store, INTAKE, at(n as i64), &body).await;
    }
    for (arguments, count) in [
        ("calls --provider asterisk".to_owned(), 75),
        ("calls --provider twilio".to_owned(), 0),
        (format!("calls --since {}", at(140)), 10),
        (format!("calls --until {} --provider fmc", at(10)), 5),
        ("calls --since 2000-01-01".to_owned(), 150),
    ] {
        let said = replay(&store, &arguments).await;
        assert!(said.starts_with(&format!("{count} read")), "{arguments}: {said}");
    }
    assert!(store.calls().iter().all(|call| call.version == 1));
}

#[test]
fn all_calls_are_never_meant_by_saying_nothing() {
    for wrong in [
        "replay calls",
        "replay calls --dry-run",
        "replay calls a/b/c --provider a",
        "replay calls a/b/c --since 2026-02-20",
        "replay calls --since yesterday",
        "replay quarantine",
        "replay quarantine a#b",
        "quarantine show intake",
    ] {
        let line = format!("switchboard {wrong} --table calls");
        assert!(Arguments::try_parse_from(line.split_whitespace()).is_err(), "{wrong}");
    }
}

#[test]
fn legs_are_as_the_workers_find_them() {
    let values = [
        ("intake/intake", r#"{"legs": "each"}"#),
        ("intake/north", r#"{"legs": "parent"}"#),
        ("twilio/twilio", r#"{"public_url": "https://calls.example.com"}"#),
    ];
    let values = values.map(|(name, json)| (name.to_owned(), json.to_owned())).into();
    let configured = crate::parameter::sources(&values).unwrap();
    for (call, legs) in [
        ("asterisk/south/1", Legs::Each),
        ("asterisk/north/1", Legs::Parent),
        ("twilio/other/1", Legs::Parent),
    ] {
        assert_eq!(configured.source(&key(call)).unwrap().legs, legs, "{call}");
    }
    assert_eq!(super::testing::configured().source(&key("x/y/1")).unwrap().legs, Legs::Parent);
}

#[tokio::test]
async fn a_context_is_kept_as_it_was_given() {
    use switchboard_domain::Context;
    use switchboard_domain::context::Given;
    let store = Store::in_memory();
    post(&store, &format!("{INTAKE}?source=asterisk-main"), at(1), WHOLE).await;
    let mut record = delivered(&store, CALL).await;
    let context = Context { campaign: Some("Given".into()), ..Context::default() };
    let Given::New(update) = context.given_to(Some(&record), at(2)) else { panic!("it is new") };
    record.absorb(*update, POLICY, at(2));
    record.owed.clear();
    store.put_call(&record).await.unwrap();
    let before = all(&store);
    let said = replay(&store, &format!("calls {CALL}")).await;
    assert!(said.contains("0 changed, 1 unchanged; 0 still invalid"), "{said}");
    assert_eq!(all(&store), before);
    assert_eq!(call(&store, CALL).await.call.facts.campaign.as_deref(), Some("Given"));
}
