//! An HTTP/1.1 server on loopback, with or without TLS, that counts what it is asked.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use crate::Failure;

/// What the stand-ins were asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Requests by service and operation, as `dynamodb PutItem`.
    pub requests: BTreeMap<String, u64>,
    /// Connections opened, by the name of the listener.
    pub connections: BTreeMap<String, u64>,
    /// Bytes of the requests' bodies, by the name of the listener.
    pub bytes_in: BTreeMap<String, u64>,
    /// Bytes of the answers' bodies.
    pub bytes_out: u64,
}

impl Counts {
    /// All connections.
    pub fn connected(&self) -> u64 {
        self.connections.values().sum()
    }

    /// Bytes of all requests' bodies.
    pub fn sent(&self) -> u64 {
        self.bytes_in.values().sum()
    }
}

/// What all stand-ins share: their counts, and when to hang up.
pub struct Shared {
    counts: Mutex<Counts>,
    hang_up: watch::Sender<u64>,
}

impl Default for Shared {
    fn default() -> Self {
        Self { counts: Mutex::default(), hang_up: watch::Sender::new(0) }
    }
}

/// Locks, whatever became of the thread that held the lock.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// What was asked since the last time.
    pub fn take_counts(&self) -> Counts {
        std::mem::take(&mut lock(&self.counts))
    }

    /// Closes every connection that waits for a request, as a service does with idle ones.
    pub fn close_idle(&self) {
        self.hang_up.send_modify(|generation| *generation += 1);
    }
}

/// A request, whole.
pub struct Received {
    /// The method.
    pub method: hyper::Method,
    /// The path.
    pub path: String,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

/// An answer.
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// The value of `content-type`.
    pub content_type: &'static str,
    /// Further headers.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Bytes,
    /// What was asked for, as `dynamodb PutItem`. Nothing is counted without it.
    pub counted_as: Option<String>,
}

/// Serves on a free port of loopback until the process ends; says which.
pub async fn serve<H, F>(
    name: &'static str,
    tls: Option<TlsAcceptor>,
    shared: Arc<Shared>,
    handle: H,
) -> Result<u16, Failure>
where
    H: Fn(Received) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Reply> + Send,
{
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (tls, shared, handle) = (tls.clone(), shared.clone(), handle.clone());
            tokio::spawn(async move { connection(name, stream, tls, shared, handle).await });
        }
    });
    Ok(port)
}

async fn connection<H, F>(
    name: &'static str,
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    shared: Arc<Shared>,
    handle: H,
) where
    H: Fn(Received) -> F + Send + Sync,
    F: Future<Output = Reply> + Send,
{
    // Without it the answer to a small request may wait for an acknowledgement.
    let _ = stream.set_nodelay(true);
    match tls {
        None => requests(name, stream, &shared, handle).await,
        Some(tls) => {
            // A client that does not trust us, or goes away, is the program's to report.
            if let Ok(stream) = tls.accept(stream).await {
                requests(name, stream, &shared, handle).await;
            }
        }
    }
}

async fn requests<S, H, F>(name: &'static str, stream: S, shared: &Shared, handle: H)
where
    S: AsyncRead + AsyncWrite + Unpin,
    H: Fn(Received) -> F,
    F: Future<Output = Reply>,
{
    *lock(&shared.counts).connections.entry(name.to_owned()).or_default() += 1;
    let mut hang_up = shared.hang_up.subscribe();
    let service = service_fn(|request: Request<Incoming>| {
        let handle = &handle;
        async move { Ok::<_, Infallible>(answer(name, request, shared, handle).await) }
    });
    let mut connection = pin!(
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service)
    );
    tokio::select! {
        _ = connection.as_mut() => return,
        _ = hang_up.changed() => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

async fn answer<H, F>(
    name: &'static str,
    request: Request<Incoming>,
    shared: &Shared,
    handle: &H,
) -> Response<Full<Bytes>>
where
    H: Fn(Received) -> F,
    F: Future<Output = Reply>,
{
    let (head, body) = request.into_parts();
    // A request that breaks off is answered to nobody.
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let bytes_in = body.len() as u64;
    let received = Received {
        method: head.method,
        path: head.uri.path().to_owned(),
        headers: head.headers,
        body,
    };
    let reply = handle(received).await;
    if let Some(counted_as) = reply.counted_as {
        let mut counts = lock(&shared.counts);
        *counts.requests.entry(counted_as).or_default() += 1;
        *counts.bytes_in.entry(name.to_owned()).or_default() += bytes_in;
        counts.bytes_out += reply.body.len() as u64;
    }
    let mut response = Response::new(Full::new(reply.body));
    *response.status_mut() =
        StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(reply.content_type));
    for (name, value) in reply.headers {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    }
    response
}

#[cfg(test)]
mod tests;
