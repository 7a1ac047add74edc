use jiff::Timestamp;
use serde_json::{Value, json};
use switchboard_domain::{Call, Direction, Flag, Outcome, PartyKind, Update, fold};

use super::*;
use crate::testing::{self, raw};

const STARTED: i64 = 1_771_576_805;

fn records(body: &str, settings: Value) -> Vec<crate::Parsed> {
    let target = format!("/api/v1/smartflo/webhook?secret={}", testing::SECRET);
    let sources = testing::sources(&Smartflo, &["smartflo"], settings);
    let request = testing::request(&target, "application/json", body);
    testing::calls(&Smartflo, &sources, &request)
}

fn update(fields: Value) -> Update {
    let mut body = json!({"uuid": "6998200000001"});
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    let mut records = records(&body.to_string(), json!({}));
    records.remove(0).unwrap().update
}

fn facts_of(fields: Value) -> Facts {
    update(fields).facts
}

fn call(messages: &[Value]) -> Call {
    fold(&messages.iter().cloned().map(update).collect::<Vec<_>>())
}

fn extra(facts: &Facts, name: &str) -> Option<String> {
    facts.extra.get(name).map(|value| value.expose().to_owned())
}

#[test]
fn a_variable_that_was_not_filled_is_absent() {
    let facts = facts_of(json!({
        "billsec": "$billsec", "campaign_name": "$campaign_name", "campaign_id": "$campaign_id",
        "recording_url": "$recording_url$", "ref_id": "", "custom_identifier": "null",
        "duration": null, "call_status": "missed",
    }));
    assert_eq!((facts.billed, facts.total, &facts.campaign), (None, None, &None));
    assert!(facts.recordings.is_empty() && facts.extra.is_empty());
    assert_eq!(facts.disposition, Some(Disposition::NoAnswer));
    for (text, there) in [("$500", true), ("$a b", true), ("$", true), ("${uuid}", false)] {
        assert_eq!(present(text).is_some(), there, "{text}");
    }
}

#[test]
fn names_are_freed_of_spaces_and_dollars() {
    let mut records = records(
        r#"{"$call_id": "1771576805.306731", "customer_no_with_prefix ": "+919876543210",
            "$call_id$ ": "a second one"}"#,
        json!({}),
    );
    let record = records.remove(0).unwrap();
    assert_eq!(record.key.to_string(), "smartflo/smartflo/1771576805.306731");
    assert_eq!(raw(record.update.facts.contact.as_ref()), Some("+919876543210"));
    assert!(record.update.facts.extra.is_empty());
}

#[test]
fn the_id_is_the_uuid_else_the_call_id_and_nothing_else_fails_a_record() {
    for (body, key) in [
        (json!({"uuid": "u1", "call_id": "c1"}), Ok("smartflo/smartflo/u1")),
        (json!({"uuid": "$uuid", "call_id": "c1"}), Ok("smartflo/smartflo/c1")),
        (json!({"uuid": {"odd": 1}, "call_id": 7}), Ok("smartflo/smartflo/7")),
        (json!({"uuid": ""}), Err("uuid: is required (or call_id)")),
        (json!({"ref_id": "lead-123"}), Err("uuid: is required (or call_id)")),
        (json!(["no object"]), Err("record: is not an object")),
        (
            json!({"uuid": "u1", "duration": "abc", "billsec": {}, "start_stamp": "soon",
                "call_status": ["x"], "direction": 3, "call_flow": "x", "campaign_name": [1],
                "recording_url": false, "hangup_cause_code": "x"}),
            Ok("smartflo/smartflo/u1"),
        ),
    ] {
        let read = records(&body.to_string(), json!({})).remove(0);
        let read =
            read.map(|record| record.key.to_string()).map_err(|unread| unread.why.to_string());
        assert_eq!(read.as_deref().map_err(String::as_str), key, "{body}");
    }
}

#[test]
fn one_bad_record_of_a_list_harms_no_other() {
    let list = r#"[{"uuid": "u1"}, {"call_status": "missed"}, {"uuid": "u3"}]"#;
    let read = records(list, json!({}));
    assert_eq!(read.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true]);
}

#[test]
fn the_words_decide_and_the_seconds_do_not() {
    use Disposition::{Answered, Busy, Canceled, Failed, NoAnswer};
    let ended = |disposition| (Some(State::Ended), disposition);
    for (fields, expected) in [
        (json!({"call_status": "answered"}), ended(Some(Answered))),
        (json!({"call_status": "Answered"}), ended(Some(Answered))),
        (json!({"call_status": "contacted", "status": "answered"}), ended(Some(Answered))),
        (json!({"call_status": "Connected"}), ended(Some(Answered))),
        // Answered stays answered, whatever the cause.
        (json!({"call_status": "answered", "hangup_cause_code": "17"}), ended(Some(Answered))),
        (json!({"call_status": "missed", "billsec": "30"}), ended(Some(NoAnswer))),
        (json!({"call_status": "MISSED", "hangup_cause_code": "0"}), ended(Some(NoAnswer))),
        (json!({"call_status": "missed", "hangup_cause_code": "34"}), ended(Some(NoAnswer))),
        (json!({"call_status": "missed", "hangup_cause_code": "17"}), ended(Some(Busy))),
        (json!({"call_status": "missed", "hangup_cause_key": "USER_BUSY"}), ended(Some(Busy))),
        (json!({"call_status": "missed", "hangup_cause": "User busy"}), ended(Some(Busy))),
        (json!({"call_status": "failed", "hangup_cause_code": "34"}), ended(Some(Failed))),
        (json!({"call_status": "failed", "hangup_cause": "17"}), ended(Some(Busy))),
        (json!({"call_status": "cancelled"}), ended(Some(Canceled))),
        (json!({"call_status": "queued"}), (Some(State::Queued), None)),
        (json!({"call_status": "Answered by agent"}), (Some(State::InProgress), None)),
        (json!({"call_status": "answered by customer"}), (Some(State::InProgress), None)),
        (
            json!({"call_status": "queued", "status": "Answered by agent"}),
            (Some(State::InProgress), None),
        ),
        (json!({"call_status": "$call_status", "status": "missed"}), ended(Some(NoAnswer))),
        // Unknown words: the end shows that it has ended, and nothing shows how.
        (
            json!({"call_status": "wrapup", "end_stamp": "2026-02-20 14:11:05", "billsec": "30"}),
            ended(None),
        ),
        (json!({"call_status": "wrapup", "hangup_cause_code": "34"}), ended(None)),
        (
            json!({"call_status": "wrapup", "answer_stamp": "2026-02-20 14:10:10"}),
            (Some(State::InProgress), None),
        ),
        (
            json!({"call_status": "wrapup", "start_stamp": "2026-02-20 14:10:05"}),
            (Some(State::Ringing), None),
        ),
        (json!({"duration": "45"}), (None, None)),
        // No word at all: the cause may tell.
        (json!({"hangup_cause_code": "16"}), ended(None)),
        (json!({"hangup_cause_code": "0", "hangup_cause_key": "UNSPECIFIED"}), ended(None)),
        (json!({"hangup_cause_code": "17"}), ended(Some(Busy))),
        (json!({"hangup_cause_code": "19"}), ended(Some(NoAnswer))),
        (json!({"reason_key": "noanswer"}), ended(Some(NoAnswer))),
        (json!({"reason_key": "Call Disconnected By Caller"}), ended(None)),
        (json!({"hangup_cause": "destination_hangup"}), ended(None)),
        (json!({"hangup_cause_code": "34"}), ended(Some(Failed))),
        (json!({"hangup_cause_code": "34", "billsec": "9"}), ended(None)),
        (
            json!({"hangup_cause_code": "34", "billsec": "9", "outbound_sec": "0",
                "direction": "clicktocall"}),
            ended(Some(Failed)),
        ),
    ] {
        let facts = facts_of(fields.clone());
        assert_eq!((facts.state, facts.disposition), expected, "{fields}");
    }
}

#[test]
fn a_click_to_call_that_only_the_agent_answered_was_missed() {
    let missed = json!({
        "direction": "clicktocall", "call_status": "missed", "billsec": "30", "duration": "30",
        "outbound_sec": "0", "call_connected": "1", "answer_stamp": "2026-02-20 14:10:07",
        "recording_url": "https://recordings.example/file/recording?token=fake",
    });
    let answered_by_agent = json!({
        "direction": "click_to_call", "call_status": "queued", "status": "Answered by agent",
        "answer_stamp": "2026-02-20 14:10:07",
    });
    let call = call(&[missed, answered_by_agent]);
    assert_eq!(call.outcome, Some(Outcome::NoAnswer));
    assert_eq!((call.facts.talk, call.facts.total), (Some(Seconds(0)), Some(Seconds(30))));
    assert_eq!((call.facts.billed, call.facts.answered_at), (Some(Seconds(30)), None));
    assert_eq!(call.facts.direction, Some(Direction::Outbound));
    assert_eq!(call.facts.recordings.len(), 1);
}

#[test]
fn the_talk_is_the_customers_leg() {
    let outbound = "clicktocall";
    for (direction, status, billsec, outbound_sec, duration, talk) in [
        (outbound, "answered", "11", "7", "12", Some(7)),
        // An answered call whose leg was not counted: then the whole, and answered it stays.
        (outbound, "answered", "11", "0", "12", Some(11)),
        (outbound, "answered", "11", "$outbound_sec", "12", Some(11)),
        (outbound, "answered", "", "", "45", Some(45)),
        ("inbound", "answered", "11", "7", "12", Some(11)),
        ("inbound", "answered", "", "7", "12", Some(7)),
        ("inbound", "missed", "11", "7", "12", Some(0)),
        ("inbound", "Answered by agent", "11", "7", "12", None),
        // Without a reported end, `billsec` proves nothing.
        (outbound, "wrapup", "11", "", "12", None),
        (outbound, "wrapup", "11", "7", "12", Some(7)),
    ] {
        let fields = json!({
            "direction": direction, "call_status": status, "billsec": billsec,
            "outbound_sec": outbound_sec, "duration": duration, "end_stamp": "2026-02-20 14:11:05",
        });
        let facts = facts_of(fields.clone());
        assert_eq!(facts.talk, talk.map(Seconds), "{fields}");
        assert_eq!(facts.total, duration.parse().ok().map(Seconds), "{fields}");
    }
}

#[test]
fn directions() {
    for (text, expected) in [
        ("inbound", Some(Direction::Inbound)),
        ("Inbound", Some(Direction::Inbound)),
        ("Dialer (inbound)", Some(Direction::Inbound)),
        ("outbound", Some(Direction::Outbound)),
        ("clicktocall", Some(Direction::Outbound)),
        ("click_to_call", Some(Direction::Outbound)),
        ("Click to call", Some(Direction::Outbound)),
        ("dialer", Some(Direction::Outbound)),
        ("sideways", None),
    ] {
        assert_eq!(facts_of(json!({ "direction": text })).direction, expected, "{text}");
    }
}

#[test]
fn times_in_all_of_smartflos_settings_are_indian() {
    for stamp in [
        json!("2026-02-20 14:10:05"),
        json!("2026-02-20T14:10:05+05:30"),
        json!("1771576805"),
        json!(1_771_576_805),
        json!("1771576805000"),
    ] {
        let facts = facts_of(json!({ "start_stamp": stamp }));
        assert_eq!(facts.started_at.map(Timestamp::as_second), Some(STARTED), "{stamp}");
        assert!(facts.flags.is_empty(), "{stamp}");
    }
    let body = r#"{"uuid": "u1", "start_stamp": "2026-02-20 12:40:05"}"#;
    let record = records(body, json!({"time_zone": "Asia/Dubai"})).remove(0).unwrap();
    assert_eq!(record.update.facts.started_at.map(Timestamp::as_second), Some(STARTED));
}

#[test]
fn a_start_that_is_missing_is_read_from_the_call_id() {
    for (call_id, start) in [
        ("1771576805.306731", Some(STARTED)),
        ("h11.08-1771576805.2135633", Some(STARTED)),
        ("test_call_123", None),
        ("other-1771576805.1", None),
        ("9876543210.1", None),
        ("9876543210", None),
        ("0000000000.1", None),
        ("h", None),
        ("-.", None),
    ] {
        let facts = facts_of(json!({ "call_id": call_id }));
        assert_eq!(facts.started_at.map(Timestamp::as_second), start, "{call_id}");
    }
    // What is written beats it, and a stamp of 1970 is dropped for it.
    let facts =
        facts_of(json!({"call_id": "1771576805.306731", "start_stamp": "2026-02-20 14:10:06"}));
    assert_eq!(facts.started_at.map(Timestamp::as_second), Some(STARTED + 1));
    let facts =
        facts_of(json!({"call_id": "1771576805.306731", "start_stamp": "1970-01-01 05:30:00"}));
    assert_eq!(facts.started_at.map(Timestamp::as_second), Some(STARTED));
    assert!(facts.flags.contains(&Flag::StartDiscarded));
}

#[test]
fn an_answer_without_a_stamp_is_an_answer() {
    let facts = facts_of(json!({"call_status": "answered", "answer_stamp": "", "billsec": "6"}));
    assert_eq!((facts.answered_at, facts.talk), (None, Some(Seconds(6))));
    assert_eq!(facts.disposition, Some(Disposition::Answered));
}

#[test]
fn the_times_of_the_call_flow_are_of_any_type() {
    for time in [json!("1771576805"), json!(1_771_576_805), json!(1_771_576_805.3)] {
        let facts =
            facts_of(json!({"call_flow": [{"type": "init", "time": time}, {"id": 5}, "x"]}));
        assert!(facts.extra.is_empty() && facts.started_at.is_none());
    }
}

#[test]
fn the_agent_in_every_shape() {
    let whole = json!({"id": "1", "name": "Ann Agent", "dialst": "Answered",
        "number": "0600000000101", "agent_number": "+12025550143"});
    for (fields, number, name) in [
        (json!({"answered_agent": whole}), Some("+12025550143"), Some("Ann Agent")),
        (json!({"answered_agent": [whole]}), Some("+12025550143"), Some("Ann Agent")),
        (json!({"answered_agent": whole.to_string()}), Some("+12025550143"), Some("Ann Agent")),
        (
            json!({"answered_agent": [{"name": "First", "number": "101"}, whole]}),
            Some("+12025550143"),
            Some("Ann Agent"),
        ),
        (json!({"answered_agent": "Ann Agent"}), None, Some("Ann Agent")),
        (json!({"answered_agent": ""}), None, None),
        (json!({"answered_agent": []}), None, None),
        (json!({"answered_agent": {}}), None, None),
        (json!({"answered_agent": "{broken"}), None, None),
        (json!({"answered_agent": {"name": "$name", "number": null}}), None, None),
        (json!({"answered_agent_number": "0600000000101"}), Some("0600000000101"), None),
        (json!({"answered_agent_number": "Extension-0600000000101"}), Some("0600000000101"), None),
        (
            json!({"answered_agent_number": {"follow_me_number": "+12025550143", "id": "1",
                "name": "Ann"}}),
            Some("+12025550143"),
            Some("Ann"),
        ),
        (
            json!({"answered_agent_number": "0600000000101", "answered_agent": whole,
                "answered_agent_name": "Ann A."}),
            Some("+12025550143"),
            Some("Ann A."),
        ),
        (json!({"agent_number": "101", "answered_agent": whole}), Some("101"), Some("Ann Agent")),
        (json!({"answer_agent_number": "+12025550143"}), Some("+12025550143"), None),
        // The customer's own phone is no agent's seat, in any notation of its country.
        (
            json!({"answer_agent_number": "+919876543210", "call_to_number": "09876543210",
                "direction": "click_to_call", "answered_agent_number": "0600000000101"}),
            Some("0600000000101"),
            None,
        ),
        (json!({"missed_agent": [whole]}), None, None),
        (
            json!({"missed_agent": [whole], "call_status": "missed"}),
            Some("+12025550143"),
            Some("Ann Agent"),
        ),
        (json!({"missed_agent": [whole, whole], "call_status": "missed"}), None, None),
    ] {
        let facts = facts_of(fields.clone());
        assert_eq!(raw(facts.employee.as_ref()), number, "{fields}");
        assert_eq!(extra(&facts, "agent_name").as_deref(), name, "{fields}");
    }
}

#[test]
fn the_direction_tells_whose_number_is_whose() {
    let customer = "+919876543210";
    let own = "12025550100";
    let sides = |fields: Value| {
        let facts = facts_of(fields);
        [facts.contact, facts.from, facts.to].map(|party| party.map(|p| p.raw.expose().to_owned()))
    };
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(
        sides(json!({"direction": "dialer", "call_to_number": customer, "caller_id_number": own})),
        [some(customer), some(own), some(customer)]
    );
    assert_eq!(
        sides(json!({"direction": "inbound", "call_to_number": own, "caller_id_number": customer})),
        [some(customer), some(customer), some(own)]
    );
    assert_eq!(
        sides(json!({"direction": "outbound", "customer_number": customer, "agent_number": "101"})),
        [some(customer), some("101"), some(customer)]
    );
    assert_eq!(
        sides(json!({"direction": "inbound", "customer_number_with_prefix": customer})),
        [some(customer), some(customer), None]
    );
    // No direction: who is who is not guessed.
    assert_eq!(
        sides(json!({"call_to_number": customer, "caller_id_number": own})),
        [None, some(own), some(customer)]
    );
    let facts = facts_of(json!({"direction": "inbound", "caller_id_number": "anonymous"}));
    assert_eq!(facts.contact.map(|party| party.kind), Some(PartyKind::Anonymous));
}

#[test]
fn what_leads_are_found_by_is_kept_before_anything_else() {
    let mut fields = json!({
        "ref_id": "r-1", "custom_identifier": "lead-123", "campaign_id": "9", "call_id": "c.1",
        "secret": "fake-smartflo-secret", "digits_dialed": "1234", "call_connected": "1",
        "billing_circle": {"operator": "Example", "circle": "Delhi"},
        "hangup_cause_code": "16", "hangup_cause_key": "NORMAL_CLEARING", "reason_key": "16",
    });
    for n in 0..40 {
        fields[format!("z_field_{n:02}")] = json!("x");
    }
    let facts = facts_of(fields);
    assert_eq!(facts.extra.len(), MOST_EXTRA);
    for (name, value) in [
        ("ref_id", Some("r-1")),
        ("custom_identifier", Some("lead-123")),
        ("campaign_id", Some("9")),
        ("call_id", Some("c.1")),
        ("secret", None),
        ("digits_dialed", None),
        ("call_connected", None),
    ] {
        assert_eq!(extra(&facts, name).as_deref(), value, "{name}");
    }
    assert_eq!(facts.cause.as_deref(), Some("16, NORMAL_CLEARING"));
}

#[test]
fn two_triggers_of_one_hangup_are_one_call() {
    let hangup = |fields: Value| {
        let mut body = json!({
            "direction": "clicktocall", "call_status": "answered", "outbound_sec": "7",
            "end_stamp": "2026-02-20 14:11:05",
        });
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        body
    };
    let inbound_trigger = hangup(json!({"start_stamp": "2026-02-20 14:10:05"}));
    let outbound_trigger = hangup(json!({"start_stamp": "2026-02-20 14:10:06"}));
    let call = call(&[outbound_trigger, inbound_trigger]);
    assert_eq!(call.outcome, Some(Outcome::Answered));
    assert_eq!(call.facts.started_at.map(Timestamp::as_second), Some(STARTED));
    assert_eq!(call.facts.talk, Some(Seconds(7)));
}

#[test]
fn the_later_message_wins() {
    let at = |end: &str, url: &str| json!({"call_status": "answered", "end_stamp": end, "recording_url": url});
    let (early, late) = ("https://recordings.example/1", "https://recordings.example/2");
    let call = call(&[at("2026-02-20 14:11:05", late), at("2026-02-20 14:11:04", early)]);
    let url = call.facts.recordings["recording"].url.clone();
    assert_eq!(url.map(|url| url.expose().to_owned()).as_deref(), Some(late));
}
