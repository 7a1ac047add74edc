//! What every store must do, as functions over any of them.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use switchboard_domain::delivery::Frozen;
use switchboard_domain::{
    Blob, Body, CallKey, CallRecord, Delivery, DeliveryId, Digest, Facts, Legs, Name, Order, Party,
    Personal, Policy, Seconds, State, Text, Update, Work,
};
use switchboard_store::{Put, PutDelivery, Quarantined, Store, StoreError};

pub const POLICY: Policy = Policy { settle: Seconds(0), legs: Legs::Parent };

pub fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_771_577_000 + second).unwrap()
}

pub fn key(call_id: &str) -> CallKey {
    CallKey::new(name("twilio"), name("twilio"), call_id).unwrap()
}

fn name(text: &str) -> Name {
    Name::new("name", text).unwrap()
}

pub fn update(raw: &str, state: State) -> Update {
    let facts = Facts {
        state: Some(state),
        from: Party::read("+61491570156"),
        contact_name: Some(Personal::new("Zoë «Quote\" Ünïcode 名")),
        summary: Some(Personal::new("")),
        started_at: Some(at(-60)),
        talk: Some(Seconds(42)),
        transcript: Some(Text::Inline(Personal::new("agent: hello\nuser: hi"))),
        extra: [("Stir".to_owned(), Personal::new("A"))].into(),
        ..Facts::default()
    };
    Update::new("status", Order::Sequence(3), at(0), facts, raw.as_bytes().to_vec())
}

pub fn record(call_id: &str) -> CallRecord {
    CallRecord::first(key(call_id), update(call_id, State::Ended), POLICY, at(0))
}

fn id(text: &str) -> DeliveryId {
    text.parse().unwrap()
}

fn frozen() -> Frozen {
    Frozen { news: Digest::of(&[b"news"]), body: Body::Inline(b"{\"a\":1}".to_vec()) }
}

async fn stored(store: &impl Store, record: &CallRecord) -> CallRecord {
    assert_eq!(store.put_call(record).await.unwrap(), Put::Stored(record.version + 1));
    store.call(&record.key).await.unwrap().unwrap()
}

async fn conflict(store: &impl Store, record: &CallRecord) -> CallRecord {
    match store.put_call(record).await.unwrap() {
        Put::Conflict(stored) => *stored,
        other => panic!("{other:?}"),
    }
}

pub async fn a_first_put_stores_and_a_second_shows_what_is_stored(store: &impl Store) {
    let first = record("CA-first#with/every:sign é");
    let one = stored(store, &first).await;
    assert_eq!(one, CallRecord { version: 1, ..first.clone() });
    assert_eq!(conflict(store, &first).await, one);
    assert_eq!(store.call(&key("CA-other")).await.unwrap(), None);
}

pub async fn equal_ids_of_two_sources_are_two_calls(store: &impl Store) {
    for source in ["north", "south"] {
        let key = CallKey::new(name("asterisk"), name(source), "1708416000.1").unwrap();
        let first = CallRecord::first(key, update(source, State::Ended), POLICY, at(0));
        stored(store, &first).await;
    }
}

pub async fn a_write_needs_the_version_that_it_read(store: &impl Store) {
    let one = stored(store, &record("CA-versions")).await;
    let mut mine = one.clone();
    mine.absorb(update("mine", State::Ringing), POLICY, at(1));
    let mut theirs = one.clone();
    theirs.absorb(update("theirs", State::Ringing), POLICY, at(1));
    let mine = stored(store, &mine).await;
    assert_eq!(mine.version, 2);
    let seen = conflict(store, &theirs).await;
    assert_eq!(seen, mine);
    let mut merged = seen;
    merged.absorb(update("theirs", State::Ringing), POLICY, at(1));
    assert_eq!(stored(store, &merged).await.updates.len(), 3);
}

pub async fn a_write_on_a_call_that_is_gone_is_an_error(store: &impl Store) {
    let ghost = CallRecord { version: 7, ..record("CA-ghost") };
    let error = store.put_call(&ghost).await.unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }) && !error.is_retryable());
}

pub async fn of_many_first_puts_one_stores(store: &(impl Store + Clone + 'static)) {
    let mut tasks = Vec::new();
    for _ in 0..50 {
        let store = store.clone();
        tasks.push(tokio::spawn(async move { store.put_call(&record("CA-crowd")).await.unwrap() }));
    }
    let mut wins = 0;
    for task in tasks {
        wins += usize::from(matches!(task.await.unwrap(), Put::Stored(1)));
    }
    assert_eq!(wins, 1);
}

pub async fn blobs_come_back_whole(store: &impl Store) {
    let key = key("CA-blobs");
    let mut noise = vec![0u8; 3_000_000];
    let mut seed = 1u32;
    for byte in &mut noise {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *byte = (seed >> 24) as u8;
    }
    for bytes in [vec![], vec![7], b"text ".repeat(10_000), noise] {
        let blob = Blob::new(bytes.clone());
        for _ in 0..2 {
            store.put_blob(&key, &blob).await.unwrap();
            assert!(store.blob(&key, &blob.reference()).await.unwrap() == bytes);
        }
    }
    let missing = Blob::new(b"never stored".to_vec()).reference();
    let error = store.blob(&key, &missing).await.unwrap_err();
    assert!(matches!(error, StoreError::Damaged { what: "blob", .. }));
}

pub async fn what_is_due_is_found_until_it_is_done(store: &impl Store) {
    let one = stored(store, &record("CA-due")).await;
    let shard = one.key.due_shard();
    let due = async |until| {
        let page = store.due(shard, until, None).await.unwrap();
        let mine = page.items.into_iter().filter(|due| due.key == one.key);
        mine.map(|due| (due.delivery, due.due_at)).collect::<Vec<_>>()
    };
    assert_eq!(due(at(0)).await, [(None, at(0))]);
    assert_eq!(due(at(0) - SignedDuration::from_millis(1)).await, []);

    let mut done = one.clone();
    done.owed.remove(&Work::Enrich);
    let delivery = Delivery::planned(one.key.clone(), id("crm#call.completed"), at(5));
    done.deliveries = BTreeSet::from([delivery.id.clone()]);
    let put = store.put_call_and_deliveries(&done, std::slice::from_ref(&delivery), &[]).await;
    assert_eq!(put.unwrap(), Put::Stored(2));
    assert_eq!(due(at(4)).await, []);
    assert_eq!(due(at(9)).await, [(Some(delivery.id.clone()), at(5))]);

    let planned = store.delivery(&one.key, &delivery.id).await.unwrap().unwrap();
    assert_eq!(planned, Delivery { version: 1, ..delivery.clone() });
    let claimed = planned.claimed(at(5), Seconds(30), frozen());
    assert_eq!(store.put_delivery(&claimed, Some(2)).await.unwrap(), PutDelivery::Stored(2));
    assert_eq!(due(at(9)).await, []);
    assert_eq!(due(at(35)).await, [(Some(delivery.id.clone()), at(35))]);

    let mut over = store.delivery(&one.key, &delivery.id).await.unwrap().unwrap();
    assert_eq!(over, Delivery { version: 2, ..claimed });
    over.due_at = None;
    assert_eq!(store.put_delivery(&over, None).await.unwrap(), PutDelivery::Stored(3));
    assert_eq!(due(at(900)).await, []);
}

pub async fn due_work_comes_in_pages_oldest_first(store: &impl Store) {
    let mut wanted = BTreeSet::new();
    for n in 0.. {
        let mut call = record(&format!("CA-page-{n}"));
        if call.key.due_shard() != 11 {
            continue;
        }
        let due_at = at(-1_000 - i64::from(n % 50));
        call.owed.insert(Work::Enrich, due_at);
        stored(store, &call).await;
        wanted.insert(call.key);
        if wanted.len() == 130 {
            break;
        }
    }
    let mut seen = Vec::new();
    let mut page = None;
    let mut pages = 0;
    loop {
        let due = store.due(11, at(-900), page).await.unwrap();
        pages += 1;
        seen.extend(due.items);
        page = due.next;
        if page.is_none() {
            break;
        }
    }
    assert!(pages > 1);
    assert!(seen.is_sorted_by_key(|due| due.due_at));
    assert_eq!(seen.len(), 130);
    assert_eq!(seen.into_iter().map(|due| due.key).collect::<BTreeSet<_>>(), wanted);
}

pub async fn deliveries_are_created_with_the_call_or_not_at_all(store: &impl Store) {
    let one = stored(store, &record("CA-together")).await;
    let planned = |destination: &str| {
        let id = id(&format!("{destination}#call.completed"));
        Delivery::planned(one.key.clone(), id, at(0))
    };
    let (crm, other) = (planned("crm"), planned("other"));
    let put = store.put_call_and_deliveries(&one, &[crm.clone(), other.clone()], &[]).await;
    assert_eq!(put.unwrap(), Put::Stored(2));

    // An older version writes nothing at all.
    let late = planned("late");
    let put = store.put_call_and_deliveries(&one, std::slice::from_ref(&late), &[]).await.unwrap();
    assert!(matches!(put, Put::Conflict(stored) if stored.version == 2));
    assert_eq!(store.delivery(&one.key, &late.id).await.unwrap(), None);

    // Nor does a plan that takes a delivery for new which is there.
    let two = store.call(&one.key).await.unwrap().unwrap();
    let again = store.put_call_and_deliveries(&two, &[late.clone(), crm.clone()], &[]).await;
    assert_eq!(again.unwrap(), Put::DeliveryConflict);
    assert_eq!(store.delivery(&one.key, &late.id).await.unwrap(), None);

    // Nor one that takes a delivery for untried which was tried.
    let untried = [crm.id.clone(), other.id.clone()];
    let tried = store.delivery(&one.key, &crm.id).await.unwrap().unwrap();
    let tried = tried.claimed(at(0), Seconds(30), frozen());
    assert_eq!(store.put_delivery(&tried, None).await.unwrap(), PutDelivery::Stored(2));
    let put = store.put_call_and_deliveries(&two, &[], &untried).await.unwrap();
    assert_eq!(put, Put::DeliveryConflict);
    assert_eq!(store.call(&one.key).await.unwrap().unwrap().version, 2);
    let put = store.put_call_and_deliveries(&two, &[], &untried[1..]).await.unwrap();
    assert_eq!(put, Put::Stored(3));

    let ids: Vec<String> =
        store.deliveries(&one.key).await.unwrap().iter().map(|one| one.id.to_string()).collect();
    assert_eq!(ids, ["crm#call.completed", "other#call.completed"]);
}

pub async fn a_delivery_is_taken_up_once_and_only_as_the_call_was_read(store: &impl Store) {
    let one = stored(store, &record("CA-taken")).await;
    let delivery = Delivery::planned(one.key.clone(), id("crm#call.updated"), at(0));
    store.put_call_and_deliveries(&one, std::slice::from_ref(&delivery), &[]).await.unwrap();
    let read = store.delivery(&one.key, &delivery.id).await.unwrap().unwrap();
    let claimed = read.claimed(at(0), Seconds(30), frozen());
    // The call has version 2 by now: a body made from version 1 is not sent.
    assert_eq!(store.put_delivery(&claimed, Some(1)).await.unwrap(), PutDelivery::Conflict);
    assert_eq!(store.put_delivery(&claimed, Some(2)).await.unwrap(), PutDelivery::Stored(2));
    assert_eq!(store.put_delivery(&claimed, Some(2)).await.unwrap(), PutDelivery::Conflict);
    assert_eq!(store.put_delivery(&claimed, None).await.unwrap(), PutDelivery::Conflict);
}

pub async fn quarantined_bodies_come_newest_first(store: &impl Store) {
    let body = |second: i64, bytes: Vec<u8>| Quarantined {
        provider: name("intake"),
        source: "intake,asterisk-main".into(),
        received_at: at(second),
        digest: Digest::of(&[&bytes]),
        target: "/api/crm/intake/calls?source=asterisk-main".into(),
        content_type: "application/json".into(),
        problem: "durationSec: is not followed by a JSON value (line 1, column 35)".into(),
        body: bytes,
    };
    let bodies =
        [body(1, b"{\"durationSec\":,}".to_vec()), body(2, vec![0xff, 0x00]), body(3, vec![])];
    for body in &bodies {
        store.put_quarantined(body).await.unwrap();
        store.put_quarantined(body).await.unwrap();
    }
    let mut kept = store.quarantined(&name("intake"), 10).await.unwrap();
    kept.reverse();
    assert_eq!(kept, bodies);
    assert_eq!(store.quarantined(&name("intake"), 1).await.unwrap(), bodies[2..]);
    assert_eq!(store.quarantined(&name("twilio"), 10).await.unwrap(), []);
}
