//! Access tokens by OAuth 2: the request to a token endpoint, and what its response means. Who fetches
//! one, and where it is kept, is for the caller.
//!
//! Two grants: a refresh token (RFC 6749, section 6), and a JWT that is signed with the private key of a
//! connected app (RFC 7523, as Salesforce takes it).

use std::fmt;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::AUTHORIZATION;
use http::{HeaderValue, Method};
use jiff::{SignedDuration, Timestamp};
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject as _;
use serde::Deserialize;
use serde_json::json;
use switchboard_domain::delivery::Verdict;
use switchboard_domain::{ConfigError, Digest, Seconds, Secret, later};
use switchboard_http::{Http, Request, Response, SendError};
use url::Url;
use url::form_urlencoded::Serializer;

use crate::credentials::{self, is_header_value};
use crate::fields::{Fields, read_url};
use crate::format::TokenEndpoint;
use crate::outcome::{Outcome, passes};

/// How long a JWT is valid: it is used at once, and clocks differ. Salesforce takes five minutes at most.
const ASSERTION_LIVES: SignedDuration = SignedDuration::from_secs(180);
/// No attempt begins with a token that ends sooner.
const MARGIN: SignedDuration = SignedDuration::from_secs(60);
const JWT_GRANT: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// How access tokens are obtained.
#[derive(Clone, PartialEq, Eq)]
pub struct OAuth {
    /// The token endpoint.
    pub token_url: Url,
    /// Our id there: the client's id, a connected app's consumer key.
    client_id: String,
    grant: Grant,
    /// Whether the client's id and secret go into a header and not into the form.
    in_header: bool,
    /// The word before the token in `Authorization`.
    scheme: &'static str,
}

#[derive(Clone, PartialEq, Eq)]
enum Grant {
    Refresh { client_secret: Secret, refresh_token: Secret },
    Jwt { user: String, audience: String, private_key: Secret },
}

impl fmt::Debug for OAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OAuth").field("host", &self.token_url.host_str()).finish_non_exhaustive()
    }
}

/// Where the access tokens of one destination come from.
#[async_trait]
pub trait Tokens: Send + Sync {
    /// One to begin with or, where `refused` was not accepted, another.
    async fn access(&self, oauth: &OAuth, refused: Option<&Secret>) -> Result<Secret, NoToken>;
}

/// What a token endpoint granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Granted {
    /// The access token, which requests hold.
    pub access_token: Secret,
    /// When it ends, if that was said. Otherwise it serves until it is no longer accepted.
    pub expires_at: Option<Timestamp>,
    /// What is to be used from now on in place of the refresh token that was used.
    pub refresh_token: Option<Secret>,
}

impl Granted {
    /// Whether an attempt may begin with it.
    pub fn is_fresh(&self, now: Timestamp) -> bool {
        self.expires_at.is_none_or(|at| at.duration_since(now) > MARGIN)
    }

    /// Whether it has not ended yet.
    pub fn is_alive(&self, now: Timestamp) -> bool {
        self.expires_at.is_none_or(|at| at > now)
    }
}

/// There is no access token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoToken {
    /// The token endpoint refuses what is configured.
    #[error("no access token: refused ({code}): authorize again and correct auth")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The error's code, where it is one.
        code: String,
    },
    /// The token endpoint cannot answer now.
    #[error("no access token: failed there: {status}")]
    Failed {
        /// The HTTP status.
        status: u16,
        /// Not before this moment, if it said so.
        not_before: Option<Timestamp>,
    },
    /// There was no response.
    #[error("no access token: {0}")]
    NotReached(#[from] SendError),
    /// Another worker is fetching one.
    #[error("no access token yet: it is being fetched")]
    Busy {
        /// When another may try.
        not_before: Option<Timestamp>,
    },
    /// None was granted a moment ago, and it is not requested again so soon.
    #[error("no access token: it was not granted a moment ago")]
    Resting {
        /// When it is requested again.
        not_before: Timestamp,
    },
    /// The token store cannot be read or written.
    #[error("no access token: the token store could not be read or written ({0})")]
    Unkept(String),
}

impl NoToken {
    /// The status that decided it, if there was a response.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Refused { status, .. } | Self::Failed { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// Before when there is no use in trying again.
    pub fn not_before(&self) -> Option<Timestamp> {
        match self {
            Self::Failed { not_before, .. } | Self::Busy { not_before } => *not_before,
            Self::Resting { not_before } => Some(*not_before),
            _ => None,
        }
    }
}

/// Without a token an attempt ends, to be made again.
impl From<NoToken> for Outcome {
    fn from(error: NoToken) -> Self {
        let verdict = Verdict::Retry { not_before: error.not_before() };
        Self { verdict, status: error.status(), result: error.to_string() }
    }
}

impl OAuth {
    /// What all that it grants depends on: a token that was kept for another is not used.
    pub fn digest(&self) -> Digest {
        let parts: [&str; 4] = match &self.grant {
            Grant::Refresh { client_secret, refresh_token } => {
                ["refresh", client_secret.expose(), refresh_token.expose(), ""]
            }
            Grant::Jwt { user, audience, private_key } => {
                [user, audience, private_key.expose(), "jwt"]
            }
        };
        let [a, b, c, d] = parts.map(str::as_bytes);
        Digest::of(&[self.token_url.as_str().as_bytes(), self.client_id.as_bytes(), a, b, c, d])
    }

    /// The value of `Authorization` with this token.
    pub fn authorization(&self, token: &Secret) -> Result<HeaderValue, SendError> {
        credentials::token(self.scheme, token)
    }

    /// Requests an access token. `newer` is the refresh token that came in place of the configured one,
    /// if one has.
    pub async fn grant(
        &self,
        http: &dyn Http,
        newer: Option<&Secret>,
        now: Timestamp,
    ) -> Result<Granted, NoToken> {
        granted(&http.send(self.request(newer, now)?).await?, now)
    }

    fn request(&self, newer: Option<&Secret>, now: Timestamp) -> Result<Request, SendError> {
        let mut form = Serializer::new(String::new());
        let mut request = Request::new(Method::POST, self.token_url.clone());
        match &self.grant {
            Grant::Refresh { client_secret, refresh_token } => {
                form.append_pair("grant_type", "refresh_token");
                form.append_pair("refresh_token", newer.unwrap_or(refresh_token).expose());
                if self.in_header {
                    let basic = credentials::basic(&self.client_id, client_secret)?;
                    request.headers.insert(AUTHORIZATION, basic);
                } else {
                    form.append_pair("client_id", &self.client_id);
                    form.append_pair("client_secret", client_secret.expose());
                }
            }
            Grant::Jwt { user, audience, private_key } => {
                let ends = later(now, ASSERTION_LIVES);
                let claims = json!({
                    "iss": self.client_id, "sub": user, "aud": audience, "exp": ends.as_second(),
                });
                let assertion = jwt(private_key, &claims).ok_or(SendError::NotBuilt)?;
                form.append_pair("grant_type", JWT_GRANT);
                form.append_pair("assertion", &assertion);
            }
        }
        let content_type = HeaderValue::from_static("application/x-www-form-urlencoded");
        Ok(request.with_body(content_type, form.finish().into_bytes()))
    }
}

/// What a token endpoint's response means. Some say an error with the status 200.
fn granted(response: &Response, now: Timestamp) -> Result<Granted, NoToken> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Body {
        access_token: Option<Secret>,
        refresh_token: Option<Secret>,
        expires_in: Option<u32>,
        error: Option<String>,
        error_description: Option<String>,
    }
    let status = response.status;
    let body: Body = serde_json::from_slice(&response.body).unwrap_or_default();
    let words = [&body.error, &body.error_description];
    let is_busy = words.into_iter().flatten().any(|words| asks_for_time(words));
    if is_busy || status == 408 || passes(status) || !(200..500).contains(&status) {
        let not_before = Outcome::of(response, now).not_before();
        return Err(NoToken::Failed { status, not_before });
    }
    let is_valid = |secret: &Secret| !secret.is_empty() && is_header_value(secret.expose());
    match body.access_token.filter(is_valid) {
        Some(access_token) if status < 300 => Ok(Granted {
            access_token,
            expires_at: body.expires_in.map(|seconds| later(now, Seconds(seconds))),
            refresh_token: body.refresh_token.filter(|secret| !secret.is_empty()),
        }),
        _ => {
            let is_code = |text: &String| {
                (1..=40).contains(&text.len())
                    && text.bytes().all(|b| b == b'_' || b.is_ascii_lowercase())
            };
            let code = body.error.filter(is_code).unwrap_or_else(|| status.to_string());
            Err(NoToken::Refused { status, code })
        }
    }
}

/// Whether an error of a token endpoint will pass: some say so under 400, in a code or in words.
fn asks_for_time(words: &str) -> bool {
    const PASSES: [&str; 8] = [
        "too many",
        "rate limit",
        "rate exceeded",
        "slow down",
        "server error",
        "temporarily",
        "try again",
        "retry your request",
    ];
    let words = words.to_ascii_lowercase().replace(['_', '-'], " ");
    PASSES.iter().any(|known| words.contains(known))
}

/// A JWT, signed with RS256.
fn jwt(private_key: &Secret, claims: &serde_json::Value) -> Option<String> {
    let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let head = encode(br#"{"alg":"RS256"}"#);
    let text = format!("{head}.{}", encode(claims.to_string().as_bytes()));
    let key = rsa_key(private_key)?;
    let mut signature = vec![0; key.public().modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), text.as_bytes(), &mut signature).ok()?;
    Some(format!("{text}.{}", encode(&signature)))
}

fn rsa_key(pem: &Secret) -> Option<RsaKeyPair> {
    match PrivateKeyDer::from_pem_slice(pem.expose().as_bytes()).ok()? {
        PrivateKeyDer::Pkcs8(key) => RsaKeyPair::from_pkcs8(key.secret_pkcs8_der()).ok(),
        PrivateKeyDer::Pkcs1(key) => RsaKeyPair::from_der(key.secret_pkcs1_der()).ok(),
        _ => None,
    }
}

/// Reads the fields of `oauth_refresh` and `oauth_jwt`, for an API that is at `base`.
pub(crate) fn read(
    fields: &mut Fields,
    kind: &str,
    endpoint: Option<&TokenEndpoint>,
    base: &Url,
    allow_private: bool,
) -> Result<OAuth, ConfigError> {
    let client_id: String = filled(fields, "client_id")?;
    let token_url = match fields.optional::<String>("token_url", "must be a text")? {
        Some(text) => read_url("auth.token_url", &text, allow_private)?,
        None => endpoint
            .and_then(|token| (token.url)(base))
            .ok_or_else(|| fields.fault("token_url", "is missing: where are tokens granted?"))?,
    };
    let grant = match kind {
        "oauth_jwt" => {
            let user = filled(fields, "user")?;
            let audience = fields.optional("audience", "must be a text")?;
            let private_key: Secret = fields.required("private_key", "must be a text")?;
            if rsa_key(&private_key).is_none() {
                let problem =
                    "must be an RSA private key of 2048 bits or more in PEM, not encrypted";
                return Err(fields.fault("private_key", problem));
            }
            let production = || "https://login.salesforce.com".to_owned();
            Grant::Jwt { user, audience: audience.unwrap_or_else(production), private_key }
        }
        _ => Grant::Refresh {
            client_secret: Secret::new(filled(fields, "client_secret")?),
            refresh_token: Secret::new(filled(fields, "refresh_token")?),
        },
    };
    let (scheme, in_header) =
        endpoint.map_or(("Bearer", false), |token| (token.scheme, token.client_in_header));
    Ok(OAuth { token_url, client_id, grant, in_header, scheme })
}

fn filled(fields: &mut Fields, name: &str) -> Result<String, ConfigError> {
    let text: String = fields.required(name, "must be a text")?;
    match text.trim().is_empty() {
        true => Err(fields.fault(name, "must not be empty")),
        false => Ok(text),
    }
}

#[cfg(test)]
mod tests;
