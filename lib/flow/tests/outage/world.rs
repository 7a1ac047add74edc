//! A stack in virtual time: calls end, five CRMs are told.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::{Arc, Mutex};

use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use switchboard_crm::Destination;
use switchboard_crm::exchange::{self, Answer, Exchange, Over, Step, Told};
use switchboard_domain::delivery::{Remote, Verdict};
use switchboard_domain::{Delivery, Name};
use switchboard_flow::Configuration;
use switchboard_flow::Telemetry;
use switchboard_flow::Values;
use switchboard_flow::deliver::Deliver;
use switchboard_flow::deliverer::Tell;
use switchboard_flow::enrich::Enrich;
use switchboard_flow::gates::Gates;
use switchboard_flow::sweep::Sweep;
use switchboard_providers::{Request, Source, Sources, provider};
use switchboard_queue::Job;
use switchboard_shell::hook::Hook;
use switchboard_store::{MemoryDirectory, MemoryStore};

use crate::platform::{self, DeadLetters, Sqs};
use crate::time::{Clock, Time};

const START: &str = "2026-02-20T09:00:00Z";
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const ENVIRONMENTS: usize = 20;
/// How long a destination may take, seconds.
const TIMEOUT: u32 = 15;

/// When the first destination is down, from the start on.
#[derive(Clone, Copy)]
pub struct Outage {
    pub from: SignedDuration,
    pub until: SignedDuration,
}

#[derive(Default)]
struct Seen {
    /// What was taken: destination, then call and when.
    taken: BTreeMap<String, Vec<(String, Timestamp)>>,
    /// When a destination failed.
    refused: BTreeMap<String, Vec<Timestamp>>,
}

/// Five CRMs, of which the first may be down for a while. Each takes a while to answer, and that
/// depends on nothing but the call.
#[derive(Clone)]
pub struct Crms {
    clock: Clock,
    down: Option<(Timestamp, Timestamp)>,
    seen: Arc<Mutex<Seen>>,
    /// What each correlation id is about.
    calls: Arc<Mutex<BTreeMap<String, String>>>,
}

impl Crms {
    pub fn names(&self) -> Vec<String> {
        (0..5).map(|n| format!("crm-{n}")).collect()
    }

    pub fn taken(&self, destination: &str) -> Vec<(String, Timestamp)> {
        self.seen.lock().unwrap().taken.get(destination).cloned().unwrap_or_default()
    }

    pub fn taken_at(&self, destination: &str, call: &str) -> Timestamp {
        let seen = self.seen.lock().unwrap();
        seen.taken[destination].iter().find(|(one, _)| one == call).unwrap().1
    }

    pub fn refused(&self, destination: &str) -> Vec<Timestamp> {
        self.seen.lock().unwrap().refused.get(destination).cloned().unwrap_or_default()
    }
}

impl Tell for Crms {
    async fn tell(
        &self,
        claimed: &Delivery,
        destination: &Destination,
        body: &[u8],
        clock: &(impl Fn() -> Timestamp + Sync),
    ) -> Over {
        let (correlation_id, key) = (claimed.key.correlation_id(), claimed.idempotency_key());
        let told = Told { body, idempotency_key: &key, remote: &claimed.remote };
        let mut exchange = exchange::begin(destination, &told);
        let exchange = exchange.as_mut();
        let Step::Ask(_) = exchange.next(None, clock()) else { panic!("nothing to ask") };
        let name = destination.url.path().trim_start_matches('/').to_owned();
        let asked_at = self.clock.now();
        let is_down = name == "crm-0"
            && self.down.is_some_and(|(from, until)| from <= asked_at && asked_at < until);
        // Chance that is the same in every run.
        let dice = |of: u64, about: &[u8]| {
            let bytes = key.bytes().chain(about.iter().copied());
            let mixed = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
            });
            (mixed >> 32) % of
        };
        let milliseconds = |n: i64| SignedDuration::from_millis(n);
        if !is_down {
            self.clock.sleep(milliseconds(50 + dice(350, b"latency") as i64)).await;
            let call = self.calls.lock().unwrap()[correlation_id.as_str()].clone();
            let at = self.clock.now();
            self.seen.lock().unwrap().taken.entry(name).or_default().push((call, at));
            return over(exchange, 200, None, clock());
        }
        let refused = |at| self.seen.lock().unwrap().refused.entry(name).or_default().push(at);
        let moment = asked_at.as_millisecond().to_be_bytes();
        refused(asked_at);
        match dice(4, &moment) {
            0 => {
                self.clock.sleep(SignedDuration::from_secs(TIMEOUT.into())).await;
                let result = "timed out".to_owned();
                let verdict = Verdict::Retry { not_before: None };
                Over { verdict, status: None, result, remote: Remote::default() }
            }
            1 => {
                self.clock.sleep(milliseconds(20)).await;
                over(exchange, 429, Some("90"), clock())
            }
            2 => {
                self.clock.sleep(milliseconds(1_000)).await;
                over(exchange, 503, None, clock())
            }
            _ => {
                self.clock.sleep(milliseconds(100)).await;
                over(exchange, 500, None, clock())
            }
        }
    }
}

fn over(
    exchange: &mut dyn Exchange,
    status: u16,
    retry_after: Option<&str>,
    now: Timestamp,
) -> Over {
    let retry_after = retry_after.map(str::to_owned);
    let answer = Answer { status, retry_after, reset: None, body: Vec::new() };
    match exchange.next(Some(&answer), now) {
        Step::Over(over) => over,
        Step::Ask(_) => panic!("one request tells all"),
    }
}

/// A run, when it is over.
pub struct Run {
    pub start: Timestamp,
    pub store: MemoryStore,
    pub crms: Crms,
    pub dead: DeadLetters,
    /// When each call ended.
    pub ended: BTreeMap<String, Timestamp>,
}

impl Run {
    /// Calls that end evenly over a while, and time until all of them are told.
    pub fn of(calls: usize, over: SignedDuration, outage: Option<Outage>) -> Self {
        let step = over.as_millis() as usize / calls;
        Self::go(calls, step, outage, 0)
    }

    /// One call, whose first messages find no room.
    pub fn throttled(times: usize) -> Self {
        Self::go(1, 0, None, times)
    }

    fn go(calls: usize, step: usize, outage: Option<Outage>, throttled: usize) -> Self {
        let start: Timestamp = START.parse().unwrap();
        let time = Time::at(start);
        let clock = time.clock();
        let sqs = Sqs::new(clock.clone());
        let store = MemoryStore::default();
        let crms = Crms {
            clock: clock.clone(),
            down: outage.map(|outage| (start + outage.from, start + outage.until)),
            seen: Arc::default(),
            calls: Arc::default(),
        };
        let configuration = Rc::new(configuration(&crms));
        let dead = DeadLetters::default();

        let enrich = enrich(&store, &sqs, &clock, &configuration);
        let deliver = deliver(&store, &sqs, &clock, &configuration, &crms);
        for (queue, function, jobs, work) in [
            ("EnrichQueue", "EnrichFunction", "EnrichJobs", enrich),
            ("DeliverQueue", "DeliverFunction", "DeliverJobs", deliver),
        ] {
            let source = platform::Source { queue, function, jobs, work, throttled };
            platform::serve(&time, &sqs, source, dead.clone());
        }
        let sweep = Sweep {
            store: store.clone(),
            queue: sqs.clone(),
            gates: Gates::default(),
            telemetry: Telemetry::silent(),
        };
        let own = clock.clone();
        time.spawn(async move {
            loop {
                own.sleep(SignedDuration::from_secs(60)).await;
                sweep.run(own.now()).await.unwrap();
            }
        });

        // The hook bounds how long it queues, by a clock that stands still here.
        let still = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let _bounds = still.enter();
        let mut ended = BTreeMap::new();
        let (hook_store, hook_sqs) = (store.clone(), sqs.clone());
        time.run(async {
            let intake = provider("intake").unwrap();
            let telemetry = Telemetry::silent();
            let hook = Hook { provider: intake, store: hook_store, queue: hook_sqs, telemetry };
            let source = json!({"secrets": ["fake-intake-secret"], "create_contacts": false});
            let source = Source::parse(&source.to_string(), Some(intake)).unwrap();
            let sources: Sources = [(Name::new("source", "intake").unwrap(), source)].into();
            for n in 0..calls {
                let now = clock.now();
                let id = format!("call-{n}");
                let key: switchboard_domain::CallKey = format!("test/test/{id}").parse().unwrap();
                let correlation = key.correlation_id().to_string();
                crms.calls.lock().unwrap().insert(correlation, key.to_string());
                let body = json!({
                    "provider": "test", "externalCallId": id, "clientPhone": "+61491570156",
                    "durationSec": 61, "status": "answered", "endedAt": now.to_string(),
                });
                let request = Request::new("POST", "/api/crm/intake/calls", now)
                    .header("content-type", "application/json")
                    .header("x-crm-intake-secret", "fake-intake-secret")
                    .body(body.to_string().into_bytes());
                let reply = hook.handle(&request, &sources, "request").await;
                assert_eq!(reply.status, 200, "{}", reply.body);
                ended.insert(key.to_string(), now);
                clock.sleep(SignedDuration::from_millis(step as i64)).await;
            }
            // Until all is told, a day at most.
            for _ in 0..24 * 60 {
                clock.sleep(SignedDuration::from_secs(60)).await;
                let told: usize = crms.names().iter().map(|name| crms.taken(name).len()).sum();
                if told == calls * 5 {
                    break;
                }
            }
            clock.sleep(SignedDuration::from_secs(600)).await;
        });
        Self { start, store, crms, dead, ended }
    }
}

fn configuration(crms: &Crms) -> Configuration {
    let mut values = Values::new();
    for name in crms.names() {
        let destination = json!({
            "url": format!("http://127.0.0.1:9/{name}"), "format": "canonical",
            "signing_secrets": [SECRET], "timeout_seconds": TIMEOUT,
        });
        values.insert(format!("destinations/{name}"), destination.to_string());
    }
    Configuration::read(&values, true, &Telemetry::silent())
}

fn enrich(
    store: &MemoryStore,
    sqs: &Sqs,
    clock: &Clock,
    configuration: &Rc<Configuration>,
) -> platform::Work {
    let worker = Rc::new(Enrich {
        store: store.clone(),
        queue: sqs.clone(),
        directory: MemoryDirectory::default(),
        conversations: Arc::new(switchboard_http::Client::new(true).unwrap()),
        telemetry: Telemetry::silent(),
    });
    let (clock, configuration) = (clock.clone(), configuration.clone());
    Rc::new(move |_, job| {
        let (worker, clock, configuration) = (worker.clone(), clock.clone(), configuration.clone());
        Box::pin(async move {
            let Job::Enrich { call } = job else { panic!("{job:?}") };
            // About what it takes.
            clock.sleep(SignedDuration::from_millis(20)).await;
            worker.run(&call, &configuration, clock.now()).await
        })
    })
}

fn deliver(
    store: &MemoryStore,
    sqs: &Sqs,
    clock: &Clock,
    configuration: &Rc<Configuration>,
    crms: &Crms,
) -> platform::Work {
    // Each environment knows what it has seen itself, and no more.
    let one = || Deliver {
        store: store.clone(),
        queue: sqs.clone(),
        deliverer: crms.clone(),
        gates: Gates::default(),
        telemetry: Telemetry::silent(),
    };
    let workers: Vec<_> = (0..ENVIRONMENTS).map(|_| Rc::new(one())).collect();
    let (clock, configuration) = (clock.clone(), configuration.clone());
    Rc::new(move |environment, job| {
        let worker = workers[environment].clone();
        let (clock, configuration) = (clock.clone(), configuration.clone());
        Box::pin(async move {
            let Job::Deliver { call, delivery } = job else { panic!("{job:?}") };
            worker.run(&call, &delivery, &configuration, || clock.now()).await
        })
    })
}
