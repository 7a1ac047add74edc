//! The directory on DynamoDB.
//!
//! | item | pk | sk | in the index `lists` |
//! | --- | --- | --- | --- |
//! | a contact, an employee | `contact#<id>`, `employee#<id>` | `entry` | list `contact`, `employee`; place `<id>` |
//! | that a contact is a lead | `contact#<id>` | `lead` | list `lead`; place `<status>#<id>` |
//! | a call on a timeline | `contact#<id>` | `activity#<call key>` | list `timeline#<id>`; place `<time>#<call key>` |
//! | who holds a number, … | `number#<E.164>`, `extension#<source>#<number>`, `email#<email>`, `external#<id>` | `holders` | – |
//!
//! A handle is one item with its holders in sets, and not one item for each holder: so whether
//! anybody holds it can be a condition of a transaction, and a hundred are read in one request.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{
    AttributeValue, ConditionCheck, KeysAndAttributes, Put, TransactWriteItem, Update,
};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use switchboard_domain::directory::{
    Activity, Contact, ContactKind, Employee, Entry, EntryWrite, Handle, Holder,
};
use switchboard_domain::{CallKey, Name, Personal};

use super::{Directory, EntryCursor, EntryPage, PutEntry};
use crate::StoreError;
use crate::dynamodb::{
    Conflict, Item, damaged, fault, from_item, incomplete, primary_key, text, to_item, transact,
};

mod item;
mod write;

use item::{
    ACTIVITY, CONTACTS, EMPLOYEES, ENTRY, LEAD, activity_place, activity_sk, checked, contact_id,
    entry, entry_pk, entry_place, handle_key, handle_pk, holder_of, holders_of, start_at, timeline,
};
use write::{Batch, One};

const INDEX: &str = "lists";
/// DynamoDB's limit of keys in one read.
const LARGEST_BATCH: usize = 100;
/// So often a write is decided anew, because what it was decided on has changed meanwhile.
const ATTEMPTS: usize = 10;
/// So many requests of one batch are under way at a time.
const CONCURRENT: usize = 8;

/// A directory on a DynamoDB table.
#[derive(Clone)]
pub struct DynamoDirectory {
    client: Client,
    table: String,
}

impl DynamoDirectory {
    /// Over a client and the name of the table.
    pub fn new(client: Client, table: String) -> Self {
        let config = client.config().to_builder().retry_classifier(Conflict).build();
        Self { client: Client::from_conf(config), table }
    }

    /// Opens a connection, so that the first request need not wait for it, with a read that finds
    /// nothing. Whether it is answered does not matter.
    pub async fn connect(&self) {
        let key = primary_key("connect".into(), "connect".into());
        let _ = self.client.get_item().table_name(&self.table).set_key(Some(key)).send().await;
    }

    /// The items under these keys, in no order.
    async fn batch(&self, keys: Vec<Item>) -> Result<Vec<Item>, StoreError> {
        let chunks: Vec<Vec<Item>> = keys.chunks(LARGEST_BATCH).map(<[Item]>::to_vec).collect();
        let read = stream::iter(chunks).map(|keys| self.chunk(keys)).buffer_unordered(CONCURRENT);
        let items: Vec<Vec<Item>> = read.try_collect().await?;
        Ok(items.into_iter().flatten().collect())
    }

    async fn chunk(&self, mut keys: Vec<Item>) -> Result<Vec<Item>, StoreError> {
        let mut items = Vec::with_capacity(keys.len());
        for _ in 0..ATTEMPTS {
            let wanted = KeysAndAttributes::builder().set_keys(Some(keys)).consistent_read(true);
            let wanted = wanted.build().map_err(|_| incomplete("read"))?;
            let sent = self.client.batch_get_item().request_items(&self.table, wanted).send().await;
            let answer = sent.map_err(|error| fault("read", &error))?;
            let read = answer.responses.and_then(|mut tables| tables.remove(&self.table));
            items.extend(read.unwrap_or_default());
            let left = answer.unprocessed_keys.and_then(|mut tables| tables.remove(&self.table));
            keys = left.map(|left| left.keys).unwrap_or_default();
            if keys.is_empty() {
                return Ok(items);
            }
        }
        let code = "not all keys were read".to_owned();
        Err(StoreError::Unavailable { operation: "read", code })
    }

    async fn entry(&self, holder: Holder) -> Result<Option<Entry>, StoreError> {
        Ok(self.entries(&BTreeSet::from([holder.clone()])).await?.remove(&holder))
    }

    /// A page of keys in the index.
    async fn list(
        &self,
        list: &str,
        prefix: Option<String>,
        forward: bool,
        start: Option<Item>,
        limit: u16,
    ) -> Result<(Vec<Item>, Option<EntryCursor>), StoreError> {
        let mut condition = "#list = :list".to_owned();
        let mut values = HashMap::from([(":list".to_owned(), text(list.to_owned()))]);
        if let Some(prefix) = prefix {
            condition.push_str(" AND begins_with(place, :prefix)");
            values.insert(":prefix".into(), text(prefix));
        }
        let answer = self
            .client
            .query()
            .table_name(&self.table)
            .index_name(INDEX)
            .key_condition_expression(condition)
            .expression_attribute_names("#list", "list")
            .set_expression_attribute_values(Some(values))
            .scan_index_forward(forward)
            .limit(i32::from(limit.clamp(1, LARGEST_BATCH as u16)))
            .set_exclusive_start_key(start)
            .send()
            .await
            .map_err(|error| fault("query", &error))?;
        let last = answer.last_evaluated_key;
        let next = last.and_then(|key| key.get("place")?.as_s().ok().cloned()).map(EntryCursor);
        Ok((answer.items.unwrap_or_default(), next))
    }

    /// The contacts behind keys of the index, in their order, without those that are gone.
    async fn contacts_of(&self, keys: &[Item]) -> Result<Vec<Contact>, StoreError> {
        let holders: Vec<Holder> = keys.iter().filter_map(holder_of).collect();
        let mut found = self.entries(&holders.iter().cloned().collect()).await?;
        Ok(holders
            .iter()
            .filter_map(|holder| match found.remove(holder) {
                Some(Entry::Contact(contact)) => Some(contact),
                _ => None,
            })
            .collect())
    }

    async fn delete_entry(&self, holder: Holder, version: u64) -> Result<PutEntry, StoreError> {
        match self.entry(holder).await? {
            Some(old) if old.version() == version => self.write(None, Some(&old)).await,
            _ => Ok(PutEntry::Conflict),
        }
    }

    async fn delete_timeline(&self, id: &Name) -> Result<(), StoreError> {
        let pk = entry_pk(&Holder::Contact(id.clone()));
        let mut start = None;
        loop {
            let answer = self
                .client
                .query()
                .table_name(&self.table)
                .key_condition_expression("pk = :pk AND begins_with(sk, :prefix)")
                .expression_attribute_values(":pk", text(pk.clone()))
                .expression_attribute_values(":prefix", text(ACTIVITY.to_owned()))
                .projection_expression("pk, sk")
                .consistent_read(true)
                .set_exclusive_start_key(start)
                .send()
                .await
                .map_err(|error| fault("query", &error))?;
            stream::iter(answer.items.unwrap_or_default())
                .map(|key| self.delete_item(key))
                .buffer_unordered(CONCURRENT)
                .try_collect::<()>()
                .await?;
            start = answer.last_evaluated_key;
            if start.is_none() {
                return Ok(());
            }
        }
    }

    async fn delete_item(&self, key: Item) -> Result<(), StoreError> {
        let delete = self.client.delete_item().table_name(&self.table).set_key(Some(key));
        delete.send().await.map(|_| ()).map_err(|error| fault("deletion", &error))
    }
}

impl Directory for DynamoDirectory {
    async fn holders(
        &self,
        handles: &BTreeSet<Handle>,
    ) -> Result<BTreeMap<Handle, BTreeSet<Holder>>, StoreError> {
        let by_pk: HashMap<String, &Handle> =
            handles.iter().map(|handle| (handle_pk(handle), handle)).collect();
        let mut found = BTreeMap::new();
        for item in self.batch(handles.iter().map(handle_key).collect()).await? {
            let handle = item.get("pk").and_then(|pk| by_pk.get(pk.as_s().ok()?));
            let handle = handle.ok_or_else(|| damaged("handle", "it was not asked for"))?;
            let holders = holders_of(&item)?;
            if !holders.is_empty() {
                found.insert((*handle).clone(), holders);
            }
        }
        Ok(found)
    }

    async fn contact(&self, id: &Name) -> Result<Option<Contact>, StoreError> {
        match self.entry(Holder::Contact(id.clone())).await? {
            Some(Entry::Contact(contact)) => Ok(Some(contact)),
            _ => Ok(None),
        }
    }

    async fn employee(&self, id: &Name) -> Result<Option<Employee>, StoreError> {
        match self.entry(Holder::Employee(id.clone())).await? {
            Some(Entry::Employee(employee)) => Ok(Some(employee)),
            _ => Ok(None),
        }
    }

    async fn entries(
        &self,
        holders: &BTreeSet<Holder>,
    ) -> Result<BTreeMap<Holder, Entry>, StoreError> {
        let real = holders.iter().filter(|holder| **holder != Holder::Own);
        let keys = real.map(|holder| primary_key(entry_pk(holder), ENTRY.to_owned())).collect();
        let items = self.batch(keys).await?.into_iter();
        items.map(|item| entry(item).map(|entry| (entry.holder(), entry))).collect()
    }

    async fn put_entries(&self, writes: &[EntryWrite]) -> Result<Vec<PutEntry>, StoreError> {
        for write in writes {
            checked(&write.entry)?;
        }
        let known = writes.iter().filter(|write| write.entry.version() > 0);
        let known = self.entries(&known.map(|write| write.entry.holder()).collect()).await?;
        let mut done = vec![PutEntry::Conflict; writes.len()];
        let mut batches: Vec<Batch<'_>> = vec![Batch::default()];
        for (n, write) in writes.iter().enumerate() {
            let old = known.get(&write.entry.holder());
            if old.map_or(0, Entry::version) != write.entry.version() {
                continue;
            }
            let one = One { n, write, old };
            if let Some(last) = batches.last_mut()
                && last.takes(&one)
            {
                last.add(one);
            } else {
                let mut next = Batch::default();
                next.add(one);
                batches.push(next);
            }
        }
        let writing: Vec<_> = batches.into_iter().map(|batch| self.write_batch(batch)).collect();
        let written =
            stream::iter(writing).buffer_unordered(CONCURRENT).try_collect::<Vec<_>>().await?;
        for (n, put) in written.into_iter().flatten() {
            if let Some(place) = done.get_mut(n) {
                *place = put;
            }
        }
        Ok(done)
    }

    async fn put_contact(&self, contact: &Contact) -> Result<PutEntry, StoreError> {
        let entry = Entry::Contact(contact.clone());
        self.put_one(EntryWrite { entry, alone: BTreeSet::new() }).await
    }

    async fn put_employee(&self, employee: &Employee) -> Result<PutEntry, StoreError> {
        let entry = Entry::Employee(employee.clone());
        self.put_one(EntryWrite { entry, alone: BTreeSet::new() }).await
    }

    async fn create_contact_once(
        &self,
        number: &Personal,
        contact: &Contact,
    ) -> Result<Contact, StoreError> {
        let handle = Handle::Number(number.clone());
        let asked = BTreeSet::from([handle.clone()]);
        let mut new = Contact { version: 0, ..contact.clone() };
        let mut taken = 1;
        for _ in 0..ATTEMPTS {
            let held = self.holders(&asked).await?.remove(&handle).unwrap_or_default();
            let held: Vec<Name> = held.into_iter().filter_map(contact_id).collect();
            for id in &held {
                if let Some(contact) = self.contact(id).await? {
                    return Ok(contact);
                }
            }
            if held.is_empty() && self.contact(&new.id).await?.is_some() {
                taken += 1;
                let id = format!("{}-{taken}", contact.id);
                new.id =
                    Name::new("contact", &id).map_err(|_| damaged("contact", "its id is long"))?;
                continue;
            }
            let entry = Entry::Contact(new.clone());
            match self.put_one(EntryWrite { entry, alone: asked.clone() }).await {
                Ok(PutEntry::Stored(version)) => return Ok(Contact { version, ..new }),
                // Another is at it: whoever it is, there is something to be found now.
                Ok(PutEntry::Conflict) => {}
                Err(StoreError::Unavailable { code, .. }) if code == "TransactionConflict" => {}
                Err(error) => return Err(error),
            }
        }
        let code = "its number kept changing hands".to_owned();
        Err(StoreError::Unavailable { operation: "write", code })
    }

    async fn delete_contact(&self, id: &Name, version: u64) -> Result<PutEntry, StoreError> {
        let deleted = self.delete_entry(Holder::Contact(id.clone()), version).await?;
        if deleted != PutEntry::Conflict || self.contact(id).await?.is_none() {
            self.delete_timeline(id).await?;
        }
        Ok(deleted)
    }

    async fn delete_employee(&self, id: &Name, version: u64) -> Result<PutEntry, StoreError> {
        self.delete_entry(Holder::Employee(id.clone()), version).await
    }

    async fn set_own_number(&self, number: &Personal, own: bool) -> Result<(), StoreError> {
        let key = handle_key(&Handle::Number(number.clone()));
        if own {
            let update = self.client.update_item().table_name(&self.table).set_key(Some(key));
            let update = update.update_expression("SET own = :yes");
            let update = update.expression_attribute_values(":yes", AttributeValue::Bool(true));
            return update.send().await.map(|_| ()).map_err(|error| fault("write", &error));
        }
        let nobody = "attribute_not_exists(contacts) AND attribute_not_exists(employees)";
        let somebody = "attribute_exists(contacts) OR attribute_exists(employees)";
        for _ in 0..ATTEMPTS {
            let delete = self.delete(key.clone(), Some(nobody.into()), None)?;
            if transact(&self.client, vec![delete]).await?.is_ok() {
                return Ok(());
            }
            let update = Update::builder()
                .table_name(&self.table)
                .set_key(Some(key.clone()))
                .update_expression("REMOVE own")
                .condition_expression(somebody)
                .build()
                .map_err(|_| incomplete("write"))?;
            let update = TransactWriteItem::builder().update(update).build();
            if transact(&self.client, vec![update]).await?.is_ok() {
                return Ok(());
            }
        }
        let code = "its holders kept changing".to_owned();
        Err(StoreError::Unavailable { operation: "write", code })
    }

    async fn contacts(
        &self,
        page: Option<EntryCursor>,
        limit: u16,
    ) -> Result<EntryPage<Contact>, StoreError> {
        let start = page.map(|cursor| start_at(cursor, CONTACTS, entry_place)).transpose()?;
        let (keys, next) = self.list(CONTACTS, None, true, start, limit).await?;
        Ok(EntryPage { entries: self.contacts_of(&keys).await?, next })
    }

    async fn employees(
        &self,
        page: Option<EntryCursor>,
        limit: u16,
    ) -> Result<EntryPage<Employee>, StoreError> {
        let of_employee = |place: &str| {
            let id = Name::new("employee", place).ok()?;
            Some(primary_key(entry_pk(&Holder::Employee(id)), ENTRY.to_owned()))
        };
        let start = page.map(|cursor| start_at(cursor, EMPLOYEES, of_employee)).transpose()?;
        let (keys, next) = self.list(EMPLOYEES, None, true, start, limit).await?;
        let holders: Vec<Holder> = keys.iter().filter_map(holder_of).collect();
        let mut found = self.entries(&holders.iter().cloned().collect()).await?;
        let employees = holders.iter().filter_map(|holder| match found.remove(holder) {
            Some(Entry::Employee(employee)) => Some(employee),
            _ => None,
        });
        Ok(EntryPage { entries: employees.collect(), next })
    }

    async fn leads(
        &self,
        status: Option<&str>,
        page: Option<EntryCursor>,
        limit: u16,
    ) -> Result<EntryPage<Contact>, StoreError> {
        let of_lead = |place: &str| {
            let (_, id) = place.rsplit_once('#')?;
            let id = Name::new("contact", id).ok()?;
            Some(primary_key(entry_pk(&Holder::Contact(id)), LEAD.to_owned()))
        };
        let prefix = status.map(|status| format!("{status}#"));
        let start = page.map(|cursor| start_at(cursor, LEAD, of_lead)).transpose()?;
        let (keys, next) = self.list(LEAD, prefix, true, start, limit).await?;
        let mut entries = self.contacts_of(&keys).await?;
        // The index may lag behind what was read just now.
        entries.retain(|lead| {
            lead.kind == ContactKind::Lead
                && status.is_none_or(|status| lead.status.as_deref().unwrap_or_default() == status)
        });
        Ok(EntryPage { entries, next })
    }

    async fn put_activity(&self, activity: &Activity) -> Result<(), StoreError> {
        let pk = entry_pk(&Holder::Contact(activity.contact.clone()));
        let mut item = to_item("activity", activity)?;
        item.insert("pk".into(), text(pk.clone()));
        item.insert("sk".into(), text(activity_sk(&activity.call)));
        item.insert("list".into(), text(timeline(&activity.contact)));
        item.insert("place".into(), text(activity_place(activity.at, &activity.call)));
        let put = Put::builder().table_name(&self.table).set_item(Some(item)).build();
        let exists = ConditionCheck::builder()
            .table_name(&self.table)
            .set_key(Some(primary_key(pk, ENTRY.to_owned())))
            .condition_expression("attribute_exists(pk)")
            .build();
        let incomplete = |_| incomplete("transaction");
        let actions = vec![
            TransactWriteItem::builder().put(put.map_err(incomplete)?).build(),
            TransactWriteItem::builder().condition_check(exists.map_err(incomplete)?).build(),
        ];
        // Where the condition does not hold, the contact is gone, and its timeline with it.
        transact(&self.client, actions).await.map(|_| ())
    }

    async fn delete_activity(&self, contact: &Name, call: &CallKey) -> Result<(), StoreError> {
        let pk = entry_pk(&Holder::Contact(contact.clone()));
        self.delete_item(primary_key(pk, activity_sk(call))).await
    }

    async fn activities(
        &self,
        contact: &Name,
        page: Option<EntryCursor>,
        limit: u16,
    ) -> Result<EntryPage<Activity>, StoreError> {
        let pk = entry_pk(&Holder::Contact(contact.clone()));
        let list = timeline(contact);
        let of_activity = |place: &str| {
            let (_, call) = place.split_once('#')?;
            Some(primary_key(pk.clone(), format!("{ACTIVITY}{call}")))
        };
        let start = page.map(|cursor| start_at(cursor, &list, of_activity)).transpose()?;
        let (keys, next) = self.list(&list, None, false, start, limit).await?;
        let keys = keys.into_iter().map(|mut key| {
            key.retain(|name, _| matches!(name.as_str(), "pk" | "sk"));
            key
        });
        let items = self.batch(keys.collect()).await?.into_iter();
        let activities = items.map(|item| from_item("activity", item));
        let mut entries: Vec<Activity> = activities.collect::<Result<_, _>>()?;
        entries.sort_by(|a, b| (b.at, &b.call).cmp(&(a.at, &a.call)));
        Ok(EntryPage { entries, next })
    }
}
