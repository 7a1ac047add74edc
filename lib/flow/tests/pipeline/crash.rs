//! A stop or failure at any effect: nothing accepted is lost, nothing is delivered twice.

use jiff::SignedDuration;
use serde_json::json;
use switchboard_domain::DeliveryState;
use switchboard_domain::directory::ContactKind;

use crate::effects::{Fault, Which};
use crate::people;
use crate::samples::{Webhook, asterisk, call_status, intake, machine, sample};
use crate::servers::Talk;
use crate::world::{START, World, both, merged, minutes, seconds};

/// How the platform helps after the fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Recovery {
    /// The provider sends its webhooks again.
    Redelivery,
    /// Only the sweep runs: messages in flight are lost as well.
    SweepAlone,
    /// The provider sends again, messages come back, and each is handed out twice.
    Everything,
}

struct Case {
    name: &'static str,
    webhooks: Vec<Webhook>,
    conversation: bool,
    /// Between two webhooks.
    gap: SignedDuration,
    /// How many entries the CRM is to have.
    entries: usize,
    /// A text that each of the CRM's bodies must hold.
    delivered: &'static str,
    /// How many effects the undisturbed run has at least.
    effects: usize,
}

fn cases() -> Vec<Case> {
    let long = "Fake words of a long transcript. ".repeat(300);
    vec![
        Case {
            name: "twilio, one message",
            webhooks: sample("twilio", "no-answer"),
            conversation: false,
            gap: seconds(1),
            entries: 1,
            delivered: r#""outcome":"no_answer""#,
            effects: 7,
        },
        Case {
            name: "twilio, four messages and a conversation",
            webhooks: sample("twilio", "completed"),
            conversation: true,
            gap: seconds(1),
            entries: 1,
            delivered: "Wants a fake offer.",
            effects: 11,
        },
        Case {
            name: "intake with a transcript that is stored apart",
            webhooks: vec![asterisk("ast-1", json!({ "transcriptRaw": long }))],
            conversation: false,
            gap: seconds(1),
            entries: 1,
            delivered: "Fake words of a long transcript.",
            effects: 9,
        },
        Case {
            name: "twilio, news after the delivery",
            webhooks: vec![call_status("CA1", "completed"), machine("CA1")],
            conversation: false,
            gap: minutes(10),
            entries: 2,
            delivered: r#""call_id":"CA1""#,
            effects: 14,
        },
        Case {
            name: "intake, a lead that is named late",
            webhooks: [json!({}), json!({"ref_id": "lead-7", "eventType": "call_finished"})]
                .map(|more| asterisk("ast-2", more))
                .into(),
            conversation: false,
            gap: minutes(10),
            entries: 2,
            delivered: r#""call_id":"ast-2""#,
            effects: 22,
        },
        Case {
            name: "intake, three calls in one request",
            webhooks: vec![intake(&json!([
                {"provider": "fmc", "externalCallId": "fmc-1", "clientPhone": "+79991234567"},
                {"provider": "fmc", "externalCallId": "fmc-2", "clientPhone": "+79991234567"},
                {"provider": "fmc", "externalCallId": "fmc-3", "clientPhone": "+79991234567"},
            ]))],
            conversation: false,
            gap: seconds(1),
            entries: 3,
            delivered: r#""call_id":"fmc-"#,
            effects: 21,
        },
    ]
}

/// One run with a fault at the k-th effect. `false`: there were fewer effects than that.
async fn run(case: &Case, k: usize, fault: Fault, recovery: Recovery) -> bool {
    let context = format!("{}, {fault:?} at effect {k}, {recovery:?}", case.name);
    let mut world = World::new();
    let settings = merged(both(), json!({"timeout_seconds": 2}));
    let crm = world.crm("crm", "canonical", settings).await;
    if case.conversation {
        let elevenlabs = world.elevenlabs().await;
        let talk = Talk::on("CA00000000000000000000000000000001", START.parse().unwrap());
        elevenlabs.holds(Talk { summary: "Wants a fake offer.", ..talk });
    }
    let lead = people::contact("kim", ContactKind::Lead, &[], &["lead-7"]);
    world.directory.put_contact(&lead).await.unwrap();
    world.effects.arm(Which::Nth(k), fault);
    world.returns = recovery == Recovery::Everything;
    world.doubles = recovery == Recovery::Everything;
    let redelivers = recovery != Recovery::SweepAlone;

    let mut all_accepted = true;
    for (n, webhook) in case.webhooks.iter().enumerate() {
        let status = world.post(webhook).await.map(|reply| reply.status);
        if status != Some(200) {
            assert!(matches!(status, None | Some(503)), "{context}: {status:?}");
            all_accepted &= redelivers;
            if redelivers {
                world.take(webhook).await;
            }
        }
        if redelivers {
            world.redelivered = case.webhooks[..=n].to_vec();
        }
        world.pass(case.gap).await;
    }
    world.settle(minutes(60)).await;
    let took = world.now().duration_since(START.parse().unwrap());
    let gaps = case.gap.checked_mul(case.webhooks.len() as i32).unwrap();
    assert!(took <= gaps.checked_add(minutes(8)).unwrap(), "{context}: took {took:?}");
    let hit = world.effects.hit();
    let effects = world.effects.log();
    world.effects.disarm();

    assert!(!world.owes().await, "{context}: something is still owed");
    people::is_in_step(&world, &context);
    let entries = crm.entries();
    let deliveries = world.deliveries().await;
    assert_eq!(entries.len(), deliveries.len(), "{context}: entries in the CRM");
    for delivery in &deliveries {
        assert_eq!(delivery.state, DeliveryState::Delivered, "{context}");
        assert!(entries.contains_key(&delivery.idempotency_key()), "{context}");
    }
    // Accepted calls are delivered. Stored calls are delivered even if the sender got no response.
    if all_accepted {
        assert_eq!(entries.len(), case.entries, "{context}: an accepted webhook was lost");
    }
    for call in world.store.calls().iter().filter(|call| call.call.has_ended()) {
        assert!(deliveries.iter().any(|one| one.key == call.key), "{context}: {} lost", call.key);
    }
    for body in entries.values() {
        let body = String::from_utf8(body.clone()).unwrap();
        assert!(body.contains(case.delivered), "{context}: {body}");
    }
    // A second request only where a fault hid the first answer.
    let hides_an_answer = matches!(hit, Some("crm" | "put delivery"));
    // A process that is gone takes all that it was at along.
    let at_once = if case.webhooks.len() < case.entries { case.entries } else { 1 };
    let hidden = match fault {
        Fault::Crash if hides_an_answer => at_once,
        _ => usize::from(hides_an_answer),
    };
    let most = entries.len() + hidden;
    assert!(crm.received().len() <= most, "{context}: {} requests", crm.received().len());

    if redelivers {
        let before = crm.received().len();
        for webhook in &case.webhooks {
            world.take(webhook).await;
        }
        world.settle(minutes(60)).await;
        assert_eq!(crm.received().len(), before, "{context}: a duplicate was delivered");
    }
    if hit.is_none() {
        assert!(effects.len() >= case.effects, "{context}: only {effects:?}");
        assert_eq!(crm.received().len(), case.entries, "{context}");
    }
    hit.is_some()
}

async fn matrix(recovery: Recovery) {
    for case in cases() {
        for fault in [Fault::Crash, Fault::AnswerLost, Fault::Refused] {
            let mut k = 1;
            while run(&case, k, fault, recovery).await {
                k += 1;
            }
            assert!(k > case.effects, "{}: stopped at {k}", case.name);
        }
    }
}

#[tokio::test]
async fn a_fault_at_any_effect_is_repaired_by_redelivery_and_sweep() {
    matrix(Recovery::Redelivery).await;
}

#[tokio::test]
async fn a_fault_at_any_effect_is_repaired_by_the_sweep_alone() {
    matrix(Recovery::SweepAlone).await;
}

#[tokio::test]
async fn a_fault_at_any_effect_with_everything_handed_out_twice_is_told_once() {
    matrix(Recovery::Everything).await;
}

#[tokio::test]
async fn a_hook_that_died_before_its_send_is_repaired_by_redelivery_without_any_sweep() {
    for webhook in [&call_status("CA1", "no-answer"), &sample("intake", "minimal")[0]] {
        let mut world = World::new();
        world.sweeps = false;
        let crm = world.crm("crm", "conversation-ai", json!({})).await;
        world.effects.arm(Which::Nth(1), Fault::Crash);
        assert_eq!(world.post(webhook).await, None);
        assert_eq!(world.effects.log(), ["put call"]);
        world.settle(minutes(10)).await;
        assert!(crm.received().is_empty() && world.owes().await);

        let reply = world.post(webhook).await.unwrap();
        assert_eq!((reply.status, &reply.body["duplicates"]), (200, &json!(1)));
        world.settle(minutes(10)).await;
        assert_eq!(crm.received().len(), 1);
        assert!(!world.owes().await);
    }
}

#[tokio::test]
async fn a_hook_that_died_before_its_send_is_repaired_by_the_sweep_within_two_minutes() {
    let mut world = World::new();
    let crm = world.crm("crm", "conversation-ai", json!({})).await;
    world.effects.arm(Which::Nth(1), Fault::Crash);
    assert_eq!(world.post(&call_status("CA1", "no-answer")).await, None);
    world.settle(minutes(2)).await;
    assert_eq!(crm.received().len(), 1);
    assert!(!world.owes().await);
}

#[tokio::test]
async fn a_store_that_is_down_is_answered_503_and_nothing_is_half_done() {
    let mut world = World::new();
    let crm = world.crm("crm", "conversation-ai", json!({})).await;
    world.effects.arm(Which::Nth(1), Fault::Refused);
    let reply = world.post(&call_status("CA1", "no-answer")).await.unwrap();
    assert_eq!(reply.status, 503);
    assert!(world.store.calls().is_empty() && world.take_jobs().is_empty());
    world.settle(minutes(5)).await;
    assert!(crm.received().is_empty());
}
