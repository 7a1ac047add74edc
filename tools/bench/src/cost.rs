//! What a month costs: measured invocations, assumed traffic, listed prices.

use crate::Failure;
use crate::assumptions::{Assumptions, Traffic};
use crate::billed::{Billed, Invoked, Taken};
use crate::measure::Figures;
use crate::prices::{GB, Prices};
use crate::results::Results;
use crate::table::Units;
use crate::template::Deployed;

/// The days and the minutes of a month of 730 hours.
const DAYS: f64 = 730.0 / 24.0;
const MINUTES: f64 = 730.0 * 60.0;
const HOURS: f64 = 730.0;

/// What the arithmetic goes by.
pub struct Model<'a> {
    /// The measured figures.
    pub results: &'a Results,
    /// The prices.
    pub prices: &'a Prices,
    /// The assumptions.
    pub assumed: &'a Assumptions,
    /// What the template deploys.
    pub deployed: &'a Deployed,
}

/// A month's bill: services and dollars.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Bill(pub Vec<(&'static str, f64)>);

impl Bill {
    /// All of it.
    pub fn total(&self) -> f64 {
        self.0.iter().map(|(_, dollars)| dollars).sum()
    }
}

/// The share of invocations that start an environment, where they come at random: those before
/// which there was nothing for so long that the last one is gone, and those that replace one that is
/// too old. `seconds` is how long an invocation takes.
pub fn cold_share(per_month: f64, seconds: f64, traffic: &Traffic) -> f64 {
    if per_month <= 0.0 {
        return 1.0;
    }
    let per_second = per_month / (traffic.hours * 3_600.0);
    let idle = (-per_second * traffic.idle_minutes * 60.0).exp();
    let aged = environments(per_second, seconds) / (traffic.environment_hours * 3_600.0);
    (idle + aged / per_second).min(1.0)
}

/// How many are needed at the same time: the mean, and three standard deviations.
fn environments(per_second: f64, seconds: f64) -> f64 {
    let busy = per_second * seconds;
    (busy + 3.0 * busy.sqrt()).max(1.0).ceil()
}

/// A function's invocations of a month, by what they cost.
#[derive(Default)]
struct Work {
    invocations: f64,
    gb_seconds: f64,
    starts: f64,
    reads_of_parameters: f64,
    units: Units,
    sqs: f64,
    crm: f64,
    crm_bytes: f64,
    log_bytes: f64,
    cpu_seconds: f64,
}

impl Work {
    fn add(&mut self, taken: &Taken, times: f64) {
        self.units += taken.units.times(times);
        self.sqs += taken.asked("sqs ") * times;
        self.crm += taken.asked("crm ") * times;
        self.crm_bytes += taken.crm_bytes * times;
        self.log_bytes += taken.log_bytes * times;
    }
}

impl Model<'_> {
    fn of(&self, name: &str) -> Result<&Figures, Failure> {
        let missing = || Failure::new(format!("{name} was not measured: run `make bench`"));
        self.results.of(name).ok_or_else(missing)
    }

    /// What a function of ours is billed with the memory that the template grants.
    pub fn billed(&self, name: &str) -> Result<&Billed, Failure> {
        let granted = self.deployed.grant(name)?.memory;
        let found = self.of(name)?.billed.iter().find(|billed| billed.memory_mb == granted);
        found.ok_or_else(|| {
            let what = "what an invocation is billed was not measured with";
            Failure::new(format!("{name}: {what} {granted} MB: run `make bench`"))
        })
    }

    /// GB-seconds of an invocation, and of a start with its first.
    fn gb_seconds(billed: &Billed, ms: f64) -> f64 {
        f64::from(billed.memory_mb) / 1_024.0 * ms / 1e3
    }

    /// Dollars of Lambda for so many new webhooks in a month, to the hook alone, and the share of
    /// them that start an environment.
    pub fn hook(&self, billed: &Billed, webhooks: f64) -> Result<(f64, f64), Failure> {
        let warm = kind(billed, "new")?.ms;
        let cold = cold_share(webhooks, warm / 1e3, &self.assumed.traffic);
        let ms = (1.0 - cold) * warm + cold * billed.cold_ms;
        let gb_second = self.prices.gb_second(&self.results.machine.architecture);
        let each =
            Self::gb_seconds(billed, ms) * gb_second + self.prices.lambda.million_requests / 1e6;
        Ok((each * webhooks, cold))
    }

    /// Webhooks of so many calls.
    pub fn webhooks(&self, calls: f64) -> f64 {
        let life = &self.assumed.life;
        calls * life.messages * (1.0 + life.duplicate_percent / 100.0)
    }

    /// All invocations of a function in a month: kinds of them, and how many of each.
    fn work(&self, name: &str, kinds: &[(&Invoked, f64)], always: bool) -> Result<Work, Failure> {
        let (billed, traffic) = (self.billed(name)?, &self.assumed.traffic);
        let mut work = Work::default();
        let mut ms = 0.0;
        for (invoked, times) in kinds {
            work.invocations += times;
            ms += invoked.ms * times;
            work.add(&invoked.taken, *times);
        }
        let (all, mean) = (work.invocations, ms / work.invocations.max(1.0));
        // One that comes every minute finds its environment until that is too old.
        let cold = match always {
            true => MINUTES / 60.0 / traffic.environment_hours / all,
            false => cold_share(all, mean / 1e3, traffic),
        };
        work.starts = all * cold;
        work.add(&billed.start, work.starts);
        work.gb_seconds =
            Self::gb_seconds(billed, (1.0 - cold) * ms + work.starts * billed.cold_ms);
        if billed.start.asked("ssm ") > 0.0 {
            let per_second = all / (traffic.hours * 3_600.0);
            let again = environments(per_second, mean / 1e3) * traffic.hours * 60.0
                / self.assumed.parameters.minutes;
            // No more often than it is invoked.
            work.reads_of_parameters = work.starts + again.min(all);
        }
        work.cpu_seconds = self.of(name)?.cpu_us / 1e6 * all;
        Ok(work)
    }

    /// The work of a month: hook, enrich, deliver, sweep.
    fn month(&self, calls: f64) -> Result<[Work; 4], Failure> {
        let life = &self.assumed.life;
        let hook = self.billed(&self.results.main)?;
        let further = calls * (life.messages - 1.0).max(0.0);
        let duplicates = self.webhooks(calls) - calls * life.messages;
        let kinds = [
            (kind(hook, "new")?, calls),
            (kind(hook, "further")?, further),
            (kind(hook, "duplicate")?, duplicates),
        ];
        let hook = self.work(&self.results.main, &kinds, false)?;
        let batch = self.assumed.queues.jobs_per_batch;
        let jobs = calls * life.messages;
        let enrich = kind(self.billed("enrich")?, "new")?;
        let enrich = self.work("enrich", &[(enrich, jobs / batch)], false)?;
        let jobs = calls * life.destinations * (1.0 + life.updates);
        let deliver = kind(self.billed("deliver")?, "new")?;
        let deliver = self.work("deliver", &[(deliver, jobs / batch)], false)?;
        let sweep = kind(self.billed("sweep")?, "new")?;
        let sweep = self.work("sweep", &[(sweep, MINUTES)], true)?;
        Ok([hook, enrich, deliver, sweep])
    }

    /// What servers would cost instead of functions, and how many there are.
    fn servers(&self, calls: f64, cpu_seconds: f64) -> (f64, f64) {
        let (prices, assumed) = (&self.prices.server, &self.assumed.servers);
        let peak = self.assumed.traffic.peak / (self.assumed.traffic.hours * 3_600.0);
        let needed = (cpu_seconds * peak / assumed.cpus).ceil();
        // One of them may fail.
        let servers = (needed + 1.0).max(assumed.fewest);
        let each =
            HOURS * (prices.hour + prices.address_hour) + assumed.disk_gb * prices.disk_gb_month;
        let webhooks = self.webhooks(calls);
        let network = &self.assumed.network;
        let gb = webhooks * (network.webhook_bytes + network.answer_bytes) / GB / HOURS;
        let units = (webhooks / (HOURS * 3_600.0) / 25.0).max(gb);
        let balancer = HOURS
            * (prices.balancer_hour
                + units * prices.balancer_unit_hour
                + assumed.balancer_addresses * prices.address_hour);
        (servers * each + balancer, servers)
    }

    /// The month's bill of the functions.
    pub fn functions(&self, calls: f64) -> Result<Bill, Failure> {
        let work = self.month(calls)?;
        let prices = self.prices;
        let sum = |of: fn(&Work) -> f64| work.iter().map(of).sum::<f64>();
        let seconds = sum(|work| work.gb_seconds);
        let kms = sum(|work| work.reads_of_parameters) * self.assumed.parameters.in_each_read;
        let lines = sum(|work| work.invocations) * self.assumed.logs.lambda_bytes;
        let mut bill = vec![
            ("API Gateway", prices.api(self.webhooks(calls))),
            (
                "Lambda, requests",
                sum(|work| work.invocations) * prices.lambda.million_requests / 1e6,
            ),
            ("Lambda, time", seconds * prices.gb_second(&self.results.machine.architecture)),
            ("Scheduler", MINUTES * prices.scheduler.million_invocations / 1e6),
            ("KMS, for parameters", kms * prices.kms.million_requests / 1e6),
        ];
        bill.extend(self.shared(calls, &work, lines));
        Ok(Bill(bill))
    }

    /// The month's bill of servers that do the same with the same table and queues, and how many
    /// servers there are.
    pub fn always_on(&self, calls: f64) -> Result<(Bill, f64), Failure> {
        let work = self.month(calls)?;
        let cpu_seconds = work.iter().map(|work| work.cpu_seconds).sum();
        let (dollars, servers) = self.servers(calls, cpu_seconds);
        let mut bill = vec![("servers and load balancer", dollars)];
        bill.extend(self.shared(calls, &work, 0.0));
        Ok((Bill(bill), servers))
    }

    /// What both take: table, queues, logs, network.
    fn shared(&self, calls: f64, work: &[Work], lines: f64) -> Vec<(&'static str, f64)> {
        let (prices, assumed) = (self.prices, self.assumed);
        let sum = |of: fn(&Work) -> f64| work.iter().map(of).sum::<f64>();
        let webhooks = self.webhooks(calls);
        let units = work.iter().fold(Units::default(), |all, work| all + work.units);
        let requests = units.writes * prices.dynamodb.million_writes
            + units.reads * prices.dynamodb.million_reads;
        // After as long as calls are kept, as many are deleted as come.
        let months = self.deployed.retention_days / DAYS;
        let gb = units.stored.max(0.0) / GB * months;
        // Each job is sent by a function, and received and deleted by a poller.
        let batches: f64 = work.iter().skip(1).take(2).map(|work| work.invocations).sum();
        let polls = 2.0 * assumed.queues.pollers * assumed.queues.empty_polls_per_minute * MINUTES;
        let logs = (sum(|work| work.log_bytes) + lines + webhooks * assumed.logs.access_bytes) / GB;
        let kept =
            logs * prices.cloudwatch.log_compressed * self.deployed.log_retention_days / DAYS;
        let metrics = assumed.logs.metrics * prices.cloudwatch.metric_month
            + self.deployed.alarms * prices.cloudwatch.alarm_month;
        let out = webhooks * assumed.network.answer_bytes
            + sum(|work| work.crm_bytes)
            + sum(|work| work.crm) * assumed.network.delivery_bytes;
        let sqs = sum(|work| work.sqs) + 2.0 * batches + polls;
        vec![
            ("DynamoDB, requests", requests / 1e6),
            (
                "DynamoDB, storage",
                gb * (prices.dynamodb.gb_month + prices.dynamodb.recovery_gb_month),
            ),
            ("SQS", sqs * prices.sqs.million_requests / 1e6),
            ("logs", logs * prices.cloudwatch.log_gb + kept * prices.cloudwatch.log_gb_month),
            ("metrics and alarms", metrics),
            ("network", out / GB * prices.network.out_gb),
        ]
    }

    /// From how many calls a month on servers cost less, if from any.
    pub fn break_even(&self) -> Result<Option<f64>, Failure> {
        let dearer = |calls: f64| {
            Ok::<_, Failure>(self.functions(calls)?.total() > self.always_on(calls)?.0.total())
        };
        let (mut low, mut high) = (1.0_f64, 1e10);
        if dearer(low)? || !dearer(high)? {
            return Ok(None);
        }
        while high / low > 1.001 {
            let middle = (low * high).sqrt();
            if dearer(middle)? { high = middle } else { low = middle }
        }
        Ok(Some(high))
    }
}

/// What was measured of one kind of invocation.
pub fn kind<'a>(billed: &'a Billed, name: &str) -> Result<&'a Invoked, Failure> {
    let missing =
        || Failure::new(format!("no `{name}` invocations were measured: run `make bench`"));
    billed.kinds.get(name).ok_or_else(missing)
}

#[cfg(test)]
mod tests;
