//! `enrich`: numbers to E.164, the conversation's summary, then one delivery per destination.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use switchboard_domain::lookup::{self, Patience};
use switchboard_domain::plan::Subscriber;
use switchboard_domain::{
    CallKey, CallRecord, Delivery, DeliveryId, Digest, Event, Lookup, LookupState, Update, Work,
    plan,
};
use switchboard_providers::elevenlabs::ElevenLabs;
use switchboard_providers::{Provider as _, Source};
use switchboard_queue::{Job, Queue, Send};
use switchboard_shell::Telemetry;
use switchboard_shell::worker::Retry;
use switchboard_store::{Put, Store, StoreError};

use crate::configuration::Configuration;
use crate::conversations::Conversations;

/// While a conversation is looked for, nobody else looks for it. Longer than the function runs.
const LEASE: SignedDuration = SignedDuration::from_secs(45);
/// A message may be a little early against the clock of the one who set the time.
const SLACK: SignedDuration = SignedDuration::from_secs(2);
/// How often a write is tried against other writers of the same call.
const ROUNDS: usize = 20;

/// The enrich worker and what it acts on.
pub struct Enrich<S, Q> {
    /// Where calls are.
    pub store: S,
    /// Where deliveries are queued.
    pub queue: Q,
    /// Where summaries come from.
    pub conversations: Conversations,
    /// Where it says what it does.
    pub telemetry: Telemetry,
}

/// What a search for a conversation adds to a call.
struct Looked {
    lookup: Lookup,
    again: Option<Timestamp>,
    update: Option<Update>,
}

impl<S: Store, Q: Queue> Enrich<S, Q> {
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
        let due = record.owed.get(&Work::Enrich);
        if due.is_none_or(|due_at| due_at.duration_since(now) > SLACK) {
            // Done already, or somebody is at it: then the sweep comes back if they fail.
            return Ok(());
        }
        let unknown = Source::default();
        let source = configuration.source(key).unwrap_or(&unknown);
        let looked = match self.look(&mut record, source, configuration, now).await? {
            Ok(looked) => looked,
            Err(Claimed) => return Ok(()),
        };
        for _ in 0..ROUNDS {
            let mut next = with_findings(record.clone(), source, looked.as_ref(), now);
            let waiting = looked.as_ref().and_then(|looked| looked.again);
            let (planned, untried) = match waiting {
                Some(again) => {
                    next.owed.insert(Work::Enrich, again);
                    Default::default()
                }
                None => {
                    next.owed.remove(&Work::Enrich);
                    match plan::is_told(&next.call, source.legs) {
                        true => self.plan(&mut next, configuration, now).await?,
                        false => Default::default(),
                    }
                }
            };
            match self.store.put_call_and_deliveries(&next, &planned, &untried).await {
                Ok(Put::Stored(_)) => {
                    self.done(&next, waiting, &planned, now).await;
                    return Ok(());
                }
                Ok(Put::Conflict(stored)) => record = *stored,
                Ok(Put::DeliveryConflict) => {
                    let stored = self.store.call(key).await?;
                    record = stored.ok_or_else(|| Retry("the call is gone".into()))?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(Retry("too many writers of one call".into()))
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
        let found = self.conversations.find(place, record, now).await;
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
                existing.insert(delivery.id, delivery.frozen.map(|frozen| frozen.news));
            }
        }
        let subscribers: Vec<_> = configuration
            .destinations
            .iter()
            .map(|(name, destination)| match destination {
                Some(destination) => destination.subscriber(name.clone(), next),
                // Whether it wants the call is seen when it can be read.
                None => Subscriber { destination: name.clone(), events: vec![Event::Completed] },
            })
            .collect();
        let ids = plan::deliveries(&next.call, &subscribers, &existing);
        next.deliveries.extend(ids.iter().cloned());
        let planned =
            ids.into_iter().map(|id| Delivery::planned(next.key.clone(), id, now)).collect();
        let untried =
            existing.into_iter().filter(|(_, told)| told.is_none()).map(|(id, _)| id).collect();
        Ok((planned, untried))
    }

    /// Queues what follows. It is stored as due, so if this fails the sweep repairs it.
    async fn done(
        &self,
        record: &CallRecord,
        waiting: Option<Timestamp>,
        planned: &[Delivery],
        now: Timestamp,
    ) {
        let key = &record.key;
        let mut jobs: Vec<Send> = planned
            .iter()
            .filter_map(|delivery| {
                let job = Job::Deliver { call: key.clone(), delivery: delivery.id.clone() };
                Send::at(job, delivery.due_at?, now)
            })
            .collect();
        if let Some(again) = waiting {
            jobs.extend(Send::at(Job::Enrich { call: key.clone() }, again, now));
        }
        if !jobs.is_empty()
            && let Err(error) = self.queue.send(&jobs).await
        {
            self.telemetry.warn("follow-ups were stored and not queued", &[("error", &error)]);
        }
        self.telemetry.info(
            if waiting.is_some() { "waiting for a summary" } else { "call enriched" },
            &[
                ("call", key),
                ("correlation_id", &key.correlation_id()),
                ("deliveries", &planned.len()),
            ],
        );
        self.telemetry
            .count(&[("due", planned.len() as u64)], &[("provider", key.provider.as_str())]);
    }
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
            };
            record.absorb(update.clone(), policy, now);
        }
    }
    record.people = switchboard_people::of(&record.call, source.country.as_deref());
    record
}
