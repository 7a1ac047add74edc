//! Analyses of calls: the item `analysis` of a call, and one item for each task.

use switchboard_domain::analysis::Task;
use switchboard_domain::{Analysis, CallKey, CallRecord};

use crate::item::{damaged, from_item, number, text, to_item};
use crate::table::{Query, Range, Write, number_of, text_of};
use crate::{Store, StoreError, keys};

/// The most tasks of an analysis.
const MOST_TASKS: usize = 20;
/// How often an analysis is read that is replaced meanwhile.
const ROUNDS: usize = 5;

impl Store {
    /// The writes of an analysis, beside that of its call.
    pub(crate) fn analysis_writes(
        &self,
        record: &CallRecord,
        analysis: &Analysis,
    ) -> Result<Vec<Write>, StoreError> {
        let count = analysis.tasks.len();
        if count > MOST_TASKS {
            return Err(damaged("analysis", "it has more than 20 tasks"));
        }
        let digest = text(analysis.digest().to_string());
        let mut item = to_item("analysis", analysis, keys::analysis(&record.key))?;
        item.remove("tasks");
        item.insert("task_count".into(), number(count as i64));
        let mut items = vec![item];
        for (n, task) in analysis.tasks.iter().enumerate() {
            items.push(to_item("task", task, keys::task(&record.key, n))?);
        }
        for item in &mut items {
            item.insert("digest".into(), digest.clone());
            item.insert("expires_at".into(), self.expires_at());
        }
        // An earlier analysis may have had more.
        let earlier = record.analysis.as_ref().is_some_and(|mark| mark.runs > 1);
        let left = (count..MOST_TASKS).filter(|_| earlier);
        let deletions = left.map(|n| Write::delete(keys::task(&record.key, n)));
        Ok(items.into_iter().map(Write::put).chain(deletions).collect())
    }

    /// Reads a call's analysis with its tasks, consistently: one read, and one more where it has tasks.
    pub async fn analysis(&self, key: &CallKey) -> Result<Option<Analysis>, StoreError> {
        for _ in 0..ROUNDS {
            let Some(item) = self.table.get(&keys::analysis(key)).await? else { return Ok(None) };
            let digest = text_of(&item, "digest").map(str::to_owned);
            let count: Option<usize> = number_of(&item, "task_count");
            let count = count.ok_or_else(|| damaged("analysis", "it does not count its tasks"))?;
            let mut analysis: Analysis = from_item("analysis", item)?;
            if count > 0 {
                let tasks = Range::Prefix(keys::TASKS.to_owned());
                let tasks = self.all(Query::of(keys::call_pk(key)).within(tasks)).await?;
                let is_other = |task| text_of(task, "digest") != digest.as_deref();
                if tasks.len() != count || tasks.iter().any(is_other) {
                    // Another analysis was put between the two reads.
                    continue;
                }
                let tasks = tasks.into_iter().map(|task| from_item::<Task>("task", task));
                analysis.tasks = tasks.collect::<Result<_, _>>()?;
            }
            return Ok(Some(analysis));
        }
        Err(damaged("analysis", "its tasks are not those that it counts"))
    }
}
