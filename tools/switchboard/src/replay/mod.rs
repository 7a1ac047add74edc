//! Parsing stored messages again, with the current mapping.

#[cfg(test)]
pub mod testing;
#[cfg(test)]
mod tests;

use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use jiff::Timestamp;
use switchboard_domain::{CallKey, Name};
use switchboard_flow::Configuration;
use switchboard_flow::replay::{self, Counts, Progress};
use switchboard_providers::provider;
use switchboard_store::Store;

use crate::{Answer, Failure, Range, Table, quarantine};

/// The messages to parse again.
#[derive(Subcommand)]
pub enum Replay {
    /// Bodies in quarantine: those that can now be parsed are processed like webhooks and removed.
    Quarantine {
        /// The provider whose webhook received them, as intake.
        #[arg(value_parser = crate::provider_name)]
        provider: Name,
        /// Only the body with this id or beginning of an id.
        #[arg(long)]
        id: Option<String>,
        #[command(flatten)]
        range: Range,
        #[command(flatten)]
        how: How,
    },
    /// Stored updates of calls: each is parsed again, and a changed call owes its follow-ups again.
    Calls {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        how: How,
    },
}

/// The calls to parse again.
#[derive(Args)]
pub struct Which {
    /// One call: provider/source/call id.
    #[arg(
        required_unless_present_any = ["provider", "since", "until"],
        conflicts_with_all = ["provider", "since", "until"]
    )]
    key: Option<CallKey>,
    /// Calls of one provider: the first part of their keys.
    #[arg(long, value_parser = crate::provider_name)]
    provider: Option<Name>,
    #[command(flatten)]
    range: Range,
}

/// Options of a replay.
#[derive(Args)]
pub struct How {
    /// Report what would change, and write nothing.
    #[arg(long)]
    dry_run: bool,
    /// The retention of written items, days: the stack's parameter RetentionDays.
    #[arg(long, env = "RETENTION_DAYS", default_value_t = crate::RETENTION_DAYS)]
    pub retention_days: u32,
    #[command(flatten)]
    pub table: Table,
}

impl Replay {
    /// The options.
    pub fn how(&self) -> &How {
        match self {
            Self::Quarantine { how, .. } | Self::Calls { how, .. } => how,
        }
    }

    /// Runs the command, and returns its summary.
    pub async fn run(
        &self,
        store: &Store,
        configuration: &Configuration,
        report: &mut Report<'_>,
    ) -> Result<Answer, Failure> {
        let dry_run = self.how().dry_run;
        // A dry run takes the very way of the run, and keeps what it writes to itself.
        let store = &if dry_run { store.dry_run() } else { store.clone() };
        let (now, counts) = (Timestamp::now(), Counts::default());
        let mut run = replay::Replay { store, configuration, now, progress: report, counts };
        let done = self.act(&mut run).await;
        let counts = run.counts;
        report.bar.finish_and_clear();
        done?;
        Ok(Answer::Text(summary(&counts, dry_run)))
    }

    async fn act(&self, run: &mut replay::Replay<'_>) -> Result<(), Failure> {
        match self {
            Self::Quarantine { provider: name, id, range, .. } => {
                let unknown = || Failure::Wrong(format!("there is no provider {name}"));
                let provider = provider(name.as_str()).ok_or_else(unknown)?;
                let between = range.between();
                let mut found = match id {
                    Some(id) => quarantine::find_one(run.store, name, &between, id).await?,
                    None => quarantine::find(run.store, name, &between, usize::MAX).await?,
                };
                // The oldest first.
                found.reverse();
                run.bodies(provider, &found).await?;
            }
            Self::Calls { which, .. } => match &which.key {
                Some(key) => run.call(key).await?,
                None => run.calls(which.provider.as_ref(), &which.range.between()).await?,
            },
        }
        Ok(())
    }
}

/// The output and progress of a long command.
pub struct Report<'a> {
    /// Prints a line.
    pub say: &'a mut dyn FnMut(&str),
    /// Progress on standard error, if that is a terminal.
    pub bar: ProgressBar,
}

impl Progress for Report<'_> {
    fn begin(&mut self, total: Option<usize>) {
        let known = "{bar:30} {pos} of {len}, {eta} left";
        let template =
            if total.is_some() { known } else { "{spinner} {pos} calls read, {elapsed}" };
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.bar.set_style(style);
        }
        if let Some(total) = total {
            self.bar.set_length(total as u64);
        }
    }

    fn read(&mut self) {
        self.bar.inc(1);
    }

    /// Prints a line without disturbing the progress bar.
    fn line(&mut self, text: &str) {
        let Self { say, bar } = self;
        bar.suspend(|| say(text));
    }
}

fn summary(counts: &Counts, dry_run: bool) -> String {
    let Counts { read, new, changed, same, unread, released, refused } = counts;
    let mut text = format!(
        "{read} read: {new} new calls, {changed} changed, {same} unchanged; {unread} still invalid"
    );
    if *released > 0 {
        text.push_str(&format!("; {released} removed from quarantine"));
    }
    if *refused > 0 {
        text.push_str(&format!("; {refused} refused by the table"));
    }
    if dry_run { format!("{text}. Nothing was written") } else { text }
}
