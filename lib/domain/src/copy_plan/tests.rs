use super::*;
use crate::copies::{Object, Tried};
use crate::plan::{Legs, Policy};
use crate::time::Seconds;
use crate::update::{Facts, Order, State, Update};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_771_578_000 + second).unwrap()
}

fn recording(url: Option<&str>, status: Option<&str>) -> Recording {
    let url = url.map(Personal::new);
    Recording { url, path: None, duration: None, status: status.map(str::to_owned) }
}

fn call(recordings: &[(&str, Recording)]) -> CallRecord {
    let recordings = recordings.iter().map(|(id, one)| ((*id).to_owned(), one.clone())).collect();
    let facts = Facts { state: Some(State::Ended), recordings, ..Facts::default() };
    let update = Update::new("status", Order::Unordered, at(0), facts, vec![]);
    let policy = Policy { settle: Seconds(0), legs: Legs::Parent, starts: false };
    CallRecord::first("twilio/twilio/CA1".parse().unwrap(), update, policy, at(0))
}

fn plan(record: &mut CallRecord, now: i64) -> bool {
    record.plan_copies(|_| true, |id| Some(Personal::new(format!("link to {id}"))), at(now))
}

fn later(problem: &str) -> Tried {
    Tried::Later { not_before: None, problem: problem.to_owned() }
}

fn object() -> Object {
    Object {
        key: "recordings/1".into(),
        bytes: 3,
        media_type: "audio/mpeg".into(),
        sha256: "ab".into(),
        at: at(5),
    }
}

#[test]
fn what_is_there_is_planned_once_and_owed_until_it_is_done() {
    let url = "https://pbx.example/1";
    let mut record = call(&[
        ("a", recording(Some(url), Some("completed"))),
        ("b", recording(Some(url), Some("In-Progress"))),
        ("c", recording(Some(url), Some("absent"))),
        ("d", recording(None, None)),
        ("e", Recording { path: Some(Personal::new("/var/1.wav")), ..recording(None, None) }),
        ("f", recording(Some(url), None)),
        (CONVERSATION, recording(None, None)),
    ]);
    assert!(plan(&mut record, 7));
    let planned: Vec<&str> = record.copies.keys().map(String::as_str).collect();
    assert_eq!(planned, ["a", CONVERSATION, "f"]);
    assert_eq!(record.owed.get(&Work::Recordings), Some(&at(7)));
    let before = record.clone();
    assert!(!plan(&mut record, 900));
    assert_eq!(record, before);

    for (n, id) in ["a", CONVERSATION, "f"].into_iter().enumerate() {
        assert_eq!(record.due_copy(at(7)).map(String::as_str), Some(id), "{n}");
        let copy = record.copies[id].clone().concluded(Tried::Copied(object()), at(9));
        assert_eq!((copy.state, copy.due_at), (CopyState::Copied, None));
        record.copies.insert(id.to_owned(), copy);
        record.owe_copies();
    }
    assert_eq!(record.due_copy(at(7)), None);
    assert!(!record.owed.contains_key(&Work::Recordings));
    assert!(record.owed.contains_key(&Work::Enrich), "other work is left alone");
}

#[test]
fn an_unwanted_copy_is_not_planned() {
    let mut record = call(&[("a", recording(Some("https://pbx.example/1"), None))]);
    assert!(!record.plan_copies(|_| false, |_| None, at(0)));
    assert!(record.copies.is_empty() && !record.owed.contains_key(&Work::Recordings));
}

#[test]
fn a_call_with_very_many_recordings_does_not_grow_without_end() {
    let one = recording(Some("https://pbx.example/1"), None);
    let ids: Vec<String> = (0..50).map(|n| format!("r{n:02}")).collect();
    let many: Vec<_> = ids.iter().map(|id| (id.as_str(), one.clone())).collect();
    let mut record = call(&many);
    plan(&mut record, 0);
    assert_eq!(record.copies.len(), MOST);
    assert!(!plan(&mut record, 1));
}

#[test]
fn a_copy_is_tried_at_growing_waits_and_then_given_up() {
    let mut record = call(&[("a", recording(Some("https://pbx.example/1"), None))]);
    plan(&mut record, 0);
    let mut copy = record.copies.remove("a").unwrap();
    let (mut now, mut waits) = (at(0), Vec::new());
    while let Some(due_at) = copy.due_at {
        waits.push(due_at.duration_since(now).as_secs());
        now = due_at;
        copy = copy.concluded(later("responded 404"), now);
    }
    assert_eq!(waits, [0, 10, 30, 120, 600, 1_800, 7_200, 28_800, 86_400]);
    assert_eq!((copy.state, copy.failures), (CopyState::Failed, 9));
    assert_eq!(copy.problem.as_deref(), Some("responded 404"));
}

#[test]
fn a_retry_after_is_obeyed_up_to_a_day() {
    let mut record = call(&[("a", recording(Some("https://pbx.example/1"), None))]);
    plan(&mut record, 0);
    let copy = record.copies.remove("a").unwrap();
    let due = |not_before: i64| {
        let tried = Tried::Later { not_before: Some(at(not_before)), problem: String::new() };
        copy.clone().concluded(tried, at(0)).due_at.unwrap().duration_since(at(0)).as_secs()
    };
    assert_eq!((due(3), due(90), due(9_000_000)), (10, 90, 86_400));
}

#[test]
fn what_failed_for_good_is_tried_anew_under_another_address_alone_and_keeps_its_link() {
    let url = |n: u8| recording(Some(&format!("https://pbx.example/{n}")), None);
    let mut record = call(&[("a", url(1))]);
    plan(&mut record, 0);
    let never = Tried::Never { problem: "the address has expired".into() };
    let copy = record.copies["a"].clone().concluded(never, at(3));
    assert_eq!((copy.state, copy.due_at), (CopyState::Failed, None));
    record.copies.insert("a".into(), copy);
    record.owe_copies();
    assert!(!plan(&mut record, 4));

    record.call.facts.recordings.insert("a".into(), url(2));
    assert!(record.plan_copies(|_| true, |_| Some(Personal::new("another link")), at(5)));
    let copy = &record.copies["a"];
    assert_eq!((copy.state, copy.failures), (CopyState::Waiting, 0));
    assert_eq!(copy.link.as_ref().map(Personal::expose), Some("link to a"));
    // What is under way, or done, is not begun again.
    record.call.facts.recordings.insert("a".into(), url(3));
    assert!(!plan(&mut record, 6));
}

#[test]
fn crms_receive_our_link_and_else_the_providers_address() {
    let mut record = call(&[
        ("a", recording(Some("https://pbx.example/1"), None)),
        ("b", recording(Some("https://pbx.example/2"), None)),
    ]);
    record.plan_copies(|id| id == "a", |id| Some(Personal::new(format!("link {id}"))), at(0));
    let address =
        |id: &str| record.address(id, &record.call.facts.recordings[id]).map(Personal::expose);
    assert_eq!((address("a"), address("b")), (Some("link a"), Some("https://pbx.example/2")));
}

#[test]
fn a_copy_is_no_news() {
    let mut record = call(&[("a", recording(Some("https://pbx.example/1"), None))]);
    let fingerprint = record.fingerprint();
    plan(&mut record, 0);
    let copy = record.copies["a"].clone().concluded(Tried::Copied(object()), at(9));
    record.copies.insert("a".into(), copy);
    assert_eq!(record.fingerprint(), fingerprint);
}

#[test]
fn a_copy_is_stored_and_read_back_and_prints_no_link() {
    let mut record = call(&[("a", recording(Some("https://pbx.example/1"), None))]);
    plan(&mut record, 0);
    let text = serde_json::to_string(&record).unwrap();
    assert!(
        text.contains(r#""owed":{"enrich":"#) && text.contains(r#""recordings":"2026-"#),
        "{text}"
    );
    assert_eq!(serde_json::from_str::<CallRecord>(&text).unwrap(), record);
    assert!(!format!("{:?}", record.copies).contains("link to"));
}
