//! Requests to providers' REST interfaces, and the tokens of their logins.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue};
use http::{HeaderName, Method};
use jiff::Timestamp;
use serde_json::Value;
use switchboard_domain::Secret;
use switchboard_http::{Limits, Request, SendError};
use url::Url;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const FORM: HeaderValue = HeaderValue::from_static("application/x-www-form-urlencoded");

/// A request without a body.
pub fn get(url: &str, limits: Limits) -> Result<Request, SendError> {
    let url = Url::parse(url).map_err(|_| SendError::NotBuilt)?;
    let headers = HeaderMap::from_iter([(ACCEPT, JSON)]);
    Ok(Request { method: Method::GET, url, headers, body: Vec::new(), limits })
}

/// A request with a JSON body.
pub fn post_json(url: &str, body: &Value, limits: Limits) -> Result<Request, SendError> {
    post(url, JSON, body.to_string(), limits)
}

/// A request with a form as its body.
pub fn post_form(url: &str, form: String, limits: Limits) -> Result<Request, SendError> {
    post(url, FORM, form, limits)
}

fn post(url: &str, kind: HeaderValue, body: String, limits: Limits) -> Result<Request, SendError> {
    let mut request = get(url, limits)?;
    request.headers.insert(CONTENT_TYPE, kind);
    Ok(Request { method: Method::POST, body: body.into_bytes(), ..request })
}

/// The request with a header.
pub fn with(mut request: Request, name: HeaderName, value: HeaderValue) -> Request {
    request.headers.insert(name, value);
    request
}

/// A header's value that holds a secret.
pub fn sensitive(text: &str) -> Result<HeaderValue, SendError> {
    let mut value = HeaderValue::from_str(text).map_err(|_| SendError::NotBuilt)?;
    value.set_sensitive(true);
    Ok(value)
}

/// `Authorization: Basic …`.
pub fn basic(user: &str, password: &Secret) -> Result<HeaderValue, SendError> {
    let pair = STANDARD.encode(format!("{user}:{}", password.expose()));
    sensitive(&format!("Basic {pair}"))
}

/// `Authorization: Bearer …`. A token may be configured with its scheme.
pub fn bearer(token: &Secret) -> Result<HeaderValue, SendError> {
    let token = token.expose().trim();
    sensitive(&format!("Bearer {}", token.strip_prefix("Bearer ").unwrap_or(token)))
}

/// A query of names and values.
pub fn query<'a>(pairs: impl IntoIterator<Item = (&'a str, String)>) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

/// The token of a login, and until when it is valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// The token.
    pub token: Secret,
    /// Its end.
    pub until: Timestamp,
}

/// The logins of this process, by `provider/source`.
#[derive(Debug, Default)]
pub struct Logins(Mutex<BTreeMap<String, Login>>);

impl Logins {
    /// The token of a source, if it is still valid at a moment.
    pub fn valid(&self, place: &str, at: Timestamp) -> Option<Secret> {
        let logins = self.logins();
        logins.get(place).filter(|login| at < login.until).map(|login| login.token.clone())
    }

    /// Keeps the login of a source.
    pub fn keep(&self, place: String, login: Login) {
        self.logins().insert(place, login);
    }

    /// Forgets the login of a source: the provider refused its token.
    pub fn forget(&self, place: &str) {
        self.logins().remove(place);
    }

    fn logins(&self) -> MutexGuard<'_, BTreeMap<String, Login>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
