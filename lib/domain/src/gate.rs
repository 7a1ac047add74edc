//! Whether a destination is sent to just now: what its operator wants, and a circuit breaker.
//!
//! One gate for each destination, shared by all workers. A destination of which nothing was ever
//! noted is open. While a gate is shut, what is to be told waits: it costs no attempt, and nothing
//! of it is lost.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::delivery::Deferred;
use crate::key::Name;

/// So many failures in a row, as one worker sees them, shut a gate…
pub const MOST_IN_A_ROW: u32 = 5;
/// …unless they lie further apart than this: then the schedule of each delivery is slow enough.
const ROW: SignedDuration = SignedDuration::from_mins(10);
/// Or so many attempts within a minute, at least half of them failed.
const ENOUGH: u32 = 20;
const MINUTE: SignedDuration = SignedDuration::from_mins(1);

/// From a breaker's opening to the first probe. Each that fails doubles the next wait…
pub const FIRST_PROBE: SignedDuration = SignedDuration::from_secs(30);
/// …up to this.
pub const LONGEST_PROBE: SignedDuration = SignedDuration::from_mins(5);
/// No destination is obeyed for longer than this when it asks for time.
pub const LONGEST_RETRY_AFTER: SignedDuration = SignedDuration::from_hours(24);
/// How often it is looked whether a destination's configuration lets it be sent to again.
const RECONFIGURED: SignedDuration = SignedDuration::from_mins(5);
/// After so long with an open gate nothing waits any more: no worker's knowledge is that old.
const CERTAINLY_EMPTY: SignedDuration = SignedDuration::from_mins(5);

/// Whether a destination is sent to, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gate {
    /// Whose.
    pub destination: Name,
    /// Counts the writes: 0 is a gate that was never stored. The store counts.
    pub version: u64,
    /// What the operator wants.
    pub mode: Mode,
    /// What its answers say.
    pub breaker: Breaker,
    /// When mode or breaker last changed.
    pub changed_at: Timestamp,
    /// When more of what waits is let out. Absent: nothing waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release_at: Option<Timestamp>,
}

/// What the operator wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Mode {
    /// Everything is sent.
    Running,
    /// Nothing is sent.
    Paused,
    /// What was planned until then is sent; what came later waits.
    Draining {
        /// Until when.
        since: Timestamp,
    },
    /// It said that it is gone for good (410). Nothing is sent until the operator resumes it.
    Stopped,
}

/// Why a breaker is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// Its attempts fail.
    Failing,
    /// It asked for time (`Retry-After`).
    Asked,
    /// Its configuration pauses it, or cannot be read.
    Configuration,
    /// The operator resumed it: one goes ahead.
    Resumed,
}

/// The circuit breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Breaker {
    /// Requests go through.
    Closed,
    /// None goes through until then; after that, one.
    Open {
        /// Why.
        why: Why,
        /// When a probe may go.
        until: Timestamp,
        /// How many probes in a row have failed.
        strikes: u32,
    },
    /// Half-open: one request is under way.
    Probing {
        /// Why it was open.
        why: Why,
        /// If nothing is heard of it by then, another may go.
        until: Timestamp,
        /// How many probes in a row had failed.
        strikes: u32,
    },
}

/// What becomes of a delivery that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It is sent.
    Pass,
    /// It is sent if it becomes the probe.
    Probe,
    /// It waits.
    Defer(Deferred),
}

/// What happened to a gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// A worker saw too many attempts fail.
    Tripped,
    /// The destination asked for time.
    Asked {
        /// Until when.
        not_before: Timestamp,
    },
    /// The destination's configuration keeps everything back.
    Withheld,
    /// A worker wants to send the probe.
    ProbeTaken {
        /// When it certainly is over.
        until: Timestamp,
    },
    /// The probe was not sent.
    ProbeDropped,
    /// The probe was answered by a destination that works.
    ProbeAnswered,
    /// The probe failed.
    ProbeFailed {
        /// Until when the destination asked for time, if it did.
        not_before: Option<Timestamp>,
    },
    /// The destination said that it is gone for good.
    Gone,
    /// The operator: nothing more.
    Pause,
    /// The operator: what is planned already, and nothing more.
    Drain,
    /// The operator: everything.
    Resume,
    /// Somebody lets out some of what waits; the next not before then.
    Released {
        /// When.
        next: Timestamp,
    },
    /// Somebody looked, and nothing waited.
    FoundEmpty,
}

impl Gate {
    /// The gate of a destination of which nothing was ever noted.
    pub fn new(destination: Name) -> Self {
        Self {
            destination,
            version: 0,
            mode: Mode::Running,
            breaker: Breaker::Closed,
            changed_at: Timestamp::UNIX_EPOCH,
            release_at: None,
        }
    }

    /// What becomes of a delivery that is due now and was planned then.
    pub fn admits(&self, planned_at: Option<Timestamp>, now: Timestamp) -> Admission {
        match self.mode {
            Mode::Paused | Mode::Stopped => return Admission::Defer(Deferred::Shut),
            Mode::Draining { since } if planned_at.is_some_and(|at| at > since) => {
                return Admission::Defer(Deferred::New);
            }
            Mode::Draining { .. } | Mode::Running => {}
        }
        match self.breaker {
            Breaker::Closed => Admission::Pass,
            Breaker::Open { until, .. } | Breaker::Probing { until, .. } if now < until => {
                Admission::Defer(Deferred::Shut)
            }
            Breaker::Open { .. } | Breaker::Probing { .. } => Admission::Probe,
        }
    }

    /// How many of what waits may be let out now, if any, and which: `most` where the gate is open,
    /// one where a probe is wanted.
    pub fn lets_out(&self, most: usize, now: Timestamp) -> Option<(usize, &'static [Deferred])> {
        let which: &[Deferred] = match self.mode {
            Mode::Paused | Mode::Stopped => return None,
            Mode::Draining { .. } => &[Deferred::Shut],
            Mode::Running => &[Deferred::Shut, Deferred::New],
        };
        match self.breaker {
            _ if self.release_at.is_none_or(|at| now < at) => None,
            Breaker::Closed => Some((most, which)),
            Breaker::Open { until, .. } | Breaker::Probing { until, .. } => {
                (until <= now).then_some((1, which))
            }
        }
    }

    /// Whether its breaker is not closed.
    pub fn is_open(&self) -> bool {
        self.breaker != Breaker::Closed
    }

    /// Why its breaker is open, if it is.
    pub fn why(&self) -> Option<Why> {
        match self.breaker {
            Breaker::Closed => None,
            Breaker::Open { why, .. } | Breaker::Probing { why, .. } => Some(why),
        }
    }

    /// The gate after something has happened to it. `None`: that changes nothing.
    pub fn after(&self, change: &Change, now: Timestamp) -> Option<Self> {
        let mut next = self.clone();
        match (*change, self.breaker) {
            (Change::Tripped, Breaker::Closed) => {
                let until = later(now, FIRST_PROBE);
                next.breaker = Breaker::Open { why: Why::Failing, until, strikes: 0 };
            }
            (Change::Asked { not_before }, Breaker::Closed | Breaker::Open { .. }) => {
                let asked = not_before.min(later(now, LONGEST_RETRY_AFTER));
                let (until, strikes) = match self.breaker {
                    Breaker::Open { until, strikes, .. } => (until, strikes),
                    _ => (now, 0),
                };
                if asked <= until {
                    return None;
                }
                next.breaker = Breaker::Open { why: Why::Asked, until: asked, strikes };
            }
            (Change::Withheld, Breaker::Closed) => {
                let until = later(now, RECONFIGURED);
                next.breaker = Breaker::Open { why: Why::Configuration, until, strikes: 0 };
            }
            (
                Change::Withheld,
                Breaker::Open { until, strikes, .. } | Breaker::Probing { until, strikes, .. },
            ) if until <= now => {
                let until = later(now, RECONFIGURED);
                next.breaker = Breaker::Open { why: Why::Configuration, until, strikes };
            }
            (
                Change::ProbeTaken { until: lease },
                Breaker::Open { why, until, strikes } | Breaker::Probing { why, until, strikes },
            ) if until <= now => {
                next.breaker = Breaker::Probing { why, until: lease, strikes };
            }
            (Change::ProbeDropped, Breaker::Probing { why, strikes, .. }) => {
                next.breaker = Breaker::Open { why, until: now, strikes };
            }
            (Change::ProbeAnswered, Breaker::Probing { .. } | Breaker::Open { .. }) => {
                next.breaker = Breaker::Closed;
            }
            (
                Change::ProbeFailed { not_before },
                Breaker::Probing { strikes, .. } | Breaker::Open { strikes, .. },
            ) => {
                let strikes = strikes.saturating_add(1);
                let planned = later(now, probe_wait(strikes));
                let most = later(now, LONGEST_RETRY_AFTER);
                let until = not_before.map_or(planned, |asked| asked.min(most).max(planned));
                let why = if until > planned { Why::Asked } else { Why::Failing };
                next.breaker = Breaker::Open { why, until, strikes };
            }
            (Change::Gone, _) if self.mode != Mode::Stopped => {
                next.mode = Mode::Stopped;
                next.breaker = Breaker::Closed;
            }
            (Change::Pause, _) if self.mode != Mode::Paused => next.mode = Mode::Paused,
            (Change::Drain, _) if !matches!(self.mode, Mode::Draining { .. }) => {
                self.reopen(&mut next, now);
                next.mode = Mode::Draining { since: now };
            }
            (Change::Resume, _) => self.reopen(&mut next, now),
            (Change::Released { next: at }, _) if self.release_at.is_some_and(|at| at <= now) => {
                next.release_at = Some(at);
                return Some(next);
            }
            (Change::FoundEmpty, Breaker::Closed)
                if self.mode == Mode::Running
                    && now.duration_since(self.changed_at) >= CERTAINLY_EMPTY =>
            {
                next.release_at = None;
                return (next != *self).then_some(next);
            }
            _ => return None,
        }
        if (next.mode, next.breaker) == (self.mode, self.breaker) {
            return None;
        }
        next.changed_at = now;
        // From now on something may wait, or may be let out.
        next.release_at = Some(now);
        Some(next)
    }

    /// What an operator's word makes of the breaker: a destination that was gone, or that failed, is
    /// sent one request at once, and the rest when that was taken.
    fn reopen(&self, next: &mut Self, now: Timestamp) {
        next.mode = Mode::Running;
        let was_gone = self.mode == Mode::Stopped;
        match self.breaker {
            Breaker::Open { strikes, why, until } if until > now => {
                next.breaker = Breaker::Open { why, until: now, strikes };
            }
            Breaker::Closed if was_gone => {
                next.breaker = Breaker::Open { why: Why::Resumed, until: now, strikes: 0 };
            }
            _ => {}
        }
    }
}

/// From a failed probe to the next, that being the n-th in a row that failed.
fn probe_wait(strikes: u32) -> SignedDuration {
    let doubled = FIRST_PROBE.checked_mul(1_i32.checked_shl(strikes.min(16)).unwrap_or(i32::MAX));
    doubled.unwrap_or(LONGEST_PROBE).min(LONGEST_PROBE)
}

/// How many probes an outage of this length is sent at most, from the breaker's opening on.
pub fn most_probes(outage: SignedDuration) -> u32 {
    let (mut at, mut probes) = (FIRST_PROBE, 0);
    while at <= outage {
        probes += 1;
        at = at.checked_add(probe_wait(probes)).unwrap_or(SignedDuration::MAX);
    }
    probes
}

/// What one worker has seen of a destination's answers lately. It is not stored: a destination that
/// works costs no write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// Failures in a row, and when the first of them was.
    row: Option<(u32, Timestamp)>,
    /// The minute that is counted, with attempts and failures.
    minute: Option<(Timestamp, u32, u32)>,
}

impl Evidence {
    /// A request was answered by a destination that works, whatever it said of this one call.
    pub fn answered(&mut self, now: Timestamp) {
        self.row = None;
        self.count(now, 0);
    }

    /// A request failed. Says whether that is enough to open the breaker; then it begins anew.
    pub fn failed(&mut self, now: Timestamp) -> bool {
        let (before, since) = match self.row {
            Some((before, since)) if now.duration_since(since) <= ROW => (before, since),
            _ => (0, now),
        };
        self.row = Some((before + 1, since));
        let (attempts, failures) = self.count(now, 1);
        let trips = before + 1 >= MOST_IN_A_ROW || (attempts >= ENOUGH && failures * 2 >= attempts);
        if trips {
            *self = Self::default();
        }
        trips
    }

    fn count(&mut self, now: Timestamp, failed: u32) -> (u32, u32) {
        let (since, attempts, failures) = match self.minute {
            Some(minute) if now.duration_since(minute.0) < MINUTE => minute,
            _ => (now, 0, 0),
        };
        let (attempts, failures) = (attempts + 1, failures + failed);
        self.minute = Some((since, attempts, failures));
        (attempts, failures)
    }
}

fn later(at: Timestamp, by: SignedDuration) -> Timestamp {
    at.checked_add(by).unwrap_or(Timestamp::MAX)
}
