//! Two workers, one piece of work.

use serde_json::json;
use switchboard_domain::DeliveryState;
use switchboard_queue::Job;

use crate::effects::{Fault, Which};
use crate::samples::{call_status, call_status_at, sample};
use crate::servers::{Answer, Talk};
use crate::world::{START, World, minutes, seconds};

/// The destination's timeout and fifteen seconds.
const LEASE: i64 = 1 + 15;

/// A world with one call whose delivery is planned and not yet tried.
async fn planned(world: &mut World) -> Job {
    world.take(&sample("intake", "minimal")[0]).await;
    let jobs = world.take_jobs();
    let [job @ Job::Enrich { .. }] = &jobs[..] else { panic!("{jobs:?}") };
    world.work(job).await.unwrap();
    let mut jobs = world.take_jobs();
    assert!(matches!(jobs[..], [Job::Deliver { .. }]), "{jobs:?}");
    jobs.remove(0)
}

#[tokio::test]
async fn two_deliver_workers_at_once_send_one_request() {
    let (mut world, crm) = World::with_crm(json!({"timeout_seconds": 1})).await;
    let job = planned(&mut world).await;
    world.work_twice(&job).await;
    assert_eq!(crm.received().len(), 1);
    world.work(&job).await.unwrap();
    assert_eq!(crm.received().len(), 1);
}

#[tokio::test]
async fn two_enrich_workers_at_once_ask_once_and_plan_once() {
    let mut world = World::new();
    world.crm("crm", "canonical", json!({})).await;
    let elevenlabs = world.elevenlabs().await;
    elevenlabs.holds(Talk::on("CA1", START.parse().unwrap()));
    let target = "/call-status-callback?conversation_id=conv_1";
    world.take(&call_status_at(target, "CA1", "completed")).await;
    world.clock.pass(seconds(3));
    let job = world.take_jobs().remove(0);
    world.work_twice(&job).await;
    assert_eq!(elevenlabs.received().len(), 1);
    assert_eq!(world.deliveries().await.len(), 1);
}

#[tokio::test]
async fn two_enrich_workers_at_once_plan_once_without_a_conversation_too() {
    let (mut world, crm) = World::with_crm(json!({})).await;
    world.take(&call_status("CA1", "completed")).await;
    world.clock.pass(seconds(3));
    let job = world.take_jobs().remove(0);
    world.work_twice(&job).await;
    world.settle(minutes(10)).await;
    assert_eq!((world.deliveries().await.len(), crm.received().len()), (1, 1));
}

#[tokio::test]
async fn a_worker_that_dies_after_the_crms_200_is_followed_by_another_after_the_lease() {
    let (mut world, crm) = World::with_crm(json!({"timeout_seconds": 1})).await;
    world.returns = false;
    let job = planned(&mut world).await;
    world.effects.arm(Which::Next("crm"), Fault::Crash);
    tokio::select! {
        biased;
        () = world.effects.crashed() => {}
        result = world.work(&job) => panic!("it did not die: {:?}", result.is_ok()),
    }
    assert_eq!(crm.received().len(), 1);

    // While the lease lasts, no worker claims it, however often the job is sent.
    for _ in 0..LEASE - 3 {
        world.clock.pass(seconds(1));
        world.work(&job).await.unwrap();
    }
    assert_eq!(crm.received().len(), 1);
    world.settle(minutes(10)).await;
    let received = crm.received();
    assert_eq!(received.len(), 2);
    let waited = received[1].at.duration_since(received[0].at);
    assert!((seconds(LEASE)..=seconds(LEASE + 60)).contains(&waited), "{waited:?}");
    assert_eq!(crm.entries().len(), 1);
    assert_eq!(world.deliveries().await[0].state, DeliveryState::Delivered);
    assert!(!world.owes().await);
}

#[tokio::test]
async fn a_worker_that_is_overtaken_does_not_undo_what_the_other_did() {
    let (mut world, crm) = World::with_crm(json!({"timeout_seconds": 1})).await;
    crm.answers([Answer::Hang]);
    let job = planned(&mut world).await;
    let other = async {
        while crm.received().is_empty() {
            tokio::task::yield_now().await;
        }
        // Far slower than it should be: its lease has run out.
        world.clock.pass(seconds(LEASE));
        world.work(&job).await
    };
    let (one, two) = tokio::join!(world.work(&job), other);
    one.unwrap();
    two.unwrap();
    let delivery = world.deliveries().await.remove(0);
    assert_eq!((delivery.state, delivery.failures), (DeliveryState::Delivered, 0));
    assert_eq!((crm.received().len(), crm.entries().len()), (2, 1));
    assert!(world.log.lines().concat().contains("delivery overtaken"));
    world.settle(minutes(60)).await;
    assert_eq!(crm.received().len(), 2);
}
