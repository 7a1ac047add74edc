//! A place where jobs are started, worked on and looked at.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use http::HeaderMap;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use switchboard_domain::Name;
use switchboard_domain::sync::{Job, Kind};
use switchboard_flow::Values;
use switchboard_flow::gates::Gates;
use switchboard_flow::pull::Puller;
use switchboard_flow::pull_jobs::{Pullable, start};
use switchboard_flow::reconcile::Reconcile;
use switchboard_flow::sweep::Sweep;
use switchboard_flow::telemetry::{Captured, capture};
use switchboard_http::{Http, Request, Response, SendError};
use switchboard_providers::rest::Logins;
use switchboard_queue::{MemoryQueue, Queue};
use switchboard_store::Store;

use crate::servers::Clock;
use crate::world::START;

/// A simulated provider's response to a request, at a time.
pub type Simulated = Arc<dyn Fn(&Request, Timestamp) -> Result<Response, SendError> + Send + Sync>;

/// Providers by the host of their interface.
#[derive(Clone)]
pub struct Providers {
    pub clock: Clock,
    pub by_host: Arc<Mutex<BTreeMap<String, Simulated>>>,
    pub asked: Arc<Mutex<Vec<String>>>,
}

#[async_trait]
impl Http for Providers {
    async fn send(&self, request: Request) -> Result<Response, SendError> {
        self.asked.lock().unwrap().push(request.url.to_string());
        let host = request.url.host_str().unwrap().to_owned();
        let provider = self.by_host.lock().unwrap().get(&host).cloned().unwrap();
        provider(&request, self.clock.now())
    }
}

pub fn answer(status: u16, body: &Value) -> Result<Response, SendError> {
    let body = match body {
        Value::String(text) => text.clone().into_bytes(),
        other => other.to_string().into_bytes(),
    };
    Ok(Response { status, headers: HeaderMap::new(), body })
}

/// The parameters of a request.
pub fn asked(request: &Request) -> BTreeMap<String, String> {
    let query = request.url.query().unwrap_or_default();
    form_urlencoded::parse(query.as_bytes()).into_owned().collect()
}

pub struct Place {
    pub clock: Clock,
    pub store: Store,
    pub queue: MemoryQueue,
    pub log: Captured,
    pub providers: Providers,
    values: Values,
}

impl Place {
    pub fn new(store: Store, clock: Clock) -> Self {
        let by_host = Arc::default();
        Self {
            providers: Providers { clock: clock.clone(), by_host, asked: Arc::default() },
            clock,
            store,
            queue: MemoryQueue::default(),
            log: capture(),
            values: Values::new(),
        }
    }

    pub fn alone() -> Self {
        Self::new(Store::in_memory(), Clock::at(START.parse().unwrap()))
    }

    pub fn configure(&mut self, provider: &str, source: Value) {
        self.values.insert(format!("sources/{provider}/{provider}"), source.to_string());
    }

    pub fn simulate(
        &self,
        host: &str,
        provider: impl Fn(&Request, Timestamp) -> Result<Response, SendError> + Send + Sync + 'static,
    ) {
        self.providers.by_host.lock().unwrap().insert(host.to_owned(), Arc::new(provider));
    }

    pub fn pullable(&self) -> Pullable {
        let before = self.log.lines().len();
        let pullable = Pullable::read(&self.values);
        assert_eq!(self.log.lines().len(), before, "a bad configuration");
        pullable
    }

    /// Starts a job of the day before and after the beginning of the test.
    pub async fn start(&self, kind: Kind, provider: &str) -> Job {
        let day = SignedDuration::from_hours(24);
        let begin: Timestamp = START.parse().unwrap();
        let range = (begin.checked_sub(day).unwrap(), begin.checked_add(day).unwrap());
        let queue: &dyn Queue = &self.queue;
        let with = (&self.store, queue);
        let name = Name::new("source", provider).unwrap();
        let what = (kind, provider, &name);
        start(with, &self.pullable(), what, range, self.clock.now()).await.unwrap().0
    }

    /// Has everything reconciled, as the schedule does.
    pub async fn reconcile(&self) -> usize {
        let (store, queue) = (self.store.clone(), Arc::new(self.queue.clone()));
        let worker = Reconcile { store, queue };
        worker.run(&self.pullable(), self.clock.now()).await.unwrap()
    }

    pub async fn job(&self, id: &Name) -> Job {
        self.store.job(id).await.unwrap().unwrap()
    }

    /// Does one message's piece of a job.
    pub async fn piece(&self, store: Store, queue: Arc<dyn Queue>, id: &Name) {
        let http = Arc::new(self.providers.clone());
        let worker = Puller { store, queue, http, logins: Logins::default() };
        let clock = self.clock.clone();
        // A store that failed is tried again when the lease is over.
        let _ = worker.run(id, &self.pullable(), || clock.now()).await;
    }

    /// Works on everything that pulls until nothing of it is due any more; what else was queued is
    /// given back. Time passes from one due moment to the next, with a sweep each minute.
    pub async fn settle(&self) -> Vec<switchboard_queue::Send> {
        let mut others = Vec::new();
        for _ in 0..10_000 {
            let sends = self.queue.drain();
            if sends.is_empty() {
                if !self.store.jobs().await.unwrap().iter().any(Job::is_running) {
                    return others;
                }
                self.clock.pass(SignedDuration::from_mins(1));
                let (store, queue) = (self.store.clone(), Arc::new(self.queue.clone()));
                let gates = Gates::default();
                let sweep = Sweep { store, queue, gates };
                sweep.run(self.clock.now()).await.unwrap();
                continue;
            }
            for send in sends {
                match send.job {
                    switchboard_queue::Job::Pull { id } => {
                        self.clock.pass(SignedDuration::from_secs(send.delay.into()));
                        self.piece(self.store.clone(), Arc::new(self.queue.clone()), &id).await;
                    }
                    _ => others.push(send),
                }
            }
        }
        panic!("it does not end");
    }

    /// Works on everything, and hands what the calls owe to another queue.
    pub async fn settle_into(&self, queue: &MemoryQueue) {
        let others = self.settle().await;
        queue.send(&others).await.unwrap();
    }

    /// The values of a metric, in the order that they were counted.
    pub fn metric(&self, name: &str) -> Vec<u64> {
        let lines = self.log.lines();
        let values = lines.iter().filter_map(|line| {
            let line: Value = serde_json::from_str(line).unwrap();
            line.get("_aws").and(line.get(name)).and_then(Value::as_u64)
        });
        values.collect()
    }
}
