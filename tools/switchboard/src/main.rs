//! The operator's command line.
//!
//! It writes what functions read, so it refuses what they would refuse, and it shows secrets to nobody.
#![allow(clippy::print_stdout, reason = "a command line prints its answers")]

mod call;
mod parameter;

use std::io::Read as _;
use std::path::PathBuf;
use std::process::ExitCode;

use aws_config::BehaviorVersion;
use clap::{Parser, Subcommand};
use switchboard_domain::{CallKey, DeliveryId};
use switchboard_shell::aws;

/// Configure Switchboard, and find out where a call is.
///
/// Credentials and region are found as the AWS command line finds them: environment, profile, SSO.
#[derive(Parser)]
#[command(name = "switchboard", version)]
struct Arguments {
    /// The stage: whose parameters under /switchboard/<stage>/.
    #[arg(long, env = "STAGE", default_value = "dev", global = true)]
    stage: String,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Check a source or destination without writing it.
    Check {
        /// What it is to be: sources/<provider>/<source> or destinations/<destination>.
        name: String,
        /// The JSON; without it, standard input.
        file: Option<PathBuf>,
    },
    /// Write a source or destination, if it is right. Functions take it up within five minutes.
    Put {
        /// sources/<provider>/<source> or destinations/<destination>.
        name: String,
        /// The JSON; without it, standard input.
        file: Option<PathBuf>,
    },
    /// Name every source and destination of the stage.
    List,
    /// Show a source or destination, its secrets masked.
    Show {
        /// sources/<provider>/<source> or destinations/<destination>.
        name: String,
    },
    /// Send a delivery once more, with the call as it is now and under a new idempotency key.
    Redeliver {
        /// provider/source/call id.
        key: CallKey,
        /// Which delivery, as crm#call.completed.
        delivery: DeliveryId,
        /// The table of calls, as the stack's output CallsTableName says.
        #[arg(long, env = "CALLS_TABLE")]
        table: String,
    },
    /// Tell a call's whole story: what came, what it owes, each delivery and its attempts. Masked.
    Call {
        /// provider/source/call id, as twilio/twilio/CA….
        key: CallKey,
        /// The table of calls, as the stack's output CallsTableName says.
        #[arg(long, env = "CALLS_TABLE")]
        table: String,
    },
}

/// What went wrong, in words for the operator.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// What was given is not right.
    #[error("{0}")]
    Wrong(String),
    /// A file could not be read.
    #[error("{path} cannot be read: {error}")]
    Unreadable {
        /// Which file.
        path: String,
        /// Why not.
        error: std::io::Error,
    },
    /// AWS did not do it.
    #[error("{0}; check credentials, region and stage")]
    Aws(String),
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(failure) => {
            eprint(&failure.to_string());
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<String, Failure> {
    let is_local = arguments.stage == "local";
    match arguments.command {
        Command::Check { name, file } => {
            parameter::check(&name, &read(file)?, is_local)?;
            Ok(format!("{name} is right"))
        }
        command => {
            let http = aws::http_client();
            let config =
                aws_config::defaults(BehaviorVersion::latest()).http_client(http).load().await;
            let parameters = parameter::Stage::new(aws::ssm(&config), &arguments.stage);
            match command {
                Command::Put { name, file } => {
                    let json = read(file)?;
                    parameter::check(&name, &json, is_local)?;
                    parameters.put(&name, &json).await?;
                    Ok(format!("{name} is written; functions take it up within five minutes"))
                }
                Command::List => parameters.list().await,
                Command::Show { name } => parameters.show(&name).await,
                Command::Call { key, table } => {
                    call::story(aws::dynamodb(&config), table, &key).await
                }
                Command::Redeliver { key, delivery, table } => {
                    call::redeliver(aws::dynamodb(&config), table, &key, &delivery).await
                }
                Command::Check { .. } => Ok(String::new()),
            }
        }
    }
}

fn read(file: Option<PathBuf>) -> Result<String, Failure> {
    let path = file.as_ref().map_or("standard input".to_owned(), |file| file.display().to_string());
    let mut text = String::new();
    let result = match file {
        Some(file) => std::fs::read_to_string(file).map(|read| text = read),
        None => std::io::stdin().read_to_string(&mut text).map(|_| ()),
    };
    result.map_err(|error| Failure::Unreadable { path, error })?;
    Ok(text)
}

#[allow(clippy::print_stderr, reason = "the one place where the command line complains")]
fn eprint(text: &str) {
    eprintln!("switchboard: {text}");
}
