//! Senders that are not known, and bodies that are not understood.

use serde_json::{Value, json};
use switchboard_shell::gateway::Response;

use crate::effects::{Fault, Which};
use crate::samples::{Webhook, call_status, intake, sample};
use crate::world::{World, minutes, twilio_source};

/// The metric lines that hold a count of that name.
fn counts(world: &World, name: &str) -> Vec<Value> {
    let lines = world.log.lines();
    let parsed = lines.iter().map(|line| serde_json::from_str::<Value>(line).unwrap());
    parsed.filter(|line| line.get("_aws").is_some() && line.get(name).is_some()).collect()
}

async fn refused(mut world: World, webhook: Webhook, status: u16, reason: &str) -> Response {
    let crm = world.crm("crm", "canonical", json!({})).await;
    let reply = world.post(&webhook).await.unwrap();
    assert_eq!(reply.status, status, "{reason}: {}", reply.body);
    assert_eq!(world.effects.log(), Vec::<&str>::new(), "{reason}: a write");
    assert!(world.store.calls().is_empty() && world.store.all_quarantined().is_empty());
    let counts = counts(&world, "rejected");
    assert_eq!(counts.len(), 1, "{reason}: metrics");
    assert_eq!((&counts[0]["rejected"], &counts[0]["reason"]), (&json!(1), &json!(reason)));
    // Neither what was sent nor why it was refused beyond the class.
    let said = world.log.lines().concat() + &reply.body.to_string();
    for secret in ["CA1", "61491570156", "canary", "79991234567", "fake-"] {
        assert!(!said.contains(secret), "{reason}: {secret} in {said}");
    }
    assert!(!reply.body.to_string().contains(reason) || status == 401);
    world.settle(minutes(30)).await;
    assert!(crm.received().is_empty());
    reply
}

fn intake_canary() -> Webhook {
    intake(
        &json!({"provider": "asterisk", "externalCallId": "canary-1", "clientPhone": "+79991234567"}),
    )
}

#[tokio::test]
async fn a_request_without_a_credential_is_401() {
    let twilio = call_status("CA1", "completed").header("X-Twilio-Signature", None);
    refused(World::new(), twilio, 401, "unauthenticated").await;
    let twilio = call_status("CA1", "completed").header("X-Twilio-Signature", Some(""));
    refused(World::new(), twilio, 401, "unauthenticated").await;
    let intake = intake_canary().header("X-Crm-Intake-Secret", None);
    refused(World::new(), intake, 401, "unauthenticated").await;
}

#[tokio::test]
async fn a_wrong_credential_is_403() {
    let good = call_status("CA1", "completed");
    let wrong = good.clone().header("X-Twilio-Signature", Some("AAAAAAAAAAAAAAAAAAAAAAAAAAA="));
    refused(World::new(), wrong, 403, "mismatch").await;
    let mut changed = good.clone();
    changed.body.extend_from_slice(b"&AnsweredBy=human");
    refused(World::new(), changed, 403, "mismatch").await;
    let elsewhere = Webhook { target: "/amd-status-callback".into(), ..good.clone() };
    refused(World::new(), elsewhere, 403, "mismatch").await;
    let query = Webhook { target: format!("{}?campaign=canary", good.target), ..good };
    refused(World::new(), query, 403, "mismatch").await;
    let intake = intake_canary().header("X-Crm-Intake-Secret", Some("fake-other-secret"));
    refused(World::new(), intake, 403, "mismatch").await;
}

#[tokio::test]
async fn a_source_without_a_secret_refuses_everything() {
    let mut world = World::new();
    world.configure("sources/twilio/twilio", twilio_source(json!({"secrets": []})));
    refused(world, call_status("CA1", "completed"), 403, "no_secret").await;
    let mut world = World::new();
    world.configure("sources/intake/intake", json!({}));
    refused(world, intake_canary(), 403, "no_secret").await;
    let mut world = World::new();
    world.unconfigure("sources/intake/intake");
    refused(world, intake_canary(), 403, "unknown_source").await;
}

#[tokio::test]
async fn every_refusal_of_a_credential_looks_the_same_to_the_sender() {
    let wrong = || intake_canary().header("X-Crm-Intake-Secret", Some("fake-other-secret"));
    let known = refused(World::new(), wrong(), 403, "mismatch").await;
    let unknown = Webhook { target: "/api/crm/intake/calls?source=absent".into(), ..wrong() };
    let unknown = refused(World::new(), unknown, 403, "mismatch").await;
    let mut world = World::new();
    world.configure("sources/intake/intake", json!({}));
    let no_secret = refused(world, wrong(), 403, "no_secret").await;
    assert_eq!((&known, &known), (&unknown, &no_secret));
}

#[tokio::test]
async fn a_sender_outside_the_allowed_networks_is_403() {
    let mut world = World::new();
    let source = json!({"secrets": ["fake-intake-secret"], "allowed_networks": ["203.0.113.0/24"]});
    world.configure("sources/intake/intake", source);
    refused(world, intake_canary(), 403, "network").await;
}

#[tokio::test]
async fn both_secrets_open_during_a_rotation() {
    for secret in ["fake-intake-new", "fake-intake-old"] {
        let mut world = World::new();
        let secrets = json!({"secrets": ["fake-intake-new", "fake-intake-old"]});
        world.configure("sources/intake/intake", secrets);
        world.take(&intake_canary().header("X-Crm-Intake-Secret", Some(secret))).await;
    }
}

#[tokio::test]
async fn a_body_that_is_not_understood_is_named_and_kept_whole() {
    let (mut world, crm) = World::with_crm(json!({})).await;
    let webhook = sample("intake", "hole-in-the-template").remove(0);
    let reply = world.post(&webhook).await.unwrap();
    assert_eq!(reply.status, 400);
    assert!(reply.body["error"].as_str().unwrap().starts_with("durationSec"), "{}", reply.body);
    let kept = world.store.all_quarantined();
    assert_eq!(kept.len(), 1);
    let (kept, body) = &kept[0];
    assert_eq!(*body, webhook.body);
    assert_eq!((kept.provider.as_str(), kept.source.as_str()), ("intake", "intake"));
    assert_eq!(kept.target, "/api/crm/intake/calls");
    assert_eq!(kept.content_type, "application/json");
    assert!(kept.problem.starts_with("durationSec"), "{}", kept.problem);
    assert_eq!(world.effects.log(), ["quarantine bytes", "quarantine"]);
    let counts = counts(&world, "rejected");
    assert_eq!(counts.len(), 1);
    assert_eq!(counts[0]["reason"], "malformed");
    let said = world.log.lines().concat();
    assert!(!said.contains("79991234567") && !said.contains("1708416000"), "{said}");
    world.settle(minutes(30)).await;
    assert!(crm.received().is_empty());
}

#[tokio::test]
async fn one_bad_record_of_a_batch_harms_no_other_wherever_it_stands() {
    for bad in 0..5 {
        let (mut world, crm) = World::with_crm(json!({})).await;
        let records: Vec<Value> = (0..5)
            .map(|n| match n == bad {
                true => json!({"provider": "asterisk", "clientPhone": "+79991234567"}),
                false => json!({"provider": "asterisk", "externalCallId": format!("a-{n}")}),
            })
            .collect();
        let reply = world.post(&intake(&records.into())).await.unwrap();
        assert_eq!((reply.status, &reply.body["accepted"]), (200, &json!(4)));
        assert_eq!(reply.body["rejected"][0]["index"], json!(bad));
        let kept = world.store.all_quarantined();
        assert_eq!(kept.len(), 1);
        assert!(String::from_utf8_lossy(&kept[0].1).contains("+79991234567"));
        world.settle(minutes(30)).await;
        assert_eq!(crm.entries().len(), 4);
    }
}

#[tokio::test]
async fn a_body_that_cannot_be_kept_is_our_fault_and_is_sent_again() {
    for webhook in [
        sample("intake", "hole-in-the-template").remove(0),
        intake(&json!([{"provider": "asterisk", "clientPhone": "+79991234567"}])),
    ] {
        let world = World::new();
        world.effects.arm(Which::Next("quarantine"), Fault::Refused);
        assert_eq!(world.post(&webhook).await.unwrap().status, 503);
        assert!(world.store.all_quarantined().is_empty());
        assert_eq!(world.post(&webhook).await.unwrap().status, 400);
        assert_eq!(world.store.all_quarantined().len(), 1);
    }
}
