//! The same webhook, again and again and at the same time.

use futures_util::future::join_all;
use serde_json::json;

use crate::effects::{Fault, Which};
use crate::samples::{Webhook, call_status, call_status_at, recording, sample};
use crate::servers::Talk;
use crate::world::{START, World, minutes};

async fn fifty_at_once(world: &mut World, webhook: &Webhook) {
    let replies = join_all((0..50).map(|_| world.post(webhook))).await;
    let (mut accepted, mut duplicates) = (0, 0);
    for reply in replies {
        let reply = reply.unwrap();
        assert_eq!(reply.status, 200);
        accepted += reply.body["accepted"].as_u64().unwrap();
        duplicates += reply.body["duplicates"].as_u64().unwrap();
    }
    assert_eq!((accepted, duplicates), (1, 49));
    assert_eq!(world.call().updates.len(), 1);
    world.settle(minutes(30)).await;
    assert!(!world.owes().await);
}

#[tokio::test]
async fn the_same_webhook_fifty_times_at_once_is_one_call_and_one_request() {
    for webhook in [&call_status("CA1", "completed"), &sample("intake", "minimal")[0]] {
        let mut world = World::new();
        let crm = world.crm("crm", "conversation-ai", json!({})).await;
        fifty_at_once(&mut world, webhook).await;
        assert_eq!(world.deliveries().await.len(), 1);
        assert_eq!(crm.received().len(), 1);
    }
}

#[tokio::test]
async fn fifty_at_once_ask_for_the_conversation_once() {
    let mut world = World::new();
    let crm = world.crm("crm", "conversation-ai", json!({})).await;
    let elevenlabs = world.elevenlabs().await;
    elevenlabs.holds(Talk::on("CA1", START.parse().unwrap()));
    let target = "/call-status-callback?conversation_id=conv_1";
    let webhook = call_status_at(target, "CA1", "completed");
    let replies = join_all((0..50).map(|_| world.post(&webhook))).await;
    assert!(replies.iter().all(|reply| reply.as_ref().unwrap().status == 200));
    world.settle(minutes(30)).await;
    assert_eq!(elevenlabs.received().len(), 1);
    assert_eq!(crm.received().len(), 1);
    assert_eq!(crm.received()[0].json()["summary"], "A fake summary.");
}

#[tokio::test]
async fn many_different_messages_of_one_call_at_once_all_land() {
    let (mut world, crm) = World::with_crm(json!({})).await;
    let mut webhooks: Vec<Webhook> = ["initiated", "ringing", "in-progress", "completed"]
        .map(|status| call_status("CA1", status))
        .to_vec();
    webhooks.push(recording("CA1"));
    let all: Vec<&Webhook> = webhooks.iter().cycle().take(50).collect();
    let replies = join_all(all.into_iter().map(|webhook| world.post(webhook))).await;
    let sum = |name: &str| -> u64 {
        replies.iter().map(|reply| reply.as_ref().unwrap().body[name].as_u64().unwrap()).sum()
    };
    assert_eq!((sum("accepted"), sum("duplicates")), (5, 45));
    assert_eq!(world.call().updates.len(), 5);
    world.settle(minutes(30)).await;
    assert_eq!(crm.received().len(), 1);
}

#[tokio::test]
async fn a_queue_that_is_down_is_no_reason_to_refuse_a_webhook() {
    let mut world = World::new();
    let crm = world.crm("crm", "conversation-ai", json!({})).await;
    world.effects.arm(Which::Next("send"), Fault::Refused);
    world.take(&call_status("CA1", "completed")).await;
    assert!(world.take_jobs().is_empty());
    world.settle(minutes(30)).await;
    assert_eq!(crm.received().len(), 1);
}
