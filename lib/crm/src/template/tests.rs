use insta::assert_snapshot;
use proptest::prelude::*;
use serde_json::{Value as Json, json};
use switchboard_domain::delivery::{Remote, Verdict};
use switchboard_domain::{
    CallRecord, Event, Facts, Outcome as CallOutcome, Party, PartyKind, Personal, Seconds,
};

use super::*;
use crate::testing::any_call::any_record;
use crate::testing::{Case, Scripted, configured, deliver, person, record, rendered, response};

const TICKET: &str = r#"{
  "kind": {{ "Missed call" if data.outcome == "no_answer" else "Call" }},
  "subject": {{ (data.campaign | default("Call")) ~ " with " ~ (data.contact_name | default("a customer")) }},
  "phone": {{ data.contact.e164 | digits }},
  "length": {{ data.talk_seconds | mmss }},
  "at": {{ data.started_at | local("Europe/Berlin") }},
  "note": {{ data.summary | default("") | cut(40) }},
  "recordings": [{% for one in data.recordings %}{{ one.url }}{% if not loop.last %},{% endif %}{% endfor %}]
}"#;

fn settings(template: &str) -> Json {
    json!({ "template": template })
}

fn checked(settings: Json) -> Result<(), ConfigError> {
    Settings::read(settings)?.check()
}

fn check(template: &str) -> Result<(), String> {
    checked(settings(template)).map_err(|error| error.to_string())
}

fn refused(template: &str) -> String {
    check(template).expect_err(template)
}

fn document(record: &CallRecord) -> Json {
    let event = Event::Completed;
    canonical::document(&RenderContext { record, event, transcript: None, analysis: None })
}

fn of(template: &str, record: &CallRecord) -> String {
    let document = document(record);
    String::from_utf8(make(template, &document).unwrap()).unwrap()
}

fn made(template: &str, change: impl FnOnce(&mut Facts)) -> Json {
    serde_json::from_str(&of(template, &record(Case::Held, change))).unwrap()
}

#[test]
fn every_outcome() {
    let bodies = Case::ALL.map(|case| format!("{case:?}: {}", of(TICKET, &record(case, |_| {}))));
    assert_snapshot!(bodies.join("\n"));
}

#[test]
fn what_is_good_is_taken() {
    for template in [
        TICKET,
        "{{ data }}",
        "null",
        r#"{"a": {{ data.contact.name }}, "b": {{ data.contact }}, "c": {{ timestamp }}}"#,
        r#"{"a": {{ data.source | tojson }} }"#,
        r#"{"a": {{ data["source"] }} }"#,
        r#"{% set c = data.contact %}{"n": {{ c.name }}, "ids": {{ c.external_ids | join(", ") }} }"#,
        r#"{"a": {{ data.recordings[0].url if data.recordings else none }} }"#,
        r#"{"a": {{ data.contact is none }}, "b": {{ data.talk_seconds | string }} }"#,
        r#"{"list": {{ [data.source, {"b": data.talk_seconds}] }} }"#,
        r#"{# a | nothing #}{"a": 1}"#,
        r#"{"a": {{ "x | nothing" }} }"#,
        r#"{"a": {{ data.started_at | local("Asia/Tokyo", "%d.%m.%Y %H:%M") }} }"#,
    ] {
        assert_eq!(check(template), Ok(()), "{template}");
    }
}

#[test]
fn an_unknown_field_is_refused_with_the_nearest() {
    for (template, expected) in [
        (
            "{{ data.contact.nmae }}",
            "line 1: there is no data.contact.nmae: the nearest is data.contact.name",
        ),
        ("{}\n{{ data.sumary }}", "line 2: there is no data.sumary: the nearest is data.summary"),
        ("{{ dat.summary }}", "line 1: there is no dat: the nearest is data"),
        ("{{ summary }}", "line 1: there is no summary: the nearest is "),
        ("{{ data.outcome.word }}", "line 1: data.outcome is one value and has no word"),
        ("{{ data.recordings.url }}", "line 1: data.recordings is a list and has no url"),
        // Where no path leads straight to it, the rendering of a sample finds it.
        (
            "[{% for r in data.recordings %}{{ r.urll }}{% endfor %}]",
            "there is no data.recordings.urll: the nearest is data.recordings.url",
        ),
        (
            "{% set c = data.contact %}\n{{ c.nam }}",
            "line 2: there is no data.contact.nam: the nearest is data.contact.name",
        ),
        ("{{ data['sumary'] }}", "there is no data.sumary: the nearest is data.summary"),
        // In a branch that no sample takes.
        (
            "{% if data.talk_seconds == 7 and data.outcome == 'x' %}{{ data.sumary }}{% endif %}1",
            "line 1: there is no data.sumary",
        ),
        ("{{ data.sumary is defined }}", "there is no data.sumary"),
        ("{{ data.sumary | default('') }}", "there is no data.sumary"),
    ] {
        let error = refused(template);
        assert!(error.starts_with("settings.template: "), "{error}");
        assert!(error.contains(expected), "{template}\n{error}");
    }
}

#[test]
fn an_unknown_filter_or_test_is_refused_even_where_it_is_never_reached() {
    for (template, expected) in [
        ("{{ data.source | uper }}", "line 1: there is no filter uper: the nearest is upper"),
        (
            "{% if data.outcome == 'x' and data.outcome == 'y' %}\n{{ data.source | loewr }}{% endif %}1",
            "line 2: there is no filter loewr: the nearest is lower",
        ),
        ("{% filter uper %}x{% endfilter %}", "there is no filter uper"),
        ("{%- filter uper -%}x{% endfilter %}", "there is no filter uper"),
        ("{{ data.source is nothing }}", "there is no test nothing: the nearest is"),
        ("{{ data.source is not strng }}", "there is no test strng: the nearest is string"),
        // Neither may what others have lead out of JSON, or run for long.
        ("{{ data.source | safe }}", "there is no filter safe"),
        ("{{ range(10) }}", "there is no range"),
    ] {
        assert!(refused(template).contains(expected), "{template}\n{}", refused(template));
    }
}

#[test]
fn what_does_not_work_is_refused_with_its_line() {
    for (template, expected) in [
        ("{\n{{ data.source }\n}", "line 2"),
        ("{% if data.source %}1", "line 1"),
        ("{\n\"a\": {% endif %}}", "line 2"),
        ("{% include 'x' %}", "line 1"),
        (
            "{\"a\": {{ 1 if data.source == 'x' }} }",
            "line 1: there is nothing to write: an if without an else",
        ),
        ("{% macro a() %}{{ a() }}{% endmacro %}1", "line 1"),
        (r#"{"a": "{{ data.source }}"}"#, "makes no JSON"),
        (r#"{"a": {{ data.source }}, }"#, "makes no JSON of a call of which all is known"),
        (r#"{"a": 1}{"a": 2}"#, "makes no JSON"),
        // A hundred recordings are one comma too many.
        ("[{% for one in data.recordings %}{{ one.url }}{% endfor %}]", "with two recordings"),
        // Nothing cannot be reckoned with.
        ("{\n\"m\": {{ data.talk_seconds / 60 }} }", "line 2"),
        ("{{ data.started_at | local('Europe/Berln') }}", "there is no time zone of that name"),
        ("{{ data.started_at | local('UTC', '%Q%') }}", "this is no format of a time"),
        ("{{ data.source | mmss }}", "this is no whole number of seconds"),
        ("{{ data.talk_seconds | digits }}", "a number is no text"),
        // Only calls of what the template compares with come here.
        (
            r#"{% if data.campaign == "Spring 2026" %}oops{% else %}1{% endif %}"#,
            "with a text of the template's own",
        ),
        ("{% if data.talk_seconds > 600 %}oops{% else %}1{% endif %}", "that lasted 601 seconds"),
        (
            "{% if data.direction == 'internal' %}oops{% else %}1{% endif %}",
            "whose direction is internal",
        ),
        (
            r#"{% if type == "call.updated" %}oops{% else %}1{% endif %}"#,
            "delivered as call.updated",
        ),
        (
            "[{% for a in data.recordings %}{% for b in data.recordings %}{% for c in data.recordings %}{% endfor %}{% endfor %}{% endfor %}]",
            "runs for too long",
        ),
        ("{{ 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa' * 200000 }}", "makes a body larger than 4 MiB"),
        ("", "must not be empty"),
        (" \n", "must not be empty"),
    ] {
        let error = refused(template);
        assert!(error.starts_with("settings.template: "), "{error}");
        assert!(error.contains(expected), "{template}\n{error}");
    }
    assert_eq!(check(&format!("{{# {} #}}1", "x".repeat(8_185))), Ok(()));
    assert!(
        refused(&format!("{{# {} #}}1", "x".repeat(8_186))).contains("nor longer than 8192 bytes")
    );
}

#[test]
fn deep_nesting_ends_with_an_error_and_not_with_the_stack() {
    for template in
        ["(".repeat(4_000), "[".repeat(4_000), "{% if 1 %}".repeat(700), "not ".repeat(1_800)]
    {
        assert!(check(&format!("{{{{ {template} }}}}")).is_err());
        assert!(check(&template).is_err());
    }
}

#[test]
fn the_other_settings() {
    let with = |changes: Json| {
        let mut settings = settings("1");
        settings.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        Settings::read(settings).map_err(|error| error.to_string())
    };
    let usual = with(json!({})).unwrap();
    assert_eq!(
        (usual.method, usual.content_type.to_str().unwrap()),
        (Method::POST, "application/json")
    );
    let other =
        with(json!({"method": "PATCH", "content_type": "application/vnd.api+json"})).unwrap();
    assert_eq!(
        (other.method, other.content_type.to_str().unwrap()),
        (Method::PATCH, "application/vnd.api+json")
    );
    for (changes, field) in [
        (json!({"method": "GET"}), "settings.method"),
        (json!({"method": 1}), "settings.method"),
        (json!({"content_type": "text/plain"}), "settings.content_type"),
        (json!({"content_type": "application/json\r\nx: y"}), "settings.content_type"),
        (json!({"content_type": "application/xml"}), "settings.content_type"),
        (json!({"templat": "1"}), "settings.templat"),
        (json!({"template": 1}), "settings.template"),
    ] {
        assert!(with(changes.clone()).unwrap_err().starts_with(field), "{changes}");
    }
    assert!(
        checked(json!({})).unwrap_err().to_string().starts_with("settings.template: is missing")
    );
}

#[test]
fn filters() {
    let of = |expression: &str| {
        made(&format!("{{{{ {expression} }}}}"), |facts| {
            facts.started_at = "2026-03-29T00:59:59.5Z".parse().ok();
            facts.talk = Some(Seconds(7_504));
            facts.contact_name = Some(Personal::new("Zoë 😀 Example"));
        })
    };
    for (expression, expected) in [
        ("data.contact.e164 | digits", json!("61491570156")),
        ("data.talk_seconds | mmss", json!("125:04")),
        ("data.talk_seconds | hhmmss", json!("02:05:04")),
        ("data.started_at | local('Europe/Berlin')", json!("2026-03-29T01:59:59+01:00")),
        (
            "data.ended_at | local('Europe/Berlin', '%d.%m.%Y %H:%M:%S')",
            json!("20.02.2026 10:02:05"),
        ),
        ("data.contact_name | cut(5)", json!("Zoë 😀")),
        ("data.contact_name | upper", json!("ZOË 😀 EXAMPLE")),
        ("data.campaign | default('none')", json!("none")),
        ("data.campaign | digits", json!(null)),
        ("data.campaign | cut(3)", json!(null)),
        ("data.campaign | string", json!(null)),
        ("data.campaign | local('UTC')", json!(null)),
        ("data.billed_seconds | mmss", json!(null)),
        ("data.billed_seconds | hhmmss | default('')", json!("")),
        ("data.talk_seconds | string", json!("7504")),
        ("data.talk_seconds / 3", json!(7_504.0 / 3.0)),
        ("data.talk_seconds // 60", json!(125)),
        ("data.flags", json!(["ends_before_start"])),
        ("data.contact.external_ids", json!([])),
        ("data.campaign is none", json!(true)),
        ("data.to.address", json!("+61491570156")),
    ] {
        assert_eq!(of(expression), expected, "{expression}");
    }
}

#[test]
fn what_a_call_has_not_is_null_however_deep() {
    let bare = |template: &str| {
        made(template, |facts| *facts = Facts { state: facts.state, ..Facts::default() })
    };
    let template = r#"{"whole": {{ data.contact }}, "part": {{ data.contact.name }}, "all": {{ data }},
        "has": {{ true if data.contact else false }}, "none": {{ data.contact is none }},
        "or": {{ data.contact | default("no one") }} }"#;
    assert_eq!(check(template), Ok(()));
    let made = bare(template);
    assert_eq!(made["whole"], Json::Null);
    assert_eq!(made["part"], Json::Null);
    assert_eq!(made["all"]["contact"], Json::Null);
    assert_eq!(
        (&made["has"], &made["none"], &made["or"]),
        (&json!(false), &json!(true), &json!("no one"))
    );
}

#[test]
fn the_whole_document_is_the_canonical_one() {
    let mut record = record(Case::Held, |facts| facts.from = Party::read("101"));
    record.people.contact = Some(person(PartyKind::E164, Some("+61491570156")));
    let document = document(&record);
    let whole: Json =
        serde_json::from_str(&of(r#"{"type": {{ type }}, "data": {{ data }} }"#, &record)).unwrap();
    assert_eq!(whole["data"], document["data"]);
    assert_eq!(whole["type"], document["type"]);
}

#[test]
fn every_outcome_and_field_is_in_the_samples() {
    let samples = samples::samples(&scan::Seen::default());
    let documents: Vec<&Json> = samples.iter().map(|(_, document)| document).collect();
    for outcome in [
        CallOutcome::Answered,
        CallOutcome::NoAnswer,
        CallOutcome::Busy,
        CallOutcome::Failed,
        CallOutcome::Canceled,
        CallOutcome::Voicemail,
    ] {
        let word = serde_json::to_value(outcome).unwrap();
        assert!(documents.iter().any(|document| document["data"]["outcome"] == word));
    }
    let full = samples::full().unwrap();
    // What is full leaves nothing out, so that each field's shape is known.
    fn whole(value: &Json) -> bool {
        match value {
            Json::Null => false,
            Json::Object(fields) => fields.values().all(whole),
            Json::Array(items) => !items.is_empty() && items.iter().all(whole),
            _ => true,
        }
    }
    assert!(whole(&full), "{full:#}");
    let schema: Json =
        serde_json::from_str(include_str!("../../../../docs/schema/call.v1.json")).unwrap();
    let published = schema["properties"]["data"]["properties"].as_object().unwrap().clone();
    let (mut schemas, mut compiler) = (boon::Schemas::new(), boon::Compiler::new());
    compiler.add_resource("call.v1.json", schema).unwrap();
    let schema = compiler.compile("call.v1.json", &mut schemas).unwrap();
    schemas.validate(&full, schema).unwrap();
    assert!(published.keys().eq(full["data"].as_object().unwrap().keys()));
    // The one id that is made of the others is not varied.
    for field in published.keys().filter(|field| *field != "correlation_id") {
        let of = |document: &&Json| document["data"][field].clone();
        let first = of(&documents[0]);
        assert!(documents.iter().any(|document| of(document) != first), "{field} never changes");
    }
}

#[test]
fn a_template_that_fails_after_all_sends_nothing() {
    // No sample has two texts of the template's own: what is made of it is no JSON.
    let template = r#"{% if data.campaign == "Spring" and data.source == "twilio-main" %}oops{% else %}1{% endif %}"#;
    let destination = configured("template", json!({ "settings": settings(template) }));
    let record = record(Case::Held, |facts| facts.campaign = Some("Spring".into()));
    let body = rendered(&destination, &record);
    assert!(body.is_empty());
    let mut crm = Scripted::default();
    let outcome = deliver(&destination, &body, &Remote::default(), &mut crm);
    assert_eq!((outcome.verdict, outcome.requests.len()), (Verdict::Refused, 0));
    assert!(outcome.result.contains("correct it and redeliver"));
}

#[test]
fn the_body_is_sent_as_the_settings_say() {
    let mut settings = settings(TICKET);
    settings["method"] = json!("PATCH");
    settings["content_type"] = json!("application/vnd.api+json");
    let destination = configured("template", json!({ "settings": settings }));
    let record = record(Case::Held, |_| {});
    let body = rendered(&destination, &record);
    assert_eq!(body, of(TICKET, &record).into_bytes());
    let mut crm = Scripted::of([response(204, json!({}))]);
    let sent = deliver(&destination, &body, &Remote::default(), &mut crm);
    assert_eq!(sent.result(), "delivered: 204");
    let [request] = &sent.requests[..] else { panic!() };
    assert_eq!(
        (&request.method, request.url.as_str()),
        (&Method::PATCH, "https://crm.example.com/")
    );
    assert_eq!(
        (&request.body, request.headers["content-type"].to_str().unwrap()),
        (&body, "application/vnd.api+json")
    );
}

#[test]
fn the_page_shows_a_template_that_works() {
    let page = include_str!("../../../../docs/destinations/template.md");
    let (_, rest) = page.split_once("```jinja\n").unwrap();
    let template = rest.split_once("```").unwrap().0;
    assert_eq!(check(template), Ok(()));
    let shown: Json = serde_json::from_str(&crate::testing::example(page, "Body")).unwrap();
    let full = samples::full().unwrap();
    let made = make(template, &full).unwrap();
    assert_eq!(serde_json::from_slice::<Json>(&made).unwrap(), shown);
    for name in engine::FILTERS.iter().chain(&engine::TESTS) {
        assert!(page.contains(&format!("`{name}`")), "{name}");
    }
}

#[test]
fn hostile_texts_are_there_as_they_are() {
    for text in [
        "\"",
        "\\",
        "\"}",
        "{{ data }}",
        "{% endif %}",
        "\n\r\t\0",
        "\u{202e}abc",
        "👩‍👩‍👧",
        "</script>",
        "\u{feff}",
        "'",
        &"x\"\n".repeat(40_000),
    ] {
        let mut record = record(Case::Held, |_| {});
        // As an earlier release stored it: a name is cleaned where it is read.
        record.call.facts.contact_name = Some(Personal::new(text));
        record.call.facts.summary = Some(Personal::new(text));
        let made: Json = serde_json::from_str(&of(TICKET, &record)).unwrap();
        assert_eq!(made["subject"], format!("Call with {text}"));
        let cut: String = text.chars().take(40).collect();
        assert_eq!(made["note"], cut);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// What was taken when it was configured makes JSON of any call.
    #[test]
    fn any_call_makes_json(record in any_record()) {
        for template in [TICKET, "{{ data }}"] {
            let document = document(&record);
            prop_assert!(make(template, &document).is_some());
        }
    }

    /// Whatever is written: taken or refused, in time, and never a panic.
    #[test]
    fn any_template_is_taken_or_refused(
        pieces in prop::collection::vec(prop::sample::select(vec![
            "{{", "}}", "{%", "%}", "{#", "#}", "data", ".contact", ".name", "[", "]", "(", ")", "|",
            " is ", "not ", "if ", "for x in ", "endfor", "endif", "else", "set a = ", "'", "\"", "\\", "1",
            "default", "mmss", "*", "~", "/", "{", "}", ",", ":", "\n", "é", "\u{202e}", "x", " ",
        ]), 0..40),
    ) {
        let template = pieces.concat();
        let _ = check(&template);
        let _ = scan::scan(&template);
    }
}
