//! Bodies made by templates that people typed: JSON or a form, one record or many.

use serde_json::{Map, Value};
use switchboard_domain::{CallKey, Facts, Order, Update};

use crate::json;
use crate::provider::{Authenticated, Content, Record, Unread};
use crate::reject::Reject;

/// A record of a body, before it becomes an update with its bytes.
pub struct ParsedRecord {
    /// The call that it is about.
    pub key: CallKey,
    /// See [`Record::near`].
    pub near: Vec<CallKey>,
    /// The kind of message, in the provider's words.
    pub kind: String,
    /// Its place among the call's other messages.
    pub order: Order,
    /// What the record says about the call.
    pub facts: Facts,
}

impl ParsedRecord {
    /// A record whose call is stored under one key alone.
    pub fn new(key: CallKey, kind: impl Into<String>, order: Order, facts: Facts) -> Self {
        Self { key, near: Vec::new(), kind: kind.into(), order, facts }
    }
}

/// Reads each record by itself, so that one that cannot be read harms none of its neighbours.
///
/// A lone record keeps the bytes of the body; of a list, each is kept as it was read.
pub fn each(
    message: &Authenticated<'_>,
    records: Vec<Value>,
    read: impl Fn(Value) -> Result<ParsedRecord, Reject>,
) -> Content {
    each_kept(message, message.body(), records, read)
}

/// As [`each`], where the bytes of the body may not be kept as they are: a lone record keeps `body`.
pub fn each_kept(
    message: &Authenticated<'_>,
    body: &[u8],
    records: Vec<Value>,
    read: impl Fn(Value) -> Result<ParsedRecord, Reject>,
) -> Content {
    let request = message.request();
    let target = request.kept_target();
    let alone = records.len() == 1;
    let read_one = |record: Value| {
        let raw = if alone { body.to_vec() } else { record.to_string().into_bytes() };
        match read(record) {
            Ok(ParsedRecord { key, near, kind, order, facts }) => {
                let update = Update::new(&kind, order, request.received_at, facts, raw);
                Ok(Record { key, near, update: update.sent_to(&target) })
            }
            Err(why) => Err(Unread { why, raw }),
        }
    };
    Content::Calls(records.into_iter().map(read_one).collect())
}

/// The body as JSON, whether it came as JSON, as a form or, with GET, as a query.
///
/// The content type says which; where it says neither, the first character does. A form is an
/// object of texts; of a repeated name the first value counts.
pub fn value(message: &Authenticated<'_>) -> Result<Value, Reject> {
    let request = message.request();
    let body = message.body();
    if body.is_empty() && request.method == "GET" {
        return Ok(form(request.query.as_bytes()));
    }
    let looks_like_json = body.trim_ascii_start().first().is_some_and(|b| b"{[".contains(b));
    let media = request.media_type();
    let is_json = media.ends_with("/json") || media.ends_with("+json");
    if (request.is_form() && !looks_like_json) || (!is_json && !looks_like_json && has_pairs(body))
    {
        return Ok(form(body));
    }
    json::parse(body)
}

/// A form as an object of texts.
pub fn form(form: &[u8]) -> Value {
    let mut fields = Map::new();
    for (name, value) in form_urlencoded::parse(form) {
        fields.entry(name.into_owned()).or_insert_with(|| Value::String(value.into_owned()));
    }
    Value::Object(fields)
}

/// Whether a body without a content type can be a form: `name=value`, in one line of plain text.
fn has_pairs(body: &[u8]) -> bool {
    let plain = |b: &u8| b.is_ascii_graphic() && !b"<>\"{}".contains(b);
    let name = body.split(|b| *b == b'=').next().unwrap_or_default();
    body.contains(&b'=') && !name.is_empty() && body.trim_ascii().iter().all(plain)
}
