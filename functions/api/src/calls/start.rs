//! Wiring of the area `calls`.

use std::sync::Arc;

use aws_types::SdkConfig;
use jiff::Timestamp;
use lambda_http::Error;
use switchboard_crm::filter::configured;
use switchboard_domain::Name;
use switchboard_flow::{Values, config};
use switchboard_providers::Provider as _;
use switchboard_providers::twilio::Twilio;
use switchboard_queue::{Addresses, SqsQueue};
use switchboard_recordings::{Bucket, Links};
use switchboard_shell::aws;
use switchboard_shell::environment::{optional, parsed, required};
use switchboard_shell::parameters::{Cached, Parameters};
use switchboard_store::{List, Place, Store, day_of};

use super::Calls;
use super::recordings::Kept;
use crate::serve::serve;
use crate::start::{Parts, parts};

/// Runs the area until the environment ends.
pub async fn calls() -> Result<(), Error> {
    let Parts { aws, access, prefix } = parts("calls")?;
    let store = Store::dynamodb(
        &aws::dynamodb(&aws),
        required("CALLS_TABLE")?,
        parsed("RETENTION_DAYS", 400)?,
    );
    let addresses = Addresses {
        enrich: optional("ENRICH_QUEUE_URL"),
        deliver: optional("DELIVER_QUEUE_URL"),
        ..Addresses::default()
    };
    let queue = SqsQueue::new(aws::sqs(&aws), addresses);
    let sources = Cached::new(
        Parameters::new(aws::ssm(&aws)),
        prefix.clone(),
        vec![format!("sources/{}", Twilio.name())],
        names,
    );
    // Read when a request needs them.
    let destinations = Box::new(Cached::new(
        Parameters::new(aws::ssm(&aws)),
        prefix.clone(),
        vec!["destinations".to_owned()],
        configured,
    ));
    let recordings = kept(&aws, prefix)?;
    let links = async {
        if let Some(kept) = &recordings {
            // A link that cannot be checked is refused when it is used.
            let _ = kept.links.links(false).await;
        }
    };
    // Before the first event, at full CPU, what it would wait for.
    let (known, _, (), (), ()) = tokio::join!(
        access.get(),
        sources.get(),
        links,
        aws::briefly(connect(&store)),
        aws::briefly(queue.connect()),
    );
    known?;
    let queue = Arc::new(queue);
    let area = Calls { store, queue, sources, destinations, recordings };
    serve(area, access).await
}

/// Opens as many connections as a list takes, by asking for one of a day without calls.
async fn connect(store: &Store) {
    let (since, before) = (Timestamp::UNIX_EPOCH, Place::of(Timestamp::MAX));
    let _ = store.lines(&List::Day(day_of(since)), since, &before, 1).await;
}

/// Where copies of recordings are, in a stack that makes any.
fn kept(aws: &SdkConfig, prefix: String) -> Result<Option<Kept>, Error> {
    let Some(name) = optional("RECORDINGS_BUCKET") else { return Ok(None) };
    let at = aws::s3(aws)?;
    let bucket = Bucket::new(&name, &at.region, at.endpoint.as_deref(), at.credentials)
        .ok_or("RECORDINGS_BUCKET names no bucket")?;
    let links =
        Cached::new(Parameters::new(aws::ssm(aws)), prefix, vec!["recordings".to_owned()], links);
    let retention_days = parsed("RECORDINGS_RETENTION_DAYS", 400)?;
    Ok(Some(Kept { bucket, retention_days, links: Box::new(links) }))
}

/// How links are checked, if that is configured.
fn links(values: &Values) -> Option<Links> {
    config::read(values, "recordings", |_, json| Links::parse(json)).pop()
}

/// The names of the sources; what else is in them is none of this function's business.
fn names(values: &Values) -> Vec<Name> {
    let last = |path: &String| path.rsplit('/').next().map(str::to_owned);
    let name = |name: String| Name::new("source", &name).ok();
    values.keys().filter_map(last).filter_map(name).collect()
}
