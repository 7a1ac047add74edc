//! Measures the functions as processes against stand-ins for Lambda and AWS, beside peers that do the same job.

mod budgets;
mod feeds;
mod measure;
#[cfg(test)]
mod peers;
mod programs;
mod report;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use switchboard_testkit::Failure;
use switchboard_testkit::function::Stand;

use crate::budgets::Budgets;
use crate::feeds::Feeds;
use crate::programs::Program;
use crate::report::{Results, table};

/// Reports progress on standard error.
pub fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

fn print(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

#[derive(Parser)]
#[command(about = "Measures the functions beside peers that do the same job")]
struct Options {
    /// The repository
    #[arg(long, global = true, default_value = ".")]
    root: PathBuf,
    /// Where the binaries are, as <name> or <name>/bootstrap
    #[arg(long, global = true, default_value = "target/lambda")]
    built: PathBuf,
    /// Measure only these programs, separated by commas
    #[arg(long, global = true, value_delimiter = ',')]
    only: Vec<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start-up, time, CPU, memory and requests of every function and peer
    Run {
        /// Turns of each program
        #[arg(long, default_value_t = 5)]
        rounds: u64,
        /// Write docs/performance.md
        #[arg(long, conflicts_with = "only")]
        write: bool,
    },
    /// Zip size, requests and instructions of each function against the recorded budgets
    Budgets {
        /// Fail if a figure is over its budget [default]
        #[arg(long, conflicts_with = "write")]
        check: bool,
        /// Record the figures as budgets
        #[arg(long)]
        write: bool,
    },
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> ExitCode {
    let options = Options::parse();
    let done = match options.command {
        Command::Run { rounds, write } => options.run(rounds, write).await,
        Command::Budgets { write, .. } => options.budgets(write).await,
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(failure) => {
            say(&format!("bench: {failure}"));
            ExitCode::FAILURE
        }
    }
}

impl Options {
    /// The stand-ins, the selected programs with their feeds, and what cannot be measured.
    async fn open(
        &self,
        events: u64,
    ) -> Result<(Stand, Vec<Program>, Feeds, Vec<String>), Failure> {
        let (mut programs, mut missing) = programs::find(&self.root, &self.built)?;
        let mut stand = Stand::start(&self.root.join("target/bench")).await?;
        let (feeds, without) = feeds::feeds(&mut stand, &self.root, &programs, events).await?;
        missing.extend(without);
        let is_selected =
            |name: &str| self.only.is_empty() || self.only.iter().any(|only| only == name);
        programs.retain(|program| is_selected(program.name()));
        missing.retain(|line| is_selected(line.split(':').next().unwrap_or_default()));
        Ok((stand, programs, feeds, missing))
    }

    async fn run(&self, rounds: u64, write: bool) -> Result<bool, Failure> {
        let (mut stand, programs, feeds, mut missing) = self.open(measure::events(rounds)).await?;
        let (figures, failed) = measure::measure(&mut stand, &programs, &feeds, rounds).await?;
        let is_complete = failed.is_empty();
        missing.extend(failed);
        let results = Results::new(rounds, figures, missing);
        print(&results.markdown());
        print(&format!("all figures: {}", results.save(&self.root)?.display()));
        if write {
            results.write(&self.root)?;
        }
        Ok(is_complete)
    }

    async fn budgets(&self, write: bool) -> Result<bool, Failure> {
        let (mut stand, mut programs, feeds, mut missing) = self.open(budgets::EVENTS).await?;
        programs.retain(|program| !program.is_peer);
        missing.retain(|line| !line.ends_with("`make bench-peers`"));
        if let Some(line) = missing.first() {
            return Err(format!("not measured: {line}").into());
        }
        let recorded = Budgets::read(&self.root)?;
        let measured = Budgets::measure(&mut stand, &programs, &feeds, &recorded, write).await?;
        if write {
            measured.write(
                &self.root,
                if self.only.is_empty() { Budgets::default() } else { recorded },
            )?;
            return Ok(true);
        }
        let mut compared = recorded.compare(&measured);
        if self.only.is_empty() {
            compared.over.append(&mut compared.unmeasured);
        }
        print(&table(&["figure", "budget", "measured", "change"], compared.rows));
        compared.under.iter().for_each(|line| say(&format!("less than recorded: {line}")));
        compared.over.iter().for_each(|line| say(&format!("over its budget: {line}")));
        Ok(compared.over.is_empty())
    }
}
