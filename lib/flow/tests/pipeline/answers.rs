//! What a CRM may answer, and what comes of it.

use jiff::fmt::strtime;
use serde_json::json;
use switchboard_domain::{Delivery, DeliveryState};

use crate::samples::{Webhook, asterisk, intake};
use crate::servers::{Answer, Crm, Received, status, with};
use crate::world::{START, World, minutes, seconds};

const SCHEDULE: [i64; 9] = [5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400];

fn webhook(n: usize) -> Webhook {
    asterisk(&format!("ast-{n}"), json!({"endedAt": "2026-02-20T09:29:00Z"}))
}

/// A world with one failing destination and one healthy one, which must receive the call at once in
/// any case.
struct Two {
    world: World,
    bad: Crm,
    good: Crm,
}

impl Two {
    async fn new() -> Self {
        let mut world = World::new();
        let bad = world.crm("bad", "canonical", json!({"timeout_seconds": 1})).await;
        let good = world.crm("good", "canonical", json!({})).await;
        Self { world, bad, good }
    }

    /// Sends one call and lets time pass until nothing is owed.
    async fn both_delivered(&mut self) {
        self.world.settled(&webhook(1), minutes(60 * 24 * 10)).await;
        assert!(!self.world.owes().await);
        let good = self.good.received();
        assert_eq!(good.len(), 1, "the other destination");
        assert_eq!(
            good[0].at.to_string(),
            START,
            "the other destination did not receive the call at once"
        );
    }

    async fn delivery(&self) -> Delivery {
        let deliveries = self.world.deliveries().await;
        deliveries.into_iter().find(|one| one.id.destination.as_str() == "bad").unwrap()
    }

    async fn results(&self) -> Vec<String> {
        self.delivery().await.attempts.into_iter().map(|attempt| attempt.result).collect()
    }
}

/// The waits between requests lie within the schedule's, as much as a fifth longer, and as much
/// later as a message (a second) or, for the far ones, the sweep (a minute) may be.
fn assert_waits(received: &[Received], schedule: &[i64]) {
    assert_eq!(received.len(), schedule.len() + 1);
    for (pair, wait) in received.windows(2).zip(schedule) {
        let waited = pair[1].at.duration_since(pair[0].at).as_millis() as i64;
        let late = if wait * 12 / 10 > 900 { 60_000 } else { 1_000 };
        let range = wait * 1_000..=wait * 1_200 + late;
        assert!(range.contains(&waited), "{wait} s: waited {waited} ms");
    }
}

#[tokio::test]
async fn a_500_is_tried_again_under_the_same_key_with_the_same_bytes() {
    let mut two = Two::new().await;
    two.bad.answers([status(500)]);
    two.both_delivered().await;
    assert_waits(&two.bad.received(), &SCHEDULE[..1]);
    assert_eq!(two.bad.entries().len(), 1);
    assert_eq!(two.results().await, ["failed there: 500", "delivered: 200"]);
    assert_eq!(two.delivery().await.state, DeliveryState::Delivered);
}

#[tokio::test]
async fn an_exhausted_schedule_ends_in_failed_and_is_kept() {
    let mut two = Two::new().await;
    two.bad.always(status(503));
    two.both_delivered().await;
    assert_waits(&two.bad.received(), &SCHEDULE);
    assert_eq!(two.bad.entries().len(), 1);
    let delivery = two.delivery().await;
    assert_eq!((delivery.state, delivery.failures), (DeliveryState::Failed, 10));
    assert_eq!(delivery.attempts.len(), 10);
    assert!(delivery.rendered.is_some() && delivery.due_at.is_none());
    // Over is over.
    two.world.pass(minutes(60 * 24 * 5)).await;
    assert_eq!(two.bad.received().len(), 10);
}

#[tokio::test]
async fn a_late_recovery_takes_the_same_bytes_although_the_call_has_changed_since() {
    let mut two = Two::new().await;
    two.bad.answers([status(500), status(500), status(500)]);
    two.world.take(&webhook(1)).await;
    two.world.pass(minutes(2)).await;
    two.world
        .take(&intake(&json!({
            "provider": "asterisk", "externalCallId": "ast-1", "summary": "A late fake summary.",
        })))
        .await;
    two.world.settle(minutes(60 * 24)).await;
    assert_waits(&two.bad.received(), &SCHEDULE[..3]);
    assert_eq!(two.bad.entries().len(), 1);
}

#[tokio::test]
async fn retry_after_is_obeyed_up_to_a_day_and_never_shortens_a_wait() {
    let in_two_hours = START.parse::<jiff::Timestamp>().unwrap().checked_add(minutes(120)).unwrap();
    let zoned = in_two_hours.to_zoned(jiff::tz::TimeZone::UTC);
    let date = strtime::format("%a, %d %b %Y %H:%M:%S GMT", &zoned).unwrap();
    for (code, said, wait) in [
        (429, "7200", 7_200),
        (429, date.as_str(), 7_200),
        (503, "600", 600),
        (429, "1", 5),
        (429, "soon", 5),
        (429, "999999", 86_400),
    ] {
        let mut two = Two::new().await;
        two.bad.answers([with(code, "retry-after", said)]);
        two.both_delivered().await;
        assert_waits(&two.bad.received(), &[wait]);
        if wait > 60 {
            let received = two.bad.received();
            let waited = received[1].at.duration_since(received[0].at);
            assert!(waited <= seconds(wait + 60), "{said}: {waited:?}");
        }
        assert_eq!(two.bad.entries().len(), 1);
        assert_eq!(two.delivery().await.state, DeliveryState::Delivered);
    }
}

#[tokio::test]
async fn what_will_never_be_taken_is_given_up_at_once_and_kept() {
    for (code, result) in [(422, "refused: 422"), (400, "refused: 400")] {
        let mut two = Two::new().await;
        two.bad.always(status(code));
        two.both_delivered().await;
        assert_eq!(two.bad.received().len(), 1);
        assert_eq!(two.results().await, [result]);
        let delivery = two.delivery().await;
        assert_eq!(delivery.state, DeliveryState::Failed);
        assert!(delivery.rendered.is_some());
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_bad_credentials_lose_nothing() {
    for (code, result) in [
        (301, "redirected, not followed: 301"),
        (307, "redirected, not followed: 307"),
        (401, "not authorized: 401"),
    ] {
        let mut two = Two::new().await;
        let elsewhere = format!("{}/elsewhere", two.good.url());
        two.bad.answers([with(code, "location", elsewhere), with(code, "location", "/elsewhere")]);
        two.both_delivered().await;
        // `entries` checks that nothing came to any other path.
        assert_eq!((two.bad.entries().len(), two.good.entries().len()), (1, 1));
        assert_waits(&two.bad.received(), &SCHEDULE[..2]);
        assert_eq!(two.results().await, [result, result, "delivered: 200"]);
    }
}

#[tokio::test]
async fn a_connection_that_is_refused_is_tried_again_until_the_address_is_mended() {
    let mut two = Two::new().await;
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    two.world.destination("bad", &format!("http://{closed}/calls"), "canonical", json!({}));
    two.world.take(&webhook(1)).await;
    two.world.pass(minutes(20)).await;
    assert_eq!(two.good.received()[0].at.to_string(), START);
    let delivery = two.delivery().await;
    assert_eq!((delivery.state, delivery.failures), (DeliveryState::Pending, 3));
    assert!(delivery.attempts.iter().all(|attempt| attempt.status.is_none()));
    assert!(two.results().await.iter().all(|result| result == "could not connect"));

    let url = two.bad.url();
    two.world.destination("bad", &url, "canonical", json!({}));
    two.world.settle(minutes(60)).await;
    assert_eq!(two.bad.received().len(), 1);
    assert_eq!(two.bad.received()[0].header("idempotency-key"), delivery.idempotency_key());
    assert_eq!(two.good.received().len(), 1);
    assert_eq!(two.delivery().await.state, DeliveryState::Delivered);
}

#[tokio::test]
async fn a_connection_that_breaks_off_is_tried_again() {
    let mut two = Two::new().await;
    two.bad.answers([Answer::Close]);
    two.both_delivered().await;
    assert_waits(&two.bad.received(), &SCHEDULE[..1]);
    assert_eq!(two.bad.entries().len(), 1);
    assert_eq!(two.results().await, ["broke off", "delivered: 200"]);
}

#[tokio::test]
async fn a_hang_ends_at_the_destinations_timeout_and_delays_nobody() {
    let mut two = Two::new().await;
    two.bad.answers([Answer::Hang]);
    let began = std::time::Instant::now();
    two.both_delivered().await;
    let took = began.elapsed().as_millis();
    assert!((1_000..4_000).contains(&took), "{took} ms");
    assert_waits(&two.bad.received(), &SCHEDULE[..1]);
    assert_eq!(two.bad.entries().len(), 1);
    assert_eq!(two.results().await, ["timed out", "delivered: 200"]);
    let (bad, good) = (two.bad.received()[0].when, two.good.received()[0].when);
    let apart = bad.max(good).duration_since(bad.min(good)).as_millis();
    assert!(apart < 500, "the other waited {apart} ms");
}

#[tokio::test]
async fn an_outage_of_hours_parks_the_work_and_harms_no_other_destination() {
    let mut two = Two::new().await;
    two.bad.always(with(429, "retry-after", "900"));
    for n in 0..30 {
        two.world.take(&webhook(n)).await;
        let at = two.world.now();
        two.world.pass(minutes(6)).await;
        let good = two.good.received();
        assert_eq!((good.len(), good[n].at), (n + 1, at));
    }
    // Three hours: it is asked when the time is over that it wants, each time by one call.
    assert!(two.bad.received().len() <= 13, "{} tries", two.bad.received().len());
    two.bad.always(status(200));
    two.world.settle(minutes(60 * 24)).await;
    assert!(!two.world.owes().await);
    assert_eq!((two.bad.entries().len(), two.good.received().len()), (30, 30));
    let deliveries = two.world.deliveries().await;
    assert_eq!(deliveries.len(), 60);
    assert!(deliveries.iter().all(|delivery| delivery.state == DeliveryState::Delivered));
}
