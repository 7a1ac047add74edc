//! Budgets: what each function may weigh, ask for and compute. They do not depend on how busy the
//! machine is, so they can be checked anywhere.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::Failure;
use crate::bench::Bench;
use crate::feed::Feed;
use crate::limit::WHOLE_CPU_MB;
use crate::measure::{others, per};
use crate::package::zip_size;
use crate::programs::{Found, Program, on_path};
use crate::say;
use crate::text::{Table, figure};

/// So much more than recorded is still within the budget.
const ALLOWED: f64 = 1.05;
/// Invocations of the shorter and of the longer run whose instructions are counted.
const RUNS: (u64, u64) = (10, 80);
/// Invocations of each kind whose requests are counted.
const CALLS: u64 = 20;
/// Counts instructions, and nothing else.
const WATCHED_BY: [&str; 4] =
    ["valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"];

/// `budgets.json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Budgets {
    /// For which processor: another one has other instructions.
    pub architecture: String,
    /// By function.
    pub functions: BTreeMap<String, Budget>,
}

/// What one function takes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Budget {
    /// The zip, bytes.
    pub zip_bytes: u64,
    /// Instructions of one invocation, by valgrind.
    pub instructions: u64,
    /// Requests by kind of invocation, all services together.
    pub requests: BTreeMap<String, f64>,
}

/// Measures every function. Peers have no budget.
pub async fn measure(
    bench: &mut Bench,
    found: &Found,
    feeds: &BTreeMap<String, Feed>,
) -> Result<Budgets, Failure> {
    if on_path(&bench.root, WATCHED_BY[0]).is_none() {
        return Err(Failure::new(
            "valgrind is not installed: it counts the instructions. Install it \
             (Debian, Ubuntu: apt-get install valgrind; Fedora: dnf install valgrind)",
        ));
    }
    let mut budgets =
        Budgets { architecture: std::env::consts::ARCH.to_owned(), ..Budgets::default() };
    for program in found.programs.iter().filter(|program| !program.is_peer) {
        let Some(feed) = feeds.get(&program.name) else { continue };
        say(&format!("counting: {}", program.name));
        let budget = Budget {
            zip_bytes: zip_size(&program.deploy)?,
            instructions: instructions(bench, program, feed).await?,
            requests: requests(bench, program, feed).await?,
        };
        budgets.functions.insert(program.name.clone(), budget);
    }
    Ok(budgets)
}

/// How many events a feed must have.
pub fn needed() -> u64 {
    RUNS.1.max(CALLS)
}

async fn requests(
    bench: &mut Bench,
    program: &Program,
    feed: &Feed,
) -> Result<BTreeMap<String, f64>, Failure> {
    let account = feed.account(&bench.root, bench.crm.port)?;
    let running = bench.run(program, account, feed.stage(), WHOLE_CPU_MB).await?;
    let mut requests = BTreeMap::from([("start".to_owned(), per(&running.asked, 1))]);
    for n in 0..CALLS {
        let event = feed.event(n).ok_or_else(|| Failure::new("there are no more events"))?;
        bench.done(&running, event).await?;
    }
    requests.insert("new".to_owned(), per(&bench.shared.take_counts(), CALLS));
    requests.extend(others(bench, &running, feed, CALLS, CALLS).await?);
    running.process.end().await;
    Ok(requests
        .into_iter()
        .map(|(kind, each)| (kind, each.values().fold(0.0, |all, one| all + one)))
        .collect())
}

/// What an invocation adds: a long run's instructions less those of a short one.
async fn instructions(bench: &mut Bench, program: &Program, feed: &Feed) -> Result<u64, Failure> {
    let (short, long) = RUNS;
    let more = watched(bench, program, feed, long).await?;
    let less = watched(bench, program, feed, short).await?;
    Ok(more.saturating_sub(less) / (long - short))
}

async fn watched(
    bench: &mut Bench,
    program: &Program,
    feed: &Feed,
    invocations: u64,
) -> Result<u64, Failure> {
    let log = bench.folder.join("instructions.log");
    bench.under = WATCHED_BY.map(str::to_owned).to_vec();
    bench.under.push(format!("--log-file={}", log.display()));
    let account = feed.account(&bench.root, bench.crm.port)?;
    let started = bench.run(program, account, feed.stage(), WHOLE_CPU_MB).await;
    bench.under.clear();
    let running = started?;
    for n in 0..invocations {
        let event = feed.event(n).ok_or_else(|| Failure::new("there are no more events"))?;
        bench.done(&running, event).await?;
    }
    running.process.finish().await?;
    let said = fs::read_to_string(&log)?;
    count(&said).ok_or_else(|| Failure::new(format!("no count of instructions in {said}")))
}

/// `==1== I refs:        1,234,567`, with more or fewer spaces.
fn count(log: &str) -> Option<u64> {
    let (_, count) = log
        .lines()
        .filter_map(|line| line.split_once("refs:"))
        .find(|(before, _)| before.trim_end().ends_with(" I"))?;
    count.trim().replace(',', "").parse().ok()
}

/// What was found.
pub struct Comparison {
    /// What is over its budget, or has none: one line each.
    pub over: Vec<String>,
    /// What takes so much less that its budget no longer holds it there.
    pub under: Vec<String>,
    /// Everything.
    pub table: Table,
}

/// Compares what is taken with what is recorded.
pub fn compare(recorded: &Budgets, now: &Budgets) -> Comparison {
    let table = Table::new(&["budget", "recorded", "now", "change"]);
    let mut found = Comparison { over: Vec::new(), under: Vec::new(), table };
    if recorded.architecture != now.architecture {
        let (was, is) = (&recorded.architecture, &now.architecture);
        found.over.push(format!("the budgets are those of {was} and cannot be checked on {is}"));
        return found;
    }
    for (name, budget) in &now.functions {
        let Some(allowed) = recorded.functions.get(name) else {
            found.over.push(format!("{name} has no budget: record it with `make budgets-write`"));
            continue;
        };
        found.one(name, "zip bytes", allowed.zip_bytes as f64, budget.zip_bytes as f64);
        let (was, is) = (allowed.instructions as f64, budget.instructions as f64);
        found.one(name, "instructions of an invocation", was, is);
        for (kind, is) in &budget.requests {
            // A kind that is new may ask for nothing before it is recorded.
            let was = allowed.requests.get(kind).copied().unwrap_or(0.0);
            found.one(name, &format!("requests, {kind}"), was, *is);
        }
    }
    let gone = recorded.functions.keys().filter(|name| !now.functions.contains_key(*name));
    found.over.extend(gone.map(|name| format!("{name} has a budget and was not measured")));
    found
}

impl Comparison {
    fn one(&mut self, name: &str, what: &str, was: f64, is: f64) {
        let change = match was {
            0.0 if is == 0.0 => 0.0,
            0.0 => f64::INFINITY,
            was => (is / was - 1.0) * 100.0,
        };
        let figures = format!("{name}: {what}: {} measured, {} recorded", exact(is), exact(was));
        if is > was * ALLOWED {
            let most = exact((was * ALLOWED).floor());
            self.over.push(format!(
                "{figures}, at most {most} allowed ({change:+.1} %): make it less, or if it is meant, \
                 record it with `make budgets-write`"
            ));
        } else if is * ALLOWED < was {
            self.under.push(format!(
                "{figures} ({change:+.1} %): record it with `make budgets-write`, so that it stays there"
            ));
        }
        let row = [format!("{name}: {what}"), exact(was), exact(is), format!("{change:+.1} %")];
        self.table.rows.push(row.into());
    }
}

fn exact(value: f64) -> String {
    if value.fract() == 0.0 { format!("{value:.0}") } else { figure(value) }
}

const FILE: &str = "tools/bench/budgets.json";

/// The recorded budgets.
pub fn read(root: &Path) -> Result<Budgets, Failure> {
    let text = fs::read(root.join(FILE))
        .map_err(|error| Failure::new(format!("{FILE}: {error}; `make budgets-write` makes it")))?;
    Ok(serde_json::from_slice(&text)?)
}

/// Records budgets. Those of functions that were not measured stay.
pub fn write(root: &Path, now: &Budgets, is_part: bool) -> Result<(), Failure> {
    let mut budgets = now.clone();
    if is_part && let Ok(recorded) = read(root) {
        for (name, budget) in recorded.functions {
            budgets.functions.entry(name).or_insert(budget);
        }
    }
    fs::write(root.join(FILE), serde_json::to_string_pretty(&budgets)? + "\n")?;
    Ok(())
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
        Budgets { architecture: "x".into(), functions }
    }

    fn over(change: impl Fn(&mut Budgets)) -> Vec<String> {
        let mut now = budgets();
        change(&mut now);
        compare(&budgets(), &now).over
    }

    fn hook(budgets: &mut Budgets) -> &mut Budget {
        budgets.functions.get_mut("hook").unwrap()
    }

    #[test]
    fn within_five_percent_is_within_the_budget() {
        assert!(over(|_| ()).is_empty());
        assert!(over(|b| hook(b).zip_bytes = 1_050_000).is_empty());
        assert!(over(|b| hook(b).instructions = 1_000).is_empty());
    }

    #[test]
    fn whatever_grows_more_is_said() {
        assert_eq!(over(|b| hook(b).zip_bytes = 1_050_001).len(), 1);
        assert_eq!(over(|b| hook(b).instructions = 2_200_000).len(), 1);
        assert_eq!(over(|b| hook(b).requests.extend([("new".to_owned(), 3.0)])).len(), 1);
        assert_eq!(over(|b| hook(b).requests.extend([("rejected".to_owned(), 0.02)])).len(), 1);
        assert_eq!(over(|b| hook(b).requests.extend([("other".to_owned(), 1.0)])).len(), 1);
    }

    #[test]
    fn whoever_reads_it_knows_what_to_do() {
        let over = over(|b| hook(b).instructions = 2_200_000);
        assert_eq!(
            over,
            [
                "hook: instructions of an invocation: 2200000 measured, 2000000 recorded, at most 2100000 \
              allowed (+10.0 %): make it less, or if it is meant, record it with `make budgets-write`"
            ]
        );
    }

    #[test]
    fn what_takes_less_is_said_and_is_no_failure() {
        let mut now = budgets();
        hook(&mut now).instructions = 1_900_000;
        let found = compare(&budgets(), &now);
        assert_eq!((found.over.len(), found.under.len()), (0, 1));
        assert!(
            found.under[0].starts_with("hook: instructions of an invocation: 1900000 measured")
        );
        hook(&mut now).instructions = 1_910_000;
        assert!(compare(&budgets(), &now).under.is_empty());
    }

    #[test]
    fn what_has_no_budget_or_is_gone_is_said() {
        assert_eq!(over(|b| b.functions.clear()), ["hook has a budget and was not measured"]);
        assert_eq!(over(|b| b.architecture = "y".into()).len(), 1);
        let new = |b: &mut Budgets| b.functions.extend([("new".to_owned(), Budget::default())]);
        assert_eq!(over(new), ["new has no budget: record it with `make budgets-write`"]);
    }

    #[test]
    fn the_count_is_found_among_other_lines() {
        assert_eq!(count("==7== \n==7== I refs:        1,234,567\nbye"), Some(1_234_567));
        assert_eq!(count("==7== D refs: 5\n==7== I   refs:  12"), Some(12));
        assert_eq!(count("==7== killed"), None);
    }
}
