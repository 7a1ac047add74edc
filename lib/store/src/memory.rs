//! A table in memory that behaves as DynamoDB does: conditions, sort order, sparse indexes with
//! projected attributes, transactions, and limits.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use crate::StoreError;
use crate::keys::INDEXES;
use crate::table::{
    Action, BATCH_LIMIT, Change, Condition, Index, Item, Key, PRIMARY, Page, Query, Range,
    TRANSACTION_LIMIT, Table, Unmet, Value, Write, Written, text_of,
};

/// The largest item, bytes.
const LARGEST_ITEM: usize = 400 * 1024;
/// The most items of a page, so that whatever reads more than one page does so here too.
const PAGE: usize = 100;

/// A table in memory. Clones share it.
#[derive(Clone, Default)]
pub struct MemoryTable(Arc<Mutex<Items>>);

#[derive(Default)]
struct Items {
    items: BTreeMap<Key, Item>,
    /// By the name of the index and the partition.
    indexes: BTreeMap<(&'static str, String), BTreeSet<(Sort, Key)>>,
}

/// What a write makes of the item under a key (`None`: nothing), or the item on which its condition does
/// not hold.
type Next = Result<(Key, Option<Item>), Option<Item>>;

/// Where an item stands in a partition.
type Place<'a> = (Cow<'a, Sort>, &'a Key);

/// A sort key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Sort {
    Number(i128),
    Text(String),
}

impl MemoryTable {
    fn lock(&self) -> MutexGuard<'_, Items> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every item, in the order of their keys.
    pub fn items(&self) -> Vec<Item> {
        self.lock().items.values().cloned().collect()
    }
}

fn sort_of(value: &Value) -> Option<Sort> {
    match value {
        Value::S(text) => Some(Sort::Text(text.clone())),
        Value::N(number) => number.parse().ok().map(Sort::Number),
        _ => None,
    }
}

fn compare(one: Option<&Value>, other: &Value) -> Option<Ordering> {
    Some(sort_of(one?)?.cmp(&sort_of(other)?))
}

/// How many elements a set has.
fn size(value: Option<&Value>) -> Option<usize> {
    match value? {
        Value::Ss(set) => Some(set.len()),
        _ => None,
    }
}

impl Condition {
    /// Whether it holds for what is stored.
    fn holds(&self, item: Option<&Item>) -> bool {
        let get = |name: &str| item.and_then(|item| item.get(name));
        match self {
            Self::Exists(name) => get(name).is_some(),
            Self::Absent(name) => get(name).is_none(),
            Self::Is(name, value) => get(name) == Some(value),
            Self::Below(name, value) => compare(get(name), value).is_some_and(Ordering::is_lt),
            Self::UpTo(name, value) => compare(get(name), value).is_some_and(Ordering::is_le),
            Self::Above(name, value) => compare(get(name), value).is_some_and(Ordering::is_gt),
            Self::Begins(name, prefix) => {
                matches!(get(name), Some(Value::S(text)) if text.starts_with(prefix))
            }
            Self::Fewer(name, n) => size(get(name)).is_some_and(|size| size < *n),
            Self::More(name, n) => size(get(name)).is_some_and(|size| size > *n),
            Self::All(parts) => parts.iter().all(|part| part.holds(item)),
            Self::Any(parts) => parts.iter().any(|part| part.holds(item)),
        }
    }
}

impl Range {
    fn holds(&self, sort: &Sort) -> bool {
        let is = |value: &Value, test: fn(Ordering) -> bool| {
            sort_of(value).is_some_and(|value| test(sort.cmp(&value)))
        };
        match self {
            Self::All => true,
            Self::Prefix(prefix) => matches!(sort, Sort::Text(text) if text.starts_with(prefix)),
            Self::UpTo(value) => is(value, Ordering::is_le),
            Self::Before(value) => is(value, Ordering::is_lt),
            Self::From(value) => is(value, Ordering::is_ge),
            Self::Between(low, high) => is(low, Ordering::is_ge) && is(high, Ordering::is_le),
        }
    }
}

impl Change {
    fn apply(&self, item: &mut Item) {
        match self {
            Self::Set(name, value) => drop(item.insert((*name).to_owned(), value.clone())),
            Self::Remove(name) => drop(item.remove(*name)),
            Self::Add(name, value) => {
                let sum = match (item.remove(*name), value) {
                    (Some(Value::N(old)), Value::N(more)) => {
                        let number = |text: &str| text.parse::<i128>().unwrap_or_default();
                        Value::N((number(&old) + number(more)).to_string())
                    }
                    (Some(Value::Ss(old)), Value::Ss(more)) => {
                        let set: BTreeSet<String> = old.into_iter().chain(more.clone()).collect();
                        Value::Ss(set.into_iter().collect())
                    }
                    (_, value) => value.clone(),
                };
                item.insert((*name).to_owned(), sum);
            }
            Self::TakeOut(name, value) => {
                if let (Some(Value::Ss(mut set)), Value::Ss(out)) = (item.remove(*name), value) {
                    set.retain(|one| !out.contains(one));
                    if !set.is_empty() {
                        item.insert((*name).to_owned(), Value::Ss(set));
                    }
                }
            }
        }
    }
}

fn refused(operation: &'static str, code: &str) -> StoreError {
    StoreError::Refused { operation, code: code.to_owned() }
}

/// About how many bytes an attribute takes.
fn bytes(value: &Value) -> usize {
    match value {
        Value::S(text) | Value::N(text) => text.len(),
        Value::B(bytes) => bytes.len(),
        Value::M(map) => map.iter().map(|(name, value)| name.len() + bytes(value) + 1).sum(),
        Value::L(list) => list.iter().map(|value| bytes(value) + 1).sum(),
        Value::Ss(set) | Value::Ns(set) => set.iter().map(String::len).sum(),
        Value::Bs(set) => set.iter().map(Vec::len).sum(),
        Value::Bool(_) | Value::Null(_) => 1,
    }
}

impl Items {
    /// Where an item stands in an index, if it does.
    fn place(index: &Index, item: &Item) -> Option<(String, Sort)> {
        Some((text_of(item, index.partition)?.to_owned(), sort_of(item.get(index.sort)?)?))
    }

    fn set(&mut self, key: Key, item: Option<Item>) {
        let places = |item: Option<&Item>| {
            let place = |index: &&Index| Some((index.name, Self::place(index, item?)?));
            INDEXES.iter().filter_map(place).collect::<Vec<_>>()
        };
        for (index, (partition, sort)) in places(self.items.get(&key)) {
            let entries = self.indexes.entry((index, partition)).or_default();
            entries.remove(&(sort, key.clone()));
        }
        for (index, (partition, sort)) in places(item.as_ref()) {
            let entries = self.indexes.entry((index, partition)).or_default();
            entries.insert((sort, key.clone()));
        }
        match item {
            Some(item) => self.items.insert(key, item),
            None => self.items.remove(&key),
        };
    }

    /// What the item under a key becomes, if the condition holds.
    fn next(&self, write: &Write) -> Result<Next, StoreError> {
        let key = write.key().ok_or_else(|| refused("write", "ValidationException"))?;
        let stored = self.items.get(&key);
        if write.condition.as_ref().is_some_and(|condition| !condition.holds(stored)) {
            return Ok(Err(stored.cloned()));
        }
        let item = match &write.action {
            Action::Put(item) => Some(item.clone()),
            Action::Update(key, changes) => {
                let mut item = stored.cloned().unwrap_or_else(|| key.clone().item());
                changes.iter().for_each(|change| change.apply(&mut item));
                Some(item)
            }
            Action::Delete(_) => None,
            Action::Check(_) => stored.cloned(),
        };
        let length = |item: &Item| item.iter().map(|(name, value)| name.len() + bytes(value)).sum();
        if item.as_ref().map_or(0, length) > LARGEST_ITEM {
            return Err(refused("write", "ValidationException"));
        }
        Ok(Ok((key, item)))
    }

    /// The sort keys and keys of a partition, in order.
    fn partition<'a>(
        &'a self,
        query: &'a Query,
    ) -> Box<dyn DoubleEndedIterator<Item = Place<'a>> + 'a> {
        if query.index == &PRIMARY {
            let begin = Key::new(query.partition.clone(), "");
            let end = Key::new(format!("{}\0", query.partition), "");
            let items = self.items.range(begin..end);
            return Box::new(items.map(|(key, _)| (Cow::Owned(Sort::Text(key.sk.clone())), key)));
        }
        let entries = self.indexes.get(&(query.index.name, query.partition.clone()));
        let entries = entries.into_iter().flatten();
        Box::new(entries.map(|(sort, key)| (Cow::Borrowed(sort), key)))
    }
}

/// The attributes of an item that are in an index.
fn projected(index: &Index, item: &Item) -> Item {
    let names = ["pk", "sk", index.partition, index.sort].into_iter().chain(index.projects);
    let attributes = names.filter_map(|name| Some((name.to_owned(), item.get(name)?.clone())));
    Item::from(attributes.collect::<HashMap<_, _>>())
}

/// The part of an item at these paths.
fn at_paths(item: &Item, paths: &[&[&str]]) -> Item {
    fn copy(from: &HashMap<String, Value>, to: &mut HashMap<String, Value>, path: &[&str]) {
        let [name, rest @ ..] = path else { return };
        match from.get(*name) {
            Some(Value::M(map)) if !rest.is_empty() => {
                let mut inner = match to.remove(*name) {
                    Some(Value::M(inner)) => inner,
                    _ => HashMap::new(),
                };
                copy(map, &mut inner, rest);
                if !inner.is_empty() {
                    to.insert((*name).to_owned(), Value::M(inner));
                }
            }
            Some(value) if rest.is_empty() => drop(to.insert((*name).to_owned(), value.clone())),
            _ => {}
        }
    }
    let mut part = HashMap::new();
    paths.iter().for_each(|path| copy(item, &mut part, path));
    Item::from(part)
}

#[async_trait]
impl Table for MemoryTable {
    async fn get(&self, key: &Key) -> Result<Option<Item>, StoreError> {
        Ok(self.lock().items.get(key).cloned())
    }

    async fn batch_get(&self, keys: &[Key], paths: &[&[&str]]) -> Result<Vec<Item>, StoreError> {
        let distinct: BTreeSet<&Key> = keys.iter().collect();
        if keys.is_empty() || keys.len() > BATCH_LIMIT || distinct.len() < keys.len() {
            return Err(refused("read", "ValidationException"));
        }
        let items = self.lock();
        let found = keys.iter().filter_map(|key| items.items.get(key));
        let part =
            |item: &Item| if paths.is_empty() { item.clone() } else { at_paths(item, paths) };
        Ok(found.map(part).collect())
    }

    async fn query(&self, query: &Query) -> Result<Page, StoreError> {
        let items = self.lock();
        let last = match &query.start {
            None => None,
            Some(start) => {
                let last = start.get(query.index.sort).and_then(sort_of).zip(Key::of(start));
                Some(last.ok_or_else(|| refused("query", "ValidationException"))?)
            }
        };
        let is_behind = |(sort, key): &Place<'_>| {
            last.as_ref().is_none_or(|last| {
                let order = (&**sort, *key).cmp(&(&last.0, &last.1));
                if query.backward { order.is_lt() } else { order.is_gt() }
            })
        };
        let places = items.partition(query);
        let places: Box<dyn Iterator<Item = Place<'_>>> = match query.backward {
            true => Box::new(places.rev()),
            false => places,
        };
        let limit = query.limit.unwrap_or(PAGE).min(PAGE);
        let places = places.filter(|place| query.range.holds(&place.0) && is_behind(place));
        let places: Vec<Place<'_>> = places.take(limit).collect();
        let is_last = places.len() < limit;
        let found = places.iter().filter_map(|(_, key)| items.items.get(*key));
        let found: Vec<Item> = match query.index == &PRIMARY {
            true => found.cloned().collect(),
            false => found.map(|item| projected(query.index, item)).collect(),
        };
        let next = found.last().filter(|_| !is_last).map(|last| {
            let keys = Index { projects: None, name: "", ..*query.index };
            projected(&keys, last)
        });
        let holds = |item: &Item| query.filter.as_ref().is_none_or(|one| one.holds(Some(item)));
        Ok(Page { items: found.into_iter().filter(holds).collect(), next })
    }

    async fn scan(&self, filter: &Condition, start: Option<Item>) -> Result<Page, StoreError> {
        let items = self.lock();
        let after = start.as_ref().and_then(Key::of).map_or(Bound::Unbounded, Bound::Excluded);
        let page: Vec<_> = items.items.range((after, Bound::Unbounded)).take(PAGE).collect();
        let next = page.last().filter(|_| page.len() == PAGE).map(|(key, _)| (*key).clone().item());
        let found = page.into_iter().map(|(_, item)| item).filter(|item| filter.holds(Some(item)));
        Ok(Page { items: found.cloned().collect(), next })
    }

    async fn write(&self, write: Write) -> Result<Written, StoreError> {
        let mut items = self.lock();
        let (key, item) = match items.next(&write)? {
            Ok(next) => next,
            Err(stored) => return Ok(Written::Unmet(stored)),
        };
        let now = match &write.action {
            Action::Update(..) => item.clone(),
            _ => None,
        };
        items.set(key, item);
        Ok(Written::Done(now.unwrap_or_else(|| Item::from(HashMap::<String, Value>::new()))))
    }

    async fn transact(&self, writes: Vec<Write>) -> Result<Vec<Unmet>, StoreError> {
        let keys: BTreeSet<_> = writes.iter().filter_map(Write::key).collect();
        if writes.len() > TRANSACTION_LIMIT || keys.len() < writes.len() {
            return Err(refused("transaction", "ValidationException"));
        }
        let mut items = self.lock();
        let (mut all, mut unmet) = (Vec::new(), Vec::new());
        for (n, write) in writes.iter().enumerate() {
            match items.next(write)? {
                Ok(next) => all.push(next),
                Err(stored) => unmet.push(Unmet { write: n, stored }),
            }
        }
        if unmet.is_empty() {
            all.into_iter().for_each(|(key, item)| items.set(key, item));
        }
        Ok(unmet)
    }
}
