//! The port through which everything that is not AWS is reached: one request, one response.
//!
//! What stands above it (CRM formats, pulls, dialling, conversations, models) is straight-line code over
//! `&dyn Http`. A budget of requests, the renewal of tokens and tests wrap it.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method};
use serde_json::Value;
use url::Url;

/// Sends requests.
#[async_trait]
pub trait Http: Send + Sync {
    /// Sends one request and reads the whole response, whatever its status.
    async fn send(&self, request: Request) -> Result<Response, SendError>;
}

/// One request. `Debug` shows the method and the host alone: the rest may hold personal data or secrets.
#[derive(Clone)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// The URL. Its query may hold personal data.
    pub url: Url,
    /// The headers. Those with secrets are marked as sensitive.
    pub headers: HeaderMap,
    /// The body; empty for none.
    pub body: Vec<u8>,
    /// How long it may take, and how large the response may be.
    pub limits: Limits,
}

impl Request {
    /// A request without headers and body, within the [usual limits](Limits::default).
    pub fn new(method: Method, url: Url) -> Self {
        let (headers, body, limits) = (HeaderMap::new(), Vec::new(), Limits::default());
        Self { method, url, headers, body, limits }
    }

    /// The same with a body of JSON.
    pub fn json(method: Method, url: Url, body: &Value) -> Self {
        let content_type = HeaderValue::from_static("application/json");
        Self::new(method, url).with_body(content_type, body.to_string().into_bytes())
    }

    /// With this body. An empty one has no `Content-Type`.
    pub fn with_body(mut self, content_type: HeaderValue, body: Vec<u8>) -> Self {
        if !body.is_empty() {
            self.headers.insert(CONTENT_TYPE, content_type);
        }
        self.body = body;
        self
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.url.host_str().unwrap_or_default())
    }
}

/// What one request may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// From the first byte sent to the last byte read.
    pub timeout: Duration,
    /// The response's body, bytes. A longer one is [`SendError::TooLarge`].
    pub largest: usize,
}

impl Limits {
    /// `largest` for a caller that needs the status alone. The beginning of the body is read, so that the
    /// connection can be used again: up to 64 KiB and for up to a second. A body that is longer, slower or
    /// breaks off is no error.
    pub const STATUS_ONLY: usize = 0;
}

impl Default for Limits {
    /// 15 seconds and 1 MiB: enough for a response of any API.
    fn default() -> Self {
        Self { timeout: Duration::from_secs(15), largest: 1024 * 1024 }
    }
}

/// One response. `Debug` shows the status and the length alone.
#[derive(Clone, PartialEq, Eq)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body. May hold personal data.
    pub body: Vec<u8>,
}

impl Response {
    /// Whether the status is 2xx.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The body as JSON; null where it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// A header as text, if it is there and is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} bytes)", self.status, self.body.len())
    }
}

/// No response was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// None came in time. The other side may have taken the request all the same.
    #[error("timed out")]
    TimedOut,
    /// No process listens there, or there is no way there.
    #[error("could not connect")]
    NotConnected,
    /// The host's name leads to no address.
    #[error("name not resolved")]
    NotResolved,
    /// The host is a private address, or its name leads to none but such.
    #[error("private address refused")]
    PrivateAddress,
    /// What answered does not speak TLS, or its certificate is not good for the host.
    #[error("no secure connection")]
    NotSecure,
    /// The connection broke. The other side may have taken the request all the same.
    #[error("broke off")]
    BrokeOff,
    /// The request cannot be made as the other side is configured.
    #[error("cannot be signed or built: correct the configuration")]
    NotBuilt,
    /// The response is larger than its limit.
    #[error("the response is too large")]
    TooLarge,
    /// The [budget](crate::layers::Budget) of so many requests is spent: it was not sent.
    #[error("not done after {0} requests")]
    OverBudget(usize),
    /// There are no credentials to send it with: it was not sent.
    #[error("no access token")]
    NoCredentials,
}
