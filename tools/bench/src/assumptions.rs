//! What is assumed where nothing can be measured: `assumptions.toml`, which explains each.

use std::path::Path;

use serde::Deserialize;

use crate::{Failure, prices};

/// Where they are.
pub const FILE: &str = "tools/bench/assumptions.toml";

/// All of them.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Assumptions {
    /// Calls a month.
    pub calls: Vec<u64>,
    /// The life of a call.
    pub life: Life,
    /// How calls come.
    pub traffic: Traffic,
    /// How far AWS and the CRM are.
    pub round_trips: RoundTrips,
    /// Memory sizes.
    pub memory: Memory,
    /// How queues are polled.
    pub queues: Queues,
    /// How parameters are read.
    pub parameters: Parameters,
    /// What is logged and counted.
    pub logs: Logs,
    /// What goes over the network.
    pub network: Network,
    /// What runs all the time.
    pub servers: Servers,
}

/// The life of a call.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Life {
    /// Webhooks about it.
    pub messages: f64,
    /// Of a hundred webhooks, those that come twice.
    pub duplicate_percent: f64,
    /// Destinations that get it.
    pub destinations: f64,
    /// Deliveries to each after the first.
    pub updates: f64,
}

/// How calls come.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Traffic {
    /// Hours of a month in which they come.
    pub hours: f64,
    /// The busiest hour against the mean.
    pub peak: f64,
    /// After so long without an event an environment is gone.
    pub idle_minutes: f64,
    /// No environment is older.
    pub environment_hours: f64,
}

/// How long a request takes, milliseconds.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoundTrips {
    /// DynamoDB.
    pub dynamodb_ms: u64,
    /// SQS.
    pub sqs_ms: u64,
    /// SSM.
    pub ssm_ms: u64,
    /// The CRM.
    pub crm_ms: u64,
}

/// Memory sizes.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Memory {
    /// Those that are tried, MB.
    pub sizes_mb: Vec<u32>,
    /// How much of it must stay free.
    pub free_percent: f64,
}

/// How queues are polled.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Queues {
    /// Pollers of each queue.
    pub pollers: f64,
    /// How often each asks in vain.
    pub empty_polls_per_minute: f64,
    /// Jobs of one invocation.
    pub jobs_per_batch: f64,
}

/// How parameters are read.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parameters {
    /// How long they are believed.
    pub minutes: f64,
    /// How many are decrypted each time.
    pub in_each_read: f64,
}

/// What is logged and counted.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Logs {
    /// Lambda's own lines of an invocation, bytes.
    pub lambda_bytes: f64,
    /// API Gateway's line of a request, bytes.
    pub access_bytes: f64,
    /// Custom metrics.
    pub metrics: f64,
}

/// What goes over the network.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// An answer to a webhook, bytes.
    pub answer_bytes: f64,
    /// A delivery's headers, bytes.
    pub delivery_bytes: f64,
    /// A webhook, bytes.
    pub webhook_bytes: f64,
}

/// What runs all the time.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Servers {
    /// How many there are at least.
    pub fewest: f64,
    /// How many CPUs one may use for ever.
    pub cpus: f64,
    /// Its disk.
    pub disk_gb: f64,
    /// Public addresses of the load balancer.
    pub balancer_addresses: f64,
}

impl Assumptions {
    /// Reads them.
    pub fn read(root: &Path) -> Result<Self, Failure> {
        prices::read(root, FILE)
    }
}

impl Memory {
    /// The sizes that a program fits in.
    pub fn sizes_for(&self, peak_bytes: u64) -> impl Iterator<Item = u32> {
        let usable = 1.0 - self.free_percent / 100.0;
        let fits = move |mb: &u32| f64::from(*mb) * 1_048_576.0 * usable >= peak_bytes as f64;
        self.sizes_mb.iter().copied().filter(fits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_fits_where_some_memory_stays_free() {
        let memory = Memory { sizes_mb: vec![128, 256], free_percent: 10.0 };
        let sizes = |mib: u64| memory.sizes_for(mib * 1_048_576).collect::<Vec<_>>();
        assert_eq!([sizes(115), sizes(116), sizes(231)], [vec![128, 256], vec![256], vec![]]);
    }

    #[test]
    fn the_file_is_read() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let assumed = Assumptions::read(&root).unwrap_or_else(|failure| panic!("{failure}"));
        assert_eq!(assumed.calls, [10_000, 1_000_000, 100_000_000]);
    }
}
