//! Everything together: hook, queue, workers and sweep, in virtual time.

use std::sync::Arc;

use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_types::SdkConfig;
use aws_types::region::Region;
use futures_util::future::join_all;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use switchboard_crm::Destination;
use switchboard_domain::{CallRecord, Delivery, Name};
use switchboard_flow::Configuration;
use switchboard_flow::JobError;
use switchboard_flow::Values;
use switchboard_flow::analyze::Analyze;
use switchboard_flow::deliver::Deliver;
use switchboard_flow::deliverer::Deliverer;
use switchboard_flow::enrich::Enrich;
use switchboard_flow::gates::Gates;
use switchboard_flow::models::Models;
use switchboard_flow::recordings::Recordings;
use switchboard_flow::sweep::Sweep;
use switchboard_flow::telemetry::{Captured, capture, job_span};
use switchboard_flow::tokens::TokenCache;
use switchboard_http::Http;
use switchboard_providers::{Source, Sources, provider};
use switchboard_queue::{Job, MemoryQueue, Queue};
use switchboard_shell::gateway::Response;
use switchboard_shell::hook::Hook;
use switchboard_store::{Directory, Store};
use tracing::Instrument as _;

use crate::bucket::Bucket;
use crate::effects::{Effects, WatchedQueue};
use crate::models::Oracle;
use crate::samples::{PUBLIC_URL, TOKEN, Webhook};
use crate::servers::{Clock, Crm, ElevenLabs};
use crate::token_store::MemoryTokenStore;

pub const SIGNING_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
/// When every test begins.
pub const START: &str = "2026-02-20T09:30:00Z";
/// Messages that follow `completed` closely are waited for so long, in seconds.
pub const SETTLE: i64 = 3;
/// How long a message is out of sight while a worker has it, or had it when it died.
const VISIBILITY: SignedDuration = SignedDuration::from_mins(6);
const SWEEP: SignedDuration = SignedDuration::from_mins(1);

pub fn minutes(n: i64) -> SignedDuration {
    SignedDuration::from_mins(n)
}

pub fn seconds(n: i64) -> SignedDuration {
    SignedDuration::from_secs(n)
}

/// So many seconds after the beginning of every test.
pub fn later(n: i64) -> Timestamp {
    START.parse::<Timestamp>().unwrap().checked_add(seconds(n)).unwrap()
}

/// A message that a worker will get.
#[derive(Clone, Debug)]
struct Message {
    at: Timestamp,
    job: Job,
}

pub struct World {
    pub clock: Clock,
    pub effects: Effects,
    pub store: Store,
    pub directory: Directory,
    pub queue: MemoryQueue,
    pub log: Captured,
    /// Whether the sweep runs each minute.
    pub sweeps: bool,
    /// Whether a message that a dying worker held comes again.
    pub returns: bool,
    /// Whether the queue hands each message out twice, at once.
    pub doubles: bool,
    /// What the providers send again as soon as the process came back after a crash.
    pub redelivered: Vec<Webhook>,
    values: Values,
    configuration: Configuration,
    gates: Gates,
    http: Arc<dyn Http>,
    tokens: TokenCache,
    /// Where Bedrock is.
    bedrock: String,
    /// Where recordings are copied to.
    pub bucket: Option<Bucket>,
    messages: Vec<Message>,
    next_sweep: Timestamp,
}

impl World {
    pub fn new() -> Self {
        let start: Timestamp = START.parse().unwrap();
        let http: Arc<dyn Http> = Arc::new(switchboard_http::Client::new(true).unwrap());
        let token_store = Arc::new(MemoryTokenStore::default());
        let log = capture();
        let leases = Store::in_memory();
        let tokens = TokenCache::new(http.clone(), leases, token_store);
        let mut world = Self {
            clock: Clock::at(start),
            effects: Effects::default(),
            store: Store::in_memory(),
            directory: Directory::in_memory(),
            queue: MemoryQueue::default(),
            log,
            sweeps: true,
            returns: true,
            doubles: false,
            redelivered: Vec::new(),
            values: Values::new(),
            configuration: Configuration::default(),
            gates: Gates::default(),
            http,
            tokens,
            bedrock: "http://127.0.0.1:9".into(),
            bucket: None,
            messages: Vec::new(),
            next_sweep: start.checked_add(SWEEP).unwrap(),
        };
        world.configure("sources/twilio/twilio", twilio_source(json!({})));
        world.configure(
            "sources/intake/intake",
            json!({"secrets": ["fake-intake-secret"], "country": "RU"}),
        );
        world
    }

    /// A world with one CRM, `crm`, that gets calls in the canonical format.
    pub async fn with_crm(more: Value) -> (Self, Crm) {
        let mut world = Self::new();
        let crm = world.crm("crm", "canonical", more).await;
        (world, crm)
    }

    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Sets a parameter.
    pub fn configure(&mut self, path: &str, json: Value) {
        self.values.insert(path.to_owned(), json.to_string());
        self.read();
    }

    /// Sets a parameter that cannot be read; gives what was said about it.
    pub fn misconfigure(&mut self, path: &str, text: &str) -> String {
        let before = self.log.lines().len();
        self.values.insert(path.to_owned(), text.to_owned());
        self.configuration = Configuration::read(&self.values, true);
        self.log.lines()[before..].concat()
    }

    /// Takes a parameter away.
    pub fn unconfigure(&mut self, path: &str) {
        self.values.remove(path);
        self.read();
    }

    pub fn read(&mut self) {
        let before = self.log.lines().len();
        self.configuration = Configuration::read(&self.values, true);
        self.configuration.has_bucket = self.bucket.is_some();
        let said = self.log.lines();
        assert_eq!(said.len(), before, "a bad configuration: {:?}", said.last());
    }

    /// A CRM as the destination of a name.
    pub async fn crm(&mut self, name: &str, format: &str, more: Value) -> Crm {
        let crm = Crm::start(&self.clock, &self.effects).await;
        self.destination(name, &crm.url(), format, more);
        crm
    }

    pub fn destination(&mut self, name: &str, url: &str, format: &str, more: Value) {
        let base = json!({"url": url, "format": format, "signing_secrets": [SIGNING_SECRET]});
        self.configure(&format!("destinations/{name}"), merged(base, more));
    }

    /// A model, asked in this API's way.
    pub async fn model(&mut self, api: &str) -> Oracle {
        let oracle = Oracle::start(&self.clock, &self.effects).await;
        self.configure("models/default", oracle.parameter(api));
        self.bedrock = oracle.base.clone();
        oracle
    }

    /// An ElevenLabs, and Twilio calls that look for their conversations there.
    pub async fn elevenlabs(&mut self) -> ElevenLabs {
        let server = ElevenLabs::start(&self.clock).await;
        let source = json!({
            "api_key": "fake-elevenlabs-api-key", "api_url": server.base, "agents": ["agent_sample"],
            "secrets": ["wsec_fake-elevenlabs-secret"],
        });
        self.configure("sources/elevenlabs/elevenlabs", source);
        let conversations = json!({"conversations": {"source": "elevenlabs"}});
        self.configure("sources/twilio/twilio", twilio_source(conversations));
        server
    }

    /// What the workers act on.
    pub fn watched(&self) -> (Store, Arc<dyn Queue>) {
        let effects = self.effects.clone();
        let queue = WatchedQueue { queue: self.queue.clone(), effects };
        (self.store.watched(&self.effects), Arc::new(queue))
    }

    /// What the workers are configured with.
    pub fn configuration(&self) -> &Configuration {
        &self.configuration
    }

    /// A destination, to be changed.
    pub fn configured(&mut self, name: &Name) -> &mut Destination {
        self.configuration.destinations.get_mut(name).unwrap().as_mut().unwrap()
    }

    /// The sources that a provider's hook reads.
    fn sources(&self, of: &str) -> Sources {
        let own = format!("sources/{of}/");
        self.values
            .iter()
            .filter_map(|(path, json)| Some((path.strip_prefix(&own)?, json)))
            .map(|(name, json)| {
                let source = Source::parse(json, provider(of)).unwrap();
                (Name::new("source", name).unwrap(), source)
            })
            .collect()
    }

    /// What the hook answers. `None`: the process was gone before it did.
    pub async fn post(&self, webhook: &Webhook) -> Option<Response> {
        let (store, queue) = self.watched();
        let provider = provider(webhook.provider).unwrap();
        let hook = Hook { provider, store, queue };
        let sources = self.sources(webhook.provider);
        let request = webhook.request(self.now());
        tokio::select! {
            biased;
            () = self.effects.crashed() => None,
            reply = hook.handle(&request, &sources) => Some(reply),
        }
    }

    /// Posts what must be taken.
    pub async fn take(&self, webhook: &Webhook) {
        let reply = self.post(webhook).await.unwrap();
        assert_eq!(reply.status, 200, "{}", reply.body);
    }

    /// Posts what must be taken, and lets time pass until nothing is owed, at most so long.
    pub async fn settled(&mut self, webhook: &Webhook, at_most: SignedDuration) {
        self.take(webhook).await;
        self.settle(at_most).await;
    }

    /// Does one job, as two workers at once.
    pub async fn work_twice(&self, job: &Job) {
        let (one, two) = tokio::join!(self.work(job), self.work(job));
        one.unwrap();
        two.unwrap();
    }

    /// Does one job, as a worker.
    pub async fn work(&self, job: &Job) -> Result<(), JobError> {
        self.work_on(job).instrument(job_span(Some(job), "message")).await
    }

    async fn work_on(&self, job: &Job) -> Result<(), JobError> {
        let (store, queue) = self.watched();
        match job {
            Job::Enrich { call } => {
                let conversations = self.http.clone();
                let directory = self.directory.watched(&self.effects);
                let worker = Enrich { store, queue, directory, conversations };
                worker.run(call, &self.configuration, self.now()).await
            }
            Job::Deliver { call, delivery } => {
                let directory = self.directory.watched(&self.effects);
                let deliverer =
                    Deliverer { http: self.http.clone(), directory, tokens: self.tokens.clone() };
                let gates = self.gates.clone();
                let worker = Deliver { store, queue, deliverer, gates };
                let clock = self.clock.clone();
                worker.run(call, delivery, &self.configuration, || clock.now()).await
            }
            Job::Analyze { call } => {
                let models = Models::new(&aws(&self.bedrock), None, true).unwrap();
                let worker = Analyze { store, queue, models };
                let clock = self.clock.clone();
                worker.run(call, &self.configuration, || clock.now()).await
            }
            Job::Recordings { call } => {
                let bucket = self.bucket.as_ref().unwrap().bucket();
                let transport = switchboard_http::client::transport(true).unwrap();
                let client = switchboard_http::Client::new(true).unwrap();
                let worker = Recordings { store, queue, client, bucket, transport };
                let clock = self.clock.clone();
                worker.run(call, &self.configuration, || clock.now()).await
            }
            Job::Pull { .. } => Err(JobError::Misplaced),
        }
    }

    async fn sweep(&self) {
        let (store, queue) = self.watched();
        // A process of its own, which knows no more than the table does.
        let gates = Gates::default();
        let sweep = Sweep { store, queue, gates };
        tokio::select! {
            biased;
            () = self.effects.crashed() => {}
            // What could not be sent is due again in a minute.
            _ = sweep.run(self.now()) => {}
        }
    }

    fn collect(&mut self) {
        for send in self.queue.drain() {
            assert!(send.delay <= 900);
            let at = self.now().checked_add(seconds(send.delay.into())).unwrap();
            for _ in 0..if self.doubles { 2 } else { 1 } {
                self.messages.push(Message { at, job: send.job.clone() });
            }
        }
    }

    /// The jobs that wait, which are then no longer delivered by themselves.
    pub fn take_jobs(&mut self) -> Vec<Job> {
        self.collect();
        std::mem::take(&mut self.messages).into_iter().map(|message| message.job).collect()
    }

    /// Every delivery of every call.
    pub async fn deliveries(&self) -> Vec<Delivery> {
        let mut all = Vec::new();
        for call in self.store.calls() {
            all.extend(self.store.deliveries(&call.key).await.unwrap());
        }
        all
    }

    /// The only call.
    pub fn call(&self) -> CallRecord {
        let mut calls = self.store.calls();
        assert_eq!(calls.len(), 1);
        calls.remove(0)
    }

    /// Whether anything is owed to anybody.
    pub async fn owes(&self) -> bool {
        self.store.calls().iter().any(|call| call.due_at().is_some())
            || self.deliveries().await.iter().any(|delivery| delivery.due_at.is_some())
    }

    /// Lets time pass until nothing is owed and no message is left, at most so long.
    pub async fn settle(&mut self, at_most: SignedDuration) {
        let until = self.now().checked_add(at_most).unwrap();
        self.run(until, true).await;
    }

    /// Lets time pass.
    pub async fn pass(&mut self, time: SignedDuration) {
        let until = self.now().checked_add(time).unwrap();
        self.run(until, false).await;
    }

    async fn run(&mut self, until: Timestamp, stops_when_quiet: bool) {
        loop {
            self.collect();
            if stops_when_quiet && self.messages.is_empty() && !self.owes().await {
                return;
            }
            let message = self.messages.iter().map(|message| message.at).min();
            let sweep = self.sweeps.then_some(self.next_sweep);
            let Some(next) = message.into_iter().chain(sweep).min().filter(|at| *at <= until)
            else {
                self.clock.set(until);
                return;
            };
            self.clock.set(next.max(self.now()));
            if message == Some(next) {
                self.deliver_messages().await;
            } else {
                self.sweep().await;
                self.next_sweep = next.checked_add(SWEEP).unwrap();
            }
            if self.effects.hit().is_some() {
                for webhook in std::mem::take(&mut self.redelivered) {
                    self.take(&webhook).await;
                }
            }
        }
    }

    /// Every message that is due now, all at once.
    async fn deliver_messages(&mut self) {
        let now = self.now();
        let (batch, later): (Vec<Message>, Vec<Message>) =
            std::mem::take(&mut self.messages).into_iter().partition(|message| message.at <= now);
        self.messages = later;
        let results = {
            let jobs = join_all(batch.iter().map(|message| self.work(&message.job)));
            tokio::select! {
                biased;
                () = self.effects.crashed() => None,
                results = jobs => Some(results),
            }
        };
        let back = now.checked_add(VISIBILITY).unwrap();
        for (n, message) in batch.into_iter().enumerate() {
            let done = match &results {
                Some(results) => results[n].is_ok(),
                None => !self.returns,
            };
            if !done {
                self.messages.push(Message { at: back, ..message });
            }
        }
    }
}

/// What a function's environment would say.
fn aws(endpoint: &str) -> SdkConfig {
    let keys = Credentials::new("AKIDFAKE", "fake-key", Some("fake-session".into()), None, "test");
    SdkConfig::builder()
        .region(Region::new("eu-central-1"))
        .credentials_provider(SharedCredentialsProvider::new(keys))
        .endpoint_url(endpoint)
        .build()
}

pub fn twilio_source(more: Value) -> Value {
    let base = json!({
        "secrets": [TOKEN, "fake-twilio-auth-token-old"],
        "public_url": PUBLIC_URL,
        "country": "AU",
    });
    merged(base, more)
}

/// A destination that takes calls and updates of them.
pub fn both() -> Value {
    json!({"filter": {"events": ["call.completed", "call.updated"]}})
}

pub fn merged(mut base: Value, more: Value) -> Value {
    for (name, value) in more.as_object().unwrap() {
        base[name] = value.clone();
    }
    base
}
