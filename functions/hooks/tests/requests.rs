//! What a webhook costs: the AWS requests of a function, counted by a server that stands in for AWS.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_async::rt::sleep::TokioSleep;
use aws_smithy_runtime_api::client::behavior_version::BehaviorVersion;
use aws_types::SdkConfig;
use aws_types::region::Region;
use serde_json::{Value, json};
use switchboard_hooks::{Function, Places};
use switchboard_providers::INTAKE;
use switchboard_providers::Provider;
use switchboard_providers::onecom::OneCom;
use switchboard_providers::twilio::Twilio;
use switchboard_shell::aws;
use switchboard_shell::gateway::Event;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Barrier;

#[path = "probe/events.rs"]
mod probe;

/// Answers as SSM, DynamoDB and SQS do, and remembers what was asked.
#[derive(Clone, Default)]
struct Aws {
    asked: Arc<Mutex<Vec<String>>>,
    items: Arc<Mutex<BTreeMap<String, Value>>>,
    sources: Arc<Vec<(String, String)>>,
    /// How many batches of messages must be there at a time for any to be answered.
    together: Option<Arc<Barrier>>,
    /// Whether a message of every batch fails.
    fails: bool,
}

impl Aws {
    async fn serve(self, stream: TcpStream) {
        let mut stream = BufReader::new(stream);
        loop {
            let (mut target, mut length) = (String::new(), 0);
            loop {
                let mut line = String::new();
                if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
                    return;
                }
                let lower = line.trim().to_ascii_lowercase();
                if let Some(value) = lower.strip_prefix("content-length: ") {
                    length = value.parse().unwrap();
                }
                if lower.starts_with("x-amz-target: ") {
                    target = line.trim().rsplit('.').next().unwrap().to_owned();
                }
                if lower.is_empty() {
                    break;
                }
            }
            let mut body = vec![0; length];
            stream.read_exact(&mut body).await.unwrap();
            if let Some(together) = self.together.as_ref().filter(|_| target == "SendMessageBatch")
            {
                together.wait().await;
            }
            let (status, answer) = self.answer(&target, &serde_json::from_slice(&body).unwrap());
            let answer = answer.to_string();
            let head = format!(
                "HTTP/1.1 {status} X\r\ncontent-type: application/x-amz-json-1.0\r\ncontent-length: {}\r\n\r\n",
                answer.len()
            );
            stream.write_all((head + &answer).as_bytes()).await.unwrap();
        }
    }

    fn answer(&self, target: &str, request: &Value) -> (u16, Value) {
        self.asked.lock().unwrap().push(target.to_owned());
        match target {
            "GetParametersByPath" => {
                let path = request["Path"].as_str().unwrap();
                let parameter = |(name, value): &(String, String)| json!({"Name": format!("{path}/{name}"), "Type": "SecureString", "Value": value});
                (200, json!({"Parameters": self.sources.iter().map(parameter).collect::<Vec<_>>()}))
            }
            "PutItem" => {
                let condition = request["ConditionExpression"].as_str().unwrap_or_default();
                let key = request["Item"]["pk"]["S"].as_str().unwrap_or_default();
                let mut items = self.items.lock().unwrap();
                let is_first = condition == "attribute_not_exists(pk)";
                if condition == "attribute_exists(pk) AND attribute_not_exists(pk)" {
                    let kind = "com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException";
                    return (400, json!({"__type": kind}));
                }
                if let Some(stored) = items.get(key).filter(|_| is_first) {
                    let kind = "com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException";
                    return (400, json!({"__type": kind, "Item": stored}));
                }
                items.insert(key.to_owned(), request["Item"].clone());
                (200, json!({}))
            }
            "SendMessage" => (200, json!({"MessageId": "1", "MD5OfMessageBody": "0"})),
            "SendMessageBatch" if self.fails => {
                let failed = json!({"Id": "0", "Code": "InternalError", "SenderFault": false});
                (200, json!({"Successful": [], "Failed": [failed]}))
            }
            "SendMessageBatch" => (200, json!({"Successful": [], "Failed": []})),
            other => panic!("{other} was asked"),
        }
    }

    /// What was asked since the last time.
    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }

    /// Makes what is stored owe nothing, as a worker does when it is done.
    fn done(&self) {
        for item in self.items.lock().unwrap().values_mut() {
            for name in ["owed", "due_at", "due_shard"] {
                item.as_object_mut().unwrap().remove(name);
            }
        }
    }
}

fn events() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../events")
}

fn event(path: &str) -> Value {
    serde_json::from_slice(&std::fs::read(events().join(path)).unwrap()).unwrap()
}

async fn function(provider: &'static dyn Provider) -> (Function, Aws) {
    function_at(provider, Aws::default()).await
}

async fn function_at(provider: &'static dyn Provider, aws: Aws) -> (Function, Aws) {
    let name = provider.name();
    let source = std::fs::read_to_string(events().join(name).join("source.json")).unwrap();
    let aws = Aws { sources: Arc::new(vec![(name.to_owned(), source)]), ..aws };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let server = aws.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(server.clone().serve(stream));
        }
    });
    let credentials = Credentials::new("fake", "fake", None, None, "test");
    let config = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-central-1"))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .http_client(aws::http_client())
        .sleep_impl(TokioSleep::new())
        .endpoint_url(&endpoint)
        .build();
    let places = Places {
        table: "calls".into(),
        queue: format!("{endpoint}/000000000000/enrich"),
        parameters: "/switchboard/test".into(),
        retention_days: 400,
    };
    let started = Function::start(provider, &config, places).await;
    let mut asked = aws.asked();
    asked.sort();
    assert_eq!(asked, ["GetParametersByPath", "PutItem", "SendMessage"], "what a start costs");
    (started.unwrap(), aws)
}

async fn status(function: &Function, event: &Value) -> i64 {
    let event: Event = serde_json::from_value(event.clone()).unwrap();
    function.answer(event).await.status_code
}

#[tokio::test]
async fn a_new_call_costs_one_put_and_one_send() {
    for (provider, path) in [
        (&Twilio as &'static dyn Provider, "twilio/gateway/busy.json"),
        (&INTAKE, "intake/gateway/minimal.json"),
    ] {
        let (function, aws) = function(provider).await;
        assert_eq!(status(&function, &event(path)).await, 200);
        assert_eq!(aws.asked(), ["PutItem", "SendMessage"], "{path}");

        assert_eq!(status(&function, &event(path)).await, 200);
        assert_eq!(
            aws.asked(),
            ["PutItem", "SendMessage"],
            "a duplicate of what is still due: {path}"
        );

        aws.done();
        assert_eq!(status(&function, &event(path)).await, 200);
        assert_eq!(aws.asked(), ["PutItem"], "a duplicate that owes nothing: {path}");
    }
}

/// So many finished calls in one request.
fn batch(calls: usize) -> Value {
    let mut event = event("onecom/gateway/array.json");
    let records: Vec<Value> = (1..=calls)
        .map(|n| json!({"uniqueid": n.to_string(), "start": "2024-01-15 10:30:00", "src": "101", "dst": "0501234567", "disposition": "ANSWERED"}))
        .collect();
    event["body"] = json!(json!(records).to_string());
    event
}

fn at_once(batches: usize) -> Aws {
    Aws { together: Some(Arc::new(Barrier::new(batches))), ..Aws::default() }
}

#[tokio::test]
async fn the_follow_ups_of_a_large_webhook_are_sent_side_by_side() {
    let (function, aws) = function_at(&OneCom, at_once(8)).await;
    assert_eq!(status(&function, &batch(160)).await, 202);
    let asked = aws.asked();
    assert_eq!(asked.iter().filter(|one| *one == "PutItem").count(), 160);
    assert_eq!(asked.iter().filter(|one| *one == "SendMessageBatch").count(), 16);
    assert_eq!(asked.len(), 176);
}

#[tokio::test]
async fn follow_ups_that_fail_keep_no_others_from_being_sent() {
    let (function, aws) = function_at(&OneCom, Aws { fails: true, ..Aws::default() }).await;
    assert_eq!(status(&function, &batch(160)).await, 202);
    let asked = aws.asked();
    assert_eq!(asked.iter().filter(|one| *one == "SendMessageBatch").count(), 16);
}

/// It never has enough batches to answer any.
#[tokio::test]
async fn a_queue_that_says_nothing_keeps_no_sender_waiting() {
    let (function, aws) = function_at(&OneCom, at_once(usize::MAX)).await;
    let within = Duration::from_secs(8);
    let answered = tokio::time::timeout(within, async { status(&function, &batch(20)).await });
    assert_eq!(answered.await.unwrap(), 202);
    assert_eq!(aws.asked(), ["PutItem"; 20]);
}

#[tokio::test]
async fn a_call_that_lasts_owes_nothing_yet() {
    let (function, aws) = function(&Twilio).await;
    assert_eq!(status(&function, &event("twilio/gateway/completed.1.json")).await, 200);
    assert_eq!(aws.asked(), ["PutItem"]);
    // A further message: the failed put shows what is stored, the second writes both.
    assert_eq!(status(&function, &event("twilio/gateway/completed.2.json")).await, 200);
    assert_eq!(aws.asked(), ["PutItem", "PutItem"]);
}

#[tokio::test]
async fn a_rejected_request_costs_nothing() {
    let (function, aws) = function(&Twilio).await;
    let good = event("twilio/gateway/busy.json");
    let mut unsigned = good.clone();
    unsigned["headers"].as_object_mut().unwrap().remove("x-twilio-signature");
    assert_eq!(status(&function, &unsigned).await, 401);
    assert_eq!(aws.asked(), Vec::<String>::new());
    let mut wrong = good.clone();
    wrong["headers"]["x-twilio-signature"] = json!("bm90IGEgc2lnbmF0dXJlIGF0IGFsbC4=");
    // The secret may be newer than what is known; but it is not asked for again and again.
    for _ in 0..3 {
        assert_eq!(status(&function, &wrong).await, 403);
        assert_eq!(aws.asked(), Vec::<String>::new());
    }
}

#[tokio::test]
async fn every_odd_request_gets_a_response() {
    let (function, _) = function(&Twilio).await;
    for (what, change) in probe::odd_events() {
        let event = probe::with(event("twilio/gateway/busy.json"), &change);
        let status = status(&function, &event).await;
        assert!(status == 200 || (400..500).contains(&status), "{what}: {status}");
    }
}
