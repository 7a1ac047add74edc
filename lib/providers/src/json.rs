//! Reading JSON that people typed into templates: numbers as strings, blanks, holes.

use serde_json::{Map, Value};
use switchboard_domain::{Personal, Seconds};

use crate::ids;
pub use crate::ids::present;
use crate::reject::Reject;
use crate::repair;

/// How long a field may be that nothing else is said about, bytes.
pub(crate) const SHORT: usize = 2 * 1024;

/// Parses a body, which may begin with a mark of its byte order. What can be mended is
/// ([`repair::mended`]). An error names the field at which the text stops being JSON, because that is what
/// an empty variable in a template leaves behind (`"durationSec":,`).
pub fn parse(body: &[u8]) -> Result<Value, Reject> {
    let body = plain(body)?;
    match ids::read(body) {
        Ok(value) => Ok(value),
        Err(_) => {
            let mended = repair::mended(body);
            ids::read(mended.as_bytes()).map_err(|error| not_json(mended.as_bytes(), &error))
        }
    }
}

/// Parses JSON that stands as a text in a form or in JSON. An error names no field: to the reader of the
/// body, what stands there is a value.
pub fn inside(text: &str) -> Result<Value, Reject> {
    parse(text.as_bytes()).map_err(|why| match why {
        Reject::Malformed { problem, .. } => {
            Reject::malformed("body", format!("holds JSON as text, which {problem}"))
        }
        other => other,
    })
}

/// A body without the mark of its byte order; what is not one byte for each letter is refused.
pub fn plain(body: &[u8]) -> Result<&[u8], Reject> {
    if repair::is_wide(body) {
        return Err(Reject::malformed("body", "is UTF-16 or UTF-32: send UTF-8"));
    }
    Ok(body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body))
}

fn not_json(body: &[u8], error: &serde_json::Error) -> Reject {
    let (line, column) = (error.line(), error.column());
    let place = format!("line {line}, column {column}");
    if let Some(field) = field_before(body, line, column) {
        return Reject::malformed(field, format!("is not followed by a JSON value ({place})"));
    }
    let at = (line_start(body, line) + column).saturating_sub(1);
    match repair::reason(body, at) {
        Some(reason) => {
            Reject::malformed("body", format!("is not valid JSON: it {reason} ({place})"))
        }
        None => Reject::malformed("body", format!("is not valid JSON ({place})")),
    }
}

/// Where a line begins, counted from 1.
fn line_start(body: &[u8], line: usize) -> usize {
    body.split_inclusive(|b| *b == b'\n').take(line.max(1) - 1).map(<[u8]>::len).sum()
}

/// The name before the colon that the parser had reached, if that is where it stopped.
fn field_before(body: &[u8], line: usize, column: usize) -> Option<String> {
    let read = body.get(..(line_start(body, line) + column).min(body.len()))?;
    let read = read.strip_suffix(b",").or_else(|| read.strip_suffix(b"}")).unwrap_or(read);
    let quoted = read.trim_ascii_end().strip_suffix(b":")?.trim_ascii_end().strip_suffix(b"\"")?;
    let opens = quoted.iter().rposition(|b| *b == b'"')?;
    let (before, name) = (quoted.get(..opens)?, quoted.get(opens + 1..)?);
    // Behind a colon it is a value, even if another colon follows it.
    if !before.trim_ascii_end().ends_with(b"{") && !before.trim_ascii_end().ends_with(b",") {
        return None;
    }
    // A name, and not a number used as a key: this goes into a log line.
    let plain = |b: &u8| b.is_ascii_alphanumeric() || b"_-.$".contains(b);
    let is_name = name.first().is_some_and(|b| b.is_ascii_alphabetic() || b"_$".contains(b));
    (is_name && name.len() <= 64 && name.iter().all(plain))
        .then(|| String::from_utf8_lossy(name).into_owned())
}

/// The records of a body: one object, or a list of them.
pub fn records(value: Value) -> Result<Vec<Value>, Reject> {
    match value {
        Value::Array(records) => Ok(records),
        Value::Object(_) => Ok(vec![value]),
        _ => Err(Reject::malformed("body", "is neither an object nor a list of objects")),
    }
}

/// The records of a body that must hold one at least.
pub fn some_records(value: Value) -> Result<Vec<Value>, Reject> {
    let records = records(value)?;
    if records.is_empty() {
        return Err(Reject::malformed("body", "holds no record"));
    }
    Ok(records)
}

/// The fields of one record, taken out one after the other; what is left has no place.
pub struct Fields(Map<String, Value>);

impl Fields {
    /// The fields of an object.
    pub fn of(record: Value) -> Result<Self, Reject> {
        match record {
            Value::Object(fields) => Ok(Self(fields)),
            _ => Err(Reject::malformed("record", "is not an object")),
        }
    }

    /// Takes a field as text: a string, or a number as it is written. `null`, blank text and a
    /// template variable that was never filled in are absent.
    pub fn text(&mut self, name: &str) -> Result<Option<String>, Reject> {
        self.text_up_to(SHORT, name)
    }

    /// Takes a field as text of at most so many bytes: what has no blob of its own must fit into
    /// the call's item.
    pub fn text_up_to(&mut self, limit: usize, name: &str) -> Result<Option<String>, Reject> {
        match self.0.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Number(number)) => Ok(Some(number.to_string())),
            Some(Value::String(text)) if text.len() > limit => {
                Err(Reject::malformed(name, format!("is longer than {limit} bytes")))
            }
            Some(Value::String(text)) => Ok(present(&text).map(str::to_owned)),
            Some(_) => Err(Reject::malformed(name, "is not text")),
        }
    }

    /// Takes a field as an id, if one was filled in: see [`ids::id`].
    pub fn id(&mut self, name: &str) -> Result<Option<String>, Reject> {
        Ok(self.text(name)?.filter(|text| ids::id(text).is_some()))
    }

    /// Takes a field that a record can do without: what cannot be read as text is left out.
    pub fn optional(&mut self, name: &str) -> Option<String> {
        self.text(name).ok().flatten()
    }

    /// Takes an id that a record can do without.
    pub fn optional_id(&mut self, name: &str) -> Option<String> {
        self.id(name).ok().flatten()
    }

    /// A field's text, which stays among those that are kept in the end.
    pub fn peek(&self, name: &str) -> Option<String> {
        self.0.get(name)?.as_str().and_then(present).map(str::to_owned)
    }

    /// Takes a field as personal text.
    pub fn personal(&mut self, name: &str) -> Result<Option<Personal>, Reject> {
        Ok(self.text(name)?.map(Personal::new))
    }

    /// Takes a field as personal text of at most so many bytes.
    pub fn personal_up_to(&mut self, limit: usize, name: &str) -> Result<Option<Personal>, Reject> {
        Ok(self.text_up_to(limit, name)?.map(Personal::new))
    }

    /// Takes a field as whole seconds: a number or a numeric string; a fraction is dropped.
    pub fn seconds(&mut self, name: &str) -> Result<Option<Seconds>, Reject> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        seconds(&text)
            .map(Some)
            .ok_or_else(|| Reject::malformed(name, "is not a number of seconds"))
    }

    /// Takes a field as yes or no.
    pub fn flag(&mut self, name: &str) -> Result<Option<bool>, Reject> {
        match self.0.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(flag)),
            Some(Value::String(text)) => match text.trim().to_ascii_lowercase().as_str() {
                "" => Ok(None),
                "true" | "1" | "yes" => Ok(Some(true)),
                "false" | "0" | "no" => Ok(Some(false)),
                _ => Err(Reject::malformed(name, "is neither true nor false")),
            },
            Some(_) => Err(Reject::malformed(name, "is neither true nor false")),
        }
    }

    /// What was not taken, as text, at most `most` of it.
    pub fn rest(self, most: usize) -> impl Iterator<Item = (String, Personal)> {
        let text = |value: Value| match value {
            Value::String(text) => present(&text).map(str::to_owned),
            Value::Null => None,
            other => Some(other.to_string()),
        };
        self.0
            .into_iter()
            .filter_map(move |(name, value)| Some((name, Personal::new(text(value)?))))
            .filter(|(name, value)| (1..=64).contains(&name.len()) && value.expose().len() <= 512)
            .take(most)
    }
}

/// Whole seconds from a number as text; a fraction is dropped.
pub fn seconds(text: &str) -> Option<Seconds> {
    let (whole, fraction) = text.trim().split_once('.').unwrap_or((text.trim(), ""));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    (digits(whole) && digits(fraction)).then(|| whole.parse().ok().map(Seconds)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hole_in_a_template_is_named() {
        for (body, field) in [
            (r#"{"provider":"asterisk","durationSec":,"source":"asterisk"}"#, "durationSec"),
            (r#"{"provider":"asterisk","durationSec":}"#, "durationSec"),
            ("{\"provider\": \"asterisk\",\n  \"durationSec\" : ,\n}", "durationSec"),
            (r#"{"provider":"#, "provider"),
        ] {
            let Err(Reject::Malformed { field: named, .. }) = parse(body.as_bytes()) else {
                panic!("{body} was read");
            };
            assert_eq!(named, field, "{body}");
        }
    }

    #[test]
    fn other_broken_json_is_the_bodys_fault_and_shows_none_of_it() {
        for body in [
            "",
            "{",
            "+61491570156",
            r#"{"61491570156":}"#,
            r#"{"clientPhone":"+61491570156""#,
            r#"{"clientName":"Kim6149":"#,
            "\u{feff}{}",
        ] {
            let error = parse(body.as_bytes()).map(|_| ()).map_err(|e| e.to_string());
            let Err(text) = error else { continue };
            assert!(text.starts_with("body: ") && !text.contains("6149"), "{text}");
        }
    }

    #[test]
    fn a_field_that_would_not_fit_is_refused_by_name_and_limit() {
        let fields = |length: usize| {
            Fields::of(serde_json::json!({"campaign": "x".repeat(length)}))
                .unwrap()
                .text("campaign")
        };
        assert_eq!(fields(SHORT).unwrap().map(|text| text.len()), Some(SHORT));
        let error = fields(SHORT + 1).unwrap_err().to_string();
        assert_eq!(error, "campaign: is longer than 2048 bytes");
    }

    #[test]
    fn seconds_are_whole_and_never_negative() {
        assert_eq!(seconds(" 45 "), Some(Seconds(45)));
        assert_eq!(seconds("45.9"), Some(Seconds(45)));
        for text in ["", "-1", "abc", "1e3", "99999999999", "."] {
            assert!(seconds(text).is_none(), "{text}");
        }
    }
}
