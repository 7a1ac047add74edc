//! Faults of this service, or of the one below.

/// Why a table could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Throttled, timed out or out of reach: worth a retry.
    #[error("the table {operation} did not succeed ({code}); it will be tried again")]
    Unavailable {
        /// Which operation.
        operation: &'static str,
        /// The service's code for it, or the class of failure.
        code: String,
    },
    /// Refused, now and later: a missing right, a wrong table name, an item that is too large.
    #[error("the table {operation} was refused ({code}); check the function's role and table")]
    Refused {
        /// Which operation.
        operation: &'static str,
        /// The service's code for it.
        code: String,
    },
    /// What is stored cannot be read.
    #[error("a stored {what} cannot be read ({problem})")]
    Damaged {
        /// What kind of item.
        what: &'static str,
        /// What is wrong with it, without its contents.
        problem: String,
    },
}

impl StoreError {
    /// Whether the same call may succeed later.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }
}
