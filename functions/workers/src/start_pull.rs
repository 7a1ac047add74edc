//! Wiring of the functions that pull calls: from the environment to a running worker.

use std::sync::Arc;

use aws_lambda_events::sqs::SqsEvent;
use jiff::Timestamp;
use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::{Value, json};
use switchboard_http::Client;
use switchboard_queue::{Job, SqsQueue};
use switchboard_shell::environment::{optional, parsed, required};
use switchboard_shell::parameters::{Cached, Parameters};
use switchboard_shell::pulling::{Pullable, folders};
use switchboard_shell::telemetry::Level;
use switchboard_shell::worker::{Retry, batch};
use switchboard_shell::{Telemetry, aws};
use switchboard_store::DynamoStore;

use crate::pull::{Puller, Tokens};
use crate::reconcile::Reconcile;

struct Parts {
    stage: String,
    store: DynamoStore,
    queue: SqsQueue,
    telemetry: Telemetry,
    pullable: Cached<Pullable>,
}

fn parts(function: &'static str) -> Result<Parts, Error> {
    let stage = required("STAGE")?;
    let level = optional("LOG_LEVEL").and_then(|level| level.parse().ok()).unwrap_or(Level::Info);
    let telemetry = Telemetry::stdout(function, stage.clone(), level);
    let aws = aws::config()?;
    let table = required("CALLS_TABLE")?;
    let log = telemetry.clone();
    Ok(Parts {
        store: DynamoStore::new(aws::dynamodb(&aws), table, parsed("RETENTION_DAYS", 400)?),
        queue: SqsQueue::new(aws::sqs(&aws), optional("ENRICH_QUEUE_URL"), None)
            .with_pull(Some(required("PULL_QUEUE_URL")?)),
        pullable: Cached::new(
            Parameters::new(aws::ssm(&aws)),
            required("PARAMETER_PREFIX")?,
            folders(),
            telemetry.clone(),
            move |values| Pullable::read(values, &log),
        ),
        telemetry,
        stage,
    })
}

/// Runs `pull` as a function.
pub async fn pull() -> Result<(), Error> {
    let Parts { stage, store, queue, telemetry, pullable } = parts("pull")?;
    // Private addresses are providers on the local stage alone, whatever is set.
    let allow_private = parsed("ALLOW_PRIVATE_DESTINATIONS", false)? && stage == "local";
    let client = Client::new(allow_private)?;
    let (known, (), ()) =
        tokio::join!(pullable.get(), aws::briefly(store.connect()), aws::briefly(queue.connect()),);
    known?;
    let log = telemetry.clone();
    let worker = Puller { store, queue, client, telemetry, tokens: Tokens::default() };
    let (worker, pullable, log) = (&worker, Arc::new(pullable), &log);
    lambda_runtime::run(service_fn(move |event: LambdaEvent<SqsEvent>| {
        let pullable = pullable.clone();
        async move {
            let deadline = event.context.deadline();
            let work = |job| {
                let pullable = pullable.clone();
                async move {
                    let Job::Pull { id } = job else {
                        return Err(Retry("a job of another kind came to this queue".into()));
                    };
                    let pullable = pullable.get().await?;
                    worker.run(&id, &pullable, Timestamp::now).await
                }
            };
            Ok::<Value, Error>(batch(event.payload, deadline, log, work).await)
        }
    }))
    .await
}

/// Runs `reconcile` as a function, on a schedule.
pub async fn reconcile() -> Result<(), Error> {
    let Parts { store, queue, telemetry, pullable, .. } = parts("reconcile")?;
    let (known, (), ()) =
        tokio::join!(pullable.get(), aws::briefly(store.connect()), aws::briefly(queue.connect()),);
    known?;
    let worker = Reconcile { store, queue, telemetry };
    let (worker, pullable) = (&worker, &pullable);
    lambda_runtime::run(service_fn(move |_: LambdaEvent<Value>| async move {
        let started = worker.run(&*pullable.get().await?, Timestamp::now()).await?;
        Ok::<Value, Error>(json!({ "started": started }))
    }))
    .await
}
