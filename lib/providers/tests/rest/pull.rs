//! The requests of pulls, and how lists are read.

use std::collections::BTreeMap;

use http::header::RETRY_AFTER;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use switchboard_domain::sync::Step;
use switchboard_domain::{CallKey, Facts, Order, Seconds};
use switchboard_providers::pull::{Page, Problem, Session, day as day_of, days, message, parse};
use switchboard_providers::rest::Logins;
use switchboard_providers::{Source, provider, registry};

use crate::{Scripted, name, now, response};

const NOW: &str = "2026-02-21T03:00:00Z";

fn clock() -> Timestamp {
    NOW.parse().unwrap()
}

fn source(provider: &str, json: Value) -> Source {
    let source = Source::parse(&json.to_string(), self::provider(provider)).unwrap();
    registry::pull(provider).unwrap().check(&source).unwrap();
    source
}

fn twilio() -> Source {
    source(
        "twilio",
        json!({
            "secrets": [{"secret": "fake-token", "account": "AC01"}],
            "public_url": "https://calls.example.com", "pull": {},
        }),
    )
}

fn onecom(pull: Value) -> Source {
    let mut base = json!({"url": "https://pbx.example/pbx/proxyapi.php", "token": "fake-key", "tenant": "ACME"});
    for (name, value) in pull.as_object().unwrap() {
        base[name] = value.clone();
    }
    source("onecom", json!({"secrets": ["fake"], "pull": base}))
}

fn smartflo() -> Source {
    source("smartflo", json!({"secrets": ["fake"], "pull": {"token": "fake-token"}}))
}

fn elevenlabs() -> Source {
    source(
        "elevenlabs",
        json!({"secrets": ["wsec_fake"], "api_key": "fake-key", "agents": ["a", "b"], "pull": {}}),
    )
}

fn range() -> (Timestamp, Timestamp) {
    ("2026-02-19T22:00:00Z".parse().unwrap(), "2026-02-21T00:00:00Z".parse().unwrap())
}

fn first(provider: &str, source: &Source) -> Vec<Step> {
    let (from, to) = range();
    registry::pull(provider).unwrap().steps(source, from, to)
}

/// Does one step over scripted responses.
fn page(
    provider: &str,
    source: &Source,
    step: &Step,
    http: &Scripted,
    logins: &Logins,
) -> Result<Page, Problem> {
    let name = name("main");
    let session = Session { http, logins, name: &name, source, mark: "job-1.0", clock: &clock };
    now(registry::pull(provider).unwrap().page(&session, step))
}

/// The URL that a step requests.
fn url(provider: &str, source: &Source, step: &Step) -> String {
    let http = Scripted::default();
    assert!(page(provider, source, step, &http, &Logins::default()).is_err());
    http.request().url.to_string()
}

/// A record of a page: its call, its place and its facts.
type Parsed = (CallKey, Order, Facts);

/// The calls of a page as they are folded, by key, and the page itself.
fn read_page(
    provider: &str,
    source: &Source,
    step: &Step,
    body: &str,
) -> Result<(Page, Vec<Parsed>), Problem> {
    let http = Scripted::new([response(200, body)]);
    let page = page(provider, source, step, &http, &Logins::default())?;
    let sources = BTreeMap::from([(name("main"), source.clone())]);
    let (pull, main) = (registry::pull(provider).unwrap(), name("main"));
    let mut calls = Vec::new();
    for request in &page.records {
        for record in parse(pull, &message(pull, request, &sources, &main)).unwrap() {
            let record = record.unwrap();
            calls.push((record.key, record.update.order, record.update.facts));
        }
    }
    Ok((page, calls))
}

#[test]
fn requests_are_those_of_the_providers_interfaces() {
    let source = twilio();
    let steps = first("twilio", &source);
    insta::assert_snapshot!(url("twilio", &source, &steps[0]), @"https://api.twilio.com/2010-04-01/Accounts/AC01/Calls.json?StartTime%3E=2026-02-19T22%3A00%3A00Z&StartTime%3C=2026-02-21T00%3A00%3A00Z&PageSize=500");
    insta::assert_snapshot!(url("twilio", &source, &steps[1]), @"https://api.twilio.com/2010-04-01/Accounts/AC01/Recordings.json?DateCreated%3E=2026-02-19T22%3A00%3A00Z&DateCreated%3C=2026-02-21T04%3A00%3A00Z&PageSize=500");
    let source = smartflo();
    let steps = first("smartflo", &source);
    insta::assert_snapshot!(url("smartflo", &source, &steps[0]), @"https://api-smartflo.tatateleservices.com/v1/call/records?from_date=2026-02-20+03%3A30%3A00&to_date=2026-02-21+05%3A29%3A59&page=1&limit=100");
    let source = elevenlabs();
    let steps = first("elevenlabs", &source);
    assert_eq!(steps.len(), 2, "one list for each agent");
    insta::assert_snapshot!(url("elevenlabs", &source, &steps[1].at("c/1")), @"https://api.elevenlabs.io/v1/convai/conversations?call_start_after_unix=1771538400&call_start_before_unix=1771632000&page_size=100&agent_id=b&cursor=c%2F1");
    let one = Step { of: "conversation".into(), ..steps[0].at("conv/../1 2") };
    insta::assert_snapshot!(url("elevenlabs", &source, &one), @"https://api.elevenlabs.io/v1/convai/conversations/conv%2F..%2F1%202");
}

#[test]
fn secrets_are_in_sensitive_headers() {
    for (provider, source, header) in [
        ("twilio", twilio(), "authorization"),
        ("smartflo", smartflo(), "authorization"),
        ("elevenlabs", elevenlabs(), "xi-api-key"),
        ("onecom", onecom(json!({"header": "Authorization"})), "authorization"),
    ] {
        let step = &first(provider, &source)[0];
        let http = Scripted::default();
        assert!(page(provider, &source, step, &http, &Logins::default()).is_err());
        let request = http.request();
        assert!(request.headers[header].is_sensitive(), "{provider}");
        let printed = format!("{request:?} {:?}", request.headers);
        assert!(!printed.contains("fake"), "{printed}");
    }
}

#[test]
fn onecom_is_asked_for_a_day_at_a_time_in_its_own_zone_and_way() {
    let source = onecom(json!({}));
    let steps = first("onecom", &source);
    let urls: Vec<String> = steps.iter().map(|step| url("onecom", &source, step)).collect();
    insta::assert_debug_snapshot!(urls, @r#"
    [
        "https://pbx.example/pbx/proxyapi.php?key=fake-key&reqtype=INFO&info=CDRS&tenant=ACME&format=csv&start=2026-02-20&end=2026-02-20",
        "https://pbx.example/pbx/proxyapi.php?key=fake-key&reqtype=INFO&info=CDRS&tenant=ACME&format=csv&start=2026-02-21&end=2026-02-21",
    ]
    "#);
    let other = onecom(json!({
        "format": "json", "date_format": "%d/%m/%Y %H:%M:%S", "header": "X-Key",
        "parameters": {"reqtype": "", "info": "", "tenant": "", "end": "{after}", "p": "{page}"},
    }));
    let step = &first("onecom", &other)[0];
    insta::assert_snapshot!(url("onecom", &other, &step.at("7")), @"https://pbx.example/pbx/proxyapi.php?format=json&start=20%2F02%2F2026+00%3A00%3A00&end=21%2F02%2F2026+00%3A00%3A00&p=7");
}

#[test]
fn a_twilio_page_is_read_as_callbacks_are() {
    let source = twilio();
    let step = &first("twilio", &source)[0];
    let body = json!({
        "calls": [
            {"sid": "CA1", "account_sid": "AC01", "status": "completed", "from": "+61255501234",
             "to": "+61491570156", "direction": "outbound-api", "duration": "49", "price": "-0.1",
             "start_time": "Fri, 20 Feb 2026 09:00:00 +0000", "end_time": "Fri, 20 Feb 2026 09:00:58 +0000",
             "answered_by": "machine", "parent_call_sid": null, "caller_name": ""},
            {"sid": "CA2", "status": "no-answer", "duration": "", "direction": "inbound",
             "from": "+61491570157", "to": "+61255501234"},
            {"sid": "CA3", "status": "in-progress"},
        ],
        "next_page_uri": "/2010-04-01/Accounts/AC01/Calls.json?Page=1&PageToken=PACA2",
    });
    let (page, calls) = read_page("twilio", &source, step, &body.to_string()).unwrap();
    assert_eq!((page.unfinished, calls.len()), (1, 2));
    assert_eq!(page.next[0].at.as_deref(), body["next_page_uri"].as_str());
    let (key, order, facts) = &calls[0];
    assert_eq!((key.to_string().as_str(), order), ("twilio/main/CA1", &Order::Unordered));
    insta::assert_json_snapshot!(facts, @r#"
    {
      "state": "ended",
      "disposition": "answered",
      "answered_by": "machine",
      "direction": "outbound",
      "from": {
        "kind": "e164",
        "raw": "+61255501234"
      },
      "to": {
        "kind": "e164",
        "raw": "+61491570156"
      },
      "started_at": "2026-02-20T09:00:00Z",
      "ended_at": "2026-02-20T09:00:58Z",
      "talk": 49
    }
    "#);
    assert_eq!(calls[1].2.talk, Some(Seconds(0)));
}

#[test]
fn a_next_page_elsewhere_is_not_followed() {
    let source = twilio();
    let step = &first("twilio", &source)[0];
    for next in
        ["https://other.example/x", "/2010-04-01/Accounts/AC012/Calls.json", "//other.example"]
    {
        let body = json!({"calls": [], "next_page_uri": next}).to_string();
        let problem = read_page("twilio", &source, step, &body).err().unwrap();
        assert!(matches!(problem, Problem::Failed { .. }), "{next}");
    }
}

#[test]
fn recordings_are_added_to_their_calls() {
    let source = twilio();
    let step = &first("twilio", &source)[1];
    let body = json!({"recordings": [
        {"sid": "RE1", "call_sid": "CA1", "status": "completed", "duration": "58",
         "media_url": "https://api.twilio.com/2010-04-01/Accounts/AC01/Recordings/RE1"},
        {"sid": "RE2", "call_sid": "CA1", "status": "processing", "duration": "-1",
         "uri": "/2010-04-01/Accounts/AC01/Recordings/RE2.json"},
    ]});
    let (_, calls) = read_page("twilio", &source, step, &body.to_string()).unwrap();
    let url = |n: usize, id: &str| calls[n].2.recordings[id].url.clone().unwrap();
    assert_eq!(
        url(0, "RE1").expose(),
        "https://api.twilio.com/2010-04-01/Accounts/AC01/Recordings/RE1"
    );
    assert_eq!(
        url(1, "RE2").expose(),
        "https://api.twilio.com/2010-04-01/Accounts/AC01/Recordings/RE2"
    );
    assert_eq!(calls[1].2.recordings["RE2"].duration, None);
}

#[test]
fn smartflo_pages_end_with_the_count_and_records_are_hangups() {
    let source = smartflo();
    let step = &first("smartflo", &source)[0];
    let record = json!({
        "id": "x", "uuid": "69981f2612a3b", "call_id": "1771576805.306731", "direction": "outbound",
        "status": "answered", "date": "2026-02-20", "time": "14:10:05", "call_duration": 12,
        "answered_seconds": 11, "agent_name": "Ann Agent", "agent_number": "+12025550143",
        "client_number": "919876543210", "did_number": "2025550100", "ref_id": "r-1",
        "hangup_cause": "NORMAL_CLEARING", "recording_url": null,
    });
    let body = |count: u64| json!({"count": count, "results": [record]}).to_string();
    let (page, calls) = read_page("smartflo", &source, step, &body(101)).unwrap();
    assert_eq!(page.next, [step.at("2")]);
    assert!(read_page("smartflo", &source, &step.at("2"), &body(200)).unwrap().0.next.is_empty());
    assert!(read_page("smartflo", &source, step, &body(100)).unwrap().0.next.is_empty());
    let (key, _, facts) = &calls[0];
    assert_eq!(key.call_id(), "69981f2612a3b");
    insta::assert_json_snapshot!(facts, @r#"
    {
      "state": "ended",
      "disposition": "answered",
      "direction": "outbound",
      "from": {
        "kind": "number",
        "raw": "2025550100"
      },
      "to": {
        "kind": "number",
        "raw": "919876543210"
      },
      "contact": {
        "kind": "number",
        "raw": "919876543210"
      },
      "employee": {
        "kind": "e164",
        "raw": "+12025550143"
      },
      "started_at": "2026-02-20T08:40:05Z",
      "ended_at": "2026-02-20T08:40:17Z",
      "talk": 11,
      "total": 12,
      "billed": 11,
      "cause": "NORMAL_CLEARING",
      "extra": {
        "agent_name": "Ann Agent",
        "call_id": "1771576805.306731",
        "ref_id": "r-1"
      }
    }
    "#);
}

#[test]
fn a_table_is_read_whatever_its_delimiter_and_words_of_failure_are_no_table() {
    let source = onecom(json!({}));
    let step = &first("onecom", &source)[0];
    for table in [
        "uniqueid,src,dst,start,duration,billsec,disposition,clid\n1.1,101,0501234567,2026-02-20 11:00:00,30,20,ANSWERED,\"\"\"Ann, B\"\" <101>\"\n",
        "\u{feff}uniqueid;src;dst;start;duration;billsec;disposition;clid\r\n1.1;101;0501234567;2026-02-20 11:00:00;30;20;ANSWERED;Ann\r\n",
    ] {
        let (_, calls) = read_page("onecom", &source, step, table).unwrap();
        let (key, _, facts) = &calls[0];
        assert_eq!(key.to_string(), "onecom/main/1.1");
        assert_eq!(facts.started_at, Some("2026-02-20T09:00:00Z".parse().unwrap()));
        assert_eq!(facts.talk, Some(Seconds(20)));
    }
    assert!(read_page("onecom", &source, step, "").unwrap().1.is_empty());
    assert!(read_page("onecom", &source, step, "uniqueid,src\n").unwrap().1.is_empty());
    for words in ["ERROR: wrong key\n", "<html>busy</html>"] {
        let problem = read_page("onecom", &source, step, words).err().unwrap();
        assert!(matches!(problem, Problem::Failed { .. }), "{words}");
    }
}

#[test]
fn json_of_onecom_is_a_list_or_holds_one_and_pages_end_with_an_empty_one() {
    let source = onecom(json!({"format": "json", "parameters": {"page": "{page}"}}));
    let step = &first("onecom", &source)[0];
    let record = json!({"uniqueid": "1.1", "disposition": "BUSY", "pincode": "7391"});
    for body in [json!([record]), json!({"data": [record]}), json!({"cdrs": [record]})] {
        let (page, calls) = read_page("onecom", &source, step, &body.to_string()).unwrap();
        assert_eq!((calls.len(), &page.next[0]), (1, &step.at("2")));
        let (key, facts) = (&calls[0].0, &calls[0].2);
        assert!(key.call_id() == "1.1" && !format!("{:?}", facts.extra.keys()).contains("pincode"));
    }
    assert!(read_page("onecom", &source, &step.at("2"), "[]").unwrap().0.next.is_empty());
}

#[test]
fn conversations_are_listed_and_then_read_one_by_one() {
    let source = elevenlabs();
    let step = &first("elevenlabs", &source)[0];
    let body = json!({"conversations": [
        {"conversation_id": "c1", "status": "done"}, {"conversation_id": "c2", "status": "processing"},
        {"conversation_id": "c3", "status": "failed"},
    ], "next_cursor": "more", "has_more": true});
    let (page, _) = read_page("elevenlabs", &source, step, &body.to_string()).unwrap();
    let next: Vec<_> =
        page.next.iter().map(|s| (s.of.as_str(), s.at.as_deref().unwrap())).collect();
    assert_eq!(next, [("conversation", "c1"), ("conversation", "c3"), ("list", "more")]);
    assert_eq!(
        (page.unfinished, registry::pull("elevenlabs").unwrap().together(&page.next)),
        (1, 2)
    );
    let conversation = json!({
        "agent_id": "a", "conversation_id": "c1", "status": "done",
        "metadata": {"start_time_unix_secs": 1_771_579_111, "call_duration_secs": 88,
                     "phone_call": {"type": "twilio", "call_sid": "CA1"}},
        "analysis": {"transcript_summary": "Renewed."},
    });
    let (_, calls) =
        read_page("elevenlabs", &source, &page.next[0], &conversation.to_string()).unwrap();
    assert_eq!(calls[0].0.to_string(), "twilio/twilio/CA1");
    assert_eq!(calls[0].2.summary.as_ref().unwrap().expose(), "Renewed.");
}

#[test]
fn a_status_says_whose_fault_it_is_and_when_to_come_back() {
    let source = smartflo();
    let step = &first("smartflo", &source)[0];
    let result = |status: u16, header: Option<&str>| {
        let mut response = response(status, r#"{"results": []}"#);
        if let Some(header) = header {
            response.headers.insert(RETRY_AFTER, header.parse().unwrap());
        }
        page("smartflo", &source, step, &Scripted::new([response]), &Logins::default()).map(|_| ())
    };
    let wait = |until: &str, status| {
        let until = until.parse().unwrap();
        Err(Problem::Wait { until, why: format!("responded {status}") })
    };
    assert_eq!(result(200, None), Ok(()));
    assert_eq!(result(429, None), wait("2026-02-21T03:01:00Z", 429));
    assert_eq!(result(429, Some("7")), wait("2026-02-21T03:00:07Z", 429));
    let date = Some("Sat, 21 Feb 2026 04:00:00 GMT");
    assert_eq!(result(503, date), wait("2026-02-21T04:00:00Z", 503));
    for status in [408, 500, 502, 503] {
        assert!(matches!(result(status, None), Err(Problem::Failed { .. })), "{status}");
    }
    for status in [400, 401, 403, 404, 301] {
        assert!(matches!(result(status, None), Err(Problem::Refused { .. })), "{status}");
    }
}

#[test]
fn a_used_up_quota_is_waited_for_and_a_wrong_key_is_not() {
    let source = elevenlabs();
    let result = |status: &str| {
        let body = json!({"detail": {"status": status}}).to_string();
        let http = Scripted::new([response(401, &body)]);
        page("elevenlabs", &source, &first("elevenlabs", &source)[0], &http, &Logins::default())
    };
    assert!(matches!(result("quota_exceeded"), Err(Problem::Wait { .. })));
    assert!(matches!(result("invalid_api_key"), Err(Problem::Refused { .. })));
}

#[test]
fn a_login_brings_a_token_for_almost_as_long_as_it_says() {
    let login = json!({"email": "ops@example.com", "password": "fake-password"});
    let source = source("smartflo", json!({"secrets": ["fake"], "pull": login}));
    let step = &first("smartflo", &source)[0];
    let grant = r#"{"success": true, "access_token": "fake-jwt", "expires_in": 3600}"#;
    let (logins, list) = (Logins::default(), r#"{"results": []}"#);
    let http = Scripted::new([response(200, grant), response(200, list)]);
    page("smartflo", &source, step, &http, &logins).unwrap();
    assert_eq!(http.requests(), 2);
    assert_eq!(http.nth(0).url.path(), "/v1/auth/login");
    assert_eq!(http.nth(1).headers["authorization"], "Bearer fake-jwt");
    // Not in its last five minutes.
    for (minute, second, requests) in [(54, 59, 1), (55, 0, 2)] {
        let http = Scripted::new([response(200, grant), response(200, list)]);
        let later = SignedDuration::from_secs(60 * minute + second);
        let clock = move || clock().checked_add(later).unwrap();
        let main = name("main");
        let (http, logins, source) = (&http, &logins, &source);
        let session = Session { http, logins, name: &main, source, mark: "m", clock: &clock };
        let _ = now(registry::pull("smartflo").unwrap().page(&session, step));
        assert_eq!(http.requests(), requests, "{minute}:{second}");
    }
    for answer in [response(200, "{}"), response(401, grant)] {
        let http = Scripted::new([answer, response(200, list)]);
        assert!(page("smartflo", &source, step, &http, &Logins::default()).is_err());
    }
}

#[test]
fn what_is_missing_is_named() {
    let problem = |provider: &str, json: Value| {
        let source = Source::read(&json.to_string(), self::provider(provider)).unwrap();
        registry::pull(provider).unwrap().check(&source).unwrap_err().to_string()
    };
    for (provider, json, field) in [
        ("twilio", json!({"secrets": ["fake"], "pull": {}}), "pull.account: "),
        ("twilio", json!({"pull": {"account": "AC1"}}), "pull.token: "),
        ("twilio", json!({"pull": {"account": "AC1/..", "token": "fake"}}), "pull.account: "),
        (
            "twilio",
            json!({"secrets": ["fake"], "pull": {"account": "AC1", "key": "SK1"}}),
            "pull.token: ",
        ),
        ("smartflo", json!({"pull": {"email": "ops@example.com"}}), "pull.token: "),
        ("elevenlabs", json!({"pull": {}}), "api_key: "),
        ("onecom", json!({"pull": {"token": "fake"}}), "pull.url: "),
        ("onecom", json!({"pull": {"url": "https://p.example", "tenant": "A"}}), "pull.token: "),
        ("onecom", json!({"pull": {"url": "https://p.example", "token": "fake"}}), "pull.tenant: "),
        ("twilio", json!({}), "pull: is missing"),
    ] {
        let said = problem(provider, json);
        assert!(said.starts_with(field) && !said.contains("fake"), "{provider}: {said}");
    }
    for (provider, json, field) in [
        ("onecom", json!({"pull": {"token": " "}}), "pull.token: "),
        ("onecom", json!({"pull": {"url": "https://u@p.example"}}), "pull.url: "),
        ("onecom", json!({"pull": {"date_format": "%Q"}}), "pull.date_format: "),
        ("smartflo", json!({"pull": {"page_size": 0}}), "pull.page_size: "),
        ("elevenlabs", json!({"pull": {"page_size": 0}}), "pull.page_size: "),
        ("smartflo", json!({"pull": {"password": ""}}), "pull.password: "),
        ("smartflo", json!({"pull": {"tokn": "fake"}}), "pull.tokn: "),
        ("twilio", json!({"pull": {"email": "fake"}}), "pull.email: "),
    ] {
        let source = Source::parse(&json.to_string(), self::provider(provider));
        let said = source.unwrap_err().to_string();
        assert!(said.starts_with(field) && !said.contains("fake"), "{said}");
    }
}

#[test]
fn days_are_those_of_the_source() {
    let source = onecom(json!({}));
    let one = registry::pull("onecom").unwrap();
    let day = |text: &str| text.parse().unwrap();
    let (from, to) = days(one, &source, day("2026-03-26"), day("2026-03-27")).unwrap();
    // The clocks go forward on the 27th.
    assert_eq!(from, "2026-03-25T22:00:00Z".parse().unwrap());
    assert_eq!(to, "2026-03-27T21:00:00Z".parse().unwrap());
    assert_eq!(day_of(one, &source, to), day("2026-03-28"));
}
