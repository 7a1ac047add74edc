//! Simulated providers: calls of a day, the webhooks that tell of each, and the interface that lists
//! them.

use std::sync::Arc;

use http::HeaderValue;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use switchboard_http::{Request, Response};

use super::place::{Place, answer, asked};
use crate::samples::{Webhook, conversation, twilio};
use crate::world::{START, merged, twilio_source};

pub const ACCOUNT: &str = "AC00000000000000000000000000000001";

/// A day of one provider.
#[derive(Default)]
pub struct Day {
    pub provider: &'static str,
    /// The source, for hook and pull alike.
    pub source: Value,
    /// All webhooks, of which any may be lost. Those of `always` come in any case.
    pub webhooks: Vec<Webhook>,
    pub always: Vec<Webhook>,
    /// What the interface lists.
    pub records: Vec<Value>,
    /// And of each call (Twilio's recordings).
    pub more: Vec<Value>,
    /// How many of the calls are over, and have webhooks that tell of it.
    pub calls: usize,
}

/// The n-th call's begin: within the hours before the test's.
fn begin(n: usize) -> Timestamp {
    let start: Timestamp = START.parse().unwrap();
    let before = SignedDuration::from_mins(30 + 20 * n as i64);
    start.checked_sub(before).unwrap()
}

fn later(at: Timestamp, seconds: i64) -> Timestamp {
    at.checked_add(SignedDuration::from_secs(seconds)).unwrap()
}

fn rfc2822(at: Timestamp) -> String {
    at.strftime("%a, %d %b %Y %H:%M:%S +0000").to_string()
}

fn wall(at: Timestamp, zone: &str) -> String {
    let zone: TimeZone = switchboard_domain::time::zone(zone).unwrap();
    zone.to_datetime(at).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// The number of the n-th customer: in the range for examples.
fn customer(n: usize) -> String {
    format!("+6149157015{}", 6 + n % 4)
}

fn twilio_day() -> Day {
    let mut day = Day {
        provider: "twilio",
        source: twilio_source(json!({"pull": {"account": ACCOUNT}})),
        calls: 6,
        ..Day::default()
    };
    for (n, status) in
        ["completed", "busy", "no-answer", "completed", "completed", "canceled"].iter().enumerate()
    {
        let (sid, to, at) = (format!("CA{n}"), customer(n), begin(n));
        let lasts = if *status == "completed" { 60 + n as i64 } else { 0 };
        let talk = lasts.to_string();
        let end = later(at, 9 + lasts);
        let base = |status: &str, sequence: &str, at: Timestamp| {
            vec![
                ("CallSid", sid.clone()),
                ("AccountSid", ACCOUNT.to_owned()),
                ("From", "+61255501234".to_owned()),
                ("To", to.clone()),
                ("Direction", "outbound-api".to_owned()),
                ("CallStatus", status.to_owned()),
                ("SequenceNumber", sequence.to_owned()),
                ("Timestamp", rfc2822(at)),
            ]
        };
        let mut callback = |target: &str, parameters: Vec<(&str, String)>| {
            let parameters: Vec<(&str, &str)> =
                parameters.iter().map(|(name, value)| (*name, value.as_str())).collect();
            day.webhooks.push(twilio(target, &parameters));
        };
        // The URL has the whole context of the call.
        let target = "/call-status-callback?campaign=spring";
        callback(target, base("initiated", "0", at));
        callback(target, base("ringing", "1", later(at, 2)));
        let mut last = base(status, "3", end);
        last.push(("CallDuration", talk.clone()));
        if *status == "completed" {
            callback(target, base("in-progress", "2", later(at, 9)));
            last.push(("Duration", "2".to_owned()));
            last.push(("SipResponseCode", "200".to_owned()));
        }
        if n == 3 {
            // The second leg of the first call.
            last.push(("ParentCallSid", "CA0".to_owned()));
        }
        callback(target, last);
        if n == 4 {
            let by = ("AnsweredBy", "machine_end_beep".to_owned());
            let sid = ("CallSid", sid.clone());
            callback("/amd-status-callback", vec![sid, ("AccountSid", ACCOUNT.to_owned()), by]);
        }
        if n == 0 {
            let parameters = vec![
                ("CallSid", sid.clone()),
                ("AccountSid", ACCOUNT.to_owned()),
                ("RecordingSid", "RE0".to_owned()),
                ("RecordingUrl", "https://api.twilio.com/recordings/RE0".to_owned()),
                ("RecordingStatus", "completed".to_owned()),
                ("RecordingDuration", "58".to_owned()),
            ];
            callback("/recording-status-callback", parameters);
            day.more.push(json!({
                "sid": "RE0", "call_sid": sid, "account_sid": ACCOUNT, "status": "completed",
                "duration": "58", "media_url": "https://api.twilio.com/recordings/RE0",
            }));
        }
        day.records.push(json!({
            "sid": sid, "account_sid": ACCOUNT, "from": "+61255501234", "to": to, "status": status,
            "direction": "outbound-api", "start_time": rfc2822(at), "end_time": rfc2822(end),
            "duration": if lasts > 0 { talk } else { String::new() },
            "answered_by": (n == 4).then_some("machine_end_beep"),
            "parent_call_sid": (n == 3).then_some("CA0"), "price": "-0.1", "queue_time": "0",
        }));
    }
    day
}

fn with_secret(provider: &'static str, target: &str, body: &Value) -> Webhook {
    Webhook {
        provider,
        target: target.to_owned(),
        headers: vec![
            ("Content-Type".into(), "application/json".into()),
            ("X-Webhook-Secret".into(), format!("fake-{provider}-secret")),
        ],
        body: body.to_string().into_bytes(),
    }
}

fn onecom_day() -> Day {
    let row = |n: usize, id: &str, leg: &str, src: &str, dst: &str, word: &str| {
        let (at, talk) = (begin(n), if word == "ANSWERED" { 40 } else { 0 });
        let zone = "Asia/Jerusalem";
        json!({
            "uniqueid": leg, "linkedid": id, "start": wall(at, zone),
            "answer": if talk > 0 { wall(later(at, 8), zone) } else { String::new() },
            "end": wall(later(at, 8 + talk), zone), "src": src, "dst": dst, "clid": format!("\"Dana, K\" <{src}>"),
            "duration": (8 + talk).to_string(), "billsec": talk.to_string(), "disposition": word,
            "dcontext": "fromoutside", "pincode": "7391",
        })
    };
    let records = vec![
        row(0, "1771578000.1", "1771578000.1", "0501234567", "101-acme", "ANSWERED"),
        row(1, "1771578000.2", "1771578000.2", "0501234568", "102-acme", "NO ANSWER"),
        // Two legs: the first rings out, the second is answered.
        row(2, "1771578000.3", "1771578000.3", "0501234569", "101-acme", "NO ANSWER"),
        row(2, "1771578000.3", "1771578000.4", "0501234569", "103-acme", "ANSWERED"),
        row(4, "1771578000.5", "1771578000.5", "#019#0501234560", "101-acme", "BUSY"),
    ];
    Day {
        provider: "onecom",
        source: json!({
            "secrets": ["fake-onecom-secret"], "country": "IL", "time_zone": "Asia/Jerusalem",
            "pull": {"url": "https://onecom.example/pbx/proxyapi.php", "token": "fake-key", "tenant": "ACME"},
        }),
        webhooks: records
            .iter()
            .map(|record| with_secret("onecom", "/api/onecom/webhook", record))
            .collect(),
        records,
        calls: 4,
        ..Day::default()
    }
}

fn smartflo_day() -> Day {
    let mut day = Day {
        provider: "smartflo",
        source: json!({
            "secrets": ["fake-smartflo-secret"], "country": "IN",
            "pull": {"email": "ops@example.com", "password": "fake-password"},
        }),
        calls: 5,
        ..Day::default()
    };
    for n in 0..5 {
        let (at, zone) = (begin(n), "Asia/Kolkata");
        let (direction, answered) = (["inbound", "outbound"][n % 2], n != 3);
        let lasts: i64 = if answered { 25 } else { 0 };
        let (start, end) = (wall(at, zone), wall(later(at, 5 + lasts), zone));
        let number = format!("91987654321{n}");
        let (shown, dialled) = if direction == "inbound" {
            (&*number, "2025550100")
        } else {
            ("2025550100", &*number)
        };
        let base = json!({
            "uuid": format!("69981f2612a3{n}"), "call_id": format!("{}.30673{n}", at.as_second()),
            "direction": direction, "start_stamp": start, "caller_id_number": shown,
            "call_to_number": dialled, "customer_no_with_prefix ": number, "campaign_name": "$campaign_name",
        });
        let with = |more: Value| {
            with_secret("smartflo", "/api/v1/smartflo/webhook", &merged(base.clone(), more))
        };
        let agent =
            json!({"name": "Ann Agent", "number": "0600000000101", "agent_number": "+12025550143"});
        if answered {
            day.webhooks.push(with(json!({
                "call_status": "Answered by agent", "answer_stamp": wall(later(at, 5), zone),
                "answered_agent": agent,
            })));
        }
        let recording = "https://recordings.example/file/recording?token=fake-token";
        day.webhooks.push(with(json!({
            "call_status": if answered { "answered" } else { "missed" }, "end_stamp": end,
            "answer_stamp": if answered { wall(later(at, 5), zone) } else { String::new() },
            "duration": (5 + lasts).to_string(), "billsec": lasts.to_string(),
            "outbound_sec": if answered { (lasts - 4).to_string() } else { "0".to_owned() },
            "answered_agent": if answered { agent } else { json!("") },
            "hangup_cause_description": "Normal call clearing", "reason_key": "Call Disconnected By Caller",
            "recording_url": if answered { recording } else { "" },
            "ref_id": format!("ref-{n}"),
        })));
        let (date, time) = start.split_once(' ').unwrap();
        day.records.push(json!({
            "id": format!("66339a{n}"), "uuid": base["uuid"], "call_id": base["call_id"],
            "direction": direction, "status": if answered { "answered" } else { "missed" },
            "date": date, "time": time, "end_stamp": end, "call_duration": 5 + lasts,
            "answered_seconds": lasts, "client_number": number, "did_number": "2025550100",
            "agent_name": answered.then_some("Ann Agent"),
            "agent_number": answered.then_some("+12025550143"),
            "hangup_cause": "NORMAL_CLEARING", "ref_id": format!("ref-{n}"), "call_flow": [],
            "recording_url": answered.then_some(recording),
        }));
    }
    day
}

fn elevenlabs_day() -> Day {
    let start: Timestamp = START.parse().unwrap();
    let mut day = Day {
        provider: "elevenlabs",
        source: json!({
            "secrets": ["wsec_fake-elevenlabs-secret"], "api_key": "fake-elevenlabs-api-key",
            "api_url": "https://elevenlabs.example", "agents": ["agent_sample"], "pull": {},
        }),
        always: twilio_day().webhooks,
        calls: 4,
        ..Day::default()
    };
    for n in 0..4 {
        // The first two were held on Twilio calls, the others on none.
        let phone_call = (n < 2).then(|| {
            json!({"type": "twilio", "direction": "outbound", "agent_number": "+61255501234",
                   "external_number": customer(n), "call_sid": format!("CA{}", 4 * n)})
        });
        let data = json!({
            "agent_id": "agent_sample", "conversation_id": format!("conv_{n}"), "status": "done",
            "transcript": [{"role": "agent", "message": format!("Fake-Transcript-Line {n}.")}],
            "metadata": {"start_time_unix_secs": begin(4 * n).as_second(), "call_duration_secs": 50,
                         "phone_call": phone_call},
            "analysis": {"transcript_summary": format!("Renewed {n}."), "call_successful": "success"},
        });
        day.webhooks.push(conversation(data.clone(), start));
        day.records.push(data);
    }
    day
}

pub fn day(provider: &str) -> Day {
    match provider {
        "twilio" => twilio_day(),
        "onecom" => onecom_day(),
        "smartflo" => smartflo_day(),
        _ => elevenlabs_day(),
    }
}

/// What an interface lists of records, and of more beside them.
type Lists = fn(&Request, &[Value], &[Value]) -> Value;

/// Lets a place know the provider and lists the day's records, three to a page.
pub fn serve(place: &mut Place, day: &Day) {
    place.configure(day.provider, day.source.clone());
    let (records, more) = (Arc::new(day.records.clone()), Arc::new(day.more.clone()));
    let (host, list): (&str, Lists) = match day.provider {
        "twilio" => ("api.twilio.com", twilio_list),
        "onecom" => ("onecom.example", onecom_list),
        "smartflo" => ("api-smartflo.tatateleservices.com", smartflo_list),
        _ => ("elevenlabs.example", elevenlabs_list),
    };
    place.simulate(host, move |request, _| answer(200, &list(request, &records, &more)));
}

fn page(records: &[Value], from: usize) -> Vec<Value> {
    records.iter().skip(from).take(3).cloned().collect()
}

pub fn twilio_list(request: &Request, records: &[Value], more: &[Value]) -> Value {
    let header = request.headers.get("authorization").and_then(|h: &HeaderValue| h.to_str().ok());
    assert!(header.unwrap().starts_with("Basic "));
    let (path, query) = (request.url.path(), asked(request));
    let (name, records) =
        if path.ends_with("/Recordings.json") { ("recordings", more) } else { ("calls", records) };
    let from: usize = query.get("PageToken").map_or(0, |token| token.parse().unwrap());
    if from == 0 {
        assert!(query.keys().any(|name| name.ends_with('>')), "{query:?}");
    }
    let next = (from + 3 < records.len()).then(|| format!("{path}?PageToken={}", from + 3));
    json!({name: page(records, from), "next_page_uri": next})
}

pub fn onecom_list(request: &Request, records: &[Value], _: &[Value]) -> Value {
    let query = asked(request);
    assert_eq!((query["info"].as_str(), query["key"].as_str()), ("CDRS", "fake-key"));
    let of_day = |record: &&Value| {
        let day = record["start"].as_str().unwrap().split(' ').next().unwrap();
        query["start"].as_str() <= day && day <= query["end"].as_str()
    };
    let Some(first) = records.first() else { return json!("") };
    let names: Vec<&String> = first.as_object().unwrap().keys().collect();
    let mut table = names.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(",");
    for record in records.iter().filter(of_day) {
        let cell = |name: &&String| {
            format!(
                "\"{}\"",
                record[name.as_str()].as_str().unwrap_or_default().replace('"', "\"\"")
            )
        };
        table.push_str(&format!("\n{}", names.iter().map(cell).collect::<Vec<_>>().join(",")));
    }
    json!(table)
}

pub fn smartflo_list(request: &Request, records: &[Value], _: &[Value]) -> Value {
    if request.url.path() == "/v1/auth/login" {
        return json!({"access_token": "fake-jwt", "expires_in": 3600});
    }
    assert_eq!(request.headers["authorization"], "Bearer fake-jwt");
    let number: usize = asked(request)["page"].parse().unwrap();
    // It counts 100 to a page, as it was asked for, and this day has fewer.
    json!({"count": records.len(), "results": if number == 1 { records } else { &[] }})
}

pub fn elevenlabs_list(request: &Request, records: &[Value], _: &[Value]) -> Value {
    assert_eq!(request.headers["xi-api-key"], "fake-elevenlabs-api-key");
    let path = request.url.path();
    if let Some(id) = path.strip_prefix("/v1/convai/conversations/") {
        return records.iter().find(|record| record["conversation_id"] == id).unwrap().clone();
    }
    let from: usize = asked(request).get("cursor").map_or(0, |cursor| cursor.parse().unwrap());
    let listed: Vec<Value> = page(records, from)
        .iter()
        .map(|one| json!({"conversation_id": one["conversation_id"], "status": "done"}))
        .collect();
    let more = from + 3 < records.len();
    json!({"conversations": listed, "has_more": more, "next_cursor": more.then(|| (from + 3).to_string())})
}

/// A response of an interface.
pub fn refusal(status: u16, header: Option<(&'static str, &str)>) -> Response {
    let mut headers = http::HeaderMap::new();
    if let Some((name, value)) = header {
        headers.insert(name, value.parse().unwrap());
    }
    Response { status, headers, body: b"{}".to_vec() }
}
