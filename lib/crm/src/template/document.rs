//! The canonical document as a template sees it: every field that can be there is there, and to ask
//! for another is an error that names the nearest.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use minijinja::value::{Enumerator, Object};
use minijinja::{Error, ErrorKind, Value};
use serde_json::Value as Json;

/// An object of the document. Where a call has none (no contact, no analysis), it is still there with
/// every field null, so that `data.contact.name` needs no question before it; as a whole it then is
/// false, and written as null.
pub struct Known {
    path: String,
    is_there: bool,
    fields: BTreeMap<String, Value>,
}

impl Known {
    /// Whether the call has it.
    pub fn is_there(&self) -> bool {
        self.is_there
    }

    /// What it holds.
    pub fn fields(&self) -> &BTreeMap<String, Value> {
        &self.fields
    }
}

/// It holds personal data.
impl fmt::Debug for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Known").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Object for Known {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let name = key.as_str()?;
        Some(self.fields.get(name).cloned().unwrap_or_else(|| {
            // No one reads a place on its own: the error comes where it is used.
            let words = unknown(&self.path, name, self.fields.keys().map(String::as_str));
            Error::new(ErrorKind::UndefinedError, words).into()
        }))
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        if !self.is_there {
            return Enumerator::Empty;
        }
        Enumerator::Values(self.fields.keys().map(|name| Value::from(name.as_str())).collect())
    }

    fn is_true(self: &Arc<Self>) -> bool {
        self.is_there
    }
}

/// A document as a template sees it. `shape` is a document in which everything that can be there is.
pub fn view(shape: &Json, document: &Json) -> Value {
    at("", shape, document)
}

fn at(path: &str, shape: &Json, value: &Json) -> Value {
    match (shape, value) {
        (Json::Object(shape), _) => {
            let known = |name: &String| {
                let here = value.get(name).unwrap_or(&Json::Null);
                (name.clone(), at(&join(path, name), &shape[name], here))
            };
            let fields = shape.keys().map(known).collect();
            Value::from_object(Known { path: path.to_owned(), is_there: !value.is_null(), fields })
        }
        (_, Json::Array(items)) => {
            let shape = shape.get(0).unwrap_or(&Json::Null);
            items.iter().map(|item| at(path, shape, item)).collect()
        }
        (_, Json::Null) => Value::from(()),
        (_, Json::Bool(value)) => Value::from(*value),
        (_, Json::String(text)) => Value::from(text.as_str()),
        (_, Json::Number(number)) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => Value::from(whole),
            (None, float) => Value::from(float.unwrap_or_default()),
        },
        // Nothing that the document can hold: the shape is of the same document.
        (_, Json::Object(_)) => Value::from(()),
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// What is wrong with a path that a template asks for (`data.contact.phone`), if anything.
pub fn fault(shape: &Json, path: &str) -> Option<String> {
    let mut here = shape;
    let mut walked = String::new();
    for name in path.split('.') {
        here = match here {
            Json::Object(fields) => match fields.get(name) {
                Some(field) => field,
                None => return Some(unknown(&walked, name, fields.keys().map(String::as_str))),
            },
            Json::Array(_) => {
                return Some(format!("{walked} is a list and has no {name}: use a for, or [0]"));
            }
            _ => return Some(format!("{walked} is one value and has no {name}")),
        };
        walked = join(&walked, name);
    }
    None
}

fn unknown<'a>(path: &str, name: &str, known: impl Iterator<Item = &'a str>) -> String {
    let full = join(path, name);
    match nearest(name, known) {
        Some(near) => format!("there is no {full}: the nearest is {}", join(path, near)),
        None => format!("there is no {full}"),
    }
}

/// The name that is written most alike.
pub fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known.min_by_key(|candidate| distance(name, candidate))
}

/// How many letters must be put in, left out, changed or swapped with their neighbour to make one name
/// of the other.
fn distance(one: &str, other: &str) -> usize {
    let (one, other): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in other.iter().enumerate() {
            let swapped = i > 0 && j > 0 && one[i - 1] == *b && other[j - 1] == *a;
            let by_swap = if swapped { before[j - 1] + 1 } else { usize::MAX };
            let by_change = last[j] + usize::from(a != b);
            row.push(by_change.min(last[j + 1] + 1).min(row[j] + 1).min(by_swap));
        }
        before = std::mem::replace(&mut last, row);
    }
    last.last().copied().unwrap_or_default()
}
