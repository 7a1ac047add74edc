//! Budgets: the zip, the requests and the instructions of each function. They do not depend on how busy the
//! machine is, so they can be checked anywhere.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};
use switchboard_testkit::Failure;
use switchboard_testkit::function::Stand;

use crate::feeds::{Feed, Feeds};
use crate::measure::{CALLS, kinds};
use crate::programs::{Program, zip_size};
use crate::report::number;
use crate::say;

const FILE: &str = "tools/bench/budgets.json";
/// Invocations of the shorter and of the longer run whose instructions are counted.
const RUNS: (u64, u64) = (10, 80);
/// How often both runs are counted at most. What a busy machine adds (timers that end, connections made anew) it
/// adds to one run or another, so the smallest count is kept of each.
const TRIES: u64 = 3;
/// Instructions above a budget that are always allowed: some 20 µs, a fiftieth of the least that Lambda bills.
const SLACK: f64 = 50_000.0;
/// The events that a program needs.
pub const EVENTS: u64 = TRIES * (RUNS.0 + RUNS.1) + CALLS;
/// Counts instructions alone.
const VALGRIND: [&str; 4] =
    ["valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"];

/// `budgets.json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Budgets {
    /// The processor's architecture: another one has other instructions.
    pub architecture: String,
    /// The part by which a figure may exceed its budget, as 0.05.
    pub tolerance: f64,
    /// The budget of each function.
    pub functions: BTreeMap<String, Budget>,
}

/// What one function takes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Budget {
    /// The size of its zip.
    pub zip_bytes: u64,
    /// Instructions of one invocation, counted by valgrind.
    pub instructions: u64,
    /// Requests by kind of invocation, all services together.
    pub requests: BTreeMap<String, f64>,
}

impl Budgets {
    /// Measures every function. The tolerance is that of the recorded budgets. A function is counted anew, up to
    /// [`TRIES`] times, while it takes more than `recorded` allows, or each time `to_record`.
    pub async fn measure(
        stand: &mut Stand,
        programs: &[Program],
        feeds: &Feeds,
        recorded: &Self,
        to_record: bool,
    ) -> Result<Self, Failure> {
        let architecture = std::env::consts::ARCH.to_owned();
        let mut all =
            Self { architecture, tolerance: recorded.tolerance, functions: BTreeMap::new() };
        for program in programs {
            let Some(feed) = feeds.get(program.name()) else { continue };
            say(&format!("counting: {}", program.name()));
            let kinds = kinds(stand, program, feed, false).await?.into_iter();
            let kinds = kinds.filter(|(name, _)| name != "further");
            let budget = recorded.functions.get(program.name()).filter(|_| !to_record);
            let enough = budget.map_or(0, |budget| recorded.instructions(budget) as u64);
            let budget = Budget {
                zip_bytes: zip_size(&program.deploy)?,
                instructions: instructions(stand, program, feed, enough).await?,
                requests: kinds
                    .map(|(name, kind)| (name, kind.requests.values().fold(0.0, |a, b| a + b)))
                    .collect(),
            };
            all.functions.insert(program.name().to_owned(), budget);
        }
        Ok(all)
    }

    /// Reads the recorded budgets.
    pub fn read(root: &Path) -> Result<Self, Failure> {
        let text = fs::read(root.join(FILE)).map_err(|error| format!("{FILE}: {error}"))?;
        Ok(serde_json::from_slice(&text)?)
    }

    /// Records these budgets. Those of functions that were not measured stay.
    pub fn write(&self, root: &Path, recorded: Self) -> Result<(), Failure> {
        let mut all = self.clone();
        for (name, budget) in recorded.functions {
            all.functions.entry(name).or_insert(budget);
        }
        fs::write(root.join(FILE), serde_json::to_string_pretty(&all)? + "\n")?;
        Ok(())
    }

    /// The instructions that a budget allows.
    fn instructions(&self, budget: &Budget) -> f64 {
        let recorded = budget.instructions as f64;
        recorded + (recorded * self.tolerance).max(SLACK)
    }

    /// The budget of a function. A new hook, which alone has rejected invocations, is held to that of the largest
    /// recorded one.
    fn of(&self, name: &str, measured: &Budget) -> Option<&Budget> {
        let is_hook = |one: &&Budget| one.requests.contains_key("rejected");
        let largest = || self.functions.values().filter(is_hook).max_by_key(|one| one.instructions);
        self.functions.get(name).or_else(|| Some(measured).filter(is_hook).and(largest()))
    }

    /// Compares measured figures with these budgets.
    pub fn compare(&self, measured: &Self) -> Comparison {
        let mut result = Comparison::default();
        if self.architecture != measured.architecture {
            let (was, is) = (&self.architecture, &measured.architecture);
            result.over.push(format!("the budgets of {was} cannot be checked on {is}"));
            return result;
        }
        for (name, budget) in &measured.functions {
            let Some(allowed) = self.of(name, budget) else {
                result
                    .over
                    .push(format!("{name} has no budget: record it with `make budgets-write`"));
                continue;
            };
            let most = self.instructions(allowed);
            let [was, is] = [allowed, budget].map(|budget| budget.instructions as f64);
            result.one(name, "instructions", was, is, most);
            let mut one = |what: &str, was: f64, is: f64| {
                result.one(name, what, was, is, was * (1.0 + self.tolerance));
            };
            one("zip bytes", allowed.zip_bytes as f64, budget.zip_bytes as f64);
            for (kind, is) in &budget.requests {
                // Without a recorded figure, none is allowed.
                let was = allowed.requests.get(kind).copied().unwrap_or(0.0);
                one(&format!("requests, {kind}"), was, *is);
            }
        }
        let gone = self.functions.keys().filter(|name| !measured.functions.contains_key(*name));
        result.unmeasured =
            gone.map(|name| format!("{name} has a budget and was not measured")).collect();
        result
    }
}

/// Measured figures beside their budgets.
#[derive(Debug, Default)]
pub struct Comparison {
    /// A line for each figure over its budget or without one.
    pub over: Vec<String>,
    /// A line for each figure so far under its budget that this should be lowered.
    pub under: Vec<String>,
    /// A line for each budget of a function that was not measured.
    pub unmeasured: Vec<String>,
    /// The rows of a table: figure, budget, measured, change.
    pub rows: Vec<Vec<String>>,
}

impl Comparison {
    fn one(&mut self, name: &str, what: &str, was: f64, is: f64, most: f64) {
        let change = if was == is { 0.0 } else { (is / was - 1.0) * 100.0 };
        let row = [format!("{name}: {what}"), number(was), number(is), format!("{change:+.1} %")];
        let line = format!("{}: {} measured, {} recorded ({})", row[0], row[2], row[1], row[3]);
        self.rows.push(row.into());
        if is > most {
            let most = number(most.floor());
            self.over.push(format!(
                "{line}, {most} allowed: reduce it, or record it with `make budgets-write`"
            ));
        } else if is < was - (most - was) {
            self.under.push(format!(
                "{line}: record it with `make budgets-write`, so that it stays there"
            ));
        }
    }
}

/// The instructions of one invocation: those of a long run without those of a short one. Both are counted anew, up
/// to [`TRIES`] times, until the figure is at most `enough`.
async fn instructions(
    stand: &mut Stand,
    program: &Program,
    feed: &Feed,
    enough: u64,
) -> Result<u64, Failure> {
    let (short, long) = RUNS;
    let (mut less, mut more, mut each) = (u64::MAX, u64::MAX, u64::MAX);
    let mut tries = 0..TRIES;
    while each > enough && tries.next().is_some() {
        less = less.min(counted(stand, program, feed, short).await?);
        more = more.min(counted(stand, program, feed, long).await?);
        each = more.saturating_sub(less) / (long - short);
    }
    Ok(each)
}

async fn counted(
    stand: &mut Stand,
    program: &Program,
    feed: &Feed,
    invocations: u64,
) -> Result<u64, Failure> {
    let log = std::env::temp_dir().join(format!("bench-instructions-{}", std::process::id()));
    let mut under = VALGRIND.map(str::to_owned).to_vec();
    under.push(format!("--log-file={}", log.display()));
    let running = feed.start(stand, program, &under).await;
    let running =
        running.map_err(|error| format!("under valgrind, which counts instructions: {error}"))?;
    for n in 0..invocations {
        feed.invoke(stand, &running, n).await?;
    }
    running.process.terminate().await?;
    let text = fs::read_to_string(&log)?;
    fs::remove_file(&log)?;
    Ok(count(&text).ok_or(format!("no count of instructions in {text}"))?)
}

/// The count in a line like `==1== I refs:        1,234,567`.
fn count(log: &str) -> Option<u64> {
    let mut lines = log.lines().filter_map(|line| line.split_once("refs:"));
    let (_, count) = lines.find(|(before, _)| before.trim_end().ends_with(" I"))?;
    count.trim().replace(',', "").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budgets() -> Budgets {
        let requests = [("new", 2.0), ("duplicate", 1.0), ("rejected", 0.0)];
        let budget = Budget {
            zip_bytes: 1_000_000,
            instructions: 2_000_000,
            requests: requests.map(|(kind, n)| (kind.to_owned(), n)).into(),
        };
        let functions = BTreeMap::from([("hook".to_owned(), budget)]);
        Budgets { architecture: "x".into(), tolerance: 0.05, functions }
    }

    fn compare(change: impl Fn(&mut Budgets)) -> Comparison {
        let mut measured = budgets();
        change(&mut measured);
        budgets().compare(&measured)
    }

    fn hook(budgets: &mut Budgets) -> &mut Budget {
        budgets.functions.get_mut("hook").unwrap()
    }

    #[test]
    fn figures_that_grow_more_than_the_tolerance_are_over() {
        let over = |change: fn(&mut Budget)| compare(|b| change(hook(b))).over.len();
        assert_eq!(over(|_| ()), 0);
        assert_eq!(over(|b| b.zip_bytes = 1_050_000), 0);
        assert_eq!(over(|b| b.instructions = 1_000), 0);
        assert_eq!(over(|b| b.zip_bytes = 1_050_001), 1);
        assert_eq!(over(|b| b.instructions = 2_200_000), 1);
        assert_eq!(over(|b| b.instructions = 2_100_000), 0);
        for (kind, count) in [("new", 3.0), ("rejected", 0.02), ("other", 1.0)] {
            let more = compare(|b| hook(b).requests.extend([(kind.to_owned(), count)]));
            assert_eq!(more.over.len(), 1, "{kind}");
        }
        let line = "hook: instructions: 2200000 measured, 2000000 recorded (+10.0 %), 2100000 allowed: \
                    reduce it, or record it with `make budgets-write`";
        assert_eq!(compare(|b| hook(b).instructions = 2_200_000).over, [line]);
    }

    #[test]
    fn a_few_instructions_more_are_allowed_of_a_small_budget() {
        let [budget, at, above] = [100_000, 150_000, 150_001].map(|instructions| {
            let mut all = budgets();
            hook(&mut all).instructions = instructions;
            all
        });
        assert_eq!([at, above].map(|one| budget.compare(&one).over.len()), [0, 1]);
    }

    #[test]
    fn figures_far_under_their_budget_are_reported_without_failing() {
        let found = compare(|b| hook(b).instructions = 1_890_000);
        assert_eq!((found.over.len(), found.under.len()), (0, 1));
        assert!(found.under[0].starts_with("hook: instructions: 1890000 measured"));
        assert!(compare(|b| hook(b).instructions = 1_910_000).under.is_empty());
    }

    #[test]
    fn functions_without_budget_or_measurement_are_reported() {
        let gone = compare(|b| b.functions.clear());
        assert_eq!(gone.unmeasured, ["hook has a budget and was not measured"]);
        assert_eq!(compare(|b| b.architecture = "y".into()).over.len(), 1);
        let new = compare(|b| b.functions.extend([("new".to_owned(), Budget::default())]));
        assert_eq!(new.over, ["new has no budget: record it with `make budgets-write`"]);
    }

    #[test]
    fn a_new_hook_may_take_what_the_largest_hook_takes() {
        for (instructions, over) in [(2_000_000, 0), (2_200_000, 1)] {
            let new = Budget { instructions, ..hook(&mut budgets()).clone() };
            let found = compare(|b| b.functions.extend([("new".to_owned(), new.clone())]));
            assert_eq!(found.over.len(), over, "{:?}", found.over);
        }
    }

    #[test]
    fn the_count_is_found_among_other_lines() {
        assert_eq!(count("==7== \n==7== I refs:        1,234,567\nbye"), Some(1_234_567));
        assert_eq!(count("==7== D refs: 5\n==7== I   refs:  12"), Some(12));
        assert_eq!(count("==7== killed"), None);
    }
}
