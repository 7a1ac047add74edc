//! Wiring: from the environment to a running worker. Everything a worker acts on is made here.

use std::sync::Arc;

use aws_lambda_events::sqs::SqsEvent;
use aws_types::SdkConfig;
use jiff::Timestamp;
use lambda_http::{Error, LambdaEvent, lambda_runtime, service_fn};
use serde_json::{Value, json};
use switchboard_flow::pull_jobs::{self, Pullable};
use switchboard_flow::{JobError, Values};
use switchboard_providers::rest::Logins;
use switchboard_queue::{Addresses, Job, SqsQueue};
use switchboard_recordings::Bucket;
use switchboard_shell::aws;
use switchboard_shell::environment::{invocation, optional, parsed, required, start_logs};
use switchboard_shell::parameters::{Cached, Parameters};
use switchboard_shell::worker::batch;
use switchboard_store::{Directory, Store};
use tracing::Instrument as _;

use crate::token_store::ParameterTokenStore;
use switchboard_flow::analyze::Analyze;
use switchboard_flow::configuration::Configuration;
use switchboard_flow::deliver::Deliver;
use switchboard_flow::deliverer::Deliverer;
use switchboard_flow::enrich::Enrich;
use switchboard_flow::gates::Gates;
use switchboard_flow::models::Models;
use switchboard_flow::pull::Puller;
use switchboard_flow::reconcile::Reconcile;
use switchboard_flow::recordings::Recordings;
use switchboard_flow::sweep::Sweep;
use switchboard_flow::tokens::TokenCache;

/// What every worker is made from.
struct Parts {
    aws: SdkConfig,
    stage: String,
    store: Store,
    queue: Arc<SqsQueue>,
}

fn parts(function: &'static str) -> Result<Parts, Error> {
    let stage = start_logs(function)?;
    let aws = aws::config()?;
    Ok(Parts {
        store: Store::dynamodb(
            &aws::dynamodb(&aws),
            required("CALLS_TABLE")?,
            parsed("RETENTION_DAYS", 400)?,
        ),
        queue: Arc::new(SqsQueue::new(
            aws::sqs(&aws),
            Addresses {
                enrich: optional("ENRICH_QUEUE_URL"),
                analyze: optional("ANALYZE_QUEUE_URL"),
                deliver: optional("DELIVER_QUEUE_URL"),
                pull: optional("PULL_QUEUE_URL"),
                recordings: optional("RECORDINGS_QUEUE_URL"),
            },
        )),
        stage,
        aws,
    })
}

impl Parts {
    /// Private addresses are destinations on the local stage alone, whatever is set.
    fn allow_private(&self) -> Result<bool, Error> {
        Ok(parsed("ALLOW_PRIVATE_DESTINATIONS", false)? && self.stage == "local")
    }

    /// What is read from the parameters in these folders.
    fn cached<T>(
        &self,
        folders: Vec<String>,
        read: impl Fn(&Values) -> T + Send + Sync + 'static,
    ) -> Result<Arc<Cached<T>>, Error> {
        let (parameters, prefix) =
            (Parameters::new(aws::ssm(&self.aws)), required("PARAMETER_PREFIX")?);
        Ok(Arc::new(Cached::new(parameters, prefix, folders, read)))
    }

    /// The parameters that this function may read.
    fn configuration(&self, folders: &[&str]) -> Result<Arc<Cached<Configuration>>, Error> {
        let allow_private = self.allow_private()?;
        let has_bucket = optional("RECORDINGS_QUEUE_URL").is_some();
        let folders = folders.iter().map(|folder| (*folder).to_owned()).collect();
        self.cached(folders, move |values| {
            let mut configuration = Configuration::read(values, allow_private);
            configuration.has_bucket = has_bucket;
            configuration
        })
    }

    /// The sources whose calls can be pulled.
    fn pullable(&self) -> Result<Arc<Cached<Pullable>>, Error> {
        // A job goes on by this queue alone: who has none must not start.
        required("PULL_QUEUE_URL")?;
        self.cached(pull_jobs::folders(), Pullable::read)
    }

    /// Before the first event, at full CPU: reads what the function acts on, without which it must not
    /// start, and opens the connections.
    async fn open<T>(&self, known: &Cached<T>) -> Result<Arc<T>, Error> {
        let (known, (), ()) = tokio::join!(
            known.get(),
            aws::briefly(self.store.connect()),
            aws::briefly(self.queue.connect()),
        );
        Ok(known?)
    }
}

/// Runs `enrich` as a function.
pub async fn enrich() -> Result<(), Error> {
    let parts = parts("enrich")?;
    let configuration = parts.configuration(&["sources", "destinations", "leads", "recordings"])?;
    let conversations = Arc::new(switchboard_http::Client::new(parts.allow_private()?)?);
    let directory = Directory::dynamodb(&aws::dynamodb(&parts.aws), required("DIRECTORY_TABLE")?);
    let (known, ()) = tokio::join!(parts.open(&configuration), aws::briefly(directory.connect()));
    for country in known?.countries() {
        switchboard_people::number::warm_up(Some(country));
    }
    let Parts { store, queue, .. } = parts;
    let worker = Enrich { store, queue, directory, conversations };
    batches(async |job| {
        let Job::Enrich { call } = job else { return misplaced() };
        let configuration = configuration.get().await?;
        worker.run(&call, &configuration, Timestamp::now()).await
    })
    .await
}

/// Runs `analyze` as a function.
pub async fn analyze() -> Result<(), Error> {
    let parts = parts("analyze")?;
    let configuration = parts.configuration(&["sources", "models"])?;
    let models = Models::new(
        &parts.aws,
        optional("AWS_ENDPOINT_URL_BEDROCK_RUNTIME"),
        parts.allow_private()?,
    )?;
    parts.open(&configuration).await?;
    let Parts { store, queue, .. } = parts;
    let worker = Analyze { store, queue, models };
    batches(async |job| {
        let Job::Analyze { call } = job else { return misplaced() };
        let configuration = configuration.get().await?;
        worker.run(&call, &configuration, Timestamp::now).await
    })
    .await
}

/// Runs `deliver` as a function.
pub async fn deliver() -> Result<(), Error> {
    let parts = parts("deliver")?;
    let configuration = parts.configuration(&["destinations"])?;
    let http = Arc::new(switchboard_http::Client::new(parts.allow_private()?)?);
    let directory = Directory::dynamodb(&aws::dynamodb(&parts.aws), required("DIRECTORY_TABLE")?);
    let token_store = Arc::new(ParameterTokenStore::new(
        Parameters::new(aws::ssm(&parts.aws)),
        required("PARAMETER_PREFIX")?,
    ));
    parts.open(&configuration).await?;
    let Parts { store, queue, .. } = parts;
    let tokens = TokenCache::new(http.clone(), store.clone(), token_store);
    let deliverer = Deliverer { http, directory, tokens };
    let gates = Gates::default();
    let worker = Deliver { store, queue, deliverer, gates };
    batches(async |job| {
        let Job::Deliver { call, delivery } = job else { return misplaced() };
        let configuration = configuration.get().await?;
        worker.run(&call, &delivery, &configuration, Timestamp::now).await
    })
    .await
}

/// Runs `recordings` as a function.
pub async fn recordings() -> Result<(), Error> {
    let parts = parts("recordings")?;
    let configuration = parts.configuration(&["sources"])?;
    let client = switchboard_http::Client::new(parts.allow_private()?)?;
    let at = aws::s3(&parts.aws)?;
    // What is set to be another S3, as the local AWS, may be anywhere.
    let transport = switchboard_http::client::transport(at.endpoint.is_some())?;
    let name = required("RECORDINGS_BUCKET")?;
    let bucket = Bucket::new(&name, &at.region, at.endpoint.as_deref(), at.credentials)
        .ok_or("RECORDINGS_BUCKET names no bucket")?;
    let (known, ()) =
        tokio::join!(parts.open(&configuration), aws::briefly(bucket.connect(&transport)));
    known?;
    let Parts { store, queue, .. } = parts;
    let worker = Recordings { store, queue, client, bucket, transport };
    batches(async |job| {
        let Job::Recordings { call } = job else { return misplaced() };
        let configuration = configuration.get().await?;
        worker.run(&call, &configuration, Timestamp::now).await
    })
    .await
}

/// Runs `pull` as a function.
pub async fn pull() -> Result<(), Error> {
    let parts = parts("pull")?;
    let pullable = parts.pullable()?;
    let http = Arc::new(switchboard_http::Client::new(parts.allow_private()?)?);
    parts.open(&pullable).await?;
    let Parts { store, queue, .. } = parts;
    let worker = Puller { store, queue, http, logins: Logins::default() };
    batches(async |job| {
        let Job::Pull { id } = job else { return misplaced() };
        let pullable = pullable.get().await?;
        worker.run(&id, &pullable, Timestamp::now).await
    })
    .await
}

/// Runs `reconcile` as a function, on a schedule.
pub async fn reconcile() -> Result<(), Error> {
    let parts = parts("reconcile")?;
    let pullable = &parts.pullable()?;
    parts.open(pullable).await?;
    let Parts { store, queue, .. } = parts;
    let worker = &Reconcile { store, queue };
    lambda_runtime::run(service_fn(move |event: LambdaEvent<Value>| {
        let run = async move {
            let started = worker.run(&*pullable.get().await?, Timestamp::now()).await?;
            Ok::<Value, Error>(json!({ "started": started }))
        };
        run.instrument(invocation(&event.context))
    }))
    .await
}

/// Runs `sweep` as a function, on a schedule.
pub async fn sweep() -> Result<(), Error> {
    let Parts { store, queue, .. } = parts("sweep")?;
    // Nothing is due since 1970: this opens the connections.
    aws::briefly(async {
        let _ = tokio::join!(store.due(0, Timestamp::UNIX_EPOCH, None), queue.connect());
    })
    .await;
    let gates = Gates::default();
    let worker = &Sweep { store, queue, gates };
    lambda_runtime::run(service_fn(move |event: LambdaEvent<Value>| {
        let run = async move {
            let sent = worker.run(Timestamp::now()).await?;
            Ok::<Value, Error>(json!({ "sent": sent }))
        };
        run.instrument(invocation(&event.context))
    }))
    .await
}

/// Answers SQS batches until the environment ends.
async fn batches(work: impl AsyncFn(Job) -> Result<(), JobError>) -> Result<(), Error> {
    let work = &work;
    lambda_runtime::run(service_fn(move |event: LambdaEvent<SqsEvent>| async move {
        let (span, deadline) = (invocation(&event.context), event.context.deadline());
        Ok::<Value, Error>(batch(event.payload, deadline, work).instrument(span).await)
    }))
    .await
}

fn misplaced() -> Result<(), JobError> {
    Err(JobError::Misplaced)
}
