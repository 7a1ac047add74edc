//! `deliver`: one event of one call to one destination, until it is taken or refused.

use std::time::Instant;

use jiff::{SignedDuration, Timestamp};
use switchboard_crm::destination::Destination;
use switchboard_crm::exchange::{self, Told};
use switchboard_crm::{Client, Headers};
use switchboard_domain::delivery::{Frozen, Verdict};
use switchboard_domain::{
    Attempt, Blob, Body, CallKey, CallRecord, Delivery, DeliveryId, DeliveryState, Event, Seconds,
    Text,
};
use switchboard_queue::{Job, Queue, Send};
use switchboard_shell::Telemetry;
use switchboard_shell::telemetry::Level;
use switchboard_shell::worker::Retry;
use switchboard_store::{PutDelivery, Store, StoreError};

use crate::configuration::Configuration;

/// Beyond the destination's own timeout, the time that a worker has to write down the result.
const LEASE_MARGIN: u32 = 15;
/// How long a delivery whose destination is paused or cannot be read is left alone.
const PUT_OFF: SignedDuration = SignedDuration::from_mins(10);
/// The waits of a delivery whose destination is not configured, seconds: two and a half days in all.
const UNCONFIGURED: [u32; 5] = [600, 3_600, 21_600, 86_400, 86_400];
/// Bodies up to this many bytes stay inside the delivery's item.
const INLINE_BODY: usize = 64 * 1024;
/// How often a delivery is taken up against other writers of its call.
const ROUNDS: usize = 20;

/// The deliver worker and what it acts on.
pub struct Deliver<S, Q> {
    /// Where calls and deliveries are.
    pub store: S,
    /// Where retries are queued.
    pub queue: Q,
    /// What posts to destinations.
    pub client: Client,
    /// Where it says what it does.
    pub telemetry: Telemetry,
}

/// What taking a delivery up came to.
enum Claim {
    /// It is ours for a while; this is what to send.
    Taken(Box<Delivery>, Vec<u8>),
    /// Its destination does not want it.
    Unwanted,
    /// It, or its call, is another by now.
    Outdated,
}

impl<S: Store, Q: Queue> Deliver<S, Q> {
    /// Tries a delivery, if it is due. `clock` tells the time: a try may take as long as the
    /// destination's timeout.
    pub async fn run(
        &self,
        key: &CallKey,
        id: &DeliveryId,
        configuration: &Configuration,
        clock: impl Fn() -> Timestamp + Sync,
    ) -> Result<(), Retry> {
        for _ in 0..ROUNDS {
            let Some(delivery) = self.store.delivery(key, id).await? else {
                self.telemetry.error(
                    "a job points to a delivery that is not stored",
                    &[("call", key), ("delivery", id)],
                );
                return Ok(());
            };
            if !delivery.is_due(clock()) {
                // Over, or somebody is at it, or its time has not come: then the sweep sends it.
                return Ok(());
            }
            let destination = match configuration.destinations.get(&id.destination) {
                Some(Some(destination)) if !destination.paused => destination,
                Some(Some(_)) => return self.put_off(delivery, "is paused", clock()).await,
                Some(None) => return self.put_off(delivery, "cannot be read", clock()).await,
                None => return self.missing(delivery, clock()).await,
            };
            match self.claim(delivery, destination, clock()).await? {
                Claim::Taken(claimed, body) => {
                    return self.attempt(*claimed, destination, body, clock).await;
                }
                Claim::Unwanted => return Ok(()),
                // The call or the delivery has changed since it was read: look again.
                Claim::Outdated => {}
            }
        }
        Err(Retry("too many writers of one call".into()))
    }

    /// Takes a delivery up and, the first time, fixes what it says: every try sends the same bytes.
    async fn claim(
        &self,
        delivery: Delivery,
        destination: &Destination,
        now: Timestamp,
    ) -> Result<Claim, StoreError> {
        let (frozen, body, call_version) = match delivery.frozen.clone() {
            Some(frozen) => {
                let body = match &frozen.body {
                    Body::Inline(bytes) => bytes.clone(),
                    Body::Stored(blob) => self.store.blob(&delivery.key, blob).await?,
                };
                (frozen, body, None)
            }
            None => {
                let gone = || StoreError::Damaged { what: "call", problem: "it is gone".into() };
                let record = self.store.call(&delivery.key).await?.ok_or_else(gone)?;
                if !destination.wants(&record, delivery.id.event) {
                    let kept_back = delivery.unwanted();
                    let put = self.store.put_delivery(&kept_back, Some(record.version)).await?;
                    return Ok(match put {
                        PutDelivery::Stored(_) => Claim::Unwanted,
                        PutDelivery::Conflict => Claim::Outdated,
                    });
                }
                let body = self.render(&record, delivery.id.event, destination).await?;
                let kept = self.keep(&delivery.key, &body).await?;
                (Frozen { news: record.news(), body: kept }, body, Some(record.version))
            }
        };
        let lease = Seconds(destination.timeout.0 + LEASE_MARGIN);
        let mut claimed = delivery.claimed(now, lease, frozen);
        match self.store.put_delivery(&claimed, call_version).await? {
            PutDelivery::Stored(version) => {
                claimed.version = version;
                Ok(Claim::Taken(Box::new(claimed), body))
            }
            PutDelivery::Conflict => Ok(Claim::Outdated),
        }
    }

    /// The body as the call is now.
    async fn render(
        &self,
        record: &CallRecord,
        event: Event,
        destination: &Destination,
    ) -> Result<Vec<u8>, StoreError> {
        // A short transcript is in the record; a long one is fetched where the format tells it.
        let transcript = match &record.call.facts.transcript {
            Some(Text::Stored(blob)) if destination.format.tells_transcript() => {
                let bytes = self.store.blob(&record.key, blob).await?;
                Some(String::from_utf8_lossy(&bytes).into_owned())
            }
            _ => None,
        };
        Ok(destination.format.render(record, event, transcript.as_deref()))
    }

    /// The body for the delivery's item: in it, or stored beside it.
    async fn keep(&self, key: &CallKey, body: &[u8]) -> Result<Body, StoreError> {
        if body.len() <= INLINE_BODY {
            return Ok(Body::Inline(body.to_vec()));
        }
        let blob = Blob::new(body.to_vec());
        self.store.put_blob(key, &blob).await?;
        Ok(Body::Stored(blob.reference()))
    }

    /// Posts once and writes down what it came to.
    async fn attempt(
        &self,
        claimed: Delivery,
        destination: &Destination,
        body: Vec<u8>,
        clock: impl Fn() -> Timestamp + Sync,
    ) -> Result<(), Retry> {
        let (correlation_id, key) = (claimed.key.correlation_id(), claimed.idempotency_key());
        let headers = Headers { idempotency_key: &key, correlation_id: correlation_id.as_str() };
        let told = Told { body: &body, idempotency_key: &key, remote: &claimed.remote };
        let mut exchange = exchange::begin(destination, &told);
        let started = Instant::now();
        let over = self.client.tell(destination, headers, exchange.as_mut(), &clock).await;
        let took_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let at = clock();
        let attempt = Attempt { at, took_ms, status: over.status, result: over.result };
        let mut concluded = claimed.concluded(attempt, over.verdict, &destination.retries);
        concluded.remote.learn(over.remote);
        self.conclude(concluded, at).await
    }

    /// Its destination is not configured any more, or not yet: a failure like any other, so that it
    /// ends one day.
    async fn missing(&self, delivery: Delivery, now: Timestamp) -> Result<(), Retry> {
        let result = "its destination is not configured".to_owned();
        let attempt = Attempt { at: now, took_ms: 0, status: None, result };
        let verdict = Verdict::Retry { not_before: None };
        self.conclude(delivery.concluded(attempt, verdict, &UNCONFIGURED), now).await
    }

    /// Writes down what an attempt came to, says it, and queues the next.
    async fn conclude(&self, delivery: Delivery, now: Timestamp) -> Result<(), Retry> {
        if self.store.put_delivery(&delivery, None).await? == PutDelivery::Conflict {
            // Our lease had run out and somebody else took over: theirs is the result.
            self.say(Level::Warn, &delivery, "delivery overtaken");
            return Ok(());
        }
        let (level, counted, message) = match delivery.state {
            DeliveryState::Failed => (
                Level::Error,
                "failed",
                "delivery failed for good; it is kept: mend the cause and redeliver it",
            ),
            DeliveryState::Pending => {
                (Level::Warn, "not_taken", "delivery not taken; it will be tried again")
            }
            DeliveryState::Delivered | DeliveryState::Unwanted => {
                (Level::Info, "delivered", "delivered")
            }
        };
        self.say(level, &delivery, message);
        let dimensions = [("destination", delivery.id.destination.as_str())];
        self.telemetry.count(&[(counted, 1)], &dimensions);
        self.queue_next(&delivery, now).await;
        Ok(())
    }

    async fn put_off(&self, delivery: Delivery, why: &str, now: Timestamp) -> Result<(), Retry> {
        let destination = &delivery.id.destination;
        self.telemetry.warn(
            "delivery put off",
            &[("call", &delivery.key), ("destination", destination), ("because_it", &why)],
        );
        let put_off = delivery.postponed(now.checked_add(PUT_OFF).unwrap_or(now));
        self.store.put_delivery(&put_off, None).await?;
        self.queue_next(&put_off, now).await;
        Ok(())
    }

    /// Queues the next try, if a message can wait that long; else the sweep sends it in time.
    async fn queue_next(&self, delivery: &Delivery, now: Timestamp) {
        let Some(due_at) = delivery.due_at else { return };
        let job = Job::Deliver { call: delivery.key.clone(), delivery: delivery.id.clone() };
        let Some(send) = Send::at(job, due_at, now) else { return };
        if let Err(error) = self.queue.send(&[send]).await {
            self.telemetry.warn("a retry was stored and not queued", &[("error", &error)]);
        }
    }

    fn say(&self, level: Level, delivery: &Delivery, message: &str) {
        let attempt = delivery.attempts.last();
        let result = attempt.map_or("", |attempt| attempt.result.as_str());
        let took_ms = attempt.map_or(0, |attempt| attempt.took_ms);
        let next = delivery.due_at.map_or("never".to_owned(), |due_at| due_at.to_string());
        self.telemetry.log(
            level,
            message,
            &[
                ("call", &delivery.key),
                ("correlation_id", &delivery.key.correlation_id()),
                ("destination", &delivery.id.destination),
                ("event", &delivery.id.event.as_str()),
                ("idempotency_key", &delivery.idempotency_key()),
                ("result", &result),
                ("took_ms", &took_ms),
                ("failures", &delivery.failures),
                ("next_try", &next),
            ],
        );
    }
}
