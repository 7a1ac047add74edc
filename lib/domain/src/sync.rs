//! A job that pulls calls from a provider: its remaining requests and its counts.
//!
//! A job moves by units: one or a few requests whose results are stored, and then counted together
//! with the remaining requests, in one write. A unit that was stored and not counted is done again,
//! and [`Job::mark`] identifies its records as this unit's own.

use std::collections::BTreeMap;

use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use crate::backoff::Backoff;
use crate::digest::Digest;
use crate::key::{DUE_SHARDS, Name};
use crate::time::later;

/// The lease of a worker on a job. Longer than the worker's function runs.
const LEASE: SignedDuration = SignedDuration::from_secs(150);
/// The waits after requests in a row that got no response, seconds. Then the job has failed.
const BACKOFF: Backoff<'_> = Backoff::new(&[15, 30, 60, 120, 240, 480, 900]);
/// So often in a row a job may be claimed without any progress.
const MOST_CLAIMS: u32 = 8;
/// A job ends by then, however often a provider asks for time.
const LONGEST_JOB: SignedDuration = SignedDuration::from_hours(48);

/// One request to a provider's REST interface.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// The resource, in the words of the provider's module (`calls`, `recordings`).
    pub of: String,
    /// Calls that began from then on.
    pub from: Timestamp,
    /// Calls that began before then.
    pub to: Timestamp,
    /// The page, cursor or id. Absent: the first page.
    pub at: Option<String>,
    /// The agent whose conversations are listed, where a source names its agents.
    pub agent: Option<String>,
}

impl Step {
    /// The first page of something.
    pub fn first(of: &str, from: Timestamp, to: Timestamp) -> Self {
        Self { of: of.to_owned(), from, to, at: None, agent: None }
    }

    /// The same request at another page.
    pub fn at(&self, at: impl Into<String>) -> Self {
        Self { at: Some(at.into()), ..self.clone() }
    }
}

/// Why a job was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// An operator or a CRM requested it.
    Sync,
    /// The schedule, to find the calls whose webhook never came.
    Reconcile,
}

/// The state of a job. Everything but `Running` is final.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Progress {
    /// Requests remain.
    Running,
    /// Every request was sent.
    Done,
    /// The provider refused, or failed for too long.
    Failed,
    /// It was canceled.
    Canceled,
}

/// The counts of a job. `seen` is the sum of `new`, `duplicates` and `rejected`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counts {
    /// Requests that succeeded.
    pub pages: u64,
    /// Records of calls that are over.
    pub seen: u64,
    /// Records with something new, which were stored.
    pub new: u64,
    /// Records that changed nothing.
    pub duplicates: u64,
    /// Records that were not understood, and are in quarantine.
    pub rejected: u64,
    /// Records of calls that were not over, left to the next job.
    pub unfinished: u64,
}

impl Counts {
    /// Both together.
    pub fn plus(self, other: Self) -> Self {
        Self {
            pages: self.pages + other.pages,
            seen: self.seen + other.seen,
            new: self.new + other.new,
            duplicates: self.duplicates + other.duplicates,
            rejected: self.rejected + other.rejected,
            unfinished: self.unfinished + other.unfinished,
        }
    }
}

/// The result of one unit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unit {
    /// How many of the job's steps were done, from the first on.
    pub steps: usize,
    /// The steps that follow, before the remaining ones.
    pub next: Vec<Step>,
    /// The counts.
    pub counts: Counts,
    /// Calls that only the provider had, by the day that they began on.
    pub missing: BTreeMap<Date, u64>,
}

/// A job that pulls calls from one source.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// Its id, which begins with the time of its start.
    pub id: Name,
    /// Counts the writes: 0 is a job that was never stored. The store counts.
    pub version: u64,
    /// Why it was started.
    pub kind: Kind,
    /// The provider.
    pub provider: Name,
    /// The source.
    pub source: Name,
    /// Calls that began from then on.
    pub from: Timestamp,
    /// Calls that began before then.
    pub to: Timestamp,
    /// Its state.
    pub progress: Progress,
    /// The remaining requests, the next first.
    #[serde(default)]
    pub steps: Vec<Step>,
    /// The counts so far.
    #[serde(default)]
    pub counts: Counts,
    /// Calls that only the provider had, by the day that they began on.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub missing: BTreeMap<Date, u64>,
    /// When it was started.
    pub started_at: Timestamp,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// The last problem, without any value.
    pub problem: Option<String>,
    /// How many requests in a row failed.
    #[serde(default)]
    pub failures: u32,
    /// How often in a row it was claimed without any progress.
    #[serde(default)]
    pub claims: u32,
    /// When it is due next. Absent: it has ended.
    pub not_before: Option<Timestamp>,
}

impl Job {
    /// A job of a source, due at once.
    pub fn start(
        kind: Kind,
        (provider, source): (Name, Name),
        (from, to): (Timestamp, Timestamp),
        steps: Vec<Step>,
        now: Timestamp,
    ) -> Self {
        let nanos = now.as_nanosecond().to_be_bytes();
        let digest = Digest::of(&[
            provider.as_str().as_bytes(),
            source.as_str().as_bytes(),
            from.to_string().as_bytes(),
            to.to_string().as_bytes(),
            &nanos,
            &[kind as u8],
        ]);
        let tail = digest.as_str().get(..8).unwrap_or_default();
        let head = now.strftime("%Y%m%dT%H%M%SZ");
        // Digits, letters and a hyphen: always a name.
        let id = Name::new("job", &format!("{head}-{tail}")).unwrap_or_else(|_| source.clone());
        Self {
            id,
            version: 0,
            kind,
            provider,
            source,
            from,
            to,
            progress: Progress::Running,
            steps,
            counts: Counts::default(),
            missing: BTreeMap::new(),
            started_at: now,
            finished_at: None,
            problem: None,
            failures: 0,
            claims: 0,
            not_before: Some(now),
        }
    }

    /// The key under which one job runs at a time: a range of a source, or its reconciliation.
    pub fn slot(&self) -> String {
        let of = format!("{}/{}", self.provider, self.source);
        match self.kind {
            Kind::Sync => format!("{of}/{}/{}", self.from, self.to),
            Kind::Reconcile => format!("{of}/reconcile"),
        }
    }

    /// Under which shard of the due index it is found.
    pub fn due_shard(&self) -> u16 {
        Digest::of(&[b"sync", self.id.as_str().as_bytes()]).bucket(DUE_SHARDS)
    }

    /// Whether there is more to do.
    pub fn is_running(&self) -> bool {
        self.progress == Progress::Running
    }

    /// The mark on the next unit's records: the same when the unit is done again, another after each
    /// that was counted.
    pub fn mark(&self) -> String {
        format!("{}.{}", self.id, self.counts.pages)
    }

    /// Claimed by a worker: it is due again when the lease ends.
    pub fn claimed(&self, now: Timestamp) -> Self {
        if self.claims >= MOST_CLAIMS {
            let problem = format!("claimed {} times, and each time its worker died", self.claims);
            return self.ended(Progress::Failed, Some(problem), now);
        }
        let claims = self.claims + 1;
        Self { claims, not_before: Some(later(now, LEASE)), ..self.clone() }
    }

    /// Released by its worker: it is due at once.
    pub fn left(&self, now: Timestamp) -> Self {
        Self { claims: 0, not_before: Some(now), ..self.clone() }
    }

    /// After a unit.
    pub fn after(&self, unit: Unit, now: Timestamp) -> Self {
        let not_before = Some(later(now, LEASE));
        let mut job = Self { claims: 1, not_before, ..self.clone() };
        let left = self.steps.iter().skip(unit.steps).cloned();
        job.steps = unit.next.into_iter().chain(left).collect();
        job.counts = self.counts.plus(unit.counts);
        for (day, count) in unit.missing {
            *job.missing.entry(day).or_default() += count;
        }
        (job.failures, job.problem) = (0, None);
        if job.steps.is_empty() { job.ended(Progress::Done, None, now) } else { job }
    }

    /// After a response that asked for time.
    pub fn waiting(&self, until: Timestamp, problem: &str, now: Timestamp) -> Self {
        if now.duration_since(self.started_at) > LONGEST_JOB {
            let problem = format!("not done within two days: {problem}");
            return self.ended(Progress::Failed, Some(problem), now);
        }
        let until = BACKOFF.obey(now, Some(until), now);
        let (not_before, problem) = (Some(until), Some(problem.to_owned()));
        Self { claims: 0, not_before, problem, ..self.clone() }
    }

    /// After a request that failed.
    pub fn troubled(&self, problem: &str, now: Timestamp) -> Self {
        let failures = self.failures + 1;
        let Some(until) = BACKOFF.next(failures, None, now) else {
            let problem = format!("failed after {failures} tries: {problem}");
            return Self { failures, ..self.ended(Progress::Failed, Some(problem), now) };
        };
        Self { failures, ..self.waiting(until, problem, now) }
    }

    /// Ended.
    pub fn ended(&self, progress: Progress, problem: Option<String>, now: Timestamp) -> Self {
        let (finished_at, not_before) = (Some(now), None);
        Self { progress, problem, finished_at, not_before, ..self.clone() }
    }
}

/// The calls that one job found missing on one day.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// The provider.
    pub provider: Name,
    /// The source.
    pub source: Name,
    /// The day that the calls began on, in the source's zone.
    pub day: Date,
    /// The job that found them.
    pub job: Name,
    /// How many calls only the provider had.
    pub missing: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn job() -> Job {
        let name = |text| Name::new("name", text).unwrap();
        let steps = vec![Step::first("calls", at(0), at(60)), Step::first("more", at(0), at(60))];
        let whose = (name("twilio"), name("main"));
        Job::start(Kind::Sync, whose, (at(0), at(60)), steps, at(100))
    }

    #[test]
    fn an_id_begins_with_its_time_and_tells_jobs_apart() {
        assert!(job().id.as_str().starts_with("20270115T080140Z-"), "{}", job().id);
        let whose = (job().provider, job().source);
        let later = Job::start(Kind::Reconcile, whose, (at(0), at(60)), vec![], at(100));
        assert_ne!(later.id, job().id);
        assert_ne!(later.slot(), job().slot());
    }

    #[test]
    fn a_unit_replaces_its_steps_by_what_follows_them() {
        let next = vec![job().steps[0].at("2")];
        let counts = Counts { pages: 1, seen: 3, new: 2, duplicates: 1, ..Counts::default() };
        let unit = Unit { steps: 1, next, counts, missing: BTreeMap::new() };
        let before = job();
        let job = before.after(unit, at(101));
        assert_eq!(job.steps.iter().map(|s| s.of.as_str()).collect::<Vec<_>>(), ["calls", "more"]);
        assert_eq!((job.counts.seen, job.progress), (3, Progress::Running));
        assert_ne!(job.mark(), before.mark(), "the next unit's records are another unit's");
        let over = job.after(Unit { steps: 2, ..Unit::default() }, at(102));
        assert_eq!((over.progress, over.not_before), (Progress::Done, None));
        assert_eq!(over.finished_at, Some(at(102)));
    }

    #[test]
    fn trouble_is_waited_out_for_longer_each_time_and_not_forever() {
        let mut job = job();
        let mut waits = Vec::new();
        while job.is_running() {
            job = job.troubled("timed out", at(100));
            let wait = |until: Timestamp| until.duration_since(at(100)).as_secs();
            waits.extend(job.not_before.map(wait));
        }
        assert_eq!(waits, [15, 30, 60, 120, 240, 480, 900]);
        assert_eq!(job.problem.as_deref(), Some("failed after 8 tries: timed out"));
    }

    #[test]
    fn a_job_that_kills_its_workers_is_given_up() {
        let mut job = job();
        for _ in 0..8 {
            assert!(job.is_running());
            job = job.claimed(at(100));
        }
        assert_eq!(job.claimed(at(100)).progress, Progress::Failed);
        let done = job.after(Unit::default(), at(100)).claimed(at(101));
        assert!(done.is_running(), "a unit that was done makes good for it");
    }

    #[test]
    fn a_provider_that_asks_for_time_gets_it_up_to_a_day_and_a_job_two() {
        let waits = job().waiting(at(90_000_000), "responded 429", at(100));
        assert_eq!(waits.not_before, Some(at(100 + 86_400)));
        assert_eq!(waits.failures, 0);
        let over = job().waiting(at(500_000), "responded 429", at(100 + 48 * 3_600 + 1));
        assert_eq!(over.progress, Progress::Failed);
    }
}
