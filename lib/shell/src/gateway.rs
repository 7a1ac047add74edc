//! API Gateway's HTTP API events (payload format 2.0) to requests, and replies back.

use std::collections::BTreeMap;

use aws_lambda_events::apigw::ApiGatewayV2httpRequest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Value, json};
use switchboard_providers::Request;

/// The request in an event, as its sender sent it. `None` where a body says that it is Base64 and is not.
pub fn request(event: &ApiGatewayV2httpRequest, received_at: Timestamp) -> Option<Request> {
    let context = &event.request_context;
    let path = event.raw_path.as_deref().unwrap_or("/");
    // A stage other than the default one stands at the head of the path; it is no part of ours.
    let stage = context.stage.as_deref().unwrap_or("$default");
    let path = match path.strip_prefix('/').and_then(|rest| rest.strip_prefix(stage)) {
        Some(rest) if rest.starts_with('/') => rest,
        _ => path,
    };
    let query = event.raw_query_string.as_deref().unwrap_or_default();
    let method = context.http.method.as_str();
    let mut request = Request::new(method, &format!("{path}?{query}"), received_at)
        .sender(context.http.source_ip.as_deref().and_then(|sender| sender.parse().ok()));
    for (name, value) in &event.headers {
        if let Ok(value) = value.to_str() {
            request = request.header(name.as_str(), value);
        }
    }
    let body = event.body.as_deref().unwrap_or_default();
    let body = match event.is_base64_encoded {
        true => STANDARD.decode(body).ok()?,
        false => body.as_bytes().to_vec(),
    };
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
        headers.insert("content-type", "application/json".into());
        json!({
            "statusCode": self.status,
            "headers": headers,
            "body": self.body.to_string(),
            "isBase64Encoded": false,
        })
    }
}
