//! A CRM behind its access tokens, and behind an address.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};

use http::{HeaderName, HeaderValue, StatusCode};
use http_body_util::Full;
use hyper::body::Bytes;
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use switchboard_http::{Limits, Request, Response};

use super::{StandIn, response};
use crate::http::{Reply, serve};
use crate::{Failure, lock};

/// What distinguishes the tokens and errors of one CRM from those of another.
pub trait Crm: StandIn + Serialize + DeserializeOwned + 'static {
    /// Where access tokens are granted.
    const TOKEN_PATH: Option<&'static str> = None;

    /// The access token that a request carries.
    fn token(request: &Request) -> Option<&str> {
        header(request, "authorization")?.strip_prefix("Bearer ")
    }

    /// The response to a form at the token endpoint: the body beside the access token, or a refusal.
    fn grant(&mut self, _form: &BTreeMap<String, String>, _host: &str) -> Result<Value, Response> {
        Err(self.refuse(404))
    }

    /// A refusal for a reason that has nothing to do with a call: an unknown token, a rate limit, trouble.
    fn refuse(&self, status: u16) -> Response;
}

/// A header as text.
pub fn header<'a>(request: &'a Request, name: &str) -> Option<&'a str> {
    request.headers.get(name)?.to_str().ok()
}

/// A response that comes instead of the usual one, once.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Instead {
    /// How the method and path begin of the request that gets it.
    pub request: String,
    /// Its status. 0: the CRM does as it is asked and hangs up.
    pub status: u16,
    /// Its headers.
    pub headers: BTreeMap<String, String>,
}

/// A request as the state shows it.
#[derive(Clone, Serialize, Deserialize)]
pub struct Seen {
    /// The method and the path.
    pub request: String,
    /// The headers.
    pub headers: BTreeMap<String, String>,
    /// The body as text.
    pub body: String,
    /// When it came, as Unix time in seconds.
    pub at: f64,
}

/// A CRM that responds to requests with an access token that it granted.
#[derive(Serialize, Deserialize)]
pub struct Guarded<C> {
    /// The access tokens that are accepted.
    pub tokens: BTreeSet<String>,
    /// All access tokens that were ever granted.
    pub granted: Vec<String>,
    /// What the next requests get instead.
    pub instead: VecDeque<Instead>,
    /// The requests so far.
    pub received: Vec<Seen>,
    /// The CRM.
    #[serde(flatten)]
    pub crm: C,
}

impl<C: Crm> Guarded<C> {
    /// A CRM that has granted nothing yet.
    pub fn new(crm: C) -> Self {
        Self {
            tokens: BTreeSet::new(),
            granted: Vec::new(),
            instead: VecDeque::new(),
            received: Vec::new(),
            crm,
        }
    }

    /// The response to a request; none, where it hangs up.
    pub fn respond(&mut self, request: &Request) -> Option<Response> {
        let route = format!("{} {}", request.method, request.url.path());
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let headers = request.headers.iter().map(|(name, value)| (name.to_string(), text(value)));
        self.received.push(Seen {
            request: route.clone(),
            headers: headers.collect(),
            body: String::from_utf8_lossy(&request.body).into_owned(),
            at: Timestamp::now().as_millisecond() as f64 / 1_000.0,
        });
        let instead = self.instead.iter().position(|one| route.starts_with(&one.request));
        match instead.and_then(|place| self.instead.remove(place)) {
            None => Some(self.usual(request)),
            Some(Instead { status: 0, .. }) => {
                self.usual(request);
                None
            }
            Some(Instead { status, headers, .. }) => {
                let refused = self.crm.refuse(status);
                let add = |response, (name, value): (&String, &String)| {
                    super::with_header(response, name, value)
                };
                Some(headers.iter().fold(refused, add))
            }
        }
    }

    fn usual(&mut self, request: &Request) -> Response {
        if C::TOKEN_PATH == Some(request.url.path()) {
            return self.granted(request).unwrap_or_else(|refused| refused);
        }
        match C::token(request).is_some_and(|token| self.tokens.contains(token)) {
            true => self.crm.respond(request),
            false => self.crm.refuse(401),
        }
    }

    fn granted(&mut self, request: &Request) -> Result<Response, Response> {
        if header(request, "content-type") != Some("application/x-www-form-urlencoded") {
            return Err(response(400, json!({"error": "invalid_request"})));
        }
        let form = form_urlencoded::parse(&request.body).into_owned().collect();
        let mut body = self.crm.grant(&form, request.url.authority())?;
        let token = format!("fake-access-{}", self.granted.len() + 1);
        body["access_token"] = json!(token);
        self.granted.push(token.clone());
        self.tokens.insert(token);
        Ok(response(200, body))
    }

    /// The state as JSON, after the fields that are given have been replaced.
    fn changed(&mut self, fields: &[u8]) -> Result<Value, serde_json::Error> {
        let mut state = serde_json::to_value(&*self)?;
        if !fields.is_empty() {
            let fields: BTreeMap<String, Value> = serde_json::from_slice(fields)?;
            for (name, value) in fields {
                state[name] = value;
            }
            *self = serde_json::from_value(state.clone())?;
        }
        Ok(state)
    }
}

/// Serves a CRM on loopback until the process ends. Returns its URL. `GET /stand-in` shows the state; `PUT`
/// replaces the fields of it that the body has.
pub async fn start<C: Crm>(crm: Guarded<C>) -> Result<String, Failure> {
    let crm = Arc::new(Mutex::new(crm));
    let handle = move |request: hyper::Request<Bytes>| {
        let response = match request.uri().path() {
            "/stand-in" => Some(match lock(&crm).changed(request.body()) {
                Ok(state) => response(200, state),
                Err(error) => response(400, json!(error.to_string())),
            }),
            _ => match of(request) {
                Ok(request) => lock(&crm).respond(&request),
                Err(error) => Some(response(400, json!(error.to_string()))),
            },
        };
        std::future::ready(response.map(reply))
    };
    Ok(format!("http://127.0.0.1:{}", serve(None, Arc::default(), handle).await?))
}

fn of(request: hyper::Request<Bytes>) -> Result<Request, url::ParseError> {
    let (head, body) = request.into_parts();
    let host = head.headers.get("host").and_then(|host| host.to_str().ok()).unwrap_or_default();
    Ok(Request {
        url: format!("http://{host}{}", head.uri).parse()?,
        method: head.method,
        headers: head.headers,
        body: body.to_vec(),
        limits: Limits::default(),
    })
}

fn reply(response: Response) -> Reply {
    let mut reply = Reply::new(Full::from(response.body));
    *reply.status_mut() = StatusCode::from_u16(response.status).unwrap_or_default();
    *reply.headers_mut() = response.headers;
    let json = HeaderValue::from_static("application/json");
    reply.headers_mut().entry(HeaderName::from_static("content-type")).or_insert(json);
    reply
}
