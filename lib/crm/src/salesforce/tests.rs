use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use insta::assert_snapshot;
use serde_json::{Value, json};
use switchboard_domain::delivery::Verdict;
use switchboard_domain::{Direction, Party, PartyKind, Personal, Seconds};
use switchboard_testkit::stand_in::salesforce::Org;

use super::settings::FIELD;
use super::*;
use crate::destination::Destination;
use crate::testing::{
    Case, How, at, configured, cut_short, deliver_again, deliver_first, destination, employee,
    example, marked, person, record, rendered, response, scripted,
};

const CONTACT: &str = "003000000000501AAA";
const LEAD: &str = "00Q000000000601AAA";

fn salesforce(changes: Value) -> Destination {
    configured("salesforce", changes)
}

#[test]
fn a_call_of_every_outcome() {
    let mut golden = String::new();
    for case in Case::ALL {
        let mut org = Org::set_up();
        let attempt = deliver_first(&mut org, &destination("salesforce"), &record(case, |_| {}));
        assert_eq!(attempt.result(), "delivered: 201, no contact: unknown", "{case:?}");
        let body = serde_json::to_string_pretty(&attempt.body(1)).unwrap();
        writeln!(golden, "{case:?}: {}\n{body}\n", attempt.lines()[1]).unwrap();
    }
    assert_snapshot!(golden);
}

#[test]
fn every_request_of_a_call_with_all_there_is() {
    let destination = salesforce(json!({
        "contacts": "find_or_create",
        "settings": {"owners": {"ann": "005000000000001AAA"}, "creates": "lead"},
    }));
    let mut all = marked();
    all.call.facts.direction = Some(Direction::Inbound);
    all.call.facts.from = Party::read("0491 570 156");
    all.call.facts.to = Party::read("+61255501234");
    all.call.facts.started_at = Some(at("2026-02-20T09:00:00Z"));
    all.people.employee = Some(employee("ann"));
    let mut org = Org::set_up();
    let attempt = deliver_first(&mut org, &destination, &all);
    assert_eq!(attempt.result(), "delivered: 201, contact created");
    assert_snapshot!(attempt.shown());
    let remote = attempt.remote;
    let task = &org.tasks[&remote.call.unwrap()];
    assert_eq!(task["WhoId"], json!(remote.contact.unwrap()));
}

#[test]
fn an_update_is_the_same_task() {
    for (deduplication, takes_subtype_later, status) in
        [("upsert", false, 200), ("upsert", true, 200), ("search", false, 204)]
    {
        let destination = salesforce(json!({"deduplication": deduplication}));
        let mut org = Org { takes_subtype_later, ..Org::set_up() };
        org.person(CONTACT, "Contact", &[("Phone", "0491 570 156")]);
        let mut call = marked();
        deliver_first(&mut org, &destination, &call);
        call.call.facts.summary = Some(Personal::new("Came late."));
        call.call.facts.talk = Some(Seconds(130));
        // Whether or not it is known what the task is called.
        let attempt = deliver_first(&mut org, &destination, &call);
        assert_eq!(attempt.result(), format!("delivered: {status}, contact found"));
        let remote = attempt.remote;
        let attempt = deliver_again(&mut org, &destination, &call, &remote);
        assert_eq!(attempt.result(), format!("delivered: {status}, contact known"));
        assert_eq!(org.tasks.len(), 1, "{deduplication}");
        let task = org.tasks.values().next().unwrap();
        assert_eq!(task["CallDurationInSeconds"], 130);
        assert_eq!(task["TaskSubtype"], "Call");
        assert!(task["Description"].as_str().unwrap().ends_with("\n\nCame late."));
    }
}

#[test]
fn the_contact_is_the_one_with_the_number_and_else_the_lead() {
    let plain = ("Phone", "+61491570156");
    for (people, who, result) in [
        (&[][..], None, "no contact: unknown"),
        (&[(CONTACT, "Contact", plain)][..], Some(CONTACT), "contact found"),
        (&[(CONTACT, "Contact", ("MobilePhone", "0491-570-156"))], Some(CONTACT), "contact found"),
        (&[(CONTACT, "Contact", ("OtherPhone", "491 570 156"))], Some(CONTACT), "contact found"),
        (&[(LEAD, "Lead", plain)], Some(LEAD), "contact found"),
        (&[(CONTACT, "Contact", plain), (LEAD, "Lead", plain)], Some(CONTACT), "contact found"),
        (
            &[(CONTACT, "Contact", plain), ("003000000000502AAA", "Contact", plain)],
            None,
            "no contact: ambiguous",
        ),
        (
            &[(LEAD, "Lead", plain), ("00Q000000000602AAA", "Lead", plain)],
            None,
            "no contact: ambiguous",
        ),
        (&[(CONTACT, "Contact", ("Phone", "+64491570156"))], None, "no contact: unknown"),
    ] {
        let mut org = Org::set_up();
        for (id, kind, field) in people {
            org.person(id, kind, &[*field]);
        }
        let attempt = deliver_first(&mut org, &destination("salesforce"), &marked());
        assert_eq!(attempt.result(), format!("delivered: 201, {result}"), "{people:?}");
        let task = org.tasks.values().next().unwrap();
        assert_eq!(task.get("WhoId").and_then(Value::as_str), who);
    }
    let mut org = Org::set_up();
    org.person(LEAD, "Lead", &[plain, ("IsConverted", "true")]);
    let attempt = deliver_first(&mut org, &destination("salesforce"), &marked());
    assert_eq!(attempt.result(), "delivered: 201, no contact: unknown");
}

#[test]
fn who_was_created_just_now_is_not_created_again() {
    for creates in ["contact", "lead"] {
        let destination =
            salesforce(json!({"contacts": "find_or_create", "settings": {"creates": creates}}));
        let mut org = Org::set_up();
        let one = deliver_first(&mut org, &destination, &marked());
        assert_eq!(one.result(), "delivered: 201, contact created");
        let two = deliver_first(&mut org, &destination, &marked());
        assert_eq!(two.result(), "delivered: 200, contact found");
        assert_eq!(org.people.len(), 1, "{creates}");
    }
}

#[test]
fn a_contact_that_is_gone_is_looked_for_once_more() {
    for (how, result) in [
        ("merged", "delivered: 201, contact found"),
        ("deleted", "delivered: 201, no contact: unknown"),
        ("unknown", "delivered: 201, no contact: unknown"),
    ] {
        let mut org = Org::set_up();
        if how != "unknown" {
            org.deleted.insert(CONTACT.into());
        }
        if how == "merged" {
            org.person("003000000000502AAA", "Contact", &[("Phone", "+61491570156")]);
        }
        let remote = Remote { call: None, contact: Some(CONTACT.into()) };
        let attempt = deliver_again(&mut org, &destination("salesforce"), &marked(), &remote);
        assert_eq!(attempt.result(), result, "{how}");
        assert_ne!(attempt.remote.contact.as_deref(), Some(CONTACT));
        assert_eq!(org.tasks.len(), 1);
    }
    // Gone again as soon as it was found: the task is attempt without.
    let mut org = Org::set_up();
    org.deleted.insert(CONTACT.into());
    org.person(CONTACT, "Contact", &[("Phone", "+61491570156")]);
    let remote = Remote { call: None, contact: Some(CONTACT.into()) };
    let attempt = deliver_again(&mut org, &destination("salesforce"), &marked(), &remote);
    assert_eq!(attempt.result(), "delivered: 201, no contact: it is gone");
}

#[test]
fn after_a_crash_at_any_point_there_is_what_is_declared() {
    for (deduplication, how, most) in [
        ("upsert", How::Crash, 1),
        ("upsert", How::LostResponse, 1),
        ("search", How::Crash, 1),
        ("search", How::LostResponse, 1),
        ("none", How::Stopped, 1),
        ("none", How::Crash, 2),
    ] {
        let destination =
            salesforce(json!({"deduplication": deduplication, "contacts": "find_or_create"}));
        let payload = rendered(&destination, &marked());
        let entries = cut_short(&destination, &payload, how, Org::set_up, |org| {
            assert_eq!(org.people.len(), 1);
            org.tasks.len()
        });
        assert!(entries.len() >= 4);
        assert_eq!(entries.into_iter().max(), Some(most), "{deduplication} {how:?}");
    }
}

#[test]
fn a_task_that_was_deleted_is_made_again() {
    for deduplication in ["none", "search"] {
        let destination = salesforce(json!({"deduplication": deduplication, "contacts": "none"}));
        let mut org = Org::set_up();
        let remote = Remote { call: Some("00T000000000000009".into()), contact: None };
        let attempt = deliver_again(&mut org, &destination, &marked(), &remote);
        assert_eq!(attempt.result(), "delivered: 201");
        assert_eq!(org.tasks.values().next().unwrap()["TaskSubtype"], "Call");
    }
}

#[test]
fn what_is_not_set_up_is_said_and_waited_for() {
    let mut org = Org::default();
    let attempt = deliver_first(&mut org, &destination("salesforce"), &marked());
    assert_eq!(
        attempt.result(),
        "to be set up there: the field Switchboard_Call_Key__c or another: 404 NOT_FOUND"
    );
    assert_eq!(attempt.outcome.verdict, Verdict::Retry { not_before: None });
    // The field is there, and not unique.
    org.field = Some(FIELD.to_owned());
    let key = payload::key(&marked());
    for id in ["00T1", "00T2"] {
        let task = BTreeMap::from([(FIELD.to_owned(), json!(key))]);
        org.tasks.insert(id.into(), task);
    }
    let attempt = deliver_first(&mut org, &destination("salesforce"), &marked());
    assert_eq!(attempt.result(), "several records have the key in Switchboard_Call_Key__c: 300");
    assert_eq!(attempt.outcome.verdict, Verdict::Retry { not_before: None });
}

#[test]
fn what_an_answer_means() {
    let quarter = Some(at("2026-02-20T09:20:00Z"));
    let retry = |not_before| Verdict::Retry { not_before };
    let error = |code: &str, fields: &[&str]| json!([{"errorCode": code, "message": "Zoë", "fields": fields}]);
    for (status, body, verdict, result) in [
        (
            403,
            error("REQUEST_LIMIT_EXCEEDED", &[]),
            retry(quarter),
            "retry later: 403 REQUEST_LIMIT_EXCEEDED",
        ),
        (
            403,
            error("INSUFFICIENT_ACCESS", &[]),
            retry(None),
            "not authorized: 403 INSUFFICIENT_ACCESS",
        ),
        (
            401,
            error("INVALID_SESSION_ID", &[]),
            retry(None),
            "not authorized: 401 INVALID_SESSION_ID",
        ),
        (
            400,
            error("UNABLE_TO_LOCK_ROW", &[]),
            retry(None),
            "failed there: 400 UNABLE_TO_LOCK_ROW",
        ),
        (
            400,
            json!([{
                "errorCode": "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY",
                "message": "Zoe: execution of AfterInsert caused by: UNABLE_TO_LOCK_ROW, unable to obtain exclusive access",
            }]),
            retry(None),
            "failed there: 400 UNABLE_TO_LOCK_ROW",
        ),
        (
            400,
            error("STORAGE_LIMIT_EXCEEDED", &[]),
            retry(None),
            "to be set up there: the storage is used up: 400 STORAGE_LIMIT_EXCEEDED",
        ),
        (409, json!([]), retry(None), "retry later: 409"),
        (200, json!("<html>"), retry(None), "not understood: 200"),
        (200, json!({"success": false}), retry(None), "not understood: 200"),
        (200, json!({"id": "00T1", "success": false}), retry(None), "not understood: 200"),
        (200, Value::Null, retry(None), "not understood: 200"),
        (
            503,
            error("SERVER_UNAVAILABLE", &[]),
            retry(None),
            "failed there: 503 SERVER_UNAVAILABLE",
        ),
        (503, json!("<html>"), retry(None), "failed there: 503"),
        (
            400,
            error("STRING_TOO_LONG", &["Subject"]),
            Verdict::Refused,
            "refused: 400 STRING_TOO_LONG (Subject)",
        ),
        (
            400,
            error("REQUIRED_FIELD_MISSING", &["Zoë__c", "Region__c"]),
            Verdict::Refused,
            "refused: 400 REQUIRED_FIELD_MISSING",
        ),
        (
            400,
            error("INVALID_FIELD", &[]),
            retry(None),
            "to be set up there: the field Switchboard_Call_Key__c or another: 400 INVALID_FIELD",
        ),
        (302, json!({}), retry(None), "redirected, not followed: 302"),
        (400, json!("<html>"), Verdict::Refused, "refused: 400"),
    ] {
        let destination = salesforce(json!({"contacts": "none"}));
        let outcome = scripted(&destination, vec![response(status, body.clone()); 2]).outcome;
        assert_eq!(
            (outcome.verdict, outcome.result.as_str()),
            (verdict, result),
            "{status} {body}"
        );
    }
    let search = salesforce(json!({"contacts": "none", "deduplication": "search"}));
    for (responses, result) in [
        (vec![response(503, json!([]))], "search: failed there: 503"),
        (
            vec![response(400, error("MALFORMED_QUERY", &[]))],
            "search: to be set up there: the field CallObject: refused: 400 MALFORMED_QUERY",
        ),
        (vec![response(200, json!({}))], "not understood: 200"),
        (
            vec![response(200, json!({"records": []})), response(201, json!({}))],
            "not understood: 201",
        ),
    ] {
        assert_eq!(scripted(&search, responses).result(), result);
    }
}

#[test]
fn what_it_can_do_without_and_is_refused_is_left_out() {
    const OWNER: &str = "005000000000001AAA";
    let mut call = marked();
    call.people.employee = Some(employee("ann"));
    for (deduplication, refused, left_out) in [
        ("upsert", OWNER, "OwnerId"),
        ("search", OWNER, "OwnerId"),
        ("none", OWNER, "OwnerId"),
        ("upsert", CONTACT, "WhoId"),
        ("upsert", "Answered", "CallDisposition"),
        ("upsert", "Completed", "Status"),
        ("search", "Call", "TaskSubtype"),
    ] {
        for names_no_field in [false, true] {
            let settings = json!({"owners": {"ann": OWNER}});
            let destination =
                salesforce(json!({"deduplication": deduplication, "settings": settings}));
            let new = || {
                let refused = BTreeSet::from([refused.to_owned()]);
                let forbidden = refused.clone();
                let mut org = Org { refused, forbidden, names_no_field, ..Org::set_up() };
                org.person(CONTACT, "Contact", &[("Phone", "+61491570156")]);
                org
            };
            let mut org = new();
            let attempt = deliver_first(&mut org, &destination, &call);
            let result = format!("delivered: 201, contact found, without {left_out}: refused");
            assert_eq!(attempt.result(), result);
            let task = org.tasks.values().next().unwrap();
            assert!(!task.contains_key(left_out) && task.contains_key("Subject"), "{task:?}");
            if deduplication != "none" {
                let payload = rendered(&destination, &call);
                let entries =
                    cut_short(&destination, &payload, How::Crash, new, |org| org.tasks.len());
                assert!(entries.len() >= 3 && entries.iter().all(|n| *n == 1), "{entries:?}");
            }
        }
    }
}

#[test]
fn texts_are_cut_to_what_the_fields_take() {
    let mut call = record(Case::Held, |facts| {
        facts.campaign = Some("𝄞".repeat(300));
        facts.summary = Some(Personal::new("é".repeat(40_000)));
        facts.contact_name = Some(Personal::new(format!("{} {}", "A".repeat(90), "B".repeat(90))));
    });
    call.people.contact = Some(person(PartyKind::E164, Some("+61491570156")));
    let destination = salesforce(json!({"contacts": "find_or_create"}));
    let mut org = Org::set_up();
    // The org refuses what is too long.
    let attempt = deliver_first(&mut org, &destination, &call);
    assert_eq!(attempt.result(), "delivered: 201, contact created");
    let task = org.tasks.values().next().unwrap();
    assert_eq!(task["Subject"].as_str().unwrap(), "𝄞".repeat(127));
    assert_eq!(task["Description"].as_str().unwrap().encode_utf16().count(), 32_000);
}

#[test]
fn settings_are_checked() {
    for (settings, expected) in [
        (json!({"field": "a b"}), "settings.field: must be the API name of a field"),
        (json!({"field": "Task/../x"}), "settings.field: must be"),
        (json!({"api_version": "62"}), "settings.api_version: must be a version"),
        (json!({"api_version": "v45.0"}), "settings.api_version: must be a version"),
        (json!({"status": ""}), "settings.status: must be"),
        (json!({"creates": "account"}), "settings.creates: must be contact or lead"),
        (json!({"owners": {"ann": "12"}}), "settings.owners: must be an object of user ids"),
        (json!({"x": 1}), "settings.x: is not a field"),
    ] {
        let problem = Settings::read(settings.clone()).unwrap_err().to_string();
        assert!(problem.starts_with(expected), "{settings}: {problem}");
    }
    let plain = json!({"format": "salesforce", "auth": {"type": "oauth_jwt"}}).to_string();
    let error = Destination::parse(&plain, false).unwrap_err().to_string();
    assert!(error.starts_with("url: is missing"), "{error}");
}

#[test]
fn the_documented_configuration_with_a_refresh_token_is_good() {
    let page = include_str!("../../../../docs/destinations/salesforce.md");
    let json = example(page, "With a refresh token").replace('…', "x");
    Destination::parse(&json, false).unwrap();
}
