//! Taking records into the store: what a webhook and a replay of it have in common.

use std::collections::BTreeSet;

use jiff::Timestamp;
use switchboard_domain::update::INLINE_LIMIT;
use switchboard_domain::{
    Absorbed, Body, Call, CallKey, CallRecord, Digest, Name, Policy, State, Update, Work, fold,
};
use switchboard_providers::{Authenticated, Provider, Record, Reject, Source, Sources, Unread};
use switchboard_queue::{Job, Send};
use switchboard_store::{CallStub, Put, Quarantined, Store, StoreError};

use crate::update::Also;

/// Takes the records of one provider's messages into a store.
pub struct Ingest<'a> {
    /// Whose messages they are.
    pub provider: &'static dyn Provider,
    /// Where calls go.
    pub store: &'a Store,
    /// The provider's sources.
    pub sources: &'a Sources,
}

/// A stored update and what its call owes.
pub struct Ingested {
    /// The call.
    pub key: CallKey,
    /// Whether the update was new.
    pub absorbed: Absorbed,
    /// When `enrich` is due, if the call owes it. Other follow-ups were queued by the worker that planned
    /// them.
    pub due_at: Option<Timestamp>,
}

/// What became of a record that may say nothing new.
pub struct IngestedChange {
    /// The call, and [`Absorbed::Duplicate`] where it was left as it is.
    pub ingested: Ingested,
    /// The call before this record, if it was stored.
    pub before: Option<Call>,
}

/// Why one record of a request was not stored.
pub enum NotIngested {
    /// It was not understood, or its call takes no more.
    Unread(Unread),
    /// The store failed.
    Store(StoreError),
}

impl From<StoreError> for NotIngested {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl Ingest<'_> {
    /// Stores one update: the first of its call with one request, a further one with two.
    pub async fn ingest(&self, record: Record, now: Timestamp) -> Result<Ingested, NotIngested> {
        let key = self.place(&record).await?;
        let policy = self.policy(&key);
        let update = self.offload(&key, record.update, INLINE_LIMIT).await?;
        let digest = update.digest.clone();
        let mut first = CallRecord::first(key, update, policy, now);
        let stored = match self.store.put_call(&first).await? {
            Put::Stored(_) => return Ok(ingested(&first, Absorbed::New)),
            Put::Conflict(stored) => *stored,
        };
        let Some(update) = first.updates.remove(&digest) else {
            return Ok(ingested(&stored, Absorbed::Duplicate));
        };
        let (record, written) = self.absorb(stored, &update, policy, now).await?;
        let absorbed = if written { Absorbed::New } else { Absorbed::Duplicate };
        Ok(ingested(&record, absorbed))
    }

    /// Folds an update into a stored call, unless the call holds it already. Says whether it was written.
    async fn absorb(
        &self,
        stored: CallRecord,
        update: &Update,
        policy: Policy,
        now: Timestamp,
    ) -> Result<(CallRecord, bool), NotIngested> {
        let (record, written) =
            crate::update::update(self.store, stored, async |record: &mut CallRecord| {
                if record.updates.contains_key(&update.digest) {
                    return Ok::<_, NotIngested>(None);
                }
                self.absorb_into(record, update, policy, now).await?;
                Ok(Some((Also::Nothing, ())))
            })
            .await?;
        Ok((record, written.is_some()))
    }

    async fn absorb_into(
        &self,
        record: &mut CallRecord,
        update: &Update,
        policy: Policy,
        now: Timestamp,
    ) -> Result<(), NotIngested> {
        if record.is_full() {
            let problem = "has too many messages already; this one is kept aside";
            let why = Reject::malformed("call", problem);
            let raw = self.raw(&record.key, update).await?;
            return Err(NotIngested::Unread(Unread { why, raw }));
        }
        let limit = record.inline_limit();
        let update = self.offload(&record.key, update.clone(), limit).await?;
        record.absorb(update, policy, now);
        Ok(())
    }

    /// Stores one update if that changes the call. `is_own` are the updates of the same work, done
    /// before: one of them that is stored already is new again, so that work that is done twice is
    /// counted once.
    pub async fn ingest_changes(
        &self,
        record: Record,
        is_own: impl Fn(&Update) -> bool,
        now: Timestamp,
    ) -> Result<IngestedChange, NotIngested> {
        let key = self.place(&record).await?;
        let (update, policy) = (record.update, self.policy(&key));
        // Most calls are known, and a read costs a fraction of a write that fails.
        let stored = match self.store.call(&key).await? {
            Some(stored) => stored,
            None => {
                let first = self.offload(&key, update.clone(), INLINE_LIMIT).await?;
                let first = CallRecord::first(key, first, policy, now);
                match self.store.put_call(&first).await? {
                    Put::Stored(_) => {
                        let ingested = ingested(&first, Absorbed::New);
                        return Ok(IngestedChange { ingested, before: None });
                    }
                    Put::Conflict(stored) => *stored,
                }
            }
        };
        let (mut before, mut absorbed) = (None, Absorbed::New);
        let (record, _) =
            crate::update::update(self.store, stored, async |record: &mut CallRecord| {
                let mut others =
                    record.updates.values().filter(|update| !is_own(update)).peekable();
                before = others.peek().is_some().then(|| fold(others));
                absorbed = Absorbed::New;
                if record.updates.contains_key(&update.digest) {
                    return Ok::<_, NotIngested>(None);
                }
                let (shortened, _) = update.clone().offload(record.inline_limit());
                if fold(record.updates.values().chain([&shortened])) == record.call {
                    absorbed = Absorbed::Duplicate;
                    return Ok(None);
                }
                self.absorb_into(record, &update, policy, now).await?;
                Ok(Some((Also::Nothing, ())))
            })
            .await?;
        Ok(IngestedChange { ingested: ingested(&record, absorbed), before })
    }

    /// Under which key a call is stored, where its provider gives no id: its own, or a near one
    /// that knows this message already, or one that this message may be about. An end is only ever
    /// about a call that has not ended: two calls may follow each other closely.
    pub async fn place(&self, record: &Record) -> Result<CallKey, StoreError> {
        if record.near.is_empty() {
            return Ok(record.key.clone());
        }
        let mut keys = vec![record.key.clone()];
        keys.extend(record.near.iter().cloned());
        let stored = self.store.stubs(&keys, &record.update.digest).await?;
        let find = |fits: &dyn Fn(&CallStub) -> bool| {
            keys.iter().find(|key| stored.get(key).is_some_and(fits)).cloned()
        };
        let is_end = record.update.facts.state == Some(State::Ended);
        let known = find(&|stub| stub.has_update);
        let own = || stored.contains_key(&record.key).then(|| record.key.clone());
        let near = || find(&|stub| !is_end || stub.state != Some(State::Ended));
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

    fn policy(&self, key: &CallKey) -> Policy {
        let sources = self.sources;
        let own = sources.iter().find(|(name, _)| **name == key.source);
        let default = || sources.iter().find(|(name, _)| name.as_str() == self.provider.name());
        let unknown = Source::default();
        own.or_else(default).map_or(&unknown, |(_, source)| source).policy(self.provider)
    }
}

fn ingested(record: &CallRecord, absorbed: Absorbed) -> Ingested {
    let owed = [Work::Announce, Work::Enrich].into_iter();
    let due_at = owed.filter_map(|work| record.owed.get(&work)).min().copied();
    Ingested { key: record.key.clone(), absorbed, due_at }
}

/// One job per call that owes something. What is too far off for a message is left to the sweep.
pub fn jobs(ingested: &[Ingested], now: Timestamp) -> Vec<Send> {
    let mut jobs: Vec<Send> = Vec::new();
    let mut calls = BTreeSet::new();
    for one in ingested {
        let Some(due_at) = one.due_at else { continue };
        if calls.insert(&one.key) {
            jobs.extend(Send::at(Job::Enrich { call: one.key.clone() }, due_at, now));
        }
    }
    jobs
}

/// What is kept of a body, or of one record of it, that was not understood. `None` where it is not
/// worth keeping.
pub fn quarantined(
    provider: &dyn Provider,
    message: &Authenticated<'_>,
    why: &Reject,
    raw: &[u8],
) -> Option<Quarantined> {
    if !why.is_quarantined() {
        return None;
    }
    let request = message.request();
    let opened: Vec<&str> = message.opened().into_iter().map(Name::as_str).collect();
    Some(Quarantined {
        provider: Name::new("provider", provider.name()).ok()?,
        source: opened.join(","),
        received_at: request.received_at,
        digest: Digest::of(&[request.path.as_bytes(), raw]),
        target: request.kept_target(),
        content_type: request.get_header("content-type").unwrap_or_default().to_owned(),
        problem: why.to_string(),
        length: raw.len() as u64,
    })
}
