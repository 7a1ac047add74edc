//! Jobs in memory, for tests and for programs that run everything themselves.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;

use crate::{Queue, QueueError, Send, Waiting};

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
        let mut waiting = Waiting::default();
        jobs.iter().for_each(|send| waiting.add(&send.job));
        Ok(waiting)
    }
}
