//! The in-memory twin of the directory: the same conditions, no table.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use switchboard_domain::directory::{
    Activity, Contact, ContactKind, Employee, Entry as AnyEntry, EntryFault, EntryWrite, Handle,
    Holder,
};
use switchboard_domain::{CallKey, KeyError, Name, Personal};

use super::{Directory, EntryCursor, EntryPage, PutEntry};
use crate::StoreError;

/// A directory in memory. Clones share it.
#[derive(Clone, Default)]
pub struct MemoryDirectory(Arc<Mutex<Tables>>);

#[derive(Default)]
struct Tables {
    contacts: BTreeMap<Name, Contact>,
    employees: BTreeMap<Name, Employee>,
    own: BTreeSet<Personal>,
    activities: BTreeMap<(Name, CallKey), Activity>,
}

impl MemoryDirectory {
    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every contact, in the order of their ids.
    pub fn all_contacts(&self) -> Vec<Contact> {
        self.tables().contacts.values().cloned().collect()
    }

    /// Every activity, by contact and call.
    pub fn all_activities(&self) -> Vec<Activity> {
        self.tables().activities.values().cloned().collect()
    }
}

impl Tables {
    fn holders(&self, handle: &Handle) -> BTreeSet<Holder> {
        let contacts = self.contacts.values().filter(|one| one.handles().contains(handle));
        let employees = self.employees.values().filter(|one| one.handles().contains(handle));
        let own = matches!(handle, Handle::Number(number) if self.own.contains(number));
        contacts
            .map(|one| Holder::Contact(one.id.clone()))
            .chain(employees.map(|one| Holder::Employee(one.id.clone())))
            .chain(own.then_some(Holder::Own))
            .collect()
    }
}

/// An entry, by what both kinds have in common.
trait Entry: Clone {
    fn id(&self) -> &Name;
    fn version(&self) -> u64;
    fn with_version(self, version: u64) -> Self;
}

impl Entry for Contact {
    fn id(&self) -> &Name {
        &self.id
    }
    fn version(&self) -> u64 {
        self.version
    }
    fn with_version(self, version: u64) -> Self {
        Self { version, ..self }
    }
}

impl Entry for Employee {
    fn id(&self) -> &Name {
        &self.id
    }
    fn version(&self) -> u64 {
        self.version
    }
    fn with_version(self, version: u64) -> Self {
        Self { version, ..self }
    }
}

fn put<T: Entry>(entries: &mut BTreeMap<Name, T>, entry: &T) -> PutEntry {
    let stored = entries.get(entry.id()).map_or(0, Entry::version);
    if stored != entry.version() {
        return PutEntry::Conflict;
    }
    let version = stored + 1;
    entries.insert(entry.id().clone(), entry.clone().with_version(version));
    PutEntry::Stored(version)
}

fn delete<T: Entry>(entries: &mut BTreeMap<Name, T>, id: &Name, version: u64) -> PutEntry {
    if entries.get(id).is_none_or(|stored| stored.version() != version) {
        return PutEntry::Conflict;
    }
    entries.remove(id);
    PutEntry::Stored(version)
}

fn refused(fault: EntryFault) -> StoreError {
    StoreError::Refused { operation: "write", code: fault.to_string() }
}

/// What a cursor of this store begins with.
const AFTER: &str = "after:";

/// A page of what comes in order, each with its place, behind the cursor.
fn paged<T>(
    ordered: impl Iterator<Item = (String, T)>,
    page: Option<EntryCursor>,
    limit: u16,
) -> Result<EntryPage<T>, StoreError> {
    let damaged = || StoreError::Damaged { what: "cursor", problem: "it was not made here".into() };
    let last = page.as_ref().map(|page| page.0.strip_prefix(AFTER).ok_or_else(damaged));
    let last = last.transpose()?;
    let behind = |place: &String| last.is_none_or(|last| place.as_str() > last);
    let mut rest = ordered.filter(|(place, _)| behind(place)).peekable();
    let (mut entries, mut end) = (Vec::new(), None);
    while entries.len() < usize::from(limit.max(1)) {
        let Some((place, entry)) = rest.next() else { break };
        entries.push(entry);
        end = Some(EntryCursor(format!("{AFTER}{place}")));
    }
    let next = end.filter(|_| rest.peek().is_some());
    Ok(EntryPage { entries, next })
}

impl Directory for MemoryDirectory {
    async fn holders(
        &self,
        handles: &BTreeSet<Handle>,
    ) -> Result<BTreeMap<Handle, BTreeSet<Holder>>, StoreError> {
        let tables = self.tables();
        let found = handles.iter().map(|handle| (handle.clone(), tables.holders(handle)));
        Ok(found.filter(|(_, holders)| !holders.is_empty()).collect())
    }

    async fn contact(&self, id: &Name) -> Result<Option<Contact>, StoreError> {
        Ok(self.tables().contacts.get(id).cloned())
    }

    async fn employee(&self, id: &Name) -> Result<Option<Employee>, StoreError> {
        Ok(self.tables().employees.get(id).cloned())
    }

    async fn put_entries(&self, writes: &[EntryWrite]) -> Result<Vec<PutEntry>, StoreError> {
        // Whether somebody else holds it is looked up and the entry written under one lock, as it is
        // one transaction on DynamoDB.
        let one = |EntryWrite { entry, alone }: &EntryWrite| {
            let mut tables = self.tables();
            let this = entry.holder();
            let is_another = |other: &Holder| this.is_of_kind(other) && this != *other;
            if alone.iter().any(|handle| tables.holders(handle).iter().any(is_another)) {
                return Ok(PutEntry::Conflict);
            }
            match entry {
                AnyEntry::Contact(contact) => {
                    contact.check().map_err(refused)?;
                    Ok(put(&mut tables.contacts, contact))
                }
                AnyEntry::Employee(employee) => {
                    employee.check().map_err(refused)?;
                    Ok(put(&mut tables.employees, employee))
                }
            }
        };
        writes.iter().map(one).collect()
    }

    async fn put_contact(&self, contact: &Contact) -> Result<PutEntry, StoreError> {
        contact.check().map_err(refused)?;
        Ok(put(&mut self.tables().contacts, contact))
    }

    async fn put_employee(&self, employee: &Employee) -> Result<PutEntry, StoreError> {
        employee.check().map_err(refused)?;
        Ok(put(&mut self.tables().employees, employee))
    }

    async fn create_contact_once(
        &self,
        number: &Personal,
        contact: &Contact,
    ) -> Result<Contact, StoreError> {
        let mut tables = self.tables();
        let holders = tables.holders(&Handle::Number(number.clone()));
        let first = holders.iter().find_map(|holder| match holder {
            Holder::Contact(id) => tables.contacts.get(id),
            Holder::Employee(_) | Holder::Own => None,
        });
        if let Some(first) = first {
            return Ok(first.clone());
        }
        // A contact that was created for this number, and has lost it since, keeps its id.
        let mut id = contact.id.clone();
        let mut n = 1;
        while tables.contacts.contains_key(&id) {
            n += 1;
            let damaged = |error: KeyError| StoreError::Damaged {
                what: "contact",
                problem: error.to_string(),
            };
            id = Name::new("contact", &format!("{}-{n}", contact.id)).map_err(damaged)?;
        }
        let created = Contact { id, version: 1, ..contact.clone() };
        tables.contacts.insert(created.id.clone(), created.clone());
        Ok(created)
    }

    async fn delete_contact(&self, id: &Name, version: u64) -> Result<PutEntry, StoreError> {
        let mut tables = self.tables();
        let deleted = delete(&mut tables.contacts, id, version);
        if !tables.contacts.contains_key(id) {
            tables.activities.retain(|(contact, _), _| contact != id);
        }
        Ok(deleted)
    }

    async fn delete_employee(&self, id: &Name, version: u64) -> Result<PutEntry, StoreError> {
        Ok(delete(&mut self.tables().employees, id, version))
    }

    async fn set_own_number(&self, number: &Personal, own: bool) -> Result<(), StoreError> {
        let mut tables = self.tables();
        if own {
            tables.own.insert(number.clone());
        } else {
            tables.own.remove(number);
        }
        Ok(())
    }

    async fn contacts(
        &self,
        page: Option<EntryCursor>,
        limit: u16,
    ) -> Result<EntryPage<Contact>, StoreError> {
        let tables = self.tables();
        let ordered = tables.contacts.values().map(|one| (one.id.to_string(), one.clone()));
        paged(ordered, page, limit)
    }

    async fn employees(
        &self,
        page: Option<EntryCursor>,
        limit: u16,
    ) -> Result<EntryPage<Employee>, StoreError> {
        let tables = self.tables();
        let ordered = tables.employees.values().map(|one| (one.id.to_string(), one.clone()));
        paged(ordered, page, limit)
    }

    async fn leads(
        &self,
        status: Option<&str>,
        page: Option<EntryCursor>,
        limit: u16,
    ) -> Result<EntryPage<Contact>, StoreError> {
        let tables = self.tables();
        let is_wanted = |one: &&Contact| {
            one.kind == ContactKind::Lead && (status.is_none() || one.status.as_deref() == status)
        };
        let place =
            |one: &Contact| format!("{}\u{0}{}", one.status.as_deref().unwrap_or_default(), one.id);
        let leads = tables.contacts.values().filter(is_wanted);
        let mut ordered: Vec<(String, Contact)> =
            leads.map(|one| (place(one), one.clone())).collect();
        ordered.sort_by(|one, other| one.0.cmp(&other.0));
        paged(ordered.into_iter(), page, limit)
    }

    async fn put_activity(&self, activity: &Activity) -> Result<(), StoreError> {
        let mut tables = self.tables();
        // Who is not there has no timeline.
        if tables.contacts.contains_key(&activity.contact) {
            let at = (activity.contact.clone(), activity.call.clone());
            tables.activities.insert(at, activity.clone());
        }
        Ok(())
    }

    async fn delete_activity(&self, contact: &Name, call: &CallKey) -> Result<(), StoreError> {
        self.tables().activities.remove(&(contact.clone(), call.clone()));
        Ok(())
    }

    async fn activities(
        &self,
        contact: &Name,
        page: Option<EntryCursor>,
        limit: u16,
    ) -> Result<EntryPage<Activity>, StoreError> {
        let tables = self.tables();
        let of_contact = tables.activities.values().filter(|one| one.contact == *contact);
        // The newest first: a place rises where the time falls.
        let place = |one: &Activity| {
            let age = i64::MAX.saturating_sub(one.at.as_millisecond());
            format!("{age:020}#{}", one.call)
        };
        let mut ordered: Vec<(String, Activity)> =
            of_contact.map(|one| (place(one), one.clone())).collect();
        ordered.sort_by(|one, other| one.0.cmp(&other.0));
        paged(ordered.into_iter(), page, limit)
    }
}
