//! Layers over the HTTP port that every request of a delivery passes: the headers that all of them have,
//! and the credentials.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use http::header::AUTHORIZATION;
use http::{HeaderName, HeaderValue};
use switchboard_domain::Secret;
use switchboard_http::{Http, Request, Response, SendError};

use crate::auth::Auth;
use crate::credentials;
use crate::format::Clock;
use crate::oauth::{NoToken, OAuth, Tokens};
use crate::signing;

/// Adds the correlation id, a webhook's idempotency key, and the signatures.
pub struct Signed<'a> {
    /// What sends.
    pub inner: &'a dyn Http,
    /// What requests are signed with; none of them: they are not signed.
    pub secrets: &'a [Secret],
    /// The delivery's idempotency key, which is signed as `webhook-id`.
    pub idempotency_key: &'a str,
    /// The call's correlation id.
    pub correlation_id: &'a str,
    /// Whether requests hold the idempotency key in a header of its own.
    pub is_webhook: bool,
    /// The time that is signed.
    pub clock: Clock<'a>,
}

#[async_trait]
impl Http for Signed<'_> {
    async fn send(&self, mut request: Request) -> Result<Response, SendError> {
        let mut add = |name: &'static str, text: &str| {
            let value = HeaderValue::from_str(text).map_err(|_| SendError::NotBuilt)?;
            request.headers.insert(HeaderName::from_static(name), value);
            Ok(())
        };
        add("x-correlation-id", self.correlation_id)?;
        if self.is_webhook {
            add("idempotency-key", self.idempotency_key)?;
        }
        if !self.secrets.is_empty() {
            let (key, now) = (self.idempotency_key, (self.clock)());
            let signed = signing::sign(self.secrets, key, now, &request.body);
            for (name, value) in signed.map_err(|_| SendError::NotBuilt)?.headers() {
                add(name, value)?;
            }
        }
        self.inner.send(request).await
    }
}

/// Adds the credentials. An access token that is not accepted is replaced once, and the request is sent
/// again.
pub struct Authorized<'a> {
    inner: &'a dyn Http,
    auth: &'a Auth,
    tokens: &'a dyn Tokens,
    token: Mutex<Result<Option<Secret>, NoToken>>,
    is_renewed: AtomicBool,
}

impl<'a> Authorized<'a> {
    /// By `auth`, with access tokens from `tokens`.
    pub fn new(inner: &'a dyn Http, auth: &'a Auth, tokens: &'a dyn Tokens) -> Self {
        let (token, is_renewed) = (Mutex::new(Ok(None)), AtomicBool::new(false));
        Self { inner, auth, tokens, token, is_renewed }
    }

    /// Why there was no access token, where a request failed with [`SendError::NoCredentials`].
    pub fn failure(&self) -> Option<NoToken> {
        self.last().err()
    }

    fn last(&self) -> Result<Option<Secret>, NoToken> {
        self.token.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn access(&self, oauth: &OAuth, refused: Option<&Secret>) -> Result<Secret, SendError> {
        let token = self.tokens.access(oauth, refused).await;
        *self.token.lock().unwrap_or_else(PoisonError::into_inner) = token.clone().map(Some);
        token.map_err(|_| SendError::NoCredentials)
    }

    async fn send_with_token(
        &self,
        oauth: &OAuth,
        request: Request,
    ) -> Result<Response, SendError> {
        let token = match self.last() {
            Ok(Some(token)) => token,
            _ => self.access(oauth, None).await?,
        };
        let response = self.send_with(oauth.authorization(&token)?, request.clone()).await?;
        if response.status != 401 || self.is_renewed.swap(true, Ordering::Relaxed) {
            return Ok(response);
        }
        let token = self.access(oauth, Some(&token)).await?;
        self.send_with(oauth.authorization(&token)?, request).await
    }

    async fn send_with(
        &self,
        authorization: HeaderValue,
        mut request: Request,
    ) -> Result<Response, SendError> {
        request.headers.insert(AUTHORIZATION, authorization);
        self.inner.send(request).await
    }
}

#[async_trait]
impl Http for Authorized<'_> {
    async fn send(&self, mut request: Request) -> Result<Response, SendError> {
        match self.auth {
            Auth::None => self.inner.send(request).await,
            Auth::Bearer { token } => {
                self.send_with(credentials::token("Bearer", token)?, request).await
            }
            Auth::Basic { user, password } => {
                self.send_with(credentials::basic(user, password)?, request).await
            }
            Auth::Header { name, value } => {
                let value = credentials::secret(value.expose())?;
                request.headers.insert(name.clone(), value);
                self.inner.send(request).await
            }
            Auth::OAuth(oauth) => self.send_with_token(oauth, request).await,
        }
    }
}
