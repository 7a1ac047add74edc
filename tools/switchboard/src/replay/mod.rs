//! Parsing stored messages again, with the current mapping.
//!
//! The command sends nothing: follow-ups are stored as due, and the sweep sends them.

mod bodies;
mod calls;
mod changes;
#[cfg(test)]
pub mod testing;
#[cfg(test)]
mod tests;

use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use jiff::Timestamp;
use switchboard_domain::{CallKey, Name};
use switchboard_providers::provider;
use switchboard_store::Store;

use crate::configured::Configured;
use crate::{Answer, Failure, Range, Table};

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
        configured: &Configured,
        report: &mut Report<'_>,
    ) -> Result<Answer, Failure> {
        let dry_run = self.how().dry_run;
        let now = Timestamp::now();
        // A dry run takes the very way of the run, and keeps what it writes to itself.
        let store = &if dry_run { store.dry_run() } else { store.clone() };
        let tally = self.act(&Replayer { store, configured, now }, report).await;
        report.bar.finish_and_clear();
        Ok(Answer::Text(tally?.sum(dry_run)))
    }

    async fn act(
        &self,
        replayer: &Replayer<'_>,
        report: &mut Report<'_>,
    ) -> Result<RateCounter, Failure> {
        match self {
            Self::Quarantine { provider: name, id, range, .. } => {
                let unknown = || Failure::Wrong(format!("there is no provider {name}"));
                let known = provider(name.as_str()).ok_or_else(unknown)?;
                replayer.bodies(known, name, id.as_deref(), &range.between(), report).await
            }
            Self::Calls { which, .. } => match &which.key {
                Some(key) => replayer.one_call(key, report).await,
                None => {
                    let between = which.range.between();
                    replayer.calls(which.provider.as_ref(), &between, report).await
                }
            },
        }
    }
}

/// Parses messages again.
struct Replayer<'a> {
    store: &'a Store,
    configured: &'a Configured,
    /// The time of the replay.
    now: Timestamp,
}

/// The output and progress of a long command.
pub struct Report<'a> {
    /// Prints a line.
    pub say: &'a mut dyn FnMut(&str),
    /// Progress on standard error, if that is a terminal.
    pub bar: ProgressBar,
}

impl Report<'_> {
    /// Prints a line without disturbing the progress bar.
    pub fn line(&mut self, text: &str) {
        let Self { say, bar } = self;
        bar.suspend(|| say(text));
    }

    /// Starts the progress bar, with the total if it is known.
    pub fn begin(&self, count: Option<usize>) {
        let known = "{bar:30} {pos} of {len}, {eta} left";
        let template =
            if count.is_some() { known } else { "{spinner} {pos} calls read, {elapsed}" };
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.bar.set_style(style);
        }
        if let Some(count) = count {
            self.bar.set_length(count as u64);
        }
    }
}

/// The result of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct RateCounter {
    /// Bodies or calls that were read.
    read: u64,
    /// Calls that were not stored before.
    new: u64,
    /// Stored calls that changed.
    changed: u64,
    /// Calls without a change.
    same: u64,
    /// Bodies or updates that cannot be parsed, or not be read from the store.
    unread: u64,
    /// Bodies that were removed from quarantine.
    released: u64,
    /// Writes that the store refused.
    refused: u64,
}

impl RateCounter {
    fn sum(&self, dry_run: bool) -> String {
        let Self { read, new, changed, same, unread, released, refused } = self;
        let mut text = format!(
            "{read} read: {new} new calls, {changed} changed, {same} unchanged; \
             {unread} still invalid"
        );
        if *released > 0 {
            text.push_str(&format!("; {released} removed from quarantine"));
        }
        if *refused > 0 {
            text.push_str(&format!("; {refused} refused by the table"));
        }
        if dry_run { format!("{text}. Nothing was written") } else { text }
    }
}
