#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use serde_json::{Value, json};
use switchboard_domain::{Call, Update, fold};

use super::*;
use crate::{Record, Sources, authenticate, testing};

fn sources(settings: Value) -> Sources {
    testing::sources(&ThreeCx, &["threecx"], settings)
}

fn post(path: &str, body: &[u8], settings: Value) -> Result<Content, Reject> {
    testing::content(&ThreeCx, &sources(settings), &testing::known(path, "", body))
}

fn try_read_at(body: &Value, settings: Value) -> Result<Record, Reject> {
    let content = post(CALL_EVENT, body.to_string().as_bytes(), settings)?;
    let Content::Calls(mut records) = content else { panic!("no calls") };
    records.remove(0).map_err(|unread| unread.why)
}

fn try_read(body: &Value) -> Result<Record, Reject> {
    try_read_at(body, json!({"time_zone": "Europe/Zurich"}))
}

fn read(body: &Value) -> Record {
    try_read(body).unwrap()
}

fn facts(body: &Value) -> Facts {
    read(body).update.facts
}

/// `base` with other fields in it; a field that is `null` is not sent.
fn with(base: &Value, fields: &Value) -> Value {
    let mut all = base.as_object().unwrap().clone();
    for (name, value) in fields.as_object().unwrap() {
        all.insert(name.clone(), value.clone());
    }
    all.retain(|_, value| !value.is_null());
    all.into()
}

/// The calls that messages come to, stored one after the other as the hook stores them.
fn calls(messages: &[&Value]) -> Vec<Call> {
    let mut stored: BTreeMap<CallKey, Vec<Update>> = BTreeMap::new();
    for message in messages {
        let Record { key, near, update } = read(message);
        let is_end = update.facts.state == Some(State::Ended);
        let may_be = |other: &&CallKey| {
            stored.get(*other).is_some_and(|known| !is_end || !fold(known).has_ended())
        };
        let is_known = stored.contains_key(&key);
        let other = near.iter().find(may_be).filter(|_| !is_known).cloned();
        stored.entry(other.unwrap_or(key)).or_default().push(update);
    }
    let mut calls: Vec<Call> = stored.into_values().map(|updates| fold(&updates)).collect();
    calls.sort_by_key(|call| call.facts.started_at);
    calls
}

fn start_event() -> Value {
    json!({"caller": "+41225551234", "callee": "+41225555678", "agentExt": "201",
           "direction": "Inbound", "startTime": "2025-07-16T14:30:00Z"})
}

fn end_event() -> Value {
    json!({"callId": "12345", "caller": "+41225551234", "callee": "+41225555678",
           "agentExt": "201", "direction": "Inbound", "duration": "00:04:32",
           "endUtc": "2025-07-16T14:34:32Z"})
}

fn from_template() -> Value {
    json!({"callType": "Inbound", "number": "+41225551234", "agent": "201",
           "durationSeconds": "272", "callStartTimeUtc": "2026-02-20T09:00:00Z",
           "callEndTimeUtc": "2026-02-20T09:04:44Z"})
}

#[test]
fn an_end_without_a_start_joins_the_start_without_an_id_in_either_order() {
    let (start, end) = (start_event(), end_event());
    let one = calls(&[&start, &end]);
    assert_eq!(one, calls(&[&end, &start]));
    let [call] = &one[..] else { panic!("{} calls", one.len()) };
    assert_eq!(call.facts.talk, Some(Seconds(272)));
    assert_eq!(call.facts.started_at, Some("2025-07-16T14:30:00Z".parse().unwrap()));
    assert!(call.facts.flags.is_empty());
    // Alone, the end comes to the same start and says that it was worked out.
    let alone = calls(&[&end]);
    assert_eq!(alone[0].facts.started_at, call.facts.started_at);
    assert_eq!(alone[0].facts.flags.len(), 1);
    assert_eq!(read(&start).key, read(&end).key);
}

#[test]
fn roundings_join_and_a_redial_does_not() {
    for (end, expected) in [
        ("2025-07-16T14:34:30Z", 1),
        ("2025-07-16T14:34:31Z", 1),
        ("2025-07-16T14:34:33Z", 1),
        ("2025-07-16T14:34:34Z", 1),
        ("2025-07-16T14:34:35Z", 1),
        ("2025-07-16T14:34:36Z", 2),
        ("2025-07-16T14:34:28Z", 2),
        ("2025-07-16T14:34:42Z", 2),
    ] {
        let end = with(&end_event(), &json!({"endUtc": end}));
        assert_eq!(calls(&[&start_event(), &end]).len(), expected, "{end}");
        assert_eq!(calls(&[&end, &start_event()]).len(), expected, "{end}, and then the start");
    }
}

#[test]
fn calls_that_follow_each_other_stay_apart() {
    // With an unfilled or empty id, which is no key.
    for id in ["", "[CallID]", "12345"] {
        let first = with(&end_event(), &json!({"callId": id}));
        let second = with(&first, &json!({"endUtc": "2025-07-16T14:34:42Z"}));
        assert_eq!(calls(&[&first, &second]).len(), 2, "{id}");
    }
    // Two ends two seconds apart are two calls: the first has ended already.
    let second = with(&end_event(), &json!({"endUtc": "2025-07-16T14:34:34Z"}));
    assert_eq!(calls(&[&end_event(), &second]).len(), 2);
    // Redialled ten seconds after a call of five, both with a start event.
    let starts =
        [start_event(), with(&start_event(), &json!({"startTime": "2025-07-16T14:30:10Z"}))];
    let end = |at: &str| with(&end_event(), &json!({"endUtc": at, "duration": "00:00:05"}));
    let ends = [end("2025-07-16T14:30:05Z"), end("2025-07-16T14:30:15Z")];
    assert_eq!(calls(&[&starts[0], &ends[0], &starts[1], &ends[1]]).len(), 2);
    assert_eq!(calls(&[&ends[1], &ends[0], &starts[0], &starts[1]]).len(), 2);
}

#[test]
fn an_end_to_the_minute_joins_a_start_to_the_second() {
    let start = with(&start_event(), &json!({"startTime": "2025-07-16T14:30:47Z"}));
    for end in [
        json!({"startTime": "2025-07-16T14:30Z", "endUtc": null}),
        json!({"endUtc": "2025-07-16T14:35Z"}),
        json!({"startTime": "2025-07-16T14:30Z", "endUtc": "2025-07-16T14:35Z"}),
    ] {
        let end = with(&end_event(), &end);
        let offered = read(&end).near.len();
        assert!((62..=98).contains(&offered), "{offered} near keys");
        let one = calls(&[&start, &end]);
        assert_eq!(one.len(), 1, "{end}");
        assert_eq!(one[0].facts.state, Some(State::Ended));
    }
    let end = with(&end_event(), &json!({"startTime": "2025-07-16T14:30Z", "endUtc": null}));
    // Half a minute before the minute begins, or after it is over, it was another call.
    for other in ["2025-07-16T14:29:30Z", "2025-07-16T14:31:30Z"] {
        let start = with(&start_event(), &json!({"startTime": other}));
        assert_eq!(calls(&[&start, &end]).len(), 2, "{other}");
    }
}

#[test]
fn other_keys_are_offered_only_where_they_may_be_needed() {
    let near = |body: &Value| read(body).near.len();
    // An end that states its start to the second, though it has a duration and an end too.
    assert_eq!(near(&from_template()), 0);
    assert_eq!(near(&start_event()), 6);
    assert_eq!(near(&end_event()), 6);
    let tolerant = |seconds: u32, body: &Value| {
        try_read_at(body, json!({"start_tolerance_seconds": seconds})).unwrap()
    };
    assert_eq!(tolerant(0, &start_event()).near.len(), 0);
    let minute = with(&start_event(), &json!({"startTime": "2025-07-16T14:30Z"}));
    for body in [start_event(), minute] {
        let Record { key, near, .. } = tolerant(30, &body);
        assert!(near.len() < MOST_KEYS && !near.contains(&key));
        let distinct: std::collections::BTreeSet<&CallKey> = near.iter().collect();
        assert_eq!(distinct.len(), near.len());
    }
}

#[test]
fn the_nearest_start_is_asked_for_first() {
    let at = |second: &str| {
        read(&with(&start_event(), &json!({"startTime": format!("2025-07-16T14:30:{second}Z")})))
    };
    let expected: Vec<CallKey> =
        ["31", "29", "32", "28", "33", "27"].into_iter().map(|second| at(second).key).collect();
    assert_eq!(at("30").near, expected);
}

#[test]
fn a_key_is_made_of_start_agent_number_and_direction() {
    let key = |fields: Value| read(&with(&from_template(), &fields)).key;
    let own = key(json!({}));
    assert_eq!(own.call_id().len(), 32);
    // However the number is written, and whatever else is said.
    for same in [
        json!({"number": "0041225551234"}),
        json!({"number": "022 555 12 34"}),
        json!({"callId": "12345", "name": "Robin Sample"}),
        json!({"callType": "Missed"}),
        json!({"callStartTimeUtc": "2026-02-20T10:00:00+01:00"}),
    ] {
        assert_eq!(key(same.clone()), own, "{same}");
    }
    for other in [
        json!({"number": "+41225551235"}),
        json!({"number": ""}),
        json!({"agent": "202"}),
        json!({"callType": "Outbound"}),
        json!({"callStartTimeUtc": "2026-02-20T09:00:01Z"}),
    ] {
        assert_ne!(key(other.clone()), own, "{other}");
    }
}

#[test]
fn call_types_and_durations() {
    let answered = Some(Disposition::Answered);
    let missed = Some(Disposition::NoAnswer);
    let (inbound, outbound) = (Some(Direction::Inbound), Some(Direction::Outbound));
    for (call_type, duration, direction, disposition, talk) in [
        ("Inbound", "00:04:32", inbound, answered, Some(272)),
        ("INBOUND", "272", inbound, answered, Some(272)),
        ("outbound", "1.00:04:32", outbound, answered, Some(86_672)),
        ("Outbound", "", outbound, answered, None),
        ("Outbound", "soon", outbound, answered, None),
        ("Missed", "", inbound, missed, Some(0)),
        ("missed", "00:00:20", inbound, missed, Some(0)),
        ("Notanswered", "00:00:00", outbound, missed, Some(0)),
        ("NotAnswered", "", outbound, missed, Some(0)),
        ("", "00:00:05", None, answered, Some(5)),
        ("", "0", None, None, Some(0)),
        ("[CallType]", "[Duration]", None, None, None),
    ] {
        let fields = json!({"callType": call_type, "durationSeconds": "", "duration": duration});
        let said = facts(&with(&from_template(), &fields));
        let read = (said.direction, said.disposition, said.talk);
        assert_eq!(read, (direction, disposition, talk.map(Seconds)), "{call_type} {duration}");
        assert_eq!(said.state, Some(State::Ended));
    }
    // The first duration that can be read.
    let fields = json!({"durationSeconds": "[[DurationTimespan].X]", "duration": "00:00:07"});
    assert_eq!(facts(&with(&from_template(), &fields)).talk, Some(Seconds(7)));
}

#[test]
fn an_end_with_an_empty_duration_and_no_type_says_nothing_of_how_it_went() {
    let end = json!({"duration": "", "startTime": "2025-07-16T14:30:00Z"});
    let one = calls(&[&with(&end_event(), &end)]);
    assert_eq!((one[0].has_ended(), one[0].outcome, one[0].facts.talk), (true, None, None));
}

#[test]
fn what_lasts_is_told_apart_from_what_is_over() {
    for (fields, state) in [
        (json!({}), State::InProgress),
        (json!({"duration": "", "endUtc": "", "callType": "[CallType]"}), State::InProgress),
        // What 3CX makes of an end that there is not yet.
        (json!({"endUtc": "0001-01-01T00:00:00Z"}), State::InProgress),
        (json!({"endUtc": "2025-07-16T14:34:32Z"}), State::Ended),
        (json!({"endTime": "some day"}), State::Ended),
        (json!({"duration": 0}), State::Ended),
        (json!({"callType": "Missed"}), State::Ended),
        (json!({"reasonTerminated": "TerminatedByDst"}), State::Ended),
    ] {
        assert_eq!(facts(&with(&start_event(), &fields)).state, Some(state), "{fields}");
    }
}

#[test]
fn without_any_time_a_record_is_refused() {
    for fields in [
        json!({"endUtc": ""}),
        json!({"endUtc": null, "callId": "12345"}),
        json!({"endUtc": "16.07.2025 14:34:32"}),
        json!({"endUtc": "0001-01-01T00:00:00Z"}),
    ] {
        let error = try_read(&with(&end_event(), &fields)).unwrap_err();
        assert_eq!(error.status(), 400);
        assert!(error.to_string().starts_with("startTime: is not there"), "{error}");
    }
    assert_eq!(try_read(&json!([])).unwrap_err().to_string(), "body: holds no record");
    assert_eq!(try_read(&json!(["x"])).unwrap_err().to_string(), "record: is not an object");
}

#[test]
fn a_missed_call_of_which_only_the_end_is_known_is_taken() {
    let missed = with(&end_event(), &json!({"duration": ""}));
    let one = calls(&[&missed]);
    assert_eq!(one[0].facts.started_at, one[0].facts.ended_at);
    // What it lasted, it rang: so it began before, where its start event says.
    let rang = with(&end_event(), &json!({"callType": "Missed"}));
    let one = calls(&[&start_event(), &rang]);
    assert_eq!((one.len(), one[0].facts.talk), (1, Some(Seconds(0))));
    assert_eq!(one[0].facts.total, Some(Seconds(272)));
}

#[test]
fn an_end_is_no_start_where_a_minute_is_stated() {
    let fields = json!({"startTime": "2025-07-16T14:34Z", "duration": ""});
    let said = facts(&with(&end_event(), &fields));
    assert_eq!(said.started_at, Some("2025-07-16T14:34:00Z".parse().unwrap()));
}

#[test]
fn local_times_are_in_the_sources_zone_and_utc_times_are_utc() {
    for fields in [
        json!({"callStartTimeUtc": "2026-02-20T09:00:00Z"}),
        json!({"callStartTimeUtc": "2026-02-20T09:00:00"}),
        json!({"CALLSTARTTIMEUTC": "2026-02-20 09:00:00"}),
        json!({"callStartTimeUtc": "2026-02-20T09.00.00Z"}),
        json!({"startTime": "2026-02-20T09:00Z"}),
        json!({"callStartTimeLocal": "2026-02-20T10:00:00Z"}),
        json!({"CallStartTimeLocal": "2026-02-20T10:00:00"}),
        json!({"callStartTimeLocal": "2026-02-20T10:00:00Z", "callStartTimeUtc": "2026-02-20T09:00Z"}),
    ] {
        let body = json!({"number": "+41225551234", "agent": "201", "callType": "Missed"});
        let said = facts(&with(&body, &fields));
        let started_at = said.started_at.map(|at| at.to_string());
        assert_eq!(started_at.as_deref(), Some("2026-02-20T09:00:00Z"), "{fields}");
    }
}

#[test]
fn a_cultures_date_is_read_only_if_its_order_is_known() {
    let (day, month) = (Some("day_first"), Some("month_first"));
    for (text, order, expected) in [
        ("02.01.2026 15:04", day, Some("2026-01-02T14:04:00Z")),
        ("02.01.2026 15:04:05", day, Some("2026-01-02T14:04:05Z")),
        ("02/01/26 15.04", day, Some("2026-01-02T14:04:00Z")),
        ("01/02/2026 3:04 PM", month, Some("2026-01-02T14:04:00Z")),
        ("1/2/2026 12:04\u{202f}AM", month, Some("2026-01-01T23:04:00Z")),
        ("1/2/2026 12:04 PM", month, Some("2026-01-02T11:04:00Z")),
        ("02.01.2026 15:04", None, None),
        ("01/02/2026 3:04 PM", None, None),
        ("01/13/2026 15:04", day, None),
        ("13/01/2026 15:04", month, None),
        ("1/2/2026 15:04 PM", month, None),
        ("01.01.0001 00:00", day, None),
        ("2026-01-02 15:04", None, Some("2026-01-02T14:04:00Z")),
        ("02.01.2026", day, None),
        ("[DateTime]", day, None),
    ] {
        let body = json!({"callType": "Missed", "Number": "+41225551234", "DateTime": text});
        let settings = json!({"time_zone": "Europe/Zurich", "date_order": order});
        let started_at = try_read_at(&body, settings)
            .ok()
            .and_then(|record| record.update.facts.started_at)
            .map(|at| at.to_string());
        assert_eq!(started_at.as_deref(), expected, "{text} {order:?}");
    }
}

#[test]
fn the_other_side_is_named_or_follows_from_the_direction() {
    let ends = json!({"caller": "+41225551234", "callee": "+41225555678", "agentExt": "201",
                      "startTime": "2026-02-20T09:00:00Z"});
    for (fields, contact, employee) in [
        (json!({"direction": "Inbound"}), Some("+41225551234"), Some("201")),
        (json!({"direction": "outbound"}), Some("+41225555678"), Some("201")),
        (json!({"callType": "Notanswered"}), Some("+41225555678"), Some("201")),
        (json!({"callee": "201"}), Some("+41225551234"), Some("201")),
        (json!({"caller": "201"}), Some("+41225555678"), Some("201")),
        (json!({}), None, Some("201")),
        (json!({"number": "anonymous"}), Some("anonymous"), Some("201")),
        (
            json!({"agentExt": null, "otherPartyNumber": "+41225551234", "partyNumber": "202"}),
            Some("+41225551234"),
            Some("202"),
        ),
    ] {
        let said = facts(&with(&ends, &fields));
        let raw = |party: &Option<Party>| party.as_ref().map(|party| party.raw.expose().to_owned());
        let sides = (raw(&said.contact), raw(&said.employee));
        assert_eq!(sides, (contact.map(Into::into), employee.map(Into::into)), "{fields}");
    }
}

#[test]
fn what_has_no_place_is_kept_and_credentials_are_not() {
    let long = "x".repeat(20_000);
    let said = facts(&with(
        &from_template(),
        &json!({
            "callId": "12345", "AgentEmail": "[AgentEmail]", "queueExtension": 800, "Sentiment": "4",
            "SwitchboardSecret": "fake-threecx-secret", "transcription": long, "summary": "short",
            "wav": "/var/lib/3cxpbx/a.wav", "name": "[Name]", "entityId": {"nested": true},
        }),
    ));
    let extra: Vec<(&str, &str)> =
        said.extra.iter().map(|(name, value)| (name.as_str(), value.expose())).collect();
    let expected = [
        ("Sentiment", "4"),
        ("callId", "12345"),
        ("entityId", "{\"nested\":true}"),
        ("queueExtension", "800"),
    ];
    assert_eq!(extra, expected);
    assert_eq!(said.contact_name, None);
    assert!(said.recordings["recording"].path.is_some());
    assert!(matches!(said.transcript, Some(Text::Inline(text)) if text.expose().len() == 20_000));
    // Too long for the call's item: left out, and the call is taken.
    assert_eq!(facts(&with(&from_template(), &json!({"summary": long}))).summary, None);
}

#[test]
fn a_test_needs_the_secret_and_no_body() {
    for body in [&b""[..], b"{\"test\": true}", b"not json", b"{"] {
        let Ok(Content::Other(answer)) = post(TEST, body, json!({})) else {
            panic!("not answered")
        };
        assert_eq!(answer["test"], true);
        assert_eq!(answer["source"], "threecx");
    }
    let none = Request::new("POST", TEST, Timestamp::UNIX_EPOCH);
    let sources = sources(json!({}));
    assert_eq!(authenticate(&ThreeCx, &none, &sources).err().map(|why| why.status()), Some(401));
}

#[test]
fn health_is_public_and_nothing_else_is() {
    let answer = |method, path| ThreeCx.public(&Request::new(method, path, Timestamp::UNIX_EPOCH));
    assert_eq!(answer("GET", "/prod/webhook/3cx/health?x=1"), Some(json!({"status": "ok"})));
    for (method, path) in [("POST", HEALTH), ("GET", TEST), ("GET", CALL_EVENT), ("GET", "/health")]
    {
        assert_eq!(answer(method, path), None, "{method} {path}");
    }
}

#[test]
fn no_body_makes_it_panic() {
    for text in [
        "",
        "Z",
        "T",
        "-",
        ":",
        "99999999999999999999",
        "9999-12-31T23:59:59Z",
        "1/1/1 1:1 AM",
        "99.99.9999 99:99",
        "é.é.é é:é",
        "+1.+1.+2026 1:1",
    ] {
        let fields = json!({"startTime": text, "endUtc": text, "duration": text, "DateTime": text,
                            "callEndTimeLocal": text, "number": text, "callType": text});
        let settings = json!({"date_order": "day_first", "start_tolerance_seconds": 30});
        let _ = try_read_at(&fields, settings.clone());
        let fields =
            with(&fields, &json!({"startTime": "9999-12-30T22:00Z", "duration": "4294967295"}));
        let _ = try_read_at(&fields, settings);
    }
}
