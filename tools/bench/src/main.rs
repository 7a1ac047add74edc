//! Measures the functions as processes against stand-ins for Lambda and AWS, beside peers that do
//! the same job.

mod assumptions;
mod aws;
mod bench;
mod billed;
mod budgets;
mod certificate;
mod condition;
mod cost;
mod cost_page;
mod crm;
mod feed;
mod limit;
mod measure;
mod message;
mod model;
mod package;
mod parameters;
mod picture;
mod prices;
mod process;
mod programs;
mod queue;
mod report;
mod results;
mod runtime_api;
mod sample;
mod server;
mod statistics;
mod table;
mod template;
mod text;
mod throughput;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::bench::Bench;
use crate::measure::Plan;
use crate::programs::Found;

/// What went wrong, in words.
#[derive(Debug)]
pub struct Failure(String);

impl Failure {
    /// In words.
    pub fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }

    /// Says of whom it is, and what they said last.
    pub fn of(self, name: &str, last_words: &[String]) -> Self {
        let mut what = format!("{name}: {}", self.0);
        for line in last_words {
            what.push_str("\n    | ");
            what.push_str(line);
        }
        Self(what)
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

/// Says what is going on, on standard error.
pub fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Puts a result on standard output.
pub fn print(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

#[derive(Parser)]
#[command(about = "Measures the functions beside peers that do the same job")]
struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start-up, time, CPU, memory and requests of every function and peer
    Run(Run),
    /// Large work: a list of a thousand records, batches of deliveries, a sweep of a full index
    Throughput(Throughput),
    /// Zip size, requests and instructions of each function against what is recorded
    Budgets(Budgets),
    /// What a million calls cost, of the newest figures of `run`
    Cost(Cost),
}

#[derive(Args)]
struct Place {
    /// The repository
    #[arg(long, default_value = ".")]
    root: PathBuf,
    /// Where the release binaries are, as <name> or <name>/bootstrap
    #[arg(long, default_value = "target/lambda")]
    built: PathBuf,
    /// Measure only these programs, parted by commas
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
}

#[derive(Args)]
struct Run {
    #[command(flatten)]
    place: Place,
    /// Turns of each program: four starts at full CPU and three at the share in each
    #[arg(long, default_value_t = 7)]
    rounds: u64,
    /// Warm invocations in each turn
    #[arg(long, default_value_t = 400)]
    warm: u64,
    /// The memory whose CPU share is granted in a second series of starts, MB
    #[arg(long, default_value_t = 128)]
    memory: u32,
    /// How late AWS answers, milliseconds
    #[arg(long, default_value_t = 0)]
    delay: u64,
    /// Write docs/performance.md and docs/performance.svg
    #[arg(long, conflicts_with = "only")]
    write: bool,
}

#[derive(Args)]
struct Throughput {
    #[command(flatten)]
    place: Place,
    /// How late AWS answers, milliseconds
    #[arg(long, default_value_t = 5)]
    delay: u64,
    /// Write docs/performance.md
    #[arg(long, conflicts_with = "only")]
    write: bool,
}

#[derive(Args)]
struct Budgets {
    #[command(flatten)]
    place: Place,
    /// Fail where something is more than 5 % over what is recorded (what is done anyway)
    #[arg(long, conflicts_with = "write")]
    check: bool,
    /// Record what is measured
    #[arg(long)]
    write: bool,
}

#[derive(Args)]
struct Cost {
    /// The repository
    #[arg(long, default_value = ".")]
    root: PathBuf,
    /// The results of a run [default: the newest in target/bench]
    #[arg(long)]
    results: Option<PathBuf>,
    /// Write docs/cost.md
    #[arg(long)]
    write: bool,
}

impl Place {
    /// The programs that are there, and the stand.
    async fn open(&self, delay: Duration) -> Result<(Found, Bench), Failure> {
        let found = programs::find(&self.root, &self.built)?;
        for line in &found.unbuilt {
            say(&format!("not there, so not measured: {line}"));
        }
        let folder = self.root.join("target/bench");
        let bench = Bench::start(self.root.clone(), &folder, delay).await?;
        Ok((found, bench))
    }

    /// Leaves what is to be measured. The others may have been needed to feed it.
    fn select(&self, found: &mut Found) {
        if !self.only.is_empty() {
            found.programs.retain(|program| self.only.contains(&program.name));
        }
    }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> ExitCode {
    let done = match Options::parse().command {
        Command::Run(options) => run(&options).await,
        Command::Throughput(options) => throughput(&options).await,
        Command::Budgets(options) => budgets(&options).await,
        Command::Cost(options) => cost(&options),
    };
    match done {
        Ok(code) => code,
        Err(failure) => {
            say(&format!("bench: {failure}"));
            ExitCode::FAILURE
        }
    }
}

async fn run(options: &Run) -> Result<ExitCode, Failure> {
    let plan = Plan { rounds: options.rounds, warm: options.warm, memory_mb: options.memory };
    let (mut found, mut bench) = options.place.open(Duration::from_millis(options.delay)).await?;
    found.absent.iter().for_each(|line| say(&format!("not there, so not measured: {line}")));
    let most = measure::WARM_UP + plan.warm + 10;
    let (feeds, mut missing) = bench.feeds(&found, most).await?;
    options.place.select(&mut found);
    let (mut figures, failed) = measure::measure(&mut bench, &found, &feeds, plan).await?;
    let assumed = assumptions::Assumptions::read(&options.place.root)?;
    billed::add(&mut bench, &found, &feeds, &assumed, &mut figures).await?;
    let has_failed = !failed.is_empty();
    missing.extend(failed);
    missing.extend(found.unbuilt.iter().chain(&found.absent).cloned());
    let results = results::Results::new(plan, options.delay, &bench, &found.main, figures, missing);
    let path = results.save(&options.place.root)?;
    print(&report::plain(&results));
    print(&format!("all figures: {}", path.display()));
    if options.write {
        results.write(&options.place.root)?;
        print("written: docs/performance.md, docs/performance.svg");
    }
    Ok(if has_failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn cost(options: &Cost) -> Result<ExitCode, Failure> {
    let root = &options.root;
    let path = options.results.clone().map_or_else(|| cost_page::newest(root), Ok)?;
    let model = cost::Model {
        results: &cost_page::read(&path)?,
        prices: &prices::Prices::read(root)?,
        assumed: &assumptions::Assumptions::read(root)?,
        deployed: &template::Deployed::read(root)?,
    };
    let said = cost_page::say(&model)?;
    print(&said.plain());
    if options.write {
        said.write(root)?;
        print("written: docs/cost.md");
    }
    Ok(ExitCode::SUCCESS)
}

async fn throughput(options: &Throughput) -> Result<ExitCode, Failure> {
    let (mut found, mut bench) = options.place.open(Duration::from_millis(options.delay)).await?;
    let (feeds, without) = bench.feeds(&found, throughput::needed()).await?;
    without.iter().for_each(|line| say(&format!("not measured: {line}")));
    options.place.select(&mut found);
    let all = throughput::measure(&mut bench, &found, &feeds).await?;
    let prices = prices::Prices::read(&options.place.root)?;
    let table = throughput::table(&all, &prices);
    print(&table.plain());
    let path = results::save(&options.place.root, &results::name("throughput"), &all)?;
    print(&format!("all figures: {}", path.display()));
    if options.write {
        let delay = options.delay;
        let text = format!(
            "AWS answers after {delay} ms. Dollars are those of Lambda, DynamoDB and SQS, at the prices of \
             {}, {}.\n\n{}",
            prices.region,
            prices.looked_up,
            table.markdown()
        );
        results::write_page(&options.place.root, "throughput", &text)?;
    }
    let mut over = throughput::too_long(&all);
    over.extend(throughput::not_linear(&all));
    over.iter().for_each(|line| say(line));
    Ok(if over.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn budgets(options: &Budgets) -> Result<ExitCode, Failure> {
    let root = &options.place.root;
    let (mut found, mut bench) = options.place.open(Duration::ZERO).await?;
    let (feeds, without) = bench.feeds(&found, budgets::needed()).await?;
    options.place.select(&mut found);
    let is_part = !options.place.only.is_empty();
    // A function that cannot be measured has no budget that it could be within.
    let mut unmeasured: Vec<&String> = found.unbuilt.iter().chain(&without).collect();
    unmeasured.retain(|_| !is_part);
    if let Some(line) = unmeasured.first() {
        return Err(Failure::new(format!("not measured: {line}")));
    }
    let now = budgets::measure(&mut bench, &found, &feeds).await?;
    if options.write {
        budgets::write(root, &now, is_part)?;
        print("recorded: tools/bench/budgets.json");
        return Ok(ExitCode::SUCCESS);
    }
    let mut found = budgets::compare(&budgets::read(root)?, &now);
    if is_part {
        found.over.retain(|line| !line.ends_with("was not measured"));
    }
    print(&found.table.plain());
    found.under.iter().for_each(|line| say(&format!("less than recorded: {line}")));
    found.over.iter().for_each(|line| say(&format!("over its budget: {line}")));
    if found.over.is_empty() {
        print("every function is within its budget");
        return Ok(ExitCode::SUCCESS);
    }
    Ok(ExitCode::FAILURE)
}
