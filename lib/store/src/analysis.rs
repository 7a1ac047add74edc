//! An analysis in the table: the item `analysis` of a call, and one item `task#<n>` for each task.

use aws_sdk_dynamodb::types::{Delete, Put, TransactWriteItem};
use switchboard_domain::analysis::Task;
use switchboard_domain::{Analysis, CallKey, CallRecord};

use crate::StoreError;
use crate::dynamodb::{
    DynamoStore, Item, call_pk, damaged, from_item, incomplete, number, primary_key, text, to_item,
};

const ANALYSIS: &str = "analysis";
const TASK: &str = "task#";
/// No analysis has more tasks.
const MOST_TASKS: usize = 20;
/// How often an analysis is read that is replaced meanwhile.
const ROUNDS: usize = 5;

fn task_sk(n: usize) -> String {
    format!("{TASK}{:02}", n + 1)
}

impl DynamoStore {
    /// What a transaction does to write an analysis, beside writing the call on condition.
    pub(crate) fn analysis_actions(
        &self,
        record: &CallRecord,
        analysis: &Analysis,
    ) -> Result<Vec<TransactWriteItem>, StoreError> {
        if analysis.tasks.len() > MOST_TASKS {
            return Err(damaged(ANALYSIS, "it has more than 20 tasks"));
        }
        let digest = analysis.digest();
        let mut item = to_item(ANALYSIS, analysis)?;
        item.remove("tasks");
        item.insert("task_count".into(), number(analysis.tasks.len() as i64));
        item.insert("digest".into(), text(digest.to_string()));
        let mut actions = vec![self.put_beside(record, ANALYSIS.to_owned(), item)?];
        for (n, task) in analysis.tasks.iter().enumerate() {
            let mut item = to_item("task", task)?;
            item.insert("digest".into(), text(digest.to_string()));
            actions.push(self.put_beside(record, task_sk(n), item)?);
        }
        // An earlier analysis may have had more.
        let earlier = record.analysis.as_ref().is_some_and(|mark| mark.runs > 1);
        for n in (analysis.tasks.len()..MOST_TASKS).filter(|_| earlier) {
            let delete = Delete::builder()
                .table_name(self.table())
                .set_key(Some(primary_key(call_pk(&record.key), task_sk(n))))
                .build()
                .map_err(|_| incomplete("transaction"))?;
            actions.push(TransactWriteItem::builder().delete(delete).build());
        }
        Ok(actions)
    }

    fn put_beside(
        &self,
        record: &CallRecord,
        sk: String,
        mut item: Item,
    ) -> Result<TransactWriteItem, StoreError> {
        item.extend(primary_key(call_pk(&record.key), sk));
        item.insert("expires_at".into(), self.expires_at());
        let put = Put::builder().table_name(self.table()).set_item(Some(item));
        let put = put.build().map_err(|_| incomplete("transaction"))?;
        Ok(TransactWriteItem::builder().put(put).build())
    }

    /// The analysis of a call: one read, and one more where it has tasks.
    pub(crate) async fn read_analysis(
        &self,
        key: &CallKey,
    ) -> Result<Option<Analysis>, StoreError> {
        for _ in 0..ROUNDS {
            let Some(item) = self.item(call_pk(key), ANALYSIS.to_owned()).await? else {
                return Ok(None);
            };
            let word = |item: &Item, name: &str| item.get(name)?.as_s().ok().cloned();
            let digest = word(&item, "digest");
            let count = item.get("task_count").and_then(|count| count.as_n().ok()?.parse().ok());
            let count: usize =
                count.ok_or_else(|| damaged(ANALYSIS, "it does not count its tasks"))?;
            let mut analysis: Analysis = from_item(ANALYSIS, item)?;
            if count > 0 {
                let tasks = self.items(call_pk(key), TASK).await?;
                if tasks.len() != count || tasks.iter().any(|task| word(task, "digest") != digest) {
                    // Another analysis was put between the two reads.
                    continue;
                }
                let tasks = tasks.into_iter().map(|task| from_item::<Task>("task", task));
                analysis.tasks = tasks.collect::<Result<_, _>>()?;
            }
            return Ok(Some(analysis));
        }
        Err(damaged(ANALYSIS, "its tasks are not those that it counts"))
    }
}
