//! The process is gone right after the CRM has taken a call: how many entries the CRM has then, by
//! what it can recognise.

use std::sync::Arc;

use http::Method;
use jiff::Timestamp;
use serde_json::json;
use switchboard_crm::client::NoTokens;
use switchboard_crm::exchange::{Answer, Ask, Exchange, Over, Step};
use switchboard_crm::{Client, Destination, Headers, verdict};
use switchboard_domain::{Delivery, DeliveryState, Remote};
use switchboard_flow::deliver::Deliver;
use switchboard_flow::deliverer::Tell;
use switchboard_flow::gates::Gates;
use switchboard_queue::Job;
use url::Url;

use crate::effects::{Fault, Which};
use crate::samples::sample;
use crate::servers::{Filing, Kind};
use crate::world::{World, minutes};

/// Telling a CRM of one kind: what a format of that kind asks.
struct Telling {
    kind: Kind,
    url: Url,
    id: String,
    asked: usize,
}

impl Exchange for Telling {
    fn next(&mut self, answer: Option<&Answer>, now: Timestamp) -> Step {
        let ask = |method, path: &str| {
            let url = self.url.join(path).unwrap();
            Step::Ask(Ask::bytes(method, url, b"{}".to_vec()))
        };
        let step = match (self.kind, self.asked, answer) {
            (Kind::Upsert, 0, _) => ask(Method::PUT, &format!("/calls/{}", self.id)),
            (Kind::Search, 0, _) => ask(Method::GET, &format!("/calls?id={}", self.id)),
            (Kind::Search, 1, Some(found)) if found.body == b"[]" => ask(Method::POST, "/calls"),
            (Kind::Key | Kind::None, 0, _) => ask(Method::POST, "/calls"),
            (_, _, answer) => {
                let status = answer.unwrap().status;
                let (verdict, result) = verdict::judge(status, None, now);
                Step::Over(Over {
                    verdict,
                    status: Some(status),
                    result,
                    remote: Remote::default(),
                })
            }
        };
        self.asked += 1;
        step
    }
}

/// The client, with exchanges of a kind instead of the destination's format.
#[derive(Clone)]
struct Of(Kind, Client);

impl Tell for Of {
    async fn tell(
        &self,
        claimed: &Delivery,
        destination: &Destination,
        _: &[u8],
        clock: &(impl Fn() -> Timestamp + Sync),
    ) -> Over {
        let (correlation_id, key) = (claimed.key.correlation_id(), claimed.idempotency_key());
        let headers = Headers { idempotency_key: &key, correlation_id: correlation_id.as_str() };
        let url = destination.url.clone();
        let mut telling = Telling { kind: self.0, url, id: key.clone(), asked: 0 };
        self.1.tell(destination, &NoTokens, headers, &mut telling, clock).await
    }
}

/// One call, told with a fault at the k-th effect of the worker: how many entries there are in the
/// end. `None`: there are fewer effects than that.
async fn entries(kind: Kind, k: usize, fault: Fault) -> Option<(usize, &'static str)> {
    let mut world = World::new();
    let crm = Filing::start(kind, &world.clock, &world.effects).await;
    world.destination("crm", &crm.url(), "canonical", json!({"timeout_seconds": 1}));
    world.take(&sample("intake", "minimal")[0]).await;
    let enrich = world.take_jobs().remove(0);
    world.work(&enrich).await.unwrap();
    let Job::Deliver { call, delivery } = world.take_jobs().remove(0) else { panic!() };
    let deliverer = Of(kind, Client::new(true).unwrap());
    let configuration = world.configuration().clone();
    let before = world.effects.log().len();
    world.effects.arm(Which::Nth(before + k), fault);
    // As often as the sweep would send it, until it is done.
    for _ in 0..10 {
        let (store, queue) = world.watched();
        let gates = Gates::default();
        let telemetry = world.telemetry.clone();
        let worker =
            Arc::new(Deliver { store, queue, deliverer: deliverer.clone(), gates, telemetry });
        let clock = world.clock.clone();
        tokio::select! {
            biased;
            () = world.effects.crashed() => {}
            _ = worker.run(&call, &delivery, &configuration, || clock.now()) => {}
        }
        world.clock.pass(minutes(1));
    }
    let hit = world.effects.hit()?;
    assert_eq!(world.deliveries().await[0].state, DeliveryState::Delivered, "{kind:?}, {hit} {k}");
    Some((crm.entries(), hit))
}

#[tokio::test]
async fn a_crash_after_the_crms_2xx_leaves_as_many_entries_as_declared() {
    for kind in [Kind::Key, Kind::Upsert, Kind::Search, Kind::None] {
        for fault in [Fault::Crash, Fault::AnswerLost, Fault::Refused] {
            let (mut k, mut after_the_2xx) = (1, 0);
            while let Some((entries, hit)) = entries(kind, k, fault).await {
                let is_hidden = match fault {
                    // It was taken, and nobody knows.
                    Fault::Crash => hit == "crm",
                    Fault::AnswerLost => hit == "crm",
                    // The request was not taken.
                    Fault::Refused | Fault::Rejected | Fault::CrashBefore => false,
                } || (hit == "put delivery" && k > 2 && fault == Fault::Refused);
                let expected = if kind == Kind::None && is_hidden { 2 } else { 1 };
                assert_eq!(entries, expected, "{kind:?}: {fault:?} at {hit} ({k})");
                after_the_2xx += usize::from(is_hidden);
                k += 1;
            }
            assert!(k > 3 && after_the_2xx == 1, "{kind:?} {fault:?}: {k} {after_the_2xx}");
        }
    }
}
