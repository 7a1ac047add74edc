//! What deliveries do to a destination's gate, and a gate to deliveries.

use crate::telemetry::{Level, log_at};
use crate::{JobError, metrics};
use jiff::Timestamp;
use switchboard_crm::destination::Destination;
use switchboard_domain::delivery::Verdict;
use switchboard_domain::gate::{Admission, Breaker, Change, Gate};
use switchboard_domain::pace::SLOT_IS_GOOD_FOR;
use switchboard_domain::{Deferred, Delivery, Event, Name};
use switchboard_store::StoreError;
use tracing::warn;

use super::Deliver;
use crate::gates;

impl Deliver {
    /// Notes what an attempt says of its destination. Gives the gate, if that has changed it.
    pub(super) async fn learn(
        &self,
        to: &Name,
        verdict: Verdict,
        is_probe: bool,
        now: Timestamp,
    ) -> Option<Gate> {
        let change = match verdict {
            Verdict::Gone => Change::Gone,
            Verdict::Delivered | Verdict::Refused if is_probe => Change::ProbeAnswered,
            Verdict::Delivered | Verdict::Refused => {
                self.gates.answered(to, now);
                return None;
            }
            Verdict::Retry { not_before } | Verdict::RetryBriefly { not_before } => {
                match not_before {
                    _ if is_probe => Change::ProbeFailed { not_before },
                    Some(not_before) if not_before > now => Change::Asked { not_before },
                    _ if self.gates.failed(to, now) => Change::Tripped,
                    _ => return None,
                }
            }
        };
        self.change(to, change, now).await
    }

    /// Among what a delivery that failed has to wait, if its destination is not sent to by now.
    pub(super) async fn shuts_out(&self, delivery: &Delivery, now: Timestamp) -> Option<Deferred> {
        // If that cannot be read, it is tried when its time comes.
        let gate = self.gates.of(&self.store, &delivery.id.destination, now).await.ok()?;
        match gate.admits(delivery.planned_at, now) {
            Admission::Defer(among) => Some(among),
            Admission::Pass | Admission::Probe => None,
        }
    }

    /// Lets out what waits for a gate that has just opened.
    pub(super) async fn release(&self, gate: &Gate, now: Timestamp) {
        let acts_on = (&self.store, &*self.queue);
        if !gate.is_open()
            && let Err(error) = gates::release(acts_on, &self.gates, gate, now).await
        {
            warn!(%error, "waiting deliveries left to the sweep");
        }
    }

    /// Changes a gate and says so. Where that fails, the next answer says the same again.
    pub(super) async fn change(&self, to: &Name, change: Change, now: Timestamp) -> Option<Gate> {
        let gate = match self.gates.change(&self.store, to, change, now).await {
            Ok(gate) => gate?,
            Err(error) => {
                warn!(destination = %to, %error, "destination state could not be written");
                return None;
            }
        };
        let until = match gate.breaker {
            Breaker::Open { until, .. } | Breaker::Probing { until, .. } => until.to_string(),
            Breaker::Closed => String::new(),
        };
        let (level, counted, message) = match change {
            Change::Gone => (
                Level::ERROR,
                "destination_stopped",
                "destination stopped after 410: resume it when it is back",
            ),
            Change::ProbeAnswered => (Level::INFO, "breaker_closed", "circuit breaker closed"),
            Change::ProbeFailed { .. } => {
                (Level::WARN, "probe_failed", "circuit breaker stays open: the probe failed")
            }
            Change::ProbeDropped => return Some(gate),
            _ => (Level::WARN, "breaker_opened", "circuit breaker opened"),
        };
        log_at!(level, destination = %to, %until, "{message}");
        metrics::count(&[(counted, 1)], &[("destination", to.as_str())]);
        Some(gate)
    }

    /// The moment to which a delivery is put off, if its destination's rate does not let it go now.
    pub(super) async fn slot(
        &self,
        delivery: &Delivery,
        destination: &Destination,
        now: Timestamp,
    ) -> Result<Option<Timestamp>, StoreError> {
        let Some(pace) = destination.pace else { return Ok(None) };
        let slot = match delivery.slot {
            // Woken up before its time.
            Some(slot) if slot > now => slot,
            Some(slot) if now.duration_since(slot) <= SLOT_IS_GOOD_FOR => return Ok(None),
            _ => self.store.reserve(&delivery.id.destination, pace, now).await?,
        };
        Ok(Some(slot).filter(|slot| *slot > now))
    }

    /// Its destination's configuration keeps everything back.
    pub(super) async fn withhold(
        &self,
        delivery: Delivery,
        why: &str,
        now: Timestamp,
    ) -> Result<(), JobError> {
        let to = &delivery.id.destination;
        if let Some(gate) = self.gates.change(&self.store, to, Change::Withheld, now).await?
            && gate.is_open()
        {
            warn!(destination = %to, because_it = %why, "deliveries wait: the destination is paused or invalid");
        }
        self.defer(delivery, Deferred::Shut).await
    }

    /// Defers a delivery until its destination's gate opens. A start that cannot be delivered now is dropped.
    pub(super) async fn defer(&self, delivery: Delivery, among: Deferred) -> Result<(), JobError> {
        let deferred = match delivery.id.event {
            Event::Started => delivery.unwanted(),
            _ if delivery.deferred == Some(among) => return Ok(()),
            _ => delivery.deferred(among),
        };
        // The concurrent writer deferred it.
        self.store.put_delivery(&deferred, None).await?;
        Ok(())
    }
}
