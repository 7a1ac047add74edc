//! Wiring of the area `calls`.

use jiff::Timestamp;
use lambda_runtime::Error;
use switchboard_domain::Name;
use switchboard_providers::Provider as _;
use switchboard_providers::twilio::Twilio;
use switchboard_queue::SqsQueue;
use switchboard_shell::aws;
use switchboard_shell::environment::{optional, parsed, required};
use switchboard_shell::parameters::{Cached, Parameters, Values};
use switchboard_store::listing::day_of;
use switchboard_store::{DynamoStore, List, Place, Store as _};

use super::Calls;
use crate::serve::serve;
use crate::start::{Parts, parts};

/// Runs the area until the environment ends.
pub async fn calls() -> Result<(), Error> {
    let Parts { aws, telemetry, access, prefix } = parts("calls")?;
    let store = DynamoStore::new(
        aws::dynamodb(&aws),
        required("CALLS_TABLE")?,
        parsed("RETENTION_DAYS", 400)?,
    );
    let queue =
        SqsQueue::new(aws::sqs(&aws), optional("ENRICH_QUEUE_URL"), optional("DELIVER_QUEUE_URL"));
    let sources = Cached::new(
        Parameters::new(aws::ssm(&aws)),
        prefix,
        vec![format!("sources/{}", Twilio.name())],
        telemetry.clone(),
        names,
    );
    // Before the first event, at full CPU, what it would wait for.
    let (known, _, (), ()) = tokio::join!(
        access.get(),
        sources.get(),
        aws::briefly(connect(&store)),
        aws::briefly(queue.connect()),
    );
    known?;
    let area = Calls { store, queue, sources, telemetry: telemetry.clone() };
    serve(area, access, telemetry).await
}

/// Opens as many connections as a list takes, by asking for one of a day without calls.
async fn connect(store: &DynamoStore) {
    let (since, before) = (Timestamp::UNIX_EPOCH, Place::of(Timestamp::MAX));
    let _ = store.lines(&List::Day(day_of(since)), since, &before, 1).await;
}

/// The names of the sources; what else is in them is none of this function's business.
fn names(values: &Values) -> Vec<Name> {
    let last = |path: &String| path.rsplit('/').next().map(str::to_owned);
    let name = |name: String| Name::new("source", &name).ok();
    values.keys().filter_map(last).filter_map(name).collect()
}
