//! Queries: of a partition, or of a part of an index.

use std::ops::Bound;

use serde_json::{Value, json};

use super::index::{Entry, INDEXES, Index, Sort};
use super::{Key, Table, invalid};
use crate::aws::Answer;
use crate::condition;

/// Which places of a part are asked for: one stretch.
enum Places {
    All,
    Begin(String),
    Between(Sort, Sort),
    Below(Sort),
    UpTo(Sort),
    From(Sort),
}

impl Places {
    /// `begins_with(place, :a)`, `place BETWEEN :a AND :b`, `place <= :a`, …; `None` is something
    /// else.
    fn read(condition: &str, place: &str, request: &Value) -> Option<Self> {
        let value = |word: &str| Sort::read(request["ExpressionAttributeValues"].get(word)?);
        let named = |word: &str| {
            let name = condition::name(word, &request["ExpressionAttributeNames"]);
            (name == Some(place)).then_some(())
        };
        if let Some(arguments) = condition.strip_prefix("begins_with(") {
            let (word, prefix) = arguments.strip_suffix(')')?.split_once(", ")?;
            named(word)?;
            return match value(prefix)? {
                Sort::Text(prefix) => Some(Self::Begin(prefix)),
                Sort::Number(_) => None,
            };
        }
        let (word, rest) = condition.split_once(' ')?;
        named(word)?;
        let (operator, rest) = rest.split_once(' ')?;
        match operator {
            "BETWEEN" => {
                let (from, to) = rest.split_once(" AND ")?;
                Some(Self::Between(value(from)?, value(to)?))
            }
            "<" => Some(Self::Below(value(rest)?)),
            "<=" => Some(Self::UpTo(value(rest)?)),
            ">=" => Some(Self::From(value(rest)?)),
            _ => None,
        }
    }

    fn hold(&self, place: &Sort) -> bool {
        match self {
            Self::All => true,
            Self::Begin(prefix) => {
                matches!(place, Sort::Text(text) if text.starts_with(prefix.as_str()))
            }
            Self::Between(from, to) => (from..=to).contains(&place),
            Self::Below(end) => place < end,
            Self::UpTo(last) => place <= last,
            Self::From(first) => place >= first,
        }
    }
}

/// A query, taken apart.
struct Asked {
    index: Option<usize>,
    part: String,
    places: Places,
    after: Option<Entry>,
    limit: Option<usize>,
    is_forward: bool,
}

impl Asked {
    /// `Err`: what about it is not known here.
    fn read(request: &Value) -> Result<Self, &'static str> {
        if request.get("FilterExpression").is_some() {
            return Err("a filter, which the stand-in does not know");
        }
        let by_name = |name: &Value| INDEXES.iter().position(|index| *name == index.name);
        let index = match request.get("IndexName") {
            Some(name) => Some(by_name(name).ok_or("an index that is not there")?),
            None => None,
        };
        let (hash, range) = match index {
            Some(index) => (INDEXES[index].hash, INDEXES[index].range),
            None => ("pk", "sk"),
        };
        let unknown = "a key condition that the stand-in cannot read";
        let condition = request["KeyConditionExpression"].as_str().ok_or(unknown)?;
        let (part, places) = match condition.split_once(" AND ") {
            Some((part, places)) => (part, Some(places)),
            None => (condition, None),
        };
        let (word, value) = part.split_once(" = ").ok_or(unknown)?;
        let name = condition::name(word, &request["ExpressionAttributeNames"]);
        let part = request["ExpressionAttributeValues"][value]["S"].as_str();
        let part = part.filter(|_| name == Some(hash)).ok_or(unknown)?.to_owned();
        let places = match places {
            Some(places) => Places::read(places, range, request).ok_or(unknown)?,
            None => Places::All,
        };
        let after = match request.get("ExclusiveStartKey").filter(|key| !key.is_null()) {
            Some(key) => {
                let entry = match index {
                    Some(index) => INDEXES[index].entry(key),
                    None => super::key(key).map(|key| of_key(&key)),
                };
                let entry = entry.filter(|(at, ..)| *at == part);
                Some(entry.ok_or("a start key that is none of the query's")?)
            }
            None => None,
        };
        let limit = request["Limit"].as_u64().and_then(|limit| usize::try_from(limit).ok());
        let is_forward = request["ScanIndexForward"] != false;
        Ok(Self { index, part, places, after, limit, is_forward })
    }

    /// From where to where is to be read, with what makes bounds of entries.
    fn stretch<T>(&self, bound: impl Fn(Entry) -> T) -> (Bound<T>, Bound<T>) {
        let at = |part: String| bound((part, Sort::FIRST, Key::default()));
        // No text is between one and the same with a NUL at its end.
        let (first, end) = (at(self.part.clone()), at(format!("{}\0", self.part)));
        match (self.after.clone().map(&bound), self.is_forward) {
            (None, _) => (Bound::Included(first), Bound::Excluded(end)),
            (Some(after), true) => (Bound::Excluded(after), Bound::Excluded(end)),
            (Some(after), false) => (Bound::Included(first), Bound::Excluded(after)),
        }
    }

    /// Those of the places that are asked for, in the order that is asked for.
    fn page<'a>(
        &self,
        entries: impl DoubleEndedIterator<Item = (Sort, &'a Key)>,
        held: impl Fn(&Key) -> Option<Value>,
    ) -> Vec<Value> {
        let limit = self.limit.unwrap_or(usize::MAX);
        let in_order: Box<dyn Iterator<Item = (Sort, &'a Key)> + '_> =
            if self.is_forward { Box::new(entries) } else { Box::new(entries.rev()) };
        in_order
            .skip_while(|(place, _)| !self.places.hold(place))
            .take_while(|(place, _)| self.places.hold(place))
            .filter_map(|(_, key)| held(key))
            .take(limit)
            .collect()
    }
}

fn of_key((pk, sk): &Key) -> Entry {
    (pk.clone(), Sort::Text(sk.clone()), (pk.clone(), sk.clone()))
}

impl Table {
    pub(super) fn query(&self, request: &Value) -> Answer {
        let asked = match Asked::read(request) {
            Ok(asked) => asked,
            Err(problem) => return invalid(problem),
        };
        let index: Option<&Index> = asked.index.map(|index| &INDEXES[index]);
        let item = |key: &Key| self.items.get(key).map(|item| item.as_ref());
        let items = match asked.index {
            Some(at) => {
                let entries = self.indexes[at].range(asked.stretch(|entry| entry));
                let entries = entries.map(|(_, place, key)| (place.clone(), key));
                asked.page(entries, |key| INDEXES[at].held(item(key)?))
            }
            None => {
                // The first place of a partition is the empty text.
                let bound = |(pk, place, _): Entry| match place {
                    Sort::Text(sk) => (pk, sk),
                    Sort::Number(_) => (pk, String::new()),
                };
                let entries = self.items.range(asked.stretch(bound));
                let entries = entries.map(|(key, _)| (Sort::Text(key.1.clone()), key));
                asked.page(entries, |key| item(key).cloned())
            }
        };
        let mut answer = json!({ "Count": items.len(), "ScannedCount": items.len() });
        // Where there is a limit, and it was reached, there may be more.
        if let Some(last) = items.last().filter(|_| Some(items.len()) == asked.limit) {
            answer["LastEvaluatedKey"] = json!({"pk": last["pk"], "sk": last["sk"]});
            for name in index.into_iter().flat_map(|index| [index.hash, index.range]) {
                answer["LastEvaluatedKey"][name] = last[name].clone();
            }
        }
        answer["Items"] = items.into();
        (200, answer)
    }
}
