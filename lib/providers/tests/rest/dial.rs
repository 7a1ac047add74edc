//! Placing and ending calls: the requests, and how responses are read.

use std::collections::{BTreeMap, BTreeSet};

use http::HeaderValue;
use jiff::Timestamp;
use serde_json::{Value, json};
use switchboard_domain::dial_request::{Context, DialFault, DialRequest, Order};
use switchboard_domain::directory::{Employee, Extension, Origin};
use switchboard_domain::{Digest, Personal};
use switchboard_http::Response;
use switchboard_providers::dial::{Account, Client, DialError, Dialer, Ending, Live, Placing};
use switchboard_providers::dialing::NotOurs;
use switchboard_providers::registry::{DIALERS, check_dial, dialer};
use switchboard_providers::rest::Logins;
use switchboard_providers::smartflo::dial::SmartfloDialer;
use switchboard_providers::twilio::dial::TwilioDialer;
use switchboard_providers::{Source, provider, provider_at};

use crate::{Scripted, name, now, response};

const SMARTFLO: &str = r#"{"country": "IN", "dial": {"token": "fake-token", "countries": ["IN"],
    "caller_ids": ["917969690935"], "longest_seconds": 600}}"#;
const LOGIN: &str = r#"{"country": "IN", "dial": {"email": "ops@example.com",
    "password": "fake password", "countries": ["IN"], "api_url": "https://smartflo.example.com"}}"#;
const TWILIO: &str = r#"{"public_url": "https://calls.example.com/prod", "country": "AU",
    "dial": {"account": "AC1", "auth_token": "fake-auth-token", "countries": ["AU"],
    "caller_ids": ["+61491570110"], "ring_seconds": 20}}"#;

fn source(provider: &str, json: &str) -> Source {
    Source::read(json, self::provider(provider)).unwrap()
}

/// A source of each provider that dials.
fn of(dialer: &dyn Dialer) -> Source {
    let name = dialer.provider().name();
    source(name, if name == "twilio" { TWILIO } else { SMARTFLO })
}

/// Does something at a source over scripted responses.
fn at<T>(source: &Source, act: impl FnOnce(&Account<'_>) -> T) -> T {
    let main = name("main");
    act(&Account { name: &main, source, dialing: source.dial.as_ref().unwrap() })
}

fn authorize(
    dialer: &dyn Dialer,
    source: &Source,
    http: &Scripted,
    logins: &Logins,
    at_time: Timestamp,
) -> Result<HeaderValue, DialError> {
    at(source, |account| now(dialer.authorize(http, logins, account, at_time)))
}

/// As configured.
fn authorization(dialer: &dyn Dialer, source: &Source) -> HeaderValue {
    let http = Scripted::default();
    let value = authorize(dialer, source, &http, &Logins::default(), Timestamp::UNIX_EPOCH);
    assert_eq!(http.requests(), 0);
    value.unwrap()
}

/// Does something with the configured credentials over scripted responses.
fn with<T>(
    dialer: &dyn Dialer,
    source: &Source,
    http: &Scripted,
    act: impl FnOnce(Client<'_>) -> T,
) -> T {
    let authorization = authorization(dialer, source);
    at(source, |account| act(Client { http, account: *account, authorization }))
}

fn place(dialer: &dyn Dialer, source: &Source, request: &DialRequest, http: &Scripted) -> Placing {
    with(dialer, source, http, |client| now(dialer.place(&client, request)))
}

fn hang_up(dialer: &dyn Dialer, source: &Source, call_id: &str, http: &Scripted) -> Ending {
    with(dialer, source, http, |client| now(dialer.hang_up(&client, call_id)))
}

fn live(dialer: &dyn Dialer, source: &Source, http: &Scripted) -> Result<Vec<Live>, DialError> {
    let request = dial_request("any", Context::default());
    with(dialer, source, http, |client| now(dialer.live(&client, &request)))
}

/// What a request to dial becomes with a response.
fn placed_with(dialer: &dyn Dialer, status: u16, body: &str) -> Placing {
    let (request, http) =
        (dial_request("any", Context::default()), Scripted::new([response(status, body)]));
    place(dialer, &of(dialer), &request, &http)
}

/// A request as its provider gets it: first line, headers, body.
fn written(http: &Scripted) -> (String, BTreeMap<String, String>, Vec<u8>) {
    let request = http.request();
    let header = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        (name.to_string(), value.to_str().unwrap().to_owned())
    };
    let headers = request.headers.iter().map(header).collect();
    (format!("{} {}", request.method, request.url), headers, request.body)
}

/// The request to dial.
fn placed_as(
    dialer: &dyn Dialer,
    source: &Source,
    request: &DialRequest,
) -> (String, BTreeMap<String, String>, Vec<u8>) {
    let http = Scripted::default();
    place(dialer, source, request, &http);
    written(&http)
}

/// The request to end a call.
fn ended_as(
    dialer: &dyn Dialer,
    source: &Source,
    call_id: &str,
) -> (String, BTreeMap<String, String>, Vec<u8>) {
    let http = Scripted::default();
    hang_up(dialer, source, call_id, &http);
    written(&http)
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

fn form(body: &[u8]) -> Vec<(String, String)> {
    form_urlencoded::parse(body).into_owned().collect()
}

#[test]
fn every_provider_that_dials_has_a_webhook_too() {
    for one in DIALERS {
        let name = one.provider().name();
        assert!(provider(name).is_some(), "{name}");
        assert_eq!(dialer(name).unwrap().provider().name(), name);
    }
    assert!(dialer("onecom").is_none());
}

#[test]
fn smartflos_order_is_asynchronous_and_carries_the_lead() {
    let source = source("smartflo", SMARTFLO);
    let order = |lead| placed_as(&SmartfloDialer, &source, &dial_request("smartflo", about(lead)));
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

    let (line, headers, body) = ended_as(&SmartfloDialer, &source, "h11.08-1770532638.21");
    assert_eq!(line, "POST https://api-smartflo.tatateleservices.com/v1/call/hangup");
    assert_eq!(headers["authorization"], "Bearer fake-token");
    assert_eq!(body, br#"{"call_id":"1770532638.21"}"#);
    let http = Scripted::default();
    assert!(live(&SmartfloDialer, &source, &http).is_err());
    let (line, headers, _) = written(&http);
    assert_eq!(line, "GET https://api-smartflo.tatateleservices.com/v1/live_calls");
    assert_eq!(headers["authorization"], "Bearer fake-token");
}

#[test]
fn a_login_is_asked_for_where_there_is_no_token_and_used_from_then_on() {
    let source = source("smartflo", LOGIN);
    let log_in = |response: Response, logins: &Logins, second: i64| {
        let (http, at) = (Scripted::new([response]), Timestamp::from_second(second).unwrap());
        let value = authorize(&SmartfloDialer, &source, &http, logins, at);
        (value.map(|value| value.to_str().unwrap().to_owned()), http)
    };
    let full = r#"{"access_token": "fake-1", "token_type": "bearer", "expires_in": 7200}"#;
    let (value, http) = log_in(response(200, full), &Logins::default(), 0);
    assert_eq!(value.unwrap(), "Bearer fake-1");
    let (line, headers, body) = written(&http);
    assert_eq!(line, "POST https://smartflo.example.com/v1/auth/login");
    assert!(!headers.contains_key("authorization"));
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(body, json!({"email": "ops@example.com", "password": "fake password"}));

    // It is not used in its last minute, and lasts an hour where nothing else is said.
    let short = r#"{"access_token": "fake-1"}"#;
    for (status, body, lasts) in [(200, full, 7200), (201, short, 3600)] {
        let logins = Logins::default();
        let requests = |second| log_in(response(status, body), &logins, second).1.requests();
        assert_eq!(requests(0), 1);
        assert_eq!((requests(lasts - 61), requests(lasts - 60)), (0, 1), "{body}");
    }
    for (status, body) in [
        (200, "{}"),
        (200, r#"{"access_token": ""}"#),
        (200, r#"{"access_token": "a\nb"}"#),
        (200, "<html>"),
        (401, full),
        (503, full),
    ] {
        assert!(
            log_in(response(status, body), &Logins::default(), 0).0.is_err(),
            "{status} {body}"
        );
    }
    let (http, request) = (Scripted::default(), dial_request("smartflo", about(None)));
    let token = HeaderValue::from_static("Bearer fake-1");
    at(&source, |account| {
        let client = Client { http: &http, account: *account, authorization: token };
        now(SmartfloDialer.place(&client, &request))
    });
    assert_eq!(written(&http).1["authorization"], "Bearer fake-1");
}

#[test]
fn twilios_order_rings_the_agent_and_then_the_customer_and_says_what_it_is_about() {
    let source = source("twilio", TWILIO);
    let dial_request = dial_request("twilio", about(Some("L-1")));
    let (line, headers, body) = placed_as(&TwilioDialer, &source, &dial_request);
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

    let (line, headers, body) = ended_as(&TwilioDialer, &source, "CA1");
    assert_eq!(line, "POST https://api.twilio.com/2010-04-01/Accounts/AC1/Calls/CA1.json");
    assert!(headers.contains_key("authorization"));
    assert_eq!(body, b"Status=completed");
    let http = Scripted::default();
    assert!(live(&TwilioDialer, &source, &http).is_err());
    let (line, _, _) = written(&http);
    let calls = "https://api.twilio.com/2010-04-01/Accounts/AC1/Calls.json";
    assert_eq!(line, format!("GET {calls}?To=%2B61491570156&PageSize=50"));
}

#[test]
fn nothing_in_an_order_can_become_twiml() {
    let source = source("twilio", TWILIO);
    let mut dial_request = dial_request("twilio", Context::default());
    let evil = r#"1"/></Dial><Dial>+12125550100&'"#;
    dial_request.order.to = Personal::new(evil);
    dial_request.order.caller_id = Some(Personal::new(evil));
    let (_, _, body) = placed_as(&TwilioDialer, &source, &dial_request);
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
    let source = source("twilio", TWILIO);
    let dial_request = dial_request("twilio", about(Some("L-1")));
    let (_, _, body) = placed_as(&TwilioDialer, &source, &dial_request);
    let callback = form(&body)[4].1.clone();
    let target = callback.strip_prefix("https://calls.example.com/prod").unwrap();
    let at = Timestamp::UNIX_EPOCH;
    let callback = "CallSid=CA1&AccountSid=AC1&CallStatus=ringing&Direction=outbound-api\
                    &From=%2B61491570110&To=%2B61491570156";
    let request = switchboard_providers::Request::new("POST", target, at)
        .header("content-type", "application/x-www-form-urlencoded")
        .body(callback.as_bytes().to_vec());
    assert_eq!(request.query_parameter("contact_number").as_deref(), Some("+61491570157"));
    assert_eq!(request.query_parameter("campaign").as_deref(), Some("spring & summer"));
    assert_eq!(request.query_parameter("press_id").as_deref(), Some(dial_request.id.as_str()));
    assert_eq!(provider_at(&request.path).unwrap().name(), "twilio");
}

fn placed(call_id: Option<&str>, ref_id: Option<&str>) -> Placing {
    Placing::Placed { call_id: call_id.map(str::to_owned), ref_id: ref_id.map(str::to_owned) }
}

#[test]
fn only_a_plain_yes_is_placed_and_only_a_plain_no_is_refused() {
    let smartflo: &dyn Dialer = &SmartfloDialer;
    let twilio: &dyn Dialer = &TwilioDialer;
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
        assert_eq!(placed_with(dial, status, body), expected, "{status} {body}");
    }
    for dial in [smartflo, twilio] {
        assert_eq!(placed_with(dial, 401, yes), Placing::NotAuthenticated);
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
            let placing = placed_with(dial, status, yes);
            let Placing::Refused { fault: said, why } = placing else { panic!("{status}") };
            assert_eq!(said, fault, "{status}");
            assert_eq!(why, format!("the provider responded {status}"));
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
            let placing = placed_with(dial, status, body);
            assert!(matches!(placing, Placing::Unknown { .. }), "{status} {body}: {placing:?}");
        }
    }
    let no = r#"{"success": false, "message": "+919876543210 is no agent"}"#;
    let Placing::Refused { fault: DialFault::Request, why } = placed_with(&SmartfloDialer, 200, no)
    else {
        panic!()
    };
    assert!(!why.contains("9876"), "{why}");
    // The result has Twilio's code, not its message, which holds the number.
    let no = r#"{"code": 21211, "message": "'+61491570157' is not valid", "status": 400}"#;
    let Placing::Refused { why, .. } = placed_with(&TwilioDialer, 400, no) else { panic!() };
    assert_eq!(why, "the provider responded 400 (code 21211)");
}

#[test]
fn a_hang_up_is_done_came_too_late_or_is_trouble() {
    let trouble = |ending| matches!(ending, Ending::Failed(_));
    let ending = |dialer: &dyn Dialer, status, body: &str| {
        hang_up(dialer, &of(dialer), "1.1", &Scripted::new([response(status, body)]))
    };
    let smartflo = |status, body| ending(&SmartfloDialer, status, body);
    assert_eq!(smartflo(200, r#"{"success": true, "message": "ok"}"#), Ending::Done);
    assert_eq!(smartflo(200, r#"{"success": false}"#), Ending::NotLive);
    assert_eq!(smartflo(404, ""), Ending::NotLive);
    assert_eq!(smartflo(401, ""), Ending::NotAuthenticated);
    assert!(trouble(smartflo(200, "")) && trouble(smartflo(500, "")) && trouble(smartflo(403, "")));
    let twilio = |status, body| ending(&TwilioDialer, status, body);
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
    let one = |call_id: &str, customer: Option<&str>, agent: Option<&str>| Live {
        call_id: call_id.into(),
        customer: customer.map(Personal::new),
        agent: agent.map(Personal::new),
    };
    let read = |dialer: &dyn Dialer, status, body: &str| {
        live(dialer, &of(dialer), &Scripted::new([response(status, body)]))
    };
    let expected = [one("1.1", Some("09876543210"), None), one("2.1", None, None)];
    for body in [calls.to_owned(), format!(r#"{{"data": {calls}}}"#)] {
        assert_eq!(read(&SmartfloDialer, 200, &body).unwrap(), expected);
    }
    let calls = r#"{"calls": [
        {"sid": "CA1", "status": "in-progress", "direction": "outbound-api", "to": "+61491570156"},
        {"sid": "CA2", "status": "completed", "direction": "outbound-api", "to": "+61491570156"},
        {"sid": "CA3", "status": "ringing", "direction": "inbound", "to": "+61491570156"}]}"#;
    let expected = [one("CA1", None, Some("+61491570156"))];
    assert_eq!(read(&TwilioDialer, 200, calls).unwrap(), expected);
    for dial in DIALERS {
        assert!(read(*dial, 401, calls).unwrap_err().is_authentication);
        assert!(!read(*dial, 500, calls).unwrap_err().is_authentication);
        assert!(read(*dial, 200, "{}").is_err());
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
        assert_eq!(
            (SmartfloDialer.can_end(id), TwilioDialer.can_end(id)),
            (smartflo, twilio),
            "{id}"
        );
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
        updated_at: Timestamp::UNIX_EPOCH,
        version: 1,
    };
    let agent = |dial: &dyn Dialer, employee: &Employee, source: &str| {
        dial.agent_of(employee, &name(source)).map(|agent| agent.expose().to_owned())
    };
    assert_eq!(agent(&SmartfloDialer, &employee, "main").as_deref(), Some("0605"));
    assert_eq!(agent(&SmartfloDialer, &employee, "other").as_deref(), Some("7"));
    assert_eq!(agent(&TwilioDialer, &employee, "main").as_deref(), Some("+61491570156"));
    employee.extensions.clear();
    assert_eq!(agent(&SmartfloDialer, &employee, "main").as_deref(), Some("+61491570156"));
    employee.numbers.clear();
    assert_eq!(agent(&SmartfloDialer, &employee, "main"), None);
    assert_eq!(agent(&TwilioDialer, &employee, "main"), None);
}

#[test]
fn a_caller_id_is_one_of_ours_or_none() {
    let source = source("twilio", TWILIO);
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
        check_dial(provider, &source(provider, json), false).unwrap();
    }
    check_dial("onecom", &source("onecom", "{}"), false).unwrap();
    let local = LOGIN.replace("https://smartflo.example.com", "http://127.0.0.1:4000");
    check_dial("smartflo", &source("smartflo", &local), true).unwrap();
    assert!(check_dial("smartflo", &source("smartflo", &local), false).is_err());
}

#[test]
fn a_mistake_is_shown_by_its_field_and_never_by_its_value() {
    let check = |provider: &str, json: &str, field: &str| {
        let read = Source::read(json, self::provider(provider));
        let shown = read.and_then(|source| check_dial(provider, &source, false)).unwrap_err();
        let shown = shown.to_string();
        assert!(shown.starts_with(field) && !shown.contains("fake"), "{shown} of {json}");
    };
    let token = r#""token": "fake-1""#;
    check("onecom", &format!(r#"{{"dial": {{{token}, "countries": ["IN"]}}}}"#), "dial: ");
    for (dial, field) in [
        (token, "dial.countries: is required"),
        (r#""token": "fake-1", "countries": []"#, "dial.countries: is req"),
        (r#""token": "fake-1", "countries": ["India"]"#, "dial.countries: "),
        (r#""token": "fake-1", "countries": ["*"]"#, "dial.countries: "),
        (r#""countries": ["IN"]"#, "dial.token: is required"),
        (r#""countries": ["IN"], "email": "fake-1""#, "dial.token: is required"),
        (r#""token": "fake 1", "countries": ["IN"]"#, "dial.token: must be"),
        (r#""token": " ", "countries": ["IN"]"#, "dial.token: must be"),
    ] {
        check("smartflo", &format!(r#"{{"dial": {{{dial}}}}}"#), field);
    }
    for (more, field) in [
        (r#""password": "fake-2""#, "dial.token: or"),
        (r#""account": "AC1""#, "dial.account: "),
        (r#""per_minute": 0"#, "dial.per_minute: must be from 1 to 600"),
        (r#""per_day": 0"#, "dial.per_day: "),
        (r#""ring_seconds": 4"#, "dial.ring_seconds: "),
        (r#""longest_seconds": 1"#, "dial.longest_seconds: "),
        (r#""caller_ids": ["fake-1"]"#, "dial.caller_ids: "),
        (r#""api_url": "http://fake-1""#, "dial.api_url: "),
        (r#""api_url": "https://a@fake-1""#, "dial.api_url: "),
        (r#""api_url": "https://fake-1/v1""#, "dial.api_url: "),
    ] {
        let dial = format!(r#"{{"dial": {{{token}, "countries": ["IN"], {more}}}}}"#);
        check("smartflo", &dial, field);
    }
    let account = r#""account": "AC1", "auth_token": "fake-1", "caller_ids": ["+61491570110"]"#;
    let url = r#""public_url": "https://calls.example.com""#;
    for (dial, field) in [
        (r#""auth_token": "fake-1", "caller_ids": ["+61491570110"]"#, "dial.account: "),
        (r#""account": "../fake-1", "auth_token": "fake-1""#, "dial.account: "),
        (r#""account": "AC1", "caller_ids": ["+61491570110"]"#, "dial.auth_token: is required"),
        (&format!(r#"{account}, "api_key": "SK1""#), "dial.auth_token: or"),
        (r#""account": "AC1", "auth_token": "fake-1""#, "dial.caller_ids: "),
        (
            r#""account": "AC1", "auth_token": "fake-1", "caller_ids": ["0491570110"]"#,
            "dial.caller_ids: ",
        ),
        (&format!("{account}, {token}"), "dial.token: "),
    ] {
        let json = format!(r#"{{{url}, "dial": {{"countries": ["AU"], {dial}}}}}"#);
        check("twilio", &json, field);
    }
    let json = format!(r#"{{"dial": {{"countries": ["AU"], {account}}}}}"#);
    check("twilio", &json, "public_url: ");
    for (json, field) in [
        (r#"{"dial": {"countries": ["IN"], "tokens": "fake"}}"#, "dial"),
        (r#"{"dial": {"countries": "IN"}}"#, "dial.countries"),
        (r#"{"dial": {"per_day": -1}}"#, "dial.per_day"),
    ] {
        let said = Source::parse(json, provider("smartflo")).unwrap_err().to_string();
        assert!(said.starts_with(field) && !said.contains("fake"), "{said}");
    }
    let printed = format!(
        "{:?}{:?}{:?}",
        source("smartflo", SMARTFLO),
        source("smartflo", LOGIN),
        source("twilio", TWILIO)
    );
    for value in ["fake", "ops@", "7969690935", "491570110"] {
        assert!(!printed.contains(value), "{value}");
    }
}
