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

use crate::gateway::Reply;
use switchboard_flow::Telemetry;
use switchboard_flow::ingest::{Ingest, Ingested, NotIngested, jobs, quarantined};

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
    /// Where it says what it does.
    pub telemetry: Telemetry,
}

impl Hook {
    /// Takes a request. Whatever was wrong with it is in the reply, the log and the metrics.
    pub async fn handle(&self, request: &Request, sources: &Sources, id: &str) -> Reply {
        match self.first(request, sources, id).await {
            Ok(reply) => reply,
            Err(why) => self.reject(request, &why, id),
        }
    }

    /// Takes a request, unless no source is opened by what came with it. `Err` says nothing yet:
    /// newer configuration may know the sender.
    pub async fn first(
        &self,
        request: &Request,
        sources: &Sources,
        id: &str,
    ) -> Result<Reply, Reject> {
        if let Some(answer) = self.provider.public(request) {
            return Ok(Reply::new(200, answer));
        }
        if request.body_len() > LARGEST_BODY {
            let why = Reject::TooLarge { limit: LARGEST_BODY };
            return Ok(self.reject(request, &why, id));
        }
        let message = match authenticate(self.provider, request, sources) {
            Ok(message) => message,
            Err(why @ Reject::Forbidden(_)) => return Err(why),
            Err(why) => return Ok(self.reject(request, &why, id)),
        };
        Ok(match self.provider.parse(&message) {
            Ok(Content::Calls(records)) => self.take_all(&message, sources, records, id).await,
            Ok(Content::Other(answer)) => self.answer(answer, id),
            Err(why) => match self.quarantine(&message, &why, message.body()).await {
                Ok(()) => self.reject(request, &why, id),
                Err(error) => self.fault(&error, id),
            },
        })
    }

    /// Stores every record, then queues what they owe in as few requests as it takes.
    async fn take_all(
        &self,
        message: &Authenticated<'_>,
        sources: &Sources,
        records: Vec<Parsed>,
        id: &str,
    ) -> Reply {
        let now = message.request().received_at;
        let mut taken = Vec::new();
        let mut rejected = Vec::new();
        let ingest = &Ingest { provider: self.provider, store: &self.store, sources };
        let take = |record| async move {
            match record {
                Ok(record) => ingest.ingest(record, now).await,
                Err(unread) => Err(NotIngested::Unread(unread)),
            }
        };
        // A lone record, as most requests bring, is taken where it stands: a buffer would copy its
        // future, which is large, three times.
        let is_alone = records.len() == 1;
        let records = stream::iter(records);
        let outcomes = match is_alone {
            true => records.then(take).left_stream(),
            false => records.map(take).buffered(AT_ONCE).right_stream(),
        };
        let mut outcomes = std::pin::pin!(outcomes.enumerate());
        while let Some((index, outcome)) = outcomes.next().await {
            match outcome {
                Ok(one) => taken.push(one),
                Err(NotIngested::Unread(unread)) => {
                    if let Err(error) = self.quarantine(message, &unread.why, &unread.raw).await {
                        return self.fault(&error, id);
                    }
                    rejected.push((index, unread.why));
                }
                Err(NotIngested::Store(error)) => return self.fault(&error, id),
            }
        }
        let jobs = jobs(&taken, now);
        self.queue(&jobs).await;
        self.say(&taken, &rejected, jobs.len(), id);
        reply(self.provider.accepted(), &taken, &rejected)
    }

    /// Answers what was understood and is about no call.
    fn answer(&self, answer: Value, id: &str) -> Reply {
        let provider = self.provider.name();
        self.telemetry
            .info("message about no call", &[("provider", &provider), ("request_id", &id)]);
        self.telemetry.count(&[("received", 1), ("other", 1)], &[("provider", provider)]);
        Reply::new(self.provider.accepted(), answer)
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
            self.telemetry.warn("follow-ups were stored and not queued", &[("error", &error)]);
        }
    }

    fn reject(&self, request: &Request, why: &Reject, id: &str) -> Reply {
        let provider = self.provider.name();
        self.telemetry.warn(
            "webhook rejected",
            &[
                ("provider", &provider),
                ("reason", &why.reason()),
                ("problem", why),
                ("status", &why.status()),
                ("path", &request.path),
                ("request_id", &id),
            ],
        );
        let dimensions = [("provider", provider), ("reason", why.reason())];
        self.telemetry.count(&[("received", 1), ("rejected", 1)], &dimensions);
        Reply::error(why.status(), &why.to_string())
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

    fn fault(&self, error: &StoreError, id: &str) -> Reply {
        let provider = self.provider.name();
        self.telemetry.error(
            "webhook not stored",
            &[("provider", &provider), ("error", error), ("request_id", &id)],
        );
        self.telemetry.count(&[("received", 1), ("not_stored", 1)], &[("provider", provider)]);
        let status = if error.is_retryable() { 503 } else { 500 };
        Reply::error(status, "service unavailable: the message was not stored, send it again")
    }

    fn say(&self, taken: &[Ingested], rejected: &[(usize, Reject)], due: usize, id: &str) {
        let provider = self.provider.name();
        let count = |kind| taken.iter().filter(|one| one.absorbed == kind).count() as u64;
        for one in taken {
            self.telemetry.info(
                match one.absorbed {
                    Absorbed::New => "update stored",
                    Absorbed::Duplicate => "duplicate update",
                },
                &[
                    ("call", &one.key),
                    ("correlation_id", &one.key.correlation_id()),
                    ("owes", &one.due_at.map_or("nothing", |_| "enrich")),
                    ("request_id", &id),
                ],
            );
        }
        for (index, why) in rejected {
            self.telemetry.warn(
                "record rejected",
                &[
                    ("provider", &provider),
                    ("index", index),
                    ("problem", why),
                    ("reason", &why.reason()),
                    ("request_id", &id),
                ],
            );
        }
        let counts = [
            ("received", 1),
            ("stored", count(Absorbed::New)),
            ("duplicate", count(Absorbed::Duplicate)),
            ("due", due as u64),
        ];
        self.telemetry.count(&counts, &[("provider", provider)]);
        for (_, why) in rejected {
            let dimensions = [("provider", provider), ("reason", why.reason())];
            self.telemetry.count(&[("rejected", 1)], &dimensions);
        }
    }
}

fn reply(accepted: u16, taken: &[Ingested], rejected: &[(usize, Reject)]) -> Reply {
    let count = |kind| taken.iter().filter(|one| one.absorbed == kind).count();
    let mut body = json!({
        "accepted": count(Absorbed::New),
        "duplicates": count(Absorbed::Duplicate),
    });
    let reasons: Vec<_> = rejected
        .iter()
        .map(|(index, why)| json!({"index": index, "error": why.to_string()}))
        .collect();
    match (taken, rejected) {
        // Nothing of it was any good: the sender's fault as a whole, by its first record.
        ([], [(_, why), ..]) => {
            Reply::new(why.status(), json!({"error": why.to_string(), "rejected": reasons}))
        }
        _ => {
            if !rejected.is_empty() {
                body["rejected"] = reasons.into();
            }
            let mut reply = Reply::new(accepted, body);
            if let [one] = taken {
                let id = one.key.correlation_id().to_string();
                reply.headers.insert("x-correlation-id", id);
            }
            reply
        }
    }
}
