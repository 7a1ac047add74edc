//! The HTTP client for everything that is not AWS: a public host, TLS, no redirects, no proxy.

use std::error::Error;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use crate::address::{is_global, leads_nowhere_public};
use crate::port::{Http, Limits, Request, Response, SendError};

/// Connections idle for longer are not used again: the other side may have closed them meanwhile.
const IDLE: Duration = Duration::from_secs(20);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// So much of a body that the caller does not need is read, and for so long: to be able to use the connection again.
const LARGEST_UNUSED: usize = 64 * 1024;
const LONGEST_UNUSED: Duration = Duration::from_secs(1);

/// A client could not be made.
#[derive(Debug, thiserror::Error)]
#[error("the HTTP client could not be made")]
pub struct ClientError;

/// An HTTP client that uses the AWS clients' TLS provider, trusts the public authorities, follows
/// no redirect and obeys no proxy. Unless `allow_private`, it speaks nothing but TLS and a name
/// leads to public addresses alone. A host that is written as an address is not resolved, so it is
/// for the caller to judge.
pub fn transport(allow_private: bool) -> Result<reqwest::Client, ClientError> {
    let roots = rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    transport_over(roots, allow_private, Resolver::system(allow_private))
}

fn transport_over(
    roots: rustls::RootCertStore,
    allow_private: bool,
    resolver: Resolver,
) -> Result<reqwest::Client, ClientError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|_| ClientError)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .https_only(!allow_private)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_idle_timeout(IDLE)
        .user_agent(concat!("switchboard/", env!("CARGO_PKG_VERSION")))
        .dns_resolver(resolver)
        .build()
        .map_err(|_| ClientError)
}

/// Resolves names to addresses that may be connected to. What is connected to is what was judged
/// here: there is no second resolution in between.
struct Resolver {
    is_allowed: fn(IpAddr) -> bool,
    lookup: Lookup,
}

/// From a name to its addresses.
type Lookup = Arc<dyn Fn(String) -> Addresses + Send + Sync>;
type Addresses = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>>;

impl Resolver {
    fn system(allow_private: bool) -> Self {
        Self {
            is_allowed: if allow_private { |_| true } else { is_global },
            lookup: Arc::new(|host| {
                Box::pin(async move { Ok(tokio::net::lookup_host((host, 0)).await?.collect()) })
            }),
        }
    }
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (found, is_allowed) = ((self.lookup)(name.as_str().to_owned()), self.is_allowed);
        Box::pin(async move {
            let found = found.await.map_err(|_| SendError::NotResolved)?;
            Ok(Box::new(allowed_ones(found, is_allowed)?.into_iter()) as Addrs)
        })
    }
}

fn allowed_ones(
    mut addresses: Vec<SocketAddr>,
    is_allowed: fn(IpAddr) -> bool,
) -> Result<Vec<SocketAddr>, SendError> {
    if addresses.is_empty() {
        return Err(SendError::NotResolved);
    }
    addresses.retain(|address| is_allowed(address.ip()));
    if addresses.is_empty() { Err(SendError::PrivateAddress) } else { Ok(addresses) }
}

/// What went wrong, by the types of an error and its causes and never by their texts: those hold
/// the URL.
pub fn classify(error: &reqwest::Error) -> SendError {
    let outermost = error;
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(ours) = error.downcast_ref::<SendError>() {
            return *ours;
        }
        if error.is::<rustls::Error>() {
            // After the handshake the other side may have taken the request.
            let is_handshake = outermost.is_connect();
            return if is_handshake { SendError::NotSecure } else { SendError::BrokeOff };
        }
        // An I/O error names as its source that of what it wraps, and not what it wraps.
        cause = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(wrapped) => Some(wrapped),
            None => error.source(),
        };
    }
    if error.is_timeout() {
        SendError::TimedOut
    } else if error.is_connect() {
        SendError::NotConnected
    } else if error.is_builder() {
        SendError::NotBuilt
    } else {
        SendError::BrokeOff
    }
}

/// Asks other systems, one exchange at a time. Clones share their connections.
#[derive(Clone)]
pub struct Client {
    transport: reqwest::Client,
    allow_private: bool,
}

impl Client {
    /// A client. `allow_private` is for the local stage alone.
    pub fn new(allow_private: bool) -> Result<Self, ClientError> {
        Ok(Self { transport: transport(allow_private)?, allow_private })
    }

    /// A client that trusts other authorities: for tests.
    pub fn trusting(
        roots: rustls::RootCertStore,
        allow_private: bool,
    ) -> Result<Self, ClientError> {
        let transport = transport_over(roots, allow_private, Resolver::system(allow_private))?;
        Ok(Self { transport, allow_private })
    }

    pub(crate) fn transport(&self) -> &reqwest::Client {
        &self.transport
    }

    pub(crate) fn allows_private(&self) -> bool {
        self.allow_private
    }
}

#[async_trait]
impl Http for Client {
    async fn send(&self, request: Request) -> Result<Response, SendError> {
        if !self.allow_private && leads_nowhere_public(&request.url) {
            return Err(SendError::PrivateAddress);
        }
        let Limits { timeout, largest } = request.limits;
        let mut sent = reqwest::Request::new(request.method, request.url);
        *sent.headers_mut() = request.headers;
        *sent.timeout_mut() = Some(timeout);
        *sent.body_mut() = Some(request.body.into());
        let mut received = self.transport.execute(sent).await.map_err(|error| classify(&error))?;
        let mut response = Response {
            status: received.status().as_u16(),
            headers: std::mem::take(received.headers_mut()),
            body: Vec::new(),
        };
        let body = &mut response.body;
        match largest {
            Limits::STATUS_ONLY => {
                let read = read_some(&mut received, body);
                let _ = tokio::time::timeout(LONGEST_UNUSED, read).await;
            }
            _ => read_whole(&mut received, body, largest).await?,
        }
        Ok(response)
    }
}

async fn read_whole(
    received: &mut reqwest::Response,
    body: &mut Vec<u8>,
    largest: usize,
) -> Result<(), SendError> {
    while let Some(chunk) = received.chunk().await.map_err(|error| classify(&error))? {
        if body.len() + chunk.len() > largest {
            return Err(SendError::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(())
}

async fn read_some(received: &mut reqwest::Response, body: &mut Vec<u8>) {
    while let Ok(Some(chunk)) = received.chunk().await
        && body.len() <= LARGEST_UNUSED
    {
        body.extend_from_slice(&chunk);
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    /// A client by other authorities and another resolver.
    pub(crate) fn client_over(
        roots: rustls::RootCertStore,
        is_allowed: fn(IpAddr) -> bool,
        lookup: impl Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync + 'static,
    ) -> Client {
        let lookup: Lookup = Arc::new(move |host| {
            let found = lookup(&host);
            let sockets = |found: Vec<IpAddr>| {
                found.into_iter().map(|address| SocketAddr::new(address, 0)).collect()
            };
            Box::pin(async move { found.map(sockets) })
        });
        let resolver = Resolver { is_allowed, lookup };
        Client { transport: transport_over(roots, false, resolver).unwrap(), allow_private: false }
    }
}
#[cfg(test)]
mod tests;
