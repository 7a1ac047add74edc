//! What a webhook function does with a request: authenticate, parse, store, queue, reply.

use std::sync::Arc;

use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};
use switchboard_domain::Absorbed;
use switchboard_providers::{
    Authenticated, Content, Parsed, Provider, Reject, Request, Sources, authenticate,
};
use switchboard_queue::{Queue, QueueError, Send};
use switchboard_store::{Store, StoreError};

use switchboard_flow::ingest::{Ingest, Ingested, NotIngested, jobs, quarantined};
use switchboard_flow::metrics;
use tracing::{error, info, warn};

use crate::gateway::Response;

/// What fits through Lambda's 6 MB event as Base64. Larger bodies do not reach us.
const LARGEST_BODY: usize = 4_500_000;
/// So many records of one request are stored at a time.
const AT_ONCE: usize = 16;
/// A sender waits no longer than this for its follow-ups to be queued: it must have its answer while
/// the function still has time to give one.
const QUEUE_TIMEOUT: Duration = Duration::from_secs(5);

/// A provider's webhook function: the provider and what it acts on.
pub struct Hook {
    /// Whose webhook it is.
    pub provider: &'static dyn Provider,
    /// Where calls go.
    pub store: Store,
    /// Where follow-ups go.
    pub queue: Arc<dyn Queue>,
}

impl Hook {
    /// Handles a request. What was wrong with it is in the reply, the log and the metrics.
    pub async fn handle(&self, request: &Request, sources: &Sources) -> Response {
        match self.first(request, sources).await {
            Ok(reply) => reply,
            Err(why) => self.reject(request, &why),
        }
    }

    /// Handles a request, unless its credentials match no source. `Err` is not logged yet: newer
    /// configuration may know the sender.
    pub async fn first(&self, request: &Request, sources: &Sources) -> Result<Response, Reject> {
        if let Some(answer) = self.provider.public(request) {
            return Ok(Response::new(200, answer));
        }
        if request.body_len() > LARGEST_BODY {
            let why = Reject::TooLarge { limit: LARGEST_BODY };
            return Ok(self.reject(request, &why));
        }
        let message = match authenticate(self.provider, request, sources) {
            Ok(message) => message,
            Err(why @ Reject::Forbidden(_)) => return Err(why),
            Err(why) => return Ok(self.reject(request, &why)),
        };
        Ok(match self.provider.parse(&message) {
            Ok(Content::Calls(records)) => self.ingest_all(&message, sources, records).await,
            Ok(Content::Other(answer)) => self.respond(answer),
            Err(why) => match self.quarantine(&message, &why, message.body()).await {
                Ok(()) => self.reject(request, &why),
                Err(error) => self.fault(&error),
            },
        })
    }

    /// Stores every record, then queues what they owe in as few requests as it takes.
    async fn ingest_all(
        &self,
        message: &Authenticated<'_>,
        sources: &Sources,
        records: Vec<Parsed>,
    ) -> Response {
        let now = message.request().received_at;
        let mut ingested = Vec::new();
        let mut rejected = Vec::new();
        let ingest = &Ingest { provider: self.provider, store: &self.store, sources };
        let ingest_one = |record| async move {
            match record {
                Ok(record) => ingest.ingest(record, now).await,
                Err(unread) => Err(NotIngested::Unread(unread)),
            }
        };
        // Most requests bring one record: it needs no buffer, which would copy its large future three
        // times.
        let is_alone = records.len() == 1;
        let records = stream::iter(records);
        let outcomes = match is_alone {
            true => records.then(ingest_one).left_stream(),
            false => records.map(ingest_one).buffered(AT_ONCE).right_stream(),
        };
        let mut outcomes = std::pin::pin!(outcomes.enumerate());
        while let Some((index, outcome)) = outcomes.next().await {
            match outcome {
                Ok(one) => ingested.push(one),
                Err(NotIngested::Unread(unread)) => {
                    if let Err(error) = self.quarantine(message, &unread.why, &unread.raw).await {
                        return self.fault(&error);
                    }
                    rejected.push((index, unread.why));
                }
                Err(NotIngested::Store(error)) => return self.fault(&error),
            }
        }
        let jobs = jobs(&ingested, now);
        self.queue(&jobs).await;
        self.report(&ingested, &rejected, jobs.len());
        reply(self.provider.accepted(), &ingested, &rejected)
    }

    /// The reply to a message that is about no call.
    fn respond(&self, body: Value) -> Response {
        let provider = self.provider.name();
        info!(provider, "message about no call");
        metrics::count(&[("received", 1), ("other", 1)], &[("provider", provider)]);
        Response::new(self.provider.accepted(), body)
    }

    /// Sends the jobs. What they point to is stored as due, so if this fails, or takes too long, the
    /// sweep repairs it.
    async fn queue(&self, jobs: &[Send]) {
        if jobs.is_empty() {
            return;
        }
        let sent = tokio::time::timeout(QUEUE_TIMEOUT, self.queue.send(jobs)).await;
        let late = || QueueError { code: format!("not done after {QUEUE_TIMEOUT:?}") };
        if let Err(error) = sent.unwrap_or_else(|_| Err(late())) {
            warn!(%error, "follow-ups stored but not queued");
        }
    }

    fn reject(&self, request: &Request, why: &Reject) -> Response {
        let (provider, reason, status) = (self.provider.name(), why.reason(), why.status());
        warn!(provider, reason, problem = %why, status, path = request.path, "webhook rejected");
        let dimensions = [("provider", provider), ("reason", reason)];
        metrics::count(&[("received", 1), ("rejected", 1)], &dimensions);
        Response::error(status, &why.to_string())
    }

    /// Keeps what an authenticated sender sent and we did not understand.
    async fn quarantine(
        &self,
        message: &Authenticated<'_>,
        why: &Reject,
        raw: &[u8],
    ) -> Result<(), StoreError> {
        match quarantined(self.provider, message, why, raw) {
            Some(one) => self.store.put_quarantined(&one, raw).await,
            None => Ok(()),
        }
    }

    fn fault(&self, error: &StoreError) -> Response {
        let provider = self.provider.name();
        error!(provider, %error, "webhook not stored");
        metrics::count(&[("received", 1), ("not_stored", 1)], &[("provider", provider)]);
        let status = if error.is_retryable() { 503 } else { 500 };
        Response::error(status, "service unavailable: the message was not stored, send it again")
    }

    fn report(&self, ingested: &[Ingested], rejected: &[(usize, Reject)], due: usize) {
        let provider = self.provider.name();
        for one in ingested {
            let (call, correlation_id) = (&one.key, one.key.correlation_id());
            let owes = one.due_at.map_or("nothing", |_| "enrich");
            match one.absorbed {
                Absorbed::New => info!(%call, %correlation_id, owes, "update stored"),
                Absorbed::Duplicate => info!(%call, %correlation_id, owes, "duplicate update"),
            }
        }
        let count = |kind| ingested.iter().filter(|one| one.absorbed == kind).count() as u64;
        let counts = [
            ("received", 1),
            ("stored", count(Absorbed::New)),
            ("duplicate", count(Absorbed::Duplicate)),
            ("due", due as u64),
        ];
        metrics::count(&counts, &[("provider", provider)]);
        for (index, why) in rejected {
            let reason = why.reason();
            warn!(provider, index, problem = %why, reason, "record rejected");
            metrics::count(&[("rejected", 1)], &[("provider", provider), ("reason", reason)]);
        }
    }
}

fn reply(accepted: u16, ingested: &[Ingested], rejected: &[(usize, Reject)]) -> Response {
    let count = |kind| ingested.iter().filter(|one| one.absorbed == kind).count();
    let mut body = json!({
        "accepted": count(Absorbed::New),
        "duplicates": count(Absorbed::Duplicate),
    });
    let reasons: Vec<_> = rejected
        .iter()
        .map(|(index, why)| json!({"index": index, "error": why.to_string()}))
        .collect();
    match (ingested, rejected) {
        // No record could be read: the reply is that of the first.
        ([], [(_, why), ..]) => {
            Response::new(why.status(), json!({"error": why.to_string(), "rejected": reasons}))
        }
        _ => {
            if !rejected.is_empty() {
                body["rejected"] = reasons.into();
            }
            let mut reply = Response::new(accepted, body);
            if let [one] = ingested {
                let id = one.key.correlation_id().to_string();
                reply.headers.insert("x-correlation-id", id);
            }
            reply
        }
    }
}
