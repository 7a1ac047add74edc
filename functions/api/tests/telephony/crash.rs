//! What goes wrong at an effect: a write or a request that fails, whose answer is lost, or after
//! which the process is gone. Futures are polled by hand, so that nothing is left to chance.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use async_trait::async_trait;
use http::HeaderMap;
use serde_json::json;
use switchboard_api::telephony::Telephony;
use switchboard_api::{Area as _, Problem};
use switchboard_flow::dial::Dial;
use switchboard_http::{Http, Request, Response, SendError};
use switchboard_providers::rest::Logins;
use switchboard_shell::gateway::HttpRequest;
use switchboard_store::testing::{Effects, Fault, Which};
use switchboard_store::{Directory, Store};

use crate::world::{Settings, at, dialler, order, outcome, values};

pub const FAULTS: [Fault; 5] =
    [Fault::Refused, Fault::AnswerLost, Fault::CrashBefore, Fault::Crash, Fault::Rejected];

#[derive(Default)]
struct State {
    logins: usize,
    dialled: usize,
}

/// The effects so far, those that go wrong, by their number from 0, and what the provider did.
#[derive(Clone)]
pub struct Stage {
    effects: Effects,
    state: Arc<Mutex<State>>,
}

impl Stage {
    fn new() -> Self {
        Self { effects: Effects::with_reads(), state: Arc::default() }
    }

    pub fn will(&self, faults: BTreeMap<usize, Fault>) {
        self.effects.arm_all(faults.into_iter().map(|(n, fault)| (Which::Nth(n + 1), fault)));
    }

    pub fn dialled(&self) -> usize {
        self.state.lock().unwrap().dialled
    }

    pub fn effects(&self) -> Vec<&'static str> {
        self.effects.log()
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
        let does = async {
            let mut state = self.0.state.lock().unwrap();
            if is_login {
                state.logins += 1;
                return answer(200, json!({"access_token": format!("fake-{}", state.logins)}));
            }
            state.dialled += 1;
            answer(200, json!({"success": true, "ref_id": format!("R{}", state.dialled)}))
        };
        let failed = |fault| match fault {
            Fault::Rejected => answer(401, json!({})),
            Fault::AnswerLost => Err(SendError::TimedOut),
            _ => Err(SendError::NotConnected),
        };
        self.0.effects.act(what, does, failed).await
    }
}

type Asking<'a> =
    Pin<Box<dyn Future<Output = Result<switchboard_api::Response, Problem>> + Send + 'a>>;

/// The area over a stage on which anything can go wrong.
pub struct Theatre {
    pub stage: Stage,
    area: Telephony<Settings>,
    requests: Mutex<usize>,
}

impl Theatre {
    pub fn new() -> Self {
        let stage = Stage::new();
        let area = Telephony(Dial {
            store: Store::in_memory().watched(&stage.effects),
            directory: Directory::in_memory(),
            sources: Settings::of(&values("http://127.0.0.1:1")),
            http: Arc::new(FaultyHttp(stage.clone())),
            logins: Logins::default(),
        });
        Self { stage, area, requests: Mutex::default() }
    }

    /// A dial request of the one key, at a second.
    pub fn dial_request(&self, second: i64) -> Asking<'_> {
        let id = {
            let mut requests = self.requests.lock().unwrap();
            *requests += 1;
            format!("request-{requests}")
        };
        let http = HttpRequest {
            headers: [("idempotency-key".to_owned(), "1".to_owned())].into(),
            body: Some(order("smartflo/login").to_string().into_bytes()),
            ..HttpRequest::new("POST", "/telephony/calls")
        };
        let request = switchboard_api::Request::new(http, &id, at(second)).unwrap();
        Box::pin(async move { self.area.respond(&request, &dialler()).await })
    }

    /// Polls dial requests in turns until each has its answer, or is gone (`None`).
    pub fn run(
        &self,
        dial_requests: Vec<Asking<'_>>,
        mut turns: impl Iterator<Item = usize>,
    ) -> Vec<Option<Result<switchboard_api::Response, Problem>>> {
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
                Poll::Pending if self.stage.effects.took_crash() => drop(open.remove(chosen)),
                Poll::Pending => {}
            }
        }
        answers
    }

    pub fn one(&self, second: i64) -> Option<Result<switchboard_api::Response, Problem>> {
        self.run(vec![self.dial_request(second)], std::iter::empty()).remove(0)
    }
}

#[test]
fn an_ordinary_press_has_these_effects() {
    let theatre = Theatre::new();
    assert_eq!(outcome(&theatre.one(0).unwrap()), (201, "done"));
    let expected = [
        "dial request",
        "put dial request",
        "count",
        "count",
        "login",
        "put dial request",
        "order",
        "put dial request",
    ];
    assert_eq!(theatre.stage.effects(), expected);
}

/// Whatever goes wrong at whichever effect: no number is dialled twice, and one that was not dialled can
/// be dialled still, with the same key, unless the provider was being asked.
#[test]
fn whatever_goes_wrong_at_any_effect_no_number_is_dialled_twice() {
    let mut ends = BTreeMap::new();
    for number in 0..8 {
        for fault in FAULTS {
            let theatre = Theatre::new();
            theatre.stage.will(BTreeMap::from([(number, fault)]));
            let first = theatre.one(0);
            let what = theatre.stage.effects()[number];
            let is_over = |answer: &Option<Result<switchboard_api::Response, Problem>>| {
                let (status, kind) = outcome(answer.as_ref().unwrap());
                status == 201 || ["unknown-result", "provider-unavailable"].contains(&kind)
            };
            // The same key again, at once, and when every lease is over.
            theatre.one(1);
            theatre.one(29);
            let late = theatre.one(31);
            let latest = theatre.one(90);
            let context = format!("{number} {what} {fault:?}: {first:?} {late:?}");
            assert!(is_over(&late), "{context}");
            assert_eq!(late, latest, "{context}");
            let dialled = theatre.stage.dialled();
            assert!(dialled <= 1, "{context}");
            let (status, kind) = outcome(late.as_ref().unwrap());
            if status == 201 {
                assert_eq!(dialled, 1, "{context}");
            }
            // Only where the provider was being asked, or was about to be, may it end otherwise.
            if number < 5 {
                assert_eq!((status, dialled), (201, 1), "{context}");
            }
            if let Some(Ok(first)) = &first
                && number < 7
            {
                assert_eq!(first, late.as_ref().unwrap().as_ref().unwrap(), "{context}");
            }
            *ends.entry(format!("{what} {kind}")).or_insert(0) += 1;
        }
    }
    // All ends were seen, so that this test looks at what it says.
    for end in [
        "order done",
        "order unknown-result",
        "order provider-unavailable",
        "put dial request done",
        "put dial request unknown-result",
        "login done",
        "dial request done",
        "count done",
    ] {
        assert!(ends.contains_key(end), "{end} in {ends:?}");
    }
}

/// The process is gone after the provider took the order: the key is answered as unknown for ever.
#[test]
fn a_crash_after_the_provider_took_it_is_answered_as_unknown() {
    let theatre = Theatre::new();
    theatre.stage.will(BTreeMap::from([(6, Fault::Crash)]));
    assert!(theatre.one(0).is_none());
    assert_eq!(theatre.stage.dialled(), 1);
    for (second, kind) in [
        (1, "in-progress"),
        (29, "in-progress"),
        (30, "unknown-result"),
        (80_000, "unknown-result"),
    ] {
        assert_eq!(outcome(&theatre.one(second).unwrap()), (409, kind), "{second}");
    }
    assert_eq!(theatre.stage.dialled(), 1);
}

/// The process is gone between the reservation and the dialling: no number was dialled, and the same
/// key dials when the lease is over.
#[test]
fn a_crash_before_dialling_leaves_the_key_free() {
    for number in [2, 3, 4] {
        let theatre = Theatre::new();
        theatre.stage.will(BTreeMap::from([(number, Fault::CrashBefore)]));
        assert!(theatre.one(0).is_none());
        assert_eq!(outcome(&theatre.one(29).unwrap()), (409, "in-progress"));
        assert_eq!(theatre.stage.dialled(), 0);
        assert_eq!(outcome(&theatre.one(30).unwrap()), (201, "done"));
        assert_eq!(theatre.stage.dialled(), 1);
    }
}
