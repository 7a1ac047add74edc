//! Redelivering what a destination did not receive of a range of time.

use jiff::Timestamp;
use switchboard_crm::Destination;
use switchboard_domain::{CallRecord, DeliveryId, DeliveryState, Event, plan};
use switchboard_providers::Source;
use switchboard_store::{Between, Store, StoreError};

use super::{Again, is_ready, redeliver};
use crate::configuration::Configuration;
use crate::replay::{Progress, Stopped, each_call, is_between};

/// Redelivers `call.completed` of calls to a destination that did not receive it: failed deliveries, and those
/// that a filter or a late configuration kept back, as far as its filter lets the calls pass now.
pub struct RedeliverRange<'a> {
    /// Where calls are. In a dry run, one that keeps what it is given to itself.
    pub store: &'a Store,
    /// The sources.
    pub configuration: &'a Configuration,
    /// The delivery of each call.
    pub id: DeliveryId,
    /// The destination.
    pub destination: &'a Destination,
    /// The time of the run.
    pub now: Timestamp,
    /// What is shown of it.
    pub progress: &'a mut dyn Progress,
    /// The result so far.
    pub counts: Counts,
}

/// The result of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Calls that were read.
    pub read: u64,
    /// Deliveries that are due now.
    pub due: u64,
    /// Calls that the destination received.
    pub delivered: u64,
    /// Deliveries that are to be sent anyway.
    pub pending: u64,
    /// Calls that its filter excludes.
    pub excluded: u64,
    /// Calls that are not delivered: in progress, not planned yet, or legs of other calls.
    pub undelivered: u64,
}

impl RedeliverRange<'_> {
    /// Redelivers of every call with an update in a range of time.
    pub async fn run(&mut self, between: &Between) -> Result<(), Stopped> {
        self.progress.begin(None);
        each_call(self.store, None, async |record| {
            self.progress.read();
            if is_between(&record, between) { Ok(self.one(&record).await?) } else { Ok(()) }
        })
        .await
    }

    async fn one(&mut self, record: &CallRecord) -> Result<(), StoreError> {
        self.counts.read += 1;
        let unknown = Source::default();
        let source = self.configuration.source(&record.key).unwrap_or(&unknown);
        let state = self.store.delivery(&record.key, &self.id).await?.map(|one| one.state);
        let counted = match state {
            Some(DeliveryState::Delivered) => &mut self.counts.delivered,
            Some(DeliveryState::Pending) => &mut self.counts.pending,
            _ if !is_ready(record) || !plan::is_delivered(&record.call, source.legs) => {
                &mut self.counts.undelivered
            }
            _ if !self.destination.wants(record, Event::Completed) => &mut self.counts.excluded,
            _ => {
                let nonce = self.now.to_string();
                match redeliver(self.store, &record.key, &self.id, true, &nonce, self.now).await? {
                    Again::Due(_) => {
                        self.progress.line(&format!("call {}: {} is due", record.key, self.id));
                        &mut self.counts.due
                    }
                    Again::Busy => &mut self.counts.pending,
                    Again::Unknown | Again::TooEarly => &mut self.counts.undelivered,
                }
            }
        };
        *counted += 1;
        Ok(())
    }
}
