//! Stored updates of calls, each parsed again.

use std::collections::BTreeMap;

use switchboard_domain::{
    Blob, BlobRef, Body, CallKey, CallRecord, Digest, Name, Policy, Seconds, Text, Update,
};
use switchboard_providers::{Content, Record, elevenlabs, provider_at};
use switchboard_store::{Between, StoreError};

use super::{Replay, Stopped, changes, each_call, is_between, kept_request, opened_by};
use crate::configuration::Configuration;
use crate::update::{Also, update};

/// The updates of a call as parsed today.
struct Reread {
    updates: BTreeMap<Digest, Update>,
    /// Blobs that must be stored before the call points to them.
    blobs: Vec<Blob>,
    /// Why some updates stay as they were.
    problems: Vec<String>,
}

/// Why a call was not parsed again.
enum Failed {
    /// It could not be read.
    Read(StoreError),
    /// It could not be written.
    Write(StoreError),
}

impl From<StoreError> for Failed {
    fn from(error: StoreError) -> Self {
        Self::Write(error)
    }
}

impl Replay<'_> {
    /// Parses every call of a provider, or of all, with an update in a range of time.
    pub async fn calls(
        &mut self,
        provider: Option<&Name>,
        between: &Between,
    ) -> Result<(), Stopped> {
        self.progress.begin(None);
        each_call(self.store, provider, async |record| {
            self.progress.read();
            if is_between(&record, between) { self.parse(record).await } else { Ok(()) }
        })
        .await
    }

    /// Parses one call.
    pub async fn call(&mut self, key: &CallKey) -> Result<(), Stopped> {
        self.parse(super::call(self.store, key).await?).await
    }

    async fn parse(&mut self, record: CallRecord) -> Result<(), Stopped> {
        self.counts.read += 1;
        let key = record.key.clone();
        // It ended long ago: no settling time.
        let legs = self.configuration.source(&key).map(|source| source.legs).unwrap_or_default();
        let policy = Policy { settle: Seconds(0), legs, starts: false };
        let (mut before, mut problems) = (record.clone(), Vec::new());
        let result = update(self.store, record, async |next: &mut CallRecord| {
            before = next.clone();
            let reread = self.reread(next).await.map_err(Failed::Read)?;
            problems = reread.problems;
            if !next.reread(reread.updates, policy, self.now) {
                return Ok(None);
            }
            for blob in &reread.blobs {
                self.store.put_blob(&next.key, blob).await?;
            }
            Ok(Some((Also::Nothing, ())))
        })
        .await;
        let (after, written) = match result {
            Ok(done) => done,
            Err(Failed::Write(error)) if !error.is_retryable() => {
                self.counts.refused += 1;
                self.progress.line(&format!("call {key}: {error}"));
                return Ok(());
            }
            Err(Failed::Read(error) | Failed::Write(error)) => return Err(error.into()),
        };
        self.counts.unread += problems.len() as u64;
        for problem in &problems {
            self.progress.line(&format!("call {key}: {problem}"));
        }
        match written.and_then(|_| changes::between(&before, &after)) {
            Some(line) => {
                self.counts.changed += 1;
                self.progress.line(&line);
            }
            None => self.counts.same += 1,
        }
        Ok(())
    }

    async fn reread(&self, record: &CallRecord) -> Result<Reread, StoreError> {
        let mut reread =
            Reread { updates: BTreeMap::new(), blobs: Vec::new(), problems: Vec::new() };
        for old in record.updates.values() {
            // Context from the API is not a provider's message: there is nothing to parse again.
            if old.is_context() {
                reread.updates.insert(old.digest.clone(), old.clone());
                continue;
            }
            let raw = match &old.raw {
                Body::Inline(bytes) => Ok(bytes.clone()),
                Body::Stored(blob) => self.store.blob(&record.key, blob).await,
            };
            let new = match raw {
                Ok(raw) => read_again(old, raw, &record.key, self.configuration),
                Err(error @ StoreError::Damaged { .. }) => Err(error.to_string()),
                Err(error) => return Err(error),
            };
            let update = match new {
                Ok(new) => {
                    let (update, blobs) = kept_as(old, new, record.inline_limit());
                    reread.blobs.extend(blobs);
                    update
                }
                Err(problem) => {
                    let (at, kind) = (old.received_at, &old.kind);
                    let text = format!("its update {kind} of {at:.3} stays as it was: {problem}");
                    reread.problems.push(text);
                    old.clone()
                }
            };
            // Two updates may turn out to be the same.
            let first = reread.updates.get(&update.digest).map(|one| one.received_at);
            if first.is_none_or(|first| update.received_at < first) {
                reread.updates.insert(update.digest.clone(), update);
            }
        }
        Ok(reread)
    }
}

/// An update as parsed today, or the reason why it cannot be parsed, without its values.
fn read_again(
    old: &Update,
    raw: Vec<u8>,
    key: &CallKey,
    configuration: &Configuration,
) -> Result<Update, String> {
    let target = old.target.expose();
    if target.is_empty() && old.kind == "conversation" {
        let read = elevenlabs::conversation(&raw, old.received_at);
        return read.map(|read| read.update).map_err(|why| why.to_string());
    }
    let path = target.split('?').next().unwrap_or_default();
    let provider = provider_at(path).ok_or("no provider has a webhook at its path")?;
    let sources = configuration.of(provider.name());
    let content_type = content_type(&raw);
    let request = kept_request(target, content_type, raw, old.received_at);
    // The call's key contains the source, unless it names the call's own phone system, or a source that
    // the default replaced. Then each source is tried, the default first.
    let mut names: Vec<&Name> = sources.keys().collect();
    names.sort_by_key(|name| name.as_str() != provider.name());
    if sources.contains_key(&key.source) || names.is_empty() {
        names = vec![&key.source];
    }
    let mut problem = "it is about no call".to_owned();
    for name in names {
        let opened = std::slice::from_ref(name);
        let Some(message) = opened_by(provider, &request, sources, opened) else { continue };
        let records = match provider.parse(&message) {
            Ok(Content::Calls(records)) => records,
            Ok(Content::Other(_)) => continue,
            Err(why) => {
                problem = why.to_string();
                continue;
            }
        };
        let is_ours = |record: &Record| record.key == *key || record.near.contains(key);
        let mut ours = Vec::new();
        for record in records {
            match record {
                Ok(record) if is_ours(&record) => ours.push(record.update),
                Ok(record) => problem = format!("it is about {} today", record.key),
                Err(unread) => problem = unread.why.to_string(),
            }
        }
        let same = ours.iter().position(|update| update.digest == old.digest);
        match (same, ours.len()) {
            (Some(at), _) => return Ok(ours.swap_remove(at)),
            (None, 1) => return Ok(ours.swap_remove(0)),
            (None, 0) => {}
            (None, _) => problem = "it is several updates today".to_owned(),
        }
    }
    Err(problem)
}

/// The apparent content type of a body: it was not stored.
fn content_type(raw: &[u8]) -> &'static str {
    match raw.trim_ascii_start().first() {
        None => "",
        Some(b'{' | b'[') => "application/json",
        Some(b'<') => "application/xml",
        Some(_) => "application/x-www-form-urlencoded",
    }
}

/// A message as it is read today, with the bytes that it came from and, if it is the same, the
/// transcript where they were.
fn kept_as(old: &Update, mut new: Update, limit: usize) -> (Update, Vec<Blob>) {
    new.raw = Body::Inline(Vec::new());
    let is_same = is_same(old.facts.transcript.as_ref(), new.facts.transcript.as_ref());
    if is_same {
        new.facts.transcript.clone_from(&old.facts.transcript);
    }
    let (new, blobs) = if is_same { (new, Vec::new()) } else { new.offload(limit) };
    (Update { raw: old.raw.clone(), received_at: old.received_at, ..new }, blobs)
}

fn is_same(old: Option<&Text>, new: Option<&Text>) -> bool {
    fn of(text: &Text) -> BlobRef {
        match text {
            Text::Inline(text) => Blob::new(text.expose().as_bytes().to_vec()).reference(),
            Text::Stored(blob) => blob.clone(),
        }
    }
    old.map(of) == new.map(of)
}
