//! Everything that is due, by the sparse index of it.

use jiff::Timestamp;

use crate::item::{damaged, number, text};
use crate::keys::{self, DUE, Overdue};
use crate::table::{self, Item, Key, Query, Range, number_of};
use crate::{Cursor, Page, Store, StoreError};

/// The items of a page.
const PAGE: usize = 100;

/// A pointer to something overdue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// What.
    pub what: Overdue,
    /// Since when.
    pub due_at: Timestamp,
}

/// Puts an item into a partition of the index.
pub(crate) fn mark(item: &mut Item, due: Option<(String, Timestamp)>) {
    if let Some((shard, due_at)) = due {
        item.insert("due_shard".into(), text(shard));
        item.insert("due_at".into(), number(due_at.as_millisecond()));
    }
}

/// What an index entry points to, from its keys alone.
fn read(item: Item) -> Result<Due, StoreError> {
    let due = || {
        let due_at = Timestamp::from_millisecond(number_of(&item, "due_at")?).ok()?;
        Some(Due { what: keys::read_due(&Key::of(&item)?)?, due_at })
    };
    due().ok_or_else(|| damaged("index entry", "its keys are not of our form"))
}

fn up_to(shard: String, until: Timestamp) -> Query {
    Query::by(&DUE, shard).within(Range::UpTo(number(until.as_millisecond())))
}

impl Store {
    /// What is due in one shard up to a moment, the oldest first: a page. What waits for a
    /// destination's gate is not in it: see [`Store::deferred`].
    pub async fn due(
        &self,
        shard: u16,
        until: Timestamp,
        page: Option<Cursor>,
    ) -> Result<Page<Due>, StoreError> {
        let query = up_to(keys::due_shard(shard), until).limit(PAGE);
        let page = self.table.query(&query.start(page.map(|Cursor(start)| start))).await?;
        Page::read(page, read)
    }

    /// What is due in a partition of any kind, the oldest first: at most `limit`.
    pub(crate) async fn oldest_due(
        &self,
        shard: String,
        until: Timestamp,
        limit: usize,
    ) -> Result<Vec<Due>, StoreError> {
        let query = up_to(shard, until).limit(limit);
        let (items, _) = table::all(&*self.table, query, limit).await?;
        items.into_iter().take(limit).map(read).collect()
    }
}
