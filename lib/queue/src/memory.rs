//! Jobs in memory, for tests and for programs that run everything themselves.

use std::sync::{Arc, Mutex, PoisonError};

use crate::{Queue, QueueError, Send};

/// A queue that only remembers what was sent.
#[derive(Clone, Default)]
pub struct MemoryQueue(Arc<Mutex<Vec<Send>>>);

impl MemoryQueue {
    /// Takes out everything that was sent, oldest first.
    pub fn drain(&self) -> Vec<Send> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Queue for MemoryQueue {
    async fn send(&self, jobs: &[Send]) -> Result<(), QueueError> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(jobs);
        Ok(())
    }
}
