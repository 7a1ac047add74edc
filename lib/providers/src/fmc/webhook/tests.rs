//! What each field and word comes to, and what is never kept.

use serde_json::json;
use switchboard_domain::{CallKey, Direction, Disposition, Flag, Outcome, State, Update, fold};

use super::*;
use crate::testing::{self, SECRET as TOKEN, kept, raw, request};
use crate::{Parsed, Sources};

const FORM: &str = "application/x-www-form-urlencoded";

fn sources() -> Sources {
    let settings = json!({"country": "RU", "time_zone": "Europe/Moscow"});
    testing::sources(&Fmc, &["fmc"], settings)
}

/// With the secret in the header.
fn known(media: &str, body: impl Into<Vec<u8>>) -> Request {
    testing::known("/webhooks/fmc", media, body)
}

fn content(request: &Request) -> Result<Content, Reject> {
    testing::content(&Fmc, &sources(), request)
}

fn calls(request: &Request) -> Vec<Parsed> {
    testing::calls(&Fmc, &sources(), request)
}

/// The only call of a request.
fn one(request: &Request) -> (CallKey, Update) {
    let record = calls(request).pop().unwrap().unwrap();
    (record.key, record.update)
}

fn megafon(form: &str) -> Update {
    let form = format!("callid=43294397431&crm_token={TOKEN}&{form}");
    one(&request("/webhooks/fmc", FORM, form)).1
}

fn status(request: &Request) -> Option<u16> {
    content(request).err().map(|why| why.status())
}

#[test]
fn megafons_token_opens_and_nothing_else_in_its_place_does() {
    let form = |token: &str| request("/webhooks/fmc", FORM, format!("cmd=contact{token}"));
    assert_eq!(status(&form("&crm_token=fake-secret")), None);
    assert_eq!(status(&form("&crm_token=fake-other")), Some(403));
    assert_eq!(status(&form("&crm_token=")), Some(401));
    assert_eq!(status(&form("&token=fake-secret")), Some(401));
    assert_eq!(status(&form("")), Some(401));
    let object = |token: Value| {
        let body = json!({"cmd": "contact", "crm_token": token}).to_string();
        request("/webhooks/fmc", "application/json", body)
    };
    assert_eq!(status(&object(json!(TOKEN))), None);
    assert_eq!(status(&object(json!("fake-other"))), Some(403));
    assert_eq!(status(&object(json!([TOKEN]))), Some(401));
    // A good header beside a wrong field, as two systems behind one webhook may send it.
    assert_eq!(status(&form("&crm_token=fake-other").header("x-api-key", TOKEN)), None);
    assert_eq!(status(&form("&crm_token=fake-secret").header("x-api-key", "fake")), None);
}

#[test]
fn megafons_token_is_not_kept_wherever_it_stands() {
    let form = format!("cmd=history&callid=1&crm%5Ftoken={TOKEN}&link=a%26b&crm_token=fake-2");
    let update = one(&known(FORM, form)).1;
    assert_eq!(kept(&update), "cmd=history&callid=1&link=a%26b");
    assert!(!update.facts.extra.contains_key("crm_token"));

    let record = json!({"cmd": "history", "callid": "1", "crm_token": TOKEN});
    let update = one(&request("/webhooks/fmc", "application/json", record.to_string())).1;
    assert_eq!(kept(&update), r#"{"callid":"1","cmd":"history"}"#);

    for (body, kept) in [
        // What goes to quarantine: a command that is not known, no id, one of a list, no JSON.
        (format!("cmd=invoice&crm_token={TOKEN}"), "cmd=invoice"),
        (format!("cmd=event&crm_token={TOKEN}&type=ACCEPTED"), "cmd=event&type=ACCEPTED"),
        (format!("cmd=&crm_token={TOKEN}"), "cmd="),
        (format!(r#"[{{"cmd":"x"}},{{"cmd":"y","crm_token":"{TOKEN}"}}]"#), r#"{"cmd":"y"}"#),
        (format!(r#"{{"cmd":"event","crm_token":"{TOKEN}","callid":}}"#), r#"{"cmd":"event",""#),
        (format!(r#"<a crm_token="{TOKEN}"/>"#), "<a "),
    ] {
        let unread = calls(&known("", body.clone())).pop().unwrap().unwrap_err();
        assert_eq!(String::from_utf8(unread.raw).unwrap(), kept, "{body}");
        assert_eq!(unread.why.status(), 400);
    }
}

#[test]
fn what_is_kept_can_be_read_again_without_the_token() {
    let form = format!("cmd=rating&callid=1&rating=5&crm_token={TOKEN}&phone=%2B79991234567");
    let (key, update) = one(&known(FORM, form));
    let again = request(update.target.expose(), "", kept(&update));
    let (sources, name) = (sources(), key.source.clone());
    let message = Authenticated::kept(&Fmc, &again, &sources, &name);
    let Content::Calls(records) = Fmc.parse(&message).unwrap() else { panic!("no call") };
    let record = records.into_iter().next().unwrap().unwrap();
    assert_eq!((record.key, record.update), (key, update));
}

#[test]
fn a_history_is_read_as_megafon_writes_it() {
    // The case of the status varies; the start is compact and in UTC.
    let facts =
        megafon("cmd=history&type=in&start=20260220T090000Z&status=success&duration=360").facts;
    assert_eq!(facts.started_at.unwrap().to_string(), "2026-02-20T09:00:00Z");
    assert_eq!(facts.ended_at.unwrap().to_string(), "2026-02-20T09:06:00Z");
    assert_eq!((facts.total, facts.talk), (Some(Seconds(360)), None));
    for (word, disposition) in [
        ("Success", Some(Disposition::Answered)),
        ("SUCCESS", Some(Disposition::Answered)),
        ("missed", Some(Disposition::NoAnswer)),
        ("Cancel", Some(Disposition::Canceled)),
        ("Busy", Some(Disposition::Busy)),
        ("NotAvailable", Some(Disposition::NoAnswer)),
        ("NotAllowed", Some(Disposition::Failed)),
        ("NotFound", Some(Disposition::Failed)),
        ("Novelty", None),
    ] {
        let facts = megafon(&format!("cmd=history&status={word}")).facts;
        assert_eq!((facts.state, facts.disposition), (Some(State::Ended), disposition), "{word}");
    }
    let facts = megafon("cmd=history&start=soon&duration=long&type=sideways&status=").facts;
    assert_eq!((facts.started_at, facts.total, facts.direction), (None, None, None));
}

#[test]
fn who_called_whom_follows_the_direction() {
    let ends = "&phone=79991234567&diversion=79990001122&user=anna&ext=101";
    for (form, from, to, employee) in [
        ("cmd=history&type=in", "79991234567", "79990001122", "101"),
        ("cmd=HISTORY&type=OUT", "79990001122", "79991234567", "101"),
        ("cmd=history&type=out&telnum=79990001133", "79990001133", "79991234567", "79990001133"),
        ("cmd=event&type=INCOMING", "79991234567", "79990001122", "101"),
        ("cmd=event&type=outgoing", "79990001122", "79991234567", "101"),
        ("cmd=event&type=ACCEPTED&direction=out", "79990001122", "79991234567", "101"),
    ] {
        let facts = megafon(&format!("{form}{ends}")).facts;
        assert_eq!(raw(facts.from.as_ref()), Some(from), "{form}");
        assert_eq!(raw(facts.to.as_ref()), Some(to), "{form}");
        assert_eq!(raw(facts.contact.as_ref()), Some("79991234567"), "{form}");
        assert_eq!(raw(facts.employee.as_ref()), Some(employee), "{form}");
    }
    assert_eq!(raw(megafon("cmd=event&user=anna").facts.employee.as_ref()), Some("anna"));
}

#[test]
fn events_say_how_far_a_call_is_and_not_how_it_went() {
    for (kind, state) in [
        ("INCOMING", Some(State::Ringing)),
        ("OUTGOING", Some(State::Ringing)),
        ("accepted", Some(State::InProgress)),
        ("TRANSFERRED", Some(State::InProgress)),
        ("COMPLETED", Some(State::Ended)),
        // Said of each phone of a group that was not picked up, too.
        ("CANCELLED", None),
        ("NOVELTY", None),
    ] {
        let facts = megafon(&format!("cmd=event&type={kind}")).facts;
        assert_eq!((facts.state, facts.disposition), (state, None), "{kind}");
    }
}

#[test]
fn a_call_that_was_passed_on_was_answered() {
    let first = megafon("cmd=history&status=Success&start=20260220T090000Z&duration=60&ext=101");
    let passed = megafon("cmd=history&status=Missed&start=20260220T090100Z&duration=20&ext=102");
    let call = fold([&passed, &first]);
    assert_eq!(call.outcome, Some(Outcome::Answered));
    assert_eq!(raw(call.employee()), Some("101"));
}

#[test]
fn a_generic_time_is_iso_a_wall_clock_or_an_epoch() {
    for time in ["2026-02-20T09:00:00Z", "2026-02-20 12:00:00", "1771578000", "1771578000000"] {
        let record = json!({"call_id": 7001, "start_time": time});
        let facts = one(&known("application/json", record.to_string())).1.facts;
        assert_eq!(facts.started_at.unwrap().to_string(), "2026-02-20T09:00:00Z", "{time}");
    }
    let record = json!({"call_id": "1", "start_time": "1970-01-01 00:33:46", "duration_sec": []});
    let facts = one(&known("application/json", record.to_string())).1.facts;
    assert_eq!((facts.started_at, facts.talk), (None, None));
    assert!(facts.flags.contains(&Flag::StartDiscarded));
}

#[test]
fn a_generic_status_is_one_of_the_intakes_words() {
    for (word, outcome) in [
        ("answered", Outcome::Answered),
        ("NO_ANSWER", Outcome::NoAnswer),
        ("busy", Outcome::Busy),
        ("failed", Outcome::Failed),
        ("canceled", Outcome::Canceled),
        ("voicemail", Outcome::Voicemail),
    ] {
        let record = json!({"call_id": "1", "status": word, "duration_sec": 5});
        let update = one(&known("application/json", record.to_string())).1;
        assert_eq!(fold([&update]).outcome, Some(outcome), "{word}");
    }
}

#[test]
fn a_transcript_may_be_long_and_other_texts_may_not() {
    let record = json!({"call_id": "1", "transcript": "x".repeat(100_000)});
    let update = one(&known("application/json", record.to_string())).1;
    assert!(update.facts.transcript.is_some());
    let record = json!({"call_id": "x".repeat(3_000)});
    assert!(calls(&known("application/json", record.to_string()))[0].is_err());
}

fn xsi(kind: &str, call: &str) -> String {
    format!(
        r#"<e:Event xmlns:e="http://schema.broadsoft.com/xsi" xmlns:i="urn:x" i:type="e:SubscriptionEvent">
        <e:targetId>101</e:targetId><e:eventData i:type="e:{kind}">{call}</e:eventData></e:Event>"#
    )
}

/// A call's elements, in the name space of [`xsi`].
fn elements(pairs: &[(&str, &str)]) -> String {
    pairs.iter().map(|(name, text)| format!("<e:{name}>{text}</e:{name}>")).collect()
}

fn beeline(kind: &str, pairs: &[(&str, &str)]) -> Update {
    let call = format!("<e:call><e:callId>callhalf-1:0</e:callId>{}</e:call>", elements(pairs));
    one(&known("text/xml", xsi(kind, &call))).1
}

#[test]
fn an_xsi_event_says_how_far_a_call_is() {
    for (kind, said, state) in [
        ("CallReceivedEvent", "Alerting", Some(State::Ringing)),
        ("CallOriginatedEvent", "Alerting", Some(State::Ringing)),
        ("CallOriginatingEvent", "Alerting", Some(State::Ringing)),
        ("CallAnsweredEvent", "Active", Some(State::InProgress)),
        ("CallHeldEvent", "Held", Some(State::InProgress)),
        ("CallReleasedEvent", "Released", Some(State::Ended)),
        ("CallRedirectedEvent", "Released", None),
        ("NoveltyEvent", "", None),
    ] {
        assert_eq!(beeline(kind, &[("state", said)]).facts.state, state, "{kind}");
    }
}

#[test]
fn an_xsi_release_says_how_the_call_went_as_far_as_it_knows() {
    let times = [("startTime", "1771578000123"), ("releaseTime", "1771578060123")];
    let end = |more: &[(&str, &str)]| beeline("CallReleasedEvent", &[&times, more].concat());
    let cause = |text: &'static str| ("releaseCause", text);
    for (more, disposition) in [
        (vec![("answerTime", "1771578010123")], Some(Disposition::Answered)),
        (
            vec![cause("<e:internalReleaseCause>Busy</e:internalReleaseCause>")],
            Some(Disposition::Busy),
        ),
        (vec![cause("Temporarily Unavailable")], Some(Disposition::NoAnswer)),
        (vec![cause("Forbidden")], Some(Disposition::Failed)),
        (vec![cause("Busy"), ("huntGroupUserId", "sales")], None),
        (vec![], None),
    ] {
        assert_eq!(end(&more).facts.disposition, disposition, "{more:?}");
    }
    let answered = end(&[("answerTime", "1771578010123")]);
    let facts = &answered.facts;
    assert_eq!((facts.talk, facts.total), (Some(Seconds(50)), Some(Seconds(60))));

    let rang = beeline("CallReceivedEvent", &[]);
    let picked_up = beeline("CallAnsweredEvent", &[]);
    let silent = end(&[]);
    assert_eq!(fold([&silent, &rang]).outcome, Some(Outcome::NoAnswer));
    assert_eq!(fold([&silent, &rang, &picked_up]).outcome, Some(Outcome::Answered));
    // The phone that was picked up tells how the call went, whichever was released last.
    assert_eq!(fold([&answered, &end(&[cause("Busy")])]).outcome, Some(Outcome::Answered));
}

#[test]
fn a_personality_is_a_direction_and_a_colleague_is_no_customer() {
    let remote = "<e:address>tel:+79991234567</e:address><e:callType>Network</e:callType>";
    for (personality, direction) in [
        ("Terminator", Some(Direction::Inbound)),
        ("Originator", Some(Direction::Outbound)),
        ("Click-to-Dial", Some(Direction::Outbound)),
        ("Novelty", None),
    ] {
        let pairs = [("personality", personality), ("remoteParty", remote)];
        let facts = beeline("CallReceivedEvent", &pairs).facts;
        assert_eq!(facts.direction, direction, "{personality}");
        assert_eq!(raw(facts.contact.as_ref()), Some("tel:+79991234567"));
        assert_eq!(raw(facts.employee.as_ref()), Some("101"));
    }
    let pairs = [("remoteParty", "<e:address>tel:102</e:address><e:callType>Group</e:callType>")];
    let facts = beeline("CallReceivedEvent", &pairs).facts;
    assert_eq!((facts.direction, facts.contact), (Some(Direction::Internal), None));
}

#[test]
fn elements_may_stand_in_the_data_itself_and_a_tracking_id_beats_a_legs() {
    let call = elements(&[("callId", "callhalf-1:0"), ("extTrackingId", "62:1")]);
    let (key, _) = one(&known("application/xml", xsi("CallReceivedEvent", &call)));
    assert_eq!(key.call_id(), "62:1");
    let (key, _) = one(&known("", xsi("CallReceivedEvent", &elements(&[("callId", "half-1")]))));
    assert_eq!(key.call_id(), "half-1");
    let unread =
        calls(&known("", xsi("CallReceivedEvent", &elements(&[("personality", "Originator")]))));
    assert!(unread[0].is_err());
}

#[test]
fn an_event_about_no_call_is_taken_and_not_stored() {
    for kind in ["SubscriptionTerminatedEvent", "HookStatusEvent"] {
        let answer = content(&known("text/xml", xsi(kind, ""))).unwrap();
        assert!(matches!(answer, Content::Other(_)), "{kind}");
    }
}

#[test]
fn xml_that_is_no_event_is_refused_and_does_no_harm() {
    let deep = |depth| format!("{}{}", "<e:a>".repeat(depth), "</e:a>".repeat(depth));
    let attributes: String = (0..6_000).map(|n| format!(" a{n}=''")).collect();
    for (body, problem) in [
        ("<!DOCTYPE e [<!ENTITY a 'aa'>]><e>&a;</e>".to_owned(), "DOCTYPE"),
        ("\n<!DOCTYPE e SYSTEM 'file:///etc/passwd'><e/>".to_owned(), "DOCTYPE"),
        ("<e>&a;</e>".to_owned(), "not valid XML"),
        ("<secret".to_owned(), "not valid XML"),
        ("<secret/>".to_owned(), "not an Event"),
        ("<Event/>".to_owned(), "has no type"),
        (format!("<Event type=\"{}\"/>", "x".repeat(65)), "has no type"),
        (xsi("CallReceivedEvent", &deep(50_000)), "more than 65536 bytes"),
        (xsi("CallReceivedEvent", &deep(5_000)), "more than 4096 nodes"),
        (xsi("CallReceivedEvent", &" ".repeat(70_000)), "more than 65536 bytes"),
        (format!("<e{attributes}/>"), "not an Event"),
    ] {
        let why = content(&known("application/xml", body)).unwrap_err();
        let text = why.to_string();
        assert!(
            why.status() == 400 && text.contains(problem) && !text.contains("secret"),
            "{text}"
        );
    }
    // Deep, and still an event: what lies too deep is not looked at.
    let call = format!("<e:call><e:callId>1</e:callId>{}</e:call>", deep(1_000));
    let (_, update) = one(&known("application/xml", xsi("CallReceivedEvent", &call)));
    assert!(update.facts.extra.is_empty());
    let call = format!("<e:callId>1</e:callId>{}x{}", "<e:a>".repeat(12), "</e:a>".repeat(12));
    let (_, update) = one(&known("application/xml", xsi("CallReceivedEvent", &call)));
    assert!(update.facts.extra.is_empty());
    assert!(content(&known("application/xml", b"<e>\xff</e>".to_vec())).is_err());
}

#[test]
fn one_call_of_several_in_an_event_can_be_read_again() {
    let call =
        |id: &str| format!("<e:call>{}</e:call>", elements(&[("callId", id), ("state", "Active")]));
    let body = xsi("CallSubscriptionEvent", &format!("{}{}", call("1"), call("2")));
    let records = calls(&known("application/xml", body));
    let updates: Vec<Update> = records.into_iter().map(|one| one.unwrap().update).collect();
    let (_, again) = one(&known("", kept(&updates[1])));
    assert_eq!(again.facts, updates[1].facts);
}
