//! `sweep`: sends what has become due and is not under way, so that nothing stays behind.
//!
//! A message lost between a put and a send, a worker that died, a retry too far off for a
//! message's delay: all of them are found here, in the index of what is due.

use jiff::Timestamp;
use switchboard_domain::key::DUE_SHARDS;
use switchboard_queue::{Job, Queue, Send};
use switchboard_shell::Telemetry;
use switchboard_shell::worker::Retry;
use switchboard_store::{Due, Overdue, Store};

/// One run sends no more than this; the next minute's goes on.
const MOST: usize = 20_000;

/// Where so many jobs wait already, what is due is most likely among them: sending it again would
/// only make the queue longer than the workers can make it shorter.
const CROWDED: u64 = 1_000;

/// The sweep and what it acts on.
pub struct Sweep<S, Q> {
    /// Where the index of due work is.
    pub store: S,
    /// Where jobs go.
    pub queue: Q,
    /// Where it says what it does.
    pub telemetry: Telemetry,
}

impl<S: Store, Q: Queue> Sweep<S, Q> {
    /// Sends everything that is due by now; says how much that was.
    pub async fn run(&self, now: Timestamp) -> Result<usize, Retry> {
        let waiting = self.queue.waiting().await?;
        let (mut sent, mut left) = (0, 0);
        let mut oldest: Option<Timestamp> = None;
        for shard in 0..DUE_SHARDS {
            let mut page = None;
            loop {
                let due = self.store.due(shard, now, page).await?;
                oldest = oldest.into_iter().chain(due.items.iter().map(|item| item.due_at)).min();
                let (jobs, crowded): (Vec<Send>, Vec<Send>) = due
                    .items
                    .into_iter()
                    .map(job)
                    .partition(|send| waiting.of(&send.job) < CROWDED);
                left += crowded.len();
                if !jobs.is_empty() {
                    self.queue.send(&jobs).await?;
                }
                sent += jobs.len();
                page = due.next;
                if page.is_none() || sent + left >= MOST {
                    break;
                }
            }
        }
        if let Some(oldest) = oldest {
            let age = now.duration_since(oldest).as_secs();
            self.telemetry.info(
                "swept up overdue work",
                &[("sent", &sent), ("left_to_a_full_queue", &left), ("oldest_age_seconds", &age)],
            );
        }
        self.telemetry.count(&[("swept", sent as u64)], &[]);
        Ok(sent)
    }
}

fn job(due: Due) -> Send {
    let job = match due.what {
        Overdue::Delivery(call, delivery) => Job::Deliver { call, delivery },
        Overdue::Call(call) => Job::Enrich { call },
        Overdue::Pull(id) => Job::Pull { id },
    };
    Send { job, delay: 0 }
}
