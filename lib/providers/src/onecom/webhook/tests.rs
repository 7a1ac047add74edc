use serde_json::json;
use switchboard_domain::{Call, Outcome, Update, fold};

use super::*;
use crate::Record;
use crate::testing::{self, kept};

fn parse_as(media_type: &str, body: &str) -> Result<Content, Reject> {
    let sources = testing::sources(&OneCom, &["onecom"], json!({"country": "IL"}));
    testing::content(&OneCom, &sources, &testing::known(PATH, media_type, body))
}

fn records(body: &str) -> Vec<crate::Parsed> {
    match parse_as("application/json", body).unwrap() {
        Content::Calls(records) => records,
        Content::Other(answer) => panic!("{answer}"),
    }
}

fn record(fields: Value) -> Record {
    records(&fields.to_string()).remove(0).unwrap()
}

fn call(legs: &[Value]) -> Call {
    let updates: Vec<Update> = legs.iter().map(|leg| record(leg.clone()).update).collect();
    fold(&updates)
}

fn at(text: &str) -> Option<Timestamp> {
    Some(text.parse().unwrap())
}

/// What a record comes to: direction, contact, employee, the contact's name.
fn sides(mut fields: Value) -> String {
    fields["uniqueid"] = "1.1".into();
    let call = call(&[fields]);
    let direction = call.facts.direction.map_or("no".to_owned(), |way| format!("{way:?}"));
    let name = call.facts.contact_name.as_ref().map_or("", |name| name.expose());
    let [contact, employee] =
        [call.contact(), call.employee()].map(|party| testing::raw(party).unwrap_or_default());
    format!("{direction}: {contact}, {employee}, {name}")
}

#[test]
fn the_customer_is_the_outside_end_and_the_employee_the_extension() {
    for (fields, expected) in [
        (json!({"src": "101-decker", "dst": "#019#0501234567"}), "Outbound: 0501234567, 101, "),
        (
            json!({"src": "0501234567", "dst": "101", "clid": "\"דנה כהן\" <0501234567>"}),
            "Inbound: 0501234567, 101, דנה כהן",
        ),
        // A line of ours was dialled, and an extension picked up.
        (
            json!({"src": "0501234567", "dst": "12025550123", "lastdst": "102-decker"}),
            "Inbound: 0501234567, 102, ",
        ),
        // The caller's number is in another field than usual.
        (json!({"src": "s", "realsrc": "0501234567", "dst": "101"}), "Inbound: 0501234567, 101, "),
        (
            json!({"clid": "\"Dana\" <0501234567>", "dst": "101", "userfield": "[inbound]"}),
            "Inbound: 0501234567, 101, Dana",
        ),
        // Our own line as the caller, and who it really was.
        (
            json!({"src": "12025550123", "realsrc": "101", "dst": "0501234567"}),
            "Outbound: 0501234567, 101, ",
        ),
        (json!({"src": "101", "dst": "s", "lastdst": "0501234567"}), "Outbound: 0501234567, 101, "),
        // The caller's own name is not the customer's.
        (
            json!({"src": "101", "dst": "0501234567", "clid": "\"Reception\" <101>"}),
            "Outbound: 0501234567, 101, ",
        ),
        // A number as a name, and a name for none.
        (
            json!({"src": "0501234567", "dst": "101", "clid": "\"0501234567\" <0501234567>"}),
            "Inbound: 0501234567, 101, ",
        ),
        (
            json!({"src": "anonymous", "dst": "101", "clid": "\"Anonymous\" <anonymous>"}),
            "Inbound: anonymous, 101, ",
        ),
        // Passed on by a colleague, who is not the customer.
        (
            json!({"src": "0501234567", "dst": "102", "clid": "\"Reception\" <101>"}),
            "Inbound: 0501234567, 102, ",
        ),
        (json!({"src": "101", "dst": "102"}), "Internal: , 101, "),
        (json!({"src": "101"}), "no: , , "),
    ] {
        assert_eq!(sides(fields.clone()), expected, "{fields}");
    }
}

#[test]
fn the_outcome_is_the_dispositions_and_the_talks() {
    for (disposition, billsec, outcome, talk) in [
        ("ANSWERED", None, Some(Outcome::Answered), Some(120)),
        ("ANSWERED", Some("112"), Some(Outcome::Answered), Some(112)),
        ("ANSWERED", Some("0"), Some(Outcome::NoAnswer), Some(0)),
        ("NO ANSWER", None, Some(Outcome::NoAnswer), Some(0)),
        ("no answer", Some("0"), Some(Outcome::NoAnswer), Some(0)),
        ("NOANSWER", Some("30"), Some(Outcome::NoAnswer), Some(0)),
        ("BUSY", None, Some(Outcome::Busy), Some(0)),
        ("FAILED", None, Some(Outcome::Failed), Some(0)),
        ("CONGESTION", None, Some(Outcome::Failed), Some(0)),
        ("CANCEL", None, Some(Outcome::Canceled), Some(0)),
        ("REDIRECT", Some("20"), Some(Outcome::Answered), Some(20)),
        ("REDIRECT", Some("0"), Some(Outcome::NoAnswer), Some(0)),
        ("REDIRECT", None, None, None),
        ("", None, None, None),
    ] {
        let call = call(&[json!({"uniqueid": "1.1", "duration": 120, "billsec": billsec,
            "disposition": disposition})]);
        assert!(call.has_ended(), "{disposition}");
        let read = (call.outcome, call.facts.talk, call.facts.total);
        assert_eq!(read, (outcome, talk.map(Seconds), Some(Seconds(120))), "{disposition}");
        let unread = call.facts.extra.get("disposition").map(|text| text.expose());
        assert_eq!(unread, Some(disposition).filter(|word| *word == "REDIRECT"));
    }
}

#[test]
fn talk_without_billsec_begins_with_the_answer_where_that_is_known() {
    let call = call(&[json!({"uniqueid": "1.1", "start": "2024-01-15 10:30:00", "duration": 120,
        "answer": "2024-01-15 10:30:20", "end": "2024-01-15 10:32:00", "disposition": "ANSWERED"})]);
    assert_eq!(call.facts.talk, Some(Seconds(100)));
}

#[test]
fn times_are_israels_unless_the_source_says_otherwise() {
    let call = call(&[json!({"uniqueid": "1.1", "start": "2024-01-15 10:30:00", "duration": 120,
        "answer": "1970-01-01 02:00:00", "end": "1970-01-01 00:00:00"})]);
    assert_eq!(call.facts.started_at, at("2024-01-15T08:30:00Z"));
    assert_eq!(call.facts.ended_at, at("2024-01-15T08:32:00Z"));
    assert_eq!(call.facts.answered_at, None);
    assert!(call.facts.flags.is_empty());
}

#[test]
fn a_call_over_the_night_when_clocks_go_back_ends_after_it_starts() {
    let call = call(&[json!({"uniqueid": "1.1", "start": "2026-10-25 01:55:00",
        "end": "2026-10-25 01:05:00", "duration": 600})]);
    assert_eq!(call.facts.started_at, at("2026-10-24T22:55:00Z"));
    assert_eq!(call.facts.ended_at, at("2026-10-24T23:05:00Z"));
    assert!(call.facts.flags.contains(&switchboard_domain::Flag::ZoneFold));
}

#[test]
fn the_id_is_the_calls_then_the_legs_then_the_old_one() {
    for (fields, id, extra) in [
        (json!({"linkedid": "1.1", "uniqueid": "1.2"}), "1.1", vec![("uniqueid", "1.2")]),
        (json!({"linkedid": "1.1", "uniqueid": "1.1"}), "1.1", vec![]),
        (json!({"uniqueid": "1.1", "call_id": "1"}), "1.1", vec![("call_id", "1")]),
        (json!({"linkedid": null, "uniqueid": "", "call_id": "1"}), "1", vec![]),
        (json!({"call_id": 17}), "17", vec![]),
        (json!({"UniqueID": "1.1"}), "1.1", vec![]),
        (json!({"UNIQUEID": "1.2", "uniqueid": "1.1"}), "1.1", vec![]),
    ] {
        let record = record(fields.clone());
        assert_eq!(record.key.to_string(), format!("onecom/onecom/{id}"), "{fields}");
        let kept = record.update.facts.extra;
        let kept: Vec<_> = kept.iter().map(|(name, id)| (name.as_str(), id.expose())).collect();
        assert_eq!(kept, extra, "{fields}");
    }
}

#[test]
fn a_record_that_cannot_be_used_says_why_and_nothing_that_it_holds() {
    for (fields, error) in [
        (json!({}), "uniqueid: is required where there is neither linkedid nor call_id"),
        (
            json!({"uniqueid": null, "call_id": " ", "src": "101"}),
            "uniqueid: is required where there is neither linkedid nor call_id",
        ),
        (json!({"uniqueid": "1.1", "duration": "abc"}), "duration: is not a number of seconds"),
        (json!({"uniqueid": "1.1", "billsec": "-5"}), "billsec: is not a number of seconds"),
        (json!({"uniqueid": "1.1", "billsec": {}}), "billsec: is not text"),
        (json!({"uniqueid": true}), "uniqueid: is not text"),
        (
            json!({"uniqueid": "undefined", "linkedid": "${LINKEDID}", "call_id": 0}),
            "uniqueid: is required where there is neither linkedid nor call_id",
        ),
        (json!(["1.1"]), "record: is not an object"),
    ] {
        let unread = records(&json!([fields, {"uniqueid": "1.2"}]).to_string()).remove(0);
        assert_eq!(unread.unwrap_err().why.to_string(), error, "{fields}");
    }
}

#[test]
fn a_weird_value_in_another_field_harms_nothing() {
    let fields = json!({"uniqueid": "1.1", "start": "soon", "end": {"at": 1}, "src": ["101"],
        "dst": {}, "clid": 7, "disposition": false, "userfield": [], "dcontext": {},
        "recordingfile": {}, "duration": "", "billsec": null, "new": {"a": [1]}});
    let facts = record(fields).update.facts;
    assert_eq!((facts.from, facts.to, facts.disposition, facts.total), (None, None, None, None));
    assert_eq!(facts.extra["new"].expose(), r#"{"a":[1]}"#);
}

#[test]
fn one_bad_record_harms_none_of_its_neighbours() {
    let body = r#"[{"uniqueid":"1.1","duration":5},{"uniqueid":null,"duration":"abc"},
        {"uniqueid":"1.3","duration":"7"}]"#;
    let records = records(body);
    let stored: Vec<bool> = records.iter().map(Result::is_ok).collect();
    assert_eq!(stored, [true, false, true]);
    let unread = records[1].as_ref().unwrap_err();
    assert_eq!(unread.raw, br#"{"duration":"abc","uniqueid":null}"#);
}

#[test]
fn every_shape_of_a_body_holds_the_same_records() {
    let leg = r#"{"uniqueid":"1.1"}"#;
    for (body, count) in [
        (leg.to_owned(), 1),
        (format!("[{leg}]"), 1),
        (format!("[{leg},{leg}]"), 2),
        (format!(r#"{{"data":[{leg},{leg}]}}"#), 2),
        (format!(r#"{{"data":{leg}}}"#), 1),
        (r#"{"uniqueid":"1.1","data":[1,2]}"#.to_owned(), 1),
        ("[]".to_owned(), 0),
        (r#"{"data":[]}"#.to_owned(), 0),
    ] {
        let records = records(&body);
        assert_eq!(records.len(), count, "{body}");
        for record in records {
            assert_eq!(record.unwrap().key.call_id(), "1.1", "{body}");
        }
    }
    let form = "uniqueid=1.1&src=101&dst=0501234567&duration=12&disposition=ANSWERED";
    let content = parse_as("application/x-www-form-urlencoded", form).unwrap();
    let Content::Calls(records) = content else { panic!("{content:?}") };
    assert_eq!(records[0].as_ref().unwrap().update.facts.talk, Some(Seconds(12)));
    for body in ["7", "\"text\"", "null", ""] {
        assert_eq!(parse_as("application/json", body).unwrap_err().status(), 400, "{body}");
    }
}

#[test]
fn a_ping_is_answered_and_a_record_without_an_id_is_none() {
    for body in [
        r#"{"phone":"0501234567","extension":"101"}"#,
        r#"{"extension":101,"secret":"fake","uniqueid":""}"#,
        r#"{"Phone":"0501234567","source":"onecom","token":"fake"}"#,
    ] {
        let content = parse_as("application/json", body).unwrap();
        let Content::Other(answer) = content else { panic!("{body}") };
        assert_eq!((&answer["ping"], &answer["accepted"]), (&json!(true), &json!(0)), "{body}");
        assert!(!answer.to_string().contains("0501234567"), "{answer}");
    }
    for body in [r#"{"phone":"0501234567","duration":5}"#, r#"{"phone":""}"#, r#"{"source":"x"}"#] {
        assert!(records(body)[0].is_err(), "{body}");
    }
    assert!(records(r#"{"phone":"0501234567","uniqueid":"1.1"}"#)[0].is_ok());
}

#[test]
fn a_body_of_too_many_records_is_refused_as_a_whole() {
    let body =
        |count| json!(vec![json!({"uniqueid": "1.1", "pincode": "7391"}); count]).to_string();
    assert_eq!(records(&body(MOST_RECORDS)).len(), MOST_RECORDS);
    let refused = records(&body(MOST_RECORDS + 1));
    assert_eq!(refused.len(), 1);
    let unread = refused[0].as_ref().unwrap_err();
    assert_eq!(unread.why, Reject::malformed("body", "holds more than 1000 records"));
    let raw = String::from_utf8(unread.raw.clone()).unwrap();
    assert!(raw.starts_with(r#"[{"uniqueid":"1.1"},"#) && !raw.contains("7391"), "{raw}");
}

#[test]
fn a_pincode_is_kept_nowhere() {
    let good = r#"{"uniqueid":"1.1","pincode":"7391","Nested":{"PinCode":"7391"}}"#;
    let bad = r#"{"duration":"abc","PINCODE":7391}"#;
    for (media_type, body) in [
        ("application/json", good.to_owned()),
        ("application/json", bad.to_owned()),
        ("application/json", format!("[{good},{bad}]")),
        ("application/json", format!(r#"{{"data":[{good}]}}"#)),
        ("application/json", r#"{"uniqueid":"1.1","pin\u0063ode":"7391"}"#.to_owned()),
        ("application/x-www-form-urlencoded", "uniqueid=1.1&pincode=7391".to_owned()),
        ("application/x-www-form-urlencoded", "src=101&pinCode=7391&secret=7391".to_owned()),
    ] {
        let Content::Calls(records) = parse_as(media_type, &body).unwrap() else {
            panic!("{body}");
        };
        for record in records {
            let kept = match record {
                Ok(record) => {
                    let facts = serde_json::to_string(&record.update.facts).unwrap();
                    format!("{facts} {}", kept(&record.update))
                }
                Err(unread) => String::from_utf8(unread.raw).unwrap(),
            };
            assert!(!kept.contains("7391") && !kept.to_lowercase().contains("pincode"), "{kept}");
        }
    }
}

#[test]
fn a_body_without_secrets_is_kept_as_it_came_and_one_with_them_can_be_read_again() {
    let body = "{ \"uniqueid\": \"1.1\",  \"src\": \"101\" }";
    let whole = records(body).remove(0).unwrap();
    assert_eq!(kept(&whole.update), body);
    let form = "application/x-www-form-urlencoded";
    let Content::Calls(first) = parse_as(form, "uniqueid=1.1&src=101&pincode=7391").unwrap() else {
        panic!("no calls");
    };
    let first = first[0].as_ref().unwrap();
    let Content::Calls(again) = parse_as(form, &kept(&first.update)).unwrap() else {
        panic!("no calls");
    };
    let again = again[0].as_ref().unwrap();
    assert_eq!((&first.key, &first.update.facts), (&again.key, &again.update.facts));
}

#[test]
fn the_leg_that_was_answered_tells_how_the_call_went_whatever_came_last() {
    let queue = json!({"linkedid": "1.1", "uniqueid": "1.1", "start": "2024-01-15 10:30:00",
        "src": "0501234567", "dst": "101", "duration": 20, "billsec": 0, "disposition": "NO ANSWER"});
    let answered = json!({"linkedid": "1.1", "uniqueid": "1.2", "start": "2024-01-15 10:30:05",
        "src": "0501234567", "dst": "102", "duration": 65, "billsec": 60,
        "disposition": "ANSWERED"});
    let late = json!({"linkedid": "1.1", "uniqueid": "1.3", "start": "2024-01-15 10:30:06",
        "src": "0501234567", "dst": "103", "duration": 4, "disposition": "CANCEL"});
    let colleague = json!({"linkedid": "1.1", "uniqueid": "1.4", "start": "2024-01-15 10:30:40",
        "src": "102", "dst": "103", "duration": 9, "billsec": 8, "disposition": "ANSWERED"});
    let call = call(&[answered, late, colleague, queue]);
    assert_eq!(call.outcome, Some(Outcome::Answered));
    assert_eq!(call.facts.talk, Some(Seconds(60)));
    assert_eq!(call.facts.direction, Some(Direction::Inbound));
    assert_eq!(call.employee().unwrap().raw.expose(), "102");
    assert_eq!(call.contact().unwrap().raw.expose(), "0501234567");
    assert_eq!(call.facts.started_at, at("2024-01-15T08:30:00Z"));
    assert_eq!(call.facts.ended_at, at("2024-01-15T08:31:10Z"));
}

#[test]
fn recordings_of_each_leg_are_kept_apart_and_paths_are_no_addresses() {
    let leg =
        |id: &str, name: &str, place: &str| json!({"linkedid": "1.1", "uniqueid": id, name: place});
    let call = call(&[
        leg("1.1", "recordingfile", "/var/spool/asterisk/monitor/x.wav"),
        leg("1.2", "recording_url", "https://pbx.example/1.2.mp3"),
    ]);
    let recordings = call.facts.recordings;
    assert_eq!(recordings["1.1"].url, None);
    assert!(recordings["1.1"].path.is_some() && recordings["1.2"].url.is_some());
}

#[test]
fn channels_are_dropped_and_what_has_no_place_is_kept() {
    let facts = record(json!({"uniqueid": "1.1", "srcchannel": "SIP/101-a1", "accountcode": "7",
        "dstchannel": "SIP/t-b2", "src": "0501234567", "dst": "101", "firstdst": "12025550123",
        "lastdst": "101", "userfield": "[inbound]", "wherelanded": "", "cc_cost": 0.12}))
    .update
    .facts;
    let kept: Vec<_> = facts.extra.iter().map(|(name, v)| (name.as_str(), v.expose())).collect();
    let expected = [
        ("accountcode", "7"),
        ("cc_cost", "0.12"),
        ("firstdst", "12025550123"),
        ("userfield", "[inbound]"),
    ];
    assert_eq!(kept, expected);
}

#[test]
fn anyone_may_read_how_to_set_it_up() {
    let request = |method, path| Request::new(method, path, Timestamp::UNIX_EPOCH);
    let answer = OneCom.public(&request("GET", PATH)).unwrap();
    assert_eq!(answer["configure"]["method"], "POST");
    assert_eq!(record(answer["example"].clone()).update.facts.talk, Some(Seconds(112)));
    assert_eq!(OneCom.public(&request("POST", PATH)), None);
    assert_eq!(OneCom.public(&request("GET", "/api/onecom")), None);
}
