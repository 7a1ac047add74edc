//! `enrich`: the conversation's summary, who was on the call, then one delivery per destination and
//! the contact's timeline.

use std::collections::{BTreeMap, BTreeSet};

use std::sync::Arc;

use crate::Retry;
use crate::Telemetry;
use jiff::{SignedDuration, Timestamp};
use switchboard_domain::analysis_plan::{self, AnalysisPlan};
use switchboard_domain::lookup::{self, Patience};
use switchboard_domain::plan::{CallSummary, Subscriber};
use switchboard_domain::{
    CallKey, CallRecord, Delivery, DeliveryId, Digest, Event, Lookup, LookupState, Person, Update,
    Work, plan,
};
use switchboard_http::Http;
use switchboard_providers::elevenlabs::ElevenLabs;
use switchboard_providers::{Provider as _, Source};
use switchboard_queue::{Job, Queue, Send};
use switchboard_store::{Directory, Put, Store, StoreError};

use crate::configuration::Configuration;
use crate::conversations;
use crate::people::{self, Known};

/// While a conversation is looked for, or a timeline is written, nobody else does. Longer than the
/// function runs.
const LEASE: SignedDuration = SignedDuration::from_secs(45);
/// What was handed on to another worker is left to it for so long.
const HANDED_ON: SignedDuration = SignedDuration::from_mins(15);
/// A message may be a little early against the clock of the one who set the time.
const SLACK: SignedDuration = SignedDuration::from_secs(2);
/// How often a write is tried against other writers of the same call.
const ROUNDS: usize = 20;

/// The enrich worker and what it acts on.
pub struct Enrich<S, Q, D> {
    /// Where calls are.
    pub store: S,
    /// Where deliveries are queued.
    pub queue: Q,
    /// Where contacts and employees are.
    pub directory: D,
    /// Where summaries come from.
    pub conversations: Arc<dyn Http>,
    /// Where it says what it does.
    pub telemetry: Telemetry,
}

/// What a search for a conversation adds to a call.
struct Looked {
    lookup: Lookup,
    again: Option<Timestamp>,
    update: Option<Update>,
}

impl<S: Store, Q: Queue, D: Directory> Enrich<S, Q, D> {
    /// Does what a call owes now, if it still owes it.
    pub async fn run(
        &self,
        key: &CallKey,
        configuration: &Configuration,
        now: Timestamp,
    ) -> Result<(), Retry> {
        let Some(mut record) = self.store.call(key).await? else {
            self.telemetry.error("a job points to a call that is not stored", &[("call", key)]);
            return Ok(());
        };
        let is_due = |due_at: &&Timestamp| due_at.duration_since(now) <= SLACK;
        if record.owed.get(&Work::Announce).filter(is_due).is_some() {
            return self.announce(record, configuration, now).await;
        }
        let due = record.owed.get(&Work::Enrich);
        if due.is_none_or(|due_at| due_at.duration_since(now) > SLACK) {
            // Done already, or somebody is at it: then the sweep comes back if they fail. But the sweep
            // cannot tell what a call owes.
            self.hand_on(&record, now).await;
            return self.leave(record, now).await;
        }
        let unknown = Source::default();
        let source = configuration.source(key).unwrap_or(&unknown);
        let looked = match self.look(&mut record, source, configuration, now).await? {
            Ok(looked) => looked,
            Err(Claimed) => return Ok(()),
        };
        let waiting = looked.as_ref().and_then(|looked| looked.again);
        let analysed = |record: &CallRecord| {
            let mut next = with_findings(record.clone(), source, looked.as_ref(), now);
            analysis_plan::schedule(&mut next, source.analyze.as_ref(), source.legs, now)
        };
        let waiting = waiting.or_else(|| match analysed(&record) {
            AnalysisPlan::WaitUntil(until) => Some(until),
            AnalysisPlan::Late | AnalysisPlan::Over => None,
        });
        let mut planned = Vec::new();
        let result = match waiting {
            Some(again) => {
                let task = Task { source, configuration, looked: looked.as_ref(), now };
                self.wait(record, &task, again).await
            }
            None => {
                let task = Task { source, configuration, looked: looked.as_ref(), now };
                self.conclude(record, &task, &mut planned).await
            }
        };
        // What was planned is stored, even where the rest could not be done.
        let owed = |record: &CallRecord| record.owed.get(&Work::Enrich).copied();
        let again = result.as_ref().map_or(waiting, owed);
        self.queue_follow_ups(key, again, &planned, now).await;
        let record = result?;
        self.hand_on(&record, now).await;
        let what = match waiting {
            Some(_) => "waiting for a summary or an analysis",
            None => "call enriched",
        };
        self.report(&record, what, planned.len());
        Ok(())
    }

    /// Tells destinations that want to know it that a call has started, if they still can: who is on
    /// it, as far as the directory knows. It is asked again at the call's end.
    async fn announce(
        &self,
        mut record: CallRecord,
        configuration: &Configuration,
        now: Timestamp,
    ) -> Result<(), Retry> {
        let key = record.key.clone();
        let unknown = Source::default();
        let source = configuration.source(&key).unwrap_or(&unknown);
        for _ in 0..ROUNDS {
            let mut next = record;
            if next.owed.remove(&Work::Announce).is_none() {
                return Ok(());
            }
            let mut planned = Vec::new();
            if !next.is_start_overdue(now) {
                next.people = people::who(&self.directory, &next, source, false, now).await?.people;
                planned = self.plan(&mut next, configuration, now).await?.0;
            }
            match self.store.put_call_and_deliveries(&next, &planned, &[]).await? {
                Put::Stored(_) => {
                    self.queue_follow_ups(&key, None, &planned, now).await;
                    self.report(&next, "call announced", planned.len());
                    return Ok(());
                }
                Put::Conflict(stored) => record = *stored,
                Put::DeliveryConflict => {
                    let stored = self.store.call(&key).await?;
                    record = stored.ok_or_else(|| Retry("the call is gone".into()))?;
                }
            }
        }
        Err(crowded())
    }

    /// Stores how far the search for a conversation is, or that its analysis is waited for. The
    /// directory is asked when that is over.
    async fn wait(
        &self,
        mut record: CallRecord,
        task: &Task<'_>,
        again: Timestamp,
    ) -> Result<CallRecord, Retry> {
        let Task { source, configuration, looked, now } = *task;
        for _ in 0..ROUNDS {
            let mut next = with_findings(record.clone(), source, looked, now);
            if next.people.contact.as_ref().is_none_or(|person| !person.is_concluded()) {
                next.people = switchboard_people::of(&next.call, source.country.as_deref());
            }
            let is_searching = looked.is_some_and(|looked| looked.again.is_some());
            let again = match is_searching {
                true => again,
                false => {
                    let analyze = source.analyze.as_ref();
                    match analysis_plan::schedule(&mut next, analyze, source.legs, now) {
                        AnalysisPlan::WaitUntil(until) => until,
                        // It is there by now.
                        AnalysisPlan::Late | AnalysisPlan::Over => now,
                    }
                }
            };
            next.owed.insert(Work::Enrich, again);
            // They need no summary, and their addresses may be good for a short time only.
            self.plan_copies(&mut next, configuration, now);
            match self.store.put_call(&next).await? {
                Put::Stored(_) => return Ok(next),
                Put::Conflict(stored) => record = *stored,
                Put::DeliveryConflict => {}
            }
        }
        Err(crowded())
    }

    /// Finds out who was on the call and stores that with the deliveries to make; then writes the
    /// contact's timeline. Until that is done the call owes `enrich`, so a stop in between repeats it.
    async fn conclude(
        &self,
        mut record: CallRecord,
        task: &Task<'_>,
        all_planned: &mut Vec<Delivery>,
    ) -> Result<CallRecord, Retry> {
        let Task { source, configuration, looked, now } = *task;
        let lease = now.checked_add(LEASE).unwrap_or(now);
        // Timelines that this run wrote, whatever others made of the call since.
        let mut written = BTreeSet::new();
        for _ in 0..ROUNDS {
            let mut next = with_findings(record.clone(), source, looked, now);
            let is_told = plan::is_told(&next.call, source.legs);
            let creates = is_told && source.creates_contacts();
            let Known { people, contact } =
                people::who(&self.directory, &next, source, creates, now).await?;
            next.people = people;
            let contact = contact.filter(|_| is_told);
            next.timelines.extend(written.iter().cloned());
            next.timelines.extend(contact.iter().map(|contact| contact.id.clone()));
            let planning =
                analysis_plan::schedule(&mut next, source.analyze.as_ref(), source.legs, now);
            // A transcript may have come since this was begun.
            let until = match planning {
                AnalysisPlan::WaitUntil(until) => Some(until),
                AnalysisPlan::Late | AnalysisPlan::Over => None,
            };
            match (next.timelines.is_empty(), until) {
                (true, None) => next.owed.remove(&Work::Enrich),
                (true, Some(until)) => next.owed.insert(Work::Enrich, until),
                (false, _) => next.owed.insert(Work::Enrich, lease),
            };
            self.plan_copies(&mut next, configuration, now);
            let (planned, untried) = match is_told && until.is_none() {
                true => self.plan(&mut next, configuration, now).await?,
                false => Default::default(),
            };
            match self.store.put_call_and_deliveries(&next, &planned, &untried).await? {
                Put::Stored(version) => next.version = version,
                Put::Conflict(stored) => {
                    record = *stored;
                    continue;
                }
                Put::DeliveryConflict => {
                    let stored = self.store.call(&next.key).await?;
                    record = stored.ok_or_else(|| Retry("the call is gone".into()))?;
                    continue;
                }
            }
            all_planned.extend(planned);
            if next.timelines.is_empty() {
                return Ok(next);
            }
            people::place(&self.directory, &next, contact.as_ref(), &configuration.leads, now)
                .await?;
            next.timelines = contact.into_iter().map(|contact| contact.id).collect();
            written.extend(next.timelines.iter().cloned());
            match until {
                None => next.owed.remove(&Work::Enrich),
                Some(until) => next.owed.insert(Work::Enrich, until),
            };
            match self.store.put_call(&next).await? {
                Put::Stored(_) => return Ok(next),
                Put::Conflict(stored) => record = *stored,
                Put::DeliveryConflict => {}
            }
        }
        Err(crowded())
    }

    /// Looks for the call's conversation, if its source has any. The outer error is worth a
    /// retry; the inner one means that another worker was first.
    async fn look(
        &self,
        record: &mut CallRecord,
        source: &Source,
        configuration: &Configuration,
        now: Timestamp,
    ) -> Result<Result<Option<Looked>, Claimed>, Retry> {
        let Some(wanted) = &source.conversations else { return Ok(Ok(None)) };
        if !lookup::is_wanted(&record.call, record.lookup.as_ref()) {
            return Ok(Ok(None));
        }
        let Some(place) = configuration.source_named(ElevenLabs.name(), &wanted.source) else {
            let name = &wanted.source;
            self.telemetry.error("no such conversation source is configured", &[("source", name)]);
            return Ok(Ok(None));
        };
        // Only what reaches outside needs a lease: the writes guard themselves.
        let mut claimed = record.clone();
        claimed.owed.insert(Work::Enrich, now.checked_add(LEASE).unwrap_or(now));
        match self.store.put_call(&claimed).await? {
            Put::Stored(version) => {
                claimed.version = version;
                *record = claimed;
            }
            _ => return Ok(Err(Claimed)),
        }
        let found = conversations::find(&*self.conversations, place, record, now).await;
        if let Some(problem) = &found.problem {
            self.telemetry.warn(
                "the conversation could not be read",
                &[
                    ("call", &record.key),
                    ("correlation_id", &record.key.correlation_id()),
                    ("problem", problem),
                ],
            );
        }
        let patience: Patience = wanted.patience();
        let (mut lookup, again) =
            lookup::next(record.lookup.as_ref(), found.finding, now, patience);
        let found_id = found.conversation.as_ref().map(|conversation| conversation.id.clone());
        let told_id = || record.call.facts.conversation.clone();
        lookup.conversation = found_id.or_else(told_id).or(lookup.conversation);
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
        Ok(Ok(Some(Looked { lookup, again, update })))
    }

    /// The deliveries to make beside those that there are, and those that the plan takes to be untried.
    async fn plan(
        &self,
        next: &mut CallRecord,
        configuration: &Configuration,
        now: Timestamp,
    ) -> Result<(Vec<Delivery>, Vec<DeliveryId>), StoreError> {
        let mut existing: BTreeMap<DeliveryId, Option<Digest>> = BTreeMap::new();
        if !next.deliveries.is_empty() {
            for delivery in self.store.deliveries(&next.key).await? {
                existing
                    .insert(delivery.id, delivery.rendered.map(|rendered| rendered.fingerprint));
            }
        }
        let subscribers: Vec<_> = configuration
            .destinations
            .iter()
            .map(|(name, destination)| match destination {
                Some(destination) => {
                    destination.subscriber(name.clone(), next).without_updates(&next.owed)
                }
                // Whether it wants the call is seen when it can be read.
                None => Subscriber { destination: name.clone(), events: vec![Event::Completed] },
            })
            .collect();
        let fingerprint = next.fingerprint();
        let summary = CallSummary {
            has_ended: next.call.has_ended(),
            fingerprint: &fingerprint,
            tasks: next.analysis.as_ref().map_or(0, |analysis| analysis.tasks),
        };
        let ids = plan::deliveries(summary, &subscribers, &existing);
        next.deliveries.extend(ids.iter().cloned());
        let planned =
            ids.into_iter().map(|id| Delivery::planned(next.key.clone(), id, now)).collect();
        // A start that is told meanwhile changes nothing of the plan.
        let is_untried = |(id, told): &(DeliveryId, Option<Digest>)| {
            told.is_none() && id.event != Event::Started
        };
        let untried = existing.into_iter().filter(is_untried).map(|(id, _)| id).collect();
        Ok((planned, untried))
    }

    /// Plans copies of the call's recordings, as their sources want, with the links that CRMs are told.
    fn plan_copies(&self, next: &mut CallRecord, configuration: &Configuration, now: Timestamp) {
        if next.call.facts.recordings.is_empty() {
            return;
        }
        let of = next.clone();
        let is_wanted = |id: &str| configuration.copies(&of, id);
        if !configuration.has_bucket {
            if of.call.facts.recordings.keys().any(|id| is_wanted(id)) {
                self.telemetry.warn(
                    "a source has its recordings copied, and this stack has no bucket for them: \
                     deploy it with CopyRecordings=true",
                    &[("call", &of.key)],
                );
            }
            return;
        }
        let call_at = of.call.facts.ended_at.unwrap_or_else(|| of.began_at());
        let link = |id: &str| Some(configuration.links.as_ref()?.to(&of.key, id, call_at));
        next.plan_copies(is_wanted, link, now);
    }

    /// Queues what a call owes now that is not for `enrich` to do.
    async fn hand_on(&self, record: &CallRecord, now: Timestamp) {
        let is_due = |(work, due_at): &(&Work, &Timestamp)| {
            **work != Work::Enrich && due_at.duration_since(now) <= SLACK
        };
        let job =
            |(work, _): (&Work, &Timestamp)| Send { job: Job::of(*work, &record.key), delay: 0 };
        let jobs: Vec<Send> = record.owed.iter().filter(is_due).map(job).collect();
        if !jobs.is_empty()
            && let Err(error) = self.queue.send(&jobs).await
        {
            self.telemetry.warn("work was stored and not queued", &[("error", &error)]);
        }
    }

    /// Leaves recordings that were handed on to their worker for a while: each copy knows itself when
    /// it is due, and a queue that is long is not filled with the same.
    async fn leave(&self, mut record: CallRecord, now: Timestamp) -> Result<(), Retry> {
        let due_at = record.owed.get_mut(&Work::Recordings).filter(|due_at| **due_at <= now);
        let Some(due_at) = due_at else { return Ok(()) };
        *due_at = now.checked_add(HANDED_ON).unwrap_or(now);
        // Where somebody else wrote the call meanwhile, the sweep finds it once more.
        self.store.put_call(&record).await?;
        Ok(())
    }

    /// Queues what follows. It is stored as due, so if this fails the sweep repairs it.
    async fn queue_follow_ups(
        &self,
        key: &CallKey,
        again: Option<Timestamp>,
        planned: &[Delivery],
        now: Timestamp,
    ) {
        let mut jobs: Vec<Send> = planned
            .iter()
            .filter_map(|delivery| {
                let job = Job::Deliver { call: key.clone(), delivery: delivery.id.clone() };
                Send::at(job, delivery.due_at?, now)
            })
            .collect();
        if let Some(again) = again {
            jobs.extend(Send::at(Job::Enrich { call: key.clone() }, again, now));
        }
        if !jobs.is_empty()
            && let Err(error) = self.queue.send(&jobs).await
        {
            self.telemetry.warn("follow-ups were stored and not queued", &[("error", &error)]);
        }
    }

    fn report(&self, record: &CallRecord, what: &str, planned: usize) {
        let key = &record.key;
        let reason =
            |person: &Option<Person>| person.as_ref().and_then(Person::reason).unwrap_or("nobody");
        self.telemetry.info(
            what,
            &[
                ("call", key),
                ("correlation_id", &key.correlation_id()),
                ("deliveries", &planned),
                ("contact", &reason(&record.people.contact)),
                ("employee", &reason(&record.people.employee)),
            ],
        );
        self.telemetry.count(&[("due", planned as u64)], &[("provider", key.provider.as_str())]);
    }
}

/// What a run has to act on.
struct Task<'a> {
    source: &'a Source,
    configuration: &'a Configuration,
    looked: Option<&'a Looked>,
    now: Timestamp,
}

fn crowded() -> Retry {
    Retry("too many writers of one call".into())
}

/// Another worker took the call up first.
struct Claimed;

/// A call with what was found out about it. Pure, so that it can be done again on a newer version.
fn with_findings(
    mut record: CallRecord,
    source: &Source,
    looked: Option<&Looked>,
    now: Timestamp,
) -> CallRecord {
    if let Some(looked) = looked {
        record.lookup = Some(looked.lookup.clone());
        if let Some(update) = &looked.update {
            let policy = switchboard_domain::Policy {
                settle: switchboard_domain::Seconds(0),
                legs: source.legs,
                starts: false,
            };
            record.absorb(update.clone(), policy, now);
        }
    }
    record
}
