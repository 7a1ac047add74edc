//! What goes wrong at an effect: a write or a request that fails, whose answer is lost, or after
//! which the process is gone. Futures are polled by hand, so that nothing is left to chance.

use std::collections::BTreeMap;
use std::future::{Future, pending, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use async_trait::async_trait;
use http::HeaderMap;
use serde_json::json;
use switchboard_api::telephony::Telephony;
use switchboard_api::{Answer, Area as _, Asked, Problem};
use switchboard_domain::Digest;
use switchboard_domain::dial_request::DialRequest;
use switchboard_flow::Telemetry;
use switchboard_http::{Http, Request, Response, SendError};
use switchboard_providers::rest::Logins;
use switchboard_shell::gateway::Parts;
use switchboard_store::dial_requests::{
    DialRequests, MemoryDialRequests, PutDialRequest, RateCounter,
};
use switchboard_store::{MemoryStore, StoreError};

use crate::world::{People, Settings, at, dialler, order, told, values};

/// What happens to an effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It does not take place, and we are told so.
    Fails,
    /// It takes place, and the answer to it is lost.
    AnswerLost,
    /// The process is gone before it takes place.
    GoneBefore,
    /// It takes place, and then the process is gone.
    GoneAfter,
    /// Of a request: the provider does not know us.
    NotKnown,
}

pub const FAULTS: [Fault; 5] =
    [Fault::Fails, Fault::AnswerLost, Fault::GoneBefore, Fault::GoneAfter, Fault::NotKnown];

#[derive(Default)]
struct State {
    effects: Vec<&'static str>,
    faults: BTreeMap<usize, Fault>,
    gone: bool,
    logins: usize,
    dialled: usize,
}

/// The effects so far, and those that go wrong, by their number from 0.
#[derive(Clone, Default)]
pub struct Stage(Arc<Mutex<State>>);

impl Stage {
    pub fn will(&self, faults: BTreeMap<usize, Fault>) {
        self.0.lock().unwrap().faults = faults;
    }

    pub fn dialled(&self) -> usize {
        self.0.lock().unwrap().dialled
    }

    pub fn effects(&self) -> Vec<&'static str> {
        self.0.lock().unwrap().effects.clone()
    }

    fn took_gone(&self) -> bool {
        std::mem::take(&mut self.0.lock().unwrap().gone)
    }

    /// Does an effect, or what is to happen to it; others get their turn before and after.
    async fn act<T>(
        &self,
        what: &'static str,
        does: impl AsyncFnOnce() -> T,
        failed: impl Fn(Fault) -> T,
    ) -> T {
        turn().await;
        let fault = {
            let mut state = self.0.lock().unwrap();
            state.effects.push(what);
            let number = state.effects.len() - 1;
            state.faults.get(&number).copied()
        };
        let result = match fault {
            None => does().await,
            Some(fault @ (Fault::Fails | Fault::NotKnown)) => failed(fault),
            Some(Fault::AnswerLost) => {
                does().await;
                failed(Fault::AnswerLost)
            }
            Some(Fault::GoneBefore) => self.gone().await,
            Some(Fault::GoneAfter) => {
                does().await;
                self.gone().await
            }
        };
        turn().await;
        result
    }

    async fn gone<T>(&self) -> T {
        self.0.lock().unwrap().gone = true;
        pending().await
    }
}

/// Lets others have their turn, once.
async fn turn() {
    let mut had = false;
    poll_fn(|_| if std::mem::replace(&mut had, true) { Poll::Ready(()) } else { Poll::Pending })
        .await;
}

#[derive(Clone)]
pub struct FaultyDialRequests(MemoryDialRequests, Stage);

fn unavailable<T>(_: Fault) -> Result<T, StoreError> {
    Err(StoreError::Unavailable { operation: "test", code: "test".into() })
}

impl DialRequests for FaultyDialRequests {
    async fn dial_request(&self, id: &Digest) -> Result<Option<DialRequest>, StoreError> {
        self.1.act("read", async || self.0.dial_request(id).await, unavailable).await
    }

    async fn put_dial_request(
        &self,
        dial_request: &DialRequest,
    ) -> Result<PutDialRequest, StoreError> {
        self.1.act("put", async || self.0.put_dial_request(dial_request).await, unavailable).await
    }

    async fn count(&self, tally: &RateCounter, most: u32) -> Result<bool, StoreError> {
        self.1.act("count", async || self.0.count(tally, most).await, unavailable).await
    }
}

/// A Smartflo that dials every number.
#[derive(Clone)]
pub struct FaultyHttp(Stage);

#[async_trait]
impl Http for FaultyHttp {
    async fn send(&self, request: Request) -> Result<Response, SendError> {
        let is_login = request.url.path().ends_with("/login");
        let what = if is_login { "login" } else { "order" };
        let answer = |status: u16, body: serde_json::Value| {
            let body = body.to_string().into_bytes();
            Ok(Response { status, headers: HeaderMap::new(), body })
        };
        let does = async || {
            let mut state = self.0.0.lock().unwrap();
            if is_login {
                state.logins += 1;
                return answer(200, json!({"access_token": format!("fake-{}", state.logins)}));
            }
            state.dialled += 1;
            answer(200, json!({"success": true, "ref_id": format!("R{}", state.dialled)}))
        };
        let failed = |fault| match fault {
            Fault::NotKnown => answer(401, json!({})),
            Fault::AnswerLost => Err(SendError::TimedOut),
            _ => Err(SendError::NotConnected),
        };
        self.0.act(what, does, failed).await
    }
}

type Asking<'a> = Pin<Box<dyn Future<Output = Result<Answer, Problem>> + Send + 'a>>;

/// The area over a stage on which anything can go wrong.
pub struct Theatre {
    pub stage: Stage,
    area: Telephony<FaultyDialRequests, MemoryStore, People, Settings>,
    requests: Mutex<usize>,
}

impl Theatre {
    pub fn new() -> Self {
        let stage = Stage::default();
        let area = Telephony {
            dial_requests: FaultyDialRequests(MemoryDialRequests::default(), stage.clone()),
            calls: MemoryStore::default(),
            staff: People::default(),
            sources: Settings::of(&values("http://127.0.0.1:1")),
            http: Arc::new(FaultyHttp(stage.clone())),
            logins: Logins::default(),
            telemetry: Telemetry::memory("telephony"),
        };
        Self { stage, area, requests: Mutex::default() }
    }

    /// A dial request of the one key, at a second.
    pub fn dial_request(&self, second: i64) -> Asking<'_> {
        let id = {
            let mut requests = self.requests.lock().unwrap();
            *requests += 1;
            format!("request-{requests}")
        };
        let parts = Parts {
            method: "POST",
            path: "/telephony/calls",
            query: "",
            headers: vec![("idempotency-key", "1")],
            body: order("smartflo/login").to_string().into_bytes(),
            sender: None,
        };
        let asked = Asked::new(parts, &id, at(second)).unwrap();
        Box::pin(async move { self.area.answer(&asked, &dialler()).await })
    }

    /// Polls dial requests in turns until each has its answer, or is gone (`None`).
    pub fn run(
        &self,
        dial_requests: Vec<Asking<'_>>,
        mut turns: impl Iterator<Item = usize>,
    ) -> Vec<Option<Result<Answer, Problem>>> {
        let mut answers: Vec<_> = dial_requests.iter().map(|_| None).collect();
        let mut open: Vec<(usize, Asking<'_>)> = dial_requests.into_iter().enumerate().collect();
        while !open.is_empty() {
            let chosen = turns.next().unwrap_or(0) % open.len();
            let mut context = Context::from_waker(Waker::noop());
            let polled = open[chosen].1.as_mut().poll(&mut context);
            match polled {
                Poll::Ready(answer) => {
                    let (number, _) = open.remove(chosen);
                    answers[number] = Some(answer);
                }
                Poll::Pending if self.stage.took_gone() => drop(open.remove(chosen)),
                Poll::Pending => {}
            }
        }
        answers
    }

    pub fn one(&self, second: i64) -> Option<Result<Answer, Problem>> {
        self.run(vec![self.dial_request(second)], std::iter::empty()).remove(0)
    }
}

#[test]
fn an_ordinary_press_has_these_effects() {
    let theatre = Theatre::new();
    assert_eq!(told(&theatre.one(0).unwrap()), (201, "done"));
    let expected = ["read", "put", "count", "count", "login", "put", "order", "put"];
    assert_eq!(theatre.stage.effects(), expected);
}

/// Whatever goes wrong at whichever effect: nobody is dialled twice, and who was not dialled can
/// be dialled still, with the same key, unless the provider was being asked.
#[test]
fn whatever_goes_wrong_at_any_effect_nobody_is_dialled_twice() {
    let mut ends = BTreeMap::new();
    for number in 0..8 {
        for fault in FAULTS {
            let theatre = Theatre::new();
            theatre.stage.will(BTreeMap::from([(number, fault)]));
            let first = theatre.one(0);
            let what = theatre.stage.effects()[number];
            let is_over = |answer: &Option<Result<Answer, Problem>>| {
                let (status, kind) = told(answer.as_ref().unwrap());
                status == 201 || ["unknown-result", "provider-unavailable"].contains(&kind)
            };
            // The same key again, by somebody impatient, and when every lease is over.
            theatre.one(1);
            theatre.one(29);
            let late = theatre.one(31);
            let latest = theatre.one(90);
            let told_all = format!("{number} {what} {fault:?}: {first:?} {late:?}");
            assert!(is_over(&late), "{told_all}");
            assert_eq!(late, latest, "{told_all}");
            let dialled = theatre.stage.dialled();
            assert!(dialled <= 1, "{told_all}");
            let (status, kind) = told(late.as_ref().unwrap());
            if status == 201 {
                assert_eq!(dialled, 1, "{told_all}");
            }
            // Only where the provider was being asked, or was about to be, may it end otherwise.
            if number < 5 {
                assert_eq!((status, dialled), (201, 1), "{told_all}");
            }
            if let Some(Ok(first)) = &first
                && number < 7
            {
                assert_eq!(first, late.as_ref().unwrap().as_ref().unwrap(), "{told_all}");
            }
            *ends.entry(format!("{what} {kind}")).or_insert(0) += 1;
        }
    }
    // All ends were seen, so that this test looks at what it says.
    for end in [
        "order done",
        "order unknown-result",
        "order provider-unavailable",
        "put done",
        "put unknown-result",
        "login done",
        "read done",
        "count done",
    ] {
        assert!(ends.contains_key(end), "{end} in {ends:?}");
    }
}

/// The process is gone after the provider took the order: the key is answered as unknown for ever.
#[test]
fn a_crash_after_the_provider_took_it_is_told_as_unknown() {
    let theatre = Theatre::new();
    theatre.stage.will(BTreeMap::from([(6, Fault::GoneAfter)]));
    assert!(theatre.one(0).is_none());
    assert_eq!(theatre.stage.dialled(), 1);
    for (second, kind) in [
        (1, "in-progress"),
        (29, "in-progress"),
        (30, "unknown-result"),
        (80_000, "unknown-result"),
    ] {
        assert_eq!(told(&theatre.one(second).unwrap()), (409, kind), "{second}");
    }
    assert_eq!(theatre.stage.dialled(), 1);
}

/// The process is gone between the reservation and the dialling: nobody was dialled, and the same
/// key dials when the lease is over.
#[test]
fn a_crash_before_dialling_leaves_the_key_free() {
    for number in [2, 3, 4] {
        let theatre = Theatre::new();
        theatre.stage.will(BTreeMap::from([(number, Fault::GoneBefore)]));
        assert!(theatre.one(0).is_none());
        assert_eq!(told(&theatre.one(29).unwrap()), (409, "in-progress"));
        assert_eq!(theatre.stage.dialled(), 0);
        assert_eq!(told(&theatre.one(30).unwrap()), (201, "done"));
        assert_eq!(theatre.stage.dialled(), 1);
    }
}
