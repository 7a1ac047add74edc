//! The Twilio hook's job without an AWS SDK: hyper, rustls and requests signed by hand. The bench
//! compares the functions with it to see what of their cost could be saved at all.

mod aws;
mod connection;
mod twilio;

use std::error::Error;
use std::io::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Method, Request};
use jiff::Timestamp;
use rustls::{ClientConfig, RootCertStore};
use serde::{Deserialize, Serialize};

use aws::{Credentials, Service};
use connection::Connection;
use twilio::{Event, Refusal, Source};

/// Whatever went wrong, in words.
type Failure = Box<dyn Error>;

const SECONDS_PER_DAY: i64 = 86_400;
/// Answering-machine results and recordings come within seconds of the end of a call.
const SETTLE_SECONDS: i64 = 3;

/// What an invocation needs.
struct Function {
    dynamodb: Service,
    sqs: Service,
    sources: Vec<Source>,
    table: String,
    queue: String,
    retention_seconds: i64,
}

/// An answer as API Gateway takes it.
#[derive(Serialize)]
struct Reply {
    #[serde(rename = "statusCode")]
    status: u16,
    headers: Headers,
    body: String,
    #[serde(rename = "isBase64Encoded")]
    is_base64: bool,
}

#[derive(Serialize)]
struct Headers {
    #[serde(rename = "content-type")]
    content_type: &'static str,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let mut function = Function::start().await?;
    let api = variable("AWS_LAMBDA_RUNTIME_API")?;
    let mut api = Connection::plain(&api);
    let authority = api.authority().to_owned();
    loop {
        let next = || {
            let request = Request::get("/2018-06-01/runtime/invocation/next");
            Ok(request.header("host", &authority).body(Full::default())?)
        };
        // An event may be long in coming: there is no time limit.
        let (head, event) = api.send_without_limit(next).await?;
        let id = head.headers.get("lambda-runtime-aws-request-id");
        let id = id.ok_or("an event without an id")?.to_str()?.to_owned();
        let (outcome, body) = match function.answer(&event, &id).await {
            Ok(reply) => ("response", serde_json::to_vec(&reply)?),
            Err(failure) => {
                let text = serde_json::to_string(&failure.to_string())?;
                say(&format!(r#"{{"level":"error","message":{text},"request_id":"{id}"}}"#));
                ("error", format!(r#"{{"errorType":"Failure","errorMessage":{text}}}"#).into())
            }
        };
        let path = format!("/2018-06-01/runtime/invocation/{id}/{outcome}");
        let body = Bytes::from(body);
        let answer = || {
            let request = Request::builder().method(Method::POST).uri(&path);
            Ok(request.header("host", &authority).body(Full::new(body.clone()))?)
        };
        api.send(answer).await?;
    }
}

impl Function {
    /// Reads the parameters, and opens the connections that the first call will need.
    async fn start() -> Result<Self, Failure> {
        let region = variable("AWS_REGION")?;
        let credentials = Arc::new(Credentials {
            id: variable("AWS_ACCESS_KEY_ID")?,
            secret: variable("AWS_SECRET_ACCESS_KEY")?,
            token: std::env::var("AWS_SESSION_TOKEN").ok().filter(|token| !token.is_empty()),
        });
        let tls = Arc::new(tls()?);
        let service = |name| Service::new(name, &region, &credentials, &tls);
        let (mut dynamodb, mut sqs) = (service("dynamodb")?, service("sqs")?);
        let mut ssm = service("ssm")?;
        let prefix = variable("PARAMETER_PREFIX")?;
        let (sources, put, send) =
            tokio::join!(read_sources(&mut ssm, &prefix), dynamodb.connect(), sqs.connect());
        put?;
        send?;
        let days = std::env::var("RETENTION_DAYS").ok().and_then(|days| days.parse().ok());
        Ok(Self {
            dynamodb,
            sqs,
            sources: sources?,
            table: serde_json::to_string(&variable("CALLS_TABLE")?)?,
            queue: serde_json::to_string(&variable("ENRICH_QUEUE_URL")?)?,
            retention_seconds: days.unwrap_or(400_i64).saturating_mul(SECONDS_PER_DAY),
        })
    }

    async fn answer(&mut self, event: &[u8], id: &str) -> Result<Reply, Failure> {
        let event: Event = serde_json::from_slice(event)?;
        let now = Timestamp::now();
        let call = match twilio::read(&event, &self.sources) {
            Ok(call) => call,
            Err(Refusal { status, why }) => {
                say(&format!(
                    r#"{{"level":"warn","message":"webhook rejected","status":{status},"request_id":"{id}"}}"#
                ));
                return Ok(reply(status, format!(r#"{{"error":"{why}"}}"#)));
            }
        };
        let key = serde_json::to_string(&format!("twilio/{}/{}", call.source, call.id))?;
        let due_at = call.owes().then(|| now.as_millisecond() + SETTLE_SECONDS * 1_000);
        let expires_at = now.as_second().saturating_add(self.retention_seconds);
        let item = call.item(now, expires_at, due_at);
        let is_new = self.put(&item).await?;
        if is_new && due_at.is_some() {
            // Without it, a sweep over the items that say that they are due sends it.
            if let Err(failure) = self.send(&key).await {
                let text = serde_json::to_string(&failure.to_string())?;
                say(&format!(
                    r#"{{"level":"warn","message":"stored and not queued","call":{key},"error":{text},"request_id":"{id}"}}"#
                ));
            }
        }
        let message = if is_new { "call stored" } else { "duplicate" };
        say(&format!(
            r#"{{"level":"info","message":"{message}","call":{key},"request_id":"{id}"}}"#
        ));
        let (accepted, duplicates) = (u8::from(is_new), u8::from(!is_new));
        Ok(reply(200, format!(r#"{{"accepted":{accepted},"duplicates":{duplicates}}}"#)))
    }

    /// Stores a call if there is none. False: there is.
    async fn put(&mut self, item: &str) -> Result<bool, Failure> {
        let body = format!(
            r#"{{"TableName":{},"Item":{item},"ConditionExpression":"attribute_not_exists(pk)","ReturnValuesOnConditionCheckFailure":"ALL_OLD"}}"#,
            self.table
        );
        let (status, answer) = self.dynamodb.ask("DynamoDB_20120810.PutItem", body).await?;
        match status {
            200 => Ok(true),
            _ if aws::is_error(&answer, "ConditionalCheckFailedException") => Ok(false),
            _ => Err(format!("the put failed with {status}").into()),
        }
    }

    async fn send(&mut self, key: &str) -> Result<(), Failure> {
        let message = serde_json::to_string(&format!(r#"{{"job":"enrich","call":{key}}}"#))?;
        let body = format!(
            r#"{{"QueueUrl":{},"MessageBody":{message},"DelaySeconds":{SETTLE_SECONDS}}}"#,
            self.queue
        );
        match self.sqs.ask("AmazonSQS.SendMessage", body).await? {
            (200, _) => Ok(()),
            (status, _) => Err(format!("the send failed with {status}").into()),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Page {
    #[serde(default)]
    parameters: Vec<Parameter>,
    next_token: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Parameter {
    name: String,
    value: String,
}

async fn read_sources(ssm: &mut Service, prefix: &str) -> Result<Vec<Source>, Failure> {
    let path = serde_json::to_string(&format!("{prefix}/sources/twilio"))?;
    let mut sources = Vec::new();
    let mut next = String::new();
    loop {
        let body = format!(r#"{{"Path":{path},"Recursive":true,"WithDecryption":true{next}}}"#);
        let (status, answer) = ssm.ask("AmazonSSM.GetParametersByPath", body).await?;
        if status != 200 {
            return Err(format!("the parameters cannot be read: {status}").into());
        }
        let page: Page = serde_json::from_slice(&answer)?;
        for parameter in page.parameters {
            let mut source: Source = serde_json::from_str(&parameter.value)?;
            source.name = parameter.name.rsplit('/').next().unwrap_or_default().to_owned();
            sources.push(source);
        }
        match page.next_token {
            Some(token) => next = format!(r#","NextToken":{}"#, serde_json::to_string(&token)?),
            None => return Ok(sources),
        }
    }
}

/// The authorities are those of `SSL_CERT_FILE` or of the system, as in the functions.
fn tls() -> Result<ClientConfig, Failure> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

fn reply(status: u16, body: String) -> Reply {
    Reply { status, headers: Headers { content_type: "application/json" }, body, is_base64: false }
}

fn variable(name: &str) -> Result<String, Failure> {
    std::env::var(name).map_err(|_| format!("{name} is not set").into())
}

/// Writes one line. A log that cannot be written holds no call up.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}
