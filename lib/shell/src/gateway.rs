//! API Gateway's HTTP API events (payload format 2.0) to requests, and responses back.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use lambda_http::Body;
use lambda_http::aws_lambda_events::apigw::{ApiGatewayV2httpRequest, ApiGatewayV2httpResponse};
use lambda_http::http::header::CONTENT_TYPE;
use lambda_http::http::{HeaderName, HeaderValue, Method};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use switchboard_providers::Request;

/// An event of API Gateway. What cannot be read even without its odd parts is still one, and its request
/// is answered: an event never fails its invocation.
#[derive(Debug)]
pub struct Event(Option<Box<ApiGatewayV2httpRequest>>);

impl<'de> Deserialize<'de> for Event {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let event = Box::<RawValue>::deserialize(deserializer)?;
        let read = serde_json::from_str(event.get());
        Ok(Self(read.or_else(|_| serde_json::from_value(without_odd_parts(event.get())?)).ok()))
    }
}

/// An event without headers that HTTP does not allow (for one of them the type refuses the whole event),
/// without claims that are not text, and with a method that HTTP allows.
fn without_odd_parts(event: &str) -> serde_json::Result<Value> {
    let mut event: Value = serde_json::from_str(event)?;
    if let Some(headers) = event.get_mut("headers").and_then(Value::as_object_mut) {
        headers.retain(|name, value| {
            let value = value.as_str().map(HeaderValue::from_str);
            HeaderName::from_bytes(name.as_bytes()).is_ok() && matches!(value, Some(Ok(_)))
        });
    }
    let claims = event.pointer_mut("/requestContext/authorizer/jwt/claims");
    if let Some(claims) = claims.and_then(Value::as_object_mut) {
        claims.retain(|_, claim| claim.is_string());
    }
    if let Some(method) = event.pointer_mut("/requestContext/http/method")
        && method.as_str().is_none_or(|method| Method::from_bytes(method.as_bytes()).is_err())
    {
        *method = "UNKNOWN".into();
    }
    Ok(event)
}

/// A request as its sender sent it.
#[derive(Clone, Debug, Default)]
pub struct HttpRequest {
    /// In capitals.
    pub method: String,
    /// The path, without the stage's name: a stage other than the default is a prefix of it.
    pub path: String,
    /// The query as it was sent.
    pub query: String,
    /// Names in lower case. A value that is not text is left out: it can be no signature and no secret.
    pub headers: BTreeMap<String, String>,
    /// The bytes as they were sent. `None`: the event declares them as Base64, and they are not, or it could
    /// not be read.
    pub body: Option<Vec<u8>>,
    /// The sender's address.
    pub sender: Option<IpAddr>,
    /// The route of the template that it came by, as `GET /calls`.
    pub route: String,
    /// The claims of a JWT that API Gateway has checked, if the route has such an authorizer.
    pub claims: Option<HashMap<String, String>>,
}

impl From<Event> for HttpRequest {
    fn from(event: Event) -> Self {
        let Some(event) = event.0.map(|event| *event) else { return Self::default() };
        let context = event.request_context;
        let path = event.raw_path.unwrap_or_else(|| "/".into());
        let stage = context.stage.unwrap_or_else(|| "$default".into());
        let path = match path.strip_prefix('/').and_then(|rest| rest.strip_prefix(&*stage)) {
            Some(rest) if rest.starts_with('/') => rest.to_owned(),
            _ => path,
        };
        let body = event.body.unwrap_or_default();
        let text = |value: &HeaderValue| value.to_str().ok().map(str::to_owned);
        let headers = event.headers.iter();
        Self {
            method: context.http.method.as_str().to_ascii_uppercase(),
            path,
            query: event.raw_query_string.unwrap_or_default(),
            headers: headers
                .filter_map(|(name, value)| Some((name.to_string(), text(value)?)))
                .collect(),
            body: match event.is_base64_encoded {
                true => STANDARD.decode(body).ok(),
                false => Some(body.into_bytes()),
            },
            sender: context.http.source_ip.and_then(|address| address.parse().ok()),
            route: event.route_key.unwrap_or_else(|| "unknown".into()),
            claims: context.authorizer.and_then(|one| one.jwt).map(|jwt| jwt.claims),
        }
    }
}

impl HttpRequest {
    /// A request, as `GET /calls?limit=1`, for tests.
    pub fn new(method: &str, target: &str) -> Self {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let (method, path, query) = (method.to_owned(), path.to_owned(), query.to_owned());
        Self { method, path, query, body: Some(Vec::new()), ..Self::default() }
    }

    /// The webhook request. `None` without a body, see [`HttpRequest::body`].
    pub fn into_webhook(self, received_at: Timestamp) -> Option<Request> {
        let target = format!("{}?{}", self.path, self.query);
        let mut request = Request::new(&self.method, &target, received_at).sender(self.sender);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        Some(request.body(self.body?))
    }
}

/// The response to a request.
#[derive(Clone, Debug, PartialEq)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// Headers beside the content type.
    pub headers: BTreeMap<&'static str, String>,
    /// The body.
    pub body: Value,
}

impl Response {
    /// A JSON body.
    pub fn new(status: u16, body: Value) -> Self {
        Self { status, headers: BTreeMap::new(), body }
    }

    /// With a header.
    pub fn header(mut self, name: &'static str, value: String) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// An error, in words for the sender.
    pub fn error(status: u16, error: &str) -> Self {
        Self::new(status, json!({ "error": error }))
    }

    /// The response in API Gateway's form. A header that HTTP does not allow is left out.
    pub fn into_event(self) -> ApiGatewayV2httpResponse {
        let mut event = ApiGatewayV2httpResponse::default();
        event.status_code = self.status.into();
        event.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        for (name, value) in self.headers {
            if let Ok(value) = HeaderValue::from_str(&value) {
                event.headers.insert(name, value);
            }
        }
        event.body = Some(Body::Text(self.body.to_string()));
        event
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
        let event: Event = serde_json::from_value(event).unwrap();
        HttpRequest::from(event).into_webhook(Timestamp::UNIX_EPOCH)
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
