//! Stored updates of calls, each parsed again.

use std::collections::BTreeMap;

use switchboard_domain::{Blob, BlobRef, Body, CallKey, CallRecord, Digest, Name, Text, Update};
use switchboard_providers::{Content, Record, elevenlabs, provider_at};
use switchboard_store::{Between, Put, StoreError};

use super::bodies::{kept_request, opened_by};
use super::{RateCounter, Replayer, Report, changes};
use crate::Failure;
use crate::configured::Configured;

/// How often a write is tried against other writers of the same call.
const ROUNDS: usize = 60;

/// The updates of a call as parsed today.
struct Reread {
    updates: BTreeMap<Digest, Update>,
    /// Blobs that must be stored before the call points to them.
    blobs: Vec<Blob>,
    /// Why some updates stay as they were.
    problems: Vec<String>,
}

impl Replayer<'_> {
    /// Parses every call of a provider with an update in a range of time.
    pub(super) async fn calls(
        &self,
        provider: Option<&Name>,
        between: &Between,
        report: &mut Report<'_>,
    ) -> Result<RateCounter, Failure> {
        report.begin(None);
        let (mut tally, mut page) = (RateCounter::default(), None);
        loop {
            let read = self.store.calls_page(provider, page).await?;
            for record in read.items {
                report.bar.inc(1);
                if record.updates.values().any(|update| between.holds(update.received_at)) {
                    self.call(record, &mut tally, report).await?;
                }
            }
            page = read.next;
            if page.is_none() {
                return Ok(tally);
            }
        }
    }

    /// Parses one call.
    pub(super) async fn one_call(
        &self,
        key: &CallKey,
        report: &mut Report<'_>,
    ) -> Result<RateCounter, Failure> {
        let record = self.store.call(key).await?;
        let record = record.ok_or_else(|| Failure::Wrong(format!("{key} is not stored")))?;
        let mut tally = RateCounter::default();
        self.call(record, &mut tally, report).await?;
        Ok(tally)
    }

    async fn call(
        &self,
        mut record: CallRecord,
        tally: &mut RateCounter,
        report: &mut Report<'_>,
    ) -> Result<(), Failure> {
        tally.read += 1;
        let key = record.key.clone();
        let policy = self.configured.policy(&key);
        for _ in 0..ROUNDS {
            let reread = self.reread(&record).await?;
            let mut next = record.clone();
            let is_changed = next.reread(reread.updates, policy, self.now);
            let result = match is_changed {
                true => self.put(&next, &reread.blobs).await,
                false => Ok(Put::Stored(record.version)),
            };
            match result {
                Ok(Put::Stored(_)) => {}
                Ok(Put::Conflict(stored)) => {
                    record = *stored;
                    continue;
                }
                Err(error) if error.is_retryable() => return Err(error.into()),
                Err(error) => {
                    tally.refused += 1;
                    report.line(&format!("call {key}: {error}"));
                    return Ok(());
                }
            }
            tally.unread += reread.problems.len() as u64;
            for problem in &reread.problems {
                report.line(&format!("call {key}: {problem}"));
            }
            match changes::between(&record, &next).filter(|_| is_changed) {
                Some(line) => {
                    tally.changed += 1;
                    report.line(&line);
                }
                None => tally.same += 1,
            }
            return Ok(());
        }
        Err(Failure::Aws(format!("other writers keep changing {key}: retry")))
    }

    async fn put(&self, record: &CallRecord, blobs: &[Blob]) -> Result<Put, StoreError> {
        for blob in blobs {
            self.store.put_blob(&record.key, blob).await?;
        }
        self.store.put_call(record).await
    }

    async fn reread(&self, record: &CallRecord) -> Result<Reread, Failure> {
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
                Ok(raw) => read_again(old, raw, &record.key, self.configured),
                Err(error @ StoreError::Damaged { .. }) => Err(error.to_string()),
                Err(error) => return Err(error.into()),
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
    configured: &Configured,
) -> Result<Update, String> {
    let target = old.target.expose();
    if target.is_empty() && old.kind == "conversation" {
        let read = elevenlabs::conversation(&raw, old.received_at);
        return read.map(|read| read.update).map_err(|why| why.to_string());
    }
    let path = target.split('?').next().unwrap_or_default();
    let provider = provider_at(path).ok_or("no provider has a webhook at its path")?;
    let sources = configured.of(provider.name());
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
