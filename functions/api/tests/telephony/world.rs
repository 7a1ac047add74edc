//! Everything around the area, and a way to ask it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use serde_json::{Value, json};
use switchboard_api::telephony::{Configured, Sources, Staff, Telephony};
use switchboard_api::{Answer, Area as _, Asked, Caller, Problem, Right};
use switchboard_domain::Name;
use switchboard_domain::directory::{Employee, Handle, Holder};
use switchboard_flow::Telemetry;
use switchboard_http::Client;
use switchboard_providers::rest::Logins;
use switchboard_shell::gateway::Parts;
use switchboard_store::dial_requests::{DialRequests, MemoryDialRequests};
use switchboard_store::{MemoryStore, StoreError};

use crate::provider::Provider;

pub const AGENT: &str = "+61491570156";
pub const CUSTOMER: &str = "+61491570157";
pub const OURS: &str = "+61491570110";

/// Sources that a test can change.
#[derive(Clone)]
pub struct Settings(Arc<Mutex<Arc<Sources>>>);

impl Settings {
    pub fn of(values: &BTreeMap<String, Value>) -> Self {
        let settings = Self(Arc::default());
        settings.set(values);
        settings
    }

    pub fn set(&self, values: &BTreeMap<String, Value>) {
        let values = values.iter().map(|(name, json)| (name.clone(), json.to_string())).collect();
        let telemetry = Telemetry::memory("telephony");
        *self.0.lock().unwrap() = Arc::new(Sources::read(&values, true, &telemetry));
        assert_eq!(telemetry.lines(), Vec::<String>::new());
    }
}

impl Configured for Settings {
    async fn get(&self) -> Result<Arc<Sources>, Problem> {
        Ok(self.0.lock().unwrap().clone())
    }

    async fn get_again(&self) -> Result<Arc<Sources>, Problem> {
        self.get().await
    }
}

/// The employees that a test names.
#[derive(Clone, Default)]
pub struct People {
    pub employees: BTreeMap<Name, Employee>,
    pub own: BTreeSet<Handle>,
}

impl Staff for People {
    async fn employee(&self, id: &Name) -> Result<Option<Employee>, StoreError> {
        Ok(self.employees.get(id).cloned())
    }

    async fn holders(
        &self,
        handles: &BTreeSet<Handle>,
    ) -> Result<BTreeMap<Handle, BTreeSet<Holder>>, StoreError> {
        let mut found: BTreeMap<Handle, BTreeSet<Holder>> = BTreeMap::new();
        for handle in handles {
            for employee in self.employees.values().filter(|one| one.handles().contains(handle)) {
                let holder = Holder::Employee(employee.id.clone());
                found.entry(handle.clone()).or_default().insert(holder);
            }
            if self.own.contains(handle) {
                found.entry(handle.clone()).or_default().insert(Holder::Own);
            }
        }
        Ok(found)
    }
}

/// The area with everything around it.
pub struct World<P = MemoryDialRequests> {
    pub area: Telephony<P, MemoryStore, People, Settings>,
    pub settings: Settings,
    pub provider: Provider,
    requests: Arc<AtomicUsize>,
}

/// The configuration of these tests.
pub fn values(base: &str) -> BTreeMap<String, Value> {
    let dial = json!({"countries": ["AU"], "api_url": base, "per_minute": 500, "per_day": 9000});
    let with = |more: Value| {
        let mut dial = dial.clone();
        dial.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        dial
    };
    let login = with(json!({"email": "ops@example.com", "password": "fake"}));
    let own = with(json!({"token": "fake-static", "per_minute": 2, "per_day": 3}));
    let twilio =
        with(json!({"account": "ACfake", "auth_token": "fake-auth-token", "caller_ids": [OURS]}));
    BTreeMap::from([
        ("sources/smartflo/login".to_owned(), json!({"country": "AU", "dial": login})),
        ("sources/smartflo/smartflo".to_owned(), json!({"country": "AU", "dial": own})),
        ("sources/smartflo/mute".to_owned(), json!({"secrets": ["fake"]})),
        (
            "sources/twilio/twilio".to_owned(),
            json!({"country": "AU", "public_url": "https://calls.example.com", "dial": twilio}),
        ),
    ])
}

impl World {
    pub async fn new() -> Self {
        Self::with(MemoryDialRequests::default(), People::default()).await
    }
}

impl<P: DialRequests> World<P> {
    pub async fn with(dial_requests: P, staff: People) -> Self {
        let provider = Provider::start().await;
        let settings = Settings::of(&values(&provider.base));
        let area = Telephony {
            dial_requests,
            calls: MemoryStore::default(),
            staff,
            sources: settings.clone(),
            http: Arc::new(Client::new(true).unwrap()),
            logins: Logins::default(),
            telemetry: Telemetry::memory("telephony"),
        };
        Self { area, settings, provider, requests: Arc::default() }
    }

    /// Asks as a caller, at a second.
    pub async fn ask(
        &self,
        caller: &Caller,
        (method, path): (&str, &str),
        key: Option<&str>,
        body: &Value,
        second: i64,
    ) -> Result<Answer, Problem> {
        let headers = key.map(|key| ("Idempotency-Key", key)).into_iter().collect();
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let parts = Parts { method, path, query: "", headers, body, sender: None };
        let id = format!("request-{}", self.requests.fetch_add(1, Ordering::SeqCst));
        let asked = Asked::new(parts, &id, at(second)).unwrap();
        self.area.answer(&asked, caller).await
    }

    /// DialRequests the button with a key.
    pub async fn dial_request(
        &self,
        key: &str,
        body: &Value,
        second: i64,
    ) -> Result<Answer, Problem> {
        self.ask(&dialler(), ("POST", "/telephony/calls"), Some(key), body, second).await
    }

    pub fn said(&self, what: &str) -> bool {
        self.area.telemetry.lines().iter().any(|line| line.contains(what))
    }
}

pub fn at(second: i64) -> Timestamp {
    // The first second of a minute, and of a day.
    Timestamp::from_second(1_771_545_600 + second).unwrap()
}

pub fn dialler() -> Caller {
    Caller::new("crm", [Right::Dial])
}

/// An order over a source.
pub fn order(source: &str) -> Value {
    json!({"source": source, "agent": AGENT, "to": CUSTOMER})
}

/// The status and the kind of an answer.
pub fn told(result: &Result<Answer, Problem>) -> (u16, &'static str) {
    match result {
        Ok(answer) => (answer.status, "done"),
        Err(problem) => (problem.status, problem.kind),
    }
}
