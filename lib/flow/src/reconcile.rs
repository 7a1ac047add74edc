//! `reconcile`: has every source pulled that can be, to find the calls whose webhook never came.

use std::sync::Arc;

use crate::pull_jobs::{NotStarted, Pullable, start};
use crate::{JobError, metrics};
use jiff::{SignedDuration, Timestamp};
use switchboard_domain::sync::Kind;
use switchboard_queue::Queue;
use switchboard_store::Store;
use tracing::{error, warn};

/// So far back calls are looked for, each hour anew: providers list some of them late.
pub const WINDOW: SignedDuration = SignedDuration::from_hours(26);

/// The reconciliation and what it acts on.
pub struct Reconcile {
    /// Where jobs are.
    pub store: Store,
    /// Where they are queued.
    pub queue: Arc<dyn Queue>,
}

impl Reconcile {
    /// Starts a job for each source that is set up for it; says how many.
    pub async fn run(&self, pullable: &Pullable, now: Timestamp) -> Result<usize, JobError> {
        // Whole seconds: providers' filters know nothing finer.
        let to = Timestamp::from_second(now.as_second()).unwrap_or(now);
        let from = to.checked_sub(WINDOW).unwrap_or(to);
        let (mut started, mut failed) = (0, None);
        for (provider, name, source) in pullable.each() {
            if !source.pull.as_ref().is_some_and(|settings| settings.reconcile) {
                continue;
            }
            let with = (&self.store, &*self.queue);
            let what = (Kind::Reconcile, provider, name);
            match start(with, pullable, what, (from, to), now).await {
                Ok((_, true)) => started += 1,
                Ok((job, false)) => {
                    warn!(job = %job.id, "previous reconciliation is still running");
                }
                Err(NotStarted::Source(error)) => {
                    error!(
                        %provider, source = %name, problem = %error,
                        "source cannot be reconciled"
                    );
                    metrics::count(&[("pull_failed", 1)], &[("provider", provider)]);
                }
                // The other sources first: each is another provider's.
                Err(NotStarted::Store(error)) => failed = Some(error),
            }
        }
        match failed {
            Some(error) => Err(error.into()),
            None => Ok(started),
        }
    }
}
