//! Delivers a stored call to its destinations once more, now.

use serde::Deserialize;
use serde_json::json;
use switchboard_domain::{CallKey, CallRecord, Delivery, DeliveryId, Event, Name};
use switchboard_flow::redeliver::{Again, is_ready, redeliver};
use switchboard_providers::Provider as _;
use switchboard_providers::twilio::Twilio;
use tracing::info;

use super::{Calls, TwilioSources, details, job, named, wrong_key};
use crate::{Caller, Problem, Request, Response, Right, with_status};

/// What is to be sent again. All of it, where nothing is said.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Wanted {
    /// The destinations, also ones that the call was not delivered to. Empty: all that it has deliveries for.
    destinations: Vec<Name>,
    /// Which event: `call.completed`, unless another is named. Either says all that is known by now.
    event: Option<Event>,
}

/// Which call is to be sent again: by Twilio's id, or by its key.
#[derive(Deserialize)]
struct Test {
    #[serde(default, rename = "callSid")]
    call_sid: Option<String>,
    #[serde(default)]
    call: Option<String>,
}

impl<N: TwilioSources> Calls<N> {
    /// Delivers one call again.
    pub(super) async fn redeliver(
        &self,
        key: &CallKey,
        request: &Request,
        caller: &Caller,
    ) -> Result<Response, Problem> {
        caller.needs(Right::Deliver)?;
        request.only(&[])?;
        let is_empty = request.bytes().trim_ascii().is_empty();
        let wanted: Wanted = if is_empty { Wanted::default() } else { request.json()? };
        self.again(key, &wanted, request, caller).await
    }

    /// Delivers a call again of which Twilio's id alone may be known.
    pub(super) async fn test_webhook(
        &self,
        request: &Request,
        caller: &Caller,
    ) -> Result<Response, Problem> {
        caller.needs(Right::Deliver)?;
        request.only(&[])?;
        let test: Test = request.json()?;
        let key = match (test.call, test.call_sid) {
            (Some(call), None) => call.parse().map_err(wrong_key)?,
            (None, Some(call_sid)) => self.of_twilio(&call_sid).await?,
            _ => return Err(Problem::invalid("body", "must hold either callSid or call")),
        };
        self.again(&key, &Wanted::default(), request, caller).await
    }

    /// The stored call with an id of Twilio's, of whichever source.
    async fn of_twilio(&self, call_sid: &str) -> Result<CallKey, Problem> {
        let unreadable = |_| Problem::ours("the configuration cannot be read");
        let provider = Name::new("provider", Twilio.name()).map_err(wrong_key)?;
        for source in self.sources.names().await.map_err(unreadable)?.iter() {
            let wrong = |_| Problem::invalid("callSid", "is not a call id");
            let key = CallKey::new(provider.clone(), source.clone(), call_sid).map_err(wrong)?;
            if self.store.call(&key).await?.is_some() {
                return Ok(key);
            }
        }
        Err(Problem::not_found("call"))
    }

    /// Whether a delivery that was never planned is created: a filter, or a destination configured later,
    /// kept it back.
    async fn may_create(&self, record: &CallRecord, new: &DeliveryId) -> Result<(), Problem> {
        let unreadable = |_| Problem::ours("the configuration cannot be read");
        let mut known = self.destinations.destinations(false).await.map_err(unreadable)?;
        if !known.contains_key(&new.destination) {
            known = self.destinations.destinations(true).await.map_err(unreadable)?;
        }
        if new.event != Event::Completed || !known.contains_key(&new.destination) {
            let detail = format!(
                "no delivery of the call was planned for {new}, and only call.completed to a configured \
                 destination is created"
            );
            return Err(Problem { detail, ..Problem::not_found("delivery") });
        }
        match is_ready(record) {
            true => Ok(()),
            false => Err(Problem::conflict(
                "the call has not ended, or its deliveries are not planned yet: retry later",
            )),
        }
    }

    async fn again(
        &self,
        key: &CallKey,
        wanted: &Wanted,
        request: &Request,
        caller: &Caller,
    ) -> Result<Response, Problem> {
        let record = self.stored(key).await?;
        let event = wanted.event.unwrap_or(Event::Completed);
        let planned = record.deliveries.iter().filter(|id| id.event == event);
        let ids: Vec<DeliveryId> = match wanted.destinations[..] {
            [] => planned.cloned().collect(),
            _ => {
                let id = |to: &Name| DeliveryId { destination: to.clone(), event };
                wanted.destinations.iter().map(id).collect()
            }
        };
        if ids.is_empty() {
            let detail = "the call has no deliveries: it has not ended, is a leg of another call, or \
                          no destination takes it";
            return Err(Problem::conflict(detail));
        }
        for new in ids.iter().filter(|id| !record.deliveries.contains(id)) {
            self.may_create(&record, new).await?;
        }
        let (mut due, mut busy): (Vec<Delivery>, Vec<DeliveryId>) = Default::default();
        for id in ids {
            match redeliver(&self.store, key, &id, true, &request.id, request.now).await? {
                Again::Due(delivery) => due.push(*delivery),
                Again::Busy | Again::Unknown | Again::TooEarly => busy.push(id),
            }
        }
        let correlation_id = key.correlation_id();
        info!(caller = caller.name, call = %key, %correlation_id, "redelivery requested");
        self.queue(&due.iter().map(job).collect::<Vec<_>>()).await;
        if due.is_empty() {
            return Err(Problem::conflict(
                "a worker is delivering the call now, so it stays as it is: wait a minute, then retry",
            ));
        }
        let queued: Vec<_> = due.iter().map(details::delivery).collect();
        with_status(202, named(key, [json!({ "queued": queued, "busy": busy })]))
    }
}
