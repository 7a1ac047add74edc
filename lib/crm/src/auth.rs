//! The credentials of requests, beside their signature.

use http::HeaderName;
use serde_json::Value;
use switchboard_domain::{ConfigError, Secret};
use url::Url;

use crate::credentials::is_header_value;
use crate::fields::{Fields, listed};
use crate::format::Capabilities;
use crate::oauth::{self, OAuth};

/// Headers that a request has anyway: `auth` may set none of them.
const OWN_HEADERS: [&str; 11] = [
    "connection",
    "content-length",
    "content-type",
    "host",
    "idempotency-key",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "x-correlation-id",
];

/// The credentials of requests, beside their signature.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Auth {
    /// By the signature alone.
    #[default]
    None,
    /// `Authorization: Bearer …`.
    Bearer {
        /// The token.
        token: Secret,
    },
    /// `Authorization: Basic …`.
    Basic {
        /// The user's name.
        user: String,
        /// The password.
        password: Secret,
    },
    /// A header of the CRM's own.
    Header {
        /// Its name.
        name: HeaderName,
        /// Its value.
        value: Secret,
    },
    /// By an access token that is fetched, kept, and fetched anew when it is no longer accepted.
    OAuth(OAuth),
}

/// Reads `auth` for a format whose API is at `base`.
pub(crate) fn read(
    value: Option<Value>,
    format: &Capabilities,
    base: &Url,
    allow_private: bool,
) -> Result<Auth, ConfigError> {
    let taken = format.auths;
    let types = format!("must be {}", listed(taken.iter().copied()));
    let Some(value) = value else {
        return match taken.contains(&"none") {
            true => Ok(Auth::None),
            false => Err(ConfigError::new("auth", format!("is missing: auth.type {types}"))),
        };
    };
    let mut fields = Fields::of("auth", "auth.", value)?;
    let kind: String = fields.required("type", &types)?;
    if !taken.contains(&kind.as_str()) {
        return Err(fields.fault("type", types));
    }
    let auth = match kind.as_str() {
        "bearer" => Auth::Bearer { token: header_value(&mut fields, "token")? },
        "basic" => {
            let user: String = fields.required("user", "must be a text")?;
            if user.is_empty() || user.contains(':') || user.chars().any(char::is_control) {
                return Err(fields.fault("user", "must not be empty, nor hold a colon"));
            }
            let password: Secret = fields.required("password", "must be a text")?;
            if password.is_empty() || password.expose().chars().any(char::is_control) {
                return Err(fields.fault("password", "must not be empty, nor hold line ends"));
            }
            Auth::Basic { user, password }
        }
        "header" => {
            let name: String = fields.required("name", "must be a text")?;
            let Ok(name) = HeaderName::from_bytes(name.as_bytes()) else {
                return Err(fields.fault("name", "is not the name of an HTTP header"));
            };
            if OWN_HEADERS.contains(&name.as_str()) || name.as_str().starts_with("webhook-") {
                return Err(fields.fault("name", "is a header that every request has already"));
            }
            Auth::Header { name, value: header_value(&mut fields, "value")? }
        }
        "oauth_refresh" | "oauth_jwt" => {
            Auth::OAuth(oauth::read(&mut fields, &kind, format.token, base, allow_private)?)
        }
        _ => Auth::None,
    };
    fields.end()?;
    Ok(auth)
}

/// A secret that goes into a header as it is.
fn header_value(fields: &mut Fields, name: &str) -> Result<Secret, ConfigError> {
    let secret: Secret = fields.required(name, "must be a text")?;
    let text = secret.expose();
    if secret.is_empty() || text.trim() != text {
        return Err(fields.fault(name, "must not be empty, nor begin or end with a space"));
    }
    if !is_header_value(text) {
        return Err(fields.fault(name, "must be of plain ASCII characters, on one line"));
    }
    Ok(secret)
}
