//! A HubSpot with a token endpoint: as much of it as shows what becomes of calls, contacts and tokens.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::servers::{Answer, Clock, Received, serve, status};

#[derive(Default)]
pub struct State {
    pub received: Vec<Received>,
    /// What is answered next instead of what was asked for, at a path that ends so.
    pub script: VecDeque<(&'static str, Answer)>,
    /// The access tokens that open.
    pub tokens: BTreeSet<String>,
    /// The refresh tokens that are good.
    pub refresh_tokens: BTreeSet<String>,
    /// Whether a refresh token is good for one use.
    pub rotates: bool,
    /// How often an access token was granted, and how long one lives.
    pub grants: usize,
    pub expires_in: Option<u32>,
    /// Calls by id, with our key where it was said.
    pub calls: BTreeMap<String, Value>,
    /// Contacts by id: their number.
    pub contacts: BTreeMap<String, String>,
    pub associations: BTreeSet<(String, String)>,
    next: usize,
}

/// Clones are the same.
#[derive(Clone)]
pub struct HubSpot {
    pub base: String,
    state: Arc<Mutex<State>>,
}

impl HubSpot {
    pub async fn start(clock: &Clock) -> Self {
        let state: Arc<Mutex<State>> = Arc::default();
        state.lock().unwrap().refresh_tokens.insert("fake-refresh-0".into());
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

fn said(code: u16, body: Value) -> Answer {
    Answer::Status(code, Vec::new(), body.to_string())
}

impl State {
    fn answer(&mut self, received: Received) -> Answer {
        let (method, target) = (received.method.clone(), received.target.clone());
        let bearer = received.header("authorization").to_owned();
        let body = received.body.clone();
        self.received.push(received);
        if let Some((path, _)) = self.script.front()
            && target.ends_with(path)
        {
            return self.script.pop_front().unwrap().1;
        }
        if target == "/oauth/v1/token" {
            return self.grant(&body);
        }
        let token = bearer.strip_prefix("Bearer ").unwrap_or_default();
        if !self.tokens.contains(token) {
            return said(401, json!({"category": "EXPIRED_AUTHENTICATION"}));
        }
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        let path: Vec<&str> = target.trim_start_matches('/').split('/').collect();
        match (method.as_str(), &path[..]) {
            ("POST", ["crm", "v3", "objects", "contacts", "search"]) => {
                let wanted = &body["filterGroups"][0]["filters"][0]["value"];
                let found = self.contacts.iter().filter(|(_, number)| wanted == *number);
                let found: Vec<Value> = found
                    .map(|(id, number)| json!({"id": id, "properties": {"phone": number}}))
                    .collect();
                said(200, json!({ "results": found }))
            }
            ("POST", ["crm", "v3", "objects", "contacts"]) => {
                let id = self.id("c");
                let number = body["properties"]["phone"].as_str().unwrap().to_owned();
                self.contacts.insert(id.clone(), number);
                said(201, json!({ "id": id }))
            }
            ("POST", ["crm", "v3", "objects", "calls", "batch", "upsert"]) => {
                let input = &body["inputs"][0];
                let there = self.calls.iter().find(|(_, call)| call["key"] == input["id"]);
                let there = there.map(|(id, _)| id.clone());
                let id = there.unwrap_or_else(|| self.id("k"));
                let call = json!({"key": input["id"], "properties": input["properties"]});
                self.calls.insert(id.clone(), call);
                said(200, json!({"results": [{ "id": id }]}))
            }
            ("POST", ["crm", "v3", "objects", "calls"]) => {
                let id = self.id("k");
                self.calls.insert(id.clone(), json!({"properties": body["properties"]}));
                said(201, json!({ "id": id }))
            }
            ("PATCH", ["crm", "v3", "objects", "calls", id]) => match self.calls.get_mut(*id) {
                Some(call) => {
                    call["properties"] = body["properties"].clone();
                    said(200, json!({ "id": id }))
                }
                None => said(404, json!({"category": "OBJECT_NOT_FOUND"})),
            },
            ("PUT", ["crm", "v4", "objects", "calls", call, .., contact]) => {
                if !self.contacts.contains_key(*contact) {
                    return said(404, json!({"category": "OBJECT_NOT_FOUND"}));
                }
                self.associations.insert(((*call).to_owned(), (*contact).to_owned()));
                said(200, json!({"status": "COMPLETE", "results": []}))
            }
            _ => status(404),
        }
    }

    fn id(&mut self, kind: &str) -> String {
        self.next += 1;
        format!("{kind}{}", self.next)
    }

    fn grant(&mut self, form: &[u8]) -> Answer {
        let form: BTreeMap<String, String> = form_urlencoded::parse(form).into_owned().collect();
        let given = &form["refresh_token"];
        if form["client_secret"] != "fake-secret" || !self.refresh_tokens.contains(given) {
            return said(400, json!({"error": "invalid_grant", "error_description": given}));
        }
        self.grants += 1;
        let mut body = json!({"access_token": format!("fake-access-{}", self.grants)});
        if let Some(seconds) = self.expires_in {
            body["expires_in"] = json!(seconds);
        }
        if self.rotates {
            let next = format!("fake-refresh-{}", self.grants);
            self.refresh_tokens = BTreeSet::from([next.clone()]);
            body["refresh_token"] = json!(next);
        }
        self.tokens.insert(body["access_token"].as_str().unwrap().to_owned());
        said(200, body)
    }
}
