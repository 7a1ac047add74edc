use super::*;
use crate::testing::{Case, SECRET, record};
use http::HeaderName;
use serde_json::json;
use switchboard_domain::{Direction, Facts};

/// A good destination, with some of its fields replaced (or, by null, left out).
fn written(changes: Value) -> String {
    let mut json = json!({
        "url": "https://crm.example.com/calls",
        "format": "canonical",
        "signing_secrets": [SECRET],
    });
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => json.as_object_mut().unwrap().remove(name),
            value => json.as_object_mut().unwrap().insert(name.clone(), value.clone()),
        };
    }
    json.to_string()
}

fn read(changes: Value) -> Destination {
    Destination::parse(&written(changes), false).unwrap()
}

fn problem(changes: Value) -> String {
    Destination::parse(&written(changes), false).unwrap_err().to_string()
}

#[test]
fn what_is_not_said_has_a_default() {
    let destination = read(json!({}));
    assert_eq!(destination.auth, Auth::None);
    assert_eq!(destination.filter, Filter::default());
    assert_eq!(destination.timeout, Seconds(15));
    assert_eq!(destination.retries, DEFAULT_RETRIES);
    assert_eq!(destination.deduplication, Deduplication::Key);
    assert_eq!(destination.pace, None);
    assert!(!destination.paused);
}

#[test]
fn everything_can_be_said() {
    let destination = read(json!({
        "url": "https://crm.example.com:8443/calls?org=7",
        "auth": {"type": "header", "name": "X-Api-Key", "value": "fake-key"},
        "signing_secrets": [SECRET, "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"],
        "filter": {
            "providers": ["twilio", "asterisk"], "sources": ["asterisk-main"],
            "directions": ["inbound", "outbound"], "outcomes": ["answered", "voicemail"],
            "min_talk_seconds": 10, "events": ["call.completed", "call.updated"],
        },
        "timeout_seconds": 25,
        "retry_seconds": [1, 86400],
        "deduplication": "none",
        "rate_per_second": 2.5, "burst": 10,
        "paused": true,
    }));
    assert_eq!(destination.pace, Some(Pace { step: 400_000, burst: 10 }));
    assert_eq!(read(json!({"rate_per_second": 2.5})).pace.unwrap().burst, 3);
    assert_eq!(read(json!({"rate_per_second": 3})).pace.unwrap().step, 333_334);
    let value = Secret::new("fake-key");
    let name = HeaderName::from_static("x-api-key");
    assert_eq!(destination.auth, Auth::Header { name, value });
    assert_eq!(destination.filter.outcomes.len(), 2);
    assert_eq!(destination.filter.min_talk, Seconds(10));
    assert_eq!(destination.retries, [1, 86_400]);
    assert_eq!(destination.host(), "crm.example.com");
    assert!(destination.paused);
    for auth in [
        json!({"type": "none"}),
        json!({"type": "bearer", "token": "fake-token"}),
        json!({"type": "basic", "user": "switchboard", "password": "fake-password"}),
    ] {
        read(json!({"auth": auth}));
    }
}

#[test]
fn a_bad_field_is_named_with_the_reason() {
    for (changes, expected) in [
        (json!({"url": null}), "url: is missing: must be a text, as https://"),
        (json!({"url": 7}), "url: must be a text"),
        (json!({"url": "crm.example.com"}), "url: is not a URL"),
        (json!({"url": "ftp://crm.example.com"}), "url: must begin with https://"),
        (json!({"url": "http://crm.example.com"}), "url: must begin with https://"),
        (json!({"url": "https://ann:pw@crm.example.com"}), "url: must not hold a user"),
        (json!({"url": "https://ann@crm.example.com"}), "url: must not hold a user"),
        (json!({"url": "https://crm.example.com/#x"}), "url: must not have a fragment"),
        (json!({"format": null}), "format: is missing: must be canonical, conversation-ai, "),
        (json!({"format": "crm"}), "format: must be canonical, conversation-ai, hubspot"),
        (json!({"auth": "bearer"}), "auth: must be a JSON object"),
        (json!({"auth": {}}), "auth.type: is missing"),
        (json!({"auth": {"type": "magic"}}), "auth.type: must be none, bearer,"),
        (json!({"auth": {"type": "bearer"}}), "auth.token: is missing"),
        (json!({"auth": {"type": "bearer", "token": " "}}), "auth.token: must not be empty"),
        (json!({"auth": {"type": "bearer", "token": "a\r\nb: c"}}), "auth.token: must be of"),
        (json!({"auth": {"type": "none", "token": "x"}}), "auth.token: is not a field"),
        (json!({"auth": {"type": "basic", "user": "a:b", "password": "x"}}), "auth.user: "),
        (json!({"auth": {"type": "basic", "user": "a", "password": ""}}), "auth.password: "),
        (json!({"auth": {"type": "header", "name": "a b", "value": "x"}}), "auth.name: is not"),
        (json!({"auth": {"type": "header", "name": "Host", "value": "x"}}), "auth.name: is a"),
        (
            json!({"auth": {"type": "header", "name": "webhook-id", "value": "x"}}),
            "auth.name: is a header that every request has already",
        ),
        (json!({"signing_secrets": null}), "signing_secrets: is missing"),
        (json!({"signing_secrets": []}), "signing_secrets: must be a list"),
        (json!({"signing_secrets": [""]}), "signing_secrets: must be a list"),
        (json!({"signing_secrets": ["whsec_c2hvcnQ="]}), "signing_secrets: must be a list"),
        (json!({"signing_secrets": [&SECRET[6..]]}), "signing_secrets: must be a list"),
        (json!({"filter": {"providers": ["a b"]}}), "filter.providers: must be a list"),
        (json!({"filter": {"directions": ["up"]}}), "filter.directions: must be a list"),
        (json!({"filter": {"outcomes": "busy"}}), "filter.outcomes: must be a list"),
        (json!({"filter": {"min_talk_seconds": -1}}), "filter.min_talk_seconds: must be"),
        (json!({"filter": {"events": []}}), "filter.events: must have at least one event"),
        (json!({"filter": {"events": ["call.ended"]}}), "filter.events: must be a list of"),
        (
            json!({"filter": {"events": ["call.updated", "call.started"]}}),
            "filter.events: must have call.completed: an update is only sent after it",
        ),
        (json!({"filter": {"event": []}}), "filter.event: is not a field that exists here"),
        (
            json!({
                "format": "conversation-ai",
                "filter": {"events": ["call.completed", "call.updated"]},
            }),
            "filter.events: must not have call.updated",
        ),
        (
            json!({"format": "conversation-ai", "filter": {"events": ["call.started"]}}),
            "filter.events: must not have call.started: this format cannot deliver it",
        ),
        (
            json!({"format": "conversation-ai", "filter": {"events": ["task.created"]}}),
            "filter.events: must not have task.created: this format cannot deliver it",
        ),
        (json!({"rate_per_second": 0}), "rate_per_second: must be a number of requests"),
        (json!({"rate_per_second": 1001}), "rate_per_second: must be a number of requests"),
        (json!({"rate_per_second": "5"}), "rate_per_second: must be a number of requests"),
        (json!({"rate_per_second": 5, "burst": 0}), "burst: must be a whole number, 1 to 1000"),
        (json!({"rate_per_second": 5, "burst": 1.5}), "burst: must be a whole number, 1 to 1000"),
        (json!({"rate_per_second": 5, "burst": 1001}), "burst: must be a whole number"),
        (json!({"burst": 5}), "burst: needs rate_per_second"),
        (json!({"timeout_seconds": 0}), "timeout_seconds: must be a whole number"),
        (json!({"timeout_seconds": 26}), "timeout_seconds: must be a whole number"),
        (json!({"timeout_seconds": 1.5}), "timeout_seconds: must be a whole number"),
        (json!({"retry_seconds": [0]}), "retry_seconds: must be a list"),
        (json!({"retry_seconds": [86401]}), "retry_seconds: must be a list"),
        (json!({"retry_seconds": vec![1; 21]}), "retry_seconds: must be a list"),
        (
            json!({"deduplication": "upsert"}),
            "deduplication: must be key or none, and not upsert: to look for an entry",
        ),
        (
            json!({"deduplication": "search"}),
            "deduplication: must be key or none, and not search: to look for an entry",
        ),
        (json!({"contacts": "find"}), "contacts: must be none: this format knows no contacts"),
        (json!({"settings": {"x": 1}}), "settings: must be left out: this format has none"),
        (
            json!({"auth": {"type": "oauth_jwt"}}),
            "auth.type: must be none, bearer, basic or header",
        ),
        (json!({"deduplication": "maybe"}), "deduplication: must be key or none"),
        (json!({"deduplication": 1}), "deduplication: must be key or none"),
        (json!({"paused": "yes"}), "paused: must be true or false"),
        (json!({"name": "crm"}), "name: is not a field that exists here"),
    ] {
        let problem = problem(changes.clone());
        assert!(problem.starts_with(expected), "{changes}: {problem}");
    }
}

#[test]
fn what_is_no_object_is_refused() {
    for json in ["", "{", "[]", "null", "\"x\"", "{} {}"] {
        let error = Destination::parse(json, false).unwrap_err();
        assert_eq!(error.field, "destination", "{json}");
    }
}

#[test]
fn no_error_and_no_debug_output_shows_a_secret() {
    let marked = "fakeCANARY";
    for json in [
        format!("{{\"signing_secrets\": [\"{marked}\" x"),
        written(json!({"signing_secrets": [marked]})),
        written(json!({"signing_secrets": marked})),
        written(json!({"format": marked})),
        written(json!({"url": format!("https://{marked}:{marked}@crm.example.com")})),
        written(json!({"url": format!("https://{marked} ")})),
        written(json!({"auth": {"type": marked}})),
        written(json!({"auth": {"type": "bearer", "token": format!("{marked}\n")}})),
        written(
            json!({"auth": {"type": "basic", "user": format!("{marked}:"), "password": marked}}),
        ),
        written(json!({"retry_seconds": marked})),
        written(json!({"deduplication": marked})),
        written(json!({"paused": marked})),
        written(json!({marked: true})),
    ] {
        let shown = match Destination::parse(&json, false) {
            Ok(destination) => format!("{destination:?}"),
            Err(error) => format!("{error} {error:?}"),
        };
        assert!(!shown.contains("CANARY"), "{shown}");
    }
    let destination = read(json!({
        "url": "https://crm.example.com/in/fakeCANARY?key=fakeCANARY",
        "auth": {"type": "basic", "user": "x", "password": "fakeCANARY"},
    }));
    assert!(!format!("{destination:?}").contains("CANARY"));
    assert!(!format!("{:?}", destination.auth).contains("CANARY"));
}

/// Every way to write a host that is not a public one.
const PRIVATE: &[&str] = &[
    "https://localhost",
    "https://LOCALHOST.",
    "https://crm.localhost",
    "https://printer.local",
    "https://metadata.google.internal",
    "https://router.home.arpa",
    "https://127.0.0.1",
    "https://127.1",
    "https://2130706433",
    "https://0x7f000001",
    "https://0x7f.1",
    "https://0177.0.0.1",
    "https://017700000001",
    "https://127.0.0.1.",
    "https://%31%32%37.0.0.1",
    "https://１２７.０.０.１",
    "https://127。0。0。1",
    "https://0",
    "https://10.0.0.1",
    "https://172.16.0.1",
    "https://192.168.1.1",
    "https://100.64.0.1",
    "https://169.254.169.254/latest/meta-data",
    "https://2852039166",
    "https://0xa9fea9fe",
    "https://0251.0376.0251.0376",
    "https://[::1]",
    "https://[::]",
    "https://[0:0:0:0:0:0:0:1]",
    "https://[::ffff:127.0.0.1]",
    "https://[::ffff:a9fe:a9fe]",
    "https://[::127.0.0.1]",
    "https://[64:ff9b::169.254.169.254]",
    "https://[64:ff9b:1::1]",
    "https://[2002:7f00:1::]",
    "https://[2001:0:4136:e378:8000:63bf:3fff:fdd2]",
    "https://[fe80::1]",
    "https://[fd00:ec2::254]",
    "https://[2001:db8::1]",
    "https://[ff02::1]",
];

#[test]
fn a_private_host_is_refused_however_it_is_written() {
    for url in PRIVATE {
        let problem = problem(json!({"url": url}));
        assert!(problem.starts_with("url: must not lead to a private"), "{url}: {problem}");
    }
}

#[test]
fn a_public_host_is_taken() {
    for url in [
        "https://crm.example.com",
        "https://localhost.example.com",
        "https://notlocal/",
        "https://xn--bcher-kva.example/x?y=z",
        "https://bücher.example",
        "https://8.8.8.8",
        "https://[2a00:1450:4001::1]:8443/",
    ] {
        read(json!({"url": url}));
    }
}

#[test]
fn a_local_stage_may_use_http_and_private_hosts_and_nothing_else_more() {
    let local = |url: &str| Destination::parse(&written(json!({"url": url})), true);
    for url in PRIVATE.iter().chain(&["http://localhost:8080/crm", "http://127.0.0.1:1"]) {
        local(url).unwrap();
    }
    for url in ["ftp://localhost", "file:///etc/passwd", "http://a:b@localhost", "http://x#y"] {
        assert_eq!(local(url).unwrap_err().field, "url", "{url}");
    }
}

#[test]
fn a_destination_hears_of_the_calls_that_its_filter_lets_pass() {
    let call = record(Case::Held, |facts: &mut Facts| facts.talk = Some(Seconds(30)));
    for (filter, expected) in [
        (json!({}), true),
        (json!({"providers": ["twilio", "threecx"]}), true),
        (json!({"providers": ["threecx"]}), false),
        (json!({"sources": ["twilio-main"]}), true),
        (json!({"sources": ["twilio"]}), false),
        (json!({"directions": ["outbound"]}), true),
        (json!({"directions": ["inbound", "internal"]}), false),
        (json!({"outcomes": ["answered"]}), true),
        (json!({"outcomes": ["busy"]}), false),
        (json!({"min_talk_seconds": 30}), true),
        (json!({"min_talk_seconds": 31}), false),
        (json!({"providers": ["twilio"], "outcomes": ["busy"]}), false),
    ] {
        let destination = read(json!({"filter": filter}));
        assert_eq!(destination.wants(&call, Event::Completed), expected, "{filter}");
    }
}

#[test]
fn how_a_call_went_does_not_matter_when_it_starts() {
    let call = record(Case::Unknown, |facts| facts.direction = Some(Direction::Inbound));
    let events = ["call.started", "call.completed"];
    let wants = |filter: Value| {
        let mut filter = filter;
        filter["events"] = json!(events);
        let destination = read(json!({ "filter": filter }));
        [Event::Started, Event::Completed].map(|event| destination.wants(&call, event))
    };
    assert_eq!(wants(json!({})), [true, true]);
    assert_eq!(wants(json!({"outcomes": ["answered"]})), [true, false]);
    assert_eq!(wants(json!({"min_talk_seconds": 1})), [true, false]);
    assert_eq!(wants(json!({"directions": ["outbound"]})), [false, false]);
    assert_eq!(wants(json!({"sources": ["another"]})), [false, false]);
    assert!(!read(json!({})).wants(&call, Event::Started));
}

#[test]
fn a_destination_may_want_starts_or_tasks_alone() {
    for event in ["call.started", "task.created"] {
        let destination = read(json!({"filter": {"events": [event]}}));
        assert_eq!(destination.filter.events.len(), 1);
    }
}

#[test]
fn what_is_not_known_of_a_call_passes_no_list() {
    let call = record(Case::Unknown, |facts| facts.direction = None);
    assert!(read(json!({})).wants(&call, Event::Completed));
    for filter in [
        json!({"directions": ["inbound", "outbound", "internal"]}),
        json!({"outcomes": ["answered", "no_answer", "busy", "failed", "canceled", "voicemail"]}),
        json!({"min_talk_seconds": 1}),
    ] {
        assert!(!read(json!({"filter": filter})).wants(&call, Event::Completed), "{filter}");
    }
}

#[test]
fn a_subscriber_names_the_events_that_are_wanted() {
    let call = record(Case::Held, |_| {});
    let name = Name::new("destination", "crm").unwrap();
    let events = |changes| read(changes).subscriber(name.clone(), &call).events;
    assert_eq!(events(json!({})), [Event::Completed]);
    let both = json!({"events": ["call.updated", "call.completed"]});
    assert_eq!(events(json!({"filter": both})), [Event::Completed, Event::Updated]);
    assert_eq!(events(json!({"filter": {"outcomes": ["busy"]}})), []);
    assert_eq!(read(json!({})).subscriber(name, &call).destination.as_str(), "crm");
}
