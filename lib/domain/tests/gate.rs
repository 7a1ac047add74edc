//! Laws of a destination's gate and of its line.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use jiff::{SignedDuration, Timestamp};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use switchboard_domain::backoff::LONGEST_RETRY_AFTER;
use switchboard_domain::gate::{
    Admission, Breaker, Change, Evidence, Gate, MOST_IN_A_ROW, Mode, most_probes,
};
use switchboard_domain::{Deferred, Name, Pace};

const LEASE: SignedDuration = SignedDuration::from_secs(30);

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_771_577_000 + second).unwrap()
}

fn gate() -> Gate {
    Gate::new(Name::new("destination", "crm").unwrap())
}

fn seconds(n: i64) -> SignedDuration {
    SignedDuration::from_secs(n)
}

/// Anything that may happen, at any time.
fn change() -> impl Strategy<Value = (i64, Change)> {
    let moment = -100..200_000i64;
    let what = prop_oneof![
        Just(Change::Tripped),
        moment.clone().prop_map(|n| Change::Asked { not_before: at(n) }),
        Just(Change::Withheld),
        Just(Change::ProbeTaken { until: Timestamp::UNIX_EPOCH }),
        Just(Change::ProbeDropped),
        Just(Change::ProbeAnswered),
        option::of(moment).prop_map(|n| Change::ProbeFailed { not_before: n.map(at) }),
        Just(Change::Gone),
        Just(Change::Pause),
        Just(Change::Drain),
        Just(Change::Resume),
        Just(Change::FoundEmpty),
    ];
    (0..4_000i64, what)
}

/// A gate to which all of that has happened, and when the last of it did.
fn lived(changes: &[(i64, Change)]) -> (Gate, i64) {
    let (mut gate, mut now) = (gate(), 0);
    for (later, change) in changes {
        now += later;
        let change = match change {
            Change::ProbeTaken { .. } => Change::ProbeTaken { until: at(now) + LEASE },
            other => *other,
        };
        gate = gate.after(&change, at(now)).unwrap_or(gate);
    }
    (gate, now)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    /// No line gives out more than its rate and its burst, in any stretch of time.
    #[test]
    fn never_faster_than_rate_and_burst(
        per_second in prop::sample::select(vec![0.01, 0.5, 1.0, 3.0, 10.0, 250.0]),
        burst in 1..20u32,
        arrivals in vec(0..3_000i64, 1..120),
    ) {
        let pace = Pace::new(per_second, burst);
        let (mut given, mut now, mut slots) = (None, at(0), Vec::new());
        for later in arrivals {
            now += SignedDuration::from_millis(later);
            let (slot, next) = pace.next(given, now);
            prop_assert!(slot >= now, "a slot in the past");
            given = Some(next);
            slots.push((now, slot));
        }
        // The order of coming is the order of going.
        prop_assert!(slots.windows(2).all(|pair| pair[0].1 <= pair[1].1));
        for (n, (_, from)) in slots.iter().enumerate() {
            for (m, (_, to)) in slots.iter().enumerate().skip(n) {
                let t = to.duration_since(*from).as_micros();
                let most = t / i128::from(pace.step) + i128::from(burst);
                prop_assert!((m - n + 1) as i128 <= most, "{} in {t} µs", m - n + 1);
            }
        }
        // No request waits longer than those before it take.
        for (n, (came, slot)) in slots.iter().enumerate() {
            let longest = pace.step * (n as i64 + 1);
            prop_assert!(slot.duration_since(*came) <= SignedDuration::from_micros(longest));
        }
    }

    /// However often it is asked, a probe goes out once until it is over or its lease is.
    #[test]
    fn one_probe_at_a_time(changes in vec(change(), 0..12), tries in vec(0..20i64, 1..30)) {
        let (mut gate, mut now) = lived(&changes);
        let mut under_way: Option<i64> = None;
        for later in tries {
            now += later;
            let taken = gate.after(&Change::ProbeTaken { until: at(now) + LEASE }, at(now));
            prop_assert_eq!(gate.admits(None, at(now)) == Admission::Probe, taken.is_some()
                && !matches!(gate.mode, Mode::Paused | Mode::Stopped));
            if let Some(taken) = taken {
                if let Some(since) = under_way {
                    prop_assert!(seconds(now - since) >= LEASE, "two probes within {} s", now - since);
                }
                (gate, under_way) = (taken, Some(now));
            }
        }
    }

    /// Whatever has happened, an open breaker lets a probe through within a day and its lease, and the
    /// probe's success closes it.
    #[test]
    fn open_is_always_left(changes in vec(change(), 0..20)) {
        let (gate, now) = lived(&changes);
        let gate = gate.after(&Change::Resume, at(now)).unwrap_or(gate);
        prop_assert_eq!(gate.mode, Mode::Running);
        let most = LONGEST_RETRY_AFTER.checked_add(LEASE).unwrap();
        let then = at(now) + most;
        match gate.admits(None, then) {
            Admission::Pass => prop_assert_eq!(gate.breaker, Breaker::Closed),
            Admission::Probe => {
                let probing = gate.after(&Change::ProbeTaken { until: then + LEASE }, then).unwrap();
                let closed = probing.after(&Change::ProbeAnswered, then).unwrap();
                prop_assert_eq!(closed.breaker, Breaker::Closed);
                prop_assert_eq!(closed.admits(None, then), Admission::Pass);
            }
            Admission::Defer(_) => prop_assert!(false, "still shut: {gate:?}"),
        }
    }

    /// While it is paused or has stopped nothing passes, and only the operator changes that.
    #[test]
    fn paused_and_stopped_stay_so(changes in vec(change(), 0..12), stops in any::<bool>(), more in vec(change(), 0..12)) {
        let (gate, mut now) = lived(&changes);
        let change = if stops { Change::Gone } else { Change::Pause };
        let mut gate = gate.after(&change, at(now)).unwrap_or(gate);
        for (later, change) in more {
            let is_operators = matches!(change, Change::Pause | Change::Drain | Change::Resume);
            if is_operators || matches!(change, Change::Gone) {
                continue;
            }
            now += later;
            gate = gate.after(&change, at(now)).unwrap_or(gate);
            prop_assert!(matches!(gate.admits(None, at(now)), Admission::Defer(Deferred::Shut)));
            prop_assert_eq!(gate.lets_out(600, at(now)), None);
        }
    }

    /// Where a delivery may wait, a release is due: as long as the gate is shut, and from each change on.
    #[test]
    fn what_waits_is_never_forgotten(changes in vec(change(), 1..20)) {
        let (gate, now) = lived(&changes);
        let then = at(now) + LONGEST_RETRY_AFTER + LEASE;
        if gate.is_open() || gate.mode != Mode::Running {
            prop_assert!(gate.release_at.is_some(), "{gate:?}");
        }
        if gate.mode == Mode::Running && gate.release_at.is_some() {
            prop_assert!(gate.lets_out(600, then).is_some());
        }
        // It is empty for certain only when it has been open for a while.
        if let Some(emptied) = gate.after(&Change::FoundEmpty, at(now)) {
            prop_assert!(!gate.is_open() && gate.mode == Mode::Running);
            prop_assert!(at(now).duration_since(gate.changed_at) >= seconds(300));
            prop_assert_eq!(emptied.release_at, None);
        }
    }

    /// Probes are at most as many as promised, however long an outage is and however often one is due.
    #[test]
    fn probes_are_few(outage in 1..200_000i64, asks in vec(1..600i64, 1..400)) {
        let mut gate = gate().after(&Change::Tripped, at(0)).unwrap();
        let (mut now, mut probes) = (0, 0);
        for later in asks {
            now += later;
            if now > outage {
                break;
            }
            if gate.admits(None, at(now)) == Admission::Probe {
                probes += 1;
                gate = gate.after(&Change::ProbeTaken { until: at(now) + LEASE }, at(now)).unwrap();
                gate = gate.after(&Change::ProbeFailed { not_before: None }, at(now)).unwrap();
            }
        }
        prop_assert!(probes <= most_probes(seconds(outage)), "{probes} in {outage} s");
    }

    /// A destination is not sent to before the moment that it asked for, up to a day.
    #[test]
    fn time_that_was_asked_for_is_given_in_full(
        asked in 1..86_400i64, then in 0..86_400i64, probed in any::<bool>(),
    ) {
        let not_before = at(asked);
        let gate = match probed {
            false => gate().after(&Change::Asked { not_before }, at(0)).unwrap(),
            true => {
                let open = gate().after(&Change::Tripped, at(-60)).unwrap();
                let probing = open.after(&Change::ProbeTaken { until: at(30) }, at(0)).unwrap();
                probing.after(&Change::ProbeFailed { not_before: Some(not_before) }, at(0)).unwrap()
            }
        };
        if then < asked {
            prop_assert_eq!(gate.admits(None, at(then)), Admission::Defer(Deferred::Shut));
        } else if !probed {
            prop_assert_eq!(gate.admits(None, at(then)), Admission::Probe);
        }
    }

    /// Answers keep a breaker closed unless half of them fail; enough failures in a row open it.
    #[test]
    fn a_breaker_opens_for_a_reason(outcomes in vec((any::<bool>(), 0..30i64), 1..60)) {
        let (mut evidence, mut now, mut row) = (Evidence::default(), 0, 0);
        let mut since: Vec<(i64, bool)> = Vec::new();
        for (fails, later) in outcomes {
            now += later;
            since.push((now, fails));
            if !fails {
                evidence.answered(at(now));
                row = 0;
                continue;
            }
            row += 1;
            let trips = evidence.failed(at(now));
            let minute: Vec<bool> =
                since.iter().filter(|(at, _)| now - at < 60).map(|(_, fails)| *fails).collect();
            let failed = minute.iter().filter(|fails| **fails).count();
            if trips {
                prop_assert!(row >= MOST_IN_A_ROW || (minute.len() >= 20 && failed * 3 >= minute.len()));
                since.clear();
                row = 0;
            } else {
                // Failures that lie far apart are no row.
                prop_assert!(row < MOST_IN_A_ROW || now > 600);
            }
        }
    }
}

#[test]
fn less_time_than_there_is_to_wait_anyway_shortens_nothing() {
    let asked = |second| Change::Asked { not_before: at(second) };
    let open = gate().after(&asked(600), at(0)).unwrap();
    assert_eq!(open.after(&asked(300), at(10)), None);
    let longer = open.after(&asked(900), at(10)).unwrap();
    assert_eq!(longer.admits(None, at(899)), Admission::Defer(Deferred::Shut));
}

#[test]
fn failures_that_lie_far_apart_open_nothing() {
    let mut evidence = Evidence::default();
    for n in 0..20 {
        assert!(!evidence.failed(at(n * 200)), "the {n}th");
    }
}

#[test]
fn half_of_twenty_attempts_within_a_minute_are_enough() {
    let mut evidence = Evidence::default();
    for n in 0..9 {
        evidence.answered(at(n));
        assert!(!evidence.failed(at(n)), "{n}");
    }
    evidence.answered(at(9));
    assert!(evidence.failed(at(9)));
}

#[test]
fn the_numbers_that_are_promised() {
    for (minutes, probes) in [(1, 1), (2, 2), (5, 3), (10, 4), (60, 14), (180, 38), (24 * 60, 290)]
    {
        assert_eq!(most_probes(SignedDuration::from_mins(minutes)), probes, "{minutes} minutes");
    }
}

#[test]
fn a_drain_lets_pass_what_was_planned_before_and_holds_what_comes() {
    let gate = gate().after(&Change::Drain, at(100)).unwrap();
    assert_eq!(gate.admits(Some(at(99)), at(200)), Admission::Pass);
    assert_eq!(gate.admits(None, at(200)), Admission::Pass);
    assert_eq!(gate.admits(Some(at(101)), at(200)), Admission::Defer(Deferred::New));
    assert_eq!(gate.lets_out(600, at(200)), Some((600, &[Deferred::Shut][..])));
    // Once it drains, a word more does not begin it anew.
    assert_eq!(gate.after(&Change::Drain, at(300)), None);
}

#[test]
fn what_an_operator_resumes_that_was_gone_is_sent_one_first() {
    let gone = gate().after(&Change::Gone, at(0)).unwrap();
    assert_eq!((gone.mode, gone.after(&Change::Gone, at(1))), (Mode::Stopped, None));
    let resumed = gone.after(&Change::Resume, at(10)).unwrap();
    assert_eq!(resumed.admits(None, at(10)), Admission::Probe);
    assert_eq!(resumed.lets_out(600, at(10)).unwrap().0, 1);
    // What was only paused goes on as it was.
    let paused = gate().after(&Change::Pause, at(0)).unwrap();
    let resumed = paused.after(&Change::Resume, at(10)).unwrap();
    assert_eq!(resumed.admits(None, at(10)), Admission::Pass);
}
