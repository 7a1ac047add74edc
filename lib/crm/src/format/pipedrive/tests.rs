use insta::assert_snapshot;
use proptest::prelude::*;
use serde_json::json;
use switchboard_domain::delivery::{Remote, Verdict};
use switchboard_domain::{Direction, Event, Facts, Name, Party, PartyKind, Recording, Unmatched};

use super::stand_in::{Pipedrive, error};
use super::*;
use crate::exchange::{Answer, Over};
use crate::format::Format;
use crate::format::any_call::any_record;
use crate::format::rehearsal::{attempt, cut_short, now, whole};
use crate::format::testing::{Case, answer, at, configured, person, record, rendered_of};

fn told(record: &CallRecord) -> Value {
    let crm = configured(Format::Pipedrive, json!({"settings": {"owners": {"emp-1": 17}}}));
    serde_json::from_slice(&rendered_of(&crm, record, Event::Completed)).unwrap()
}

fn full() -> CallRecord {
    let mut record = record(Case::Held, |facts| {
        facts.direction = Some(Direction::Inbound);
        facts.from = Party::read("0491 570 156");
        facts.to = Party::read("+61255501234");
        facts.started_at = Some(at("2026-02-20T09:00:00.75Z"));
        facts.contact_name = Some(Personal::new("Zoë Example"));
        facts.campaign = Some("Spring \"Renewal\"".into());
        facts.summary =
            Some(Personal::new("Wants <b>two</b> offers & more.\r\nCall back on Monday."));
        let recording = Recording {
            url: Some(Personal::new("https://pbx.example/RE1.mp3?a=1&b=2")),
            path: None,
            duration: None,
            status: None,
        };
        facts.recordings = [("RE1".to_owned(), recording)].into();
    });
    record.people.contact = Some(person(PartyKind::E164, Some("+61491570156")));
    record.people.employee = Some(switchboard_domain::Person {
        entry: Name::new("employee", "emp-1").ok(),
        ..person(PartyKind::E164, Some("+61255501234"))
    });
    record
}

#[test]
fn a_full_call() {
    assert_snapshot!(format!("{:#}", told(&full())));
}

#[test]
fn every_outcome() {
    let bodies = Case::ALL.map(|case| format!("{case:?}: {}", told(&record(case, |_| {}))["call"]));
    assert_snapshot!(bodies.join("\n"));
}

#[test]
fn where_little_is_known_what_must_be_there_is() {
    let bare = record(Case::Unknown, |facts| {
        *facts = Facts { state: facts.state, ..Facts::default() };
    });
    assert_snapshot!(told(&bare));
    let talked = record(Case::Unknown, |facts| facts.talk = Some(Seconds(5)));
    assert_eq!(told(&talked)["call"]["outcome"], "connected");
}

#[test]
fn a_call_never_ends_before_it_began() {
    let times = |change: fn(&mut Facts)| {
        let told = told(&record(Case::Held, change));
        [told["call"]["start_time"].clone(), told["call"]["end_time"].clone()]
    };
    assert_eq!(
        times(|facts| facts.started_at = Some(at("2026-02-20T09:30:00Z"))),
        ["2026-02-20 09:30:00", "2026-02-20 09:30:00"]
    );
    assert_eq!(
        times(|facts| {
            facts.started_at = Some(at("2026-02-20T23:59:00Z"));
            facts.ended_at = None;
            facts.total = Some(Seconds(130));
        }),
        ["2026-02-20 23:59:00", "2026-02-21 00:01:10"]
    );
}

#[test]
fn a_note_is_cut_between_its_entities() {
    for most in 0..40 {
        let html = html("<&>\"\n<&>\"", most);
        assert!(html.len() <= most);
        let whole = ["&lt;", "&amp;", "&gt;", "&quot;", "<br>"];
        let left = whole.iter().fold(html, |text, piece| text.replace(piece, ""));
        assert_eq!(left, "", "{most}");
    }
}

/// One attempt on a Pipedrive.
fn tell(contacts: &str, crm: &mut Pipedrive) -> Over {
    let destination = configured(Format::Pipedrive, json!({"contacts": contacts}));
    let body = rendered_of(&destination, &full(), Event::Completed);
    whole(&destination, &body, &Remote::default(), crm)
}

#[test]
fn a_call_is_attached_to_the_person_who_has_the_number() {
    for phone in ["+61491570156", "+61 491 570 156", "0061491570156"] {
        let mut crm = Pipedrive::default().with_person(5, phone).with_person(6, "+61491570157");
        let over = tell("find", &mut crm);
        assert_eq!(over.verdict, Verdict::Delivered, "{over:?}");
        assert_eq!(crm.logs.len(), 1);
        assert_eq!(crm.logs[0]["person_id"], 5);
        assert_eq!(over.result, "created: 200, contact found");
        let remote = Remote { call: Some("cl_000000000001".into()), contact: Some("5".into()) };
        assert_eq!(over.remote, remote);
    }
}

#[test]
fn a_person_is_created_only_if_that_is_wanted_and_nobody_has_the_number() {
    let mut crm = Pipedrive::default();
    assert_eq!(tell("find", &mut crm).result, "created: 200, no contact: unknown");
    assert_eq!((crm.persons.len(), crm.logs.len()), (0, 1));
    assert!(crm.logs[0].get("person_id").is_none());

    let mut crm = Pipedrive::default();
    assert_eq!(tell("find_or_create", &mut crm).result, "created: 200, contact created");
    assert_eq!(crm.persons[0]["name"], "Zoë Example");
    assert_eq!(crm.persons[0]["phones"][0], "+61491570156");
    assert_eq!(crm.logs[0]["person_id"], crm.persons[0]["id"]);

    // Written as inside the country, which a search for the whole number does not bring.
    let mut crm = Pipedrive::default().with_person(5, "0491 570 156");
    assert_eq!(tell("find_or_create", &mut crm).result, "created: 200, contact found");
    assert_eq!(crm.persons.len(), 1);

    // Two have it.
    let mut crm =
        Pipedrive::default().with_person(5, "+61491570156").with_person(6, "+61491570156");
    assert_eq!(tell("find_or_create", &mut crm).result, "created: 200, no contact: ambiguous");
    assert_eq!(crm.persons.len(), 2);

    let mut crm = Pipedrive::default().with_person(5, "+61491570156");
    assert_eq!(tell("none", &mut crm).result, "created: 200");
    assert_eq!(crm.asked, ["POST /v1/callLogs"]);
}

#[test]
fn our_own_numbers_are_nobodys_contact() {
    for unmatched in [Unmatched::OwnNumber, Unmatched::Colleague] {
        let mut record = full();
        record.people.contact.as_mut().unwrap().unmatched = Some(unmatched);
        let destination = configured(Format::Pipedrive, json!({"contacts": "find_or_create"}));
        let body = rendered_of(&destination, &record, Event::Completed);
        let mut crm = Pipedrive::default();
        let over = whole(&destination, &body, &Remote::default(), &mut crm);
        assert_eq!(over.result, "created: 200, no contact: no number");
    }
}

#[test]
fn a_person_who_was_known_and_is_gone_does_not_keep_the_call_back() {
    let destination = configured(Format::Pipedrive, json!({"contacts": "find"}));
    let body = rendered_of(&destination, &full(), Event::Completed);
    let known = Remote { contact: Some("77".into()), ..Remote::default() };
    // Another has the number by now.
    let mut crm = Pipedrive::default().with_person(5, "+61491570156");
    let over = whole(&destination, &body, &known, &mut crm);
    assert_eq!(over.result, "created: 200, contact found");
    assert_eq!((crm.logs.len(), &crm.logs[0]["person_id"]), (1, &json!(5)));
    assert_eq!(over.remote.contact.as_deref(), Some("5"));
    // Nobody has, though the search shows somebody.
    let mut crm = Pipedrive::default().with_person(5, "+61491570156");
    crm.deleted.push(5);
    let over = whole(&destination, &body, &known, &mut crm);
    assert_eq!(over.verdict, Verdict::Delivered);
    assert_eq!(crm.logs.len(), 1);
    assert!(crm.logs[0].get("person_id").is_none());
    assert_eq!(over.remote.contact, None);
}

#[test]
fn what_is_known_to_be_there_is_not_made_again() {
    let destination = configured(Format::Pipedrive, json!({}));
    let body = rendered_of(&destination, &full(), Event::Completed);
    let mut crm = Pipedrive::default();
    let over = whole(&destination, &body, &Remote::default(), &mut crm);
    let again = whole(&destination, &body, &over.remote, &mut crm);
    assert_eq!(again.result, "is there already: 200");
    assert_eq!(again.remote.call, over.remote.call);
    assert_eq!(crm.logs.len(), 1);
    // Unless somebody has deleted it.
    crm.logs.clear();
    let again = whole(&destination, &body, &over.remote, &mut crm);
    assert_eq!(again.verdict, Verdict::Delivered);
    assert_eq!(crm.logs.len(), 1);
}

#[test]
fn cut_short_anywhere_there_is_one_entry_or_two_where_its_creation_was_not_answered() {
    for contacts in ["none", "find", "find_or_create"] {
        for knows in [false, true] {
            let destination = configured(Format::Pipedrive, json!({"contacts": contacts}));
            let body = rendered_of(&destination, &full(), Event::Completed);
            let mut entries = Vec::new();
            let requests =
                cut_short(&destination, &body, knows, Pipedrive::default, |_, over, crm| {
                    assert_eq!(over.verdict, Verdict::Delivered);
                    assert_eq!(crm.persons.len(), usize::from(contacts == "find_or_create"));
                    entries.push(crm.logs.len());
                });
            // It is the last request that creates the entry.
            let mut declared = vec![1; requests];
            declared[requests - 1] = 2;
            assert_eq!(entries, declared, "{contacts}");
            assert_eq!(
                requests,
                match contacts {
                    "none" => 1,
                    "find" => 2,
                    _ => 4,
                }
            );
        }
    }
}

#[test]
fn what_answers_mean() {
    let wait = |seconds: i64| Verdict::Retry {
        not_before: now().checked_add(SignedDuration::from_secs(seconds)).ok(),
    };
    let retry = Verdict::Retry { not_before: None };
    let limited = |retry_after: Option<&str>, reset: Option<&str>| Answer {
        retry_after: retry_after.map(str::to_owned),
        reset: reset.map(str::to_owned),
        ..error(429, "request over limit")
    };
    for (given, verdict, words) in [
        (limited(None, Some("2")), wait(2), "asked to wait: 429"),
        (limited(Some("30"), Some("2")), wait(30), "asked to wait: 429"),
        (limited(None, Some("soon")), retry, "asked to wait: 429"),
        (limited(None, None), retry, "asked to wait: 429"),
        (error(401, "unauthorized access"), retry, "not authorized: 401"),
        (error(403, "forbidden"), retry, "not authorized: 403"),
        (error(402, "payment"), retry, "the account is closed: 402"),
        (
            error(400, "to_phone_number is required: +61491570156"),
            Verdict::Refused,
            "refused: 400, for to_phone_number",
        ),
        (error(400, "no: +61491570156"), Verdict::Refused, "refused: 400"),
        (error(409, "conflict"), Verdict::Refused, "refused: 409"),
        (error(500, "oops"), retry, "failed there: 500"),
        (answer(503, Value::Null), retry, "failed there: 503"),
    ] {
        let mut crm = Pipedrive::default().answering(vec![given]);
        let over = tell("none", &mut crm);
        assert_eq!((over.verdict, over.result.as_str()), (verdict, words));
        assert!(crm.logs.is_empty());
    }
    // It was made, though its id was not said.
    let mut crm = Pipedrive::default().answering(vec![answer(201, Value::Null)]);
    let over = tell("none", &mut crm);
    assert_eq!((over.verdict, over.result.as_str()), (Verdict::Delivered, "created: 201"));
    // A search that fails for now puts the call off; one that is refused does not.
    let mut crm = Pipedrive::default().answering(vec![error(500, "oops")]);
    let over = tell("find", &mut crm);
    assert_eq!((over.verdict, crm.logs.len()), (retry, 0));
    let mut crm = Pipedrive::default().answering(vec![error(400, "oops")]);
    let over = tell("find", &mut crm);
    assert_eq!(
        (over.result.as_str(), crm.logs.len()),
        ("created: 200, no contact: refused: 400", 1)
    );
}

#[test]
fn settings() {
    assert!(Settings::read(&json!({"owners": {"emp-1": 17}})).is_ok());
    for (settings, words) in [
        (json!({"owners": {"emp-1": "17"}}), "settings.owners: must be an object"),
        (json!({"owners": 17}), "settings.owners: must be an object"),
        (json!({"owner": {}}), "settings.owner: is not a field"),
    ] {
        assert!(Settings::read(&settings).unwrap_err().to_string().starts_with(words));
    }
}

#[test]
fn what_cannot_be_read_is_refused_and_not_sent() {
    let destination = configured(Format::Pipedrive, json!({}));
    let mut crm = Pipedrive::default();
    for body in [&b""[..], b"{}", b"\xff", b"{\"call\":{}}"] {
        let over = whole(&destination, body, &Remote::default(), &mut crm);
        assert_eq!(over.verdict, Verdict::Refused);
    }
    assert!(crm.asked.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Whatever a call is, Pipedrive takes it, and what is noted of that tells nothing about anybody.
    #[test]
    fn any_call_is_taken(record in any_record()) {
        let destination = configured(Format::Pipedrive, json!({
            "contacts": "find_or_create", "settings": {"owners": {"e-1": 17}},
        }));
        let body = rendered_of(&destination, &record, Event::Completed);
        let mut crm = Pipedrive::default();
        let over = whole(&destination, &body, &Remote::default(), &mut crm);
        prop_assert_eq!(over.verdict, Verdict::Delivered, "{}", over.result);
        prop_assert_eq!(crm.logs.len(), 1);
        let words = ["created: 200", ", contact created", ", no contact: no number"];
        let left = words.iter().fold(over.result, |text, known| text.replace(known, ""));
        prop_assert_eq!(left, "");
    }

    /// Whatever is answered, an attempt ends, and its words tell nothing of the answer.
    #[test]
    fn any_answer_ends_it(
        answers in prop::collection::vec((
            prop::sample::select(vec![200u16, 201, 204, 302, 400, 401, 402, 403, 404, 410, 429, 500]),
            prop::sample::select(vec![
                "", "{}", "null", "[]", "{\"data\":{\"id\":\"Zoe\"}}", "{\"data\":{\"items\":[]}}",
                "{\"data\":{\"items\":[{\"item\":{\"id\":1,\"phones\":[\"+61491570156\"]}}]}}",
                "{\"error\":\"person_id Zoe\"}", "{\"error\":{\"Zoe\":1}}", "{\"data\":{\"id\":{}}}",
            ]),
        ), 0..12),
    ) {
        let destination = configured(Format::Pipedrive, json!({"contacts": "find_or_create"}));
        let body = rendered_of(&destination, &full(), Event::Completed);
        let answers = answers.into_iter().map(|(status, body)| {
            Answer { body: body.into(), ..answer(status, Value::Null) }
        });
        let mut crm = Pipedrive::default().answering(answers.collect());
        let known = Remote { call: Some("cl_1".into()), contact: None };
        if let crate::format::rehearsal::Ended::Over(over) = attempt(&destination, &body, &known, &mut crm, None) {
            prop_assert!(!over.result.contains("Zoe"), "{}", over.result);
        }
    }
}
