//! Matching calls again after a change of the directory.

use clap::Args;
use jiff::Timestamp;
use switchboard_domain::CallKey;
use switchboard_flow::Configuration;
use switchboard_flow::rematch;
use switchboard_store::{Directory, Store};

use crate::replay::Report;
use crate::{Answer, Failure, Range, Table};

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

impl Rematch {
    /// Runs the command, and returns its summary.
    pub async fn run(
        &self,
        store: &Store,
        directory: &Directory,
        configuration: &Configuration,
        report: &mut Report<'_>,
    ) -> Result<Answer, Failure> {
        // A dry run takes the very way of the run, and keeps what it writes to itself.
        let store = &if self.dry_run { store.dry_run() } else { store.clone() };
        let (now, counts) = (Timestamp::now(), rematch::Counts::default());
        let mut run =
            rematch::Rematch { store, directory, configuration, now, progress: report, counts };
        let done = match &self.key {
            Some(key) => run.call(key).await,
            None => run.calls(&self.range.between()).await,
        };
        let rematch::Counts { read, changed, same, due, undelivered, deliveries } = run.counts;
        report.bar.finish_and_clear();
        done?;
        let mut text = format!("{read} read: {changed} matched again, {same} unchanged");
        for (count, what) in [(due, "due already"), (undelivered, "not delivered")] {
            if count > 0 {
                text.push_str(&format!(", {count} {what}"));
            }
        }
        if changed > 0 {
            text.push_str(&format!("; {deliveries} deliveries (call.updated)"));
        }
        text.push_str(if self.dry_run { ". Nothing was written" } else { "" });
        Ok(Answer::Text(text))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use indicatif::ProgressBar;
    use switchboard_domain::directory::{Contact, ContactKind, Origin};
    use switchboard_domain::{CallRecord, Name, Personal, Work};
    use switchboard_flow::people;
    use switchboard_providers::Source;
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
            format!(
                "{line}1 read: 1 matched again, 0 unchanged; 0 deliveries (call.updated). Nothing was written"
            )
        );
        assert_eq!(store.calls(), [before]);

        let said = rematch(&store, &directory, range).await;
        assert_eq!(
            said,
            format!("{line}1 read: 1 matched again, 0 unchanged; 0 deliveries (call.updated)")
        );
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
