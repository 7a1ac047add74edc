//! Whether a call's transcript is analysed, how long deliveries wait for that, and when a model that
//! failed is asked again.

use jiff::{SignedDuration, Timestamp};

use crate::analysis::{Analysed, AnalysisState, Settings};
use crate::backoff::Backoff;
use crate::call::Call;
use crate::digest::Digest;
use crate::key::CallKey;
use crate::plan::{Legs, Work, is_delivered};
use crate::record::CallRecord;
use crate::time::later;
use crate::update::Text;

/// A call is analysed at most so often, each time of another transcript or script: the sender of the
/// messages decides about the bill.
const MOST_RUNS: u32 = 3;
/// The waits between requests to a model that fails, seconds: an hour and a half. It is obeyed for an
/// hour when it asks for time.
const BACKOFF: Backoff<'_> =
    Backoff::new(&[10, 30, 120, 600, 1_800, 3_600]).obeying(SignedDuration::from_hours(1));

/// How far a call is with its analysis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnalysisPlan {
    /// None is wanted, or it has ended.
    Over,
    /// It is owed, and deliveries wait for it until then.
    WaitUntil(Timestamp),
    /// It is owed, and only updates wait for it.
    Overdue,
}

/// Of what a call's analysis is made: its transcript and its script. Absent without a transcript.
pub fn basis(call: &Call) -> Option<Digest> {
    let transcript = match call.facts.transcript.as_ref()? {
        Text::Inline(text) if text.expose().trim().is_empty() => return None,
        Text::Inline(text) => Digest::of(&[text.expose().as_bytes()]),
        Text::Stored(blob) => blob.digest.clone(),
    };
    let script = call.facts.script_context.as_ref().map_or("", |script| script.expose());
    Some(Digest::of(&[b"basis", transcript.as_str().as_bytes(), script.as_bytes()]))
}

/// Whether a call's transcript is to be analysed: as the call itself says, else as its source does.
/// A call that has not ended may go on, and a leg that is not delivered is not worth its price.
pub fn is_wanted(call: &Call, settings: Option<&Settings>, legs: Legs) -> bool {
    let wanted = call.facts.auto_analyze.unwrap_or(settings.is_some_and(|settings| settings.on));
    wanted && call.has_ended() && is_delivered(call, legs) && basis(call).is_some()
}

/// Whether tasks are made of a call's analysis: as the call itself says, else as its source does.
pub fn makes_tasks(call: &Call, settings: &Settings) -> bool {
    call.facts.create_tasks.unwrap_or(settings.create_tasks)
}

/// Makes a call owe its analysis, if one is wanted and not there, and plans what waits for it.
pub fn schedule(
    record: &mut CallRecord,
    settings: Option<&Settings>,
    legs: Legs,
    now: Timestamp,
) -> AnalysisPlan {
    let basis = basis(&record.call).filter(|_| is_wanted(&record.call, settings, legs));
    let Some(basis) = basis else {
        record.owed.remove(&Work::Analyze);
        if let Some(mark) = record.analysis.take() {
            record.analysis = called_off(mark);
        }
        return AnalysisPlan::Over;
    };
    let mark = record.analysis.take().unwrap_or(Analysed::new(AnalysisState::Waiting));
    let is_waiting = mark.state == AnalysisState::Waiting && mark.runs < MOST_RUNS;
    let is_same = mark.basis.as_ref() == Some(&basis);
    if !is_waiting && (is_same || mark.runs >= MOST_RUNS) {
        record.owed.remove(&Work::Analyze);
        record.analysis = Some(mark);
        return AnalysisPlan::Over;
    }
    let mark = match is_waiting && is_same {
        true => mark,
        false => Analysed {
            state: AnalysisState::Waiting,
            reason: None,
            basis: Some(basis),
            since: Some(now),
            attempts: 0,
            ..mark
        },
    };
    let since = mark.since.unwrap_or(now);
    record.analysis = Some(mark);
    // A worker may be at an earlier transcript: the call owes the analysis again when that has ended.
    record.owed.entry(Work::Analyze).or_insert(now);
    let wait = settings.map_or_else(|| Settings::default().wait, |settings| settings.wait);
    let until = later(since, wait);
    if now < until { AnalysisPlan::WaitUntil(until) } else { AnalysisPlan::Overdue }
}

/// A mark after its analysis was called off.
fn called_off(mark: Analysed) -> Option<Analysed> {
    match (mark.state, &mark.digest) {
        (AnalysisState::Waiting, Some(_)) => {
            Some(Analysed { state: AnalysisState::Done, reason: None, ..mark })
        }
        (AnalysisState::Waiting, None) if mark.runs == 0 && mark.tokens == Default::default() => {
            None
        }
        (AnalysisState::Waiting, None) => Some(Analysed {
            state: AnalysisState::Failed,
            reason: Some("it is not wanted any more".into()),
            ..mark
        }),
        _ => Some(mark),
    }
}

/// Whether a model was asked too often, so that the analysis has failed: also where the worker stopped
/// each time before it could note a reason.
pub fn is_worn_out(mark: &Analysed) -> bool {
    mark.attempts as usize > BACKOFF.retries() + 1
}

/// When to ask a model again that failed the n-th time, not before it asked for. `None`: never.
pub fn again(
    key: &CallKey,
    attempts: u32,
    not_before: Option<Timestamp>,
    now: Timestamp,
) -> Option<Timestamp> {
    let spread_by = Digest::of(&[key.to_string().as_bytes(), &attempts.to_be_bytes()]);
    BACKOFF.next_spread(attempts.max(1), &spread_by, not_before, now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Policy;
    use crate::private::Personal;
    use crate::time::Seconds;
    use crate::update::{Facts, Order, State, Update};

    const POLICY: Policy = Policy { settle: Seconds(0), legs: Legs::Parent, starts: false };

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn ended(facts: Facts) -> CallRecord {
        let facts = Facts { state: Some(State::Ended), ..facts };
        let update = Update::new("call_finished", Order::Unordered, at(0), facts, vec![]);
        CallRecord::first("intake/main/1".parse().unwrap(), update, POLICY, at(0))
    }

    fn said(text: &str) -> Facts {
        Facts { transcript: Some(Text::Inline(Personal::new(text))), ..Facts::default() }
    }

    fn go(record: &mut CallRecord, settings: Option<&Settings>, second: i64) -> AnalysisPlan {
        schedule(record, settings, Legs::Parent, at(second))
    }

    #[test]
    fn the_call_decides_before_its_source() {
        let on = Settings::default();
        let off = Settings { on: false, ..Settings::default() };
        for (call, source, wanted) in [
            (None, None, false),
            (None, Some(&off), false),
            (None, Some(&on), true),
            (Some(false), Some(&on), false),
            (Some(true), Some(&off), true),
            (Some(true), None, true),
        ] {
            let record = ended(Facts { auto_analyze: call, ..said("agent: hello") });
            assert_eq!(is_wanted(&record.call, source, Legs::Parent), wanted, "{call:?}");
        }
        for facts in
            [Facts::default(), said(" \n"), Facts { parent: Some("1".into()), ..said("x") }]
        {
            assert!(!is_wanted(&ended(facts).call, Some(&on), Legs::Parent));
        }
        let mut going = ended(said("agent: hello")).call;
        going.facts.state = Some(State::InProgress);
        assert!(!is_wanted(&going, Some(&on), Legs::Parent));
        let leg = ended(Facts { parent: Some("1".into()), ..said("x") });
        assert!(is_wanted(&leg.call, Some(&on), Legs::Each));
    }

    #[test]
    fn deliveries_wait_for_an_analysis_and_then_only_updates_do() {
        let on = Settings::default();
        let mut record = ended(said("agent: hello"));
        assert_eq!(go(&mut record, Some(&on), 3), AnalysisPlan::WaitUntil(at(63)));
        assert_eq!(record.owed[&Work::Analyze], at(3));
        assert_eq!(go(&mut record, Some(&on), 62), AnalysisPlan::WaitUntil(at(63)));
        assert_eq!(go(&mut record, Some(&on), 63), AnalysisPlan::Overdue);
        let soon = Settings { wait: Seconds(0), ..on };
        assert_eq!(go(&mut ended(said("x")), Some(&soon), 3), AnalysisPlan::Overdue);
    }

    #[test]
    fn another_transcript_is_analysed_again_but_not_for_ever() {
        let on = Settings::default();
        let mut record = ended(said("0"));
        for n in 1..=MOST_RUNS {
            assert_eq!(go(&mut record, Some(&on), 0), AnalysisPlan::WaitUntil(at(60)), "{n}");
            let mark = record.analysis.clone().unwrap();
            record.owed.remove(&Work::Analyze);
            let done = Analysed { state: AnalysisState::Done, runs: mark.runs + 1, ..mark };
            record.analysis = Some(done);
            assert_eq!(go(&mut record, Some(&on), 1), AnalysisPlan::Over);
            record.call.facts.transcript = said(&n.to_string()).transcript;
        }
        assert_eq!(go(&mut record, Some(&on), 2), AnalysisPlan::Over);
        assert!(!record.owed.contains_key(&Work::Analyze));
    }

    #[test]
    fn another_script_makes_another_basis() {
        let one = ended(said("agent: hello")).call;
        let script = Some(Personal::new("Say hello."));
        let two = ended(Facts { script_context: script, ..said("agent: hello") }).call;
        assert_ne!(basis(&one), basis(&two));
        assert_eq!(basis(&one), basis(&one.clone()));
    }

    #[test]
    fn an_unwanted_analysis_is_called_off() {
        let on = Settings::default();
        let mut record = ended(said("agent: hello"));
        go(&mut record, Some(&on), 0);
        record.call.facts.auto_analyze = Some(false);
        assert_eq!(go(&mut record, Some(&on), 1), AnalysisPlan::Over);
        assert_eq!(record.analysis, None);
        assert!(!record.owed.contains_key(&Work::Analyze));
    }

    #[test]
    fn a_model_is_asked_again_at_growing_intervals_and_then_no_more() {
        let key: CallKey = "intake/main/1".parse().unwrap();
        let waits: Vec<i64> = (1..=6)
            .map(|n| again(&key, n, None, at(0)).unwrap().as_second() - at(0).as_second())
            .collect();
        for (wait, least) in waits.iter().zip([10, 30, 120, 600, 1_800, 3_600]) {
            assert!((least..=least + least / 5).contains(wait), "{waits:?}");
        }
        assert_eq!(again(&key, 7, None, at(0)), None);
        assert_eq!(again(&key, 1, Some(at(500)), at(0)), Some(at(500)));
        assert_eq!(again(&key, 1, Some(at(90_000)), at(0)), Some(at(3_600)));
        assert!(again(&key, 4, Some(at(1)), at(0)).unwrap() >= at(600));
    }
}
