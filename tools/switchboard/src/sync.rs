//! Starting and following jobs that pull calls.

use std::time::Duration;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use jiff::Timestamp;
use jiff::civil::Date;
use switchboard_domain::Name;
use switchboard_domain::sync::{Job, Kind, Progress};
use switchboard_flow::Values;
use switchboard_flow::pull_jobs::{NotStarted, Pullable, start};
use switchboard_providers::pull;
use switchboard_queue::{Addresses, SqsQueue};
use switchboard_store::Store;

use crate::{Failure, Table};

/// The interval of reads while a job is followed.
const INTERVAL: Duration = Duration::from_secs(2);

/// Arguments of the command.
#[derive(Args)]
pub struct Sync {
    /// The source: provider/source, as onecom/onecom.
    source: String,
    /// The start: a time, as 2026-02-20T09:00:00Z, or a day in the source's zone.
    #[arg(long)]
    from: String,
    /// The end: a time, or a day, which is included.
    #[arg(long)]
    to: String,
    /// Follow the job until it has ended.
    #[arg(long)]
    follow: bool,
    /// The queue of pull: the stack's output PullQueueUrl. Without it, the sweep starts the job within a
    /// minute.
    #[arg(long, env = "PULL_QUEUE_URL", value_name = "URL")]
    queue: Option<String>,
    #[command(flatten)]
    pub table: Table,
}

impl Sync {
    /// Starts the job, and follows it with `--follow`. `values` are the parameters named
    /// `<provider>/<source>`.
    pub async fn run(
        self,
        store: &Store,
        sqs: aws_sdk_sqs::Client,
        values: Values,
    ) -> Result<String, Failure> {
        let now = Timestamp::now();
        let values = values.into_iter().map(|(name, json)| (format!("sources/{name}"), json));
        let pullable = Pullable::read(&values.collect());
        let wrong = |problem: &str| Failure::Wrong(format!("{}: {problem}", self.source));
        let (provider, name) =
            self.source.split_once('/').ok_or_else(|| wrong("must be provider/source"))?;
        let name = Name::new("source", name).map_err(|error| wrong(&error.to_string()))?;
        let found = pullable.source(provider, &name);
        let (one, source) = found.map_err(|error| wrong(&error.to_string()))?;
        let moment = |text: &str, is_end: bool| {
            let at = text.parse::<Timestamp>().ok();
            let day = || {
                let day: Date = text.parse().ok()?;
                let (begins, ends) = pull::days(one, source, day, day)?;
                Some(if is_end { ends } else { begins })
            };
            at.or_else(day).ok_or_else(|| wrong("--from and --to must be times or days"))
        };
        let range = (moment(&self.from, false)?, moment(&self.to, true)?);
        if range.1 <= range.0 {
            return Err(wrong("--to must be after --from"));
        }
        let queue =
            SqsQueue::new(sqs, Addresses { pull: self.queue.clone(), ..Addresses::default() });
        let what = (Kind::Sync, provider, &name);
        let started = start((store, &queue), &pullable, what, range, now).await;
        let (job, is_new) = started.map_err(|error| match error {
            NotStarted::Source(error) => wrong(&error.to_string()),
            NotStarted::Store(error) => error.into(),
        })?;
        if self.follow {
            return follow(store, &job.id).await;
        }
        let how = if is_new { "is started" } else { "was already running" };
        Ok(format!("job {} {how}", job.id))
    }
}

/// Shows a job until it has ended.
async fn follow(store: &Store, id: &Name) -> Result<String, Failure> {
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} [{elapsed}] {msg}") {
        bar.set_style(style);
    }
    loop {
        let job = store.job(id).await?;
        let job = job.ok_or_else(|| Failure::Wrong(format!("job {id} is gone")))?;
        bar.set_message(line(&job));
        bar.tick();
        if !job.is_running() {
            bar.finish_and_clear();
            return match job.progress {
                Progress::Failed => Err(Failure::Wrong(line(&job))),
                _ => Ok(line(&job)),
            };
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

/// A job's state and counts.
fn line(job: &Job) -> String {
    let counts = &job.counts;
    let state = match job.progress {
        Progress::Running => "running",
        Progress::Done => "done",
        Progress::Failed => "failed",
        Progress::Canceled => "canceled",
    };
    let problem = job.problem.as_ref().map(|problem| format!(" ({problem})")).unwrap_or_default();
    format!(
        "job {} {state}: {} pages, {} seen, {} new, {} duplicates, {} rejected, {} unfinished{problem}",
        job.id,
        counts.pages,
        counts.seen,
        counts.new,
        counts.duplicates,
        counts.rejected,
        counts.unfinished,
    )
}
