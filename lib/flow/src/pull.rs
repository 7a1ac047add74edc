//! `pull`: does a piece of a job that pulls calls from a provider.
//!
//! A message points to a job. The job says what to ask next; the answers are stored as webhooks are,
//! and then the job's counts and what is left to ask are written at once. Whatever stops before that
//! is done again, and counted once: its records carry the unit's mark.

use std::sync::Arc;

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::JobError;
use crate::Telemetry;
use crate::ingest::{Ingest, Ingested, IngestedChange, NotIngested, jobs, quarantined};
use crate::pull_jobs::Pullable;
use futures_util::{StreamExt as _, stream};
use jiff::{SignedDuration, Timestamp};
use switchboard_domain::sync::{Counts, Gap, Job, Kind, Progress, Step, Unit};
use switchboard_domain::{Absorbed, Call, CallKey, Facts, Name, Secret, State, Update};
use switchboard_http::{Client, Limits, SendError};
use switchboard_providers::pull::{self, Answer, Asked, Problem, Pull, Question};
use switchboard_providers::{Record, Reject, Request, Source, Sources};
use switchboard_queue::{Queue, Send};
use switchboard_store::{Between, PutIf, Store};

/// One message's piece begins no further unit after so long; the next message goes on.
const PIECE: SignedDuration = SignedDuration::from_secs(20);
/// One question is answered within this, or counts as trouble.
const LIMITS: Limits = Limits { timeout: Duration::from_secs(25), largest: 8 * 1024 * 1024 };
/// A message may be a little early against the clock of the one who set the time.
const SLACK: SignedDuration = SignedDuration::from_secs(2);
/// So many records are stored at a time.
const AT_ONCE: usize = 16;
/// The webhook of a call that ended later than so long ago may be on its way.
pub const PATIENCE: SignedDuration = SignedDuration::from_mins(10);
/// A record that cannot be read is kept once in so long, however often it is pulled.
const KEPT_ONCE: SignedDuration = SignedDuration::from_hours(72);

/// Sends a question to a provider.
pub trait Ask: Sync {
    /// Sends it and reads the whole answer, whatever its status.
    fn ask(
        &self,
        question: Question,
    ) -> impl Future<Output = Result<Answer, SendError>> + std::marker::Send;
}

impl Ask for Client {
    async fn ask(&self, question: Question) -> Result<Answer, SendError> {
        self.send(question, LIMITS).await
    }
}

/// The pull worker and what it acts on.
pub struct Puller<A> {
    /// Where jobs and calls are.
    pub store: Store,
    /// Where follow-ups and further pieces are queued.
    pub queue: Arc<dyn Queue>,
    /// Whom it asks with.
    pub client: A,
    /// Where it says what it does.
    pub telemetry: Telemetry,
    /// The tokens of logins, by source.
    pub tokens: Tokens,
}

/// Tokens that logins brought, and until when each is good.
#[derive(Default)]
pub struct Tokens(Mutex<BTreeMap<(String, Name), (Secret, Timestamp)>>);

/// Why a unit was left half-way.
enum Stop {
    Provider(Problem),
    Ours(JobError),
}

impl<E: Into<JobError>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Ours(error.into())
    }
}

/// What a unit is done for.
struct Work<'a> {
    pull: &'static dyn Pull,
    name: &'a Name,
    source: &'a Source,
    sources: &'a Sources,
    kind: Kind,
    mark: &'a str,
}

impl<A: Ask> Puller<A> {
    /// Does a piece of a job, if it is due and nobody is at it.
    pub async fn run(
        &self,
        id: &Name,
        pullable: &Pullable,
        clock: impl Fn() -> Timestamp,
    ) -> Result<(), JobError> {
        let begun = clock();
        let Some(mut job) = self.store.job(id).await? else {
            self.telemetry.error("a message points to a job that is not stored", &[("job", id)]);
            return Ok(());
        };
        let is_due = job.not_before.is_some_and(|at| at.duration_since(begun) <= SLACK);
        if !job.is_running() || !is_due {
            return Ok(());
        }
        if !self.put(&mut job, |job| job.claimed(begun)).await? {
            return Ok(());
        }
        while job.is_running() {
            let (unit, stop) = self.unit(&job, pullable, &clock).await?;
            let now = clock();
            let next = |job: &Job| {
                let job = if unit.steps > 0 || stop.is_none() {
                    job.after(unit, now)
                } else {
                    job.clone()
                };
                match &stop {
                    None => job,
                    Some(Problem::Wait { until, why }) => job.waiting(*until, why, now),
                    Some(Problem::Trouble { why }) => job.troubled(why, now),
                    Some(Problem::Refused { why }) => {
                        job.ended(Progress::Failed, Some(why.clone()), now)
                    }
                }
            };
            let next = next(&job);
            if next.progress == Progress::Done || next.progress == Progress::Failed {
                self.note_gaps(&next).await?;
            }
            if !self.put(&mut job, |_| next).await? {
                // Canceled, or taken up by another: what was stored stays, and is not counted.
                return Ok(());
            }
            if stop.is_some() {
                break;
            }
            if now.duration_since(begun) >= PIECE && job.is_running() {
                if !self.put(&mut job, |job| job.left(now)).await? {
                    return Ok(());
                }
                break;
            }
        }
        self.tell(&job);
        let again = job.not_before.filter(|_| job.is_running());
        let pointer = switchboard_queue::Job::Pull { id: job.id.clone() };
        let send = again.and_then(|at| Send::at(pointer, at, clock()));
        self.send(send.as_slice()).await;
        Ok(())
    }

    /// Writes a job's next state. `false`: somebody else was first.
    async fn put(&self, job: &mut Job, next: impl FnOnce(&Job) -> Job) -> Result<bool, JobError> {
        let next = next(job);
        match self.store.put_job(&next).await? {
            PutIf::Stored(version) => {
                *job = Job { version, ..next };
                Ok(true)
            }
            PutIf::Conflict => Ok(false),
        }
    }

    /// Asks the next steps and stores what is answered. A problem ends the unit before the step
    /// that met it.
    async fn unit(
        &self,
        job: &Job,
        pullable: &Pullable,
        clock: &impl Fn() -> Timestamp,
    ) -> Result<(Unit, Option<Problem>), JobError> {
        let mut unit = Unit::default();
        let found = pullable.source(job.provider.as_str(), &job.source);
        let found = found.and_then(|(pull, source)| {
            let sources = pullable.of(job.provider.as_str());
            let gone = || switchboard_domain::ConfigError::new("source", "is not configured");
            Ok((pull, source, sources.ok_or_else(gone)?))
        });
        let (pull, source, sources) = match found {
            Ok(found) => found,
            Err(error) => return Ok((unit, Some(Problem::configuration(&error)))),
        };
        let mark = job.mark();
        let work = Work { pull, name: &job.source, source, sources, kind: job.kind, mark: &mark };
        let mut missing = BTreeSet::new();
        for step in job.steps.iter().take(pull.together(&job.steps)) {
            match self.step(&work, step, &mut unit, &mut missing, clock).await {
                Ok(()) => unit.steps += 1,
                Err(Stop::Provider(problem)) => return Ok((unit, Some(problem))),
                Err(Stop::Ours(retry)) => return Err(retry),
            }
        }
        Ok((unit, None))
    }

    async fn step(
        &self,
        work: &Work<'_>,
        step: &Step,
        unit: &mut Unit,
        missing: &mut BTreeSet<CallKey>,
        clock: &impl Fn() -> Timestamp,
    ) -> Result<(), Stop> {
        let token = self.token(work, clock).await?;
        let question = work.pull.ask(work.source, step, token.as_ref()).map_err(Stop::Provider)?;
        let answer = self.client.ask(question).await.map_err(unanswered)?;
        let now = clock();
        let to = Asked { name: work.name, source: work.source, mark: work.mark, now };
        let page = work.pull.read(&to, step, &answer).map_err(|problem| {
            if token.is_some() && matches!(problem, Problem::Refused { .. }) {
                // Perhaps it ended early: the next try logs in again.
                self.tokens.forget(work);
                return Stop::Provider(Problem::Trouble { why: problem.to_string() });
            }
            Stop::Provider(problem)
        })?;
        let mut counts = Counts { pages: 1, unfinished: page.unfinished, ..Counts::default() };
        let (records, unread) = read(work, &page.records);
        let (young, records): (Vec<Record>, Vec<Record>) =
            records.into_iter().partition(|record| {
                work.kind == Kind::Reconcile && is_young(&record.update.facts, now)
            });
        counts.unfinished += young.len() as u64;
        counts.seen = (records.len() + unread.len()) as u64;
        for (request, why, raw) in unread {
            self.keep(work, &request, &why, &raw, now).await?;
            counts.rejected += 1;
        }
        let taken = self.store_all(work, records, &mut counts, now).await?;
        let mut told: Vec<Ingested> = Vec::new();
        let mut found: BTreeMap<_, u64> = BTreeMap::new();
        for (facts, fingerprint) in taken {
            if fingerprint.ingested.absorbed == Absorbed::Duplicate {
                counts.duplicates += 1;
                continue;
            }
            counts.new += 1;
            if was_missing(&facts, fingerprint.before.as_ref())
                && missing.insert(fingerprint.ingested.key.clone())
            {
                let at = facts.started_at.or(facts.ended_at).unwrap_or(now);
                *found.entry(pull::day(work.pull, work.source, at)).or_default() += 1;
            }
            told.push(fingerprint.ingested);
        }
        self.send(&jobs(&told, now)).await;
        let provider = work.pull.provider().name();
        let metrics = [
            ("pulled", counts.seen),
            ("stored", counts.new),
            ("duplicate", counts.duplicates),
            ("rejected", counts.rejected),
        ];
        self.telemetry.count(&metrics, &[("provider", provider)]);
        unit.counts = unit.counts.plus(counts);
        unit.next.extend(page.next);
        for (day, count) in found {
            *unit.missing.entry(day).or_default() += count;
        }
        Ok(())
    }

    /// Stores records, several at a time. The same record twice is one and a duplicate.
    async fn store_all(
        &self,
        work: &Work<'_>,
        records: Vec<Record>,
        counts: &mut Counts,
        now: Timestamp,
    ) -> Result<Vec<(Facts, IngestedChange)>, Stop> {
        let mut once = BTreeSet::new();
        let (records, again): (Vec<Record>, Vec<Record>) = records
            .into_iter()
            .partition(|record| once.insert((record.key.clone(), record.update.digest.clone())));
        counts.duplicates += again.len() as u64;
        let ingest =
            &Ingest { provider: work.pull.provider(), store: &self.store, sources: work.sources };
        let mark = format!("{}={}", switchboard_providers::request::PULLED, work.mark);
        let is_own = |update: &Update| update.target.expose().ends_with(&mark);
        let is_own = &is_own;
        let outcomes = stream::iter(records).map(|record| async move {
            let (key, facts) = (record.key.clone(), record.update.facts.clone());
            (key, facts, ingest.ingest_changes(record, is_own, now).await)
        });
        let mut outcomes = std::pin::pin!(outcomes.buffered(AT_ONCE));
        let mut taken = Vec::new();
        while let Some((key, facts, outcome)) = outcomes.next().await {
            match outcome {
                Ok(fingerprint) => taken.push((facts, fingerprint)),
                Err(NotIngested::Unread(unread)) => {
                    // A call that takes no more: told in the log, and not kept with each pull.
                    let fields: [(&str, &dyn std::fmt::Display); 2] =
                        [("call", &key), ("problem", &unread.why)];
                    self.telemetry.warn("record rejected", &fields);
                    counts.rejected += 1;
                }
                Err(NotIngested::Store(error)) => return Err(error.into()),
            }
        }
        Ok(taken)
    }

    /// Keeps a record that was not understood, unless it is kept already.
    async fn keep(
        &self,
        work: &Work<'_>,
        request: &Request,
        why: &Reject,
        raw: &[u8],
        now: Timestamp,
    ) -> Result<(), Stop> {
        let provider = work.pull.provider();
        let fields: [(&str, &dyn std::fmt::Display); 2] =
            [("provider", &provider.name()), ("problem", why)];
        self.telemetry.warn("record rejected", &fields);
        let message = pull::message(work.pull, request, work.sources, work.name);
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

    /// The token of the source's login, if it needs one.
    async fn token(
        &self,
        work: &Work<'_>,
        clock: &impl Fn() -> Timestamp,
    ) -> Result<Option<Secret>, Stop> {
        let Some(login) = work.pull.login(work.source) else { return Ok(None) };
        if let Some(token) = self.tokens.get(work, clock()) {
            return Ok(Some(token));
        }
        let answer = self.client.ask(login.map_err(Stop::Provider)?).await.map_err(unanswered)?;
        let (token, until) = work.pull.token(&answer, clock()).map_err(Stop::Provider)?;
        self.tokens.keep(work, token.clone(), until);
        Ok(Some(token))
    }

    /// Notes what a reconciliation found, before it is over: noting it twice changes nothing.
    async fn note_gaps(&self, job: &Job) -> Result<(), JobError> {
        if job.kind != Kind::Reconcile {
            return Ok(());
        }
        for (day, missing) in &job.missing {
            let (provider, source) = (job.provider.clone(), job.source.clone());
            let (day, job) = (*day, job.id.clone());
            self.store.put_gap(&Gap { provider, source, day, job, missing: *missing }).await?;
        }
        Ok(())
    }

    /// Says how a job stands. The gap is told when it is known, zero too: the alarm waits for it.
    fn tell(&self, job: &Job) {
        let (counts, none) = (&job.counts, "none".to_owned());
        let progress = match job.progress {
            Progress::Running => "running",
            Progress::Done => "done",
            Progress::Failed => "failed",
            Progress::Canceled => "canceled",
        };
        let fields: [(&str, &dyn std::fmt::Display); 9] = [
            ("job", &job.id),
            ("provider", &job.provider),
            ("source", &job.source),
            ("progress", &progress),
            ("pages", &counts.pages),
            ("new", &counts.new),
            ("duplicates", &counts.duplicates),
            ("rejected", &counts.rejected),
            ("problem", job.problem.as_ref().unwrap_or(&none)),
        ];
        let (provider, source) = (job.provider.as_str(), job.source.as_str());
        let dimensions = [("provider", provider), ("source", source)];
        match job.progress {
            Progress::Failed => {
                self.telemetry.error("job failed", &fields);
                self.telemetry.count(&[("pull_failed", 1)], &dimensions);
            }
            Progress::Running => self.telemetry.info("job goes on", &fields),
            _ => self.telemetry.info("job is over", &fields),
        }
        if job.kind == Kind::Reconcile && job.progress == Progress::Done {
            self.telemetry.measured(&[("gap", job.missing.values().sum())], &dimensions);
        }
    }

    /// Queues what follows. It is stored as due, so if this fails the sweep repairs it.
    async fn send(&self, sends: &[Send]) {
        if sends.is_empty() {
            return;
        }
        if let Err(error) = self.queue.send(sends).await {
            self.telemetry.warn("follow-ups were stored and not queued", &[("error", &error)]);
        }
    }
}

impl Tokens {
    fn get(&self, work: &Work<'_>, now: Timestamp) -> Option<Secret> {
        let tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.get(&whose(work)).filter(|(_, until)| now < *until).map(|(token, _)| token.clone())
    }

    fn keep(&self, work: &Work<'_>, token: Secret, until: Timestamp) {
        let mut tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.insert(whose(work), (token, until));
    }

    fn forget(&self, work: &Work<'_>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&whose(work));
    }
}

fn whose(work: &Work<'_>) -> (String, Name) {
    (work.pull.provider().name().to_owned(), work.name.clone())
}

fn unanswered(error: SendError) -> Stop {
    let why = error.to_string();
    Stop::Provider(match error {
        SendError::PrivateAddress | SendError::NotBuilt | SendError::TooLarge => {
            Problem::Refused { why: format!("{why}: mend the source's address or ask for less") }
        }
        _ => Problem::Trouble { why },
    })
}

/// A record that could not be read: the request that it was made into, why, and its bytes.
type Unreadable = (Request, Reject, Vec<u8>);

/// What the records say, and those that say nothing that is understood.
fn read(work: &Work<'_>, requests: &[Request]) -> (Vec<Record>, Vec<Unreadable>) {
    let (mut records, mut unread) = (Vec::new(), Vec::new());
    for request in requests {
        let message = pull::message(work.pull, request, work.sources, work.name);
        match pull::read(work.pull, &message) {
            Ok(read) => {
                for record in read {
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

/// Whether what a record tells is news to us that a webhook should have brought: the end of a call,
/// or a conversation. A recording alone is none.
fn was_missing(facts: &Facts, before: Option<&Call>) -> bool {
    if facts.state == Some(State::Ended) {
        return !before.is_some_and(Call::has_ended);
    }
    let known = before.and_then(|call| call.facts.conversation.as_ref());
    facts.conversation.is_some() && facts.conversation.as_ref() != known
}
