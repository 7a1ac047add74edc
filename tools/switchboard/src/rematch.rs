//! Matching calls again after a change of the directory.
//!
//! The command links nothing itself: a call whose contact or employee has changed owes `enrich` again,
//! which links it as it links a call that has just ended.

use clap::Args;
use jiff::Timestamp;
use switchboard_domain::{CallKey, CallRecord, Person, Work, plan};
use switchboard_flow::people;
use switchboard_people::matching;
use switchboard_providers::Source;
use switchboard_store::{Directory, Put, Store};

use crate::configured::Configured;
use crate::replay::Report;
use crate::{Answer, Failure, Range, Table};

/// How often a write is tried against other writers of the same call.
const ROUNDS: usize = 60;

/// Arguments of the command.
#[derive(Args)]
pub struct Rematch {
    /// One call: provider/source/call id.
    #[arg(
        required_unless_present_any = ["since", "until"],
        conflicts_with_all = ["since", "until"]
    )]
    key: Option<CallKey>,
    #[command(flatten)]
    range: Range,
    /// Report what would change, and write nothing.
    #[arg(long)]
    dry_run: bool,
    /// The retention of written items, days: the stack's parameter RetentionDays.
    #[arg(long, env = "RETENTION_DAYS", default_value_t = crate::RETENTION_DAYS)]
    pub retention_days: u32,
    #[command(flatten)]
    pub table: Table,
    /// The table of contacts and employees: the stack's output DirectoryTableName.
    #[arg(long = "directory-table", env = "DIRECTORY_TABLE", value_name = "TABLE")]
    pub directory: String,
}

/// The result of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct RateCounter {
    /// Calls that were read.
    read: u64,
    /// Calls with another contact or employee, or with another reason for none.
    changed: u64,
    /// Calls without a change.
    same: u64,
    /// Calls that owe `enrich` already.
    due: u64,
    /// Calls that are not delivered: in progress, or legs of other calls.
    undelivered: u64,
}

impl Rematch {
    /// Runs the command, and returns its summary.
    pub async fn run(
        &self,
        store: &Store,
        directory: &Directory,
        configured: &Configured,
        report: &mut Report<'_>,
    ) -> Result<Answer, Failure> {
        let now = Timestamp::now();
        let mut tally = RateCounter::default();
        let done = self.each(store, directory, configured, now, &mut tally, report).await;
        report.bar.finish_and_clear();
        done?;
        let RateCounter { read, changed, same, due, undelivered } = tally;
        let mut text = format!("{read} read: {changed} matched again, {same} unchanged");
        for (count, what) in [(due, "due already"), (undelivered, "not delivered")] {
            if count > 0 {
                text.push_str(&format!(", {count} {what}"));
            }
        }
        text.push_str(if self.dry_run { ". Nothing was written" } else { "" });
        Ok(Answer::Text(text))
    }

    async fn each(
        &self,
        store: &Store,
        directory: &Directory,
        configured: &Configured,
        now: Timestamp,
        tally: &mut RateCounter,
        report: &mut Report<'_>,
    ) -> Result<(), Failure> {
        let task = Task { store, directory, configured, now, dry_run: self.dry_run };
        if let Some(key) = &self.key {
            let record = store.call(key).await?;
            let record = record.ok_or_else(|| Failure::Wrong(format!("{key} is not stored")))?;
            return task.call(record, tally, report).await;
        }
        report.begin(None);
        let (between, mut page) = (self.range.between(), None);
        loop {
            let read = store.calls_page(None, page).await?;
            for record in read.items {
                report.bar.inc(1);
                if record.updates.values().any(|update| between.holds(update.received_at)) {
                    task.call(record, tally, report).await?;
                }
            }
            page = read.next;
            if page.is_none() {
                return Ok(());
            }
        }
    }
}

/// The stores and settings of a run.
struct Task<'a> {
    store: &'a Store,
    directory: &'a Directory,
    configured: &'a Configured,
    now: Timestamp,
    dry_run: bool,
}

impl Task<'_> {
    async fn call(
        &self,
        mut record: CallRecord,
        tally: &mut RateCounter,
        report: &mut Report<'_>,
    ) -> Result<(), Failure> {
        tally.read += 1;
        let unknown = Source::default();
        let source = self.configured.source(&record.key).unwrap_or(&unknown);
        for _ in 0..ROUNDS {
            if record.owed.contains_key(&Work::Enrich) {
                tally.due += 1;
                return Ok(());
            }
            if !record.call.has_ended() || !plan::is_delivered(&record.call, source.legs) {
                tally.undelivered += 1;
                return Ok(());
            }
            let Some(line) = self.change(&record, source).await? else {
                tally.same += 1;
                return Ok(());
            };
            let mut next = record.clone();
            next.owed.insert(Work::Enrich, self.now);
            if !self.dry_run {
                match self.store.put_call(&next).await? {
                    Put::Stored(_) => {}
                    Put::Conflict(stored) => {
                        record = *stored;
                        continue;
                    }
                }
            }
            tally.changed += 1;
            report.line(&line);
            return Ok(());
        }
        Err(Failure::Aws(format!("other writers keep changing {}: retry", record.key)))
    }

    /// The changes of a call's contact and employee, without a number or a name.
    async fn change(
        &self,
        record: &CallRecord,
        source: &Source,
    ) -> Result<Option<String>, Failure> {
        let known = people::who(self.directory, record, source, false, self.now).await?;
        let after = &known.people;
        let creates = source.creates_contacts()
            && matching::to_create(&record.call, after, &record.people).is_some();
        let sides = [
            ("contact", &record.people.contact, &after.contact, creates),
            ("employee", &record.people.employee, &after.employee, false),
        ];
        let changes: Vec<String> = sides
            .into_iter()
            .filter_map(|(name, before, after, creates)| {
                let (before, mut after) = (side(before.as_ref()), side(after.as_ref()));
                if creates {
                    "a new one (created)".clone_into(&mut after);
                }
                (before != after).then(|| format!("{name} {before} → {after}"))
            })
            .collect();
        Ok((!changes.is_empty()).then(|| format!("call {}: {}", record.key, changes.join(", "))))
    }
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

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use indicatif::ProgressBar;
    use switchboard_domain::directory::{Contact, ContactKind, Origin};
    use switchboard_domain::{Name, Personal};
    use switchboard_store::{Directory, Store};

    use super::*;
    use crate::replay::testing::{WHOLE, at, configured, post, text};
    use crate::{Arguments, Command};

    const CALL: &str = "asterisk/asterisk-main/1708416000.1";
    const INTAKE: &str = "/api/crm/intake/calls?source=asterisk-main";

    async fn rematch(store: &Store, directory: &Directory, arguments: &str) -> String {
        let line =
            format!("switchboard rematch {arguments} --table calls --directory-table people");
        let arguments = Arguments::try_parse_from(line.split_whitespace());
        let arguments = arguments.unwrap_or_else(|error| panic!("{error}"));
        let Command::Rematch(rematch) = arguments.command else { panic!() };
        let mut said = String::new();
        let mut say = |line: &str| said.push_str(&format!("{line}\n"));
        let mut report = Report { say: &mut say, bar: ProgressBar::hidden() };
        let summary = text(rematch.run(store, directory, &configured(), &mut report).await);
        said + &summary
    }

    fn kim() -> Contact {
        Contact {
            id: Name::new("contact", "kim").unwrap(),
            kind: ContactKind::Client,
            name: Some(Personal::new("Kim Example")),
            numbers: [Personal::new("+79991234567")].into(),
            emails: Default::default(),
            external_ids: Default::default(),
            status: None,
            last_contacted_at: None,
            known_as: Default::default(),
            origin: Origin::Import,
            updated_at: at(0),
            version: 0,
        }
    }

    /// As `enrich` leaves it.
    async fn enriched(store: &Store, directory: &Directory) -> CallRecord {
        let mut record = store.call(&CALL.parse().unwrap()).await.unwrap().unwrap();
        record.owed.clear();
        let source = Source::default();
        let known = people::who(directory, &record, &source, false, at(5)).await.unwrap();
        record.people = known.people;
        store.put_call(&record).await.unwrap();
        store.call(&record.key).await.unwrap().unwrap()
    }

    #[tokio::test]
    async fn a_call_with_a_changed_contact_owes_enrich_and_others_stay() {
        let (store, directory) = (Store::in_memory(), Directory::in_memory());
        post(&store, INTAKE, at(1), WHOLE).await;
        let said = rematch(&store, &directory, CALL).await;
        assert_eq!(said, "1 read: 0 matched again, 0 unchanged, 1 due already");

        let before = enriched(&store, &directory).await;
        assert!(
            rematch(&store, &directory, CALL)
                .await
                .starts_with("1 read: 0 matched again, 1 unchanged")
        );
        directory.put_contact(&kim()).await.unwrap();
        let line = format!("call {CALL}: contact none (unknown) → kim (number)\n");
        let range = "--since 2026-02-20 --until 2026-02-21";
        let foretold = rematch(&store, &directory, &format!("{range} --dry-run")).await;
        assert_eq!(
            foretold,
            format!("{line}1 read: 1 matched again, 0 unchanged. Nothing was written")
        );
        assert_eq!(store.calls(), [before]);

        let said = rematch(&store, &directory, range).await;
        assert_eq!(said, format!("{line}1 read: 1 matched again, 0 unchanged"));
        let after = store.call(&CALL.parse().unwrap()).await.unwrap().unwrap();
        assert!(after.owed.contains_key(&Work::Enrich));
        // What it was linked to stays until `enrich` has taken it off that timeline.
        assert_eq!(after.people.contact.unwrap().entry, None);
        assert!(rematch(&store, &directory, range).await.ends_with("1 due already"));

        enriched(&store, &directory).await;
        assert!(
            rematch(&store, &directory, range)
                .await
                .starts_with("1 read: 0 matched again, 1 unchanged")
        );
        assert_eq!(
            rematch(&store, &directory, "--since 2026-02-21").await,
            "0 read: 0 matched again, 0 unchanged"
        );
    }

    #[tokio::test]
    async fn a_call_that_was_never_matched_may_create_a_contact() {
        let (store, directory) = (Store::in_memory(), Directory::in_memory());
        post(&store, INTAKE, at(1), WHOLE).await;
        let mut record = enriched(&store, &directory).await;
        record.people = switchboard_people::of(&record.call, None);
        store.put_call(&record).await.unwrap();
        let said = rematch(&store, &directory, &format!("{CALL} --dry-run")).await;
        assert!(said.contains("contact none (never matched) → a new one (created)"), "{said}");
        assert_eq!(directory.all_contacts(), []);
    }
}
