//! `sweep`: sends what has become due and is not under way, so that nothing stays behind.
//!
//! A message lost between a put and a send, a worker that died, a retry too far off for a
//! message's delay: all of them are found here, in the index of what is due. So is what waits for a
//! destination's gate, once that opens.

use std::sync::Arc;

use std::collections::BTreeMap;

use crate::{JobError, metrics};
use jiff::Timestamp;
use switchboard_domain::gate::{Mode, Why};
use switchboard_domain::key::DUE_SHARDS;
use switchboard_domain::{Gate, Name};
use switchboard_queue::{Job, Queue, Send, Waiting};
use switchboard_store::{Cursor, Due, Overdue, Store};
use tracing::info;

use crate::gates::{self, Gates};

/// One run sends no more than this; the next minute's goes on.
const MOST: usize = 20_000;
/// Nor more than this for one destination, so that the others have their turn in every run.
const MOST_FOR_ONE: usize = 5_000;

/// Where so many jobs wait already, what is due is most likely among them: sending it again would
/// only make the queue longer than the workers can make it shorter.
const CROWDED: u64 = 1_000;
/// But they may all be one destination's: of every other so many are sent all the same.
const ALL_THE_SAME: usize = 100;

/// The sweep and what it acts on.
pub struct Sweep {
    /// Where the index of due work is.
    pub store: Store,
    /// Where jobs go.
    pub queue: Arc<dyn Queue>,
    /// What it knows of destinations' gates.
    pub gates: Gates,
}

impl Sweep {
    /// Sends everything that is due by now; says how much that was.
    pub async fn run(&self, now: Timestamp) -> Result<usize, JobError> {
        let released = self.release(now).await?;
        let shares = Shares { waiting: self.queue.waiting().await?, sent: BTreeMap::new() };
        let (sent, oldest) = self.send_due(shares, now).await?;
        if let Some((oldest, left)) = oldest {
            let age = now.duration_since(oldest).as_secs();
            info!(sent, left_to_a_full_queue = left, oldest_age_seconds = age, "overdue jobs sent");
        }
        metrics::count(&[("swept", sent as u64), ("released", released as u64)], &[]);
        Ok(sent + released)
    }

    /// Sends what is due. Says how much that was, since when the oldest is due, and how much was left.
    async fn send_due(
        &self,
        mut shares: Shares,
        now: Timestamp,
    ) -> Result<(usize, Option<(Timestamp, usize)>), JobError> {
        let (mut sent, mut left) = (0, 0);
        let mut oldest: Option<Timestamp> = None;
        // Page by page of every shard, so that none has to wait until another is read to its end.
        let mut pages: Vec<(u16, Option<Cursor>)> =
            (0..DUE_SHARDS).map(|shard| (shard, None)).collect();
        while !pages.is_empty() && sent + left < MOST {
            for (shard, page) in std::mem::take(&mut pages) {
                let due = self.store.due(shard, now, page).await?;
                oldest = oldest.into_iter().chain(due.items.iter().map(|item| item.due_at)).min();
                let (jobs, not_now): (Vec<Send>, Vec<Send>) =
                    due.items.into_iter().map(job).partition(|send| shares.takes(&send.job));
                left += not_now.len();
                if !jobs.is_empty() {
                    self.queue.send(&jobs).await?;
                }
                sent += jobs.len();
                pages.extend(due.next.map(|next| (shard, Some(next))));
            }
        }
        Ok((sent, oldest.map(|oldest| (oldest, left))))
    }

    /// Lets out what waits for gates that are open, and says of each that is not what it is.
    async fn release(&self, now: Timestamp) -> Result<usize, JobError> {
        let mut released = 0;
        for gate in self.store.gates().await? {
            self.measure(&gate);
            released +=
                gates::release((&self.store, &*self.queue), &self.gates, &gate, now).await?;
        }
        Ok(released)
    }

    fn measure(&self, gate: &Gate) {
        let is = |is: bool| u64::from(is);
        let is_configured = gate.why() == Some(Why::Configuration);
        let is_paused = matches!(gate.mode, Mode::Paused | Mode::Draining { .. });
        let counts = [
            ("breaker_open", is(gate.is_open() && !is_configured)),
            ("stopped", is(gate.mode == Mode::Stopped)),
            ("paused", is(is_paused || is_configured)),
        ];
        metrics::count(&counts, &[("destination", gate.destination.as_str())]);
    }
}

/// How much of each queue, and of each destination, was sent.
struct Shares {
    waiting: Waiting,
    sent: BTreeMap<Name, usize>,
}

impl Shares {
    /// Whether one more is sent; then it is counted.
    fn takes(&mut self, job: &Job) -> bool {
        let is_crowded = *self.waiting.of(job) >= CROWDED;
        let Some(destination) = job.group() else { return !is_crowded };
        let sent = self.sent.entry(destination.clone()).or_default();
        let most = if is_crowded { ALL_THE_SAME } else { MOST_FOR_ONE };
        *sent += 1;
        *sent <= most
    }
}

fn job(due: Due) -> Send {
    let job = match due.what {
        Overdue::Delivery(call, delivery) => Job::Deliver { call, delivery },
        // The index does not say what a call owes: `enrich` reads it, and hands on what is not its own.
        Overdue::Call(call) => Job::Enrich { call },
        Overdue::Pull(id) => Job::Pull { id },
    };
    Send { job, delay: 0 }
}
