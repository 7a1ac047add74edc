//! `deliver`: one event of one call to one destination, until it is taken or refused.

use std::time::Instant;

use jiff::{SignedDuration, Timestamp};
use switchboard_crm::destination::Destination;
use switchboard_crm::{Client, Outgoing, verdict};
use switchboard_domain::delivery::{Frozen, Verdict};
use switchboard_domain::{
    Attempt, Blob, Body, CallKey, Delivery, DeliveryId, DeliveryState, Seconds, Text,
};
use switchboard_queue::{Job, Queue, Send};
use switchboard_shell::Telemetry;
use switchboard_shell::worker::Retry;
use switchboard_store::{PutDelivery, Store, StoreError};

use crate::configuration::Configuration;

/// Beyond the destination's own timeout, the time that a worker has to write down the result.
const LEASE_MARGIN: u32 = 15;
/// How long a delivery whose destination is paused or not configured is left alone.
const PUT_OFF: SignedDuration = SignedDuration::from_mins(10);
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

impl<S: Store, Q: Queue> Deliver<S, Q> {
    /// Tries a delivery, if it is due. `clock` tells the time: a try may take as long as the
    /// destination's timeout.
    pub async fn run(
        &self,
        key: &CallKey,
        id: &DeliveryId,
        configuration: &Configuration,
        clock: impl Fn() -> Timestamp,
    ) -> Result<(), Retry> {
        for _ in 0..ROUNDS {
            let Some(delivery) = self.store.delivery(key, id).await.map_err(fault)? else {
                let fields: [(&str, &dyn std::fmt::Display); 2] = [("call", key), ("delivery", id)];
                self.telemetry.error("a job points to a delivery that is not stored", &fields);
                return Ok(());
            };
            if !delivery.is_due(clock()) {
                // Over, or somebody is at it, or its time has not come: then the sweep sends it.
                return Ok(());
            }
            let destination = match configuration.destinations.get(&id.destination) {
                Some(destination) if !destination.paused => destination,
                other => {
                    let why = if other.is_some() { "is paused" } else { "is not configured" };
                    return self.put_off(delivery, why, clock()).await;
                }
            };
            match self.claim(delivery, destination, clock()).await.map_err(fault)? {
                Some((claimed, body)) => {
                    return self.attempt(claimed, destination, body, clock).await;
                }
                // The call or the delivery has changed since it was read: look again.
                None => continue,
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
    ) -> Result<Option<(Delivery, Vec<u8>)>, StoreError> {
        let (frozen, body, call_version) = match delivery.frozen.clone() {
            Some(frozen) => {
                let body = match &frozen.body {
                    Body::Inline(bytes) => bytes.clone(),
                    Body::Stored(blob) => self.store.blob(&delivery.key, blob).await?,
                };
                (frozen, body, None)
            }
            None => {
                let (frozen, body, version) = self.render(&delivery, destination).await?;
                (frozen, body, Some(version))
            }
        };
        let lease = Seconds(destination.timeout.0 + LEASE_MARGIN);
        let mut claimed = delivery.claimed(now, lease, frozen);
        match self.store.put_delivery(&claimed, call_version).await? {
            PutDelivery::Stored(version) => {
                claimed.version = version;
                Ok(Some((claimed, body)))
            }
            PutDelivery::Conflict => Ok(None),
        }
    }

    /// The body as the call is now, and the version of the call that it tells of.
    async fn render(
        &self,
        delivery: &Delivery,
        destination: &Destination,
    ) -> Result<(Frozen, Vec<u8>, u64), StoreError> {
        let key = &delivery.key;
        let gone = || StoreError::Damaged { what: "call", problem: "its delivery is there".into() };
        let record = self.store.call(key).await?.ok_or_else(gone)?;
        let transcript = match &record.call.facts.transcript {
            Some(_) if !destination.format.tells_transcript() => None,
            Some(Text::Inline(text)) => Some(text.expose().to_owned()),
            Some(Text::Stored(blob)) => {
                Some(String::from_utf8_lossy(&self.store.blob(key, blob).await?).into_owned())
            }
            None => None,
        };
        let event = delivery.id.event;
        let body = destination.format.render(&record, event, transcript.as_deref());
        let kept = if body.len() > INLINE_BODY {
            let blob = Blob::new(body.clone());
            self.store.put_blob(key, &blob).await?;
            Body::Stored(blob.reference())
        } else {
            Body::Inline(body.clone())
        };
        Ok((Frozen { news: record.call.news(), body: kept }, body, record.version))
    }

    /// Posts once and writes down what it came to.
    async fn attempt(
        &self,
        claimed: Delivery,
        destination: &Destination,
        body: Vec<u8>,
        clock: impl Fn() -> Timestamp,
    ) -> Result<(), Retry> {
        let correlation_id = claimed.key.correlation_id();
        let outgoing = Outgoing {
            idempotency_key: &claimed.idempotency_key(),
            correlation_id: correlation_id.as_str(),
            body,
            now: clock(),
        };
        let started = Instant::now();
        let sent = self.client.send(destination, outgoing).await;
        let took_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let at = clock();
        let (attempt, verdict) = match sent {
            Ok(answer) => {
                let (verdict, result) =
                    verdict::judge(answer.status, answer.retry_after.as_deref(), at);
                let status = Some(answer.status);
                (Attempt { at, took_ms, status, result }, verdict)
            }
            Err(error) => {
                let result = error.to_string();
                (Attempt { at, took_ms, status: None, result }, Verdict::Retry { not_before: None })
            }
        };
        let mut concluded = claimed.concluded(attempt, verdict, &destination.retries);
        match self.store.put_delivery(&concluded, None).await.map_err(fault)? {
            PutDelivery::Stored(version) => concluded.version = version,
            PutDelivery::Conflict => {
                // Our lease had run out and somebody else took over: theirs is the result.
                self.say(&concluded, "delivery overtaken");
                return Ok(());
            }
        }
        self.say(
            &concluded,
            match concluded.state {
                DeliveryState::Delivered => "delivered",
                DeliveryState::Failed => {
                    "delivery failed for good; it is kept and can be sent anew"
                }
                DeliveryState::Pending => "delivery not taken; it will be tried again",
            },
        );
        self.count(&concluded);
        self.queue_next(&concluded, at).await;
        Ok(())
    }

    async fn put_off(&self, delivery: Delivery, why: &str, now: Timestamp) -> Result<(), Retry> {
        let destination = &delivery.id.destination;
        self.telemetry.warn(
            "delivery put off",
            &[("call", &delivery.key), ("destination", destination), ("because_it", &why)],
        );
        let put_off = delivery.postponed(now.checked_add(PUT_OFF).unwrap_or(now));
        self.store.put_delivery(&put_off, None).await.map_err(fault)?;
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

    fn say(&self, delivery: &Delivery, message: &str) {
        let attempt = delivery.attempts.last();
        let result = attempt.map_or("", |attempt| attempt.result.as_str());
        let took_ms = attempt.map_or(0, |attempt| attempt.took_ms);
        let next = delivery.due_at.map_or("never".to_owned(), |due_at| due_at.to_string());
        self.telemetry.info(
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

    fn count(&self, delivery: &Delivery) {
        let name = match delivery.state {
            DeliveryState::Delivered => "delivered",
            DeliveryState::Failed => "failed",
            DeliveryState::Pending => "not_taken",
        };
        let dimensions = [("destination", delivery.id.destination.as_str())];
        self.telemetry.count(&[(name, 1)], &dimensions);
    }
}

fn fault(error: StoreError) -> Retry {
    Retry(error.to_string())
}
