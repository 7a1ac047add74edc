//! Sending a delivery once more on purpose: for the command line and the API.

use jiff::Timestamp;
use switchboard_domain::{CallKey, Delivery, DeliveryId};
use switchboard_store::{PutIf, Store, StoreError};

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
}

/// Makes a delivery due anew, with the call as it is now. `nonce` tells this time from every other.
/// Nothing is sent: a job is to be queued, or the sweep finds it within a minute.
pub async fn redeliver(
    store: &Store,
    key: &CallKey,
    id: &DeliveryId,
    nonce: &str,
    now: Timestamp,
) -> Result<Again, StoreError> {
    for _ in 0..ROUNDS {
        let Some(delivery) = store.delivery(key, id).await? else { return Ok(Again::Unknown) };
        let mut again = delivery.again(nonce, now);
        if let PutIf::Stored(version) = store.put_delivery(&again, None).await? {
            again.version = version;
            return Ok(Again::Due(Box::new(again)));
        }
    }
    Ok(Again::Busy)
}
