//! Faults of requests: which of them are worth a retry.

use std::time::Duration;

use aws_sdk_dynamodb::config::interceptors::InterceptorContext;
use aws_sdk_dynamodb::config::retry::{ClassifyRetry, RetryAction};
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::CancellationReason;
use aws_smithy_types::retry::ErrorKind;

use crate::StoreError;

/// A transaction on the same item is over by then, as a rule.
const CONFLICT_DELAY: Duration = Duration::from_millis(50);

/// A request that the SDK does not build.
pub fn incomplete(operation: &'static str) -> StoreError {
    StoreError::Refused { operation, code: "incomplete request".to_owned() }
}

/// Ours or theirs, and worth another try or not: by the kind of error and its code, never by text.
pub fn fault<E: ProvideErrorMetadata, R>(
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

/// The codes of errors and of canceled transactions. An unknown one is worth a retry: work that is
/// retried in vain is seen, work that is dropped is not.
pub fn by_code(operation: &'static str, code: &str) -> StoreError {
    let known = code.to_owned();
    match code {
        "ValidationException"
        | "ValidationError"
        | "AccessDeniedException"
        | "ResourceNotFoundException"
        | "ItemCollectionSizeLimitExceededException"
        | "ItemCollectionSizeLimitExceeded"
        | "UnrecognizedClientException" => StoreError::Refused { operation, code: known },
        _ => StoreError::Unavailable { operation, code: known },
    }
}

/// Has the client retry when another transaction writes the same item, which the SDK does not do by
/// itself: a webhook must not fail because a worker plans deliveries just then.
#[derive(Debug)]
pub struct Conflict;

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
