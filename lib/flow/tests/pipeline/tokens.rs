//! Access tokens: fetched by one for all, and never lost on our side.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use jiff::SignedDuration;
use serde_json::{Value, json};
use switchboard_crm::auth::Auth;
use switchboard_crm::oauth::OAuth;
use switchboard_crm::{Destination, NoToken, Tokens as _};
use switchboard_domain::delivery::DeliveryState;
use switchboard_domain::{Name, Secret};
use switchboard_flow::telemetry::{Captured, capture};
use switchboard_flow::tokens::{Patience, TokenCache};
use switchboard_http::Client;
use switchboard_store::Store;
use tokio::task::yield_now;

use crate::hubspot::HubSpot;
use crate::samples::call_status;
use crate::servers::{Clock, status};
use crate::token_store::MemoryTokenStore;
use crate::world::{START, World, minutes};

/// A stage with one destination. A worker is a process: it shares what is stored, and nothing else.
struct Stage {
    clock: Clock,
    hubspot: HubSpot,
    oauth: OAuth,
    leases: Store,
    token_store: MemoryTokenStore,
    log: Captured,
    client: Arc<Client>,
}

type Worker = TokenCache;

impl Stage {
    async fn new() -> Self {
        let clock = Clock::at(START.parse().unwrap());
        let hubspot = HubSpot::start(&clock).await;
        Self {
            oauth: oauth(&hubspot.destination()),
            clock,
            hubspot,
            leases: Store::in_memory(),
            token_store: MemoryTokenStore::default(),
            log: capture(),
            client: Arc::new(Client::new(true).unwrap()),
        }
    }

    fn worker(&self) -> Worker {
        self.patient(Duration::from_secs(60))
    }

    /// One that looks once whether another has fetched it.
    fn impatient(&self) -> Worker {
        self.patient(Duration::ZERO)
    }

    fn patient(&self, most: Duration) -> Worker {
        let (leases, token_store) = (self.leases.clone(), Arc::new(self.token_store.clone()));
        let patience = Patience { pause: Duration::from_millis(2), most };
        let mut cache = TokenCache::new(self.client.clone(), leases, token_store);
        cache.patience = patience;
        cache
    }

    async fn access(&self, worker: &Worker, refused: Option<&str>) -> Result<String, NoToken> {
        let name = name();
        let clock = || self.clock.now();
        let refused = refused.map(Secret::new);
        let token = worker.of(&name, &clock).access(&self.oauth, refused.as_ref()).await?;
        Ok(token.expose().to_owned())
    }

    /// Twenty processes at once.
    async fn twenty(&self, refused: Option<&str>) -> Vec<Result<String, NoToken>> {
        let workers: Vec<Worker> = (0..20).map(|_| self.worker()).collect();
        join_all(workers.iter().map(|worker| self.access(worker, refused))).await
    }

    fn grants(&self) -> usize {
        self.hubspot.grants()
    }

    fn asked(&self) -> usize {
        self.hubspot.asked("/oauth/v1/token")
    }
}

fn name() -> Name {
    Name::new("destination", "hub").unwrap()
}

fn oauth(json: &Value) -> OAuth {
    let mut json = json.clone();
    json.as_object_mut().unwrap().remove("signing_secrets");
    match Destination::parse(&json.to_string(), true).unwrap().auth {
        Auth::OAuth(oauth) => oauth,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn twenty_workers_without_a_token_fetch_one() {
    let stage = Stage::new().await;
    for token in stage.twenty(None).await {
        assert_eq!(token.unwrap(), "fake-access-1");
    }
    assert_eq!((stage.grants(), stage.asked()), (1, 1));
}

#[tokio::test]
async fn twenty_workers_with_a_token_that_has_ended_fetch_one() {
    let stage = Stage::new().await;
    stage.hubspot.account(|state| state.expires_in = Some(1_800));
    let worker = stage.worker();
    stage.access(&worker, None).await.unwrap();
    stage.clock.pass(minutes(60));
    for token in stage.twenty(None).await {
        assert_eq!(token.unwrap(), "fake-access-2");
    }
    assert_eq!(stage.asked(), 2);
    // Who had the old one in memory sees the new one.
    assert_eq!(stage.access(&worker, None).await.unwrap(), "fake-access-2");
    assert_eq!(stage.asked(), 2);
}

#[tokio::test]
async fn twenty_workers_whose_token_is_refused_fetch_one() {
    let stage = Stage::new().await;
    let worker = stage.worker();
    let old = stage.access(&worker, None).await.unwrap();
    for token in stage.twenty(Some(&old)).await {
        assert_eq!(token.unwrap(), "fake-access-2");
    }
    assert_eq!(stage.access(&worker, Some(&old)).await.unwrap(), "fake-access-2");
    assert_eq!(stage.asked(), 2);
}

#[tokio::test]
async fn while_one_fetches_in_time_the_others_go_on_with_the_old_one() {
    let stage = Stage::new().await;
    stage.hubspot.account(|state| state.expires_in = Some(1_800));
    stage.access(&stage.worker(), None).await.unwrap();
    // In its last minute.
    stage.clock.pass(SignedDuration::from_secs(1_770));
    let tokens: Vec<String> = stage.twenty(None).await.into_iter().map(Result::unwrap).collect();
    assert!(tokens.iter().any(|token| token == "fake-access-1"), "{tokens:?}");
    assert!(tokens.iter().any(|token| token == "fake-access-2"), "{tokens:?}");
    assert_eq!(stage.asked(), 2);
}

/// A worker asks for a token and is gone before it has kept what came.
async fn fetches_and_is_gone(stage: &Stage) {
    // The first write is the trial, the second holds what came.
    stage.token_store.hang(2);
    let before = stage.grants();
    let worker = stage.worker();
    let gone = async {
        while stage.grants() == before {
            yield_now().await;
        }
        // Until it stands at the write.
        while !stage.token_store.hangs() {
            yield_now().await;
        }
    };
    tokio::select! {
        () = gone => {}
        token = stage.access(&worker, None) => panic!("{token:?}"),
    }
}

#[tokio::test]
async fn after_a_crash_between_fetching_and_keeping_another_is_fetched() {
    let stage = Stage::new().await;
    fetches_and_is_gone(&stage).await;
    // No worker requests one while the lease runs, whose holder is gone.
    let busy = stage.access(&stage.impatient(), None).await.unwrap_err();
    let NoToken::Busy { not_before: Some(until) } = busy else { panic!("{busy:?}") };
    assert_eq!(stage.asked(), 1);
    stage.clock.set(until);
    assert_eq!(stage.access(&stage.worker(), None).await.unwrap(), "fake-access-2");
    assert_eq!(stage.asked(), 2);
}

#[tokio::test]
async fn a_refresh_token_that_was_spent_by_a_crash_is_said_and_a_new_one_mends_it() {
    let stage = Stage::new().await;
    stage.hubspot.account(|state| state.rotates = true);
    fetches_and_is_gone(&stage).await;
    stage.clock.pass(minutes(1));
    let refused = stage.access(&stage.worker(), None).await.unwrap_err();
    let words = "no access token: refused (invalid_grant): authorize again and correct auth";
    assert_eq!(refused.to_string(), words);
    // An operator authorizes anew.
    let _ = stage.hubspot.account(|state| state.refresh_tokens.insert("fake-refresh-new".into()));
    let mut mended = stage.hubspot.destination();
    mended["auth"]["refresh_token"] = json!("fake-refresh-new");
    stage.clock.pass(minutes(1));
    let stage = Stage { oauth: oauth(&mended), ..stage };
    assert_eq!(stage.access(&stage.worker(), None).await.unwrap(), "fake-access-2");
}

#[tokio::test]
async fn a_refresh_token_that_came_in_place_of_another_is_kept_and_used() {
    let stage = Stage::new().await;
    stage.hubspot.account(|state| (state.rotates, state.expires_in) = (true, Some(1_800)));
    for n in 1..=5 {
        for token in stage.twenty(None).await {
            assert_eq!(token.unwrap(), format!("fake-access-{n}"));
        }
        assert!(stage.token_store.text("hub").contains(&format!("fake-refresh-{n}")));
        stage.clock.pass(minutes(60));
    }
    assert_eq!(stage.asked(), 5);
}

#[tokio::test]
async fn what_is_kept_for_another_configuration_is_not_used() {
    let stage = Stage::new().await;
    stage.hubspot.account(|state| state.rotates = true);
    let worker = stage.worker();
    stage.access(&worker, None).await.unwrap();
    let _ = stage.hubspot.account(|state| state.refresh_tokens.insert("fake-refresh-new".into()));
    let mut changed = stage.hubspot.destination();
    changed["auth"]["refresh_token"] = json!("fake-refresh-new");
    let stage = Stage { oauth: oauth(&changed), ..stage };
    assert_eq!(stage.access(&worker, None).await.unwrap(), "fake-access-2");
    assert_eq!(stage.access(&stage.worker(), None).await.unwrap(), "fake-access-2");
}

#[tokio::test]
async fn nothing_is_asked_for_that_could_not_be_kept() {
    let stage = Stage::new().await;
    stage.hubspot.account(|state| state.rotates = true);
    stage.token_store.fail(1, 1);
    let error = stage.access(&stage.worker(), None).await.unwrap_err();
    assert!(matches!(error, NoToken::Unkept(_)), "{error}");
    assert_eq!(stage.asked(), 0);
    stage.clock.pass(minutes(1));
    assert_eq!(stage.access(&stage.worker(), None).await.unwrap(), "fake-access-1");
}

#[tokio::test]
async fn a_token_that_cannot_be_kept_is_not_lost_to_who_has_it() {
    let stage = Stage::new().await;
    stage.hubspot.account(|state| (state.rotates, state.expires_in) = (true, Some(1_800)));
    stage.token_store.fail(2, 3);
    let worker = stage.worker();
    assert_eq!(stage.access(&worker, None).await.unwrap(), "fake-access-1");
    assert!(stage.log.lines().concat().contains("access token could not be stored"));
    // No other worker uses the refresh token that is spent.
    let busy = stage.access(&stage.impatient(), None).await.unwrap_err();
    assert!(matches!(busy, NoToken::Busy { .. }), "{busy}");
    // The next time it can be kept.
    assert_eq!(stage.access(&worker, None).await.unwrap(), "fake-access-1");
    assert!(stage.token_store.text("hub").contains("fake-refresh-1"));
    stage.clock.pass(minutes(60));
    assert_eq!(stage.access(&stage.worker(), None).await.unwrap(), "fake-access-2");
    assert_eq!(stage.asked(), 2);
}

#[tokio::test]
async fn what_was_there_before_the_last_write_is_not_used() {
    let stage = Stage::new().await;
    stage.hubspot.account(|state| state.rotates = true);
    let old = stage.access(&stage.worker(), None).await.unwrap();
    let new = stage.access(&stage.worker(), Some(&old)).await.unwrap();
    // A reader that sees the past would ask with the refresh token that is spent.
    stage.token_store.lag(2);
    assert_eq!(stage.access(&stage.worker(), Some(&old)).await.unwrap(), new);
    assert_eq!(stage.asked(), 2);
    stage.token_store.lag(100);
    let error = stage.access(&stage.worker(), Some(&old)).await.unwrap_err();
    assert!(matches!(error, NoToken::Unkept(_)), "{error}");
    assert_eq!(stage.asked(), 2);
}

#[tokio::test]
async fn one_that_an_operator_deleted_is_fetched_anew() {
    let stage = Stage::new().await;
    let mut old = stage.access(&stage.worker(), None).await.unwrap();
    old = stage.access(&stage.worker(), Some(&old)).await.unwrap();
    stage.token_store.delete("hub");
    assert_ne!(stage.access(&stage.worker(), None).await.unwrap(), old);
    // Deleted again, and the worker that fetched it is gone: what it wrote counts from 1 again.
    stage.token_store.delete("hub");
    fetches_and_is_gone(&stage).await;
    stage.clock.pass(minutes(1));
    let error = stage.access(&stage.worker(), None).await.unwrap_err();
    assert!(matches!(error, NoToken::Unkept(_)), "{error}");
    stage.clock.pass(minutes(1));
    assert_eq!(stage.access(&stage.worker(), None).await.unwrap(), "fake-access-5");
    // And from then on every worker uses it.
    assert_eq!(stage.access(&stage.worker(), None).await.unwrap(), "fake-access-5");
}

#[tokio::test]
async fn one_that_is_refused_is_not_asked_for_again_at_once() {
    let stage = Stage::new().await;
    stage.hubspot.account(|state| state.refresh_tokens.clear());
    let answers = stage.twenty(None).await;
    let refused = |answer: &&Result<String, NoToken>| {
        matches!(answer, Err(NoToken::Refused { status: 400, .. }))
    };
    assert_eq!(answers.iter().filter(refused).count(), 1);
    assert!(answers.iter().all(Result::is_err));
    assert_eq!(stage.asked(), 1);
    let resting = stage.access(&stage.worker(), None).await.unwrap_err();
    assert!(matches!(resting, NoToken::Resting { .. }), "{resting}");
    let _ = stage.hubspot.account(|state| state.refresh_tokens.insert("fake-refresh-0".into()));
    stage.clock.pass(SignedDuration::from_secs(31));
    assert_eq!(stage.access(&stage.worker(), None).await.unwrap(), "fake-access-1");
    let said = stage.log.lines().concat();
    assert!(said.contains("access token request failed") && !said.contains("fake-"), "{said}");
}

async fn delivering() -> (World, HubSpot) {
    let mut world = World::new();
    let hubspot = HubSpot::start(&world.clock).await;
    let mut destination = hubspot.destination();
    destination.as_object_mut().unwrap().remove("signing_secrets");
    world.configure("destinations/hub", destination);
    (world, hubspot)
}

#[tokio::test]
async fn a_refused_token_is_replaced_within_the_attempt_and_once() {
    let (mut world, hubspot) = delivering().await;
    world.take(&call_status("CA1", "completed")).await;
    world.settle(minutes(30)).await;
    hubspot.with(|state| state.hubspot.tokens.clear());
    world.take(&call_status("CA2", "completed")).await;
    world.settle(minutes(30)).await;
    let deliveries = world.deliveries().await;
    assert!(deliveries.iter().all(|one| one.state == DeliveryState::Delivered));
    assert!(deliveries.iter().all(|one| one.attempts.len() == 1));
    assert_eq!((hubspot.grants(), hubspot.account(|state| state.calls.len())), (2, 2));
    // The new one is not taken either: that is an answer, and it is tried again on schedule.
    hubspot.with(|state| {
        state.hubspot.tokens.clear();
        for _ in 0..2 {
            state.script.push_back(("/search".into(), status(401)));
        }
    });
    world.take(&call_status("CA3", "completed")).await;
    world.settle(minutes(30)).await;
    let deliveries = world.deliveries().await;
    let third = deliveries.iter().find(|one| one.key.call_id() == "CA3").unwrap();
    let results: Vec<&str> = third.attempts.iter().map(|one| one.result.as_str()).collect();
    assert_eq!(results, ["contact: not authorized: 401", "delivered: 200, no contact: unknown"]);
    assert_eq!(hubspot.grants(), 3);
}

#[tokio::test]
async fn nothing_is_lost_while_tokens_are_refused() {
    let (mut world, hubspot) = delivering().await;
    hubspot.account(|state| state.refresh_tokens.clear());
    for call in ["CA1", "CA2", "CA3"] {
        world.take(&call_status(call, "completed")).await;
    }
    world.pass(minutes(10)).await;
    assert_eq!(hubspot.asked("/crm/"), 0);
    let deliveries = world.deliveries().await;
    assert!(deliveries.iter().all(|one| one.state == DeliveryState::Pending));
    let results: Vec<&str> = deliveries
        .iter()
        .flat_map(|one| &one.attempts)
        .map(|attempt| attempt.result.as_str())
        .collect();
    let clear = "no access token: refused (invalid_grant): authorize again and correct auth";
    assert!(results.contains(&clear), "{results:?}");
    assert!(results.iter().all(|result| result.starts_with("no access token")), "{results:?}");
    let _ = hubspot.account(|state| state.refresh_tokens.insert("fake-refresh-0".into()));
    world.settle(minutes(60 * 24)).await;
    assert_eq!(hubspot.account(|state| state.calls.len()), 3);
    assert_eq!(hubspot.grants(), 1);
    let said = world.log.lines().concat();
    assert!(!said.contains("fake-"), "{said}");
}
