//! Jobs that pull calls, and the calls that they found missing.

use jiff::civil::Date;
use switchboard_domain::Name;
use switchboard_domain::sync::{Gap, Job};

use crate::item::{from_item, text, to_item, to_versioned};
use crate::table::{Condition, Item, Key, Query, Range, Write, text_of};
use crate::{PutIf, Store, StoreError, due, keys};

/// The most jobs of a list.
pub const MOST_LISTED: usize = 50;
/// How often a start is tried against others that win the slot.
const ROUNDS: usize = 5;

/// What became of a start.
#[derive(Clone, Debug, PartialEq)]
pub enum Started {
    /// Created, in this version.
    New(u64),
    /// Not created: this one is running.
    Running(Box<Job>),
}

impl Store {
    fn job_item(&self, job: &Job) -> Result<Item, StoreError> {
        let mut item = to_versioned("job", job, keys::job(&job.id), job.version)?;
        item.insert("expires_at".into(), self.expires_at());
        let due = job.not_before.map(|due_at| (keys::due_shard(job.due_shard()), due_at));
        due::mark(&mut item, due);
        Ok(item)
    }

    /// An item that names a job.
    fn pointer(&self, key: Key, job: &Name) -> Item {
        let mut item = key.item();
        item.insert("job".into(), text(job.as_str()));
        item.insert("expires_at".into(), self.expires_at());
        item
    }

    /// Creates a job, unless one that is running has its slot ([`Job::slot`]).
    pub async fn start_job(&self, job: &Job) -> Result<Started, StoreError> {
        let slot = keys::slot(&job.slot());
        for _ in 0..ROUNDS {
            let holder = self.table.get(&slot).await?;
            let holder = holder.as_ref().and_then(pointed);
            if let Some(holder) = &holder
                && let Some(running) = self.job(holder).await?.filter(Job::is_running)
            {
                return Ok(Started::Running(Box::new(running)));
            }
            let as_read = match &holder {
                None => Condition::no_item(),
                Some(holder) => Condition::Is("job", text(holder.as_str())),
            };
            let listed = self.pointer(keys::listed_job(&job.id), &job.id);
            let writes = vec![
                Write::put(self.pointer(slot.clone(), &job.id)).only_if(as_read),
                Write::put(listed).only_if(Condition::no_item()),
                Write::put(self.job_item(job)?).only_if(Condition::no_item()),
            ];
            if self.table.transact(writes).await?.is_empty() {
                return Ok(Started::New(job.version + 1));
            }
        }
        let code = "too many starts of one job".to_owned();
        Err(StoreError::Unavailable { operation: "write", code })
    }

    /// Writes a job as version `job.version + 1`, if the stored version is `job.version`.
    pub async fn put_job(&self, job: &Job) -> Result<PutIf, StoreError> {
        self.put_version(self.job_item(job)?, job.version).await
    }

    /// Reads a job, consistently.
    pub async fn job(&self, id: &Name) -> Result<Option<Job>, StoreError> {
        self.read("job", keys::job(id)).await
    }

    /// The newest jobs, at most [`MOST_LISTED`].
    pub async fn jobs(&self) -> Result<Vec<Job>, StoreError> {
        let list = Query::of(keys::JOBS).within(Range::Before(text(keys::SLOTS)));
        let page = self.table.query(&list.backward().limit(MOST_LISTED)).await?;
        let mut jobs = Vec::new();
        for id in page.items.iter().filter_map(pointed) {
            jobs.extend(self.job(&id).await?);
        }
        Ok(jobs)
    }

    /// Notes what a job found missing on a day. Noting it again changes nothing.
    pub async fn put_gap(&self, gap: &Gap) -> Result<(), StoreError> {
        let mut item = to_item("gap", gap, keys::gap(gap))?;
        item.insert("expires_at".into(), self.expires_at());
        self.put(item).await
    }

    /// What was found missing at a source from a day on, by day and job.
    pub async fn gaps(
        &self,
        provider: &Name,
        source: &Name,
        since: Date,
    ) -> Result<Vec<Gap>, StoreError> {
        let range = Range::From(text(since.to_string()));
        let items = self.all(Query::of(keys::gap_pk(provider, source)).within(range)).await?;
        items.into_iter().map(|item| from_item("gap", item)).collect()
    }
}

/// The job that an item names.
fn pointed(item: &Item) -> Option<Name> {
    Name::new("job", text_of(item, "job")?).ok()
}
