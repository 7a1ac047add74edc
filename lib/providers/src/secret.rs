//! Comparing what was sent with what is configured, in constant time.

use subtle::ConstantTimeEq as _;
use switchboard_domain::Secret;

/// Whether two byte strings are equal. How long it takes tells their lengths at most.
pub fn equal(sent: &[u8], expected: &[u8]) -> bool {
    sent.ct_eq(expected).into()
}

/// Whether `sent` is `secret`. An empty secret equals nothing.
pub fn is(sent: &str, secret: &Secret) -> bool {
    !secret.is_empty() && equal(sent.as_bytes(), secret.expose().as_bytes())
}
