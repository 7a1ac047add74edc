//! DialRequests in the table of calls.

use std::collections::HashMap;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValuesOnConditionCheckFailure as OnFailure};
use jiff::Timestamp;
use switchboard_domain::Digest;
use switchboard_domain::dial_request::DialRequest;

use super::{DialRequests, PutDialRequest, RateCounter};
use crate::StoreError;
use crate::dynamodb::{Item, fault, from_item, number, primary_key, text, to_item};

const SECONDS_PER_DAY: i64 = 86_400;
/// The sort key of a dial request.
const PRESS: &str = "press";
/// A key is remembered for so long at least, however soon calls are deleted.
const SHORTEST_MEMORY_DAYS: u32 = 30;

/// DialRequests in the table of calls.
#[derive(Clone)]
pub struct DynamoDialRequests {
    client: Client,
    table: String,
    retention_days: u32,
}

impl DynamoDialRequests {
    /// Over a client and the name of the table of calls. A dial request is deleted as a call is, after
    /// `retention_days`, and not before 30: until then its key dials nobody again.
    pub fn new(client: Client, table: String, retention_days: u32) -> Self {
        Self { client, table, retention_days: retention_days.max(SHORTEST_MEMORY_DAYS) }
    }

    /// Opens a connection, so that the first dial request need not wait for it.
    pub async fn connect(&self) {
        let _ = self.dial_request(&Digest::of(&[b"connect"])).await;
    }

    fn item(&self, dial_request: &DialRequest) -> Result<Item, StoreError> {
        let mut item = to_item("press", dial_request)?;
        item.insert("version".into(), AttributeValue::N((dial_request.version + 1).to_string()));
        item.insert("pk".into(), text(dial_request_pk(&dial_request.id)));
        item.insert("sk".into(), text(PRESS.into()));
        let days = i64::from(self.retention_days).saturating_mul(SECONDS_PER_DAY);
        let expires_at = Timestamp::now().as_second().saturating_add(days);
        item.insert("expires_at".into(), number(expires_at));
        Ok(item)
    }
}

impl DialRequests for DynamoDialRequests {
    async fn dial_request(&self, id: &Digest) -> Result<Option<DialRequest>, StoreError> {
        let answer = self
            .client
            .get_item()
            .table_name(&self.table)
            .set_key(Some(primary_key(dial_request_pk(id), PRESS.into())))
            .consistent_read(true)
            .send()
            .await
            .map_err(|error| fault("read", &error))?;
        answer.item.map(|item| from_item("press", item)).transpose()
    }

    async fn put_dial_request(
        &self,
        dial_request: &DialRequest,
    ) -> Result<PutDialRequest, StoreError> {
        let put = self.client.put_item().table_name(&self.table);
        let put = put.set_item(Some(self.item(dial_request)?));
        let put = match dial_request.version {
            0 => put.condition_expression("attribute_not_exists(pk)"),
            version => put
                .condition_expression("version = :version")
                .expression_attribute_values(":version", AttributeValue::N(version.to_string())),
        };
        let sent = put.return_values_on_condition_check_failure(OnFailure::AllOld).send().await;
        let error = match sent {
            Ok(_) => return Ok(PutDialRequest::Stored(dial_request.version + 1)),
            Err(error) => error,
        };
        let Some(PutItemError::ConditionalCheckFailedException(failed)) = error.as_service_error()
        else {
            return Err(fault("write", &error));
        };
        let stored = failed.item().filter(|item| !item.is_empty()).cloned();
        let stored: Option<DialRequest> =
            stored.map(|item| from_item("press", item)).transpose()?;
        let written = DialRequest { version: dial_request.version + 1, ..dial_request.clone() };
        if stored.as_ref() == Some(&written) {
            return Ok(PutDialRequest::Stored(written.version));
        }
        Ok(PutDialRequest::Conflict(stored.map(Box::new)))
    }

    async fn count(&self, tally: &RateCounter, most: u32) -> Result<bool, StoreError> {
        let names = HashMap::from([("#count".to_owned(), "count".to_owned())]);
        let sent = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(primary_key(tally_pk(&tally.who), tally.stretch.clone())))
            .update_expression("ADD #count :one SET expires_at = :expires_at")
            .condition_expression("attribute_not_exists(#count) OR #count < :most")
            .set_expression_attribute_names(Some(names))
            .expression_attribute_values(":one", number(1))
            .expression_attribute_values(":most", number(i64::from(most)))
            .expression_attribute_values(":expires_at", number(tally.expires_at.as_second()))
            .send()
            .await;
        match sent {
            Ok(_) => Ok(true),
            Err(error) => match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(_)) => Ok(false),
                _ => Err(fault("count", &error)),
            },
        }
    }
}

fn dial_request_pk(id: &Digest) -> String {
    format!("press#{id}")
}

fn tally_pk(who: &Digest) -> String {
    format!("press-rate#{who}")
}
