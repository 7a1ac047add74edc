//! Many drafts into the directory: found, merged and written, each for itself, a hundred at a time.

use std::collections::BTreeSet;

use jiff::Timestamp;
use switchboard_domain::Name;
use switchboard_domain::directory::{Draft, EntryFault, Origin};

use super::Directory;
use crate::item::damaged;
use crate::{PutIf, StoreError};

/// How often a draft is decided anew, because what it was decided on has changed meanwhile.
const ATTEMPTS: usize = 10;

/// What became of a draft.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Upserted {
    /// There is a new entry.
    Created(Name),
    /// An entry was changed.
    Changed(Name),
    /// It says nothing that an entry does not say already.
    Unchanged(Name),
    /// It cannot be written.
    Rejected(EntryFault),
}

/// Writes drafts, or finds out what writing them would do.
pub struct Upserts {
    directory: Directory,
    origin: Origin,
}

impl Upserts {
    /// Into a directory; a dry run writes nothing.
    pub fn new(directory: &Directory, origin: Origin, dry_run: bool) -> Self {
        let directory = if dry_run { directory.dry_run() } else { directory.clone() };
        Self { directory, origin }
    }

    /// What became of each, in their order. Of two about the same person the later one is written
    /// after the earlier one.
    pub async fn put(
        &mut self,
        drafts: &[Draft],
        now: Timestamp,
    ) -> Result<Vec<Upserted>, StoreError> {
        let mut done: Vec<Option<Upserted>> = vec![None; drafts.len()];
        let mut attempts = 0;
        loop {
            let left: Vec<usize> = (0..drafts.len()).filter(|n| done[*n].is_none()).collect();
            if left.is_empty() {
                return Ok(done.into_iter().flatten().collect());
            }
            attempts += 1;
            if attempts > ATTEMPTS + drafts.len() {
                let code = "others kept changing the same entries".to_owned();
                return Err(StoreError::Unavailable { operation: "write", code });
            }
            self.round(drafts, &apart(drafts, &left), &mut done, now).await?;
        }
    }

    /// Drafts of which no two can be about the same entry.
    async fn round(
        &mut self,
        drafts: &[Draft],
        which: &[usize],
        done: &mut [Option<Upserted>],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let handles = which.iter().flat_map(|n| drafts[*n].handles()).collect();
        let holders = self.directory.holders(&handles).await?;
        let mut found = Vec::with_capacity(which.len());
        for n in which {
            match drafts[*n].whose(&holders) {
                Ok(id) => found.push((*n, id)),
                Err(fault) => done[*n] = Some(Upserted::Rejected(fault)),
            }
        }
        let wanted = found.iter().filter_map(|(n, id)| Some(drafts[*n].holder(id.clone()?)));
        let entries = self.directory.entries(&wanted.collect()).await?;
        let (mut writes, mut whose) = (Vec::new(), Vec::new());
        let mut taken = BTreeSet::new();
        for (n, id) in found {
            let draft = &drafts[n];
            let stored = id.and_then(|id| entries.get(&draft.holder(id)));
            // Two may have been found to be about one entry by different handles.
            if let Some(stored) = stored
                && !taken.insert(stored.holder())
            {
                continue;
            }
            match draft.write(stored, &fresh_id()?, &holders, self.origin.clone(), now) {
                Ok(Some(write)) => {
                    writes.push(write);
                    whose.push(n);
                }
                Ok(None) => {
                    done[n] = stored.map(|stored| Upserted::Unchanged(stored.id().clone()));
                }
                Err(fault) => done[n] = Some(Upserted::Rejected(fault)),
            }
        }
        let put = self.directory.put_entries(&writes).await?;
        for ((n, write), put) in whose.into_iter().zip(writes).zip(put) {
            let id = write.entry.id().clone();
            done[n] = match put {
                PutIf::Stored(1) => Some(Upserted::Created(id)),
                PutIf::Stored(_) => Some(Upserted::Changed(id)),
                PutIf::Conflict => None,
            };
        }
        Ok(())
    }
}

/// The first ones that share nothing with an earlier one by which both could be about one entry.
fn apart(drafts: &[Draft], left: &[usize]) -> Vec<usize> {
    let (mut handles, mut ids) = (BTreeSet::new(), BTreeSet::new());
    let mut chosen = Vec::new();
    for n in left {
        let draft = &drafts[*n];
        let id = draft.id.clone().map(|id| draft.holder(id));
        let mine = draft.handles();
        if handles.is_disjoint(&mine) && !id.as_ref().is_some_and(|id| ids.contains(id)) {
            chosen.push(*n);
        }
        // One that waits has those wait that come after it.
        handles.extend(mine);
        ids.extend(id);
    }
    chosen
}

/// A new id, by chance.
pub fn fresh_id() -> Result<Name, StoreError> {
    let id = format!("{:016x}{:08x}", fastrand::u64(..), fastrand::u32(..));
    Name::new("id", &id).map_err(|_| damaged("id", "it is no name"))
}
