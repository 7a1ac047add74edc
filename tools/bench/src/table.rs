//! A DynamoDB table in memory: `pk` and `sk`, conditions, transactions, and the index of due work.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::aws::{Answer, error};
use crate::condition;
pub use crate::table::units::Units;

mod units;

const NAMESPACE: &str = "com.amazonaws.dynamodb.v20120810#";
/// The attributes of what is owed: without them a call owes nothing.
const OWED: [&str; 3] = ["owed", "due_shard", "due_at"];

/// A primary key: `pk`, `sk`.
pub type Key = (String, String);

/// The table of calls, whatever its name.
#[derive(Clone, Debug, Default)]
pub struct Table {
    items: BTreeMap<Key, Arc<Value>>,
    /// Shard, time in milliseconds, key.
    due: BTreeSet<(String, i64, Key)>,
    /// What was charged since it was last taken.
    pub units: Units,
}

fn text<'a>(item: &'a Value, name: &str) -> Option<&'a str> {
    item.get(name)?.get("S")?.as_str()
}

fn key(item: &Value) -> Option<Key> {
    Some((text(item, "pk")?.to_owned(), text(item, "sk")?.to_owned()))
}

fn due(item: &Value) -> Option<(String, i64, Key)> {
    let at = item.get("due_at")?.get("N")?.as_str()?.parse().ok()?;
    Some((text(item, "due_shard")?.to_owned(), at, key(item)?))
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
        self.due.len()
    }

    /// Puts an item, whatever was there.
    pub fn put(&mut self, item: Value) -> bool {
        let Some(key) = key(&item) else { return false };
        if let Some(old) = self.items.get(&key).and_then(|old| due(old)) {
            self.due.remove(&old);
        }
        self.due.extend(due(&item));
        self.items.insert(key, Arc::new(item));
        true
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
        self.due.clear();
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
        if let Some(entry) = item.and_then(|item| due(item)) {
            self.due.remove(&entry);
        }
    }

    /// Answers an operation of DynamoDB.
    pub fn answer(&mut self, operation: &str, request: Value) -> Answer {
        let answer = match operation {
            "PutItem" => return self.put_item(request),
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
        let item = self.items.get(key).map(|item| item.as_ref());
        match condition::holds(expression, item, &action["ExpressionAttributeValues"]) {
            Some(true) => Ok(None),
            Some(false) => Ok(Some(item.cloned().unwrap_or_else(|| json!({})))),
            None => Err(invalid("a condition that the stand-in cannot read")),
        }
    }

    fn put_item(&mut self, mut request: Value) -> Answer {
        let Some(key) = key(&request["Item"]) else { return invalid("no pk and sk in the item") };
        let old = self.items.get(&key).map(|item| item.as_ref());
        match self.refused(&key, &request) {
            Err(answer) => answer,
            Ok(None) => {
                self.units += Units::written(old, &request["Item"]);
                self.put(request["Item"].take());
                (200, json!({}))
            }
            Ok(Some(stored)) => {
                self.units += Units::refused(old, &request["Item"]);
                let kind = "ConditionalCheckFailedException";
                let mut answer = failure(kind, "The conditional request failed");
                if request["ReturnValuesOnConditionCheckFailure"] == "ALL_OLD" {
                    answer.1["Item"] = stored;
                }
                answer
            }
        }
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

    fn query(&self, request: &Value) -> Answer {
        let value = |name: &str| &request["ExpressionAttributeValues"][name];
        let string = |name: &str| value(name)["S"].as_str().unwrap_or_default();
        let limit = request["Limit"].as_u64().and_then(|limit| usize::try_from(limit).ok());
        let after = &request["ExclusiveStartKey"];
        match request["KeyConditionExpression"].as_str() {
            Some("due_shard = :shard AND due_at <= :until") => {
                let until = value(":until")["N"].as_str().and_then(|number| number.parse().ok());
                self.due_work(string(":shard"), until.unwrap_or(0), limit, due(after))
            }
            Some("pk = :pk AND begins_with(sk, :prefix)") => {
                self.partition(string(":pk"), string(":prefix"), limit, key(after))
            }
            Some("pk = :pk") => self.partition(string(":pk"), "", limit, key(after)),
            _ => invalid("a key condition that the stand-in cannot read"),
        }
    }

    /// The index holds keys alone.
    fn due_work(
        &self,
        shard: &str,
        until: i64,
        limit: Option<usize>,
        after: Option<(String, i64, Key)>,
    ) -> Answer {
        let first = || (shard.to_owned(), i64::MIN, Key::default());
        let start = after.clone().unwrap_or_else(first);
        let entries = self
            .due
            .range(start..)
            .skip_while(|entry| Some(*entry) == after.as_ref())
            .take_while(|(at_shard, at, _)| at_shard == shard && *at <= until)
            .map(|(_, at, (pk, sk))| {
                json!({"pk": {"S": pk}, "sk": {"S": sk}, "due_shard": {"S": shard}, "due_at": {"N": at.to_string()}})
            });
        page(entries, limit, |last| last.clone())
    }

    fn partition(
        &self,
        pk: &str,
        prefix: &str,
        limit: Option<usize>,
        after: Option<Key>,
    ) -> Answer {
        let start = after.clone().unwrap_or_else(|| (pk.to_owned(), prefix.to_owned()));
        let items = self
            .items
            .range(start..)
            .skip_while(|(key, _)| Some(*key) == after.as_ref())
            .take_while(|((at, sk), _)| at == pk && sk.starts_with(prefix))
            .map(|(_, item)| item.as_ref().clone());
        page(items, limit, |last| json!({"pk": last["pk"], "sk": last["sk"]}))
    }

    fn transact(&mut self, mut request: Value) -> Answer {
        let Some(actions) = request["TransactItems"].as_array_mut() else {
            return invalid("no items in the transaction");
        };
        let (mut reasons, mut units) = (Vec::new(), Units::default());
        for action in actions.iter() {
            let (what, found) = match (action.get("Put"), action.get("ConditionCheck")) {
                (Some(put), _) => (put, key(&put["Item"])),
                (_, Some(check)) => (check, key(&check["Key"])),
                _ => return invalid("an action that the stand-in does not know"),
            };
            let Some(key) = found else { return invalid("no pk and sk in an action") };
            let old = self.items.get(&key).map(|item| item.as_ref());
            units += match what.get("Item") {
                Some(new) => Units::written(old, new).in_transaction(),
                None => Units::refused(old, &Value::Null).in_transaction(),
            };
            let reason = match self.refused(&key, what) {
                Err(answer) => return answer,
                Ok(None) => json!({"Code": "None"}),
                Ok(Some(item)) => json!({"Code": "ConditionalCheckFailed", "Item": item}),
            };
            reasons.push(reason);
        }
        if reasons.iter().any(|reason| reason["Code"] != "None") {
            self.units += Units { stored: 0.0, ..units };
            let mut answer = failure("TransactionCanceledException", "Transaction cancelled");
            answer.1["CancellationReasons"] = reasons.into();
            return answer;
        }
        self.units += units;
        for action in actions {
            if let Some(put) = action.get_mut("Put") {
                self.put(put["Item"].take());
            }
        }
        (200, json!({}))
    }
}

/// An answer's items, and where to go on: where there is a limit, and it was reached.
fn page(
    items: impl Iterator<Item = Value>,
    limit: Option<usize>,
    start_key: impl Fn(&Value) -> Value,
) -> Answer {
    let items: Vec<Value> = items.take(limit.unwrap_or(usize::MAX)).collect();
    let mut answer = json!({ "Count": items.len(), "ScannedCount": items.len() });
    if let Some(last) = items.last().filter(|_| Some(items.len()) == limit) {
        answer["LastEvaluatedKey"] = start_key(last);
    }
    answer["Items"] = items.into();
    (200, answer)
}

#[cfg(test)]
mod tests;
