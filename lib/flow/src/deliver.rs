//! `deliver`: one event of one call to one destination, until the CRM accepts or refuses it.
//!
//! A destination that fails, asks for time or is paused has a closed [gate](switchboard_domain::gate):
//! what is due to it is deferred, at the cost of one write, and released when the gate opens.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

use jiff::{SignedDuration, Timestamp};
use switchboard_crm::Destination;
use switchboard_domain::delivery::Verdict;
use switchboard_domain::gate::{Admission, Change};
use switchboard_domain::time::later;
use switchboard_domain::{Attempt, CallKey, Deferred, Delivery, DeliveryId, DeliveryState, Event};
use switchboard_queue::Queue;
use switchboard_store::{PutIf, Store, StoreError};
use tracing::error;

use crate::JobError;
use crate::configuration::Configuration;
use crate::deliverer::Deliverer;
use crate::follow_ups::{delivery_job, queue_due};
use crate::gates::Gates;
use crate::metrics;
use crate::telemetry::{Level, log_at};
use crate::update::rounds;

mod claim;
mod protection;

/// Beyond the destination's own timeout, the seconds that a worker has to store the result.
const LEASE_MARGIN: u32 = 15;
/// An update waits for so long at least while the call itself was not delivered yet…
const BEHIND: SignedDuration = SignedDuration::from_mins(2);
/// …and for so long after the next attempt to deliver the call.
const AFTER: SignedDuration = SignedDuration::from_mins(1);
/// The waits of a delivery whose destination is not configured, seconds: two and a half days in all.
const UNCONFIGURED: [u32; 5] = [600, 3_600, 21_600, 86_400, 86_400];

/// Whether a delivery is sent now, and if not, why.
enum Admitted<'a> {
    /// It is sent.
    Send(&'a Destination),
    /// It is sent as the probe of an open circuit breaker.
    Probe(&'a Destination),
    /// Another worker sends the probe: the gate has to be read again.
    Overtaken,
    /// It is over, claimed by another worker, or not due yet: then the sweep sends it.
    NotDue,
    /// The destination's configuration keeps everything back, for this reason.
    Withheld(&'static str),
    /// No such destination is configured.
    Unconfigured,
    /// The destination's gate is closed.
    Deferred(Deferred),
    /// It follows another delivery of the call, which is pending.
    Behind(Timestamp),
    /// The destination's rate allows it at this moment.
    Slot(Timestamp),
}

/// What claiming a delivery came to.
enum Claim {
    /// It is this worker's until the lease ends; these bytes are to be sent.
    Claimed(Box<Delivery>, Vec<u8>),
    /// The destination's filter keeps the call back.
    Unwanted,
    /// The delivery or its call was changed by another writer.
    Outdated,
}

/// The deliver worker and what it acts on.
pub struct Deliver {
    /// Where calls and deliveries are.
    pub store: Store,
    /// Where retries are queued.
    pub queue: Arc<dyn Queue>,
    /// What makes the requests.
    pub deliverer: Deliverer,
    /// What it knows of destinations' gates.
    pub gates: Gates,
}

impl Deliver {
    /// Makes an attempt, if the delivery is due. `clock` tells the time: an attempt may take as long as
    /// the destination's timeout.
    pub async fn run(
        &self,
        key: &CallKey,
        id: &DeliveryId,
        configuration: &Configuration,
        clock: impl Fn() -> Timestamp + Sync,
    ) -> Result<(), JobError> {
        rounds("call", async || self.round(key, id, configuration, &clock).await).await
    }

    /// Makes an attempt, unless another writer changed the delivery, its call or its gate meanwhile.
    async fn round(
        &self,
        key: &CallKey,
        id: &DeliveryId,
        configuration: &Configuration,
        clock: &(impl Fn() -> Timestamp + Sync),
    ) -> Result<ControlFlow<()>, JobError> {
        let now = clock();
        let Some(mut delivery) = self.store.delivery(key, id).await? else {
            error!(delivery = %id, "job points to a delivery that is not stored");
            return Ok(ControlFlow::Break(()));
        };
        let (destination, is_probe) = match self.admit(&mut delivery, configuration, now).await? {
            Admitted::Send(destination) => (destination, false),
            Admitted::Probe(destination) => (destination, true),
            Admitted::Overtaken => return Ok(ControlFlow::Continue(())),
            kept_back => {
                self.keep_back(delivery, kept_back, now).await?;
                return Ok(ControlFlow::Break(()));
            }
        };
        let claim = self.claim(delivery, destination, now).await;
        if is_probe && !matches!(claim, Ok(Claim::Claimed(..))) {
            self.change(&id.destination, Change::ProbeDropped, now).await;
        }
        match claim? {
            Claim::Claimed(claimed, body) => {
                self.attempt(*claimed, destination, body, is_probe, clock).await?;
                Ok(ControlFlow::Break(()))
            }
            Claim::Unwanted => Ok(ControlFlow::Break(())),
            Claim::Outdated => Ok(ControlFlow::Continue(())),
        }
    }

    /// Stores of a delivery that is not sent now when and how it goes on.
    async fn keep_back(
        &self,
        delivery: Delivery,
        admitted: Admitted<'_>,
        now: Timestamp,
    ) -> Result<(), JobError> {
        match admitted {
            Admitted::Withheld(why) => self.withhold(delivery, why, now).await,
            Admitted::Unconfigured => self.conclude_unconfigured(delivery, now).await,
            Admitted::Deferred(among) => self.defer(delivery, among).await,
            Admitted::Behind(until) => self.put_off(delivery.postponed(until), now).await,
            Admitted::Slot(slot) => self.put_off(delivery.scheduled(slot, now), now).await,
            Admitted::NotDue | Admitted::Overtaken | Admitted::Send(_) | Admitted::Probe(_) => {
                Ok(())
            }
        }
    }

    /// Whether a delivery is sent now. One that is to be the probe has reserved it when this returns.
    async fn admit<'a>(
        &self,
        delivery: &mut Delivery,
        configuration: &'a Configuration,
        now: Timestamp,
    ) -> Result<Admitted<'a>, StoreError> {
        if !delivery.is_due(now) {
            return Ok(Admitted::NotDue);
        }
        let to = delivery.id.destination.clone();
        let destination = match configuration.destinations.get(&to) {
            Some(Some(destination)) if !destination.paused => destination,
            Some(Some(_)) => return Ok(Admitted::Withheld("is paused")),
            Some(None) => return Ok(Admitted::Withheld("cannot be read")),
            None => return Ok(Admitted::Unconfigured),
        };
        let gate = self.gates.of(&self.store, &to, now).await?;
        let admission = gate.admits(delivery.planned_at, now);
        if let Admission::Defer(among) = admission {
            return Ok(Admitted::Deferred(among));
        }
        if let Some(until) = self.behind(delivery, now).await? {
            return Ok(Admitted::Behind(until));
        }
        if admission == Admission::Probe {
            let until = later(now, lease(destination));
            let taken =
                self.gates.change(&self.store, &to, Change::ProbeTaken { until }, now).await?;
            return Ok(if taken.is_some() {
                Admitted::Probe(destination)
            } else {
                Admitted::Overtaken
            });
        }
        let slot = self.slot(delivery, destination, now).await?;
        Ok(slot.map_or(Admitted::Send(destination), Admitted::Slot))
    }

    /// Until when a delivery waits for the call's own, which comes first: else an update would be the
    /// first that the CRM receives of the call. What the CRM calls the call is learned from it.
    async fn behind(
        &self,
        delivery: &mut Delivery,
        now: Timestamp,
    ) -> Result<Option<Timestamp>, StoreError> {
        if !delivery.id.event.is_more() || delivery.rendered.is_some() {
            return Ok(None);
        }
        let destination = delivery.id.destination.clone();
        let first = DeliveryId { destination, event: Event::Completed };
        let Some(first) = self.store.delivery(&delivery.key, &first).await? else {
            return Ok(None);
        };
        if first.state != DeliveryState::Pending {
            delivery.remote.learn(first.remote);
            return Ok(None);
        }
        let after = first.due_at.map_or(now, |due_at| later(due_at, AFTER));
        Ok(Some(later(now, BEHIND).max(after)))
    }

    /// Makes one attempt and stores its result.
    async fn attempt(
        &self,
        claimed: Delivery,
        destination: &Destination,
        body: Vec<u8>,
        is_probe: bool,
        clock: &(impl Fn() -> Timestamp + Sync),
    ) -> Result<(), JobError> {
        let started = Instant::now();
        let (outcome, remote) = self.deliverer.deliver(&claimed, destination, &body, clock).await;
        let took_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let at = clock();
        let attempt = Attempt { at, took_ms, status: outcome.status, result: outcome.result };
        let to = claimed.id.destination.clone();
        // The gate first: what is deferred must have a gate that releases it.
        let gate = self.learn(&to, outcome.verdict, is_probe, at).await;
        let mut concluded = claimed.concluded(attempt, outcome.verdict, &destination.retries);
        concluded.remote.learn(remote);
        if concluded.state == DeliveryState::Pending
            && let Some(among) = self.shuts_out(&concluded, at).await
        {
            // The next attempt is made when the destination works again, if that is sooner.
            concluded = concluded.deferred(among);
        }
        let stored = self.conclude(concluded, at).await;
        if let Some(gate) = gate {
            self.release(&gate, at).await;
        }
        stored
    }

    /// A destination that is not configured any more, or not yet, counts as a failed attempt, so that
    /// the delivery ends.
    async fn conclude_unconfigured(
        &self,
        delivery: Delivery,
        now: Timestamp,
    ) -> Result<(), JobError> {
        // Deferred deliveries of this destination have to be released, so that they end as well.
        self.change(&delivery.id.destination, Change::ProbeAnswered, now).await;
        let result = "its destination is not configured".to_owned();
        let attempt = Attempt { at: now, took_ms: 0, status: None, result };
        let verdict = Verdict::Retry { not_before: None };
        self.conclude(delivery.concluded(attempt, verdict, &UNCONFIGURED), now).await
    }

    /// Stores and reports the result of an attempt, and queues the next one.
    async fn conclude(&self, delivery: Delivery, now: Timestamp) -> Result<(), JobError> {
        if self.store.put_delivery(&delivery, None).await? == PutIf::Conflict {
            // The lease had run out and another worker took over: its result counts.
            self.report(Level::WARN, &delivery, "delivery overtaken");
            return Ok(());
        }
        let (level, counted, message) = match delivery.state {
            DeliveryState::Failed => (
                Level::ERROR,
                "failed",
                "delivery failed permanently: correct the cause and redeliver it",
            ),
            DeliveryState::Pending => {
                (Level::WARN, "not_taken", "delivery attempt failed; it will be retried")
            }
            DeliveryState::Delivered | DeliveryState::Unwanted => {
                (Level::INFO, "delivered", "delivered")
            }
        };
        self.report(level, &delivery, message);
        let dimensions = [("destination", delivery.id.destination.as_str())];
        metrics::count(&[(counted, 1)], &dimensions);
        self.queue_next(&delivery, now).await;
        Ok(())
    }

    /// Stores a delivery that waits for a moment, and queues it for then.
    async fn put_off(&self, delivery: Delivery, now: Timestamp) -> Result<(), JobError> {
        if let PutIf::Stored(_) = self.store.put_delivery(&delivery, None).await? {
            self.queue_next(&delivery, now).await;
        }
        Ok(())
    }

    /// Queues the next attempt, if a message can wait that long; else the sweep sends it in time.
    async fn queue_next(&self, delivery: &Delivery, now: Timestamp) {
        if let Some(send) = delivery_job(delivery, now) {
            queue_due(&*self.queue, &[send]).await;
        }
    }

    fn report(&self, level: Level, delivery: &Delivery, message: &str) {
        let attempt = delivery.attempts.last();
        let result = attempt.map_or("", |attempt| attempt.result.as_str());
        let took_ms = attempt.map_or(0, |attempt| attempt.took_ms);
        let next = delivery.due_at.map_or("never".to_owned(), |due_at| due_at.to_string());
        log_at!(
            level, destination = %delivery.id.destination, event = %delivery.id.event.as_str(),
            idempotency_key = %delivery.idempotency_key(), %result, took_ms,
            failures = delivery.failures, next_try = %next, "{message}"
        );
    }
}

/// How long an attempt to this destination is leased: its timeout, and the time to store the result.
fn lease(destination: &Destination) -> SignedDuration {
    SignedDuration::from_secs((destination.timeout.0 + LEASE_MARGIN).into())
}
