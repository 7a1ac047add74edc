//! Who was on a call, asked of the directory; and what the call leaves there.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use futures_util::future::{try_join, try_join_all};
use jiff::Timestamp;
use switchboard_domain::directory::{Contact, ContactKind, Origin};
use switchboard_domain::{CallRecord, Name, People, Personal};
use switchboard_people::leads::{self, Rules};
use switchboard_people::matching::{self, LookupResult, Place};
use switchboard_providers::Source;
use switchboard_store::{Directory, StoreError};

use crate::update::{rounds, update_contact};

/// Who was on a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Both sides, each with its entry or why it has none.
    pub people: People,
    /// The contact, as it was read.
    pub contact: Option<Contact>,
}

/// Looks up a call's contact and employee in the directory: one round trip, and one more to read a
/// contact found by its number. With `creates`, a number without a holder gets a contact.
pub async fn who(
    directory: &Directory,
    record: &CallRecord,
    source: &Source,
    creates: bool,
    now: Timestamp,
) -> Result<Known, StoreError> {
    let call = &record.call;
    let place = Place {
        source: &record.key.source,
        country: source.country.as_deref(),
        own_numbers: &source.own_numbers,
    };
    let question = matching::query(call, &place);
    rounds("contact", async || {
        let (holders, by_id) = try_join(
            async {
                match question.handles.is_empty() {
                    true => Ok(BTreeMap::new()),
                    false => directory.holders(&question.handles).await,
                }
            },
            try_join_all(question.ids.iter().map(|id| directory.contact(id))),
        )
        .await?;
        let mut read: BTreeMap<Name, Contact> =
            by_id.into_iter().flatten().map(|contact| (contact.id.clone(), contact)).collect();
        let found = LookupResult { holders, contacts: read.keys().cloned().collect() };
        let mut people = matching::people(call, &place, &found);
        let entry = people.contact.as_ref().and_then(|person| person.entry.clone());
        let contact = match entry {
            Some(id) => match read.remove(&id) {
                Some(contact) => Some(contact),
                None => match directory.contact(&id).await? {
                    Some(contact) => Some(contact),
                    // It was deleted just now.
                    None => return Ok(ControlFlow::Continue(())),
                },
            },
            None => match matching::to_create(call, &people, &record.people).filter(|_| creates) {
                Some(number) => create(directory, record, number, now).await?,
                None => None,
            },
        };
        if let Some(contact) = &contact {
            let person = people.contact.take();
            people.contact =
                person.map(|person| matching::introduced(person, contact, &record.key));
        }
        Ok(ControlFlow::Break(Known { people, contact }))
    })
    .await
}

async fn create(
    directory: &Directory,
    record: &CallRecord,
    number: &Personal,
    now: Timestamp,
) -> Result<Option<Contact>, StoreError> {
    let Some(id) = matching::id_of_created(&record.key, number) else { return Ok(None) };
    let contact = Contact {
        id,
        kind: ContactKind::Client,
        name: record.call.facts.contact_name.clone(),
        numbers: BTreeSet::from([number.clone()]),
        emails: BTreeSet::new(),
        external_ids: BTreeSet::new(),
        status: None,
        last_contacted_at: None,
        known_as: BTreeMap::new(),
        origin: Origin::Call(record.key.clone()),
        updated_at: now,
        version: 0,
    };
    directory.create_contact_once(number, &contact).await.map(Some)
}

/// Puts a call on the timeline of the contact that it was with, takes it off all others that it may
/// be on, and moves the contact on. Doing it again changes nothing.
pub async fn place(
    directory: &Directory,
    record: &CallRecord,
    contact: Option<&Contact>,
    rules: &Rules,
    now: Timestamp,
) -> Result<(), StoreError> {
    let kept = contact.map(|contact| &contact.id);
    for other in record.timelines.iter().filter(|id| Some(*id) != kept) {
        directory.delete_activity(other, &record.key).await?;
    }
    let (Some(contact), Some(activity)) = (contact, leads::activity(record)) else { return Ok(()) };
    directory.put_activity(&activity).await?;
    let touched = |contact: &Contact| {
        let touched = leads::touched(contact, record, rules)?;
        Some(Contact { updated_at: now, ..touched })
    };
    if !update_contact(directory, contact.clone(), touched).await? {
        // Its timeline was deleted with it.
        directory.delete_activity(&contact.id, &record.key).await?;
    }
    Ok(())
}
