//! What the stores must do over every table: in memory, and on DynamoDB (an in-process server that a public
//! conformance suite compares with the real one).

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use switchboard_store::{Page, StoreError};

/// Runs each test over a table in memory and over one of the server.
macro_rules! over_both_tables {
    ($memory:expr, $dynamodb:expr; $($test:ident),* $(,)?) => {
        mod memory {
            use super::*;

            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                super::$test($memory).await;
            })*
        }

        mod dynamodb {
            use super::*;

            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                super::$test($dynamodb).await;
            })*
        }
    };
}

/// Everything in a list that is read page by page, and how many pages there were.
async fn pages<T, C>(
    mut read: impl AsyncFnMut(Option<C>) -> Result<Page<T, C>, StoreError>,
) -> (Vec<T>, usize) {
    let (mut all, mut next) = (Vec::new(), None);
    for count in 1..1_000 {
        let page = read(next).await.unwrap();
        all.extend(page.items);
        next = page.next;
        if next.is_none() {
            return (all, count);
        }
    }
    panic!("the pages do not end");
}

mod calls;
mod dial_requests;
mod directory;
mod directory_items;
mod dynamodb;
mod leases;
mod server;
