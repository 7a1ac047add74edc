//! The stand-ins for DynamoDB, SQS and SSM: what a program asks of AWS, answered from memory.
//!
//! Each speaks its service's JSON protocol over TLS; `X-Amz-Target` names the service and the
//! operation, so any of the three addresses answers for all.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use hyper::body::Bytes;
use serde_json::{Value, json};

use crate::Failure;
use crate::certificate::Tls;
use crate::parameters::Parameters;
use crate::queue::Queues;
use crate::server::{Received, Reply, Shared, lock, serve};
use crate::table::{Table, Units};

/// What is in the account: tables, queues, parameters.
#[derive(Clone, Default)]
pub struct Account {
    /// The tables of calls and of the directory.
    pub table: Table,
    /// The queues, by name.
    pub queues: Queues,
    /// The Parameter Store.
    pub parameters: Parameters,
}

/// How late each service answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delays {
    /// DynamoDB.
    pub dynamodb: Duration,
    /// SQS.
    pub sqs: Duration,
    /// SSM.
    pub ssm: Duration,
}

impl Delays {
    /// All of them so late.
    pub fn all(delay: Duration) -> Self {
        Self { dynamodb: delay, sqs: delay, ssm: delay }
    }

    fn of(self, service: &str) -> Duration {
        match service {
            "dynamodb" => self.dynamodb,
            "sqs" => self.sqs,
            _ => self.ssm,
        }
    }
}

/// The AWS of a run.
pub struct Aws {
    /// How late it answers from now on.
    pub delays: Arc<Mutex<Delays>>,
    /// What is in it now.
    pub account: Arc<Mutex<Account>>,
    /// The port of DynamoDB.
    pub dynamodb: u16,
    /// The port of SQS.
    pub sqs: u16,
    /// The port of SSM.
    pub ssm: u16,
}

/// An operation's answer: a status and JSON.
pub type Answer = (u16, Value);

/// An error as the JSON protocols write it.
pub fn error(kind: &str, message: &str) -> Answer {
    (400, json!({"__type": kind, "message": message}))
}

impl Aws {
    /// Starts the three services.
    pub async fn start(tls: &Tls, shared: &Arc<Shared>, delays: Delays) -> Result<Self, Failure> {
        let account: Arc<Mutex<Account>> = Arc::default();
        let delays = Arc::new(Mutex::new(delays));
        let start = |name: &'static str| {
            let (account, delays) = (account.clone(), delays.clone());
            serve(name, Some(tls.acceptor.clone()), shared.clone(), move |received| {
                let (account, delay) = (account.clone(), lock(&delays).of(name));
                async move {
                    let reply = reply(&account, &received);
                    if !delay.is_zero() {
                        tokio::time::sleep(delay).await;
                    }
                    reply
                }
            })
        };
        Ok(Self {
            dynamodb: start("dynamodb").await?,
            sqs: start("sqs").await?,
            ssm: start("ssm").await?,
            account,
            delays,
        })
    }

    /// What DynamoDB has charged since this was last asked.
    pub fn take_units(&self) -> Units {
        std::mem::take(&mut lock(&self.account).table.units)
    }
}

fn reply(account: &Mutex<Account>, received: &Received) -> Reply {
    let target = received.headers.get("x-amz-target").and_then(|value| value.to_str().ok());
    let (service, operation) = target.and_then(|target| target.split_once('.')).unwrap_or_default();
    let service = match service {
        "DynamoDB_20120810" => "dynamodb",
        "AmazonSQS" => "sqs",
        "AmazonSSM" => "ssm",
        _ => "unknown",
    };
    let (status, answer) = match serde_json::from_slice::<Value>(&received.body) {
        Err(_) => error("SerializationException", "the body is not JSON"),
        Ok(request) => {
            let mut account = lock(account);
            match service {
                "dynamodb" => account.table.answer(operation, request),
                "sqs" => {
                    let Account { table, queues, .. } = &mut *account;
                    queues.answer(operation, &request, table)
                }
                "ssm" => account.parameters.answer(operation, &request),
                _ => error("UnknownOperationException", "no X-Amz-Target of a known service"),
            }
        }
    };
    let content_type = match service {
        "ssm" => "application/x-amz-json-1.1",
        _ => "application/x-amz-json-1.0",
    };
    Reply {
        status,
        content_type,
        headers: vec![("x-amzn-requestid", "00000000-0000-0000-0000-000000000000".into())],
        body: Bytes::from(answer.to_string()),
        counted_as: Some(format!("{service} {operation}")),
    }
}
