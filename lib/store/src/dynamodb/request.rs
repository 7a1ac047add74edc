//! Requests: every page of a query, transactions, and what became of a request that failed.

use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::interceptors::InterceptorContext;
use aws_sdk_dynamodb::config::retry::{ClassifyRetry, RetryAction};
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{CancellationReason, TransactWriteItem};
use aws_smithy_types::retry::ErrorKind;

use super::item::Item;
use crate::StoreError;

/// DynamoDB's limit for one transaction.
pub(crate) const LARGEST_TRANSACTION: usize = 100;
/// A transaction on the same item is over by then, as a rule.
const CONFLICT_DELAY: Duration = Duration::from_millis(50);

/// Runs a transaction. `Err(reasons)` inside: a condition did not hold; one reason per action.
pub(crate) async fn transact(
    client: &Client,
    actions: Vec<TransactWriteItem>,
) -> Result<Result<(), Vec<CancellationReason>>, StoreError> {
    if actions.len() > LARGEST_TRANSACTION {
        let code = "more than 100 items in a transaction".into();
        return Err(StoreError::Refused { operation: "transaction", code });
    }
    let sent = client.transact_write_items().set_transact_items(Some(actions)).send().await;
    let error = match sent {
        Ok(_) => return Ok(Ok(())),
        Err(error) => error,
    };
    if let Some(TransactWriteItemsError::TransactionCanceledException(canceled)) =
        error.as_service_error()
    {
        let reasons = canceled.cancellation_reasons();
        let mut codes = reasons.iter().filter_map(CancellationReason::code);
        return match codes.find(|code| !matches!(*code, "None" | "ConditionalCheckFailed")) {
            Some(code) => Err(by_code("transaction", code)),
            None => Ok(Err(reasons.to_vec())),
        };
    }
    Err(fault("transaction", &error))
}

/// Every item that a query finds, page by page.
pub(crate) async fn all(query: QueryFluentBuilder) -> Result<Vec<Item>, StoreError> {
    let (mut items, mut start) = (Vec::new(), None);
    loop {
        let page = query.clone().set_exclusive_start_key(start).send().await;
        let page = page.map_err(|error| fault("query", &error))?;
        items.extend(page.items.unwrap_or_default());
        start = page.last_evaluated_key;
        if start.is_none() {
            return Ok(items);
        }
    }
}

pub(crate) fn incomplete(operation: &'static str) -> StoreError {
    StoreError::Refused { operation, code: "incomplete request".to_owned() }
}

/// Ours or theirs, and worth another try or not: by the kind of error and its code, never by text.
pub(crate) fn fault<E: ProvideErrorMetadata, R>(
    operation: &'static str,
    error: &SdkError<E, R>,
) -> StoreError {
    let unavailable = |code: &str| StoreError::Unavailable { operation, code: code.to_owned() };
    match error {
        SdkError::TimeoutError(_) => unavailable("timed out"),
        SdkError::DispatchFailure(_) => unavailable("not reached"),
        SdkError::ResponseError(_) => unavailable("answer cannot be read"),
        SdkError::ServiceError(service) => {
            by_code(operation, service.err().code().unwrap_or("unknown code"))
        }
        _ => incomplete(operation),
    }
}

/// The codes of errors and of canceled transactions. One that nobody knows is worth another try:
/// work that is tried in vain is seen, work that is dropped is not.
fn by_code(operation: &'static str, code: &str) -> StoreError {
    let told = code.to_owned();
    match code {
        "ValidationException"
        | "ValidationError"
        | "AccessDeniedException"
        | "ResourceNotFoundException"
        | "ItemCollectionSizeLimitExceededException"
        | "ItemCollectionSizeLimitExceeded"
        | "UnrecognizedClientException" => StoreError::Refused { operation, code: told },
        _ => StoreError::Unavailable { operation, code: told },
    }
}

/// Has the client try again when another transaction is at work on the same item, which the SDK
/// does not do by itself: a webhook must not fail because a worker plans deliveries just then.
#[derive(Debug)]
pub(crate) struct Conflict;

impl ClassifyRetry for Conflict {
    fn classify_retry(&self, context: &InterceptorContext) -> RetryAction {
        let error = context.output_or_error().and_then(Result::err);
        let error = error.and_then(|error| error.as_operation_error());
        let in_put = error
            .and_then(|error| error.downcast_ref())
            .is_some_and(PutItemError::is_transaction_conflict_exception);
        let in_transaction = match error.and_then(|error| error.downcast_ref()) {
            Some(TransactWriteItemsError::TransactionCanceledException(canceled)) => {
                let codes = canceled.cancellation_reasons().iter();
                codes.filter_map(CancellationReason::code).any(|code| code == "TransactionConflict")
            }
            _ => false,
        };
        if in_put || in_transaction {
            let kind = ErrorKind::ServerError;
            RetryAction::retryable_error_with_explicit_delay(kind, CONFLICT_DELAY)
        } else {
            RetryAction::NoActionIndicated
        }
    }

    fn name(&self) -> &'static str {
        "conflicting transaction"
    }
}
