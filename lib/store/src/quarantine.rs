//! Authenticated bodies that were not understood.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use switchboard_domain::{Digest, Name};

use crate::item::{from_item, number, text, to_item};
use crate::table::{Condition, Key, Query, Range, Write};
use crate::{Cursor, Page, Store, StoreError, keys};

/// The bodies of a page.
const PAGE: usize = 100;

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
    /// The sources whose secret authenticated it, comma-separated.
    pub source: String,
    /// When it came.
    pub received_at: Timestamp,
    /// Identity of the body: path and bytes.
    pub digest: Digest,
    /// Where it was sent: the path and the raw query.
    pub target: String,
    /// Its content type, if the request had one.
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

impl Quarantined {
    fn key(&self) -> Key {
        keys::quarantined(&self.provider, self.received_at, &self.digest)
    }

    /// The partition and the prefix of the parts of its bytes.
    fn parts(&self) -> (String, String) {
        (keys::quarantine_body_pk(&self.provider), format!("{}#", self.key().sk))
    }
}

impl Store {
    /// Keeps an authenticated body that was not understood; each arrival of it.
    pub async fn put_quarantined(&self, one: &Quarantined, body: &[u8]) -> Result<(), StoreError> {
        let (pk, prefix) = one.parts();
        self.put_parts(&pk, &prefix, body).await?;
        let mut item = to_item("quarantined body", one, one.key())?;
        item.insert("expires_at".into(), self.expires_at());
        self.put(item).await
    }

    /// What of one provider is in quarantine, the newest first: a page.
    pub async fn quarantined(
        &self,
        provider: &Name,
        between: &Between,
        page: Option<Cursor>,
    ) -> Result<Page<Quarantined>, StoreError> {
        if between.is_empty() {
            return Ok(Page::default());
        }
        // A sort key is a time and more, so that the time alone sorts before all of its moment.
        let bound =
            |at: Option<Timestamp>, open: &str| text(at.map_or(open.to_owned(), keys::moment));
        let range = Range::Between(bound(between.since, "-"), bound(between.until, "~"));
        let mut query = Query::of(keys::quarantine_pk(provider)).within(range).backward();
        // What has expired may have lost parts of its body already.
        let now = number(Timestamp::now().as_second());
        query.filter = Some(Condition::Above("expires_at", now));
        let query = query.limit(PAGE).start(page.map(|Cursor(start)| start));
        let page = self.table.query(&query).await?;
        Page::read(page, |item| from_item("quarantined body", item))
    }

    /// Reads a quarantined body, whole, or [`StoreError::Damaged`].
    pub async fn quarantined_body(&self, one: &Quarantined) -> Result<Vec<u8>, StoreError> {
        let (pk, prefix) = one.parts();
        self.parts(pk, &prefix, one.length).await
    }

    /// Takes a body out of quarantine. One that is not there is no error.
    pub async fn delete_quarantined(&self, one: &Quarantined) -> Result<(), StoreError> {
        // First what points to the bytes: if this ends between, they are out of reach, and expire.
        self.table.write(Write::delete(one.key())).await?;
        let (pk, prefix) = one.parts();
        self.delete_parts(pk, &prefix).await
    }
}
