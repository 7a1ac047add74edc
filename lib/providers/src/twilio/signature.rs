//! `X-Twilio-Signature`: HMAC-SHA1 over the public URL and the form's parameters.
//!
//! As the official SDKs check it: the URL with and without its port, every parameter (blank ones
//! too) sorted by name, the distinct values of a repeated one sorted.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac as _};
use sha1::Sha1;
use sha2::{Digest as _, Sha256};
use switchboard_domain::Secret;

use crate::request::Form;
use crate::secret::equal;

/// The parameters of a form in the order in which they are signed: by name, then by value, each pair
/// once.
pub type Parameters<'a> = Vec<(&'a str, &'a str)>;

/// The order in which a form's parameters are signed.
pub fn parameters(form: &Form) -> Parameters<'_> {
    let mut parameters: Parameters<'_> =
        form.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    parameters.sort_unstable();
    parameters.dedup();
    parameters
}

/// Whether `signature` (Base64) is Twilio's for a request to `url` with these parameters.
pub fn is_valid(url: &str, parameters: &Parameters<'_>, token: &Secret, signature: &str) -> bool {
    let tail: String = parameters.iter().flat_map(|(name, value)| [*name, *value]).collect();
    // Every form is tried, whichever matches first.
    forms_of(url)
        .iter()
        .map(|url| equal(signature.as_bytes(), sign(url, &tail, token).as_bytes()))
        .fold(false, |valid, this| valid | this)
}

/// Whether `sent` (hexadecimal) is the SHA-256 of a body that is not a form.
pub fn is_body_hash(sent: &str, body: &[u8]) -> bool {
    let hash: String = Sha256::digest(body).iter().map(|byte| format!("{byte:02x}")).collect();
    equal(sent.as_bytes(), hash.as_bytes())
}

fn sign(url: &str, tail: &str, token: &Secret) -> String {
    // HMAC takes a key of any length, so this cannot fail; if it did, nothing would match.
    let Ok(mut mac) = Hmac::<Sha1>::new_from_slice(token.expose().as_bytes()) else {
        return String::new();
    };
    mac.update(url.as_bytes());
    mac.update(tail.as_bytes());
    STANDARD.encode(mac.finalize().into_bytes())
}

/// The URL without its port and with the scheme's own: Twilio has signed both.
fn forms_of(url: &str) -> [String; 2] {
    let Some((scheme, rest)) = url.split_once("://") else { return [url.into(), url.into()] };
    let port = if scheme.eq_ignore_ascii_case("https") { 443 } else { 80 };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at(end);
    let host_start = authority.rfind('@').map_or(0, |at| at + 1);
    let (user, host) = authority.split_at(host_start);
    match host.rsplit_once(':') {
        Some((name, _)) if !host.ends_with(']') => {
            [format!("{scheme}://{user}{name}{tail}"), url.to_owned()]
        }
        _ => [url.to_owned(), format!("{scheme}://{user}{host}:{port}{tail}")],
    }
}
