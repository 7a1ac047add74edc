//! What a CRM calls calls and contacts: learned once, kept, and found again.

use std::collections::BTreeMap;

use serde_json::json;
use switchboard_domain::delivery::DeliveryState;

use crate::effects::{Fault, Which};
use crate::hubspot::HubSpot;
use crate::samples::{call_status, recording};
use crate::servers::status;
use crate::world::{World, merged, minutes};

const NUMBER: &str = "+61491570156";

async fn delivering(more: serde_json::Value) -> (World, HubSpot) {
    let mut world = World::new();
    let hubspot = HubSpot::start(&world.clock).await;
    let mut destination = merged(hubspot.destination(), more);
    destination.as_object_mut().unwrap().remove("signing_secrets");
    world.configure("destinations/hub", destination);
    (world, hubspot)
}

async fn results(world: &World) -> Vec<String> {
    let deliveries = world.deliveries().await;
    let attempts = deliveries.iter().flat_map(|one| &one.attempts);
    attempts.map(|attempt| attempt.result.clone()).collect()
}

/// What CRMs call the contact of the calls of this test.
async fn known_as(world: &World) -> BTreeMap<String, String> {
    let entry = world.store.calls()[0].people.contact.as_ref().unwrap().entry.clone().unwrap();
    let contact = world.directory.contact(&entry).await.unwrap().unwrap();
    contact.known_as.into_iter().map(|(name, id)| (name.to_string(), id)).collect()
}

#[tokio::test]
async fn a_contact_is_created_once_and_then_known() {
    let (mut world, hubspot) = delivering(json!({"contacts": "find_or_create"})).await;
    for call in ["CA1", "CA2", "CA3"] {
        world.settled(&call_status(call, "completed"), minutes(30)).await;
    }
    assert_eq!(
        results(&world).await,
        [
            "delivered: 200, contact created",
            "delivered: 200, contact known",
            "delivered: 200, contact known",
        ]
    );
    assert_eq!(hubspot.asked("/contacts/search"), 1);
    let (calls, contacts) =
        hubspot.account(|state| (state.associations.len(), state.contacts.clone()));
    assert_eq!((calls, contacts.len()), (3, 1));
    let id = contacts.into_keys().next().unwrap();
    assert_eq!(known_as(&world).await, BTreeMap::from([("hub".to_owned(), id)]));
}

#[tokio::test]
async fn a_contact_that_is_gone_there_is_forgotten_here() {
    let (mut world, hubspot) = delivering(json!({})).await;
    hubspot.account(|state| state.contact("c501", &[("phone", NUMBER)]));
    world.settled(&call_status("CA1", "completed"), minutes(30)).await;
    assert_eq!(known_as(&world).await["hub"], "c501");
    // Merged into another.
    hubspot.account(|state| {
        state.contacts.clear();
        state.contact("c502", &[("phone", NUMBER)]);
    });
    world.settled(&call_status("CA2", "completed"), minutes(30)).await;
    assert_eq!(known_as(&world).await["hub"], "c502");
    // And deleted.
    hubspot.account(|state| state.contacts.clear());
    world.settled(&call_status("CA3", "completed"), minutes(30)).await;
    assert_eq!(known_as(&world).await, BTreeMap::new());
    let last = results(&world).await.pop().unwrap();
    assert_eq!(last, "delivered: 200, no contact: unknown");
    assert_eq!(hubspot.account(|state| state.calls.len()), 3);
}

#[tokio::test]
async fn an_update_changes_the_entry_however_it_is_found() {
    for deduplication in ["upsert", "none"] {
        let (mut world, hubspot) = delivering(json!({"deduplication": deduplication})).await;
        world.settled(&call_status("CA1", "completed"), minutes(30)).await;
        world.settled(&recording("CA1"), minutes(30)).await;
        let deliveries = world.deliveries().await;
        assert_eq!(deliveries.len(), 2);
        assert!(deliveries.iter().all(|one| one.state == DeliveryState::Delivered));
        let calls = hubspot.account(|state| state.calls.clone());
        assert_eq!(calls.len(), 1, "{deduplication}");
        let properties = calls.values().next().unwrap();
        assert!(properties.contains_key("hs_call_recording_url"));
    }
}

/// The process is gone after the CRM's response that it has the call, and before that is stored.
#[tokio::test]
async fn after_a_crash_there_is_what_is_declared() {
    for (deduplication, entries) in [("upsert", 1), ("none", 2)] {
        let mut last = None;
        for crashes in [false, true] {
            let changes = json!({"deduplication": deduplication, "contacts": "find_or_create"});
            let (mut world, hubspot) = delivering(changes).await;
            if crashes {
                // The write of the result, which is the last but for the contact's.
                world.effects.arm(Which::Nth(last.unwrap()), Fault::Crash);
            }
            world.settled(&call_status("CA1", "completed"), minutes(60)).await;
            let log = world.effects.log();
            last = log.iter().rposition(|what| *what == "put contact").map(|at| at + 1);
            assert_eq!(world.effects.hit(), crashes.then_some("put contact"));
            let state = hubspot.account(|state| (state.calls.len(), state.contacts.len()));
            assert_eq!(state, (if crashes { entries } else { 1 }, 1), "{deduplication}");
            assert!(!world.owes().await);
        }
    }
}

#[tokio::test]
async fn what_was_learned_before_trouble_is_not_looked_for_again() {
    let (mut world, hubspot) =
        delivering(json!({"deduplication": "none", "contacts": "find_or_create"})).await;
    hubspot.with(|state| state.script.push_back(("/objects/calls".into(), status(503))));
    world.settled(&call_status("CA1", "completed"), minutes(30)).await;
    assert_eq!(results(&world).await, ["failed there: 503", "delivered: 201, contact known"]);
    // The call was created, and then it could not be attached.
    let associated = |state: &mut crate::hubspot::State| {
        let path = "/contacts/".to_owned() + state.hubspot.crm.contacts.keys().next().unwrap();
        state.script.push_back((path, status(502)));
    };
    hubspot.with(associated);
    world.settled(&call_status("CA2", "completed"), minutes(30)).await;
    let (calls, contacts) = hubspot.account(|state| (state.calls.len(), state.contacts.len()));
    assert_eq!((calls, contacts), (2, 1));
    assert_eq!(hubspot.account(|state| state.associations.len()), 2);
}
