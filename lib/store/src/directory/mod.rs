//! Every access pattern of the table `directory`.

mod dynamodb;
mod memory;

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;

use switchboard_domain::directory::{Activity, Contact, Employee, Handle, Holder};
use switchboard_domain::{CallKey, Name};

use crate::StoreError;

pub use dynamodb::DynamoDirectory;
pub use memory::MemoryDirectory;

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
    /// one is created, and all get it; where a contact holds the number already, they get that one.
    fn create_contact_once(
        &self,
        number: &switchboard_domain::Personal,
        contact: &Contact,
    ) -> impl Future<Output = Result<Contact, StoreError>> + Send;

    /// Deletes a contact with its handles and its timeline, if the stored version is `version`.
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

    /// Puts a call on a contact's timeline, in place of what stood there for this call.
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
/// made it. One that was not made here is answered with a first page or an error, never with a panic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryCursor(pub String);
