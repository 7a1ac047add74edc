//! Writes of entries, and in step with them of what they are found by.

use std::collections::BTreeSet;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use switchboard_domain::directory::check::MOST_HOLDERS;
use switchboard_domain::directory::{Contact, Employee, Entry, EntryWrite, Handle, Holder};
use switchboard_domain::{Name, Personal};

use super::item::{checked, entry_item, lead_item, lead_place, set_of};
use super::{ATTEMPTS, CONCURRENT, Directory};
use crate::item::damaged;
use crate::table::{Change, Condition, TRANSACTION_LIMIT, Write};
use crate::{PutIf, StoreError, keys};

/// What a write of a transaction is about: it says why a condition did not hold.
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

/// The writes that make `new` (or nothing) of `old` (or nothing). `shared`: handles that others hold too,
/// as far as is known.
fn writes_of(
    new: Option<&EntryWrite>,
    old: Option<&Entry>,
    shared: &BTreeSet<Handle>,
) -> Result<Vec<(About, Write)>, StoreError> {
    let Some(holder) = new.map(|new| new.entry.holder()).or_else(|| old.map(Entry::holder)) else {
        return Ok(Vec::new());
    };
    let write = match new {
        Some(new) => {
            let put = Write::put(entry_item(&new.entry)?);
            put.only_if(Condition::version(new.entry.version()))
        }
        None => {
            let version = old.map_or(0, Entry::version);
            Write::delete(keys::entry(&holder)).only_if(Condition::version(version))
        }
    };
    let mut writes = vec![(About::Entry, write)];
    let (was, is) = (old.and_then(lead_place), new.and_then(|new| lead_place(&new.entry)));
    match (was, is) {
        (was, Some(is)) if was.as_ref() != Some(&is) => {
            writes.push((About::Entry, Write::put(lead_item(&holder, &is))));
        }
        (Some(_), None) => writes.push((About::Entry, Write::delete(keys::lead(&holder)))),
        _ => {}
    }
    let old_handles = old.map(Entry::handles).unwrap_or_default();
    let new_handles = new.map(|new| new.entry.handles()).unwrap_or_default();
    for handle in new_handles.difference(&old_handles) {
        let alone = new.is_some_and(|new| new.alone.contains(handle));
        writes.push(hold(handle, &holder, alone));
    }
    for handle in old_handles.difference(&new_handles) {
        writes.push(release(handle, &holder, shared.contains(handle)));
    }
    Ok(writes)
}

fn hold(handle: &Handle, holder: &Holder, alone: bool) -> (About, Write) {
    let (set, this) = set_of(holder);
    let write = Write::update(keys::handle(handle), vec![Change::Add(set, this)]);
    let unheld = Condition::Absent(set);
    if alone {
        return (About::Alone, write.only_if(unheld));
    }
    let few = vec![unheld, Condition::Fewer(set, MOST_HOLDERS)];
    (About::Crowded, write.only_if(Condition::Any(few)))
}

/// The last holder takes the item along: a number must not outlive whose it was.
fn release(handle: &Handle, holder: &Holder, shared: bool) -> (About, Write) {
    let (set, this) = set_of(holder);
    let key = keys::handle(handle);
    let others = ["contacts", "employees", "own"].into_iter().filter(|other| *other != set);
    let write = if shared {
        let others = others.map(Condition::Exists);
        let shared = std::iter::once(Condition::More(set, 1)).chain(others).collect();
        Write::update(key, vec![Change::TakeOut(set, this)]).only_if(Condition::Any(shared))
    } else {
        let others = others.map(Condition::Absent);
        let last = std::iter::once(Condition::Is(set, this)).chain(others).collect();
        Write::delete(key).only_if(Condition::All(last))
    };
    (About::Released(handle.clone(), !shared), write)
}

/// Some entries whose writes fit into one transaction.
#[derive(Default)]
struct Batch<'a> {
    entries: Vec<One<'a>>,
    touched: BTreeSet<Handle>,
    holders: BTreeSet<Holder>,
    writes: usize,
}

struct One<'a> {
    /// Its place among all.
    n: usize,
    write: &'a EntryWrite,
    old: Option<&'a Entry>,
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
    /// Adds an entry, or gives it back: a transaction has at most 100 writes, and no two of one item.
    fn add(&mut self, one: One<'a>) -> Result<(), One<'a>> {
        let (changed, holder) = (one.changed(), one.write.entry.holder());
        let fits = self.writes + changed.len() + 2 <= TRANSACTION_LIMIT
            && self.touched.is_disjoint(&changed)
            && !self.holders.contains(&holder);
        if !fits && !self.entries.is_empty() {
            return Err(one);
        }
        self.writes += changed.len() + 2;
        self.touched.extend(changed);
        self.holders.insert(holder);
        self.entries.push(one);
        Ok(())
    }
}

impl Directory {
    /// Makes `new` of what was read, and decides anew where only the holders of a handle were others
    /// than expected.
    async fn put(
        &self,
        new: Option<&EntryWrite>,
        old: Option<&Entry>,
    ) -> Result<PutIf, StoreError> {
        let version = new.map(|new| new.entry.version() + 1);
        let stored = PutIf::Stored(version.or_else(|| old.map(Entry::version)).unwrap_or(0));
        let mut shared = BTreeSet::new();
        for _ in 0..ATTEMPTS {
            let (about, writes): (Vec<_>, Vec<_>) =
                writes_of(new, old, &shared)?.into_iter().unzip();
            let unmet = self.table.transact(writes).await?;
            if unmet.is_empty() {
                return Ok(stored);
            }
            for about in unmet.iter().filter_map(|unmet| about.get(unmet.write)) {
                match about {
                    About::Entry | About::Alone => return Ok(PutIf::Conflict),
                    About::Crowded => {
                        let code = "100 entries have one of its handles already".to_owned();
                        return Err(StoreError::Refused { operation: "write", code });
                    }
                    About::Released(handle, true) => drop(shared.insert(handle.clone())),
                    About::Released(handle, false) => drop(shared.remove(handle)),
                }
            }
        }
        Err(StoreError::Unavailable {
            operation: "write",
            code: "its handles kept changing".into(),
        })
    }

    /// Writes one entry, from what is read now.
    async fn put_one(&self, write: EntryWrite) -> Result<PutIf, StoreError> {
        checked(&write.entry)?;
        let old = match write.entry.version() {
            0 => None,
            _ => self.entry(write.entry.holder()).await?,
        };
        if old.as_ref().map_or(0, Entry::version) != write.entry.version() {
            return Ok(PutIf::Conflict);
        }
        self.put(Some(&write), old.as_ref()).await
    }

    /// Writes all in one transaction or, if one of them is in the way of the others, each by itself.
    async fn put_batch(&self, batch: Batch<'_>) -> Result<Vec<(usize, PutIf)>, StoreError> {
        if batch.entries.len() > 1 {
            let nothing_shared = BTreeSet::new();
            let mut writes = Vec::with_capacity(batch.writes);
            for one in &batch.entries {
                let of_one = writes_of(Some(one.write), one.old, &nothing_shared)?;
                writes.extend(of_one.into_iter().map(|(_, write)| write));
            }
            if self.table.transact(writes).await?.is_empty() {
                let stored = |one: &One<'_>| PutIf::Stored(one.write.entry.version() + 1);
                return Ok(batch.entries.iter().map(|one| (one.n, stored(one))).collect());
            }
        }
        let mut done = Vec::with_capacity(batch.entries.len());
        for one in &batch.entries {
            done.push((one.n, self.put(Some(one.write), one.old).await?));
        }
        Ok(done)
    }

    /// Writes entries, each as [`Directory::put_contact`] does, and only if no other of its kind holds
    /// what it is to hold alone; what became of each, in their order. Each is written or not for itself.
    pub async fn put_entries(&self, writes: &[EntryWrite]) -> Result<Vec<PutIf>, StoreError> {
        for write in writes {
            checked(&write.entry)?;
        }
        let known = writes.iter().filter(|write| write.entry.version() > 0);
        let known = self.entries(&known.map(|write| write.entry.holder()).collect()).await?;
        let mut done = vec![PutIf::Conflict; writes.len()];
        let mut batches: Vec<Batch<'_>> = vec![Batch::default()];
        for (n, write) in writes.iter().enumerate() {
            let old = known.get(&write.entry.holder());
            if old.map_or(0, Entry::version) != write.entry.version() {
                continue;
            }
            let mut one = Some(One { n, write, old });
            while let Some(next) = one.take() {
                if let Some(Err(back)) = batches.last_mut().map(|last| last.add(next)) {
                    batches.push(Batch::default());
                    one = Some(back);
                }
            }
        }
        let writing: Vec<_> = batches.into_iter().map(|batch| self.put_batch(batch)).collect();
        let written =
            stream::iter(writing).buffer_unordered(CONCURRENT).try_collect::<Vec<_>>().await?;
        for (n, put) in written.into_iter().flatten() {
            if let Some(place) = done.get_mut(n) {
                *place = put;
            }
        }
        Ok(done)
    }

    /// Writes a contact as version `version + 1`, if the stored version is `version` (0: if there is none).
    pub async fn put_contact(&self, contact: &Contact) -> Result<PutIf, StoreError> {
        let entry = Entry::Contact(contact.clone());
        self.put_one(EntryWrite { entry, alone: BTreeSet::new() }).await
    }

    /// Writes a contact as [`Directory::put_contact`] does, in place of the one that was read: it is not
    /// read again.
    pub async fn change_contact(&self, old: &Contact, new: &Contact) -> Result<PutIf, StoreError> {
        let write = EntryWrite { entry: Entry::Contact(new.clone()), alone: BTreeSet::new() };
        checked(&write.entry)?;
        self.put(Some(&write), Some(&Entry::Contact(old.clone()))).await
    }

    /// Writes an employee as [`Directory::put_contact`] does.
    pub async fn put_employee(&self, employee: &Employee) -> Result<PutIf, StoreError> {
        let entry = Entry::Employee(employee.clone());
        self.put_one(EntryWrite { entry, alone: BTreeSet::new() }).await
    }

    /// Creates a contact for a number that no contact holds. Of many at once, for the same number,
    /// one is created, and all get it; where contacts hold the number already, they get one of those.
    /// `contact` is a new one that has the number. Where its id is taken by a contact without the
    /// number, as by one that was created for it and has lost it since, it gets another: `<id>-2`,
    /// `<id>-3`, ….
    pub async fn create_contact_once(
        &self,
        number: &Personal,
        contact: &Contact,
    ) -> Result<Contact, StoreError> {
        let handle = Handle::Number(number.clone());
        let wanted = BTreeSet::from([handle.clone()]);
        let mut new = Contact { version: 0, ..contact.clone() };
        let mut taken = 1;
        for _ in 0..ATTEMPTS {
            let held = self.holders(&wanted).await?.remove(&handle).unwrap_or_default();
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
            match self.put_one(EntryWrite { entry, alone: wanted.clone() }).await {
                Ok(PutIf::Stored(version)) => return Ok(Contact { version, ..new }),
                // Another one creates it: now there is something to be found.
                Ok(PutIf::Conflict) => {}
                Err(StoreError::Unavailable { code, .. }) if code == "TransactionConflict" => {}
                Err(error) => return Err(error),
            }
        }
        let code = "its number kept changing hands".to_owned();
        Err(StoreError::Unavailable { operation: "write", code })
    }

    async fn delete_entry(&self, holder: Holder, version: u64) -> Result<PutIf, StoreError> {
        match self.entry(holder).await? {
            Some(old) if old.version() == version => self.put(None, Some(&old)).await,
            _ => Ok(PutIf::Conflict),
        }
    }

    /// Deletes a contact with its handles and its timeline, if the stored version is `version`. Where
    /// none is stored, that is a conflict, and what is left of its timeline is deleted.
    pub async fn delete_contact(&self, id: &Name, version: u64) -> Result<PutIf, StoreError> {
        let deleted = self.delete_entry(Holder::Contact(id.clone()), version).await?;
        if deleted != PutIf::Conflict || self.contact(id).await?.is_none() {
            self.delete_timeline(id).await?;
        }
        Ok(deleted)
    }

    /// Deletes an employee with its handles, if the stored version is `version`.
    pub async fn delete_employee(&self, id: &Name, version: u64) -> Result<PutIf, StoreError> {
        self.delete_entry(Holder::Employee(id.clone()), version).await
    }
}

fn contact_id(holder: Holder) -> Option<Name> {
    match holder {
        Holder::Contact(id) => Some(id),
        Holder::Employee(_) | Holder::Own => None,
    }
}
