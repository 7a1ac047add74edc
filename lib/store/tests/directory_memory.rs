//! The directory's contract on the in-memory twin.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod directory_contract;

use switchboard_store::Directory;

macro_rules! contract {
    ($($test:ident),* $(,)?) => {$(
        #[tokio::test(flavor = "multi_thread")]
        async fn $test() {
            directory_contract::$test(Directory::in_memory()).await;
        }
    )*};
}

contract!(
    an_entry_comes_back_as_it_went,
    a_write_needs_the_version_that_it_read,
    an_entry_that_could_not_be_found_again_is_refused,
    every_holder_of_a_handle_is_found_until_it_gives_it_up,
    many_handles_are_found_at_once,
    each_of_many_writes_is_done_or_not_for_itself,
    of_many_first_calls_one_creates,
    first_calls_and_imports_at_once_make_one_contact,
    a_number_that_is_free_again_gets_a_new_contact,
    lists_come_in_pages_in_order,
    a_cursor_that_was_not_made_here_is_no_panic,
    a_timeline_is_newest_first_and_goes_with_its_contact,
    what_is_found_is_what_the_entries_say,
    a_draft_finds_whom_it_is_about_and_erases_nothing,
    a_dry_run_foretells_what_the_run_does,
);
