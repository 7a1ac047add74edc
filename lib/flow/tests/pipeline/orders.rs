//! The callbacks of a call in every order.

use serde_json::json;
use switchboard_domain::Call;

use jiff::SignedDuration;

use crate::samples::{Webhook, call_status, machine, recording};
use crate::world::{World, both, minutes, seconds};

fn permutations(of: &[Webhook]) -> Vec<Vec<Webhook>> {
    if of.is_empty() {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for (n, first) in of.iter().enumerate() {
        let mut rest = of.to_vec();
        rest.remove(n);
        for mut tail in permutations(&rest) {
            tail.insert(0, first.clone());
            all.push(tail);
        }
    }
    all
}

/// What a run left behind: the call, and the bodies that each CRM got.
struct Left {
    call: Call,
    flat: Vec<Vec<u8>>,
    full: Vec<Vec<u8>>,
}

async fn run(webhooks: &[Webhook], gap: SignedDuration) -> Left {
    let mut world = World::new();
    let flat = world.crm("flat", "conversation-ai", json!({})).await;
    let full = world.crm("full", "canonical", both()).await;
    for webhook in webhooks {
        world.take(webhook).await;
        world.pass(gap).await;
    }
    world.settle(minutes(60)).await;
    assert!(!world.owes().await);
    assert_eq!(world.call().updates.len(), 4);
    // Every event under a key of its own, and none repeated.
    assert_eq!(flat.entries().len(), flat.received().len());
    assert_eq!(full.entries().len(), full.received().len());
    let bodies =
        |crm: &crate::servers::Crm| crm.received().into_iter().map(|one| one.body).collect();
    Left { call: world.call().call, flat: bodies(&flat), full: bodies(&full) }
}

fn sets() -> [[Webhook; 4]; 2] {
    let status = |status| call_status("CA1", status);
    [
        [status("initiated"), status("ringing"), status("completed"), recording("CA1")],
        [status("initiated"), machine("CA1"), status("completed"), recording("CA1")],
    ]
}

#[tokio::test]
async fn four_callbacks_within_seconds_are_one_and_the_same_request_in_all_24_orders() {
    for set in sets() {
        for gap in [SignedDuration::ZERO, SignedDuration::from_millis(700)] {
            let mut first: Option<Left> = None;
            let orders = permutations(&set);
            assert_eq!(orders.len(), 24);
            for order in orders {
                let left = run(&order, gap).await;
                assert_eq!((left.flat.len(), left.full.len()), (1, 1));
                let Some(first) = &first else {
                    first = Some(left);
                    continue;
                };
                assert_eq!(first.call, left.call);
                assert_eq!(first.flat, left.flat);
                assert_eq!(first.full, left.full);
            }
            let body = String::from_utf8(first.unwrap().full.remove(0)).unwrap();
            assert!(body.contains("recordings/RE1"), "{body}");
        }
    }
}

#[tokio::test]
async fn four_callbacks_minutes_apart_are_one_call_and_at_most_one_update_in_all_24_orders() {
    for (n, set) in sets().into_iter().enumerate() {
        let mut calls: Vec<Call> = Vec::new();
        let mut flat: Vec<Vec<u8>> = Vec::new();
        let mut updates = 0;
        for order in permutations(&set) {
            let left = run(&order, seconds(90)).await;
            assert_eq!(left.flat.len(), 1);
            assert!((1..=2).contains(&left.full.len()));
            let kinds: Vec<String> = left
                .full
                .iter()
                .map(|body| serde_json::from_slice::<serde_json::Value>(body).unwrap())
                .map(|body| body["type"].as_str().unwrap().to_owned())
                .collect();
            assert_eq!(kinds, ["call.completed", "call.updated"][..kinds.len()]);
            updates += kinds.len() - 1;
            calls.push(left.call);
            flat.extend(left.flat);
        }
        assert!(calls.iter().all(|call| *call == calls[0]));
        // In half of the orders the recording comes after `completed`; with the machine in two thirds one does.
        assert_eq!(updates, [12, 16][n]);
        if n == 0 {
            // Nothing of what comes late has a place in this body.
            assert!(flat.iter().all(|body| *body == flat[0]));
        }
    }
}
