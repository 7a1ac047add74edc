//! Who was on a call, asked of the directory; and what the call leaves there.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use futures_util::future::{try_join, try_join_all};
use jiff::{SignedDuration, Timestamp};
use switchboard_domain::directory::{Contact, ContactKind, Origin};
use switchboard_domain::{CallRecord, Name, People, Personal, later};
use switchboard_people::leads::{self, Rules};
use switchboard_people::matching::{self, LookupResult, Place};
use switchboard_providers::Source;
use switchboard_store::{Directory, StoreError};
use tracing::error;

use crate::metrics;
use crate::update::{rounds, update_contact};

/// A call waits so long after its last message for a directory that does not respond.
const PATIENCE: SignedDuration = SignedDuration::from_mins(15);
/// What could not be done, among a call's problems.
const CONTACT: &str = "contact";
const TIMELINE: &str = "timeline";

/// Who was on a call.
#[derive(Debug)]
pub struct Known {
    /// Both sides, each with its entry or why it has none.
    pub people: People,
    /// The contact, as it was read.
    pub contact: Option<Contact>,
    /// Why no contact could be created.
    pub problem: Option<StoreError>,
}

/// Sets who is on a call, as [`who`] finds it. What fails there keeps no call from its CRMs: once trying again
/// is of no use, it is noted on the call, which goes on with what is known of its people.
pub async fn introduce(
    directory: &Directory,
    record: &mut CallRecord,
    source: &Source,
    creates: bool,
    now: Timestamp,
) -> Result<Option<Contact>, StoreError> {
    let waits = now <= later(record.last_heard_at(), PATIENCE);
    let (contact, problem) = match who(directory, record, source, creates, now).await {
        Ok(known) => {
            record.people = known.people;
            (known.contact, known.problem)
        }
        Err(error) if error.is_retryable() && waits => return Err(error),
        Err(error) => {
            if record.people.contact.as_ref().is_none_or(|person| !person.is_concluded()) {
                record.people = switchboard_people::of(&record.call, source.country.as_deref());
            }
            (None, Some(error))
        }
    };
    note(record, CONTACT, problem.as_ref());
    Ok(contact)
}

/// Notes on a call why something beside it could not be done, or that it was done.
fn note(record: &mut CallRecord, what: &str, problem: Option<&StoreError>) {
    match problem {
        None => drop(record.problems.remove(what)),
        Some(problem) => {
            error!(%what, %problem, "directory failed; the call continues without it");
            metrics::count(&[("jobs_refused", 1)], &[]);
            record.problems.insert(what.to_owned(), problem.to_string());
        }
    }
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
        let mut problem = None;
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
                Some(number) => match create(directory, record, number, now).await {
                    Err(error) if !error.is_retryable() => {
                        problem = Some(error);
                        None
                    }
                    created => created?,
                },
                None => None,
            },
        };
        if let Some(contact) = &contact {
            let person = people.contact.take();
            people.contact =
                person.map(|person| matching::introduced(person, contact, &record.key));
        }
        Ok(ControlFlow::Break(Known { people, contact, problem }))
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

/// Writes a call's timelines, and notes where the directory refuses that.
pub async fn write_timelines(
    directory: &Directory,
    record: &mut CallRecord,
    contact: Option<&Contact>,
    rules: &Rules,
    now: Timestamp,
) -> Result<(), StoreError> {
    let problem = match place(directory, record, contact, rules, now).await {
        Ok(()) => {
            record.timelines = contact.map(|contact| contact.id.clone()).into_iter().collect();
            None
        }
        Err(error) if error.is_retryable() => return Err(error),
        // It stays on those that it may stand on: the next run of `enrich` tries again.
        Err(error) => Some(error),
    };
    note(record, TIMELINE, problem.as_ref());
    Ok(())
}

/// Puts a call on the timeline of the contact that it was with, takes it off all others that it may
/// be on, and moves the contact on. Doing it again changes nothing.
async fn place(
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
