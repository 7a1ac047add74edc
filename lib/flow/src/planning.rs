//! Which deliveries of a call are to be made, by its configuration and what is stored.

use std::collections::BTreeMap;

use switchboard_domain::plan::{self, CallSummary, Subscriber};
use switchboard_domain::{CallRecord, DeliveryId, Digest, Event, Planned};
use switchboard_store::{Store, StoreError};

use crate::configuration::Configuration;

/// The deliveries of a call as they are to be.
pub struct Plan {
    /// Those to make beside those that exist.
    pub new: Vec<DeliveryId>,
    /// Existing ones that the plan takes to be untried.
    pub untried: Vec<DeliveryId>,
    /// What the next plan has to know.
    pub planned: Planned,
}

/// Plans the deliveries of a call.
pub async fn plan(
    store: &Store,
    call: &CallRecord,
    configuration: &Configuration,
) -> Result<Plan, StoreError> {
    let mut existing: BTreeMap<DeliveryId, Option<Digest>> = BTreeMap::new();
    if !call.deliveries.is_empty() {
        for delivery in store.deliveries(&call.key).await? {
            existing.insert(delivery.id, delivery.rendered.map(|body| body.fingerprint));
        }
    }
    let subscribers: Vec<_> = configuration
        .destinations
        .iter()
        .map(|(name, destination)| match destination {
            Some(destination) => {
                destination.subscriber(name.clone(), call).without_updates(&call.owed)
            }
            // Its filter is applied when its configuration can be read.
            None => Subscriber {
                destination: name.clone(),
                events: vec![Event::Completed],
                wanted_before: call.planned.iter().map(|_| Event::Completed).collect(),
            },
        })
        .collect();
    let fingerprint = call.fingerprint();
    let summary = CallSummary {
        has_ended: call.call.has_ended(),
        fingerprint: &fingerprint,
        tasks: call.as_planned().tasks,
    };
    let new = plan::deliveries(summary, &subscribers, &existing);
    let kept_back = subscribers
        .into_iter()
        .filter(|one| !one.events.contains(&Event::Completed) && call.knew(&one.destination))
        .map(|one| one.destination);
    let planned = Planned { kept_back: kept_back.collect(), ..call.as_planned() };
    // A start that is delivered meanwhile changes nothing in the plan.
    let is_untried =
        |(id, tried): &(DeliveryId, Option<Digest>)| tried.is_none() && id.event != Event::Started;
    let untried = existing.into_iter().filter(is_untried).map(|(id, _)| id).collect();
    Ok(Plan { new, untried, planned })
}
