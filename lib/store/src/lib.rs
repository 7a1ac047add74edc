//! Every access pattern of the tables, on DynamoDB and in memory.
//!
//! Both sides of [`Store`] run the same contract tests, so what holds in a test against the
//! in-memory twin holds on DynamoDB.

use std::collections::BTreeMap;
use std::future::Future;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use switchboard_domain::{
    Analysis, Blob, BlobRef, CallKey, CallRecord, Delivery, DeliveryId, Digest, Name, State,
};

mod analysis;
mod compression;
pub mod dial_requests;
pub mod directory;
pub mod dynamodb;
pub mod gates;
pub mod jobs;
pub mod leases;
pub mod listing;
pub mod memory;

pub use directory::{Directory, DynamoDirectory, MemoryDirectory};
pub use dynamodb::DynamoStore;
pub use gates::Gates;
pub use jobs::Jobs;
pub use leases::Leases;
pub use listing::{Line, Lines, List, Place};
pub use memory::MemoryStore;

/// What a store can do. Every write is conditional: nobody overwrites what they have not read.
pub trait Store: Send + Sync {
    /// Writes a call as version `record.version + 1`, if the stored version is `record.version`
    /// (0: if there is none). One request.
    fn put_call(&self, record: &CallRecord)
    -> impl Future<Output = Result<Put, StoreError>> + Send;

    /// Writes a call as [`Store::put_call`] does and, in the same transaction, creates
    /// `planned` deliveries. It fails as a whole if one of `planned` exists, or if one of
    /// `untried` was tried (has a rendered body) meanwhile.
    fn put_call_and_deliveries(
        &self,
        record: &CallRecord,
        planned: &[Delivery],
        untried: &[DeliveryId],
    ) -> impl Future<Output = Result<Put, StoreError>> + Send;

    /// Writes a call as [`Store::put_call`] does and, in the same transaction, its analysis and the
    /// tasks of it, in the place of an earlier one.
    fn put_call_and_analysis(
        &self,
        record: &CallRecord,
        analysis: &Analysis,
    ) -> impl Future<Output = Result<Put, StoreError>> + Send;

    /// Reads a call's analysis with its tasks, consistently.
    fn analysis(
        &self,
        key: &CallKey,
    ) -> impl Future<Output = Result<Option<Analysis>, StoreError>> + Send;

    /// Reads a call, consistently.
    fn call(
        &self,
        key: &CallKey,
    ) -> impl Future<Output = Result<Option<CallRecord>, StoreError>> + Send;

    /// Which of these calls are stored, and what is known of each: one consistent request for at
    /// most 100 keys.
    fn stubs(
        &self,
        keys: &[CallKey],
        update: &Digest,
    ) -> impl Future<Output = Result<BTreeMap<CallKey, CallStub>, StoreError>> + Send;

    /// Reads every delivery of a call, consistently, in the order of their ids.
    fn deliveries(
        &self,
        key: &CallKey,
    ) -> impl Future<Output = Result<Vec<Delivery>, StoreError>> + Send;

    /// Reads one delivery, consistently.
    fn delivery(
        &self,
        key: &CallKey,
        id: &DeliveryId,
    ) -> impl Future<Output = Result<Option<Delivery>, StoreError>> + Send;

    /// Writes a delivery as version `delivery.version + 1`, if the stored version is
    /// `delivery.version`; with `call_version`, only if the call still has that version (one
    /// transaction).
    fn put_delivery(
        &self,
        delivery: &Delivery,
        call_version: Option<u64>,
    ) -> impl Future<Output = Result<PutDelivery, StoreError>> + Send;

    /// Stores a large value under a call, compressed, in as many items as it takes. Storing the
    /// same blob again changes nothing.
    fn put_blob(
        &self,
        key: &CallKey,
        blob: &Blob,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Reads a large value back, whole, or [`StoreError::Damaged`] if a part is missing or its
    /// digest is another.
    fn blob(
        &self,
        key: &CallKey,
        blob: &BlobRef,
    ) -> impl Future<Output = Result<Vec<u8>, StoreError>> + Send;

    /// What is due in one shard up to a moment, the oldest first: a page, and where the next begins.
    /// What waits for a destination's gate is not in it: see [`Gates::deferred`].
    fn due(
        &self,
        shard: u16,
        until: Timestamp,
        page: Option<DueCursor>,
    ) -> impl Future<Output = Result<DuePage, StoreError>> + Send;

    /// Calls of one provider, or of all: a page, in no order that means anything. It may be empty
    /// and not the last. This reads the whole table: it is for operators, never for functions.
    fn calls_page(
        &self,
        provider: Option<&Name>,
        page: Option<CallsCursor>,
    ) -> impl Future<Output = Result<CallsPage, StoreError>> + Send;

    /// Part of a list, the newest first: at most `limit` calls that began at `since` or later and
    /// stand before `before`. It may lag a little behind the calls.
    fn lines(
        &self,
        list: &List,
        since: Timestamp,
        before: &Place,
        limit: usize,
    ) -> impl Future<Output = Result<Lines, StoreError>> + Send;

    /// Keeps an authenticated body that was not understood; each arrival of it.
    fn put_quarantined(
        &self,
        one: &Quarantined,
        body: &[u8],
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// What of one provider is in quarantine, the newest first: a page. It may be empty and not the
    /// last.
    fn quarantined(
        &self,
        provider: &Name,
        between: &Between,
        page: Option<QuarantineCursor>,
    ) -> impl Future<Output = Result<QuarantinePage, StoreError>> + Send;

    /// Reads a quarantined body, whole, or [`StoreError::Damaged`].
    fn quarantined_body(
        &self,
        one: &Quarantined,
    ) -> impl Future<Output = Result<Vec<u8>, StoreError>> + Send;

    /// Takes a body out of quarantine. One that is not there is no error.
    fn delete_quarantined(
        &self,
        one: &Quarantined,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// What became of a conditional write of a call.
#[derive(Clone, Debug, PartialEq)]
pub enum Put {
    /// Written. The new version.
    Stored(u64),
    /// Not written: the call as it is stored now.
    Conflict(Box<CallRecord>),
    /// Not written: one of the deliveries was not as expected. Read again and decide anew.
    DeliveryConflict,
}

/// What a message that may be about one of several calls needs to know of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallStub {
    /// How far the call has come.
    pub state: Option<State>,
    /// Whether it holds the update asked about.
    pub has_update: bool,
}

/// What became of a conditional write of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutDelivery {
    /// Written. The new version.
    Stored(u64),
    /// Not written: the delivery, or the call whose version was given, is another by now.
    Conflict,
}

/// A pointer to something overdue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// What.
    pub what: Overdue,
    /// Since when.
    pub due_at: Timestamp,
}

/// What is overdue.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Overdue {
    /// A call's own follow-up.
    Call(CallKey),
    /// A delivery of a call.
    Delivery(CallKey, DeliveryId),
    /// A job that pulls calls.
    Pull(Name),
}

/// A page of what is due.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DuePage {
    /// The oldest first.
    pub items: Vec<Due>,
    /// Where the next page begins, if there is one.
    pub next: Option<DueCursor>,
}

/// Where a page begins: opaque to all but the store that made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DueCursor(pub(crate) Due);

/// A page of calls.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallsPage {
    /// The calls.
    pub calls: Vec<CallRecord>,
    /// Where the next page begins, if there is one.
    pub next: Option<CallsCursor>,
}

/// Where a page of calls begins: opaque to all but the store that made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallsCursor(pub(crate) [String; 2]);

/// A stretch of time. Without a bound it is open on that side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Between {
    /// From this moment on.
    pub since: Option<Timestamp>,
    /// Before this moment.
    pub until: Option<Timestamp>,
}

impl Between {
    /// Whether no moment lies in it.
    pub fn is_empty(&self) -> bool {
        matches!((self.since, self.until), (Some(since), Some(until)) if since >= until)
    }

    /// Whether a moment lies in it.
    pub fn holds(&self, at: Timestamp) -> bool {
        self.since.is_none_or(|since| since <= at) && self.until.is_none_or(|until| at < until)
    }
}

/// What is known of an authenticated body that was not understood. The bytes are read by themselves.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantined {
    /// Whose webhook it came to.
    pub provider: Name,
    /// Which sources' secret opened it, comma-separated.
    pub source: String,
    /// When it came.
    pub received_at: Timestamp,
    /// Identity of the body: path and bytes.
    pub digest: Digest,
    /// Where it was sent: the path and the raw query.
    pub target: String,
    /// Its content type, if one was said.
    pub content_type: String,
    /// What was wrong with it.
    pub problem: String,
    /// How many bytes it has.
    pub length: u64,
}

impl std::fmt::Debug for Quarantined {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { provider, source, received_at, digest, problem, length, .. } = self;
        write!(f, "{provider}/{source} {received_at} {digest}, {length} bytes: {problem}")
    }
}

/// A page of what is in quarantine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QuarantinePage {
    /// The newest first.
    pub items: Vec<Quarantined>,
    /// Where the next page begins, if there is one.
    pub next: Option<QuarantineCursor>,
}

/// Where a page of the quarantine begins: opaque to all but the store that made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuarantineCursor(pub(crate) String);

/// A fault of ours, or of the service below.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Throttled, timed out or out of reach: worth trying again.
    #[error("the table {operation} did not succeed ({code}); it will be tried again")]
    Unavailable {
        /// Which operation.
        operation: &'static str,
        /// The service's code for it, or the class of failure.
        code: String,
    },
    /// The service refused it, and will again: a missing right, a wrong table name, an item too large.
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
