//! Errors of the API, as problem details (RFC 9457).

use serde_json::{Map, Value, json};
use switchboard_queue::QueueError;
use switchboard_shell::gateway::Response;
use switchboard_store::StoreError;

/// An error response. Its texts are for the caller: they name fields, never values.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// The HTTP status.
    pub status: u16,
    /// The kind of problem, a stable word: the last part of `type`.
    pub kind: &'static str,
    /// The kind in words, the same in every response.
    pub title: &'static str,
    /// What is wrong with this request, and what to do.
    pub detail: String,
    /// Members beyond the standard ones, as `errors` or `retryable`. `retry_after`, whole seconds,
    /// is sent as the header `Retry-After` too.
    pub more: Map<String, Value>,
}

impl Problem {
    /// Creates a problem without further members.
    pub fn new(status: u16, kind: &'static str, title: &'static str, detail: &str) -> Self {
        Self { status, kind, title, detail: detail.to_owned(), more: Map::new() }
    }

    /// Adds a member.
    pub fn with(mut self, name: &str, value: Value) -> Self {
        self.more.insert(name.to_owned(), value);
        self
    }

    /// 400: the request is invalid. `field` is a member's path, a parameter or `body`.
    pub fn invalid(field: &str, problem: &str) -> Self {
        let detail = format!("{field} {problem}");
        Self::new(400, "invalid-request", "Invalid request", &detail)
            .with("errors", json!([{ "field": field, "problem": problem }]))
    }

    /// 401: no token, or an unknown one.
    pub fn unauthenticated() -> Self {
        let detail = "send a configured token in the header Authorization: Bearer <token>";
        Self::new(401, "unauthenticated", "Unauthorized", detail)
    }

    /// 403: the token lacks a right.
    pub fn forbidden(right: &str) -> Self {
        let detail = format!("the token lacks the right {right}: use a token that has it");
        Self::new(403, "forbidden", "Forbidden", &detail).with("right", json!(right))
    }

    /// 404: `what` is the kind of thing that was not found, as `call`.
    pub fn not_found(what: &str) -> Self {
        let detail = format!("there is no such {what}");
        Self::new(404, "not-found", "Not found", &detail)
    }

    /// 409: the request conflicts with the stored state. `detail` says what to do.
    pub fn conflict(detail: &str) -> Self {
        Self::new(409, "conflict", "Conflict", detail)
    }

    /// 410: the thing existed and was deleted, or its link has expired.
    pub fn gone(detail: &str) -> Self {
        Self::new(410, "gone", "Gone", detail)
    }

    /// 503: a failure on our side that a retry may overcome.
    pub fn ours(detail: &str) -> Self {
        let detail = format!("{detail}; retry the request");
        Self::new(503, "unavailable", "Service unavailable", &detail).with("retryable", json!(true))
    }

    /// The response.
    pub fn into_response(self) -> Response {
        let mut body = self.more;
        let retry_after = body.get("retry_after").map(Value::to_string);
        body.insert("type".into(), json!(format!("urn:switchboard:problem:{}", self.kind)));
        body.insert("title".into(), json!(self.title));
        body.insert("status".into(), json!(self.status));
        body.insert("detail".into(), json!(self.detail));
        let mut response = Response::new(self.status, Value::Object(body));
        response.headers.insert("content-type", "application/problem+json".into());
        if self.status == 401 {
            response.headers.insert("www-authenticate", "Bearer".into());
        }
        if let Some(seconds) = retry_after {
            response.headers.insert("retry-after", seconds);
        }
        response
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        Self::ours(&error.to_string())
    }
}

impl From<QueueError> for Problem {
    fn from(error: QueueError) -> Self {
        Self::ours(&error.to_string())
    }
}
