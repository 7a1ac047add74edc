//! Bodies made by templates that people typed: JSON or a form, one record or many.

#[cfg(test)]
mod tests;

use serde_json::Value;
use switchboard_domain::{CallKey, Facts, Order, Update};

use crate::provider::{Authenticated, Content, Record, Unread};
use crate::reject::Reject;
use crate::request::Form;
use crate::{form, json};

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

/// The body as JSON, whether it came as JSON, as a form of either kind or, with GET, as a query.
///
/// The body says what it is, whatever its content type says: what begins as JSON is JSON, what begins with
/// a boundary is multipart/form-data, and what begins with a name and `=` is a form. See [`form::value`].
pub fn value(message: &Authenticated<'_>) -> Result<Value, Reject> {
    let request = message.request();
    let body = message.body();
    if body.is_empty() && request.method == "GET" {
        return form::value(pairs(request.query.as_bytes()));
    }
    let body = json::plain(body)?;
    let begins = body.trim_ascii_start().first().copied().unwrap_or_default();
    if b"{[\"".contains(&begins) {
        return match json::parse(body)? {
            // JSON that was written as a text of JSON once more.
            Value::String(text) => json::inside(&text),
            value => Ok(value),
        };
    }
    if let Some(fields) = form::multipart(body) {
        return form::value(fields?);
    }
    if let Some(value) = bare(body) {
        return Ok(value);
    }
    if request.is_form() || has_pairs(body) { form::value(pairs(body)) } else { json::parse(body) }
}

/// `name={…}` as people type it: no form encodes its braces so little, and `+` is no space in it.
fn bare(body: &[u8]) -> Option<Value> {
    let (name, text) = body.split_at_checked(body.iter().position(|b| *b == b'=')?)?;
    let text = text.strip_prefix(b"=")?;
    let is_alone = name.iter().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(b));
    let begins =
        text.trim_ascii_start().starts_with(b"{") || text.trim_ascii_start().starts_with(b"[{");
    if is_alone && begins { json::parse(text).ok() } else { None }
}

/// The names and values of a form, decoded.
pub fn pairs(form: &[u8]) -> Form {
    form_urlencoded::parse(form).into_owned().collect()
}

/// Whether a body can be a form: it begins with a name and `=`, or is JSON encoded as one.
fn has_pairs(body: &[u8]) -> bool {
    let body = body.trim_ascii();
    let name = body.split(|b| *b == b'=').next().unwrap_or_default();
    let plain = |b: &u8| b.is_ascii_alphanumeric() || b"_-.+%$[]".contains(b);
    let is_encoded = |start: &[u8]| body.get(..3).is_some_and(|b| b.eq_ignore_ascii_case(start));
    let has_name = body.contains(&b'=') && !name.is_empty() && name.iter().all(plain);
    has_name || is_encoded(b"%7B") || is_encoded(b"%5B")
}
