//! The Lambda Runtime API: hands out events one at a time and takes the answers' times.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hyper::body::Bytes;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

use crate::Failure;
use crate::server::{Received, Reply, lock, serve};

const PREFIX: &str = "/2018-06-01/runtime/";
/// What a function is told that it has.
const TIMEOUT: Duration = Duration::from_secs(60);

/// What a program did.
enum Said {
    /// It asks for an event.
    Next(Instant, oneshot::Sender<Handed>),
    /// It answered the event that it had, well or with an error.
    Answered(Instant, Result<Bytes, Bytes>),
    /// It could not start.
    NotStarted(Bytes),
}

struct Handed {
    event: Bytes,
    id: String,
}

/// The Runtime API for one program after another.
pub struct RuntimeApi {
    /// The port on loopback.
    pub port: u16,
    said: mpsc::UnboundedReceiver<Said>,
    waiting: Option<oneshot::Sender<Handed>>,
    handed_at: Arc<Mutex<Option<Instant>>>,
    handed: u64,
}

/// One invocation, from the event's first byte to the answer's last.
#[derive(Clone, Debug)]
pub struct Invocation {
    /// How long it took.
    pub took: Duration,
    /// When the answer was there.
    pub answered_at: Instant,
    /// What was answered.
    pub answer: Value,
}

impl RuntimeApi {
    /// Starts it.
    pub async fn start() -> Result<Self, Failure> {
        let (says, said) = mpsc::unbounded_channel();
        let handed_at: Arc<Mutex<Option<Instant>>> = Arc::default();
        let stamp = handed_at.clone();
        let port = serve("runtime", None, Arc::default(), move |received| {
            answer(received, says.clone(), stamp.clone())
        })
        .await?;
        Ok(Self { port, said, waiting: None, handed_at, handed: 0 })
    }

    /// Forgets the program before.
    pub fn reset(&mut self) {
        self.waiting = None;
        while self.said.try_recv().is_ok() {}
    }

    /// Waits until the program asks for an event; says when it did.
    pub async fn asked(&mut self, patience: Duration) -> Result<Instant, Failure> {
        match tokio::time::timeout(patience, self.said.recv()).await {
            Ok(Some(Said::Next(at, reply))) => {
                self.waiting = Some(reply);
                Ok(at)
            }
            Ok(Some(Said::NotStarted(why))) => {
                Err(Failure::new(format!("it could not start: {}", String::from_utf8_lossy(&why))))
            }
            Ok(Some(Said::Answered(..))) => {
                Err(Failure::new("it answered an event that it had not"))
            }
            Ok(None) => Err(Failure::new("the Runtime API is gone")),
            Err(_) => Err(Failure::new(format!("it asked for no event in {patience:?}"))),
        }
    }

    /// Hands out an event, and waits for its answer and for the question for the next.
    pub async fn invoke(
        &mut self,
        event: Vec<u8>,
        patience: Duration,
    ) -> Result<Invocation, Failure> {
        let waiting = self.waiting.take().ok_or_else(|| Failure::new("it does not ask"))?;
        self.handed += 1;
        let id = format!("8476a536-e9f4-11e8-9739-{:012x}", self.handed);
        let handed = Handed { event: Bytes::from(event), id };
        waiting.send(handed).map_err(|_| Failure::new("it hung up while waiting for an event"))?;
        let (answered_at, answer) = match tokio::time::timeout(patience, self.said.recv()).await {
            Ok(Some(Said::Answered(at, answer))) => (at, answer),
            Ok(_) => return Err(Failure::new("it asked for an event before it had answered one")),
            Err(_) => return Err(Failure::new(format!("it did not answer in {patience:?}"))),
        };
        let answer = answer
            .map_err(|why| Failure::new(format!("it failed: {}", String::from_utf8_lossy(&why))))?;
        let handed_at = lock(&self.handed_at).take();
        let handed_at = handed_at.ok_or_else(|| Failure::new("no event was handed out"))?;
        self.asked(patience).await?;
        Ok(Invocation {
            took: answered_at.duration_since(handed_at),
            answered_at,
            answer: serde_json::from_slice(&answer)?,
        })
    }
}

async fn answer(
    received: Received,
    says: mpsc::UnboundedSender<Said>,
    handed_at: Arc<Mutex<Option<Instant>>>,
) -> Reply {
    let at = Instant::now();
    let path = received.path.strip_prefix(PREFIX).unwrap_or_default();
    let (status, headers, body) = match path {
        "invocation/next" => {
            let (reply, handed) = oneshot::channel();
            let _ = says.send(Said::Next(at, reply));
            // Dropped when the run goes on to another program: this one is being ended.
            let Ok(handed) = handed.await else { return plain(410, Vec::new(), Bytes::new()) };
            let headers = headers(handed.id);
            *lock(&handed_at) = Some(Instant::now());
            (200, headers, handed.event)
        }
        "init/error" => {
            let _ = says.send(Said::NotStarted(received.body));
            (202, Vec::new(), Bytes::from_static(b"{\"status\":\"OK\"}"))
        }
        _ => {
            let result = match path.rsplit_once('/') {
                Some((_, "response")) => Ok(received.body),
                Some((_, "error")) => Err(received.body),
                _ => return plain(404, Vec::new(), Bytes::new()),
            };
            let _ = says.send(Said::Answered(at, result));
            (202, Vec::new(), Bytes::from_static(b"{\"status\":\"OK\"}"))
        }
    };
    plain(status, headers, body)
}

fn plain(status: u16, headers: Vec<(&'static str, String)>, body: Bytes) -> Reply {
    Reply { status, content_type: "application/json", headers, body, counted_as: None }
}

fn headers(id: String) -> Vec<(&'static str, String)> {
    let deadline = SystemTime::now() + TIMEOUT;
    let deadline = deadline.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let arn = "arn:aws:lambda:eu-central-1:123456789012:function:bench";
    let trace = "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Parent=9a9197af755a6419;Sampled=0";
    vec![
        ("lambda-runtime-aws-request-id", id),
        ("lambda-runtime-deadline-ms", deadline.to_string()),
        ("lambda-runtime-invoked-function-arn", arn.to_owned()),
        ("lambda-runtime-trace-id", trace.to_owned()),
    ]
}
