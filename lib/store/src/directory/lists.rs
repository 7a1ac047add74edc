//! Lists of the directory, page by page: contacts, employees, leads, and timelines.

use std::collections::HashMap;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use switchboard_domain::directory::{Activity, Contact, ContactKind, Employee, Entry, Holder};
use switchboard_domain::{CallKey, Name};

use super::{CONCURRENT, Directory};
use crate::item::{damaged, from_item, text, to_item};
use crate::keys::{self, LISTS};
use crate::table::{self, BATCH_LIMIT, Condition, Item, Key, Query, Range, Write, text_of};
use crate::{Page, StoreError};

/// A page of entries.
pub type EntryPage<T> = Page<T, EntryCursor>;

/// Where a page begins: text that callers keep and hand back, opaque to all but the store that made it.
/// One of another list, or of none, is [`StoreError::Damaged`]: a `cursor` that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryCursor(pub String);

/// A list, and how the key of an item follows from its place in it.
struct List<'a> {
    name: &'a str,
    key: &'a (dyn Fn(&str) -> Option<Key> + Sync),
}

impl Directory {
    /// A page of the keys in a list.
    async fn list(
        &self,
        list: List<'_>,
        mut query: Query,
        page: Option<EntryCursor>,
        limit: u16,
    ) -> Result<(Vec<Key>, Option<EntryCursor>), StoreError> {
        if let Some(EntryCursor(place)) = page {
            let wrong = || damaged("cursor", "it is not one of this list");
            let mut start = (list.key)(&place).ok_or_else(wrong)?.item();
            let attributes = [("list", list.name), ("place", &place)];
            let attributes = attributes.map(|(name, value)| (name.to_owned(), text(value)));
            start.extend(HashMap::from(attributes));
            query.start = Some(start);
        }
        let limit = usize::from(limit.max(1)).min(BATCH_LIMIT);
        let page = self.table.query(&query.limit(limit)).await?;
        let next = page.next.as_ref().and_then(|next| text_of(next, "place"));
        let next = next.map(|place| EntryCursor(place.to_owned()));
        Ok((page.items.iter().filter_map(Key::of).collect(), next))
    }

    /// A page of the keys in the list of all contacts or of all employees, whose places are their ids.
    async fn all_of(
        &self,
        name: &str,
        holder: fn(Name) -> Holder,
        page: Option<EntryCursor>,
        limit: u16,
    ) -> Result<(Vec<Key>, Option<EntryCursor>), StoreError> {
        let key = |place: &str| Some(keys::entry(&holder(Name::new("id", place).ok()?)));
        self.list(List { name, key: &key }, Query::by(&LISTS, name), page, limit).await
    }

    /// The entries behind keys of a list, in their order, without those that are gone.
    async fn behind(&self, keys: &[Key]) -> Result<Vec<Entry>, StoreError> {
        let holders: Vec<Holder> =
            keys.iter().filter_map(|key| keys::read_entry(&key.pk)).collect();
        let mut found = self.entries(&holders.iter().cloned().collect()).await?;
        Ok(holders.iter().filter_map(|holder| found.remove(holder)).collect())
    }

    async fn contacts_behind(&self, keys: &[Key]) -> Result<Vec<Contact>, StoreError> {
        let contacts = self.behind(keys).await?.into_iter().filter_map(|entry| match entry {
            Entry::Contact(contact) => Some(contact),
            Entry::Employee(_) => None,
        });
        Ok(contacts.collect())
    }

    /// Contacts, in the order of their ids: a page.
    pub async fn contacts(
        &self,
        page: Option<EntryCursor>,
        limit: u16,
    ) -> Result<EntryPage<Contact>, StoreError> {
        let (keys, next) = self.all_of(keys::CONTACTS, Holder::Contact, page, limit).await?;
        Ok(Page { items: self.contacts_behind(&keys).await?, next })
    }

    /// Employees, as [`Directory::contacts`].
    pub async fn employees(
        &self,
        page: Option<EntryCursor>,
        limit: u16,
    ) -> Result<EntryPage<Employee>, StoreError> {
        let (keys, next) = self.all_of(keys::EMPLOYEES, Holder::Employee, page, limit).await?;
        let employees = self.behind(&keys).await?.into_iter().filter_map(|entry| match entry {
            Entry::Employee(employee) => Some(employee),
            Entry::Contact(_) => None,
        });
        Ok(Page { items: employees.collect(), next })
    }

    /// Contacts that are leads, of one status or of all, in the order of status and id: a page.
    pub async fn leads(
        &self,
        status: Option<&str>,
        page: Option<EntryCursor>,
        limit: u16,
    ) -> Result<EntryPage<Contact>, StoreError> {
        let key = |place: &str| {
            let (_, id) = place.rsplit_once('#')?;
            let id = Name::new("contact", id).ok()?;
            Some(keys::lead(&Holder::Contact(id)))
        };
        let list = List { name: keys::LEADS, key: &key };
        let prefix = status.map(|status| Range::Prefix(format!("{status}#")));
        let query = Query::by(&LISTS, list.name).within(prefix.unwrap_or(Range::All));
        let (keys, next) = self.list(list, query, page, limit).await?;
        let mut items = self.contacts_behind(&keys).await?;
        // The index may lag behind what was read just now.
        items.retain(|lead| {
            lead.kind == ContactKind::Lead
                && status.is_none_or(|status| lead.status.as_deref().unwrap_or_default() == status)
        });
        Ok(Page { items, next })
    }

    /// Puts a call on a contact's timeline, in place of what stood there for this call. A contact
    /// that is not stored has no timeline: then nothing is written.
    pub async fn put_activity(&self, activity: &Activity) -> Result<(), StoreError> {
        let Activity { contact, call, at, .. } = activity;
        let key = keys::activity(contact, &call.to_string());
        let mut item = to_item("activity", activity, key)?;
        item.insert("list".into(), text(keys::timeline(contact)));
        item.insert("place".into(), text(keys::activity_place(*at, call)));
        let entry = keys::entry(&Holder::Contact(contact.clone()));
        let writes = vec![Write::put(item), Write::check(entry, Condition::Exists("pk"))];
        // Where the condition does not hold, the contact is gone, and its timeline with it.
        self.table.transact(writes).await.map(|_| ())
    }

    /// Takes a call off a contact's timeline: it turned out to be another's.
    pub async fn delete_activity(&self, contact: &Name, call: &CallKey) -> Result<(), StoreError> {
        let delete = Write::delete(keys::activity(contact, &call.to_string()));
        self.table.write(delete).await.map(|_| ())
    }

    /// A contact's timeline, the newest first: a page.
    pub async fn activities(
        &self,
        contact: &Name,
        page: Option<EntryCursor>,
        limit: u16,
    ) -> Result<EntryPage<Activity>, StoreError> {
        let key = |place: &str| {
            let (_, call) = place.split_once('#')?;
            Some(keys::activity(contact, call))
        };
        let name = keys::timeline(contact);
        let query = Query::by(&LISTS, name.clone()).backward();
        let list = List { name: &name, key: &key };
        let (keys, next) = self.list(list, query, page, limit).await?;
        let items = self.batch(keys).await?.into_iter();
        let activities = items.map(|item| from_item("activity", item));
        let mut items: Vec<Activity> = activities.collect::<Result<_, _>>()?;
        items.sort_by(|a, b| (b.at, &b.call).cmp(&(a.at, &a.call)));
        Ok(Page { items, next })
    }

    pub(super) async fn delete_timeline(&self, id: &Name) -> Result<(), StoreError> {
        let pk = keys::entry_pk(&Holder::Contact(id.clone()));
        let timeline = Query::of(pk).within(Range::Prefix(keys::ACTIVITIES.to_owned()));
        let (items, _): (Vec<Item>, _) = table::all(&*self.table, timeline, usize::MAX).await?;
        stream::iter(items.iter().filter_map(Key::of))
            .map(|key| self.table.write(Write::delete(key)))
            .buffer_unordered(CONCURRENT)
            .try_for_each(async |_| Ok(()))
            .await
    }
}
