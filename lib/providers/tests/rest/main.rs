//! Providers' REST interfaces: what is requested, and how responses are read.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod dial;
mod pull;
mod recordings;

use std::collections::VecDeque;
use std::future::Future;
use std::sync::Mutex;

use async_trait::async_trait;
use futures_util::FutureExt as _;
use switchboard_domain::Name;
use switchboard_http::{Http, Request, Response, SendError};

/// Gives its responses one after the other, and keeps the requests.
#[derive(Default)]
pub struct Scripted {
    responses: Mutex<VecDeque<Response>>,
    requests: Mutex<Vec<Request>>,
}

impl Scripted {
    /// With these responses; a request beyond them times out.
    pub fn new(responses: impl IntoIterator<Item = Response>) -> Self {
        let responses = Mutex::new(responses.into_iter().collect());
        Self { responses, requests: Mutex::default() }
    }

    /// The one request that was sent.
    pub fn request(&self) -> Request {
        assert_eq!(self.requests(), 1);
        self.nth(0)
    }

    /// A request, by its number from 0.
    pub fn nth(&self, n: usize) -> Request {
        self.requests.lock().unwrap()[n].clone()
    }

    /// How many requests were sent.
    pub fn requests(&self) -> usize {
        self.requests.lock().unwrap().len()
    }
}

#[async_trait]
impl Http for Scripted {
    async fn send(&self, request: Request) -> Result<Response, SendError> {
        self.requests.lock().unwrap().push(request);
        self.responses.lock().unwrap().pop_front().ok_or(SendError::TimedOut)
    }
}

/// The result of a future that waits for nothing.
pub fn now<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().unwrap()
}

/// A response without headers.
pub fn response(status: u16, body: &str) -> Response {
    Response { status, headers: http::HeaderMap::new(), body: body.as_bytes().to_vec() }
}

/// A name.
pub fn name(text: &str) -> Name {
    Name::new("name", text).unwrap()
}
