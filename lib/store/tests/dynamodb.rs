//! The contract on DynamoDB: an in-process server that a public conformance suite compares with the real one.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod contract;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, GlobalSecondaryIndex, KeySchemaElement,
    KeyType, Projection, ProjectionType, ScalarAttributeType,
};
use switchboard_domain::Blob;
use switchboard_store::{DynamoStore, Store, StoreError};

const TABLE: &str = "calls";

fn attribute(name: &str, kind: ScalarAttributeType) -> AttributeDefinition {
    AttributeDefinition::builder().attribute_name(name).attribute_type(kind).build().unwrap()
}

fn schema(name: &str, kind: KeyType) -> KeySchemaElement {
    KeySchemaElement::builder().attribute_name(name).key_type(kind).build().unwrap()
}

/// A server of its own with the table as the template makes it. It ends with the test's runtime.
async fn client() -> Client {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let database = dynoxide::Database::memory().unwrap();
    tokio::spawn(dynoxide::server::serve_on(listener, database));
    let config = aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-central-1"))
        .credentials_provider(Credentials::new("fake", "fake", None, None, "test"))
        .endpoint_url(endpoint)
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .build();
    let client = Client::from_conf(config);
    let due = GlobalSecondaryIndex::builder()
        .index_name("due")
        .key_schema(schema("due_shard", KeyType::Hash))
        .key_schema(schema("due_at", KeyType::Range))
        .projection(Projection::builder().projection_type(ProjectionType::KeysOnly).build())
        .build()
        .unwrap();
    client
        .create_table()
        .table_name(TABLE)
        .billing_mode(BillingMode::PayPerRequest)
        .attribute_definitions(attribute("pk", ScalarAttributeType::S))
        .attribute_definitions(attribute("sk", ScalarAttributeType::S))
        .attribute_definitions(attribute("due_shard", ScalarAttributeType::S))
        .attribute_definitions(attribute("due_at", ScalarAttributeType::N))
        .key_schema(schema("pk", KeyType::Hash))
        .key_schema(schema("sk", KeyType::Range))
        .global_secondary_indexes(due)
        .send()
        .await
        .unwrap();
    client
}

async fn store() -> DynamoStore {
    DynamoStore::new(client().await, TABLE.into(), 400)
}

macro_rules! contract {
    ($($test:ident),* $(,)?) => {$(
        #[tokio::test]
        async fn $test() {
            contract::$test(&store().await).await;
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

#[tokio::test]
async fn a_blob_that_lost_a_part_is_not_given_out() {
    let client = client().await;
    let store = DynamoStore::new(client.clone(), TABLE.into(), 400);
    let key = contract::key("CA-damaged");
    let mut noise = vec![0u8; 1_000_000];
    noise
        .iter_mut()
        .enumerate()
        .for_each(|(n, byte)| *byte = ((n * n) >> 5) as u8 ^ (n >> 3) as u8);
    let blob = Blob::new(noise);
    store.put_blob(&key, &blob).await.unwrap();
    client
        .delete_item()
        .table_name(TABLE)
        .key("pk", AttributeValue::S("call#twilio#twilio#CA-damaged".into()))
        .key("sk", AttributeValue::S(format!("blob#{}#0000", blob.digest)))
        .send()
        .await
        .unwrap();
    let error = store.blob(&key, &blob.reference()).await.unwrap_err();
    assert!(matches!(error, StoreError::Damaged { what: "blob", .. }));
}

#[tokio::test]
async fn everything_written_expires_and_only_what_is_due_is_in_the_index() {
    let client = client().await;
    let store = DynamoStore::new(client.clone(), TABLE.into(), 400);
    let mut call = contract::record("CA-attributes");
    store.put_call(&call).await.unwrap();
    let item = || async {
        let key = AttributeValue::S("call#twilio#twilio#CA-attributes".into());
        let get = client.get_item().table_name(TABLE).key("pk", key);
        get.key("sk", AttributeValue::S("call".into())).send().await.unwrap().item.unwrap()
    };
    let stored = item().await;
    let expires_at: i64 = stored["expires_at"].as_n().unwrap().parse().unwrap();
    let days = (expires_at - jiff::Timestamp::now().as_second()) / 86_400;
    assert!((399..=400).contains(&days), "{days}");
    assert!(stored.contains_key("due_shard") && stored.contains_key("due_at"));
    call.version = 1;
    call.owed.clear();
    store.put_call(&call).await.unwrap();
    let stored = item().await;
    assert!(!stored.contains_key("due_shard") && !stored.contains_key("due_at"));
}

#[tokio::test]
async fn a_missing_table_is_our_fault_and_not_worth_a_retry() {
    let store = DynamoStore::new(client().await, "another".into(), 400);
    let error = store.call(&contract::key("CA1")).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the table read was refused (ResourceNotFoundException); check the function's role and table"
    );
    assert!(!error.is_retryable());
}
