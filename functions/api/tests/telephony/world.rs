//! Everything around the area, and a way to ask it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use serde_json::{Value, json};
use switchboard_api::telephony::Telephony;
use switchboard_api::{Area as _, Caller, Problem, Request, Response, Right};
use switchboard_flow::dial::{Configured, Dial, NotDone, Sources};
use switchboard_flow::telemetry::{Captured, capture};
use switchboard_http::Client;
use switchboard_providers::rest::Logins;
use switchboard_shell::gateway::HttpRequest;
use switchboard_store::{Directory, Store};

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
        let log = capture();
        *self.0.lock().unwrap() = Arc::new(Sources::read(&values, true));
        assert_eq!(log.lines(), Vec::<String>::new());
    }
}

impl Configured for Settings {
    async fn get(&self) -> Result<Arc<Sources>, NotDone> {
        Ok(self.0.lock().unwrap().clone())
    }

    async fn get_again(&self) -> Result<Arc<Sources>, NotDone> {
        self.get().await
    }
}

/// The area with everything around it.
pub struct World {
    pub area: Telephony<Settings>,
    pub settings: Settings,
    pub provider: Provider,
    log: Captured,
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
        Self::with(Directory::in_memory()).await
    }

    pub async fn with(directory: Directory) -> Self {
        let provider = Provider::start().await;
        let settings = Settings::of(&values(&provider.base));
        let area = Telephony(Dial {
            store: Store::in_memory(),
            directory,
            sources: settings.clone(),
            http: Arc::new(Client::new(true).unwrap()),
            logins: Logins::default(),
        });
        Self { area, settings, provider, log: capture(), requests: Arc::default() }
    }

    /// Asks as a caller, at a second.
    pub async fn ask(
        &self,
        caller: &Caller,
        (method, path): (&str, &str),
        key: Option<&str>,
        body: &Value,
        second: i64,
    ) -> Result<Response, Problem> {
        let header = |key: &str| ("idempotency-key".to_owned(), key.to_owned());
        let headers = key.map(header).into_iter().collect();
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let http = HttpRequest { headers, body: Some(body), ..HttpRequest::new(method, path) };
        let id = format!("request-{}", self.requests.fetch_add(1, Ordering::SeqCst));
        let request = Request::new(http, &id, at(second)).unwrap();
        self.area.respond(&request, caller).await
    }

    /// DialRequests the button with a key.
    pub async fn dial_request(
        &self,
        key: &str,
        body: &Value,
        second: i64,
    ) -> Result<Response, Problem> {
        self.ask(&dialler(), ("POST", "/telephony/calls"), Some(key), body, second).await
    }

    pub fn said(&self, what: &str) -> bool {
        self.log.lines().iter().any(|line| line.contains(what))
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
pub fn outcome(result: &Result<Response, Problem>) -> (u16, &'static str) {
    match result {
        Ok(answer) => (answer.status, "done"),
        Err(problem) => (problem.status, problem.kind),
    }
}
