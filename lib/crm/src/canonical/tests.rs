use super::*;
use crate::registry;
use crate::testing::{Case, POLICY, analysis, at, destination, example, person, record};
use insta::assert_snapshot;
use serde_json::Value;
use switchboard_domain::{BlobRef, Facts, Order, State, Update, VariantArray as _};

fn full() -> CallRecord {
    let mut record = record(Case::Held, |facts| {
        facts.direction = Some(Direction::Inbound);
        facts.from = Party::read("0491 570 156");
        facts.to = Party::read("101");
        facts.answered_by = Some(AnsweredBy::Human);
        facts.contact_name = Some(Personal::new("Zoë Example"));
        facts.campaign = Some("Spring".into());
        facts.contact_id = Some("c-17".into());
        facts.lead_id = Some("L-42".into());
        facts.started_at = Some(at("2026-02-20T09:00:00.250Z"));
        facts.answered_at = Some(at("2026-02-20T09:00:05Z"));
        facts.talk = Some(Seconds(120));
        facts.total = Some(Seconds(125));
        facts.billed = Some(Seconds(180));
        facts.conversation = Some("conv_1".into());
        facts.summary = Some(Personal::new("Wants an offer."));
        facts.transcript = Some(Text::Inline(Personal::new("Agent: Hello.\nZoë: Hi.")));
        facts.parent = Some("CA00000000000000000000000000000000".into());
        facts.flags = [Flag::ZoneFold, Flag::StartEstimated].into();
        facts.extra = [("AccountSid".to_owned(), Personal::new("AC1"))].into();
        facts.script_context = Some(Personal::new("script"));
        let recording = |url: Option<&str>, path: Option<&str>| Recording {
            url: url.map(Personal::new),
            path: path.map(Personal::new),
            duration: Some(Seconds(119)),
            status: Some("completed".into()),
        };
        facts.recordings = [
            ("RE1".to_owned(), recording(Some("https://pbx.example/RE1.mp3"), None)),
            ("RE2".to_owned(), recording(None, Some("/var/spool/asterisk/RE2.wav"))),
            ("RE3".to_owned(), recording(Some("https://pbx.example/RE3"), Some("/var/RE3"))),
        ]
        .into();
    });
    record.people.contact = Some(Person {
        entry: Name::new("contact", "c-1").ok(),
        name: Some(Personal::new("Zoë Q. Example")),
        external_ids: ["crm-7", "lead-9"].map(Personal::new).into(),
        matched_by: Some(MatchedBy::Number),
        ..person(PartyKind::E164, Some("+61491570156"))
    });
    record.people.employee =
        Some(Person { unmatched: Some(Unmatched::Unknown), ..person(PartyKind::Extension, None) });
    record
}

/// All that is known is that it ended.
fn minimal() -> CallRecord {
    let received_at = at("2026-02-20T09:02:07Z");
    let facts = Facts { state: Some(State::Ended), ..Facts::default() };
    let update = Update::new("call_finished", Order::Unordered, received_at, facts, vec![]);
    let key = "asterisk/asterisk/ast-20260220-000123".parse().unwrap();
    CallRecord::first(key, update, POLICY, received_at)
}

fn bytes(
    record: &CallRecord,
    event: Event,
    transcript: Option<&str>,
    analysis: Option<&Analysis>,
) -> Vec<u8> {
    render(&RenderContext { record, event, transcript, analysis })
}

fn text(record: &CallRecord, event: Event) -> String {
    String::from_utf8(bytes(record, event, None, None)).unwrap()
}

#[test]
fn a_full_call() {
    assert_snapshot!(text(&full(), Event::Completed), @r#"{"type":"call.completed","version":"1","timestamp":"2026-02-20T09:02:05Z","data":{"provider":"twilio","source":"twilio-main","call_id":"CA00000000000000000000000000000001","correlation_id":"6932446ea73ad5d66b0238bd255805d1","parent_call_id":"CA00000000000000000000000000000000","direction":"inbound","outcome":"answered","answered_by":"human","from":{"address":"0491 570 156","kind":"e164","e164":"+61491570156"},"to":{"address":"101","kind":"extension","e164":null},"contact":{"address":"0491 570 156","kind":"e164","e164":"+61491570156","id":"c-1","name":"Zoë Q. Example","external_ids":["crm-7","lead-9"],"matched_by":"number","unmatched":null},"employee":{"address":"101","kind":"extension","e164":null,"id":null,"matched_by":null,"unmatched":"unknown"},"contact_name":"Zoë Example","campaign":"Spring","contact_id":"c-17","lead_id":"L-42","started_at":"2026-02-20T09:00:00.25Z","answered_at":"2026-02-20T09:00:05Z","ended_at":"2026-02-20T09:02:05Z","talk_seconds":120,"total_seconds":125,"billed_seconds":180,"recordings":[{"id":"RE1","url":"https://pbx.example/RE1.mp3","duration_seconds":119,"status":"completed"},{"id":"RE3","url":"https://pbx.example/RE3","duration_seconds":119,"status":"completed"}],"conversation_id":"conv_1","summary":"Wants an offer.","transcript":"Agent: Hello.\nZoë: Hi.","analysis":null,"tasks":[],"flags":["start_estimated","zone_fold"]}}"#);
}

#[test]
fn a_recording_that_is_copied_has_our_link() {
    let mut record = full();
    let conversation =
        Recording { url: None, path: None, duration: Some(Seconds(60)), status: None };
    record.call.facts.recordings.insert("conversation".into(), conversation);
    let link = |id: &str| Some(Personal::new(format!("https://api.example.com/{id}")));
    let is_copied = |id: &str| id == "RE1" || id == "conversation";
    record.plan_copies(is_copied, link, at("2026-02-20T09:03:00Z"));
    let body: Value = serde_json::from_str(&text(&record, Event::Completed)).unwrap();
    let links: Vec<(&str, &str)> = body["data"]["recordings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["id"].as_str().unwrap(), one["url"].as_str().unwrap()))
        .collect();
    assert_eq!(
        links,
        [
            ("RE1", "https://api.example.com/RE1"),
            ("RE3", "https://pbx.example/RE3"),
            ("conversation", "https://api.example.com/conversation"),
        ]
    );
}

#[test]
fn a_minimal_call() {
    assert_snapshot!(text(&minimal(), Event::Updated), @r#"{"type":"call.updated","version":"1","timestamp":"2026-02-20T09:02:07Z","data":{"provider":"asterisk","source":"asterisk","call_id":"ast-20260220-000123","correlation_id":"39db0f2f0475f97c84cf517f7eb107f2","parent_call_id":null,"direction":null,"outcome":null,"answered_by":null,"from":null,"to":null,"contact":null,"employee":null,"contact_name":null,"campaign":null,"contact_id":null,"lead_id":null,"started_at":"2026-02-20T09:02:07Z","answered_at":null,"ended_at":null,"talk_seconds":null,"total_seconds":null,"billed_seconds":null,"recordings":[],"conversation_id":null,"summary":null,"transcript":null,"analysis":null,"tasks":[],"flags":["start_estimated"]}}"#);
}

#[test]
fn every_body_is_valid_by_the_published_schema() {
    let mut schemas = boon::Schemas::new();
    let mut compiler = boon::Compiler::new();
    compiler.enable_format_assertions();
    let text = include_str!("../../../../docs/schema/call.v1.json");
    let schema: Value = serde_json::from_str(text).unwrap();
    let published = names(&schema["properties"]["data"]["properties"]);
    compiler.add_resource("call.v1.json", schema).unwrap();
    let schema = compiler.compile("call.v1.json", &mut schemas).unwrap();

    let mut records = vec![full(), minimal()];
    for case in Case::ALL {
        records.push(record(case, |_| {}));
    }
    for flag in [
        Flag::StartDiscarded,
        Flag::StartEstimated,
        Flag::ZoneFold,
        Flag::ZoneGap,
        Flag::ZoneUnknown,
        Flag::EndsBeforeStart,
        Flag::InFuture,
    ] {
        records.push(record(Case::Held, |facts| facts.flags = [flag].into()));
    }
    for address in ["0491 570 156", "101", "client:a", "sip:a@b", "sim:1", "anonymous", "$x"] {
        records.push(record(Case::Held, |facts| facts.to = Party::read(address)));
    }
    use MatchedBy::{Context, Created, Email, Extension, ExternalId, Number};
    for by in [Number, Extension, Email, ExternalId, Context, Created] {
        let mut found = full();
        found.people.employee.as_mut().unwrap().matched_by = Some(by);
        found.people.contact.as_mut().unwrap().matched_by = Some(by);
        records.push(found);
    }
    use Unmatched::{Ambiguous, Anonymous, Colleague, NoNumber, OwnNumber, Unknown};
    for why in [Ambiguous, OwnNumber, Colleague, Anonymous, NoNumber, Unknown] {
        let mut unfound = minimal();
        let none = person(PartyKind::Unparseable, None);
        unfound.people.contact = Some(Person { unmatched: Some(why), ..none.clone() });
        unfound.people.employee = Some(Person { unmatched: Some(why), ..none });
        records.push(unfound);
    }
    let mut analyses = vec![None, Some(analysis())];
    for outcome in Conclusion::VARIANTS.iter().copied() {
        analyses.push(Some(Analysis { outcome, tasks: vec![], ..analysis() }));
    }
    for sentiment in Sentiment::VARIANTS.iter().copied() {
        analyses.push(Some(Analysis { sentiment, scorecard: vec![], ..analysis() }));
    }
    for record in &records {
        for event in Event::VARIANTS.iter().copied() {
            for analysis in &analyses {
                let body = bytes(record, event, None, analysis.as_ref());
                let body: Value = serde_json::from_slice(&body).unwrap();
                if let Err(error) = schemas.validate(&body, schema) {
                    panic!("{error:#}\n{body:#}");
                }
                // What is written is what is published, no more and no less.
                assert_eq!(names(&body["data"]), published);
            }
        }
    }
    let page = include_str!("../../../../docs/destinations/canonical.md");
    let documented: Value = serde_json::from_str(&example(page, "Body")).unwrap();
    assert!(schemas.validate(&documented, schema).is_ok());
    assert_eq!(names(&documented["data"]), published);
    for broken in [
        serde_json::json!({"type": "call.completed", "version": "1"}),
        serde_json::json!({"type": "call.lost", "version": "1", "timestamp": null, "data": {}}),
    ] {
        assert!(schemas.validate(&broken, schema).is_err());
    }
}

fn names(object: &Value) -> BTreeSet<String> {
    object.as_object().unwrap().keys().cloned().collect()
}

#[test]
fn a_stored_transcript_is_put_in_its_place() {
    let record = record(Case::Held, |facts| {
        let digest = Digest::of(&[b"x"]);
        facts.transcript = Some(Text::Stored(BlobRef { digest, bytes: 9_000 }));
    });
    let transcript = |given: Option<&str>| {
        let body = bytes(&record, Event::Completed, given, None);
        serde_json::from_slice::<Value>(&body).unwrap()["data"]["transcript"].clone()
    };
    assert_eq!(transcript(Some("Agent: Hello.")), "Agent: Hello.");
    assert_eq!(transcript(None), Value::Null);
}

#[test]
fn an_analysis_and_its_tasks_are_there_with_their_evidence() {
    let body = bytes(&minimal(), Event::Updated, None, Some(&analysis()));
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_snapshot!(body["data"]["analysis"], @r#"{"model":"fake-model","outcome":"follow_up","scorecard":[{"asked":"Says who calls.","confidence":90,"criterion":"greeting","evidence":[{"quote":"Hello","turn":1}],"scale":5,"score":4},{"asked":"Says who calls.","confidence":90,"criterion":"script_1","evidence":[],"scale":5,"score":null}],"sentiment":"positive","summary":"Wants a fake offer by Monday.","turns":{"shown":2,"total":2}}"#);
    assert_snapshot!(body["data"]["tasks"], @r#"[{"due":"2026-02-23","owner":"employee","title":"Send a fake offer"},{"due":null,"owner":null,"title":"Think about it"}]"#);
}

#[test]
fn no_path_of_a_pbx_is_there() {
    assert!(!text(&full(), Event::Completed).contains("/var"));
}

#[test]
fn the_order_in_which_messages_arrive_changes_no_byte() {
    let update = |kind: &str, received_at: &str, facts: Facts| {
        let raw = kind.as_bytes().to_vec();
        Update::new(kind, Order::Unordered, at(received_at), facts, raw)
    };
    let ended = Facts {
        state: Some(State::Ended),
        ended_at: Some(at("2026-02-20T09:02:05Z")),
        talk: Some(Seconds(60)),
        ..Facts::default()
    };
    let late = Facts { summary: Some(Personal::new("Good.")), ..Facts::default() };
    let one = update("status", "2026-02-20T09:02:07Z", ended);
    let two = update("summary", "2026-02-20T09:03:00Z", late);
    let bodies = [[&one, &two], [&two, &one]].map(|[first, second]| {
        let key = "twilio/twilio/CA1".parse().unwrap();
        let mut record = CallRecord::first(key, first.clone(), POLICY, first.received_at);
        record.absorb(second.clone(), POLICY, second.received_at);
        record.version = u64::from(first.kind == "status");
        let context = RenderContext {
            record: &record,
            event: Event::Completed,
            transcript: None,
            analysis: Some(&analysis()),
        };
        let render = |format: &&Capabilities| destination(format.name).format.render(&context);
        registry::FORMATS.iter().map(render).collect::<Vec<_>>()
    });
    assert_eq!(bodies[0], bodies[1]);
}

#[test]
fn the_timestamp_is_the_end_of_the_call() {
    let of = |change: fn(&mut Facts)| ended(&record(Case::Held, change).call);
    assert_eq!(of(|_| {}), Some(at("2026-02-20T09:02:05Z")));
    let no_end = of(|facts| {
        facts.ended_at = None;
        facts.started_at = Some(at("2026-02-20T09:00:00Z"));
        facts.total = Some(Seconds(130));
    });
    assert_eq!(no_end, Some(at("2026-02-20T09:02:10Z")));
    // No time at all: when we first heard of it, as the fold estimates.
    assert_eq!(ended(&minimal().call), Some(at("2026-02-20T09:02:07Z")));
}
