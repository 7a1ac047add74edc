//! Destinations that fail, ask for time, are gone, are paused or drained, or may be sent to so fast.

use std::collections::BTreeSet;

use jiff::Timestamp;
use jiff::fmt::strtime;
use serde_json::{Value, json};
use switchboard_domain::gate::{Breaker, Change, Gate, Mode, most_probes};
use switchboard_domain::{Deferred, DeliveryState, Name};
use switchboard_flow::gates::Gates;
use switchboard_flow::sweep::Sweep;
use switchboard_queue::{Job, Queue as _, Send};

use crate::effects::{Fault, Which};
use crate::samples::{Webhook, asterisk};
use crate::servers::{Answer, Crm, status, with};
use crate::world::{World, minutes, seconds};

fn webhook(n: usize) -> Webhook {
    asterisk(&format!("ast-{n}"), json!({"endedAt": "2026-02-20T09:29:00Z"}))
}

fn name(text: &str) -> Name {
    Name::new("destination", text).unwrap()
}

async fn gate(world: &World) -> Gate {
    world.store.gate(&name("crm")).await.unwrap().unwrap()
}

/// What an operator does.
async fn operate(world: &World, change: Change) {
    let known = world.store.gate(&name("crm")).await.unwrap();
    let gate = known.unwrap_or_else(|| Gate::new(name("crm")));
    world.store.put_gate(&gate.after(&change, world.now()).unwrap()).await.unwrap();
    // Workers know of it when what they know is read again.
    world.clock.pass(seconds(6));
}

async fn take(world: &World, calls: impl IntoIterator<Item = usize>) {
    for n in calls {
        world.take(&webhook(n)).await;
    }
}

fn at(crm: &Crm) -> Vec<Timestamp> {
    crm.received().iter().map(|request| request.at).collect()
}

/// Every call was delivered, each under its own key once, or again after a response that was no 2xx.
fn assert_all_delivered(crm: &Crm, calls: usize) {
    assert_eq!(crm.entries().len(), calls);
}

#[tokio::test]
async fn a_destination_that_fails_is_left_alone_probed_and_told_everything_when_it_is_back() {
    let (mut world, crm) = World::with_crm(json!({"timeout_seconds": 1})).await;
    let other = world.crm("other", "canonical", json!({})).await;
    crm.always(status(500));
    for n in 0..90 {
        take(&world, [n]).await;
        world.pass(minutes(2)).await;
    }
    assert_eq!(other.received().len(), 90);
    // Three hours, most of it a breaker's: the failures that opened it, and its probes.
    let opened = 6;
    let tried = crm.received().len();
    assert!(tried <= opened + most_probes(minutes(180)) as usize, "{tried} requests");
    assert!(gate(&world).await.is_open());
    let said = world.log.lines().concat();
    for metric in ["breaker_opened", "probe_failed", "breaker_open"] {
        assert!(said.contains(metric), "{metric}");
    }

    crm.always(status(200));
    let back_at = world.now();
    world.settle(minutes(30)).await;
    assert!(!world.owes().await);
    assert_all_delivered(&crm, 90);
    let last = at(&crm).last().copied().unwrap();
    // The next probe, the minute of a sweep, and ten a second.
    let took = last.duration_since(back_at);
    assert!(took <= minutes(7), "{took:?}");
    assert_eq!(gate(&world).await.breaker, Breaker::Closed);
    assert!(world.log.lines().concat().contains("breaker_closed"));
    let deliveries = world.deliveries().await;
    assert!(deliveries.iter().all(|one| one.state == DeliveryState::Delivered));
    // Waiting cost no attempts: one failed for each request that was answered 500.
    let failures: u32 = deliveries.iter().map(|one| one.failures).sum();
    assert_eq!(failures as usize, crm.received().len() - 90);
}

#[tokio::test]
async fn while_a_gate_is_shut_nothing_is_written_twice_and_no_job_is_queued() {
    let (mut world, crm) = World::with_crm(json!({})).await;
    operate(&world, Change::Pause).await;
    take(&world, 0..3).await;
    world.pass(minutes(1)).await;
    let before = world.effects.log().len();
    world.pass(minutes(60 * 24)).await;
    assert_eq!(world.effects.log().len(), before, "{:?}", &world.effects.log()[before..]);
    assert!(crm.received().is_empty());
    for delivery in world.deliveries().await {
        assert_eq!((delivery.deferred, delivery.failures), (Some(Deferred::Shut), 0));
    }
    operate(&world, Change::Resume).await;
    let resumed_at = world.now();
    world.settle(minutes(60)).await;
    assert_all_delivered(&crm, 3);
    assert!(at(&crm).iter().all(|at| at.duration_since(resumed_at) <= minutes(2)));
}

#[tokio::test]
async fn what_waited_goes_out_oldest_first_and_ten_a_second_at_most() {
    let (mut world, crm) = World::with_crm(json!({})).await;
    operate(&world, Change::Pause).await;
    for n in 0..45 {
        take(&world, [n]).await;
        world.clock.pass(seconds(1));
        world.pass(seconds(1)).await;
    }
    operate(&world, Change::Resume).await;
    world.settle(minutes(60)).await;
    let ids: Vec<String> = crm
        .received()
        .iter()
        .map(|request| request.json()["data"]["call_id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(ids.len(), 45);
    let times = at(&crm);
    for (n, when) in times.iter().enumerate() {
        let within = times[n..].iter().filter(|other| other.duration_since(*when) < seconds(1));
        assert!(within.count() <= 10);
    }
    // Within a second they are sent at once; from one to the next they stand in line.
    let second = |id: &str| id.trim_start_matches("ast-").parse::<usize>().unwrap() / 10;
    assert!(ids.windows(2).all(|pair| second(&pair[0]) <= second(&pair[1])), "{ids:?}");
}

#[tokio::test]
async fn draining_sends_what_was_planned_and_holds_what_comes_until_it_is_resumed() {
    let (mut world, crm) = World::with_crm(json!({})).await;
    // The first one fails, and is due again in five minutes and more; the second waits.
    crm.answers([status(500), status(500)]);
    take(&world, [0]).await;
    world.pass(minutes(1)).await;
    operate(&world, Change::Pause).await;
    take(&world, [1]).await;
    world.pass(minutes(1)).await;
    assert_eq!(crm.received().len(), 2);
    operate(&world, Change::Drain).await;
    take(&world, [2, 3]).await;
    world.pass(minutes(30)).await;
    assert_eq!(crm.entries().len(), 2);
    let waiting: Vec<_> =
        world.deliveries().await.into_iter().filter(|one| one.due_at.is_some()).collect();
    assert_eq!(waiting.len(), 2);
    assert!(
        waiting.iter().all(|one| one.deferred == Some(Deferred::New) && one.attempts.is_empty())
    );
    operate(&world, Change::Resume).await;
    world.settle(minutes(5)).await;
    assert_all_delivered(&crm, 4);
    assert!(!world.owes().await);
}

#[tokio::test]
async fn a_410_stops_the_destination_says_so_and_loses_nothing() {
    let (mut world, crm) = World::with_crm(json!({})).await;
    let other = world.crm("other", "canonical", json!({})).await;
    crm.always(status(410));
    take(&world, [0]).await;
    world.pass(minutes(1)).await;
    assert_eq!(gate(&world).await.mode, Mode::Stopped);
    take(&world, 1..5).await;
    world.pass(minutes(60 * 24 * 7)).await;
    assert_eq!((crm.received().len(), other.received().len()), (1, 5));
    let lines = world.log.lines();
    let stopped = |line: &&String| {
        let line: Value = serde_json::from_str(line).unwrap();
        line["stopped"] == 1 && line["destination"] == "crm"
    };
    // Every minute, as long as it lasts: an alarm stays on.
    assert!(lines.iter().filter(stopped).count() >= 60 * 24 * 7);
    assert!(lines.iter().any(|line| line.contains("ERROR") && line.contains("410")));
    assert!(lines.iter().any(|line| line.contains("destination_stopped")));

    crm.always(status(200));
    operate(&world, Change::Resume).await;
    let resumed_at = world.now();
    world.settle(minutes(30)).await;
    assert_all_delivered(&crm, 5);
    assert!(at(&crm)[1..].iter().all(|at| at.duration_since(resumed_at) <= minutes(3)));
    // One goes ahead; the others when that was taken.
    assert!(at(&crm)[1] < at(&crm)[2] || crm.received()[1].when < crm.received()[2].when);
    assert!(world.deliveries().await.iter().all(|one| one.failures == 0));
}

#[tokio::test]
async fn a_destination_that_is_still_gone_when_it_is_resumed_is_stopped_again_after_one_request() {
    let (mut world, crm) = World::with_crm(json!({})).await;
    crm.always(status(410));
    take(&world, 0..1).await;
    world.pass(minutes(1)).await;
    take(&world, 1..8).await;
    world.pass(minutes(1)).await;
    operate(&world, Change::Resume).await;
    world.pass(minutes(60)).await;
    assert_eq!(crm.received().len(), 2);
    assert_eq!(gate(&world).await.mode, Mode::Stopped);
}

#[tokio::test]
async fn retry_after_is_obeyed_in_full_for_the_whole_destination() {
    let start: Timestamp = crate::world::START.parse().unwrap();
    let date = |hours: i64| {
        let at = start.checked_add(minutes(60 * hours)).unwrap();
        let zoned = at.to_zoned(jiff::tz::TimeZone::UTC);
        strtime::format("%a, %d %b %Y %H:%M:%S GMT", &zoned).unwrap()
    };
    for (code, said, wait) in [
        (429, "43200".to_owned(), minutes(60 * 12)),
        (429, date(12), minutes(60 * 12)),
        (503, date(1), minutes(60)),
        (429, "30".to_owned(), seconds(30)),
    ] {
        let (mut world, crm) = World::with_crm(json!({})).await;
        let other = world.crm("other", "canonical", json!({})).await;
        crm.answers([with(code, "retry-after", said.clone())]);
        take(&world, [0]).await;
        world.pass(seconds(2)).await;
        take(&world, 1..30).await;
        world.settle(minutes(60 * 24)).await;
        assert_all_delivered(&crm, 30);
        assert_eq!(other.received().len(), 30);
        let (first, rest) = (at(&crm)[0], &at(&crm)[1..]);
        assert_eq!(rest.len(), 30, "{said}: one request was answered {code}");
        let ends = first.checked_add(wait).unwrap();
        assert!(rest.iter().all(|at| *at >= ends), "{said}: {} before {ends}", rest[0]);
        let last = rest.last().unwrap().duration_since(ends);
        assert!(last <= minutes(3), "{said}: {last:?} later");
        // Only the answered delivery has failed.
        let failures: u32 = world.deliveries().await.iter().map(|one| one.failures).sum();
        assert_eq!(failures, 1, "{said}");
    }
}

#[tokio::test]
async fn the_others_go_out_as_soon_as_the_first_is_taken_after_a_short_wait() {
    let (mut world, crm) = World::with_crm(json!({})).await;
    crm.answers([with(429, "retry-after", "4")]);
    take(&world, [0]).await;
    world.pass(seconds(1)).await;
    take(&world, 1..10).await;
    let began = world.now();
    world.sweeps = false;
    world.settle(minutes(5)).await;
    assert_all_delivered(&crm, 10);
    let last = at(&crm).last().unwrap().duration_since(began);
    assert!(last <= seconds(8), "{last:?}");
}

#[tokio::test]
async fn one_probe_at_a_time_goes_to_a_destination_that_may_be_back() {
    let (mut world, crm) = World::with_crm(json!({"timeout_seconds": 1})).await;
    crm.always(status(500));
    take(&world, 0..5).await;
    world.pass(seconds(1)).await;
    assert!(gate(&world).await.is_open());
    assert_eq!(crm.received().len(), 5);
    // It hangs now, and many come at once the moment the probe may go.
    crm.always(Answer::Hang);
    world.sweeps = false;
    world.clock.pass(seconds(31));
    take(&world, 10..30).await;
    world.pass(seconds(2)).await;
    assert_eq!(crm.received().len(), 6, "{:?}", at(&crm));
}

#[tokio::test]
async fn a_prober_that_dies_is_followed_by_another() {
    let (mut world, crm) = World::with_crm(json!({"timeout_seconds": 1})).await;
    crm.always(status(500));
    take(&world, 0..5).await;
    world.pass(seconds(1)).await;
    crm.always(status(200));
    world.effects.arm(Which::Next("crm"), Fault::Crash);
    world.returns = false;
    world.settle(minutes(30)).await;
    assert_eq!(world.effects.hit(), Some("crm"));
    assert!(!world.owes().await);
    assert_eq!(gate(&world).await.breaker, Breaker::Closed);
    assert_all_delivered(&crm, 5);
}

#[tokio::test]
async fn a_fault_at_any_effect_of_an_outage_is_repaired() {
    for fault in [Fault::Crash, Fault::AnswerLost, Fault::Refused] {
        let mut k = 1;
        loop {
            let (mut world, crm) = World::with_crm(json!({"timeout_seconds": 1})).await;
            world.returns = false;
            // From the first call's delivery on.
            world.effects.arm(Which::Nth(4 + k), fault);
            // Longer than a message can be held back: what is deferred has only its gate to let it out.
            crm.answers([with(429, "retry-after", "1000")]);
            for calls in [vec![0], vec![1, 2]] {
                for n in calls {
                    // A provider that is not answered 200 sends again.
                    while world.post(&webhook(n)).await.is_none_or(|reply| reply.status != 200) {}
                }
                world.pass(seconds(2)).await;
            }
            world.settle(minutes(120)).await;
            let context = format!("{fault:?} at effect {k}: {:?}", world.effects.hit());
            assert!(!world.owes().await, "{context}");
            assert_all_delivered(&crm, 3);
            let keys: BTreeSet<String> = crm.entries().into_keys().collect();
            assert_eq!(keys.len(), 3, "{context}");
            let hides = ["crm", "put delivery", "put gate"];
            let hidden = usize::from(world.effects.hit().is_some_and(|hit| hides.contains(&hit)));
            // A process that is gone takes all that it was at along.
            let hidden = if fault == Fault::Crash { hidden * 3 } else { hidden };
            assert!(crm.received().len() <= 4 + hidden, "{context}: {}", crm.received().len());
            if world.effects.hit().is_none() {
                break;
            }
            k += 1;
        }
        assert!(k > 8, "{fault:?}: stopped at {k}");
    }
}

#[tokio::test]
async fn a_destination_with_a_rate_is_never_sent_to_faster_and_everything_gets_there_in_time() {
    let mut world = World::new();
    let pace = json!({"rate_per_second": 0.25, "burst": 4});
    let crm = world.crm("crm", "canonical", pace).await;
    let other = world.crm("other", "canonical", json!({})).await;
    // A line of twenty minutes: longer than a message can be held back.
    const CALLS: usize = 300;
    let began = world.now();
    take(&world, 0..CALLS).await;
    world.settle(minutes(200)).await;
    assert!(!world.owes().await);
    assert_all_delivered(&crm, CALLS);
    assert_eq!((crm.received().len(), other.received().len()), (CALLS, CALLS));
    assert!(at(&other).iter().all(|at| *at == began));
    let times = at(&crm);
    let allowed = |t: i64| t / 4 + 4;
    for (n, from) in times.iter().enumerate() {
        for (m, to) in times.iter().enumerate().skip(n) {
            let count = (m - n + 1) as i64;
            let t = to.duration_since(*from).as_secs();
            // A message is up to a second late.
            assert!(count <= allowed(t + 1) + 1, "{count} within {t} s");
        }
    }
    let took = times.last().unwrap().duration_since(began);
    assert!(took <= seconds(CALLS as i64 * 4 + 60), "{took:?}");
    assert!(world.deliveries().await.iter().all(|one| one.failures == 0));
}

#[tokio::test]
async fn a_destination_that_works_costs_one_read_and_no_write_more_however_many_are_told() {
    let mut world = World::new();
    world.crm("crm", "canonical", json!({})).await;
    world.crm("other", "canonical", json!({})).await;
    take(&world, 0..10).await;
    world.settle(minutes(30)).await;
    let reads = world.effects.reads();
    let count = |what: &str| reads.iter().filter(|read| **read == what).count();
    // Ten calls to two destinations at once: one read of the gates.
    assert_eq!((count("gates"), count("delivery")), (1, 20), "{reads:?}");
    let log = world.effects.log();
    assert!(!log.iter().any(|effect| matches!(*effect, "put gate" | "reserve")), "{log:?}");
    assert_eq!(log.iter().filter(|effect| **effect == "put delivery").count(), 40);
}

#[tokio::test]
async fn a_queue_that_one_destination_fills_keeps_no_others_jobs_out() {
    let mut world = World::new();
    for to in ["crm", "other"] {
        world.destination(to, "http://127.0.0.1:9", "canonical", json!({}));
    }
    take(&world, 0..300).await;
    for job in world.take_jobs() {
        world.work(&job).await.unwrap();
    }
    // Everything is due, and the queue is full of this destination's jobs.
    let jobs = world.take_jobs();
    assert_eq!(jobs.len(), 600);
    let of = |job: &Job, name: &str| job.group().is_some_and(|to| to.as_str() == name);
    let full: Vec<Send> = jobs
        .iter()
        .filter(|job| of(job, "crm"))
        .cycle()
        .take(1_500)
        .map(|job| Send { job: job.clone(), delay: 0 })
        .collect();
    world.queue.send(&full).await.unwrap();
    let (store, queue) = world.watched();
    let sweep = Sweep { store, queue, gates: Gates::default() };
    sweep.run(world.now()).await.unwrap();
    let sent = world.queue.drain().split_off(1_500);
    let count = |name: &str| sent.iter().filter(|send| of(&send.job, name)).count();
    assert_eq!((count("crm"), count("other")), (100, 100));
    // With room, all of it is sent.
    sweep.run(world.now()).await.unwrap();
    assert_eq!(world.queue.drain().len(), 600);
}
