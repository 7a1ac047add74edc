//! Reads the members of a JSON object from a model, and collects what is wrong with them.

use std::str::FromStr;

use serde_json::{Map, Value};
use switchboard_domain::{Personal, VariantArray};

use crate::clean::{clean, is_plain};

/// A fault of a response: the field and the problem. It never holds the field's value, so that it can be
/// stored and shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault(pub String);

/// The faults found so far.
#[derive(Default)]
pub struct Faults(pub Vec<Fault>);

impl Faults {
    /// Adds a fault of a field.
    pub fn say(&mut self, path: &str, field: &str, problem: &str) {
        self.0.push(Fault(match path {
            "" => format!("{field}: {problem}"),
            _ => format!("{path}.{field}: {problem}"),
        }));
    }

    /// The members of an object, or a fault.
    pub fn object<'a>(&mut self, value: &'a Value, path: &str) -> Option<Fields<'a>> {
        let Some(map) = value.as_object() else {
            self.0.push(Fault(format!("{path}: must be an object")));
            return None;
        };
        let path = if path == "the answer" { "" } else { path };
        Some(Fields { path: path.to_owned(), map, taken: Vec::new() })
    }
}

/// The members of an object, each looked at once.
pub struct Fields<'a> {
    path: String,
    map: &'a Map<String, Value>,
    taken: Vec<&'static str>,
}

impl<'a> Fields<'a> {
    /// A member, or a fault where it is missing.
    pub fn take(&mut self, name: &'static str, faults: &mut Faults) -> Option<&'a Value> {
        self.taken.push(name);
        let value = self.map.get(name);
        if value.is_none() {
            faults.say(&self.path, name, "is missing");
        }
        value
    }

    /// A plain text, cleaned, that is neither empty nor too long.
    pub fn text(
        &mut self,
        name: &'static str,
        longest: usize,
        faults: &mut Faults,
    ) -> Option<Personal> {
        let value = self.take(name, faults)?;
        let Some(text) = value.as_str().map(clean) else {
            faults.say(&self.path, name, "must be a text");
            return None;
        };
        let count = text.chars().count();
        if count == 0 {
            faults.say(&self.path, name, "is empty");
        } else if count > longest {
            faults.say(&self.path, name, &format!("is longer than {longest} characters"));
        } else if !is_plain(&text) {
            faults.say(&self.path, name, "holds a link or markup");
        } else {
            return Some(Personal::new(text));
        }
        None
    }

    /// A word of a fixed list.
    pub fn word<T>(&mut self, name: &'static str, faults: &mut Faults) -> Option<T>
    where
        T: FromStr + VariantArray + Copy + Into<&'static str>,
    {
        let found = self.take(name, faults)?.as_str().and_then(|word| word.parse().ok());
        if found.is_none() {
            let words: Vec<&str> = T::VARIANTS.iter().map(|one| (*one).into()).collect();
            faults.say(&self.path, name, &format!("must be one of {}", words.join(", ")));
        }
        found
    }

    /// A list that is not too long; empty where it is at fault.
    pub fn list(&mut self, name: &'static str, most: usize, faults: &mut Faults) -> &'a [Value] {
        let Some(value) = self.take(name, faults) else { return &[] };
        match value.as_array() {
            None => faults.say(&self.path, name, "must be a list"),
            Some(list) if list.len() > most => {
                faults.say(&self.path, name, &format!("has more than {most} entries"));
            }
            Some(list) => return list,
        }
        &[]
    }

    /// Refuses members that were not asked for. Their names are the model's, so they are not shown.
    pub fn end(self, faults: &mut Faults) {
        let more = self.map.keys().filter(|name| !self.taken.contains(&name.as_str())).count();
        if more > 0 {
            let place = if self.path.is_empty() { "the answer" } else { &self.path };
            faults.0.push(Fault(format!("{place}: has {more} fields that were not requested")));
        }
    }
}

/// A whole number that is not too large, also where it is written as `4.0`.
pub fn whole(value: &Value, most: u32) -> Option<u32> {
    let number = match value.as_u64() {
        Some(number) => number,
        None => {
            let number = value.as_f64().filter(|n| n.fract() == 0.0)?;
            (0.0..=f64::from(u32::MAX)).contains(&number).then_some(number as u64)?
        }
    };
    u32::try_from(number).ok().filter(|number| *number <= most)
}
