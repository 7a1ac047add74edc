//! Wiring of the `sync` function.

use std::sync::Arc;

use lambda_http::Error;
use switchboard_flow::pull_jobs::{Pullable, folders};
use switchboard_queue::{Addresses, SqsQueue};
use switchboard_shell::aws;
use switchboard_shell::environment::{parsed, required};
use switchboard_shell::parameters::{Cached, ParameterError, Parameters};
use switchboard_store::Store;

use super::{Sources, Sync};
use crate::serve::serve;
use crate::start::{Parts, parts};

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
    let Parts { aws, access, prefix } = parts("sync")?;
    let table = required("CALLS_TABLE")?;
    let store = Store::dynamodb(&aws::dynamodb(&aws), table, parsed("RETENTION_DAYS", 400)?);
    let addresses = Addresses { pull: Some(required("PULL_QUEUE_URL")?), ..Addresses::default() };
    let queue = Arc::new(SqsQueue::new(aws::sqs(&aws), addresses));
    let sources = Cached::new(Parameters::new(aws::ssm(&aws)), prefix, folders(), Pullable::read);
    let (known, (), ()) =
        tokio::join!(sources.get(), aws::briefly(store.connect()), aws::briefly(queue.connect()),);
    known?;
    let area = Sync { store, queue, sources: Kept(sources) };
    serve(area, access).await
}
