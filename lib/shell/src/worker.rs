//! The worker loop: an SQS batch in, the ids of those to be tried again out.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::{Duration, SystemTime};

use aws_lambda_events::sqs::SqsEvent;
use futures_util::FutureExt as _;
use futures_util::future::join_all;
use serde_json::{Value, json};
use switchboard_flow::{JobError, Telemetry};
use switchboard_queue::Job;

/// Kept free at the end of an invocation for saying what happened.
const MARGIN: Duration = Duration::from_secs(2);

/// What a runtime grants that tells no deadline (`cargo lambda watch` tells one that has passed).
const UNTOLD: Duration = Duration::from_secs(30);

/// Runs every job of a batch at once, each on its own: one that fails, hangs or panics is
/// reported alone, and its neighbours are done.
pub async fn batch<F, W>(
    event: SqsEvent,
    deadline: SystemTime,
    telemetry: &Telemetry,
    work: F,
) -> Value
where
    F: Fn(Job) -> W,
    W: Future<Output = Result<(), JobError>>,
{
    let left = deadline.duration_since(SystemTime::now()).unwrap_or(UNTOLD);
    let limit = left.saturating_sub(MARGIN);
    let one = |record: aws_lambda_events::sqs::SqsMessage| {
        let job = record.body.as_deref().and_then(Job::from_body);
        let id = record.message_id.unwrap_or_default();
        let running = job.map(&work);
        async move {
            let Some(running) = running else {
                // It will never be one, so trying again helps nobody.
                telemetry.error("a message holds no job of ours; dropped", &[("message_id", &id)]);
                return None;
            };
            let problem =
                match tokio::time::timeout(limit, AssertUnwindSafe(running).catch_unwind()).await {
                    Ok(Ok(Ok(()))) => return None,
                    Ok(Ok(Err(retry))) => retry.to_string(),
                    Ok(Err(_)) => "it panicked".to_owned(),
                    Err(_) => "the invocation's time ran out".to_owned(),
                };
            telemetry
                .warn("job goes back to the queue", &[("message_id", &id), ("problem", &problem)]);
            Some(json!({ "itemIdentifier": id }))
        }
    };
    let failures: Vec<Value> =
        join_all(event.records.into_iter().map(one)).await.into_iter().flatten().collect();
    json!({ "batchItemFailures": failures })
}

#[cfg(test)]
mod tests {
    use aws_lambda_events::sqs::SqsMessage;

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
        let telemetry = Telemetry::memory("test");
        let answer = batch(event, deadline, &telemetry, |job| {
            let is_bad = job.call().map(|call| call.call_id()) == Some(&format!("CA{bad}"));
            let done = &done;
            async move {
                match (is_bad, how) {
                    (true, "retry") => return Err(JobError::Configuration("later".into())),
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
    async fn a_message_that_is_no_job_is_dropped() {
        assert_eq!(run(3, "garbage").await, (json!({"batchItemFailures": []}), 9));
    }
}
