//! A queue whose messages are effects, beside the tables whose writes are.

use async_trait::async_trait;
use switchboard_queue::{MemoryQueue, Queue, QueueError, Send, Waiting};
pub use switchboard_store::testing::{Effects, Fault, Which};

/// A queue whose every message is an effect: a batch may stop half-way.
pub struct WatchedQueue {
    pub queue: MemoryQueue,
    pub effects: Effects,
}

#[async_trait]
impl Queue for WatchedQueue {
    async fn send(&self, jobs: &[Send]) -> Result<(), QueueError> {
        for job in jobs {
            let send = self.queue.send(std::slice::from_ref(job));
            let failed = |_| Err(QueueError { code: "test".into() });
            self.effects.act("send", send, failed).await?;
        }
        Ok(())
    }

    async fn waiting(&self) -> Result<Waiting, QueueError> {
        self.queue.waiting().await
    }
}
