//! An HTTP/1.1 server on a free port of loopback, with or without TLS.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rcgen::CertifiedKey;
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use crate::Failure;

/// A response with its whole body.
pub type Reply = Response<Full<Bytes>>;

/// The connections of one or more servers.
pub struct Connections {
    opened: AtomicU64,
    open: AtomicU64,
    close: watch::Sender<()>,
}

impl Default for Connections {
    fn default() -> Self {
        Self { opened: AtomicU64::new(0), open: AtomicU64::new(0), close: watch::Sender::new(()) }
    }
}

impl Connections {
    /// How many have been opened so far.
    pub fn opened(&self) -> u64 {
        self.opened.load(Ordering::Relaxed)
    }

    /// Closes every connection, as a service does with idle ones; waits until requests are served and all are closed.
    pub async fn close(&self) {
        self.close.send_replace(());
        while self.open.load(Ordering::Relaxed) > 0 {
            tokio::task::yield_now().await;
        }
    }
}

/// Serves until the process ends. Returns the port. Where there is no reply, the connection is closed.
pub async fn serve<F, R>(
    tls: Option<TlsAcceptor>,
    connections: Arc<Connections>,
    handle: impl Fn(Request<Bytes>) -> F + Clone + Send + Sync + 'static,
) -> Result<u16, Failure>
where
    F: Future<Output = R> + Send + 'static,
    R: Into<Option<Reply>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // Without it, a small response waits for an acknowledgement.
            let _ = stream.set_nodelay(true);
            let (tls, connections, handle) = (tls.clone(), connections.clone(), handle.clone());
            tokio::spawn(async move {
                match tls {
                    None => connection(stream, &connections, handle).await,
                    Some(tls) => {
                        if let Ok(stream) = tls.accept(stream).await {
                            connection(stream, &connections, handle).await;
                        }
                    }
                }
            });
        }
    });
    Ok(port)
}

async fn connection<F: Future<Output = R>, R: Into<Option<Reply>>>(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    connections: &Connections,
    handle: impl Fn(Request<Bytes>) -> F,
) {
    connections.opened.fetch_add(1, Ordering::Relaxed);
    connections.open.fetch_add(1, Ordering::Relaxed);
    serve_connection(stream, connections.close.subscribe(), handle).await;
    connections.open.fetch_sub(1, Ordering::Relaxed);
}

async fn serve_connection<F: Future<Output = R>, R: Into<Option<Reply>>>(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    mut close: watch::Receiver<()>,
    handle: impl Fn(Request<Bytes>) -> F,
) {
    let service = service_fn(|request: Request<Incoming>| async {
        let (head, body) = request.into_parts();
        let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
        let reply = handle(Request::from_parts(head, body)).await.into();
        reply.ok_or_else(|| io::Error::from(io::ErrorKind::ConnectionAborted))
    });
    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    tokio::select! {
        _ = connection.as_mut() => return,
        _ = close.changed() => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

/// A certificate for `localhost` as PEM, for clients to trust, and TLS with it.
pub fn certificate() -> Result<(String, TlsAcceptor), Failure> {
    let CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let text = STANDARD.encode(cert.der());
    let lines: Vec<_> = text.as_bytes().chunks(64).map(String::from_utf8_lossy).collect();
    let pem = lines.join("\n");
    let pem = format!("-----BEGIN CERTIFICATE-----\n{pem}\n-----END CERTIFICATE-----\n");
    Ok((pem, TlsAcceptor::from(Arc::new(config))))
}
