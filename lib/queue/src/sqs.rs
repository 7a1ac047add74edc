//! Jobs on SQS.

use std::collections::BTreeMap;

use async_trait::async_trait;
use aws_sdk_sqs::Client;
use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sqs::types::{QueueAttributeName, SendMessageBatchRequestEntry};
use futures_util::{StreamExt as _, stream};

use crate::{ByKind, Job, Queue, QueueError, Send, Waiting};

/// SQS takes at most this many messages in one request.
const BATCH: usize = 10;
/// So many requests are under way at a time. One after the other, those of a large webhook would wait
/// for the workers that are busy with its first jobs already.
const AT_ONCE: usize = 8;

/// The addresses of the queues of the stack. A function knows those of the queues that it may send to.
pub type Addresses = ByKind<Option<String>>;

/// The queues of the stack.
#[derive(Clone)]
pub struct SqsQueue {
    client: Client,
    addresses: Addresses,
}

impl SqsQueue {
    /// Queues by their addresses.
    pub fn new(client: Client, addresses: Addresses) -> Self {
        Self { client, addresses }
    }

    /// Opens a connection, so that the first job need not wait for it. It asks for what the
    /// function may do and SQS refuses: a message without a body. Whether it succeeds does not matter.
    pub async fn connect(&self) {
        let Addresses { enrich, deliver, pull, recordings, .. } = &self.addresses;
        let known = [enrich, deliver, pull, recordings];
        if let Some(address) = known.into_iter().flatten().next() {
            let _ = self.client.send_message().queue_url(address).message_body("").send().await;
        }
    }

    fn address(&self, job: &Job) -> Result<&str, QueueError> {
        let unknown = || QueueError { code: "this function has no such queue".into() };
        self.addresses.of(job).as_deref().ok_or_else(unknown)
    }

    async fn depth(&self, address: Option<&str>) -> Result<u64, QueueError> {
        let Some(address) = address else { return Ok(0) };
        let name = QueueAttributeName::ApproximateNumberOfMessages;
        let request = self.client.get_queue_attributes().queue_url(address);
        let answer = request.attribute_names(name.clone()).send().await.map_err(fault)?;
        let depth = answer.attributes().and_then(|attributes| attributes.get(&name)?.parse().ok());
        depth.ok_or_else(|| QueueError { code: "the response has no depth".into() })
    }

    async fn send_one(&self, address: &str, send: &Send) -> Result<(), QueueError> {
        let request =
            self.client.send_message().queue_url(address).message_body(send.job.to_body());
        // A delay that is not said leaves the queue's own, which is none.
        let delay = (send.delay > 0).then_some(send.delay as i32);
        // On a standard queue a group gives no order: it makes the queue fair.
        let group = send.job.group().map(ToString::to_string);
        request.set_message_group_id(group).set_delay_seconds(delay).send().await.map_err(fault)?;
        Ok(())
    }

    async fn send_batch(&self, address: &str, batch: &[&Send]) -> Result<(), QueueError> {
        let mut request = self.client.send_message_batch().queue_url(address);
        for (n, send) in batch.iter().enumerate() {
            let entry = SendMessageBatchRequestEntry::builder()
                .id(n.to_string())
                .message_body(send.job.to_body())
                .set_message_group_id(send.job.group().map(ToString::to_string))
                .delay_seconds(send.delay as i32)
                .build()
                .map_err(|_| QueueError { code: "incomplete entry".into() })?;
            request = request.entries(entry);
        }
        let answer = request.send().await.map_err(fault)?;
        match answer.failed().first() {
            Some(failed) => Err(QueueError { code: failed.code().to_owned() }),
            None => Ok(()),
        }
    }
}

#[async_trait]
impl Queue for SqsQueue {
    async fn send(&self, jobs: &[Send]) -> Result<(), QueueError> {
        if let [send] = jobs {
            return self.send_one(self.address(&send.job)?, send).await;
        }
        let mut by_address: BTreeMap<&str, Vec<&Send>> = BTreeMap::new();
        for send in jobs {
            by_address.entry(self.address(&send.job)?).or_default().push(send);
        }
        let requests: Vec<_> = by_address
            .iter()
            .flat_map(|(address, sends)| sends.chunks(BATCH).map(|batch| (*address, batch)))
            .map(|(address, batch)| self.send_batch(address, batch))
            .collect();
        stream::iter(requests)
            .buffer_unordered(AT_ONCE)
            // One that fails keeps no other from being sent.
            .fold(Ok(()), async |all, one| all.and(one))
            .await
    }

    async fn waiting(&self) -> Result<Waiting, QueueError> {
        let Addresses { enrich, analyze, deliver, pull, recordings } = &self.addresses;
        Ok(Waiting {
            enrich: self.depth(enrich.as_deref()).await?,
            analyze: self.depth(analyze.as_deref()).await?,
            deliver: self.depth(deliver.as_deref()).await?,
            pull: self.depth(pull.as_deref()).await?,
            recordings: self.depth(recordings.as_deref()).await?,
        })
    }
}

fn fault<E: ProvideErrorMetadata, R>(error: SdkError<E, R>) -> QueueError {
    let code = match &error {
        SdkError::TimeoutError(_) => "timed out",
        SdkError::DispatchFailure(_) => "not reached",
        SdkError::ServiceError(service) => service.err().code().unwrap_or("unknown code"),
        _ => "failed",
    };
    QueueError { code: code.to_owned() }
}
