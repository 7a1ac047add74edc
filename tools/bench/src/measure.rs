//! The comparison: programs by turns, several starts of each.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use switchboard_testkit::Failure;
use switchboard_testkit::function::{Requests, Running, Stand, count};

use crate::feeds::{Feed, Feeds};
use crate::programs::{Program, zip_size};
use crate::say;

/// Invocations before the first that counts as warm.
const WARM_UP: u64 = 20;
/// Warm invocations in each turn.
pub const WARM: u64 = 300;
/// Starts in each turn up to the first response, beside the one that goes on.
const STARTS: u64 = 3;
/// Invocations of each kind whose requests, units and billed time are counted.
pub const CALLS: u64 = 20;
/// How late DynamoDB, SQS, SSM and the CRM respond while billed time is measured, milliseconds.
pub const AWAY_MS: [u64; 4] = [5, 8, 10, 300];
/// What CloudWatch adds to each line of a log, bytes.
const LOG_LINE: usize = 26;

/// How many events a program needs for so many turns.
pub fn events(rounds: u64) -> u64 {
    rounds * (STARTS + 1 + WARM_UP + WARM) + CALLS
}

/// What was measured of one program. Times are medians over starts unless said otherwise.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Figures {
    /// The program.
    pub name: String,
    /// The title in a table.
    pub title: String,
    /// Whether it is a peer.
    pub is_peer: bool,
    /// The size of its zip.
    pub zip_bytes: u64,
    /// From exec to the first poll for an event, milliseconds.
    pub init_ms: f64,
    /// From exec to the first response, milliseconds.
    pub cold_ms: f64,
    /// The median of all warm invocations, microseconds.
    pub p50_us: f64,
    /// The 99th percentile of all warm invocations, microseconds.
    pub p99_us: f64,
    /// CPU time of a warm invocation, user and system, microseconds: the mean of all.
    pub cpu_us: f64,
    /// The highest resident memory of any start, bytes.
    pub peak_bytes: u64,
    /// By kind of invocation: `start` (with the first invocation), `new`, and of hooks `further` (another message
    /// about a call), `duplicate` and `rejected`.
    pub kinds: BTreeMap<String, Kind>,
}

/// What an invocation is billed for, with AWS and the CRM as far away as [`AWAY_MS`] says.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Kind {
    /// Time, each invocation rounded up to a millisecond.
    pub ms: f64,
    /// Requests by service and operation.
    pub requests: Requests,
    /// Bytes sent to the CRM.
    pub crm_bytes: f64,
    /// Read units of DynamoDB.
    pub reads: f64,
    /// Write units of DynamoDB.
    pub writes: f64,
    /// Bytes that the tables have grown by, without their indexes.
    pub stored_bytes: f64,
    /// Bytes of logs.
    pub log_bytes: f64,
}

#[derive(Default)]
struct Gathered {
    init: Vec<f64>,
    cold: Vec<f64>,
    warm: Vec<f64>,
    cpu: f64,
    figures: Figures,
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// The value below which `percent` of all lie, by nearest rank.
pub fn percentile(values: &[f64], percent: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (percent / 100.0 * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0.0)
}

/// Measures programs by turns. Returns a line for each that failed; the others go on.
pub async fn measure(
    stand: &mut Stand,
    programs: &[Program],
    feeds: &Feeds,
    rounds: u64,
) -> Result<(Vec<Figures>, Vec<String>), Failure> {
    let mut all: Vec<_> = programs
        .iter()
        .filter_map(|program| Some((program, feeds.get(program.name())?, Ok(Gathered::default()))))
        .collect();
    for round in 1..=rounds {
        for (program, feed, result) in &mut all {
            let Ok(gathered) = result else { continue };
            say(&format!("round {round} of {}: {}", rounds, program.name()));
            let mut done = turn(stand, program, feed, gathered).await;
            if done.is_ok() && round == rounds {
                let kinds = kinds(stand, program, feed, true).await;
                done = kinds.map(|kinds| gathered.figures.kinds = kinds);
            }
            if let Err(error) = done {
                *result = Err(format!("{}: {error}", program.name()));
            }
        }
    }
    let (mut figures, mut failed) = (Vec::new(), Vec::new());
    for (program, _, result) in all {
        match result {
            Ok(gathered) => figures.push(gathered.figures(program)?),
            Err(error) => failed.push(error),
        }
    }
    Ok((figures, failed))
}

impl Gathered {
    fn figures(self, program: &Program) -> Result<Figures, Failure> {
        Ok(Figures {
            name: program.name().to_owned(),
            title: program.title.clone(),
            is_peer: program.is_peer,
            zip_bytes: zip_size(&program.deploy)?,
            init_ms: percentile(&self.init, 50.0),
            cold_ms: percentile(&self.cold, 50.0),
            p50_us: percentile(&self.warm, 50.0) * 1e3,
            p99_us: percentile(&self.warm, 99.0) * 1e3,
            cpu_us: self.cpu * 1e3 / self.warm.len().max(1) as f64,
            ..self.figures
        })
    }
}

async fn turn(
    stand: &mut Stand,
    program: &Program,
    feed: &Feed,
    all: &mut Gathered,
) -> Result<(), Failure> {
    for _ in 0..STARTS {
        start(stand, program, feed, all).await?.process.kill().await;
    }
    let running = start(stand, program, feed, all).await?;
    for n in 1..=WARM_UP {
        feed.invoke(stand, &running, n).await?;
    }
    let before = running.process.cpu()?;
    for n in 1..=WARM {
        all.warm.push(millis(feed.invoke(stand, &running, WARM_UP + n).await?.took));
    }
    all.cpu += millis(running.process.cpu()?.saturating_sub(before));
    all.figures.peak_bytes = all.figures.peak_bytes.max(running.process.peak_memory()?);
    running.process.kill().await;
    Ok(())
}

/// A start up to the first response.
async fn start(
    stand: &mut Stand,
    program: &Program,
    feed: &Feed,
    all: &mut Gathered,
) -> Result<Running, Failure> {
    let running = feed.start(stand, program, &[]).await?;
    let first = feed.invoke(stand, &running, 0).await?;
    all.init.push(millis(running.init));
    all.cold.push(millis(first.ended_at.duration_since(running.process.started_at)));
    Ok(running)
}

/// Measures each kind of invocation; `is_away` says whether AWS and the CRM respond as late as [`AWAY_MS`] says.
/// Duplicates are those of calls that owe nothing; `rejected` has a wrong signature or secret.
pub async fn kinds(
    stand: &mut Stand,
    program: &Program,
    feed: &Feed,
    is_away: bool,
) -> Result<BTreeMap<String, Kind>, Failure> {
    let delays = if is_away { AWAY_MS } else { [0; 4] }.map(Duration::from_millis);
    stand.delay(delays, true);
    let result = delayed_kinds(stand, program, feed).await;
    stand.delay([Duration::ZERO; 4], false);
    result
}

async fn delayed_kinds(
    stand: &mut Stand,
    program: &Program,
    feed: &Feed,
) -> Result<BTreeMap<String, Kind>, Failure> {
    let running = feed.start(stand, program, &[]).await?;
    let units = stand.aws.take_units();
    let requests = count(&running.started);
    let mut start = Kind { requests, reads: units.reads, writes: units.writes, ..Kind::default() };
    let mut all = BTreeMap::new();
    for name in ["new", "further", "duplicate", "rejected"] {
        // The jobs of a worker point to what is due: only a hook's calls are cleared.
        if name == "duplicate" && matches!(feed, Feed::Hook(..)) {
            running.account.clear_due()?;
        }
        let (mut ms, stored) = (0.0, running.account.stored_bytes()?);
        for n in 0..CALLS {
            let event = match (name, feed) {
                ("new", _) => Some(feed.event(n)?),
                ("further", Feed::Hook(sample, _)) => sample.further(n),
                ("duplicate", Feed::Hook(sample, _)) => Some(sample.new_call(n)),
                ("rejected", Feed::Hook(sample, _)) => Some(sample.rejected(CALLS + n)),
                _ => None,
            };
            let Some(event) = event else { break };
            let first = if name == "rejected" { 4 } else { 2 };
            let accepts =
                |status| status / 100 == first || feed.may_find_nothing() && status == 404;
            let took = stand.expect(&running, event, accepts).await?.took;
            ms += millis(took).ceil();
            if start.ms == 0.0 {
                start.ms = millis(running.init + took).ceil();
            }
        }
        if ms > 0.0 {
            let (calls, units) = (CALLS as f64, stand.aws.take_units());
            let (requests, crm_bytes) = stand.take_requests(CALLS);
            let stored_bytes = (running.account.stored_bytes()? - stored) as f64 / calls;
            let (ms, reads, writes) = (ms / calls, units.reads / calls, units.writes / calls);
            let kind =
                Kind { ms, requests, crm_bytes, reads, writes, stored_bytes, log_bytes: 0.0 };
            all.insert(name.to_owned(), kind);
        }
    }
    // A line belongs to no invocation: what was printed is shared among all of them.
    let lines = running.process.kill().await;
    let bytes: usize = lines.iter().map(|line| line.len() + LOG_LINE).sum();
    let log_bytes = bytes as f64 / (CALLS as f64 * all.len() as f64);
    all.values_mut().for_each(|kind| kind.log_bytes = log_bytes);
    all.insert("start".to_owned(), start);
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let values: Vec<f64> = (1..=200).rev().map(f64::from).collect();
        let ranks = [50.0, 99.0, 100.0].map(|percent| percentile(&values, percent));
        assert_eq!(ranks, [100.0, 198.0, 200.0]);
        assert_eq!((percentile(&[7.0], 99.0), percentile(&[], 99.0)), (7.0, 0.0));
    }
}
