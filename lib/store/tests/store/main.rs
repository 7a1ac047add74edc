//! What the stores must do over every table: in memory, and on DynamoDB (an in-process server that a public
//! conformance suite compares with the real one).

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

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

mod calls;
mod dial_requests;
mod directory;
mod directory_items;
mod dynamodb;
mod leases;
mod server;
