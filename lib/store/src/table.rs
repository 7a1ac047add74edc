//! The port to a table of items: what DynamoDB does, as far as the stores need it.

use std::collections::HashMap;

use async_trait::async_trait;
pub use serde_dynamo::{AttributeValue as Value, Item};

use crate::StoreError;

/// The most keys that one batch read takes.
pub const BATCH_LIMIT: usize = 100;
/// The most writes that one transaction takes.
pub const TRANSACTION_LIMIT: usize = 100;

/// A table. [`crate::MemoryTable`] and [`crate::DynamoTable`] implement it; faults and dry runs wrap it.
#[async_trait]
pub trait Table: Send + Sync {
    /// Reads an item, consistently.
    async fn get(&self, key: &Key) -> Result<Option<Item>, StoreError>;

    /// Reads the items under at most [`BATCH_LIMIT`] keys, consistently and in no order. With
    /// `paths` it reads only those attributes of each.
    async fn batch_get(&self, keys: &[Key], paths: &[&[&str]]) -> Result<Vec<Item>, StoreError>;

    /// Reads a page of a partition: consistently of the table, eventually of an index.
    async fn query(&self, query: &Query) -> Result<Page, StoreError>;

    /// Reads a page of the whole table, in no order, without what `filter` leaves out.
    async fn scan(&self, filter: &Condition, start: Option<Item>) -> Result<Page, StoreError>;

    /// Writes one item, if the condition of the write holds.
    async fn write(&self, write: Write) -> Result<Written, StoreError>;

    /// Writes up to [`TRANSACTION_LIMIT`] items, each another, or none of them. Returns the conditions
    /// that did not hold: if there is one, nothing was written.
    async fn transact(&self, writes: Vec<Write>) -> Result<Vec<Unmet>, StoreError>;
}

/// The keys of the table, or of an index of it.
#[derive(Debug, PartialEq, Eq)]
pub struct Index {
    /// Its name; empty for the table itself.
    pub name: &'static str,
    /// The attribute that is its partition key.
    pub partition: &'static str,
    /// The attribute that is its sort key.
    pub sort: &'static str,
    /// The attribute that it holds beside all keys, if any.
    pub projects: Option<&'static str>,
}

/// The table's own keys.
pub const PRIMARY: Index = Index { name: "", partition: "pk", sort: "sk", projects: None };

/// What an item is stored under.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// The partition key.
    pub pk: String,
    /// The sort key.
    pub sk: String,
}

impl Key {
    /// A key of these parts.
    pub fn new(pk: impl Into<String>, sk: impl Into<String>) -> Self {
        Self { pk: pk.into(), sk: sk.into() }
    }

    /// The key of an item.
    pub fn of(item: &Item) -> Option<Self> {
        Some(Self::new(text_of(item, "pk")?, text_of(item, "sk")?))
    }

    /// The key as attributes of an item.
    pub fn attributes(self) -> [(String, Value); 2] {
        [("pk".to_owned(), Value::S(self.pk)), ("sk".to_owned(), Value::S(self.sk))]
    }

    /// An item with nothing but its key.
    pub fn item(self) -> Item {
        Item::from(HashMap::from(self.attributes()))
    }
}

/// A text attribute of an item.
pub fn text_of<'a>(item: &'a Item, name: &str) -> Option<&'a str> {
    match item.get(name)? {
        Value::S(text) => Some(text),
        _ => None,
    }
}

/// A number attribute of an item.
pub fn number_of<T: std::str::FromStr>(item: &Item, name: &str) -> Option<T> {
    match item.get(name)? {
        Value::N(number) => number.parse().ok(),
        _ => None,
    }
}

/// Which items of one partition a query reads.
#[derive(Clone, Debug)]
pub struct Query {
    /// The table's own keys, or an index.
    pub index: &'static Index,
    /// The partition.
    pub partition: String,
    /// Which of its items.
    pub range: Range,
    /// What of those is left out after it was read. It counts to the limit.
    pub filter: Option<Condition>,
    /// From the last one to the first.
    pub backward: bool,
    /// The most items of a page.
    pub limit: Option<usize>,
    /// Where the last page ended.
    pub start: Option<Item>,
}

impl Query {
    /// Every item of a partition of the table.
    pub fn of(partition: impl Into<String>) -> Self {
        Self::by(&PRIMARY, partition)
    }

    /// Every item of a partition of an index.
    pub fn by(index: &'static Index, partition: impl Into<String>) -> Self {
        let partition = partition.into();
        let (range, filter) = (Range::All, None);
        Self { index, partition, range, filter, backward: false, limit: None, start: None }
    }

    /// With a range of sort keys.
    pub fn within(self, range: Range) -> Self {
        Self { range, ..self }
    }

    /// From the last one to the first.
    pub fn backward(self) -> Self {
        Self { backward: true, ..self }
    }

    /// With at most so many items a page.
    pub fn limit(self, limit: usize) -> Self {
        Self { limit: Some(limit), ..self }
    }

    /// From where the last page ended.
    pub fn start(self, start: Option<Item>) -> Self {
        Self { start, ..self }
    }
}

/// A range of sort keys.
#[derive(Clone, Debug)]
pub enum Range {
    /// Every one.
    All,
    /// Those that begin so.
    Prefix(String),
    /// Those up to a value.
    UpTo(Value),
    /// Those before a value.
    Before(Value),
    /// Those from a value on.
    From(Value),
    /// Those between two values, which are in it.
    Between(Value, Value),
}

/// A page of items.
#[derive(Clone, Default)]
pub struct Page {
    /// The items.
    pub items: Vec<Item>,
    /// Where the next page begins, if there may be one.
    pub next: Option<Item>,
}

/// A condition on the item that is stored under a key. An attribute that is missing fulfils no comparison.
#[derive(Clone, Debug, PartialEq)]
pub enum Condition {
    /// It has an attribute.
    Exists(&'static str),
    /// It has no such attribute, or does not exist.
    Absent(&'static str),
    /// An attribute is equal to a value.
    Is(&'static str, Value),
    /// An attribute is less than a value.
    Below(&'static str, Value),
    /// An attribute is at most a value.
    UpTo(&'static str, Value),
    /// An attribute is greater than a value.
    Above(&'static str, Value),
    /// A text begins so.
    Begins(&'static str, String),
    /// A set has fewer elements.
    Fewer(&'static str, usize),
    /// A set has more elements.
    More(&'static str, usize),
    /// All of these hold.
    All(Vec<Condition>),
    /// One of these holds.
    Any(Vec<Condition>),
}

impl Condition {
    /// There is no item.
    pub fn no_item() -> Self {
        Self::Absent("pk")
    }

    /// The stored version is `version` (0: there is no item).
    pub fn version(version: u64) -> Self {
        match version {
            0 => Self::no_item(),
            _ => Self::Is("version", Value::N(version.to_string())),
        }
    }
}

/// A write of one item.
#[derive(Clone)]
pub struct Write {
    /// What to do.
    pub action: Action,
    /// On which condition.
    pub condition: Option<Condition>,
}

/// What a write does.
#[derive(Clone)]
pub enum Action {
    /// Stores an item in place of what is there.
    Put(Item),
    /// Changes attributes of an item, or creates it with them.
    Update(Key, Vec<Change>),
    /// Deletes an item. One that is not there is no error.
    Delete(Key),
    /// Does nothing but check the condition, in a transaction.
    Check(Key),
}

/// A change of one attribute.
#[derive(Clone, Debug)]
pub enum Change {
    /// Sets it.
    Set(&'static str, Value),
    /// Removes it.
    Remove(&'static str),
    /// Adds to a number, from 0, or to a set.
    Add(&'static str, Value),
    /// Takes elements out of a set; an empty set is removed.
    TakeOut(&'static str, Value),
}

impl Write {
    /// Stores an item.
    pub fn put(item: Item) -> Self {
        Self { action: Action::Put(item), condition: None }
    }

    /// Changes an item.
    pub fn update(key: Key, changes: Vec<Change>) -> Self {
        Self { action: Action::Update(key, changes), condition: None }
    }

    /// Deletes an item.
    pub fn delete(key: Key) -> Self {
        Self { action: Action::Delete(key), condition: None }
    }

    /// Checks a condition.
    pub fn check(key: Key, condition: Condition) -> Self {
        Self { action: Action::Check(key), condition: Some(condition) }
    }

    /// On a condition.
    pub fn only_if(self, condition: Condition) -> Self {
        Self { condition: Some(condition), ..self }
    }

    /// The key of the item that is written.
    pub fn key(&self) -> Option<Key> {
        match &self.action {
            Action::Put(item) => Key::of(item),
            Action::Update(key, _) | Action::Delete(key) | Action::Check(key) => Some(key.clone()),
        }
    }
}

/// What became of a write.
#[derive(Clone)]
pub enum Written {
    /// It is written. After an update: the item as it is now.
    Done(Item),
    /// The condition did not hold: the item that is stored, if there is one.
    Unmet(Option<Item>),
}

impl Written {
    /// Whether the condition held.
    pub fn is_done(&self) -> bool {
        matches!(self, Self::Done(_))
    }
}

/// A condition of a transaction that did not hold.
#[derive(Clone)]
pub struct Unmet {
    /// Of which write, by its place.
    pub write: usize,
    /// The item that is stored, if there is one.
    pub stored: Option<Item>,
}

/// Reads every page of a query, or as many as it takes for `at_most` items; whether there may be more.
pub(crate) async fn all(
    table: &dyn Table,
    mut query: Query,
    at_most: usize,
) -> Result<(Vec<Item>, bool), StoreError> {
    let mut items = Vec::new();
    loop {
        let page = table.query(&query).await?;
        items.extend(page.items);
        query.start = page.next;
        if query.start.is_none() || items.len() >= at_most {
            return Ok((items, query.start.is_some()));
        }
    }
}
