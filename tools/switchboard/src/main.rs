//! The operator's command line.
//!
//! It validates configuration as the functions do, and masks secrets.
#![allow(clippy::print_stdout, reason = "a command line prints its output")]

mod call;
mod destination;
mod directory;
mod mask;
mod parameter;
mod quarantine;
mod redeliver;
mod rematch;
mod replay;
mod sync;

use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use aws_config::{BehaviorVersion, SdkConfig};
use clap::{Args, Parser, Subcommand};
use indicatif::ProgressBar;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use switchboard_domain::{CallKey, KeyError, Name};
use switchboard_flow::replay::Stopped;
use switchboard_shell::aws;
use switchboard_store::{Between, Directory as Entries, Store, StoreError};

use crate::destination::Destination;
use crate::directory::Directory;
use crate::quarantine::Quarantine;
use crate::redeliver::Redeliver;
use crate::rematch::Rematch;
use crate::replay::{Replay, Report};

/// The default retention of written items, days: the template's default.
const RETENTION_DAYS: u32 = 400;

/// Configure Switchboard, and find a call.
///
/// Credentials and region are found as the AWS command line finds them: environment, profile, SSO.
#[derive(Parser)]
#[command(name = "switchboard", version)]
struct Arguments {
    /// The stage, whose parameters are under /switchboard/<stage>/.
    #[arg(long, env = "STAGE", default_value = "dev", global = true)]
    stage: String,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Check a source, a destination, an API token or the lead rules without writing it.
    Check {
        /// The parameter: sources/<provider>/<source>, destinations/<destination>, api/<token> or leads/rules.
        name: String,
        /// The JSON file; default: standard input.
        file: Option<PathBuf>,
    },
    /// Write a source, a destination, an API token or the lead rules, if it is valid. Functions use it within five minutes.
    Put {
        /// sources/<provider>/<source>, destinations/<destination>, api/<token> or leads/rules.
        name: String,
        /// The JSON file; default: standard input.
        file: Option<PathBuf>,
    },
    /// List every source, destination and token of the stage.
    List,
    /// Show a source, a destination or a token with masked secrets.
    Show {
        /// sources/<provider>/<source>, destinations/<destination>, api/<token> or leads/rules.
        name: String,
    },
    /// Redeliver a delivery, or all that a destination did not receive, with the call as it is now and under a
    /// new idempotency key.
    Redeliver(Redeliver),
    /// Show a call in full: its updates, its follow-ups, each delivery with its attempts, and which destinations
    /// did not receive it. Masked.
    Call {
        /// provider/source/call id, as twilio/twilio/CA….
        key: CallKey,
        #[command(flatten)]
        table: Table,
    },
    /// Pause, drain and resume destinations, and show their status.
    #[command(subcommand)]
    Destination(Destination),
    /// Authenticated messages that could not be parsed.
    #[command(subcommand)]
    Quarantine(Quarantine),
    /// Parse stored messages again after a corrected mapping.
    #[command(subcommand)]
    Replay(Replay),
    /// Match calls again after a change of the directory.
    Rematch(Rematch),
    /// Contacts, leads and employees, and our own numbers.
    #[command(subcommand)]
    Directory(Directory),
    /// Pull missed calls from a provider's REST API.
    Sync(sync::Sync),
}

/// The table of calls.
#[derive(Args)]
pub struct Table {
    /// The table of calls: the stack's output CallsTableName.
    #[arg(id = "table", long = "table", env = "CALLS_TABLE", value_name = "TABLE")]
    name: String,
}

/// A range of arrival times.
#[derive(Args)]
pub struct Range {
    /// Received then or later: a time, as 2026-02-20T09:00:00Z, or a day, which begins at 00:00 UTC.
    #[arg(long, value_parser = moment)]
    since: Option<Timestamp>,
    /// Received before then.
    #[arg(long, value_parser = moment)]
    until: Option<Timestamp>,
}

impl Range {
    /// The range for the store.
    pub fn between(&self) -> Between {
        Between { since: self.since, until: self.until }
    }
}

fn provider_name(text: &str) -> Result<Name, KeyError> {
    Name::new("provider", text)
}

fn moment(text: &str) -> Result<Timestamp, &'static str> {
    let day = || text.parse::<Date>().ok()?.to_zoned(TimeZone::UTC).ok();
    let at = text.parse().ok().or_else(|| Some(day()?.timestamp()));
    at.ok_or("is neither a time, as 2026-02-20T09:00:00Z, nor a day, as 2026-02-20")
}

/// The output of a command on standard output.
pub enum Answer {
    /// Text for the operator.
    Text(String),
    /// Unchanged bytes, for a file or the next command.
    Bytes(Vec<u8>),
}

/// An error, in words for the operator.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// An argument is invalid.
    #[error("{0}")]
    Wrong(String),
    /// AWS refused or could not be reached.
    #[error("{0}; check credentials, region and stage")]
    Aws(String),
}

impl From<Stopped> for Failure {
    fn from(why: Stopped) -> Self {
        match why {
            Stopped::Unknown(_) => Self::Wrong(why.to_string()),
            Stopped::Store(error) => error.into(),
        }
    }
}

impl Failure {
    /// A file could not be read.
    pub fn unreadable(path: impl std::fmt::Display, error: &std::io::Error) -> Self {
        Self::Wrong(format!("{path} cannot be read: {error}"))
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Aws(error.to_string())
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let written = match run(Arguments::parse()).await {
        Ok(Answer::Text(text)) => {
            println!("{text}");
            Ok(())
        }
        Ok(Answer::Bytes(bytes)) => std::io::stdout()
            .write_all(&bytes)
            .map_err(|error| Failure::Wrong(format!("the output cannot be written: {error}"))),
        Err(failure) => Err(failure),
    };
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprint(&failure.to_string());
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<Answer, Failure> {
    let is_local = arguments.stage == "local";
    if let Command::Check { name, file } = arguments.command {
        valid(&name, file, is_local)?;
        return Ok(Answer::Text(format!("{name} is valid")));
    }
    let http = aws::http_client();
    let config = aws_config::defaults(BehaviorVersion::latest()).http_client(http).load().await;
    let parameters = parameter::Stage::new(aws::ssm(&config), &arguments.stage);
    act(arguments.command, is_local, &parameters, &config).await
}

/// Runs a command against AWS.
async fn act(
    command: Command,
    is_local: bool,
    parameters: &parameter::Stage,
    config: &SdkConfig,
) -> Result<Answer, Failure> {
    let database = aws::dynamodb(config);
    let stored = |table: &Table, days| Store::dynamodb(&database, table.name.clone(), days);
    let store = |table: &Table| stored(table, RETENTION_DAYS);
    let directory = |table: &str| Entries::dynamodb(&database, table.to_owned());
    // A closed pipe must not stop the command half-way.
    let mut say = |line: &str| drop(writeln!(std::io::stdout(), "{line}"));
    let mut report = Report { say: &mut say, bar: ProgressBar::no_length() };
    let text = match command {
        Command::Check { .. } => String::new(),
        Command::Put { name, file } => {
            parameters.put(&name, &valid(&name, file, is_local)?).await?;
            format!("{name} is written; functions use it within five minutes")
        }
        Command::List => parameters.list().await?,
        Command::Show { name } => parameters.show(&name).await?,
        Command::Call { key, table } => call::story(&store(&table), &key, parameters).await?,
        Command::Redeliver(one) => one.run(&stored, parameters, &mut report).await?,
        Command::Destination(command) => {
            let (name, table) = command.about();
            if let (Some(name), true) = (name, command.is_change()) {
                // A misspelt name would be paused, and the intended destination continue.
                parameters.find(&format!("destinations/{name}")).await?;
            }
            command.run(&store(table), Timestamp::now()).await?
        }
        Command::Quarantine(command) => {
            let store = store(command.table());
            return command.run(&store).await;
        }
        Command::Sync(sync) => {
            let store = store(&sync.table);
            sync.run(&store, aws::sqs(config), parameters.values("sources").await?).await?
        }
        Command::Replay(replay) => {
            let configured = parameters.sources().await?;
            let how = replay.how();
            let store = stored(&how.table, how.retention_days);
            return replay.run(&store, &configured, &mut report).await;
        }
        Command::Rematch(rematch) => {
            let configured = parameters.configuration().await?;
            let store = stored(&rematch.table, rematch.retention_days);
            let directory = directory(&rematch.directory);
            return rematch.run(&store, &directory, &configured, &mut report).await;
        }
        Command::Directory(command) => {
            let directory = directory(command.table());
            return command.run(&directory, &mut report).await;
        }
    };
    Ok(Answer::Text(text))
}

/// The JSON of a parameter, if it is valid.
fn valid(name: &str, file: Option<PathBuf>, is_local: bool) -> Result<String, Failure> {
    let json = read(file)?;
    parameter::check(name, &json, is_local)?;
    Ok(json)
}

fn read(file: Option<PathBuf>) -> Result<String, Failure> {
    let path = file.as_ref().map_or("standard input".to_owned(), |file| file.display().to_string());
    let mut text = String::new();
    let result = match file {
        Some(file) => std::fs::read_to_string(file).map(|read| text = read),
        None => std::io::stdin().read_to_string(&mut text).map(|_| ()),
    };
    result.map_err(|error| Failure::unreadable(path, &error))?;
    Ok(text)
}

#[allow(clippy::print_stderr, reason = "the one place where the command line prints errors")]
fn eprint(text: &str) {
    eprintln!("switchboard: {text}");
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn every_command_can_be_parsed() {
        super::Arguments::command().debug_assert();
    }
}
