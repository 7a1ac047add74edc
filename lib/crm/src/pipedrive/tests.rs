use insta::assert_snapshot;
use jiff::SignedDuration;
use proptest::prelude::*;
use serde_json::{Value, json};
use switchboard_domain::delivery::{Remote, Verdict};
use switchboard_domain::{CallRecord, Facts, Personal, Seconds, Unmatched};
use switchboard_testkit::stand_in::pipedrive::{Account, error};

use super::render::note;
use super::*;
use crate::destination::Destination;
use crate::testing::any_call::any_record;
use crate::testing::{
    Attempt, Case, How, NOW, StandIn as _, at, configured, cut_short, deliver, record, recording,
    rendered_of, response, with_header,
};

fn payload_of(record: &CallRecord) -> Value {
    let crm = configured("pipedrive", json!({"settings": {"owners": {"emp-1": 17}}}));
    serde_json::from_slice(&rendered_of(&crm, record, Event::Completed)).unwrap()
}

fn full() -> CallRecord {
    crate::testing::full(|facts| {
        facts.contact_name = Some(Personal::new("Zoë Example"));
        facts.summary =
            Some(Personal::new("Wants <b>two</b> offers & more.\r\nCall back on Monday."));
        let recording = recording("https://pbx.example/RE1.mp3?a=1&b=2");
        facts.recordings = [("RE1".to_owned(), recording)].into();
    })
}

#[test]
fn a_full_call() {
    assert_snapshot!(format!("{:#}", payload_of(&full())));
}

#[test]
fn every_outcome() {
    let bodies =
        Case::ALL.map(|case| format!("{case:?}: {}", payload_of(&record(case, |_| {}))["call"]));
    assert_snapshot!(bodies.join("\n"));
}

#[test]
fn where_little_is_known_what_must_be_there_is() {
    let bare = record(Case::Unknown, |facts| {
        *facts = Facts { state: facts.state, ..Facts::default() };
    });
    assert_snapshot!(payload_of(&bare));
    let talked = record(Case::Unknown, |facts| facts.talk = Some(Seconds(5)));
    assert_eq!(payload_of(&talked)["call"]["outcome"], "connected");
}

#[test]
fn a_call_never_ends_before_it_began() {
    let times = |change: fn(&mut Facts)| {
        let payload = payload_of(&record(Case::Held, change));
        [payload["call"]["start_time"].clone(), payload["call"]["end_time"].clone()]
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
        let html = note("<&>\"\n<&>\"", most);
        assert!(html.len() <= most);
        let whole = ["&lt;", "&amp;", "&gt;", "&quot;", "<br>"];
        let left = whole.iter().fold(html, |text, piece| text.replace(piece, ""));
        assert_eq!(left, "", "{most}");
    }
}

/// One attempt on an account.
fn attempt(contacts: &str, crm: &mut Account) -> Attempt {
    let destination = configured("pipedrive", json!({ "contacts": contacts }));
    attempt_of(&destination, &Remote::default(), crm)
}

fn attempt_of(destination: &Destination, remote: &Remote, crm: &mut Account) -> Attempt {
    deliver(destination, &rendered_of(destination, &full(), Event::Completed), remote, crm)
}

#[test]
fn a_call_is_attached_to_the_person_who_has_the_number() {
    for phone in ["+61491570156", "+61 491 570 156", "0061491570156"] {
        let mut crm = Account::default().with_person(5, phone).with_person(6, "+61491570157");
        let outcome = attempt("find", &mut crm);
        assert_eq!(outcome.verdict, Verdict::Delivered, "{}", outcome.result);
        assert_eq!(crm.logs.len(), 1);
        assert_eq!(crm.logs[0]["person_id"], 5);
        assert_eq!(outcome.result, "created: 200, contact found");
        let remote = Remote { call: Some("cl_000000000001".into()), contact: Some("5".into()) };
        assert_eq!(outcome.remote, remote);
    }
}

#[test]
fn a_person_is_created_only_if_that_is_wanted_and_no_person_has_the_number() {
    let mut crm = Account::default();
    assert_eq!(attempt("find", &mut crm).result, "created: 200, no contact: unknown");
    assert_eq!((crm.persons.len(), crm.logs.len()), (0, 1));
    assert!(crm.logs[0].get("person_id").is_none());

    let mut crm = Account::default();
    assert_eq!(attempt("find_or_create", &mut crm).result, "created: 200, contact created");
    assert_eq!(crm.persons[0]["name"], "Zoë Example");
    assert_eq!(crm.persons[0]["phones"][0], "+61491570156");
    assert_eq!(crm.logs[0]["person_id"], crm.persons[0]["id"]);

    // Written as inside the country, which a search for the whole number does not bring.
    let mut crm = Account::default().with_person(5, "0491 570 156");
    assert_eq!(attempt("find_or_create", &mut crm).result, "created: 200, contact found");
    assert_eq!(crm.persons.len(), 1);

    // Two have it.
    let mut crm = Account::default().with_person(5, "+61491570156").with_person(6, "+61491570156");
    assert_eq!(attempt("find_or_create", &mut crm).result, "created: 200, no contact: ambiguous");
    assert_eq!(crm.persons.len(), 2);

    let mut crm = Account::default().with_person(5, "+61491570156");
    assert_eq!(attempt("none", &mut crm).result, "created: 200");
    assert_eq!(crm.asked, ["POST /v1/callLogs"]);
}

#[test]
fn our_own_numbers_are_no_contacts() {
    for unmatched in [Unmatched::OwnNumber, Unmatched::Colleague] {
        let mut record = full();
        record.people.contact.as_mut().unwrap().unmatched = Some(unmatched);
        let destination = configured("pipedrive", json!({"contacts": "find_or_create"}));
        let payload = rendered_of(&destination, &record, Event::Completed);
        let mut crm = Account::default();
        let outcome = deliver(&destination, &payload, &Remote::default(), &mut crm);
        assert_eq!(outcome.result, "created: 200, no contact: no number");
    }
}

#[test]
fn a_person_who_was_known_and_is_gone_does_not_keep_the_call_back() {
    let destination = configured("pipedrive", json!({"contacts": "find"}));
    let known = Remote { contact: Some("77".into()), ..Remote::default() };
    // Another has the number by now.
    let mut crm = Account::default().with_person(5, "+61491570156");
    let outcome = attempt_of(&destination, &known, &mut crm);
    assert_eq!(outcome.result, "created: 200, contact found");
    assert_eq!((crm.logs.len(), &crm.logs[0]["person_id"]), (1, &json!(5)));
    assert_eq!(outcome.remote.contact.as_deref(), Some("5"));
    // None has, though the search shows one.
    let mut crm = Account::default().with_person(5, "+61491570156");
    crm.deleted.push(5);
    let outcome = attempt_of(&destination, &known, &mut crm);
    assert_eq!(outcome.verdict, Verdict::Delivered);
    assert_eq!(crm.logs.len(), 1);
    assert!(crm.logs[0].get("person_id").is_none());
    assert_eq!(outcome.remote.contact, None);
}

#[test]
fn what_is_known_to_be_there_is_not_made_again() {
    let destination = configured("pipedrive", json!({}));
    let mut crm = Account::default();
    let outcome = attempt_of(&destination, &Remote::default(), &mut crm);
    let again = attempt_of(&destination, &outcome.remote, &mut crm);
    assert_eq!(again.result, "is there already: 200");
    assert_eq!(again.remote.call, outcome.remote.call);
    assert_eq!(crm.logs.len(), 1);
    // Unless it was deleted there.
    crm.logs.clear();
    let again = attempt_of(&destination, &outcome.remote, &mut crm);
    assert_eq!(again.verdict, Verdict::Delivered);
    assert_eq!(crm.logs.len(), 1);
}

#[test]
fn what_is_there_is_not_believed_of_a_login_page() {
    let destination = configured("pipedrive", json!({}));
    let known = Remote { call: Some("cl_1".into()), ..Remote::default() };
    let mut crm = Account::default().responding(vec![response(200, json!("<html>"))]);
    assert_eq!(attempt_of(&destination, &known, &mut crm).result, "not understood: 200");
}

#[test]
fn what_it_can_do_without_and_is_refused_is_left_out() {
    // 17 is the only user.
    let settings = json!({"owners": {"emp-1": 18}});
    let destination = configured("pipedrive", json!({"settings": settings}));
    let new = || Account::default().with_person(5, "+61491570156");
    let denied = || error(403, "this user must not log calls for others");
    let unnamed = || error(400, "no such entry");
    for (instead, result, person) in [
        (None, "created: 200, contact found, without user_id: refused", true),
        (Some(denied()), "created: 200, contact found, without user_id: refused", true),
        (
            Some(unnamed()),
            "created: 200, contact found, without person_id: refused, without user_id: refused",
            false,
        ),
    ] {
        let mut crm = new();
        let mut first = instead;
        let mut respond = |request: &switchboard_http::Request| match request.method.as_str() {
            "POST" => first.take().unwrap_or_else(|| crm.respond(request)),
            _ => crm.respond(request),
        };
        let payload = rendered_of(&destination, &full(), Event::Completed);
        let outcome = deliver(&destination, &payload, &Remote::default(), &mut respond);
        assert_eq!(outcome.result, result);
        assert_eq!((crm.logs.len(), crm.logs[0].get("user_id")), (1, None));
        assert_eq!(crm.logs[0].get("person_id").is_some(), person);
    }
    // A request that was refused has made no entry.
    let payload = rendered_of(&destination, &full(), Event::Completed);
    let entries = cut_short(&destination, &payload, How::Crash, new, |crm| crm.logs.len());
    assert_eq!(entries, [1, 1, 2]);
}

#[test]
fn cut_short_anywhere_there_is_one_entry_or_two_where_its_creation_was_not_answered() {
    for contacts in ["none", "find", "find_or_create"] {
        for how in [How::Crash, How::LostResponse] {
            let destination = configured("pipedrive", json!({"contacts": contacts}));
            let payload = rendered_of(&destination, &full(), Event::Completed);
            let entries = cut_short(&destination, &payload, how, Account::default, |crm| {
                assert_eq!(crm.persons.len(), usize::from(contacts == "find_or_create"));
                crm.logs.len()
            });
            // It is the last request that creates the entry.
            let declared: &[usize] = match contacts {
                "none" => &[2],
                "find" => &[1, 2],
                _ => &[1, 1, 1, 2],
            };
            assert_eq!(entries, declared, "{contacts}");
        }
    }
}

#[test]
fn what_responses_mean() {
    let wait = |seconds: i64| Verdict::Retry {
        not_before: at(NOW).checked_add(SignedDuration::from_secs(seconds)).ok(),
    };
    let retry = Verdict::Retry { not_before: None };
    let limited = |headers: &[(&str, &str)]| {
        let limited = error(429, "request over limit");
        headers.iter().fold(limited, |limited, (name, value)| with_header(limited, name, value))
    };
    let (after, reset) = ("retry-after", "x-ratelimit-reset");
    for (given, verdict, words) in [
        (limited(&[(reset, "2")]), wait(2), "retry later: 429"),
        (limited(&[(after, "30"), (reset, "2")]), wait(30), "retry later: 429"),
        (limited(&[(reset, "soon")]), retry, "retry later: 429"),
        (limited(&[]), retry, "retry later: 429"),
        (error(401, "unauthorized access"), retry, "not authorized: 401"),
        (error(403, "forbidden"), retry, "not authorized: 403"),
        (error(402, "payment"), retry, "the account is closed: 402"),
        (
            error(400, "to_phone_number is required: +61491570156"),
            Verdict::Refused,
            "refused: 400, for to_phone_number",
        ),
        (error(400, "no: +61491570156"), Verdict::Refused, "refused: 400"),
        (error(409, "conflict"), retry, "retry later: 409"),
        (error(404, "no such path"), Verdict::RetryBriefly { not_before: None }, "not found: 404"),
        (response(200, json!("<html>")), retry, "not understood: 200"),
        (response(200, json!({"success": false})), retry, "not understood: 200"),
        (response(200, json!({"success": true, "data": null})), retry, "not understood: 200"),
        (response(200, Value::Null), retry, "not understood: 200"),
        (error(500, "oops"), retry, "failed there: 500"),
        (response(503, Value::Null), retry, "failed there: 503"),
    ] {
        let mut crm = Account::default().responding(vec![given]);
        let outcome = attempt("none", &mut crm);
        assert_eq!((outcome.verdict, outcome.result.as_str()), (verdict, words));
        assert!(crm.logs.is_empty());
    }
    // It was made, though its id was not said.
    let mut crm = Account::default().responding(vec![response(201, Value::Null)]);
    let outcome = attempt("none", &mut crm);
    assert_eq!((outcome.verdict, outcome.result.as_str()), (Verdict::Delivered, "created: 201"));
    // A search that fails for now puts the call off; one that is refused does not.
    let mut crm = Account::default().responding(vec![error(500, "oops")]);
    let outcome = attempt("find", &mut crm);
    assert_eq!((outcome.verdict, crm.logs.len()), (retry, 0));
    let mut crm = Account::default().responding(vec![error(400, "oops")]);
    let outcome = attempt("find", &mut crm);
    assert_eq!(
        (outcome.result.as_str(), crm.logs.len()),
        ("created: 200, no contact: refused: 400", 1)
    );
}

#[test]
fn settings() {
    assert!(Settings::read(json!({"owners": {"emp-1": 17}})).is_ok());
    for (settings, words) in [
        (json!({"owners": {"emp-1": "17"}}), "settings.owners: must be an object"),
        (json!({"owners": 17}), "settings.owners: must be an object"),
        (json!({"owner": {}}), "settings.owner: is not a field"),
    ] {
        assert!(Settings::read(settings).unwrap_err().to_string().starts_with(words));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Whatever a call is, Pipedrive takes it, and the words of the result hold nothing about a person.
    #[test]
    fn any_call_is_taken(record in any_record()) {
        let destination = configured("pipedrive", json!({
            "contacts": "find_or_create", "settings": {"owners": {"e-1": 17}},
        }));
        let payload = rendered_of(&destination, &record, Event::Completed);
        let mut crm = Account::default();
        let outcome = deliver(&destination, &payload, &Remote::default(), &mut crm);
        prop_assert_eq!(outcome.verdict, Verdict::Delivered, "{}", outcome.result);
        prop_assert_eq!(crm.logs.len(), 1);
        let words = ["created: 200", ", contact created", ", no contact: no number"];
        let left = words.iter().fold(outcome.result.clone(), |text, known| text.replace(known, ""));
        prop_assert_eq!(left, "");
    }
}
