//! What a webhook function does with a request: authenticate, parse, store, queue, reply.

use futures_util::{StreamExt as _, stream};
use jiff::Timestamp;
use serde_json::{Value, json};
use switchboard_domain::update::INLINE_LIMIT;
use switchboard_domain::{
    Absorbed, Body, CallKey, CallRecord, Digest, Name, Policy, State, Update,
};
use switchboard_providers::{
    Authenticated, Content, Parsed, Provider, Record, Reject, Request, Source, Sources, Unread,
    authenticate,
};
use switchboard_queue::{Job, Queue, Send};
use switchboard_store::{Put, Quarantined, Store, StoreError, Trace};

use crate::gateway::Reply;
use crate::telemetry::Telemetry;

/// What fits through Lambda's 6 MB event as Base64. Larger bodies do not reach us.
const LARGEST_BODY: usize = 4_500_000;
/// So many records of one request are stored at a time.
const AT_ONCE: usize = 16;
/// How often a write is tried against other writers of the same call. Each round one of them wins.
const ROUNDS: usize = 60;

/// A provider's webhook function: the provider and what it acts on.
pub struct Hook<S, Q> {
    /// Whose webhook it is.
    pub provider: &'static dyn Provider,
    /// Where calls go.
    pub store: S,
    /// Where follow-ups go.
    pub queue: Q,
    /// Where it says what it does.
    pub telemetry: Telemetry,
}

/// A stored update and what its call owes.
struct Taken {
    key: CallKey,
    absorbed: Absorbed,
    due_at: Option<Timestamp>,
}

/// Why one record of a request was not stored.
enum NotTaken {
    Unread(Unread),
    Store(StoreError),
}

impl<S: Store, Q: Queue> Hook<S, Q> {
    /// Whether the sender is known. Says nothing yet: newer configuration may know them.
    pub fn knows(&self, request: &Request, sources: &Sources) -> bool {
        !matches!(authenticate(self.provider, request, sources), Err(Reject::Forbidden(_)))
    }

    /// Takes a request. Whatever was wrong with it is in the reply, the log and the metrics.
    pub async fn handle(&self, request: &Request, sources: &Sources, id: &str) -> Reply {
        if let Some(answer) = self.provider.public(request) {
            return Reply::new(200, answer);
        }
        if request.body_len() > LARGEST_BODY {
            return self.reject(request, &Reject::TooLarge { limit: LARGEST_BODY }, id);
        }
        let message = match authenticate(self.provider, request, sources) {
            Ok(message) => message,
            Err(why) => return self.reject(request, &why, id),
        };
        match self.provider.parse(&message) {
            Ok(Content::Calls(records)) => self.take_all(&message, sources, records, id).await,
            Ok(Content::Other(answer)) => self.answer(answer, id),
            Err(why) => match self.quarantine(&message, &why, message.body()).await {
                Ok(()) => self.reject(request, &why, id),
                Err(error) => self.fault(&error, id),
            },
        }
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
        let outcomes = stream::iter(records).map(|record| async move {
            match record {
                Ok(record) => self.take(record, sources, now).await,
                Err(unread) => Err(NotTaken::Unread(unread)),
            }
        });
        let mut outcomes = std::pin::pin!(outcomes.buffered(AT_ONCE).enumerate());
        while let Some((index, outcome)) = outcomes.next().await {
            match outcome {
                Ok(one) => taken.push(one),
                Err(NotTaken::Unread(unread)) => {
                    if let Err(error) = self.quarantine(message, &unread.why, &unread.raw).await {
                        return self.fault(&error, id);
                    }
                    rejected.push((index, unread.why));
                }
                Err(NotTaken::Store(error)) => return self.fault(&error, id),
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

    /// Stores one update: the first of its call with one request, a further one with two.
    async fn take(
        &self,
        record: Record,
        sources: &Sources,
        now: Timestamp,
    ) -> Result<Taken, NotTaken> {
        let key = self.key(&record).await.map_err(NotTaken::Store)?;
        let update = record.update;
        let policy = self.policy(&key, sources);
        let update = self.offload(&key, update, INLINE_LIMIT).await.map_err(NotTaken::Store)?;
        let mut record = CallRecord::first(key, update.clone(), policy, now);
        for _ in 0..ROUNDS {
            let put = self.store.put_call(&record).await.map_err(NotTaken::Store)?;
            record = match put {
                Put::Stored(_) => return Ok(taken(&record, Absorbed::New)),
                Put::Conflict(stored) => *stored,
                Put::DeliveryConflict => break,
            };
            if record.updates.contains_key(&update.digest) {
                return Ok(taken(&record, Absorbed::Duplicate));
            }
            if record.is_full() {
                let problem = "has too many messages already; this one is kept aside";
                let why = Reject::malformed("call", problem);
                let raw = self.raw(&record.key, &update).await.map_err(NotTaken::Store)?;
                return Err(NotTaken::Unread(Unread { why, raw }));
            }
            let update = self
                .offload(&record.key, update.clone(), record.inline_limit())
                .await
                .map_err(NotTaken::Store)?;
            record.absorb(update, policy, now);
        }
        let code = "too many writers of one call".into();
        Err(NotTaken::Store(StoreError::Unavailable { operation: "write", code }))
    }

    /// Under which key a call is stored, where its provider gives no id: its own, or a near one
    /// that knows this message already, or one that this message may be about. An end is only ever
    /// about a call that has not ended: two calls may follow each other closely.
    async fn key(&self, record: &Record) -> Result<CallKey, StoreError> {
        if record.near.is_empty() {
            return Ok(record.key.clone());
        }
        let mut keys = vec![record.key.clone()];
        keys.extend(record.near.iter().cloned());
        let stored = self.store.traces(&keys, &record.update.digest).await?;
        let find = |fits: &dyn Fn(&Trace) -> bool| {
            keys.iter().find(|key| stored.get(key).is_some_and(fits)).cloned()
        };
        let is_end = record.update.facts.state == Some(State::Ended);
        let known = find(&|trace| trace.has_update);
        let own = || stored.contains_key(&record.key).then(|| record.key.clone());
        let near = || find(&|trace| !is_end || trace.state != Some(State::Ended));
        Ok(known.or_else(own).or_else(near).unwrap_or_else(|| record.key.clone()))
    }

    /// Stores what is too large for the call's item, before the call points to it.
    async fn offload(
        &self,
        key: &CallKey,
        update: Update,
        limit: usize,
    ) -> Result<Update, StoreError> {
        let (update, blobs) = update.offload(limit);
        for blob in &blobs {
            self.store.put_blob(key, blob).await?;
        }
        Ok(update)
    }

    /// The bytes that an update came from, wherever they are by now.
    async fn raw(&self, key: &CallKey, update: &Update) -> Result<Vec<u8>, StoreError> {
        match &update.raw {
            Body::Inline(bytes) => Ok(bytes.clone()),
            Body::Stored(blob) => self.store.blob(key, blob).await,
        }
    }

    fn policy(&self, key: &CallKey, sources: &Sources) -> Policy {
        let own = sources.iter().find(|(name, _)| **name == key.source);
        let default = || sources.iter().find(|(name, _)| name.as_str() == self.provider.name());
        let unknown = Source::default();
        own.or_else(default).map_or(&unknown, |(_, source)| source).policy(self.provider)
    }

    /// Sends the jobs. What they point to is stored as due, so if this fails the sweep repairs it.
    async fn queue(&self, jobs: &[Send]) {
        if jobs.is_empty() {
            return;
        }
        if let Err(error) = self.queue.send(jobs).await {
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
        let provider = Name::new("provider", self.provider.name());
        let (true, Ok(provider)) = (why.is_quarantined(), provider) else { return Ok(()) };
        let request = message.request();
        let opened: Vec<&str> = message.opened().into_iter().map(Name::as_str).collect();
        let body = Quarantined {
            provider,
            source: opened.join(","),
            received_at: request.received_at,
            digest: Digest::of(&[request.path.as_bytes(), raw]),
            target: request.kept_target(),
            content_type: request.get_header("content-type").unwrap_or_default().to_owned(),
            problem: why.to_string(),
            body: raw.to_vec(),
        };
        self.store.put_quarantined(&body).await
    }

    fn fault(&self, error: &StoreError, id: &str) -> Reply {
        let provider = self.provider.name();
        self.telemetry.error(
            "webhook not stored",
            &[("provider", &provider), ("error", error), ("request_id", &id)],
        );
        self.telemetry.count(&[("received", 1), ("not_stored", 1)], &[("provider", provider)]);
        let status = if error.is_retryable() { 503 } else { 500 };
        Reply::error(status, "our fault, nothing was lost that you still have: send it again")
    }

    fn say(&self, taken: &[Taken], rejected: &[(usize, Reject)], due: usize, id: &str) {
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

fn taken(record: &CallRecord, absorbed: Absorbed) -> Taken {
    Taken { key: record.key.clone(), absorbed, due_at: record.due_at() }
}

/// One job per call that owes something. What is too far off for a message is left to the sweep.
fn jobs(taken: &[Taken], now: Timestamp) -> Vec<Send> {
    let mut jobs: Vec<Send> = Vec::new();
    for one in taken {
        let Some(due_at) = one.due_at else { continue };
        let job = Job::Enrich { call: one.key.clone() };
        if jobs.iter().all(|send| send.job != job) {
            jobs.extend(Send::at(job, due_at, now));
        }
    }
    jobs
}

fn reply(accepted: u16, taken: &[Taken], rejected: &[(usize, Reject)]) -> Reply {
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
