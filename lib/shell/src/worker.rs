//! The worker loop: an SQS batch in, the ids of those to be tried again out.
//!
//! A job that waiting may heal goes back to the queue, and to its dead letters after many tries. One that
//! waiting cannot heal (a right that is missing, an item that cannot be read) is logged, counted for an
//! alarm and removed: the sweep queues it again for as long as what it points to is due.

use std::panic::AssertUnwindSafe;
use std::time::{Duration, SystemTime};

use aws_lambda_events::sqs::{SqsEvent, SqsMessage};
use futures_util::FutureExt as _;
use futures_util::future::join_all;
use serde_json::{Value, json};
use switchboard_flow::telemetry::job_span;
use switchboard_flow::{JobError, metrics};
use switchboard_queue::Job;
use tracing::{Instrument as _, error, warn};

/// Kept free at the end of an invocation, to log and report what failed.
const MARGIN: Duration = Duration::from_secs(2);

/// Where the runtime gives no deadline (`cargo lambda watch` gives one that has passed).
const NO_DEADLINE: Duration = Duration::from_secs(30);

/// Runs every job of a batch at once, each on its own: one that fails, hangs or panics is
/// reported alone, and its neighbours are done.
pub async fn batch(
    event: SqsEvent,
    deadline: SystemTime,
    work: impl AsyncFn(Job) -> Result<(), JobError>,
) -> Value {
    let left = deadline.duration_since(SystemTime::now()).unwrap_or(NO_DEADLINE);
    let limit = left.saturating_sub(MARGIN);
    let one = |record: SqsMessage| {
        let id = record.message_id.unwrap_or_default();
        let job = record.body.as_deref().and_then(Job::from_body);
        let span = job_span(job.as_ref(), &id);
        let running = job.map(|job| span.in_scope(|| work(job)));
        async move {
            // A message without a job of ours never becomes one: trying again is of no use.
            let Some(running) = running else {
                error!("queue message without a job dropped");
                return None;
            };
            let running = AssertUnwindSafe(running).catch_unwind();
            let problem = match tokio::time::timeout(limit, running).await {
                Ok(Ok(Ok(()))) => return None,
                Ok(Ok(Err(error))) if !error.is_retryable() => {
                    // What it points to stays due, so that the sweep sends it again: no work is lost, and
                    // the queue is not kept busy with it.
                    error!(problem = %error, "job cannot be done: correct the cause");
                    metrics::count(&[("jobs_refused", 1)], &[]);
                    return None;
                }
                Ok(Ok(Err(error))) => error.to_string(),
                Ok(Err(_)) => "it panicked".to_owned(),
                Err(_) => "the invocation's time ran out".to_owned(),
            };
            warn!(problem, "job returned to the queue");
            Some(json!({ "itemIdentifier": id }))
        }
        .instrument(span)
    };
    let failures: Vec<Value> =
        join_all(event.records.into_iter().map(one)).await.into_iter().flatten().collect();
    json!({ "batchItemFailures": failures })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(n: usize, body: &str) -> SqsMessage {
        let mut message = SqsMessage::default();
        message.message_id = Some(format!("m{n}"));
        message.body = Some(body.to_owned());
        message
    }

    fn job(n: usize) -> String {
        Job::Enrich { call: format!("twilio/twilio/CA{n}").parse().unwrap() }.to_body()
    }

    async fn run(bad: usize, how: &'static str) -> (Value, usize) {
        let mut event = SqsEvent::default();
        event.records = (0..10)
            .map(|n| message(n, if n == bad && how == "garbage" { "{" } else { "" }))
            .enumerate()
            .map(|(n, mut m)| {
                if m.body.as_deref() == Some("") {
                    m.body = Some(job(n));
                }
                m
            })
            .collect();
        let done = std::cell::Cell::new(0);
        let deadline = SystemTime::now() + MARGIN + Duration::from_millis(200);
        let answer = batch(event, deadline, |job: Job| {
            let is_bad = job.call().map(|call| call.call_id()) == Some(&format!("CA{bad}"));
            let done = &done;
            async move {
                match (is_bad, how) {
                    (true, "retry") => return Err(JobError::Configuration("later".into())),
                    (true, "refused") => return Err(JobError::Misplaced),
                    (true, "panic") => panic!("a bug"),
                    (true, "hang") => std::future::pending().await,
                    _ => done.set(done.get() + 1),
                }
                Ok(())
            }
        })
        .await;
        (answer, done.get())
    }

    #[tokio::test]
    async fn one_bad_record_is_reported_alone_wherever_it_stands() {
        for bad in 0..10 {
            for how in ["retry", "panic", "hang"] {
                let (answer, done) = run(bad, how).await;
                let expected =
                    json!({"batchItemFailures": [{"itemIdentifier": format!("m{bad}")}]});
                assert_eq!((answer, done), (expected, 9), "{how} at {bad}");
            }
        }
    }

    #[tokio::test]
    async fn a_message_that_is_no_job_or_that_no_waiting_heals_is_removed() {
        let log = switchboard_flow::telemetry::capture();
        for (how, line) in [
            ("garbage", "without a job"),
            ("refused", "job cannot be done"),
            ("refused", "\"jobs_refused\":1"),
        ] {
            assert_eq!(run(3, how).await, (json!({"batchItemFailures": []}), 9), "{how}");
            assert!(log.lines().iter().any(|logged| logged.contains(line)), "{line}");
        }
    }
}
