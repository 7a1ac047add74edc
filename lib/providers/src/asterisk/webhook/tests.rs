use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::json;
use switchboard_domain::{Flag, Order, Outcome, PartyKind, Update, fold};

use super::*;
use crate::{Parsed, Request, Sources, authenticate, testing};

fn post(target: &str, body: &str) -> Vec<Parsed> {
    let settings = json!({"country": "AU", "time_zone": "Australia/Sydney"});
    let sources = testing::sources(&Asterisk, &["asterisk", "branch"], settings);
    testing::calls(&Asterisk, &sources, &testing::known(target, "application/json", body))
}

fn one(record: &Value) -> Update {
    post("/webhooks/asterisk", &record.to_string()).remove(0).unwrap().update
}

fn error(record: &Value) -> String {
    post("/webhooks/asterisk", &record.to_string()).remove(0).unwrap_err().why.to_string()
}

/// The facts of a record with an id and these fields.
fn facts_of(fields: Value) -> Facts {
    let mut record = fields;
    record["uniqueid"] = "1771578000.1".into();
    one(&record).facts
}

/// Direction, contact, employee and the contact's name.
fn sides(fields: Value) -> String {
    let facts = facts_of(fields);
    let direction = facts.direction.map_or("no".to_owned(), |way| format!("{way:?}"));
    let name = facts.contact_name.as_ref().map_or("", |name| name.expose());
    let [contact, employee] = [&facts.contact, &facts.employee]
        .map(|party| testing::raw(party.as_ref()).unwrap_or_default());
    format!("{direction}: {contact}, {employee}, {name}")
}

#[test]
fn which_side_is_the_customers() {
    for (fields, expected) in [
        // The context says it.
        (
            json!({"src": "+61491570156", "dst": "+61255501234", "dcontext": "from-trunk",
                "clid": "\"Kim\" <+61491570156>", "dstchannel": "PJSIP/201-0000abcd"}),
            "Inbound: +61491570156, 201, Kim",
        ),
        (json!({"src": "12345", "dst": "201", "dcontext": "from-pstn"}), "Inbound: 12345, 201, "),
        (
            json!({"src": "201", "dst": "0491570156", "dcontext": "from-internal"}),
            "Outbound: 0491570156, 201, ",
        ),
        // The PBX has put the trunk's number in place of the phone's.
        (
            json!({"src": "+61255501234", "dst": "0491570156", "dcontext": "from-internal",
                "channel": "PJSIP/201-00000001", "dstchannel": "PJSIP/trunk-00000002"}),
            "Outbound: 0491570156, 201, ",
        ),
        // The shape says it.
        (json!({"src": "+61491570156", "dst": "201"}), "Inbound: +61491570156, 201, "),
        (json!({"src": "201", "dst": "+61491570156"}), "Outbound: +61491570156, 201, "),
        (
            json!({"src": "+61491570156", "dst": "+61255501234",
                "dstchannel": "PJSIP/201-0000abcd"}),
            "Inbound: +61491570156, 201, ",
        ),
        (
            json!({"src": "+61255501234", "dst": "+61491570156", "channel": "SIP/201-0000abcd"}),
            "Outbound: +61491570156, 201, ",
        ),
        // A queue, and a menu: the phone that rang.
        (
            json!({"src": "+61491570156", "dst": "600", "lastapp": "Queue",
                "dstchannel": "Local/202@from-queue-00000001;1"}),
            "Inbound: +61491570156, 202, ",
        ),
        (
            json!({"src": "+61491570156", "dst": "s", "dstchannel": "PJSIP/203-0000abcd"}),
            "Inbound: +61491570156, 203, ",
        ),
        // DAHDI's channels are named after ports.
        (
            json!({"src": "+61491570156", "dst": "s", "dstchannel": "DAHDI/12-1"}),
            "Inbound: +61491570156, , ",
        ),
        // A withheld number; a caller that is known by its caller id alone; a name that is a number.
        (json!({"src": "anonymous", "dst": "201"}), "Inbound: anonymous, 201, "),
        (
            json!({"clid": "\"Kim\" <+61491570156>", "dst": "201"}),
            "Inbound: +61491570156, 201, Kim",
        ),
        (
            json!({"clid": "\"+61491570156\" <+61491570156>", "dst": "201"}),
            "Inbound: +61491570156, 201, ",
        ),
        // Between our own phones; voicemail.
        (json!({"src": "201", "dst": "202"}), "Internal: , , "),
        (json!({"src": "201", "dst": "*97"}), "no: , , "),
        // Sent on by the PBX: what came from outside tells who the customer is.
        (
            json!({"src": "+61491570156", "dst": "+61491570157", "dcontext": "from-internal",
                "channel": "Local/201@from-internal-00000001;2"}),
            "no: , , ",
        ),
        (json!({}), "no: , , "),
    ] {
        assert_eq!(sides(fields.clone()), expected, "{fields}");
    }
}

#[test]
fn channels_named_after_phones() {
    for (channel, expected) in [
        ("PJSIP/201-0000abcd", Some("201")),
        ("SIP/201-0000abcd", Some("201")),
        ("Local/201@from-queue-00000001;1", Some("201")),
        ("IAX2/201-4", Some("201")),
        ("PJSIP/trunk-0000abcd", None),
        ("PJSIP/61255501234-0000abcd", None),
        ("DAHDI/i1/201-5", None),
        ("201", None),
        ("", None),
    ] {
        let phone = crate::asterisk::sides::phone(Some(channel.to_owned()));
        assert_eq!(
            phone.map(|p| p.raw.expose().to_owned()),
            expected.map(str::to_owned),
            "{channel}"
        );
    }
}

#[test]
fn the_same_call_in_the_words_of_each_back_end() {
    let variables = json!({"clid": "\"Kim\" <+61491570156>", "src": "+61491570156", "dst": "201",
        "dcontext": "from-trunk", "channel": "PJSIP/trunk-1", "dstchannel": "PJSIP/201-2",
        "lastapp": "Dial", "lastdata": "x", "start": "2026-02-20 20:00:00",
        "answer": "2026-02-20 20:00:05", "end": "2026-02-20 20:01:00", "duration": "60",
        "billsec": "55", "disposition": "ANSWERED", "amaflags": "DOCUMENTATION",
        "uniqueid": "1771578000.1", "userfield": "x"});
    let beanstalkd = json!({"CallerID": "\"Kim\" <+61491570156>", "Source": "+61491570156",
        "Destination": "201", "DestinationContext": "from-trunk", "Channel": "PJSIP/trunk-1",
        "DestinationChannel": "PJSIP/201-2", "LastApplication": "Dial", "LastData": "x",
        "StartTime": "2026-02-20 20:00:00", "AnswerTime": "2026-02-20 20:00:05",
        "EndTime": "2026-02-20 20:01:00", "Duration": 60, "Billsec": 55,
        "Disposition": "ANSWERED", "AMAFlags": "DOCUMENTATION", "UniqueID": "1771578000.1",
        "UserField": "x"});
    let mut ami = beanstalkd.clone();
    let fields = ami.as_object_mut().unwrap();
    fields.remove("Billsec");
    fields.insert("BillableSeconds".into(), "55".into());
    fields.insert("Duration".into(), "60".into());
    fields.insert("Event".into(), "Cdr".into());
    fields.insert("Privilege".into(), "cdr,all".into());
    let expected = one(&variables).facts;
    assert_eq!(expected.talk, Some(Seconds(55)));
    assert_eq!(expected.total, Some(Seconds(60)));
    assert_eq!(expected.started_at, "2026-02-20T09:00:00Z".parse().ok());
    assert_eq!(expected.disposition, Some(Disposition::Answered));
    let kept: Vec<&str> = expected.extra.keys().map(String::as_str).collect();
    assert_eq!(kept, ["amaflags", "dcontext", "lastapp", "userfield"]);
    assert_eq!(one(&beanstalkd).facts, expected);
    assert_eq!(one(&ami).facts, expected);
}

#[test]
fn dispositions() {
    for (text, expected) in [
        ("ANSWERED", Some(Disposition::Answered)),
        ("NO ANSWER", Some(Disposition::NoAnswer)),
        ("BUSY", Some(Disposition::Busy)),
        ("FAILED", Some(Disposition::Failed)),
        ("CONGESTION", Some(Disposition::Failed)),
        ("CANCEL", Some(Disposition::Canceled)),
        ("UNKNOWN", None),
    ] {
        let facts = facts_of(json!({"disposition": text}));
        assert_eq!((facts.disposition, facts.state), (expected, Some(State::Ended)), "{text}");
    }
}

#[test]
fn dial_knows_who_of_several_phones_picked_up() {
    // The record of the last phone, as `CDR()` shows it, and what `Dial()` says.
    let record = |status: &str| {
        facts_of(json!({"src": "+61491570156", "dst": "s", "disposition": "NO ANSWER",
            "billsec": "0", "dstchannel": "PJSIP/202-2", "dialstatus": status,
            "answeredtime": "42", "dialedpeername": "PJSIP/201-1"}))
    };
    let answered = record("ANSWER");
    assert_eq!(answered.disposition, Some(Disposition::Answered));
    assert_eq!(answered.talk, Some(Seconds(42)));
    assert_eq!(answered.employee.unwrap().raw.expose(), "201");
    let missed = record("NOANSWER");
    assert_eq!((missed.disposition, missed.talk), (Some(Disposition::NoAnswer), Some(Seconds(0))));
    // An earlier Dial that failed does not undo what the record says.
    let queued = json!({"disposition": "ANSWERED", "billsec": "9", "dialstatus": "CHANUNAVAIL"});
    assert_eq!(facts_of(queued).disposition, Some(Disposition::Answered));
}

#[test]
fn times_that_are_none_and_times_that_cannot_be() {
    let facts = facts_of(json!({"start": "2026-02-20 20:00:00", "answer": "",
        "end": "2026-02-20 20:00:20"}));
    assert_eq!((facts.answered_at, facts.flags.len()), (None, 0));
    for answer in ["0.000000", "1970-01-01 10:00:00", "0000-00-00 00:00:00"] {
        let facts = facts_of(json!({"start": "1771578000.123456", "answer": answer}));
        assert_eq!(facts.started_at, "2026-02-20T09:00:00Z".parse().ok());
        assert_eq!((facts.answered_at, facts.flags.len()), (None, 0), "{answer}");
    }
    // STRFTIME was given text for an epoch.
    let facts = facts_of(json!({"start": "1970-01-01T00:33:46.000Z"}));
    assert_eq!(facts.started_at, None);
    assert!(facts.flags.contains(&Flag::StartDiscarded));
    let facts = facts_of(json!({"start": "soon", "duration": "long", "billsec": [1]}));
    assert_eq!((facts.started_at, facts.total, facts.talk), (None, None, None));
}

#[test]
fn a_wall_clock_needs_the_sources_zone() {
    let source = Source::default();
    let record = json!({"uniqueid": "1", "start": "2026-02-20 20:00:00"});
    let name = Name::new("source", "asterisk").unwrap();
    let said = read(record, &name, &source).unwrap();
    assert!(said.facts.flags.contains(&Flag::ZoneUnknown));
}

#[test]
fn rows_of_one_call_fold_to_the_leg_that_was_answered() {
    let row = |unique: &str, sequence: u32, disposition: &str, billsec: u32| {
        one(&json!({"linkedid": "1771578000.1", "uniqueid": unique, "sequence": sequence,
            "disposition": disposition, "billsec": billsec, "duration": billsec + 5,
            "src": "+61491570156", "dst": "s", "dcontext": "from-trunk",
            "dstchannel": format!("PJSIP/20{sequence}-1")}))
    };
    let legs = [
        row("1771578000.1", 1, "ANSWERED", 42),
        row("1771578000.1", 2, "NO ANSWER", 0),
        row("1771578000.3", 3, "BUSY", 0),
    ];
    let call = fold(&legs);
    assert_eq!(call.outcome, Some(Outcome::Answered));
    assert_eq!(call.facts.talk, Some(Seconds(42)));
    assert_eq!(call.employee().unwrap().raw.expose(), "201");
    assert_eq!(legs[2].facts.extra["uniqueid"].expose(), "1771578000.3");
    assert!(!legs[0].facts.extra.contains_key("uniqueid"));
    // Without a sequence the start tells which came later.
    let first = one(&json!({"uniqueid": "1", "start": "1771578000", "disposition": "BUSY"}));
    assert_eq!(first.order, Order::Sequence(1_771_578_000));
}

#[test]
fn what_fails_a_record() {
    let hint = "belongs to the generic intake, POST /api/crm/intake/calls";
    for (record, expected) in [
        (json!({"src": "201"}), "uniqueid: is required, or linkedid".to_owned()),
        (json!({"uniqueid": null, "linkedid": " "}), "uniqueid: is required, or linkedid".into()),
        (json!({"externalCallId": "1"}), format!("externalCallId: {hint}")),
        (json!({"uniqueid": ["1"]}), "uniqueid: is not text".into()),
        (
            json!({"Event": "Newchannel", "Uniqueid": "1"}),
            "Event: is not Cdr: no other event covers a whole call".into(),
        ),
    ] {
        assert_eq!(error(&record), expected);
    }
    // One of ours with a stray field of the intake's is read.
    assert!(post("/webhooks/asterisk", r#"{"uniqueid":"1","externalCallId":"1"}"#)[0].is_ok());
}

#[test]
fn source_is_the_callers_number_and_the_url_names_the_pbx() {
    let body = r#"{"Source": "+61491570156", "UniqueID": "1708416000.1"}"#;
    let key = |target| post(target, body).remove(0).unwrap().key.to_string();
    assert_eq!(key("/webhooks/asterisk"), "asterisk/asterisk/1708416000.1");
    assert_eq!(key("/webhooks/asterisk?source=branch"), "asterisk/branch/1708416000.1");
}

#[test]
fn a_call_sent_to_the_intake_is_the_same_call() {
    let mut sources = Sources::new();
    let source = Source::parse(r#"{"secrets": ["fake"]}"#, None).unwrap();
    sources.insert(Name::new("source", "intake").unwrap(), source);
    let now: Timestamp = "2026-02-20T09:30:00Z".parse().unwrap();
    let request = Request::new("POST", "/api/crm/intake/calls", now)
        .header("x-crm-intake-secret", "fake")
        .body(br#"{"provider": "asterisk", "externalCallId": "1708416000.1"}"#.to_vec());
    let intake = &crate::INTAKE;
    let message = authenticate(intake, &request, &sources).unwrap();
    let Content::Calls(mut calls) = intake.parse(&message).unwrap() else { panic!("not calls") };
    let ours = post("/webhooks/asterisk", r#"{"uniqueid": "1708416000.1"}"#).remove(0).unwrap();
    assert_eq!(calls.remove(0).unwrap().key, ours.key);
}

#[test]
fn causes_and_recordings_and_what_is_never_kept() {
    for (cause, expected) in [("17", Some("Q.850 17")), ("0", None), ("x", None), ("300", None)] {
        assert_eq!(facts_of(json!({"hangupcause": cause})).cause.as_deref(), expected);
        assert_eq!(facts_of(json!({"Cause": cause})).cause.as_deref(), expected);
    }
    let path = "/var/spool/asterisk/monitor/x.wav";
    let recording = facts_of(json!({"recordingfile": path})).recordings["recording"].clone();
    assert_eq!((recording.url, recording.path.unwrap().expose()), (None, path));
    let url = "https://pbx.example/x.wav";
    let recording = facts_of(json!({"recordingurl": url})).recordings["recording"].clone();
    assert_eq!((recording.url.unwrap().expose(), recording.path), (url, None));

    let facts = facts_of(json!({"lastdata": "x", "channel": "x", "pincode": "fake",
        "password": "fake", "lastapp": "Dial", "dstchannel": "x", "dialstatus": "BUSY"}));
    let kept: BTreeMap<&str, &str> =
        facts.extra.iter().map(|(name, value)| (name.as_str(), value.expose())).collect();
    assert_eq!(kept, BTreeMap::from([("lastapp", "Dial")]));
}

#[test]
fn a_hostile_caller_id_is_a_name() {
    let name = r#"Kim"; $(touch /tmp/x) `id` ${SHELL(id)}, a=b&c"#;
    let clid = format!("\"{}\" <+61491570156>", name.replace('"', "\\\""));
    let facts = facts_of(json!({"clid": clid, "src": "+61491570156", "dst": "201"}));
    assert_eq!(facts.contact_name.unwrap().expose(), name);
    assert_eq!(facts.contact.unwrap().kind, PartyKind::E164);
}
