//! Jobs in memory, for tests and for programs that run everything themselves.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;

use crate::{Job, Queue, QueueError, Send, Waiting};

/// A queue that only remembers what was sent.
#[derive(Clone, Default)]
pub struct MemoryQueue(Arc<Mutex<Vec<Send>>>);

impl MemoryQueue {
    /// Takes out everything that was sent, oldest first.
    pub fn drain(&self) -> Vec<Send> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[async_trait]
impl Queue for MemoryQueue {
    async fn send(&self, jobs: &[Send]) -> Result<(), QueueError> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(jobs);
        Ok(())
    }

    async fn waiting(&self) -> Result<Waiting, QueueError> {
        let jobs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = |is: fn(&Job) -> bool| jobs.iter().filter(|send| is(&send.job)).count() as u64;
        Ok(Waiting {
            enrich: count(|job| matches!(job, Job::Enrich { .. })),
            analyze: count(|job| matches!(job, Job::Analyze { .. })),
            deliver: count(|job| matches!(job, Job::Deliver { .. })),
            pull: count(|job| matches!(job, Job::Pull { .. })),
            recordings: count(|job| matches!(job, Job::Recordings { .. })),
        })
    }
}
