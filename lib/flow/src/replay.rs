//! `replay`: parses stored messages again, with the current mapping.
//!
//! Nothing is queued: follow-ups are stored as due, and the sweep sends them.

mod bodies;
mod calls;
mod changes;

use jiff::Timestamp;
use switchboard_domain::{CallKey, CallRecord, Name};
use switchboard_providers::{Authenticated, Provider, Request, Sources};
use switchboard_store::{Between, Quarantined, Store, StoreError};

use crate::configuration::Configuration;

/// The number of digits of a digest that identify a body.
const ID_DIGITS: usize = 12;

/// Parses messages again.
pub struct Replay<'a> {
    /// Where calls and quarantined bodies are. In a dry run, one that keeps what it is given to itself.
    pub store: &'a Store,
    /// The sources.
    pub configuration: &'a Configuration,
    /// The time of the replay.
    pub now: Timestamp,
    /// What is shown of it.
    pub progress: &'a mut dyn Progress,
    /// The result so far.
    pub counts: Counts,
}

/// What an operator is shown of a long run.
pub trait Progress {
    /// A run begins, over as many things as are known.
    fn begin(&mut self, total: Option<usize>);

    /// One more was read.
    fn read(&mut self);

    /// A line, without personal data.
    fn line(&mut self, text: &str);
}

/// The result of a replay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Bodies or calls that were read.
    pub read: u64,
    /// Calls that were not stored before.
    pub new: u64,
    /// Stored calls that changed.
    pub changed: u64,
    /// Calls without a change.
    pub same: u64,
    /// Bodies or updates that cannot be parsed, or not be read from the store.
    pub unread: u64,
    /// Bodies that were removed from quarantine.
    pub released: u64,
    /// Writes that the store refused.
    pub refused: u64,
}

/// Why a run stopped before its end.
#[derive(Debug, thiserror::Error)]
pub enum Stopped {
    /// The call that it was to act on is not stored.
    #[error("{0} is not stored")]
    Unknown(CallKey),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The short id of a quarantined body, for operators.
pub fn short_id(one: &Quarantined) -> String {
    one.digest.as_str().chars().take(ID_DIGITS).collect()
}

/// A call that a run is to act on.
pub(crate) async fn call(store: &Store, key: &CallKey) -> Result<CallRecord, Stopped> {
    store.call(key).await?.ok_or_else(|| Stopped::Unknown(key.clone()))
}

/// Acts on every stored call, of one provider or of all.
pub(crate) async fn each_call(
    store: &Store,
    provider: Option<&Name>,
    mut act: impl AsyncFnMut(CallRecord) -> Result<(), Stopped>,
) -> Result<(), Stopped> {
    let mut page = None;
    loop {
        let read = store.calls_page(provider, page).await?;
        for record in read.items {
            act(record).await?;
        }
        page = read.next;
        if page.is_none() {
            return Ok(());
        }
    }
}

/// Whether an update of a call was received in a range of time.
pub(crate) fn is_between(record: &CallRecord, between: &Between) -> bool {
    record.updates.values().any(|update| between.holds(update.received_at))
}

/// A request as received, as far as it is stored. Its method is not stored: a request without a body is
/// a GET.
fn kept_request(
    target: &str,
    content_type: &str,
    body: Vec<u8>,
    received_at: Timestamp,
) -> Request {
    let method = if body.is_empty() { "GET" } else { "POST" };
    let request = Request::new(method, target, received_at).body(body);
    if content_type.is_empty() { request } else { request.header("content-type", content_type) }
}

/// A message authenticated by the secrets of these sources. `None` without any source.
fn opened_by<'a>(
    provider: &dyn Provider,
    request: &'a Request,
    sources: &'a Sources,
    opened: &'a [Name],
) -> Option<Authenticated<'a>> {
    let (first, others) = opened.split_first()?;
    let message = Authenticated::kept(provider, request, sources, first);
    Some(others.iter().fold(message, |message, source| message.opened_by(source)))
}
