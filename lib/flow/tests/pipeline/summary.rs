//! The conversation of a call: there at once, late, never; found by id or among others.

use jiff::Timestamp;
use serde_json::{Value, json};
use switchboard_domain::LookupState;
use switchboard_domain::lookup::LookupResult;
use switchboard_flow::conversations;
use switchboard_http::Client;
use switchboard_providers::{Source, provider};

use crate::samples::{call_status, call_status_at, machine, recording};
use crate::servers::{Answer, Crm, ElevenLabs, Talk, status, with};
use crate::world::{SETTLE, World, both, later, minutes, seconds, twilio_source};

struct Search {
    world: World,
    crm: Crm,
    full: Crm,
    elevenlabs: ElevenLabs,
}

fn never() -> Timestamp {
    later(1_000_000_000)
}

fn talk(ready_at: Timestamp, end: &'static str) -> Talk {
    Talk { end, ..Talk::on("CA1", ready_at) }
}

impl Search {
    async fn new() -> Self {
        let mut world = World::new();
        let crm = world.crm("flat", "conversation-ai", json!({})).await;
        let full = world.crm("full", "canonical", both()).await;
        let elevenlabs = world.elevenlabs().await;
        Self { world, crm, full, elevenlabs }
    }

    /// Sends one answered call and lets two hours pass: one entry in each CRM, at that second
    /// after the first question, with that summary.
    async fn delivered(&mut self, target: &str, at: i64, summary: &str, state: LookupState) {
        self.world.take(&call_status_at(target, "CA1", "completed")).await;
        self.world.pass(minutes(120)).await;
        assert!(!self.world.owes().await);
        for crm in [&self.crm, &self.full] {
            let received = crm.received();
            assert_eq!(received.len(), 1, "requests");
            assert_eq!(received[0].at, later(SETTLE + at), "received at {}", received[0].at);
        }
        let (flat, full) = (self.crm.received()[0].json(), self.full.received()[0].json());
        assert_eq!(flat["summary"], summary);
        assert_eq!(full["type"], "call.completed");
        let expected = match summary {
            "" => (Value::Null, Value::Null),
            text => (json!(text), json!("agent: Fake-Transcript-Line.")),
        };
        assert_eq!((full["data"]["summary"].clone(), full["data"]["transcript"].clone()), expected);
        assert_eq!(self.world.call().lookup.unwrap().state, state);
    }

    /// The seconds, after the first, at which ElevenLabs was asked.
    fn asked(&self) -> Vec<i64> {
        let mut asked: Vec<i64> = self
            .elevenlabs
            .received()
            .iter()
            .map(|request| request.at.duration_since(later(SETTLE)).as_secs())
            .collect();
        asked.dedup();
        asked
    }
}

const PLAIN: &str = "/call-status-callback";
const BY_ID: &str = "/call-status-callback?conversation_id=conv_1";

#[tokio::test]
async fn a_summary_is_waited_for_until_it_is_there_has_failed_or_its_deadline_is_over() {
    use LookupState::{ConversationFailed, Found, GaveUp};
    const SUMMARY: &str = "A fake summary.";
    const UNTIL_DEADLINE: &[i64] = &[0, 5, 15, 35, 75, 155, 315, 600];
    for (target, ready_at, end, at, summary, state, asked) in [
        (PLAIN, later(0), "done", 0, SUMMARY, Found, &[0][..]),
        (BY_ID, later(0), "done", 0, SUMMARY, Found, &[0]),
        (PLAIN, later(60), "done", 75, SUMMARY, Found, &[0, 5, 15, 35, 75]),
        (BY_ID, later(60), "done", 75, SUMMARY, Found, &[0, 5, 15, 35, 75]),
        (BY_ID, later(20 * 60), "done", 600, "", GaveUp, UNTIL_DEADLINE),
        (BY_ID, never(), "done", 600, "", GaveUp, UNTIL_DEADLINE),
        (PLAIN, later(0), "failed", 0, "", ConversationFailed, &[0]),
    ] {
        let mut search = Search::new().await;
        search.elevenlabs.holds(talk(ready_at, end));
        search.delivered(target, at, summary, state).await;
        assert_eq!(search.asked(), asked, "{target}, {end} at {ready_at}");
    }
}

#[tokio::test]
async fn a_call_without_a_conversation_is_told_after_a_short_grace() {
    let mut search = Search::new().await;
    search.delivered(PLAIN, 30, "", LookupState::NoConversation).await;
    assert_eq!(search.asked(), [0, 5, 15, 30]);
    let mut search = Search::new().await;
    search.delivered(BY_ID, 30, "", LookupState::NoConversation).await;
}

#[tokio::test]
async fn a_service_in_trouble_is_asked_again() {
    for (trouble, at) in [
        (vec![status(500)], 5),
        (vec![status(500), status(503)], 15),
        (vec![status(401)], 5),
        (vec![Answer::Close], 5),
        (vec![with(429, "retry-after", "90")], 90),
        (vec![Answer::Status(200, Vec::new(), "{\"no\":".into())], 5),
    ] {
        let mut search = Search::new().await;
        search.elevenlabs.holds(talk(later(0), "done"));
        search.elevenlabs.troubles(trouble.clone());
        search.delivered(BY_ID, at, "A fake summary.", LookupState::Found).await;
        assert_eq!(search.asked().last(), Some(&at), "{trouble:?}");
    }
}

#[tokio::test]
async fn a_service_that_stays_in_trouble_is_given_up_at_the_deadline() {
    let mut search = Search::new().await;
    search.elevenlabs.holds(talk(later(0), "done"));
    search.elevenlabs.troubles(vec![status(401); 100]);
    search.delivered(PLAIN, 600, "", LookupState::GaveUp).await;
}

/// With the client of a deployed stack, which speaks to public addresses alone: the key stays here.
#[tokio::test]
async fn a_source_that_leads_to_an_address_inside_is_not_asked() {
    let world = World::new();
    world.take(&call_status_at(BY_ID, "CA1", "completed")).await;
    let client = Client::new(false).unwrap();
    for base in ["https://127.0.0.1:9", "https://[::1]:9", "https://169.254.169.254"] {
        let source =
            json!({"api_key": "fake-elevenlabs-api-key", "api_url": base, "secrets": ["x"]});
        let source = Source::parse(&source.to_string(), provider("elevenlabs")).unwrap();
        let found = conversations::find(&client, &source, &world.call(), later(0)).await;
        assert_eq!(found.problem.unwrap(), "private address refused", "{base}");
        assert_eq!(found.finding, LookupResult::Trouble { not_before: None });
    }
}

#[tokio::test]
async fn the_conversation_is_found_by_the_calls_id_among_others() {
    let mut search = Search::new().await;
    for (id, sid) in [("conv_a", "CA7"), ("conv_b", "CA8"), ("conv_c", "CA9")] {
        let summary = "Another customer's.";
        search.elevenlabs.holds(Talk { id, summary, ..Talk::on(sid, later(0)) });
    }
    search.elevenlabs.holds(talk(later(0), "done"));
    search.delivered(PLAIN, 0, "A fake summary.", LookupState::Found).await;
    let targets: Vec<String> =
        search.elevenlabs.received().into_iter().map(|request| request.target).collect();
    // Two pages of the list, and the four that they name.
    assert_eq!(targets.len(), 6, "{targets:?}");
    assert!(targets[0].contains("conversation_initiation_source=twilio"), "{targets:?}");
    assert!(targets[0].contains("agent_id=agent_sample"), "{targets:?}");
}

#[tokio::test]
async fn only_another_calls_conversation_is_none() {
    let mut search = Search::new().await;
    search.elevenlabs.holds(Talk { call_sid: Some("CA99"), ..talk(later(0), "done") });
    search.delivered(PLAIN, 30, "", LookupState::NoConversation).await;
}

#[tokio::test]
async fn one_under_way_that_names_no_call_yet_is_waited_for_beyond_the_grace() {
    let mut search = Search::new().await;
    search.elevenlabs.holds(Talk { call_sid: None, ..talk(never(), "done") });
    search.delivered(PLAIN, 600, "", LookupState::GaveUp).await;
}

#[tokio::test]
async fn by_its_id_it_takes_one_request_and_no_list() {
    let mut search = Search::new().await;
    search.elevenlabs.holds(talk(later(0), "done"));
    search.delivered(BY_ID, 0, "A fake summary.", LookupState::Found).await;
    let received = search.elevenlabs.received();
    assert_eq!(received.len(), 1);
    assert_eq!(received[0].target, "/v1/convai/conversations/conv_1");
    assert_eq!(received[0].header("xi-api-key"), "fake-elevenlabs-api-key");
}

#[tokio::test]
async fn calls_that_nobody_answered_are_told_without_asking() {
    for state in ["busy", "no-answer", "failed", "canceled"] {
        let mut search = Search::new().await;
        search.world.settled(&call_status("CA1", state), minutes(60)).await;
        assert_eq!((search.crm.received().len(), search.elevenlabs.received().len()), (1, 0));
        assert_eq!(search.crm.received()[0].at, later(SETTLE));
    }
}

#[tokio::test]
async fn a_conversation_source_that_is_not_configured_holds_nothing_up() {
    let mut search = Search::new().await;
    search.world.unconfigure("sources/elevenlabs/elevenlabs");
    search.world.settled(&call_status("CA1", "completed"), minutes(60)).await;
    assert_eq!(search.crm.received()[0].at, later(SETTLE));
    let said = search.world.log.lines().concat();
    assert!(said.contains("conversation source is not configured"));
}

#[tokio::test]
async fn news_after_the_delivery_is_one_update_for_who_takes_updates_and_never_a_second() {
    let mut search = Search::new().await;
    search.world.configure("sources/twilio/twilio", twilio_source(json!({})));
    search.world.settled(&call_status("CA1", "completed"), minutes(10)).await;
    assert_eq!((search.crm.received().len(), search.full.received().len()), (1, 1));

    search.world.pass(minutes(3)).await;
    search.world.settled(&machine("CA1"), minutes(10)).await;
    assert_eq!((search.crm.received().len(), search.full.received().len()), (1, 2));
    let [first, second] = &search.full.received()[..] else { panic!("two") };
    assert_eq!(first.json()["data"]["outcome"], "answered");
    assert_eq!(second.json()["data"]["outcome"], "voicemail");
    assert_eq!((first.json()["type"].clone(), second.json()["type"].clone()), {
        (json!("call.completed"), json!("call.updated"))
    });
    assert_ne!(first.header("idempotency-key"), second.header("idempotency-key"));

    search.world.pass(minutes(3)).await;
    search.world.settled(&recording("CA1"), minutes(10)).await;
    assert!(!search.world.owes().await);
    assert_eq!((search.crm.received().len(), search.full.received().len()), (1, 2));
    assert_eq!(search.world.call().call.facts.recordings.len(), 1);
}

#[tokio::test]
async fn news_that_comes_before_the_update_was_tried_goes_with_it() {
    let mut search = Search::new().await;
    search.world.configure("sources/twilio/twilio", twilio_source(json!({})));
    search.world.settled(&call_status("CA1", "completed"), minutes(10)).await;
    search.world.take(&machine("CA1")).await;
    search.world.pass(seconds(1)).await;
    search.world.settled(&recording("CA1"), minutes(10)).await;
    assert_eq!(search.full.received().len(), 2);
    let body = search.full.received()[1].json();
    assert_eq!(body["data"]["outcome"], "voicemail");
    assert_eq!(body["data"]["recordings"][0]["duration_seconds"], 58);
}

#[tokio::test]
async fn a_message_without_news_is_no_update() {
    let mut search = Search::new().await;
    search.world.configure("sources/twilio/twilio", twilio_source(json!({})));
    search.world.settled(&call_status("CA1", "completed"), minutes(10)).await;
    search.world.settled(&call_status("CA1", "ringing"), minutes(10)).await;
    assert_eq!((search.crm.received().len(), search.full.received().len()), (1, 1));
    assert_eq!(search.world.call().updates.len(), 2);
}
