//! API Gateway's HTTP API events (payload format 2.0) to requests, and replies back.

use std::collections::BTreeMap;
use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use switchboard_providers::Request;

/// What is read of an event, and no more: the type of `aws_lambda_events` has every field that API
/// Gateway may send, and makes every hook larger.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    raw_path: Option<String>,
    raw_query_string: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// The route of the template that it came by, as `GET /calls`.
    pub route_key: Option<String>,
    request_context: Context,
    body: Option<String>,
    #[serde(default)]
    is_base64_encoded: bool,
}

#[derive(Clone, Debug, Deserialize)]
struct Context {
    stage: Option<String>,
    http: Http,
    authorizer: Option<Authorizer>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Http {
    method: String,
    source_ip: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
struct Authorizer {
    jwt: Option<Jwt>,
}

#[derive(Clone, Debug, Deserialize)]
struct Jwt {
    #[serde(default)]
    claims: BTreeMap<String, Value>,
}

impl Event {
    /// The path, without the stage: one other than the default stands at its head and is no part of ours.
    fn path(&self) -> &str {
        let path = self.raw_path.as_deref().unwrap_or("/");
        let stage = self.request_context.stage.as_deref().unwrap_or("$default");
        match path.strip_prefix('/').and_then(|rest| rest.strip_prefix(stage)) {
            Some(rest) if rest.starts_with('/') => rest,
            _ => path,
        }
    }

    fn sender(&self) -> Option<IpAddr> {
        self.request_context.http.source_ip.as_deref()?.parse().ok()
    }

    /// Headers whose values are text.
    fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        let is_text =
            |value: &str| value.bytes().all(|byte| byte == b'\t' || (b' '..=b'~').contains(&byte));
        let headers = self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        headers.filter(move |(_, value)| is_text(value))
    }

    /// A header, by its name in lower case, as API Gateway writes it.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// The claims of a JWT that API Gateway has checked, if the route has such an authorizer.
    pub fn claims(&self) -> Option<&BTreeMap<String, Value>> {
        Some(&self.request_context.authorizer.as_ref()?.jwt.as_ref()?.claims)
    }
}

/// The bytes of a body. `None` where it says that it is Base64 and is not.
fn bytes(body: Option<String>, is_base64: bool) -> Option<Vec<u8>> {
    let body = body.unwrap_or_default();
    if is_base64 { STANDARD.decode(body).ok() } else { Some(body.into_bytes()) }
}

/// A request as the gateway took it apart.
pub struct Parts<'a> {
    /// The method.
    pub method: &'a str,
    /// The path, without a stage prefix.
    pub path: &'a str,
    /// The query exactly as it was sent.
    pub query: &'a str,
    /// As they were sent; a value that is not text is left out.
    pub headers: Vec<(&'a str, &'a str)>,
    /// The bytes as the sender sent them.
    pub body: Vec<u8>,
    /// Who sent it.
    pub sender: Option<IpAddr>,
}

/// The request in an event, as its sender sent it. `None` where a body says that it is Base64 and is not.
pub fn parts(event: &Event) -> Option<Parts<'_>> {
    Some(Parts {
        method: &event.request_context.http.method,
        path: event.path(),
        query: event.raw_query_string.as_deref().unwrap_or_default(),
        headers: event.headers().collect(),
        body: bytes(event.body.clone(), event.is_base64_encoded)?,
        sender: event.sender(),
    })
}

/// The webhook request in an event. `None` as with [`parts`].
pub fn request(mut event: Event, received_at: Timestamp) -> Option<Request> {
    let body = bytes(event.body.take(), event.is_base64_encoded)?;
    let query = event.raw_query_string.as_deref().unwrap_or_default();
    let target = format!("{}?{query}", event.path());
    let method = &event.request_context.http.method;
    let mut request = Request::new(method, &target, received_at).sender(event.sender());
    for (name, value) in event.headers() {
        request = request.header(name, value);
    }
    Some(request.body(body))
}

/// What the sender is answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// Headers beside the content type.
    pub headers: BTreeMap<&'static str, String>,
    /// The body.
    pub body: Value,
}

impl Reply {
    /// A JSON answer.
    pub fn new(status: u16, body: Value) -> Self {
        Self { status, headers: BTreeMap::new(), body }
    }

    /// An error, in words for the sender.
    pub fn error(status: u16, error: &str) -> Self {
        Self::new(status, json!({ "error": error }))
    }

    /// The answer in API Gateway's form.
    pub fn into_event(self) -> Value {
        let mut headers = self.headers;
        headers.entry("content-type").or_insert_with(|| "application/json".into());
        json!({
            "statusCode": self.status,
            "headers": headers,
            "body": self.body.to_string(),
            "isBase64Encoded": false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(stage: &str, path: &str, body: Value, is_base64: bool) -> Option<Request> {
        let event = json!({
            "version": "2.0", "routeKey": "POST /x", "rawPath": path, "rawQueryString": "a=1&b=%20",
            "cookies": ["c=1"], "headers": {"X-One": "1", "x-two": "\u{e9}", "x-three": "a\tb"},
            "requestContext": {"stage": stage, "timeEpoch": 1,
                "http": {"method": "post", "sourceIp": "192.0.2.1", "protocol": "HTTP/1.1"}},
            "body": body, "isBase64Encoded": is_base64,
        });
        request(serde_json::from_value(event).unwrap(), Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn an_event_is_the_request_that_was_sent() {
        let request = read("$default", "/calls/x", json!("aGk="), true).unwrap();
        assert_eq!(
            (&*request.method, &*request.path, &*request.query),
            ("POST", "/calls/x", "a=1&b=%20")
        );
        assert_eq!(request.sender, Some([192, 0, 2, 1].into()));
        assert_eq!(request.body_len(), 2);
        // What is no plain text cannot be signed nor be a secret.
        let headers = ["x-one", "x-two", "x-three"].map(|name| request.get_header(name));
        assert_eq!(headers, [Some("1"), None, Some("a\tb")]);
    }

    #[test]
    fn a_named_stage_is_no_part_of_the_path() {
        for (stage, sent, path) in [
            ("prod", "/prod/calls", "/calls"),
            ("prod", "/product/calls", "/product/calls"),
            ("prod", "/calls/prod", "/calls/prod"),
            ("$default", "/prod/calls", "/prod/calls"),
        ] {
            assert_eq!(read(stage, sent, Value::Null, false).unwrap().path, path);
        }
    }

    #[test]
    fn a_body_is_what_the_event_says_that_it_is() {
        assert_eq!(read("x", "/", json!("aGk="), false).unwrap().body_len(), 4);
        assert_eq!(read("x", "/", Value::Null, false).unwrap().body_len(), 0);
        assert!(read("x", "/", json!("not Base64"), true).is_none());
    }
}
