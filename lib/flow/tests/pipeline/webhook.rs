//! ElevenLabs' own webhook beside Twilio's, in either order of arrival.

use serde_json::{Value, json};
use switchboard_domain::LookupState;

use crate::samples::{Webhook, call_status, conversation};
use crate::servers::{Crm, ElevenLabs, Talk};
use crate::world::{World, both, minutes, seconds};

struct Both {
    world: World,
    flat: Crm,
    full: Crm,
    elevenlabs: ElevenLabs,
}

/// The data of a conversation on the Twilio call CA1, or on none.
fn data(call_sid: Option<&str>, summary: Option<&str>) -> Value {
    let phone_call = call_sid.map(|sid| {
        json!({"type": "twilio", "direction": "outbound", "agent_number": "+61255501234",
               "external_number": "+61491570156", "call_sid": sid})
    });
    json!({
        "agent_id": "agent_sample",
        "conversation_id": "conv_1",
        "status": if summary.is_some() { "done" } else { "processing" },
        "transcript": [{"role": "agent", "message": "Fake-Transcript-Line."}],
        "metadata": {"start_time_unix_secs": 1_771_578_000, "call_duration_secs": 60,
                     "phone_call": phone_call},
        "analysis": summary.map(|text| json!({"transcript_summary": text})),
    })
}

impl Both {
    async fn new() -> Self {
        let mut world = World::new();
        let flat = world.crm("flat", "conversation-ai", json!({})).await;
        let full = world.crm("full", "canonical", both()).await;
        let elevenlabs = world.elevenlabs().await;
        Self { world, flat, full, elevenlabs }
    }

    fn webhook(&self, call_sid: Option<&str>, summary: Option<&str>) -> Webhook {
        conversation(data(call_sid, summary), self.world.now())
    }

    /// The deliveries of each CRM: the flat one's summaries, the full one's events with theirs.
    fn delivered(&self) -> (Vec<Value>, Vec<(Value, Value)>) {
        let flat = self.flat.received().iter().map(|got| got.json()["summary"].clone()).collect();
        let full = self.full.received();
        let event = |got: &Value| (got["type"].clone(), got["data"].get("summary").cloned().into());
        (flat, full.iter().map(|got| event(&got.json())).collect())
    }
}

fn completed(summary: impl Into<Value>) -> (Value, Value) {
    (json!("call.completed"), summary.into())
}

#[tokio::test]
async fn a_webhook_before_the_end_of_the_call_saves_the_search() {
    let mut both = Both::new().await;
    both.world.take(&both.webhook(Some("CA1"), Some("Renewed."))).await;
    both.world.pass(minutes(5)).await;
    assert_eq!(both.delivered(), (vec![], vec![]), "a call that has not ended is not delivered");
    both.world.settled(&call_status("CA1", "completed"), minutes(30)).await;
    assert_eq!(both.delivered(), (vec!["Renewed.".into()], vec![completed("Renewed.")]));
    assert!(both.elevenlabs.received().is_empty());
    assert_eq!(both.world.call().updates.len(), 2);
}

#[tokio::test]
async fn a_webhook_during_the_search_ends_it() {
    let mut both = Both::new().await;
    both.world.take(&call_status("CA1", "completed")).await;
    both.world.pass(seconds(20)).await;
    assert_eq!(both.delivered(), (vec![], vec![]));
    both.world.take(&both.webhook(Some("CA1"), Some("Renewed."))).await;
    both.world.pass(seconds(1)).await;
    assert_eq!(both.delivered(), (vec!["Renewed.".into()], vec![completed("Renewed.")]));
    both.world.pass(minutes(60)).await;
    assert_eq!(both.delivered().1.len(), 1);
}

#[tokio::test]
async fn a_webhook_after_the_delivery_is_one_update_and_no_second_entry() {
    let mut both = Both::new().await;
    both.world.settled(&call_status("CA1", "completed"), minutes(30)).await;
    assert_eq!(both.delivered(), (vec!["".into()], vec![completed(Value::Null)]));

    let webhook = both.webhook(Some("CA1"), Some("Renewed."));
    both.world.take(&webhook).await;
    both.world.settled(&webhook, minutes(30)).await;
    let updated = (json!("call.updated"), json!("Renewed."));
    assert_eq!(both.delivered(), (vec!["".into()], vec![completed(Value::Null), updated]));
}

#[tokio::test]
async fn a_conversation_that_is_named_late_and_not_analysed_yet_is_fetched() {
    let mut both = Both::new().await;
    both.world.settled(&call_status("CA1", "completed"), minutes(30)).await;
    assert_eq!(both.world.call().lookup.unwrap().state, LookupState::NoConversation);

    both.world.take(&both.webhook(Some("CA1"), None)).await;
    let ready_at = both.world.now().checked_add(seconds(12)).unwrap();
    both.elevenlabs.holds(Talk { summary: "Late.", ..Talk::on("CA1", ready_at) });
    both.world.settle(minutes(30)).await;
    let updated = (json!("call.updated"), json!("Late."));
    assert_eq!(both.delivered(), (vec!["".into()], vec![completed(Value::Null), updated]));
    assert_eq!(both.world.call().lookup.unwrap().state, LookupState::Found);
}

#[tokio::test]
async fn a_conversation_on_no_phone_call_is_told_by_itself() {
    let mut both = Both::new().await;
    both.world.settled(&both.webhook(None, Some("Asked about opening hours.")), minutes(30)).await;
    let summary = "Asked about opening hours.";
    assert_eq!(both.delivered(), (vec![summary.into()], vec![completed(summary)]));
    assert_eq!(both.world.call().key.to_string(), "elevenlabs/elevenlabs/conv_1");
}

#[tokio::test]
async fn another_agents_conversation_and_audio_are_answered_and_not_stored() {
    let both = Both::new().await;
    let mut other = data(Some("CA1"), Some("Not ours."));
    other["agent_id"] = json!("agent_of_another_team");
    both.world.take(&conversation(other, both.world.now())).await;
    assert!(both.world.store.calls().is_empty());
}
