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
use crate::prices::Prices;
use crate::programs::{Found, Program};
use crate::say;
use crate::server::lock;
use crate::table::Units;
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
/// Twice the work may take so much more time before it grows faster than the work.
const LINEAR: f64 = 2.5;

/// What takes no longer than this, seconds, is done several times, and the turn in the middle counts: what
/// else the machine does is felt in short work.
const LONG: f64 = 5.0;
const TURNS: usize = 5;

/// How one kind of work grows.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Growth {
    /// What is done.
    pub what: String,
    /// The function's time limit, seconds.
    pub limit_s: u32,
    /// Whether its work comes from a queue.
    pub has_jobs: bool,
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
    /// What DynamoDB charges for them.
    pub units: Units,
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
            let mut turns: Vec<Point> = Vec::new();
            while turns.len() < TURNS && turns.iter().all(|turn| turn.seconds < LONG) {
                let account = match name {
                    "sweep" => due(&bench.root, bench.crm.port, size)?,
                    _ => feed.account(&bench.root, bench.crm.port)?,
                };
                let running = bench.run(program, account, feed.stage(), granted.memory).await?;
                bench.aws.take_units();
                let limited = bench.limiter.limit(running.process.pid, share(granted.memory))?;
                let mut point = Point { size, ..Point::default() };
                let done = work(bench, program, &running, feed, &mut point).await;
                point.requests = bench.shared.take_counts().requests;
                point.units = bench.aws.take_units();
                running.process.end().await;
                drop(limited);
                done?;
                turns.push(point);
            }
            turns.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
            let point = turns.swap_remove(turns.len() / 2);
            points.push(point);
        }
        let what = format!("{name}: {what}");
        let has_jobs = matches!(feed, Feed::Jobs { .. });
        let (limit_s, memory_mb) = (granted.timeout, granted.memory);
        all.push(Growth { what, limit_s, has_jobs, memory_mb, points });
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

/// What Lambda, DynamoDB and SQS charge for it, dollars. A batch of jobs was received and is deleted.
fn dollars(growth: &Growth, point: &Point, prices: &Prices) -> f64 {
    let gb_seconds = f64::from(growth.memory_mb) / 1_024.0 * point.seconds;
    let sqs = point.requests.iter().filter(|(name, _)| name.starts_with("sqs "));
    let batches = if growth.has_jobs { point.invocations } else { 0 };
    let sqs = sqs.map(|(_, count)| count).sum::<u64>() + 2 * batches;
    gb_seconds * prices.gb_second(std::env::consts::ARCH)
        + (point.invocations as f64 * prices.lambda.million_requests
            + point.units.writes * prices.dynamodb.million_writes
            + point.units.reads * prices.dynamodb.million_reads
            + sqs as f64 * prices.sqs.million_requests)
            / 1e6
}

/// The table of it.
pub fn table(all: &[Growth], prices: &Prices) -> Table {
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
        "dollars for a million",
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
                figure(dollars(growth, point, prices) * 1e6 / size),
            ]);
        }
    }
    table
}

/// What does not stay inside its function's time, in words.
pub fn too_long(all: &[Growth]) -> Vec<String> {
    let over = |growth: &Growth| {
        let longest = growth.points.iter().map(|point| point.longest_s).fold(0.0, f64::max);
        let what =
            format!("{}: took {} s, its limit is {}", growth.what, figure(longest), growth.limit_s);
        (longest > f64::from(growth.limit_s)).then_some(what)
    };
    all.iter().filter_map(over).collect()
}

/// What grows faster than the work, in words: judged from half to all of it.
pub fn not_linear(all: &[Growth]) -> Vec<String> {
    let faster = |growth: &Growth| {
        let [.., half, whole] = growth.points.as_slice() else { return None };
        let (work, time) = (whole.size as f64 / half.size as f64, whole.seconds / half.seconds);
        (time > work / 2.0 * LINEAR).then(|| {
            let (work, time) = (figure(work), figure(time));
            format!("{}: {work} times the work took {time} times as long", growth.what)
        })
    };
    all.iter().filter_map(faster).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn growth(points: Vec<Point>, has_jobs: bool) -> Growth {
        Growth { what: "x".into(), limit_s: 10, has_jobs, memory_mb: 512, points }
    }

    #[test]
    fn what_grows_faster_than_the_work_is_said() {
        let grown = |seconds: [f64; 3]| {
            let point = |(size, seconds)| Point { size, seconds, ..Point::default() };
            let points = [10, 50, 100].into_iter().zip(seconds).map(point).collect();
            not_linear(&[growth(points, false)])
        };
        assert!(grown([1.0, 5.0, 10.0]).is_empty());
        assert!(grown([9.0, 5.0, 12.4]).is_empty());
        assert_eq!(grown([1.0, 5.0, 12.6]), ["x: 2.00 times the work took 2.52 times as long"]);
    }

    #[test]
    fn dollars_by_hand() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let mut prices = Prices::read(&root).unwrap();
        prices.lambda.gb_second_x86_64 = 0.001;
        prices.lambda.gb_second_aarch64 = 0.001;
        prices.lambda.million_requests = 1.0;
        prices.dynamodb.million_writes = 10.0;
        prices.dynamodb.million_reads = 100.0;
        prices.sqs.million_requests = 1_000.0;
        let requests = [("sqs SendMessage", 3), ("dynamodb PutItem", 9)];
        let point = Point {
            invocations: 2,
            seconds: 4.0,
            requests: requests.map(|(name, count)| (name.to_owned(), count)).into(),
            units: Units { reads: 5.0, writes: 6.0, stored: 0.0 },
            ..Point::default()
        };
        let of = |has_jobs| dollars(&growth(Vec::new(), has_jobs), &point, &prices);
        // Half a GB for 4 s; 2 invocations, 6 writes, 5 reads, 3 requests; 4 more for two batches.
        let by_hand = 0.002 + (2.0 + 60.0 + 500.0 + 3_000.0) / 1e6;
        assert!((of(false) - by_hand).abs() < 1e-9);
        assert!((of(true) - by_hand - 0.004).abs() < 1e-9);
    }

    #[test]
    fn what_takes_too_long_is_said() {
        let point = |longest_s| Point { longest_s, ..Point::default() };
        let growth = |points| growth(points, false);
        assert!(too_long(&[growth(vec![point(1.0), point(9.9)])]).is_empty());
        assert_eq!(
            too_long(&[growth(vec![point(1.0), point(10.1)])]),
            ["x: took 10.1 s, its limit is 10"]
        );
    }

    #[test]
    fn due_calls_are_spread_over_the_shards() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let account = due(&root, 1, 1_000).unwrap();
        assert_eq!((account.table.len(), account.table.due()), (1_000, 1_000));
    }
}
