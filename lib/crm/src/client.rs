//! The delivery client: one POST, to a public address, without following redirects.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};

use switchboard_http::address::leads_nowhere_public;
pub use switchboard_http::client::SendError;
use switchboard_http::client::{ClientError, classify, transport};

use crate::destination::{Auth, Destination};
use crate::signing;

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

impl Client {
    /// A client. `allow_private` is for the local stage alone.
    pub fn new(allow_private: bool) -> Result<Self, ClientError> {
        Ok(Self { http: transport(allow_private)?, allow_private })
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

#[cfg(test)]
mod tests;
