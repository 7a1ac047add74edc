//! `rematch`: matches calls again after a change of the directory.
//!
//! It links nothing itself: a call whose contact or employee has changed owes `enrich` again, which links
//! it as it links a call that has just ended.

use jiff::Timestamp;
use switchboard_domain::{CallKey, CallRecord, Name, People, Person, Work, plan};
use switchboard_people::matching;
use switchboard_providers::Source;
use switchboard_store::{Between, Directory, Store, StoreError};

use crate::configuration::Configuration;
use crate::people;
use crate::planning;
use crate::replay::{self, Progress, Stopped, each_call, is_between};
use crate::update::{Also, update};

/// Matches calls again.
pub struct Rematch<'a> {
    /// Where calls are. In a dry run, one that keeps what it is given to itself.
    pub store: &'a Store,
    /// Where contacts and employees are.
    pub directory: &'a Directory,
    /// The sources and destinations.
    pub configuration: &'a Configuration,
    /// The time of the run.
    pub now: Timestamp,
    /// What is shown of it.
    pub progress: &'a mut dyn Progress,
    /// The result so far.
    pub counts: Counts,
}

/// The result of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Calls that were read.
    pub read: u64,
    /// Calls with another contact or employee, or with another reason for none.
    pub changed: u64,
    /// Calls without a change.
    pub same: u64,
    /// Calls that owe `enrich` already.
    pub due: u64,
    /// Calls that are not delivered: in progress, or legs of other calls.
    pub undelivered: u64,
    /// Deliveries that follow: `call.updated` to destinations that received the call and take updates.
    pub deliveries: u64,
}

impl Rematch<'_> {
    /// Matches one call.
    pub async fn call(&mut self, key: &CallKey) -> Result<(), Stopped> {
        self.rematch(replay::call(self.store, key).await?).await
    }

    /// Matches every call with an update in a range of time.
    pub async fn calls(&mut self, between: &Between) -> Result<(), Stopped> {
        self.progress.begin(None);
        each_call(self.store, None, async |record| {
            self.progress.read();
            if is_between(&record, between) { self.rematch(record).await } else { Ok(()) }
        })
        .await
    }

    async fn rematch(&mut self, record: CallRecord) -> Result<(), Stopped> {
        self.counts.read += 1;
        let unknown = Source::default();
        let source = self.configuration.source(&record.key).unwrap_or(&unknown);
        let (_, written) = update(self.store, record, async |next: &mut CallRecord| {
            let unchanged = if next.owed.contains_key(&Work::Enrich) {
                &mut self.counts.due
            } else if !next.call.has_ended() || !plan::is_delivered(&next.call, source.legs) {
                &mut self.counts.undelivered
            } else if let Some(change) = change(self.directory, next, source, self.now).await? {
                // A call of releases that did not store this; whatever is configured since gets nothing.
                let now = next.as_planned();
                next.planned.get_or_insert(now);
                let mut linked = next.clone();
                linked.people = change.people;
                let plan = planning::plan(self.store, &linked, self.configuration).await?;
                next.owed.insert(Work::Enrich, self.now);
                return Ok::<_, StoreError>(Some((Also::Nothing, (change.line, plan.new.len()))));
            } else {
                &mut self.counts.same
            };
            *unchanged += 1;
            Ok(None)
        })
        .await?;
        if let Some((_, (line, deliveries))) = written {
            self.counts.changed += 1;
            self.counts.deliveries += deliveries as u64;
            self.progress.line(&line);
        }
        Ok(())
    }
}

/// A change of a call's contact or employee.
struct Change {
    /// Who is on the call; a contact that is to be created stands under the id of none.
    people: People,
    /// The change, without a number or a name.
    line: String,
}

/// The changes of a call's contact and employee.
async fn change(
    directory: &Directory,
    record: &CallRecord,
    source: &Source,
    now: Timestamp,
) -> Result<Option<Change>, StoreError> {
    let mut after = people::who(directory, record, source, false, now).await?.people;
    let creates = source.creates_contacts()
        && matching::to_create(&record.call, &after, &record.people).is_some();
    let sides = [
        ("contact", &record.people.contact, &after.contact, creates),
        ("employee", &record.people.employee, &after.employee, false),
    ];
    let changes: Vec<String> = sides
        .into_iter()
        .filter_map(|(name, before, after, creates)| {
            let before = side(before.as_ref());
            let after =
                if creates { "a new one (created)".to_owned() } else { side(after.as_ref()) };
            (before != after).then(|| format!("{name} {before} → {after}"))
        })
        .collect();
    if changes.is_empty() {
        return Ok(None);
    }
    let line = format!("call {}: {}", record.key, changes.join(", "));
    if let Some(contact) = after.contact.as_mut().filter(|_| creates) {
        contact.entry = Name::new("contact", "to-be-created").ok();
    }
    Ok(Some(Change { people: after, line }))
}

/// The linked entry of a side, by id, and the reason.
fn side(person: Option<&Person>) -> String {
    let Some(person) = person else { return "–".to_owned() };
    let reason = person.reason().unwrap_or("never matched");
    match &person.entry {
        Some(entry) => format!("{entry} ({reason})"),
        None => format!("none ({reason})"),
    }
}
