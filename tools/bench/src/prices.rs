//! What AWS asks: `prices.toml`. All of it in dollars.

use std::fs;
use std::path::Path;

use serde::Deserialize;

use crate::Failure;

/// Where they are.
pub const FILE: &str = "tools/bench/prices.toml";
/// Bytes of a GB on the bill.
pub const GB: f64 = 1_073_741_824.0;

/// All prices.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prices {
    /// Of which region.
    pub region: String,
    /// When.
    pub looked_up: String,
    /// Functions.
    pub lambda: Lambda,
    /// The HTTP API.
    pub api_gateway: ApiGateway,
    /// The table, on demand.
    pub dynamodb: DynamoDb,
    /// The queues.
    pub sqs: Sqs,
    /// Logs, metrics and alarms.
    pub cloudwatch: CloudWatch,
    /// Decryption of parameters.
    pub kms: Kms,
    /// What starts the sweep.
    pub scheduler: Scheduler,
    /// Traffic.
    pub network: Network,
    /// What runs all the time.
    pub server: Server,
}

/// Functions.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lambda {
    /// Invocations.
    pub million_requests: f64,
    /// Time, by processor.
    pub gb_second_x86_64: f64,
    /// As above.
    pub gb_second_aarch64: f64,
}

/// The HTTP API.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiGateway {
    /// The first requests of a month.
    pub million_requests: f64,
    /// So many millions.
    pub first_millions: f64,
    /// The further ones.
    pub million_further_requests: f64,
}

/// The table.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DynamoDb {
    /// Write request units.
    pub million_writes: f64,
    /// Read request units.
    pub million_reads: f64,
    /// Storage.
    pub gb_month: f64,
    /// Point-in-time recovery.
    pub recovery_gb_month: f64,
}

/// The queues.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sqs {
    /// Requests of any kind.
    pub million_requests: f64,
}

/// Logs, metrics and alarms.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CloudWatch {
    /// Taking logs in.
    pub log_gb: f64,
    /// Keeping them.
    pub log_gb_month: f64,
    /// To how much of their size they are compressed.
    pub log_compressed: f64,
    /// One custom metric.
    pub metric_month: f64,
    /// One alarm.
    pub alarm_month: f64,
}

/// Decryption of parameters.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kms {
    /// Requests.
    pub million_requests: f64,
}

/// What starts the sweep.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scheduler {
    /// Invocations.
    pub million_invocations: f64,
}

/// Traffic.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// To the internet.
    pub out_gb: f64,
}

/// What runs all the time.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    /// One small server.
    pub hour: f64,
    /// Its disk.
    pub disk_gb_month: f64,
    /// One public address.
    pub address_hour: f64,
    /// The load balancer.
    pub balancer_hour: f64,
    /// What it balances, by units.
    pub balancer_unit_hour: f64,
}

impl Prices {
    /// Reads them.
    pub fn read(root: &Path) -> Result<Self, Failure> {
        read(root, FILE)
    }

    /// A GB-second on a processor.
    pub fn gb_second(&self, architecture: &str) -> f64 {
        match architecture {
            "aarch64" => self.lambda.gb_second_aarch64,
            _ => self.lambda.gb_second_x86_64,
        }
    }

    /// A month's requests to the API.
    pub fn api(&self, requests: f64) -> f64 {
        let first = requests.min(self.api_gateway.first_millions * 1e6);
        let further = requests - first;
        (first * self.api_gateway.million_requests
            + further * self.api_gateway.million_further_requests)
            / 1e6
    }
}

/// Reads a TOML file of the repository.
pub fn read<T: serde::de::DeserializeOwned>(root: &Path, file: &str) -> Result<T, Failure> {
    let text = fs::read_to_string(root.join(file))
        .map_err(|error| Failure::new(format!("{file}: {error}")))?;
    toml::from_str(&text).map_err(|error| Failure::new(format!("{file}: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn further_requests_to_the_api_cost_less() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let mut prices = Prices::read(&root).unwrap();
        prices.api_gateway = ApiGateway {
            million_requests: 1.0,
            first_millions: 300.0,
            million_further_requests: 0.9,
        };
        assert_eq!(prices.api(2e6), 2.0);
        assert_eq!(prices.api(300e6), 300.0);
        assert_eq!(prices.api(400e6), 390.0);
    }
}
