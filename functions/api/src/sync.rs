//! Jobs that pull calls from providers: start them, follow them, stop them.

pub mod range;
pub mod start;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use switchboard_domain::sync::{Counts, Gap, Job, Kind, Progress};
use switchboard_domain::{ConfigError, Name};
use switchboard_flow::pull_jobs::{NotStarted, Pullable, start};
use switchboard_providers::onecom::OneCom;
use switchboard_providers::{Provider as _, pull};
use switchboard_queue::Queue;
use switchboard_shell::parameters::ParameterError;
use switchboard_store::{PutIf, Store};

use crate::access::{Caller, Right};
use crate::problem::Problem;
use crate::request::Request;
use crate::serve::{Area, Response, ok, with_status};

/// So many days back the gaps are shown.
const DAYS_OF_GAPS: i64 = 7;
/// How often a cancellation is tried against the worker that writes progress meanwhile.
const ROUNDS: usize = 20;

/// The area and what it acts on.
pub struct Sync<C> {
    /// Where jobs are.
    pub store: Store,
    /// Where they are queued.
    pub queue: Arc<dyn Queue>,
    /// The sources that can be pulled, as they are configured.
    pub sources: C,
}

/// Where the sources that can be pulled are read.
pub trait Sources: Send + std::marker::Sync {
    /// Those that are configured by now.
    fn sources(&self) -> impl Future<Output = Result<Arc<Pullable>, ParameterError>> + Send;
}

/// `POST /sync`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Generic {
    /// `provider/source`.
    source: String,
    from: String,
    to: String,
}

/// `POST /api/onecom/sync`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Dates {
    #[serde(rename = "startDate")]
    start_date: String,
    #[serde(rename = "endDate")]
    end_date: String,
}

impl<C: Sources> Area for Sync<C> {
    async fn respond(&self, request: &Request, caller: &Caller) -> Result<Response, Problem> {
        let (method, path) = request.route();
        match (method, path.as_slice()) {
            ("POST", ["sync"]) => {
                caller.needs(Right::Sync)?;
                request.only(&[])?;
                let Generic { source, from, to } = request.json()?;
                self.start(
                    &source,
                    |_, one, source| range::between(one, source, &from, &to),
                    request,
                )
                .await
            }
            ("POST", ["api", "onecom", "sync", rest @ ..]) => {
                caller.needs(Right::Sync)?;
                request.only(&["source"])?;
                let name = request.parameter("source").unwrap_or(OneCom.name());
                let source = format!("{}/{name}", OneCom.name());
                match rest {
                    ["today"] => self.start(&source, range::today, request).await,
                    ["last-week"] => self.start(&source, range::last_week, request).await,
                    [] => {
                        let Dates { start_date, end_date } = request.json()?;
                        let range = |_, one: &dyn pull::Pull, source: &_| {
                            range::dates(one, source, &start_date, &end_date)
                        };
                        self.start(&source, range, request).await
                    }
                    _ => Err(Problem::not_found("path")),
                }
            }
            ("GET", ["sync"]) => {
                caller.needs(Right::Read)?;
                request.only(&[])?;
                self.list(request).await
            }
            ("GET", ["sync", id]) => {
                caller.needs(Right::Read)?;
                ok(shown(&self.job(id).await?))
            }
            ("POST", ["sync", id, "cancel"]) => {
                caller.needs(Right::Sync)?;
                self.cancel(id, request.now).await
            }
            _ => Err(Problem::not_found("path")),
        }
    }
}

impl<C: Sources> Sync<C> {
    async fn start(
        &self,
        source: &str,
        range: impl FnOnce(
            Timestamp,
            &dyn pull::Pull,
            &switchboard_providers::Source,
        ) -> Result<(Timestamp, Timestamp), Problem>,
        request: &Request,
    ) -> Result<Response, Problem> {
        let unknown =
            || Problem::invalid("source", "must be <provider>/<source>, as onecom/onecom");
        let (provider, name) = source.split_once('/').ok_or_else(unknown)?;
        let name = Name::new("source", name).map_err(|_| unknown())?;
        let pullable = self.sources.sources().await;
        let pullable = pullable.map_err(|_| Problem::ours("the configuration cannot be read"))?;
        let (one, of) = pullable.source(provider, &name).map_err(not_set_up)?;
        let range = range(request.now, one, of)?;
        let with = (&self.store, &*self.queue);
        let what = (Kind::Sync, provider, &name);
        let (job, is_new) = start(with, &pullable, what, range, request.now).await.map_err(
            |error| match error {
                NotStarted::Source(error) => not_set_up(error),
                NotStarted::Store(error) => error.into(),
            },
        )?;
        let follow = format!("/sync/{}", job.id);
        with_status(202, json!({"job": job.id, "follow": follow, "started": is_new}))
    }

    async fn list(&self, request: &Request) -> Result<Response, Problem> {
        let jobs: Vec<Value> = self.store.jobs().await?.iter().map(shown).collect();
        let pullable = self.sources.sources().await;
        let pullable = pullable.map_err(|_| Problem::ours("the configuration cannot be read"))?;
        let since = request.now.to_zoned(jiff::tz::TimeZone::UTC).date();
        let days = jiff::Span::new().days(DAYS_OF_GAPS);
        let since = since.checked_sub(days).unwrap_or(since);
        let mut gaps: Vec<Value> = Vec::new();
        for (provider, name, _) in pullable.each().filter(|(_, _, one)| one.pull.is_some()) {
            let Ok(whose) = Name::new("provider", provider) else { continue };
            gaps.extend(by_day(&self.store.gaps(&whose, name, since).await?));
        }
        ok(json!({"jobs": jobs, "gaps": gaps}))
    }

    async fn job(&self, id: &str) -> Result<Job, Problem> {
        let absent = || Problem::not_found("job");
        let id = Name::new("job", id).map_err(|_| absent())?;
        self.store.job(&id).await?.ok_or_else(absent)
    }

    /// Stops a job. One that is over stays as it is.
    async fn cancel(&self, id: &str, now: Timestamp) -> Result<Response, Problem> {
        for _ in 0..ROUNDS {
            let job = self.job(id).await?;
            match job.progress {
                Progress::Running => {}
                Progress::Canceled => return ok(shown(&job)),
                _ => return Err(Problem::conflict("the job has ended: it cannot be canceled")),
            }
            let canceled = job.ended(Progress::Canceled, None, now);
            if let PutIf::Stored(_) = self.store.put_job(&canceled).await? {
                return ok(shown(&canceled));
            }
        }
        Err(Problem::ours("the job keeps changing"))
    }
}

fn not_set_up(error: ConfigError) -> Problem {
    let detail = format!("this source cannot be pulled: {error}");
    Problem::new(422, "not-set-up", "Source not set up for pulls", &detail)
        .with("errors", json!([{"field": error.field, "problem": error.problem}]))
}

/// A job as it is shown. It holds nothing personal.
#[derive(Serialize)]
struct Shown<'a> {
    job: &'a Name,
    kind: Kind,
    source: String,
    from: Timestamp,
    to: Timestamp,
    state: Progress,
    counts: Counts,
    /// How many questions are known to be left; more may follow from their answers.
    steps_left: usize,
    missing: u64,
    started_at: Timestamp,
    finished_at: Option<Timestamp>,
    not_before: Option<Timestamp>,
    last_error: Option<&'a str>,
}

fn shown(job: &Job) -> Value {
    let shown = Shown {
        job: &job.id,
        kind: job.kind,
        source: format!("{}/{}", job.provider, job.source),
        from: job.from,
        to: job.to,
        state: job.progress,
        counts: job.counts,
        steps_left: job.steps.len(),
        missing: job.missing.values().sum(),
        started_at: job.started_at,
        finished_at: job.finished_at,
        not_before: job.not_before,
        last_error: job.problem.as_deref(),
    };
    // Names, numbers and times always serialize.
    serde_json::to_value(shown).unwrap_or_default()
}

/// The gaps of a source, one entry a day.
fn by_day(gaps: &[Gap]) -> Vec<Value> {
    let mut days: std::collections::BTreeMap<_, u64> = std::collections::BTreeMap::new();
    for gap in gaps {
        let of = (gap.day, format!("{}/{}", gap.provider, gap.source));
        *days.entry(of).or_default() += gap.missing;
    }
    days.into_iter()
        .map(|((day, source), missing)| json!({"source": source, "day": day, "missing": missing}))
        .collect()
}
