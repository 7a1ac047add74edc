use std::collections::BTreeSet;
use std::fmt::Write as _;

use insta::assert_snapshot;
use jiff::SignedDuration;
use proptest::prelude::*;
use serde_json::{Value, json};
use switchboard_domain::delivery::Verdict;
use switchboard_domain::{Direction, Party, PartyKind, Personal, Seconds, Unmatched};
use switchboard_testkit::stand_in::hubspot::Portal;

use super::render::LONGEST_BODY;
use super::*;
use crate::auth::Auth;
use crate::destination::Destination;
use crate::testing::{
    Case, How, StandIn, at, configured, cut_short, deliver_again, deliver_first, destination,
    employee, marked, person, record, recording, rendered, response, scripted,
};

fn hubspot(changes: Value) -> Destination {
    configured("hubspot", changes)
}

fn html(text: &str) -> String {
    payload::html(text, LONGEST_BODY)
}

#[test]
fn a_call_of_every_outcome() {
    let mut shown = String::new();
    for case in Case::ALL {
        let mut portal = Portal::set_up();
        let attempt = deliver_first(&mut portal, &destination("hubspot"), &record(case, |_| {}));
        assert_eq!(attempt.result(), "delivered: 200, no contact: unknown", "{case:?}");
        let body = serde_json::to_string_pretty(&attempt.body(1)).unwrap();
        writeln!(shown, "{case:?}: {}\n{body}\n", attempt.lines()[1]).unwrap();
    }
    assert_snapshot!(shown);
}

#[test]
fn every_request_of_a_call_with_all_there_is() {
    let destination = hubspot(json!({
        "contacts": "find_or_create", "settings": {"owners": {"ann": "12345"}},
    }));
    let mut all = marked();
    all.call.facts.direction = Some(Direction::Inbound);
    all.call.facts.from = Party::read("0491 570 156");
    all.call.facts.to = Party::read("+61255501234");
    all.call.facts.started_at = Some(at("2026-02-20T09:00:00Z"));
    let recording = recording("https://recordings.example.com/1.mp3");
    all.call.facts.recordings.insert("RE1".into(), recording);
    all.people.employee = Some(employee("ann"));
    let mut portal = Portal::set_up();
    let attempt = deliver_first(&mut portal, &destination, &all);
    assert_eq!(attempt.result(), "delivered: 200, contact created");
    let shown = attempt.shown();
    assert_snapshot!(shown);
    assert_eq!(portal.associations.len(), 1);
    let remote = attempt.remote;
    assert_eq!(
        portal.associations.first().unwrap(),
        &(remote.call.unwrap(), remote.contact.unwrap())
    );
}

#[test]
fn an_update_is_the_same_entry() {
    let destination = hubspot(json!({}));
    let mut portal = Portal::set_up();
    portal.contact("501", &[("phone", "+61491570156")]);
    let mut call = marked();
    deliver_first(&mut portal, &destination, &call);
    call.call.facts.summary = Some(Personal::new("Came late."));
    call.call.facts.talk = Some(Seconds(130));
    let attempt = deliver_first(&mut portal, &destination, &call);
    assert_eq!(attempt.result(), "delivered: 200, contact found");
    assert_eq!((portal.calls.len(), portal.associations.len()), (1, 1));
    let entry = portal.calls.values().next().unwrap();
    assert_eq!((&*entry["hs_call_body"], &*entry["hs_call_duration"]), ("Came late.", "130000"));
    assert_eq!(entry["switchboard_call_key"], payload::key(&call));
}

#[test]
fn the_contact_is_the_one_with_the_number() {
    let found = |contacts: &[(&str, &[(&str, &str)])]| {
        let mut portal = Portal::set_up();
        for (id, properties) in contacts {
            portal.contact(id, properties);
        }
        let attempt = deliver_first(&mut portal, &destination("hubspot"), &marked());
        let ids: BTreeSet<String> = portal.associations.into_iter().map(|(_, id)| id).collect();
        let ids: Vec<String> = ids.into_iter().collect();
        (ids.join(" "), attempt.result().to_owned())
    };
    let national = "hs_searchable_calculated_phone_number";
    for (contacts, id, result) in [
        (&[][..], "", "delivered: 200, no contact: unknown"),
        (&[("1", &[("phone", "+61491570156")][..])][..], "1", "delivered: 200, contact found"),
        (&[("1", &[("mobilephone", "+61491570156")])], "1", "delivered: 200, contact found"),
        (
            &[("1", &[("phone", "0491 570 156"), (national, "491570156")])],
            "1",
            "delivered: 200, contact found",
        ),
        // The same digits in another country.
        (
            &[("1", &[("phone", "+64 491570156"), (national, "491570156")])],
            "",
            "delivered: 200, no contact: unknown",
        ),
        (
            &[("1", &[("phone", "+61491570156")]), ("2", &[("mobilephone", "+61491570156")])],
            "",
            "delivered: 200, no contact: ambiguous",
        ),
    ] {
        assert_eq!(found(contacts), (id.to_owned(), result.to_owned()), "{contacts:?}");
    }
}

#[test]
fn who_has_no_number_of_their_own_is_not_looked_for() {
    for (change, result) in [
        (None, "delivered: 200, no contact: no number"),
        (Some(Unmatched::OwnNumber), "delivered: 200, no contact: no number"),
        (Some(Unmatched::Colleague), "delivered: 200, no contact: no number"),
        // Several of our own contacts share it: the CRM may know better.
        (Some(Unmatched::Ambiguous), "delivered: 200, no contact: unknown"),
    ] {
        let mut call = marked();
        match change {
            Some(why) => call.people.contact.as_mut().unwrap().unmatched = Some(why),
            None => {
                call.call.facts.to = Party::read("anonymous");
                call.people.contact = Some(person(PartyKind::Anonymous, None));
            }
        }
        let attempt = deliver_first(&mut Portal::set_up(), &destination("hubspot"), &call);
        assert_eq!(attempt.result(), result, "{change:?}");
    }
    let none = hubspot(json!({"contacts": "none"}));
    let attempt = deliver_first(&mut Portal::set_up(), &none, &marked());
    assert_eq!((attempt.result(), attempt.requests.len()), ("delivered: 200", 1));
}

#[test]
fn a_known_contact_is_not_looked_for_and_one_that_is_gone_is_once() {
    let destination = hubspot(json!({"contacts": "find_or_create"}));
    let known_as = |id: &str| Remote { call: None, contact: Some(id.to_owned()) };
    let mut portal = Portal::set_up();
    portal.contact("501", &[("phone", "+1 202 555 0100")]);
    let attempt = deliver_again(&mut portal, &destination, &marked(), &known_as("501"));
    assert_eq!((attempt.result(), attempt.requests.len()), ("delivered: 200, contact known", 2));
    // Merged into another that has the number.
    portal.contact("502", &[("phone", "+61491570156")]);
    let attempt = deliver_again(&mut portal, &destination, &marked(), &known_as("499"));
    assert_eq!(attempt.result(), "delivered: 200, contact found");
    assert_eq!(attempt.remote.contact.as_deref(), Some("502"));
    // No contact has it, and what was created is gone at once, too.
    let mut portal = Portal::set_up();
    let mut forgetting = |request: &switchboard_http::Request| {
        let response = portal.respond(request);
        portal.contacts.clear();
        response
    };
    let attempt = deliver_again(&mut forgetting, &destination, &marked(), &known_as("499"));
    assert_eq!(attempt.result(), "delivered: 200, no contact: it is gone");
    assert_eq!(attempt.remote.contact, None);
    assert_eq!(portal.calls.len(), 1);
}

#[test]
fn after_a_crash_at_any_point_there_is_what_is_declared() {
    for (deduplication, how, most) in [
        ("upsert", How::Crash, 1),
        ("upsert", How::LostResponse, 1),
        ("upsert", How::Stopped, 1),
        ("none", How::Stopped, 1),
        // Nothing tells that the first one was taken.
        ("none", How::LostResponse, 2),
        ("none", How::Crash, 2),
    ] {
        let destination =
            hubspot(json!({"deduplication": deduplication, "contacts": "find_or_create"}));
        let payload = rendered(&destination, &marked());
        let entries = cut_short(&destination, &payload, how, Portal::set_up, |portal| {
            assert_eq!(portal.contacts.len(), 1);
            portal.calls.len()
        });
        assert_eq!(entries.len(), 4);
        assert_eq!(entries.into_iter().max(), Some(most), "{deduplication} {how:?}");
    }
}

#[test]
fn without_a_key_an_update_finds_the_call_by_its_id() {
    let destination = hubspot(json!({"deduplication": "none", "contacts": "none"}));
    let mut portal = Portal::default();
    let attempt = deliver_first(&mut portal, &destination, &marked());
    let remote = attempt.remote;
    let attempt = deliver_again(&mut portal, &destination, &marked(), &remote);
    assert_eq!((attempt.result(), portal.calls.len()), ("delivered: 200", 1));
    // It was deleted there: it is made again.
    portal.calls.clear();
    let attempt = deliver_again(&mut portal, &destination, &marked(), &remote);
    assert_eq!((attempt.result(), portal.calls.len()), ("delivered: 201", 1));
}

#[test]
fn what_an_answer_means() {
    let in_seconds =
        |seconds: i64| Some(at("2026-02-20T09:05:00Z") + SignedDuration::from_secs(seconds));
    let error = |category: &str, message: &str| json!({"status": "error", "category": category, "message": message});
    let limit = |policy: &str| json!({"category": "RATE_LIMITS", "policyName": policy});
    let retry = |not_before| Verdict::Retry { not_before };
    let property = "Property \"switchboard_call_key\" does not exist";
    for (status, body, verdict, result) in [
        (400, error("VALIDATION_ERROR", "x"), Verdict::Refused, "refused: 400 VALIDATION_ERROR"),
        (
            400,
            error("VALIDATION_ERROR", property),
            retry(None),
            "to be set up there: the property switchboard_call_key or another: 400 VALIDATION_ERROR",
        ),
        (
            401,
            error("INVALID_AUTHENTICATION", "x"),
            retry(None),
            "not authorized: 401 INVALID_AUTHENTICATION",
        ),
        (403, error("MISSING_SCOPES", "x"), retry(None), "not authorized: 403 MISSING_SCOPES"),
        (409, error("CONFLICT", "x"), retry(None), "retry later: 409 CONFLICT"),
        (423, error("LOCKED", "x"), retry(None), "retry later: 423 LOCKED"),
        (429, limit("TEN_SECONDLY_ROLLING"), retry(in_seconds(10)), "retry later: 429 RATE_LIMITS"),
        (429, limit("SECONDLY"), retry(in_seconds(1)), "retry later: 429 RATE_LIMITS"),
        (429, limit("DAILY"), retry(in_seconds(3_600)), "retry later: 429 RATE_LIMITS"),
        (
            429,
            error("RATE_LIMITS", "You have reached your secondly limit."),
            retry(in_seconds(1)),
            "retry later: 429 RATE_LIMITS",
        ),
        (429, json!("<html>"), retry(in_seconds(10)), "retry later: 429"),
        (477, json!({}), retry(None), "retry later: 477"),
        (502, json!("<html>"), retry(None), "failed there: 502"),
        (
            207,
            json!({"results": [], "numErrors": 1, "errors": [error("VALIDATION_ERROR", "x")]}),
            Verdict::Refused,
            "refused: 207 VALIDATION_ERROR",
        ),
        (
            207,
            json!({"results": [], "numErrors": 1, "errors": [error("RATE_LIMITS", "x")]}),
            retry(None),
            "retry later: 207 RATE_LIMITS",
        ),
        (
            207,
            json!({"results": [], "numErrors": 1, "errors": [error("VALIDATION_ERROR", property)]}),
            retry(None),
            "to be set up there: the property switchboard_call_key or another: 207 VALIDATION_ERROR",
        ),
        (200, json!({"results": []}), retry(None), "not understood: 200"),
        (200, json!({"id": "7", "success": false}), retry(None), "not understood: 200"),
        (200, Value::Null, retry(None), "not understood: 200"),
        (200, json!("<html>"), retry(None), "not understood: 200"),
    ] {
        let destination = hubspot(json!({"contacts": "none"}));
        let outcome = scripted(&destination, [response(status, body.clone())]).outcome;
        assert_eq!(
            (outcome.verdict, outcome.result.as_str()),
            (verdict, result),
            "{status} {body}"
        );
        assert_eq!(outcome.status, Some(status));
    }
}

#[test]
fn a_contact_that_cannot_be_had_keeps_the_call_back_only_for_a_while() {
    let destination = hubspot(json!({"contacts": "find_or_create"}));
    let none = || response(200, json!({"total": 0, "results": []}));
    let taken = || response(200, json!({"results": [{"id": "7"}]}));
    let refused = || response(400, json!({"category": "VALIDATION_ERROR"}));
    for (responses, result) in [
        (vec![response(503, json!({}))], "contact: failed there: 503"),
        (
            vec![response(403, json!({"category": "MISSING_SCOPES"}))],
            "contact: not authorized: 403 MISSING_SCOPES",
        ),
        (vec![response(200, json!({}))], "contact: not understood: 200"),
        (vec![refused(), taken()], "delivered: 200, no contact: refused: 400 VALIDATION_ERROR"),
        (
            vec![none(), refused(), taken()],
            "delivered: 200, no contact: refused: 400 VALIDATION_ERROR",
        ),
        (vec![none(), response(201, json!({})), taken()], "contact: not understood: 201"),
        (
            vec![none(), response(201, json!({"id": "5"})), taken(), response(500, json!({}))],
            "association: failed there: 500",
        ),
        (
            vec![none(), response(201, json!({"id": "5"})), taken(), refused()],
            "delivered: 200, contact not attached: refused: 400 VALIDATION_ERROR",
        ),
        (
            vec![none(), response(409, json!({"category": "CONFLICT"})), taken()],
            "delivered: 200, no contact: retry later: 409 CONFLICT",
        ),
        (
            vec![
                none(),
                response(201, json!({"id": "5"})),
                taken(),
                response(200, json!("<html>")),
            ],
            "association: not understood: 200",
        ),
    ] {
        let attempt = scripted(&destination, responses);
        assert_eq!(attempt.result(), result);
        let is_done = attempt.outcome.is_delivered();
        assert_eq!(is_done, result.starts_with("delivered"));
    }
}

#[test]
fn what_it_can_do_without_and_is_refused_is_left_out() {
    const CONNECTED: &str = "f240bbac-87c9-4f6e-bf70-924b57d47db7";
    let mut call = marked();
    call.people.employee = Some(employee("ann"));
    for (deduplication, says_207, refused, left_out) in [
        ("upsert", false, &["12345"][..], &["hubspot_owner_id"][..]),
        ("upsert", true, &["12345"], &["hubspot_owner_id"]),
        ("none", false, &["12345"], &["hubspot_owner_id"]),
        ("upsert", false, &[CONNECTED], &["hs_call_disposition"]),
        ("upsert", true, &[CONNECTED, "12345"], &["hs_call_disposition", "hubspot_owner_id"]),
    ] {
        let destination = hubspot(json!({
            "deduplication": deduplication, "settings": {"owners": {"ann": "12345"}},
        }));
        let refused: BTreeSet<String> = refused.iter().map(|text| (*text).to_owned()).collect();
        let new = || {
            let mut portal = Portal::set_up();
            (portal.refused, portal.says_207) = (refused.clone(), says_207);
            portal
        };
        let mut portal = new();
        let attempt = deliver_first(&mut portal, &destination, &call);
        let notes: String =
            left_out.iter().map(|name| format!(", without {name}: refused")).collect();
        let status = attempt.outcome.status.unwrap();
        assert_eq!(attempt.result(), format!("delivered: {status}, no contact: unknown{notes}"));
        let entry = portal.calls.values().next().unwrap();
        assert!(entry.contains_key("hs_call_body"));
        assert!(left_out.iter().all(|name| !entry.contains_key(*name)), "{entry:?}");
        if deduplication == "upsert" {
            let payload = rendered(&destination, &call);
            let entries = cut_short(&destination, &payload, How::Crash, new, |crm| crm.calls.len());
            assert!(entries.len() >= 3 && entries.iter().all(|count| *count == 1), "{entries:?}");
        }
    }
}

#[test]
fn a_missing_property_is_said_and_waited_for() {
    let mut portal = Portal::default();
    let attempt = deliver_first(&mut portal, &destination("hubspot"), &marked());
    assert_eq!(attempt.outcome.verdict, Verdict::Retry { not_before: None });
    assert!(attempt.result().starts_with("to be set up there: the property switchboard_call_key"));
    portal.unique.insert("switchboard_call_key".into());
    let attempt = deliver_first(&mut portal, &destination("hubspot"), &marked());
    assert_eq!(attempt.result(), "delivered: 200, no contact: unknown");
}

#[test]
fn what_was_said_never_becomes_markup() {
    assert_eq!(html("a<b>&\"c\"\r\nd"), "a&lt;b&gt;&amp;&quot;c&quot;<br>d");
    // Cut between entities, and within the limit.
    let long = "&".repeat(40_000);
    let shown = html(&long);
    assert!(shown.len() <= LONGEST_BODY && shown.len() > LONGEST_BODY - 5);
    assert!(shown.ends_with("&amp;"));
    assert_eq!(html(&"𝄞".repeat(40_000)).encode_utf16().count(), LONGEST_BODY);
}

#[test]
fn settings_are_checked() {
    let problem = |settings: Value| Settings::read(settings).map(|_| ()).unwrap_err().to_string();
    for (settings, expected) in [
        (json!([]), "settings: must be a JSON object"),
        (json!({"property": ""}), "settings.property: must be a property's internal name"),
        (json!({"property": "A b"}), "settings.property: must be"),
        (json!({"property": 7}), "settings.property: must be"),
        (json!({"owners": {"ann": "x"}}), "settings.owners: must be an object of owner ids"),
        (json!({"fields": {}}), "settings.fields: is not a field that exists here"),
    ] {
        let problem = problem(settings);
        assert!(problem.starts_with(expected), "{problem}");
    }
    let destination = destination("hubspot");
    assert_eq!(destination.deduplication, Deduplication::Upsert);
    assert!(destination.signing_secrets.is_empty());
}

#[test]
fn the_usual_host_and_token_endpoint_are_hubspots() {
    let json = json!({
        "format": "hubspot",
        "auth": {
            "type": "oauth_refresh", "client_id": "fake-client", "client_secret": "fake-secret",
            "refresh_token": "fake-refresh-token",
        },
    });
    let destination = Destination::parse(&json.to_string(), false).unwrap();
    assert_eq!(destination.url.as_str(), "https://api.hubapi.com/");
    let Auth::OAuth(oauth) = destination.auth else { panic!("another auth") };
    assert_eq!(oauth.token_url.as_str(), "https://api.hubapi.com/oauth/v1/token");
}

proptest! {
    #[test]
    fn any_text_is_shown_as_html_within_the_limit(
        text in "\\PC{0,60}",
        times in prop::sample::select(vec![1, 30, 1_200]),
    ) {
        let shown = html(&text.repeat(times));
        prop_assert!(shown.encode_utf16().count() <= LONGEST_BODY);
        let bare = shown.replace("<br>", "");
        prop_assert!(!bare.contains(['<', '>', '"']));
    }
}
