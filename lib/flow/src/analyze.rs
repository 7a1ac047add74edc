//! `analyze`: a summary, a scorecard and tasks of a call's transcript, by a model.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use switchboard_analysis::fields::Fault;
use switchboard_analysis::response::check;
use switchboard_analysis::{AnalysisRequest, Model, Reply};
use switchboard_domain::analysis::Settings;
use switchboard_domain::analysis_plan;
use switchboard_domain::time::later;
use switchboard_domain::{
    Analysed, Analysis, AnalysisState, CallKey, CallRecord, Digest, Text, Tokens, Work,
};
use switchboard_providers::Source;
use switchboard_queue::Queue;
use switchboard_store::{Store, StoreError};

use crate::JobError;
use crate::configuration::Configuration;
use crate::follow_ups::{call_jobs, queue_due};
use crate::metrics;
use crate::models::Models;
use crate::telemetry::{Level, log_at};
use crate::update::{self, Also, owes, update};

/// A worker claims a call for so long while it asks a model. Longer than the function runs.
const LEASE: SignedDuration = SignedDuration::from_secs(150);
/// A model is asked again once, with what was wrong.
const ASKS: usize = 2;

/// The analyze worker and what it acts on.
pub struct Analyze {
    /// Where calls are.
    pub store: Store,
    /// Where follow-ups are queued.
    pub queue: Arc<dyn Queue>,
    /// Who is asked.
    pub models: Models,
}

/// What an attempt came to.
enum Ended {
    /// There is an analysis.
    Done(Box<Analysis>),
    /// There will be none.
    Failed(String),
    /// The model did not answer.
    Later { problem: String, not_before: Option<Timestamp> },
    /// No model is configured.
    Off,
}

/// One attempt, to be written down.
struct Attempt {
    basis: Digest,
    ended: Ended,
    tokens: Tokens,
    at: Timestamp,
}

impl Analyze {
    /// Analyses a call, if it still owes that. `clock` tells the time: a model takes its own.
    pub async fn run(
        &self,
        key: &CallKey,
        configuration: &Configuration,
        clock: impl Fn() -> Timestamp + Sync,
    ) -> Result<(), JobError> {
        let unknown = Source::default();
        let source = configuration.source(key).unwrap_or(&unknown);
        let Some((record, basis)) = self.claim(key, source, clock()).await? else { return Ok(()) };
        let settings = source.analyze.clone().unwrap_or_default();
        let started = Instant::now();
        let (ended, tokens) = match &configuration.model {
            None => (Ended::Off, Tokens::default()),
            Some(None) => {
                let problem = "the model's configuration is invalid: correct it".to_owned();
                (Ended::Later { problem, not_before: None }, Tokens::default())
            }
            Some(Some(_)) if record.analysis.as_ref().is_some_and(analysis_plan::is_worn_out) => {
                let last = record.analysis.as_ref().and_then(|mark| mark.reason.clone());
                let never = || "its worker stopped each time before it was done".to_owned();
                (Ended::Failed(last.unwrap_or_else(never)), Tokens::default())
            }
            Some(Some(model)) => {
                self.attempt(&record, source, &settings, model, &basis, &clock).await?
            }
        };
        let took_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let attempt = Attempt { basis, ended, tokens, at: clock() };
        let record = self.conclude(record, source, &attempt).await?;
        let model = configuration.model.iter().flatten().next();
        self.report(&record, &attempt, model, took_ms);
        self.queue_next(&record, attempt.at).await;
        Ok(())
    }

    /// Claims a call that owes its analysis now, for the time of the lease. Returns the call and the input
    /// of the analysis.
    async fn claim(
        &self,
        key: &CallKey,
        source: &Source,
        now: Timestamp,
    ) -> Result<Option<(CallRecord, Digest)>, JobError> {
        let Some(record) = update::call(&self.store, key).await? else {
            return Ok(None);
        };
        let (record, claimed) = update(&self.store, record, async |record: &mut CallRecord| {
            if !owes(record, Work::Analyze, now) {
                // Done already, or claimed by another worker: then the sweep comes back if that fails.
                return Ok::<_, JobError>(None);
            }
            // By the call and the source of now, it may not be wanted any more.
            analysis_plan::schedule(record, source.analyze.as_ref(), source.legs, now);
            let basis = record.analysis.as_ref().and_then(|mark| mark.basis.clone());
            let is_owed = record.owed.contains_key(&Work::Analyze);
            match (&mut record.analysis, is_owed) {
                (Some(mark), true) => {
                    mark.attempts += 1;
                    record.owed.insert(Work::Analyze, later(now, LEASE));
                }
                // What waits for it need not wait any longer.
                _ => due_now(record, now),
            }
            Ok(Some((Also::Nothing, basis.filter(|_| is_owed))))
        })
        .await?;
        let Some((_, basis)) = claimed else { return Ok(None) };
        if basis.is_none() {
            self.queue_next(&record, now).await;
        }
        Ok(basis.map(|basis| (record, basis)))
    }

    /// Asks a model about the call's transcript.
    async fn attempt(
        &self,
        record: &CallRecord,
        source: &Source,
        settings: &Settings,
        model: &Model,
        basis: &Digest,
        clock: &(impl Fn() -> Timestamp + Sync),
    ) -> Result<(Ended, Tokens), JobError> {
        let failed = |reason: &str| Ok((Ended::Failed(reason.to_owned()), Tokens::default()));
        let transcript = match self.transcript(record).await? {
            Ok(transcript) => transcript,
            Err(problem) => return failed(problem),
        };
        let zone = source.zone().unwrap_or(TimeZone::UTC);
        let facts = &record.call.facts;
        let day = facts.started_at.or(facts.ended_at).unwrap_or_else(|| record.began_at());
        let day = day.to_zoned(zone).date();
        let budget = model.max_transcript_chars as usize;
        match AnalysisRequest::about(&record.call, &transcript, settings, day, budget) {
            Some(request) => Ok(self.ask(&request, model, basis, clock).await),
            None => failed("the transcript is empty, or no turn of it fits"),
        }
    }

    /// The transcript of a call, or why there is none.
    async fn transcript<'a>(
        &self,
        record: &'a CallRecord,
    ) -> Result<Result<Cow<'a, str>, &'static str>, JobError> {
        Ok(match &record.call.facts.transcript {
            None => Err("there is no transcript"),
            Some(Text::Inline(text)) => Ok(text.expose().into()),
            Some(Text::Stored(blob)) => match self.store.blob(&record.key, blob).await {
                Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned().into()),
                Err(StoreError::Damaged { .. }) => Err("the stored transcript cannot be read"),
                Err(error) => return Err(error.into()),
            },
        })
    }

    /// Asks, and once more if the answer does not hold.
    async fn ask(
        &self,
        request: &AnalysisRequest<'_>,
        model: &Model,
        basis: &Digest,
        clock: &(impl Fn() -> Timestamp + Sync),
    ) -> (Ended, Tokens) {
        let mut tokens = Tokens::default();
        let mut faults: Vec<Fault> = Vec::new();
        for _ in 0..ASKS {
            match self.models.ask(model, &request.prompt(&faults), clock()).await {
                Reply::Content { response, tokens: took } => {
                    tokens = tokens + took;
                    match check(&response, request) {
                        Ok(checked) => {
                            let analysis =
                                checked.by(&model.id, tokens, basis.clone(), request, clock());
                            return (Ended::Done(Box::new(analysis)), tokens);
                        }
                        Err(found) => faults = found,
                    }
                }
                Reply::Malformed { problem, tokens: took } => {
                    tokens = tokens + took;
                    faults = vec![Fault(format!("the answer {problem}"))];
                }
                Reply::Declined { problem, tokens: took } => {
                    return (Ended::Failed(problem.to_owned()), tokens + took);
                }
                Reply::Refused { problem } => return (Ended::Failed(problem), tokens),
                Reply::Trouble { problem, not_before } => {
                    return (Ended::Later { problem, not_before }, tokens);
                }
            }
        }
        let first = faults.first().map_or("", |Fault(first)| first);
        let problem = format!("the model's answers could not be used, twice: {first}");
        (Ended::Failed(problem), tokens)
    }

    /// Writes down what an attempt came to.
    async fn conclude(
        &self,
        record: CallRecord,
        source: &Source,
        attempt: &Attempt,
    ) -> Result<CallRecord, JobError> {
        let (record, _) = update(&self.store, record, async |next: &mut CallRecord| {
            let also = match &attempt.ended {
                Ended::Done(analysis) if concluded(next, source, attempt) => {
                    Also::Analysis(analysis.clone())
                }
                Ended::Done(_) => Also::Nothing,
                _ => {
                    concluded(next, source, attempt);
                    Also::Nothing
                }
            };
            Ok::<_, JobError>(Some((also, ())))
        })
        .await?;
        Ok(record)
    }

    /// Queues what follows. It is stored as due, so if this fails the sweep repairs it.
    async fn queue_next(&self, record: &CallRecord, now: Timestamp) {
        queue_due(&*self.queue, &call_jobs(record, now)).await;
    }

    fn report(&self, record: &CallRecord, attempt: &Attempt, model: Option<&Model>, took_ms: u64) {
        let Tokens { input, output } = attempt.tokens;
        let mark = record.analysis.as_ref();
        let (level, message, counted) = match (&attempt.ended, mark.map(|mark| mark.state)) {
            (_, None) => (Level::INFO, "analysis no longer needed", "analysis_dropped"),
            (Ended::Done(_), _) => (Level::INFO, "call analysed", "analysed"),
            (Ended::Off, _) => (Level::INFO, "no model configured", "analysis_off"),
            (Ended::Later { .. }, Some(AnalysisState::Waiting)) => {
                (Level::WARN, "model request will be retried", "analysis_put_off")
            }
            (Ended::Later { .. } | Ended::Failed(_), _) => {
                (Level::ERROR, "analysis failed; the call continues without it", "analysis_failed")
            }
        };
        let reason = mark.and_then(|mark| mark.reason.as_deref()).unwrap_or_default();
        let model = model.map_or("none", |model| model.id.as_str());
        let next = record.owed.get(&Work::Analyze).map(ToString::to_string);
        log_at!(
            level, %model, %reason, attempts = mark.map_or(0, |mark| mark.attempts),
            tokens_in = input, tokens_out = output, took_ms,
            next_try = %next.unwrap_or_else(|| "never".to_owned()), "{message}"
        );
        let counts = [(counted, 1), ("tokens_in", input), ("tokens_out", output)];
        metrics::count(&counts, &[("model", model)]);
    }
}

/// A call with what an attempt came to; says whether its analysis is to be kept. Pure, so that it can
/// be done again on a newer version.
fn concluded(record: &mut CallRecord, source: &Source, attempt: &Attempt) -> bool {
    let Attempt { basis, ended, tokens, at } = attempt;
    let mark = record.analysis.take().unwrap_or(Analysed::new(AnalysisState::Waiting));
    let mark = Analysed { tokens: mark.tokens + *tokens, ..mark };
    let is_wanted = analysis_plan::is_wanted(&record.call, source.analyze.as_ref(), source.legs);
    let is_over = mark.state != AnalysisState::Waiting;
    if is_over || !is_wanted {
        // Another worker was first, or the analysis was canceled meanwhile.
        record.analysis = Some(mark);
        analysis_plan::schedule(record, source.analyze.as_ref(), source.legs, *at);
        due_now(record, *at);
        return false;
    }
    if let Ended::Later { problem, not_before } = ended
        && let Some(due_at) = analysis_plan::again(&record.key, mark.attempts, *not_before, *at)
    {
        record.owed.insert(Work::Analyze, due_at);
        record.analysis = Some(Analysed { reason: Some(problem.clone()), ..mark });
        return false;
    }
    let over = Analysed { basis: Some(basis.clone()), since: None, runs: mark.runs + 1, ..mark };
    record.analysis = Some(match ended {
        Ended::Done(analysis) => Analysed {
            state: AnalysisState::Done,
            digest: Some(analysis.digest()),
            tasks: u32::try_from(analysis.tasks.len()).unwrap_or(u32::MAX),
            reason: None,
            ..over
        },
        Ended::Failed(reason) | Ended::Later { problem: reason, .. } => {
            Analysed { state: AnalysisState::Failed, reason: Some(reason.clone()), ..over }
        }
        // It cost nothing, so it does not count.
        Ended::Off => {
            let reason = Some("no model configured".to_owned());
            Analysed { state: AnalysisState::Off, reason, runs: mark.runs, ..over }
        }
    });
    record.owed.remove(&Work::Analyze);
    due_now(record, *at);
    matches!(ended, Ended::Done(_))
}

/// Makes `enrich` due, which delivers the call.
fn due_now(record: &mut CallRecord, now: Timestamp) {
    let due = record.owed.entry(Work::Enrich).or_insert(now);
    *due = now.min(*due);
}
