//! Attempts against stand-ins of CRMs, without a network: what they come to, and what is left where one is
//! cut short.

use std::collections::VecDeque;
use std::sync::Mutex;

use async_trait::async_trait;
use futures_util::FutureExt as _;
use serde_json::{Value, json};
use switchboard_domain::delivery::{Remote, Verdict};
use switchboard_domain::{CallRecord, Secret};
use switchboard_http::{Http, Request, Response, SendError};
use switchboard_testkit::stand_in::{StandIn, response};

use super::{NOW, at, marked, rendered};
use crate::destination::{Destination, Payload};
use crate::oauth::{NoToken, OAuth, Tokens};
use crate::outcome::Outcome;

/// Responses that were made beforehand, and then 500 for ever.
#[derive(Default)]
pub struct Scripted(VecDeque<Response>);

impl Scripted {
    pub fn of(responses: impl IntoIterator<Item = Response>) -> Self {
        Self(responses.into_iter().collect())
    }
}

impl StandIn for Scripted {
    fn respond(&mut self, _: &Request) -> Response {
        self.0.pop_front().unwrap_or_else(|| response(500, json!({})))
    }
}

/// Where an attempt is cut short.
#[derive(Clone, Copy)]
enum Cut {
    Never,
    /// The response to the n-th request, from 0, does not come, though the CRM has done what it was asked.
    Response(usize),
    /// The n-th request is not sent.
    Request(usize),
}

/// The port, with a stand-in behind it.
struct Double<'a> {
    state: Mutex<(&'a mut dyn StandIn, Vec<Request>)>,
    cut: Cut,
}

#[async_trait]
impl Http for Double<'_> {
    async fn send(&self, request: Request) -> Result<Response, SendError> {
        let mut state = self.state.lock().unwrap();
        let n = state.1.len();
        if matches!(self.cut, Cut::Request(cut) if cut <= n) {
            return Err(SendError::NotConnected);
        }
        let response = state.0.respond(&request);
        state.1.push(request);
        match self.cut {
            Cut::Response(cut) if cut == n => Err(SendError::TimedOut),
            _ => Ok(response),
        }
    }
}

/// The same access token for ever.
struct OneToken;

#[async_trait]
impl Tokens for OneToken {
    async fn access(&self, _: &OAuth, _: Option<&Secret>) -> Result<Secret, NoToken> {
        Ok(Secret::new("fake-access-token"))
    }
}

/// An attempt, as it went.
pub struct Attempt {
    pub requests: Vec<Request>,
    pub outcome: Outcome,
    pub remote: Remote,
}

impl std::ops::Deref for Attempt {
    type Target = Outcome;
    fn deref(&self) -> &Outcome {
        &self.outcome
    }
}

impl Attempt {
    /// Methods and paths, without the host.
    pub fn lines(&self) -> Vec<String> {
        let line = |request: &Request| {
            let query = request.url.query().map(|query| format!("?{query}")).unwrap_or_default();
            format!("{} {}{query}", request.method, request.url.path())
        };
        self.requests.iter().map(line).collect()
    }

    pub fn result(&self) -> &str {
        &self.outcome.result
    }

    pub fn body(&self, n: usize) -> Value {
        serde_json::from_slice(&self.requests[n].body).unwrap()
    }

    /// Every request with its body.
    pub fn shown(&self) -> String {
        let body = |n: usize| match self.requests[n].body.is_empty() {
            true => String::new(),
            false => serde_json::to_string_pretty(&self.body(n)).unwrap(),
        };
        let lines = self.lines().into_iter().enumerate();
        lines.map(|(n, line)| format!("{line}\n{}\n\n", body(n))).collect()
    }
}

/// Makes an attempt.
pub fn deliver(
    destination: &Destination,
    payload: &[u8],
    remote: &Remote,
    crm: &mut dyn StandIn,
) -> Attempt {
    attempt(destination, payload, remote, crm, Cut::Never)
}

/// Renders a call and makes an attempt at a CRM that is known to have nothing of it.
pub fn deliver_first(
    crm: &mut dyn StandIn,
    destination: &Destination,
    call: &CallRecord,
) -> Attempt {
    deliver_again(crm, destination, call, &Remote::default())
}

/// The same where the CRM's ids are known.
pub fn deliver_again(
    crm: &mut dyn StandIn,
    destination: &Destination,
    call: &CallRecord,
    remote: &Remote,
) -> Attempt {
    deliver(destination, &rendered(destination, call), remote, crm)
}

/// An attempt to deliver the marked call that gets these responses.
pub fn scripted(
    destination: &Destination,
    responses: impl IntoIterator<Item = Response>,
) -> Attempt {
    deliver_first(&mut Scripted::of(responses), destination, &marked())
}

fn attempt(
    destination: &Destination,
    body: &[u8],
    remote: &Remote,
    crm: &mut dyn StandIn,
    cut: Cut,
) -> Attempt {
    let double = Double { state: Mutex::new((crm, Vec::new())), cut };
    let payload = Payload { body, idempotency_key: "msg_1", correlation_id: "correlation-1" };
    let mut remote = remote.clone();
    let clock = || at(NOW);
    let delivered = destination.deliver(&double, &OneToken, &payload, &mut remote, &clock);
    let outcome = delivered.now_or_never().unwrap();
    let (_, requests) = double.state.into_inner().unwrap();
    Attempt { requests, outcome, remote }
}

/// How an attempt is cut short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// The process is gone after the CRM has done what it was asked: nothing that was learned is stored.
    Crash,
    /// The response is lost. What was learned until then is stored.
    LostResponse,
    /// The next request is not sent. What was learned until then is stored.
    Stopped,
}

/// The law of crashes: cuts an attempt short at each of its requests in turn, makes it again until it is
/// delivered, and shows what each CRM is left with (its entries of the call).
pub fn cut_short<C: StandIn>(
    destination: &Destination,
    payload: &[u8],
    how: How,
    new: impl Fn() -> C,
    mut entries: impl FnMut(&C) -> usize,
) -> Vec<usize> {
    let whole = deliver(destination, payload, &Remote::default(), &mut new()).requests.len();
    let after = |n| {
        let mut crm = new();
        let cut = if how == How::Stopped { Cut::Request(n + 1) } else { Cut::Response(n) };
        let first = attempt(destination, payload, &Remote::default(), &mut crm, cut);
        assert_eq!(first.requests.len(), n + 1);
        let known = if how == How::Crash { Remote::default() } else { first.remote };
        let again = deliver(destination, payload, &known, &mut crm);
        assert_eq!(again.outcome.verdict, Verdict::Delivered, "{how:?} {n}: {}", again.result());
        entries(&crm)
    };
    (0..whole).map(after).collect()
}
