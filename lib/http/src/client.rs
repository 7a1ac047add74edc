//! The HTTP client for everything that is not AWS: a public host, TLS, no redirects, no proxy.

use std::error::Error;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use crate::address::{is_global, leads_nowhere_public};

/// Connections idle for longer are not used again: the other side may have closed them meanwhile.
const IDLE: Duration = Duration::from_secs(20);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// There was no answer.
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
    transport_trusting(roots, allow_private)
}

/// As [`transport`], trusting other authorities: for tests.
pub fn transport_trusting(
    roots: rustls::RootCertStore,
    allow_private: bool,
) -> Result<reqwest::Client, ClientError> {
    let allowed = if allow_private { Allowed::All } else { Allowed::Public };
    transport_over(roots, allow_private, Resolver { allowed, lookup: Arc::new(system) })
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
    allowed: Allowed,
    lookup: Lookup,
}

/// Which addresses may be connected to.
#[derive(Clone, Copy)]
enum Allowed {
    All,
    Public,
    /// Tests: the servers of a test are as if they were on the public internet.
    #[cfg(test)]
    PublicAnd(IpAddr),
}

impl Allowed {
    fn holds(self, address: IpAddr) -> bool {
        match self {
            Self::All => true,
            Self::Public => is_global(address),
            #[cfg(test)]
            Self::PublicAnd(other) => is_global(address) || address == other,
        }
    }
}

/// From a name to its addresses.
type Lookup = Arc<dyn Fn(String) -> Looked + Send + Sync>;
type Looked = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>>;

fn system(host: String) -> Looked {
    Box::pin(async move { Ok(tokio::net::lookup_host((host, 0)).await?.collect()) })
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (found, allowed) = ((self.lookup)(name.as_str().to_owned()), self.allowed);
        Box::pin(async move {
            let found = found.await.map_err(|_| SendError::NotResolved)?;
            let allowed = allowed_ones(found, allowed)?;
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

fn allowed_ones(found: Vec<SocketAddr>, allowed: Allowed) -> Result<Vec<SocketAddr>, SendError> {
    if found.is_empty() {
        return Err(SendError::NotResolved);
    }
    let ones: Vec<_> = found.into_iter().filter(|address| allowed.holds(address.ip())).collect();
    if ones.is_empty() { Err(SendError::PrivateAddress) } else { Ok(ones) }
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

/// What an exchange may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// From the first byte sent to the last one read.
    pub timeout: Duration,
    /// The answer's body, bytes.
    pub largest: usize,
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

    pub(crate) fn transport(&self) -> &reqwest::Client {
        &self.transport
    }

    pub(crate) fn allows_private(&self) -> bool {
        self.allow_private
    }

    /// Sends a request and reads the whole answer, whatever its status.
    pub async fn send(
        &self,
        request: Request<Vec<u8>>,
        limits: Limits,
    ) -> Result<Response<Vec<u8>>, SendError> {
        let mut request = reqwest::Request::try_from(request).map_err(|_| SendError::NotBuilt)?;
        if !self.allow_private && leads_nowhere_public(request.url()) {
            return Err(SendError::PrivateAddress);
        }
        *request.timeout_mut() = Some(limits.timeout);
        let mut answer = self.transport.execute(request).await.map_err(|error| classify(&error))?;
        let mut whole = Response::new(Vec::new());
        *whole.status_mut() = answer.status();
        *whole.headers_mut() = std::mem::take(answer.headers_mut());
        while let Some(chunk) = answer.chunk().await.map_err(|error| classify(&error))? {
            if whole.body().len() + chunk.len() > limits.largest {
                return Err(SendError::TooLarge);
            }
            whole.body_mut().extend_from_slice(&chunk);
        }
        Ok(whole)
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    /// A client by other authorities and another resolver, for which one address counts as public.
    pub(crate) fn client_over(
        roots: rustls::RootCertStore,
        public: IpAddr,
        lookup: impl Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync + 'static,
    ) -> Client {
        let lookup: Lookup = Arc::new(move |host| {
            let found = lookup(&host);
            let sockets = |found: Vec<IpAddr>| {
                found.into_iter().map(|address| SocketAddr::new(address, 0)).collect()
            };
            Box::pin(async move { found.map(sockets) })
        });
        let resolver = Resolver { allowed: Allowed::PublicAnd(public), lookup };
        Client { transport: transport_over(roots, false, resolver).unwrap(), allow_private: false }
    }

    pub(crate) fn kept(found: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, SendError> {
        allowed_ones(found, Allowed::Public)
    }
}
#[cfg(test)]
mod tests;
