//! Calls and what belongs to them, over both tables.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use proptest::collection::btree_map;
use proptest::option;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use serde_json::json;
use switchboard_domain::delivery::{Attempt, DeliveryState, RenderedPayload};
use switchboard_domain::gate::{Breaker, Change, Mode, Why};
use switchboard_domain::sync::{Counts, Gap, Job, Kind, Progress, Step, Unit};
use switchboard_domain::{
    Analysed, Analysis, AnalysisState, Blob, BlobRef, Body, CallKey, CallRecord, Deferred,
    Delivery, DeliveryId, Digest, Facts, Gate, Legs, Lookup, LookupState, Name, Order, Pace, Party,
    PartyKind, People, Person, Personal, Policy, Seconds, State, Text, Update, Work,
};
use switchboard_store::{
    Between, CallStub, Due, Line, List, Overdue, Page, Place, Put, PutIf, Quarantined, Started,
    Store, StoreError,
};

use crate::{pages, server};

over_both_tables!(
    &Store::in_memory(), &server::store().await;
    a_first_put_stores_and_a_second_shows_what_is_stored,
    a_full_call_comes_back_as_it_went,
    any_call_comes_back_as_it_went,
    a_delivery_comes_back_as_it_went,
    no_call_id_is_taken_for_another,
    equal_ids_of_two_sources_are_two_calls,
    a_write_needs_the_version_that_it_read,
    a_write_on_a_call_that_is_gone_is_an_error,
    of_many_first_puts_one_stores,
    blobs_come_back_whole,
    a_blob_that_is_not_as_expected_is_not_given_out,
    what_is_due_is_found_until_it_is_done,
    due_work_comes_in_pages_oldest_first,
    due_times_count_in_milliseconds,
    a_page_goes_on_where_the_last_ended_though_that_was_done_meanwhile,
    deliveries_are_created_with_the_call_or_not_at_all,
    an_analysis_is_written_with_its_call_or_not_at_all,
    an_analysis_of_a_call_that_is_gone_is_an_error,
    a_delivery_is_taken_up_once_and_only_as_the_call_was_read,
    the_traces_of_calls_are_those_that_are_stored,
    quarantined_bodies_come_newest_first,
    what_is_taken_out_of_quarantine_is_gone_and_nothing_beside_it,
    the_pages_of_calls_hold_each_of_them_once,
    a_day_lists_its_calls_newest_first,
    a_contact_lists_its_calls_newest_first,
    a_call_stands_once_where_it_belongs_now,
    any_call_can_stand_in_a_list,
    a_job_comes_back_as_it_went,
    a_job_is_written_as_it_was_read_or_not_at_all,
    one_job_of_a_slot_runs_at_a_time,
    jobs_are_listed_newest_first,
    a_job_is_due_until_it_is_over,
    what_was_missing_is_noted_once,
    a_gate_comes_back_as_it_went,
    a_gate_is_written_as_it_was_read_or_not_at_all,
    all_gates_are_read_together,
    no_place_in_a_line_is_given_out_twice,
    what_is_parked_waits_apart_the_longest_due_first,
);

pub const POLICY: Policy = Policy { settle: Seconds(0), legs: Legs::Parent, starts: false };

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

fn rendered() -> RenderedPayload {
    RenderedPayload {
        fingerprint: Digest::of(&[b"news"]),
        body: Body::Inline(b"{\"a\":1}".to_vec()),
    }
}

async fn stored(store: &Store, record: &CallRecord) -> CallRecord {
    assert_eq!(store.put_call(record).await.unwrap(), Put::Stored(record.version + 1));
    store.call(&record.key).await.unwrap().unwrap()
}

async fn conflict(store: &Store, record: &CallRecord) -> CallRecord {
    match store.put_call(record).await.unwrap() {
        Put::Conflict(stored) => *stored,
        other => panic!("{other:?}"),
    }
}

async fn a_first_put_stores_and_a_second_shows_what_is_stored(store: &Store) {
    let first = record("CA-first#with/every:sign é");
    let one = stored(store, &first).await;
    assert_eq!(one, CallRecord { version: 1, ..first.clone() });
    assert_eq!(conflict(store, &first).await, one);
    assert_eq!(store.call(&key("CA-other")).await.unwrap(), None);
}

/// Facts with something in every field, and much of it.
fn full_facts(n: u32) -> Facts {
    let facts = json!({
        "state": "ended", "disposition": "no_answer", "answered_by": "machine", "direction": "outbound",
        "from": Party::read("sip:zoë@pbx.example"), "to": Party::read("00972 3-555 0100"),
        "contact": Party::read("anonymous"), "employee": Party::read("101"),
        "contact_name": "\u{202e}名 «Zoë» \0\n\u{1f469}\u{200d}\u{1f4bb} {\"S\":1}",
        "campaign": "Früh#ling/24", "contact_id": "C1", "lead_id": "L1",
        "started_at": at(-60) + SignedDuration::from_nanos(1),
        "answered_at": Timestamp::MIN, "ended_at": Timestamp::MAX,
        "talk": u32::MAX, "total": 0, "billed": n,
        "recordings": {
            "RE 1/é#": { "url": "https://example.com/r?é=1&b=%20", "path": "/var/spool/asterisk/1.wav",
                "duration": 7, "status": "absent" },
            "RE2": {},
        },
        "conversation": "conv_1", "parent": "CA-parent", "script_context": "", "cause": "SIP 486",
        "summary": "Zusammenfassung: äöü. ".repeat(40),
        "transcript": { "stored": { "digest": Digest::of(&[b"t"]), "bytes": u64::MAX } },
        "auto_analyze": true, "create_tasks": false, "flags": ["zone_fold", "in_future"],
        "extra": { "pk": "not the table's", "due_at": "9".repeat(40), "été": "" },
    });
    serde_json::from_value(facts).unwrap()
}

/// A call with something in every field, and much of it.
fn full_record(call_id: &str) -> CallRecord {
    let orders = [Order::Unordered, Order::Sequence(u64::MAX), Order::At(at(1))];
    let update = |n: u32| {
        let raw: Vec<u8> = (0..4_000u32).map(|byte| (byte * (n + 3)) as u8).collect();
        let order = orders[n as usize % orders.len()];
        Update::new("call_finished", order, at(n.into()), full_facts(n), raw)
    };
    let mut record = CallRecord::first(key(call_id), update(0), POLICY, at(0));
    for n in 1..40 {
        let (update, _) = update(n).offload(record.inline_limit());
        record.absorb(update, POLICY, at(0));
    }
    let person = |kind, e164: Option<&str>| Person::unknown(kind, e164.map(Personal::new));
    record.people = People {
        contact: Some(person(PartyKind::E164, Some("+61491570156"))),
        employee: Some(person(PartyKind::Extension, None)),
    };
    record.lookup = Some(Lookup {
        state: LookupState::Waiting,
        attempts: 3,
        since: at(2),
        conversation: Some("conv_1".into()),
    });
    record.deliveries = BTreeSet::from([id("crm#call.completed"), id("crm.2_x#call.updated")]);
    record.replayed_at = Some(at(9) + SignedDuration::from_nanos(1));
    analysed(record, &analysis(2), 2)
}

async fn a_full_call_comes_back_as_it_went(store: &Store) {
    let full = full_record("CA-full");
    assert_eq!(full.updates.len(), 40);
    let one = stored(store, &full).await;
    assert!(one == CallRecord { version: 1, ..full });
    assert!(conflict(store, &CallRecord { version: 0, ..one.clone() }).await == one);
}

fn personal() -> impl Strategy<Value = Personal> {
    any::<String>().prop_map(Personal::new)
}

fn any_party() -> impl Strategy<Value = Option<Party>> {
    any::<String>().prop_map(|text| Party::read(&text))
}

fn any_instant() -> impl Strategy<Value = Timestamp> {
    (Timestamp::MIN.as_nanosecond()..=Timestamp::MAX.as_nanosecond())
        .prop_map(|nanos| Timestamp::from_nanosecond(nanos).unwrap())
}

prop_compose! {
    fn any_facts()(
        state in option::of(prop::sample::select(vec![State::Queued, State::Ended])),
        from in any_party(),
        to in any_party(),
        contact_name in option::of(personal()),
        campaign in option::of(any::<String>()),
        started_at in option::of(any_instant()),
        ended_at in option::of(any_instant()),
        talk in option::of(any::<u32>().prop_map(Seconds)),
        transcript in option::of(personal().prop_map(Text::Inline)),
        auto_analyze in any::<Option<bool>>(),
        // Names of fields are never empty: no table takes one.
        extra in btree_map(".{1,9}", personal(), 0..4),
    ) -> Facts {
        Facts {
            state, from, to, contact_name, campaign, started_at, ended_at, talk, transcript,
            auto_analyze, extra, ..Facts::default()
        }
    }
}

prop_compose! {
    fn any_update()(
        kind in any::<String>(),
        order in prop_oneof![
            Just(Order::Unordered),
            any::<u64>().prop_map(Order::Sequence),
            any_instant().prop_map(Order::At),
        ],
        received_at in any_instant(),
        facts in any_facts(),
        raw in any::<Vec<u8>>(),
    ) -> Update {
        Update::new(&kind, order, received_at, facts, raw)
    }
}

async fn any_call_comes_back_as_it_went(store: &Store) {
    let mut runner = TestRunner::deterministic();
    let updates = prop::collection::vec(any_update(), 1..4);
    for n in 0..64 {
        let updates = updates.new_tree(&mut runner).unwrap().current();
        let mut updates = updates.into_iter();
        let first = updates.next().unwrap();
        let mut record = CallRecord::first(key(&format!("CA-any-{n}")), first, POLICY, at(0));
        for update in updates {
            record.absorb(update, POLICY, at(1));
        }
        let back = stored(store, &record).await;
        assert!(back == CallRecord { version: 1, ..record }, "record {n}");
    }
}

async fn a_delivery_comes_back_as_it_went(store: &Store) {
    let attempt = |status| Attempt { at: at(3), took_ms: u64::MAX, status, result: "né#".into() };
    let stored = BlobRef { digest: Digest::of(&[b"body"]), bytes: 70_000 };
    let delivery = Delivery {
        state: DeliveryState::Failed,
        due_at: Some(at(7) + SignedDuration::from_nanos(5)),
        failures: u32::MAX,
        attempts: vec![attempt(Some(503)), attempt(None)],
        rendered: Some(RenderedPayload {
            fingerprint: Digest::of(&[b"news"]),
            body: Body::Stored(stored),
        }),
        nonce: Some("again é".into()),
        ..Delivery::planned(key("CA-delivery"), id("crm#call.updated"), at(0))
    };
    let over = Delivery { due_at: None, version: 1, ..delivery.clone() };
    for delivery in [delivery, over] {
        let version = delivery.version + 1;
        let put = store.put_delivery(&delivery, None).await.unwrap();
        assert_eq!(put, PutIf::Stored(version));
        let back = store.delivery(&delivery.key, &delivery.id).await.unwrap().unwrap();
        assert_eq!(back, Delivery { version, ..delivery });
    }
}

async fn no_call_id_is_taken_for_another(store: &Store) {
    let ids = "a,a#call,a#,#a,a/b,a/,//,call#twilio#twilio#a,delivery#crm,blob#,é,e\u{301},名前,\u{1f4de},\
        A,a b,%41,\"}{,..";
    let longest = "é".repeat(128);
    for call_id in ids.split(',').chain([&*longest]) {
        let one = stored(store, &record(call_id)).await;
        assert_eq!((one.version, one.key.call_id()), (1, call_id));
        // The index knows it by the same key.
        let due = store.due(one.key.due_shard(), at(0), None).await.unwrap();
        assert!(due.items.iter().any(|due| of(due).0 == Some(&one.key)), "{call_id}");
    }
}

async fn equal_ids_of_two_sources_are_two_calls(store: &Store) {
    for source in ["north", "south"] {
        let key = CallKey::new(name("asterisk"), name(source), "1708416000.1").unwrap();
        let first = CallRecord::first(key, update(source, State::Ended), POLICY, at(0));
        stored(store, &first).await;
    }
    for source in ["north", "south"] {
        let key = CallKey::new(name("asterisk"), name(source), "1708416000.1").unwrap();
        let call = store.call(&key).await.unwrap().unwrap();
        assert_eq!(call.key, key);
        assert!(call.updates.contains_key(&update(source, State::Ended).digest));
    }
}

async fn a_write_needs_the_version_that_it_read(store: &Store) {
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

async fn a_write_on_a_call_that_is_gone_is_an_error(store: &Store) {
    let ghost = CallRecord { version: 7, ..record("CA-ghost") };
    let error = store.put_call(&ghost).await.unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }) && !error.is_retryable());

    // Nor are deliveries made for it, whatever there is to say about them.
    let delivery = Delivery::planned(ghost.key.clone(), id("crm#call.completed"), at(0));
    store.put_delivery(&delivery, None).await.unwrap();
    let error = store.put_call_and_deliveries(&ghost, &[delivery], &[]).await.unwrap_err();
    assert!(matches!(error, StoreError::Damaged { what: "call", .. }));
    assert_eq!(store.call(&ghost.key).await.unwrap(), None);
}

async fn of_many_first_puts_one_stores(store: &Store) {
    let put = |_| {
        let store = store.clone();
        tokio::spawn(async move { store.put_call(&record("CA-crowd")).await.unwrap() })
    };
    let puts = futures_util::future::join_all((0..50).map(put)).await;
    assert_eq!(puts.into_iter().filter(|put| *put.as_ref().unwrap() == Put::Stored(1)).count(), 1);
}

/// Bytes that no compression makes smaller.
pub fn noise(length: usize) -> Vec<u8> {
    let mut seed = 1u32;
    let next = || {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 24) as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

async fn blobs_come_back_whole(store: &Store) {
    let key = key("CA-blobs");
    for bytes in [vec![], vec![7], b"text ".repeat(10_000), noise(3_000_000)] {
        let blob = Blob::new(bytes.clone());
        for _ in 0..2 {
            store.put_blob(&key, &blob).await.unwrap();
            assert!(store.blob(&key, &blob.reference()).await.unwrap() == bytes);
        }
    }
}

async fn a_blob_that_is_not_as_expected_is_not_given_out(store: &Store) {
    let here = key("CA-blob");
    let there = key("CA-blob#2");
    let blob = Blob::new(b"agent: hello".to_vec());
    store.put_blob(&here, &blob).await.unwrap();
    let whole = blob.reference();
    let other = Blob::new(b"never stored".to_vec()).reference();
    let shorter = BlobRef { bytes: whole.bytes - 1, ..whole.clone() };
    let longer = BlobRef { bytes: whole.bytes + 1, ..whole.clone() };
    let cases = [(&here, &other), (&there, &whole), (&here, &shorter), (&here, &longer)];
    for (key, blob) in cases {
        let error = store.blob(key, blob).await.unwrap_err();
        assert!(matches!(error, StoreError::Damaged { what: "blob", .. }), "{blob:?}");
        assert!(!error.is_retryable());
    }
}

async fn what_is_due_is_found_until_it_is_done(store: &Store) {
    let one = stored(store, &record("CA-due")).await;
    let shard = one.key.due_shard();
    let due = async |until| {
        let page = store.due(shard, until, None).await.unwrap();
        let mine = page.items.iter().filter(|due| of(due).0 == Some(&one.key));
        mine.map(|due| (of(due).1.cloned(), due.due_at)).collect::<Vec<_>>()
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
    let claimed = planned.claimed(at(5), Seconds(30), rendered());
    assert_eq!(store.put_delivery(&claimed, Some(2)).await.unwrap(), PutIf::Stored(2));
    assert_eq!(due(at(9)).await, []);
    assert_eq!(due(at(35)).await, [(Some(delivery.id.clone()), at(35))]);

    let mut over = store.delivery(&one.key, &delivery.id).await.unwrap().unwrap();
    assert_eq!(over, Delivery { version: 2, ..claimed });
    over.due_at = None;
    assert_eq!(store.put_delivery(&over, None).await.unwrap(), PutIf::Stored(3));
    assert_eq!(due(at(900)).await, []);
}

async fn due_work_comes_in_pages_oldest_first(store: &Store) {
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
    let (seen, count) = pages(async |page| store.due(11, at(-900), page).await).await;
    assert!((2..9).contains(&count), "{count}");
    assert!(seen.is_sorted_by_key(|due| due.due_at));
    assert_eq!(seen.len(), 130);
    assert_eq!(seen.iter().filter_map(|due| of(due).0.cloned()).collect::<BTreeSet<_>>(), wanted);
}

async fn due_times_count_in_milliseconds(store: &Store) {
    let mut call = record("CA-fraction");
    let moment = at(100) + SignedDuration::from_micros(1_900);
    let millisecond = at(100) + SignedDuration::from_millis(1);
    call.owed.insert(Work::Enrich, moment);
    let one = stored(store, &call).await;
    assert_eq!(one.due_at(), Some(moment));
    let due = async |until| {
        let items = store.due(one.key.due_shard(), until, None).await.unwrap().items;
        items.into_iter().map(|due| due.due_at).collect::<Vec<_>>()
    };
    assert_eq!(due(millisecond).await, [millisecond]);
    assert_eq!(due(millisecond - SignedDuration::from_nanos(1)).await, []);
}

async fn a_page_goes_on_where_the_last_ended_though_that_was_done_meanwhile(store: &Store) {
    let shard = key("CA-0").due_shard();
    let keys = (0..).map(|n| key(&format!("CA-{n}")));
    let mut wanted = BTreeSet::new();
    for key in keys.filter(|key| key.due_shard() == shard).take(103) {
        // All due at once, and each with a delivery that is due too.
        let first = CallRecord::first(key.clone(), update("raw", State::Ended), POLICY, at(0));
        let delivery = Delivery::planned(key.clone(), id("crm#call.completed"), at(0));
        let put = store.put_call_and_deliveries(&first, std::slice::from_ref(&delivery), &[]).await;
        assert_eq!(put.unwrap(), Put::Stored(1));
        wanted.extend([Overdue::Call(key.clone()), Overdue::Delivery(key, delivery.id)]);
    }
    let mut seen = BTreeSet::new();
    let (_, count) = pages(async |page| {
        let due = store.due(shard, at(0), page).await?;
        for item in &due.items {
            match of(item).1 {
                Some(id) => {
                    let read = store.delivery(of(item).0.unwrap(), id).await?.unwrap();
                    let over = Delivery { due_at: None, ..read };
                    store.put_delivery(&over, None).await?;
                }
                None => {
                    let mut done = store.call(of(item).0.unwrap()).await?.unwrap();
                    done.owed.clear();
                    store.put_call(&done).await?;
                }
            }
            assert!(seen.insert(item.what.clone()));
        }
        Ok(due)
    })
    .await;
    assert!((2..=4).contains(&count), "{count}");
    assert!(seen == wanted, "{} of {}", seen.len(), wanted.len());
    assert_eq!(store.due(shard, at(0), None).await.unwrap(), Page::default());
}

async fn deliveries_are_created_with_the_call_or_not_at_all(store: &Store) {
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
    let unchanged = Put::Conflict(Box::new(two.clone()));
    let again = store.put_call_and_deliveries(&two, &[late.clone(), crm.clone()], &[]).await;
    assert_eq!(again.unwrap(), unchanged);
    assert_eq!(store.delivery(&one.key, &late.id).await.unwrap(), None);

    // Nor one that was read: what is planned is new.
    let read = store.delivery(&one.key, &crm.id).await.unwrap().unwrap();
    let again = store.put_call_and_deliveries(&two, &[read], &[]).await;
    assert_eq!(again.unwrap(), unchanged);

    // Nor one that takes a delivery for untried which is not there.
    let put = store.put_call_and_deliveries(&two, &[], std::slice::from_ref(&late.id)).await;
    assert_eq!(put.unwrap(), unchanged);

    // Nor one that takes a delivery for untried which was tried.
    let untried = [crm.id.clone(), other.id.clone()];
    let tried = store.delivery(&one.key, &crm.id).await.unwrap().unwrap();
    let tried = tried.claimed(at(0), Seconds(30), rendered());
    assert_eq!(store.put_delivery(&tried, None).await.unwrap(), PutIf::Stored(2));
    let put = store.put_call_and_deliveries(&two, &[], &untried).await.unwrap();
    assert_eq!(put, unchanged);
    assert_eq!(store.call(&one.key).await.unwrap().unwrap().version, 2);
    let put = store.put_call_and_deliveries(&two, &[], &untried[1..]).await.unwrap();
    assert_eq!(put, Put::Stored(3));

    let ids: Vec<String> =
        store.deliveries(&one.key).await.unwrap().iter().map(|one| one.id.to_string()).collect();
    assert_eq!(ids, ["crm#call.completed", "other#call.completed"]);
}

/// An analysis with something in every field, and so many tasks.
pub fn analysis(tasks: usize) -> Analysis {
    let task = |n: usize| {
        let owner = [None, Some("employee"), Some("contact")][n % 3];
        json!({ "title": format!("Rückruf {n}"), "due": (n > 0).then_some("2026-02-23"), "owner": owner })
    };
    let analysis = json!({
        "summary": "Zoë wants an offer. 名", "outcome": "follow_up", "sentiment": "mixed",
        "scorecard": [
            { "criterion": "greeting", "asked": "Says who calls.", "score": 4, "scale": 5,
                "confidence": 90, "evidence": [{ "turn": 1, "quote": "hello" }] },
            { "criterion": "script_1", "asked": "Asks why.", "scale": 5, "confidence": 0, "evidence": [] },
        ],
        "tasks": (0..tasks).map(task).collect::<Vec<_>>(),
        "turns": { "total": 9, "shown": 2 }, "model": "fake.model-v1:0",
        "tokens": { "input": 1_234, "output": u32::MAX },
        "basis": Digest::of(&[b"basis"]), "made_at": at(7),
    });
    serde_json::from_value(analysis).unwrap()
}

/// A call with the mark of an analysis.
pub fn analysed(record: CallRecord, analysis: &Analysis, runs: u32) -> CallRecord {
    let mark = Analysed {
        digest: Some(analysis.digest()),
        tasks: u32::try_from(analysis.tasks.len()).unwrap(),
        reason: Some("words".into()),
        basis: Some(analysis.basis.clone()),
        since: Some(at(1)),
        attempts: 2,
        runs,
        tokens: analysis.tokens,
        ..Analysed::new(AnalysisState::Done)
    };
    CallRecord { analysis: Some(mark), ..record }
}

async fn an_analysis_is_written_with_its_call_or_not_at_all(store: &Store) {
    let one = stored(store, &record("CA-analysed")).await;
    assert_eq!(store.analysis(&one.key).await.unwrap(), None);
    let first = analysis(3);
    let marked = analysed(one.clone(), &first, 1);
    let put = store.put_call_and_analysis(&marked, &first).await.unwrap();
    assert_eq!(put, Put::Stored(2));
    assert_eq!(store.analysis(&one.key).await.unwrap().as_ref(), Some(&first));
    let two = store.call(&one.key).await.unwrap().unwrap();
    assert_eq!(two, CallRecord { version: 2, ..marked.clone() });

    // An older version writes nothing at all, and shows what is stored.
    let other = analysis(1);
    match store.put_call_and_analysis(&marked, &other).await.unwrap() {
        Put::Conflict(stored) => assert_eq!(*stored, two),
        other => panic!("{other:?}"),
    }
    assert_eq!(store.analysis(&one.key).await.unwrap().as_ref(), Some(&first));

    // Another one takes its place, with fewer tasks, with none, with more.
    let mut record = two;
    for (runs, tasks) in [(2, 1), (3, 0), (4, 10)] {
        let next = analysis(tasks);
        record = analysed(record, &next, runs);
        let put = store.put_call_and_analysis(&record, &next).await.unwrap();
        assert_eq!(put, Put::Stored(record.version + 1));
        record.version += 1;
        assert_eq!(store.analysis(&one.key).await.unwrap(), Some(next));
    }
    // It is the call's own, and no delivery, blob or other call.
    assert_eq!(store.deliveries(&one.key).await.unwrap(), []);
    assert_eq!(store.analysis(&key("CA-analysed-too")).await.unwrap(), None);
}

async fn an_analysis_of_a_call_that_is_gone_is_an_error(store: &Store) {
    let ghost = CallRecord { version: 3, ..record("CA-ghost-analysed") };
    let one = analysis(1);
    let error = store.put_call_and_analysis(&analysed(ghost, &one, 1), &one).await.unwrap_err();
    assert!(matches!(error, StoreError::Damaged { what: "call", .. }), "{error}");
}

async fn a_delivery_is_taken_up_once_and_only_as_the_call_was_read(store: &Store) {
    let one = stored(store, &record("CA-taken")).await;
    let delivery = Delivery::planned(one.key.clone(), id("crm#call.updated"), at(0));
    store.put_call_and_deliveries(&one, std::slice::from_ref(&delivery), &[]).await.unwrap();
    let read = store.delivery(&one.key, &delivery.id).await.unwrap().unwrap();
    let claimed = read.claimed(at(0), Seconds(30), rendered());
    // The call has version 2 by now: a body made from version 1 is not sent.
    assert_eq!(store.put_delivery(&claimed, Some(1)).await.unwrap(), PutIf::Conflict);
    assert_eq!(store.put_delivery(&claimed, Some(2)).await.unwrap(), PutIf::Stored(2));
    assert_eq!(store.put_delivery(&claimed, Some(2)).await.unwrap(), PutIf::Conflict);
    assert_eq!(store.put_delivery(&claimed, None).await.unwrap(), PutIf::Conflict);

    // Nor is one of which there is no other trace, or whose call is not there.
    let ghost = Delivery { id: id("other#call.updated"), ..claimed.clone() };
    assert_eq!(store.put_delivery(&ghost, None).await.unwrap(), PutIf::Conflict);
    assert_eq!(store.put_delivery(&ghost, Some(2)).await.unwrap(), PutIf::Conflict);
    let orphan = Delivery { key: key("CA-orphan"), version: 0, ..claimed };
    assert_eq!(store.put_delivery(&orphan, Some(1)).await.unwrap(), PutIf::Conflict);
    assert_eq!(store.deliveries(&orphan.key).await.unwrap(), []);
}

async fn the_traces_of_calls_are_those_that_are_stored(store: &Store) {
    let ended = stored(store, &record("CA-ended")).await;
    let ringing = update("ringing", State::Ringing);
    let ringing = CallRecord::first(key("CA-ringing"), ringing, POLICY, at(0));
    let ringing = stored(store, &ringing).await;
    let digest = ended.updates.keys().next().unwrap();
    let keys = [key("CA-none"), ended.key.clone(), ringing.key.clone()];
    let stubs = store.stubs(&keys, digest).await.unwrap();
    let stub = |state, has_update| CallStub { state: Some(state), has_update };
    let expected = BTreeMap::from([
        (ended.key, stub(State::Ended, true)),
        (ringing.key, stub(State::Ringing, false)),
    ]);
    assert_eq!(stubs, expected);
}

/// Everything of one provider in quarantine, over all pages.
pub async fn quarantined(
    store: &Store,
    provider: &str,
    between: Between,
) -> Vec<(Quarantined, Vec<u8>)> {
    let provider = name(provider);
    let (read, _) = pages(async |page| store.quarantined(&provider, &between, page).await).await;
    let mut found = Vec::new();
    for one in read {
        let body = store.quarantined_body(&one).await.unwrap();
        found.push((one, body));
    }
    found
}

fn unread(nanos: i64, bytes: Vec<u8>) -> (Quarantined, Vec<u8>) {
    let one = Quarantined {
        provider: name("intake"),
        source: "intake,asterisk-main".into(),
        received_at: at(1) + SignedDuration::from_nanos(nanos),
        digest: Digest::of(&[&bytes]),
        target: "/api/crm/intake/calls?source=asterisk-main".into(),
        content_type: "application/json".into(),
        problem: "durationSec: is not followed by a JSON value (line 1, column 35)".into(),
        length: bytes.len() as u64,
    };
    (one, bytes)
}

async fn quarantined_bodies_come_newest_first(store: &Store) {
    // Within one second, and with more and fewer digits.
    let bodies = [
        unread(0, b"{\"durationSec\":,}".to_vec()),
        unread(7, vec![0xff, 0x00]),
        unread(500_000_000, noise(1_000_000)),
        unread(999_999_999, b"{".to_vec()),
        unread(1_000_000_000, vec![]),
    ];
    for (one, body) in &bodies {
        store.put_quarantined(one, body).await.unwrap();
        store.put_quarantined(one, body).await.unwrap();
    }
    let mut kept = quarantined(store, "intake", Between::default()).await;
    kept.reverse();
    assert!(kept == bodies);
    assert_eq!(quarantined(store, "twilio", Between::default()).await, []);

    // From one moment on, before another.
    let moment = |n: usize| Some(bodies[n].0.received_at);
    for (since, until, expected) in [
        (moment(1), None, 1..5),
        (None, moment(1), 0..1),
        (moment(1), moment(3), 1..3),
        (moment(2), moment(2), 0..0),
        (moment(3), moment(1), 0..0),
        (Some(at(-9)), Some(at(9)), 0..5),
    ] {
        let between = Between { since, until };
        let mut kept = quarantined(store, "intake", between).await;
        kept.reverse();
        assert!(kept == bodies[expected], "{between:?}");
    }
}

async fn what_is_taken_out_of_quarantine_is_gone_and_nothing_beside_it(store: &Store) {
    let mut unreads: Vec<_> = (0..250).map(|n| unread(n, vec![n as u8])).collect();
    unreads.push(unread(250, noise(1_000_000)));
    // The same bytes once more, later and at the same time as others.
    unreads.push(unread(251, vec![7]));
    unreads.push(unread(250, vec![8]));
    for (one, body) in &unreads {
        store.put_quarantined(one, body).await.unwrap();
    }
    assert_eq!(quarantined(store, "intake", Between::default()).await.len(), unreads.len());
    for (n, (one, _)) in unreads.iter().enumerate().filter(|(n, _)| n % 2 == 0) {
        store.delete_quarantined(one).await.unwrap();
        store.delete_quarantined(one).await.unwrap();
        let error = store.quarantined_body(one).await.unwrap_err();
        assert!(matches!(error, StoreError::Damaged { what: "blob", .. }), "{n}");
    }
    let mut left = unreads.into_iter().skip(1).step_by(2).collect::<Vec<_>>();
    left.sort_by_key(|(one, _)| std::cmp::Reverse((one.received_at, one.digest.clone())));
    assert!(quarantined(store, "intake", Between::default()).await == left);
}

async fn the_pages_of_calls_hold_each_of_them_once(store: &Store) {
    let mut wanted = BTreeMap::new();
    for n in 0..230 {
        let provider = name(["twilio", "asterisk", "twili"][n % 3]);
        // A source whose name begins as another's, and something beside each call.
        let source = name(["twilio", "twilio-2"][n % 2]);
        let key = CallKey::new(provider, source, &format!("CA#{n}")).unwrap();
        let first = update(&format!("{n}"), State::Ended);
        let first = CallRecord::first(key.clone(), first, POLICY, at(0));
        let delivery = Delivery::planned(key.clone(), id("crm#call.completed"), at(0));
        let put = store.put_call_and_deliveries(&first, &[delivery], &[]).await.unwrap();
        assert_eq!(put, Put::Stored(1));
        store.put_blob(&key, &Blob::new(noise(20_000))).await.unwrap();
        wanted.insert(key, CallRecord { version: 1, ..first });
    }
    let (one, body) = unread(0, b"call".to_vec());
    store.put_quarantined(&one, &body).await.unwrap();
    for provider in [None, Some("twilio"), Some("asterisk"), Some("twili"), Some("unknown")] {
        let provider = provider.map(name);
        let read = pages(async |page| store.calls_page(provider.as_ref(), page).await).await;
        let (mut seen, count) = read;
        seen.sort_by(|one, other| one.key.cmp(&other.key));
        let mut expected: Vec<_> = wanted.values().cloned().collect();
        expected.retain(|call| provider.as_ref().is_none_or(|wanted| call.key.provider == *wanted));
        assert!(seen == expected, "{provider:?}: {} of {}", seen.len(), expected.len());
        assert!(count > 1 || expected.len() < 230);
    }
}

/// A call that began some seconds after [`at`]'s zero, with a contact.
fn begun(call_id: &str, second: i64, contact: Option<&str>) -> CallRecord {
    let mut facts = update(call_id, State::Ended).facts;
    facts.started_at = Some(at(second));
    facts.contact = Party::read("0491 570 156");
    let update = Update::new("status", Order::Unordered, at(0), facts, call_id.into());
    let mut record = CallRecord::first(key(call_id), update, POLICY, at(0));
    let mut person = Person::unknown(PartyKind::E164, Some(Personal::new("+61491570156")));
    person.entry = contact.map(name);
    record.people.contact = Some(person);
    record
}

const TODAY: i64 = 1_771_577_000 - 1_771_577_000 % 86_400 - 1_771_577_000;

/// Every line of a list in a stretch, read in parts of `limit`.
async fn listed(store: &Store, list: &List, stretch: (i64, i64), limit: usize) -> Vec<Line> {
    let (mut lines, mut before) = (Vec::new(), Place::of(at(stretch.1)));
    loop {
        let part = store.lines(list, at(stretch.0), &before, limit).await.unwrap();
        assert!(part.lines.len() <= limit);
        let last = part.lines.last().map(Line::place);
        lines.extend(part.lines);
        assert!(lines.len() < 1_000, "it does not go on");
        match last {
            Some(last) if part.more => before = last,
            Some(_) | None => {
                assert!(!part.more, "there is more, and no way to go on");
                return lines;
            }
        }
    }
}

async fn a_day_lists_its_calls_newest_first(store: &Store) {
    let today = List::Day(at(0).to_zoned(jiff::tz::TimeZone::UTC).date());
    let mut wanted = Vec::new();
    // Several in each second, and some on the days before and after.
    for n in 0..60 {
        let second = TODAY + i64::from(n / 3) * 4_000;
        let record = begun(&format!("CA/{n}#"), second, None);
        stored(store, &record).await;
        wanted.push(Line::of(&record));
    }
    for (call_id, second) in [("CA-before", TODAY - 1), ("CA-after", TODAY + 86_400)] {
        stored(store, &begun(call_id, second, None)).await;
    }
    wanted.sort_by_key(|line| std::cmp::Reverse(line.place()));
    for limit in [1, 7, 100] {
        let day = (TODAY - 100_000, TODAY + 200_000);
        assert_eq!(listed(store, &today, day, limit).await, wanted);
    }
    // From a moment on, and up to another, which is out.
    let stretch = (TODAY + 8_000, TODAY + 20_000);
    let found = listed(store, &today, stretch, 2).await;
    let is_in = |line: &&Line| (at(stretch.0)..at(stretch.1)).contains(&line.began_at);
    assert_eq!(found, wanted.iter().filter(is_in).cloned().collect::<Vec<_>>());
    assert_eq!(found.len(), 9);
    // A stretch that ends before it begins holds nothing, and neither does one of a moment.
    for until in [stretch.0, stretch.0 - 1] {
        assert_eq!(listed(store, &today, (stretch.0, until), 2).await, []);
    }
}

async fn a_contact_lists_its_calls_newest_first(store: &Store) {
    let mut wanted = Vec::new();
    for n in 0..9 {
        // Months apart.
        let record = begun(&format!("CA{n}"), -n * 2_000_000, Some("c1"));
        stored(store, &record).await;
        wanted.push(Line::of(&record));
    }
    stored(store, &begun("CA-other", 0, Some("c2"))).await;
    stored(store, &begun("CA-without", 0, None)).await;
    let always = (-999_999_999, 999);
    for limit in [2, 100] {
        assert_eq!(listed(store, &List::Contact(name("c1")), always, limit).await, wanted);
    }
    assert_eq!(listed(store, &List::Contact(name("c2")), always, 9).await.len(), 1);
    assert_eq!(listed(store, &List::Contact(name("c")), always, 9).await, []);
}

async fn a_call_stands_once_where_it_belongs_now(store: &Store) {
    let day = |second| List::Day(at(second).to_zoned(jiff::tz::TimeZone::UTC).date());
    let always = (-999_999_999, 999_999_999);
    let first = stored(store, &begun("CA1", TODAY + 60, Some("c1"))).await;
    let line = listed(store, &day(TODAY), always, 9).await;
    assert_eq!(line, [Line::of(&first)]);
    assert_eq!(line[0].contact.as_ref().unwrap().address.expose(), "+61491570156");
    // Its start is corrected to the day before, and it turns out to have been with another contact.
    let mut later = begun("CA1", TODAY - 60, Some("c2"));
    later.version = first.version;
    let later = stored(store, &later).await;
    assert_eq!(listed(store, &day(TODAY), always, 9).await, []);
    assert_eq!(listed(store, &day(TODAY - 60), always, 9).await, [Line::of(&later)]);
    assert_eq!(listed(store, &List::Contact(name("c1")), always, 9).await, []);
    assert_eq!(listed(store, &List::Contact(name("c2")), always, 9).await, [Line::of(&later)]);
    // Without a contact, it is in no contact's list; a delivery is in none ever.
    let mut without = begun("CA1", TODAY - 60, None);
    without.version = later.version;
    let delivery = Delivery::planned(without.key.clone(), id("crm#call.completed"), at(0));
    store.put_call_and_deliveries(&without, &[delivery], &[]).await.unwrap();
    assert_eq!(listed(store, &List::Contact(name("c2")), always, 9).await, []);
    assert_eq!(listed(store, &day(TODAY - 60), always, 9).await.len(), 1);
}

/// Also one whose facts are long, and one of which no time is known.
async fn any_call_can_stand_in_a_list(store: &Store) {
    let mut record = full_record("CA-full");
    record.call.facts.campaign = Some("名".repeat(9_000));
    record.call.facts.contact_name = Some(Personal::new("x".repeat(9_000)));
    record.call.facts.started_at = None;
    stored(store, &record).await;
    let day = List::Day(record.began_at().to_zoned(jiff::tz::TimeZone::UTC).date());
    let found = listed(store, &day, (-999_999_999, 999_999_999), 9).await;
    assert_eq!(found, [Line::of(&record)]);
    assert!(texts_length(&found[0]) < 2_000);
}

/// How long the texts of a line are, bytes.
fn texts_length(line: &Line) -> usize {
    let texts = [&line.campaign, &line.contact_name.as_ref().map(|name| name.expose().to_owned())];
    texts.iter().filter_map(|text| text.as_ref()).map(String::len).sum()
}

/// The call and the delivery that something due is of.
fn of(due: &Due) -> (Option<&CallKey>, Option<&DeliveryId>) {
    match &due.what {
        Overdue::Call(key) => (Some(key), None),
        Overdue::Delivery(key, id) => (Some(key), Some(id)),
        Overdue::Pull(_) => (None, None),
    }
}

fn job(source: &str, kind: Kind, second: i64) -> Job {
    let range = (at(-86_400), at(0));
    let steps = vec![
        Step::first("calls", range.0, range.1).at("page-2"),
        Step::first("recordings", range.0, range.1),
    ];
    Job::start(kind, (name("twilio"), name(source)), range, steps, at(second))
}

async fn a_job_comes_back_as_it_went(store: &Store) {
    let job = job("whole", Kind::Reconcile, 0);
    assert_eq!(store.job(&job.id).await.unwrap(), None);
    assert_eq!(store.start_job(&job).await.unwrap(), Started::New(1));
    let unit = Unit {
        steps: 1,
        next: Vec::new(),
        counts: Counts { pages: 1, seen: 6, new: 1, duplicates: 2, rejected: 3, unfinished: 4 },
        missing: [("2026-02-20".parse().unwrap(), 1)].into(),
    };
    let next = Job { version: 1, ..job }.after(unit, at(5));
    let next = next.waiting(at(77), "responded 429", at(6));
    assert_eq!(store.put_job(&next).await.unwrap(), PutIf::Stored(2));
    let next = Job { version: 2, ..next };
    assert_eq!(store.job(&next.id).await.unwrap(), Some(next));
}

async fn a_job_is_written_as_it_was_read_or_not_at_all(store: &Store) {
    let job = job("versions", Kind::Sync, 0);
    assert_eq!(store.put_job(&Job { version: 1, ..job.clone() }).await.unwrap(), PutIf::Conflict);
    store.start_job(&job).await.unwrap();
    let read = store.job(&job.id).await.unwrap().unwrap();
    assert_eq!(store.put_job(&read.claimed(at(1))).await.unwrap(), PutIf::Stored(2));
    let canceled = read.ended(Progress::Canceled, None, at(2));
    assert_eq!(store.put_job(&canceled).await.unwrap(), PutIf::Conflict);
    assert!(store.job(&job.id).await.unwrap().unwrap().is_running());
}

async fn one_job_of_a_slot_runs_at_a_time(store: &Store) {
    let first = job("slot", Kind::Sync, 0);
    assert_eq!(store.start_job(&first).await.unwrap(), Started::New(1));
    let second = job("slot", Kind::Sync, 9);
    let running = store.job(&first.id).await.unwrap().unwrap();
    assert_eq!(store.start_job(&second).await.unwrap(), Started::Running(running.clone().into()));
    assert_eq!(store.job(&second.id).await.unwrap(), None);
    let other = job("slot", Kind::Reconcile, 9);
    assert_eq!(store.start_job(&other).await.unwrap(), Started::New(1));
    store.put_job(&running.ended(Progress::Done, None, at(10))).await.unwrap();
    assert_eq!(store.start_job(&second).await.unwrap(), Started::New(1));
    let third = job("slot", Kind::Sync, 11);
    assert!(
        matches!(store.start_job(&third).await.unwrap(), Started::Running(job) if job.id == second.id)
    );
}

async fn jobs_are_listed_newest_first(store: &Store) {
    for second in [30, 10, 20] {
        store.start_job(&job(&format!("list-{second}"), Kind::Sync, second)).await.unwrap();
    }
    let jobs = store.jobs().await.unwrap();
    let mine = jobs.iter().map(|job| job.source.as_str()).filter(|name| name.starts_with("list-"));
    assert_eq!(mine.collect::<Vec<_>>(), ["list-30", "list-20", "list-10"]);
}

async fn a_job_is_due_until_it_is_over(store: &Store) {
    let job = job("due", Kind::Sync, 0);
    store.start_job(&job).await.unwrap();
    let due = async |until| {
        let page = store.due(job.due_shard(), until, None).await.unwrap();
        let mine = page.items.into_iter().filter(|due| due.what == Overdue::Pull(job.id.clone()));
        mine.map(|due| due.due_at).collect::<Vec<_>>()
    };
    assert_eq!(due(at(0)).await, [at(0)]);
    assert_eq!(due(at(-1)).await, []);
    let read = store.job(&job.id).await.unwrap().unwrap();
    store.put_job(&read.waiting(at(60), "responded 429", at(1))).await.unwrap();
    assert_eq!((due(at(59)).await, due(at(60)).await), (vec![], vec![at(60)]));
    let read = store.job(&job.id).await.unwrap().unwrap();
    store.put_job(&read.ended(Progress::Done, None, at(61))).await.unwrap();
    assert_eq!(due(at(9_999)).await, []);
}

async fn what_was_missing_is_noted_once(store: &Store) {
    let gap = |day: &str, job: &str, missing| Gap {
        provider: name("twilio"),
        source: name("gaps"),
        day: day.parse().unwrap(),
        job: name(job),
        missing,
    };
    let gaps = [gap("2026-02-19", "a", 1), gap("2026-02-20", "a", 2), gap("2026-02-20", "b", 3)];
    for gap in gaps.iter().chain(&gaps) {
        store.put_gap(gap).await.unwrap();
    }
    let since = |day: &str| store.gaps(&gaps[0].provider, &gaps[0].source, day.parse().unwrap());
    let (all, some) = (since("2026-02-01").await.unwrap(), since("2026-02-20").await.unwrap());
    assert_eq!((all, some), (gaps.to_vec(), gaps[1..].to_vec()));
}

async fn a_gate_comes_back_as_it_went(store: &Store) {
    let mut version = 0;
    let moment = at(5) + SignedDuration::from_nanos(1);
    for mode in [Mode::Running, Mode::Paused, Mode::Draining { since: moment }, Mode::Stopped] {
        for breaker in [
            Breaker::Closed,
            Breaker::Open { why: Why::Asked, until: moment, strikes: 0 },
            Breaker::Probing { why: Why::Failing, until: Timestamp::MAX, strikes: u32::MAX },
            Breaker::Open { why: Why::Configuration, until: at(0), strikes: 7 },
            Breaker::Open { why: Why::Resumed, until: at(0), strikes: 7 },
        ] {
            let release_at = (version % 2 == 0).then_some(moment);
            let destination = name("a.destination-1");
            let gate = Gate { destination, version, mode, breaker, changed_at: moment, release_at };
            assert_eq!(store.put_gate(&gate).await.unwrap(), PutIf::Stored(version + 1));
            version += 1;
            let stored = store.gate(&gate.destination).await.unwrap().unwrap();
            assert_eq!(stored, Gate { version, ..gate });
        }
    }
    assert_eq!(store.gate(&name("another")).await.unwrap(), None);
}

async fn a_gate_is_written_as_it_was_read_or_not_at_all(store: &Store) {
    let gate = Gate::new(name("crm")).after(&Change::Tripped, at(0)).unwrap();
    assert_eq!(store.put_gate(&gate).await.unwrap(), PutIf::Stored(1));
    // Two workers at the same probe: one has it.
    let read = store.gate(&name("crm")).await.unwrap().unwrap();
    let probing = read.after(&Change::ProbeTaken { until: at(90) }, at(60)).unwrap();
    assert_eq!(store.put_gate(&probing).await.unwrap(), PutIf::Stored(2));
    assert_eq!(store.put_gate(&probing).await.unwrap(), PutIf::Conflict);
    assert_eq!(store.put_gate(&gate).await.unwrap(), PutIf::Conflict);
    assert_eq!(store.gate(&name("crm")).await.unwrap().unwrap().breaker, probing.breaker);
}

async fn all_gates_are_read_together(store: &Store) {
    assert_eq!(store.gates().await.unwrap(), []);
    for destination in ["crm", "a", "z.9"] {
        let gate = Gate::new(name(destination)).after(&Change::Pause, at(0)).unwrap();
        store.put_gate(&gate).await.unwrap();
    }
    // A line is no gate.
    store.reserve(&name("b"), Pace::new(1.0, 1), at(0)).await.unwrap();
    let gates = store.gates().await.unwrap();
    let names: Vec<&str> = gates.iter().map(|gate| gate.destination.as_str()).collect();
    assert_eq!(names, ["a", "crm", "z.9"]);
    assert!(gates.iter().all(|gate| gate.version == 1 && gate.mode == Mode::Paused));
}

async fn no_place_in_a_line_is_given_out_twice(store: &Store) {
    let pace = Pace::new(2.0, 3);
    let crm = name("crm");
    // Three at once, and then one each half second.
    for expected in [0, 0, 0, 500, 1_000, 1_500] {
        let slot = store.reserve(&crm, pace, at(0)).await.unwrap();
        assert_eq!(slot.duration_since(at(0)).as_millis(), expected);
    }
    // Many at the same time.
    let many = (0..20).map(|_| store.reserve(&crm, pace, at(1)));
    let slots = futures_util::future::join_all(many).await;
    let slots: BTreeSet<Timestamp> = slots.into_iter().map(Result::unwrap).collect();
    assert_eq!(slots.len(), 20);
    assert_eq!(slots.first(), Some(&(at(0) + SignedDuration::from_millis(2_000))));
    assert_eq!(slots.last(), Some(&(at(0) + SignedDuration::from_millis(11_500))));
    // The line is empty again, and no more than the burst was kept.
    for expected in [0, 0, 0, 500] {
        let slot = store.reserve(&crm, pace, at(1_000)).await.unwrap();
        assert_eq!(slot.duration_since(at(1_000)).as_millis(), expected);
    }
    // Another destination stands in a line of its own; the same steps as the pure one takes.
    let (mut given, other, slow) = (None, name("other"), Pace::new(0.3, 2));
    for n in [0, 0, 1, 1, 9, 9, 9, 30, 31, 60] {
        let (expected, next) = slow.next(given, at(n));
        given = Some(next);
        assert_eq!(store.reserve(&other, slow, at(n)).await.unwrap(), expected, "{n}");
    }
}

async fn what_is_parked_waits_apart_the_longest_due_first(store: &Store) {
    let (crm, other) = (name("crm"), name("other"));
    for n in 0..40 {
        let call = record(&format!("CA{n}"));
        // The later the call, the longer is it due.
        let planned = ["crm", "other"].map(|to| {
            let id = id(&format!("{to}#call.completed"));
            Delivery::planned(call.key.clone(), id, at(-n))
        });
        store.put_call_and_deliveries(&call, &planned, &[]).await.unwrap();
        let crm = id("crm#call.completed");
        let delivery = store.delivery(&call.key, &crm).await.unwrap().unwrap();
        let among = if n < 30 { Deferred::Shut } else { Deferred::New };
        let deferred = delivery.deferred(among);
        assert!(matches!(store.put_delivery(&deferred, None).await, Ok(PutIf::Stored(_))));
        let stored = store.delivery(&call.key, &crm).await.unwrap().unwrap();
        assert_eq!((stored.deferred, stored.due_at), (Some(among), Some(at(-n))));
    }
    // The sweep of what is due does not see it, but for the other destination's.
    let mut swept = 0;
    for shard in 0..16 {
        for due in store.due(shard, at(0), None).await.unwrap().items {
            let of_crm = matches!(&due.what, Overdue::Delivery(_, id) if id.destination == crm);
            assert!(!of_crm, "{due:?}");
            swept += usize::from(matches!(due.what, Overdue::Delivery(..)));
        }
    }
    assert_eq!(swept, 40);
    let deferred =
        async |among, until, limit| store.deferred(&crm, among, until, limit).await.unwrap();
    let times = |found: &[Due]| found.iter().map(|due| due.due_at).collect::<Vec<_>>();
    let oldest = |from: i64, count: i64| (0..count).map(|n| at(n - from)).collect::<Vec<_>>();
    assert_eq!(times(&deferred(Deferred::Shut, at(0), 100).await), oldest(29, 30));
    assert_eq!(times(&deferred(Deferred::Shut, at(0), 7).await), oldest(29, 7));
    assert_eq!(times(&deferred(Deferred::Shut, at(-20), 100).await), oldest(29, 10));
    assert_eq!(times(&deferred(Deferred::New, Timestamp::MAX, 100).await), oldest(39, 10));
    assert_eq!(store.deferred(&other, Deferred::Shut, at(0), 100).await.unwrap(), []);
    // What is taken up waits no more.
    let Overdue::Delivery(call, which) = &deferred(Deferred::Shut, at(0), 1).await[0].what else {
        panic!("no delivery")
    };
    let delivery = store.delivery(call, which).await.unwrap().unwrap();
    let claimed = delivery.claimed(at(0), Seconds(30), rendered());
    store.put_delivery(&claimed, None).await.unwrap();
    assert_eq!(deferred(Deferred::Shut, at(0), 100).await.len(), 29);
}

#[tokio::test]
async fn a_blob_that_was_lost_is_not_given_out() {
    let store = Store::in_memory();
    let key = key("CA-damaged");
    let blob = Blob::new(b"agent: hello".to_vec());
    store.put_blob(&key, &blob).await.unwrap();
    store.lose_blob(&key, &blob.digest);
    let error = store.blob(&key, &blob.reference()).await.unwrap_err();
    assert!(matches!(error, StoreError::Damaged { what: "blob", .. }));
}
