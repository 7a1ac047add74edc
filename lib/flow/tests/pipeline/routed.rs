//! Which destinations receive a call: legs, filters, pauses, destinations that come and go.

use serde_json::{Value, json};
use switchboard_domain::{Attempt, DeliveryState};

use crate::samples::{Webhook, call_status, intake, sample};
use crate::servers::Crm;
use crate::world::{START, World, minutes, twilio_source};

fn call_ids(crm: &Crm) -> Vec<Value> {
    let mut ids: Vec<Value> =
        crm.received().iter().map(|request| request.json()["data"]["call_id"].clone()).collect();
    ids.sort_by_key(Value::to_string);
    ids
}

#[tokio::test]
async fn a_leg_is_told_only_where_the_source_wants_each() {
    let (parent, leg) =
        (json!("CA0000000000000000000000000000000b"), json!("CA0000000000000000000000000000000c"));
    for (source, expected) in [
        (json!({}), vec![parent.clone()]),
        (json!({"legs": "parent"}), vec![parent.clone()]),
        (json!({"legs": "each"}), vec![parent, leg]),
    ] {
        let mut world = World::new();
        world.configure("sources/twilio/twilio", twilio_source(source));
        let crm = world.crm("crm", "canonical", json!({})).await;
        for webhook in sample("twilio", "dialled-leg") {
            world.take(&webhook).await;
        }
        world.settle(minutes(30)).await;
        assert!(!world.owes().await);
        assert_eq!(world.store.calls().len(), 2);
        assert_eq!(call_ids(&crm), expected);
    }
}

#[tokio::test]
async fn a_filter_keeps_back_what_it_does_not_list_and_nothing_else() {
    let webhooks: Vec<Webhook> = vec![
        call_status("CA1", "completed"),
        call_status("CA2", "no-answer"),
        intake(&json!({"provider": "asterisk", "externalCallId": "a-1", "direction": "inbound",
            "clientPhone": "+79991234567", "durationSec": 5, "status": "answered"})),
    ];
    for (filter, expected) in [
        (json!({}), vec!["CA1", "CA2", "a-1"]),
        (json!({"providers": ["twilio"]}), vec!["CA1", "CA2"]),
        (json!({"sources": ["asterisk"]}), vec!["a-1"]),
        (json!({"directions": ["inbound"]}), vec!["a-1"]),
        (json!({"outcomes": ["answered"]}), vec!["CA1", "a-1"]),
        (json!({"min_talk_seconds": 6}), vec!["CA1"]),
        (json!({"outcomes": ["voicemail"]}), vec![]),
    ] {
        let (mut world, crm) = World::with_crm(json!({"filter": filter})).await;
        let all = world.crm("all", "canonical", json!({})).await;
        for webhook in &webhooks {
            world.take(webhook).await;
        }
        world.settle(minutes(30)).await;
        assert!(!world.owes().await);
        assert_eq!(call_ids(&crm), expected, "{filter}");
        assert_eq!(call_ids(&all).len(), 3);
    }
}

#[tokio::test]
async fn a_paused_destination_gets_nothing_until_it_is_unpaused_and_then_everything() {
    let (mut world, crm) = World::with_crm(json!({"paused": true})).await;
    let other = world.crm("other", "canonical", json!({})).await;
    for n in 1..=3 {
        world.take(&call_status(&format!("CA{n}"), "no-answer")).await;
    }
    world.pass(minutes(35)).await;
    assert_eq!((crm.received().len(), other.received().len()), (0, 3));
    let deliveries = world.deliveries().await;
    let mut deferred = deliveries.iter().filter(|one| one.id.destination.as_str() == "crm");
    // Being paused costs no attempt.
    assert!(deferred.all(|one| (one.state, one.failures) == (DeliveryState::Pending, 0)));
    world.destination("crm", &crm.url(), "canonical", json!({}));
    let unpaused_at = world.now();
    world.settle(minutes(60)).await;
    assert_eq!((crm.entries().len(), crm.received().len(), other.received().len()), (3, 3, 3));
    for request in crm.received() {
        assert!(request.at.duration_since(unpaused_at) <= minutes(11));
    }
    assert!(!world.owes().await);
}

#[tokio::test]
async fn a_destination_that_is_gone_keeps_its_deliveries_and_gets_them_when_it_is_back() {
    let (mut world, crm) = World::with_crm(json!({"paused": true})).await;
    world.take(&call_status("CA1", "no-answer")).await;
    world.pass(minutes(1)).await;
    world.unconfigure("destinations/crm");
    world.pass(minutes(60 * 30)).await;
    let delivery = world.deliveries().await.remove(0);
    assert_eq!(delivery.state, DeliveryState::Pending);
    let expected = |attempt: &Attempt| attempt.result == "its destination is not configured";
    assert!(!delivery.attempts.is_empty() && delivery.attempts.iter().all(expected));
    world.destination("crm", &crm.url(), "canonical", json!({}));
    world.settle(minutes(60 * 48)).await;
    assert_eq!(crm.received().len(), 1);
    assert_eq!(crm.received()[0].header("idempotency-key"), delivery.idempotency_key());
    assert!(!world.owes().await);
}

#[tokio::test]
async fn a_destination_that_never_comes_back_ends_in_failed_after_days_and_is_kept() {
    let (mut world, crm) = World::with_crm(json!({"paused": true})).await;
    world.take(&call_status("CA1", "no-answer")).await;
    world.pass(minutes(1)).await;
    world.unconfigure("destinations/crm");
    world.settle(minutes(60 * 24 * 10)).await;
    assert!(world.now().duration_since(START.parse().unwrap()) > minutes(60 * 48));
    assert!(!world.owes().await);
    let delivery = world.deliveries().await.remove(0);
    assert_eq!((delivery.state, delivery.failures), (DeliveryState::Failed, 6));
    assert!(crm.received().is_empty());
}

#[tokio::test]
async fn a_destination_that_cannot_be_read_waits_and_is_told_when_mended_if_it_wants_it() {
    for (filter, state, expected) in [
        (json!({}), DeliveryState::Delivered, 1),
        (json!({"outcomes": ["answered"]}), DeliveryState::Unwanted, 0),
    ] {
        let (mut world, crm) = World::with_crm(json!({})).await;
        let other = world.crm("other", "canonical", json!({})).await;
        let said = world.misconfigure("destinations/crm", r#"{"url": "fake-misplaced-secret"}"#);
        assert!(said.contains("destinations/crm") && !said.contains("fake-misplaced"), "{said}");
        world.take(&call_status("CA1", "no-answer")).await;
        world.pass(minutes(60 * 24)).await;
        assert_eq!((crm.received().len(), other.received().len()), (0, 1));
        let delivery = world.deliveries().await.remove(0);
        assert_eq!((delivery.state, delivery.failures), (DeliveryState::Pending, 0));
        world.destination("crm", &crm.url(), "canonical", json!({"filter": filter}));
        world.settle(minutes(60)).await;
        assert_eq!((crm.received().len(), other.received().len()), (expected, 1));
        assert_eq!(world.deliveries().await[0].state, state);
        assert!(!world.owes().await);
    }
}

#[tokio::test]
async fn numbers_are_told_in_e164_with_the_country_of_the_source() {
    let mut world = World::new();
    let flat = world.crm("flat", "conversation-ai", json!({})).await;
    let full = world.crm("full", "canonical", json!({})).await;
    world.settled(&sample("intake", "batch-of-one")[0], minutes(30)).await;
    assert_eq!(flat.received()[0].json()["to"], "+79991112233");
    assert_eq!(full.received()[0].json()["data"]["contact"]["e164"], "+79991112233");
    assert_eq!(full.received()[0].json()["data"]["employee"]["e164"], Value::Null);
    assert_eq!(flat.received()[0].at.to_string(), START);
}

#[tokio::test]
async fn the_correlation_id_of_the_answer_is_that_of_the_request_to_the_crm() {
    let (mut world, crm) = World::with_crm(json!({})).await;
    let reply = world.post(&call_status("CA1", "no-answer")).await.unwrap();
    world.settle(minutes(30)).await;
    assert_eq!(reply.headers["x-correlation-id"], crm.received()[0].header("x-correlation-id"));
    let id = &reply.headers["x-correlation-id"];
    let lines = world.log.lines();
    assert!(lines.iter().filter(|line| line.contains(id.as_str())).count() >= 3);
}
