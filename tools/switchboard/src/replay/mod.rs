//! Reading what is kept once more, with the mapping of today.
//!
//! Nothing is sent from here: what a call owes afterwards is stored as due, and the sweep sees to it.

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

/// What is read once more.
#[derive(Subcommand)]
pub enum Replay {
    /// Bodies in quarantine: what is understood by now goes the way of a webhook and is taken out.
    Quarantine {
        /// Whose webhook they came to, as intake.
        #[arg(value_parser = crate::provider_name)]
        provider: Name,
        /// Only this one, by its id or the beginning of it.
        #[arg(long)]
        id: Option<String>,
        #[command(flatten)]
        range: Range,
        #[command(flatten)]
        how: How,
    },
    /// Stored messages of calls: each is read anew, and a call that changes owes its follow-ups anew.
    Calls {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        how: How,
    },
}

/// Which calls.
#[derive(Args)]
pub struct Which {
    /// One call: provider/source/call id.
    #[arg(
        required_unless_present_any = ["provider", "since", "until"],
        conflicts_with_all = ["provider", "since", "until"]
    )]
    key: Option<CallKey>,
    /// Those of one provider, as it stands first in their keys.
    #[arg(long, value_parser = crate::provider_name)]
    provider: Option<Name>,
    #[command(flatten)]
    range: Range,
}

/// How it is done.
#[derive(Args)]
pub struct How {
    /// Say what would change, and write nothing.
    #[arg(long)]
    dry_run: bool,
    /// After how many days what is written is deleted: the stack's parameter RetentionDays.
    #[arg(long, env = "RETENTION_DAYS", default_value_t = crate::RETENTION_DAYS)]
    pub retention_days: u32,
    #[command(flatten)]
    pub table: Table,
}

impl Replay {
    /// How it is done.
    pub fn how(&self) -> &How {
        match self {
            Self::Quarantine { how, .. } | Self::Calls { how, .. } => how,
        }
    }

    /// Does it, and sums it up.
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

/// Reads things once more.
struct Replayer<'a> {
    store: &'a Store,
    configured: &'a Configured,
    /// When all of it takes place.
    now: Timestamp,
}

/// Where a long command says what it finds, and how far it is.
pub struct Report<'a> {
    /// Takes a line.
    pub say: &'a mut dyn FnMut(&str),
    /// On standard error, if that is a terminal.
    pub bar: ProgressBar,
}

impl Report<'_> {
    /// Says something.
    pub fn line(&mut self, text: &str) {
        let Self { say, bar } = self;
        bar.suspend(|| say(text));
    }

    /// Begins to count, of so many if that is known.
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

/// What came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct RateCounter {
    /// Bodies or calls that were read.
    read: u64,
    /// Calls that nobody knew.
    new: u64,
    /// Known calls that are another by now.
    changed: u64,
    /// Calls that are as they were.
    same: u64,
    /// Bodies or messages that are not understood, or could not be read back.
    unread: u64,
    /// Bodies that were taken out of quarantine.
    released: u64,
    /// What the store would not take.
    refused: u64,
}

impl RateCounter {
    fn sum(&self, dry_run: bool) -> String {
        let Self { read, new, changed, same, unread, released, refused } = self;
        let mut text = format!(
            "{read} read: {new} new calls, {changed} changed, {same} as they were; \
             {unread} still unreadable"
        );
        if *released > 0 {
            text.push_str(&format!("; {released} taken out of quarantine"));
        }
        if *refused > 0 {
            text.push_str(&format!("; {refused} refused by the table"));
        }
        if dry_run { format!("{text}. Nothing was written") } else { text }
    }
}
