//! Starting a job that pulls calls: what the schedule and the API have in common.

use std::collections::BTreeMap;

use jiff::Timestamp;
use switchboard_domain::sync::{Job, Kind};
use switchboard_domain::{ConfigError, Name};
use switchboard_providers::pull::{Pull, not_set_up};
use switchboard_providers::registry::{self, PULLS};
use switchboard_providers::{Source, Sources};
use switchboard_queue::{Queue, Send};
use switchboard_store::{Started, Store, StoreError};
use tracing::{info, warn};

use crate::{Values, config};

/// The folders of parameters of the providers that can be pulled. A function may read these alone.
pub fn folders() -> Vec<String> {
    PULLS.iter().map(|one| format!("sources/{}", one.provider().name())).collect()
}

/// The sources of every provider that can be pulled.
#[derive(Clone, Debug, Default)]
pub struct Pullable(BTreeMap<&'static str, Sources>);

impl Pullable {
    /// Reads parameters named `sources/<provider>/<source>`.
    pub fn read(values: &Values) -> Self {
        let sources = PULLS.iter().map(|one| {
            let provider = one.provider();
            let folder = format!("sources/{}", provider.name());
            let sources =
                config::read(values, &folder, |name, json| config::source(provider, name, json));
            (provider.name(), sources.into_iter().collect())
        });
        Self(sources.collect())
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
pub async fn start(
    (store, queue): (&Store, &dyn Queue),
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
        warn!(job = %job.id, %error, "job stored but not queued");
    }
    info!(job = %job.id, provider = %job.provider, source = %job.source, "job started");
    Ok((job, true))
}
