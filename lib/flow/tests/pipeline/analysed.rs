//! The arrival of a call's analysis, and the deliveries then: one create, and at most one update.

use serde_json::{Value, json};
use switchboard_domain::{AnalysisState, LookupState, Work};
use switchboard_queue::Job;

use crate::effects::{Fault, Which};
use crate::models::{Oracle, Says};
use crate::samples::{asterisk, call_status, call_status_at, conversation};
use crate::servers::{Answer, Crm, ElevenLabs, Talk, status, with};
use crate::world::{SETTLE, World, both, later, merged, minutes, seconds, twilio_source};

const APIS: [&str; 3] = ["bedrock", "openai", "json_schema"];

struct Case {
    world: World,
    flat: Crm,
    full: Crm,
    model: Oracle,
}

impl Case {
    async fn new(api: &str) -> Self {
        let mut world = World::new();
        let flat = world.crm("flat", "conversation-ai", json!({})).await;
        let full = world.crm("full", "canonical", both()).await;
        let model = world.model(api).await;
        world.configure(
            "sources/intake/intake",
            json!({"secrets": ["fake-intake-secret"], "country": "RU", "analyze": {
                "criteria": [{"name": "greeting", "description": "Says who calls."}],
            }}),
        );
        Self { world, flat, full, model }
    }

    /// The deliveries to the CRM that takes updates: the seconds until then, the event, whether it has
    /// the analysis.
    fn deliveries(&self) -> Vec<(i64, String, bool)> {
        let summary = |one: &crate::servers::Received| {
            let body = one.json();
            let at = one.at.duration_since(later(0)).as_secs();
            (at, body["type"].as_str().unwrap().to_owned(), body["data"]["analysis"].is_object())
        };
        self.full.received().iter().map(summary).collect()
    }

    /// The one summary of the CRM that takes no updates.
    fn flat_summary(&self) -> Value {
        let received = self.flat.received();
        assert_eq!(received.len(), 1, "one entry");
        received[0].json()["summary"].clone()
    }

    fn state(&self) -> Option<AnalysisState> {
        self.world.call().analysis.map(|mark| mark.state)
    }
}

fn call(more: Value) -> crate::samples::Webhook {
    let transcript = "Agent: Hello, this is Fake Ltd.\nCustomer: Call me on Monday.";
    let base = json!({"startedAt": "2026-02-20T09:00:00Z", "transcriptRaw": transcript});
    asterisk("ast-1", merged(base, more))
}

fn completed(at: i64, with_it: bool) -> (i64, String, bool) {
    (at, "call.completed".into(), with_it)
}

#[tokio::test]
async fn an_analysis_that_comes_at_once_is_in_the_create_whatever_api_it_comes_from() {
    for api in APIS {
        let mut case = Case::new(api).await;
        case.world.settled(&call(json!({})), minutes(60)).await;
        assert!(!case.world.owes().await);
        assert_eq!(case.deliveries(), [completed(0, true)], "{api}");
        assert_eq!(case.flat_summary(), "A fake analysis of the talk.");
        assert_eq!(case.model.received().len(), 1);
        let data = case.full.received()[0].json()["data"].clone();
        let score = json!({
            "criterion": "greeting", "asked": "Says who calls.", "score": 5, "scale": 5,
            "confidence": 80, "evidence": [{"turn": 1, "quote": "Hello, this is Fake Ltd."}],
        });
        assert_eq!(data["analysis"]["scorecard"], json!([score]));
        assert_eq!(
            data["tasks"],
            json!([{"title": "Call back", "due": "2026-02-23", "owner": "employee"}])
        );
        let record = case.world.call();
        let mark = record.analysis.unwrap();
        assert_eq!(
            (mark.state, mark.tasks, mark.attempts, mark.runs),
            (AnalysisState::Done, 1, 1, 1)
        );
        assert_eq!((mark.tokens.input, mark.tokens.output), (700, 90));
        let kept = case.world.store.analysis(&record.key).await.unwrap().unwrap();
        assert_eq!(Some(kept.digest()), mark.digest);
        assert_eq!((kept.tokens, kept.model.as_str()), (mark.tokens, "fake.model-v1:0"));
    }
}

#[tokio::test]
async fn the_providers_summary_goes_before_the_analysis() {
    let mut case = Case::new("openai").await;
    case.world.settled(&call(json!({"summary": "The provider's own."})), minutes(60)).await;
    assert_eq!(case.flat_summary(), "The provider's own.");
    assert_eq!(case.deliveries(), [completed(0, true)]);
}

#[tokio::test]
async fn a_model_in_trouble_is_waited_for_a_minute_and_then_its_analysis_is_the_update() {
    for (troubles, create, update) in [
        // Asked at 0 and after 10 seconds and a little: within the minute.
        (vec![Says::Http(status(500))], completed(10, true), None),
        (vec![Says::Http(with(429, "retry-after", "30"))], completed(30, true), None),
        // After 10 and then 30 and a little.
        (vec![Says::Http(status(503)), Says::Http(Answer::Close)], completed(42, true), None),
        (vec![Says::Http(with(429, "retry-after", "300"))], completed(60, false), Some(300)),
        (vec![Says::Http(status(503)); 3], completed(60, false), Some(160)),
    ] {
        let mut case = Case::new("openai").await;
        case.model.says(troubles.clone());
        case.world.settled(&call(json!({})), minutes(300)).await;
        assert!(!case.world.owes().await);
        let all = case.deliveries();
        assert_eq!(all.len(), 1 + usize::from(update.is_some()), "{all:?}");
        let (at, event, with_it) = &all[0];
        assert_eq!((event.as_str(), *with_it), ("call.completed", create.2), "{troubles:?}");
        assert!((create.0..=create.0 + 8).contains(at), "{troubles:?}: {all:?}");
        if let Some(least) = update {
            let (at, event, with_it) = &all[1];
            assert_eq!((event.as_str(), *with_it), ("call.updated", true));
            assert!((least..=least + 60).contains(at), "{troubles:?}: {all:?}");
        }
        assert_eq!(case.state(), Some(AnalysisState::Done));
        assert_eq!(case.flat.received().len(), 1);
    }
}

#[tokio::test]
async fn a_model_that_never_answers_is_given_up_and_the_call_says_why() {
    let mut case = Case::new("bedrock").await;
    case.model.always(Says::Http(status(500)));
    case.world.settled(&call(json!({})), minutes(600)).await;
    assert!(!case.world.owes().await);
    assert_eq!(case.deliveries(), [completed(60, false)]);
    assert_eq!(case.flat_summary(), "");
    let mark = case.world.call().analysis.unwrap();
    assert_eq!((mark.state, mark.attempts), (AnalysisState::Failed, 7));
    assert_eq!(mark.reason.as_deref(), Some("the model is in trouble (500)"));
    assert_eq!((case.model.received().len(), mark.digest, mark.tasks), (7, None, 0));
    // Nothing is tried for ever.
    case.world.pass(minutes(600)).await;
    assert_eq!(case.model.received().len(), 7);
}

#[tokio::test]
async fn a_source_says_how_long_is_waited() {
    let mut case = Case::new("openai").await;
    case.model.says([Says::Http(status(500))]);
    let analyze = json!({"wait_seconds": 5});
    let source = json!({"secrets": ["fake-intake-secret"], "country": "RU", "analyze": analyze});
    case.world.configure("sources/intake/intake", source);
    case.world.settled(&call(json!({})), minutes(60)).await;
    let all = case.deliveries();
    assert_eq!(all[0], completed(5, false));
    assert_eq!((all.len(), all[1].2), (2, true));
    assert!(all[1].0 <= 13, "{all:?}");
}

#[tokio::test]
async fn a_call_decides_for_itself_whether_it_is_analysed() {
    let off = json!({"secrets": ["fake-intake-secret"], "country": "RU"});
    for (source_says, call_says, asked) in [
        (json!({"on": true}), Value::Null, 1),
        (json!({"on": false}), Value::Null, 0),
        (json!({"on": true}), json!(false), 0),
        (json!({"on": false}), json!(true), 1),
        (Value::Null, json!(true), 1),
        (Value::Null, Value::Null, 0),
    ] {
        let mut case = Case::new("openai").await;
        let mut source = off.clone();
        if !source_says.is_null() {
            source["analyze"] = source_says.clone();
        }
        case.world.configure("sources/intake/intake", source);
        let more = match &call_says {
            Value::Null => json!({}),
            said => json!({"autoAnalyze": said}),
        };
        case.world.settled(&call(more), minutes(60)).await;
        assert_eq!(case.model.received().len(), asked, "{source_says} {call_says}");
        assert_eq!(case.deliveries(), [completed(0, asked == 1)]);
        assert_eq!(case.state(), (asked == 1).then_some(AnalysisState::Done));
    }
}

#[tokio::test]
async fn a_call_without_a_transcript_is_not_analysed_and_says_nothing_of_it() {
    for more in [json!({"transcriptRaw": ""}), json!({"transcriptRaw": " \n"})] {
        let mut case = Case::new("openai").await;
        case.world.settled(&call(merged(json!({"autoAnalyze": true}), more)), minutes(60)).await;
        assert_eq!(case.deliveries(), [completed(0, false)]);
        assert_eq!((case.state(), case.model.received().len()), (None, 0));
    }
}

#[tokio::test]
async fn without_a_model_the_call_says_so_and_goes_on_at_once() {
    let mut case = Case::new("openai").await;
    case.world.unconfigure("models/default");
    case.world.settled(&call(json!({})), minutes(60)).await;
    assert_eq!(case.deliveries(), [completed(0, false)]);
    let mark = case.world.call().analysis.unwrap();
    assert_eq!(
        (mark.state, mark.reason.as_deref()),
        (AnalysisState::Off, Some("no model configured"))
    );
    assert!(!case.world.owes().await);
}

#[tokio::test]
async fn a_model_that_is_misconfigured_is_waited_for() {
    let mut case = Case::new("openai").await;
    let said = case.world.misconfigure("models/default", r#"{"api": "openai", "model": "x"}"#);
    assert!(said.contains("models/default") && said.contains("base_url"), "{said}");
    case.world.take(&call(json!({}))).await;
    case.world.pass(seconds(70)).await;
    assert_eq!(
        (case.deliveries(), case.state()),
        (vec![completed(60, false)], Some(AnalysisState::Waiting))
    );
    case.world.configure("models/default", case.model.parameter("openai"));
    case.world.settle(minutes(60)).await;
    assert_eq!(case.deliveries().len(), 2);
    assert_eq!(case.state(), Some(AnalysisState::Done));
}

#[tokio::test]
async fn tasks_are_made_only_where_they_are_wanted() {
    let mut case = Case::new("openai").await;
    case.world.settled(&call(json!({"createTasks": false})), minutes(60)).await;
    let mark = case.world.call().analysis.unwrap();
    assert_eq!((mark.state, mark.tasks), (AnalysisState::Done, 0));
    assert_eq!(case.full.received()[0].json()["data"]["tasks"], json!([]));
    let schema = case.model.received()[0].json();
    assert!(!schema.to_string().contains("\"tasks\""));
}

#[tokio::test]
async fn a_script_is_judged_by_its_points() {
    let mut case = Case::new("bedrock").await;
    let script = "1. Say the company's name\n2. Ask for the day";
    case.world.settled(&call(json!({"scriptContext": script})), minutes(60)).await;
    let data = case.full.received()[0].json()["data"].clone();
    let names: Vec<&str> = data["analysis"]["scorecard"]
        .as_array()
        .unwrap()
        .iter()
        .map(|score| score["criterion"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["greeting", "script_1", "script_2"]);
    assert_eq!(data["analysis"]["scorecard"][2]["asked"], "Ask for the day");
}

#[tokio::test]
async fn a_long_transcript_is_read_from_where_it_is_stored_and_cut_by_turns() {
    let mut case = Case::new("openai").await;
    let mut parameter = case.model.parameter("openai");
    parameter["max_transcript_chars"] = json!(2_000);
    case.world.configure("models/default", parameter);
    let long: String = (1..=400).map(|n| format!("Agent: fake turn number {n:04}.\n")).collect();
    case.world.settled(&call(json!({"transcriptRaw": long})), minutes(60)).await;
    let turns = case.full.received()[0].json()["data"]["analysis"]["turns"].clone();
    assert_eq!(turns["total"], 400);
    let prompt = case.model.prompts().remove(0);
    assert!(prompt.contains("number 0001.") && prompt.contains("number 0400."), "{prompt}");
    assert!(!prompt.contains("number 0200.") && prompt.contains("left_out"));
    let shown = prompt.matches("fake turn number").count();
    assert_eq!(turns["shown"], shown);
}

#[tokio::test]
async fn another_transcript_is_analysed_again_and_told_once() {
    let mut case = Case::new("openai").await;
    case.world.settled(&call(json!({"sequence": 1})), minutes(60)).await;
    let first = case.world.call().analysis.unwrap();
    let fuller =
        json!({"transcriptRaw": "Agent: Hello.\nCustomer: Monday.\nAgent: Good.", "sequence": 2});
    case.model.says([Says::Changed(|answer| {
        answer["summary"] = json!("Another fake analysis.");
        answer["tasks"] = json!([]);
    })]);
    case.world.settled(&call(fuller), minutes(60)).await;
    let second = case.world.call().analysis.unwrap();
    assert_eq!((second.state, second.runs, second.tasks), (AnalysisState::Done, 2, 0));
    assert_eq!(second.tokens.input, 1_400);
    assert!(first.digest.is_some() && first.digest != second.digest);
    let all = case.deliveries();
    assert_eq!((all.len(), all[1].1.as_str()), (2, "call.updated"));
    let body = case.full.received()[1].json();
    assert_eq!(body["data"]["analysis"]["summary"], "Another fake analysis.");
    assert_eq!(body["data"]["tasks"], json!([]));
}

#[tokio::test]
async fn an_update_waits_for_the_analysis_and_tells_both() {
    let mut case = Case::new("openai").await;
    // A call that was case before its transcript came.
    case.world.settled(&call(json!({"transcriptRaw": "", "sequence": 1})), minutes(60)).await;
    assert_eq!(case.deliveries().len(), 1);
    case.model.says([Says::Http(with(429, "retry-after", "600"))]);
    let late = json!({"sequence": 2, "summary": "A late summary."});
    case.world.take(&call(late)).await;
    case.world.pass(minutes(9)).await;
    assert_eq!(case.deliveries().len(), 1, "the update waits");
    case.world.settle(minutes(60)).await;
    let all = case.deliveries();
    assert_eq!((all.len(), all[1].1.as_str(), all[1].2), (2, "call.updated", true));
    assert_eq!(case.full.received()[1].json()["data"]["summary"], "A late summary.");
    assert_eq!(case.flat.received().len(), 1);
}

#[tokio::test]
async fn an_update_that_waited_for_an_analysis_in_vain_is_told_without() {
    let mut case = Case::new("openai").await;
    case.world.settled(&call(json!({"transcriptRaw": "", "sequence": 1})), minutes(60)).await;
    case.model.always(Says::Refusal);
    case.world
        .settled(&call(json!({"sequence": 2, "summary": "A late summary."})), minutes(60))
        .await;
    let all = case.deliveries();
    assert_eq!((all.len(), all[1].1.as_str(), all[1].2), (2, "call.updated", false));
    assert_eq!(case.state(), Some(AnalysisState::Failed));
}

#[tokio::test]
async fn what_is_called_off_meanwhile_is_not_told() {
    let mut case = Case::new("openai").await;
    case.model.says([Says::Http(with(429, "retry-after", "300"))]);
    case.world.take(&call(json!({"sequence": 1}))).await;
    case.world.pass(seconds(20)).await;
    assert_eq!(case.deliveries(), []);
    case.world.settled(&call(json!({"sequence": 2, "autoAnalyze": false})), minutes(60)).await;
    assert!(!case.world.owes().await);
    assert_eq!(case.deliveries(), [completed(20, false)]);
    assert_eq!((case.state(), case.model.received().len()), (None, 1));
}

// --- With a conversation whose summary and transcript come in every order ---

struct Search {
    case: Case,
    elevenlabs: ElevenLabs,
}

impl Search {
    async fn new() -> Self {
        let mut case = Case::new("bedrock").await;
        let elevenlabs = case.world.elevenlabs().await;
        let source = json!({"conversations": {"source": "elevenlabs"}, "analyze": {}});
        case.world.configure("sources/twilio/twilio", twilio_source(source));
        Self { case, elevenlabs }
    }

    fn holds(&self, ready_at: jiff::Timestamp) {
        self.elevenlabs.holds(Talk::on("CA1", ready_at));
    }

    /// One call of Twilio's, and two hours.
    async fn call(&mut self) {
        let target = "/call-status-callback?conversation_id=conv_1";
        self.case.world.take(&call_status_at(target, "CA1", "completed")).await;
        self.case.world.pass(minutes(120)).await;
        assert!(!self.case.world.owes().await);
    }

    /// ElevenLabs' webhook about the call.
    async fn webhook(&mut self) {
        let data = json!({
            "agent_id": "agent_sample", "conversation_id": "conv_1", "status": "done",
            "transcript": [{"role": "agent", "message": "Fake-Transcript-Line."}],
            "metadata": {
                "start_time_unix_secs": 1_771_578_009, "call_duration_secs": 60,
                "phone_call": {"type": "twilio", "direction": "outbound", "call_sid": "CA1"},
            },
            "analysis": {"transcript_summary": "A fake summary."},
        });
        let webhook = conversation(data, self.case.world.now());
        self.case.world.take(&webhook).await;
    }
}

#[tokio::test]
async fn a_conversation_that_is_ready_at_once_or_after_a_minute_is_told_once_with_its_analysis() {
    for (ready, asked) in [(0, 0), (60, 75)] {
        let mut search = Search::new().await;
        search.holds(later(ready));
        search.call().await;
        assert_eq!(search.case.deliveries(), [completed(SETTLE + asked, true)]);
        assert_eq!(search.case.flat_summary(), "A fake summary.");
        assert_eq!(search.case.model.received().len(), 1);
        assert_eq!(search.case.world.call().lookup.unwrap().state, LookupState::Found);
    }
}

#[tokio::test]
async fn a_conversation_that_is_ready_after_its_deadline_or_never_is_told_without() {
    for ready in [20 * 60, 1_000_000_000] {
        let mut search = Search::new().await;
        search.holds(later(ready));
        search.call().await;
        assert_eq!(search.case.deliveries(), [completed(SETTLE + 600, false)]);
        assert_eq!(search.case.flat_summary(), "");
        assert_eq!((search.case.state(), search.case.model.received().len()), (None, 0));
    }
}

#[tokio::test]
async fn a_webhook_before_the_calls_end_is_told_once_with_its_analysis() {
    let mut search = Search::new().await;
    search.webhook().await;
    search.case.world.pass(seconds(30)).await;
    assert_eq!(search.case.model.received().len(), 0, "the call is not over");
    search.call().await;
    assert_eq!(search.case.deliveries(), [completed(30 + SETTLE, true)]);
    assert_eq!(search.case.flat_summary(), "A fake summary.");
}

#[tokio::test]
async fn a_webhook_after_the_deadline_is_one_update_with_summary_and_analysis() {
    for troubles in [vec![], vec![Says::Http(status(500)); 4]] {
        let mut search = Search::new().await;
        search.holds(later(1_000_000_000));
        search.case.model.says(troubles.clone());
        search.call().await;
        assert_eq!(search.case.deliveries(), [completed(SETTLE + 600, false)]);
        search.webhook().await;
        search.case.world.pass(minutes(120)).await;
        assert!(!search.case.world.owes().await);
        let all = search.case.deliveries();
        assert_eq!((all.len(), all[1].1.as_str(), all[1].2), (2, "call.updated", true));
        let data = search.case.full.received()[1].json()["data"].clone();
        assert_eq!(data["summary"], "A fake summary.");
        assert_eq!(search.case.flat.received().len(), 1);
        assert_eq!(search.case.model.received().len(), 1 + troubles.len());
    }
}

// --- Faults ---

#[tokio::test]
async fn two_analyze_workers_at_once_ask_once() {
    let mut case = Case::new("openai").await;
    case.world.take(&call(json!({}))).await;
    let jobs = case.world.take_jobs();
    case.world.work(&jobs[0]).await.unwrap();
    let mut jobs = case.world.take_jobs();
    jobs.retain(|job| matches!(job, Job::Analyze { .. }));
    let [job] = &jobs[..] else { panic!("{jobs:?}") };
    case.world.work_twice(job).await;
    assert_eq!(case.model.received().len(), 1);
    case.world.work(job).await.unwrap();
    case.world.settle(minutes(10)).await;
    assert_eq!((case.model.received().len(), case.deliveries().len()), (1, 1));
}

#[tokio::test]
async fn a_fault_at_any_effect_costs_no_analysis_and_no_second_entry() {
    let mut hit = std::collections::BTreeSet::new();
    for fault in [Fault::Crash, Fault::AnswerLost, Fault::Refused] {
        for k in 1.. {
            let mut case = Case::new("bedrock").await;
            case.world.effects.arm(Which::Nth(k), fault);
            let webhook = call(json!({}));
            case.world.redelivered = vec![webhook.clone()];
            let reply = case.world.post(&webhook).await;
            if reply.is_none_or(|reply| reply.status != 200) {
                case.world.take(&webhook).await;
            }
            case.world.settle(minutes(60 * 12)).await;
            let context = format!("{fault:?} at effect {k}: {:?}", case.world.effects.hit());
            assert!(!case.world.owes().await, "{context}");
            assert_eq!(case.full.entries().keys().count(), case.told_events(), "{context}");
            assert!(case.told_events() <= 2, "{context}");
            assert_eq!(case.flat.entries().len(), 1, "{context}");
            assert_eq!(case.state(), Some(AnalysisState::Done), "{context}");
            // Who was case first without it is case again; in the end everybody has it.
            let last = case.full.received().last().unwrap().json();
            assert!(last["data"]["analysis"].is_object(), "{context}");
            // It is paid for once more only where the answer was lost with its worker.
            assert!(case.model.received().len() <= 2, "{context}");
            let Some(what) = case.world.effects.hit() else { break };
            hit.insert(what);
        }
    }
    assert!(hit.contains("model") && hit.contains("put call and analysis"), "{hit:?}");
}

impl Case {
    /// How many different events the CRM that takes updates was case.
    fn told_events(&self) -> usize {
        let types: std::collections::BTreeSet<String> =
            self.deliveries().into_iter().map(|(_, event, _)| event).collect();
        types.len()
    }
}

#[tokio::test]
async fn a_job_that_was_lost_is_sent_by_the_sweep() {
    let mut case = Case::new("openai").await;
    case.world.take(&call(json!({}))).await;
    let jobs = case.world.take_jobs();
    case.world.work(&jobs[0]).await.unwrap();
    case.world.take_jobs();
    assert!(case.world.call().owed.contains_key(&Work::Analyze));
    case.world.settle(minutes(10)).await;
    assert_eq!(case.state(), Some(AnalysisState::Done));
    assert!(case.deliveries()[0].0 <= 60, "{:?}", case.deliveries());
}

#[tokio::test]
async fn a_worker_that_stops_each_time_is_given_up() {
    let mut case = Case::new("openai").await;
    case.world.returns = false;
    case.world.take(&call(json!({}))).await;
    for _ in 0..80 {
        case.world.effects.arm(Which::Next("model"), Fault::Crash);
        case.world.pass(seconds(30)).await;
    }
    case.world.effects.disarm();
    case.world.settle(minutes(60)).await;
    let mark = case.world.call().analysis.unwrap();
    assert_eq!(mark.state, AnalysisState::Failed);
    assert_eq!(mark.reason.as_deref(), Some("its worker stopped each time before it was done"));
    assert_eq!(case.model.received().len(), 7);
    assert!(!case.world.owes().await);
}

#[tokio::test]
async fn a_call_that_nobody_wants_analysed_costs_what_it_did() {
    let mut world = World::new();
    world.crm("crm", "canonical", json!({})).await;
    world.settled(&call_status("CA1", "completed"), minutes(10)).await;
    let log = world.effects.log();
    let enrich = [
        "create contact",
        "put call and deliveries",
        "put activity",
        "put contact",
        "put call",
        "send",
    ];
    let all = [&["put call", "send"][..], &enrich, &["put delivery", "crm", "put delivery"]];
    assert_eq!(log, all.concat());
}
