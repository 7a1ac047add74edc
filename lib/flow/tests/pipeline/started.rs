//! Events beside the end of a call: its start, for who wants a screen pop; and tasks.

use serde_json::{Value, json};
use switchboard_domain::directory::ContactKind;
use switchboard_domain::{Analysed, AnalysisState, DeliveryState, Work};
use switchboard_store::Put;

use crate::people::contact;
use crate::samples::{asterisk, call_status, intake};
use crate::servers::{Crm, status};
use crate::world::{World, minutes, seconds, twilio_source};

const STARTS: [&str; 2] = ["call.started", "call.completed"];

fn types(crm: &Crm) -> Vec<Value> {
    crm.received().iter().map(|request| request.json()["type"].clone()).collect()
}

async fn world(announces: bool, events: &[&str]) -> (World, Crm) {
    let mut world = World::new();
    let source = twilio_source(json!({"announce_starts": announces}));
    world.configure("sources/twilio/twilio", source);
    let filter = json!({"filter": {"events": events, "outcomes": ["answered"]}});
    let crm = world.crm("crm", "canonical", filter).await;
    (world, crm)
}

#[tokio::test]
async fn a_start_is_told_at_once_with_who_it_is_and_the_end_when_it_ends() {
    let (mut world, crm) = world(true, &STARTS).await;
    let known = contact("kim", ContactKind::Client, &["+61491570156"], &[]);
    world.directory.put_contact(&known).await.unwrap();
    world.take(&call_status("CA1", "ringing")).await;
    assert_eq!(world.effects.log(), ["put call", "send"]);
    world.pass(seconds(5)).await;
    let [start] = &crm.received()[..] else { panic!("{:?}", types(&crm)) };
    assert_eq!(start.at.to_string(), crate::world::START);
    let body = start.json();
    assert_eq!(body["type"], "call.started");
    assert_eq!((&body["data"]["outcome"], &body["data"]["ended_at"]), (&Value::Null, &Value::Null));
    assert_eq!(body["data"]["contact"]["id"], "kim");
    // Another message before the end is no other start.
    world.take(&call_status("CA1", "in-progress")).await;
    world.pass(seconds(60)).await;
    world.settled(&call_status("CA1", "completed"), minutes(10)).await;
    assert_eq!(types(&crm), ["call.started", "call.completed"]);
    assert_ne!(
        crm.received()[0].header("idempotency-key"),
        crm.received()[1].header("idempotency-key")
    );
    assert!(!world.owes().await);
}

#[tokio::test]
async fn without_the_sources_word_or_the_destinations_wish_no_start_is_told() {
    for (announces, events) in [(false, &STARTS[..]), (true, &STARTS[1..])] {
        let (mut world, crm) = world(announces, events).await;
        world.take(&call_status("CA1", "ringing")).await;
        let sends = if announces { 1 } else { 0 };
        let log = world.effects.log();
        assert_eq!(log.iter().filter(|effect| **effect == "send").count(), sends);
        world.pass(seconds(10)).await;
        assert!(crm.received().is_empty());
        world.settled(&call_status("CA1", "completed"), minutes(10)).await;
        assert_eq!(types(&crm), ["call.completed"]);
    }
}

#[tokio::test]
async fn a_destination_may_want_starts_alone() {
    let (mut world, crm) = world(true, &["call.started"]).await;
    world.take(&call_status("CA1", "ringing")).await;
    world.pass(seconds(10)).await;
    world.settled(&call_status("CA1", "completed"), minutes(10)).await;
    assert_eq!(types(&crm), ["call.started"]);
}

#[tokio::test]
async fn a_start_that_cannot_be_told_in_time_is_not_told() {
    // The call is over before anybody was at it.
    let (mut ended, crm) = world(true, &STARTS).await;
    ended.take(&call_status("CA1", "ringing")).await;
    ended.settled(&call_status("CA1", "completed"), minutes(10)).await;
    assert_eq!(types(&crm), ["call.completed"]);
    assert_eq!(
        crm.received()[0].at.duration_since(crate::world::START.parse().unwrap()),
        seconds(3)
    );

    // No worker processed it for a minute.
    let (mut late, crm) = world(true, &STARTS).await;
    late.take(&call_status("CA1", "ringing")).await;
    late.clock.pass(seconds(61));
    late.settle(minutes(10)).await;
    assert!(crm.received().is_empty() && late.deliveries().await.is_empty());

    // It was planned, and its destination takes nothing: it is tried again while it is news, and then
    // neither sent nor kept.
    let (mut failing, crm) = world(true, &STARTS).await;
    crm.always(status(500));
    failing.settled(&call_status("CA1", "ringing"), minutes(20)).await;
    assert_eq!(types(&crm), ["call.started", "call.started"]);
    let delivery = failing.deliveries().await.remove(0);
    assert_eq!(delivery.state, DeliveryState::Unwanted);

    // It failed, and meanwhile the call has ended.
    let (mut over, crm) = world(true, &STARTS).await;
    crm.answers([status(500)]);
    over.take(&call_status("CA1", "ringing")).await;
    over.pass(seconds(1)).await;
    over.settled(&call_status("CA1", "completed"), minutes(20)).await;
    assert_eq!(types(&crm), ["call.started", "call.completed"]);
}

#[tokio::test]
async fn a_leg_and_what_was_only_announced_beforehand_have_no_start() {
    let (mut world, crm) = world(true, &STARTS).await;
    let leg = intake(&json!({
        "provider": "asterisk", "externalCallId": "a-1", "clientPhone": "+79991234567",
    }));
    // The intake's source announces nothing.
    world.settled(&leg, minutes(10)).await;
    assert!(!types(&crm).contains(&json!("call.started")));
}

#[tokio::test]
async fn tasks_are_told_once_all_together_after_the_call() {
    let mut world = World::new();
    let events = json!({"filter": {"events": ["call.completed", "call.updated", "task.created"]}});
    let crm = world.crm("crm", "canonical", events).await;
    let plain = world.crm("plain", "canonical", json!({})).await;
    crm.answers([status(500)]);
    world.take(&call_status("CA1", "completed")).await;
    world.pass(seconds(4)).await;
    // An analysis arrives while the call's redelivery is pending.
    let analysed = |tasks| Analysed { tasks, ..Analysed::new(AnalysisState::Done) };
    for tasks in [2, 3] {
        let mut record = world.call();
        record.analysis = Some(analysed(tasks));
        record.owed.insert(Work::Enrich, world.now());
        assert!(matches!(world.store.put_call(&record).await.unwrap(), Put::Stored(_)));
        world.settle(minutes(30)).await;
    }
    assert_eq!(types(&crm), ["call.completed", "call.completed", "task.created"]);
    assert_eq!(types(&plain), ["call.completed"]);
    assert!(!world.owes().await);
}

#[tokio::test]
async fn an_update_never_overtakes_the_call_that_it_updates() {
    let mut world = World::new();
    let events = json!({"filter": {"events": ["call.completed", "call.updated"]}});
    let crm = world.crm("crm", "canonical", events).await;
    crm.answers([status(500), status(500), status(500)]);
    let call = |summary: Option<&str>| asterisk("a-1", json!({ "summary": summary }));
    world.take(&call(None)).await;
    world.pass(minutes(1)).await;
    world.settled(&call(Some("A late fake summary.")), minutes(60 * 10)).await;
    let events = types(&crm);
    let (update, creates) = events.split_last().unwrap();
    assert_eq!((update, creates.len()), (&json!("call.updated"), 4), "{events:?}");
    assert!(creates.iter().all(|one| one == "call.completed"));
}
