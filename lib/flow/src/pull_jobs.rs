//! Starting a job that pulls calls: what the schedule and the API have in common.

use std::collections::BTreeMap;

use jiff::Timestamp;
use switchboard_domain::sync::{Job, Kind};
use switchboard_domain::{ConfigError, Name};
use switchboard_providers::pull::{Pull, not_set_up};
use switchboard_providers::registry::{self, PULLS};
use switchboard_providers::{Source, Sources};
use switchboard_queue::{Queue, Send};
use switchboard_store::jobs::Started;
use switchboard_store::{Jobs, StoreError};

use crate::Values;
use crate::telemetry::Telemetry;

/// The folders of parameters of the providers that can be pulled. A function may read these alone.
pub fn folders() -> Vec<String> {
    PULLS.iter().map(|one| format!("sources/{}", one.provider().name())).collect()
}

/// The sources of every provider that can be pulled.
#[derive(Clone, Debug, Default)]
pub struct Pullable(BTreeMap<&'static str, Sources>);

impl Pullable {
    /// Reads parameters named `sources/<provider>/<source>`. One that cannot be read is left out
    /// and named in the log.
    pub fn read(values: &Values, telemetry: &Telemetry) -> Self {
        let mut pullable = Self::default();
        for (path, json) in values {
            let mut parts = path.splitn(3, '/');
            let (_, kind, name) = (parts.next(), parts.next(), parts.next().unwrap_or_default());
            let Some(one) = kind.and_then(registry::pull) else { continue };
            let provider = one.provider();
            let read = Name::new("source", name).map_err(|error| error.to_string());
            let read = read.and_then(|name| {
                let source = Source::parse(json, Some(provider)).map_err(|e| e.to_string())?;
                Ok((name, source))
            });
            match read {
                Ok((name, source)) => {
                    pullable.0.entry(provider.name()).or_default().insert(name, source);
                }
                Err(problem) => telemetry
                    .error("a source is not used", &[("parameter", path), ("problem", &problem)]),
            }
        }
        pullable
    }

    /// The sources of one provider.
    pub fn of(&self, provider: &str) -> Option<&Sources> {
        self.0.get(provider)
    }

    /// Every source, with its provider's name.
    pub fn each(&self) -> impl Iterator<Item = (&'static str, &Name, &Source)> {
        self.0.iter().flat_map(|(provider, sources)| {
            sources.iter().map(|(name, source)| (*provider, name, source))
        })
    }

    /// One source, and how it is pulled, or why it cannot be.
    pub fn source(
        &self,
        provider: &str,
        name: &Name,
    ) -> Result<(&'static dyn Pull, &Source), ConfigError> {
        let one = registry::pull(provider);
        let one = one.ok_or_else(|| ConfigError::new("provider", "has no calls to be pulled"))?;
        let found = self.of(provider).and_then(|sources| sources.get(name));
        let source = found.ok_or_else(|| ConfigError::new("source", "is not configured"))?;
        if source.pull.is_none() {
            return Err(not_set_up());
        }
        one.check(source)?;
        Ok((one, source))
    }
}

/// A job could not be started.
#[derive(Debug, thiserror::Error)]
pub enum NotStarted {
    /// The source cannot be pulled.
    #[error(transparent)]
    Source(#[from] ConfigError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Starts a job of a source, unless the same is running, and queues it. If it cannot be queued, it
/// is due, and the sweep finds it.
pub async fn start<S: Jobs, Q: Queue>(
    (store, queue, telemetry): (&S, &Q, &Telemetry),
    pullable: &Pullable,
    (kind, provider, name): (Kind, &str, &Name),
    (from, to): (Timestamp, Timestamp),
    now: Timestamp,
) -> Result<(Job, bool), NotStarted> {
    let (one, source) = pullable.source(provider, name)?;
    let whose = Name::new("provider", provider)
        .map_err(|error| ConfigError::new("provider", error.problem))?;
    let steps = one.steps(source, from, to);
    let job = Job::start(kind, (whose, name.clone()), (from, to), steps, now);
    let job = match store.start_job(&job).await? {
        Started::New(version) => Job { version, ..job },
        Started::Running(running) => return Ok((*running, false)),
    };
    let send = Send { job: switchboard_queue::Job::Pull { id: job.id.clone() }, delay: 0 };
    if let Err(error) = queue.send(&[send]).await {
        telemetry.warn("a job was stored and not queued", &[("job", &job.id), ("error", &error)]);
    }
    let fields: [(&str, &dyn std::fmt::Display); 3] =
        [("job", &job.id), ("provider", &job.provider), ("source", &job.source)];
    telemetry.info("job started", &fields);
    Ok((job, true))
}
