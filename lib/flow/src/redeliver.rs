//! Sending a delivery once more on purpose, or a first time: for the command line and the API.

#[cfg(feature = "workers")]
pub mod range;

use jiff::Timestamp;
use switchboard_domain::{CallKey, CallRecord, Delivery, DeliveryId, Event, Work};
use switchboard_store::{Put, PutIf, Store, StoreError};

/// How often it is tried against a worker that is at the same delivery.
const ROUNDS: usize = 5;

/// What came of it.
#[derive(Clone, Debug, PartialEq)]
pub enum Again {
    /// It is stored as due, under another idempotency key.
    Due(Box<Delivery>),
    /// The call has no such delivery.
    Unknown,
    /// A worker is at it.
    Busy,
    /// The call has not ended, or its deliveries are not planned yet.
    TooEarly,
}

/// Makes a delivery due anew, with the call as it is now. `nonce` tells this time from every other. While a
/// worker has it, it stays as it is: its request may be under way, and another would be a second event.
///
/// With `creates`, for a configured destination, a `call.completed` that was never planned is created: a
/// filter, or a destination configured later, kept it back.
///
/// Nothing is sent: a job is to be queued, or the sweep finds it within a minute.
pub async fn redeliver(
    store: &Store,
    key: &CallKey,
    id: &DeliveryId,
    creates: bool,
    nonce: &str,
    now: Timestamp,
) -> Result<Again, StoreError> {
    for _ in 0..ROUNDS {
        let again = match store.delivery(key, id).await? {
            Some(delivery) if delivery.is_leased(now) => return Ok(Again::Busy),
            Some(delivery) => {
                let mut again = delivery.again(nonce, now);
                match store.put_delivery(&again, None).await? {
                    PutIf::Stored(version) => {
                        again.version = version;
                        Some(again)
                    }
                    PutIf::Conflict => None,
                }
            }
            None if creates && id.event == Event::Completed => {
                let Some(record) = store.call(key).await? else { return Ok(Again::Unknown) };
                if !is_ready(&record) {
                    return Ok(Again::TooEarly);
                }
                create(store, record, id, nonce, now).await?
            }
            None => return Ok(Again::Unknown),
        };
        if let Some(again) = again {
            return Ok(Again::Due(Box::new(again)));
        }
    }
    Ok(Again::Busy)
}

/// Whether a call's deliveries were planned: what is not among them was kept back.
pub fn is_ready(record: &CallRecord) -> bool {
    record.call.has_ended() && !record.owed.contains_key(&Work::Enrich)
}

/// Creates a delivery. `None`: another writer changed the call.
async fn create(
    store: &Store,
    mut record: CallRecord,
    id: &DeliveryId,
    nonce: &str,
    now: Timestamp,
) -> Result<Option<Delivery>, StoreError> {
    let created = Delivery::planned(record.key.clone(), id.clone(), now).again(nonce, now);
    let planned = record.as_planned();
    record.planned.get_or_insert(planned);
    record.deliveries.insert(id.clone());
    let new = std::slice::from_ref(&created);
    Ok(match store.put_call_and_deliveries(&record, new, &[]).await? {
        Put::Stored(_) => Some(Delivery { version: 1, ..created }),
        Put::Conflict(_) => None,
    })
}
