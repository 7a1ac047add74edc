//! DynamoDB's expressions, with the names and values that they need.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;

use crate::table::{Change, Condition, Query, Range, Value};

/// The attributes whose names DynamoDB reserves.
const RESERVED: [&str; 2] = ["count", "list"];

/// The names and values of the expressions of one request.
#[derive(Default)]
pub struct Expression {
    /// By `#name`.
    pub names: Option<HashMap<String, String>>,
    /// By `:value`.
    pub values: Option<HashMap<String, AttributeValue>>,
}

impl Expression {
    fn name(&mut self, name: &str) -> String {
        if !RESERVED.contains(&name) {
            return name.to_owned();
        }
        let placeholder = format!("#{name}");
        self.names.get_or_insert_default().insert(placeholder.clone(), name.to_owned());
        placeholder
    }

    /// A value, by a placeholder that is called as its attribute is.
    fn value(&mut self, name: &str, value: Value) -> String {
        let values = self.values.get_or_insert_default();
        let mut placeholder = format!(":{name}");
        while values.contains_key(&placeholder) {
            placeholder.push('_');
        }
        values.insert(placeholder.clone(), value.into());
        placeholder
    }

    fn compared(&mut self, name: &str, operator: &str, value: &Value) -> String {
        let value = self.value(name, value.clone());
        format!("{} {operator} {value}", self.name(name))
    }

    fn sized(&mut self, name: &str, operator: &str, n: usize) -> String {
        let value = self.value(name, Value::N(n.to_string()));
        format!("size({}) {operator} {value}", self.name(name))
    }

    fn begins(&mut self, name: &str, prefix: &str) -> String {
        let prefix = self.value(name, Value::S(prefix.to_owned()));
        format!("begins_with({}, {prefix})", self.name(name))
    }

    fn joined(&mut self, parts: &[Condition], word: &str) -> String {
        let one = |part: &Condition| match (part, self.condition(part)) {
            (Condition::All(_) | Condition::Any(_), text) => format!("({text})"),
            (_, text) => text,
        };
        let parts: Vec<String> = parts.iter().map(one).collect();
        parts.join(word)
    }

    /// A condition, or a filter.
    pub fn condition(&mut self, condition: &Condition) -> String {
        match condition {
            Condition::Exists(name) => format!("attribute_exists({})", self.name(name)),
            Condition::Absent(name) => format!("attribute_not_exists({})", self.name(name)),
            Condition::Is(name, value) => self.compared(name, "=", value),
            Condition::Below(name, value) => self.compared(name, "<", value),
            Condition::UpTo(name, value) => self.compared(name, "<=", value),
            Condition::Above(name, value) => self.compared(name, ">", value),
            Condition::Begins(name, prefix) => self.begins(name, prefix),
            Condition::Fewer(name, n) => self.sized(name, "<", *n),
            Condition::More(name, n) => self.sized(name, ">", *n),
            Condition::All(parts) => self.joined(parts, " AND "),
            Condition::Any(parts) => self.joined(parts, " OR "),
        }
    }

    /// The changes of an update, by their clauses.
    pub fn changes(&mut self, changes: &[Change]) -> String {
        let mut clauses =
            [("SET", vec![]), ("REMOVE", vec![]), ("ADD", vec![]), ("DELETE", vec![])];
        for change in changes {
            let (clause, text) = match change {
                Change::Set(name, value) => (0, self.compared(name, "=", value)),
                Change::Remove(name) => (1, self.name(name)),
                Change::Add(name, value) => (2, self.compared(name, "", value)),
                Change::TakeOut(name, value) => (3, self.compared(name, "", value)),
            };
            clauses[clause].1.push(text);
        }
        let clauses = clauses.iter().filter(|(_, parts)| !parts.is_empty());
        let clauses: Vec<String> =
            clauses.map(|(word, parts)| format!("{word} {}", parts.join(", "))).collect();
        clauses.join(" ")
    }

    /// Paths of attributes to read.
    pub fn paths(&mut self, paths: &[&[&str]]) -> String {
        let names = self.names.get_or_insert_default();
        let mut path = |path: &&[&str]| {
            let parts = path.iter().map(|name| {
                let n = names.len();
                let known = names.iter().find(|(_, known)| *known == name);
                let placeholder = known.map_or(format!("#p{n}"), |(known, _)| known.clone());
                names.insert(placeholder.clone(), (*name).to_owned());
                placeholder
            });
            parts.collect::<Vec<_>>().join(".")
        };
        paths.iter().map(&mut path).collect::<Vec<_>>().join(", ")
    }

    /// The partition and the range of a query.
    pub fn range(&mut self, query: &Query) -> String {
        let sort = query.index.sort;
        let partition = Value::S(query.partition.clone());
        let partition = self.compared(query.index.partition, "=", &partition);
        let range = match &query.range {
            Range::All => return partition,
            Range::Prefix(prefix) => self.begins(sort, prefix),
            Range::UpTo(value) => self.compared(sort, "<=", value),
            Range::Before(value) => self.compared(sort, "<", value),
            Range::From(value) => self.compared(sort, ">=", value),
            Range::Between(low, high) => {
                let (low, high) = (self.value(sort, low.clone()), self.value(sort, high.clone()));
                format!("{} BETWEEN {low} AND {high}", self.name(sort))
            }
        };
        format!("{partition} AND {range}")
    }
}
