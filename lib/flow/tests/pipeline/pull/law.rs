//! The law: lose any webhooks of a day and reconcile once, and every call and every CRM is as if
//! none had been lost. Reconcile once more, and nothing changes.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use serde_json::{Value, json};
use switchboard_domain::{Call, CallKey, CallRecord, Direction};

use super::place::Place;
use super::providers::{Day, day, serve};
use crate::world::{World, both, minutes};

/// What a pulled call lacks, as docs/sync.md says; the law is about the rest.
fn without_what_is_not_listed(provider: &str, call: &Call) -> Call {
    let mut call = call.clone();
    let facts = &mut call.facts;
    match provider {
        "twilio" => {
            facts.answered_at = None;
            facts.billed = None;
            facts.cause = None;
            facts.campaign = None;
        }
        "smartflo" => {
            facts.answered_at = None;
            facts.cause = None;
            if facts.direction == Some(Direction::Outbound) {
                facts.talk = None;
            }
        }
        _ => {}
    }
    call
}

/// The same of a CRM's body.
fn data_without(provider: &str, mut data: Value) -> Value {
    let outbound = data["direction"] == "outbound";
    let lacking: &[&str] = match provider {
        // A start that was estimated at the delivery is no update when it is known.
        "twilio" => &["answered_at", "billed_seconds", "campaign", "started_at", "flags"],
        "smartflo" if outbound => &["answered_at", "talk_seconds"],
        "smartflo" => &["answered_at"],
        _ => &[],
    };
    for name in lacking {
        data[*name] = Value::Null;
    }
    // A number's contact is made by whichever of its calls comes first, and named after that call.
    let contact = &mut data["contact"];
    if contact["id"].is_string() {
        contact["id"] = contact["e164"].clone();
    }
    if contact["matched_by"] == "created" {
        contact["matched_by"] = "number".into();
    }
    data
}

/// How everything stands after a day of which some webhooks came.
#[derive(Debug, PartialEq)]
struct After {
    calls: BTreeMap<CallKey, Call>,
    /// The newest payload of each call at the CRM.
    delivered: BTreeMap<String, Value>,
    /// The calls that were delivered as completed: each once.
    completed: BTreeSet<String>,
}

struct Lived {
    after: After,
    /// Counts of the first reconciliation: calls that it found missing.
    missing: u64,
    again: After,
    missing_again: u64,
    records: Vec<CallRecord>,
    records_again: Vec<CallRecord>,
    posts: usize,
    posts_again: usize,
}

async fn live(day: &Day, comes: &[bool]) -> Lived {
    let mut world = World::new();
    let crm = world.crm("crm", "canonical", both()).await;
    if day.provider == "elevenlabs" {
        let twilio = crate::world::twilio_source(json!({}));
        world.configure("sources/twilio/twilio", twilio);
    }
    let path = format!("sources/{0}/{0}", day.provider);
    world.configure(&path, day.source.clone());
    let mut place = Place::new(world.store.clone(), world.clock.clone());
    serve(&mut place, day);

    let came = day.webhooks.iter().zip(comes).filter(|(_, comes)| **comes).map(|(one, _)| one);
    for webhook in day.always.iter().chain(came) {
        let reply = world.post(webhook).await.unwrap();
        assert!(reply.status < 300, "{}", reply.body);
    }
    world.settle(minutes(30)).await;

    let after = |world: &World| {
        let calls = world.store.calls();
        let calls = calls
            .iter()
            .map(|one| (one.key.clone(), without_what_is_not_listed(day.provider, &one.call)));
        let (mut delivered, mut completed) = (BTreeMap::new(), BTreeSet::new());
        for one in crm.received() {
            let body = one.json();
            let id = body["data"]["call_id"].as_str().unwrap().to_owned();
            if body["type"] == "call.completed" {
                assert!(completed.insert(id.clone()), "delivered twice as completed");
            }
            delivered.insert(id, data_without(day.provider, body["data"].clone()));
        }
        After { calls: calls.collect(), delivered, completed }
    };
    let mut rounds = Vec::new();
    for _ in 0..2 {
        assert_eq!(place.reconcile().await, 1);
        place.settle_into(&world.queue).await;
        world.settle(minutes(60)).await;
        let missing = place.metric("gap").pop().unwrap();
        rounds.push((after(&world), missing, world.store.calls(), crm.received().len()));
        world.pass(minutes(60)).await;
    }
    let (again, missing_again, records_again, posts_again) = rounds.pop().unwrap();
    let (after, missing, records, posts) = rounds.pop().unwrap();
    Lived { after, missing, again, missing_again, records, records_again, posts, posts_again }
}

/// The first difference, in few words.
fn difference(one: &After, other: &After) -> Option<String> {
    let keys = |after: &After| after.calls.keys().cloned().collect::<Vec<_>>();
    if keys(one) != keys(other) || one.completed != other.completed {
        return Some(format!("{:?} {:?}", keys(one), one.completed));
    }
    let call = one.calls.iter().find(|(key, call)| other.calls[key] != **call);
    let delivered =
        || one.delivered.iter().find(|(id, data)| other.delivered.get(*id) != Some(data));
    match call {
        Some((key, call)) => Some(format!("{key}: {call:?}, not {:?}", other.calls[key])),
        None => delivered().map(|(id, data)| format!("{data}, not {:?}", other.delivered.get(id))),
    }
}

fn the_law_of(provider: &str) {
    let day = day(provider);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let all = vec![true; day.webhooks.len()];
    let whole = runtime.block_on(live(&day, &all));
    assert_eq!(whole.missing, 0, "no webhook was lost");
    assert_eq!(difference(&whole.after, &whole.again), None);
    let none = runtime.block_on(live(&day, &vec![false; day.webhooks.len()]));
    assert_eq!(none.missing, day.calls as u64, "every webhook was lost");

    let config = Config { cases: 16, ..Config::default() };
    let subsets = prop::collection::vec(any::<bool>(), day.webhooks.len());
    let mut runner = TestRunner::new(config);
    let result = runner.run(&subsets, |comes| {
        let lived = runtime.block_on(live(&day, &comes));
        prop_assert_eq!(difference(&lived.after, &whole.after), None);
        // Twice is once: nothing is stored, nothing delivered, nothing found missing.
        prop_assert_eq!(difference(&lived.again, &lived.after), None);
        prop_assert!(lived.records_again == lived.records, "the second run stored something");
        prop_assert_eq!(lived.posts_again, lived.posts);
        prop_assert_eq!(lived.missing_again, 0);
        Ok::<(), TestCaseError>(())
    });
    result.unwrap();
}

#[test]
fn lost_webhooks_of_twilio_are_made_good() {
    the_law_of("twilio");
}

#[test]
fn lost_webhooks_of_onecom_are_made_good() {
    the_law_of("onecom");
}

#[test]
fn lost_webhooks_of_smartflo_are_made_good() {
    the_law_of("smartflo");
}

#[test]
fn lost_webhooks_of_elevenlabs_are_made_good() {
    the_law_of("elevenlabs");
}

#[tokio::test]
async fn a_call_whose_end_was_told_is_not_missing_though_something_of_it_is_new() {
    let day = day("twilio");
    let last = b"SequenceNumber=3";
    let is_last = |body: &[u8]| body.windows(last.len()).any(|part| part == last);
    let comes: Vec<bool> = day.webhooks.iter().map(|one| is_last(&one.body)).collect();
    let lived = live(&day, &comes).await;
    let updates = lived.records.iter().map(|call| call.updates.len()).max();
    assert!(updates > Some(1), "the list has the start");
    assert_eq!(lived.missing, 0);
}

#[tokio::test]
async fn what_a_webhook_told_is_not_overridden_by_the_list() {
    let day = day("smartflo");
    let lived = live(&day, &vec![true; day.webhooks.len()]).await;
    let outbound = |call: &&CallRecord| call.call.facts.direction == Some(Direction::Outbound);
    let talks: Vec<_> =
        lived.records.iter().filter(outbound).map(|call| call.call.facts.talk.unwrap().0).collect();
    // The customer's own leg, and not the 25 seconds that were answered by anybody.
    assert_eq!(talks, [21, 0]);
}
