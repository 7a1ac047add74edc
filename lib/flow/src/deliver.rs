//! `deliver`: one event of one call to one destination, until it is taken or refused.
//!
//! A destination that fails, asks for time or is paused has a [gate](switchboard_domain::gate) that is
//! shut: what is due to it is deferred, at the cost of one write, and let out when the gate opens.

use std::sync::Arc;

use std::time::Instant;

use crate::Retry;
use crate::Telemetry;
use crate::telemetry::Level;
use jiff::{SignedDuration, Timestamp};
use switchboard_crm::destination::Destination;
use switchboard_crm::format::RenderContext;
use switchboard_domain::delivery::{RenderedPayload, Verdict};
use switchboard_domain::gate::{Admission, Change};
use switchboard_domain::{
    Attempt, Blob, Body, CallKey, CallRecord, Delivery, DeliveryId, DeliveryState, Event, Seconds,
    Text,
};
use switchboard_queue::{Job, Queue, Send};
use switchboard_store::{PutIf, Store, StoreError};

use crate::configuration::Configuration;
use crate::deliverer::Tell;
use crate::gates::Gates;

mod protection;

/// Beyond the destination's own timeout, the time that a worker has to write down the result.
const LEASE_MARGIN: u32 = 15;
/// What tells more of a call waits for so long at least while the call itself was not told yet, and
/// for so long after that is tried again.
const BEHIND: SignedDuration = SignedDuration::from_mins(2);
const AFTER: SignedDuration = SignedDuration::from_mins(1);
/// The waits of a delivery whose destination is not configured, seconds: two and a half days in all.
const UNCONFIGURED: [u32; 5] = [600, 3_600, 21_600, 86_400, 86_400];
/// Bodies up to this many bytes stay inside the delivery's item.
const INLINE_BODY: usize = 64 * 1024;
/// How often a delivery is taken up against other writers of its call.
const ROUNDS: usize = 20;

/// The deliver worker and what it acts on.
pub struct Deliver<T> {
    /// Where calls and deliveries are.
    pub store: Store,
    /// Where retries are queued.
    pub queue: Arc<dyn Queue>,
    /// What tells destinations.
    pub deliverer: T,
    /// What it knows of destinations' gates.
    pub gates: Gates,
    /// Where it says what it does.
    pub telemetry: Telemetry,
}

/// What taking a delivery up came to.
enum Claim {
    /// It is ours for a while; this is what to send.
    Ingested(Box<Delivery>, Vec<u8>),
    /// Its destination does not want it.
    Unwanted,
    /// It, or its call, is another by now.
    Outdated,
}

impl<T: Tell> Deliver<T> {
    /// Tries a delivery, if it is due. `clock` tells the time: a try may take as long as the
    /// destination's timeout.
    pub async fn run(
        &self,
        key: &CallKey,
        id: &DeliveryId,
        configuration: &Configuration,
        clock: impl Fn() -> Timestamp + Sync,
    ) -> Result<(), Retry> {
        let to = &id.destination;
        for _ in 0..ROUNDS {
            let now = clock();
            let Some(mut delivery) = self.store.delivery(key, id).await? else {
                self.telemetry.error(
                    "a job points to a delivery that is not stored",
                    &[("call", key), ("delivery", id)],
                );
                return Ok(());
            };
            if !delivery.is_due(now) {
                // Over, or somebody is at it, or its time has not come: then the sweep sends it.
                return Ok(());
            }
            let destination = match configuration.destinations.get(to) {
                Some(Some(destination)) if !destination.paused => destination,
                Some(Some(_)) => return self.withhold(delivery, "is paused", now).await,
                Some(None) => return self.withhold(delivery, "cannot be read", now).await,
                None => return self.missing(delivery, now).await,
            };
            let admission = self.gates.of(&self.store, to, now).await?;
            let admission = admission.admits(delivery.planned_at, now);
            if let Admission::Defer(among) = admission {
                return self.defer(delivery, among).await;
            }
            if id.event.is_more() && delivery.rendered.is_none() {
                let first = DeliveryId { destination: to.clone(), event: Event::Completed };
                if let Some(first) = self.store.delivery(key, &first).await? {
                    if first.state == DeliveryState::Pending {
                        return self.wait_behind(delivery, &first, now).await;
                    }
                    delivery.remote.learn(first.remote);
                }
            }
            let is_probe = admission == Admission::Probe;
            if is_probe {
                let lease =
                    SignedDuration::from_secs((destination.timeout.0 + LEASE_MARGIN).into());
                let until = now.checked_add(lease).unwrap_or(now);
                let taken = Change::ProbeTaken { until };
                if self.gates.change(&self.store, to, taken, now).await?.is_none() {
                    // Another was first: see what the gate says now.
                    continue;
                }
            } else if let Some(slot) = self.slot(&delivery, destination, now).await? {
                return self.put_off(delivery.scheduled(slot, now), now).await;
            }
            let claim = self.claim(delivery, destination, now).await;
            if is_probe && !matches!(claim, Ok(Claim::Ingested(..))) {
                self.change(to, Change::ProbeDropped, now).await;
            }
            match claim? {
                Claim::Ingested(claimed, body) => {
                    return self.attempt(*claimed, destination, body, is_probe, clock).await;
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
        let event = delivery.id.event;
        let (rendered, body, call_version) = match delivery.rendered.clone() {
            // Of a start it must be known each time whether it is one still.
            Some(rendered) if event != Event::Started => {
                let body = self.kept(&delivery.key, &rendered.body).await?;
                (rendered, body, None)
            }
            rendered => {
                let gone = || StoreError::Damaged { what: "call", problem: "it is gone".into() };
                let record = self.store.call(&delivery.key).await?.ok_or_else(gone)?;
                let is_wanted = destination.wants(&record, event)
                    && !(event == Event::Started && record.is_start_overdue(now));
                if !is_wanted {
                    let kept_back = delivery.unwanted();
                    let put = self.store.put_delivery(&kept_back, Some(record.version)).await?;
                    return Ok(match put {
                        PutIf::Stored(_) => Claim::Unwanted,
                        PutIf::Conflict => Claim::Outdated,
                    });
                }
                match rendered {
                    Some(rendered) => {
                        let body = self.kept(&delivery.key, &rendered.body).await?;
                        (rendered, body, Some(record.version))
                    }
                    None => {
                        let body = self.render(&record, event, destination).await?;
                        let kept = self.keep(&delivery.key, &body).await?;
                        (
                            RenderedPayload { fingerprint: record.fingerprint(), body: kept },
                            body,
                            Some(record.version),
                        )
                    }
                }
            }
        };
        let lease = Seconds(destination.timeout.0 + LEASE_MARGIN);
        let mut claimed = delivery.claimed(now, lease, rendered);
        match self.store.put_delivery(&claimed, call_version).await? {
            PutIf::Stored(version) => {
                claimed.version = version;
                Ok(Claim::Ingested(Box::new(claimed), body))
            }
            PutIf::Conflict => Ok(Claim::Outdated),
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
        let is_done = record.analysis.as_ref().is_some_and(|mark| mark.digest.is_some());
        let analysis = match is_done && destination.format.kind().tells_analysis {
            true => self.store.analysis(&record.key).await?,
            false => None,
        };
        let (transcript, analysis) = (transcript.as_deref(), analysis.as_ref());
        let context = RenderContext { record, event, transcript, analysis };
        Ok(destination.format.render(destination, &context))
    }

    /// A body that was kept.
    async fn kept(&self, key: &CallKey, body: &Body) -> Result<Vec<u8>, StoreError> {
        match body {
            Body::Inline(bytes) => Ok(bytes.clone()),
            Body::Stored(blob) => self.store.blob(key, blob).await,
        }
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

    /// Tells once and writes down what it came to.
    async fn attempt(
        &self,
        claimed: Delivery,
        destination: &Destination,
        body: Vec<u8>,
        is_probe: bool,
        clock: impl Fn() -> Timestamp + Sync,
    ) -> Result<(), Retry> {
        let started = Instant::now();
        let over = self.deliverer.tell(&claimed, destination, &body, &clock).await;
        let took_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let at = clock();
        let attempt = Attempt { at, took_ms, status: over.status, result: over.result };
        let to = claimed.id.destination.clone();
        // The gate first: what is deferred must have one that lets it out again.
        let gate = self.learn(&to, over.verdict, is_probe, at).await;
        let mut concluded = claimed.concluded(attempt, over.verdict, &destination.retries);
        concluded.remote.learn(over.remote);
        if concluded.state == DeliveryState::Pending
            && let Some(among) = self.shuts_out(&concluded, at).await
        {
            // Its next try is when the destination works again, if that is sooner.
            concluded = concluded.deferred(among);
        }
        let stored = self.conclude(concluded, at).await;
        if let Some(gate) = gate {
            self.release(&gate, at).await;
        }
        stored
    }

    /// Its destination is not configured any more, or not yet: a failure like any other, so that it
    /// ends one day.
    async fn missing(&self, delivery: Delivery, now: Timestamp) -> Result<(), Retry> {
        // What waits for it is to find that out as well.
        self.change(&delivery.id.destination, Change::ProbeAnswered, now).await;
        let result = "its destination is not configured".to_owned();
        let attempt = Attempt { at: now, took_ms: 0, status: None, result };
        let verdict = Verdict::Retry { not_before: None };
        self.conclude(delivery.concluded(attempt, verdict, &UNCONFIGURED), now).await
    }

    /// Writes down what an attempt came to, says it, and queues the next.
    async fn conclude(&self, delivery: Delivery, now: Timestamp) -> Result<(), Retry> {
        if self.store.put_delivery(&delivery, None).await? == PutIf::Conflict {
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

    /// What tells more of a call comes after the call, or it would be the first that is heard of it.
    async fn wait_behind(
        &self,
        delivery: Delivery,
        first: &Delivery,
        now: Timestamp,
    ) -> Result<(), Retry> {
        let at = |from: Timestamp, wait| from.checked_add(wait).unwrap_or(from);
        let after = first.due_at.map_or(now, |due_at| at(due_at, AFTER));
        self.put_off(delivery.postponed(at(now, BEHIND).max(after)), now).await
    }

    /// Stores a delivery that waits for a moment, and queues it for then.
    async fn put_off(&self, delivery: Delivery, now: Timestamp) -> Result<(), Retry> {
        if let PutIf::Stored(_) = self.store.put_delivery(&delivery, None).await? {
            self.queue_next(&delivery, now).await;
        }
        Ok(())
    }

    /// Queues the next try, if a message can wait that long; else the sweep sends it in time.
    async fn queue_next(&self, delivery: &Delivery, now: Timestamp) {
        // What waits for its destination is let out by whoever opens that. But its own time may be
        // when that can be found out.
        let waits = |due_at: &Timestamp| delivery.deferred.is_none() || *due_at > now;
        let Some(due_at) = delivery.due_at.filter(waits) else { return };
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
