//! Calls, alone and together with their deliveries or their analysis.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;
use switchboard_domain::{
    Analysis, CallKey, CallRecord, Delivery, DeliveryId, Digest, Name, State,
};

use crate::item::{damaged, from_item, number, text, to_versioned};
use crate::listing::{DAY_SHARDS, contact_of};
use crate::table::{Condition, Item, Write, Written};
use crate::{Cursor, Line, Page, Store, StoreError, due, keys};

/// What became of a conditional write of a call.
#[derive(Clone, Debug, PartialEq)]
pub enum Put {
    /// Written. The new version.
    Stored(u64),
    /// Not written: the call as it is stored now. It may have the version that was read, where a
    /// delivery was in the way.
    Conflict(Box<CallRecord>),
}

/// What a message that may be about one of several calls needs to know of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallStub {
    /// How far the call has come.
    pub state: Option<State>,
    /// Whether it holds the update in question.
    pub has_update: bool,
}

/// The part of a call's item that [`Store::stubs`] reads.
#[derive(Deserialize)]
struct StubItem {
    key: CallKey,
    #[serde(default)]
    call: Option<StubFacts>,
    #[serde(default)]
    updates: BTreeMap<String, serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct StubFacts {
    #[serde(default)]
    state: Option<State>,
}

fn conflict(stored: Option<Item>) -> Result<Put, StoreError> {
    let gone = || damaged("call", "it was there when read, and is gone");
    Ok(Put::Conflict(Box::new(from_item("call", stored.ok_or_else(gone)?)?)))
}

impl Store {
    fn call_write(&self, record: &CallRecord) -> Result<Write, StoreError> {
        let mut item = to_versioned("call", record, keys::call(&record.key), record.version)?;
        item.insert("expires_at".into(), self.expires_at());
        let shard = record.key.due_shard();
        due::mark(&mut item, record.due_at().map(|due_at| (keys::due_shard(shard), due_at)));
        let line = Line::of(record);
        let day = keys::day_shard(line.day(), shard % DAY_SHARDS);
        item.insert("day_shard".into(), text(day));
        item.insert("began".into(), text(line.place().as_str()));
        if let Some(contact) = contact_of(record) {
            item.insert("contact".into(), text(contact.as_str()));
        }
        // As one text, which costs a hook less than a map of many values. No request asks for a part.
        let line = serde_json::to_string(&line)
            .map_err(|_| damaged("line", "it cannot be written as JSON"))?;
        item.insert("line".into(), text(line));
        Ok(Write::put(item).only_if(Condition::version(record.version)))
    }

    /// Writes a call as version `record.version + 1`, if the stored version is `record.version`
    /// (0: if there is none). One request.
    pub async fn put_call(&self, record: &CallRecord) -> Result<Put, StoreError> {
        match self.table.write(self.call_write(record)?).await? {
            Written::Done(_) => Ok(Put::Stored(record.version + 1)),
            Written::Unmet(stored) => conflict(stored),
        }
    }

    /// Writes a call as [`Store::put_call`] does, in one transaction with other writes.
    async fn put_call_with(
        &self,
        record: &CallRecord,
        others: impl IntoIterator<Item = Write>,
    ) -> Result<Put, StoreError> {
        let mut writes = vec![self.call_write(record)?];
        writes.extend(others);
        match self.table.transact(writes).await?.into_iter().next() {
            None => Ok(Put::Stored(record.version + 1)),
            Some(unmet) if unmet.write == 0 => conflict(unmet.stored),
            Some(_) => conflict(self.table.get(&keys::call(&record.key)).await?),
        }
    }

    /// Writes a call as [`Store::put_call`] does and, in the same transaction, creates `planned`
    /// deliveries. It fails as a whole if one of `planned` exists, or if one of `untried` was tried (has
    /// a rendered body) meanwhile.
    pub async fn put_call_and_deliveries(
        &self,
        record: &CallRecord,
        planned: &[Delivery],
        untried: &[DeliveryId],
    ) -> Result<Put, StoreError> {
        if planned.is_empty() && untried.is_empty() {
            return self.put_call(record).await;
        }
        let mut writes = Vec::with_capacity(planned.len() + untried.len());
        for delivery in planned {
            // It is created here, whatever version it comes with.
            let put = Write::put(self.delivery_item(delivery)?);
            writes.push(put.only_if(Condition::no_item()));
        }
        writes.extend(untried.iter().map(|id| {
            let untouched = vec![Condition::Exists("pk"), Condition::Absent("frozen")];
            Write::check(keys::delivery(&record.key, id), Condition::All(untouched))
        }));
        self.put_call_with(record, writes).await
    }

    /// Writes a call as [`Store::put_call`] does and, in the same transaction, its analysis and the
    /// tasks of it, in place of an earlier one.
    pub async fn put_call_and_analysis(
        &self,
        record: &CallRecord,
        analysis: &Analysis,
    ) -> Result<Put, StoreError> {
        self.put_call_with(record, self.analysis_writes(record, analysis)?).await
    }

    /// Reads a call, consistently.
    pub async fn call(&self, key: &CallKey) -> Result<Option<CallRecord>, StoreError> {
        self.read("call", keys::call(key)).await
    }

    /// Which of these calls are stored, and what is known of each: one consistent request for at
    /// most 100 keys.
    pub async fn stubs(
        &self,
        keys: &[CallKey],
        update: &Digest,
    ) -> Result<BTreeMap<CallKey, CallStub>, StoreError> {
        let keys: Vec<_> = keys.iter().map(keys::call).collect();
        let paths: [&[&str]; 3] =
            [&["key"], &["call", "state"], &["updates", update.as_str(), "kind"]];
        let items = self.table.batch_get(&keys, &paths).await?.into_iter();
        let stub = |item| {
            let StubItem { key, call, updates } = from_item("call", item)?;
            let state = call.and_then(|call| call.state);
            Ok((key, CallStub { state, has_update: !updates.is_empty() }))
        };
        items.map(stub).collect()
    }

    /// Calls of one provider, or of all: a page, in no order. This reads the whole table: it is for
    /// operators, never for functions.
    pub async fn calls_page(
        &self,
        provider: Option<&Name>,
        page: Option<Cursor>,
    ) -> Result<Page<CallRecord>, StoreError> {
        let prefix = provider
            .map_or(keys::CALLS.to_owned(), |provider| format!("{}{provider}#", keys::CALLS));
        let filter = Condition::All(vec![
            Condition::Is("sk", text(keys::CALL_SK)),
            Condition::Begins("pk", prefix),
            Condition::Above("expires_at", number(Timestamp::now().as_second())),
        ]);
        let page = self.table.scan(&filter, page.map(|Cursor(start)| start)).await?;
        Page::read(page, |item| from_item("call", item))
    }
}
