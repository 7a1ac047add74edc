//! Why a worker's job was not done.

use switchboard_queue::QueueError;
use switchboard_store::StoreError;

/// A job was not done. What it points to stays due.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// The table failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The queue failed, where the job cannot go on without it.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// The configuration could not be read.
    #[error("{0}")]
    Configuration(String),
    /// The queue's mapping sends jobs of one kind to the worker of another.
    #[error("a job of another kind came to this queue: check the stack's event sources")]
    Misplaced,
}

impl JobError {
    /// Whether waiting may heal it. What it cannot heal needs a person: a right that is missing, an item
    /// that cannot be read, a queue that is connected to the wrong function.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Store(error) => error.is_retryable(),
            Self::Queue(_) | Self::Configuration(_) => true,
            Self::Misplaced => false,
        }
    }
}
