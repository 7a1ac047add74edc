//! Leases in the table of calls.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{
    AttributeValue, ReturnValue, ReturnValuesOnConditionCheckFailure as OnFailure,
};
use jiff::Timestamp;

use super::{Leases, Take};
use crate::StoreError;
use crate::dynamodb::{Item, damaged, fault, number, primary_key, text};

/// The sort key of a lease.
const LEASE: &str = "lease";

/// Leases in the table of calls.
#[derive(Clone)]
pub struct DynamoLeases {
    client: Client,
    table: String,
}

impl DynamoLeases {
    /// Over a client and the name of the table of calls.
    pub fn new(client: Client, table: String) -> Self {
        Self { client, table }
    }
}

impl Leases for DynamoLeases {
    async fn take(
        &self,
        lease: &str,
        holder: &str,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Take, StoreError> {
        let sent = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(key(lease)))
            .update_expression("SET holder = :holder, held_until = :until")
            // Ingested by a request whose answer was lost, and which is made again, it is ours.
            .condition_expression(
                "attribute_not_exists(held_until) OR held_until <= :now OR holder = :holder",
            )
            .expression_attribute_values(":holder", text(holder.to_owned()))
            .expression_attribute_values(":now", number(now.as_millisecond()))
            .expression_attribute_values(":until", number(until.as_millisecond()))
            .return_values(ReturnValue::AllNew)
            .return_values_on_condition_check_failure(OnFailure::AllOld)
            .send()
            .await;
        let error = match sent {
            Ok(answer) => {
                let item = answer.attributes.unwrap_or_default();
                return Ok(Take::Ingested(read(&item, "mark")?.unwrap_or_default()));
            }
            Err(error) => error,
        };
        let Some(UpdateItemError::ConditionalCheckFailedException(failed)) =
            error.as_service_error()
        else {
            return Err(fault("write", &error));
        };
        let item = failed.item().cloned().unwrap_or_default();
        let until = read::<i64>(&item, "held_until")?.unwrap_or_default();
        let until = Timestamp::from_millisecond(until).unwrap_or(now);
        let has_holder = item.contains_key("holder");
        Ok(if has_holder { Take::Held(until) } else { Take::Rests(until) })
    }

    async fn give_back(
        &self,
        lease: &str,
        holder: &str,
        mark: u64,
        rests: Option<Timestamp>,
    ) -> Result<(), StoreError> {
        let update = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(key(lease)))
            .condition_expression("holder = :holder")
            .expression_attribute_values(":holder", text(holder.to_owned()))
            .expression_attribute_values(":mark", AttributeValue::N(mark.to_string()));
        let update = match rests {
            Some(until) => update
                .update_expression("SET mark = :mark, held_until = :until REMOVE holder")
                .expression_attribute_values(":until", number(until.as_millisecond())),
            None => update.update_expression("SET mark = :mark REMOVE holder, held_until"),
        };
        match update.send().await {
            Ok(_) => Ok(()),
            Err(error) => match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(_)) => Ok(()),
                _ => Err(fault("write", &error)),
            },
        }
    }
}

fn key(lease: &str) -> Item {
    primary_key(format!("lease#{lease}"), LEASE.to_owned())
}

fn read<T: std::str::FromStr>(item: &Item, name: &str) -> Result<Option<T>, StoreError> {
    let Some(value) = item.get(name) else { return Ok(None) };
    let number = value.as_n().ok().and_then(|text| text.parse().ok());
    number.map(Some).ok_or_else(|| damaged("lease", "it has no number where one should be"))
}
