//! CRMs that enforce the documented rules of the requests that calls take: for unit tests as values, and for
//! everything else behind a port of loopback.

#![allow(clippy::result_large_err, reason = "a refusal is a response like any other")]

pub mod guarded;
pub mod registry;

use http::{HeaderMap, HeaderName};
use serde_json::Value;
use switchboard_http::{Request, Response};

pub use guarded::{Crm, Guarded};
pub use registry::*;

/// A CRM that keeps its own rules.
pub trait StandIn: Send {
    /// Its response to a request.
    fn respond(&mut self, request: &Request) -> Response;
}

impl<F: FnMut(&Request) -> Response + Send> StandIn for F {
    fn respond(&mut self, request: &Request) -> Response {
        self(request)
    }
}

/// A response with JSON; null is no body at all.
pub fn response(status: u16, body: Value) -> Response {
    let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
    Response { status, headers: HeaderMap::new(), body }
}

/// The same with a header.
pub fn with_header(mut response: Response, name: &str, value: &str) -> Response {
    if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), value.parse()) {
        response.headers.insert(name, value);
    }
    response
}

/// A request as a CRM reads it.
pub struct Received {
    /// The method.
    pub method: String,
    /// The segments of the path.
    pub path: Vec<String>,
    /// The pairs of the query.
    pub query: Vec<(String, String)>,
    /// Null where there is none. `Err`: it is no JSON, or not declared as such.
    pub body: Result<Value, ()>,
}

impl Received {
    /// Reads a request.
    pub fn of(request: &Request) -> Self {
        let content_type = request.headers.get("content-type");
        Self {
            method: request.method.to_string(),
            path: request
                .url
                .path()
                .trim_start_matches('/')
                .split('/')
                .map(str::to_owned)
                .collect(),
            query: request.url.query_pairs().into_owned().collect(),
            body: match request.body.is_empty() {
                true => Ok(Value::Null),
                false if content_type.is_none_or(|one| one != "application/json") => Err(()),
                false => serde_json::from_slice(&request.body).map_err(drop),
            },
        }
    }

    /// Its method and path.
    pub fn route(&self) -> (&str, Vec<&str>) {
        (&self.method, self.path.iter().map(String::as_str).collect())
    }

    /// A parameter of its query.
    pub fn asked(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// Whether a value is a text of so many UTF-16 units.
fn is_text(value: &Value, least: usize, most: usize) -> bool {
    let fits = |text: &str| (least..=most).contains(&text.encode_utf16().count());
    value.as_str().is_some_and(|text| !text.contains('\0') && fits(text))
}

/// The digits of a number, without what people write between them.
fn digits(text: &str) -> String {
    text.chars().filter(char::is_ascii_digit).collect()
}
