//! A stack in virtual time: calls end, and are delivered to five CRMs.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use http::HeaderMap;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use switchboard_domain::Name;
use switchboard_flow::Configuration;
use switchboard_flow::Values;
use switchboard_flow::deliver::Deliver;
use switchboard_flow::deliverer::Deliverer;
use switchboard_flow::enrich::Enrich;
use switchboard_flow::gates::Gates;
use switchboard_flow::sweep::Sweep;
use switchboard_flow::tokens::{TokenCache, TokenStore};
use switchboard_http::{Http, Response, SendError};
use switchboard_providers::{Request, Source, Sources, provider};
use switchboard_queue::Job;
use switchboard_shell::hook::Hook;
use switchboard_store::{Directory, Store};

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
    /// Lets milliseconds pass.
    async fn sleep(&self, milliseconds: i64) {
        self.clock.sleep(SignedDuration::from_millis(milliseconds)).await;
    }

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

#[async_trait]
impl Http for Crms {
    async fn send(&self, request: switchboard_http::Request) -> Result<Response, SendError> {
        let header = |name: &str| request.headers[name].to_str().unwrap().to_owned();
        let (correlation_id, key) = (header("x-correlation-id"), header("idempotency-key"));
        let name = request.url.path().trim_start_matches('/').to_owned();
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
        if !is_down {
            self.sleep(50 + dice(350, b"latency") as i64).await;
            let call = self.calls.lock().unwrap()[correlation_id.as_str()].clone();
            let at = self.clock.now();
            self.seen.lock().unwrap().taken.entry(name).or_default().push((call, at));
            return Ok(response(200));
        }
        self.seen.lock().unwrap().refused.entry(name).or_default().push(asked_at);
        let (takes, response) = match dice(4, &asked_at.as_millisecond().to_be_bytes()) {
            0 => (i64::from(TIMEOUT) * 1_000, Err(SendError::TimedOut)),
            1 => {
                let mut limited = response(429);
                limited.headers.insert("retry-after", "90".parse().unwrap());
                (20, Ok(limited))
            }
            2 => (1_000, Ok(response(503))),
            _ => (100, Ok(response(500))),
        };
        self.sleep(takes).await;
        response
    }
}

fn response(status: u16) -> Response {
    Response { status, headers: HeaderMap::new(), body: Vec::new() }
}

/// No destination here needs an access token.
struct NoTokens;

#[async_trait]
impl TokenStore for NoTokens {
    async fn read(&self, _: &Name) -> Result<Option<(String, u64)>, String> {
        Err("nothing is stored".to_owned())
    }

    async fn write(&self, _: &Name, _: &str) -> Result<u64, String> {
        Err("nothing is stored".to_owned())
    }
}

/// A run, when it is over.
pub struct Run {
    pub start: Timestamp,
    pub store: Store,
    pub crms: Crms,
    pub dead: DeadLetters,
    /// When each call ended.
    pub ended: BTreeMap<String, Timestamp>,
}

impl Run {
    /// Calls that end evenly over a while, and time until all of them are delivered.
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
        let store = Store::in_memory();
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
        let sweep =
            Sweep { store: store.clone(), queue: Arc::new(sqs.clone()), gates: Gates::default() };
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
            let hook = Hook { provider: intake, store: hook_store, queue: Arc::new(hook_sqs) };
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
                let reply = hook.handle(&request, &sources).await;
                assert_eq!(reply.status, 200, "{}", reply.body);
                ended.insert(key.to_string(), now);
                clock.sleep(SignedDuration::from_millis(step as i64)).await;
            }
            // Until all is delivered, a day at most.
            for _ in 0..24 * 60 {
                clock.sleep(SignedDuration::from_secs(60)).await;
                let taken: usize = crms.names().iter().map(|name| crms.taken(name).len()).sum();
                if taken == calls * 5 {
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
    Configuration::read(&values, true)
}

fn enrich(
    store: &Store,
    sqs: &Sqs,
    clock: &Clock,
    configuration: &Rc<Configuration>,
) -> platform::Work {
    let worker = Rc::new(Enrich {
        store: store.clone(),
        queue: Arc::new(sqs.clone()),
        directory: Directory::in_memory(),
        conversations: Arc::new(switchboard_http::Client::new(true).unwrap()),
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
    store: &Store,
    sqs: &Sqs,
    clock: &Clock,
    configuration: &Rc<Configuration>,
    crms: &Crms,
) -> platform::Work {
    // Each environment knows what it has seen itself, and no more.
    let one = || {
        let http = Arc::new(crms.clone());
        let leases = Store::in_memory();
        Deliver {
            store: store.clone(),
            queue: Arc::new(sqs.clone()),
            deliverer: Deliverer {
                http: http.clone(),
                directory: Directory::in_memory(),
                tokens: TokenCache::new(http, leases, Arc::new(NoTokens)),
            },
            gates: Gates::default(),
        }
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
