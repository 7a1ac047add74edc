//! Gates on DynamoDB, in the table of calls.
//!
//! | item | pk | sk |
//! | --- | --- | --- |
//! | gate | `destinations` | `<destination>` |
//! | up to when its line is given out | `destination-pace#<destination>` | `pace` |

use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::ReturnValue;
use futures_util::future::try_join_all;
use jiff::Timestamp;
use switchboard_domain::{Deferred, Gate, Name, Pace};

use super::{Gates, PARKED_SHARDS, PutGate, first_of, shard};
use crate::dynamodb::{
    Item, all, damaged, fault, from_item, number, primary_key, text, to_item, version_after,
};
use crate::{Due, DynamoStore, StoreError};

/// The partition of all gates, so that one request reads them.
const GATES: &str = "destinations";
const PACE: &str = "pace";
const SECONDS_PER_DAY: i64 = 86_400;
/// How often a place is tried for against others at the moment when a line begins or ends.
const ROUNDS: usize = 10;

fn pace_key(destination: &Name) -> Item {
    primary_key(format!("destination-pace#{destination}"), PACE.to_owned())
}

impl Gates for DynamoStore {
    async fn gates(&self) -> Result<Vec<Gate>, StoreError> {
        let query = self
            .client()
            .query()
            .table_name(self.table())
            .key_condition_expression("pk = :pk")
            .expression_attribute_values(":pk", text(GATES.to_owned()))
            .consistent_read(true);
        all(query).await?.into_iter().map(|item| from_item("gate", item)).collect()
    }

    async fn gate(&self, destination: &Name) -> Result<Option<Gate>, StoreError> {
        let item = self.item(GATES.to_owned(), destination.to_string()).await?;
        item.map(|item| from_item("gate", item)).transpose()
    }

    async fn put_gate(&self, gate: &Gate) -> Result<PutGate, StoreError> {
        let mut item = to_item("gate", gate)?;
        item.insert("version".into(), version_after(gate.version));
        item.extend(primary_key(GATES.to_owned(), gate.destination.to_string()));
        let is_put = self.put_over(item, gate.version).await?;
        Ok(if is_put { PutGate::Stored(gate.version + 1) } else { PutGate::Conflict })
    }

    async fn reserve(
        &self,
        destination: &Name,
        pace: Pace,
        now: Timestamp,
    ) -> Result<Timestamp, StoreError> {
        let floor = pace.floor(now);
        let expires_at = now.as_second().saturating_add(2 * SECONDS_PER_DAY);
        let update = || {
            self.client()
                .update_item()
                .table_name(self.table())
                .set_key(Some(pace_key(destination)))
                .expression_attribute_values(":floor", number(floor.as_microsecond()))
                .expression_attribute_values(":expires_at", number(expires_at))
        };
        for _ in 0..ROUNDS {
            // Behind those who stand in line; or, where nobody does, at its head. Arithmetic of the
            // table's own, so that nobody need read it first.
            let behind = update()
                .update_expression("SET given = given + :step, expires_at = :expires_at")
                .condition_expression("given > :floor")
                .expression_attribute_values(":step", number(pace.step))
                .return_values(ReturnValue::UpdatedNew)
                .send()
                .await;
            match behind {
                Ok(answer) => {
                    let given = answer.attributes.as_ref().and_then(|new| new.get("given"));
                    let given = given.and_then(|given| given.as_n().ok()?.parse::<i64>().ok());
                    let slot = given.and_then(|given| given.checked_sub(pace.step));
                    let slot = slot.and_then(|slot| Timestamp::from_microsecond(slot).ok());
                    let slot = slot.ok_or_else(|| damaged("line", "it has no end"))?;
                    return Ok(slot.max(now));
                }
                Err(error) if !nobody_there(&error) => return Err(fault("write", &error)),
                Err(_) => {}
            }
            let first = update()
                .update_expression("SET given = :next, expires_at = :expires_at")
                .condition_expression("attribute_not_exists(given) OR given <= :floor")
                .expression_attribute_values(":next", number(pace.after(floor).as_microsecond()))
                .send()
                .await;
            match first {
                Ok(_) => return Ok(now),
                Err(error) if !nobody_there(&error) => return Err(fault("write", &error)),
                Err(_) => {}
            }
        }
        let code = "too many at one line".to_owned();
        Err(StoreError::Unavailable { operation: "write", code })
    }

    async fn deferred(
        &self,
        destination: &Name,
        among: Deferred,
        until: Timestamp,
        limit: usize,
    ) -> Result<Vec<Due>, StoreError> {
        let shards = (0..PARKED_SHARDS).map(|n| shard(destination, among, n));
        let lists = shards.map(|shard| self.oldest_due(shard, until, limit));
        Ok(first_of(try_join_all(lists).await?, limit))
    }
}

fn nobody_there<R>(error: &aws_sdk_dynamodb::error::SdkError<UpdateItemError, R>) -> bool {
    let error = error.as_service_error();
    error.is_some_and(UpdateItemError::is_conditional_check_failed_exception)
}
