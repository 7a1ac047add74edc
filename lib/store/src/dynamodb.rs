//! The tables on DynamoDB.

mod item;
mod request;

use std::collections::{BTreeMap, HashMap};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::primitives::Blob as Bytes;
use aws_sdk_dynamodb::types::{
    AttributeValue, ConditionCheck, KeysAndAttributes, Put as PutAction,
    ReturnValuesOnConditionCheckFailure as OnFailure, TransactWriteItem,
};
use futures_util::future::try_join_all;
use jiff::Timestamp;
use jiff::civil::Date;
use serde::Deserialize;
use switchboard_domain::sync::due_shard;
use switchboard_domain::{
    Analysis, Blob, BlobRef, CallKey, CallRecord, Delivery, DeliveryId, Digest, Name, State,
};

pub(crate) use self::item::{
    Item, damaged, from_item, number, primary_key, text, to_item, version_after, version_condition,
};
pub(crate) use self::request::{Conflict, LARGEST_TRANSACTION, all, fault, incomplete, transact};
use crate::gates::parked_shard;
use crate::jobs::dynamodb::{JOB, job_of, job_pk};
use crate::listing::{DAY_SHARDS, contact_of};
use crate::{
    Between, CallStub, CallsCursor, CallsPage, Due, DueCursor, DuePage, Line, Lines, List, Overdue,
    Place, Put, PutDelivery, QuarantineCursor, QuarantinePage, Quarantined, Store, StoreError,
    compression,
};

/// The index of everything due.
const DUE_INDEX: &str = "due";
/// The index of calls by day.
const DAY_INDEX: &str = "day";
/// The index of calls by contact.
const CONTACT_INDEX: &str = "contact";
/// The sort key of a call's own item.
const CALL: &str = "call";
/// As many items as a query of due work gives at a time.
const PAGE: i32 = 100;
const SECONDS_PER_DAY: i64 = 86_400;
/// A store on a DynamoDB table.
#[derive(Clone)]
pub struct DynamoStore {
    client: Client,
    table: String,
    retention_days: u32,
}

impl DynamoStore {
    /// Over a client and the name of the table of calls. Everything written is deleted by the
    /// table's own clock after `retention_days`.
    pub fn new(client: Client, table: String, retention_days: u32) -> Self {
        let config = client.config().to_builder().retry_classifier(Conflict).build();
        Self { client: Client::from_conf(config), table, retention_days }
    }

    /// Opens a connection, so that the first request need not wait for it. It asks for what the
    /// function may do and never happens: a put on a condition that cannot hold. Whether it is
    /// answered does not matter.
    pub async fn connect(&self) {
        let _ = self
            .client
            .put_item()
            .table_name(&self.table)
            .item("pk", text("connect".into()))
            .item("sk", text("connect".into()))
            .condition_expression("attribute_exists(pk) AND attribute_not_exists(pk)")
            .return_values_on_condition_check_failure(OnFailure::AllOld)
            .send()
            .await;
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    pub(crate) fn table(&self) -> &str {
        &self.table
    }

    pub(crate) fn expires_at(&self) -> AttributeValue {
        let days = i64::from(self.retention_days);
        number(Timestamp::now().as_second().saturating_add(days.saturating_mul(SECONDS_PER_DAY)))
    }

    fn call_item(&self, record: &CallRecord) -> Result<Item, StoreError> {
        let mut item = to_item("call", record)?;
        item.insert("version".into(), version_after(record.version));
        let due = record.due_at().map(|due_at| (shard_name(record.key.due_shard()), due_at));
        self.stamp(&mut item, &record.key, CALL.to_owned(), due);
        let line = Line::of(record);
        item.insert(
            "day_shard".into(),
            text(day_name(line.day(), record.key.due_shard() % DAY_SHARDS)),
        );
        item.insert("began".into(), text(line.place().as_str().to_owned()));
        if let Some(contact) = contact_of(record) {
            item.insert("contact".into(), text(contact.to_string()));
        }
        // As one text, which costs a hook less than a map of many values. Nothing asks for a part.
        let line = serde_json::to_string(&line)
            .map_err(|_| damaged("line", "it cannot be written as JSON"))?;
        item.insert("line".into(), text(line));
        Ok(item)
    }

    fn delivery_item(&self, delivery: &Delivery) -> Result<Item, StoreError> {
        let mut item = to_item("delivery", delivery)?;
        item.insert("version".into(), version_after(delivery.version));
        // `due_at` is the index's attribute, a number; the delivery's own is in words.
        item.remove("due_at");
        if let Some(due_at) = delivery.due_at {
            item.insert("due".into(), text(due_at.to_string()));
        }
        let key = &delivery.key;
        let shard = match delivery.deferred {
            Some(among) => parked_shard(&delivery.id.destination, among, key),
            None => shard_name(key.due_shard()),
        };
        let due = delivery.due_at.map(|due_at| (shard, due_at));
        self.stamp(&mut item, key, delivery_sk(&delivery.id), due);
        Ok(item)
    }

    /// Adds keys, retention and, while something is due, the index's attributes.
    fn stamp(&self, item: &mut Item, key: &CallKey, sk: String, due: Option<(String, Timestamp)>) {
        item.insert("pk".into(), text(call_pk(key)));
        item.insert("sk".into(), text(sk));
        item.insert("expires_at".into(), self.expires_at());
        if let Some((shard, due_at)) = due {
            item.insert("due_shard".into(), text(shard));
            item.insert("due_at".into(), number(due_at.as_millisecond()));
        }
    }

    /// A put under the condition that the stored version is `version` (0: that there is none).
    fn put_action(&self, item: Item, version: u64) -> Result<TransactWriteItem, StoreError> {
        let (condition, values) = version_condition(version);
        let put = PutAction::builder()
            .table_name(&self.table)
            .set_item(Some(item))
            .condition_expression(condition)
            .set_expression_attribute_values(values)
            .return_values_on_condition_check_failure(OnFailure::AllOld)
            .build()
            .map_err(|_| incomplete("transaction"))?;
        Ok(TransactWriteItem::builder().put(put).build())
    }

    fn check_action(
        &self,
        key: &CallKey,
        sk: String,
        condition: &str,
        values: Option<Item>,
    ) -> Result<TransactWriteItem, StoreError> {
        let check = ConditionCheck::builder()
            .table_name(&self.table)
            .key("pk", text(call_pk(key)))
            .key("sk", text(sk))
            .condition_expression(condition)
            .set_expression_attribute_values(values)
            .build()
            .map_err(|_| incomplete("transaction"))?;
        Ok(TransactWriteItem::builder().condition_check(check).build())
    }

    pub(crate) async fn item(&self, pk: String, sk: String) -> Result<Option<Item>, StoreError> {
        let answer = self
            .client
            .get_item()
            .table_name(&self.table)
            .key("pk", text(pk))
            .key("sk", text(sk))
            .consistent_read(true)
            .send()
            .await
            .map_err(|error| fault("read", &error))?;
        Ok(answer.item)
    }

    /// Every item of a partition whose sort key has a prefix, in order.
    pub(crate) async fn items(&self, pk: String, prefix: &str) -> Result<Vec<Item>, StoreError> {
        let query = self
            .client
            .query()
            .table_name(&self.table)
            .key_condition_expression("pk = :pk AND begins_with(sk, :prefix)")
            .expression_attribute_values(":pk", text(pk))
            .expression_attribute_values(":prefix", text(prefix.to_owned()))
            .consistent_read(true);
        all(query).await
    }

    /// What is due in one shard of any kind, the oldest first: at most `limit`.
    pub(crate) async fn oldest_due(
        &self,
        shard: String,
        until: Timestamp,
        limit: usize,
    ) -> Result<Vec<Due>, StoreError> {
        let (mut items, mut start) = (Vec::new(), None);
        loop {
            let left = i32::try_from(limit - items.len()).unwrap_or(i32::MAX);
            let answer = self
                .client
                .query()
                .table_name(&self.table)
                .index_name(DUE_INDEX)
                .key_condition_expression("due_shard = :shard AND due_at <= :until")
                .expression_attribute_values(":shard", text(shard.clone()))
                .expression_attribute_values(":until", number(until.as_millisecond()))
                .limit(left)
                .set_exclusive_start_key(start)
                .send()
                .await
                .map_err(|error| fault("query", &error))?;
            for item in answer.items.unwrap_or_default() {
                items.push(due(&item)?);
            }
            start = answer.last_evaluated_key;
            if start.is_none() || items.len() >= limit {
                return Ok(items);
            }
        }
    }

    /// Part of one partition of an index that lists calls, the newest first, and whether it goes on.
    async fn listed(
        &self,
        (index, name, value): (&str, &str, String),
        since: Timestamp,
        before: &Place,
        limit: usize,
    ) -> Result<(Vec<Line>, bool), StoreError> {
        // `BETWEEN` takes its upper bound in; the place before which to stop may be one of a line.
        let between = format!("{name} = :value AND began BETWEEN :since AND :before");
        let (mut lines, mut start) = (Vec::new(), None);
        loop {
            let answer = self
                .client
                .query()
                .table_name(&self.table)
                .index_name(index)
                .key_condition_expression(&between)
                .expression_attribute_values(":value", text(value.clone()))
                .expression_attribute_values(":since", text(Place::of(since).as_str().to_owned()))
                .expression_attribute_values(":before", text(before.as_str().to_owned()))
                .scan_index_forward(false)
                .limit(i32::try_from(limit).unwrap_or(PAGE).saturating_add(1))
                .set_exclusive_start_key(start)
                .send()
                .await
                .map_err(|error| fault("query", &error))?;
            for mut item in answer.items.unwrap_or_default() {
                let Some(AttributeValue::S(line)) = item.remove("line") else { continue };
                let line: Line = serde_json::from_str(&line)
                    .map_err(|_| damaged("line", "a field is missing or of another type"))?;
                if line.place() < *before {
                    lines.push(line);
                }
            }
            start = answer.last_evaluated_key;
            if start.is_none() || lines.len() >= limit {
                return Ok((lines, start.is_some()));
            }
        }
    }

    pub(crate) async fn put_item(&self, item: Item) -> Result<(), StoreError> {
        let put = self.client.put_item().table_name(&self.table).set_item(Some(item));
        put.send().await.map_err(|error| fault("write", &error))?;
        Ok(())
    }

    /// Puts an item under the condition that the stored version is `version` (0: that there is none).
    /// Whether it held.
    pub(crate) async fn put_over(&self, item: Item, version: u64) -> Result<bool, StoreError> {
        let (condition, values) = version_condition(version);
        let sent = self
            .client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(item))
            .condition_expression(condition)
            .set_expression_attribute_values(values)
            .send()
            .await;
        match sent {
            Ok(_) => Ok(true),
            Err(error) => match error.as_service_error() {
                Some(PutItemError::ConditionalCheckFailedException(_)) => Ok(false),
                _ => Err(fault("write", &error)),
            },
        }
    }

    async fn delete_item(&self, pk: String, sk: String) -> Result<(), StoreError> {
        let delete = self.client.delete_item().table_name(&self.table);
        let sent = delete.set_key(Some(primary_key(pk, sk))).send().await;
        sent.map(|_| ()).map_err(|error| fault("deletion", &error))
    }

    /// Writes the parts of a large value, each saying how many there are.
    async fn put_parts(&self, pk: &str, prefix: &str, parts: &[Vec<u8>]) -> Result<(), StoreError> {
        for (n, part) in parts.iter().enumerate() {
            let item = HashMap::from([
                ("pk".to_owned(), text(pk.to_owned())),
                ("sk".to_owned(), text(format!("{prefix}{n:04}"))),
                ("parts".to_owned(), number(parts.len() as i64)),
                ("bytes".to_owned(), AttributeValue::B(Bytes::new(part.clone()))),
                ("expires_at".to_owned(), self.expires_at()),
            ]);
            self.put_item(item).await?;
        }
        Ok(())
    }

    /// The parts of a large value: as many as the first says. What lies behind them is left of an
    /// earlier writing that took more.
    async fn parts(&self, pk: String, prefix: &str) -> Result<Vec<Vec<u8>>, StoreError> {
        let missing = || damaged("blob", "a part is missing");
        let count = |item: &Item| item.get("parts")?.as_n().ok()?.parse::<usize>().ok();
        let mut items = self.items(pk, prefix).await?;
        let wanted = items.first().and_then(count).ok_or_else(missing)?;
        if wanted == 0 || items.len() < wanted {
            return Err(missing());
        }
        items.truncate(wanted);
        let mut parts = Vec::with_capacity(wanted);
        for (n, mut item) in items.into_iter().enumerate() {
            let is_next = item.get("sk") == Some(&text(format!("{prefix}{n:04}")));
            match item.remove("bytes") {
                Some(AttributeValue::B(bytes)) if is_next && count(&item) == Some(wanted) => {
                    parts.push(bytes.into_inner());
                }
                _ => return Err(missing()),
            }
        }
        Ok(parts)
    }
}

impl Store for DynamoStore {
    async fn put_call(&self, record: &CallRecord) -> Result<Put, StoreError> {
        let (condition, values) = version_condition(record.version);
        let sent = self
            .client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(self.call_item(record)?))
            .condition_expression(condition)
            .set_expression_attribute_values(values)
            .return_values_on_condition_check_failure(OnFailure::AllOld)
            .send()
            .await;
        let error = match sent {
            Ok(_) => return Ok(Put::Stored(record.version + 1)),
            Err(error) => error,
        };
        match error.as_service_error() {
            Some(PutItemError::ConditionalCheckFailedException(failed)) => {
                conflict(failed.item().cloned())
            }
            _ => Err(fault("write", &error)),
        }
    }

    async fn put_call_and_deliveries(
        &self,
        record: &CallRecord,
        planned: &[Delivery],
        untried: &[DeliveryId],
    ) -> Result<Put, StoreError> {
        if planned.is_empty() && untried.is_empty() {
            return self.put_call(record).await;
        }
        let mut actions = vec![self.put_action(self.call_item(record)?, record.version)?];
        for delivery in planned {
            // Created here and now, whatever version it comes with.
            actions.push(self.put_action(self.delivery_item(delivery)?, 0)?);
        }
        for id in untried {
            let untouched = "attribute_exists(pk) AND attribute_not_exists(frozen)";
            actions.push(self.check_action(&record.key, delivery_sk(id), untouched, None)?);
        }
        match transact(&self.client, actions).await? {
            Ok(()) => Ok(Put::Stored(record.version + 1)),
            Err(reasons) => match reasons.into_iter().next() {
                Some(first) if first.code() == Some("ConditionalCheckFailed") => {
                    conflict(first.item)
                }
                _ => Ok(Put::DeliveryConflict),
            },
        }
    }

    async fn put_call_and_analysis(
        &self,
        record: &CallRecord,
        analysis: &Analysis,
    ) -> Result<Put, StoreError> {
        let mut actions = vec![self.put_action(self.call_item(record)?, record.version)?];
        actions.extend(self.analysis_actions(record, analysis)?);
        match transact(&self.client, actions).await? {
            Ok(()) => Ok(Put::Stored(record.version + 1)),
            Err(reasons) => conflict(reasons.into_iter().next().and_then(|first| first.item)),
        }
    }

    async fn analysis(&self, key: &CallKey) -> Result<Option<Analysis>, StoreError> {
        self.read_analysis(key).await
    }

    async fn call(&self, key: &CallKey) -> Result<Option<CallRecord>, StoreError> {
        let item = self.item(call_pk(key), CALL.to_owned()).await?;
        item.map(|item| from_item("call", item)).transpose()
    }

    async fn stubs(
        &self,
        keys: &[CallKey],
        update: &Digest,
    ) -> Result<BTreeMap<CallKey, CallStub>, StoreError> {
        let key = |key: &CallKey| {
            HashMap::from([("pk".into(), text(call_pk(key))), ("sk".into(), text(CALL.into()))])
        };
        let wanted = KeysAndAttributes::builder()
            .set_keys(Some(keys.iter().map(key).collect()))
            .consistent_read(true)
            .projection_expression("#key, #call.#state, #updates.#update.kind")
            .expression_attribute_names("#key", "key")
            .expression_attribute_names("#call", "call")
            .expression_attribute_names("#state", "state")
            .expression_attribute_names("#updates", "updates")
            .expression_attribute_names("#update", update.as_str())
            .build()
            .map_err(|_| incomplete("read"))?;
        let sent = self.client.batch_get_item().request_items(&self.table, wanted).send().await;
        let answer = sent.map_err(|error| fault("read", &error))?;
        if answer.unprocessed_keys.is_some_and(|left| !left.is_empty()) {
            let code = "not all keys were read".to_owned();
            return Err(StoreError::Unavailable { operation: "read", code });
        }
        let items = answer.responses.and_then(|mut tables| tables.remove(&self.table));
        items
            .unwrap_or_default()
            .into_iter()
            .map(|item| {
                let seen: Seen = from_item("call", item)?;
                let state = seen.call.and_then(|call| call.state);
                Ok((seen.key, CallStub { state, has_update: !seen.updates.is_empty() }))
            })
            .collect()
    }

    async fn deliveries(&self, key: &CallKey) -> Result<Vec<Delivery>, StoreError> {
        let items = self.items(call_pk(key), "delivery#").await?;
        items.into_iter().map(delivery).collect()
    }

    async fn delivery(
        &self,
        key: &CallKey,
        id: &DeliveryId,
    ) -> Result<Option<Delivery>, StoreError> {
        self.item(call_pk(key), delivery_sk(id)).await?.map(delivery).transpose()
    }

    async fn put_delivery(
        &self,
        delivery: &Delivery,
        call_version: Option<u64>,
    ) -> Result<PutDelivery, StoreError> {
        let item = self.delivery_item(delivery)?;
        let stored = PutDelivery::Stored(delivery.version + 1);
        let Some(call_version) = call_version else {
            let is_put = self.put_over(item, delivery.version).await?;
            return Ok(if is_put { stored } else { PutDelivery::Conflict });
        };
        let (condition, values) = version_condition(call_version);
        let actions = vec![
            self.put_action(item, delivery.version)?,
            self.check_action(&delivery.key, CALL.to_owned(), &condition, values)?,
        ];
        match transact(&self.client, actions).await? {
            Ok(()) => Ok(stored),
            Err(_) => Ok(PutDelivery::Conflict),
        }
    }

    async fn put_blob(&self, key: &CallKey, blob: &Blob) -> Result<(), StoreError> {
        let parts = pack(&blob.bytes)?;
        self.put_parts(&call_pk(key), &blob_prefix(&blob.digest), &parts).await
    }

    async fn blob(&self, key: &CallKey, blob: &BlobRef) -> Result<Vec<u8>, StoreError> {
        let parts = self.parts(call_pk(key), &blob_prefix(&blob.digest)).await?;
        let bytes = unpack(&parts, blob.bytes)?;
        let whole = Blob::new(bytes);
        if whole.digest == blob.digest {
            Ok(whole.bytes)
        } else {
            Err(damaged("blob", "its digest is another"))
        }
    }

    async fn due(
        &self,
        shard: u16,
        until: Timestamp,
        page: Option<DueCursor>,
    ) -> Result<DuePage, StoreError> {
        let start = page.map(|DueCursor(last)| due_key(&last));
        let answer = self
            .client
            .query()
            .table_name(&self.table)
            .index_name(DUE_INDEX)
            .key_condition_expression("due_shard = :shard AND due_at <= :until")
            .expression_attribute_values(":shard", text(shard_name(shard)))
            .expression_attribute_values(":until", number(until.as_millisecond()))
            .limit(PAGE)
            .set_exclusive_start_key(start)
            .send()
            .await
            .map_err(|error| fault("query", &error))?;
        let more = answer.last_evaluated_key.is_some();
        let items: Vec<Due> =
            answer.items.unwrap_or_default().iter().map(due).collect::<Result<_, _>>()?;
        let next = items.last().filter(|_| more).cloned().map(DueCursor);
        Ok(DuePage { items, next })
    }

    async fn calls_page(
        &self,
        provider: Option<&Name>,
        page: Option<CallsCursor>,
    ) -> Result<CallsPage, StoreError> {
        let prefix = provider.map_or("call#".to_owned(), |provider| format!("call#{provider}#"));
        let answer = self
            .client
            .scan()
            .table_name(&self.table)
            .filter_expression("sk = :call AND begins_with(pk, :prefix) AND expires_at > :now")
            .expression_attribute_values(":call", text(CALL.to_owned()))
            .expression_attribute_values(":prefix", text(prefix))
            .expression_attribute_values(":now", number(Timestamp::now().as_second()))
            .set_exclusive_start_key(page.map(|CallsCursor([pk, sk])| primary_key(pk, sk)))
            .send()
            .await
            .map_err(|error| fault("scan", &error))?;
        let items = answer.items.unwrap_or_default().into_iter();
        let calls = items.map(|item| from_item("call", item)).collect::<Result<_, _>>()?;
        let next = answer.last_evaluated_key.map(|key| {
            let part = |name| key.get(name).and_then(|part| part.as_s().ok()).cloned();
            CallsCursor([part("pk").unwrap_or_default(), part("sk").unwrap_or_default()])
        });
        Ok(CallsPage { calls, next })
    }

    async fn lines(
        &self,
        list: &List,
        since: Timestamp,
        before: &Place,
        limit: usize,
    ) -> Result<Lines, StoreError> {
        // An upper bound below the lower one is an error to DynamoDB, and to us an empty stretch.
        if *before <= Place::of(since) {
            return Ok(Lines::default());
        }
        let (mut lines, mut more) = (Vec::new(), false);
        let parts = match list {
            List::Day(day) => {
                let shard = |shard| (DAY_INDEX, "day_shard", day_name(*day, shard));
                (0..DAY_SHARDS).map(shard).collect()
            }
            List::Contact(id) => vec![(CONTACT_INDEX, "contact", id.to_string())],
        };
        let parts = parts.into_iter().map(|part| self.listed(part, since, before, limit));
        for (part, goes_on) in try_join_all(parts).await? {
            lines.extend(part);
            more |= goes_on;
        }
        Ok(Lines::newest(lines, limit, more))
    }

    async fn put_quarantined(&self, one: &Quarantined, body: &[u8]) -> Result<(), StoreError> {
        let sk = quarantine_sk(one.received_at, &one.digest);
        let parts = pack(body)?;
        self.put_parts(&quarantine_body_pk(&one.provider), &format!("{sk}#"), &parts).await?;
        let mut item = to_item("quarantined body", one)?;
        item.insert("pk".into(), text(quarantine_pk(&one.provider)));
        item.insert("sk".into(), text(sk));
        item.insert("expires_at".into(), self.expires_at());
        self.put_item(item).await
    }

    async fn quarantined(
        &self,
        provider: &Name,
        between: &Between,
        page: Option<QuarantineCursor>,
    ) -> Result<QuarantinePage, StoreError> {
        if between.is_empty() {
            return Ok(QuarantinePage::default());
        }
        let pk = quarantine_pk(provider);
        // A sort key is a time and more, so that the time alone sorts before all of its moment.
        let bound = |at: Option<Timestamp>, open: &str| {
            text(at.map_or(open.to_owned(), |at| format!("{at:.9}")))
        };
        let answer = self
            .client
            .query()
            .table_name(&self.table)
            .key_condition_expression("pk = :pk AND sk BETWEEN :since AND :until")
            // What has expired may have lost parts of its body already.
            .filter_expression("expires_at > :now")
            .expression_attribute_values(":pk", text(pk.clone()))
            .expression_attribute_values(":since", bound(between.since, "-"))
            .expression_attribute_values(":until", bound(between.until, "~"))
            .expression_attribute_values(":now", number(Timestamp::now().as_second()))
            .consistent_read(true)
            .scan_index_forward(false)
            .limit(PAGE)
            .set_exclusive_start_key(page.map(|QuarantineCursor(sk)| primary_key(pk, sk)))
            .send()
            .await
            .map_err(|error| fault("query", &error))?;
        let items = answer.items.unwrap_or_default().into_iter();
        let items = items.map(|item| from_item("quarantined body", item));
        let items = items.collect::<Result<_, _>>()?;
        let last = answer.last_evaluated_key;
        let next = last.and_then(|key| key.get("sk")?.as_s().ok().cloned()).map(QuarantineCursor);
        Ok(QuarantinePage { items, next })
    }

    async fn quarantined_body(&self, one: &Quarantined) -> Result<Vec<u8>, StoreError> {
        let sk = quarantine_sk(one.received_at, &one.digest);
        let parts = self.parts(quarantine_body_pk(&one.provider), &format!("{sk}#")).await?;
        unpack(&parts, one.length)
    }

    async fn delete_quarantined(&self, one: &Quarantined) -> Result<(), StoreError> {
        let sk = quarantine_sk(one.received_at, &one.digest);
        // First what points to the bytes: if this ends between, they are lost to all, and expire.
        self.delete_item(quarantine_pk(&one.provider), sk.clone()).await?;
        let body_pk = quarantine_body_pk(&one.provider);
        for part in self.items(body_pk.clone(), &format!("{sk}#")).await? {
            if let Some(AttributeValue::S(sk)) = part.get("sk") {
                self.delete_item(body_pk.clone(), sk.clone()).await?;
            }
        }
        Ok(())
    }
}

/// The part of a call's item that [`Store::traces`] reads.
#[derive(Deserialize)]
struct Seen {
    key: CallKey,
    #[serde(default)]
    call: Option<SeenCall>,
    #[serde(default)]
    updates: BTreeMap<String, serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct SeenCall {
    #[serde(default)]
    state: Option<State>,
}

pub(crate) fn call_pk(key: &CallKey) -> String {
    format!("call#{}#{}#{}", key.provider, key.source, key.call_id())
}

fn delivery_sk(id: &DeliveryId) -> String {
    format!("delivery#{id}")
}

fn blob_prefix(digest: &Digest) -> String {
    format!("blob#{digest}#")
}

fn quarantine_pk(provider: &Name) -> String {
    format!("quarantine#{provider}")
}

fn quarantine_body_pk(provider: &Name) -> String {
    format!("quarantine-body#{provider}")
}

/// Sorts by time: written with all its digits, because of two times in text the one with fewer
/// would come last in its second.
fn quarantine_sk(received_at: Timestamp, digest: &Digest) -> String {
    format!("{received_at:.9}#{digest}")
}

pub(crate) fn shard_name(shard: u16) -> String {
    format!("{shard:02}")
}

fn day_name(day: Date, shard: u16) -> String {
    format!("{day}#{shard}")
}

fn conflict(stored: Option<Item>) -> Result<Put, StoreError> {
    let stored = stored.filter(|item| !item.is_empty());
    let gone = || damaged("call", "it was there when read, and is gone");
    Ok(Put::Conflict(Box::new(from_item("call", stored.ok_or_else(gone)?)?)))
}

/// What an index entry points to, from its keys alone.
fn due(item: &Item) -> Result<Due, StoreError> {
    let read = || {
        let pk = item.get("pk")?.as_s().ok()?;
        let sk = item.get("sk")?.as_s().ok()?;
        let millis = item.get("due_at")?.as_n().ok()?.parse().ok()?;
        let due_at = Timestamp::from_millisecond(millis).ok()?;
        if let Some(job) = job_of(pk) {
            return Some(Due { what: Overdue::Pull(job), due_at });
        }
        let mut parts = pk.strip_prefix("call#")?.splitn(3, '#');
        let provider = Name::new("provider", parts.next()?).ok()?;
        let source = Name::new("source", parts.next()?).ok()?;
        let key = CallKey::new(provider, source, parts.next()?).ok()?;
        let what = match sk.strip_prefix("delivery#") {
            Some(id) => Overdue::Delivery(key, id.parse().ok()?),
            None => Overdue::Call(key),
        };
        Some(Due { what, due_at })
    };
    read().ok_or_else(|| damaged("index entry", "its keys are not of our form"))
}

/// The keys of an index entry, to go on after it.
fn due_key(due: &Due) -> Item {
    let (pk, sk, shard) = match &due.what {
        Overdue::Call(key) => (call_pk(key), CALL.to_owned(), key.due_shard()),
        Overdue::Delivery(key, id) => (call_pk(key), delivery_sk(id), key.due_shard()),
        Overdue::Pull(job) => (job_pk(job), JOB.to_owned(), due_shard(job)),
    };
    HashMap::from([
        ("pk".to_owned(), text(pk)),
        ("sk".to_owned(), text(sk)),
        ("due_shard".to_owned(), text(shard_name(shard))),
        ("due_at".to_owned(), number(due.due_at.as_millisecond())),
    ])
}

fn delivery(mut item: Item) -> Result<Delivery, StoreError> {
    item.remove("due_at");
    if let Some(due) = item.remove("due") {
        item.insert("due_at".into(), due);
    }
    from_item("delivery", item)
}

fn pack(bytes: &[u8]) -> Result<Vec<Vec<u8>>, StoreError> {
    compression::pack(bytes).map_err(|_| damaged("blob", "it cannot be compressed"))
}

fn unpack(parts: &[Vec<u8>], length: u64) -> Result<Vec<u8>, StoreError> {
    let bytes = compression::unpack(parts, length)
        .map_err(|_| damaged("blob", "it cannot be decompressed"))?;
    if bytes.len() as u64 == length {
        Ok(bytes)
    } else {
        Err(damaged("blob", "its length is another"))
    }
}
