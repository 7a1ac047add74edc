//! The measurement: programs by turns, several starts each.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Failure;
use crate::bench::{Bench, Running};
use crate::billed::Billed;
use crate::feed::{self, Feed};
use crate::limit::{WHOLE_CPU_MB, share};
use crate::package::zip_size;
use crate::programs::{Found, Program};
use crate::say;
use crate::server::{Counts, lock};
use crate::statistics::{median, percentile};

/// Invocations of a fresh process that are not counted as warm.
pub const WARM_UP: u64 = 50;
/// Calls of each further kind (duplicates, rejected) whose requests are counted.
const OTHERS: u64 = 50;
/// Starts of a program in its turn that end with the first answer, beside the one that goes on; and
/// as many at the share. What is started after a pause is slower than what is started again.
const STARTS: u64 = 3;
/// Invocations at the CPU share after the first.
const AT_SHARE: u64 = 20;
/// Between them a share has time to grow again, as between real calls.
const PAUSE: Duration = Duration::from_millis(40);

/// How much is measured.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Plan {
    /// Turns of each program: four starts at full CPU, three at the share.
    pub rounds: u64,
    /// Warm invocations after each start at full CPU.
    pub warm: u64,
    /// The memory whose CPU share is granted, MB.
    pub memory_mb: u32,
}

/// What was measured of one program. Times are medians over starts unless said otherwise.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Figures {
    /// The program.
    pub name: String,
    /// What it is.
    pub title: String,
    /// Whether ours are compared with it.
    pub is_peer: bool,
    /// The sample that it was given, or `jobs`, or `event`.
    pub given: String,
    /// What would be uploaded, bytes.
    pub zip_bytes: u64,
    /// Exec to the first question for an event, milliseconds.
    pub init_ms: f64,
    /// The first invocation, milliseconds.
    pub first_ms: f64,
    /// Exec to the first answer, milliseconds.
    pub cold_ms: f64,
    /// Warm invocations over all starts: how many.
    pub warm_invocations: u64,
    /// Their median, microseconds.
    pub warm_p50_us: f64,
    /// Their 99th percentile, microseconds.
    pub warm_p99_us: f64,
    /// CPU time of a warm invocation, user and system, microseconds: the mean over all.
    pub cpu_us: f64,
    /// The most resident memory of any start, bytes.
    pub peak_bytes: u64,
    /// The first invocation at the CPU share, after a start at full CPU, milliseconds.
    pub share_first_ms: f64,
    /// Later ones at the share, milliseconds.
    pub share_warm_ms: f64,
    /// The start and the first invocation at the share together, milliseconds.
    pub share_cold_ms: f64,
    /// Requests per invocation, by kind of invocation, then by service and operation. `start` is
    /// all that is asked before the first.
    pub requests: BTreeMap<String, BTreeMap<String, f64>>,
    /// Connections open before the first event.
    pub connections_at_start: u64,
    /// Connections after all warm invocations of a start.
    pub connections: u64,
    /// Bytes of the AWS requests' bodies in a warm invocation.
    pub bytes_sent: f64,
    /// An invocation after every connection was closed while the process was frozen, milliseconds.
    pub after_idle_ms: f64,
    /// What an invocation is billed for, by memory size.
    #[serde(default)]
    pub billed: Vec<Billed>,
}

/// What is gathered of one program, start by start.
#[derive(Default)]
struct Gathered {
    init: Vec<f64>,
    first: Vec<f64>,
    cold: Vec<f64>,
    warm: Vec<f64>,
    cpu: Duration,
    peak: u64,
    share_first: Vec<f64>,
    share_warm: Vec<f64>,
    share_cold: Vec<f64>,
    after_idle: Vec<f64>,
    requests: BTreeMap<String, BTreeMap<String, f64>>,
    connections_at_start: u64,
    connections: u64,
    bytes_sent: f64,
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn us(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// Requests by service and operation, for each of so many invocations.
pub fn per(counts: &Counts, invocations: u64) -> BTreeMap<String, f64> {
    let each = |(name, count): (&String, &u64)| (name.clone(), *count as f64 / invocations as f64);
    counts.requests.iter().map(each).collect()
}

/// Measures programs by turns. What fails is said and left out: the others go on.
pub async fn measure(
    bench: &mut Bench,
    found: &Found,
    feeds: &BTreeMap<String, Feed>,
    plan: Plan,
) -> Result<(Vec<Figures>, Vec<String>), Failure> {
    let mut gathered: BTreeMap<&str, Gathered> = BTreeMap::new();
    let mut failed: BTreeMap<&str, String> = BTreeMap::new();
    for round in 0..plan.rounds {
        for program in &found.programs {
            let name = program.name.as_str();
            let Some(feed) = feeds.get(name).filter(|_| !failed.contains_key(name)) else {
                continue;
            };
            say(&format!("round {} of {}: {name}", round + 1, plan.rounds));
            let one = gathered.entry(name).or_default();
            if let Err(failure) = turn(bench, program, feed, plan, one).await {
                say(&format!("{name} failed: {failure}"));
                failed.insert(name, format!("{name}: {failure}"));
            }
        }
    }
    let mut figures = Vec::new();
    for program in &found.programs {
        let name = program.name.as_str();
        if let (Some(one), Some(feed), false) =
            (gathered.remove(name), feeds.get(name), failed.contains_key(name))
        {
            figures.push(one.figures(program, feed)?);
        }
    }
    Ok((figures, failed.into_values().collect()))
}

/// A program's turn: some starts that are ended at once, one that goes on, some at the CPU share.
async fn turn(
    bench: &mut Bench,
    program: &Program,
    feed: &Feed,
    plan: Plan,
    one: &mut Gathered,
) -> Result<(), Failure> {
    for _ in 0..STARTS {
        start(bench, program, feed, one).await?.process.end().await;
    }
    full(bench, program, feed, plan, one).await?;
    at_share(bench, program, feed, plan, one).await
}

/// A start at full CPU, up to the first answer.
async fn start(
    bench: &mut Bench,
    program: &Program,
    feed: &Feed,
    one: &mut Gathered,
) -> Result<Running, Failure> {
    let account = feed.account(&bench.root, bench.crm.port)?;
    let running = bench.run(program, account, feed.stage(), WHOLE_CPU_MB).await?;
    let event = feed.event(0).ok_or_else(|| Failure::new("there are no events"))?;
    let first = bench.done(&running, event).await?;
    one.init.push(ms(running.init));
    one.first.push(ms(first.took));
    one.cold.push(ms(first.answered_at.duration_since(running.process.started_at)));
    Ok(running)
}

/// One start at full CPU: the first invocation, many warm ones, and the other kinds.
async fn full(
    bench: &mut Bench,
    program: &Program,
    feed: &Feed,
    plan: Plan,
    one: &mut Gathered,
) -> Result<(), Failure> {
    let running = start(bench, program, feed, one).await?;
    let event = |n: u64| feed.event(n).ok_or_else(|| Failure::new("there are no more events"));
    let mut next = 1;
    while next <= WARM_UP {
        bench.done(&running, event(next)?).await?;
        next += 1;
    }
    let earlier = bench.shared.take_counts().connected();
    let before = running.process.cpu()?;
    for _ in 0..plan.warm {
        one.warm.push(us(bench.done(&running, event(next)?).await?.took));
        next += 1;
    }
    one.cpu += running.process.cpu()?.saturating_sub(before);
    let counts = bench.shared.take_counts();
    one.peak = one.peak.max(running.process.peak_memory()?);
    one.connections_at_start = running.asked.connected();
    one.connections = running.asked.connected() + earlier + counts.connected();
    one.bytes_sent = counts.sent() as f64 / plan.warm as f64;
    one.requests.insert("start".into(), per(&running.asked, 1));
    one.requests.insert("new".into(), per(&counts, plan.warm));

    one.requests.extend(others(bench, &running, feed, next, OTHERS).await?);

    running.process.freeze()?;
    bench.shared.close_idle();
    tokio::time::sleep(PAUSE).await;
    running.process.thaw()?;
    one.after_idle.push(ms(bench.done(&running, event(next)?).await?.took));
    running.process.end().await;
    Ok(())
}

/// The requests of a hook for webhooks that are no new calls: duplicates of the first calls that
/// owe nothing any more, and new ones with a wrong signature or secret.
pub async fn others(
    bench: &mut Bench,
    running: &Running,
    feed: &Feed,
    next: u64,
    times: u64,
) -> Result<BTreeMap<String, BTreeMap<String, f64>>, Failure> {
    let mut requests = BTreeMap::new();
    let Feed::Hook(sample) = feed else { return Ok(requests) };
    bench.shared.take_counts();
    lock(&bench.aws.account).table.owe_nothing();
    for n in 0..times {
        bench.done(running, sample.new_call(n)).await?;
    }
    requests.insert("duplicate".to_owned(), per(&bench.shared.take_counts(), times));
    for n in 0..times {
        let answer = bench.invoke(running, sample.rejected(next + n)).await?.answer;
        if !feed::is_refused(&answer) {
            return Err(Failure::new(format!("a wrong signature was answered {answer}")));
        }
    }
    requests.insert("rejected".to_owned(), per(&bench.shared.take_counts(), times));
    Ok(requests)
}

/// Some starts whose invocations get the share of a CPU that goes with the memory, and later ones of
/// the last. The start itself is not limited, as Lambda's is not.
async fn at_share(
    bench: &mut Bench,
    program: &Program,
    feed: &Feed,
    plan: Plan,
    one: &mut Gathered,
) -> Result<(), Failure> {
    let event = |n: u64| feed.event(n).ok_or_else(|| Failure::new("there are no more events"));
    for start in 1..=STARTS {
        let account = feed.account(&bench.root, bench.crm.port)?;
        let running = bench.run(program, account, feed.stage(), plan.memory_mb).await?;
        let limited = bench.limiter.limit(running.process.pid, share(plan.memory_mb))?;
        let first = bench.done(&running, event(0)?).await?;
        one.share_first.push(ms(first.took));
        one.share_cold.push(ms(running.init + first.took));
        let later = if start == STARTS { AT_SHARE } else { 0 };
        for n in 1..=later {
            tokio::time::sleep(PAUSE).await;
            one.share_warm.push(ms(bench.done(&running, event(n)?).await?.took));
        }
        running.process.end().await;
        drop(limited);
    }
    Ok(())
}

impl Gathered {
    fn figures(self, program: &Program, feed: &Feed) -> Result<Figures, Failure> {
        let given = match feed {
            Feed::Hook(sample) => sample.name.clone(),
            Feed::Jobs { .. } => "jobs".to_owned(),
            Feed::Plain(_) => "event".to_owned(),
        };
        Ok(Figures {
            name: program.name.clone(),
            title: program.title.clone(),
            is_peer: program.is_peer,
            given,
            zip_bytes: zip_size(&program.deploy)?,
            init_ms: median(&self.init),
            first_ms: median(&self.first),
            cold_ms: median(&self.cold),
            warm_invocations: self.warm.len() as u64,
            warm_p50_us: percentile(&self.warm, 50.0),
            warm_p99_us: percentile(&self.warm, 99.0),
            cpu_us: us(self.cpu) / self.warm.len().max(1) as f64,
            peak_bytes: self.peak,
            share_first_ms: median(&self.share_first),
            share_warm_ms: median(&self.share_warm),
            share_cold_ms: median(&self.share_cold),
            requests: self.requests,
            connections_at_start: self.connections_at_start,
            connections: self.connections,
            bytes_sent: self.bytes_sent,
            after_idle_ms: median(&self.after_idle),
            billed: Vec::new(),
        })
    }
}
