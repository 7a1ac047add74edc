//! Our own format: all that is known about a call, versioned. Its schema is
//! `docs/schema/call.v1.json`. Every field is always there; null means that nothing told us.

use std::collections::BTreeSet;

use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use serde_json::Value;
use switchboard_domain::analysis::{Conclusion, Evidence, Owner, Score, Sentiment, Task, Turns};
use switchboard_domain::time::Flag;
use switchboard_domain::{
    Analysis, AnsweredBy, Call, CallRecord, Digest, Direction, Event, MatchedBy, Name, Outcome,
    Party, PartyKind, Person, Personal, Recording, Seconds, Text, Unmatched, VariantArray as _,
};

use super::{
    Kind, RenderContext, WEBHOOK_AUTHS, WEBHOOK_CANNOT, WEBHOOK_DEDUPLICATIONS, e164, no_settings,
};
use crate::exchange;

/// Fields are added under the same version; one that changes its meaning or goes away takes the next.
const VERSION: &str = "1";

#[derive(Serialize)]
struct Body<'a> {
    r#type: Event,
    version: &'static str,
    timestamp: Option<Timestamp>,
    data: Data<'a>,
}

#[derive(Serialize)]
struct Data<'a> {
    provider: &'a Name,
    source: &'a Name,
    call_id: &'a str,
    correlation_id: Digest,
    parent_call_id: Option<&'a str>,
    direction: Option<Direction>,
    outcome: Option<Outcome>,
    answered_by: Option<AnsweredBy>,
    from: Option<Side<'a>>,
    to: Option<Side<'a>>,
    contact: Option<Contact<'a>>,
    employee: Option<Employee<'a>>,
    contact_name: Option<&'a Personal>,
    campaign: Option<&'a str>,
    contact_id: Option<&'a str>,
    lead_id: Option<&'a str>,
    started_at: Option<Timestamp>,
    answered_at: Option<Timestamp>,
    ended_at: Option<Timestamp>,
    talk_seconds: Option<Seconds>,
    total_seconds: Option<Seconds>,
    billed_seconds: Option<Seconds>,
    recordings: Vec<Listen<'a>>,
    conversation_id: Option<&'a str>,
    summary: Option<&'a Personal>,
    transcript: Option<&'a str>,
    analysis: Option<Analysed<'a>>,
    tasks: Vec<Due<'a>>,
    flags: &'a BTreeSet<Flag>,
}

/// What a model made of the transcript.
#[derive(Serialize)]
struct Analysed<'a> {
    summary: &'a Personal,
    outcome: Conclusion,
    sentiment: Sentiment,
    scorecard: Vec<Scored<'a>>,
    turns: Turns,
    model: &'a str,
}

#[derive(Serialize)]
struct Scored<'a> {
    criterion: &'a str,
    asked: &'a Personal,
    score: Option<u32>,
    scale: u32,
    confidence: u32,
    evidence: &'a [Evidence],
}

/// What is to be done after the call.
#[derive(Serialize)]
struct Due<'a> {
    title: &'a Personal,
    due: Option<Date>,
    owner: Option<Owner>,
}

/// One side of a call.
#[derive(Serialize)]
struct Side<'a> {
    address: &'a str,
    kind: PartyKind,
    e164: Option<&'a str>,
}

/// The customer's side, with what the directory has for it.
#[derive(Serialize)]
struct Contact<'a> {
    #[serde(flatten)]
    side: Side<'a>,
    id: Option<&'a Name>,
    name: Option<&'a Personal>,
    external_ids: Vec<&'a Personal>,
    matched_by: Option<MatchedBy>,
    unmatched: Option<Unmatched>,
}

/// Our side, with what the directory has for it.
#[derive(Serialize)]
struct Employee<'a> {
    #[serde(flatten)]
    side: Side<'a>,
    id: Option<&'a Name>,
    matched_by: Option<MatchedBy>,
    unmatched: Option<Unmatched>,
}

#[derive(Serialize)]
struct Listen<'a> {
    id: &'a str,
    url: &'a Personal,
    duration_seconds: Option<Seconds>,
    status: Option<&'a str>,
}

/// What the format is and can.
pub const KIND: Kind = Kind {
    name: "canonical",
    events: Event::VARIANTS,
    tells_transcript: true,
    tells_analysis: true,
    deduplications: WEBHOOK_DEDUPLICATIONS,
    cannot: WEBHOOK_CANNOT,
    is_api: false,
    host: None,
    has_contacts: false,
    auths: WEBHOOK_AUTHS,
    token: None,
    check: no_settings,
    render: |_, context| {
        render(context.record, context.event, context.transcript, context.analysis)
    },
    begin: exchange::post,
};

/// The body of a call.
pub fn render(
    record: &CallRecord,
    event: Event,
    transcript: Option<&str>,
    analysis: Option<&Analysis>,
) -> Vec<u8> {
    // Texts, numbers and lists of them always serialize.
    serde_json::to_vec(&body(record, event, transcript, analysis)).unwrap_or_default()
}

/// The same as a value, for whoever makes something else of it.
pub fn document(context: &RenderContext<'_>) -> Value {
    let RenderContext { record, event, transcript, analysis } = *context;
    serde_json::to_value(body(record, event, transcript, analysis)).unwrap_or_default()
}

fn body<'a>(
    record: &'a CallRecord,
    event: Event,
    transcript: Option<&'a str>,
    analysis: Option<&'a Analysis>,
) -> Body<'a> {
    let call = &record.call;
    let facts = &call.facts;
    let people = &record.people;
    let in_place = match &facts.transcript {
        Some(Text::Inline(text)) => Some(text.expose()),
        Some(Text::Stored(_)) | None => None,
    };
    Body {
        r#type: event,
        version: VERSION,
        timestamp: if event == Event::Started { call.facts.started_at } else { ended(call) },
        data: Data {
            provider: &record.key.provider,
            source: &record.key.source,
            call_id: record.key.call_id(),
            correlation_id: record.key.correlation_id(),
            parent_call_id: facts.parent.as_deref(),
            direction: facts.direction,
            outcome: call.outcome,
            answered_by: facts.answered_by,
            from: facts.from.as_ref().map(|party| end(record, party)),
            to: facts.to.as_ref().map(|party| end(record, party)),
            contact: contact(call.contact(), people.contact.as_ref()),
            employee: employee(call.employee(), people.employee.as_ref()),
            contact_name: facts.contact_name.as_ref(),
            campaign: facts.campaign.as_deref(),
            contact_id: facts.contact_id.as_deref(),
            lead_id: facts.lead_id.as_deref(),
            started_at: facts.started_at,
            answered_at: facts.answered_at,
            ended_at: facts.ended_at,
            talk_seconds: facts.talk,
            total_seconds: facts.total,
            billed_seconds: facts.billed,
            recordings: facts.recordings.iter().filter_map(|one| listen(record, one)).collect(),
            conversation_id: facts.conversation.as_deref(),
            summary: facts.summary.as_ref(),
            transcript: transcript.or(in_place),
            analysis: analysis.map(analysed),
            tasks: analysis
                .map_or_else(Vec::new, |analysis| analysis.tasks.iter().map(due).collect()),
            flags: &facts.flags,
        },
    }
}

/// When the event happened: the end of the call and not the moment of rendering, so that every
/// rendering of a call is the same. Where no message said it, it is worked out from the start.
fn ended(call: &Call) -> Option<Timestamp> {
    let Seconds(lasted) = call.facts.total.or(call.facts.talk).unwrap_or_default();
    let worked_out = || {
        let started_at = call.facts.started_at?;
        started_at.checked_add(SignedDuration::from_secs(lasted.into())).ok()
    };
    call.facts.ended_at.or_else(worked_out)
}

/// One end of the line. What we concluded about the customer or about our own side is said of
/// the end that it is.
fn end<'a>(record: &'a CallRecord, party: &'a Party) -> Side<'a> {
    let is = |other: Option<&Party>| other == Some(party);
    let person = if is(record.call.contact()) {
        record.people.contact.as_ref()
    } else if is(record.call.employee()) {
        record.people.employee.as_ref()
    } else {
        None
    };
    side(party, person)
}

fn side<'a>(party: &'a Party, person: Option<&'a Person>) -> Side<'a> {
    Side {
        address: party.raw.expose(),
        kind: person.map_or(party.kind, |person| person.kind),
        e164: e164(Some(party), person),
    }
}

/// A side that no message names may still be known, by an id that came along.
const NOT_TOLD: Side<'static> = Side { address: "", kind: PartyKind::Unparseable, e164: None };

fn contact<'a>(party: Option<&'a Party>, person: Option<&'a Person>) -> Option<Contact<'a>> {
    let told = party.map(|party| side(party, person));
    let side = told.or_else(|| person.and(Some(NOT_TOLD)))?;
    Some(Contact {
        side,
        id: person.and_then(|person| person.entry.as_ref()),
        name: person.and_then(|person| person.name.as_ref()),
        external_ids: person.map_or_else(Vec::new, |person| person.external_ids.iter().collect()),
        matched_by: person.and_then(|person| person.matched_by),
        unmatched: person.and_then(|person| person.unmatched),
    })
}

fn employee<'a>(party: Option<&'a Party>, person: Option<&'a Person>) -> Option<Employee<'a>> {
    let told = party.map(|party| side(party, person));
    let side = told.or_else(|| person.and(Some(NOT_TOLD)))?;
    Some(Employee {
        side,
        id: person.and_then(|person| person.entry.as_ref()),
        matched_by: person.and_then(|person| person.matched_by),
        unmatched: person.and_then(|person| person.unmatched),
    })
}

fn analysed(analysis: &Analysis) -> Analysed<'_> {
    Analysed {
        summary: &analysis.summary,
        outcome: analysis.outcome,
        sentiment: analysis.sentiment,
        scorecard: analysis.scorecard.iter().map(scored).collect(),
        turns: analysis.turns,
        model: &analysis.model,
    }
}

fn scored(score: &Score) -> Scored<'_> {
    Scored {
        criterion: &score.criterion,
        asked: &score.asked,
        score: score.score,
        scale: score.scale,
        confidence: score.confidence,
        evidence: &score.evidence,
    }
}

fn due(task: &Task) -> Due<'_> {
    Due { title: &task.title, due: task.due, owner: task.owner }
}

/// A recording that can be fetched: from us, where it is copied. A path on the PBX's own disk is no
/// address.
fn listen<'a>(
    record: &'a CallRecord,
    (id, recording): (&'a String, &'a Recording),
) -> Option<Listen<'a>> {
    Some(Listen {
        id,
        url: record.address(id, recording)?,
        duration_seconds: recording.duration,
        status: recording.status.as_deref(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::testing::{
        Case, POLICY, analysis, at, destination, example, person, record,
    };
    use crate::format::{Format, RenderContext};
    use insta::assert_snapshot;
    use serde_json::Value;
    use switchboard_domain::{BlobRef, Facts, Order, State, Update};

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
        record.people.employee = Some(Person {
            unmatched: Some(Unmatched::Unknown),
            ..person(PartyKind::Extension, None)
        });
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

    fn text(record: &CallRecord, event: Event) -> String {
        String::from_utf8(render(record, event, None, None)).unwrap()
    }

    #[test]
    fn a_full_call() {
        assert_snapshot!(text(&full(), Event::Completed), @r#"{"type":"call.completed","version":"1","timestamp":"2026-02-20T09:02:05Z","data":{"provider":"twilio","source":"twilio-main","call_id":"CA00000000000000000000000000000001","correlation_id":"6932446ea73ad5d66b0238bd255805d1","parent_call_id":"CA00000000000000000000000000000000","direction":"inbound","outcome":"answered","answered_by":"human","from":{"address":"0491 570 156","kind":"e164","e164":"+61491570156"},"to":{"address":"101","kind":"extension","e164":null},"contact":{"address":"0491 570 156","kind":"e164","e164":"+61491570156","id":"c-1","name":"Zoë Q. Example","external_ids":["crm-7","lead-9"],"matched_by":"number","unmatched":null},"employee":{"address":"101","kind":"extension","e164":null,"id":null,"matched_by":null,"unmatched":"unknown"},"contact_name":"Zoë Example","campaign":"Spring","contact_id":"c-17","lead_id":"L-42","started_at":"2026-02-20T09:00:00.25Z","answered_at":"2026-02-20T09:00:05Z","ended_at":"2026-02-20T09:02:05Z","talk_seconds":120,"total_seconds":125,"billed_seconds":180,"recordings":[{"id":"RE1","url":"https://pbx.example/RE1.mp3","duration_seconds":119,"status":"completed"},{"id":"RE3","url":"https://pbx.example/RE3","duration_seconds":119,"status":"completed"}],"conversation_id":"conv_1","summary":"Wants an offer.","transcript":"Agent: Hello.\nZoë: Hi.","analysis":null,"tasks":[],"flags":["start_estimated","zone_fold"]}}"#);
    }

    #[test]
    fn a_recording_that_is_copied_is_told_by_our_link() {
        let mut record = full();
        let conversation =
            Recording { url: None, path: None, duration: Some(Seconds(60)), status: None };
        record.call.facts.recordings.insert("conversation".into(), conversation);
        let link = |id: &str| Some(Personal::new(format!("https://api.example.com/{id}")));
        let is_copied = |id: &str| id == "RE1" || id == "conversation";
        record.plan_copies(is_copied, link, at("2026-02-20T09:03:00Z"));
        let body: Value = serde_json::from_str(&text(&record, Event::Completed)).unwrap();
        let told: Vec<(&str, &str)> = body["data"]["recordings"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| (one["id"].as_str().unwrap(), one["url"].as_str().unwrap()))
            .collect();
        assert_eq!(
            told,
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
            let nobody = person(PartyKind::Unparseable, None);
            unfound.people.contact = Some(Person { unmatched: Some(why), ..nobody.clone() });
            unfound.people.employee = Some(Person { unmatched: Some(why), ..nobody });
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
                    let body = render(record, event, None, analysis.as_ref());
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
            let body = render(&record, Event::Completed, given, None);
            serde_json::from_slice::<Value>(&body).unwrap()["data"]["transcript"].clone()
        };
        assert_eq!(transcript(Some("Agent: Hello.")), "Agent: Hello.");
        assert_eq!(transcript(None), Value::Null);
    }

    #[test]
    fn an_analysis_and_its_tasks_are_told_with_their_evidence() {
        let body = render(&minimal(), Event::Updated, None, Some(&analysis()));
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_snapshot!(body["data"]["analysis"], @r#"{"model":"fake-model","outcome":"follow_up","scorecard":[{"asked":"Says who calls.","confidence":90,"criterion":"greeting","evidence":[{"quote":"Hello","turn":1}],"scale":5,"score":4},{"asked":"Says who calls.","confidence":90,"criterion":"script_1","evidence":[],"scale":5,"score":null}],"sentiment":"positive","summary":"Wants a fake offer by Monday.","turns":{"shown":2,"total":2}}"#);
        assert_snapshot!(body["data"]["tasks"], @r#"[{"due":"2026-02-23","owner":"employee","title":"Send a fake offer"},{"due":null,"owner":null,"title":"Think about it"}]"#);
    }

    #[test]
    fn no_path_of_a_pbx_is_told() {
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
        let told = Facts { summary: Some(Personal::new("Good.")), ..Facts::default() };
        let one = update("status", "2026-02-20T09:02:07Z", ended);
        let two = update("summary", "2026-02-20T09:03:00Z", told);
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
            Format::ALL.map(|format| format.render(&destination(format), &context))
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
}
