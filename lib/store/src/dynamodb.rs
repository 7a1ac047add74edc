//! The port on DynamoDB.

use std::collections::HashMap;
use std::error::Error;

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::error::ConditionalCheckFailedException;
use aws_sdk_dynamodb::types::{
    AttributeValue, CancellationReason, ConditionCheck, Delete, KeysAndAttributes, Put,
    ReturnValue, ReturnValuesOnConditionCheckFailure as OnFailure, TransactWriteItem, Update,
};

mod expression;
mod fault;

use self::expression::Expression;
use self::fault::{Conflict, by_code, fault, incomplete};
use crate::StoreError;
use crate::table::{
    Action, Condition, Item, Key, PRIMARY, Page, Query, TRANSACTION_LIMIT, Table, Unmet, Write,
    Written,
};

/// How often a batch read asks for keys that were left out.
const ATTEMPTS: usize = 10;

type Attributes = HashMap<String, AttributeValue>;

/// A request or a part of a transaction, with its condition: the SDK has seven types for them.
macro_rules! conditional {
    ($builder:expr, $table:expr, $condition:expr, $names:expr, $values:expr) => {
        $builder
            .table_name(&$table)
            .set_condition_expression($condition)
            .set_expression_attribute_names($names)
            .set_expression_attribute_values($values)
            .return_values_on_condition_check_failure(OnFailure::AllOld)
    };
}

/// A table on DynamoDB. Clones share the client.
#[derive(Clone)]
pub struct DynamoTable {
    client: Client,
    name: String,
}

impl DynamoTable {
    /// Over a client and the name of the table.
    pub fn new(client: &Client, name: String) -> Self {
        let config = client.config().to_builder().retry_classifier(Conflict).build();
        Self { client: Client::from_conf(config), name }
    }

    /// A write as a part of a transaction.
    fn part(&self, Write { action, condition }: Write) -> Result<TransactWriteItem, StoreError> {
        let (update, condition, Expression { names, values }) = expressions(&action, condition);
        let part = TransactWriteItem::builder();
        macro_rules! built {
            ($builder:expr) => {
                conditional!($builder, self.name, condition, names, values)
                    .build()
                    .map_err(|_| incomplete("transaction"))?
            };
        }
        let part = match action {
            Action::Put(item) => part.put(built!(Put::builder().set_item(Some(item.into())))),
            Action::Update(key, _) => {
                let key = Some(key.item().into());
                part.update(built!(Update::builder().set_key(key).update_expression(update)))
            }
            Action::Delete(key) => {
                part.delete(built!(Delete::builder().set_key(Some(key.item().into()))))
            }
            Action::Check(key) => {
                let key = Some(key.item().into());
                part.condition_check(built!(ConditionCheck::builder().set_key(key)))
            }
        };
        Ok(part.build())
    }
}

/// The update expression (empty for another action), the condition, and their names and values.
fn expressions(
    action: &Action,
    condition: Option<Condition>,
) -> (String, Option<String>, Expression) {
    let mut expression = Expression::default();
    let update = match action {
        Action::Update(_, changes) => expression.changes(changes),
        _ => String::new(),
    };
    let condition = condition.map(|condition| expression.condition(&condition));
    (update, condition, expression)
}

/// What a failed write means: a condition that did not hold is no fault.
fn unmet<E: Error + ProvideErrorMetadata + 'static>(
    operation: &'static str,
    error: SdkError<E>,
) -> Result<Written, StoreError> {
    let cause = error.as_service_error().and_then(Error::source);
    match cause.and_then(|cause| cause.downcast_ref::<ConditionalCheckFailedException>()) {
        Some(failed) => Ok(Written::Unmet(stored(failed.item()))),
        None => Err(fault(operation, &error)),
    }
}

fn done(attributes: Option<Attributes>) -> Written {
    Written::Done(attributes.unwrap_or_default().into())
}

/// The item that was in the way. DynamoDB answers none, or an empty one, where there is none.
fn stored(item: Option<&Attributes>) -> Option<Item> {
    item.filter(|item| !item.is_empty()).map(|item| item.clone().into())
}

fn page(items: Option<Vec<Attributes>>, next: Option<Attributes>) -> Page {
    let items = items.unwrap_or_default().into_iter().map(Item::from).collect();
    Page { items, next: next.map(Item::from) }
}

#[async_trait]
impl Table for DynamoTable {
    async fn get(&self, key: &Key) -> Result<Option<Item>, StoreError> {
        let get = self.client.get_item().table_name(&self.name).consistent_read(true);
        let sent = get.set_key(Some(key.clone().item().into())).send().await;
        Ok(sent.map_err(|error| fault("read", &error))?.item.map(Item::from))
    }

    async fn batch_get(&self, keys: &[Key], paths: &[&[&str]]) -> Result<Vec<Item>, StoreError> {
        let mut expression = Expression::default();
        let projection = (!paths.is_empty()).then(|| expression.paths(paths));
        let mut left: Vec<Attributes> = keys.iter().map(|key| key.clone().item().into()).collect();
        let mut items = Vec::with_capacity(left.len());
        for _ in 0..ATTEMPTS {
            let wanted = KeysAndAttributes::builder()
                .set_keys(Some(left))
                .consistent_read(true)
                .set_projection_expression(projection.clone())
                .set_expression_attribute_names(expression.names.clone())
                .build()
                .map_err(|_| incomplete("read"))?;
            let sent = self.client.batch_get_item().request_items(&self.name, wanted).send().await;
            let response = sent.map_err(|error| fault("read", &error))?;
            let read = response.responses.and_then(|mut tables| tables.remove(&self.name));
            items.extend(read.unwrap_or_default().into_iter().map(Item::from));
            let rest = response.unprocessed_keys.and_then(|mut tables| tables.remove(&self.name));
            left = rest.map(|rest| rest.keys).unwrap_or_default();
            if left.is_empty() {
                return Ok(items);
            }
        }
        let code = "not all keys were read".to_owned();
        Err(StoreError::Unavailable { operation: "read", code })
    }

    async fn query(&self, query: &Query) -> Result<Page, StoreError> {
        let mut expression = Expression::default();
        let keys = expression.range(query);
        let filter = query.filter.as_ref().map(|filter| expression.condition(filter));
        let is_table = query.index == &PRIMARY;
        let response = self
            .client
            .query()
            .table_name(&self.name)
            .set_index_name((!is_table).then(|| query.index.name.to_owned()))
            .key_condition_expression(keys)
            .set_filter_expression(filter)
            .set_expression_attribute_names(expression.names)
            .set_expression_attribute_values(expression.values)
            .consistent_read(is_table)
            .scan_index_forward(!query.backward)
            .set_limit(query.limit.map(|limit| i32::try_from(limit).unwrap_or(i32::MAX)))
            .set_exclusive_start_key(query.start.clone().map(Attributes::from))
            .send()
            .await
            .map_err(|error| fault("query", &error))?;
        Ok(page(response.items, response.last_evaluated_key))
    }

    async fn scan(&self, filter: &Condition, start: Option<Item>) -> Result<Page, StoreError> {
        let mut expression = Expression::default();
        let response = self
            .client
            .scan()
            .table_name(&self.name)
            .filter_expression(expression.condition(filter))
            .set_expression_attribute_names(expression.names)
            .set_expression_attribute_values(expression.values)
            .set_exclusive_start_key(start.map(Attributes::from))
            .send()
            .await
            .map_err(|error| fault("scan", &error))?;
        Ok(page(response.items, response.last_evaluated_key))
    }

    async fn write(&self, Write { action, condition }: Write) -> Result<Written, StoreError> {
        let (update, condition, Expression { names, values }) = expressions(&action, condition);
        macro_rules! sent {
            ($request:expr) => {
                conditional!($request, self.name, condition, names, values).send().await
            };
        }
        match action {
            Action::Put(item) => match sent!(self.client.put_item().set_item(Some(item.into()))) {
                Ok(_) => Ok(done(None)),
                Err(error) => unmet("write", error),
            },
            Action::Update(key, _) => {
                let request = self.client.update_item().set_key(Some(key.item().into()));
                let request = request.return_values(ReturnValue::AllNew);
                match sent!(request.update_expression(update)) {
                    Ok(response) => Ok(done(response.attributes)),
                    Err(error) => unmet("write", error),
                }
            }
            Action::Delete(key) => {
                match sent!(self.client.delete_item().set_key(Some(key.item().into()))) {
                    Ok(_) => Ok(done(None)),
                    Err(error) => unmet("deletion", error),
                }
            }
            Action::Check(_) => Err(incomplete("write")),
        }
    }

    async fn transact(&self, writes: Vec<Write>) -> Result<Vec<Unmet>, StoreError> {
        if writes.len() > TRANSACTION_LIMIT {
            let code = "more than 100 items in a transaction".into();
            return Err(StoreError::Refused { operation: "transaction", code });
        }
        let parts = writes.into_iter().map(|write| self.part(write)).collect::<Result<_, _>>()?;
        let sent = self.client.transact_write_items().set_transact_items(Some(parts)).send().await;
        let Err(error) = sent else { return Ok(Vec::new()) };
        let Some(TransactWriteItemsError::TransactionCanceledException(canceled)) =
            error.as_service_error()
        else {
            return Err(fault("transaction", &error));
        };
        let reasons = canceled.cancellation_reasons();
        let mut codes = reasons.iter().filter_map(CancellationReason::code);
        if let Some(code) = codes.find(|code| !matches!(*code, "None" | "ConditionalCheckFailed")) {
            return Err(by_code("transaction", code));
        }
        let failed = reasons.iter().enumerate();
        let failed = failed.filter(|(_, one)| one.code() == Some("ConditionalCheckFailed"));
        Ok(failed.map(|(write, one)| Unmet { write, stored: stored(one.item.as_ref()) }).collect())
    }
}
