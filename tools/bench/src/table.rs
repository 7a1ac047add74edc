//! DynamoDB's two tables in memory, as one: their keys do not meet. `pk` and `sk`, conditions, updates,
//! transactions, and the indexes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::aws::{Answer, error};
use crate::condition;
pub use crate::table::units::Units;
use index::{DUE, Entry, INDEXES};

mod index;
mod query;
mod units;
mod update;

const NAMESPACE: &str = "com.amazonaws.dynamodb.v20120810#";
/// The attributes of what is owed: without them a call owes nothing.
const OWED: [&str; 3] = ["owed", "due_shard", "due_at"];

/// A primary key: `pk`, `sk`.
pub type Key = (String, String);

/// The tables of calls and of the directory, whatever their names.
#[derive(Clone, Debug, Default)]
pub struct Table {
    items: BTreeMap<Key, Arc<Value>>,
    /// Where items are in each of the indexes.
    indexes: [BTreeSet<Entry>; INDEXES.len()],
    /// What was charged since it was last taken.
    pub units: Units,
}

/// What a write does to an item.
enum Change {
    Put(Value),
    Delete,
    Nothing,
}

/// A write, or an action of a transaction, that has been judged.
struct Judged {
    key: Key,
    change: Change,
    /// Of one whose condition does not hold: what is there.
    refused: Option<Value>,
}

impl Judged {
    fn new_item(&self) -> Option<&Value> {
        match &self.change {
            Change::Put(item) => Some(item),
            Change::Delete | Change::Nothing => None,
        }
    }
}

fn text<'a>(item: &'a Value, name: &str) -> Option<&'a str> {
    item.get(name)?.get("S")?.as_str()
}

fn key(item: &Value) -> Option<Key> {
    Some((text(item, "pk")?.to_owned(), text(item, "sk")?.to_owned()))
}

fn failure(kind: &str, message: &str) -> Answer {
    error(&format!("{NAMESPACE}{kind}"), message)
}

fn invalid(message: &str) -> Answer {
    failure("ValidationException", message)
}

impl Table {
    /// How many items there are.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// How many of them are in the index of due work.
    pub fn due(&self) -> usize {
        self.indexes[DUE].len()
    }

    /// Puts an item, whatever was there.
    pub fn put(&mut self, item: Value) -> bool {
        let Some(key) = key(&item) else { return false };
        self.remove(&key);
        for (index, entries) in INDEXES.iter().zip(&mut self.indexes) {
            entries.extend(index.entry(&item));
        }
        self.items.insert(key, Arc::new(item));
        true
    }

    fn remove(&mut self, key: &Key) {
        let Some(old) = self.items.remove(key) else { return };
        for (index, entries) in INDEXES.iter().zip(&mut self.indexes) {
            if let Some(entry) = index.entry(&old) {
                entries.remove(&entry);
            }
        }
    }

    /// Makes every call owe nothing, as when the workers are done.
    pub fn owe_nothing(&mut self) {
        for item in self.items.values_mut() {
            if let Some(item) = Arc::make_mut(item).as_object_mut() {
                for name in OWED {
                    item.remove(name);
                }
            }
        }
        self.indexes[DUE].clear();
    }

    /// Takes what a job points to off the index, as the worker would that was given it.
    pub fn taken_up(&mut self, job: &str) {
        let Ok(job) = serde_json::from_str::<Value>(job) else { return };
        let mut call = job["call"].as_str().unwrap_or_default().splitn(3, '/');
        let (Some(provider), Some(source), Some(id)) = (call.next(), call.next(), call.next())
        else {
            return;
        };
        let sk = match job["delivery"].as_str() {
            Some(delivery) => format!("delivery#{delivery}"),
            None => "call".to_owned(),
        };
        let item = self.items.get(&(format!("call#{provider}#{source}#{id}"), sk));
        if let Some(entry) = item.and_then(|item| INDEXES[DUE].entry(item)) {
            self.indexes[DUE].remove(&entry);
        }
    }

    /// Answers an operation of DynamoDB.
    pub fn answer(&mut self, operation: &str, request: Value) -> Answer {
        let answer = match operation {
            "PutItem" => return self.write("Put", request),
            "UpdateItem" => return self.write("Update", request),
            "DeleteItem" => return self.write("Delete", request),
            "TransactWriteItems" => return self.transact(request),
            "GetItem" => self.get_item(&request),
            "BatchGetItem" => self.batch_get_item(&request),
            "Query" => self.query(&request),
            _ => error("UnknownOperationException", operation),
        };
        self.units += Units::read(&request, &answer.1);
        answer
    }

    /// `Ok(None)`: the condition holds. `Ok(Some(item))`: it does not, and this is what is there.
    fn refused(&self, key: &Key, action: &Value) -> Result<Option<Value>, Answer> {
        let Some(expression) = action["ConditionExpression"].as_str() else { return Ok(None) };
        let item = self.item(key);
        let (names, values) =
            (&action["ExpressionAttributeNames"], &action["ExpressionAttributeValues"]);
        match condition::holds(expression, item, names, values) {
            Some(true) => Ok(None),
            Some(false) => Ok(Some(item.cloned().unwrap_or_else(|| json!({})))),
            None => Err(invalid("a condition that the stand-in cannot read")),
        }
    }

    fn item(&self, key: &Key) -> Option<&Value> {
        self.items.get(key).map(|item| item.as_ref())
    }

    /// Judges a write of a kind of which transactions speak. `Err`: what is not known here.
    fn judge(&self, kind: &str, action: &mut Value) -> Result<Judged, Answer> {
        let place = if kind == "Put" { &action["Item"] } else { &action["Key"] };
        let key = key(place).ok_or_else(|| invalid("no pk and sk in what is written"))?;
        let refused = self.refused(&key, action)?;
        let change = match kind {
            "Put" => Change::Put(action["Item"].take()),
            "Update" => {
                let expression = action["UpdateExpression"].as_str().unwrap_or_default();
                let (names, values) =
                    (&action["ExpressionAttributeNames"], &action["ExpressionAttributeValues"]);
                let item = self.item(&key);
                let new = update::updated(expression, item, &action["Key"], names, values);
                Change::Put(new.ok_or_else(|| invalid("an update that the stand-in cannot read"))?)
            }
            "Delete" => Change::Delete,
            "ConditionCheck" => Change::Nothing,
            _ => return Err(invalid("an action that the stand-in does not know")),
        };
        Ok(Judged { key, change, refused })
    }

    /// What a judged write costs, once its condition holds.
    fn units_of(&self, judged: &Judged) -> Units {
        let old = self.item(&judged.key);
        match &judged.change {
            Change::Put(item) => Units::written(old, Some(item)),
            Change::Delete => Units::written(old, None),
            Change::Nothing => Units::refused(old, None),
        }
    }

    fn apply(&mut self, Judged { key, change, .. }: Judged) {
        match change {
            Change::Put(item) => drop(self.put(item)),
            Change::Delete => self.remove(&key),
            Change::Nothing => {}
        }
    }

    fn write(&mut self, kind: &str, mut request: Value) -> Answer {
        if request["ReturnValues"].as_str().is_some_and(|wanted| wanted != "NONE") {
            return invalid("values that the stand-in does not return");
        }
        let mut judged = match self.judge(kind, &mut request) {
            Ok(judged) => judged,
            Err(answer) => return answer,
        };
        let Some(stored) = judged.refused.take() else {
            self.units += self.units_of(&judged);
            self.apply(judged);
            return (200, json!({}));
        };
        self.units += Units::refused(self.item(&judged.key), judged.new_item());
        let kind = "ConditionalCheckFailedException";
        let mut answer = failure(kind, "The conditional request failed");
        if request["ReturnValuesOnConditionCheckFailure"] == "ALL_OLD" {
            answer.1["Item"] = stored;
        }
        answer
    }

    fn get_item(&self, request: &Value) -> Answer {
        let Some(key) = key(&request["Key"]) else { return invalid("no pk and sk in the key") };
        match self.items.get(&key) {
            Some(item) => (200, json!({ "Item": item.as_ref() })),
            None => (200, json!({})),
        }
    }

    /// Gives whole items, whatever is projected.
    fn batch_get_item(&self, request: &Value) -> Answer {
        let mut responses = Map::new();
        for (name, wanted) in request["RequestItems"].as_object().into_iter().flatten() {
            let keys = wanted["Keys"].as_array().into_iter().flatten().filter_map(key);
            let found = keys.filter_map(|key| self.items.get(&key));
            responses.insert(name.clone(), found.map(|item| item.as_ref().clone()).collect());
        }
        (200, json!({ "Responses": responses, "UnprocessedKeys": {} }))
    }

    fn transact(&mut self, mut request: Value) -> Answer {
        let Some(actions) = request["TransactItems"].as_array_mut() else {
            return invalid("no items in the transaction");
        };
        let (mut all, mut keys) = (Vec::with_capacity(actions.len()), BTreeSet::new());
        for action in actions {
            let Some((kind, action)) = action.as_object_mut().and_then(|one| one.iter_mut().next())
            else {
                return invalid("an action that says nothing");
            };
            match self.judge(kind, action) {
                Ok(judged) if !keys.insert(judged.key.clone()) => {
                    return invalid("two actions on one item");
                }
                Ok(judged) => all.push(judged),
                Err(answer) => return answer,
            }
        }
        let units = all.iter().map(|judged| self.units_of(judged).in_transaction());
        let units = units.fold(Units::default(), |all, one| all + one);
        if all.iter().any(|judged| judged.refused.is_some()) {
            self.units += Units { stored: 0.0, ..units };
            let reason = |judged: Judged| match judged.refused {
                None => json!({"Code": "None"}),
                Some(item) => json!({"Code": "ConditionalCheckFailed", "Item": item}),
            };
            let mut answer = failure("TransactionCanceledException", "Transaction cancelled");
            answer.1["CancellationReasons"] = all.into_iter().map(reason).collect();
            return answer;
        }
        self.units += units;
        for judged in all {
            self.apply(judged);
        }
        (200, json!({}))
    }
}

#[cfg(test)]
mod tests;
