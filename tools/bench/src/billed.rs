//! What an invocation is billed for: its time as Lambda counts it, with AWS and the CRM as far away
//! as they are assumed to be, and what DynamoDB, SQS, the logs and the network take for it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Failure;
use crate::assumptions::Assumptions;
use crate::aws::Delays;
use crate::bench::{Bench, Running};
use crate::feed::Feed;
use crate::limit::share;
use crate::measure::{Figures, per};
use crate::programs::{Found, Program};
use crate::say;
use crate::server::lock;
use crate::table::Units;
use crate::template::grant;

/// Starts at each memory size.
const STARTS: u64 = 3;
/// Invocations of each kind after a start.
const INVOCATIONS: u64 = 20;
/// Between them a share has time to grow again, as between real calls.
const PAUSE: Duration = Duration::from_millis(60);
/// What CloudWatch adds to each log event, bytes.
const LOG_EVENT: f64 = 26.0;

/// What an invocation is billed for, at one memory size. Means over all invocations.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Billed {
    /// The memory, MB.
    pub memory_mb: u32,
    /// The start and the first invocation, rounded up to a millisecond together.
    pub cold_ms: f64,
    /// What a start asks for beside that.
    pub start: Taken,
    /// Later invocations by kind: `new`; of the main hook also `further` (another message about a
    /// call that is there) and `duplicate` (one about a call that owes nothing).
    pub kinds: BTreeMap<String, Invoked>,
}

/// One kind of invocation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Invoked {
    /// The time, each rounded up to a millisecond.
    pub ms: f64,
    /// What it asks for.
    pub taken: Taken,
}

/// What an invocation asks for beside time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Taken {
    /// Requests by service and operation.
    pub requests: BTreeMap<String, f64>,
    /// What DynamoDB charges.
    pub units: Units,
    /// Bytes of the requests' bodies to the CRM.
    pub crm_bytes: f64,
    /// Bytes of log events.
    pub log_bytes: f64,
}

impl Taken {
    /// Requests to a service, or of one of its operations.
    pub fn asked(&self, prefix: &str) -> f64 {
        self.requests.iter().filter(|(name, _)| name.starts_with(prefix)).map(|(_, n)| n).sum()
    }
}

fn rounded_up(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e3).ceil()
}

/// Adds to the figures what is billed: of our functions with the memory that the template grants, of
/// the main hook and its peers with each of the assumed sizes that they fit in.
pub async fn add(
    bench: &mut Bench,
    found: &Found,
    feeds: &BTreeMap<String, Feed>,
    assumed: &Assumptions,
    figures: &mut [Figures],
) -> Result<(), Failure> {
    let trips = &assumed.round_trips;
    let before = std::mem::replace(&mut *lock(&bench.aws.delays), trips.delays());
    bench.crm.delay_by(Duration::from_millis(trips.crm_ms));
    let mut done = Ok(());
    for one in figures {
        let name = one.name.clone();
        let program = found.programs.iter().find(|program| program.name == name);
        let (Some(program), Some(feed)) = (program, feeds.get(&name)) else { continue };
        let mut sizes: Vec<u32> = match program.is_peer {
            true => Vec::new(),
            false => vec![grant(&bench.root, &name)?.memory],
        };
        if program.is_peer || name == found.main {
            sizes.extend(assumed.memory.sizes_for(one.peak_bytes));
        }
        sizes.sort_unstable();
        sizes.dedup();
        say(&format!("what is billed: {name} with {sizes:?} MB"));
        for memory in sizes {
            match at(bench, program, feed, memory).await {
                Ok(billed) => one.billed.push(billed),
                Err(failure) => done = Err(failure.of(&name, &[])),
            }
        }
    }
    bench.crm.delay_by(Duration::ZERO);
    *lock(&bench.aws.delays) = before;
    done
}

/// What is gathered of one kind of invocation.
#[derive(Default)]
struct Kind {
    invocations: f64,
    ms: f64,
    taken: Taken,
}

async fn at(
    bench: &mut Bench,
    program: &Program,
    feed: &Feed,
    memory: u32,
) -> Result<Billed, Failure> {
    let (mut cold, mut start) = (0.0, Taken::default());
    let mut kinds: BTreeMap<&str, Kind> = BTreeMap::new();
    let (mut lines, mut bytes) = (0, 0);
    for _ in 0..STARTS {
        let account = feed.account(&bench.root, bench.crm.port)?;
        let running = bench.run(program, account, feed.stage(), memory).await?;
        start.units = bench.aws.take_units();
        start.requests = per(&running.asked, 1);
        let limited = bench.limiter.limit(running.process.pid, share(memory))?;
        let first = invoke(bench, &running, feed.event(0)).await?;
        cold += rounded_up(running.init + first);
        bench.shared.take_counts();
        bench.aws.take_units();
        for n in 1..=INVOCATIONS {
            step(bench, &running, feed.event(n), kinds.entry("new").or_default()).await?;
        }
        if let Feed::Hook(sample) = feed {
            for n in 1..=INVOCATIONS {
                let Some(event) = sample.further(n) else { break };
                let kind = kinds.entry("further").or_default();
                step(bench, &running, Some(event), kind).await?;
            }
            lock(&bench.aws.account).table.owe_nothing();
            for n in 1..=INVOCATIONS {
                let kind = kinds.entry("duplicate").or_default();
                step(bench, &running, feed.event(n), kind).await?;
            }
        }
        drop(limited);
        let said = running.process.end_with_lines().await;
        lines += said.0;
        bytes += said.1;
    }
    // Lines belong to no invocation: what is printed is shared among all of them.
    let all: f64 = STARTS as f64 + kinds.values().map(|kind| kind.invocations).sum::<f64>();
    let log_bytes = (bytes as f64 + LOG_EVENT * lines as f64) / all;
    let kinds = kinds.into_iter().map(|(name, kind)| (name.to_owned(), kind.mean(log_bytes)));
    Ok(Billed { memory_mb: memory, cold_ms: cold / STARTS as f64, start, kinds: kinds.collect() })
}

async fn invoke(
    bench: &mut Bench,
    running: &Running,
    event: Option<Vec<u8>>,
) -> Result<Duration, Failure> {
    let event = event.ok_or_else(|| Failure::new("there are no more events"))?;
    Ok(bench.done(running, event).await?.took)
}

async fn step(
    bench: &mut Bench,
    running: &Running,
    event: Option<Vec<u8>>,
    kind: &mut Kind,
) -> Result<(), Failure> {
    tokio::time::sleep(PAUSE).await;
    kind.ms += rounded_up(invoke(bench, running, event).await?);
    kind.invocations += 1.0;
    let counts = bench.shared.take_counts();
    for (name, count) in per(&counts, 1) {
        *kind.taken.requests.entry(name).or_default() += count;
    }
    kind.taken.crm_bytes += counts.bytes_in.get("crm").copied().unwrap_or_default() as f64;
    kind.taken.units += bench.aws.take_units();
    Ok(())
}

impl Kind {
    fn mean(self, log_bytes: f64) -> Invoked {
        let one = 1.0 / self.invocations;
        let requests = self.taken.requests.into_iter().map(|(name, count)| (name, count * one));
        let taken = Taken {
            requests: requests.collect(),
            units: self.taken.units.times(one),
            crm_bytes: self.taken.crm_bytes * one,
            log_bytes,
        };
        Invoked { ms: self.ms * one, taken }
    }
}

impl crate::assumptions::RoundTrips {
    fn delays(&self) -> Delays {
        Delays {
            dynamodb: Duration::from_millis(self.dynamodb_ms),
            sqs: Duration::from_millis(self.sqs_ms),
            ssm: Duration::from_millis(self.ssm_ms),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_begun_millisecond_is_billed() {
        let ms = |us| rounded_up(Duration::from_micros(us));
        assert_eq!([ms(1), ms(1_000), ms(1_001), ms(14_500)], [1.0, 1.0, 2.0, 15.0]);
    }

    #[test]
    fn kinds_are_means() {
        let requests = BTreeMap::from([("sqs SendMessage".to_owned(), 3.0)]);
        let units = Units { reads: 1.0, writes: 6.0, stored: 30.0 };
        let taken = Taken { requests, units, crm_bytes: 12.0, log_bytes: 0.0 };
        let mean = Kind { invocations: 3.0, ms: 45.0, taken }.mean(7.0);
        assert_eq!((mean.ms, mean.taken.asked("sqs "), mean.taken.crm_bytes), (15.0, 1.0, 4.0));
        assert_eq!((mean.taken.units.writes, mean.taken.log_bytes), (2.0, 7.0));
        assert_eq!(mean.taken.asked("dynamodb "), 0.0);
    }
}
