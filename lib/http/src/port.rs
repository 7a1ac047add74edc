//! The port through which everything that is not AWS is reached: one request, one response.
//!
//! What stands above it (CRM formats, pulls, dialling, conversations, models) is straight-line code over
//! `&dyn Http`. A budget of requests, the renewal of tokens and tests wrap it.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use http::{HeaderMap, Method};
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
    /// Nobody listens there, or there is no way there.
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
    #[error("cannot be signed or built: mend the configuration")]
    NotBuilt,
    /// The answer is larger than anything that was asked for.
    #[error("answered too much")]
    TooLarge,
}
