//! Why a worker's job goes back to its queue.

use switchboard_queue::QueueError;
use switchboard_store::StoreError;

/// The work was not done and should be tried again: its message goes back to the queue.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Retry(pub String);

impl From<StoreError> for Retry {
    fn from(error: StoreError) -> Self {
        Self(error.to_string())
    }
}

impl From<QueueError> for Retry {
    fn from(error: QueueError) -> Self {
        Self(error.to_string())
    }
}
