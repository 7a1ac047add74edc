//! Forms: `name=value` pairs, multipart/form-data, PHP's arrays, and JSON inside one field.

use serde_json::{Map, Value};

use crate::json;
use crate::reject::Reject;
use crate::request::{Form, SECRET};

/// Fields that stand beside a record and are none of its own: of a form with nothing else but one
/// field, that field holds the record.
const BESIDE: [&str; 5] = ["source", SECRET, "token", "crm_token", "api_key"];
/// How deep `a[b][c]` goes, at most.
const DEEPEST: usize = 8;

/// A form of pairs, decoded, as an object; `a[b]=…` is an object in it. Where one field alone holds the
/// record, or a list of them, as JSON or as PHP's array, it is that.
pub fn value(pairs: Form) -> Result<Value, Reject> {
    let mut fields = Map::new();
    for (name, value) in pairs {
        put(&mut fields, &name, value);
    }
    let fields = match with_lists(Value::Object(fields)) {
        Value::Object(fields) => fields,
        list => return Ok(list),
    };
    let mut own = fields.iter().filter(|(name, _)| !BESIDE.contains(&name.as_str()));
    let (Some((name, only)), None) = (own.next(), own.next()) else {
        return Ok(Value::Object(fields));
    };
    let inside = match only {
        // The whole body, encoded as if it were a form's only name.
        Value::String(text) if holds_json(name) && text.is_empty() => json::inside(name)?,
        Value::String(text) if holds_json(text) => json::inside(text)?,
        Value::String(_) => return Ok(Value::Object(fields)),
        nested => nested.clone(),
    };
    let name = name.clone();
    Ok(unwrapped(inside, fields, &name))
}

/// The records of the field `name`, each with the fields beside it.
fn unwrapped(mut inside: Value, mut fields: Map<String, Value>, name: &str) -> Value {
    let records = match &mut inside {
        Value::Array(records) => records.as_mut_slice(),
        one => std::slice::from_mut(one),
    };
    if records.is_empty() || !records.iter().all(Value::is_object) {
        return Value::Object(fields);
    }
    fields.remove(name);
    for record in records.iter_mut().filter_map(Value::as_object_mut) {
        for (name, value) in &fields {
            record.entry(name.clone()).or_insert_with(|| value.clone());
        }
    }
    inside
}

fn holds_json(text: &str) -> bool {
    let text = text.trim_start();
    let in_list = || text.strip_prefix('[').is_some_and(|text| text.trim_start().starts_with('{'));
    text.starts_with('{') || in_list()
}

/// Puts a field in its place; of one that is repeated the first counts.
fn put(fields: &mut Map<String, Value>, name: &str, value: String) {
    let Some((last, path)) = path(name).and_then(|mut path| Some((path.pop()?, path))) else {
        fields.entry(name.to_owned()).or_insert(Value::String(value));
        return;
    };
    let mut place = &mut *fields;
    for part in path {
        let name = numbered(place, part);
        match place.entry(name).or_insert_with(|| Value::Object(Map::new())) {
            Value::Object(inner) => place = inner,
            // It is a text already.
            _ => return,
        }
    }
    let name = numbered(place, last);
    place.entry(name).or_insert(Value::String(value));
}

/// `a[b][]` as its parts; `None` where a name is not of that form.
fn path(name: &str) -> Option<Vec<&str>> {
    let (first, rest) = name.strip_suffix(']')?.split_once('[')?;
    let parts: Vec<&str> = std::iter::once(first).chain(rest.split("][")).collect();
    let is_part = |part: &&str| !part.contains(['[', ']']);
    (!first.is_empty() && parts.len() <= DEEPEST && parts.iter().all(is_part)).then_some(parts)
}

/// `[]` is the next number.
fn numbered(place: &Map<String, Value>, part: &str) -> String {
    if part.is_empty() { place.len().to_string() } else { part.to_owned() }
}

/// Objects whose names are the numbers from 0 are lists.
fn with_lists(value: Value) -> Value {
    let Value::Object(fields) = value else { return value };
    let mut items: Vec<(Option<usize>, String, Value)> = fields
        .into_iter()
        .map(|(name, value)| (name.parse().ok(), name, with_lists(value)))
        .collect();
    items.sort_by_key(|(number, ..)| *number);
    let is_list = items.iter().enumerate().all(|(n, (number, ..))| *number == Some(n));
    if is_list && !items.is_empty() {
        return items.into_iter().map(|(_, _, value)| value).collect();
    }
    Value::Object(items.into_iter().map(|(_, name, value)| (name, value)).collect())
}

/// The fields of multipart/form-data, which begins with its boundary. `None`: it is something else.
pub fn multipart(body: &[u8]) -> Option<Result<Form, Reject>> {
    let body = body.trim_ascii_start();
    let mut lines = body.split_inclusive(|b| *b == b'\n');
    let boundary = lines.next()?.trim_ascii_end();
    if boundary.len() < 3 || !boundary.starts_with(b"--") {
        return None;
    }
    let mut form = Form::new();
    let mut part = Vec::new();
    for line in lines {
        let Some(rest) = line.trim_ascii_end().strip_prefix(boundary) else {
            part.extend_from_slice(line);
            continue;
        };
        if !rest.is_empty() && rest != b"--" {
            part.extend_from_slice(line);
            continue;
        }
        form.extend(field(&part));
        part.clear();
        if rest == b"--" {
            return Some(Ok(form));
        }
    }
    let problem = "is multipart/form-data without its last boundary";
    Some(Err(Reject::malformed("body", problem)))
}

/// The name and the text of one part. A file that is not text has none.
fn field(part: &[u8]) -> Option<(String, String)> {
    let mut at = 0;
    let mut name = None;
    let mut is_file = false;
    for line in part.split_inclusive(|b| *b == b'\n') {
        at += line.len();
        let line = String::from_utf8_lossy(line.trim_ascii());
        if line.is_empty() {
            break;
        }
        let (header, value) = line.split_once(':').unwrap_or_default();
        if header.eq_ignore_ascii_case("content-disposition") {
            name = parameter(value, "name");
            is_file = parameter(value, "filename").is_some();
        }
    }
    let text = part.get(at..)?;
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    let text = text.strip_suffix(b"\r").unwrap_or(text);
    if is_file && std::str::from_utf8(text).is_err() {
        return None;
    }
    Some((name?, String::from_utf8_lossy(text).into_owned()))
}

/// A parameter of a header: `name="…"` or `name=…`.
fn parameter(header: &str, name: &str) -> Option<String> {
    let parts = header.split(';').filter_map(|part| part.trim().split_once('='));
    let value = parts.into_iter().find(|(key, _)| key.trim().eq_ignore_ascii_case(name))?.1.trim();
    let quoted = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
    Some(quoted.unwrap_or(value).replace("%22", "\""))
}
