use insta::assert_snapshot;
use proptest::prelude::*;
use serde_json::{Value, json};
use switchboard_domain::delivery::Verdict;
use switchboard_domain::{CallRecord, Direction, Event, Facts, Personal, Seconds};
use switchboard_testkit::stand_in::zoho::{Organisation, error};

use super::render::{LONGEST_DESCRIPTION, MARK};
use super::*;
use crate::destination::Destination;
use crate::testing::any_call::any_record;
use crate::testing::{
    Attempt, Case, How, at, configured, cut_short, record, rendered_of, response, with_header,
};

const OWNER: &str = "4876876000000000017";
const CONTACT: &str = "4876876000000000005";

fn destination(changes: Value) -> Destination {
    let mut json = json!({"url": "https://www.zohoapis.eu"});
    json.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    configured("zoho", json)
}

fn payload_of(record: &CallRecord, settings: Value) -> Value {
    let crm = destination(json!({ "settings": settings }));
    serde_json::from_slice(&rendered_of(&crm, record, Event::Completed)).unwrap()
}

fn full() -> CallRecord {
    crate::testing::full(|facts| {
        facts.talk = Some(Seconds(7_504));
        facts.contact_name = Some(Personal::new("Zoë van Example"));
        facts.summary = Some(Personal::new("Wants <b>two</b> offers.\r\nCall back on Monday."));
    })
}

#[test]
fn a_full_call() {
    let settings = json!({"owners": {"emp-1": OWNER}, "results": {"answered": "Interested"}});
    assert_snapshot!(format!("{:#}", payload_of(&full(), settings)));
}

#[test]
fn a_full_call_with_a_field_for_the_key() {
    assert_snapshot!(format!("{:#}", payload_of(&full(), json!({"key_field": "Switchboard_Key"}))));
}

#[test]
fn every_outcome_and_way() {
    let mut lines = Vec::new();
    for case in Case::ALL {
        for direction in [Direction::Outbound, Direction::Inbound] {
            let record = record(case, |facts| facts.direction = Some(direction));
            let call = &payload_of(&record, json!({}))["call"];
            lines.push(format!("{case:?} {direction:?}: {call}"));
        }
    }
    for direction in [Some(Direction::Internal), None] {
        let record = record(Case::Held, |facts| facts.direction = direction);
        lines.push(format!("{direction:?}: {}", payload_of(&record, json!({}))["call"]));
    }
    assert_snapshot!(lines.join("\n"));
}

#[test]
fn where_little_is_known_what_must_be_there_is() {
    let bare = record(Case::Unknown, |facts| {
        *facts = Facts { state: facts.state, ..Facts::default() };
    });
    assert_snapshot!(payload_of(&bare, json!({})));
}

#[test]
fn the_key_stands_in_a_description_however_long_it_is() {
    for length in [0, 31_900, 31_955, 31_956, 31_957, 32_000, 40_000] {
        let record = record(Case::Held, |facts| {
            (facts.from, facts.to) = (None, None);
            facts.summary = Some(Personal::new("é".repeat(length)));
        });
        let payload = payload_of(&record, json!({}));
        let description = payload["call"]["Description"].as_str().unwrap();
        assert!(description.encode_utf16().count() <= LONGEST_DESCRIPTION);
        assert!(description.ends_with(&format!("{MARK}{}", payload["key"].as_str().unwrap())));
    }
}

/// One attempt on an organisation.
fn deliver(changes: Value, event: Event, remote: &Remote, crm: &mut Organisation) -> Attempt {
    let destination = destination(changes);
    let payload = rendered_of(&destination, &full(), event);
    crate::testing::deliver(&destination, &payload, remote, crm)
}

fn completed(changes: Value, crm: &mut Organisation) -> Attempt {
    deliver(changes, Event::Completed, &Remote::default(), crm)
}

fn contact(id: &str, phone: &str) -> Value {
    json!({"id": id, "Last_Name": "Example", "Phone": phone, "Company": "of their own field"})
}

#[test]
fn a_call_is_made_and_attached() {
    let mut crm = Organisation::default().with("Contacts", contact(CONTACT, "+61 491 570 156"));
    let outcome = completed(json!({}), &mut crm);
    assert_eq!(
        (outcome.verdict, outcome.result.as_str()),
        (Verdict::Delivered, "created: 201, contact found")
    );
    assert_eq!(crm.calls().len(), 1);
    assert_eq!(crm.calls()[0]["Who_Id"]["id"], CONTACT);
    assert_eq!(outcome.remote.call.as_deref(), crm.calls()[0]["id"].as_str());
    assert_eq!(outcome.remote.contact, Some(format!("Contacts/{CONTACT}")));
    assert_eq!(
        crm.asked,
        ["GET /crm/v8/Calls/search", "GET /crm/v8/Contacts/search", "POST /crm/v8/Calls"]
    );
    // A lead, where no contact has the number.
    let mut crm =
        Organisation::default().with("Leads", contact("4876876000000000006", "0061491570156"));
    let outcome = completed(json!({}), &mut crm);
    assert_eq!(outcome.result, "created: 201, contact found");
    assert_eq!(crm.calls()[0]["What_Id"]["id"], "4876876000000000006");
    assert_eq!(crm.calls()[0]["$se_module"], "Leads");
    // Two have it.
    let mut crm = Organisation::default()
        .with("Contacts", contact(CONTACT, "+61491570156"))
        .with("Contacts", contact("4876876000000000007", "+61491570156"));
    assert_eq!(completed(json!({}), &mut crm).result, "created: 201, no contact: ambiguous");
    assert!(crm.calls()[0].get("Who_Id").is_none());
    // None is searched for.
    let mut crm = Organisation::default().with("Contacts", contact(CONTACT, "+61491570156"));
    assert_eq!(completed(json!({"contacts": "none"}), &mut crm).result, "created: 201");
    assert_eq!(crm.asked, ["GET /crm/v8/Calls/search", "POST /crm/v8/Calls"]);
}

#[test]
fn a_contact_is_created_if_that_is_wanted() {
    let wanted = || json!({"contacts": "find_or_create"});
    let mut crm = Organisation::default();
    assert_eq!(completed(wanted(), &mut crm).result, "created: 201, contact created");
    let contact = &crm.records["Contacts"][0];
    assert_eq!(
        (&contact["First_Name"], &contact["Last_Name"]),
        (&json!("Zoë van"), &json!("Example"))
    );
    assert_eq!(contact["Phone"], "+61491570156");
    assert_eq!(crm.calls()[0]["Who_Id"]["id"], contact["id"]);
    // One whose number is written as inside the country is found first.
    let mut crm =
        Organisation::default().with("Contacts", super::tests::contact(CONTACT, "0491 570 156"));
    assert_eq!(completed(wanted(), &mut crm).result, "created: 201, contact found");
    assert_eq!(crm.records["Contacts"].len(), 1);
    // An organisation that wants more of a contact does not keep the call back; nor does a duplicate.
    let refused = response(
        202,
        json!({"data": [{"code": "MANDATORY_NOT_FOUND", "details": {"api_name": "Email"}}]}),
    );
    let none = || response(204, Value::Null);
    let mut crm = Organisation::default().responding(vec![none(), none(), none(), none(), refused]);
    let outcome = completed(wanted(), &mut crm);
    assert_eq!(
        outcome.result,
        "created: 201, no contact: refused: 400 MANDATORY_NOT_FOUND, for Email"
    );
    let there = json!({"api_name": "Phone", "duplicate_record": {"id": CONTACT}});
    let duplicate = response(400, json!({"data": [{"code": "DUPLICATE_DATA", "details": there}]}));
    let mut crm = Organisation::default()
        .with("Contacts", super::tests::contact(CONTACT, ""))
        .responding(vec![none(), none(), none(), none(), duplicate]);
    assert_eq!(completed(wanted(), &mut crm).result, "created: 201, contact created");
    assert_eq!(crm.calls()[0]["Who_Id"]["id"], CONTACT);
}

#[test]
fn what_is_there_is_changed_and_not_made_again() {
    for settings in [json!({}), json!({"key_field": "Switchboard_Key"})] {
        let changes = || json!({"settings": settings});
        let mut crm = Organisation {
            key_field: Some(("Switchboard_Key".into(), false)),
            ..Organisation::default()
        };
        let first = completed(changes(), &mut crm);
        assert_eq!(first.verdict, Verdict::Delivered, "{}", first.result);
        // A person there has changed what is theirs to change.
        crm.records.get_mut("Calls").unwrap()[0]["Owner"] = json!({"id": "1"});
        for remote in [Remote::default(), first.remote.clone()] {
            for event in [Event::Completed, Event::Updated] {
                let outcome = deliver(changes(), event, &remote, &mut crm);
                assert_eq!(outcome.verdict, Verdict::Delivered, "{}", outcome.result);
                assert!(outcome.result.starts_with("changed: 200"), "{}", outcome.result);
                assert_eq!(outcome.remote.call, first.remote.call);
                assert_eq!(crm.calls().len(), 1);
            }
        }
        assert_eq!(crm.calls()[0]["Owner"]["id"], "1");
    }
}

#[test]
fn only_a_record_that_really_has_the_key_is_taken_for_the_call() {
    let key = payload_of(&full(), json!({}))["key"].as_str().unwrap().to_owned();
    let call = |id: &str, text: String| json!({"id": id, "Description": text});
    let mut crm = Organisation::default()
        .with("Calls", call("7", format!("about {key}0")))
        .with("Calls", call("8", format!("x{key}")));
    assert!(completed(json!({}), &mut crm).result.starts_with("created"));
    // Of several that have it, the oldest.
    let mut crm = Organisation::default()
        .with("Calls", call("12", format!("{MARK}{key}")))
        .with("Calls", call("9", format!("a\n{MARK}{key}")));
    let outcome = completed(json!({}), &mut crm);
    assert_eq!(outcome.remote.call.as_deref(), Some("9"));
}

#[test]
fn what_was_deleted_comes_back_only_if_the_whole_call_is_delivered() {
    let remote = Remote { call: Some("4876876000000000099".into()), ..Remote::default() };
    for deduplication in ["search", "none"] {
        for not_taken in [202, 400] {
            let changes = || json!({"deduplication": deduplication});
            let mut crm = Organisation { not_taken, ..Organisation::default() };
            let outcome = deliver(changes(), Event::Completed, &remote, &mut crm);
            assert!(outcome.result.starts_with("created: 201"), "{}", outcome.result);
            assert_eq!(crm.calls().len(), 1);
            let mut crm = Organisation { not_taken, ..Organisation::default() };
            let outcome = deliver(changes(), Event::Updated, &remote, &mut crm);
            assert_eq!(outcome.verdict, Verdict::Refused);
            assert_eq!(outcome.result, "refused: its record is not there");
            assert!(crm.calls().is_empty());
        }
    }
    // An update of a call whose record is not known.
    let mut crm = Organisation::default();
    let outcome =
        deliver(json!({"deduplication": "none"}), Event::Updated, &Remote::default(), &mut crm);
    assert_eq!((outcome.verdict, crm.calls().len()), (Verdict::Refused, 0));
    let outcome = deliver(json!({}), Event::Updated, &Remote::default(), &mut crm);
    assert_eq!((outcome.verdict, crm.calls().len()), (Verdict::Delivered, 1));
}

#[test]
fn a_contact_who_was_known_and_is_gone_does_not_keep_the_call_back() {
    let known = Remote { contact: Some("Contacts/77".into()), ..Remote::default() };
    let mut crm = Organisation::default().with("Contacts", contact(CONTACT, "+61491570156"));
    let outcome = deliver(json!({}), Event::Completed, &known, &mut crm);
    assert_eq!(outcome.result, "created: 201, contact found");
    assert_eq!(crm.calls()[0]["Who_Id"]["id"], CONTACT);
    let mut crm = Organisation::default();
    let outcome = deliver(json!({}), Event::Completed, &known, &mut crm);
    assert_eq!(outcome.result, "created: 201, no contact: unknown");
    assert_eq!(outcome.remote.contact, None);
    // The search shows one who is not there any more: once is enough.
    let found = response(200, json!({"data": [contact(CONTACT, "+61491570156")]}));
    let mut crm = Organisation::default().responding(vec![response(204, Value::Null), found]);
    let outcome = completed(json!({}), &mut crm);
    assert_eq!(outcome.result, "created: 201, no contact: it is gone");
    assert_eq!((crm.calls().len(), crm.asked.len()), (1, 4));
}

/// Entries that are left after each attempt that was cut short.
fn entries(changes: Value, how: How, new: impl Fn() -> Organisation) -> Vec<usize> {
    let destination = destination(changes);
    let payload = rendered_of(&destination, &full(), Event::Completed);
    cut_short(&destination, &payload, how, new, |crm| {
        assert!(crm.records["Contacts"].len() <= 1);
        crm.calls().len()
    })
}

#[test]
fn cut_short_anywhere_there_is_one_entry_if_it_is_searched_for() {
    for contacts in ["none", "find", "find_or_create"] {
        for how in [How::Crash, How::LostResponse] {
            for settings in [json!({}), json!({"key_field": "Switchboard_Key"})] {
                let changes = json!({"contacts": contacts, "settings": settings});
                let new = || Organisation {
                    key_field: Some(("Switchboard_Key".into(), false)),
                    ..Organisation::default()
                };
                let entries = entries(changes, how, new);
                assert!(entries.len() >= 2);
                assert!(entries.iter().all(|count| *count == 1), "{contacts}: {entries:?}");
            }
        }
    }
}

#[test]
fn a_unique_field_keeps_it_one_even_where_the_search_lags() {
    let new = |is_unique| {
        move || Organisation {
            key_field: Some(("Switchboard_Key".into(), is_unique)),
            lags: true,
            ..Organisation::default()
        }
    };
    let changes = || json!({"contacts": "none", "settings": {"key_field": "Switchboard_Key"}});
    assert_eq!(entries(changes(), How::Crash, new(true)), [1, 1]);
    // What a field that is not unique cannot guarantee.
    assert_eq!(entries(changes(), How::Crash, new(false)), [1, 2]);
}

#[test]
fn cut_short_there_may_be_two_if_it_is_not_searched_for() {
    let changes = json!({"contacts": "none", "deduplication": "none"});
    assert_eq!(entries(changes, How::Crash, Organisation::default), [2]);
}

#[test]
fn what_responses_mean() {
    let retry = Verdict::Retry { not_before: None };
    let until = |time: &str| Verdict::Retry { not_before: Some(at(time)) };
    let record = |status: u16, code: &str, field: &str| {
        let one = json!({"code": code, "details": {"api_name": field}, "message": "Zoe", "status": "error"});
        response(status, json!({ "data": [one] }))
    };
    let too_many = || error(429, "TOO_MANY_REQUESTS", json!({}));
    let reset = |response, text: &str| with_header(response, "x-ratelimit-reset", text);
    let in_a_minute = at("2026-02-20T09:06:00Z").as_millisecond().to_string();
    let in_a_week = at("2026-02-27T09:06:00Z").as_millisecond().to_string();
    for (given, verdict, words) in [
        (error(401, "INVALID_TOKEN", json!({})), retry, "not authorized: 401 INVALID_TOKEN"),
        (
            error(401, "AUTHENTICATION_FAILURE", json!({})),
            retry,
            "not authorized: 401 AUTHENTICATION_FAILURE",
        ),
        (
            error(401, "OAUTH_SCOPE_MISMATCH", json!({})),
            retry,
            "not authorized: the token lacks a scope: 401 OAUTH_SCOPE_MISMATCH",
        ),
        (
            error(403, "NO_PERMISSION", json!({})),
            retry,
            "not authorized: the user lacks a right: 403 NO_PERMISSION",
        ),
        (
            record(202, "NO_PERMISSION", "Call_Type"),
            retry,
            "not authorized: the user lacks a right: 202 NO_PERMISSION, for Call_Type",
        ),
        (error(429, "TOO_MANY_REQUESTS", json!({})), retry, "retry later: 429 TOO_MANY_REQUESTS"),
        (
            reset(too_many(), &in_a_minute),
            until("2026-02-20T09:06:00Z"),
            "retry later: 429 TOO_MANY_REQUESTS",
        ),
        (reset(too_many(), &in_a_week), retry, "retry later: 429 TOO_MANY_REQUESTS"),
        (reset(too_many(), "60"), retry, "retry later: 429 TOO_MANY_REQUESTS"),
        (
            with_header(reset(too_many(), &in_a_minute), "retry-after", "30"),
            until("2026-02-20T09:05:30Z"),
            "retry later: 429 TOO_MANY_REQUESTS",
        ),
        (
            reset(response(429, Value::Null), &in_a_minute),
            until("2026-02-20T09:06:00Z"),
            "retry later: 429",
        ),
        (
            record(202, "MANDATORY_NOT_FOUND", "Call_Purpose"),
            Verdict::Refused,
            "refused: 202 MANDATORY_NOT_FOUND, for Call_Purpose",
        ),
        (
            record(400, "INVALID_DATA", "Call_Duration"),
            Verdict::Refused,
            "refused: 400 INVALID_DATA, for Call_Duration",
        ),
        (
            record(400, "INVALID_DATA", "+61491570156"),
            Verdict::Refused,
            "refused: 400 INVALID_DATA",
        ),
        (
            record(200, "DUPLICATE_DATA", "Subject"),
            Verdict::Refused,
            "refused: 200 DUPLICATE_DATA, for Subject",
        ),
        (
            record(202, "SOMETHING_NEW", "Subject"),
            Verdict::Refused,
            "refused: 202 SOMETHING_NEW, for Subject",
        ),
        (error(400, "Zoe", json!({})), Verdict::Refused, "refused: 400"),
        (error(500, "INTERNAL_ERROR", json!({})), retry, "failed there: 500 INTERNAL_ERROR"),
        (response(502, Value::Null), retry, "failed there: 502"),
        (
            error(404, "INVALID_URL_PATTERN", json!({})),
            Verdict::RetryBriefly { not_before: None },
            "not found: 404",
        ),
        (response(409, Value::Null), retry, "retry later: 409"),
        (response(200, json!("<html>")), retry, "not understood: 200"),
        (response(201, json!("<html>")), retry, "not understood: 201"),
        (response(200, json!({"success": false})), retry, "not understood: 200"),
        (response(200, Value::Null), retry, "not understood: 200"),
    ] {
        let none = response(204, Value::Null);
        let mut crm = Organisation::default().responding(vec![none, given]);
        let outcome = completed(json!({"contacts": "none"}), &mut crm);
        assert_eq!((outcome.verdict, outcome.result.as_str()), (verdict, words));
        assert!(crm.calls().is_empty());
        assert_eq!(crm.asked.len(), 2);
    }
    // A search that fails keeps it from being made: it may be there.
    for given in [
        error(500, "INTERNAL_ERROR", json!({})),
        response(200, json!({})),
        response(200, Value::Null),
    ] {
        let mut crm = Organisation::default().responding(vec![given]);
        assert_eq!(completed(json!({}), &mut crm).verdict, retry);
        assert!(crm.calls().is_empty());
    }
    // It was made, though its id was not said.
    let none = response(204, Value::Null);
    let mut crm = Organisation::default().responding(vec![none, response(201, Value::Null)]);
    assert_eq!(completed(json!({"contacts": "none"}), &mut crm).verdict, Verdict::Delivered);
}

#[test]
fn what_it_can_do_without_and_is_refused_is_left_out() {
    let lead = contact("4876876000000000006", "+61491570156");
    for (not_taken, owner, results, left_out) in [
        (202, "4876876000000000099", &[][..], &["Owner"][..]),
        (400, "4876876000000000099", &[], &["Owner"]),
        (202, OWNER, &["Interested"], &["Call_Result"]),
        (202, "4876876000000000099", &["Interested"], &["Call_Result", "Owner"]),
    ] {
        let settings = json!({"key_field": "Switchboard_Key", "owners": {"emp-1": owner}});
        let changes = || json!({ "settings": settings });
        let new = || Organisation {
            not_taken,
            results: results.iter().map(|text| (*text).to_owned()).collect(),
            ..Organisation::set_up().with("Leads", lead.clone())
        };
        let mut crm = new();
        let outcome = completed(changes(), &mut crm);
        let notes: String =
            left_out.iter().map(|name| format!(", without {name}: refused")).collect();
        assert_eq!(outcome.result, format!("created: 201, contact found{notes}"));
        let call = &crm.calls()[0];
        assert!(left_out.iter().all(|name| call.get(*name).is_none()), "{call}");
        assert_eq!(call["$se_module"], "Leads");
        let entries = entries(changes(), How::Crash, new);
        assert!(entries.len() >= 4 && entries.iter().all(|count| *count == 1), "{entries:?}");
    }
    let none = || response(204, Value::Null);
    for (details, left_out) in [
        // Nothing is named: it may be the owner or the lead.
        (json!({}), ", without Owner: refused, without What_Id: refused"),
        (json!({"api_name": "id", "parent_api_name": "Owner"}), ", without Owner: refused"),
    ] {
        let found = response(200, json!({"data": [lead]}));
        let refused = error(400, "INVALID_DATA", details);
        let mut crm = Organisation::default()
            .with("Leads", contact("4876876000000000006", ""))
            .responding(vec![none(), none(), found, refused]);
        let outcome = completed(json!({"settings": {"owners": {"emp-1": OWNER}}}), &mut crm);
        assert_eq!(outcome.result, format!("created: 201, contact found{left_out}"));
    }
    // A lead inside a change is no record that was deleted.
    let gone = error(400, "INVALID_DATA", json!({"api_name": "id", "parent_api_name": "What_Id"}));
    let remote = Remote { call: Some("7".into()), contact: Some("Leads/9".into()) };
    let mut crm = Organisation::default().with("Calls", json!({"id": "7"})).responding(vec![gone]);
    let outcome = deliver(json!({}), Event::Completed, &remote, &mut crm);
    assert_eq!(outcome.result, "changed: 200, no contact: unknown");
}

#[test]
fn a_field_of_the_key_that_is_missing_is_said_and_waited_for() {
    let changes = || json!({"settings": {"key_field": "Switchboard_Key"}});
    let mut crm = Organisation::default();
    let outcome = completed(changes(), &mut crm);
    assert_eq!(outcome.verdict, Verdict::Retry { not_before: None });
    let words = "to be set up there: the search for Switchboard_Key: refused: 400 INVALID_QUERY";
    assert!(outcome.result.starts_with(words), "{}", outcome.result);
    let without_search = json!({
        "settings": {"key_field": "Switchboard_Key"}, "deduplication": "none", "contacts": "none",
    });
    let outcome = completed(without_search, &mut crm);
    assert_eq!(outcome.verdict, Verdict::Retry { not_before: None });
    assert!(outcome.result.starts_with("to be set up there: the field of the key"));
    assert!(crm.calls().is_empty());
    crm.key_field = Some(("Switchboard_Key".into(), true));
    assert_eq!(completed(changes(), &mut crm).result, "created: 201, no contact: unknown");
}

#[test]
fn an_organisation_that_insists_on_more_says_on_what() {
    let mut crm =
        Organisation { mandatory: vec!["Call_Purpose".into()], ..Organisation::default() };
    let outcome = completed(json!({}), &mut crm);
    assert_eq!(outcome.verdict, Verdict::Refused);
    assert_eq!(outcome.result, "refused: 202 MANDATORY_NOT_FOUND, for Call_Purpose");
}

#[test]
fn tokens_come_from_the_data_centre_of_the_account() {
    for (api, accounts) in [
        ("com", "accounts.zoho.com"),
        ("eu", "accounts.zoho.eu"),
        ("in", "accounts.zoho.in"),
        ("com.au", "accounts.zoho.com.au"),
        ("jp", "accounts.zoho.jp"),
        ("ca", "accounts.zohocloud.ca"),
        ("sa", "accounts.zoho.sa"),
        ("com.cn", "accounts.zoho.com.cn"),
    ] {
        let api = Url::parse(&format!("https://www.zohoapis.{api}")).unwrap();
        let token = super::accounts(&api).unwrap();
        assert_eq!(token.as_str(), format!("https://{accounts}/oauth/v2/token"));
    }
    assert_eq!(super::accounts(&Url::parse("https://www.zohoapis.example").unwrap()), None);
}

#[test]
fn settings() {
    assert!(Settings::read(json!({})).is_ok());
    for (settings, words) in [
        (json!({"key_field": "Switchboard Key"}), "settings.key_field: must be the API name"),
        (json!({"key_field": "Subject"}), "settings.key_field: must be the API name"),
        (json!({"key_field": "a)or(id"}), "settings.key_field: must be the API name"),
        (json!({"key_field": ""}), "settings.key_field: must be the API name"),
        (json!({"results": {"answerd": "x"}}), "settings.results: must be an object"),
        (json!({"results": {"answered": ""}}), "settings.results: must be an object"),
        (json!({"owners": {"emp-1": "17a"}}), "settings.owners: must be an object"),
        (json!({"owners": {"emp-1": 17}}), "settings.owners: must be an object"),
        (json!({"data_centre": "eu"}), "settings.data_centre: is not a field"),
    ] {
        let error = Settings::read(settings).unwrap_err().to_string();
        assert!(error.starts_with(words), "{error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Whatever a call is, Zoho takes it and finds it again, and the words of the result hold
    /// nothing about a person.
    #[test]
    fn any_call_is_taken(record in any_record(), has_field in any::<bool>()) {
        let mut settings = json!({"owners": {"e-1": OWNER}});
        if has_field {
            settings["key_field"] = json!("Switchboard_Key");
        }
        let destination = destination(json!({"contacts": "find_or_create", "settings": settings}));
        let payload = rendered_of(&destination, &record, Event::Completed);
        let mut crm = Organisation::set_up();
        let outcome = crate::testing::deliver(&destination, &payload, &Remote::default(), &mut crm);
        prop_assert_eq!(outcome.verdict, Verdict::Delivered, "{}", outcome.result);
        let again = crate::testing::deliver(&destination, &payload, &Remote::default(), &mut crm);
        prop_assert_eq!(again.verdict, Verdict::Delivered, "{}", again.result);
        prop_assert_eq!(crm.calls().len(), 1);
        prop_assert!(crm.records["Contacts"].len() <= 1);
        let words = [
            "created: 201", "changed: 200", ", contact created", ", contact found", ", no contact: no number",
        ];
        for result in [&outcome.result, &again.result] {
            let left = words.iter().fold(result.clone(), |text, known| text.replace(known, ""));
            prop_assert_eq!(left, "");
        }
    }
}
