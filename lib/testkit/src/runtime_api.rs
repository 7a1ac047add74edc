//! The Lambda Runtime API: hands out one event after the other and measures how long each takes.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::{Request, Response};
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

use crate::http::{Reply, serve};
use crate::{Failure, lock};

/// The time that a function is given for an event.
const TIMEOUT: Duration = Duration::from_secs(60);

enum Message {
    /// A poll for the next event.
    Poll(Instant, oneshot::Sender<Bytes>),
    /// A response to an event, or an error instead of it or of the start.
    Done(Instant, Result<Bytes, Bytes>),
}

/// The Runtime API of one process after another.
pub struct RuntimeApi {
    /// The port on loopback.
    pub port: u16,
    messages: mpsc::UnboundedReceiver<Message>,
    poll: Option<oneshot::Sender<Bytes>>,
    sent_at: Arc<Mutex<Option<Instant>>>,
}

/// One invocation.
pub struct Invocation {
    /// From the event's first byte to the response's last.
    pub took: Duration,
    /// When the response was complete.
    pub ended_at: Instant,
    /// The response.
    pub response: Value,
}

impl RuntimeApi {
    /// Starts it.
    pub async fn start() -> Result<Self, Failure> {
        let (sender, messages) = mpsc::unbounded_channel();
        let sent_at: Arc<Mutex<Option<Instant>>> = Arc::default();
        let stamp = sent_at.clone();
        let handle = move |request| handle(request, sender.clone(), stamp.clone());
        let port = serve(None, Arc::default(), handle).await?;
        Ok(Self { port, messages, poll: None, sent_at })
    }

    /// Forgets the process before.
    pub fn reset(&mut self) {
        self.poll = None;
        while self.messages.try_recv().is_ok() {}
    }

    async fn message(&mut self, patience: Duration) -> Result<Message, Failure> {
        let message = tokio::time::timeout(patience, self.messages.recv()).await;
        let message = message.map_err(|_| format!("no request in {patience:?}"))?;
        Ok(message.ok_or("the Runtime API has ended")?)
    }

    /// Waits for the poll for an event; returns its time.
    pub async fn polled(&mut self, patience: Duration) -> Result<Instant, Failure> {
        match self.message(patience).await? {
            Message::Poll(at, reply) => {
                self.poll = Some(reply);
                Ok(at)
            }
            Message::Done(_, Err(error)) => Err(String::from_utf8_lossy(&error).into()),
            Message::Done(..) => Err("a response without an event".into()),
        }
    }

    /// Hands out an event; waits for the response, and for the poll for the next event.
    pub async fn invoke(
        &mut self,
        event: Vec<u8>,
        patience: Duration,
    ) -> Result<Invocation, Failure> {
        let poll = self.poll.take().ok_or("it does not poll")?;
        poll.send(Bytes::from(event)).map_err(|_| "it hung up while it polled")?;
        let Message::Done(ended_at, response) = self.message(patience).await? else {
            return Err("it polled before it responded".into());
        };
        let sent_at = lock(&self.sent_at).take().ok_or("no event was sent")?;
        // An error is a response too: an object with `errorMessage`.
        let response = serde_json::from_slice(&response.unwrap_or_else(|error| error))?;
        self.polled(patience).await?;
        Ok(Invocation { took: ended_at.duration_since(sent_at), ended_at, response })
    }
}

async fn handle(
    request: Request<Bytes>,
    sender: mpsc::UnboundedSender<Message>,
    sent_at: Arc<Mutex<Option<Instant>>>,
) -> Reply {
    let at = Instant::now();
    if !request.uri().path().ends_with("/invocation/next") {
        let is_error = request.uri().path().ends_with("/error");
        let body = request.into_body();
        let _ = sender.send(Message::Done(at, if is_error { Err(body) } else { Ok(body) }));
        let accepted = Response::builder().status(202).header("content-type", "application/json");
        return accepted.body(Full::from(r#"{"status":"OK"}"#)).unwrap_or_default();
    }
    let (reply, event) = oneshot::channel();
    let _ = sender.send(Message::Poll(at, reply));
    // Without an event this process is being ended, and another one is served.
    let Ok(event) = event.await else { return Reply::default() };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let arn = "arn:aws:lambda:eu-central-1:123456789012:function:bench";
    let trace = "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Parent=9a9197af755a6419;Sampled=0";
    let response = Response::builder()
        .header("content-type", "application/json")
        .header(
            "lambda-runtime-aws-request-id",
            format!("8476a536-e9f4-11e8-9739-{:012x}", now.as_micros() & 0xffff_ffff_ffff),
        )
        .header("lambda-runtime-deadline-ms", (now + TIMEOUT).as_millis().to_string())
        .header("lambda-runtime-invoked-function-arn", arn)
        .header("lambda-runtime-trace-id", trace);
    *lock(&sent_at) = Some(Instant::now());
    response.body(Full::new(event)).unwrap_or_default()
}
