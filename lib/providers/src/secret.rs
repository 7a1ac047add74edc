//! A shared secret: where a request carries it, and comparing it in constant time.

use subtle::ConstantTimeEq as _;
use switchboard_domain::Secret;

use crate::request::{Request, SECRET};

/// The headers in which phone systems send a shared secret.
const HEADERS: [&str; 3] = ["x-webhook-secret", "x-api-key", "x-crm-intake-secret"];

/// The secret that came with a request: in one of the usual headers, as a bearer token, or, where
/// a system can set no header, in the query.
pub fn presented(request: &Request) -> Option<String> {
    let bearer = || {
        let (scheme, token) = request.get_header("authorization")?.trim().split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    };
    let header = HEADERS.iter().find_map(|name| request.get_header(name));
    header
        .or_else(bearer)
        .filter(|sent| !sent.is_empty())
        .map(str::to_owned)
        .or_else(|| request.query_parameter(SECRET))
}

/// Whether two byte strings are equal. How long it takes tells their lengths at most.
pub fn equal(sent: &[u8], expected: &[u8]) -> bool {
    sent.ct_eq(expected).into()
}

/// Whether `sent` is `secret`. An empty secret equals nothing.
pub fn is(sent: &str, secret: &Secret) -> bool {
    !secret.is_empty() && equal(sent.as_bytes(), secret.expose().as_bytes())
}
