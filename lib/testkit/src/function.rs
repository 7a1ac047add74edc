//! Functions as Lambda runs them: processes that poll the Runtime API, against AWS and a CRM on loopback.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::Failure;
use crate::aws::{Account, Aws, Received};
use crate::crm::Crm;
use crate::http::certificate;
use crate::process::Process;
use crate::runtime_api::{Invocation, RuntimeApi};

/// The prefix of every parameter.
pub const PREFIX: &str = "/switchboard/bench";
/// The access key of every function.
pub const KEY_ID: &str = "AKIDBENCH";
/// The secret of the access key.
pub const SECRET_KEY: &str = "fake-secret-access-key";
/// A function that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(90);

/// Requests by service and operation, as `dynamodb PutItem`.
pub type Requests = BTreeMap<String, f64>;

/// A program that can be started as a function.
#[derive(Clone, Debug)]
pub struct Function {
    /// The name of the function.
    pub name: String,
    /// The command and its arguments.
    pub command: Vec<String>,
    /// The working directory: Lambda's task root.
    pub folder: PathBuf,
    /// The value of `_HANDLER`.
    pub handler: &'static str,
}

/// The stand-ins. They serve one function at a time.
pub struct Stand {
    /// DynamoDB, SQS and SSM.
    pub aws: Aws,
    /// The CRM and the model.
    pub crm: Crm,
    runtime_api: RuntimeApi,
    certificate: PathBuf,
}

/// A function that has started and polls for its first event.
pub struct Running {
    /// The process.
    pub process: Process,
    /// From exec to the first poll.
    pub init: Duration,
    /// The requests to AWS of the start.
    pub started: Vec<Received>,
    /// The account that it runs against.
    pub account: Account,
}

impl Stand {
    /// Starts the stand-ins. The folder gets their certificate.
    pub async fn start(folder: &Path) -> Result<Self, Failure> {
        let (pem, tls) = certificate()?;
        fs::create_dir_all(folder)?;
        let certificate = fs::canonicalize(folder)?.join("authority.pem");
        fs::write(&certificate, pem)?;
        let (aws, crm) = (Aws::start(&tls).await?, Crm::start().await?);
        Ok(Self { aws, crm, runtime_api: RuntimeApi::start().await?, certificate })
    }

    /// Starts a function on an account. `under` stands before its command, as `valgrind`; `is_local` allows a CRM
    /// on loopback.
    pub async fn run(
        &mut self,
        function: &Function,
        account: Account,
        is_local: bool,
        under: &[String],
    ) -> Result<Running, Failure> {
        self.aws.serve(account.clone());
        self.crm.take_received();
        self.runtime_api.reset();
        let environment = self.environment(function, is_local);
        let command: Vec<String> = under.iter().chain(&function.command).cloned().collect();
        let process = Process::start(&command, &function.folder, &environment)?;
        let polled_at = self.runtime_api.polled(PATIENCE).await;
        let polled_at = polled_at.map_err(|error| process.failure(&error))?;
        let init = polled_at.duration_since(process.started_at);
        Ok(Running { process, init, started: self.aws.take_received(), account })
    }

    /// Hands out one event, and waits for the response.
    pub async fn invoke(
        &mut self,
        running: &Running,
        event: Vec<u8>,
    ) -> Result<Invocation, Failure> {
        let invocation = self.runtime_api.invoke(event, PATIENCE).await;
        invocation.map_err(|error| running.process.failure(&error))
    }

    /// As [`Stand::invoke`]; an HTTP status that is not accepted, or a failure, is an error.
    pub async fn expect(
        &mut self,
        running: &Running,
        event: Vec<u8>,
        accepts: impl Fn(u64) -> bool,
    ) -> Result<Invocation, Failure> {
        let invocation = self.invoke(running, event).await?;
        let response = &invocation.response;
        match is_accepted(response, accepts) {
            true => Ok(invocation),
            false => Err(running.process.failure(&format!("it responded {response}").into())),
        }
    }

    /// The requests since the last call for each of so many invocations, and the bytes sent to the CRM.
    pub fn take_requests(&self, invocations: u64) -> (Requests, f64) {
        let (mut requests, crm) = (count(&self.aws.take_received()), self.crm.take_received());
        let bytes: usize = crm.iter().map(|(_, length)| length).sum();
        for (name, _) in crm {
            *requests.entry(name).or_default() += 1.0;
        }
        requests.values_mut().for_each(|count| *count /= invocations as f64);
        (requests, bytes as f64 / invocations as f64)
    }

    /// How late DynamoDB, SQS, SSM and the CRM respond from now on, and whether DynamoDB counts units.
    pub fn delay(&self, [dynamodb, sqs, ssm, crm]: [Duration; 4], is_metered: bool) {
        self.aws.delay([dynamodb, sqs, ssm]);
        self.aws.meter(is_metered);
        self.crm.delay(crm);
    }

    /// The environment that Lambda and the template give a function, and what leads to the stand-ins. `is_local`
    /// allows a CRM on loopback.
    fn environment(&self, function: &Function, is_local: bool) -> BTreeMap<&'static str, String> {
        let certificate = self.certificate.display().to_string();
        let [dynamodb, sqs, ssm] = self.aws.ports.map(|port| format!("https://localhost:{port}"));
        let queue = |name: &str| format!("{sqs}/123456789012/{name}");
        let mut all = BTreeMap::from([
            ("AWS_LAMBDA_RUNTIME_API", format!("127.0.0.1:{}", self.runtime_api.port)),
            ("AWS_LAMBDA_FUNCTION_NAME", function.name.clone()),
            ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST".into()),
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "1769".into()),
            ("AWS_LAMBDA_LOG_GROUP_NAME", format!("/aws/lambda/{}", function.name)),
            ("AWS_LAMBDA_LOG_STREAM_NAME", "bench".into()),
            ("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand".into()),
            ("AWS_REGION", "eu-central-1".into()),
            ("AWS_DEFAULT_REGION", "eu-central-1".into()),
            ("AWS_ACCESS_KEY_ID", KEY_ID.into()),
            ("AWS_SECRET_ACCESS_KEY", SECRET_KEY.into()),
            ("AWS_SESSION_TOKEN", "fake-session-token".into()),
            ("LAMBDA_TASK_ROOT", function.folder.display().to_string()),
            ("_HANDLER", function.handler.into()),
            ("TZ", ":UTC".into()),
            ("LANG", "en_US.UTF-8".into()),
            ("ENRICH_QUEUE_URL", queue("enrich")),
            ("ANALYZE_QUEUE_URL", queue("analyze")),
            ("DELIVER_QUEUE_URL", queue("deliver")),
            ("PULL_QUEUE_URL", queue("pull")),
            ("AWS_ENDPOINT_URL", dynamodb.clone()),
            ("AWS_ENDPOINT_URL_DYNAMODB", dynamodb),
            ("AWS_ENDPOINT_URL_SQS", sqs),
            ("AWS_ENDPOINT_URL_SSM", ssm),
            ("SSL_CERT_FILE", certificate.clone()),
            ("AWS_CA_BUNDLE", certificate.clone()),
            ("NODE_EXTRA_CA_CERTS", certificate),
            ("STAGE", if is_local { "local" } else { "bench" }.into()),
            ("ALLOW_PRIVATE_DESTINATIONS", is_local.to_string()),
            ("LOG_LEVEL", "info".into()),
            ("CALLS_TABLE", "calls".into()),
            ("DIRECTORY_TABLE", "directory".into()),
            ("PARAMETER_PREFIX", PREFIX.into()),
            ("RETENTION_DAYS", "400".into()),
        ]);
        // Most stacks copy no recordings: only `recordings` itself has a bucket here.
        if function.name == "recordings" {
            all.insert("RECORDINGS_BUCKET", "bench".into());
        }
        all
    }
}

/// Counts requests to AWS.
pub fn count(received: &[Received]) -> Requests {
    let mut requests = Requests::new();
    for one in received {
        *requests.entry(format!("{} {}", one.service, one.operation)).or_default() += 1.0;
    }
    requests
}

/// Whether the HTTP status of a response is accepted; without one, whether it reports no failure.
fn is_accepted(response: &Value, accepts: impl Fn(u64) -> bool) -> bool {
    match (response["statusCode"].as_u64(), response["batchItemFailures"].as_array()) {
        (Some(status), _) => accepts(status),
        (None, Some(failures)) => failures.is_empty(),
        (None, None) => response.get("errorMessage").is_none(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn responses_are_successes_or_not() {
        for (response, success) in [
            (json!({"statusCode": 200}), true),
            (json!({"statusCode": 403}), false),
            (json!({"statusCode": 503}), false),
            (json!({"batchItemFailures": []}), true),
            (json!({"batchItemFailures": [{"itemIdentifier": "1"}]}), false),
            (json!({"sent": 3}), true),
            (json!({"errorMessage": "no"}), false),
        ] {
            assert_eq!(is_accepted(&response, |status| status < 300), success, "{response}");
        }
    }
}
