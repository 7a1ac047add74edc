//! The delivery client: the requests of a delivery, to public addresses, without following redirects.

use std::future::Future;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue};
use tokio::time::Instant;

pub use switchboard_http::SendError;
use switchboard_http::address::leads_nowhere_public;
use switchboard_http::client::{ClientError, classify, transport};

use switchboard_domain::Secret;
use switchboard_domain::delivery::Verdict;

use crate::auth::Auth;
use crate::destination::Destination;
use crate::exchange::{Answer, Ask, Exchange, MOST_REQUESTS, Over, Step};
use crate::oauth::{self, Granted, NoToken, OAuth};
use crate::signing;

/// So much of a webhook's answer is read: to be able to use its connection again.
const LARGEST_ANSWER: usize = 64 * 1024;
/// And for so long: a body that dawdles is not worth a worker's time.
const LONGEST_ANSWER: Duration = Duration::from_secs(1);
/// An API's answer is read to its end, and is never larger than this.
const LARGEST_API_ANSWER: usize = 1024 * 1024;

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

/// Where the access tokens of one destination come from.
pub trait Tokens: Sync {
    /// One to begin with or, where `refused` was not taken, another.
    fn access(
        &self,
        oauth: &OAuth,
        refused: Option<&Secret>,
    ) -> impl Future<Output = Result<Secret, NoToken>> + Send;
}

/// No destination needs any.
pub struct NoTokens;

impl Tokens for NoTokens {
    async fn access(&self, _: &OAuth, _: Option<&Secret>) -> Result<Secret, NoToken> {
        Err(NoToken::Unkept("nowhere".to_owned()))
    }
}

impl Client {
    /// A client. `allow_private` is for the local stage alone.
    pub fn new(allow_private: bool) -> Result<Self, ClientError> {
        Ok(Self { http: transport(allow_private)?, allow_private })
    }

    /// Tells a destination of a call, with as many requests as that takes, all of them within the
    /// destination's timeout. `clock` tells the time that is signed, and from which the destination's
    /// `Retry-After` counts. An access token that is not taken is replaced once, and the request sent
    /// again.
    pub async fn tell(
        &self,
        destination: &Destination,
        tokens: &impl Tokens,
        headers: Headers<'_>,
        exchange: &mut dyn Exchange,
        clock: &(impl Fn() -> Timestamp + Sync),
    ) -> Over {
        let ends = Instant::now() + Duration::from_secs(destination.timeout.0.into());
        let oauth = match &destination.auth {
            Auth::OAuth(oauth) => Some(oauth),
            _ => None,
        };
        let mut token = None;
        if let Some(oauth) = oauth {
            token = match tokens.access(oauth, None).await {
                Ok(token) => Some(token),
                Err(error) => return without_token(&error, exchange),
            };
        }
        let mut is_renewed = false;
        let mut answer = None;
        for _ in 0..MOST_REQUESTS {
            let ask = match exchange.next(answer.as_ref(), clock()) {
                Step::Ask(ask) => ask,
                Step::Over(over) => return over,
            };
            let again = ask.clone();
            let mut sent =
                self.send(destination, token.as_ref(), headers, ask, clock(), left(ends)).await;
            if let (Some(oauth), false, Ok(Answer { status: 401, .. })) = (oauth, is_renewed, &sent)
            {
                is_renewed = true;
                token = match tokens.access(oauth, token.as_ref()).await {
                    Ok(token) => Some(token),
                    Err(error) => return without_token(&error, exchange),
                };
                let token = token.as_ref();
                sent = self.send(destination, token, headers, again, clock(), left(ends)).await;
            }
            match sent {
                Ok(answered) => answer = Some(answered),
                Err(error) => return not_taken(None, error.to_string(), None, exchange),
            }
        }
        not_taken(None, format!("not done after {MOST_REQUESTS} requests"), None, exchange)
    }

    /// Sends one request, which may take so long.
    pub async fn send(
        &self,
        destination: &Destination,
        token: Option<&Secret>,
        headers: Headers<'_>,
        ask: Ask,
        now: Timestamp,
        timeout: Duration,
    ) -> Result<Answer, SendError> {
        let is_api = destination.format.kind().is_api;
        let request = self.build(destination, token, headers, ask, now)?;
        self.receive(request.timeout(timeout), is_api).await
    }

    /// Asks a token endpoint for an access token. `newer` is the refresh token that came in place of
    /// the configured one, if one has.
    pub async fn grant(
        &self,
        oauth: &OAuth,
        newer: Option<&Secret>,
        now: Timestamp,
        timeout: Duration,
    ) -> Result<Granted, NoToken> {
        let unreached = |error: SendError| NoToken::NotReached(error.to_string());
        let ask = oauth.ask(newer, now).ok_or_else(|| unreached(SendError::NotBuilt))?;
        self.check(&ask.url).map_err(unreached)?;
        let mut request = self
            .http
            .post(ask.url)
            .timeout(timeout)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(ask.form);
        if let Some((user, password)) = ask.basic {
            let value = basic(&user, &password).ok_or_else(|| unreached(SendError::NotBuilt))?;
            request = request.header(AUTHORIZATION, value);
        }
        let answer = self.receive(request, true).await.map_err(unreached)?;
        oauth::granted(&answer, now)
    }

    fn check(&self, url: &url::Url) -> Result<(), SendError> {
        match !self.allow_private && leads_nowhere_public(url) {
            true => Err(SendError::PrivateAddress),
            false => Ok(()),
        }
    }

    async fn receive(
        &self,
        request: reqwest::RequestBuilder,
        is_api: bool,
    ) -> Result<Answer, SendError> {
        let mut answer = request.send().await.map_err(|error| classify(&error))?;
        let status = answer.status().as_u16();
        let header = |name: &str| answer.headers().get(name)?.to_str().ok().map(str::to_owned);
        let (retry_after, reset) = (header("retry-after"), header("x-ratelimit-reset"));
        let mut body = Vec::new();
        if is_api {
            while let Some(chunk) = answer.chunk().await.map_err(|error| classify(&error))? {
                if body.len() + chunk.len() > LARGEST_API_ANSWER {
                    return Err(SendError::TooLarge);
                }
                body.extend_from_slice(&chunk);
            }
        } else {
            // The status is the answer; where the rest of its body does not arrive, that changes
            // nothing.
            let read = async {
                while let Ok(Some(chunk)) = answer.chunk().await
                    && body.len() <= LARGEST_ANSWER
                {
                    body.extend_from_slice(&chunk);
                }
            };
            let _ = tokio::time::timeout(LONGEST_ANSWER, read).await;
        }
        Ok(Answer { status, retry_after, reset, body })
    }

    fn build(
        &self,
        destination: &Destination,
        token: Option<&Secret>,
        headers: Headers<'_>,
        ask: Ask,
        now: Timestamp,
    ) -> Result<reqwest::RequestBuilder, SendError> {
        self.check(&ask.url)?;
        let key = headers.idempotency_key;
        let mut request = self
            .http
            .request(ask.method, ask.url)
            .header("x-correlation-id", headers.correlation_id);
        if !destination.format.kind().is_api {
            request = request.header("idempotency-key", key);
        }
        if !ask.body.is_empty() {
            request = request.header(CONTENT_TYPE, ask.content_type);
        }
        if !destination.signing_secrets.is_empty() {
            let signed = signing::sign(&destination.signing_secrets, key, now, &ask.body);
            for (name, value) in signed.map_err(|_| SendError::NotBuilt)?.headers() {
                request = request.header(name, value);
            }
        }
        let known = authorization(destination, token).ok_or(SendError::NotBuilt)?;
        if let Some((name, value)) = known {
            request = request.header(name, value);
        }
        Ok(request.body(ask.body))
    }
}

fn left(ends: Instant) -> Duration {
    ends.saturating_duration_since(Instant::now())
}

/// An attempt ends without an answer that would decide it: it will be made again.
fn not_taken(
    status: Option<u16>,
    result: String,
    not_before: Option<Timestamp>,
    exchange: &dyn Exchange,
) -> Over {
    Over { verdict: Verdict::Retry { not_before }, status, result, remote: exchange.learned() }
}

fn without_token(error: &NoToken, exchange: &dyn Exchange) -> Over {
    not_taken(error.status(), error.to_string(), error.not_before(), exchange)
}

/// The header by which the destination knows us. `None`: it cannot be made.
fn authorization(
    destination: &Destination,
    token: Option<&Secret>,
) -> Option<Option<(HeaderName, HeaderValue)>> {
    let (name, mut value) = match &destination.auth {
        Auth::None => return Some(None),
        Auth::Bearer { token } => (AUTHORIZATION, bearing("Bearer", token)?),
        Auth::Basic { user, password } => (AUTHORIZATION, basic(user, password)?),
        Auth::Header { name, value } => {
            let value = HeaderValue::from_str(value.expose()).ok()?;
            (HeaderName::from_bytes(name.as_bytes()).ok()?, value)
        }
        Auth::OAuth(_) => {
            let scheme = destination.format.kind().token.map_or("Bearer", |token| token.scheme);
            (AUTHORIZATION, bearing(scheme, token?)?)
        }
    };
    value.set_sensitive(true);
    Some(Some((name, value)))
}

fn bearing(scheme: &str, token: &Secret) -> Option<HeaderValue> {
    HeaderValue::from_str(&format!("{scheme} {}", token.expose())).ok()
}

fn basic(user: &str, password: &Secret) -> Option<HeaderValue> {
    let pair = STANDARD.encode(format!("{user}:{}", password.expose()));
    let mut value = HeaderValue::from_str(&format!("Basic {pair}")).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests;
