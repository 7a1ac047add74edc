//! DynamoDB as an in-process server.

use std::collections::{BTreeMap, HashMap};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::{BehaviorVersion, Builder, Credentials, Region};
use aws_sdk_dynamodb::types::AttributeValue;
use switchboard_store::{Directory, Store};
use switchboard_testkit::aws::Account;

pub type Item = HashMap<String, AttributeValue>;

pub const CALLS: &str = "calls";
pub const DIRECTORY: &str = "directory";

pub fn config(endpoint: String) -> Builder {
    aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-central-1"))
        .credentials_provider(Credentials::new("fake", "fake", None, None, "test"))
        .endpoint_url(endpoint)
        .http_client(aws_smithy_http_client::Builder::new().build_http())
}

/// A client of a server of its own, with the tables as the template makes them. It ends with the test's runtime.
pub async fn client() -> Client {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let database = Account::new(BTreeMap::new()).unwrap().database;
    tokio::spawn(dynoxide::server::serve_on(listener, database));
    Client::from_conf(config(endpoint).build())
}

pub async fn store() -> Store {
    Store::dynamodb(&client().await, CALLS.into(), 400)
}

pub async fn directory() -> Directory {
    Directory::dynamodb(&client().await, DIRECTORY.into())
}

/// Every item of a table.
pub async fn everything(client: &Client, table: &str) -> Vec<Item> {
    let pages = client.scan().table_name(table).into_paginator().items().send();
    pages.collect::<Result<Vec<_>, _>>().await.unwrap()
}

pub async fn put(client: &Client, table: &str, item: Item) {
    client.put_item().table_name(table).set_item(Some(item)).send().await.unwrap();
}
