//! Dial requests, over both tables.

use futures_util::future::join_all;
use jiff::Timestamp;
use switchboard_domain::dial_request::{Context, DialFault, DialRequest, DialState, Order};
use switchboard_domain::{Digest, Name, Personal};
use switchboard_store::{PutDialRequest, RateCounter, Store};

use crate::server::{self, CALLS, client, everything};

over_both_tables!(
    &Store::in_memory(), &server::store().await;
    a_key_is_taken_once,
    every_state_comes_back_as_it_went,
    a_write_needs_the_version_that_it_read,
    a_write_that_is_tried_again_is_the_same_write,
    of_many_presses_at_once_one_takes_the_key,
    no_more_are_counted_than_may_be,
);

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_771_577_000 + second).unwrap()
}

fn dial_request(key: &str, attempt: &str) -> DialRequest {
    let name = |text: &str| Name::new("name", text).unwrap();
    let context = Context { lead_id: Some("L-1".into()), ..Context::default() };
    let order = Order {
        provider: name("smartflo"),
        source: name("main"),
        agent: Personal::new("0605"),
        employee: Some(name("E-1")),
        to: Personal::new("+919876543210"),
        caller_id: Some(Personal::new("+917969690935")),
        context,
    };
    DialRequest::new(DialRequest::id_of("crm", key), Digest::of(&[b"asked"]), attempt, order, at(0))
}

fn stored(dial_request: &DialRequest, version: u64) -> DialRequest {
    DialRequest { version, ..dial_request.clone() }
}

async fn a_key_is_taken_once(dial_requests: &Store) {
    let one = dial_request("once", "a");
    assert_eq!(dial_requests.dial_request(&one.id).await.unwrap(), None);
    assert_eq!(dial_requests.put_dial_request(&one).await.unwrap(), PutDialRequest::Stored(1));
    let two = dial_request("once", "b");
    let conflict = PutDialRequest::Conflict(Some(Box::new(stored(&one, 1))));
    assert_eq!(dial_requests.put_dial_request(&two).await.unwrap(), conflict);
    assert_eq!(dial_requests.dial_request(&one.id).await.unwrap(), Some(stored(&one, 1)));
}

async fn every_state_comes_back_as_it_went(dial_requests: &Store) {
    let mut one = dial_request("states", "a");
    for state in [
        DialState::Reserved,
        DialState::Dialling,
        DialState::Placed { call_id: Some("CA1".into()), ref_id: None },
        DialState::Placed { call_id: None, ref_id: Some("r".into()) },
        DialState::Refused { fault: DialFault::Configuration, why: "responded 401".into() },
        DialState::Unknown { why: "timed out".into() },
    ] {
        let next = one.with(state, at(5));
        let PutDialRequest::Stored(version) = dial_requests.put_dial_request(&next).await.unwrap()
        else {
            panic!()
        };
        one = stored(&next, version);
        assert_eq!(dial_requests.dial_request(&one.id).await.unwrap().unwrap(), one);
    }
}

async fn a_write_needs_the_version_that_it_read(dial_requests: &Store) {
    let one = dial_request("version", "a");
    dial_requests.put_dial_request(&one).await.unwrap();
    let taken_over = DialRequest { attempt: "b".into(), ..stored(&one, 1) };
    assert_eq!(
        dial_requests.put_dial_request(&taken_over).await.unwrap(),
        PutDialRequest::Stored(2)
    );
    let late = stored(&one, 1).with(DialState::Dialling, at(0));
    let conflict = PutDialRequest::Conflict(Some(Box::new(stored(&taken_over, 2))));
    assert_eq!(dial_requests.put_dial_request(&late).await.unwrap(), conflict);
    let gone = stored(&dial_request("never", "a"), 1);
    assert_eq!(
        dial_requests.put_dial_request(&gone).await.unwrap(),
        PutDialRequest::Conflict(None)
    );
}

async fn a_write_that_is_tried_again_is_the_same_write(dial_requests: &Store) {
    let one = dial_request("again", "a");
    for _ in 0..2 {
        assert_eq!(dial_requests.put_dial_request(&one).await.unwrap(), PutDialRequest::Stored(1));
    }
    let dialling = stored(&one, 1).with(DialState::Dialling, at(0));
    for _ in 0..2 {
        assert_eq!(
            dial_requests.put_dial_request(&dialling).await.unwrap(),
            PutDialRequest::Stored(2)
        );
    }
}

async fn of_many_presses_at_once_one_takes_the_key(dial_requests: &Store) {
    let all: Vec<DialRequest> = (0..20).map(|n| dial_request("many", &n.to_string())).collect();
    let put = join_all(all.iter().map(|one| dial_requests.put_dial_request(one))).await;
    let taken = put.into_iter().filter(|put| *put.as_ref().unwrap() == PutDialRequest::Stored(1));
    assert_eq!(taken.count(), 1);
}

async fn no_more_are_counted_than_may_be(dial_requests: &Store) {
    let tally = |who: &str, window: &str| RateCounter {
        who: Digest::of(&[who.as_bytes()]),
        window: window.into(),
        expires_at: at(100),
    };
    let one = tally("ann", "minute 1");
    let counted = join_all((0..10).map(|_| dial_requests.count(&one, 3))).await;
    assert_eq!(counted.into_iter().filter(|counted| *counted.as_ref().unwrap()).count(), 3);
    assert!(
        dial_requests.count(&one, 4).await.unwrap() && !dial_requests.count(&one, 4).await.unwrap()
    );
    assert!(dial_requests.count(&tally("bob", "minute 1"), 3).await.unwrap());
    assert!(dial_requests.count(&tally("ann", "minute 2"), 3).await.unwrap());
}

#[tokio::test]
async fn everything_lies_under_a_prefix_of_its_own_and_expires() {
    let client = client().await;
    let dial_requests = Store::dynamodb(&client, CALLS.into(), 1);
    dial_requests.put_dial_request(&dial_request("place", "a")).await.unwrap();
    let who = Digest::of(&[b"ann"]);
    let tally = RateCounter { who, window: "minute 1".into(), expires_at: at(100) };
    dial_requests.count(&tally, 3).await.unwrap();
    let items = everything(&client, CALLS).await;
    let now = Timestamp::now().as_second();
    for item in &items {
        assert!(item["pk"].as_s().unwrap().starts_with("press"), "{:?}", item["pk"]);
        let expires_at: i64 = item["expires_at"].as_n().unwrap().parse().unwrap();
        // Though calls are kept for a day, a key must not dial again so soon.
        let is_dial_request = item["sk"].as_s().unwrap() == "press";
        assert_eq!(expires_at, if is_dial_request { expires_at } else { at(100).as_second() });
        assert!(!is_dial_request || expires_at >= now + 29 * 86_400, "{expires_at}");
    }
    assert_eq!(items.len(), 2);
}
