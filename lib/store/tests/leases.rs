//! What every store of leases must do, on DynamoDB and in memory.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod server;

use aws_sdk_dynamodb::types::{BillingMode, KeyType, ScalarAttributeType};
use futures_util::future::join_all;
use jiff::Timestamp;
use server::{attribute, schema};
use switchboard_store::leases::{DynamoLeases, Leases, MemoryLeases, Take};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_771_577_000 + second).unwrap()
}

async fn of_many_one_gets_it(leases: &impl Leases) {
    let holders: Vec<String> = (0..20).map(|n| format!("holder {n}")).collect();
    let takes = holders.iter().map(|holder| leases.take("many", holder, at(0), at(30)));
    let taken = join_all(takes).await.into_iter().map(Result::unwrap);
    let (got, rest): (Vec<Take>, Vec<Take>) = taken.partition(|take| *take == Take::Ingested(0));
    assert_eq!(got.len(), 1);
    assert!(rest.iter().all(|take| *take == Take::Held(at(30))), "{rest:?}");
    // Another lease is another.
    assert_eq!(leases.take("other", "a", at(0), at(30)).await.unwrap(), Take::Ingested(0));
}

async fn it_is_free_when_it_is_given_back_or_over(leases: &impl Leases) {
    let take = async |holder, now, until| leases.take("free", holder, now, until).await.unwrap();
    assert_eq!(take("a", at(0), at(30)).await, Take::Ingested(0));
    // Who has it takes it again, as after an answer that was lost.
    assert_eq!(take("a", at(1), at(31)).await, Take::Ingested(0));
    assert_eq!(take("b", at(1), at(31)).await, Take::Held(at(31)));
    leases.give_back("free", "a", 7, None).await.unwrap();
    assert_eq!(take("b", at(2), at(32)).await, Take::Ingested(7));
    assert_eq!(take("c", at(31), at(61)).await, Take::Held(at(32)));
    assert_eq!(take("c", at(32), at(62)).await, Take::Ingested(7));
    // Whose time is over takes nothing from who has it now.
    leases.give_back("free", "b", 99, None).await.unwrap();
    assert_eq!(take("d", at(33), at(63)).await, Take::Held(at(62)));
    assert_eq!(take("d", at(62), at(92)).await, Take::Ingested(7));
}

async fn it_can_rest(leases: &impl Leases) {
    let take = async |holder, now, until| leases.take("rests", holder, now, until).await.unwrap();
    assert_eq!(take("a", at(0), at(30)).await, Take::Ingested(0));
    leases.give_back("rests", "a", 1, Some(at(60))).await.unwrap();
    assert_eq!(take("a", at(40), at(70)).await, Take::Rests(at(60)));
    assert_eq!(take("b", at(60), at(90)).await, Take::Ingested(1));
    leases.give_back("unknown", "a", 1, None).await.unwrap();
}

async fn contract(leases: &impl Leases) {
    of_many_one_gets_it(leases).await;
    it_is_free_when_it_is_given_back_or_over(leases).await;
    it_can_rest(leases).await;
}

#[tokio::test]
async fn in_memory() {
    contract(&MemoryLeases::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_dynamodb() {
    let client = server::start().await;
    client
        .create_table()
        .table_name("calls")
        .billing_mode(BillingMode::PayPerRequest)
        .attribute_definitions(attribute("pk", ScalarAttributeType::S))
        .attribute_definitions(attribute("sk", ScalarAttributeType::S))
        .key_schema(schema("pk", KeyType::Hash))
        .key_schema(schema("sk", KeyType::Range))
        .send()
        .await
        .unwrap();
    contract(&DynamoLeases::new(client, "calls".into())).await;
}
