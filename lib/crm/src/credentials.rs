//! Header values that hold secrets.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use switchboard_domain::Secret;
use switchboard_http::SendError;

/// Whether a text can be a header's value as it is.
pub fn is_header_value(text: &str) -> bool {
    text.bytes().all(|b| (b' '..=b'~').contains(&b))
}

/// A header's value, marked as sensitive.
pub fn secret(text: &str) -> Result<HeaderValue, SendError> {
    let mut value = HeaderValue::from_str(text).map_err(|_| SendError::NotBuilt)?;
    value.set_sensitive(true);
    Ok(value)
}

/// `<scheme> <token>`.
pub fn token(scheme: &str, token: &Secret) -> Result<HeaderValue, SendError> {
    secret(&format!("{scheme} {}", token.expose()))
}

/// `Basic …`.
pub fn basic(user: &str, password: &Secret) -> Result<HeaderValue, SendError> {
    secret(&format!("Basic {}", STANDARD.encode(format!("{user}:{}", password.expose()))))
}
