//! Leases, over both tables.

use futures_util::future::join_all;
use jiff::Timestamp;
use switchboard_store::{Lease, Store};

use crate::server;

over_both_tables!(
    &Store::in_memory(), &server::store().await;
    of_many_one_gets_it,
    it_is_free_when_it_is_given_back_or_over,
    it_can_rest,
);

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_771_577_000 + second).unwrap()
}

async fn of_many_one_gets_it(leases: &Store) {
    let holders: Vec<String> = (0..20).map(|n| format!("holder {n}")).collect();
    let takes = holders.iter().map(|holder| leases.acquire("many", holder, at(0), at(30)));
    let taken = join_all(takes).await.into_iter().map(Result::unwrap);
    let (got, rest): (Vec<Lease>, Vec<Lease>) = taken.partition(|take| *take == Lease::Acquired(0));
    assert_eq!(got.len(), 1);
    assert!(rest.iter().all(|take| *take == Lease::Held(at(30))), "{rest:?}");
    // Another lease is another.
    assert_eq!(leases.acquire("other", "a", at(0), at(30)).await.unwrap(), Lease::Acquired(0));
}

async fn it_is_free_when_it_is_given_back_or_over(leases: &Store) {
    let take = async |holder, now, until| leases.acquire("free", holder, now, until).await.unwrap();
    assert_eq!(take("a", at(0), at(30)).await, Lease::Acquired(0));
    // Who has it takes it again, as after an answer that was lost.
    assert_eq!(take("a", at(1), at(31)).await, Lease::Acquired(0));
    assert_eq!(take("b", at(1), at(31)).await, Lease::Held(at(31)));
    leases.release("free", "a", 7, None).await.unwrap();
    assert_eq!(take("b", at(2), at(32)).await, Lease::Acquired(7));
    assert_eq!(take("c", at(31), at(61)).await, Lease::Held(at(32)));
    assert_eq!(take("c", at(32), at(62)).await, Lease::Acquired(7));
    // Whose time is over takes nothing from who has it now.
    leases.release("free", "b", 99, None).await.unwrap();
    assert_eq!(take("d", at(33), at(63)).await, Lease::Held(at(62)));
    assert_eq!(take("d", at(62), at(92)).await, Lease::Acquired(7));
}

async fn it_can_rest(leases: &Store) {
    let take =
        async |holder, now, until| leases.acquire("rests", holder, now, until).await.unwrap();
    assert_eq!(take("a", at(0), at(30)).await, Lease::Acquired(0));
    leases.release("rests", "a", 1, Some(at(60))).await.unwrap();
    assert_eq!(take("a", at(40), at(70)).await, Lease::Rests(at(60)));
    assert_eq!(take("b", at(60), at(90)).await, Lease::Acquired(1));
    leases.release("unknown", "a", 1, None).await.unwrap();
}
