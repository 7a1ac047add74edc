//! What the tests of the providers' webhooks share: sources, requests, and what they come to.

use serde_json::Value;
use switchboard_domain::{Body, Name, Party, Update};

use crate::{Content, Parsed, Provider, Reject, Request, Source, Sources, authenticate};

/// The secret of every source.
pub const SECRET: &str = "fake-secret";

/// Sources of these names, configured alike.
pub fn sources(provider: &dyn Provider, names: &[&str], mut json: Value) -> Sources {
    json["secrets"] = vec![SECRET].into();
    let source = Source::parse(&json.to_string(), Some(provider)).unwrap();
    names.iter().map(|name| (Name::new("source", name).unwrap(), source.clone())).collect()
}

/// A request without a secret.
pub fn request(target: &str, media: &str, body: impl Into<Vec<u8>>) -> Request {
    let at = "2026-02-20T09:30:00Z".parse().unwrap();
    Request::new("POST", target, at).header("content-type", media).body(body.into())
}

/// The request with the secret in a header.
pub fn known(target: &str, media: &str, body: impl Into<Vec<u8>>) -> Request {
    request(target, media, body).header("x-webhook-secret", SECRET)
}

/// What a request comes to.
pub fn content(
    provider: &dyn Provider,
    sources: &Sources,
    request: &Request,
) -> Result<Content, Reject> {
    provider.parse(&authenticate(provider, request, sources)?)
}

/// The records of a request that is about calls.
pub fn calls(provider: &dyn Provider, sources: &Sources, request: &Request) -> Vec<Parsed> {
    match content(provider, sources, request).unwrap() {
        Content::Calls(records) => records,
        Content::Other(answer) => panic!("{answer}"),
    }
}

/// The bytes that an update keeps.
pub fn kept(update: &Update) -> String {
    match &update.raw {
        Body::Inline(bytes) => String::from_utf8(bytes.clone()).unwrap(),
        Body::Stored(_) => panic!("nothing is stored yet"),
    }
}

/// A party as it was written.
pub fn raw(party: Option<&Party>) -> Option<&str> {
    party.map(|party| party.raw.expose())
}
