//! Wiring of the `sync` function.

use std::sync::Arc;

use lambda_runtime::Error;
use switchboard_queue::SqsQueue;
use switchboard_shell::environment::{optional, parsed, required};
use switchboard_shell::parameters::{Cached, ParameterError, Parameters};
use switchboard_shell::pulling::{Pullable, folders};
use switchboard_shell::telemetry::Level;
use switchboard_shell::{Telemetry, aws};
use switchboard_store::DynamoStore;

use super::{Sources, Sync};
use crate::serve::{TOKENS, access, serve};

/// Sources in the Parameter Store.
struct Kept(Cached<Pullable>);

impl Sources for Kept {
    /// A source may have been set up for pulling just now.
    async fn sources(&self) -> Result<Arc<Pullable>, ParameterError> {
        self.0.get_again().await
    }
}

/// Runs `sync` as a function.
pub async fn run() -> Result<(), Error> {
    let level = optional("LOG_LEVEL").and_then(|level| level.parse().ok()).unwrap_or(Level::Info);
    let telemetry = Telemetry::stdout("sync", required("STAGE")?, level);
    let aws = aws::config()?;
    let prefix = required("PARAMETER_PREFIX")?;
    let parameters = Parameters::new(aws::ssm(&aws));
    let table = required("CALLS_TABLE")?;
    let store = DynamoStore::new(aws::dynamodb(&aws), table, parsed("RETENTION_DAYS", 400)?);
    let pull = Some(required("PULL_QUEUE_URL")?);
    let queue = SqsQueue::new(aws::sqs(&aws), None, None).with_pull(pull);
    let log = telemetry.clone();
    let sources = Cached::new(
        parameters.clone(),
        prefix.clone(),
        folders(),
        telemetry.clone(),
        move |values| Pullable::read(values, &log),
    );
    let log = telemetry.clone();
    let tokens = vec![TOKENS.to_owned()];
    let access = Cached::new(parameters, prefix, tokens, telemetry.clone(), move |values| {
        access(values, &log)
    });
    let (known, (), ()) =
        tokio::join!(sources.get(), aws::briefly(store.connect()), aws::briefly(queue.connect()),);
    known?;
    let area = Sync { store, queue, sources: Kept(sources), telemetry: telemetry.clone() };
    serve(area, access, telemetry).await
}
