//! One HTTP/1.1 connection, opened again when the other side has closed it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::http::response::Parts;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;

use crate::Failure;

const CONNECT_LIMIT: Duration = Duration::from_secs(1);
const TRY_LIMIT: Duration = Duration::from_secs(3);
/// The first try and two more, as the functions.
const TRIES: u32 = 3;
/// Before the second try; twice as long before the third.
const PAUSE: Duration = Duration::from_millis(50);

/// A connection to one server.
pub struct Connection {
    authority: String,
    tls: Option<Arc<ClientConfig>>,
    sender: Option<SendRequest<Full<Bytes>>>,
}

impl Connection {
    /// To a server that does not speak TLS, by its host and port.
    pub fn plain(authority: &str) -> Self {
        Self { authority: authority.to_owned(), tls: None, sender: None }
    }

    /// To a server over TLS, by its host and port.
    pub fn tls(authority: &str, tls: Arc<ClientConfig>) -> Self {
        Self { authority: authority.to_owned(), tls: Some(tls), sender: None }
    }

    /// Host and port, as the header `host` has them.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// Opens it, unless it is open.
    pub async fn open(&mut self) -> Result<(), Failure> {
        if self.sender.as_ref().is_none_or(SendRequest::is_closed) {
            self.sender = Some(timeout(CONNECT_LIMIT, self.handshake()).await??);
        }
        Ok(())
    }

    async fn handshake(&self) -> Result<SendRequest<Full<Bytes>>, Failure> {
        let default = if self.tls.is_some() { 443 } else { 80 };
        let (host, port) = match self.authority.rsplit_once(':') {
            Some((host, port)) => (host, port.parse()?),
            None => (self.authority.as_str(), default),
        };
        let stream = TcpStream::connect((host, port)).await?;
        stream.set_nodelay(true)?;
        match &self.tls {
            None => {
                let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
                tokio::spawn(connection);
                Ok(sender)
            }
            Some(tls) => {
                let name = ServerName::try_from(host.to_owned())?;
                let stream = TlsConnector::from(tls.clone()).connect(name, stream).await?;
                let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
                tokio::spawn(connection);
                Ok(sender)
            }
        }
    }

    /// Sends a request, made anew for each try. A server's fault or a broken connection is tried again.
    pub async fn send(
        &mut self,
        mut request: impl FnMut() -> Result<Request<Full<Bytes>>, Failure>,
    ) -> Result<(Parts, Bytes), Failure> {
        let mut tries = 1;
        loop {
            let sent = match timeout(TRY_LIMIT, self.once(request()?)).await {
                Ok(sent) => sent,
                Err(late) => Err(late.into()),
            };
            match sent {
                Ok(answer) if !answer.0.status.is_server_error() || tries == TRIES => {
                    return Ok(answer);
                }
                Err(failure) if tries == TRIES => return Err(failure),
                Ok(_) => {}
                Err(_) => self.sender = None,
            }
            sleep(PAUSE * tries).await;
            tries += 1;
        }
    }

    /// Sends a request whose answer may take any time.
    pub async fn send_without_limit(
        &mut self,
        request: impl FnOnce() -> Result<Request<Full<Bytes>>, Failure>,
    ) -> Result<(Parts, Bytes), Failure> {
        self.once(request()?).await
    }

    async fn once(&mut self, request: Request<Full<Bytes>>) -> Result<(Parts, Bytes), Failure> {
        if let Some(sender) = &mut self.sender
            && sender.ready().await.is_err()
        {
            self.sender = None;
        }
        self.open().await?;
        let sender = self.sender.as_mut().ok_or("no connection")?;
        let (head, body) = sender.send_request(request).await?.into_parts();
        Ok((head, body.collect().await?.to_bytes()))
    }
}
