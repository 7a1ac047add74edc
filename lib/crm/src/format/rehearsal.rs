//! Attempts against stand-ins of CRMs, without a network: what they come to, and what is left where one
//! is cut short.

use http::Method;
use jiff::Timestamp;
use serde_json::Value;
use switchboard_domain::delivery::Remote;

use crate::Destination;
use crate::exchange::{self, Answer, Ask, MOST_REQUESTS, Over, Step, Told};

/// A CRM that keeps its own rules.
pub trait StandIn {
    /// Its answer to a request.
    fn take(&mut self, request: &Request) -> Answer;
}

/// A request as a CRM sees it.
pub struct Request {
    pub method: Method,
    pub path: Vec<String>,
    pub query: Vec<(String, String)>,
    /// Null where there is none. `Err`: it is no JSON.
    pub body: Result<Value, ()>,
}

impl Request {
    fn of(ask: &Ask) -> Self {
        let segments = ask.url.path_segments().unwrap();
        Self {
            method: ask.method.clone(),
            path: segments.map(str::to_owned).collect(),
            query: ask.url.query_pairs().into_owned().collect(),
            body: match ask.body.is_empty() {
                true => Ok(Value::Null),
                false if ask.content_type != "application/json" => Err(()),
                false => serde_json::from_slice(&ask.body).map_err(drop),
            },
        }
    }

    /// Its method and path.
    pub fn route(&self) -> (&str, Vec<&str>) {
        (self.method.as_str(), self.path.iter().map(String::as_str).collect())
    }

    /// A parameter of its query.
    pub fn asked(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

pub fn now() -> Timestamp {
    "2026-02-20T09:03:00Z".parse().unwrap()
}

/// How an attempt ended.
pub enum Ended {
    /// By itself.
    Over(Over),
    /// The answer to its n-th request never came. What the exchange knew by then is all that may be known.
    Lost(Remote),
}

/// Makes one attempt. The answer to request `lost`, from 0, does not come, though the CRM has done what
/// it was asked.
pub fn attempt(
    destination: &Destination,
    body: &[u8],
    remote: &Remote,
    crm: &mut impl StandIn,
    lost: Option<usize>,
) -> Ended {
    let told = Told { body, idempotency_key: "key-1", remote };
    let mut exchange = exchange::begin(destination, &told);
    let mut answered = None;
    for n in 0..=MOST_REQUESTS {
        let ask = match exchange.next(answered.as_ref(), now()) {
            Step::Ask(ask) => ask,
            Step::Over(over) => return Ended::Over(over),
        };
        assert!(n < MOST_REQUESTS, "it asks for ever");
        let got = crm.take(&Request::of(&ask));
        if lost == Some(n) {
            return Ended::Lost(exchange.learned());
        }
        answered = Some(got);
    }
    unreachable!()
}

/// An attempt that ends by itself.
pub fn whole(
    destination: &Destination,
    body: &[u8],
    remote: &Remote,
    crm: &mut impl StandIn,
) -> Over {
    match attempt(destination, body, remote, crm, None) {
        Ended::Over(over) => over,
        Ended::Lost(_) => unreachable!(),
    }
}

/// Cuts an attempt short after each of its requests in turn, makes it again until it ends, and shows each
/// CRM that is left. `knows` says whether what the first attempt had learned was written down: as after
/// an answer that did not come, and not after a crash.
pub fn cut_short<C: StandIn>(
    destination: &Destination,
    body: &[u8],
    knows: bool,
    new: impl Fn() -> C,
    mut show: impl FnMut(usize, &Over, &C),
) -> usize {
    for n in 0.. {
        let mut crm = new();
        let remote = match attempt(destination, body, &Remote::default(), &mut crm, Some(n)) {
            Ended::Lost(learned) if knows => learned,
            Ended::Lost(_) => Remote::default(),
            Ended::Over(_) => return n,
        };
        let over = whole(destination, body, &remote, &mut crm);
        show(n, &over, &crm);
    }
    unreachable!()
}
