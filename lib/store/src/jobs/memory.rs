//! Jobs in memory.

use jiff::civil::Date;
use switchboard_domain::Name;
use switchboard_domain::sync::{Gap, Job};

use super::{Jobs, MOST_LISTED, PutJob, Started};
use crate::{MemoryStore, StoreError};

impl Jobs for MemoryStore {
    async fn start_job(&self, job: &Job) -> Result<Started, StoreError> {
        let mut tables = self.tables();
        let holder = tables.slots.get(&job.slot()).and_then(|id| tables.jobs().get(id));
        if let Some(holder) = holder.filter(|holder| holder.is_running()) {
            return Ok(Started::Running(Box::new(holder.clone())));
        }
        tables.slots.insert(job.slot(), job.id.clone());
        let stored = Job { version: 1, ..job.clone() };
        tables.write_job(stored);
        Ok(Started::New(1))
    }

    async fn put_job(&self, job: &Job) -> Result<PutJob, StoreError> {
        let mut tables = self.tables();
        if tables.jobs().get(&job.id).map(|stored| stored.version) != Some(job.version) {
            return Ok(PutJob::Conflict);
        }
        let version = job.version + 1;
        tables.write_job(Job { version, ..job.clone() });
        Ok(PutJob::Stored(version))
    }

    async fn job(&self, id: &Name) -> Result<Option<Job>, StoreError> {
        Ok(self.tables().jobs().get(id).cloned())
    }

    async fn jobs(&self) -> Result<Vec<Job>, StoreError> {
        Ok(self.tables().jobs().values().rev().take(MOST_LISTED).cloned().collect())
    }

    async fn put_gap(&self, gap: &Gap) -> Result<(), StoreError> {
        let at = (gap.provider.clone(), gap.source.clone(), gap.day, gap.job.clone());
        self.tables().gaps.insert(at, gap.clone());
        Ok(())
    }

    async fn gaps(
        &self,
        provider: &Name,
        source: &Name,
        since: Date,
    ) -> Result<Vec<Gap>, StoreError> {
        let tables = self.tables();
        let is_wanted =
            |gap: &&Gap| gap.provider == *provider && gap.source == *source && gap.day >= since;
        Ok(tables.gaps.values().filter(is_wanted).cloned().collect())
    }
}
