//! The directory, over both tables.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use switchboard_domain::directory::{
    Activity, Contact, ContactKind, Draft, Employee, Entry, EntryKind, EntryWrite, Extension,
    Handle, Holder, Holders, Origin,
};
use switchboard_domain::{CallKey, Direction, Name, Outcome, Personal, Seconds};
use switchboard_store::{Directory, EntryCursor, EntryPage, PutIf, StoreError, Upserted, Upserts};

use crate::{pages, server};

over_both_tables!(
    Directory::in_memory(), server::directory().await;
    an_entry_comes_back_as_it_went,
    a_write_needs_the_version_that_it_read,
    an_entry_that_could_not_be_found_again_is_refused,
    every_holder_of_a_handle_is_found_until_it_gives_it_up,
    many_handles_are_found_at_once,
    each_of_many_writes_is_done_or_not_for_itself,
    of_many_first_calls_one_creates,
    first_calls_and_imports_at_once_make_one_contact,
    a_number_that_is_free_again_gets_a_new_contact,
    lists_come_in_pages_in_order,
    a_cursor_that_was_not_made_here_is_no_panic,
    a_timeline_is_newest_first_and_goes_with_its_contact,
    what_is_found_is_what_the_entries_say,
    a_draft_finds_whom_it_is_about_and_erases_nothing,
    a_dry_run_foretells_what_the_run_does,
);

pub fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_771_577_000 + second).unwrap()
}

pub fn name(text: &str) -> Name {
    Name::new("id", text).unwrap()
}

/// One of the numbers that are reserved for examples.
pub fn number(n: u32) -> Personal {
    Personal::new(format!("+1555010{n:04}"))
}

fn call(id: &str) -> CallKey {
    format!("twilio/twilio/{id}").parse().unwrap()
}

fn personal<const N: usize>(values: [&str; N]) -> BTreeSet<Personal> {
    values.into_iter().map(Personal::new).collect()
}

fn numbers<const N: usize>(values: [u32; N]) -> BTreeSet<Personal> {
    values.into_iter().map(number).collect()
}

pub fn contact(id: &str) -> Contact {
    Contact::new(name(id), ContactKind::Client, Origin::Api, at(0))
}

pub fn with_numbers<const N: usize>(id: &str, values: [u32; N]) -> Contact {
    Contact { numbers: numbers(values), ..contact(id) }
}

pub fn employee(id: &str) -> Employee {
    Employee::new(name(id), Origin::Api, at(0))
}

fn extension(source: Option<&str>, number: &str) -> Extension {
    Extension { source: source.map(name), number: Personal::new(number) }
}

fn of_number(n: u32) -> Handle {
    Handle::Number(number(n))
}

fn of_contact(id: &str) -> Holder {
    Holder::Contact(name(id))
}

async fn stored(directory: &Directory, contact: &Contact) -> Contact {
    let put = directory.put_contact(contact).await.unwrap();
    assert_eq!(put, PutIf::Stored(contact.version + 1));
    directory.contact(&contact.id).await.unwrap().unwrap()
}

/// Who holds a number.
async fn holders(directory: &Directory, n: u32) -> BTreeSet<Holder> {
    let handle = of_number(n);
    let mut held = directory.holders(&BTreeSet::from([handle.clone()])).await.unwrap();
    held.remove(&handle).unwrap_or_default()
}

async fn an_entry_comes_back_as_it_went(directory: Directory) {
    let full = Contact {
        kind: ContactKind::Lead,
        name: Some(Personal::new("\u{202e}名 «Zoë» {\"S\":1}")),
        numbers: numbers([1, 2]),
        emails: personal(["zoë@example.com", "kim@example.com"]),
        external_ids: personal(["CRM#1/é", "17"]),
        status: Some("contacted".into()),
        last_contacted_at: Some(at(-60) + SignedDuration::from_nanos(1)),
        known_as: BTreeMap::from([(Name::new("destination", "crm").unwrap(), "0035é".into())]),
        origin: Origin::Call(call("CA#1/é")),
        ..contact("c-1")
    };
    assert_eq!(stored(&directory, &full).await, Contact { version: 1, ..full.clone() });
    let plain = contact("c-2");
    assert_eq!(stored(&directory, &plain).await, Contact { version: 1, ..plain });
    // A contact and an employee of one id are two.
    let other = Employee {
        name: Some(Personal::new("Kim Example")),
        numbers: numbers([1]),
        extensions: [extension(None, "101"), extension(Some("pbx"), "*101#")].into(),
        emails: personal(["kim@example.com"]),
        external_ids: personal(["17"]),
        ..employee("c-1")
    };
    assert_eq!(directory.employee(&other.id).await.unwrap(), None);
    assert_eq!(directory.put_employee(&other).await.unwrap(), PutIf::Stored(1));
    let wanted = Employee { version: 1, ..other };
    assert_eq!(directory.employee(&wanted.id).await.unwrap(), Some(wanted.clone()));
    assert_eq!(directory.contact(&full.id).await.unwrap().unwrap().version, 1);
    let asked = BTreeSet::from([
        of_contact("c-1"),
        Holder::Employee(name("c-1")),
        of_contact("c-9"),
        Holder::Own,
    ]);
    let found = directory.entries(&asked).await.unwrap();
    let full = Contact { version: 1, ..full };
    let wanted = BTreeMap::from([
        (of_contact("c-1"), Entry::Contact(full)),
        (Holder::Employee(name("c-1")), Entry::Employee(wanted)),
    ]);
    assert_eq!(found, wanted);
}

async fn a_write_needs_the_version_that_it_read(directory: Directory) {
    let first = with_numbers("c-1", [1]);
    let one = stored(&directory, &first).await;
    let conflict = |put| assert_eq!(put, PutIf::Conflict);
    // A writer that has not read it neither overwrites it nor takes its handles away.
    conflict(directory.put_contact(&with_numbers("c-1", [2])).await.unwrap());
    let two =
        stored(&directory, &Contact { name: Some(Personal::new("Kim")), ..one.clone() }).await;
    assert_eq!(two.version, 2);
    conflict(directory.put_contact(&Contact { numbers: numbers([3]), ..one }).await.unwrap());
    conflict(directory.put_contact(&Contact { version: 3, ..two.clone() }).await.unwrap());
    conflict(directory.put_contact(&Contact { version: 1, ..contact("c-9") }).await.unwrap());
    conflict(directory.delete_contact(&two.id, 1).await.unwrap());
    conflict(directory.delete_contact(&name("c-9"), 0).await.unwrap());
    assert_eq!(directory.contact(&two.id).await.unwrap(), Some(two.clone()));
    assert_eq!(holders(&directory, 1).await, BTreeSet::from([of_contact("c-1")]));
    for n in [2, 3] {
        assert!(holders(&directory, n).await.is_empty());
    }
    assert!(matches!(directory.delete_contact(&two.id, 2).await.unwrap(), PutIf::Stored(_)));
    assert_eq!(directory.contact(&two.id).await.unwrap(), None);
    assert!(holders(&directory, 1).await.is_empty());
    conflict(directory.put_contact(&two).await.unwrap());
    assert_eq!(stored(&directory, &first).await.version, 1);

    let one = employee("e-1");
    assert_eq!(directory.put_employee(&one).await.unwrap(), PutIf::Stored(1));
    conflict(directory.put_employee(&one).await.unwrap());
    conflict(directory.delete_employee(&one.id, 0).await.unwrap());
    assert!(matches!(directory.delete_employee(&one.id, 1).await.unwrap(), PutIf::Stored(_)));
    assert_eq!(directory.employee(&one.id).await.unwrap(), None);
}

async fn an_entry_that_could_not_be_found_again_is_refused(directory: Directory) {
    let wrong = Contact { numbers: personal(["0491570156"]), ..contact("c-1") };
    let error = directory.put_contact(&wrong).await.unwrap_err();
    assert!(matches!(error, StoreError::Refused { .. }));
    assert!(!format!("{error} {error:?}").contains("0491"), "{error:?}");
    assert_eq!(directory.contact(&wrong.id).await.unwrap(), None);
}

async fn every_holder_of_a_handle_is_found_until_it_gives_it_up(directory: Directory) {
    let one = stored(&directory, &with_numbers("c-1", [1, 2])).await;
    let two = stored(&directory, &with_numbers("c-2", [2])).await;
    let agent = Employee {
        numbers: numbers([2]),
        extensions: [extension(Some("pbx"), "101"), extension(None, "102")].into(),
        emails: personal(["kim@example.com"]),
        external_ids: personal(["A#1"]),
        ..employee("e-1")
    };
    directory.put_employee(&agent).await.unwrap();
    directory.set_own_number(&number(2), true).await.unwrap();
    directory.set_own_number(&number(2), true).await.unwrap();
    directory.set_own_number(&number(3), true).await.unwrap();
    let here = BTreeSet::from([Holder::Employee(name("e-1"))]);
    let asked = [
        of_number(1),
        of_number(2),
        of_number(3),
        of_number(4),
        Handle::Extension(extension(Some("pbx"), "101")),
        Handle::Extension(extension(None, "101")),
        Handle::Extension(extension(Some("other"), "101")),
        Handle::Extension(extension(None, "102")),
        Handle::Email(Personal::new("kim@example.com")),
        Handle::External(Personal::new("A#1")),
        Handle::External(number(1)),
    ];
    let found = directory.holders(&asked.clone().into()).await.unwrap();
    let wanted = BTreeMap::from([
        (asked[0].clone(), [of_contact("c-1")].into()),
        (asked[1].clone(), &here | &[of_contact("c-1"), of_contact("c-2"), Holder::Own].into()),
        (asked[2].clone(), [Holder::Own].into()),
        (asked[4].clone(), here.clone()),
        (asked[7].clone(), here.clone()),
        (asked[8].clone(), here.clone()),
        (asked[9].clone(), here.clone()),
    ]);
    assert_eq!(found, wanted);
    assert_eq!(directory.holders(&BTreeSet::new()).await.unwrap(), BTreeMap::new());

    // Each gives it up in its own way, and harms no other.
    stored(&directory, &Contact { numbers: numbers([1, 5]), ..one }).await;
    directory.set_own_number(&number(2), false).await.unwrap();
    directory.set_own_number(&number(2), false).await.unwrap();
    assert_eq!(holders(&directory, 2).await, &here | &[of_contact("c-2")].into());
    directory.delete_contact(&two.id, 1).await.unwrap();
    assert_eq!(holders(&directory, 2).await, here);
    directory.delete_employee(&agent.id, 1).await.unwrap();
    directory.set_own_number(&number(3), false).await.unwrap();
    let found = directory.holders(&asked.into()).await.unwrap();
    assert_eq!(found, BTreeMap::from([(of_number(1), [of_contact("c-1")].into())]));
    assert_eq!(holders(&directory, 5).await, [of_contact("c-1")].into());
}

async fn many_handles_are_found_at_once(directory: Directory) {
    let write = |n: u32| EntryWrite {
        entry: Entry::Contact(with_numbers(&format!("c-{n}"), [n])),
        alone: [of_number(n)].into(),
    };
    let writes: Vec<EntryWrite> = (0..250).map(write).collect();
    let put = directory.put_entries(&writes).await.unwrap();
    assert_eq!(put, vec![PutIf::Stored(1); 250]);
    let found = directory.holders(&(0..300).map(of_number).collect()).await.unwrap();
    let wanted = (0..250).map(|n| (of_number(n), [of_contact(&format!("c-{n}"))].into()));
    assert_eq!(found, wanted.collect::<Holders>());
}

async fn each_of_many_writes_is_done_or_not_for_itself(directory: Directory) {
    let old = stored(&directory, &with_numbers("old", [1])).await;
    let write = |contact: Contact, alone: &[u32]| EntryWrite {
        entry: Entry::Contact(contact),
        alone: alone.iter().map(|n| of_number(*n)).collect(),
    };
    let put = directory
        .put_entries(&[
            write(with_numbers("a", [2]), &[2]),
            // Its number is another's, and it was not to be.
            write(with_numbers("b", [3, 1]), &[1]),
            // It may be.
            write(with_numbers("c", [4, 1]), &[4]),
            // There is no such version.
            write(Contact { version: 7, ..old.clone() }, &[]),
            write(with_numbers("old", [5]), &[]),
            write(with_numbers("e", [6]), &[]),
        ])
        .await
        .unwrap();
    let (stored, conflict) = (PutIf::Stored(1), PutIf::Conflict);
    assert_eq!(put, [stored, conflict, stored, conflict, conflict, stored]);
    let two = [write(with_numbers("d", [8]), &[8]), write(with_numbers("g", [8]), &[8])];
    let put = directory.put_entries(&two).await.unwrap();
    assert!(put == [stored, conflict] || put == [conflict, stored], "{put:?}");
    for (n, ids) in
        [(1, vec!["c", "old"]), (2, vec!["a"]), (3, vec![]), (5, vec![]), (6, vec!["e"])]
    {
        assert_eq!(holders(&directory, n).await, ids.into_iter().map(of_contact).collect());
    }
    // Employees are no hindrance to contacts, nor own numbers.
    directory.set_own_number(&number(7), true).await.unwrap();
    directory.put_employee(&Employee { numbers: numbers([7]), ..employee("e") }).await.unwrap();
    let put = directory.put_entries(&[write(with_numbers("f", [7]), &[7])]).await.unwrap();
    assert_eq!(put, [stored]);
    // Its own number is not another's.
    let changed = Contact { name: Some(Personal::new("Kim")), ..old };
    let put = directory.put_entries(&[write(changed, &[])]).await.unwrap();
    assert_eq!(put, [PutIf::Stored(2)]);
}

fn new_of_call(n: u32, id: &str) -> Contact {
    Contact { origin: Origin::Call(call(id)), ..with_numbers(&format!("call-{id}"), [n]) }
}

async fn of_many_first_calls_one_creates(directory: Directory) {
    let calls = (0..100).map(|n| {
        let directory = directory.clone();
        tokio::spawn(async move {
            let new = new_of_call(1, &n.to_string());
            directory.create_contact_once(&number(1), &new).await.unwrap()
        })
    });
    let calls: Vec<_> = calls.collect();
    let mut got = BTreeSet::new();
    for call in calls {
        let contact = call.await.unwrap();
        assert_eq!((contact.version, &contact.numbers), (1, &numbers([1])));
        got.insert(contact.id);
    }
    assert_eq!(got.len(), 1);
    let wanted: BTreeSet<Holder> = got.into_iter().map(Holder::Contact).collect();
    assert_eq!(holders(&directory, 1).await, wanted);
    let listed = directory.contacts(None, 100).await.unwrap();
    assert_eq!((listed.items.len(), listed.next), (1, None));
}

async fn first_calls_and_imports_at_once_make_one_contact(directory: Directory) {
    let mut tasks = Vec::new();
    for round in 0..8 {
        for import in 0..2 {
            let directory = directory.clone();
            tasks.push(tokio::spawn(async move {
                let draft = |n: u32| Draft {
                    name: Some(Personal::new(format!("Kim {import}"))),
                    numbers: numbers([n]),
                    ..Draft::new(EntryKind::Contact(ContactKind::Client))
                };
                let drafts: Vec<Draft> = (0..30).map(|n| draft((n * 7 + round) % 30)).collect();
                let mut upserts = Upserts::new(&directory, Origin::Import, false);
                for done in upserts.put(&drafts, at(0)).await.unwrap() {
                    assert!(!matches!(done, Upserted::Rejected(_)), "{done:?}");
                }
            }));
        }
        for n in 0..30 {
            let directory = directory.clone();
            tasks.push(tokio::spawn(async move {
                let new = new_of_call(n, &format!("{round}-{n}"));
                directory.create_contact_once(&number(n), &new).await.unwrap();
            }));
        }
    }
    for task in tasks {
        task.await.unwrap();
    }
    let mut ids = BTreeSet::new();
    for n in 0..30 {
        let held = holders(&directory, n).await;
        assert_eq!(held.len(), 1, "{held:?}");
        ids.extend(held);
    }
    let listed = directory.contacts(None, 100).await.unwrap().items;
    assert_eq!(listed.len(), 30);
    assert!(listed.iter().all(|contact| contact.name.is_some()), "an import was forgotten");
}

async fn a_number_that_is_free_again_gets_a_new_contact(directory: Directory) {
    let new = new_of_call(1, "1");
    let create = || directory.create_contact_once(new.numbers.first().unwrap(), &new);
    let first = create().await.unwrap();
    assert_eq!(first, Contact { version: 1, ..new.clone() });
    assert_eq!(create().await.unwrap(), first);
    // It was deleted: the next call is of an unknown person.
    directory.delete_contact(&first.id, 1).await.unwrap();
    let first = create().await.unwrap();
    assert_eq!(first.version, 1);
    // Its number was taken away, and the id that the call would give is taken.
    let moved = stored(&directory, &Contact { numbers: numbers([2]), ..first }).await;
    let second = create().await.unwrap();
    assert_eq!((second.id.as_str(), second.version), ("call-1-2", 1));
    assert_eq!(holders(&directory, 1).await, [of_contact("call-1-2")].into());
    assert_eq!(directory.contact(&moved.id).await.unwrap(), Some(moved.clone()));
    // It was moved to another: that one it is, and shared, one of them.
    directory.delete_contact(&second.id, 1).await.unwrap();
    let third = stored(&directory, &with_numbers("other", [1])).await;
    assert_eq!(create().await.unwrap(), third);
    let moved = stored(&directory, &Contact { numbers: numbers([1]), ..moved }).await;
    assert!([moved, third].contains(&create().await.unwrap()));
    // Neither employees nor we ourselves are in its way.
    directory.set_own_number(&number(3), true).await.unwrap();
    let new = new_of_call(3, "3");
    assert_eq!(directory.create_contact_once(&number(3), &new).await.unwrap().id, new.id);
}

/// Every entry of a list.
async fn all<T>(
    read: impl AsyncFnMut(Option<EntryCursor>) -> Result<EntryPage<T>, StoreError>,
) -> Vec<T> {
    pages(read).await.0
}

async fn lists_come_in_pages_in_order(directory: Directory) {
    let lead = |id: &str, status: Option<&str>| Contact {
        kind: ContactKind::Lead,
        status: status.map(str::to_owned),
        ..contact(id)
    };
    for id in ["b", "a", "c.1", "C", "c-2"] {
        stored(&directory, &contact(id)).await;
        directory.put_employee(&employee(&format!("e{id}"))).await.unwrap();
    }
    for (status, ids) in [
        (Some("new"), &["l2", "l1", "l6"][..]),
        (Some("contacted"), &["l4"]),
        (None, &["l3"]),
        (Some("newer"), &["l5"]),
    ] {
        for id in ids {
            stored(&directory, &lead(id, status)).await;
        }
    }
    let ids = |contacts: Vec<Contact>| -> Vec<String> {
        contacts.into_iter().map(|contact| contact.id.to_string()).collect()
    };
    let every = ["C", "a", "b", "c-2", "c.1", "l1", "l2", "l3", "l4", "l5", "l6"];
    for limit in [0, 1, 2, 5, 11, 1_000] {
        assert_eq!(
            ids(all(async |page| directory.contacts(page, limit).await).await),
            every,
            "{limit}"
        );
        let leads = ids(all(async |page| directory.leads(None, page, limit).await).await);
        assert_eq!(leads, ["l3", "l4", "l1", "l2", "l6", "l5"], "{limit}");
        let new = ids(all(async |page| directory.leads(Some("new"), page, limit).await).await);
        assert_eq!(new, ["l1", "l2", "l6"], "{limit}");
        let employees = all(async |page| directory.employees(page, limit).await).await;
        let employees: Vec<_> = employees.iter().map(|one| one.id.as_str()).collect();
        assert_eq!(employees, ["eC", "ea", "eb", "ec-2", "ec.1"], "{limit}");
    }
    assert!(ids(all(async |page| directory.leads(Some("won"), page, 10).await).await).is_empty());

    // What moves, is deleted or is a lead no more leaves its list; a page goes on where the last ended.
    let first = directory.contacts(None, 3).await.unwrap();
    directory.delete_contact(&name("b"), 1).await.unwrap();
    let (next, mut seen) = (first.next, ids(first.items));
    seen.extend(ids(directory.contacts(next, 100).await.unwrap().items));
    assert_eq!(seen, every);
    let known = async |id: &str| directory.contact(&name(id)).await.unwrap().unwrap();
    stored(&directory, &Contact { status: Some("won".into()), ..known("l1").await }).await;
    stored(&directory, &Contact { kind: ContactKind::Client, ..known("l2").await }).await;
    directory.delete_contact(&name("l6"), 1).await.unwrap();
    assert!(ids(all(async |page| directory.leads(Some("new"), page, 2).await).await).is_empty());
    let leads = ids(all(async |page| directory.leads(None, page, 2).await).await);
    assert_eq!(leads, ["l3", "l4", "l5", "l1"]);
    stored(&directory, &Contact { kind: ContactKind::Lead, ..known("a").await }).await;
    assert_eq!(ids(all(async |page| directory.leads(None, page, 2).await).await)[0], "a");
}

async fn a_cursor_that_was_not_made_here_is_no_panic(directory: Directory) {
    for text in ["", "#", "a b", "new#", "é", "2026-02-20T09:00:00Z#", &"x".repeat(5_000)] {
        let cursor = || Some(EntryCursor(text.to_owned()));
        let _ = directory.contacts(cursor(), 2).await;
        let _ = directory.employees(cursor(), 2).await;
        let _ = directory.leads(Some("new"), cursor(), 2).await;
        let _ = directory.activities(&name("c-1"), cursor(), 2).await;
    }
    let error = directory.contacts(Some(EntryCursor("a b".into())), 2).await.unwrap_err();
    assert!(matches!(error, StoreError::Damaged { what: "cursor", .. }), "{error}");
}

pub fn activity(contact: &str, id: &str, second: i64) -> Activity {
    Activity {
        contact: name(contact),
        call: call(id),
        at: at(second),
        direction: Some(Direction::Inbound),
        outcome: Some(Outcome::Answered),
        talk: Some(Seconds(42)),
        recording: Some(Personal::new("https://example.com/r?é=1")),
        employee: Some(name("e-1")),
    }
}

async fn a_timeline_is_newest_first_and_goes_with_its_contact(directory: Directory) {
    let contact = stored(&directory, &with_numbers("c-1", [1])).await;
    stored(&directory, &with_numbers("c-10", [2])).await;
    let plain = Activity {
        direction: None,
        outcome: None,
        talk: None,
        recording: None,
        employee: None,
        at: at(3) + SignedDuration::from_millis(10),
        ..activity("c-1", "CA#3/é", 3)
    };
    let calls =
        [activity("c-1", "CA1", 1), activity("c-1", "CA2", 3), plain, activity("c-1", "CA4", 9)];
    for one in &calls {
        directory.put_activity(one).await.unwrap();
        directory.put_activity(one).await.unwrap();
    }
    directory.put_activity(&activity("c-10", "CA1", 5)).await.unwrap();
    let timeline =
        async |limit| all(async |page| directory.activities(&contact.id, page, limit).await).await;
    let [a, b, c, d] = calls;
    for limit in [1, 2, 3, 100] {
        assert_eq!(timeline(limit).await, [d.clone(), c.clone(), b.clone(), a.clone()]);
    }
    // A start that was learnt late moves the call; there is one activity for each.
    let moved = Activity { at: at(20), talk: None, ..a };
    directory.put_activity(&moved).await.unwrap();
    assert_eq!(timeline(2).await, [moved.clone(), d, c.clone(), b.clone()]);
    directory.delete_activity(&contact.id, &call("CA4")).await.unwrap();
    directory.delete_activity(&contact.id, &call("CA4")).await.unwrap();
    directory.delete_activity(&contact.id, &call("CA9")).await.unwrap();
    assert_eq!(timeline(2).await, [moved, c, b]);

    directory.delete_contact(&contact.id, 1).await.unwrap();
    assert_eq!(timeline(2).await, []);
    // Nor does one come back that was put too late.
    directory.put_activity(&activity("c-1", "CA5", 5)).await.unwrap();
    assert_eq!(timeline(2).await, []);
    stored(&directory, &with_numbers("c-1", [1])).await;
    assert_eq!(timeline(2).await, []);
    let other = directory.activities(&name("c-10"), None, 100).await.unwrap();
    assert_eq!(other.items, [activity("c-10", "CA1", 5)]);
}

/// Something done to the directory.
#[derive(Clone, Debug)]
enum Step {
    Put(Holder, BTreeSet<u32>),
    Delete(Holder),
    Own(u32, bool),
    Once(u32, u8),
}

fn step() -> impl Strategy<Value = Step> {
    let contact = || (0..5_u8).prop_map(|id| of_contact(&format!("c{id}")));
    let employee = || (0..3_u8).prop_map(|id| Holder::Employee(name(&format!("e{id}"))));
    let some = || prop::collection::btree_set(0..6_u32, 0..4);
    prop_oneof![
        4 => (contact(), some()).prop_map(|(id, some)| Step::Put(id, some)),
        2 => (employee(), some()).prop_map(|(id, some)| Step::Put(id, some)),
        2 => contact().prop_map(Step::Delete),
        1 => employee().prop_map(Step::Delete),
        1 => (0..6_u32, any::<bool>()).prop_map(|(n, own)| Step::Own(n, own)),
        1 => (0..6_u32, 0..5_u8).prop_map(|(n, id)| Step::Once(n, id)),
    ]
}

/// The stored version of an entry; 0: there is none.
async fn version(directory: &Directory, holder: &Holder) -> u64 {
    match directory.entries(&[holder.clone()].into()).await.unwrap().remove(holder) {
        Some(Entry::Contact(contact)) => contact.version,
        Some(Entry::Employee(employee)) => employee.version,
        None => 0,
    }
}

/// Who is found is who the entries say, whatever was done before.
async fn what_is_found_is_what_the_entries_say(directory: Directory) {
    let mut runner = TestRunner::deterministic();
    let mut own = BTreeSet::new();
    let mut entries: BTreeMap<Holder, BTreeSet<u32>> = BTreeMap::new();
    for _ in 0..300 {
        let step = step().new_tree(&mut runner).unwrap().current();
        match &step {
            Step::Put(holder, some) => {
                let version = version(&directory, holder).await;
                let numbers = some.iter().copied().map(number).collect();
                let put = match holder {
                    Holder::Contact(id) => {
                        let put = Contact { numbers, version, ..contact(id.as_str()) };
                        directory.put_contact(&put).await.unwrap()
                    }
                    Holder::Employee(id) => {
                        let put = Employee { numbers, version, ..employee(id.as_str()) };
                        directory.put_employee(&put).await.unwrap()
                    }
                    Holder::Own => panic!("no entry"),
                };
                assert_eq!(put, PutIf::Stored(version + 1));
                entries.insert(holder.clone(), some.clone());
            }
            Step::Delete(holder) => {
                let version = version(&directory, holder).await;
                let put = match holder {
                    Holder::Contact(id) => directory.delete_contact(id, version).await.unwrap(),
                    Holder::Employee(id) => directory.delete_employee(id, version).await.unwrap(),
                    Holder::Own => panic!("no entry"),
                };
                assert_eq!(put != PutIf::Conflict, entries.remove(holder).is_some());
            }
            Step::Own(n, is_own) => {
                directory.set_own_number(&number(*n), *is_own).await.unwrap();
                if *is_own {
                    own.insert(*n)
                } else {
                    own.remove(n)
                };
            }
            Step::Once(n, id) => {
                let new = with_numbers(&format!("c{id}"), [*n]);
                let got = directory.create_contact_once(&number(*n), &new).await.unwrap();
                assert!(got.numbers.contains(&number(*n)));
                entries.entry(Holder::Contact(got.id)).or_insert_with(|| BTreeSet::from([*n]));
            }
        }
        let mut wanted = Holders::new();
        for (holder, some) in &entries {
            for n in some {
                wanted.entry(of_number(*n)).or_default().insert(holder.clone());
            }
        }
        for n in &own {
            wanted.entry(of_number(*n)).or_default().insert(Holder::Own);
        }
        let found = directory.holders(&(0..6).map(of_number).collect()).await.unwrap();
        assert_eq!(found, wanted, "after {step:?}");
    }
    let ids = |listed: Vec<Contact>| listed.into_iter().map(|one| Holder::Contact(one.id));
    let mut listed: BTreeSet<Holder> =
        ids(all(async |page| directory.contacts(page, 3).await).await).collect();
    let employees = all(async |page| directory.employees(page, 3).await).await;
    listed.extend(employees.into_iter().map(|one| Holder::Employee(one.id)));
    assert_eq!(listed, entries.into_keys().collect());
}

fn draft(n: u32) -> Draft {
    Draft {
        name: Some(Personal::new(format!("Kim {n}"))),
        numbers: numbers([n]),
        external_ids: personal([&format!("crm-{n}")]),
        ..Draft::new(EntryKind::Contact(ContactKind::Lead))
    }
}

async fn a_draft_finds_whom_it_is_about_and_erases_nothing(directory: Directory) {
    let mut upserts = Upserts::new(&directory, Origin::Import, false);
    let mut put = async |draft: Draft| upserts.put(&[draft], at(1)).await.unwrap().remove(0);
    let Upserted::Created(id) = put(draft(1)).await else { panic!() };
    assert_eq!(put(draft(1)).await, Upserted::Unchanged(id.clone()));
    // By its external id, though the number is another; by its number; by its id.
    let by_external = Draft { name: None, numbers: numbers([2]), ..draft(1) };
    assert_eq!(put(by_external).await, Upserted::Changed(id.clone()));
    let by_number = Draft { external_ids: personal(["other"]), ..draft(2) };
    assert_eq!(put(by_number).await, Upserted::Changed(id.clone()));
    let by_id = Draft {
        id: Some(id.clone()),
        name: None,
        numbers: numbers([3]),
        external_ids: BTreeSet::new(),
        status: Some("won".into()),
        ..draft(1)
    };
    assert_eq!(put(by_id).await, Upserted::Changed(id.clone()));
    let stored = directory.contact(&id).await.unwrap().unwrap();
    let wanted = Contact {
        id: id.clone(),
        kind: ContactKind::Lead,
        name: Some(Personal::new("Kim 2")),
        numbers: numbers([1, 2, 3]),
        external_ids: personal(["crm-1", "other"]),
        status: Some("won".into()),
        origin: Origin::Import,
        updated_at: at(1),
        version: 4,
        ..contact("x")
    };
    assert_eq!(stored, wanted);
    // An id that is wanted is given.
    let wanted = Draft { id: Some(name("mine")), ..draft(9) };
    assert_eq!(put(wanted).await, Upserted::Created(name("mine")));

    let rejected = async |done: Upserted| match done {
        Upserted::Rejected(fault) => fault.to_string(),
        other => panic!("{other:?}"),
    };
    // A shared number identifies no entry.
    let other = with_numbers("other", [1]);
    assert_eq!(directory.put_contact(&other).await.unwrap(), PutIf::Stored(1));
    let bare = |n| Draft { external_ids: BTreeSet::new(), ..draft(n) };
    let said = rejected(put(bare(1)).await).await;
    assert!(said.contains("belong to several entries"), "{said}");
    // With something beside it that does tell, they may be shared.
    let third = Draft { external_ids: personal(["third"]), ..draft(1) };
    assert!(matches!(put(third).await, Upserted::Created(_)));
    // Two people's numbers in one row.
    let mixed = Draft { numbers: numbers([2, 9]), ..bare(0) };
    assert!(rejected(put(mixed).await).await.contains("several entries"));
    let stolen = Draft { id: Some(name("mine")), ..draft(1) };
    assert!(rejected(put(stolen).await).await.contains("of another entry"));
    let unknown = Draft { numbers: BTreeSet::new(), ..bare(0) };
    assert!(rejected(put(unknown).await).await.contains("is needed"));
    let wrong = Draft { status: Some("Not A Word".into()), ..draft(5) };
    assert!(rejected(put(wrong).await).await.starts_with("status "));
    let many = Draft { numbers: (100..120).map(number).collect(), ..bare(0) };
    assert!(rejected(put(many).await).await.contains("at most 16"));
    // An employee's number is no contact's.
    let agent = Draft { kind: EntryKind::Employee, numbers: numbers([9]), ..bare(9) };
    assert!(matches!(put(agent).await, Upserted::Created(_)));
}

async fn a_dry_run_foretells_what_the_run_does(directory: Directory) {
    let before = Upserts::new(&directory, Origin::Import, false)
        .put(&[draft(1), draft(2)], at(0))
        .await
        .unwrap();
    assert_eq!(before.len(), 2);
    let mut drafts = vec![
        draft(1),
        Draft { name: Some(Personal::new("Kim")), ..draft(2) },
        draft(3),
        // The same person again, in three ways.
        Draft { external_ids: BTreeSet::new(), ..draft(3) },
        Draft { numbers: numbers([33]), ..draft(3) },
        Draft { external_ids: personal(["x"]), ..draft(33) },
        Draft { id: Some(name("mine")), ..draft(4) },
        Draft { id: Some(name("mine")), ..draft(5) },
        Draft { external_ids: personal(["crm-1", "crm-2"]), ..draft(6) },
        Draft { status: Some("?".into()), ..draft(7) },
    ];
    drafts.extend((100..400).map(draft));
    drafts.extend((100..120).map(draft));
    let word = |one: &Upserted| match one {
        Upserted::Created(_) => "created",
        Upserted::Changed(_) => "changed",
        Upserted::Unchanged(_) => "unchanged",
        Upserted::Rejected(_) => "rejected",
    };
    // In two halves, as a large file is.
    let run = async |dry_run: bool| {
        let mut upserts = Upserts::new(&directory, Origin::Import, dry_run);
        let mut done = upserts.put(&drafts[..150], at(0)).await.unwrap();
        done.extend(upserts.put(&drafts[150..], at(0)).await.unwrap());
        done.iter().map(word).collect::<Vec<_>>()
    };
    let foretold = run(true).await;
    assert_eq!(directory.contacts(None, 100).await.unwrap().items.len(), 2);
    let done = run(false).await;
    assert_eq!(foretold, done);
    let head =
        "unchanged changed created unchanged changed changed created changed rejected rejected";
    assert_eq!(done[..10].join(" "), head);
    assert!(done[10..310].iter().all(|word| *word == "created"));
    assert!(done[310..].iter().all(|word| *word == "unchanged"));
    let again = run(false).await;
    assert!(again.iter().all(|word| matches!(*word, "unchanged" | "rejected" | "changed")));
    assert!(again[10..].iter().all(|word| *word == "unchanged"));
}
