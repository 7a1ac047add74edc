use std::sync::Arc;

use switchboard_domain::copies::Tried;
use switchboard_domain::{
    CallRecord, Facts, Legs, Name, Order, Personal, Policy, Recording, Seconds, State, Update,
};
use switchboard_flow::telemetry::capture;
use switchboard_queue::MemoryQueue;
use switchboard_shell::gateway::HttpRequest;
use switchboard_store::Store;

use super::*;
use crate::Area as _;
use crate::calls::destinations::{self, KnowsDestinations};

const KEY: &str = "fake-key-of-links-0000000000000001";
const NEXT: &str = "fake-key-of-links-0000000000000002";
const CALL: &str = "asterisk/main/pbx/1.1";

struct NoSources;

impl TwilioSources for NoSources {
    async fn names(&self) -> Result<Arc<Vec<Name>>, ParameterError> {
        Ok(Arc::default())
    }
}

impl KnowsDestinations for NoSources {
    fn destinations(&self, _: bool) -> destinations::Known<'_> {
        Box::pin(async { Ok(Arc::default()) })
    }
}

/// What is known of links, and what is known when they are read again.
struct Configured(Option<Links>, Option<Links>);

impl KnowsLinks for Configured {
    fn links(&self, again: bool) -> Known<'_> {
        let links = if again { self.1.clone() } else { self.0.clone() };
        Box::pin(async move { Ok(Arc::new(links)) })
    }
}

type Area = Calls<NoSources>;

fn links(key: &str) -> Links {
    let json = json!({"url": "https://api.example.com", "keys": [key], "days": 30});
    Links::parse(&json.to_string()).unwrap()
}

fn area(known: Option<Links>, newer: Option<Links>) -> Area {
    let credentials = switchboard_recordings::bucket::credentials("FAKEKEYID", "fake-secret");
    let bucket = Bucket::new("fake-bucket", "eu-central-1", None, credentials).unwrap();
    let links = Box::new(Configured(known, newer));
    Calls {
        store: Store::in_memory(),
        queue: Arc::new(MemoryQueue::default()),
        sources: NoSources,
        destinations: Box::new(NoSources),
        recordings: Some(Kept { bucket, retention_days: 60, links }),
    }
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// A call with three recordings, of which the copies stand like this.
async fn call(area: &Area, tried: &[(&str, Tried)]) -> CallRecord {
    let began = at("2026-02-20T09:00:00Z");
    let url = |id: &str| Some(Personal::new(format!("https://pbx.example/{id}")));
    let recording = |id: &str| Recording { url: url(id), path: None, duration: None, status: None };
    let recordings = ["a", "b/c", "d"].map(|id| (id.to_owned(), recording(id))).into();
    let facts = Facts { state: Some(State::Ended), recordings, ..Facts::default() };
    let update = Update::new("status", Order::Unordered, began, facts, vec![]);
    let policy = Policy { settle: Seconds(0), legs: Legs::Parent, starts: false };
    let mut record = CallRecord::first(CALL.parse().unwrap(), update, policy, began);
    let key = record.key.clone();
    record.plan_copies(|id| id != "d", |id| Some(links(KEY).to(&key, id, began)), began);
    for (id, tried) in tried {
        let copy = record.copies[*id].clone().concluded(tried.clone(), began);
        record.copies.insert((*id).to_owned(), copy);
    }
    area.store.put_call(&record).await.unwrap();
    record
}

fn copied() -> Tried {
    Tried::Copied(Object {
        key: "recordings/1/2".into(),
        bytes: 7,
        media_type: "audio/mpeg".into(),
        sha256: "ab".into(),
        at: at("2026-02-20T09:05:00Z"),
    })
}

fn request(target: &str, now: &str) -> Request {
    Request::new(HttpRequest::new("GET", target), "request-1", at(now)).unwrap()
}

/// What a link is answered, as a status and the kind of problem.
async fn open(area: &Area, link: &str, now: &str) -> Result<Response, Problem> {
    let target = link.strip_prefix("https://api.example.com").unwrap();
    area.respond(&request(target, now), &Caller::anonymous()).await
}

fn link_of(record: &CallRecord, id: &str) -> String {
    record.copies[id].link.as_ref().unwrap().expose().to_owned()
}

const SOON: &str = "2026-02-20T10:00:00Z";

#[tokio::test]
async fn a_link_leads_to_an_address_that_is_good_for_minutes() {
    let log = capture();
    let area = area(Some(links(KEY)), None);
    let record = call(&area, &[("a", copied()), ("b/c", copied())]).await;
    for id in ["a", "b/c"] {
        let answer = open(&area, &link_of(&record, id), SOON).await.unwrap();
        assert_eq!((answer.status, &answer.body["bytes"]), (302, &json!(7)));
        let location = &answer.headers["location"];
        let start = "https://fake-bucket.s3.eu-central-1.amazonaws.com/recordings/1/2?";
        assert!(
            location.starts_with(start) && location.contains("X-Amz-Expires=300"),
            "{location}"
        );
        assert!(location.contains("X-Amz-Date=20260220T100000Z"), "{location}");
    }
    let said = log.lines().concat();
    assert!(said.contains("recording opened") && said.contains(r#""caller":"link""#));
    assert!(!said.contains("signature") && !said.contains("amazonaws"));
}

#[tokio::test]
async fn a_link_that_is_over_or_leads_to_what_was_deleted_is_gone() {
    let area = area(Some(links(KEY)), None);
    let record = call(&area, &[("a", copied())]).await;
    let link = link_of(&record, "a");
    assert_eq!(open(&area, &link, "2026-03-22T23:59:59Z").await.unwrap().status, 302);
    let expired = open(&area, &link, "2026-03-23T00:00:00Z").await.unwrap_err();
    assert_eq!((expired.status, &*expired.detail), (410, "this link has expired"));

    // The copy is kept for a shorter time than the link is good for.
    let short =
        Area { recordings: area.recordings.map(|kept| Kept { retention_days: 1, ..kept }), ..area };
    let deleted = |now| open(&short, &link, now);
    assert_eq!(deleted("2026-02-21T09:04:59Z").await.unwrap().status, 302);
    assert_eq!(deleted("2026-02-21T09:05:00Z").await.unwrap_err().status, 410);
    let nothing = Area { store: Store::in_memory(), ..short };
    let gone = open(&nothing, &link, SOON).await.unwrap_err();
    assert_eq!((gone.status, &*gone.detail), (410, "the call was deleted"));
}

#[tokio::test]
async fn a_copy_that_is_not_there_yet_says_when_to_ask_again_and_one_that_never_will_says_why() {
    let area = area(Some(links(KEY)), None);
    let never = Tried::Never { problem: "the response is no audio".into() };
    let record = call(&area, &[("b/c", never)]).await;
    let soon = open(&area, &link_of(&record, "a"), "2026-02-20T09:00:00Z").await.unwrap_err();
    assert_eq!(
        (soon.status, soon.kind, &soon.more["retry_after"]),
        (404, "not-copied-yet", &json!(5))
    );
    assert_eq!(soon.into_response().headers["retry-after"], "5");
    let later = open(&area, &link_of(&record, "a"), "2026-02-20T08:00:00Z").await.unwrap_err();
    assert_eq!(later.more["retry_after"], json!(3_600));
    let never = open(&area, &link_of(&record, "b/c"), SOON).await.unwrap_err();
    assert_eq!((never.status, never.kind), (404, "not-copied"));
    assert_eq!(never.detail, "the recording could not be copied: the response is no audio");
}

#[tokio::test]
async fn nothing_but_a_link_of_ours_opens() {
    let area = area(Some(links(KEY)), None);
    let record = call(&area, &[("a", copied()), ("b/c", copied())]).await;
    let link = link_of(&record, "a");
    for wrong in [
        link.replace("/recordings/a?", "/recordings/d?"),
        link.replace("/recordings/a?", "/recordings/b%2Fc?"),
        link.replace("pbx%2F1.1", "pbx%2F1.2"),
        link.replace("until=1", "until=2"),
        link.replace("signature=", "signature=A"),
        link.replace("until=", "untill="),
    ] {
        assert_ne!(wrong, link);
        let status = open(&area, &wrong, SOON).await.unwrap_err().status;
        assert_eq!(status, if wrong.contains("untill") { 400 } else { 401 }, "{wrong}");
    }
    // Without a signature it is no link, and on other paths a signature is of no use.
    for target in [
        "/calls/asterisk/main/pbx/1.1/recordings/a",
        "/calls/asterisk/main/pbx/1.1?signature=x&until=1",
        "/calls?signature=x",
        "/contacts/1/recordings/a?signature=x",
    ] {
        let refused = area.respond(&request(target, SOON), &Caller::anonymous()).await;
        assert_eq!(refused.unwrap_err().status, 401, "{target}");
    }
    let unconfigured = Area {
        recordings: area
            .recordings
            .map(|kept| Kept { links: Box::new(Configured(None, None)), ..kept }),
        ..area
    };
    assert_eq!(open(&unconfigured, &link, SOON).await.unwrap_err().status, 401);
    let without = Area { recordings: None, ..unconfigured };
    assert_eq!(open(&without, &link, SOON).await.unwrap_err().status, 404);
}

#[tokio::test]
async fn a_link_that_a_newer_key_opens_is_opened() {
    let area = area(Some(links(NEXT)), Some(links(KEY)));
    let record = call(&area, &[("a", copied())]).await;
    assert_eq!(open(&area, &link_of(&record, "a"), SOON).await.unwrap().status, 302);
}

#[tokio::test]
async fn a_token_opens_without_a_link_if_it_may_see_personal_values() {
    let area = area(Some(links(KEY)), None);
    call(&area, &[("a", copied())]).await;
    let ask = async |rights: &[Right], id: &str| {
        let target = format!("/calls/asterisk/main/pbx%2F1.1/recordings/{id}");
        let caller = Caller::new("kim", rights.iter().copied());
        let result = area.respond(&request(&target, SOON), &caller).await;
        result.map_or_else(|problem| problem.status, |answer| answer.status)
    };
    assert_eq!(ask(&[Right::Read, Right::Personal], "a").await, 302);
    assert_eq!(ask(&[Right::Read], "a").await, 403);
    assert_eq!(ask(&[Right::Personal], "a").await, 403);
    assert_eq!(ask(&[Right::Read, Right::Personal], "d").await, 404);
    assert_eq!(ask(&[Right::Read, Right::Personal], "b/c").await, 404);
}
