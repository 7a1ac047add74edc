//! Calls and what belongs to them on DynamoDB: the items, and the faults of the service.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::types::AttributeValue;
use switchboard_domain::{Blob, CallRecord, Delivery, DeliveryId, Personal};
use switchboard_store::{Between, Put, Quarantined, Store, StoreError};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::calls;
use crate::server::{CALLS as TABLE, Item, client, config, everything, put};

#[tokio::test]
async fn every_item_has_its_place_and_expires() {
    let client = client().await;
    let store = Store::dynamodb(&client, TABLE.into(), 30);
    let call = calls::record("CA#1");
    let id: DeliveryId = "crm#call.completed".parse().unwrap();
    let delivery = Delivery::planned(call.key.clone(), id, calls::at(0));
    store.put_call_and_deliveries(&call, &[delivery], &[]).await.unwrap();
    let blob = Blob::new(b"agent: hello".to_vec());
    store.put_blob(&call.key, &blob).await.unwrap();
    let body = Quarantined {
        provider: call.key.provider.clone(),
        source: "twilio".into(),
        received_at: calls::at(0),
        digest: blob.digest.clone(),
        target: "/call-status-callback".into(),
        content_type: String::new(),
        problem: "is empty".into(),
        length: 0,
    };
    store.put_quarantined(&body, &[]).await.unwrap();

    let items = everything(&client, TABLE).await;
    let in_a_month = jiff::Timestamp::now().as_second() + 30 * 86_400;
    for item in &items {
        let expires_at: i64 = item["expires_at"].as_n().unwrap().parse().unwrap();
        assert!((in_a_month - 60..=in_a_month).contains(&expires_at));
    }
    let place = |item: &Item| ["pk", "sk"].map(|key| item[key].as_s().unwrap().clone());
    let mut places: Vec<_> = items.iter().map(place).collect();
    places.sort();
    let digest = &blob.digest;
    let wanted = [
        ["call#twilio#twilio#CA#1", &format!("blob#{digest}#0000")],
        ["call#twilio#twilio#CA#1", "call"],
        ["call#twilio#twilio#CA#1", "delivery#crm#call.completed"],
        ["quarantine#twilio", &format!("2026-02-20T08:43:20.000000000Z#{digest}")],
        ["quarantine-body#twilio", &format!("2026-02-20T08:43:20.000000000Z#{digest}#0000")],
    ];
    assert_eq!(places, wanted);
}

#[tokio::test]
async fn a_quarantined_body_that_has_expired_is_not_listed() {
    let client = client().await;
    let body = |store: Store, second: i64| async move {
        let body = Quarantined {
            provider: calls::key("CA").provider,
            source: "twilio".into(),
            received_at: calls::at(second),
            digest: Blob::new(vec![]).digest,
            target: "/call-status-callback".into(),
            content_type: String::new(),
            problem: "is empty".into(),
            length: 0,
        };
        store.put_quarantined(&body, &[]).await.unwrap();
        (body, vec![])
    };
    let store = |days| Store::dynamodb(&client, TABLE.into(), days);
    let kept = [body(store(400), 1).await, body(store(400), 2).await];
    // The table's own clock deletes its parts in any order, some days later.
    for second in 3..9 {
        body(store(0), second).await;
    }
    let [old, new] = kept;
    let listed = calls::quarantined(&store(400), "twilio", Between::default()).await;
    assert_eq!(listed, [new, old]);
}

#[tokio::test]
async fn what_the_table_cannot_take_is_refused_and_nothing_of_it_written() {
    let client = client().await;
    let store = Store::dynamodb(&client, TABLE.into(), 400);
    let mut large = calls::record("CA-large");
    let summary = Personal::new("+61491570156 ".repeat(420_000 / 13));
    large.call.facts.summary = Some(summary.clone());
    let id = |n: usize| format!("crm-{n}#call.completed").parse::<DeliveryId>().unwrap();
    let delivery = |n| Delivery::planned(large.key.clone(), id(n), calls::at(0));
    let mut large_delivery = delivery(0);
    large_delivery.nonce = Some(summary.expose().into());
    let small = calls::record("CA-large");
    let many: Vec<Delivery> = (0..100).map(delivery).collect();
    for error in [
        store.put_call(&large).await.unwrap_err(),
        store.put_call_and_deliveries(&large, &[delivery(0)], &[]).await.unwrap_err(),
        store.put_call_and_deliveries(&small, &[large_delivery.clone()], &[]).await.unwrap_err(),
        store.put_delivery(&large_delivery, None).await.unwrap_err(),
        store.put_call_and_deliveries(&small, &many, &[]).await.unwrap_err(),
    ] {
        assert!(matches!(error, StoreError::Refused { .. }), "{error}");
        assert!(!error.is_retryable() && !format!("{error} {error:?}").contains("6149"));
    }
    assert_eq!(everything(&client, TABLE).await, []);
    let put = store.put_call_and_deliveries(&small, &many[1..], &[]).await.unwrap();
    assert_eq!(put, Put::Stored(1));
    assert_eq!(everything(&client, TABLE).await.len(), 100);
}

async fn parts(client: &Client) -> Vec<Item> {
    let items = everything(client, TABLE).await.into_iter();
    let mut parts: Vec<Item> = items.filter(|item| item.contains_key("bytes")).collect();
    parts.sort_by_key(|part| part["sk"].as_s().unwrap().clone());
    parts
}

#[tokio::test]
async fn a_blob_that_lost_a_part_is_not_given_out() {
    let client = client().await;
    let store = Store::dynamodb(&client, TABLE.into(), 400);
    let key = calls::key("CA-damaged");
    let blob = Blob::new(calls::noise(1_000_000));
    store.put_blob(&key, &blob).await.unwrap();
    let whole = parts(&client).await;
    assert_eq!(whole.len(), 3);
    let problem = async || match store.blob(&key, &blob.reference()).await {
        Err(StoreError::Damaged { what: "blob", problem }) => problem,
        other => panic!("{:?}", other.map(|bytes| bytes.len())),
    };
    for part in &whole {
        let delete = client.delete_item().table_name(TABLE);
        let delete = delete.key("pk", part["pk"].clone()).key("sk", part["sk"].clone());
        delete.send().await.unwrap();
        assert_eq!(problem().await, "a part is missing", "{:?}", part["sk"]);
        put(&client, TABLE, part.clone()).await;
    }
    // Nor one with a part of another in its place.
    let mut other = whole[1].clone();
    other.insert("bytes".into(), whole[2]["bytes"].clone());
    put(&client, TABLE, other).await;
    assert_eq!(problem().await, "it cannot be decompressed");
    put(&client, TABLE, whole[1].clone()).await;
    assert!(store.blob(&key, &blob.reference()).await.unwrap() == blob.bytes);

    // Nor, under its name, one that is whole and of its length.
    let [right, wrong] = [b"agent: yes", b"agent: no!"].map(|text| Blob::new(text.to_vec()));
    store.put_blob(&key, &right).await.unwrap();
    store.put_blob(&key, &wrong).await.unwrap();
    let sk = |blob: &Blob| AttributeValue::S(format!("blob#{}#0000", blob.digest));
    let mut part = parts(&client).await;
    part.retain(|part| part["sk"] == sk(&wrong));
    part[0].insert("sk".into(), sk(&right));
    put(&client, TABLE, part.remove(0)).await;
    let error = store.blob(&key, &right.reference()).await.unwrap_err();
    assert!(matches!(error, StoreError::Damaged { what: "blob", .. }));
}

#[tokio::test]
async fn a_blob_written_again_in_fewer_parts_is_whole() {
    let client = client().await;
    let store = Store::dynamodb(&client, TABLE.into(), 400);
    let key = calls::key("CA-again");
    let blob = Blob::new(calls::noise(500_000));
    store.put_blob(&key, &blob).await.unwrap();
    // As if an earlier release had compressed it worse, into three parts.
    let written = parts(&client).await;
    assert_eq!(written.len(), 2);
    for n in 0..3 {
        let mut old = written[0].clone();
        old.insert("sk".into(), AttributeValue::S(format!("blob#{}#{n:04}", blob.digest)));
        old.insert("parts".into(), AttributeValue::N("3".into()));
        put(&client, TABLE, old).await;
    }
    store.put_blob(&key, &blob).await.unwrap();
    assert_eq!(parts(&client).await.len(), 3);
    assert!(store.blob(&key, &blob.reference()).await.unwrap() == blob.bytes);
}

#[tokio::test]
async fn everything_written_expires_and_only_what_is_due_is_in_the_index() {
    let client = client().await;
    let store = Store::dynamodb(&client, TABLE.into(), 400);
    let mut call = calls::record("CA-attributes");
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

/// A DynamoDB that gives these answers, one after the other and the last for ever, and counts the
/// requests.
async fn saying(answers: Vec<(u16, String)>) -> (Store, Arc<AtomicUsize>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let n = count.fetch_add(1, Ordering::SeqCst);
            let (status, body) = answers[n.min(answers.len() - 1)].clone();
            let mut request = Vec::new();
            while !is_whole(&request) {
                stream.read_buf(&mut request).await.unwrap();
            }
            let length = body.len();
            let answer = format!(
                "HTTP/1.1 {status} .\r\ncontent-type: application/x-amz-json-1.0\r\n\
                 content-length: {length}\r\nconnection: close\r\n\r\n{body}"
            );
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    let soon = Duration::from_millis(1);
    let retries = RetryConfig::standard().with_max_attempts(3).with_initial_backoff(soon);
    let config = config(endpoint).retry_config(retries).build();
    (Store::dynamodb(&Client::from_conf(config), TABLE.into(), 400), asked)
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request).to_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    body.len() >= length.map_or(0, |length| length.parse().unwrap())
}

/// An error as DynamoDB answers it, with a phone number in its text.
fn error(code: &str) -> String {
    format!(r#"{{"__type":"com.amazonaws.dynamodb.v20120810#{code}","message":"at +61491570156"}}"#)
}

fn canceled(codes: &[&str]) -> String {
    let reasons: Vec<String> = codes.iter().map(|code| format!(r#"{{"Code":"{code}"}}"#)).collect();
    format!(
        r#"{{"__type":"com.amazonaws.dynamodb.v20120810#TransactionCanceledException",
            "Message":"at +61491570156","CancellationReasons":[{}]}}"#,
        reasons.join(",")
    )
}

fn planned(call: &CallRecord) -> Delivery {
    let id = "crm#call.completed".parse().unwrap();
    Delivery::planned(call.key.clone(), id, calls::at(0))
}

#[tokio::test]
async fn faults_are_told_apart_by_code_and_told_without_their_text() {
    let call = calls::record("CA1");
    let says = |error: &StoreError, code: &str| {
        let text = format!("{error} {error:?}");
        assert!(text.contains(code) && !text.contains("6149"), "{text}");
    };
    for (status, code) in [
        (400, "ThrottlingException"),
        (400, "ProvisionedThroughputExceededException"),
        (400, "RequestLimitExceeded"),
        (400, "TransactionInProgressException"),
        (500, "InternalServerError"),
        (503, "ServiceUnavailable"),
        (400, "SomethingNew"),
    ] {
        let (store, _) = saying(vec![(status, error(code))]).await;
        let error = store.put_call(&call).await.unwrap_err();
        assert!(error.is_retryable(), "{code}");
        says(&error, code);
    }
    for code in ["ValidationException", "AccessDeniedException", "ResourceNotFoundException"] {
        let (store, asked) = saying(vec![(400, error(code))]).await;
        let error = store.put_call(&call).await.unwrap_err();
        assert!(matches!(error, StoreError::Refused { .. }), "{code}");
        says(&error, code);
        assert_eq!(asked.load(Ordering::SeqCst), 1, "{code}");
    }
    let (store, _) = saying(vec![(200, "no JSON".into())]).await;
    assert!(store.call(&call.key).await.unwrap_err().is_retryable());
}

#[tokio::test]
async fn a_service_out_of_reach_is_worth_a_retry() {
    let config = config("http://127.0.0.1:1".into()).retry_config(RetryConfig::disabled()).build();
    let store = Store::dynamodb(&Client::from_conf(config), TABLE.into(), 400);
    let error = store.put_call(&calls::record("CA1")).await.unwrap_err();
    assert!(error.is_retryable(), "{error}");
}

/// A store where a delivery is in the way of a transaction, and the call is read then.
async fn in_the_way(call: &CallRecord) -> (Store, Arc<AtomicUsize>) {
    let item: serde_dynamo::Item = serde_dynamo::to_item(call).unwrap();
    let stored = serde_json::json!({ "Item": item }).to_string();
    saying(vec![(400, canceled(&["None", "ConditionalCheckFailed"])), (200, stored)]).await
}

#[tokio::test]
async fn a_canceled_transaction_says_what_was_in_the_way() {
    let call = calls::record("CA1");
    let put = async |codes: &[&str]| {
        let (store, _) = saying(vec![(400, canceled(codes))]).await;
        store.put_call_and_deliveries(&call, &[planned(&call)], &[]).await
    };
    let (store, asked) = in_the_way(&call).await;
    let conflict = store.put_call_and_deliveries(&call, &[planned(&call)], &[]).await.unwrap();
    assert_eq!(conflict, Put::Conflict(Box::new(call.clone())));
    // The transaction, and the read of the call.
    assert_eq!(asked.load(Ordering::SeqCst), 2);
    // The call was there when it was read; that it is not any more, is no conflict.
    let error = put(&["ConditionalCheckFailed", "None"]).await.unwrap_err();
    assert!(matches!(error, StoreError::Damaged { what: "call", .. }));
    for code in ["TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"] {
        let error = put(&[code, "ConditionalCheckFailed"]).await.unwrap_err();
        assert!(error.is_retryable() && error.to_string().contains(code), "{error}");
    }
    for code in ["ValidationError", "ItemCollectionSizeLimitExceeded"] {
        let error = put(&["None", code]).await.unwrap_err();
        assert!(matches!(error, StoreError::Refused { .. }), "{error}");
        assert!(error.to_string().contains(code), "{error}");
    }
}

#[tokio::test]
async fn another_transaction_on_the_same_call_is_waited_for() {
    let call = calls::record("CA1");
    let busy = (400, error("TransactionConflictException"));
    let (store, asked) = saying(vec![busy.clone(), busy.clone(), (200, "{}".into())]).await;
    assert_eq!(store.put_call(&call).await.unwrap(), Put::Stored(1));
    assert_eq!(asked.load(Ordering::SeqCst), 3);

    let busy = (400, canceled(&["TransactionConflict", "None"]));
    let (store, asked) = saying(vec![busy.clone(), (200, "{}".into())]).await;
    let put = store.put_call_and_deliveries(&call, &[planned(&call)], &[]).await.unwrap();
    assert_eq!(put, Put::Stored(1));
    assert_eq!(asked.load(Ordering::SeqCst), 2);

    // Not for ever, and not where a condition did not hold.
    let (store, asked) = saying(vec![busy]).await;
    let put = store.put_call_and_deliveries(&call, &[planned(&call)], &[]).await;
    assert!(put.unwrap_err().is_retryable());
    assert_eq!(asked.load(Ordering::SeqCst), 3);
    let (store, asked) = in_the_way(&call).await;
    store.put_call_and_deliveries(&call, &[planned(&call)], &[]).await.unwrap();
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_missing_table_is_our_fault_and_not_worth_a_retry() {
    let store = Store::dynamodb(&client().await, "another".into(), 400);
    let error = store.call(&calls::key("CA1")).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the table read was refused (ResourceNotFoundException); check the function's role and table"
    );
    assert!(!error.is_retryable());
}
