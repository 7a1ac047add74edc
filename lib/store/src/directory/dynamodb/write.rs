//! Writing entries, and in step with them what they are found by.

use std::collections::{BTreeSet, HashMap};

use aws_sdk_dynamodb::types::{AttributeValue, Delete, Put, TransactWriteItem, Update};
use switchboard_domain::directory::check::MOST_HOLDERS;
use switchboard_domain::directory::{Entry, EntryWrite, Handle, Holder};

use super::item::{ENTRY, LEAD, checked, entry_item, entry_pk, handle_key, lead_place, set_of};
use super::{ATTEMPTS, DynamoDirectory};
use crate::StoreError;
use crate::directory::PutEntry;
use crate::dynamodb::{
    Item, LARGEST_TRANSACTION, incomplete, number, primary_key, text, transact, version_condition,
};

/// What an action of a transaction is about, to be told from its place why it failed.
#[derive(Clone)]
enum About {
    /// The entry has another version.
    Entry,
    /// Others hold the handle that the entry was to hold alone.
    Alone,
    /// More hold the handle than may.
    Crowded,
    /// The handle was to be given up by its last holder (`true`) or by one of several, and is not.
    Released(Handle, bool),
}

impl DynamoDirectory {
    /// The actions that make `new` (or nothing) of `old` (or nothing). `shared`: handles that others
    /// hold too, as far as is known.
    fn actions(
        &self,
        new: Option<&EntryWrite>,
        old: Option<&Entry>,
        shared: &BTreeSet<Handle>,
    ) -> Result<Vec<(About, TransactWriteItem)>, StoreError> {
        let mut actions = Vec::new();
        let old_handles = old.map(Entry::handles).unwrap_or_default();
        let new_handles = new.map(|new| new.entry.handles()).unwrap_or_default();
        let holder = match (new, old) {
            (Some(new), _) => new.entry.holder(),
            (None, Some(old)) => old.holder(),
            (None, None) => return Ok(actions),
        };
        actions.push(match (new, old) {
            (Some(new), _) => self.put(entry_item(&new.entry)?, new.entry.version())?,
            (None, old) => {
                let (condition, values) = version_condition(old.map_or(0, Entry::version));
                let key = primary_key(entry_pk(&holder), ENTRY.to_owned());
                (About::Entry, self.delete(key, Some(condition), values)?)
            }
        });
        let (was, is) = (old.and_then(lead_place), new.and_then(|new| lead_place(&new.entry)));
        match (was, is) {
            (was, Some(is)) if was.as_ref() != Some(&is) => {
                let mut item = primary_key(entry_pk(&holder), LEAD.to_owned());
                item.insert("list".into(), text(LEAD.to_owned()));
                item.insert("place".into(), text(is));
                let put = Put::builder().table_name(&self.table).set_item(Some(item)).build();
                let put = put.map_err(|_| incomplete("transaction"))?;
                actions.push((About::Entry, TransactWriteItem::builder().put(put).build()));
            }
            (Some(_), None) => {
                let key = primary_key(entry_pk(&holder), LEAD.to_owned());
                actions.push((About::Entry, self.delete(key, None, None)?));
            }
            _ => {}
        }
        let alone = new.map(|new| &new.alone);
        for handle in new_handles.difference(&old_handles) {
            let is_alone = alone.is_some_and(|alone| alone.contains(handle));
            actions.push(self.hold(handle, &holder, is_alone)?);
        }
        for handle in old_handles.difference(&new_handles) {
            actions.push(self.release(handle, &holder, shared.contains(handle))?);
        }
        Ok(actions)
    }

    fn put(&self, item: Item, version: u64) -> Result<(About, TransactWriteItem), StoreError> {
        let (condition, values) = version_condition(version);
        let put = Put::builder()
            .table_name(&self.table)
            .set_item(Some(item))
            .condition_expression(condition)
            .set_expression_attribute_values(values)
            .build()
            .map_err(|_| incomplete("transaction"))?;
        Ok((About::Entry, TransactWriteItem::builder().put(put).build()))
    }

    pub(super) fn delete(
        &self,
        key: Item,
        condition: Option<String>,
        values: Option<Item>,
    ) -> Result<TransactWriteItem, StoreError> {
        let delete = Delete::builder()
            .table_name(&self.table)
            .set_key(Some(key))
            .set_condition_expression(condition)
            .set_expression_attribute_values(values)
            .build()
            .map_err(|_| incomplete("transaction"))?;
        Ok(TransactWriteItem::builder().delete(delete).build())
    }

    fn hold(
        &self,
        handle: &Handle,
        holder: &Holder,
        alone: bool,
    ) -> Result<(About, TransactWriteItem), StoreError> {
        let (set, id) = set_of(holder);
        let update = Update::builder()
            .table_name(&self.table)
            .set_key(Some(handle_key(handle)))
            .update_expression("ADD #set :this")
            .expression_attribute_names("#set", set)
            .expression_attribute_values(":this", AttributeValue::Ss(vec![id]));
        let (about, update) = if alone {
            (About::Alone, update.condition_expression("attribute_not_exists(#set)"))
        } else {
            let condition = "attribute_not_exists(#set) OR size(#set) < :most";
            let update = update.condition_expression(condition);
            let most = number(MOST_HOLDERS as i64);
            (About::Crowded, update.expression_attribute_values(":most", most))
        };
        let update = update.build().map_err(|_| incomplete("transaction"))?;
        Ok((about, TransactWriteItem::builder().update(update).build()))
    }

    /// The last holder takes the item along: a number must not outlive whose it was.
    fn release(
        &self,
        handle: &Handle,
        holder: &Holder,
        shared: bool,
    ) -> Result<(About, TransactWriteItem), StoreError> {
        let (set, id) = set_of(holder);
        let about = About::Released(handle.clone(), !shared);
        let others = ["contacts", "employees", "own"];
        let mut others = others.into_iter().filter(|other| *other != set);
        let (a, b) = (others.next().unwrap_or_default(), others.next().unwrap_or_default());
        let this = AttributeValue::Ss(vec![id]);
        let one = number(1);
        if shared {
            let condition =
                format!("size({set}) > :one OR attribute_exists({a}) OR attribute_exists({b})");
            let update = Update::builder()
                .table_name(&self.table)
                .set_key(Some(handle_key(handle)))
                .update_expression(format!("DELETE {set} :this"))
                .condition_expression(condition)
                .expression_attribute_values(":this", this)
                .expression_attribute_values(":one", one)
                .build()
                .map_err(|_| incomplete("transaction"))?;
            return Ok((about, TransactWriteItem::builder().update(update).build()));
        }
        let condition =
            format!("{set} = :this AND attribute_not_exists({a}) AND attribute_not_exists({b})");
        let values = HashMap::from([(":this".to_owned(), this)]);
        Ok((about, self.delete(handle_key(handle), Some(condition), Some(values))?))
    }

    /// Makes `new` of what was read, and decides anew where only the holders of a handle were others
    /// than thought.
    pub(super) async fn write(
        &self,
        new: Option<&EntryWrite>,
        old: Option<&Entry>,
    ) -> Result<PutEntry, StoreError> {
        let version = new.map(|new| new.entry.version() + 1);
        let stored = PutEntry::Stored(version.or_else(|| old.map(Entry::version)).unwrap_or(0));
        let mut shared = BTreeSet::new();
        for _ in 0..ATTEMPTS {
            let (about, actions): (Vec<_>, Vec<_>) =
                self.actions(new, old, &shared)?.into_iter().unzip();
            let Err(reasons) = transact(&self.client, actions).await? else { return Ok(stored) };
            let failed = about
                .iter()
                .zip(&reasons)
                .filter(|(_, reason)| reason.code() == Some("ConditionalCheckFailed"));
            for (about, _) in failed {
                match about {
                    About::Entry | About::Alone => return Ok(PutEntry::Conflict),
                    About::Crowded => {
                        let code = "100 entries have one of its handles already".to_owned();
                        return Err(StoreError::Refused { operation: "write", code });
                    }
                    About::Released(handle, true) => drop(shared.insert(handle.clone())),
                    About::Released(handle, false) => drop(shared.remove(handle)),
                }
            }
        }
        let code = "its handles kept changing".to_owned();
        Err(StoreError::Unavailable { operation: "write", code })
    }

    /// One entry, from what is read now.
    pub(super) async fn put_one(&self, write: EntryWrite) -> Result<PutEntry, StoreError> {
        checked(&write.entry)?;
        let old = match write.entry.version() {
            0 => None,
            _ => self.entry(write.entry.holder()).await?,
        };
        if old.as_ref().map_or(0, Entry::version) != write.entry.version() {
            return Ok(PutEntry::Conflict);
        }
        self.write(Some(&write), old.as_ref()).await
    }
}

/// Some entries whose actions fit into one transaction.
#[derive(Default)]
pub(super) struct Batch<'a> {
    entries: Vec<One<'a>>,
    touched: BTreeSet<Handle>,
    holders: BTreeSet<Holder>,
    actions: usize,
}

pub(super) struct One<'a> {
    pub n: usize,
    pub write: &'a EntryWrite,
    pub old: Option<&'a Entry>,
}

impl One<'_> {
    /// The handles that its transaction changes.
    fn changed(&self) -> BTreeSet<Handle> {
        let old = self.old.map(Entry::handles).unwrap_or_default();
        let new = self.write.entry.handles();
        old.symmetric_difference(&new).cloned().collect()
    }
}

impl<'a> Batch<'a> {
    /// A transaction has at most 100 actions, and no two on one item.
    pub(super) fn takes(&self, one: &One<'a>) -> bool {
        let changed = one.changed();
        self.actions + changed.len() + 2 <= LARGEST_TRANSACTION
            && self.touched.is_disjoint(&changed)
            && !self.holders.contains(&one.write.entry.holder())
    }

    pub(super) fn add(&mut self, one: One<'a>) {
        let changed = one.changed();
        self.actions += changed.len() + 2;
        self.touched.extend(changed);
        self.holders.insert(one.write.entry.holder());
        self.entries.push(one);
    }
}

impl DynamoDirectory {
    /// All in one transaction, or, if one of them is in the way of the others, each by itself.
    pub(super) async fn write_batch(
        &self,
        batch: Batch<'_>,
    ) -> Result<Vec<(usize, PutEntry)>, StoreError> {
        let nothing_shared = BTreeSet::new();
        let mut actions = Vec::with_capacity(batch.actions);
        for one in &batch.entries {
            actions.extend(self.actions(Some(one.write), one.old, &nothing_shared)?);
        }
        if batch.entries.len() > 1 {
            let actions = actions.into_iter().map(|(_, action)| action).collect();
            if transact(&self.client, actions).await?.is_ok() {
                let stored = |one: &One<'_>| PutEntry::Stored(one.write.entry.version() + 1);
                return Ok(batch.entries.iter().map(|one| (one.n, stored(one))).collect());
            }
        }
        let mut done = Vec::with_capacity(batch.entries.len());
        for one in &batch.entries {
            done.push((one.n, self.write(Some(one.write), one.old).await?));
        }
        Ok(done)
    }
}
