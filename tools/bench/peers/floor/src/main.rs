//! The Twilio hook's job without an AWS SDK and without an async runtime: rustls over a blocking socket, and
//! requests signed by hand. The functions are compared with it to see what of their cost could be saved at all.

mod aws;
mod connection;
mod twilio;

use std::env::var;
use std::error::Error;
use std::sync::Arc;
use std::thread;

use jiff::Timestamp;
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};

use aws::Service;
use connection::Connection;
use twilio::Source;

type Failure = Box<dyn Error + Send + Sync>;

/// Answering-machine results and recordings come within seconds of the end of a call.
const SETTLE_SECONDS: i64 = 3;

struct Function {
    dynamodb: Service,
    sqs: Service,
    sources: Vec<Source>,
    table: String,
    queue: String,
    retention_seconds: i64,
}

fn main() -> Result<(), Failure> {
    let mut function = Function::start()?;
    let mut api = Connection::new(&var("AWS_LAMBDA_RUNTIME_API")?, None);
    let host = api.authority.clone();
    let prefix = "/2018-06-01/runtime/invocation";
    loop {
        let next = format!("GET {prefix}/next HTTP/1.1\r\nhost:{host}\r\n\r\n");
        let event = api.send(next.as_bytes())?;
        let id = event.header("lambda-runtime-aws-request-id").ok_or("an event without an id")?;
        let (outcome, body) = match function.handle(&event.body, id) {
            Ok(body) => ("response", body),
            Err(failure) => {
                let text = failure.to_string();
                log("error", "failed", &text, id);
                ("error", json!({"errorType": "Failure", "errorMessage": text}))
            }
        };
        let body = body.to_string();
        let head = format!("POST {prefix}/{id}/{outcome} HTTP/1.1\r\nhost:{host}\r\n");
        let request = format!("{head}content-length:{}\r\n\r\n{body}", body.len());
        api.send(request.as_bytes())?;
    }
}

impl Function {
    /// Reads the parameters, and opens the connections that the first call will need.
    fn start() -> Result<Self, Failure> {
        let tls = Arc::new(tls()?);
        let service = |name| Service::new(name, &tls);
        let (mut dynamodb, mut sqs, mut ssm) =
            (service("dynamodb")?, service("sqs")?, service("ssm")?);
        let sources = thread::scope(|scope| {
            let opening = [scope.spawn(|| dynamodb.open()), scope.spawn(|| sqs.open())];
            let sources = read_sources(&mut ssm);
            for opened in opening {
                opened.join().map_err(|_| "a thread has panicked")??;
            }
            sources
        })?;
        let retention_seconds = var("RETENTION_DAYS")?.parse::<i64>()? * 86_400;
        let (table, queue) = (var("CALLS_TABLE")?, var("ENRICH_QUEUE_URL")?);
        Ok(Self { dynamodb, sqs, sources, table, queue, retention_seconds })
    }

    fn handle(&mut self, event: &[u8], id: &str) -> Result<Value, Failure> {
        let event: Value = serde_json::from_slice(event)?;
        let now = Timestamp::now();
        let call = match twilio::read(&event, &self.sources) {
            Ok(call) => call,
            Err((status, why)) => {
                log("warn", "webhook rejected", why, id);
                return Ok(reply(status, &json!({ "error": why })));
            }
        };
        let key = format!("twilio/{}/{}", call.source, call.id);
        let due_at = call.owes().then(|| now.as_millisecond() + SETTLE_SECONDS * 1_000);
        let item = call.item(now, now.as_second() + self.retention_seconds, due_at);
        let is_new = self.put(item)?;
        // Without the message, a sweep over the items that are due sends it.
        if is_new && due_at.is_some() && self.send(&key).is_err() {
            log("warn", "stored and not queued", &key, id);
        }
        log("info", if is_new { "call stored" } else { "duplicate" }, &key, id);
        Ok(reply(200, &json!({"accepted": u8::from(is_new), "duplicates": u8::from(!is_new)})))
    }

    /// Stores a call if it is new; returns whether it is.
    fn put(&mut self, item: Value) -> Result<bool, Failure> {
        let request = json!({
            "TableName": self.table, "Item": item, "ConditionExpression": "attribute_not_exists(pk)",
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        });
        let response = self.dynamodb.request("DynamoDB_20120810.PutItem", &request.to_string())?;
        let is_refused = || {
            let error: Value = serde_json::from_slice(&response.body).unwrap_or_default();
            let kind = error["__type"].as_str().unwrap_or_default();
            kind.ends_with("ConditionalCheckFailedException")
        };
        match response.status {
            200 => Ok(true),
            _ if is_refused() => Ok(false),
            status => Err(format!("the put failed with {status}").into()),
        }
    }

    fn send(&mut self, key: &str) -> Result<(), Failure> {
        let message = json!({"job": "enrich", "call": key}).to_string();
        let request =
            json!({"QueueUrl": self.queue, "MessageBody": message, "DelaySeconds": SETTLE_SECONDS});
        match self.sqs.request("AmazonSQS.SendMessage", &request.to_string())?.status {
            200 => Ok(()),
            status => Err(format!("the send failed with {status}").into()),
        }
    }
}

fn read_sources(ssm: &mut Service) -> Result<Vec<Source>, Failure> {
    let path = format!("{}/sources/twilio", var("PARAMETER_PREFIX")?);
    let mut request = json!({"Path": path, "Recursive": true, "WithDecryption": true});
    let mut sources = Vec::new();
    loop {
        let response = ssm.request("AmazonSSM.GetParametersByPath", &request.to_string())?;
        let mut page: Value = serde_json::from_slice(&response.body)?;
        for parameter in page["Parameters"].as_array().ok_or("no parameters")? {
            let text = |name: &str| parameter[name].as_str().unwrap_or_default();
            let name = text("Name").rsplit('/').next().unwrap_or_default().to_owned();
            sources.push(Source { name, settings: serde_json::from_str(text("Value"))? });
        }
        request["NextToken"] = page["NextToken"].take();
        if request["NextToken"].is_null() {
            return Ok(sources);
        }
    }
}

/// The authorities are those of `SSL_CERT_FILE` or of the system, as in the functions.
fn tls() -> Result<ClientConfig, Failure> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

fn reply(status: u16, body: &Value) -> Value {
    json!({
        "statusCode": status, "headers": {"content-type": "application/json"},
        "body": body.to_string(), "isBase64Encoded": false,
    })
}

fn log(level: &str, message: &str, call: &str, id: &str) {
    println!("{}", json!({"level": level, "message": message, "call": call, "request_id": id}));
}
