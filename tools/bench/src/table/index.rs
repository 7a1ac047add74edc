//! The indexes of the two tables: what is in them, where, and how much of an item they hold.

use serde_json::{Map, Value};

use super::{Key, key, text};

/// An index: only items that have both of its attributes are in it.
#[derive(Debug)]
pub struct Index {
    /// Its name.
    pub name: &'static str,
    /// The attribute by which it is parted.
    pub hash: &'static str,
    /// The attribute by which each part is sorted.
    pub range: &'static str,
    /// What it holds beside keys.
    projected: &'static [&'static str],
}

/// As in `template.yaml`: the first three are those of calls, the last is that of the directory.
pub const INDEXES: [Index; 4] = [
    Index { name: "due", hash: "due_shard", range: "due_at", projected: &[] },
    Index { name: "day", hash: "day_shard", range: "began", projected: &["line"] },
    Index { name: "contact", hash: "contact", range: "began", projected: &["line"] },
    Index { name: "lists", hash: "list", range: "place", projected: &[] },
];

/// The index of due work among [`INDEXES`].
pub const DUE: usize = 0;

/// A value by which items are sorted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sort {
    /// A whole number.
    Number(i64),
    /// A text.
    Text(String),
}

impl Sort {
    /// Before every other.
    pub const FIRST: Self = Self::Number(i64::MIN);

    /// Reads an attribute's value.
    pub fn read(value: &Value) -> Option<Self> {
        if let Some(number) = value.get("N") {
            return number.as_str()?.parse().ok().map(Self::Number);
        }
        value.get("S")?.as_str().map(|text| Self::Text(text.to_owned()))
    }
}

/// Where an item is in an index: part, place in it, primary key.
pub type Entry = (String, Sort, Key);

impl Index {
    /// Where an item is, if it is in the index.
    pub fn entry(&self, item: &Value) -> Option<Entry> {
        Some((text(item, self.hash)?.to_owned(), Sort::read(item.get(self.range)?)?, key(item)?))
    }

    /// What the index holds of an item, if it is in it.
    pub fn held(&self, item: &Value) -> Option<Value> {
        self.entry(item)?;
        let names = ["pk", "sk", self.hash, self.range];
        let names = names.iter().chain(self.projected);
        let held = names.filter_map(|name| Some(((*name).to_owned(), item.get(name)?.clone())));
        Some(Value::Object(held.collect::<Map<_, _>>()))
    }
}
