//! Leases: what only one may do at a time.
//!
//! The partition keys of all leases begin with `lease`: a function's rights can end there. A lease is
//! never deleted: the mark of its last holder is for the next one.

use jiff::Timestamp;

use crate::item::{number, text};
use crate::table::{Change, Condition, Value, Write, Written, number_of};
use crate::{Store, StoreError, keys};

/// What came of acquiring a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lease {
    /// It is acquired. The mark that its last holder left; 0 if there is none.
    Acquired(u64),
    /// Another holds it until then, or until that one releases it.
    Held(Timestamp),
    /// It rests: no holder gets it before then.
    Rests(Timestamp),
}

impl Store {
    /// Acquires a lease until a moment, if at `now` no other holds it and it does not rest. `holder` is
    /// a name that no other holder has.
    pub async fn acquire(
        &self,
        lease: &str,
        holder: &str,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Lease, StoreError> {
        let changes = vec![
            Change::Set("holder", text(holder)),
            Change::Set("held_until", number(until.as_millisecond())),
        ];
        let free = Condition::Any(vec![
            Condition::Absent("held_until"),
            Condition::UpTo("held_until", number(now.as_millisecond())),
            // Acquired by a request whose response was lost, and which is sent again.
            Condition::Is("holder", text(holder)),
        ]);
        let write = Write::update(keys::lease(lease), changes).only_if(free);
        match self.table.write(write).await? {
            Written::Done(item) => {
                Ok(Lease::Acquired(number_of(&item, "mark").unwrap_or_default()))
            }
            Written::Unmet(item) => {
                let held = item.as_ref().and_then(|item| number_of(item, "held_until"));
                let until = Timestamp::from_millisecond(held.unwrap_or_default()).unwrap_or(now);
                let is_held = item.is_some_and(|item| item.contains_key("holder"));
                Ok(if is_held { Lease::Held(until) } else { Lease::Rests(until) })
            }
        }
    }

    /// Releases the lease of `holder`, and leaves a mark for the next one; with `rests`, no holder gets
    /// it before then. A holder that lost it changes nothing.
    pub async fn release(
        &self,
        lease: &str,
        holder: &str,
        mark: u64,
        rests: Option<Timestamp>,
    ) -> Result<(), StoreError> {
        let changes = vec![
            Change::Set("mark", Value::N(mark.to_string())),
            Change::Remove("holder"),
            match rests {
                Some(until) => Change::Set("held_until", number(until.as_millisecond())),
                None => Change::Remove("held_until"),
            },
        ];
        let ours = Condition::Is("holder", text(holder));
        self.table.write(Write::update(keys::lease(lease), changes).only_if(ours)).await?;
        Ok(())
    }
}
