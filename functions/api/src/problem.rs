//! What went wrong, in the form of RFC 9457.

use serde_json::{Map, Value, json};
use switchboard_queue::QueueError;
use switchboard_shell::gateway::Reply;
use switchboard_store::StoreError;

/// A request that is not done. Texts are for the caller: they name fields, never values.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// The HTTP status.
    pub status: u16,
    /// Which kind of problem, a stable word: the last part of its `type`.
    pub kind: &'static str,
    /// The kind in words, the same each time.
    pub title: &'static str,
    /// What of this request it was, and what to do.
    pub detail: String,
    /// Members beside the standard ones, as `errors` or `retryable`. `retry_after`, whole seconds,
    /// is sent as the header too.
    pub more: Map<String, Value>,
}

impl Problem {
    /// A problem of one kind.
    pub fn new(status: u16, kind: &'static str, title: &'static str, detail: &str) -> Self {
        Self { status, kind, title, detail: detail.to_owned(), more: Map::new() }
    }

    /// With a further member.
    pub fn with(mut self, name: &str, value: Value) -> Self {
        self.more.insert(name.to_owned(), value);
        self
    }

    /// 400: the request cannot be read. `field` is where: a member's path, a parameter, `body`.
    pub fn invalid(field: &str, problem: &str) -> Self {
        let detail = format!("{field} {problem}");
        Self::new(400, "invalid-request", "The request cannot be read", &detail)
            .with("errors", json!([{ "field": field, "problem": problem }]))
    }

    /// 401: no token, or one that is not known.
    pub fn unauthenticated() -> Self {
        let detail = "send a token that is configured, as Authorization: Bearer <token>";
        Self::new(401, "unauthenticated", "Who are you?", detail)
    }

    /// 403: a token that may not do this.
    pub fn forbidden(right: &str) -> Self {
        let detail = format!("this token does not have the right {right}");
        Self::new(403, "forbidden", "That is not allowed", &detail).with("right", json!(right))
    }

    /// 404: no such thing. `what` is its kind, as `call`.
    pub fn not_found(what: &str) -> Self {
        let detail = format!("there is no such {what}");
        Self::new(404, "not-found", "There is no such thing", &detail)
    }

    /// 409: it cannot be done as things stand.
    pub fn conflict(detail: &str) -> Self {
        Self::new(409, "conflict", "It cannot be done as things stand", detail)
    }

    /// 410: it was there, and is not any more.
    pub fn gone(detail: &str) -> Self {
        Self::new(410, "gone", "It is not there any more", detail)
    }

    /// 503: a fault of ours that may pass.
    pub fn ours(detail: &str) -> Self {
        let title = "Our fault; try again";
        Self::new(503, "unavailable", title, detail).with("retryable", json!(true))
    }

    /// The answer.
    pub fn into_reply(self) -> Reply {
        let mut body = self.more;
        let retry_after = body.get("retry_after").map(Value::to_string);
        body.insert("type".into(), json!(format!("urn:switchboard:problem:{}", self.kind)));
        body.insert("title".into(), json!(self.title));
        body.insert("status".into(), json!(self.status));
        body.insert("detail".into(), json!(self.detail));
        let mut reply = Reply::new(self.status, Value::Object(body));
        reply.headers.insert("content-type", "application/problem+json".into());
        if self.status == 401 {
            reply.headers.insert("www-authenticate", "Bearer".into());
        }
        if let Some(seconds) = retry_after {
            reply.headers.insert("retry-after", seconds);
        }
        reply
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
