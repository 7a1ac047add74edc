//! Jobs on DynamoDB.
//!
//! | item | pk | sk |
//! | --- | --- | --- |
//! | job | `sync#<job id>` | `job` |
//! | pointer to it, for lists | `syncs` | `<job id>` |
//! | which job has a slot | `syncs` | `slot#<slot>` |
//! | what a job found missing on a day | `gap#<provider>#<source>` | `<day>#<job id>` |

use std::collections::HashMap;

use aws_sdk_dynamodb::types::{Put as PutAction, TransactWriteItem};
use jiff::civil::Date;
use switchboard_domain::Name;
use switchboard_domain::sync::{Gap, Job};

use super::{Jobs, MOST_LISTED, PutJob, Started};
use crate::dynamodb::{
    Item, all, fault, from_item, incomplete, number, shard_name, text, to_item, transact,
    version_after,
};
use crate::{DynamoStore, StoreError};

/// The sort key of a job's item.
pub(crate) const JOB: &str = "job";
const LIST: &str = "syncs";

pub(crate) fn job_pk(id: &Name) -> String {
    format!("sync#{id}")
}

/// The job that an index entry's partition key names.
pub(crate) fn job_of(pk: &str) -> Option<Name> {
    Name::new("job", pk.strip_prefix("sync#")?).ok()
}

impl DynamoStore {
    fn job_item(&self, job: &Job) -> Result<Item, StoreError> {
        let mut item = to_item("job", job)?;
        item.insert("version".into(), version_after(job.version));
        item.insert("pk".into(), text(job_pk(&job.id)));
        item.insert("sk".into(), text(JOB.into()));
        item.insert("expires_at".into(), self.expires_at());
        if let Some(due_at) = job.not_before {
            item.insert("due_shard".into(), text(shard_name(job.due_shard())));
            item.insert("due_at".into(), number(due_at.as_millisecond()));
        }
        Ok(item)
    }

    fn listed_job(&self, sk: String, job: &Name) -> Item {
        HashMap::from([
            ("pk".to_owned(), text(LIST.to_owned())),
            ("sk".to_owned(), text(sk)),
            ("job".to_owned(), text(job.to_string())),
            ("expires_at".to_owned(), self.expires_at()),
        ])
    }

    /// Which job has a slot.
    async fn holder(&self, slot: &str) -> Result<Option<Name>, StoreError> {
        let item = self.item(LIST.to_owned(), format!("slot#{slot}")).await?;
        let id = item.as_ref().and_then(|item| item.get("job")?.as_s().ok());
        Ok(id.and_then(|id| Name::new("job", id).ok()))
    }

    fn put_if(
        &self,
        item: Item,
        condition: &str,
        values: Option<Item>,
    ) -> Result<TransactWriteItem, StoreError> {
        let put = PutAction::builder()
            .table_name(self.table())
            .set_item(Some(item))
            .condition_expression(condition)
            .set_expression_attribute_values(values)
            .build()
            .map_err(|_| incomplete("transaction"))?;
        Ok(TransactWriteItem::builder().put(put).build())
    }
}

impl Jobs for DynamoStore {
    async fn start_job(&self, job: &Job) -> Result<Started, StoreError> {
        let slot = job.slot();
        // Each round another start has won the slot.
        for _ in 0..5 {
            let holder = self.holder(&slot).await?;
            if let Some(holder) = &holder
                && let Some(running) = self.job(holder).await?.filter(Job::is_running)
            {
                return Ok(Started::Running(Box::new(running)));
            }
            let (condition, values) = match &holder {
                None => ("attribute_not_exists(pk)", None),
                Some(holder) => {
                    let values = HashMap::from([(":held".to_owned(), text(holder.to_string()))]);
                    ("job = :held", Some(values))
                }
            };
            let absent = "attribute_not_exists(pk)";
            let actions = vec![
                self.put_if(self.listed_job(format!("slot#{slot}"), &job.id), condition, values)?,
                self.put_if(self.listed_job(job.id.to_string(), &job.id), absent, None)?,
                self.put_if(self.job_item(job)?, absent, None)?,
            ];
            if transact(self.client(), actions).await?.is_ok() {
                return Ok(Started::New(job.version + 1));
            }
        }
        let code = "too many starts of one job".to_owned();
        Err(StoreError::Unavailable { operation: "write", code })
    }

    async fn put_job(&self, job: &Job) -> Result<PutJob, StoreError> {
        let is_put = self.put_over(self.job_item(job)?, job.version).await?;
        Ok(if is_put { PutJob::Stored(job.version + 1) } else { PutJob::Conflict })
    }

    async fn job(&self, id: &Name) -> Result<Option<Job>, StoreError> {
        let item = self.item(job_pk(id), JOB.to_owned()).await?;
        item.map(|item| from_item("job", item)).transpose()
    }

    async fn jobs(&self) -> Result<Vec<Job>, StoreError> {
        let answer = self
            .client()
            .query()
            .table_name(self.table())
            // Ids begin with a digit, and slots do not.
            .key_condition_expression("pk = :pk AND sk < :slots")
            .expression_attribute_values(":pk", text(LIST.to_owned()))
            .expression_attribute_values(":slots", text("slot#".to_owned()))
            .scan_index_forward(false)
            .limit(MOST_LISTED as i32)
            .send()
            .await
            .map_err(|error| fault("query", &error))?;
        let mut jobs = Vec::new();
        for item in answer.items.unwrap_or_default() {
            let id = item.get("job").and_then(|id| id.as_s().ok());
            let Some(id) = id.and_then(|id| Name::new("job", id).ok()) else { continue };
            jobs.extend(self.job(&id).await?);
        }
        Ok(jobs)
    }

    async fn put_gap(&self, gap: &Gap) -> Result<(), StoreError> {
        let mut item = to_item("gap", gap)?;
        item.insert("pk".into(), text(gap_pk(&gap.provider, &gap.source)));
        item.insert("sk".into(), text(format!("{}#{}", gap.day, gap.job)));
        item.insert("expires_at".into(), self.expires_at());
        self.put_item(item).await
    }

    async fn gaps(
        &self,
        provider: &Name,
        source: &Name,
        since: Date,
    ) -> Result<Vec<Gap>, StoreError> {
        let query = self
            .client()
            .query()
            .table_name(self.table())
            .key_condition_expression("pk = :pk AND sk >= :since")
            .expression_attribute_values(":pk", text(gap_pk(provider, source)))
            .expression_attribute_values(":since", text(since.to_string()));
        all(query).await?.into_iter().map(|item| from_item("gap", item)).collect()
    }
}

fn gap_pk(provider: &Name, source: &Name) -> String {
    format!("gap#{provider}#{source}")
}
