use std::collections::BTreeMap;

use super::*;
use crate::assumptions::{Life, Logs, Memory, Network, Parameters, Queues, RoundTrips, Servers};
use crate::measure::Plan;
use crate::prices::{
    ApiGateway, CloudWatch, DynamoDb, Kms, Lambda, Network as Traffics, Scheduler, Server, Sqs,
};
use crate::results::Machine;
use crate::template::Grant;

/// Round numbers: a million of anything is a dollar, a GB is one, a GB-second a thousandth of one.
fn prices() -> Prices {
    Prices {
        region: "nowhere".into(),
        looked_up: "today".into(),
        lambda: Lambda {
            million_requests: 1.0,
            gb_second_x86_64: 0.001,
            gb_second_aarch64: 0.0005,
        },
        api_gateway: ApiGateway {
            million_requests: 1.0,
            first_millions: 300.0,
            million_further_requests: 0.5,
        },
        dynamodb: DynamoDb {
            million_writes: 1.0,
            million_reads: 1.0,
            gb_month: 0.75,
            recovery_gb_month: 0.25,
        },
        sqs: Sqs { million_requests: 1.0 },
        cloudwatch: CloudWatch {
            log_gb: 1.0,
            log_gb_month: 1.0,
            log_compressed: 0.5,
            metric_month: 2.0,
            alarm_month: 3.0,
        },
        kms: Kms { million_requests: 1.0 },
        scheduler: Scheduler { million_invocations: 100.0 },
        network: Traffics { out_gb: 1.0 },
        server: Server {
            hour: 0.1,
            disk_gb_month: 0.1,
            address_hour: 0.01,
            balancer_hour: 0.2,
            balancer_unit_hour: 0.02,
        },
    }
}

fn assumed() -> Assumptions {
    Assumptions {
        calls: vec![1_000_000],
        life: Life { messages: 3.0, duplicate_percent: 0.0, destinations: 2.0, updates: 0.5 },
        // So many that hardly any start is cold.
        traffic: Traffic {
            hours: 730.0,
            peak: 5.0,
            idle_minutes: 1e6,
            environment_hours: f64::INFINITY,
        },
        round_trips: RoundTrips { dynamodb_ms: 0, sqs_ms: 0, ssm_ms: 0, crm_ms: 0 },
        memory: Memory { sizes_mb: Vec::new(), free_percent: 0.0 },
        queues: Queues { pollers: 0.0, empty_polls_per_minute: 0.0, jobs_per_batch: 1.0 },
        parameters: Parameters { minutes: 5.0, in_each_read: 4.0 },
        logs: Logs { lambda_bytes: 0.0, access_bytes: 0.0, metrics: 0.0 },
        network: Network { answer_bytes: 0.0, delivery_bytes: 0.0, webhook_bytes: 0.0 },
        servers: Servers { fewest: 2.0, cpus: 0.5, disk_gb: 10.0, balancer_addresses: 3.0 },
    }
}

fn taken(requests: &[(&str, f64)], reads: f64, writes: f64, stored: f64) -> Taken {
    let requests = requests.iter().map(|(name, count)| ((*name).to_owned(), *count));
    let units = Units { reads, writes, stored };
    Taken { requests: requests.collect(), units, crm_bytes: 0.0, log_bytes: 0.0 }
}

/// A function of 1,024 MB, so that a second is a GB-second. Its kinds: milliseconds and what is taken.
fn figures(name: &str, kinds: &[(&str, f64, Taken)]) -> Figures {
    let kinds = kinds
        .iter()
        .map(|(kind, ms, taken)| ((*kind).to_owned(), Invoked { ms: *ms, taken: taken.clone() }));
    let billed = Billed {
        memory_mb: 1_024,
        cold_ms: 1_000.0,
        start: taken(&[("ssm GetParametersByPath", 1.0)], 0.0, 1.0, 0.0),
        kinds: kinds.collect(),
    };
    let figures = serde_json::json!({
        "name": name, "title": name, "is_peer": false, "given": "x", "zip_bytes": 1, "init_ms": 0.0,
        "first_ms": 0.0, "cold_ms": 0.0, "warm_invocations": 1, "warm_p50_us": 0.0, "warm_p99_us": 0.0,
        "cpu_us": 1_000.0, "peak_bytes": 1, "share_first_ms": 0.0, "share_warm_ms": 0.0,
        "share_cold_ms": 0.0, "requests": {}, "connections_at_start": 0, "connections": 0,
        "bytes_sent": 0.0, "after_idle_ms": 0.0,
    });
    let figures: Figures = serde_json::from_value(figures).unwrap();
    Figures { billed: vec![billed], ..figures }
}

fn results() -> Results {
    let send = [("sqs SendMessage", 1.0)];
    Results {
        taken_at: "now".into(),
        machine: Machine {
            cpu: "x".into(),
            threads: 1,
            kernel: "x".into(),
            architecture: "x86_64".into(),
            limiter: "x".into(),
        },
        plan: Plan { rounds: 1, warm: 1, memory_mb: 128 },
        delay_ms: 0,
        main: "hook".into(),
        figures: vec![
            figures(
                "hook",
                &[
                    ("new", 10.0, taken(&send, 0.0, 3.0, 1_000.0)),
                    ("further", 20.0, taken(&send, 0.0, 5.0, 500.0)),
                    ("duplicate", 5.0, taken(&[], 0.0, 1.0, 0.0)),
                ],
            ),
            figures("enrich", &[("new", 30.0, taken(&send, 1.0, 2.0, 24.0))]),
            figures("deliver", &[("new", 100.0, taken(&[("crm POST", 1.0)], 2.0, 4.0, 0.0))]),
            figures(
                "sweep",
                &[("new", 50.0, taken(&[("sqs GetQueueAttributes", 2.0)], 8.0, 0.0, 0.0))],
            ),
        ],
        not_measured: Vec::new(),
    }
}

fn deployed() -> Deployed {
    let grant = Grant { timeout: 10, memory: 1_024 };
    let names = ["hook", "enrich", "deliver", "sweep"];
    Deployed {
        grants: names.map(|name| (name.to_owned(), grant)).into(),
        alarms: 0.0,
        retention_days: DAYS,
        log_retention_days: DAYS,
    }
}

/// A model of these, after changes.
fn with<T>(
    change: impl FnOnce(&mut Results, &mut Prices, &mut Assumptions, &mut Deployed),
    ask: impl FnOnce(&Model<'_>) -> T,
) -> T {
    let (mut results, mut prices, mut assumed, mut deployed) =
        (results(), prices(), assumed(), deployed());
    change(&mut results, &mut prices, &mut assumed, &mut deployed);
    ask(&Model { results: &results, prices: &prices, assumed: &assumed, deployed: &deployed })
}

fn bill(
    change: impl FnOnce(&mut Results, &mut Prices, &mut Assumptions, &mut Deployed),
) -> BTreeMap<&'static str, f64> {
    with(change, |model| model.functions(1e6).unwrap().0.into_iter().collect())
}

#[track_caller]
fn near(is: f64, should: f64) {
    assert!((is - should).abs() <= should.abs() * 1e-3 + 1e-9, "{is} is not {should}");
}

#[test]
fn a_million_calls_by_hand() {
    let bill = bill(|_, _, _, _| ());
    // Three webhooks a call.
    near(bill["API Gateway"], 3.0);
    // 3 webhooks, 3 jobs of enrich, 2 destinations x 1.5 deliveries; 43,800 sweeps.
    near(bill["Lambda, requests"], 9.0438);
    // Each call: 10 + 2 x 20 + 3 x 30 + 3 x 100 ms; each sweep 50 ms; a GB-second costs 0.1 cents.
    near(bill["Lambda, time"], 440.0 + 2.19);
    near(bill["Scheduler"], 4.38);
    // Writes: 3 + 2 x 5 + 3 x 2 + 3 x 4. Reads: 3 x 1 + 3 x 2, and 8 of each sweep.
    near(bill["DynamoDB, requests"], 31.0 + 9.0 + 0.3504);
    // 1,000 + 2 x 500 + 3 x 24 bytes, for a month, at 1 a GB.
    near(bill["DynamoDB, storage"], 2_072e6 / GB);
    // Sent: 3 by the hook, 3 by enrich. Received and deleted: 6 jobs. Asked: two by each sweep.
    near(bill["SQS"], 6.0 + 12.0 + 0.0876);
    // Three functions with parameters, each of few environments that read four every 5 minutes.
    let environments = [1e6 * 0.05, 3e6 * 0.03, 3e6 * 0.1].map(|busy_seconds| {
        let busy: f64 = busy_seconds / (730.0 * 3_600.0);
        (busy + 3.0 * busy.sqrt()).ceil()
    });
    assert_eq!(environments, [1.0, 1.0, 2.0]);
    // The sweep of this test has some too.
    near(bill["KMS, for parameters"], 5.0 * 8_760.0 * 4.0 / 1e6);
    for nothing in ["logs", "metrics and alarms", "network"] {
        near(bill[nothing], 0.0);
    }
}

#[test]
fn duplicates_cost_what_was_measured_of_them() {
    let plain = bill(|_, _, _, _| ());
    let twice = bill(|_, _, assumed, _| assumed.life.duplicate_percent = 50.0);
    let more = |name| twice[name] - plain[name];
    near(more("API Gateway"), 1.5);
    near(more("Lambda, requests"), 1.5);
    near(more("Lambda, time"), 1.5 * 5.0);
    near(more("DynamoDB, requests"), 1.5);
    near(more("SQS"), 0.0);
}

#[test]
fn what_is_asked_in_vain_is_paid() {
    let plain = bill(|_, _, _, _| ());
    let polled = bill(|_, _, assumed, _| {
        assumed.queues = Queues { pollers: 5.0, empty_polls_per_minute: 3.0, jobs_per_batch: 1.0 };
    });
    // Two queues, five pollers, three times in each of 43,800 minutes.
    near(polled["SQS"] - plain["SQS"], 1.314);
}

#[test]
fn logs_are_taken_in_and_kept() {
    let bill = bill(|results, _, assumed, deployed| {
        assumed.logs = Logs { lambda_bytes: 100.0, access_bytes: 200.0, metrics: 4.0 };
        results.figures[0].billed[0].kinds.get_mut("new").unwrap().taken.log_bytes = 300.0;
        deployed.log_retention_days = 2.0 * DAYS;
        deployed.alarms = 5.0;
    });
    let bytes = 300e6 + 9.0438e6 * 100.0 + 3e6 * 200.0;
    // Half of it is kept, for two months.
    near(bill["logs"], bytes / GB * (1.0 + 0.5 * 2.0));
    near(bill["metrics and alarms"], 4.0 * 2.0 + 5.0 * 3.0);
}

#[test]
fn what_leaves_the_region_is_paid() {
    let bill = bill(|results, _, assumed, _| {
        assumed.network = Network { answer_bytes: 10.0, delivery_bytes: 20.0, webhook_bytes: 0.0 };
        results.figures[2].billed[0].kinds.get_mut("new").unwrap().taken.crm_bytes = 30.0;
    });
    near(bill["network"], (3e6 * 10.0 + 3e6 * 50.0) / GB);
}

#[test]
fn starts_are_rarer_the_more_calls_come() {
    let traffic = |idle_minutes, environment_hours| Traffic {
        hours: 730.0,
        peak: 1.0,
        idle_minutes,
        environment_hours,
    };
    let never = f64::INFINITY;
    // One an hour, gone after an hour: e to the minus one.
    near(cold_share(730.0, 0.0, &traffic(60.0, never)), 0.367_879);
    near(cold_share(7_300.0, 0.0, &traffic(60.0, never)), 0.000_045_4);
    // One a second, one environment that is renewed every two hours.
    near(cold_share(730.0 * 3_600.0, 0.01, &traffic(60.0, 2.0)), 1.0 / 7_200.0);
    // Four at a time: 4 + 3 x 2 environments.
    near(cold_share(730.0 * 3_600.0, 4.0, &traffic(60.0, 2.0)), 10.0 / 7_200.0);
    assert_eq!(cold_share(0.0, 1.0, &traffic(5.0, 2.0)), 1.0);
    assert_eq!(cold_share(1.0, 1.0, &traffic(5.0, 0.0001)), 1.0);
}

#[test]
fn a_cold_start_is_billed_and_asks() {
    let cold = bill(|_, _, assumed, _| assumed.traffic.idle_minutes = 0.0);
    // Every one of 9 million invocations is a start, of a second and one write unit.
    near(cold["Lambda, time"], 9_000.0 + 2.19);
    near(cold["DynamoDB, requests"], 40.3504 + 9.0);
}

#[test]
fn the_hook_alone() {
    let hook = |webhooks| {
        with(|_, _, _, _| (), |model| model.hook(model.billed("hook").unwrap(), webhooks).unwrap())
    };
    // 10 ms of a GB and a request.
    near(hook(1e6).0, 10.0 + 1.0);
    near(hook(2e6).0, 22.0);
}

#[test]
fn servers_are_as_many_as_the_peak_needs_and_one_more() {
    let servers = |calls| {
        with(
            |_, _, _, _| (),
            |model| {
                let (bill, count) = model.always_on(calls).unwrap();
                (bill.0[0].1, count)
            },
        )
    };
    // Two servers with a disk of 10 GB and an address, and a load balancer with three.
    let pair = 2.0 * (730.0 * 0.11 + 1.0);
    let (dollars, count) = servers(1_000.0);
    assert_eq!(count, 2.0);
    near(dollars, pair + 730.0 * (0.2 + 0.03));
    // 9 ms of CPU a call, five times in the busiest hour, half a CPU a server: 4 of 100 million.
    let (_, count) = servers(100e6);
    assert_eq!(count, (100e6 * 0.009 * 5.0 / (730.0 * 3_600.0) / 0.5_f64).ceil() + 1.0);
    // 300 million connections a month are 114 a second.
    let (dollars, _) = servers(100e6);
    let units = 300e6 / (730.0 * 3_600.0) / 25.0;
    near(dollars, count * pair / 2.0 + 730.0 * (0.23 + units * 0.02));
}

#[test]
fn servers_cost_less_from_where_the_bills_cross() {
    let even = with(
        |_, _, _, _| (),
        |model| {
            let even = model.break_even().unwrap().unwrap();
            let both = |calls| {
                (model.functions(calls).unwrap().total(), model.always_on(calls).unwrap().0.total())
            };
            (both(even * 0.99), both(even * 1.01))
        },
    );
    assert!(even.0.0 < even.0.1 && even.1.0 > even.1.1, "{even:?}");
    let free =
        with(|_, prices, _, _| prices.server.hour = 1e9, |model| model.break_even().unwrap());
    assert_eq!(free, None);
}

#[test]
fn what_was_not_measured_is_no_zero() {
    let failed = |change: fn(&mut Results)| {
        with(
            |results, _, _, _| change(results),
            |model| model.functions(1.0).unwrap_err().to_string(),
        )
    };
    let absent = failed(|results| results.figures.retain(|figures| figures.name != "enrich"));
    assert_eq!(absent, "enrich was not measured: run `make bench`");
    let other = failed(|results| results.figures[0].billed[0].memory_mb = 128);
    assert!(other.starts_with("hook: what an invocation is billed was not measured with 1024 MB"));
    let kind = failed(|results| {
        results.figures[0].billed[0].kinds.remove("further");
    });
    assert!(kind.starts_with("no `further` invocations"));
}
