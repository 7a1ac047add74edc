//! The variables of a template, by whatever name the template posts them under.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use switchboard_domain::Personal;

use crate::json::{self, Fields};
use crate::reject::Reject;

/// How long a value may be that nothing else is said about, bytes. A longer one is left out.
const SHORT: usize = 2 * 1024;

/// What the names of credentials have in them. A template's parameters are not to be kept.
const CREDENTIALS: [&str; 5] = ["secret", "password", "token", "apikey", "api_key"];

/// The filled-in values of one record, taken out one after the other; the case of a name does
/// not count. A value that is no text or number is as good as none: no variable of 3CX is.
pub struct Variables(BTreeMap<String, (String, Value)>);

impl Variables {
    /// The values of an object that were filled in.
    pub fn of(record: Value) -> Result<Self, Reject> {
        let Value::Object(fields) = record else {
            return Err(Reject::malformed("record", "is not an object"));
        };
        let mut variables = BTreeMap::new();
        for (name, value) in fields {
            let lower = name.trim().to_ascii_lowercase();
            if is_filled(&value) && !CREDENTIALS.iter().any(|word| lower.contains(word)) {
                variables.entry(lower).or_insert((name, value));
            }
        }
        Ok(Self(variables))
    }

    /// Takes the first of several names (in lower case) that has a value, and drops the others.
    pub fn text(&mut self, names: &[&str]) -> Option<String> {
        self.text_up_to(SHORT, names)
    }

    /// As [`Variables::text`], of at most so many bytes.
    pub fn text_up_to(&mut self, limit: usize, names: &[&str]) -> Option<String> {
        self.take(limit, names).into_iter().next()
    }

    /// Takes the values of all of several names, in their order.
    pub fn all(&mut self, names: &[&str]) -> Vec<String> {
        self.take(SHORT, names)
    }

    fn take(&mut self, limit: usize, names: &[&str]) -> Vec<String> {
        let mut taken = Vec::new();
        for name in names {
            let text = match self.0.remove(*name) {
                Some((_, Value::String(text))) => text.trim().to_owned(),
                Some((_, Value::Number(number))) => number.to_string(),
                _ => continue,
            };
            if text.len() <= limit {
                taken.push(text);
            }
        }
        taken
    }

    /// What was not taken, under the names that it came with, at most `most` of it.
    pub fn rest(self, most: usize) -> BTreeMap<String, Personal> {
        let rest: Map<String, Value> = self.0.into_values().collect();
        Fields::of(Value::Object(rest)).map(|rest| rest.rest(most).collect()).unwrap_or_default()
    }
}

/// Whether a value says anything. 3CX leaves an unknown variable empty; other senders leave the
/// placeholder itself, `[RecordingURL]`.
fn is_filled(value: &Value) -> bool {
    let Value::String(text) = value else { return !value.is_null() };
    let Some(text) = json::present(text) else { return false };
    let inside = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    let is_word = |text: &str| {
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    };
    !inside.is_some_and(is_word)
}
