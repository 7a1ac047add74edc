//! Jobs on SQS: small pointers to work that is due.
//!
//! A message says where to look, never what to do: a worker reads the call or the delivery and
//! does what is still due. So a message may be lost (the sweep sends it again) or doubled (the
//! second finds nothing due).

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use switchboard_domain::{CallKey, DeliveryId, Name, Work};

pub mod memory;
pub mod sqs;

pub use memory::MemoryQueue;
pub use sqs::{Addresses, SqsQueue};

/// The longest that SQS holds a message back, seconds. What is due later is left to the sweep.
pub const LONGEST_DELAY: u32 = 900;

/// A pointer to work that is due.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "job", rename_all = "snake_case", deny_unknown_fields)]
pub enum Job {
    /// A call's own follow-up.
    Enrich {
        /// Which call.
        call: CallKey,
    },
    /// The analysis of a call's transcript.
    Analyze {
        /// Which call.
        call: CallKey,
    },
    /// A delivery.
    Deliver {
        /// Which call.
        call: CallKey,
        /// To whom, and what.
        delivery: DeliveryId,
    },
    /// A job that pulls calls from a provider.
    Pull {
        /// Its id.
        id: Name,
    },
    /// The copies of a call's recordings.
    Recordings {
        /// Which call.
        call: CallKey,
    },
}

impl Job {
    /// Which call it is about, if it is about one.
    pub fn call(&self) -> Option<&CallKey> {
        match self {
            Self::Enrich { call }
            | Self::Analyze { call }
            | Self::Deliver { call, .. }
            | Self::Recordings { call } => Some(call),
            Self::Pull { .. } => None,
        }
    }

    /// Among whose jobs it waits: where one destination's are many or slow, a fair queue hands out
    /// the others' first. A job that concerns no destination is in no group.
    pub fn group(&self) -> Option<&Name> {
        match self {
            Self::Deliver { delivery, .. } => Some(&delivery.destination),
            Self::Enrich { .. }
            | Self::Analyze { .. }
            | Self::Pull { .. }
            | Self::Recordings { .. } => None,
        }
    }

    /// The job by which a call's own follow-up is done.
    pub fn of(work: Work, call: &CallKey) -> Self {
        let call = call.clone();
        match work {
            Work::Announce | Work::Enrich => Self::Enrich { call },
            Work::Analyze => Self::Analyze { call },
            Work::Recordings => Self::Recordings { call },
        }
    }

    /// The message body: under 1 KB, whatever the call.
    pub fn to_body(&self) -> String {
        // Two or three short texts: there is nothing in it that could fail to serialize.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Reads a message body. `None` is no job of ours, now or ever.
    pub fn from_body(body: &str) -> Option<Self> {
        serde_json::from_str(body).ok()
    }
}

/// A job and how long to hold it back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Send {
    /// The pointer.
    pub job: Job,
    /// Seconds, at most [`LONGEST_DELAY`].
    pub delay: u32,
}

impl Send {
    /// A job that is due at a moment. `None` where that is further off than a message can wait.
    pub fn at(job: Job, due_at: Timestamp, now: Timestamp) -> Option<Self> {
        // Up to the next whole second, so that the message never comes before its work is due.
        let millis = due_at.duration_since(now).as_millis().max(0);
        let delay = u32::try_from((millis + 999) / 1_000).ok()?;
        (delay <= LONGEST_DELAY).then_some(Self { job, delay })
    }
}

/// Where jobs are sent.
#[async_trait]
pub trait Queue: std::marker::Send + Sync {
    /// Sends jobs: each to the queue of its kind, as many as fit in one request together.
    async fn send(&self, jobs: &[Send]) -> Result<(), QueueError>;

    /// About how many jobs of each kind wait for a worker.
    async fn waiting(&self) -> Result<Waiting, QueueError>;
}

/// How many jobs wait, by kind.
pub type Waiting = ByKind<u64>;

/// Something for each kind of jobs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ByKind<T> {
    /// For `enrich`.
    pub enrich: T,
    /// For `analyze`.
    pub analyze: T,
    /// For `deliver`.
    pub deliver: T,
    /// For `pull`.
    pub pull: T,
    /// For `recordings`.
    pub recordings: T,
}

impl<T> ByKind<T> {
    /// That of a job's kind.
    pub fn of(&self, job: &Job) -> &T {
        match job {
            Job::Enrich { .. } => &self.enrich,
            Job::Analyze { .. } => &self.analyze,
            Job::Deliver { .. } => &self.deliver,
            Job::Pull { .. } => &self.pull,
            Job::Recordings { .. } => &self.recordings,
        }
    }
}

/// The queue could not be reached. What a job pointed to stays due, and the sweep sends it again.
#[derive(Debug, thiserror::Error)]
#[error("the queue could not be used ({code}); the sweep sends what is due")]
pub struct QueueError {
    /// The service's code for it, or the class of failure.
    pub code: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job() -> Job {
        Job::Deliver {
            call: "asterisk/asterisk-main/1708416000.1".parse().unwrap(),
            delivery: "crm#call.completed".parse().unwrap(),
        }
    }

    #[test]
    fn a_message_is_small_and_readable() {
        assert_eq!(
            job().to_body(),
            r#"{"job":"deliver","call":"asterisk/asterisk-main/1708416000.1","delivery":"crm#call.completed"}"#
        );
        assert_eq!(Job::from_body(&job().to_body()), Some(job()));
        let longest = "x".repeat(256);
        let name = "y".repeat(64);
        let call = format!("{name}/{name}/{longest}").parse().unwrap();
        let delivery = format!("{name}#call.completed").parse().unwrap();
        assert!(Job::Deliver { call, delivery }.to_body().len() < 1_024);
    }

    #[test]
    fn what_is_no_job_is_nothing() {
        for body in ["", "{}", "null", r#"{"job":"enrich","call":"no key"}"#, "\u{0}"] {
            assert_eq!(Job::from_body(body), None, "{body}");
        }
    }

    #[test]
    fn a_message_never_comes_before_its_work_is_due() {
        let now: Timestamp = "2026-02-20T09:00:00Z".parse().unwrap();
        let delay = |due: &str| Send::at(job(), due.parse().unwrap(), now).map(|send| send.delay);
        assert_eq!(delay("2026-02-20T08:00:00Z"), Some(0));
        assert_eq!(delay("2026-02-20T09:00:00.001Z"), Some(1));
        assert_eq!(delay("2026-02-20T09:15:00Z"), Some(900));
        assert_eq!(delay("2026-02-20T09:15:00.001Z"), None);
    }
}
