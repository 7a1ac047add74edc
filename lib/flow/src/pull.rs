//! `pull`: does a piece of a job that pulls calls from a provider.
//!
//! A message points to a job. The job holds the steps that are left; what each brings is stored as
//! webhooks are, and then the job's counts and its further steps are written at once. Whatever stops
//! before that is done again, and counted once: its records carry the unit's mark.

mod records;

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use switchboard_domain::sync::{Gap, Job, Kind, Progress, Unit};
use switchboard_domain::{ConfigError, Name};
use switchboard_http::Http;
use switchboard_providers::pull::{Problem, Pull, Session};
use switchboard_providers::rest::Logins;
use switchboard_providers::{Source, Sources};
use switchboard_queue::{Queue, Send};
use switchboard_store::{PutIf, Store};
use tracing::error;

use crate::follow_ups::queue_due;
use crate::pull_jobs::Pullable;
use crate::telemetry::{Level, log_at};
use crate::update::is_due;
use crate::{JobError, metrics};

pub use records::PATIENCE;

/// One message's piece begins no further unit after so long; the next message goes on.
const PIECE: SignedDuration = SignedDuration::from_secs(20);

/// The pull worker and what it acts on.
pub struct Puller {
    /// Where jobs and calls are.
    pub store: Store,
    /// Where follow-ups and further pieces are queued.
    pub queue: Arc<dyn Queue>,
    /// What reaches the providers.
    pub http: Arc<dyn Http>,
    /// The logins of this process.
    pub logins: Logins,
}

/// The source that a unit pulls from.
struct Work<'a> {
    pull: &'static dyn Pull,
    sources: &'a Sources,
    session: Session<'a>,
    kind: Kind,
}

impl Puller {
    /// Does a piece of a job, if it is due and no other worker is at it.
    pub async fn run(
        &self,
        id: &Name,
        pullable: &Pullable,
        clock: impl Fn() -> Timestamp + Sync,
    ) -> Result<(), JobError> {
        let begun = clock();
        let Some(mut job) = self.store.job(id).await? else {
            error!(job = %id, "message points to a job that is not stored");
            return Ok(());
        };
        let is_due = job.not_before.is_some_and(|at| is_due(at, begun));
        if !job.is_running() || !is_due || !self.put(&mut job, |job| job.claimed(begun)).await? {
            return Ok(());
        }
        // A put fails where the job was canceled, or taken up by another worker: what was stored stays,
        // and is not counted.
        while job.is_running() {
            let (unit, stop) = self.unit(&job, pullable, &clock).await?;
            let (now, is_stopped) = (clock(), stop.is_some());
            let next = after(&job, unit, stop, now);
            if matches!(next.progress, Progress::Done | Progress::Failed) {
                self.note_gaps(&next).await?;
            }
            if !self.put(&mut job, |_| next).await? {
                return Ok(());
            }
            if is_stopped {
                break;
            }
            if now.duration_since(begun) >= PIECE && job.is_running() {
                if !self.put(&mut job, |job| job.left(now)).await? {
                    return Ok(());
                }
                break;
            }
        }
        self.report(&job);
        let again = job.not_before.filter(|_| job.is_running());
        let pointer = switchboard_queue::Job::Pull { id: job.id.clone() };
        let send = again.and_then(|at| Send::at(pointer, at, clock()));
        queue_due(&*self.queue, send.as_slice()).await;
        Ok(())
    }

    /// Writes a job's next state. `false`: another writer was first.
    async fn put(&self, job: &mut Job, next: impl FnOnce(&Job) -> Job) -> Result<bool, JobError> {
        let next = next(job);
        match self.store.put_job(&next).await? {
            PutIf::Stored(version) => {
                *job = Job { version, ..next };
                Ok(true)
            }
            PutIf::Conflict => Ok(false),
        }
    }

    /// Does the next steps. A problem ends the unit before the step that met it.
    async fn unit(
        &self,
        job: &Job,
        pullable: &Pullable,
        clock: &(dyn Fn() -> Timestamp + Sync),
    ) -> Result<(Unit, Option<Problem>), JobError> {
        let mut unit = Unit::default();
        let (pull, source, sources) = match source(job, pullable) {
            Ok(found) => found,
            Err(error) => return Ok((unit, Some(error.into()))),
        };
        let mark = job.mark();
        let (http, logins) = (&*self.http, &self.logins);
        let session = Session { http, logins, name: &job.source, source, mark: &mark, clock };
        let work = Work { pull, sources, session, kind: job.kind };
        let mut missing = BTreeSet::new();
        for step in job.steps.iter().take(pull.together(&job.steps)) {
            let page = match pull.page(&work.session, step).await {
                Ok(page) => page,
                Err(problem) => return Ok((unit, Some(problem))),
            };
            let stored = self.store_page(&work, page, &mut missing, clock()).await?;
            unit.steps += 1;
            unit.counts = unit.counts.plus(stored.counts);
            unit.next.extend(stored.next);
            for (day, count) in stored.missing {
                *unit.missing.entry(day).or_default() += count;
            }
        }
        Ok((unit, None))
    }

    /// Notes what a reconciliation found, before it is over: noting it twice changes nothing.
    async fn note_gaps(&self, job: &Job) -> Result<(), JobError> {
        if job.kind != Kind::Reconcile {
            return Ok(());
        }
        for (day, missing) in &job.missing {
            let (provider, source) = (job.provider.clone(), job.source.clone());
            let (day, job) = (*day, job.id.clone());
            self.store.put_gap(&Gap { provider, source, day, job, missing: *missing }).await?;
        }
        Ok(())
    }

    /// Logs how a job stands. The gap is measured when it is known, zero too: the alarm waits for it.
    fn report(&self, job: &Job) {
        let counts = &job.counts;
        let progress = match job.progress {
            Progress::Running => "running",
            Progress::Done => "done",
            Progress::Failed => "failed",
            Progress::Canceled => "canceled",
        };
        let (provider, source) = (job.provider.as_str(), job.source.as_str());
        let dimensions = [("provider", provider), ("source", source)];
        let (level, message) = match job.progress {
            Progress::Failed => (Level::ERROR, "job failed"),
            Progress::Running => (Level::INFO, "job continues"),
            _ => (Level::INFO, "job ended"),
        };
        log_at!(
            level, job = %job.id, provider, source, progress, pages = counts.pages,
            new = counts.new, duplicates = counts.duplicates, rejected = counts.rejected,
            problem = job.problem.as_deref().unwrap_or("none"), "{message}"
        );
        if job.progress == Progress::Failed {
            metrics::count(&[("pull_failed", 1)], &dimensions);
        }
        if job.kind == Kind::Reconcile && job.progress == Progress::Done {
            metrics::gauge(&[("gap", job.missing.values().sum())], &dimensions);
        }
    }
}

/// The source of a job, and the sources that its records may be of.
fn source<'a>(
    job: &Job,
    pullable: &'a Pullable,
) -> Result<(&'static dyn Pull, &'a Source, &'a Sources), ConfigError> {
    let provider = job.provider.as_str();
    let (pull, source) = pullable.source(provider, &job.source)?;
    let missing = || ConfigError::new("source", "is not configured");
    Ok((pull, source, pullable.of(provider).ok_or_else(missing)?))
}

/// The job after a unit, which may have been left half-way.
fn after(job: &Job, unit: Unit, stop: Option<Problem>, now: Timestamp) -> Job {
    let is_nothing_done = unit.steps == 0 && stop.is_some();
    let job = if is_nothing_done { job.clone() } else { job.after(unit, now) };
    match stop {
        None => job,
        Some(Problem::Wait { until, why }) => job.waiting(until, &why, now),
        Some(Problem::Failed { why }) => job.troubled(&why, now),
        Some(Problem::Refused { why }) => job.ended(Progress::Failed, Some(why), now),
    }
}
