//! What a filter or a late configuration keeps back, and redelivery on request.

use serde_json::{Value, json};
use switchboard_domain::directory::ContactKind;
use switchboard_domain::{Analysed, AnalysisState, DeliveryState, Work};
use switchboard_flow::redeliver::{Again, redeliver};
use switchboard_flow::rematch::{Counts, Rematch};
use switchboard_flow::replay::Progress;
use switchboard_queue::Job;

use crate::people::contact;
use crate::samples::{asterisk, call_status};
use crate::servers::{Answer, Crm};
use crate::world::{World, minutes};

struct Quiet;

impl Progress for Quiet {
    fn begin(&mut self, _: Option<usize>) {}
    fn read(&mut self) {}
    fn line(&mut self, _: &str) {}
}

fn types(crm: &Crm) -> Vec<Value> {
    crm.received().iter().map(|request| request.json()["type"].clone()).collect()
}

async fn rematch(world: &World, dry_run: bool) -> Counts {
    let store = &if dry_run { world.store.dry_run() } else { world.store.clone() };
    let (directory, configuration) = (&world.directory, world.configuration());
    let (now, counts, progress) = (world.now(), Counts::default(), &mut Quiet);
    let mut run = Rematch { store, directory, configuration, now, progress, counts };
    run.call(&world.call().key).await.unwrap();
    run.counts
}

/// What has `enrich` run again after a call was delivered.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Cause {
    Rematch,
    Tasks,
    Summary,
    Work,
}

async fn happens(world: &mut World, cause: Cause) {
    match cause {
        Cause::Rematch => {
            let kim = contact("kim", ContactKind::Client, &["+79991234567"], &[]);
            world.directory.put_contact(&kim).await.unwrap();
            let foreseen = rematch(world, true).await;
            assert_eq!((foreseen.changed, foreseen.deliveries), (1, 1));
            assert_eq!(rematch(world, false).await, foreseen);
        }
        Cause::Summary => {
            let summary = json!({"clientPhone": "+79991234567", "summary": "A late fake summary.", "durationSec": 80});
            world.take(&asterisk("a-1", summary)).await;
        }
        Cause::Tasks | Cause::Work => {
            let mut record = world.call();
            if cause == Cause::Tasks {
                record.analysis = Some(Analysed { tasks: 2, ..Analysed::new(AnalysisState::Done) });
            }
            record.owed.insert(Work::Enrich, world.now());
            world.store.put_call(&record).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_destination_or_filter_of_later_gets_nothing_of_an_earlier_call_by_itself() {
    let events = ["call.completed", "call.updated", "task.created"];
    let excluded = json!({"filter": {"events": events, "outcomes": ["busy"]}});
    for cause in [Cause::Rematch, Cause::Tasks, Cause::Summary, Cause::Work] {
        let mut world = World::new();
        let all = json!({"filter": {"events": events}});
        let crm = world.crm("crm", "canonical", all.clone()).await;
        let widened = world.crm("widened", "canonical", excluded.clone()).await;
        let long = json!({"filter": {"events": events, "min_talk_seconds": 70}});
        let call = json!({"clientPhone": "+79991234567"});
        world.settled(&asterisk("a-1", call), minutes(30)).await;
        world.pass(minutes(90)).await;
        let late = world.crm("late", "canonical", all.clone()).await;
        world.destination("widened", &widened.url(), "canonical", all.clone());
        let narrow = world.crm("narrow", "canonical", long).await;
        world.misconfigure("destinations/unread", "{");
        happens(&mut world, cause).await;
        world.settle(minutes(30)).await;
        for crm in [late, widened, narrow] {
            assert_eq!(types(&crm), [] as [Value; 0], "{cause:?}");
        }
        let more: &[&str] = match cause {
            Cause::Rematch | Cause::Summary => &["call.completed", "call.updated"],
            Cause::Tasks => &["call.completed", "task.created"],
            Cause::Work => &["call.completed"],
        };
        assert_eq!(types(&crm), more, "{cause:?}");
        assert_eq!(world.call().deliveries.len(), more.len(), "{cause:?}");
    }
}

#[tokio::test]
async fn a_filter_that_new_facts_pass_lets_the_call_through() {
    let mut world = World::new();
    let long = json!({"filter": {"min_talk_seconds": 60}});
    let crm = world.crm("crm", "canonical", long).await;
    for (seconds, deliveries) in [(Value::Null, 0), (json!(90), 1)] {
        let call = json!({"durationSec": seconds});
        world.settled(&asterisk("a-1", call), minutes(30)).await;
        assert_eq!(crm.received().len(), deliveries, "{seconds}");
    }
}

#[tokio::test]
async fn what_was_kept_back_is_delivered_on_request_whatever_the_filter() {
    let mut world = World::new();
    let busy = json!({"filter": {"outcomes": ["busy"]}});
    let crm = world.crm("crm", "canonical", busy).await;
    world.settled(&call_status("CA1", "completed"), minutes(30)).await;
    let (key, id) = (world.call().key, "crm#call.completed".parse().unwrap());
    let again = async |world: &World, creates, nonce| {
        redeliver(&world.store, &key, &id, creates, nonce, world.now()).await.unwrap()
    };
    assert_eq!(again(&world, false, "n-1").await, Again::Unknown);
    let Again::Due(delivery) = again(&world, true, "n-1").await else { panic!() };
    world.settle(minutes(30)).await;
    assert_eq!(types(&crm), ["call.completed"]);
    assert_eq!(crm.received()[0].header("idempotency-key"), delivery.idempotency_key());
    // A delivery that the filter kept back when it was due as well.
    let [mut delivery] = world.deliveries().await.try_into().unwrap();
    (delivery.state, delivery.nonce) = (DeliveryState::Unwanted, None);
    world.store.put_delivery(&delivery, None).await.unwrap();
    assert!(matches!(again(&world, true, "n-2").await, Again::Due(_)));
    world.settle(minutes(30)).await;
    assert_eq!(crm.received().len(), 2);
    // A call that still owes its deliveries plans them itself.
    world.take(&call_status("CA2", "completed")).await;
    let early = world.store.calls().into_iter().find(|call| call.key.call_id() == "CA2").unwrap();
    let again = redeliver(&world.store, &early.key, &id, true, "n-3", world.now()).await.unwrap();
    assert_eq!(again, Again::TooEarly);
}

#[tokio::test]
async fn a_delivery_in_flight_is_not_redelivered() {
    let (mut world, crm) = World::with_crm(json!({"timeout_seconds": 1})).await;
    crm.answers([Answer::Hang]);
    world.take(&call_status("CA1", "completed")).await;
    let [enrich] = &world.take_jobs()[..] else { panic!() };
    world.clock.pass(minutes(1));
    world.work(enrich).await.unwrap();
    let [Job::Deliver { call, delivery }] = &world.take_jobs()[..] else { panic!() };
    let job = Job::Deliver { call: call.clone(), delivery: delivery.clone() };
    let meanwhile = async {
        while crm.received().is_empty() {
            tokio::task::yield_now().await;
        }
        redeliver(&world.store, call, delivery, true, "n-1", world.now()).await.unwrap()
    };
    let (worked, again) = tokio::join!(world.work(&job), meanwhile);
    worked.unwrap();
    assert_eq!(again, Again::Busy);
    world.settle(minutes(30)).await;
    let keys: Vec<_> =
        crm.received().iter().map(|one| one.header("idempotency-key").to_owned()).collect();
    assert!(keys.len() == 2 && keys[0] == keys[1], "{keys:?}");
    assert_eq!(world.deliveries().await[0].attempts.len(), 2);
}
