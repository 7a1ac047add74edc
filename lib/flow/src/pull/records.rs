//! Storing what a step of a pull brought.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt as _, stream};
use jiff::{SignedDuration, Timestamp};
use switchboard_domain::sync::{Counts, Kind, Unit};
use switchboard_domain::{Absorbed, Call, CallKey, Facts, State, Update};
use switchboard_providers::pull::{self, Page};
use switchboard_providers::request::PULLED;
use switchboard_providers::{Record, Reject, Request};
use switchboard_store::Between;
use tracing::warn;

use super::{Puller, Work};
use crate::JobError;
use crate::follow_ups::queue_due;
use crate::ingest::{Ingest, IngestedChange, NotIngested, jobs, quarantined};
use crate::metrics;

/// So many records are stored at a time.
const AT_ONCE: usize = 16;
/// The webhook of a call that ended later than so long ago may be on its way.
pub const PATIENCE: SignedDuration = SignedDuration::from_mins(10);
/// A record that cannot be read is quarantined once in so long, however often it is pulled.
const KEPT_ONCE: SignedDuration = SignedDuration::from_hours(72);

impl Puller {
    /// Stores a page. `missing` are the calls that this unit found missing so far.
    pub(super) async fn store_page(
        &self,
        work: &Work<'_>,
        page: Page,
        missing: &mut BTreeSet<CallKey>,
        now: Timestamp,
    ) -> Result<Unit, JobError> {
        let mut counts = Counts { pages: 1, unfinished: page.unfinished, ..Counts::default() };
        let (records, unread) = parse(work, &page.records);
        let is_young =
            |record: &Record| work.kind == Kind::Reconcile && is_young(&record.update.facts, now);
        let (young, records): (Vec<Record>, Vec<Record>) = records.into_iter().partition(is_young);
        counts.unfinished += young.len() as u64;
        counts.seen = (records.len() + unread.len()) as u64;
        for (request, why, raw) in unread {
            self.quarantine(work, &request, &why, &raw, now).await?;
            counts.rejected += 1;
        }
        let mut ingested = Vec::new();
        let mut by_day: BTreeMap<_, u64> = BTreeMap::new();
        for (facts, change) in self.store_all(work, records, &mut counts, now).await? {
            if change.ingested.absorbed == Absorbed::Duplicate {
                counts.duplicates += 1;
                continue;
            }
            counts.new += 1;
            if was_missing(&facts, change.before.as_ref())
                && missing.insert(change.ingested.key.clone())
            {
                let at = facts.started_at.or(facts.ended_at).unwrap_or(now);
                *by_day.entry(pull::day(work.pull, work.session.source, at)).or_default() += 1;
            }
            ingested.push(change.ingested);
        }
        queue_due(&*self.queue, &jobs(&ingested, now)).await;
        let counted = [
            ("pulled", counts.seen),
            ("stored", counts.new),
            ("duplicate", counts.duplicates),
            ("rejected", counts.rejected),
        ];
        metrics::count(&counted, &[("provider", work.pull.provider().name())]);
        Ok(Unit { steps: 1, counts, next: page.next, missing: by_day })
    }

    /// Stores records, several at a time. The same record twice is one and a duplicate.
    async fn store_all(
        &self,
        work: &Work<'_>,
        records: Vec<Record>,
        counts: &mut Counts,
        now: Timestamp,
    ) -> Result<Vec<(Facts, IngestedChange)>, JobError> {
        let mut once = BTreeSet::new();
        let (records, again): (Vec<Record>, Vec<Record>) = records
            .into_iter()
            .partition(|record| once.insert((record.key.clone(), record.update.digest.clone())));
        counts.duplicates += again.len() as u64;
        let ingest =
            &Ingest { provider: work.pull.provider(), store: &self.store, sources: work.sources };
        let mark = format!("{PULLED}={}", work.session.mark);
        let is_own = &|update: &Update| update.target.expose().ends_with(&mark);
        let outcomes = stream::iter(records).map(|record| async move {
            let (key, facts) = (record.key.clone(), record.update.facts.clone());
            (key, facts, ingest.ingest_changes(record, is_own, now).await)
        });
        let mut outcomes = std::pin::pin!(outcomes.buffered(AT_ONCE));
        let mut ingested = Vec::new();
        while let Some((key, facts, outcome)) = outcomes.next().await {
            match outcome {
                Ok(change) => ingested.push((facts, change)),
                Err(NotIngested::Unread(unread)) => {
                    // A call that accepts no more updates: logged, and not quarantined with each pull.
                    warn!(call = %key, problem = %unread.why, "record rejected");
                    counts.rejected += 1;
                }
                Err(NotIngested::Store(error)) => return Err(error.into()),
            }
        }
        Ok(ingested)
    }

    /// Quarantines a record that was not understood, unless it is there already.
    async fn quarantine(
        &self,
        work: &Work<'_>,
        request: &Request,
        why: &Reject,
        raw: &[u8],
        now: Timestamp,
    ) -> Result<(), JobError> {
        let provider = work.pull.provider();
        warn!(provider = %provider.name(), problem = %why, "record rejected");
        let message = pull::message(work.pull, request, work.sources, work.session.name);
        let Some(one) = quarantined(provider, &message, why, raw) else { return Ok(()) };
        let between = Between { since: now.checked_sub(KEPT_ONCE).ok(), until: None };
        let mut page = None;
        loop {
            let kept = self.store.quarantined(&one.provider, &between, page).await?;
            if kept.items.iter().any(|kept| kept.digest == one.digest) {
                return Ok(());
            }
            page = kept.next;
            if page.is_none() {
                break;
            }
        }
        self.store.put_quarantined(&one, raw).await?;
        Ok(())
    }
}

/// A record that could not be parsed: the request that it was made into, why, and its bytes.
type Unparsed = (Request, Reject, Vec<u8>);

/// Parses records; returns those that were not understood, too.
fn parse(work: &Work<'_>, requests: &[Request]) -> (Vec<Record>, Vec<Unparsed>) {
    let (mut records, mut unread) = (Vec::new(), Vec::new());
    for request in requests {
        let message = pull::message(work.pull, request, work.sources, work.session.name);
        match pull::parse(work.pull, &message) {
            Ok(parsed) => {
                for record in parsed {
                    match record {
                        Ok(record) => records.push(record),
                        Err(one) => unread.push((request.clone(), one.why, one.raw)),
                    }
                }
            }
            Err(why) => unread.push((request.clone(), why, message.body().to_vec())),
        }
    }
    (records, unread)
}

/// Whether a call ended so lately that its webhook may be on its way.
fn is_young(facts: &Facts, now: Timestamp) -> bool {
    facts.ended_at.is_some_and(|ended_at| now.duration_since(ended_at) < PATIENCE)
}

/// Whether a record holds what a webhook should have brought and did not: the end of a call, or a
/// conversation. A recording alone is neither.
fn was_missing(facts: &Facts, before: Option<&Call>) -> bool {
    if facts.state == Some(State::Ended) {
        return !before.is_some_and(Call::has_ended);
    }
    let known = before.and_then(|call| call.facts.conversation.as_ref());
    facts.conversation.is_some() && facts.conversation.as_ref() != known
}
