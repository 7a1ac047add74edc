use super::*;
use crate::testing::{Case, analysis, example, person, record};
use insta::assert_snapshot;
use switchboard_domain::{Analysis, Party, PartyKind, Personal, Seconds};

fn rendered(record: &CallRecord, analysis: Option<&Analysis>) -> Vec<u8> {
    render(&RenderContext { record, event: Event::Completed, transcript: None, analysis })
}

fn body(record: &CallRecord) -> String {
    String::from_utf8(rendered(record, None)).unwrap()
}

#[test]
fn held_with_a_summary() {
    let record = record(Case::Held, |facts| {
        facts.campaign = Some("Spring \"Renewal\"".into());
        facts.contact_name = Some(Personal::new("Zoë Example"));
        facts.summary = Some(Personal::new("Wants an offer.\nCall back on Monday."));
    });
    assert_snapshot!(body(&record), @r#"{"type":"conversationAICall","subject":"Spring \"Renewal\"","to":"+61491570156","name":"Zoë Example","summary":"Wants an offer.\nCall back on Monday.","status":"held","duration":125}"#);
}

#[test]
fn a_name_that_the_call_has_not_is_the_directorys() {
    let name = |reported: Option<&str>, known: Option<&str>| {
        let mut record = record(Case::Held, |facts| {
            facts.contact_name = reported.map(Personal::new);
        });
        let mut contact = person(PartyKind::E164, Some("+61491570156"));
        contact.name = known.map(Personal::new);
        record.people.contact = Some(contact);
        serde_json::from_str::<serde_json::Value>(&body(&record)).unwrap()["name"].clone()
    };
    assert_eq!(name(Some("Zoë Example"), Some("Zoë Q. Example")), "Zoë Example");
    assert_eq!(name(None, Some("Zoë Q. Example")), "Zoë Q. Example");
    assert_eq!(name(None, None), "");
}

#[test]
fn every_outcome() {
    let bodies = Case::ALL.map(|case| format!("{case:?}: {}", body(&record(case, |_| {}))));
    assert_snapshot!(bodies.join("\n"), @r#"
    Held: {"type":"conversationAICall","subject":"Outbound Call","to":"+61491570156","name":"","summary":"","status":"held","duration":125}
    Dropped: {"type":"conversationAICall","subject":"Outbound Call","to":"+61491570156","name":"","summary":"","status":"no answer","duration":0}
    NoAnswer: {"type":"conversationAICall","subject":"Outbound Call","to":"+61491570156","name":"","summary":"","status":"no answer","duration":0}
    Busy: {"type":"conversationAICall","subject":"Outbound Call","to":"+61491570156","name":"","summary":"","status":"no answer","duration":0}
    Failed: {"type":"conversationAICall","subject":"Outbound Call","to":"+61491570156","name":"","summary":"","status":"no connection","duration":0}
    Canceled: {"type":"conversationAICall","subject":"Outbound Call","to":"+61491570156","name":"","summary":"","status":"no connection","duration":0}
    Voicemail: {"type":"conversationAICall","subject":"Outbound Call","to":"+61491570156","name":"","summary":"","status":"voicemail","duration":18}
    Unknown: {"type":"conversationAICall","subject":"Outbound Call","to":"+61491570156","name":"","summary":"","status":"no answer","duration":0}
    "#);
}

#[test]
fn a_summary_that_the_provider_does_not_give_is_the_analysis() {
    let summary = |provider: Option<&str>| {
        let record = record(Case::Held, |facts| facts.summary = provider.map(Personal::new));
        let body = rendered(&record, Some(&analysis()));
        serde_json::from_slice::<serde_json::Value>(&body).unwrap()["summary"].clone()
    };
    assert_eq!(summary(Some("The provider's.")), "The provider's.");
    assert_eq!(summary(None), "Wants a fake offer by Monday.");
}

#[test]
fn of_a_held_call_without_talk_time_the_whole_duration_counts() {
    let duration = |case, talk: Option<u32>| {
        let record = record(case, |facts| {
            (facts.talk, facts.total) = (talk.map(Seconds), Some(Seconds(45)));
        });
        serde_json::from_str::<serde_json::Value>(&body(&record)).unwrap()["duration"].clone()
    };
    assert_eq!(duration(Case::Held, None), 45);
    assert_eq!(duration(Case::Held, Some(30)), 30);
    assert_eq!(duration(Case::Busy, None), 0);
    assert_eq!(duration(Case::NoAnswer, Some(0)), 0);
}

#[test]
fn a_number_with_harmless_characters_is_one() {
    for written in ["\u{202a}+61491570156\u{202c}", "\"Kim\" <+61491570156>", "+61491570156;ext=12"]
    {
        let record = record(Case::Held, |facts| facts.to = Party::read(written));
        let body: serde_json::Value = serde_json::from_str(&body(&record)).unwrap();
        assert_eq!(body["to"], "+61491570156", "{written}");
    }
}

#[test]
fn inbound() {
    let mut record = record(Case::Held, |facts| {
        facts.direction = Some(Direction::Inbound);
        facts.from = Party::read("0491 570 156");
        facts.to = Party::read("+61255501234");
    });
    record.people.contact = Some(person(PartyKind::E164, Some("+61491570156")));
    assert_snapshot!(body(&record), @r#"{"type":"conversationAICall","subject":"Inbound Call","to":"+61491570156","name":"","summary":"","status":"held","duration":125}"#);
}

#[test]
fn to_is_the_customers_number_in_the_best_form_there_is() {
    let to = |direction: Option<Direction>, from: &str, to: &str, concluded: Option<&str>| {
        let mut record = record(Case::Held, |facts| {
            facts.direction = direction;
            facts.from = Party::read(from);
            facts.to = Party::read(to);
        });
        record.people.contact = concluded.map(|text| person(PartyKind::Number, Some(text)));
        super::to(&record).to_owned()
    };
    let (inbound, outbound) = (Some(Direction::Inbound), Some(Direction::Outbound));
    let ours = "+61255501234";
    assert_eq!(to(outbound, ours, "0491570156", Some("+61491570156")), "+61491570156");
    assert_eq!(to(outbound, ours, "0491 570 156", None), "0491 570 156");
    assert_eq!(to(outbound, ours, "tel:+61491570156", None), "+61491570156");
    assert_eq!(to(inbound, "+61491570156", ours, None), "+61491570156");
    // The direction is not known: the number that was called.
    assert_eq!(to(None, ours, "+61491570156", None), "+61491570156");
    assert_eq!(to(Some(Direction::Internal), "101", "+61491570156", None), "");
    for unknown in ["", "anonymous", "+266696687", "101", "sip:ann@pbx.example", "client:ann"] {
        assert_eq!(to(inbound, unknown, ours, None), "", "{unknown}");
    }
}

#[test]
fn a_named_contact_beats_the_direction() {
    let record = record(Case::Held, |facts| {
        facts.direction = None;
        facts.contact = Party::read("+61491570157");
    });
    assert_eq!(to(&record), "+61491570157");
}

#[test]
fn the_documented_body_is_the_one_that_is_sent() {
    let record = record(Case::Held, |facts| {
        facts.campaign = Some("Spring renewal".into());
        facts.contact_name = Some(Personal::new("Zoë Example"));
        facts.summary = Some(Personal::new("Wants an offer. Call back on Monday."));
    });
    let page = include_str!("../../../../docs/destinations/conversation-ai.md");
    let lines = |text: &str| text.replace(['\n', ' '], "");
    assert_eq!(lines(&example(page, "Body")), lines(&body(&record)));
}

#[test]
fn an_internal_call_says_so() {
    let record = record(Case::Held, |facts| facts.direction = Some(Direction::Internal));
    assert_eq!(subject(&record), "Internal Call");
}
