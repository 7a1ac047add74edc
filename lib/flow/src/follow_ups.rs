//! Sends jobs for what is stored as due.

use jiff::Timestamp;
use switchboard_domain::{CallRecord, Delivery};
use switchboard_queue::{Job, Queue, Send};
use tracing::warn;

/// Sends jobs for work that is stored as due. Where the queue fails, the sweep sends them.
pub async fn queue_due(queue: &dyn Queue, jobs: &[Send]) {
    if jobs.is_empty() {
        return;
    }
    if let Err(error) = queue.send(jobs).await {
        warn!(%error, "follow-up stored but not queued");
    }
}

/// The job for a delivery, if it is due soon enough for a message. A deferred delivery is released with
/// its destination's gate, unless its own time is later: that may be when the gate opens.
pub fn delivery_job(delivery: &Delivery, now: Timestamp) -> Option<Send> {
    let due_at = delivery.due_at.filter(|due_at| delivery.deferred.is_none() || *due_at > now)?;
    let job = Job::Deliver { call: delivery.key.clone(), delivery: delivery.id.clone() };
    Send::at(job, due_at, now)
}

/// The jobs for what a call itself owes, as far as it is due soon enough for a message.
pub fn call_jobs(record: &CallRecord, now: Timestamp) -> Vec<Send> {
    let owed = record.owed.iter();
    owed.filter_map(|(work, due_at)| Send::at(Job::of(*work, &record.key), *due_at, now)).collect()
}
