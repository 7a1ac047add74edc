//! A destination that is down for three hours while ten thousand calls are delivered to it and to four
//! others: real hook, enrich, deliver and sweep over the in-memory store, a model of SQS and Lambda
//! with the template's numbers, and virtual time.

#![allow(clippy::print_stdout, reason = "its figures, for `--nocapture`")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod platform;
mod time;
mod world;

use std::collections::BTreeMap;

use jiff::SignedDuration;
use switchboard_domain::gate::{MOST_IN_A_ROW, most_probes};
use switchboard_domain::{Delivery, DeliveryState};
use world::{Outage, Run};

const CALLS: usize = 10_000;
/// Calls end over five hours; the outage is the three in the middle.
const HOURS: i64 = 5;
const DOWN: SignedDuration = SignedDuration::from_hours(3);
/// What is promised of the time from a destination's recovery until all that waited is delivered: the next
/// probe comes within five minutes and a sweep's, and then ten are delivered each second.
const NEXT_PROBE: SignedDuration = SignedDuration::from_mins(6);
const A_SECOND: f64 = 10.0;

fn hours(n: i64) -> SignedDuration {
    SignedDuration::from_hours(n)
}

fn deliveries(run: &Run) -> Vec<Delivery> {
    let read = async {
        let mut all = Vec::new();
        for call in run.store.calls() {
            all.extend(run.store.deliveries(&call.key).await.unwrap());
        }
        all
    };
    futures_util::FutureExt::now_or_never(read).unwrap()
}

/// Milliseconds from each call's end until a destination had taken it, sorted.
fn waits(run: &Run, destination: &str) -> Vec<i64> {
    let taken = run.crms.taken(destination);
    let mut waits: Vec<i64> = taken
        .iter()
        .map(|(call, at)| at.duration_since(run.ended[call]).as_millis() as i64)
        .collect();
    assert_eq!(waits.len(), CALLS, "{destination}");
    waits.sort();
    waits
}

#[test]
fn an_outage_of_three_hours_costs_the_others_nothing_and_loses_nothing() {
    let outage = Outage { from: hours(1), until: hours(1).checked_add(DOWN).unwrap() };
    let run = |outage| move || Run::of(CALLS, hours(HOURS), outage);
    let quiet = std::thread::spawn(run(None));
    let run = std::thread::spawn(run(Some(outage)));
    let (quiet, run) = (quiet.join().unwrap(), run.join().unwrap());

    // The others: not one call later than without the outage.
    for other in ["crm-1", "crm-2", "crm-3", "crm-4"] {
        let (with, without) = (waits(&run, other), waits(&quiet, other));
        let at = |sorted: &[i64], share: f64| sorted[((sorted.len() - 1) as f64 * share) as usize];
        println!(
            "{other}: p50 {} ms, p99 {} ms, most {} ms",
            at(&with, 0.5),
            at(&with, 0.99),
            at(&with, 1.0)
        );
        assert!(with == without, "{other}: the distribution is another");
    }

    // Nothing was given up, neither by the queues nor by us; nothing was delivered twice.
    assert!(run.dead.lock().unwrap().is_empty());
    let all = deliveries(&run);
    assert_eq!(all.len(), CALLS * 5);
    assert!(all.iter().all(|one| one.state == DeliveryState::Delivered));
    for destination in run.crms.names() {
        let mut times: BTreeMap<String, usize> = BTreeMap::new();
        for (call, _) in run.crms.taken(&destination) {
            *times.entry(call).or_default() += 1;
        }
        assert!(times.len() == CALLS && times.values().all(|n| *n == 1), "{destination}");
    }

    // The dead one was left alone…
    let began = run.start + outage.from;
    let recovered = run.start + outage.until;
    let asked = run.crms.refused("crm-0");
    let probes = most_probes(DOWN) as usize;
    println!("asked {} times in three hours, {probes} probes promised", asked.len());
    // …but for what opened its breaker, and what other workers had not heard of yet.
    let until_known =
        asked.iter().filter(|at| at.duration_since(began) <= SignedDuration::from_secs(60));
    let until_known = until_known.count();
    assert!(asked.len() <= until_known + probes, "{} requests", asked.len());
    assert!(until_known <= 20 * MOST_IN_A_ROW as usize, "{until_known} before it was left alone");

    // …and got everything soon after.
    let waited = all
        .iter()
        .filter(|one| one.id.destination.as_str() == "crm-0")
        .filter(|one| run.ended[&one.key.to_string()] <= recovered)
        .filter(|one| run.crms.taken_at("crm-0", &one.key.to_string()) > recovered);
    let last = waited.clone().map(|one| run.crms.taken_at("crm-0", &one.key.to_string())).max();
    let (waited, took) = (waited.count(), last.unwrap().duration_since(recovered));
    let promised = NEXT_PROBE + SignedDuration::from_secs_f64(waited as f64 / A_SECOND);
    println!("{waited} waited; delivered {took:?} after the recovery, {promised:?} promised");
    assert!(waited > CALLS / 2, "{waited} waited");
    assert!(took <= promised, "delivered {took:?} after the recovery, {promised:?} promised");

    // Waiting cost no attempt: what failed was sent.
    let failures: u32 = all.iter().map(|one| one.failures).sum();
    assert_eq!(failures as usize, asked.len());
}

#[test]
fn the_same_again_is_the_same() {
    let outage = || Outage { from: hours(1), until: hours(2) };
    let one = Run::of(200, hours(3), Some(outage()));
    let other = Run::of(200, hours(3), Some(outage()));
    for destination in one.crms.names() {
        assert_eq!(one.crms.taken(&destination), other.crms.taken(&destination));
        assert_eq!(one.crms.refused(&destination), other.crms.refused(&destination));
    }
}

#[test]
fn a_message_that_is_throttled_twenty_times_is_worked_on_once_and_not_given_up() {
    let run = Run::throttled(20);
    assert!(run.dead.lock().unwrap().is_empty());
    for destination in run.crms.names() {
        assert_eq!(run.crms.taken(&destination).len(), 1, "{destination}");
    }
    assert!(deliveries(&run).iter().all(|one| one.attempts.len() == 1));
}

#[test]
fn the_template_gives_messages_time_and_tries() {
    for (queue, function, jobs) in [
        ("EnrichQueue", "EnrichFunction", "EnrichJobs"),
        ("DeliverQueue", "DeliverFunction", "DeliverJobs"),
        ("PullQueue", "PullFunction", "PullJobs"),
    ] {
        assert!(platform::template(queue, "maxReceiveCount") >= 5, "{queue}");
        let visibility = platform::template(queue, "VisibilityTimeout");
        assert!(visibility >= 6 * platform::template(function, "Timeout"), "{queue}");
        assert!(platform::template(jobs, "MaximumConcurrency") >= 2, "{jobs}");
    }
}
