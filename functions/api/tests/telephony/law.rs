//! The law: one key dials at most once, whatever the callers, the times, the interleaving and the
//! faults on the way.

use std::collections::BTreeMap;

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::sample::select;

use switchboard_store::testing::Fault;

use crate::crash::{FAULTS, Theatre};
use crate::world::outcome;

/// DialRequests at these seconds: within a lease, at its end, and after it. That an old invocation
/// lives on while a new one takes over cannot happen on Lambda, and must not matter.
const SECONDS: [i64; 6] = [0, 1, 29, 30, 31, 62];

fn faults() -> impl Strategy<Value = BTreeMap<usize, Fault>> {
    btree_map(0..40_usize, select(FAULTS.to_vec()), 0..6)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn one_key_dials_at_most_once(
        seconds in vec(select(SECONDS.to_vec()), 1..6),
        turns in vec(0..6_usize, 0..120),
        faults in faults(),
    ) {
        let theatre = Theatre::new();
        theatre.stage.will(faults);
        let dial_requests = seconds.iter().map(|second| theatre.dial_request(*second)).collect();
        let answers = theatre.run(dial_requests, turns.into_iter());
        theatre.stage.will(BTreeMap::new());
        let dialled = theatre.stage.dialled();
        prop_assert!(dialled <= 1, "dialled {dialled} times");

        // All answers that it was placed are the same, and it was.
        let placed: Vec<_> = answers.iter().flatten().filter_map(|answer| answer.as_ref().ok()).collect();
        prop_assert!(placed.windows(2).all(|two| two[0] == two[1]));
        prop_assert!(placed.is_empty() || dialled == 1);

        // When all is quiet there is one answer, for ever.
        let first = theatre.one(200).unwrap();
        let kind = outcome(&first).1;
        prop_assert!(["done", "unknown-result", "provider-unavailable", "provider-configuration"].contains(&kind), "{}", kind);
        for second in [201, 300, 80_000] {
            prop_assert_eq!(&theatre.one(second).unwrap(), &first);
        }
        let dialled = theatre.stage.dialled();
        prop_assert!(dialled <= 1, "dialled {dialled} times in the end");
        if kind == "done" {
            prop_assert_eq!(dialled, 1);
            prop_assert!(placed.iter().all(|answer| Some(*answer) == first.as_ref().ok()));
        }
        if kind.starts_with("provider") {
            prop_assert_eq!(dialled, 0);
        }
    }
}
