//! `enrich`: the conversation's summary, who was on the call, then one delivery per destination and the
//! contact's timeline.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use switchboard_domain::directory::Contact;
use switchboard_domain::enrich_plan::{self, Plan, Search, Wishes};
use switchboard_domain::lookup::{self, Patience};
use switchboard_domain::time::later;
use switchboard_domain::{
    CallKey, CallRecord, Delivery, DeliveryId, LookupState, Name, Person, Work, plan,
};
use switchboard_http::Http;
use switchboard_providers::elevenlabs::ElevenLabs;
use switchboard_providers::{Provider as _, Source};
use switchboard_queue::{Job, Queue, Send};
use switchboard_store::{Directory, Put, Store};
use tracing::{error, info, warn};

use crate::JobError;
use crate::configuration::Configuration;
use crate::conversations;
use crate::follow_ups::{delivery_job, queue_due};
use crate::metrics;
use crate::people;
use crate::planning::{self, Plan as Deliveries};
use crate::update::{self, Also, is_due, owes, rounds, update};

/// While a conversation is looked for, or a timeline is written, no other worker does. Longer than the
/// function runs.
const LEASE: SignedDuration = SignedDuration::from_secs(45);
/// What was handed on to another worker is left to it for so long.
const HANDED_ON: SignedDuration = SignedDuration::from_mins(15);

/// The enrich worker and what it acts on.
pub struct Enrich {
    /// Where calls are.
    pub store: Store,
    /// Where deliveries are queued.
    pub queue: Arc<dyn Queue>,
    /// Where contacts and employees are.
    pub directory: Directory,
    /// Where summaries come from.
    pub conversations: Arc<dyn Http>,
}

/// What a run acts on.
#[derive(Clone, Copy)]
struct Task<'a> {
    source: &'a Source,
    configuration: &'a Configuration,
    search: Option<&'a Search>,
    now: Timestamp,
}

/// What a call is up to.
enum Step {
    /// Its summary or its analysis is waited for.
    Waiting,
    /// Its deliveries are planned, and the contact's timeline is next.
    Planned(Option<Box<Contact>>),
}

impl Enrich {
    /// Does what a call owes now, if it still owes it.
    pub async fn run(
        &self,
        key: &CallKey,
        configuration: &Configuration,
        now: Timestamp,
    ) -> Result<(), JobError> {
        let Some(record) = update::call(&self.store, key).await? else {
            return Ok(());
        };
        if owes(&record, Work::Announce, now) {
            return self.announce(record, configuration, now).await;
        }
        if !owes(&record, Work::Enrich, now) {
            // Done already, or claimed by another worker. The index of due work does not say what a call
            // owes, so the sweep sends `enrich` for all of it.
            self.hand_on(&record, now).await;
            return self.leave_recordings(record, now).await;
        }
        let unknown = Source::default();
        let source = configuration.source(key).unwrap_or(&unknown);
        let Some((record, search)) = self.search(record, source, configuration, now).await? else {
            return Ok(());
        };
        let task = Task { source, configuration, search: search.as_ref(), now };
        let mut planned = Vec::new();
        let result = self.enrich(record, &task, &mut planned).await;
        // Planned deliveries are stored, even where the timeline could not be written.
        let mut jobs: Vec<Send> =
            planned.iter().filter_map(|delivery| delivery_job(delivery, now)).collect();
        if let Ok((record, _)) = &result
            && let Some(again) = record.owed.get(&Work::Enrich)
        {
            jobs.extend(Send::at(Job::Enrich { call: key.clone() }, *again, now));
        }
        queue_due(&*self.queue, &jobs).await;
        let (record, step) = result?;
        self.hand_on(&record, now).await;
        match step {
            Step::Waiting => self.report(&record, "waiting for a summary or an analysis", 0),
            Step::Planned(_) => self.report(&record, "call enriched", planned.len()),
        }
        Ok(())
    }

    /// Plans the start of a call for the destinations that take starts, if it is not too late: with who
    /// is on the call as far as the directory knows. The call's end looks that up once more.
    async fn announce(
        &self,
        record: CallRecord,
        configuration: &Configuration,
        now: Timestamp,
    ) -> Result<(), JobError> {
        let unknown = Source::default();
        let source = configuration.source(&record.key).unwrap_or(&unknown);
        let (record, written) = update(&self.store, record, async |next: &mut CallRecord| {
            if next.owed.remove(&Work::Announce).is_none() {
                return Ok::<_, JobError>(None);
            }
            if next.is_start_overdue(now) {
                return Ok(Some((Also::Nothing, ())));
            }
            people::introduce(&self.directory, next, source, false, now).await?;
            let (planned, _) = self.plan(next, configuration, now).await?;
            Ok(Some((Also::Deliveries { planned, untried: Vec::new() }, ())))
        })
        .await?;
        let Some((also, ())) = written else { return Ok(()) };
        let planned = also.planned();
        let jobs: Vec<Send> =
            planned.iter().filter_map(|delivery| delivery_job(delivery, now)).collect();
        queue_due(&*self.queue, &jobs).await;
        self.report(&record, "call announced", planned.len());
        Ok(())
    }

    /// Stores that the call waits, or who was on it with the deliveries to make; then writes the
    /// contact's timeline. Until that is done the call owes `enrich`, so a stop in between repeats it.
    async fn enrich(
        &self,
        record: CallRecord,
        task: &Task<'_>,
        planned: &mut Vec<Delivery>,
    ) -> Result<(CallRecord, Step), JobError> {
        // Timelines that this run wrote, whatever other writers made of the call since.
        let mut written = BTreeSet::new();
        let mut current = record;
        rounds("call", async || {
            let decide = async |next: &mut CallRecord| self.decide(next, task, &written).await;
            let (next, stored) = update(&self.store, current.clone(), decide).await?;
            let Some((also, step)) = stored else {
                return Ok(ControlFlow::Break((next, Step::Waiting)));
            };
            planned.extend(also.planned());
            let contact = match &step {
                Step::Planned(contact) if !next.timelines.is_empty() => contact.as_deref(),
                _ => return Ok(ControlFlow::Break((next, step))),
            };
            let rules = &task.configuration.leads;
            let mut done = next;
            people::write_timelines(&self.directory, &mut done, contact, rules, task.now).await?;
            done.owed.remove(&Work::Enrich);
            written.extend(done.timelines.iter().cloned());
            match self.store.put_call(&done).await? {
                Put::Stored(version) => {
                    done.version = version;
                    Ok(ControlFlow::Break((done, step)))
                }
                Put::Conflict(stored) => {
                    current = *stored;
                    Ok(ControlFlow::Continue(()))
                }
            }
        })
        .await
    }

    /// What is stored of a call next: that it waits, or its people and deliveries.
    async fn decide(
        &self,
        next: &mut CallRecord,
        task: &Task<'_>,
        written: &BTreeSet<Name>,
    ) -> Result<Option<(Also, Step)>, JobError> {
        let Task { source, configuration, search, now } = *task;
        let wishes = Wishes { legs: source.legs, analyze: source.analyze.as_ref() };
        let Plan { record, wait_until } = enrich_plan::decide(next.clone(), wishes, search, now);
        *next = record;
        // Copies need no summary, and the addresses of recordings may be valid for a short time only.
        self.plan_copies(next, configuration, now);
        if let Some(until) = wait_until {
            if next.people.contact.as_ref().is_none_or(|person| !person.is_concluded()) {
                next.people = switchboard_people::of(&next.call, source.country.as_deref());
            }
            next.owed.insert(Work::Enrich, until);
            return Ok(Some((Also::Nothing, Step::Waiting)));
        }
        let is_delivered = plan::is_delivered(&next.call, source.legs);
        let creates = is_delivered && source.creates_contacts();
        let contact = people::introduce(&self.directory, next, source, creates, now).await?;
        let contact = contact.filter(|_| is_delivered);
        next.timelines.extend(written.iter().cloned());
        next.timelines.extend(contact.iter().map(|contact| contact.id.clone()));
        match next.timelines.is_empty() {
            true => next.owed.remove(&Work::Enrich),
            false => next.owed.insert(Work::Enrich, later(now, LEASE)),
        };
        let also = match is_delivered {
            true => {
                let (planned, untried) = self.plan(next, configuration, now).await?;
                Also::Deliveries { planned, untried }
            }
            false => Also::Nothing,
        };
        Ok(Some((also, Step::Planned(contact.map(Box::new)))))
    }

    /// Looks for the call's conversation, if its source has any. `None`: another worker claimed the call
    /// first.
    async fn search(
        &self,
        mut record: CallRecord,
        source: &Source,
        configuration: &Configuration,
        now: Timestamp,
    ) -> Result<Option<(CallRecord, Option<Search>)>, JobError> {
        let Some(wanted) = &source.conversations else { return Ok(Some((record, None))) };
        if !lookup::is_wanted(&record.call, record.lookup.as_ref()) {
            return Ok(Some((record, None)));
        }
        let Some(place) = configuration.source_named(ElevenLabs.name(), &wanted.source) else {
            let name = &wanted.source;
            error!(source = %name, "conversation source is not configured");
            return Ok(Some((record, None)));
        };
        // Only requests to the outside need a lease: the writes are conditional.
        record.owed.insert(Work::Enrich, later(now, LEASE));
        match self.store.put_call(&record).await? {
            Put::Stored(version) => record.version = version,
            Put::Conflict(_) => return Ok(None),
        }
        let found = conversations::find(&*self.conversations, place, &record, now).await;
        if let Some(problem) = &found.problem {
            warn!(%problem, "conversation could not be read");
        }
        let patience: Patience = wanted.patience();
        let (mut lookup, again) =
            lookup::next(record.lookup.as_ref(), found.finding, now, patience);
        let found_id = found.conversation.as_ref().map(|conversation| conversation.id.clone());
        let reported_id = || record.call.facts.conversation.clone();
        lookup.conversation = found_id.or_else(reported_id).or(lookup.conversation);
        let is_done = lookup.state == LookupState::Found;
        let update = match found.conversation.filter(|_| is_done) {
            Some(conversation) => {
                let (update, blobs) = conversation.update.offload(record.inline_limit());
                for blob in &blobs {
                    self.store.put_blob(&record.key, blob).await?;
                }
                Some(update)
            }
            None => None,
        };
        Ok(Some((record, Some(Search { lookup, again, update }))))
    }

    /// The deliveries to make beside those that exist, and those that the plan takes to be untried.
    async fn plan(
        &self,
        next: &mut CallRecord,
        configuration: &Configuration,
        now: Timestamp,
    ) -> Result<(Vec<Delivery>, Vec<DeliveryId>), JobError> {
        let Deliveries { new, untried, planned } =
            planning::plan(&self.store, next, configuration).await?;
        next.deliveries.extend(new.iter().cloned());
        if next.call.has_ended() {
            next.planned = Some(planned);
        }
        let planned =
            new.into_iter().map(|id| Delivery::planned(next.key.clone(), id, now)).collect();
        Ok((planned, untried))
    }

    /// Plans copies of the call's recordings, as their sources want, with the links that CRMs receive.
    fn plan_copies(&self, next: &mut CallRecord, configuration: &Configuration, now: Timestamp) {
        if next.call.facts.recordings.is_empty() {
            return;
        }
        let of = next.clone();
        let is_wanted = |id: &str| configuration.copies(&of, id);
        if !configuration.has_bucket {
            if of.call.facts.recordings.keys().any(|id| is_wanted(id)) {
                warn!(
                    "source copies recordings but the stack has no bucket: deploy it with \
                     CopyRecordings=true"
                );
            }
            return;
        }
        let call_at = of.call.facts.ended_at.unwrap_or_else(|| of.began_at());
        let link = |id: &str| Some(configuration.links.as_ref()?.to(&of.key, id, call_at));
        next.plan_copies(is_wanted, link, now);
    }

    fn report(&self, record: &CallRecord, message: &str, planned: usize) {
        let key = &record.key;
        let reason =
            |person: &Option<Person>| person.as_ref().and_then(Person::reason).unwrap_or("none");
        info!(
            deliveries = planned, contact = %reason(&record.people.contact),
            employee = %reason(&record.people.employee), "{message}"
        );
        metrics::count(&[("due", planned as u64)], &[("provider", key.provider.as_str())]);
    }

    /// Queues what a call owes now that is the work of other workers.
    async fn hand_on(&self, record: &CallRecord, now: Timestamp) {
        let others = record
            .owed
            .iter()
            .filter(|(work, due_at)| **work != Work::Enrich && is_due(**due_at, now));
        let jobs: Vec<Send> =
            others.map(|(work, _)| Send { job: Job::of(*work, &record.key), delay: 0 }).collect();
        queue_due(&*self.queue, &jobs).await;
    }

    /// Leaves recordings that were handed on to their worker for a while: each copy has a time of its own
    /// at which it is due, and a long queue is not filled with the same jobs.
    async fn leave_recordings(
        &self,
        mut record: CallRecord,
        now: Timestamp,
    ) -> Result<(), JobError> {
        let due_at = record.owed.get_mut(&Work::Recordings).filter(|due_at| **due_at <= now);
        let Some(due_at) = due_at else { return Ok(()) };
        *due_at = later(now, HANDED_ON);
        // Where another writer was first, the sweep finds it once more.
        self.store.put_call(&record).await?;
        Ok(())
    }
}
