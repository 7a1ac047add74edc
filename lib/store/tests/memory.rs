//! The contract on the in-memory twin.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod contract;

use switchboard_domain::Blob;
use switchboard_store::{Store, StoreError};

macro_rules! contract {
    ($($test:ident),* $(,)?) => {$(
        #[tokio::test]
        async fn $test() {
            contract::$test(&Store::in_memory()).await;
        }
    )*};
}

contract!(
    a_first_put_stores_and_a_second_shows_what_is_stored,
    a_full_call_comes_back_as_it_went,
    any_call_comes_back_as_it_went,
    a_delivery_comes_back_as_it_went,
    no_call_id_is_taken_for_another,
    equal_ids_of_two_sources_are_two_calls,
    a_write_needs_the_version_that_it_read,
    a_write_on_a_call_that_is_gone_is_an_error,
    of_many_first_puts_one_stores,
    blobs_come_back_whole,
    a_blob_that_is_not_as_expected_is_not_given_out,
    what_is_due_is_found_until_it_is_done,
    due_work_comes_in_pages_oldest_first,
    due_times_count_in_milliseconds,
    a_page_goes_on_where_the_last_ended_though_that_was_done_meanwhile,
    deliveries_are_created_with_the_call_or_not_at_all,
    an_analysis_is_written_with_its_call_or_not_at_all,
    an_analysis_of_a_call_that_is_gone_is_an_error,
    a_delivery_is_taken_up_once_and_only_as_the_call_was_read,
    the_traces_of_calls_are_those_that_are_stored,
    quarantined_bodies_come_newest_first,
    what_is_taken_out_of_quarantine_is_gone_and_nothing_beside_it,
    the_pages_of_calls_hold_each_of_them_once,
    a_day_lists_its_calls_newest_first,
    a_contact_lists_its_calls_newest_first,
    a_call_stands_once_where_it_belongs_now,
    any_call_can_stand_in_a_list,
    a_job_comes_back_as_it_went,
    a_job_is_written_as_it_was_read_or_not_at_all,
    one_job_of_a_slot_runs_at_a_time,
    jobs_are_listed_newest_first,
    a_job_is_due_until_it_is_over,
    what_was_missing_is_noted_once,
    a_gate_comes_back_as_it_went,
    a_gate_is_written_as_it_was_read_or_not_at_all,
    all_gates_are_read_together,
    no_place_in_a_line_is_given_out_twice,
    what_is_parked_waits_apart_the_longest_due_first,
);

#[tokio::test]
async fn a_blob_that_was_lost_is_not_given_out() {
    let store = Store::in_memory();
    let key = contract::key("CA-damaged");
    let blob = Blob::new(b"agent: hello".to_vec());
    store.put_blob(&key, &blob).await.unwrap();
    store.lose_blob(&key, &blob.digest);
    let error = store.blob(&key, &blob.reference()).await.unwrap_err();
    assert!(matches!(error, StoreError::Damaged { what: "blob", .. }));
}
