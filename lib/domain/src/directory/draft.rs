//! What is known about a person from an import, and the entry that it becomes.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::check::{EntryFault, MOST_HOLDERS};
use super::entry::{Contact, ContactKind, Employee, Entry, Extension, Handle, Holder, Origin};
use crate::key::Name;
use crate::private::Personal;

/// The status of a lead that has none.
pub const FIRST_STATUS: &str = "new";

/// The kind of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EntryKind {
    /// A contact.
    Contact(ContactKind),
    /// An employee.
    Employee,
}

/// One person of an import. A field that it leaves out is not erased.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// The kind of entry.
    pub kind: EntryKind,
    /// The entry's id, if it is known or wanted.
    pub id: Option<Name>,
    /// The name.
    pub name: Option<Personal>,
    /// Numbers in E.164.
    pub numbers: BTreeSet<Personal>,
    /// Internal numbers, of employees only.
    pub extensions: BTreeSet<Extension>,
    /// Email addresses.
    pub emails: BTreeSet<Personal>,
    /// Ids in other systems.
    pub external_ids: BTreeSet<Personal>,
    /// A lead's status, of contacts only.
    pub status: Option<String>,
}

/// The holders of handles.
pub type Holders = BTreeMap<Handle, BTreeSet<Holder>>;

/// A write of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryWrite {
    /// The entry, with the version that was read.
    pub entry: Entry,
    /// The handles that no other entry of its kind may hold: none did when they were looked up.
    pub alone: BTreeSet<Handle>,
}

impl EntryWrite {
    /// A write of an entry in place of the stored one, given the holders of its handles. An external id
    /// belongs to one entry; a number may be shared, if it is shared already.
    pub fn new(
        entry: Entry,
        stored: Option<&Entry>,
        holders: &Holders,
    ) -> Result<Self, EntryFault> {
        entry.check()?;
        let (this, known) = (entry.holder(), stored.map(Entry::handles).unwrap_or_default());
        let mut alone = BTreeSet::new();
        for handle in entry.handles().difference(&known) {
            let held = holders.get(handle).into_iter().flatten();
            let others = held.filter(|other| this.is_of_kind(other) && this != **other).count();
            match handle {
                Handle::External(_) if others > 0 => {
                    return Err(EntryFault::taken("external_ids", "hold one of another entry"));
                }
                _ if others >= MOST_HOLDERS => {
                    let problem = "hold one that 100 entries have already";
                    return Err(EntryFault::taken(handle.field(), problem));
                }
                Handle::Email(_) => {}
                _ if others == 0 => drop(alone.insert(handle.clone())),
                _ => {}
            }
        }
        Ok(Self { entry, alone })
    }
}

impl Draft {
    /// An empty draft.
    pub fn new(kind: EntryKind) -> Self {
        Self {
            kind,
            id: None,
            name: None,
            numbers: BTreeSet::new(),
            extensions: BTreeSet::new(),
            emails: BTreeSet::new(),
            external_ids: BTreeSet::new(),
            status: None,
        }
    }

    /// The holder that it is under an id.
    pub fn holder(&self, id: Name) -> Holder {
        match self.kind {
            EntryKind::Contact(_) => Holder::Contact(id),
            EntryKind::Employee => Holder::Employee(id),
        }
    }

    /// Every handle that it mentions.
    pub fn handles(&self) -> BTreeSet<Handle> {
        Handle::all(&self.numbers, &self.extensions, &self.emails, &self.external_ids)
    }

    /// The id of the entry that it is about, given the holders of its handles: its own id; or else the
    /// entry that has its external id; or else the only one that has its number (or extension). `None`:
    /// none is stored yet.
    pub fn whose(&self, holders: &Holders) -> Result<Option<Name>, EntryFault> {
        if let Some(id) = &self.id {
            return Ok(Some(id.clone()));
        }
        let external_ids = self.external_ids.iter().cloned().map(Handle::External);
        match self.only_one(external_ids, holders) {
            Holding::One(id) => return Ok(Some(id)),
            Holding::Several => {
                let problem = "belong to several entries: give the id";
                return Err(EntryFault::taken("external_ids", problem));
            }
            Holding::None => {}
        }
        let numbers = self.numbers.iter().cloned().map(Handle::Number);
        let extensions = self.extensions.iter().cloned().map(Handle::Extension);
        match self.only_one(numbers.chain(extensions), holders) {
            Holding::One(id) => Ok(Some(id)),
            Holding::Several if self.external_ids.is_empty() => {
                let problem = "belong to several entries: give the id or an external id";
                Err(EntryFault::taken("numbers", problem))
            }
            Holding::None
                if self.numbers.is_empty()
                    && self.extensions.is_empty()
                    && self.external_ids.is_empty() =>
            {
                let problem = "is needed, or an external id or a number to find the entry by";
                Err(EntryFault::new("id", problem))
            }
            Holding::Several | Holding::None => Ok(None),
        }
    }

    /// The write that adds it to the stored entry, or makes a new one under a fresh id. `None`: it adds
    /// nothing.
    pub fn write(
        &self,
        stored: Option<&Entry>,
        fresh: &Name,
        holders: &Holders,
        origin: Origin,
        now: Timestamp,
    ) -> Result<Option<EntryWrite>, EntryFault> {
        let entry = match (self.kind, stored) {
            (EntryKind::Contact(kind), Some(Entry::Contact(stored))) => {
                Entry::Contact(self.contact(stored.clone(), kind, now))
            }
            (EntryKind::Contact(kind), _) => {
                let id = self.id.as_ref().unwrap_or(fresh).clone();
                Entry::Contact(self.contact(Contact::new(id, kind, origin, now), kind, now))
            }
            (EntryKind::Employee, Some(Entry::Employee(stored))) => {
                Entry::Employee(self.employee(stored.clone(), now))
            }
            (EntryKind::Employee, _) => {
                let id = self.id.as_ref().unwrap_or(fresh).clone();
                Entry::Employee(self.employee(Employee::new(id, origin, now), now))
            }
        };
        if stored.is_some_and(|stored| stored.says_the_same(&entry)) {
            return Ok(None);
        }
        EntryWrite::new(entry, stored, holders).map(Some)
    }

    fn contact(&self, mut contact: Contact, kind: ContactKind, now: Timestamp) -> Contact {
        contact.kind = kind;
        contact.name = self.name.clone().or(contact.name);
        contact.numbers.extend(self.numbers.iter().cloned());
        contact.emails.extend(self.emails.iter().cloned());
        contact.external_ids.extend(self.external_ids.iter().cloned());
        contact.status = self.status.clone().or(contact.status);
        if kind == ContactKind::Lead && contact.status.is_none() {
            contact.status = Some(FIRST_STATUS.to_owned());
        }
        contact.updated_at = now;
        contact
    }

    fn employee(&self, mut employee: Employee, now: Timestamp) -> Employee {
        employee.name = self.name.clone().or(employee.name);
        employee.numbers.extend(self.numbers.iter().cloned());
        employee.extensions.extend(self.extensions.iter().cloned());
        employee.emails.extend(self.emails.iter().cloned());
        employee.external_ids.extend(self.external_ids.iter().cloned());
        employee.updated_at = now;
        employee
    }

    /// The one entry of its kind that alone holds at least one of these.
    fn only_one(&self, handles: impl Iterator<Item = Handle>, holders: &Holders) -> Holding {
        let (mut alone, mut shared) = (BTreeSet::new(), false);
        for handle in handles {
            let of_kind: Vec<&Name> = holders
                .get(&handle)
                .into_iter()
                .flatten()
                .filter_map(|holder| match self.kind {
                    EntryKind::Contact(_) => holder.contact(),
                    EntryKind::Employee => holder.employee(),
                })
                .collect();
            match of_kind[..] {
                [] => {}
                [one] => drop(alone.insert(one)),
                _ => shared = true,
            }
        }
        match (alone.len(), alone.first(), shared) {
            (1, Some(one), _) => Holding::One((*one).clone()),
            (0, _, false) => Holding::None,
            _ => Holding::Several,
        }
    }
}

enum Holding {
    None,
    One(Name),
    Several,
}
