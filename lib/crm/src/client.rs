//! The delivery client: one POST, to a public address, without following redirects.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};

use crate::address::is_global;
use crate::destination::{Auth, Destination, leads_nowhere_public};
use crate::signing;

/// Connections idle for longer are not used again: the other side may have closed them meanwhile.
const IDLE: Duration = Duration::from_secs(20);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// So much of an answer is read to be able to use its connection again. None of it is kept.
const LARGEST_ANSWER: usize = 64 * 1024;
/// And for so long: a body that dawdles is not worth a worker's time.
const LONGEST_ANSWER: Duration = Duration::from_secs(1);

/// Posts to destinations.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    allow_private: bool,
}

/// What is sent.
pub struct Outgoing<'a> {
    /// The same for every try of a delivery.
    pub idempotency_key: &'a str,
    /// The call's, from the webhook's log line to this header.
    pub correlation_id: &'a str,
    /// The body, JSON.
    pub body: Vec<u8>,
    /// The time that is signed.
    pub now: Timestamp,
}

/// An answer, whatever it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The header of that name.
    pub retry_after: Option<String>,
}

/// There was no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// None came in time. The destination may have taken the request all the same.
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
    /// The connection broke. The destination may have taken the request all the same.
    #[error("broke off")]
    BrokeOff,
    /// The request cannot be made as the destination is configured.
    #[error("cannot be signed or built: mend the destination")]
    NotBuilt,
}

/// A client could not be made.
#[derive(Debug, thiserror::Error)]
#[error("the HTTP client could not be made")]
pub struct ClientError;

/// An HTTP client that uses the AWS clients' TLS provider, trusts the public authorities, follows
/// no redirect and obeys no proxy. Unless `allow_private`, it speaks nothing but TLS and a name
/// leads to public addresses alone. A host that is written as an address is not resolved, so it is
/// for the caller to judge.
pub fn http(allow_private: bool) -> Result<reqwest::Client, ClientError> {
    let roots = rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    http_trusting(roots, allow_private)
}

fn http_trusting(
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

impl Client {
    /// A client. `allow_private` is for the local stage alone.
    pub fn new(allow_private: bool) -> Result<Self, ClientError> {
        Ok(Self { http: http(allow_private)?, allow_private })
    }

    /// Posts once.
    pub async fn send(
        &self,
        destination: &Destination,
        outgoing: Outgoing<'_>,
    ) -> Result<Answer, SendError> {
        if !self.allow_private && leads_nowhere_public(&destination.url) {
            return Err(SendError::PrivateAddress);
        }
        let request = self.build(destination, outgoing).ok_or(SendError::NotBuilt)?;
        let mut answer = request.send().await.map_err(|error| classify(&error))?;
        let status = answer.status().as_u16();
        let retry_after = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let retry_after = retry_after.map(str::to_owned);
        // The status is the answer; whether its body arrives changes nothing.
        let body = async {
            let mut read = 0;
            while let Ok(Some(chunk)) = answer.chunk().await
                && read <= LARGEST_ANSWER
            {
                read += chunk.len();
            }
        };
        let _ = tokio::time::timeout(LONGEST_ANSWER, body).await;
        Ok(Answer { status, retry_after })
    }

    fn build(
        &self,
        destination: &Destination,
        outgoing: Outgoing<'_>,
    ) -> Option<reqwest::RequestBuilder> {
        let key = outgoing.idempotency_key;
        let signed =
            signing::sign(&destination.signing_secrets, key, outgoing.now, &outgoing.body).ok()?;
        let mut request = self
            .http
            .post(destination.url.clone())
            .timeout(Duration::from_secs(destination.timeout.0.into()))
            .header(CONTENT_TYPE, "application/json")
            .header("idempotency-key", key)
            .header("x-correlation-id", outgoing.correlation_id);
        for (name, value) in signed.headers() {
            request = request.header(name, value);
        }
        if let Some((name, value)) = authorization(&destination.auth)? {
            request = request.header(name, value);
        }
        Some(request.body(outgoing.body))
    }
}

/// The header by which the destination knows us. `None`: it cannot be made.
fn authorization(auth: &Auth) -> Option<Option<(HeaderName, HeaderValue)>> {
    let (name, value) = match auth {
        Auth::None => return Some(None),
        Auth::Bearer { token } => (AUTHORIZATION, format!("Bearer {}", token.expose())),
        Auth::Basic { user, password } => {
            let pair = STANDARD.encode(format!("{user}:{}", password.expose()));
            (AUTHORIZATION, format!("Basic {pair}"))
        }
        Auth::Header { name, value } => {
            (HeaderName::from_bytes(name.as_bytes()).ok()?, value.expose().to_owned())
        }
    };
    let mut value = HeaderValue::from_str(&value).ok()?;
    value.set_sensitive(true);
    Some(Some((name, value)))
}

/// What went wrong, by the types of an error and its causes and never by their texts: those hold
/// the URL.
fn classify(error: &reqwest::Error) -> SendError {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(ours) = error.downcast_ref::<SendError>() {
            return *ours;
        }
        if error.is::<rustls::Error>() {
            return SendError::NotSecure;
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

#[cfg(test)]
mod tests;
