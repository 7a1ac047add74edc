//! Laws of the core, over updates that no provider would ever send together.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use proptest::collection::{btree_map, btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use switchboard_domain::delivery::{RenderedPayload, Verdict};
use switchboard_domain::plan::{self, CallSummary, Subscriber};
use switchboard_domain::{
    Absorbed, Analysed, AnalysisState, AnsweredBy, Attempt, Body, CallKey, CallRecord, Deferred,
    Delivery, DeliveryId, DeliveryState, Digest, Direction, Disposition, Event, Facts, Flag, Legs,
    Name, Order, Outcome, Party, Personal, Policy, Recording, Seconds, State, Text, Update,
    VariantArray as _, Work, fold,
};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_771_577_000 + second).unwrap()
}

fn key() -> CallKey {
    "twilio/twilio/CA1".parse().unwrap()
}

const POLICY: Policy = Policy { settle: Seconds(3), legs: Legs::Parent, starts: false };

fn word() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["a", "b", "c"]).prop_map(str::to_owned)
}

fn instant() -> impl Strategy<Value = Timestamp> {
    (0..100i64).prop_map(at)
}

fn seconds() -> impl Strategy<Value = Seconds> {
    prop::sample::select(vec![0, 1, 60]).prop_map(Seconds)
}

fn party() -> impl Strategy<Value = Party> {
    prop::sample::select(vec!["+61491570156", "101", "anonymous"])
        .prop_map(|text| Party::read(text).unwrap())
}

prop_compose! {
    fn recording()(
        url in option::of(word()),
        path in option::of(word()),
        duration in option::of(seconds()),
        status in option::of(word()),
    ) -> Recording {
        Recording { url: url.map(Personal::new), path: path.map(Personal::new), duration, status }
    }
}

prop_compose! {
    fn planning()(
        state in option::of(prop::sample::select(vec![
            State::Queued, State::Ringing, State::InProgress, State::Ended,
        ])),
        disposition in option::of(prop::sample::select(vec![
            Disposition::Answered, Disposition::NoAnswer, Disposition::Busy, Disposition::Failed,
            Disposition::Canceled,
        ])),
        answered_by in option::of(prop::sample::select(vec![
            AnsweredBy::Unknown, AnsweredBy::Human, AnsweredBy::Fax, AnsweredBy::Machine,
        ])),
        direction in option::of(prop::sample::select(vec![
            Direction::Inbound, Direction::Outbound, Direction::Internal,
        ])),
        started_at in option::of(instant()),
        answered_at in option::of(instant()),
        ended_at in option::of(instant()),
        talk in option::of(seconds()),
        total in option::of(seconds()),
        billed in option::of(seconds()),
        flags in btree_set(prop::sample::select(vec![Flag::ZoneFold, Flag::StartDiscarded]), 0..2),
    ) -> Facts {
        Facts {
            state, disposition, answered_by, direction, started_at, answered_at, ended_at, talk,
            total, billed, flags, ..Facts::default()
        }
    }
}

prop_compose! {
    fn facts()(
        planning in planning(),
        (from, to, contact, employee) in
            (option::of(party()), option::of(party()), option::of(party()), option::of(party())),
        (campaign, conversation, parent, cause) in
            (option::of(word()), option::of(word()), option::of(word()), option::of(word())),
        (name, summary, transcript, script) in
            (option::of(word()), option::of(word()), option::of(word()), option::of(word())),
        (auto_analyze, create_tasks) in (any::<Option<bool>>(), any::<Option<bool>>()),
        recordings in btree_map(word(), recording(), 0..2),
        (contact_id, lead_id) in (option::of(word()), option::of(word())),
        extra in btree_map(
            prop::sample::select(vec!["a", "b", "ref_id", "custom_identifier"]), word(), 0..2,
        ),
    ) -> Facts {
        Facts {
            contact_id, lead_id, from, to, contact, employee, campaign, conversation, parent, cause, auto_analyze,
            create_tasks, recordings,
            contact_name: name.map(Personal::new),
            summary: summary.map(Personal::new),
            transcript: transcript.map(|text| Text::Inline(Personal::new(text))),
            script_context: script.map(Personal::new),
            extra: extra.into_iter().map(|(name, value)| (name.to_owned(), Personal::new(value))).collect(),
            ..planning
        }
    }
}

prop_compose! {
    fn update()(
        facts in facts(),
        order in prop_oneof![
            Just(Order::Unordered),
            (0..4u64).prop_map(Order::Sequence),
            instant().prop_map(Order::At),
        ],
        received in 0..50i64,
        raw in any::<[u8; 8]>(),
        ids in (option::of(word()), option::of(word())),
        is_context in prop::bool::weighted(0.2),
    ) -> Update {
        let (contact_id, lead_id) = ids;
        let facts = match is_context {
            // A context says nothing of the course of the call.
            true => Facts {
                contact_id, lead_id, campaign: facts.campaign, conversation: facts.conversation,
                contact_name: facts.contact_name, ..Facts::default()
            },
            false => Facts { contact_id, lead_id, ..facts },
        };
        let kind = if is_context { "context" } else { "test" };
        Update::new(kind, order, at(received), facts, raw.to_vec())
    }
}

fn shuffled() -> impl Strategy<Value = (Vec<Update>, Vec<Update>)> {
    vec(update(), 1..6).prop_flat_map(|updates| {
        let doubled = vec(0..updates.len(), 0..4);
        (Just(updates), doubled).prop_flat_map(|(updates, doubled)| {
            let mut again = updates.clone();
            again.extend(doubled.into_iter().map(|n| updates[n].clone()));
            (Just(updates), Just(again).prop_shuffle())
        })
    })
}

/// Stores updates one after the other, as hooks do.
fn stored(updates: &[Update]) -> CallRecord {
    let mut record = CallRecord::first(key(), updates[0].clone(), POLICY, at(0));
    for update in &updates[1..] {
        record.absorb(update.clone(), POLICY, at(0));
    }
    record
}

fn outcome_is_final(state: Option<State>, outcome: Option<Outcome>) -> bool {
    state == Some(State::Ended) || outcome.is_none()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    /// Order of arrival and repetition never change a call, nor what it owes.
    #[test]
    fn permutation_and_duplication_change_nothing((updates, again) in shuffled()) {
        prop_assert_eq!(fold(&updates), fold(&again));
        let (one, other) = (stored(&updates), stored(&again));
        prop_assert_eq!(&one.call, &other.call);
        prop_assert_eq!(&one.updates, &other.updates);
        // A leg that says so only after its end owes by then; `enrich` finds nothing to tell.
        if plan::is_delivered(&one.call, POLICY.legs) {
            let owes = |record: &CallRecord| record.owed.contains_key(&Work::Enrich);
            prop_assert_eq!(owes(&one), owes(&other));
        }
    }

    /// A message that says nothing takes nothing away.
    #[test]
    fn empty_never_overwrites(updates in vec(update(), 1..6), order in 0..9u64, when in 0..50i64) {
        let before = fold(&updates);
        let empty = Update::new(
            "empty", Order::Sequence(order), at(50 + when), Facts::default(), b"empty".to_vec(),
        );
        let mut more = updates;
        more.push(empty);
        prop_assert_eq!(before, fold(&more));
    }

    /// What is known once stays known: no field becomes unknown by a further message.
    #[test]
    fn knowledge_only_grows(updates in vec(update(), 1..6), another in update()) {
        let known = |call: &switchboard_domain::Call| {
            let shown = serde_json::to_value(call).unwrap();
            let mut names: Vec<String> = shown.as_object().unwrap().keys().cloned().collect();
            names.extend(call.facts.recordings.keys().map(|id| format!("recording {id}")));
            names.extend(call.facts.extra.keys().map(|name| format!("extra {name}")));
            names
        };
        let before = known(&fold(&updates));
        let mut more = updates;
        more.push(another);
        let after = known(&fold(&more));
        // An estimated start gives way to a reported one, and with it its flag.
        prop_assert!(before.iter().all(|name| after.contains(name) || name == "flags"));
    }

    /// A call that has ended has ended, whatever comes.
    #[test]
    fn terminal_is_never_left(updates in vec(update(), 1..6), another in update()) {
        let before = fold(&updates);
        let mut more = updates;
        more.push(another);
        let after = fold(&more);
        prop_assert!(after.facts.state >= before.facts.state);
        prop_assert!(!before.has_ended() || after.has_ended());
        prop_assert!(outcome_is_final(after.facts.state, after.outcome));
    }

    /// What was owed is owed until a worker clears it, and no later than it was.
    #[test]
    fn plan_never_forgets(updates in vec(update(), 1..6), another in update(), due in 0..100i64) {
        let mut record = stored(&updates);
        record.owed.insert(Work::Enrich, at(due));
        record.absorb(another, POLICY, at(20));
        prop_assert!(record.owed.get(&Work::Enrich).is_some_and(|at_| *at_ <= at(due)));
    }

    /// A call that ends, or changes after its end in what a CRM wants to know, in the conversation
    /// that was held on it or in whom it is said to be with, owes `enrich`.
    #[test]
    fn an_ended_call_with_news_owes(updates in vec(update(), 1..6), another in update()) {
        let mut record = stored(&updates);
        let before = record.call.clone();
        record.owed.clear();
        let absorbed = record.absorb(another, POLICY, at(20));
        let is_leg = record.call.facts.parent.is_some();
        let has_changes = !before.has_ended()
            || before.fingerprint() != record.call.fingerprint()
            || before.facts.conversation != record.call.facts.conversation
            || before.pointers() != record.call.pointers()
            || before.facts.auto_analyze != record.call.facts.auto_analyze
            || before.facts.script_context != record.call.facts.script_context;
        let owes = record.owed.get(&Work::Enrich) == Some(&at(23));
        if absorbed == Absorbed::New {
            prop_assert_eq!(owes, record.call.has_ended() && has_changes && !is_leg);
        }
    }

    /// A call has the same news as before it could be analysed, until there is an analysis; and each
    /// analysis is news.
    #[test]
    fn an_analysis_is_news_and_the_mark_of_one_is_not(
        updates in vec(update(), 1..6),
        one in any::<u8>(),
        other in any::<u8>(),
    ) {
        let plain = stored(&updates);
        let marked = |state, said: Option<u8>| {
            let digest = said.map(|said| Digest::of(&[&[said]]));
            let mark = Analysed { digest, ..Analysed::new(state) };
            CallRecord { analysis: Some(mark), ..plain.clone() }.fingerprint()
        };
        use AnalysisState::{Done, Failed, Off, Waiting};
        for state in [Waiting, Failed, Off] {
            prop_assert_eq!(marked(state, None), plain.fingerprint());
        }
        prop_assert_ne!(marked(Done, Some(one)), plain.fingerprint());
        prop_assert_eq!(marked(Done, Some(one)) == marked(Done, Some(other)), one == other);
        // While another is made, what is there is still what there is to tell.
        prop_assert_eq!(marked(Waiting, Some(one)), marked(Done, Some(one)));
    }

    /// Whatever comes in whatever order, a destination gets one event, and at most one more; of a start
    /// only while the call lasts, of tasks once.
    #[test]
    fn one_create_and_at_most_one_of_each(
        updates in vec(update(), 1..6),
        tried in vec(any::<bool>(), 6),
        tasks in vec(0..3u32, 6),
        wanted in prop::sample::subsequence(Event::VARIANTS.to_vec(), 1..=4),
    ) {
        let destination = Name::new("destination", "crm").unwrap();
        let subscribers = [Subscriber { destination, events: wanted.clone(), wanted_before: Vec::new() }];
        let mut existing: BTreeMap<DeliveryId, _> = BTreeMap::new();
        let mut most_tasks = 0;
        for (n, (tried, tasks)) in (1..=updates.len()).zip(tried.into_iter().zip(tasks)) {
            let call = fold(&updates[..n]);
            let summary = CallSummary { has_ended: call.has_ended(), fingerprint: &call.fingerprint(), tasks };
            most_tasks = if call.has_ended() { tasks.max(most_tasks) } else { most_tasks };
            for id in plan::deliveries(summary, &subscribers, &existing) {
                prop_assert!(wanted.contains(&id.event), "{id} is not wanted");
                prop_assert_eq!(id.event == Event::Started, !call.has_ended());
                prop_assert!(existing.insert(id, None).is_none(), "planned twice");
            }
            if tried {
                for rendered in existing.values_mut() {
                    rendered.get_or_insert(call.fingerprint());
                }
            }
        }
        let call = fold(&updates);
        let is_delivered = |event| existing.keys().any(|id| id.event == event);
        prop_assert_eq!(is_delivered(Event::Completed), call.has_ended() && wanted.contains(&Event::Completed));
        prop_assert_eq!(is_delivered(Event::TaskCreated), most_tasks > 0 && wanted.contains(&Event::TaskCreated));
        prop_assert!(!is_delivered(Event::Updated) || is_delivered(Event::Completed));
        // Nothing known is left undelivered where it could be delivered.
        if wanted.contains(&Event::Updated) && is_delivered(Event::Completed) && !is_delivered(Event::Updated) {
            let completed = existing.iter().filter(|(id, _)| id.event == Event::Completed);
            let fingerprint = call.fingerprint();
            prop_assert!(completed.into_iter().all(|(_, rendered)| rendered.as_ref().is_none_or(|t| *t == fingerprint)));
        }
    }

    /// Where starts are announced, a call that goes on owes that once, and one that is over never.
    #[test]
    fn a_start_is_owed_once_and_while_the_call_lasts(updates in vec(update(), 1..6)) {
        let policy = Policy { starts: true, ..POLICY };
        let goes_on = |call: &switchboard_domain::Call| {
            call.facts.state.is_some() && !call.has_ended() && call.facts.parent.is_none()
        };
        let mut record = CallRecord::first(key(), updates[0].clone(), policy, at(0));
        let mut announced = record.owed.remove(&Work::Announce).is_some();
        prop_assert_eq!(announced, goes_on(&record.call));
        for update in &updates[1..] {
            record.absorb(update.clone(), policy, at(0));
            let owes = record.owed.remove(&Work::Announce).is_some();
            prop_assert!(!(owes && announced), "announced twice");
            prop_assert!(!owes || goes_on(&record.call));
            announced |= owes;
        }
        let quiet = stored(&updates);
        prop_assert!(!quiet.owed.contains_key(&Work::Announce));
    }

    /// A pending delivery always has a time; one that is over never has.
    #[test]
    fn a_delivery_is_due_or_over(
        verdicts in vec(0..6u8, 1..12),
        schedule in vec(1..86_400u32, 0..6),
    ) {
        let id = "crm#call.completed".parse().unwrap();
        let mut delivery = Delivery::planned(key(), id, at(0));
        let name = delivery.idempotency_key();
        let rendered = RenderedPayload { fingerprint: fold(&[]).fingerprint(), body: Body::Inline(b"{}".to_vec()) };
        for verdict in verdicts {
            if delivery.state != DeliveryState::Pending {
                break;
            }
            let now = delivery.due_at.unwrap();
            delivery = delivery.claimed(now, Seconds(30), rendered.clone());
            prop_assert!(!delivery.is_due(now) && delivery.is_due(now + SignedDuration::from_secs(30)));
            let attempt = Attempt { at: now, took_ms: 1, status: None, result: "test".into() };
            let far = now + SignedDuration::from_hours(1_000);
            let verdict = match verdict {
                0 => Verdict::Delivered,
                1 => Verdict::Refused,
                2 => Verdict::Retry { not_before: None },
                3 => Verdict::Gone,
                4 => {
                    // It waits for its destination: due all the while, and no attempt is counted.
                    let deferred = delivery.clone().deferred(Deferred::Shut);
                    prop_assert_eq!((deferred.due_at, deferred.failures), (delivery.due_at, delivery.failures));
                    delivery = deferred;
                    Verdict::Retry { not_before: None }
                }
                _ => Verdict::Retry { not_before: Some(far) },
            };
            let failures = delivery.failures;
            delivery = delivery.concluded(attempt, verdict, &schedule);
            let counts = matches!(verdict, Verdict::Retry { .. });
            prop_assert_eq!(delivery.failures, failures + u32::from(counts));
            prop_assert_eq!(delivery.deferred, None);
            if verdict == Verdict::Gone {
                prop_assert_eq!((delivery.state, delivery.due_at), (DeliveryState::Pending, Some(now)));
                continue;
            }
            let pending = delivery.state == DeliveryState::Pending;
            prop_assert_eq!(pending, delivery.due_at.is_some());
            if let Some(due_at) = delivery.due_at {
                let wait = due_at.duration_since(now);
                let planned = schedule[delivery.failures as usize - 1];
                prop_assert!(wait >= SignedDuration::from_secs(planned.into()));
                prop_assert!(wait <= SignedDuration::from_secs(86_400 * 6 / 5));
            }
        }
        prop_assert!(delivery.failures as usize <= schedule.len() + 1);
        prop_assert_eq!(delivery.idempotency_key(), name);
    }
}

/// A status that passes soon or never ends the delivery after a few attempts in a row, whatever was before.
#[test]
fn what_is_worth_a_few_attempts_gets_no_more() {
    let id: DeliveryId = "crm#call.completed".parse().unwrap();
    let schedule = [1; 20];
    for before in [0, 6] {
        let mut delivery = Delivery::planned(key(), id.clone(), at(0));
        let mut attempt = |status, verdict| {
            let attempt =
                Attempt { at: at(0), took_ms: 1, status: Some(status), result: "test".into() };
            delivery = delivery.clone().concluded(attempt, verdict, &schedule);
            delivery.state
        };
        for _ in 0..before {
            assert_eq!(attempt(503, Verdict::Retry { not_before: None }), DeliveryState::Pending);
        }
        let briefly = Verdict::RetryBriefly { not_before: None };
        let states: Vec<_> = (0..5).map(|_| attempt(404, briefly)).collect();
        assert_eq!(states[..4], [DeliveryState::Pending; 4]);
        assert_eq!(states[4], DeliveryState::Failed);
    }
}

/// Whom a call was with may be said after its end, and by nothing else that is new.
#[test]
fn a_pointer_that_comes_late_is_owed() {
    let ended = Facts { state: Some(State::Ended), ..Facts::default() };
    let word = || Some("lead-7".to_owned());
    let extra = |name: &str| Facts {
        extra: [(name.to_owned(), Personal::new("lead-7"))].into(),
        ..Facts::default()
    };
    for (facts, owes) in [
        (Facts { contact_id: word(), ..Facts::default() }, true),
        (Facts { lead_id: word(), ..Facts::default() }, true),
        (extra("ref_id"), true),
        (extra("custom_identifier"), true),
        (extra("something else"), false),
    ] {
        let update = |facts: Facts, raw: &str| {
            Update::new("status", Order::Unordered, at(20), facts, raw.as_bytes().to_vec())
        };
        let mut record = stored(&[update(ended.clone(), "one")]);
        record.owed.clear();
        record.absorb(update(facts, "two"), POLICY, at(30));
        assert_eq!(record.owed.contains_key(&Work::Enrich), owes);
    }
}
