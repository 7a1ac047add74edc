//! Large work: how time and requests grow with it.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;
use switchboard_domain::{CallKey, Name};

use crate::Failure;
use crate::aws::Account;
use crate::bench::{Bench, Running};
use crate::feed::{self, Feed};
use crate::limit::share;
use crate::programs::{Found, Program};
use crate::say;
use crate::server::lock;
use crate::template::grant;
use crate::text::{Table, figure};

/// Records of the largest webhook.
const RECORDS: u64 = 1_000;
/// Jobs of one SQS batch, and batches of the longest run.
const BATCH: u64 = 10;
const BATCHES: u64 = 100;
/// How long the CRM thinks.
const CRM: Duration = Duration::from_millis(100);
/// Items that are due at once.
const DUE: u64 = 100_000;
/// A sweep that needs more runs than this does not end.
const RUNS: u64 = 50;

/// How one kind of work grows.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Growth {
    /// What is done.
    pub what: String,
    /// The function's time limit, seconds.
    pub limit_s: u32,
    /// The function's memory, whose CPU share it gets, MB.
    pub memory_mb: u32,
    /// A tenth, half and all of it.
    pub points: Vec<Point>,
}

/// One size.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Point {
    /// How much there was to do.
    pub size: u64,
    /// How many invocations it took.
    pub invocations: u64,
    /// How long all of them took together, seconds.
    pub seconds: f64,
    /// How long the longest took, seconds.
    pub longest_s: f64,
    /// Requests, by service and operation.
    pub requests: BTreeMap<String, u64>,
}

/// How many calls the workers' feed must have.
pub fn needed() -> u64 {
    BATCH * BATCHES
}

/// Measures all of it, as far as the functions are there.
pub async fn measure(
    bench: &mut Bench,
    found: &Found,
    feeds: &BTreeMap<String, Feed>,
) -> Result<Vec<Growth>, Failure> {
    let mut all = Vec::new();
    for (name, what) in [
        ("onecom", "one webhook of many records"),
        ("deliver", "batches of 10 to a CRM that takes 100 ms"),
        ("sweep", "items that are due"),
    ] {
        let program = found.programs.iter().find(|program| program.name == name);
        let (Some(program), Some(feed)) = (program, feeds.get(name)) else {
            say(&format!("{name} is not there, so not measured"));
            continue;
        };
        let granted = grant(&bench.root, name)?;
        let whole = match name {
            "onecom" => RECORDS,
            "deliver" => BATCHES,
            _ => DUE,
        };
        let mut points = Vec::new();
        for size in [whole / 10, whole / 2, whole] {
            say(&format!("{name}: {size}"));
            let account = match name {
                "sweep" => due(&bench.root, bench.crm.port, size)?,
                _ => feed.account(&bench.root, bench.crm.port)?,
            };
            let running = bench.run(program, account, feed.stage(), granted.memory).await?;
            let limited = bench.limiter.limit(running.process.pid, share(granted.memory))?;
            let mut point = Point { size, ..Point::default() };
            let done = work(bench, program, &running, feed, &mut point).await;
            point.requests = bench.shared.take_counts().requests;
            running.process.end().await;
            drop(limited);
            done?;
            points.push(point);
        }
        let what = format!("{name}: {what}");
        all.push(Growth { what, limit_s: granted.timeout, memory_mb: granted.memory, points });
    }
    Ok(all)
}

async fn work(
    bench: &mut Bench,
    program: &Program,
    running: &Running,
    feed: &Feed,
    point: &mut Point,
) -> Result<(), Failure> {
    match feed {
        Feed::Hook(sample) => {
            let event = sample.list(0..point.size);
            let event = event.ok_or_else(|| Failure::new("its sample is no JSON record"))?;
            step(bench, running, event, point).await?;
            let stored = lock(&bench.aws.account).table.len() as u64;
            if stored != point.size {
                let what = format!("{}: {stored} of {} are stored", program.name, point.size);
                return Err(Failure::new(what));
            }
        }
        Feed::Jobs { messages, .. } => {
            bench.crm.delay_by(CRM);
            let batch = usize::try_from(BATCH)?;
            let mut done = Ok(());
            for messages in messages.chunks(batch).take(usize::try_from(point.size)?) {
                done = step(bench, running, feed::batch(messages), point).await;
                if done.is_err() {
                    break;
                }
            }
            bench.crm.delay_by(Duration::ZERO);
            done?;
        }
        Feed::Plain(event) => {
            while lock(&bench.aws.account).table.due() > 0 {
                if point.invocations == RUNS {
                    return Err(Failure::new(format!("{} does not end", program.name)));
                }
                step(bench, running, event.clone(), point).await?;
            }
        }
    }
    Ok(())
}

async fn step(
    bench: &mut Bench,
    running: &Running,
    event: Vec<u8>,
    point: &mut Point,
) -> Result<(), Failure> {
    let took = bench.done(running, event).await?.took.as_secs_f64();
    point.invocations += 1;
    point.seconds += took;
    point.longest_s = point.longest_s.max(took);
    Ok(())
}

/// An account in which so many calls owe `enrich` since a minute.
fn due(root: &Path, crm: u16, size: u64) -> Result<Account, Failure> {
    let mut account =
        Account { parameters: feed::parameters(root, crm, false)?, ..Account::default() };
    let at = Timestamp::now().as_millisecond() - 60_000;
    for n in 0..size {
        let provider = Name::new("provider", "twilio")?;
        let id = format!("CA{n:032x}");
        let key = CallKey::new(provider.clone(), provider, &id)?;
        account.table.put(json!({
            "pk": {"S": format!("call#twilio#twilio#{id}")},
            "sk": {"S": "call"},
            "due_shard": {"S": format!("{:02}", key.due_shard())},
            "due_at": {"N": at.to_string()},
        }));
    }
    Ok(account)
}

/// The table of it.
pub fn table(all: &[Growth]) -> Table {
    let mut table = Table::new(&[
        "work",
        "size",
        "seconds",
        "ms for each",
        "requests",
        "requests for each",
        "invocations",
        "longest, s",
        "of its time, s",
        "CPU share of, MB",
    ]);
    for growth in all {
        for point in &growth.points {
            let requests: u64 = point.requests.values().sum();
            let size = point.size as f64;
            table.rows.push(vec![
                growth.what.clone(),
                figure(size),
                figure(point.seconds),
                figure(point.seconds * 1e3 / size),
                figure(requests as f64),
                figure(requests as f64 / size),
                point.invocations.to_string(),
                figure(point.longest_s),
                growth.limit_s.to_string(),
                growth.memory_mb.to_string(),
            ]);
        }
    }
    table
}

/// What does not stay inside its function's time, in words.
pub fn too_long(all: &[Growth]) -> Vec<String> {
    let over = |growth: &Growth| {
        let longest = growth.points.iter().map(|point| point.longest_s).fold(0.0, f64::max);
        let what = format!("{}: {} s of {}", growth.what, figure(longest), growth.limit_s);
        (longest > f64::from(growth.limit_s)).then_some(what)
    };
    all.iter().filter_map(over).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_too_long_is_said() {
        let point = |longest_s| Point { longest_s, ..Point::default() };
        let growth = |points| Growth { what: "x".into(), limit_s: 10, memory_mb: 256, points };
        assert!(too_long(&[growth(vec![point(1.0), point(9.9)])]).is_empty());
        assert_eq!(too_long(&[growth(vec![point(1.0), point(10.1)])]), ["x: 10.1 s of 10"]);
    }

    #[test]
    fn due_calls_are_spread_over_the_shards() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let account = due(&root, 1, 1_000).unwrap();
        assert_eq!((account.table.len(), account.table.due()), (1_000, 1_000));
    }
}
