//! The HTTP client for everything that is not AWS: a public host, TLS, no redirects, no proxy.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
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
        .dns_resolver(Resolver { allow_private })
        .build()
        .map_err(|_| ClientError)
}

/// Resolves names to addresses that may be connected to. What is connected to is what was judged
/// here: there is no second resolution in between.
struct Resolver {
    allow_private: bool,
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (host, allow_private) = (name.as_str().to_owned(), self.allow_private);
        Box::pin(async move {
            let found = tokio::net::lookup_host((host, 0)).await;
            let found = found.map_err(|_| SendError::NotResolved)?.collect();
            let allowed = if allow_private { found } else { public_ones(found)? };
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

fn public_ones(found: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, SendError> {
    if found.is_empty() {
        return Err(SendError::NotResolved);
    }
    let public: Vec<_> = found.into_iter().filter(|address| is_global(address.ip())).collect();
    if public.is_empty() { Err(SendError::PrivateAddress) } else { Ok(public) }
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
mod tests;
