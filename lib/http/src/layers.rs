//! Layers over the port that know nothing of what is sent: how many requests, and until when.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;

use crate::port::{Http, Request, Response, SendError};

/// Sends a number of requests, and refuses all after those with [`SendError::OverBudget`].
pub struct Budget<'a> {
    inner: &'a dyn Http,
    most: usize,
    sent: AtomicUsize,
}

impl<'a> Budget<'a> {
    /// `most` requests through `inner`.
    pub fn new(inner: &'a dyn Http, most: usize) -> Self {
        Self { inner, most, sent: AtomicUsize::new(0) }
    }
}

#[async_trait]
impl Http for Budget<'_> {
    async fn send(&self, request: Request) -> Result<Response, SendError> {
        if self.sent.fetch_add(1, Ordering::Relaxed) >= self.most {
            return Err(SendError::OverBudget(self.most));
        }
        self.inner.send(request).await
    }
}

/// Shortens the timeout of every request to what is left until one common end.
pub struct Deadline<'a> {
    inner: &'a dyn Http,
    ends: Instant,
}

impl<'a> Deadline<'a> {
    /// All requests through `inner` together may take `within`, from now on.
    pub fn new(inner: &'a dyn Http, within: Duration) -> Self {
        Self { inner, ends: Instant::now() + within }
    }
}

#[async_trait]
impl Http for Deadline<'_> {
    async fn send(&self, mut request: Request) -> Result<Response, SendError> {
        request.limits.timeout = self.ends.saturating_duration_since(Instant::now());
        self.inner.send(request).await
    }
}
