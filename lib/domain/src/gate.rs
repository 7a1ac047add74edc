//! Whether a destination is sent to just now: the operator's mode and a circuit breaker.
//!
//! All workers share one gate per destination. A destination without a stored gate is open. While a
//! gate is shut, deliveries wait: that costs no attempt, and none is lost.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use crate::backoff::{Backoff, LONGEST_RETRY_AFTER};
use crate::delivery::Deferred;
use crate::key::Name;
use crate::time::later;

/// So many failures in a row, as one worker sees them, shut a gate…
pub const MOST_IN_A_ROW: u32 = 5;
/// …unless they lie further apart than this: then the schedule of each delivery is slow enough.
const ROW: SignedDuration = SignedDuration::from_mins(10);
/// Or so many attempts within a minute, at least half of them failed.
const ENOUGH: u32 = 20;
const MINUTE: SignedDuration = SignedDuration::from_mins(1);

/// From a breaker's opening to the first probe.
pub const FIRST_PROBE: SignedDuration = SignedDuration::from_secs(30);
/// The waits after probes in a row that failed, seconds; the last repeats.
const PROBES: Backoff<'_> = Backoff::new(&[60, 120, 240, 300]);
/// How often the configuration of a destination that it pauses is read again.
const RECONFIGURED: SignedDuration = SignedDuration::from_mins(5);
/// After so long with an open gate nothing waits any more: no worker's copy of it is that old.
const CERTAINLY_EMPTY: SignedDuration = SignedDuration::from_mins(5);

/// Whether a destination is sent to, as it is stored.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gate {
    /// The destination.
    pub destination: Name,
    /// Counts the writes: 0 is a gate that was never stored. The store counts.
    pub version: u64,
    /// The operator's mode.
    pub mode: Mode,
    /// The circuit breaker.
    pub breaker: Breaker,
    /// When mode or breaker last changed.
    pub changed_at: Timestamp,
    /// When more of the waiting deliveries are released. Absent: none waits.
    pub release_at: Option<Timestamp>,
}

/// The operator's mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Mode {
    /// Everything is sent.
    Running,
    /// Nothing is sent.
    Paused,
    /// Deliveries planned until then are sent; later ones wait.
    Draining {
        /// Until when.
        since: Timestamp,
    },
    /// It answered that it is gone for good (410). Nothing is sent until the operator resumes it.
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
    /// The operator resumed it: one request goes ahead.
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
        /// When another probe may go, if this one has no result by then.
        until: Timestamp,
        /// How many probes in a row had failed.
        strikes: u32,
    },
}

/// What happens to a delivery that is due.
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
    /// The destination's configuration pauses it, or cannot be read.
    Withheld,
    /// A worker wants to send the probe.
    ProbeTaken {
        /// When its lease ends.
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
    /// The operator pauses it.
    Pause,
    /// The operator drains it: what is planned already is sent, and nothing more.
    Drain,
    /// The operator resumes it.
    Resume,
    /// A worker releases some of the waiting deliveries; the next not before then.
    Released {
        /// When.
        next: Timestamp,
    },
    /// A worker found no waiting delivery.
    FoundEmpty,
}

impl Gate {
    /// The gate of a destination that has none stored.
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

    /// What happens to a delivery that is due now and was planned then.
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

    /// How many waiting deliveries may be released now, if any, and which: `most` where the gate is
    /// open, one where a probe is wanted.
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
        if let Change::Released { .. } | Change::FoundEmpty = change {
            let release_at = self.release_after(change, now);
            return (release_at != self.release_at).then(|| Self { release_at, ..self.clone() });
        }
        let mode = mode_after(self.mode, change, now);
        let breaker = breaker_after(self.breaker, self.mode, change, now);
        if (mode, breaker) == (self.mode, self.breaker) {
            return None;
        }
        // From now on something may wait, or may be released.
        Some(Self { mode, breaker, changed_at: now, release_at: Some(now), ..self.clone() })
    }

    fn release_after(&self, change: &Change, now: Timestamp) -> Option<Timestamp> {
        let is_open = (self.mode, self.breaker) == (Mode::Running, Breaker::Closed);
        match *change {
            Change::Released { next } if self.release_at.is_some_and(|at| at <= now) => Some(next),
            Change::FoundEmpty
                if is_open && now.duration_since(self.changed_at) >= CERTAINLY_EMPTY =>
            {
                None
            }
            _ => self.release_at,
        }
    }
}

/// The operator's mode after a change.
fn mode_after(mode: Mode, change: &Change, now: Timestamp) -> Mode {
    match (change, mode) {
        (Change::Gone, _) => Mode::Stopped,
        (Change::Pause, _) => Mode::Paused,
        (Change::Resume, _) => Mode::Running,
        (Change::Drain, Mode::Draining { .. }) => mode,
        (Change::Drain, _) => Mode::Draining { since: now },
        _ => mode,
    }
}

/// The circuit breaker after a change, `mode` being the operator's before it.
fn breaker_after(breaker: Breaker, mode: Mode, change: &Change, now: Timestamp) -> Breaker {
    use Breaker::{Closed, Open, Probing};
    let open = |why, until, strikes| Open { why, until, strikes };
    let reconfigured = later(now, RECONFIGURED);
    match (*change, breaker) {
        (Change::Tripped, Closed) => open(Why::Failing, later(now, FIRST_PROBE), 0),
        (
            Change::ProbeTaken { until: lease },
            Open { why, until, strikes } | Probing { why, until, strikes },
        ) if until <= now => Probing { why, until: lease, strikes },
        (Change::ProbeDropped, Probing { why, strikes, .. }) => open(why, now, strikes),
        (Change::ProbeAnswered, _) => Closed,
        (Change::ProbeFailed { not_before }, Open { strikes, .. } | Probing { strikes, .. }) => {
            let strikes = strikes.saturating_add(1);
            let planned = later(now, PROBES.endless_wait(strikes));
            let until = PROBES.obey(planned, not_before, now);
            open(if until > planned { Why::Asked } else { Why::Failing }, until, strikes)
        }
        (Change::Asked { not_before }, Closed | Open { .. }) => {
            let (until, strikes) = match breaker {
                Open { until, strikes, .. } => (until, strikes),
                _ => (now, 0),
            };
            let asked = not_before.min(later(now, LONGEST_RETRY_AFTER));
            if asked > until { open(Why::Asked, asked, strikes) } else { breaker }
        }
        (Change::Withheld, Closed) => open(Why::Configuration, reconfigured, 0),
        (Change::Withheld, Open { until, strikes, .. } | Probing { until, strikes, .. })
            if until <= now =>
        {
            open(Why::Configuration, reconfigured, strikes)
        }
        (Change::Gone, _) if mode != Mode::Stopped => Closed,
        // The operator sends to it again: one request goes ahead at once, the rest when that succeeds.
        (Change::Drain, _) if matches!(mode, Mode::Draining { .. }) => breaker,
        (Change::Drain | Change::Resume, Open { why, until, strikes }) if until > now => {
            open(why, now, strikes)
        }
        (Change::Drain | Change::Resume, Closed) if mode == Mode::Stopped => {
            open(Why::Resumed, now, 0)
        }
        _ => breaker,
    }
}

/// How many probes an outage of this length is sent at most, from the breaker's opening on.
pub fn most_probes(outage: SignedDuration) -> u32 {
    let (mut at, mut probes) = (FIRST_PROBE, 0);
    while at <= outage {
        probes += 1;
        at = at.saturating_add(PROBES.endless_wait(probes));
    }
    probes
}

/// A destination's latest results, as one worker has seen them. They are not stored: a destination
/// that works costs no write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// Failures in a row, and when the first of them was.
    row: Option<(u32, Timestamp)>,
    /// The minute that is counted, with attempts and failures.
    minute: Option<(Timestamp, u32, u32)>,
}

impl Evidence {
    /// A response came from a destination that works, even if it refused this one call.
    pub fn answered(&mut self, now: Timestamp) {
        self.row = None;
        self.count(now, 0);
    }

    /// A request failed. Whether that is enough to open the breaker; then the count begins anew.
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
