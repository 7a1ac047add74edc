//! Who was on a call: contacts that are found, created once, or left alone; leads and timelines.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::join_all;
use jiff::Timestamp;
use serde_json::{Value, json};
use switchboard_domain::directory::{Activity, Contact, ContactKind, Employee, Extension, Origin};
use switchboard_domain::{
    CallRecord, Legs, MatchedBy, Name, Outcome, Personal, Policy, Seconds, Unmatched, Work,
};
use switchboard_people::leads;
use switchboard_store::table::{Condition, Item, Key, Page, Query, Unmet, Write, Written};
use switchboard_store::{Directory, Put, StoreError, Table};

use crate::samples::{Webhook, asterisk, call_status, recording, sample};
use crate::world::{START, World, both, merged, minutes, twilio_source};

const NUMBER: &str = "+79991112233";

pub fn name(text: &str) -> Name {
    Name::new("contact", text).unwrap()
}

pub fn texts(texts: &[&str]) -> BTreeSet<Personal> {
    texts.iter().map(|text| Personal::new(*text)).collect()
}

pub fn contact(id: &str, kind: ContactKind, numbers: &[&str], external: &[&str]) -> Contact {
    Contact {
        id: name(id),
        kind,
        name: Some(Personal::new(format!("{id} Example"))),
        numbers: texts(numbers),
        emails: BTreeSet::new(),
        external_ids: texts(external),
        status: None,
        last_contacted_at: None,
        known_as: BTreeMap::new(),
        origin: Origin::Import,
        updated_at: Timestamp::UNIX_EPOCH,
        version: 0,
    }
}

/// An answered outbound call of 61 seconds that ended at 09:01:00.
fn call(id: &str, more: Value) -> Webhook {
    let base = json!({
        "clientPhone": NUMBER, "direction": "outbound", "endedAt": "2026-02-20T09:01:00Z",
    });
    asterisk(id, merged(base, more))
}

/// The directory and every call agree: a delivered call with a contact stands on that one's
/// timeline, as it is now, and nowhere else; and a contact was reached last when it was.
pub fn is_in_step(world: &World, context: &str) {
    let calls = world.store.calls();
    let received = |call: &&CallRecord| call.call.has_ended() && call.call.facts.parent.is_none();
    let mut expected: Vec<Activity> =
        calls.iter().filter(received).filter_map(leads::activity).collect();
    expected.sort_by_key(|one| (one.contact.clone(), one.call.clone()));
    assert_eq!(world.directory.all_activities(), expected, "{context}: timelines");
    for call in &calls {
        let stands: BTreeSet<Name> = expected
            .iter()
            .filter(|one| one.call == call.key)
            .map(|one| one.contact.clone())
            .collect();
        assert_eq!(call.timelines, stands, "{context}: {}", call.key);
    }
    let mut numbers = BTreeSet::new();
    for contact in world.directory.all_contacts() {
        for number in &contact.numbers {
            assert!(numbers.insert(number.clone()), "{context}: two contacts of one number");
        }
        let answered = |one: &&CallRecord| {
            let entry = one.people.contact.as_ref().and_then(|person| person.entry.as_ref());
            entry == Some(&contact.id) && one.call.outcome == Some(Outcome::Answered)
        };
        let last = calls.iter().filter(answered).filter_map(|one| one.call.facts.ended_at).max();
        // It may have been another's first: that it was reached is not taken back.
        assert!(contact.last_contacted_at >= last, "{context}: {}", contact.id);
    }
}

async fn settled(world: &mut World, webhooks: &[Webhook]) {
    for webhook in webhooks {
        world.take(webhook).await;
    }
    world.settle(minutes(30)).await;
    assert!(!world.owes().await);
    is_in_step(world, "settled");
}

fn matched(world: &World) -> (Option<Name>, Option<MatchedBy>, Option<Unmatched>) {
    let person = world.call().people.contact.unwrap();
    (person.entry, person.matched_by, person.unmatched)
}

async fn seed(world: &World, contact: &Contact) {
    world.directory.put_contact(contact).await.unwrap();
}

#[tokio::test]
async fn a_hundred_first_calls_of_one_number_at_once_create_one_contact() {
    let (mut world, crm) = World::with_crm(json!({})).await;
    let calls: Vec<Webhook> = (0..100)
        .map(|n| {
            let ended = format!("2026-02-20T09:{:02}:{:02}Z", 1 + n / 60, n % 60);
            call(
                &format!("first-{n}"),
                json!({"clientName": format!("Caller {n}"), "endedAt": ended}),
            )
        })
        .collect();
    let replies = join_all(calls.iter().map(|webhook| world.post(webhook))).await;
    assert!(replies.iter().all(|reply| reply.as_ref().unwrap().status == 200));
    let jobs = world.take_jobs();
    assert_eq!(jobs.len(), 100);
    for done in join_all(jobs.iter().map(|job| world.work(job))).await {
        done.unwrap();
    }
    world.settle(minutes(30)).await;

    let contacts = world.directory.all_contacts();
    let [one] = &contacts[..] else { panic!("{} contacts", contacts.len()) };
    assert_eq!((one.kind, &one.numbers), (ContactKind::Client, &texts(&[NUMBER])));
    assert_eq!(world.directory.all_activities().len(), 100);
    is_in_step(&world, "a hundred");
    let by = |by: MatchedBy| {
        let is = |call: &&CallRecord| call.people.contact.as_ref().unwrap().matched_by == Some(by);
        world.store.calls().iter().filter(is).count()
    };
    assert_eq!((by(MatchedBy::Created), by(MatchedBy::Number)), (1, 99));
    let received: BTreeSet<String> =
        crm.received().iter().map(|one| one.json()["data"]["contact"]["id"].to_string()).collect();
    assert_eq!((crm.received().len(), received.len()), (100, 1));
}

#[tokio::test]
async fn what_a_call_costs_in_requests() {
    for (number, known, reads, writes) in [
        (
            NUMBER,
            true,
            vec!["call", "holders", "contact"],
            vec!["put call and deliveries", "put activity", "put contact", "put call"],
        ),
        (
            NUMBER,
            false,
            // Whether a contact holds the number, and whether the new one's id is taken, by the creation.
            vec!["call", "holders", "holders", "contact"],
            vec![
                "create contact",
                "put call and deliveries",
                "put activity",
                "put contact",
                "put call",
            ],
        ),
        // No party that could be known: no lookup.
        ("anonymous", false, vec!["call"], vec!["put call and deliveries"]),
    ] {
        let mut world = World::new();
        world.destination("crm", "http://127.0.0.1:9", "canonical", json!({"paused": true}));
        if known {
            seed(&world, &contact("kim", ContactKind::Client, &[NUMBER], &[])).await;
        }
        world.take(&call("1", json!({"clientPhone": number}))).await;
        let job = world.take_jobs().remove(0);
        let before = world.effects.log().len();
        world.work(&job).await.unwrap();
        let mut log = world.effects.log().split_off(before);
        assert_eq!(log.pop(), Some("send"), "{log:?}");
        assert_eq!((world.effects.reads(), log), (reads, writes), "{number}");
    }
}

#[tokio::test]
async fn a_reference_links_a_call_to_a_lead_that_there_is_and_the_rules_move_it() {
    let (mut world, crm) = World::with_crm(json!({})).await;
    let flat = world.crm("flat", "conversation-ai", json!({})).await;
    seed(&world, &contact("kim", ContactKind::Lead, &["+79991234567"], &["lead-7"])).await;
    settled(&mut world, &[call("1", json!({"ref_id": "lead-7"}))]).await;
    assert_eq!(matched(&world), (Some(name("kim")), Some(MatchedBy::ExternalId), None));
    let contacts = world.directory.all_contacts();
    assert_eq!(contacts.len(), 1);
    assert_eq!(contacts[0].status.as_deref(), Some("contacted"));
    let ended: Timestamp = "2026-02-20T09:01:00Z".parse().unwrap();
    assert_eq!(contacts[0].last_contacted_at, Some(ended));
    // The number of the call is not added: that is for the directory's operator.
    assert_eq!(contacts[0].numbers, texts(&["+79991234567"]));
    let received = &crm.received()[0].json()["data"]["contact"];
    assert_eq!((&received["id"], &received["matched_by"]), (&json!("kim"), &json!("external_id")));
    assert_eq!(
        (&received["external_ids"], &received["unmatched"]),
        (&json!(["lead-7"]), &Value::Null)
    );
    assert_eq!(flat.received()[0].json()["name"], "kim Example");
}

#[tokio::test]
async fn a_reference_to_nobody_creates_no_lead_and_one_without_a_secret_does_nothing() {
    let mut world = World::new();
    seed(&world, &contact("kim", ContactKind::Lead, &[], &["lead-7"])).await;
    let mut stranger = call("1", json!({"custom_identifier": "lead-7"}));
    stranger.headers.retain(|(name, _)| name != "X-Crm-Intake-Secret");
    assert_eq!(world.post(&stranger).await.unwrap().status, 401);
    world.settle(minutes(5)).await;
    assert!(world.store.calls().is_empty() && world.directory.all_activities().is_empty());

    let more = json!({"ref_id": "lead-8", "clientPhone": "anonymous"});
    settled(&mut world, &[call("2", more)]).await;
    assert_eq!(matched(&world), (None, None, Some(Unmatched::Anonymous)));
    assert_eq!(world.directory.all_contacts().len(), 1);
}

#[tokio::test]
async fn rules_are_configured_and_rules_that_cannot_be_read_move_nobody() {
    for (rules, status) in [
        (
            json!({"statuses": ["new", "won"],
            "rules": [{"when": {"provider": "asterisk"}, "to": "won"}]}),
            Some("won"),
        ),
        (json!({"statuses": ["new", "won"]}), None),
        (json!({"statuses": []}), None),
    ] {
        let mut world = World::new();
        let said = world.misconfigure("leads/rules", &rules.to_string());
        assert_eq!(said.contains("statuses: is empty"), rules["statuses"] == json!([]), "{said}");
        seed(&world, &contact("kim", ContactKind::Lead, &[NUMBER], &[])).await;
        settled(&mut world, &[call("1", json!({}))]).await;
        assert_eq!(world.directory.all_contacts()[0].status.as_deref(), status);
    }
}

#[tokio::test]
async fn own_numbers_colleagues_and_internal_calls_make_no_contact() {
    let mut world = World::new();
    let source = json!({"secrets": ["fake-intake-secret"], "country": "RU",
        "own_numbers": ["8 (999) 111-22-33"]});
    world.configure("sources/intake/intake", source);
    settled(&mut world, &[call("1", json!({}))]).await;
    assert_eq!(matched(&world), (None, None, Some(Unmatched::OwnNumber)));

    let mut world = World::new();
    world.directory.set_own_number(&Personal::new(NUMBER), true).await.unwrap();
    settled(&mut world, &[call("1", json!({}))]).await;
    assert_eq!(matched(&world), (None, None, Some(Unmatched::OwnNumber)));

    let mut world = World::new();
    let employee = Employee {
        id: name("ann"),
        name: None,
        numbers: texts(&[NUMBER]),
        extensions: [Extension { source: None, number: Personal::new("101") }].into(),
        emails: BTreeSet::new(),
        external_ids: BTreeSet::new(),
        origin: Origin::Import,
        updated_at: Timestamp::UNIX_EPOCH,
        version: 0,
    };
    world.directory.put_employee(&employee).await.unwrap();
    settled(&mut world, &[call("1", json!({"employeePhone": "101"}))]).await;
    assert_eq!(matched(&world), (None, None, Some(Unmatched::Colleague)));
    let ours = world.call().people.employee.unwrap();
    assert_eq!((ours.entry, ours.matched_by), (Some(name("ann")), Some(MatchedBy::Extension)));

    for (source, more) in [
        (json!({}), json!({"direction": "internal"})),
        (json!({"create_contacts": false}), json!({})),
    ] {
        let mut world = World::new();
        let base = json!({"secrets": ["fake-intake-secret"], "country": "RU"});
        world.configure("sources/intake/intake", merged(base, source));
        settled(&mut world, &[call("1", more)]).await;
        assert_eq!(matched(&world), (None, None, Some(Unmatched::Unknown)));
        assert_eq!(world.directory.all_contacts(), []);
    }
}

#[tokio::test]
async fn a_contact_that_was_deleted_does_not_come_back_with_late_news() {
    let mut world = World::new();
    settled(&mut world, &[call_status("CA1", "completed")]).await;
    let created = world.directory.all_contacts().remove(0);
    world.directory.delete_contact(&created.id, created.version).await.unwrap();
    world.settled(&recording("CA1"), minutes(30)).await;
    assert_eq!(matched(&world), (None, None, Some(Unmatched::Unknown)));
    assert_eq!(world.directory.all_contacts(), []);
    is_in_step(&world, "deleted");
}

#[tokio::test]
async fn news_replaces_the_activity_and_keeps_the_contact() {
    let mut world = World::new();
    settled(&mut world, &[call_status("CA1", "completed")]).await;
    assert_eq!(world.directory.all_activities()[0].recording, None);
    settled(&mut world, &[recording("CA1")]).await;
    let activities = world.directory.all_activities();
    assert_eq!(activities.len(), 1);
    assert!(activities[0].recording.is_some());
    let (entry, by, _) = matched(&world);
    assert_eq!((entry, by), (Some(activities[0].contact.clone()), Some(MatchedBy::Created)));
}

#[tokio::test]
async fn a_leg_is_on_no_timeline_and_leaves_it_where_it_turns_out_to_be_one() {
    let mut world = World::new();
    world.configure("sources/twilio/twilio", twilio_source(json!({"legs": "each"})));
    for webhook in sample("twilio", "dialled-leg") {
        world.take(&webhook).await;
    }
    world.settle(minutes(30)).await;
    assert_eq!(world.directory.all_activities().len(), 2);
    world.configure("sources/twilio/twilio", twilio_source(json!({})));
    for mut call in world.store.calls() {
        call.owed.insert(Work::Enrich, world.now());
        assert!(matches!(world.store.put_call(&call).await, Ok(Put::Stored(_))));
    }
    world.settle(minutes(30)).await;
    assert_eq!(world.directory.all_activities().len(), 1);
    is_in_step(&world, "legs");
}

#[tokio::test]
async fn a_call_that_is_matched_anew_moves_and_is_told_once_more() {
    let (mut world, crm) = World::with_crm(both()).await;
    settled(&mut world, &[call("1", json!({}))]).await;
    let created = world.directory.all_contacts().remove(0);
    // Another contact now has the number alone.
    world.directory.delete_contact(&created.id, created.version).await.unwrap();
    seed(&world, &contact("kim", ContactKind::Client, &[NUMBER], &[])).await;
    for _ in 0..2 {
        let mut call = world.call();
        call.owed.insert(Work::Enrich, world.now());
        world.store.put_call(&call).await.unwrap();
        world.settle(minutes(30)).await;
        assert_eq!(matched(&world), (Some(name("kim")), Some(MatchedBy::Number), None));
        is_in_step(&world, "anew");
        let received: Vec<Value> =
            crm.received().iter().map(|one| one.json()["data"]["contact"]["id"].clone()).collect();
        assert_eq!(received, [json!(created.id.as_str()), json!("kim")]);
    }
}

/// A directory of which every request fails.
struct Broken {
    for_good: bool,
}

impl Broken {
    fn fails<T>(&self) -> Result<T, StoreError> {
        let code = "test".to_owned();
        Err(match self.for_good {
            true => StoreError::Refused { operation: "read", code },
            false => StoreError::Unavailable { operation: "read", code },
        })
    }
}

#[async_trait::async_trait]
impl Table for Broken {
    async fn get(&self, _: &Key) -> Result<Option<Item>, StoreError> {
        self.fails()
    }

    async fn batch_get(&self, _: &[Key], _: &[&[&str]]) -> Result<Vec<Item>, StoreError> {
        self.fails()
    }

    async fn query(&self, _: &Query) -> Result<Page, StoreError> {
        self.fails()
    }

    async fn scan(&self, _: &Condition, _: Option<Item>) -> Result<Page, StoreError> {
        self.fails()
    }

    async fn write(&self, _: Write) -> Result<Written, StoreError> {
        self.fails()
    }

    async fn transact(&self, _: Vec<Write>) -> Result<Vec<Unmet>, StoreError> {
        self.fails()
    }
}

#[tokio::test]
async fn what_the_directory_refuses_keeps_no_call_from_its_crms() {
    // A name that was stored before names were cleaned.
    let named = |record: &mut CallRecord| {
        let mut update = record.updates.pop_first().unwrap().1;
        update.facts.contact_name = Some(Personal::new("Ann\tBell"));
        *record = CallRecord::first(
            record.key.clone(),
            update,
            Policy { settle: Seconds(0), legs: Legs::Parent, starts: false },
            START.parse().unwrap(),
        );
    };
    let rules = json!({
        "statuses": ["new", "Contacted"],
        "rules": [{"when": {"min_talk_seconds": 1}, "to": "Contacted"}],
    });
    for (what, broken, within) in [
        ("contact", None, minutes(5)),
        ("timeline", None, minutes(5)),
        ("contact", Some(true), minutes(5)),
        ("contact", Some(false), minutes(30)),
    ] {
        let (mut world, crm) = World::with_crm(json!({})).await;
        if let Some(for_good) = broken {
            world.directory = Directory::new(Broken { for_good });
        }
        if what == "timeline" {
            world.configure("leads/rules", rules.clone());
            let lead = contact("lead", ContactKind::Lead, &[NUMBER], &[]);
            world.directory.put_contact(&lead).await.unwrap();
        }
        world.take(&call("1", json!({}))).await;
        if what == "contact" && broken.is_none() {
            let mut record = world.call();
            let version = record.version;
            named(&mut record);
            record.version = version;
            assert!(matches!(world.store.put_call(&record).await.unwrap(), Put::Stored(_)));
        }
        world.settle(within).await;
        assert!(!world.owes().await, "{what}, {broken:?}");
        assert_eq!(crm.entries().len(), 1, "{what}, {broken:?}");
        let problems = world.call().problems;
        assert_eq!(problems.keys().collect::<Vec<_>>(), [what], "{broken:?}");
    }
}
