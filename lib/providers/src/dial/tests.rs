use std::collections::{BTreeMap, BTreeSet};

use http::StatusCode;
use serde_json::json;
use switchboard_domain::Digest;
use switchboard_domain::dial_request::{Context, Order};
use switchboard_domain::directory::{Extension, Origin};

use super::*;
use crate::Provider as _;

const SMARTFLO: &str = r#"{"country": "IN", "dial": {"token": "fake-token", "countries": ["IN"],
    "caller_ids": ["917969690935"], "longest_seconds": 600}}"#;
const LOGIN: &str = r#"{"country": "IN", "dial": {"email": "ops@example.com",
    "password": "fake password", "countries": ["IN"], "api_url": "https://smartflo.example.com"}}"#;
const TWILIO: &str = r#"{"public_url": "https://calls.example.com/prod", "country": "AU",
    "dial": {"account": "AC1", "auth_token": "fake-auth-token", "countries": ["AU"],
    "caller_ids": ["+61491570110"], "ring_seconds": 20}}"#;

fn source(json: &str) -> Source {
    Source::parse(json, None).unwrap()
}

fn name(text: &str) -> Name {
    Name::new("name", text).unwrap()
}

fn dial_request(provider: &str, context: Context) -> DialRequest {
    let order = Order {
        provider: name(provider),
        source: name("main"),
        agent: Personal::new("+61491570156"),
        employee: None,
        to: Personal::new("+61491570157"),
        caller_id: Some(Personal::new("+61491570110")),
        context,
    };
    let at = jiff::Timestamp::UNIX_EPOCH;
    DialRequest::new(DialRequest::id_of("crm", "1"), Digest::of(&[b"asked"]), "a", order, at)
}

fn about(lead: Option<&str>) -> Context {
    Context {
        campaign: Some("spring & summer".into()),
        contact_id: Some("C/1".into()),
        lead_id: lead.map(str::to_owned),
        conversation_id: Some("conv_1".into()),
    }
}

/// A request as its provider gets it: first line, headers, body.
fn written(request: Built) -> (String, BTreeMap<String, String>, Vec<u8>) {
    let request = request.unwrap();
    let header = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        (name.to_string(), value.to_str().unwrap().to_owned())
    };
    let headers = request.headers().iter().map(header).collect();
    (format!("{} {}", request.method(), request.uri()), headers, request.into_body())
}

fn form(body: &[u8]) -> Vec<(String, String)> {
    form_urlencoded::parse(body).into_owned().collect()
}

fn answer(status: u16, body: &str) -> Response<Vec<u8>> {
    let mut answer = Response::new(body.as_bytes().to_vec());
    *answer.status_mut() = StatusCode::from_u16(status).unwrap();
    answer
}

#[test]
fn every_provider_that_dials_has_a_webhook_too() {
    for dial in ALL {
        assert!(crate::provider(dial.name()).is_some(), "{}", dial.name());
        assert!(std::ptr::eq(provider(dial.name()).unwrap(), *dial));
    }
    assert!(provider("onecom").is_none());
}

#[test]
fn smartflos_order_is_asynchronous_and_carries_the_lead() {
    let source = source(SMARTFLO);
    let main = name("main");
    let site = Site { name: &main, source: &source, dialing: source.dial.as_ref().unwrap() };
    let order =
        |lead| written(SmartfloDial.place(&site, None, &dial_request("smartflo", about(lead))));
    let (line, headers, body) = order(Some("L-1"));
    assert_eq!(line, "POST https://api-smartflo.tatateleservices.com/v1/click_to_call");
    assert_eq!(headers["authorization"], "Bearer fake-token");
    assert_eq!(headers["content-type"], "application/json");
    let body: Value = serde_json::from_slice(&body).unwrap();
    let expected = json!({"agent_number": "+61491570156", "destination_number": "+61491570157",
        "caller_id": "+61491570110", "async": 1, "custom_identifier": "L-1", "call_timeout": 600});
    assert_eq!(body, expected);
    let body: Value = serde_json::from_slice(&order(None).2).unwrap();
    assert_eq!(body["custom_identifier"], json!(dial_request("smartflo", about(None)).id));

    let (line, headers, body) = written(SmartfloDial.hang_up(&site, None, "h11.08-1770532638.21"));
    assert_eq!(line, "POST https://api-smartflo.tatateleservices.com/v1/call/hangup");
    assert_eq!(headers["authorization"], "Bearer fake-token");
    assert_eq!(body, br#"{"call_id":"1770532638.21"}"#);
    let (line, headers, _) = written(SmartfloDial.live(&site, None, None));
    assert_eq!(line, "GET https://api-smartflo.tatateleservices.com/v1/live_calls");
    assert_eq!(headers["authorization"], "Bearer fake-token");
    assert!(SmartfloDial.login(&site).is_none());
}

#[test]
fn a_login_is_asked_for_where_there_is_no_token_and_used_from_then_on() {
    let source = source(LOGIN);
    let main = name("main");
    let site = Site { name: &main, source: &source, dialing: source.dial.as_ref().unwrap() };
    let (line, headers, body) = written(SmartfloDial.login(&site).unwrap());
    assert_eq!(line, "POST https://smartflo.example.com/v1/auth/login");
    assert!(!headers.contains_key("authorization"));
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(body, json!({"email": "ops@example.com", "password": "fake password"}));

    let read = |status, body| SmartfloDial.read_login(&answer(status, body));
    let login = |token: &str, lasts| Login { token: Secret::new(token), lasts: Seconds(lasts) };
    let full = r#"{"access_token": "fake-1", "token_type": "bearer", "expires_in": 7200}"#;
    assert_eq!(read(200, full).unwrap(), login("fake-1", 7200));
    assert_eq!(read(201, r#"{"access_token": "fake-1"}"#).unwrap(), login("fake-1", 3600));
    for (status, body) in [
        (200, "{}"),
        (200, r#"{"access_token": ""}"#),
        (200, r#"{"access_token": "a\nb"}"#),
        (200, "<html>"),
        (401, full),
        (503, full),
    ] {
        assert!(read(status, body).is_err(), "{status} {body}");
    }
    let token = Secret::new("fake-1");
    let placed = SmartfloDial.place(&site, Some(&token), &dial_request("smartflo", about(None)));
    assert_eq!(written(placed).1["authorization"], "Bearer fake-1");
}

#[test]
fn twilios_order_rings_the_agent_and_then_the_customer_and_says_what_it_is_about() {
    let source = source(TWILIO);
    let main = name("main");
    let site = Site { name: &main, source: &source, dialing: source.dial.as_ref().unwrap() };
    let dial_request = dial_request("twilio", about(Some("L-1")));
    let (line, headers, body) = written(TwilioDial.place(&site, None, &dial_request));
    assert_eq!(line, "POST https://api.twilio.com/2010-04-01/Accounts/AC1/Calls.json");
    // Base64 of AC1:fake-auth-token, computed with Python.
    assert_eq!(headers["authorization"], "Basic QUMxOmZha2UtYXV0aC10b2tlbg==");
    assert_eq!(headers["content-type"], "application/x-www-form-urlencoded");
    let callback = format!(
        "https://calls.example.com/prod/call-status-callback?source=main&press_id={}\
         &contact_number=%2B61491570157&campaign=spring%20%26%20summer&contact_id=C%2F1&lead_id=L-1\
         &conversation_id=conv_1",
        dial_request.id
    );
    let twiml = "<Response><Dial callerId=\"+61491570110\" timeout=\"20\">\
                 <Number>+61491570157</Number></Dial></Response>";
    let expected = [
        ("To", "+61491570156"),
        ("From", "+61491570110"),
        ("Timeout", "20"),
        ("Twiml", twiml),
        ("StatusCallback", &callback),
        ("StatusCallbackMethod", "POST"),
        ("StatusCallbackEvent", "initiated"),
        ("StatusCallbackEvent", "ringing"),
        ("StatusCallbackEvent", "answered"),
        ("StatusCallbackEvent", "completed"),
    ];
    let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(form(&body), expected);

    let (line, headers, body) = written(TwilioDial.hang_up(&site, None, "CA1"));
    assert_eq!(line, "POST https://api.twilio.com/2010-04-01/Accounts/AC1/Calls/CA1.json");
    assert!(headers.contains_key("authorization"));
    assert_eq!(body, b"Status=completed");
    let (line, _, _) = written(TwilioDial.live(&site, None, Some(&dial_request)));
    let calls = "https://api.twilio.com/2010-04-01/Accounts/AC1/Calls.json";
    assert_eq!(line, format!("GET {calls}?To=%2B61491570156&PageSize=50"));
}

#[test]
fn nothing_in_an_order_can_become_twiml() {
    let source = source(TWILIO);
    let main = name("main");
    let site = Site { name: &main, source: &source, dialing: source.dial.as_ref().unwrap() };
    let mut dial_request = dial_request("twilio", Context::default());
    let evil = r#"1"/></Dial><Dial>+12125550100&'"#;
    dial_request.order.to = Personal::new(evil);
    dial_request.order.caller_id = Some(Personal::new(evil));
    let (_, _, body) = written(TwilioDial.place(&site, None, &dial_request));
    let twiml = &form(&body)[3].1;
    let document = roxmltree::Document::parse(twiml).unwrap();
    let elements: Vec<_> = document.descendants().filter(roxmltree::Node::is_element).collect();
    let names: Vec<&str> = elements.iter().map(|node| node.tag_name().name()).collect();
    assert_eq!(names, ["Response", "Dial", "Number"]);
    assert_eq!(elements[1].attribute("callerId"), Some(evil));
    assert_eq!(elements[2].text(), Some(evil));
}

/// Twilio signs the callback's whole URL, so that what is said there is believed. It must come
/// back out as it went in.
#[test]
fn what_a_call_is_about_comes_back_with_its_callback() {
    let source = source(TWILIO);
    let main = name("main");
    let site = Site { name: &main, source: &source, dialing: source.dial.as_ref().unwrap() };
    let dial_request = dial_request("twilio", about(Some("L-1")));
    let (_, _, body) = written(TwilioDial.place(&site, None, &dial_request));
    let callback = form(&body)[4].1.clone();
    let target = callback.strip_prefix("https://calls.example.com/prod").unwrap();
    let at = jiff::Timestamp::UNIX_EPOCH;
    let callback = "CallSid=CA1&AccountSid=AC1&CallStatus=ringing&Direction=outbound-api\
                    &From=%2B61491570110&To=%2B61491570156";
    let request = crate::Request::new("POST", target, at)
        .header("content-type", "application/x-www-form-urlencoded")
        .body(callback.as_bytes().to_vec());
    assert_eq!(request.query_parameter("contact_number").as_deref(), Some("+61491570157"));
    assert_eq!(request.query_parameter("campaign").as_deref(), Some("spring & summer"));
    assert_eq!(request.query_parameter("press_id").as_deref(), Some(dial_request.id.as_str()));
    assert_eq!(crate::provider_at(&request.path).unwrap().name(), crate::twilio::Twilio.name());
}

fn placed(call_id: Option<&str>, ref_id: Option<&str>) -> Placing {
    Placing::Placed { call_id: call_id.map(str::to_owned), ref_id: ref_id.map(str::to_owned) }
}

#[test]
fn only_a_plain_yes_is_placed_and_only_a_plain_no_is_refused() {
    let smartflo: &dyn Dial = &SmartfloDial;
    let twilio: &dyn Dial = &TwilioDial;
    let yes = r#"{"success": true, "message": "queued", "ref_id": "67890", "call_id": null}"#;
    for (dial, status, body, expected) in [
        (smartflo, 200, yes, placed(None, Some("67890"))),
        (smartflo, 200, r#"{"success": "true", "ref_id": 67890}"#, placed(None, Some("67890"))),
        (
            smartflo,
            200,
            r#"{"success": true, "call_id": "1775719461.306731"}"#,
            placed(Some("1775719461.306731"), None),
        ),
        (twilio, 201, r#"{"sid": "CA1", "status": "queued"}"#, placed(Some("CA1"), None)),
        (twilio, 200, r#"{"sid": "CA1"}"#, placed(Some("CA1"), None)),
    ] {
        assert_eq!(dial.read_placing(&answer(status, body)), expected, "{status} {body}");
    }
    for dial in [smartflo, twilio] {
        assert_eq!(dial.read_placing(&answer(401, yes)), Placing::NotAuthenticated);
        for (status, fault) in [
            (400, DialFault::Request),
            (402, DialFault::Configuration),
            (403, DialFault::Configuration),
            (404, DialFault::Configuration),
            (405, DialFault::Configuration),
            (409, DialFault::Request),
            (422, DialFault::Request),
            (425, DialFault::Provider),
            (429, DialFault::Provider),
        ] {
            let placing = dial.read_placing(&answer(status, yes));
            let Placing::Refused { fault: said, why } = placing else { panic!("{status}") };
            assert_eq!(said, fault, "{status}");
            assert_eq!(why, format!("the provider answered {status}"));
        }
        for (status, body) in [
            (200, ""),
            (200, "<html>"),
            (200, "[]"),
            (200, r#"{"status": "ok"}"#),
            (200, r#"{"success": 1}"#),
            (200, r#"{"sid": ""}"#),
            (200, r#"{"sid": "../x"}"#),
            (204, ""),
            (302, yes),
            (408, yes),
            (500, yes),
            (502, ""),
            (503, ""),
            (504, ""),
            (599, r#"{"success": false}"#),
            (600, ""),
        ] {
            let placing = dial.read_placing(&answer(status, body));
            assert!(matches!(placing, Placing::Unknown { .. }), "{status} {body}: {placing:?}");
        }
    }
    let no = r#"{"success": false, "message": "+919876543210 is no agent"}"#;
    let Placing::Refused { fault: DialFault::Request, why } =
        SmartfloDial.read_placing(&answer(200, no))
    else {
        panic!()
    };
    assert!(!why.contains("9876"), "{why}");
    // Twilio's code is told, its message is not: that holds the number.
    let no = r#"{"code": 21211, "message": "'+61491570157' is not valid", "status": 400}"#;
    let Placing::Refused { why, .. } = TwilioDial.read_placing(&answer(400, no)) else { panic!() };
    assert_eq!(why, "the provider answered 400 (code 21211)");
}

#[test]
fn a_hang_up_is_done_came_too_late_or_is_trouble() {
    let trouble = |ending| matches!(ending, Ending::Trouble(_));
    let smartflo = |status, body| SmartfloDial.read_ending(&answer(status, body));
    assert_eq!(smartflo(200, r#"{"success": true, "message": "ok"}"#), Ending::Done);
    assert_eq!(smartflo(200, r#"{"success": false}"#), Ending::NotLive);
    assert_eq!(smartflo(404, ""), Ending::NotLive);
    assert_eq!(smartflo(401, ""), Ending::NotAuthenticated);
    assert!(trouble(smartflo(200, "")) && trouble(smartflo(500, "")) && trouble(smartflo(403, "")));
    let twilio = |status, body| TwilioDial.read_ending(&answer(status, body));
    assert_eq!(twilio(200, r#"{"sid": "CA1", "status": "completed"}"#), Ending::Done);
    assert_eq!(twilio(400, r#"{"code": 21220}"#), Ending::NotLive);
    assert_eq!(twilio(404, ""), Ending::NotLive);
    assert_eq!(twilio(401, ""), Ending::NotAuthenticated);
    assert!(trouble(twilio(400, r#"{"code": 1}"#)) && trouble(twilio(503, "")));
}

#[test]
fn the_calls_that_are_going_on_are_those_that_we_made() {
    let calls = r#"[
        {"call_id": "1.1", "direction": 2, "customer_number": "09876543210"},
        {"call_id": "2.1", "direction": "2", "customer_number": null},
        {"call_id": "3.1", "direction": 1, "customer_number": "09876543210"},
        {"call_id": "", "direction": 2, "customer_number": "09876543210"}, 7]"#;
    let live = |call_id: &str, customer: Option<&str>, agent: Option<&str>| Live {
        call_id: call_id.into(),
        customer: customer.map(Personal::new),
        agent: agent.map(Personal::new),
    };
    let expected = [live("1.1", Some("09876543210"), None), live("2.1", None, None)];
    for body in [calls.to_owned(), format!(r#"{{"data": {calls}}}"#)] {
        assert_eq!(SmartfloDial.read_live(&answer(200, &body)).unwrap(), expected);
    }
    let calls = r#"{"calls": [
        {"sid": "CA1", "status": "in-progress", "direction": "outbound-api", "to": "+61491570156"},
        {"sid": "CA2", "status": "completed", "direction": "outbound-api", "to": "+61491570156"},
        {"sid": "CA3", "status": "ringing", "direction": "inbound", "to": "+61491570156"}]}"#;
    let expected = [live("CA1", None, Some("+61491570156"))];
    assert_eq!(TwilioDial.read_live(&answer(200, calls)).unwrap(), expected);
    for dial in ALL {
        assert!(dial.read_live(&answer(401, calls)).unwrap_err().is_authentication);
        assert!(!dial.read_live(&answer(500, calls)).unwrap_err().is_authentication);
        assert!(dial.read_live(&answer(200, "{}")).is_err());
    }
}

#[test]
fn only_ids_that_end_calls_are_taken() {
    for (id, smartflo, twilio) in [
        ("1775719461.306731", true, true),
        ("h11.08-1775719461.306731", true, true),
        ("69d75426f0a9f", false, true),
        ("CA0123", false, true),
        ("..", false, false),
        ("a/b", false, false),
        ("a b", false, false),
        ("", false, false),
    ] {
        assert_eq!((SmartfloDial.can_end(id), TwilioDial.can_end(id)), (smartflo, twilio), "{id}");
    }
}

#[test]
fn an_employee_is_rung_where_the_provider_can() {
    let extension = |source: Option<&str>, number: &str| Extension {
        source: source.map(name),
        number: Personal::new(number),
    };
    let mut employee = Employee {
        id: name("E-1"),
        name: None,
        numbers: BTreeSet::from([Personal::new("+61491570156")]),
        extensions: BTreeSet::from([extension(None, "7"), extension(Some("main"), "0605")]),
        emails: BTreeSet::new(),
        external_ids: BTreeSet::new(),
        origin: Origin::Api,
        updated_at: jiff::Timestamp::UNIX_EPOCH,
        version: 1,
    };
    let agent = |dial: &dyn Dial, employee: &Employee, source: &str| {
        dial.agent_of(employee, &name(source)).map(|agent| agent.expose().to_owned())
    };
    assert_eq!(agent(&SmartfloDial, &employee, "main").as_deref(), Some("0605"));
    assert_eq!(agent(&SmartfloDial, &employee, "other").as_deref(), Some("7"));
    assert_eq!(agent(&TwilioDial, &employee, "main").as_deref(), Some("+61491570156"));
    employee.extensions.clear();
    assert_eq!(agent(&SmartfloDial, &employee, "main").as_deref(), Some("+61491570156"));
    employee.numbers.clear();
    assert_eq!(agent(&SmartfloDial, &employee, "main"), None);
    assert_eq!(agent(&TwilioDial, &employee, "main"), None);
}

#[test]
fn a_caller_id_is_one_of_ours_or_none() {
    let source = source(TWILIO);
    let dialing = source.dial.unwrap();
    let ours = Some(Personal::new("+61491570110"));
    assert_eq!(dialing.caller_id(None), Ok(ours.clone()));
    assert_eq!(dialing.caller_id(Some("61 491 570 110")), Ok(ours));
    assert_eq!(dialing.caller_id(Some("+61491570111")), Err(NotOurs));
    assert_eq!(dialing.caller_id(Some("")), Err(NotOurs));
}

#[test]
fn good_configurations_pass() {
    for (provider, json) in [("smartflo", SMARTFLO), ("smartflo", LOGIN), ("twilio", TWILIO)] {
        check(provider, &source(json), false).unwrap();
    }
    check("onecom", &source("{}"), false).unwrap();
    let local = LOGIN.replace("https://smartflo.example.com", "http://127.0.0.1:4000");
    check("smartflo", &source(&local), true).unwrap();
    assert!(check("smartflo", &source(&local), false).is_err());
}

#[test]
fn a_mistake_is_told_by_its_field_and_never_by_its_value() {
    let smartflo = |dial: &str| format!(r#"{{"dial": {{{dial}}}}}"#);
    let twilio = |dial: &str| {
        let url = r#""public_url": "https://calls.example.com""#;
        format!(r#"{{{url}, "dial": {{"countries": ["AU"], {dial}}}}}"#)
    };
    let token = r#""token": "fake-1""#;
    let account = r#""account": "AC1", "auth_token": "fake-1", "caller_ids": ["+61491570110"]"#;
    for (provider, json, field) in [
        ("onecom", smartflo(&format!(r#"{token}, "countries": ["IN"]"#)), "dial: "),
        ("smartflo", smartflo(token), "dial.countries: is required"),
        ("smartflo", smartflo(&format!(r#"{token}, "countries": []"#)), "dial.countries: is req"),
        ("smartflo", smartflo(&format!(r#"{token}, "countries": ["India"]"#)), "dial.countries: "),
        ("smartflo", smartflo(&format!(r#"{token}, "countries": ["*"]"#)), "dial.countries: "),
        ("smartflo", smartflo(r#""countries": ["IN"]"#), "dial.token: is required"),
        (
            "smartflo",
            smartflo(r#""countries": ["IN"], "email": "fake-1""#),
            "dial.token: is required",
        ),
        (
            "smartflo",
            smartflo(&format!(r#"{token}, "countries": ["IN"], "password": "fake-2""#)),
            "dial.token: or",
        ),
        ("smartflo", smartflo(r#""token": "fake 1", "countries": ["IN"]"#), "dial.token: must be"),
        ("smartflo", smartflo(r#""token": " ", "countries": ["IN"]"#), "dial.token: must be"),
        (
            "smartflo",
            smartflo(&format!(r#"{token}, "countries": ["IN"], "account": "AC1""#)),
            "dial.account: ",
        ),
        (
            "smartflo",
            smartflo(&format!(r#"{token}, "countries": ["IN"], "per_minute": 0"#)),
            "dial.per_minute: must be from 1 to 600",
        ),
        (
            "smartflo",
            smartflo(&format!(r#"{token}, "countries": ["IN"], "per_day": 0"#)),
            "dial.per_day: ",
        ),
        (
            "smartflo",
            smartflo(&format!(r#"{token}, "countries": ["IN"], "ring_seconds": 4"#)),
            "dial.ring_seconds: ",
        ),
        (
            "smartflo",
            smartflo(&format!(r#"{token}, "countries": ["IN"], "longest_seconds": 1"#)),
            "dial.longest_seconds: ",
        ),
        (
            "smartflo",
            smartflo(&format!(r#"{token}, "countries": ["IN"], "caller_ids": ["fake-1"]"#)),
            "dial.caller_ids: ",
        ),
        (
            "smartflo",
            smartflo(&format!(r#"{token}, "countries": ["IN"], "api_url": "http://fake-1""#)),
            "dial.api_url: ",
        ),
        (
            "smartflo",
            smartflo(&format!(r#"{token}, "countries": ["IN"], "api_url": "https://a@fake-1""#)),
            "dial.api_url: ",
        ),
        (
            "smartflo",
            smartflo(&format!(r#"{token}, "countries": ["IN"], "api_url": "https://fake-1/v1""#)),
            "dial.api_url: ",
        ),
        (
            "twilio",
            twilio(r#""auth_token": "fake-1", "caller_ids": ["+61491570110"]"#),
            "dial.account: ",
        ),
        ("twilio", twilio(r#""account": "../fake-1", "auth_token": "fake-1""#), "dial.account: "),
        (
            "twilio",
            twilio(r#""account": "AC1", "caller_ids": ["+61491570110"]"#),
            "dial.auth_token: is required",
        ),
        ("twilio", twilio(&format!(r#"{account}, "api_key": "SK1""#)), "dial.auth_token: or"),
        ("twilio", twilio(r#""account": "AC1", "auth_token": "fake-1""#), "dial.caller_ids: "),
        (
            "twilio",
            twilio(r#""account": "AC1", "auth_token": "fake-1", "caller_ids": ["0491570110"]"#),
            "dial.caller_ids: ",
        ),
        ("twilio", twilio(&format!(r#"{account}, {token}"#)), "dial.token: "),
        (
            "twilio",
            twilio(account)
                .replace("public_url", "time_zone")
                .replace("https://calls.example.com", "Asia/Kolkata"),
            "public_url: ",
        ),
    ] {
        let said = check(provider, &source(&json), false).unwrap_err().to_string();
        assert!(said.starts_with(field) && !said.contains("fake"), "{said} of {json}");
    }
    for (json, field) in [
        (r#"{"dial": {"countries": ["IN"], "tokens": "fake"}}"#, "dial"),
        (r#"{"dial": {"countries": "IN"}}"#, "dial.countries"),
        (r#"{"dial": {"per_day": -1}}"#, "dial.per_day"),
    ] {
        let said = Source::parse(json, None).unwrap_err().to_string();
        assert!(said.starts_with(field) && !said.contains("fake"), "{said}");
    }
    let printed = format!("{:?}{:?}{:?}", source(SMARTFLO), source(LOGIN), source(TWILIO));
    for value in ["fake", "ops@", "7969690935", "491570110"] {
        assert!(!printed.contains(value), "{value}");
    }
}
