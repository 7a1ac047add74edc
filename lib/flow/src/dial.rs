//! `dial`: placing and ending calls over any provider that can.

mod hang_up;
mod order;
mod place;
mod sources;

use std::future::Future;
use std::sync::Arc;

use jiff::Timestamp;
use switchboard_domain::dial_request::DialRequest;
use switchboard_domain::{Digest, Name};
use switchboard_http::Http;
use switchboard_providers::dial::DialError;
use switchboard_providers::rest::Logins;
use switchboard_store::{Directory, Store, StoreError};

pub use hang_up::HungUp;
pub use order::Wanted;
pub use sources::Sources;

/// What calls are placed and ended with.
pub struct Dial<C> {
    /// Dial requests, and calls: the id that ends one is found there.
    pub store: Store,
    /// The employees.
    pub directory: Directory,
    /// The sources that may place calls.
    pub sources: C,
    /// What reaches their providers.
    pub http: Arc<dyn Http>,
    /// The logins of this process.
    pub logins: Logins,
}

/// Where the sources are known from.
pub trait Configured: Send + Sync {
    /// As they were read last.
    fn get(&self) -> impl Future<Output = Result<Arc<Sources>, NotDone>> + Send;

    /// Read anew: after a provider did not accept our credentials.
    fn get_again(&self) -> impl Future<Output = Result<Arc<Sources>, NotDone>> + Send;
}

/// One request to place or end a call, and its sender.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'a> {
    /// The sender's name.
    pub name: &'a str,
    /// The only employee in whose name the sender may place calls.
    pub employee: Option<&'a str>,
    /// The request's id.
    pub request: &'a str,
    /// When it arrived.
    pub now: Timestamp,
}

impl Caller<'_> {
    /// Whether a caller may know of a dial request, and end it: one that is bound to an employee, theirs
    /// alone.
    pub fn may_see(&self, dial_request: &DialRequest) -> bool {
        let employee = dial_request.order.employee.as_ref().map(Name::as_str);
        self.employee.is_none() || self.employee == employee
    }
}

/// Why a call was not placed, or not ended.
#[derive(Debug)]
pub enum NotDone {
    /// The table failed.
    Store(StoreError),
    /// The configuration cannot be read.
    Configuration,
    /// A field is missing or invalid.
    Invalid(&'static str, &'static str),
    /// There is no such thing.
    Unknown(&'static str),
    /// The request is valid, and the call is not allowed, because of a field.
    NotAllowed(&'static str, &'static str),
    /// The caller may place calls for their own employee only.
    NotTheirAgent,
    /// The caller may end only the calls that they placed.
    NotTheirCall,
    /// The key was used for another request.
    KeyReused,
    /// Another request with this key is in progress, for so many seconds yet.
    InProgress(Digest, i64),
    /// The agent's limit of calls is used up.
    RateLimited {
        /// The most calls in a window.
        most: u32,
        /// `minute` or `day`.
        window: &'static str,
        /// Seconds until it ends.
        left: i64,
    },
    /// The login at the provider failed, so no call was placed.
    Login(DialError),
    /// The call is not in progress.
    NotLive(&'static str),
    /// The provider did not confirm that it ended the call.
    NotEnded(DialError),
}

impl From<StoreError> for NotDone {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// The id of a dial request, as we write them.
pub fn dial_request_id(text: &str) -> Option<Digest> {
    let is_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    (text.len() == 32 && text.bytes().all(is_hex))
        .then(|| serde_json::from_value(text.into()).ok())?
}

const NO_SOURCE: NotDone = NotDone::Unknown("source, or it places no calls");
