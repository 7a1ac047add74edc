//! Every access pattern of the table `directory`.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;

use switchboard_domain::directory::{
    Activity, Contact, Employee, Entry, EntryWrite, Handle, Holder,
};
use switchboard_domain::{CallKey, Name};

use crate::StoreError;

mod dynamodb;
mod memory;
mod upsert;

pub use dynamodb::DynamoDirectory;
pub use memory::MemoryDirectory;
pub use upsert::{Upserted, Upserts, fresh_id};

/// What a directory can do. Every write of an entry is conditional on its version and keeps what the
/// entry is found by in step, in one transaction.
pub trait Directory: Send + Sync {
    /// Who is found under each of these handles, consistently. A handle that nobody holds is left out.
    fn holders(
        &self,
        handles: &BTreeSet<Handle>,
    ) -> impl Future<Output = Result<BTreeMap<Handle, BTreeSet<Holder>>, StoreError>> + Send;

    /// Reads a contact, consistently.
    fn contact(
        &self,
        id: &Name,
    ) -> impl Future<Output = Result<Option<Contact>, StoreError>> + Send;

    /// Reads an employee, consistently.
    fn employee(
        &self,
        id: &Name,
    ) -> impl Future<Output = Result<Option<Employee>, StoreError>> + Send;

    /// Reads contacts and employees, each consistently. One that is not stored is left out.
    fn entries(
        &self,
        holders: &BTreeSet<Holder>,
    ) -> impl Future<Output = Result<BTreeMap<Holder, Entry>, StoreError>> + Send {
        async move {
            let mut found = BTreeMap::new();
            for holder in holders {
                let entry = match holder {
                    Holder::Contact(id) => self.contact(id).await?.map(Entry::Contact),
                    Holder::Employee(id) => self.employee(id).await?.map(Entry::Employee),
                    Holder::Own => None,
                };
                found.extend(entry.map(|entry| (holder.clone(), entry)));
            }
            Ok(found)
        }
    }

    /// Writes entries, each as [`Directory::put_contact`] does, and only if nobody else of its kind
    /// holds what it is to hold alone; what became of each, in their order. Each is written or not
    /// for itself.
    fn put_entries(
        &self,
        writes: &[EntryWrite],
    ) -> impl Future<Output = Result<Vec<PutEntry>, StoreError>> + Send;

    /// Writes a contact as version `version + 1`, if the stored version is `version` (0: if there is none).
    fn put_contact(
        &self,
        contact: &Contact,
    ) -> impl Future<Output = Result<PutEntry, StoreError>> + Send;

    /// Writes an employee as [`Directory::put_contact`] does.
    fn put_employee(
        &self,
        employee: &Employee,
    ) -> impl Future<Output = Result<PutEntry, StoreError>> + Send;

    /// Creates a contact for a number that no contact holds. Of many at once, for the same number,
    /// one is created, and all get it; where contacts hold the number already, they get one of those.
    /// `contact` is a new one that has the number. Where its id is taken by a contact without the
    /// number, as by one that was created for it and has lost it since, it gets another: `<id>-2`,
    /// `<id>-3`, ….
    fn create_contact_once(
        &self,
        number: &switchboard_domain::Personal,
        contact: &Contact,
    ) -> impl Future<Output = Result<Contact, StoreError>> + Send;

    /// Deletes a contact with its handles and its timeline, if the stored version is `version`. Where
    /// none is stored, that is a conflict, and what is left of its timeline is deleted.
    fn delete_contact(
        &self,
        id: &Name,
        version: u64,
    ) -> impl Future<Output = Result<PutEntry, StoreError>> + Send;

    /// Deletes an employee with its handles, if the stored version is `version`.
    fn delete_employee(
        &self,
        id: &Name,
        version: u64,
    ) -> impl Future<Output = Result<PutEntry, StoreError>> + Send;

    /// Says that a number is one of our own, or is no longer.
    fn set_own_number(
        &self,
        number: &switchboard_domain::Personal,
        own: bool,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Contacts, in the order of their ids: a page. It may be empty and not the last.
    fn contacts(
        &self,
        page: Option<EntryCursor>,
        limit: u16,
    ) -> impl Future<Output = Result<EntryPage<Contact>, StoreError>> + Send;

    /// Employees, as [`Directory::contacts`].
    fn employees(
        &self,
        page: Option<EntryCursor>,
        limit: u16,
    ) -> impl Future<Output = Result<EntryPage<Employee>, StoreError>> + Send;

    /// Contacts that are leads, of one status or of all, in the order of status and id: a page. It
    /// may be empty and not the last.
    fn leads(
        &self,
        status: Option<&str>,
        page: Option<EntryCursor>,
        limit: u16,
    ) -> impl Future<Output = Result<EntryPage<Contact>, StoreError>> + Send;

    /// Puts a call on a contact's timeline, in place of what stood there for this call. A contact
    /// that is not stored has no timeline: then nothing is written.
    fn put_activity(
        &self,
        activity: &Activity,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Takes a call off a contact's timeline: it turned out to be another's.
    fn delete_activity(
        &self,
        contact: &Name,
        call: &CallKey,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// A contact's timeline, the newest first: a page.
    fn activities(
        &self,
        contact: &Name,
        page: Option<EntryCursor>,
        limit: u16,
    ) -> impl Future<Output = Result<EntryPage<Activity>, StoreError>> + Send;
}

/// What became of a conditional write of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutEntry {
    /// Written (or deleted). The new version.
    Stored(u64),
    /// Not written: the entry is another by now, or is gone.
    Conflict,
}

/// A page of entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryPage<T> {
    /// The entries.
    pub entries: Vec<T>,
    /// Where the next page begins, if there is one.
    pub next: Option<EntryCursor>,
}

/// Where a page begins: what callers keep as text and hand back, opaque to all but the store that
/// made it. One that was not made here is [`StoreError::Damaged`]: a `cursor` that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryCursor(pub String);
