//! How requests prove that they may come in, beside their signature.

use serde_json::Value;
use switchboard_domain::{ConfigError, Secret};

use crate::fields::Fields;
use crate::format::Format;
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

/// How requests prove that they may come in, beside their signature.
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
        name: String,
        /// Its value.
        value: Secret,
    },
    /// By an access token that is fetched, kept, and fetched anew when it is no longer taken.
    OAuth(OAuth),
}

/// Reads `auth` for a format, whose API stands at `base`.
pub(crate) fn read(
    value: Option<Value>,
    format: Format,
    base: &url::Url,
    allow_private: bool,
) -> Result<Auth, ConfigError> {
    let taken = format.kind().auths;
    let types = format!("must be {}", crate::format::listed(taken.iter().copied()));
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
            let name = name.to_ascii_lowercase();
            let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
            if name.is_empty() || !name.bytes().all(is_token) {
                return Err(fields.fault("name", "is not the name of an HTTP header"));
            }
            if OWN_HEADERS.contains(&name.as_str()) || name.starts_with("webhook-") {
                return Err(fields.fault("name", "is a header that every request has already"));
            }
            Auth::Header { name, value: header_value(&mut fields, "value")? }
        }
        "oauth_refresh" | "oauth_jwt" => {
            Auth::OAuth(oauth::read(&mut fields, &kind, format, base, allow_private)?)
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

/// Whether a text can stand in a header as it is.
pub(crate) fn is_header_value(text: &str) -> bool {
    text.bytes().all(|b| (b' '..=b'~').contains(&b))
}
