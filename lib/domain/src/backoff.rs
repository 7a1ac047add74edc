//! When a failed try is repeated: a list of waits, a spread, and how long a `Retry-After` is obeyed.

use jiff::{SignedDuration, Timestamp};

use crate::digest::Digest;
use crate::time::later;

/// A CRM or provider is obeyed for at most this long when it asks for time (`Retry-After`).
pub const LONGEST_RETRY_AFTER: SignedDuration = SignedDuration::from_hours(24);

/// The waits between the tries of one thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff<'a> {
    /// The waits after the first, second, … failure, seconds.
    waits: &'a [u32],
    /// For how long from now a `Retry-After` is obeyed.
    longest_retry_after: SignedDuration,
}

impl<'a> Backoff<'a> {
    /// These waits, in seconds, with a `Retry-After` of up to a day.
    pub const fn new(waits: &'a [u32]) -> Self {
        Self { waits, longest_retry_after: LONGEST_RETRY_AFTER }
    }

    /// The same waits, with another limit for a `Retry-After`.
    pub const fn obeying(self, longest_retry_after: SignedDuration) -> Self {
        Self { longest_retry_after, ..self }
    }

    /// How many failures are followed by another try.
    pub fn retries(&self) -> usize {
        self.waits.len()
    }

    /// The wait after the n-th failure (from 1). `None`: there were too many, it has failed for good.
    pub fn wait(&self, failures: u32) -> Option<SignedDuration> {
        let wait = self.waits.get((failures as usize).checked_sub(1)?)?;
        Some(SignedDuration::from_secs(i64::from(*wait)))
    }

    /// The wait after the n-th failure (from 1) of what is tried without end: the last wait repeats.
    pub fn endless_wait(&self, failures: u32) -> SignedDuration {
        self.wait(failures.clamp(1, self.waits.len() as u32)).unwrap_or_default()
    }

    /// When to try again after the n-th failure (from 1), not before the moment that the other side
    /// asked for. `None`: never.
    pub fn next(
        &self,
        failures: u32,
        not_before: Option<Timestamp>,
        now: Timestamp,
    ) -> Option<Timestamp> {
        Some(self.obey(later(now, self.wait(failures)?), not_before, now))
    }

    /// As [`Backoff::next`], with a wait up to a fifth longer, by the digest: so that an outage does
    /// not end in a rush.
    pub fn next_spread(
        &self,
        failures: u32,
        spread_by: &Digest,
        not_before: Option<Timestamp>,
        now: Timestamp,
    ) -> Option<Timestamp> {
        let permille = 1_000 + i64::from(spread_by.bucket(200));
        let wait = SignedDuration::from_millis(self.wait(failures)?.as_secs() * permille);
        Some(self.obey(later(now, wait), not_before, now))
    }

    /// The planned moment, or the later one that the other side asked for, as far as it is obeyed.
    pub fn obey(
        &self,
        planned: Timestamp,
        not_before: Option<Timestamp>,
        now: Timestamp,
    ) -> Timestamp {
        let latest = later(now, self.longest_retry_after);
        not_before.map_or(planned, |asked| asked.min(latest).max(planned))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff<'_> = Backoff::new(&[10, 60]).obeying(SignedDuration::from_secs(100));

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    #[test]
    fn waits_come_in_turn_and_then_end_or_repeat() {
        let next = |failures| BACKOFF.next(failures, None, at(0));
        assert_eq!([next(0), next(1), next(2), next(3)], [None, Some(at(10)), Some(at(60)), None]);
        let endless = [0, 1, 2, 3, u32::MAX].map(|n| BACKOFF.endless_wait(n).as_secs());
        assert_eq!(endless, [10, 10, 60, 60, 60]);
    }

    #[test]
    fn a_retry_after_is_obeyed_up_to_its_limit() {
        let next = |asked| BACKOFF.next(1, Some(at(asked)), at(0));
        assert_eq!([next(5), next(50), next(500)], [Some(at(10)), Some(at(50)), Some(at(100))]);
    }

    #[test]
    fn a_spread_adds_up_to_a_fifth() {
        let next = |n: u8| BACKOFF.next_spread(2, &Digest::of(&[&[n]]), None, at(0)).unwrap();
        let all: Vec<Timestamp> = (0..50).map(next).collect();
        assert!(all.iter().all(|next| (at(60)..=at(72)).contains(next)), "{all:?}");
        assert!(all.iter().any(|next| *next < at(63)) && all.iter().any(|next| *next > at(69)));
    }
}
