//! The process is gone right after the CRM has taken a call: how many entries the CRM has then, by
//! what it can recognise.

use std::sync::Arc;

use async_trait::async_trait;
use http::Method;
use serde_json::json;
use switchboard_crm::{Clock, Format, Outcome, RenderContext};
use switchboard_domain::{DeliveryState, Remote};
use switchboard_http::{Http, Request};
use switchboard_queue::Job;
use url::Url;

use crate::effects::{Fault, Which};
use crate::samples::sample;
use crate::servers::{Filing, Kind};
use crate::world::{World, minutes};

/// The format of a CRM of one kind: what it requests to deliver a call under an id.
struct Of {
    kind: Kind,
    url: Url,
    id: String,
}

#[async_trait]
impl Format for Of {
    fn render(&self, _: &RenderContext<'_>) -> Vec<u8> {
        b"{}".to_vec()
    }

    async fn deliver(
        &self,
        http: &dyn Http,
        _: &[u8],
        _: &mut Remote,
        clock: Clock<'_>,
    ) -> Result<Outcome, Outcome> {
        let send = |method, path: &str| {
            http.send(Request::json(method, self.url.join(path).unwrap(), &json!({})))
        };
        let response = match self.kind {
            Kind::Upsert => send(Method::PUT, &format!("/calls/{}", self.id)).await?,
            Kind::Search => {
                let found = send(Method::GET, &format!("/calls?id={}", self.id)).await?;
                match found.body == b"[]" {
                    true => send(Method::POST, "/calls").await?,
                    false => found,
                }
            }
            Kind::Key | Kind::None => send(Method::POST, "/calls").await?,
        };
        Ok(Outcome::of(&response, clock()))
    }
}

/// One call, delivered with a fault at the k-th effect of the worker: how many entries there are in the
/// end. `None`: there are fewer effects than that.
async fn entries(kind: Kind, k: usize, fault: Fault) -> Option<(usize, &'static str)> {
    let mut world = World::new();
    let crm = Filing::start(kind, &world.clock, &world.effects).await;
    world.destination("crm", &crm.url(), "canonical", json!({"timeout_seconds": 1}));
    world.take(&sample("intake", "minimal")[0]).await;
    let enrich = world.take_jobs().remove(0);
    world.work(&enrich).await.unwrap();
    let Job::Deliver { call, delivery } = world.take_jobs().remove(0) else { panic!() };
    let id = world.deliveries().await[0].idempotency_key();
    let destination = world.configured(&delivery.destination);
    destination.format = Arc::new(Of { kind, url: destination.url.clone(), id });
    let job = Job::Deliver { call, delivery };
    let before = world.effects.log().len();
    world.effects.arm(Which::Nth(before + k), fault);
    // As often as the sweep would send it, until it is done.
    for _ in 0..10 {
        tokio::select! {
            biased;
            () = world.effects.crashed() => {}
            _ = world.work(&job) => {}
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
                    // It was taken, and that is not known.
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
