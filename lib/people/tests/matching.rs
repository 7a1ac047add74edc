//! The table of `docs/matching.md`, case by case.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use switchboard_domain::directory::{
    Contact, ContactKind, Employee, Extension, Handle, Holder, Origin,
};
use switchboard_domain::{
    Call, CallKey, Direction, Facts, Name, Party, People, Person, Personal, Unmatched,
};
use switchboard_people::matching::{self, LookupResult, Place};

const PAGE: &str = include_str!("../../../docs/matching.md");

/// The rows of the table whose head begins so.
fn rows(head: &str) -> Vec<Vec<String>> {
    let (_, table) = PAGE.split_once(&format!("\n| {head} |")).unwrap();
    let lines = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    lines
        .map(|line| {
            let cells = line.trim_matches('|').split(" | ");
            cells.map(|cell| cell.trim().to_owned()).collect()
        })
        .collect()
}

/// What stands in code in a cell.
fn codes(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

fn texts(cell: &str) -> BTreeSet<Personal> {
    codes(cell).into_iter().map(Personal::new).collect()
}

fn name(text: &str) -> Name {
    Name::new("name", text).unwrap()
}

#[derive(Default)]
struct Directory {
    holders: BTreeMap<Handle, BTreeSet<Holder>>,
    contacts: BTreeMap<Name, Contact>,
}

impl Directory {
    fn read() -> Self {
        let mut directory = Self::default();
        for row in rows("entry") {
            let [entry, numbers, extensions, emails, external_ids] = &row[..] else { panic!() };
            let (kind, id) = entry.split_once(' ').unwrap_or((entry, ""));
            let numbers = texts(numbers);
            let (holder, handles) = match kind {
                "own" => (Holder::Own, numbers.into_iter().map(Handle::Number).collect()),
                "client" | "lead" => {
                    let kind = match kind {
                        "client" => ContactKind::Client,
                        _ => ContactKind::Lead,
                    };
                    let contact = Contact {
                        id: name(id),
                        kind,
                        name: None,
                        numbers,
                        emails: texts(emails),
                        external_ids: texts(external_ids),
                        status: None,
                        last_contacted_at: None,
                        known_as: BTreeMap::new(),
                        origin: Origin::Import,
                        updated_at: Timestamp::UNIX_EPOCH,
                        version: 1,
                    };
                    let handles = contact.handles();
                    directory.contacts.insert(name(id), contact);
                    (Holder::Contact(name(id)), handles)
                }
                _ => {
                    let extension = |text: &str| {
                        let (source, number) = match text.split_once('/') {
                            Some((source, number)) => (Some(name(source)), number),
                            None => (None, text),
                        };
                        Extension { source, number: Personal::new(number) }
                    };
                    let employee = Employee {
                        id: name(id),
                        name: None,
                        numbers,
                        extensions: codes(extensions).into_iter().map(extension).collect(),
                        emails: texts(emails),
                        external_ids: texts(external_ids),
                        origin: Origin::Import,
                        updated_at: Timestamp::UNIX_EPOCH,
                        version: 1,
                    };
                    (Holder::Employee(name(id)), employee.handles())
                }
            };
            for handle in handles {
                directory.holders.entry(handle).or_default().insert(holder.clone());
            }
        }
        directory
    }

    fn who(&self, call: &Call, place: &Place<'_>) -> People {
        let question = matching::query(call, place);
        let asked = |(handle, _): &(&Handle, _)| question.handles.contains(handle);
        let holders = self.holders.iter().filter(asked).map(|(a, b)| (a.clone(), b.clone()));
        let contacts = question.ids.into_iter().filter(|id| self.contacts.contains_key(id));
        let found = LookupResult { holders: holders.collect(), contacts: contacts.collect() };
        matching::people(call, place, &found)
    }
}

/// A side as the table writes it.
fn reason(person: Option<&Person>) -> String {
    match person {
        None => "–".to_owned(),
        Some(person) => match &person.entry {
            Some(entry) => format!("{entry} by {}", person.reason().unwrap()),
            None => format!("none: {}", person.reason().unwrap()),
        },
    }
}

fn call(direction: &str, contact: &str, employee: &str, ids: &str) -> Call {
    let party = |cell: &str| codes(cell).first().and_then(|text| Party::read(text));
    let mut facts = Facts {
        direction: Some(match direction {
            "inbound" => Direction::Inbound,
            "outbound" => Direction::Outbound,
            "internal" => Direction::Internal,
            other => panic!("{other}"),
        }),
        contact: party(contact),
        employee: party(employee),
        ..Facts::default()
    };
    for id in codes(ids).into_iter().flat_map(str::split_whitespace) {
        match id.split_once('=').unwrap() {
            ("contact_id", id) => facts.contact_id = Some(id.to_owned()),
            ("lead_id", id) => facts.lead_id = Some(id.to_owned()),
            (field, id) => {
                facts.extra.insert(field.to_owned(), Personal::new(id));
            }
        }
    }
    Call { outcome: None, facts }
}

#[test]
fn every_case_of_the_table() {
    let directory = Directory::read();
    let cases = rows("case");
    assert!(cases.len() >= 40, "{} cases", cases.len());
    let mut wrong = Vec::new();
    for case in &cases {
        let [what, country, direction, contact, employee, ids, e164, of_contact, of_employee] =
            &case[..]
        else {
            panic!("{case:?}")
        };
        let country = Some(country.as_str()).filter(|country| *country != "–");
        let own =
            Personal::new(if country == Some("AU") { "02 5550 1235" } else { "+61255501235" });
        let source = name("main");
        let place = Place { source: &source, country, own_numbers: &[own] };
        let call = call(direction, contact, employee, ids);
        let people = directory.who(&call, &place);
        let mut found = reason(people.contact.as_ref());
        if matching::to_create(&call, &people, &People::default()).is_some() {
            found.push_str(", created");
        }
        let number = people.contact.as_ref().and_then(|person| person.e164.as_ref());
        let number = number.map_or("–".to_owned(), |number| format!("`{}`", number.expose()));
        let ours = reason(people.employee.as_ref());
        if [&number, &found, &ours] != [e164, of_contact, of_employee] {
            wrong.push(format!("{what}: {number}, {found}, {ours}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    // Each of the eight countries, in a national form.
    for country in ["RU", "IL", "IN", "AU", "CH", "US", "GB", "DE"] {
        let national = |case: &&Vec<String>| case[1] == country && !case[3].contains('+');
        assert!(cases.iter().any(|case| national(&case)), "{country}");
    }
}

#[test]
fn a_conclusion_is_not_followed_by_a_creation() {
    let source = name("main");
    let place = Place { source: &source, country: Some("AU"), own_numbers: &[] };
    let first = call("inbound", "`0491570110`", "–", "–");
    let people = matching::people(&first, &place, &LookupResult::default());
    assert!(matching::to_create(&first, &people, &People::default()).is_some());
    // As it was stored before there was a directory: numbers alone.
    let numbers = switchboard_people::of(&first, Some("AU"));
    assert!(matching::to_create(&first, &people, &numbers).is_some());
    assert_eq!(matching::to_create(&first, &people, &people), None);
    // The number turned out to be another.
    let other = call("inbound", "`0491570159`", "–", "–");
    let later = matching::people(&other, &place, &LookupResult::default());
    assert!(matching::to_create(&other, &later, &people).is_some());
}

#[test]
fn a_created_contact_is_known_by_its_call() {
    let key: CallKey = "twilio/twilio/CA1".parse().unwrap();
    let number = Personal::new("+61491570110");
    let id = matching::id_of_created(&key, &number).unwrap();
    assert_eq!(matching::id_of_created(&key, &number), Some(id.clone()));
    assert_ne!(matching::id_of_created(&"twilio/twilio/CA2".parse().unwrap(), &number), Some(id));
    let mut contact = Directory::read().contacts.remove(&name("kim")).unwrap();
    contact.external_ids = (0..50).map(|n| Personal::new(format!("crm-{n}"))).collect();
    let place = Place { source: &name("main"), country: None, own_numbers: &[] };
    let first = call("inbound", "`+61491570156`", "–", "–");
    let found = |origin: Origin| {
        contact.origin = origin;
        let person = matching::people(&first, &place, &LookupResult::default()).contact.unwrap();
        assert_eq!(person.unmatched, Some(Unmatched::Unknown));
        let person = matching::introduced(person, &contact, &key);
        assert_eq!((person.external_ids.len(), person.unmatched), (20, None));
        person.reason().unwrap()
    };
    let reasons =
        [Origin::Call(key.clone()), Origin::Call("twilio/x/1".parse().unwrap()), Origin::Api]
            .map(found);
    assert_eq!(reasons, ["created", "number", "number"]);
}
