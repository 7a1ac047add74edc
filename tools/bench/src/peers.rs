//! Every peer does the job of the Twilio hook: the same responses, the same requests to AWS, the same essentials
//! stored. The hook itself is tested along with them if it is built, in `target/lambda` or `SWITCHBOARD_HOOK`.
//!
//! Run by `make bench-peers`, which makes the peers.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Value, json};
use switchboard_testkit::aws::Received;
use switchboard_testkit::function::{PREFIX, Running, Stand};
use switchboard_testkit::webhook::Sample;

use crate::feeds::Feed;
use crate::programs::{self, MAIN, Program};

const BOTH: &[&str] = &["PutItem", "SendMessage"];
const SECOND_SECRET: &str = "fake-twilio-auth-token-old";

/// A program that runs, and every request that it has sent.
struct Tested {
    stand: Stand,
    running: Running,
    last: Vec<Received>,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn sample(name: &str) -> Value {
    let path = root().join(format!("events/twilio/gateway/{name}.json"));
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn body(event: &Value) -> String {
    String::from_utf8(STANDARD.decode(event["body"].as_str().unwrap()).unwrap()).unwrap()
}

fn id(n: u64) -> String {
    format!("CAbe{n:030x}")
}

/// The webhook of a call that ended busy, with more parameters, signed.
fn call(n: u64, more: &str) -> Value {
    let event = sample("busy");
    let text = body(&event);
    let old = text.split('&').find_map(|pair| pair.strip_prefix("CallSid=")).unwrap();
    let text = text.replace(old, &id(n)) + more;
    changed(event, &text, None)
}

/// With another body, signed with the first secret of the source or another one.
fn changed(event: Value, body: &str, secret: Option<&str>) -> Value {
    Sample::resigned(&root().join("events/twilio"), event, body.as_bytes(), secret).unwrap()
}

impl Tested {
    /// The status and the body of the response, and the operations of AWS that were requested.
    async fn call(&mut self, event: &Value) -> (u64, Value, Vec<String>) {
        let event = event.to_string().into_bytes();
        let response = self.stand.invoke(&self.running, event).await.unwrap().response;
        self.last = self.stand.aws.take_received();
        self.last.iter().for_each(|one| one.check_signature().unwrap());
        let body = serde_json::from_str(response["body"].as_str().unwrap_or("null")).unwrap();
        let operations = self.last.iter().map(|one| one.operation.clone()).collect();
        (response["statusCode"].as_u64().unwrap_or(0), body, operations)
    }

    async fn expect(&mut self, event: &Value, status: u64, operations: &[&str]) {
        let (is_status, _, are) = self.call(event).await;
        assert!(is_status == status && are == operations, "{is_status} {are:?}: {event}");
    }

    /// A webhook that is stored, or a duplicate.
    async fn accept(&mut self, event: &Value, is_new: bool, operations: &[&str]) {
        let (status, body, are) = self.call(event).await;
        assert_eq!((status, are), (200, operations.iter().map(|one| (*one).to_owned()).collect()));
        let (accepted, duplicates) = (u64::from(is_new), u64::from(!is_new));
        assert_eq!(
            (&body["accepted"], &body["duplicates"]),
            (&accepted.into(), &duplicates.into())
        );
    }
}

/// Whether an item holds a value, however deep.
fn holds(item: &Value, kind: &str, value: &str) -> bool {
    item.to_string().contains(&json!({ kind: value }).to_string())
}

fn request(one: &Received) -> Value {
    serde_json::from_slice(&one.body).unwrap()
}

/// Runs a peer, or the hook.
async fn tested(name: &str) -> Option<Tested> {
    let built = root().join("target/lambda");
    let (programs, missing) = programs::find(&root(), &built).unwrap();
    let mut program = programs.into_iter().find(|program| program.name() == name);
    if let (MAIN, Ok(hook)) = (name, std::env::var("SWITCHBOARD_HOOK")) {
        program = Some(Program::function(MAIN, Path::new(&hook)).unwrap());
    }
    let Some(program) = program else {
        assert_eq!(name, MAIN, "{missing:?}");
        return None;
    };
    // A folder of its own, as the tests run at the same time.
    let mut stand =
        Stand::start(&std::env::temp_dir().join(format!("bench-peers-{name}"))).await.unwrap();
    let source = std::fs::read_to_string(root().join("events/twilio/source.json")).unwrap();
    let parameters = BTreeMap::from([(format!("{PREFIX}/sources/twilio/twilio"), source)]);
    let feed = Feed::Event(Value::Null, parameters);
    let running = feed.start(&mut stand, &program, &[]).await.unwrap();
    Some(Tested { stand, running, last: Vec::new() })
}

async fn new_calls(t: &mut Tested) {
    // The hook opens its other connections at the same time, by requests that do nothing.
    let read = t.running.started.iter().find(|one| one.operation == "GetParametersByPath");
    let read = request(read.unwrap());
    assert_eq!(read["Path"], format!("{PREFIX}/sources/twilio"));
    assert_eq!(read["WithDecryption"], true);
    t.running.started.iter().for_each(|one| one.check_signature().unwrap());
    let event = call(1, "");
    t.accept(&event, true, BOTH).await;
    let (put, sent) = (request(&t.last[0]), request(&t.last[1]));
    assert_eq!(put["TableName"], "calls");
    assert_eq!(put["ConditionExpression"], "attribute_not_exists(pk)");
    assert_eq!(put["ReturnValuesOnConditionCheckFailure"], "ALL_OLD");
    let item = &put["Item"];
    assert_eq!(item["pk"], json!({"S": format!("call#twilio#twilio#{}", id(1))}));
    assert_eq!(item["sk"], json!({"S": "call"}));
    let number = |name: &str| item[name]["N"].as_str().unwrap().parse::<i64>().unwrap();
    let now = Timestamp::now().as_second();
    assert!((number("expires_at") - now - 400 * 86_400).abs() < 60);
    assert!((number("due_at") / 1_000 - now - 3).abs() < 60);
    assert!((0..16).any(|shard| item["due_shard"]["S"] == format!("{shard:02}")));
    assert!(holds(item, "B", event["body"].as_str().unwrap()));
    assert!(holds(item, "S", "+61255501234") && holds(item, "S", "+61491570156"));
    let job: Value = serde_json::from_str(sent["MessageBody"].as_str().unwrap()).unwrap();
    assert_eq!(job, json!({"job": "enrich", "call": format!("twilio/twilio/{}", id(1))}));
    assert_eq!(sent["DelaySeconds"], 3);
    assert!(sent["QueueUrl"].as_str().unwrap().ends_with("/123456789012/enrich"));
}

async fn other_webhooks(t: &mut Tested) {
    t.expect(&call(2, ""), 200, BOTH).await;
    t.running.account.clear_due().unwrap();
    t.accept(&call(2, ""), false, &["PutItem"]).await;
    t.expect(&changed(call(5, ""), &body(&call(5, "")), Some(SECOND_SECRET)), 200, BOTH).await;
    let odd = "&Z=b&Z=a&Z=b&a=lower&Name=J%C3%BCrgen+%26+S%C3%B8n&Empty=&B=%2B1";
    t.expect(&call(6, odd), 200, BOTH).await;
    let mut text = call(7, "");
    (text["body"], text["isBase64Encoded"]) = (body(&call(7, "")).into(), false.into());
    t.expect(&text, 200, BOTH).await;
    assert!(holds(&request(&t.last[0])["Item"], "B", &STANDARD.encode(body(&call(7, "")))));
    // A call that lasts owes nothing, and neither does a leg of another call.
    let lasts = body(&call(8, "")).replace("CallStatus=busy", "CallStatus=in-progress");
    t.expect(&changed(call(8, ""), &lasts, None), 200, &["PutItem"]).await;
    t.expect(&call(9, "&ParentCallSid=CA0"), 200, &["PutItem"]).await;
    for sample_file in std::fs::read_dir(root().join("events/twilio/gateway")).unwrap() {
        let name = sample_file.unwrap().file_name().into_string().unwrap();
        let name = name.strip_suffix(".json").unwrap();
        assert_eq!(t.call(&sample(name)).await.0, 200, "{name}");
    }
}

async fn rejected_webhooks(t: &mut Tested) {
    let mut event = changed(call(3, ""), &body(&call(3, "")), Some("another-secret"));
    t.expect(&event, 403, &[]).await;
    event["headers"]["x-twilio-signature"] = "no Base64 at all".into();
    t.expect(&event, 403, &[]).await;
    event["headers"].as_object_mut().unwrap().remove("x-twilio-signature");
    t.expect(&event, 401, &[]).await;
    let mut event = call(4, "");
    let body = body(&call(4, "")).replace("CallStatus=busy", "CallStatus=failed");
    event["body"] = STANDARD.encode(body).into();
    t.expect(&event, 403, &[]).await;
    let mut event = call(4, "");
    event["rawQueryString"] = "campaign=x".into();
    t.expect(&event, 403, &[]).await;
}

async fn faults_of_aws(t: &mut Tested) {
    t.stand.aws.fail("SendMessage", 400);
    // Stored and not queued is accepted.
    t.accept(&call(10, ""), true, BOTH).await;
    t.stand.aws.fail("PutItem", 400);
    let (status, _, operations) = t.call(&call(11, "")).await;
    // API Gateway turns an error of the invocation into a 500.
    assert!([0, 500, 503].contains(&status), "not stored is not accepted: {status}");
    assert_eq!(operations, ["PutItem"]);
    t.stand.aws.fail("PutItem", 500);
    t.expect(&call(12, ""), 200, &["PutItem", "PutItem", "SendMessage"]).await;
    let before = t.stand.aws.connections.opened();
    for n in 20..30 {
        assert_eq!(t.call(&call(n, "")).await.0, 200);
    }
    assert_eq!(t.stand.aws.connections.opened(), before, "connections are reused");
    t.stand.aws.connections.close().await;
    t.expect(&call(30, ""), 200, BOTH).await;
    // The connection to the Parameter Store is not needed again.
    assert!((2..=3).contains(&(t.stand.aws.connections.opened() - before)));
}

async fn check(name: &str) {
    let Some(mut tested) = tested(name).await else { return };
    new_calls(&mut tested).await;
    other_webhooks(&mut tested).await;
    rejected_webhooks(&mut tested).await;
    faults_of_aws(&mut tested).await;
}

macro_rules! programs {
    ($($name:ident),*) => {$(
        #[tokio::test(flavor = "multi_thread")]
        #[ignore = "make bench-peers makes the peers and runs this"]
        async fn $name() {
            check(stringify!($name)).await;
        }
    )*};
}

programs!(twilio, node, python, floor);
