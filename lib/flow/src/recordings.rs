//! `recordings`: copies a call's recordings to our bucket, one at a time, each until it is there or can
//! never be.

use std::sync::Arc;

use std::time::{Duration, SystemTime};

use crate::telemetry::{Level, log_at};
use crate::{JobError, metrics};
use http::HeaderMap;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use jiff::{SignedDuration, Timestamp};
use switchboard_domain::copies::{CONVERSATION, CopyState, Object, RecordingCopy, Tried};
use switchboard_domain::time::later;
use switchboard_domain::{CallKey, CallRecord, Digest};
use switchboard_http::{Client, Limits, OpenError, SendError};
use switchboard_providers::recordings::{self, Settings, Status, Wanted};
use switchboard_providers::{elevenlabs, registry};
use switchboard_queue::{Job, Queue, Send};
use switchboard_recordings::media::media_type;
use switchboard_recordings::spool::{SpoolError, Spooled};
use switchboard_recordings::{Bucket, object_key};
use switchboard_store::Store;
use url::Url;

use crate::configuration::Configuration;
use crate::follow_ups::queue_due;
use crate::update::{self, Also, SLACK, update};

/// The lease on a copy, longer than the function's timeout.
const LEASE: SignedDuration = SignedDuration::from_secs(330);
/// From the first byte asked for to the last one read.
const FETCH: Duration = Duration::from_secs(200);
/// From the first byte sent to the bucket to its answer.
const PUT: Duration = Duration::from_secs(60);

/// The recordings worker and what it acts on.
pub struct Recordings {
    /// Where calls are.
    pub store: Store,
    /// Where the next try is queued.
    pub queue: Arc<dyn Queue>,
    /// What fetches from providers.
    pub client: Client,
    /// Where copies go.
    pub bucket: Bucket,
    /// What sends them there.
    pub transport: reqwest::Client,
}

/// A recording that is ours to copy for a while.
struct Claimed {
    record: CallRecord,
    id: String,
    /// Until then.
    lease: Timestamp,
}

impl Recordings {
    /// Copies the recording of a call that is due first, if one is. `clock` tells the time: a copy may
    /// take minutes.
    pub async fn run(
        &self,
        key: &CallKey,
        configuration: &Configuration,
        clock: impl Fn() -> Timestamp + Sync,
    ) -> Result<(), JobError> {
        let Some(claimed) = self.claim(key, clock()).await? else { return Ok(()) };
        let tried = self.attempt(&claimed, configuration, &clock).await;
        self.conclude(claimed, tried, clock()).await
    }

    async fn claim(&self, key: &CallKey, now: Timestamp) -> Result<Option<Claimed>, JobError> {
        let Some(record) = update::call(&self.store, key).await? else {
            return Ok(None);
        };
        let lease = later(now, LEASE);
        let (record, claimed) = update(&self.store, record, async |record: &mut CallRecord| {
            // None: done, or claimed by another worker, or not due yet: then the sweep comes back.
            let due = record.due_copy(later(now, SLACK)).cloned();
            let Some(id) = due else { return Ok::<_, JobError>(None) };
            if let Some(copy) = record.copies.get_mut(&id) {
                copy.due_at = Some(lease);
            }
            record.owe_copies();
            Ok(Some((Also::Nothing, id)))
        })
        .await?;
        Ok(claimed.map(|(_, id)| Claimed { record, id, lease }))
    }

    /// Fetches a recording and puts it into the bucket.
    async fn attempt(
        &self,
        claimed: &Claimed,
        configuration: &Configuration,
        clock: &(impl Fn() -> Timestamp + Sync),
    ) -> Tried {
        let Claimed { record, id, .. } = claimed;
        let Some(source) = configuration.recorder(record, id) else {
            return retry("its source is not configured");
        };
        let Some(settings) = source.recordings.as_ref().filter(|settings| settings.copy) else {
            return never("its source does not have recordings copied");
        };
        let wanted = match (id.as_str(), address(record, id)) {
            (CONVERSATION, None) => {
                let conversation = record.call.facts.conversation.as_deref().unwrap_or_default();
                elevenlabs::recording::request(source, conversation)
            }
            (_, Some(url)) => registry::recording(record.key.provider.as_str(), source, url),
            (_, None) => return never("it has no address any more"),
        };
        let (spooled, media_type) = match wanted {
            Err(error) => return retry(&format!("correct the source's configuration: {error}")),
            Ok(wanted) => match self.fetch(wanted, settings, clock).await {
                Ok(fetched) => fetched,
                Err(tried) => return tried,
            },
        };
        let key = object_key(&record.key, id);
        let (bytes, sha256) = (spooled.bytes, spooled.sha256.clone());
        let put =
            self.bucket.put(&self.transport, &key, media_type, spooled, PUT, SystemTime::now());
        match put.await {
            Err(error) => retry(&error.to_string()),
            Ok(()) => {
                let media_type = media_type.to_owned();
                Tried::Copied(Object { key, bytes, media_type, sha256, at: clock() })
            }
        }
    }

    /// What lies at an address, on disk, and what kind of audio it is.
    async fn fetch(
        &self,
        wanted: Wanted,
        settings: &Settings,
        clock: &(impl Fn() -> Timestamp + Sync),
    ) -> Result<(Spooled, &'static str), Tried> {
        let url = Url::parse(wanted.url.expose()).map_err(|_| never("its address is none"))?;
        if !settings.allows(url.host_str().unwrap_or_default()) {
            return Err(never("its host is not one of recordings.hosts"));
        }
        let largest = settings.largest();
        let knows_us = !wanted.headers.is_empty();
        let headers: HeaderMap = wanted.headers.into_iter().collect();
        let limits =
            Limits { timeout: FETCH, largest: usize::try_from(largest).unwrap_or(usize::MAX) };
        let opened = self.client.open(url, headers, limits).await;
        let download = opened.map_err(|error| match error {
            OpenError::Unsent(error) => unsent(error, largest),
            _ => never(&error.to_string()),
        })?;
        let header = |name| download.headers.get(name).and_then(|value| value.to_str().ok());
        let status = download.status.as_u16();
        match recordings::judge(status, knows_us, header(RETRY_AFTER), clock()) {
            Status::Here => {}
            Status::Later { not_before, problem } => {
                return Err(Tried::Later { not_before, problem });
            }
            Status::Never { problem } => return Err(Tried::Never { problem }),
        }
        let said = header(CONTENT_TYPE).map(str::to_owned);
        let spooled = Spooled::read(download).await.map_err(|error| match error {
            SpoolError::Broken(error) => unsent(error, largest),
            SpoolError::Disk(_) => retry(&error.to_string()),
        })?;
        if spooled.bytes == 0 {
            return Err(retry("answered nothing"));
        }
        match media_type(said.as_deref(), &spooled.head) {
            Some(media_type) => Ok((spooled, media_type)),
            None => Err(never("the response is no audio")),
        }
    }

    /// Writes down what a try came to, says it, and queues the next.
    async fn conclude(
        &self,
        claimed: Claimed,
        tried: Tried,
        now: Timestamp,
    ) -> Result<(), JobError> {
        let Claimed { record, id, lease } = claimed;
        let (record, stored) = update(&self.store, record, async |record: &mut CallRecord| {
            let is_ours = |copy: &&RecordingCopy| copy.due_at == Some(lease);
            let Some(copy) = record.copies.get(&id).filter(is_ours).cloned() else {
                return Ok::<_, JobError>(None);
            };
            record.copies.insert(id.clone(), copy.concluded(tried.clone(), now));
            record.owe_copies();
            Ok(Some((Also::Nothing, ())))
        })
        .await?;
        if stored.is_none() {
            // The lease had run out and another worker took over: its result counts.
            self.say(Level::WARN, &record, &id, "copy overtaken");
            return Ok(());
        }
        self.report(&record, &id);
        self.queue_next(&record, now).await;
        Ok(())
    }

    /// Queues the next try, if a message can wait that long; else the sweep sends it in time.
    async fn queue_next(&self, record: &CallRecord, now: Timestamp) {
        let due_at = record.copies.values().filter_map(|copy| copy.due_at).min();
        let job = || Job::Recordings { call: record.key.clone() };
        let Some(send) = due_at.and_then(|due_at| Send::at(job(), due_at, now)) else { return };
        queue_due(&*self.queue, &[send]).await;
    }

    fn report(&self, record: &CallRecord, id: &str) {
        let Some(copy) = record.copies.get(id) else { return };
        let (level, counted, message) = match copy.state {
            CopyState::Copied => (Level::INFO, "recordings_copied", "recording copied"),
            CopyState::Waiting => {
                (Level::WARN, "recordings_waiting", "recording not copied; it will be retried")
            }
            CopyState::Failed => {
                (Level::ERROR, "recordings_failed", "recording copy failed permanently")
            }
        };
        self.say(level, record, id, message);
        metrics::count(&[(counted, 1)], &[("provider", record.key.provider.as_str())]);
    }

    fn say(&self, level: Level, record: &CallRecord, id: &str, message: &str) {
        let copy = record.copies.get(id);
        let problem = copy.and_then(|copy| copy.problem.as_deref()).unwrap_or("none");
        let bytes = copy.and_then(|copy| copy.object.as_ref()).map_or(0, |object| object.bytes);
        let due_at = copy.and_then(|copy| copy.due_at);
        let next = due_at.map_or("never".to_owned(), |due_at| due_at.to_string());
        log_at!(
            level, recording = %Digest::of(&[id.as_bytes()]), %problem, bytes,
            failures = copy.map_or(0, |copy| copy.failures), next_try = %next, "{message}"
        );
    }
}

fn address<'a>(record: &'a CallRecord, id: &str) -> Option<&'a switchboard_domain::Personal> {
    record.call.facts.recordings.get(id)?.url.as_ref()
}

fn retry(problem: &str) -> Tried {
    Tried::Later { not_before: None, problem: problem.to_owned() }
}

fn never(problem: &str) -> Tried {
    Tried::Never { problem: problem.to_owned() }
}

/// A recording of which no answer came, or not all of it.
fn unsent(error: SendError, largest: u64) -> Tried {
    match error {
        SendError::TooLarge => {
            let megabytes = largest / (1024 * 1024);
            never(&format!("larger than {megabytes} MB: raise recordings.largest_megabytes"))
        }
        SendError::PrivateAddress => never(&error.to_string()),
        _ => retry(&error.to_string()),
    }
}
