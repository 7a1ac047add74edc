//! The loops that read, decide, and write on condition of the version read.

use std::ops::ControlFlow;

use jiff::{SignedDuration, Timestamp};
use switchboard_domain::directory::Contact;
use switchboard_domain::time::later;
use switchboard_domain::{Analysis, CallKey, CallRecord, Delivery, DeliveryId, Work};
use switchboard_store::{Directory, Put, PutIf, Store, StoreError};
use tracing::error;

/// How often a write is tried against other writers of one item. In each round one of them succeeds.
const ROUNDS: usize = 60;
/// A message may arrive a little early by the clock of the function that set the time.
pub const SLACK: SignedDuration = SignedDuration::from_secs(2);

/// What is written in the transaction that writes the call.
pub enum Also {
    /// Nothing: the call alone, with one put.
    Nothing,
    /// Deliveries to create. The write fails as a whole if one exists, or if one of `untried` was
    /// tried meanwhile.
    Deliveries {
        /// The new ones.
        planned: Vec<Delivery>,
        /// Existing ones that the plan takes to be untried.
        untried: Vec<DeliveryId>,
    },
    /// An analysis with its tasks.
    Analysis(Box<Analysis>),
}

impl Also {
    /// The deliveries that were created.
    pub fn planned(self) -> Vec<Delivery> {
        match self {
            Self::Deliveries { planned, .. } => planned,
            Self::Nothing | Self::Analysis(_) => Vec::new(),
        }
    }
}

/// Writes a call as `decide` changes it, over the version that `decide` saw: where another writer was
/// first, `decide` runs again on what that one stored. `None` leaves the call as it is stored.
///
/// Returns the call as it is stored, and what `decide` returned with the change that was written.
pub async fn update<T, E: From<StoreError>>(
    store: &Store,
    mut record: CallRecord,
    mut decide: impl AsyncFnMut(&mut CallRecord) -> Result<Option<(Also, T)>, E>,
) -> Result<(CallRecord, Option<(Also, T)>), E> {
    for _ in 0..ROUNDS {
        let mut next = record.clone();
        let Some((also, value)) = decide(&mut next).await? else { return Ok((record, None)) };
        let put = match &also {
            Also::Nothing => store.put_call(&next).await?,
            Also::Deliveries { planned, untried } => {
                store.put_call_and_deliveries(&next, planned, untried).await?
            }
            Also::Analysis(analysis) => store.put_call_and_analysis(&next, analysis).await?,
        };
        match put {
            Put::Stored(version) => {
                next.version = version;
                return Ok((next, Some((also, value))));
            }
            Put::Conflict(stored) => record = *stored,
        }
    }
    Err(contended("call").into())
}

/// Writes a contact as `decide` changes it, over the version that `decide` saw. `None` from `decide` leaves
/// the contact as it is stored. Returns whether it is still stored.
pub async fn update_contact(
    directory: &Directory,
    mut contact: Contact,
    decide: impl Fn(&Contact) -> Option<Contact>,
) -> Result<bool, StoreError> {
    rounds("contact", async || {
        let Some(next) = decide(&contact) else { return Ok(ControlFlow::Break(true)) };
        if directory.change_contact(&contact, &next).await? != PutIf::Conflict {
            return Ok(ControlFlow::Break(true));
        }
        match directory.contact(&contact.id).await? {
            Some(stored) => contact = stored,
            None => return Ok(ControlFlow::Break(false)),
        }
        Ok(ControlFlow::Continue(()))
    })
    .await
}

/// Runs `round` until it ends in `Break`: `Continue` means that another writer was first. `item` is what
/// they write.
pub async fn rounds<T, E: From<StoreError>>(
    item: &'static str,
    mut round: impl AsyncFnMut() -> Result<ControlFlow<T>, E>,
) -> Result<T, E> {
    for _ in 0..ROUNDS {
        if let ControlFlow::Break(done) = round().await? {
            return Ok(done);
        }
    }
    Err(contended(item).into())
}

/// In every round another writer was first.
fn contended(item: &str) -> StoreError {
    let code = format!("too many writers of one {item}");
    StoreError::Unavailable { operation: "write", code }
}

/// Reads a call for a job, which may point to one that retention has deleted.
pub async fn call(store: &Store, key: &CallKey) -> Result<Option<CallRecord>, StoreError> {
    let record = store.call(key).await?;
    if record.is_none() {
        error!("job points to a call that is not stored");
    }
    Ok(record)
}

/// Whether a call owes some work by now.
pub fn owes(record: &CallRecord, work: Work, now: Timestamp) -> bool {
    record.owed.get(&work).is_some_and(|due_at| is_due(*due_at, now))
}

/// Whether the time of some work has come.
pub fn is_due(due_at: Timestamp, now: Timestamp) -> bool {
    due_at <= later(now, SLACK)
}
