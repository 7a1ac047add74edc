//! Jobs that pull calls: every access pattern of them, on DynamoDB and in memory.

use std::future::Future;

use jiff::civil::Date;
use switchboard_domain::Name;
use switchboard_domain::sync::{Gap, Job};

use crate::StoreError;

pub(crate) mod dynamodb;
mod memory;

/// As many jobs as a list gives.
pub const MOST_LISTED: usize = 50;

/// What a store of jobs can do.
pub trait Jobs: Send + Sync {
    /// Creates a job, unless one that is running has its slot ([`Job::slot`]).
    fn start_job(&self, job: &Job) -> impl Future<Output = Result<Started, StoreError>> + Send;

    /// Writes a job as version `job.version + 1`, if the stored version is `job.version`.
    fn put_job(&self, job: &Job) -> impl Future<Output = Result<PutJob, StoreError>> + Send;

    /// Reads a job, consistently.
    fn job(&self, id: &Name) -> impl Future<Output = Result<Option<Job>, StoreError>> + Send;

    /// The newest jobs, at most [`MOST_LISTED`].
    fn jobs(&self) -> impl Future<Output = Result<Vec<Job>, StoreError>> + Send;

    /// Notes what a job found missing on a day. Noting it again changes nothing.
    fn put_gap(&self, gap: &Gap) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// What was found missing at a source from a day on, by day and job.
    fn gaps(
        &self,
        provider: &Name,
        source: &Name,
        since: Date,
    ) -> impl Future<Output = Result<Vec<Gap>, StoreError>> + Send;
}

/// What became of a start.
#[derive(Clone, Debug, PartialEq)]
pub enum Started {
    /// Created, in this version.
    New(u64),
    /// Not created: this one is running.
    Running(Box<Job>),
}

/// What became of a conditional write of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutJob {
    /// Written. The new version.
    Stored(u64),
    /// Not written: somebody else wrote it meanwhile.
    Conflict,
}
