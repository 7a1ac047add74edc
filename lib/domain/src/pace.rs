//! How fast a destination is sent to: a token bucket, kept as the one moment up to which its tokens
//! are given away.
//!
//! A request that finds no token is given the moment at which there will be one, and comes back then.
//! So a backlog stands in line in the order in which it came, and moves on at exactly the rate.

use jiff::{SignedDuration, Timestamp};

use crate::time::{earlier, later};

/// A slot that was missed by more than this is void, or a backlog that was held up elsewhere would
/// come all at once.
pub const SLOT_IS_GOOD_FOR: SignedDuration = SignedDuration::from_secs(10);

/// A rate, and how much may come at once after a rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// From one token to the next, microseconds.
    pub step: i64,
    /// How many tokens are kept.
    pub burst: u32,
}

impl Pace {
    /// So many a second in the long run, and `burst` (at least one) at once.
    pub fn new(per_second: f64, burst: u32) -> Self {
        // Rounded up: never faster than was said.
        let step = (1_000_000.0 / per_second).ceil();
        Self { step: (step as i64).max(1), burst: burst.max(1) }
    }

    /// From when on tokens of the past count: more than the burst are not kept.
    pub fn floor(self, now: Timestamp) -> Timestamp {
        let kept = self.step.saturating_mul(i64::from(self.burst) - 1);
        earlier(now, SignedDuration::from_micros(kept))
    }

    /// The moment after a slot.
    pub fn after(self, slot: Timestamp) -> Timestamp {
        later(slot, SignedDuration::from_micros(self.step))
    }

    /// The next slot, and up to when slots are given away then. `given` is up to when they are now.
    /// A slot that lies in the past is now.
    pub fn next(self, given: Option<Timestamp>, now: Timestamp) -> (Timestamp, Timestamp) {
        let floor = self.floor(now);
        let slot = given.map_or(floor, |given| given.max(floor));
        (slot.max(now), self.after(slot))
    }
}
