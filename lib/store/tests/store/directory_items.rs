//! The directory's items on DynamoDB.

use std::collections::BTreeSet;

use aws_sdk_dynamodb::types::AttributeValue;
use switchboard_domain::Personal;
use switchboard_domain::directory::{
    Contact, ContactKind, Draft, Employee, EntryKind, Extension, Origin,
};
use switchboard_store::{Directory, PutIf, StoreError, Upserted, Upserts};

use crate::directory::{activity, at, contact, employee, name, number, with_numbers};
use crate::server::{self, DIRECTORY as TABLE, Item, client, everything, put};

fn personal(value: &str) -> BTreeSet<Personal> {
    BTreeSet::from([Personal::new(value)])
}

fn lead() -> Contact {
    Contact {
        kind: ContactKind::Lead,
        status: Some("new".into()),
        emails: personal("kim@example.com"),
        external_ids: personal("crm#1"),
        ..with_numbers("c-1", [1, 2])
    }
}

#[tokio::test]
async fn every_item_has_its_place_and_nothing_is_left_of_who_is_deleted() {
    let client = client().await;
    let directory = Directory::dynamodb(&client, TABLE.into());
    directory.put_contact(&lead()).await.unwrap();
    let extension =
        |source: Option<&str>| Extension { source: source.map(name), number: Personal::new("101") };
    let agent = Employee {
        numbers: with_numbers("x", [2]).numbers,
        extensions: [extension(None), extension(Some("pbx"))].into(),
        ..employee("e-1")
    };
    directory.put_employee(&agent).await.unwrap();
    directory.set_own_number(&number(3), true).await.unwrap();
    directory.put_activity(&activity("c-1", "CA1", 0)).await.unwrap();
    let place = |item: &Item| {
        ["pk", "sk", "list", "place"]
            .map(|key| item.get(key).map_or("", |value| value.as_s().unwrap()).to_owned())
    };
    let mut places: Vec<_> = everything(&client, TABLE).await.iter().map(place).collect();
    places.sort();
    let wanted = [
        [
            "contact#c-1",
            "activity#twilio/twilio/CA1",
            "timeline#c-1",
            "2026-02-20T08:43:20.000000000Z#twilio/twilio/CA1",
        ],
        ["contact#c-1", "entry", "contact", "c-1"],
        ["contact#c-1", "lead", "lead", "new#c-1"],
        ["email#kim@example.com", "holders", "", ""],
        ["employee#e-1", "entry", "employee", "e-1"],
        ["extension##101", "holders", "", ""],
        ["extension#pbx#101", "holders", "", ""],
        ["external#crm#1", "holders", "", ""],
        ["number#+15550100001", "holders", "", ""],
        ["number#+15550100002", "holders", "", ""],
        ["number#+15550100003", "holders", "", ""],
    ];
    assert_eq!(places, wanted);
    directory.delete_contact(&name("c-1"), 1).await.unwrap();
    directory.delete_employee(&name("e-1"), 1).await.unwrap();
    directory.set_own_number(&number(3), false).await.unwrap();
    directory.set_own_number(&number(4), false).await.unwrap();
    assert_eq!(everything(&client, TABLE).await, []);
}

#[tokio::test]
async fn a_deletion_that_was_stopped_half_way_is_finished_by_the_next() {
    let client = client().await;
    let directory = Directory::dynamodb(&client, TABLE.into());
    // What is left if the process ends after the entry is deleted and before its timeline is.
    for n in 0..3 {
        let item =
            [("pk", "contact#c-1".to_owned()), ("sk", format!("activity#twilio/twilio/{n}"))];
        let item = item.map(|(name, value)| (name.to_owned(), AttributeValue::S(value)));
        put(&client, TABLE, item.into()).await;
    }
    let deleted = directory.delete_contact(&name("c-1"), 0).await.unwrap();
    assert_eq!(deleted, PutIf::Conflict);
    assert_eq!(everything(&client, TABLE).await, []);
}

#[tokio::test]
async fn a_change_of_everything_that_an_entry_may_have_is_one_transaction() {
    let client = client().await;
    let directory = Directory::dynamodb(&client, TABLE.into());
    let full = |salt: u32, version: u64| Employee {
        numbers: (0..16).map(|n| number(n + salt)).collect(),
        extensions: (0..12)
            .map(|n| Extension { source: None, number: Personal::new((n + salt).to_string()) })
            .collect(),
        emails: (0..8).map(|n| Personal::new(format!("{}@example.com", n + salt))).collect(),
        external_ids: (0..12).map(|n| Personal::new((n + salt).to_string())).collect(),
        version,
        ..employee("e-1")
    };
    directory.put_employee(&full(0, 0)).await.unwrap();
    assert_eq!(directory.put_employee(&full(100, 1)).await.unwrap(), PutIf::Stored(2));
    assert_eq!(everything(&client, TABLE).await.len(), 49);
}

#[tokio::test]
async fn a_number_that_a_hundred_have_is_nobodys() {
    let directory = server::directory().await;
    for n in 0..100 {
        directory.put_contact(&with_numbers(&format!("c-{n}"), [1])).await.unwrap();
    }
    let error = directory.put_contact(&with_numbers("c-100", [1, 2])).await.unwrap_err();
    assert!(matches!(error, StoreError::Refused { .. }), "{error}");
    assert!(!format!("{error} {error:?}").contains("555"));
    assert_eq!(directory.contact(&name("c-100")).await.unwrap(), None);
    let draft = Draft {
        numbers: with_numbers("x", [1, 3]).numbers,
        external_ids: personal("crm-1"),
        ..Draft::new(EntryKind::Contact(ContactKind::Client))
    };
    let done = Upserts::new(&directory, Origin::Import, false).put(&[draft], at(0)).await.unwrap();
    assert!(
        matches!(&done[..], [Upserted::Rejected(fault)] if fault.problem.contains("100 entries")),
        "{done:?}"
    );
    // One that has it already may change.
    let one = directory.contact(&name("c-7")).await.unwrap().unwrap();
    let put = directory.put_contact(&Contact { name: Some(Personal::new("Kim")), ..one }).await;
    assert_eq!(put.unwrap(), PutIf::Stored(2));
}

#[tokio::test]
async fn what_is_kept_under_a_key_that_is_none_of_ours_is_damaged_and_no_panic() {
    let client = client().await;
    let directory = Directory::dynamodb(&client, TABLE.into());
    directory.put_contact(&contact("c-1")).await.unwrap();
    let mut item = everything(&client, TABLE).await.remove(0);
    item.remove("updated_at");
    put(&client, TABLE, item).await;
    let error = directory.contact(&name("c-1")).await.unwrap_err();
    assert!(matches!(error, StoreError::Damaged { what: "contact", .. }), "{error}");
}
