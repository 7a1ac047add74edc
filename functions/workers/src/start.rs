//! Wiring: from the environment to a running worker. Everything a worker acts on is made here.

use std::future::Future;
use std::sync::Arc;

use aws_lambda_events::sqs::SqsEvent;
use jiff::Timestamp;
use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::{Value, json};
use switchboard_crm::Client;
use switchboard_queue::{Job, SqsQueue};
use switchboard_shell::environment::{optional, parsed, required};
use switchboard_shell::parameters::{Cached, Parameters};
use switchboard_shell::telemetry::Level;
use switchboard_shell::worker::{Retry, batch};
use switchboard_shell::{Telemetry, aws};
use switchboard_store::DynamoStore;

use crate::configuration::Configuration;
use crate::conversations::Conversations;
use crate::deliver::Deliver;
use crate::enrich::Enrich;
use crate::sweep::Sweep;

/// What every worker is made from.
struct Parts {
    store: DynamoStore,
    queue: SqsQueue,
    telemetry: Telemetry,
    configuration: Arc<Cached<Configuration>>,
    allow_private: bool,
}

async fn parts(function: &'static str) -> Result<Parts, Error> {
    let stage = required("STAGE")?;
    let level = optional("LOG_LEVEL").and_then(|level| level.parse().ok()).unwrap_or(Level::Info);
    let telemetry = Telemetry::stdout(function, stage.clone(), level);
    let aws = aws::config()?;
    let allow_private = stage == "local" && parsed("ALLOW_PRIVATE_DESTINATIONS", false)?;
    let log = telemetry.clone();
    let configuration = Cached::new(
        Parameters::new(aws::ssm(&aws)),
        required("PARAMETER_PREFIX")?,
        move |values| Configuration::read(values, allow_private, &log),
    );
    Ok(Parts {
        store: DynamoStore::new(
            aws::dynamodb(&aws),
            required("CALLS_TABLE")?,
            parsed("RETENTION_DAYS", 400)?,
        ),
        queue: SqsQueue::new(
            aws::sqs(&aws),
            optional("ENRICH_QUEUE_URL"),
            optional("DELIVER_QUEUE_URL"),
        ),
        telemetry,
        configuration: Arc::new(configuration),
        allow_private,
    })
}

/// Runs `enrich` as a function.
pub async fn enrich() -> Result<(), Error> {
    let Parts { store, queue, telemetry, configuration, .. } = parts("enrich").await?;
    // The conversations API is named by the operator's configuration and holds no CRM's secrets.
    let http = switchboard_crm::client::http(true)?;
    let conversations = Conversations::new(http);
    let known = configuration.get().await?;
    for country in known.countries() {
        switchboard_people::number::warm_up(Some(country));
    }
    let worker = Arc::new(Enrich { store, queue, conversations, telemetry: telemetry.clone() });
    batches(telemetry, move |job| {
        let (worker, configuration) = (worker.clone(), configuration.clone());
        async move {
            let Job::Enrich { call } = job else { return misplaced() };
            let configuration = configuration.get().await.map_err(|e| Retry(e.to_string()))?;
            worker.run(&call, &configuration, Timestamp::now()).await
        }
    })
    .await
}

/// Runs `deliver` as a function.
pub async fn deliver() -> Result<(), Error> {
    let Parts { store, queue, telemetry, configuration, allow_private } = parts("deliver").await?;
    let client = Client::new(allow_private)?;
    configuration.get().await?;
    let worker = Arc::new(Deliver { store, queue, client, telemetry: telemetry.clone() });
    batches(telemetry, move |job| {
        let (worker, configuration) = (worker.clone(), configuration.clone());
        async move {
            let Job::Deliver { call, delivery } = job else { return misplaced() };
            let configuration = configuration.get().await.map_err(|e| Retry(e.to_string()))?;
            worker.run(&call, &delivery, &configuration, Timestamp::now).await
        }
    })
    .await
}

/// Runs `sweep` as a function, on a schedule.
pub async fn sweep() -> Result<(), Error> {
    let Parts { store, queue, telemetry, .. } = parts("sweep").await?;
    let worker = Arc::new(Sweep { store, queue, telemetry });
    lambda_runtime::run(service_fn(move |_: LambdaEvent<Value>| {
        let worker = worker.clone();
        async move {
            let sent = worker.run(Timestamp::now()).await?;
            Ok::<Value, Error>(json!({ "sent": sent }))
        }
    }))
    .await
}

/// Answers SQS batches until the environment ends.
async fn batches<F, W>(telemetry: Telemetry, work: F) -> Result<(), Error>
where
    F: Fn(Job) -> W,
    W: Future<Output = Result<(), Retry>>,
{
    let (telemetry, work) = (&telemetry, &work);
    lambda_runtime::run(service_fn(move |event: LambdaEvent<SqsEvent>| async move {
        let deadline = event.context.deadline();
        Ok::<Value, Error>(batch(event.payload, deadline, telemetry, work).await)
    }))
    .await
}

fn misplaced() -> Result<(), Retry> {
    Err(Retry("a job of another kind came to this queue".into()))
}
