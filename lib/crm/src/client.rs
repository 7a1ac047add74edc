//! The delivery client: the requests of a delivery, to public addresses, without following redirects.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};

use switchboard_http::address::leads_nowhere_public;
pub use switchboard_http::client::SendError;
use switchboard_http::client::{ClientError, classify, transport};

use switchboard_domain::delivery::{Remote, Verdict};

use crate::destination::{Auth, Destination};
use crate::exchange::{Answer, Ask, Exchange, Over, Step};
use crate::signing;

/// So much of an answer is read: to understand it, and to be able to use its connection again.
const LARGEST_ANSWER: usize = 64 * 1024;
/// And for so long: a body that dawdles is not worth a worker's time.
const LONGEST_ANSWER: Duration = Duration::from_secs(1);

/// Posts to destinations.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    allow_private: bool,
}

/// What every request of one delivery says of it.
#[derive(Clone, Copy)]
pub struct Headers<'a> {
    /// The same for every try of a delivery.
    pub idempotency_key: &'a str,
    /// The call's, from the webhook's log line to this header.
    pub correlation_id: &'a str,
}

impl Client {
    /// A client. `allow_private` is for the local stage alone.
    pub fn new(allow_private: bool) -> Result<Self, ClientError> {
        Ok(Self { http: transport(allow_private)?, allow_private })
    }

    /// Tells a destination of a call, with as many requests as that takes. `clock` tells the time
    /// that is signed, and from which the destination's `Retry-After` counts.
    pub async fn tell(
        &self,
        destination: &Destination,
        headers: Headers<'_>,
        exchange: &mut dyn Exchange,
        clock: &(impl Fn() -> Timestamp + Sync),
    ) -> Over {
        let mut answer = None;
        loop {
            let ask = match exchange.next(answer.as_ref(), clock()) {
                Step::Ask(ask) => ask,
                Step::Over(over) => return over,
            };
            match self.send(destination, headers, ask, clock()).await {
                Ok(answered) => answer = Some(answered),
                Err(error) => {
                    return Over {
                        verdict: Verdict::Retry { not_before: None },
                        status: None,
                        result: error.to_string(),
                        remote: Remote::default(),
                    };
                }
            }
        }
    }

    /// Sends one request.
    pub async fn send(
        &self,
        destination: &Destination,
        headers: Headers<'_>,
        ask: Ask,
        now: Timestamp,
    ) -> Result<Answer, SendError> {
        if !self.allow_private && leads_nowhere_public(&ask.url) {
            return Err(SendError::PrivateAddress);
        }
        let request = self.build(destination, headers, ask, now).ok_or(SendError::NotBuilt)?;
        let mut answer = request.send().await.map_err(|error| classify(&error))?;
        let status = answer.status().as_u16();
        let retry_after = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let retry_after = retry_after.map(str::to_owned);
        // The status is the answer; where the rest of its body does not arrive, that changes nothing.
        let mut body = Vec::new();
        let read = async {
            while let Ok(Some(chunk)) = answer.chunk().await
                && body.len() <= LARGEST_ANSWER
            {
                body.extend_from_slice(&chunk);
            }
        };
        let _ = tokio::time::timeout(LONGEST_ANSWER, read).await;
        Ok(Answer { status, retry_after, body })
    }

    fn build(
        &self,
        destination: &Destination,
        headers: Headers<'_>,
        ask: Ask,
        now: Timestamp,
    ) -> Option<reqwest::RequestBuilder> {
        let key = headers.idempotency_key;
        let signed = signing::sign(&destination.signing_secrets, key, now, &ask.body).ok()?;
        let mut request = self
            .http
            .request(ask.method, ask.url)
            .timeout(Duration::from_secs(destination.timeout.0.into()))
            .header(CONTENT_TYPE, "application/json")
            .header("idempotency-key", key)
            .header("x-correlation-id", headers.correlation_id);
        for (name, value) in signed.headers() {
            request = request.header(name, value);
        }
        if let Some((name, value)) = authorization(&destination.auth)? {
            request = request.header(name, value);
        }
        Some(request.body(ask.body))
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
