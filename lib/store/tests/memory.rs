//! The contract on the in-memory twin.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod contract;

use switchboard_store::MemoryStore;

macro_rules! contract {
    ($($test:ident),* $(,)?) => {$(
        #[tokio::test]
        async fn $test() {
            contract::$test(&MemoryStore::default()).await;
        }
    )*};
}

contract!(
    a_first_put_stores_and_a_second_shows_what_is_stored,
    equal_ids_of_two_sources_are_two_calls,
    a_write_needs_the_version_that_it_read,
    a_write_on_a_call_that_is_gone_is_an_error,
    of_many_first_puts_one_stores,
    blobs_come_back_whole,
    what_is_due_is_found_until_it_is_done,
    due_work_comes_in_pages_oldest_first,
    deliveries_are_created_with_the_call_or_not_at_all,
    a_delivery_is_taken_up_once_and_only_as_the_call_was_read,
    quarantined_bodies_come_newest_first,
);
