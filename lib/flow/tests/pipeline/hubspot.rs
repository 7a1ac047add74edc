//! HubSpot's stand-in at an address, on the test's clock, with answers that a script puts in between.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use http::{HeaderName, HeaderValue};
use serde_json::{Value, json};
use switchboard_http::{Limits, Request};
use switchboard_testkit::stand_in::Guarded;
use switchboard_testkit::stand_in::hubspot::Portal;

use crate::servers::{Answer, Clock, Received, serve};

pub struct State {
    pub received: Vec<Received>,
    /// What is answered next instead of what was asked for, at a path that ends so.
    pub script: VecDeque<(String, Answer)>,
    pub hubspot: Guarded<Portal>,
}

/// Clones are the same.
#[derive(Clone)]
pub struct HubSpot {
    pub base: String,
    state: Arc<Mutex<State>>,
}

impl HubSpot {
    pub async fn start(clock: &Clock) -> Self {
        let state = Arc::new(Mutex::new(State {
            received: Vec::new(),
            script: VecDeque::new(),
            hubspot: Guarded::new(Portal::set_up()),
        }));
        let inner = state.clone();
        let base = serve(clock.clone(), move |received| {
            let answer = inner.lock().unwrap().answer(received);
            async move { answer }
        })
        .await;
        Self { base, state }
    }

    /// What it holds and does.
    pub fn with<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut self.state.lock().unwrap())
    }

    /// The same of the account.
    pub fn account<T>(&self, look: impl FnOnce(&mut Portal) -> T) -> T {
        self.with(|state| look(&mut state.hubspot.crm))
    }

    /// How many access tokens it has granted.
    pub fn grants(&self) -> usize {
        self.with(|state| state.hubspot.granted.len())
    }

    /// A destination at it, whose tokens it gives out.
    pub fn destination(&self) -> Value {
        json!({
            "format": "hubspot", "url": self.base, "signing_secrets": null,
            "auth": {
                "type": "oauth_refresh", "client_id": "fake-client", "client_secret": "fake-secret",
                "refresh_token": "fake-refresh-0",
            },
            "filter": {"events": ["call.completed", "call.updated"]},
        })
    }

    /// How often it was asked for something below a path.
    pub fn asked(&self, path: &str) -> usize {
        self.with(|state| state.received.iter().filter(|one| one.target.contains(path)).count())
    }
}

impl State {
    fn answer(&mut self, received: Received) -> Answer {
        let header = |(name, value): (&String, &String)| -> (HeaderName, HeaderValue) {
            (name.parse().unwrap(), value.parse().unwrap())
        };
        let request = Request {
            method: received.method.parse().unwrap(),
            url: format!("http://{}{}", received.header("host"), received.target).parse().unwrap(),
            headers: received.headers.iter().map(header).collect(),
            body: received.body.clone(),
            limits: Limits::default(),
        };
        self.received.push(received);
        let path = request.url.path();
        if self.script.front().is_some_and(|(end, _)| path.ends_with(end.as_str())) {
            return self.script.pop_front().unwrap().1;
        }
        let Some(response) = self.hubspot.respond(&request) else { return Answer::Close };
        Answer::Status(response.status, Vec::new(), String::from_utf8(response.body).unwrap())
    }
}
