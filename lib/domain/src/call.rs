//! A call: the fold of all updates of one call key.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use crate::digest::Digest;
use crate::party::Party;
use crate::private::Personal;
use crate::time::{Flag, Seconds, earlier, is_in_future};
use crate::update::{AnsweredBy, Direction, Disposition, Facts, State, Text, Update};

/// How a call went, decided from all that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Two sides talked.
    Answered,
    /// Nobody picked up, or the line dropped at once.
    NoAnswer,
    /// The line was engaged.
    Busy,
    /// It could not be connected.
    Failed,
    /// It was given up before anybody picked up.
    Canceled,
    /// A machine picked up.
    Voicemail,
}

/// All that is known about one call. Made by [`fold`], never by hand.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// How it went. Absent while the call lasts, and where nothing told.
    pub outcome: Option<Outcome>,
    /// Every fact, each taken from the update that knew it best.
    #[serde(flatten)]
    pub facts: Facts,
}

impl Call {
    /// Whether the call is over.
    pub fn has_ended(&self) -> bool {
        self.facts.state == Some(State::Ended)
    }

    /// The customer's side: named so by the provider, or the far end of a call whose direction is known.
    pub fn contact(&self) -> Option<&Party> {
        let facts = &self.facts;
        let far_end = match facts.direction {
            Some(Direction::Inbound) => facts.from.as_ref(),
            Some(Direction::Outbound) => facts.to.as_ref(),
            Some(Direction::Internal) | None => None,
        };
        facts.contact.as_ref().or(far_end)
    }

    /// Our side: named so by the provider, or the near end of a call whose direction is known.
    pub fn employee(&self) -> Option<&Party> {
        let facts = &self.facts;
        let near_end = match facts.direction {
            Some(Direction::Inbound) => facts.to.as_ref(),
            Some(Direction::Outbound | Direction::Internal) => facts.from.as_ref(),
            None => None,
        };
        facts.employee.as_ref().or(near_end)
    }

    /// The ids that say whom the call was with, the surest first: what whoever placed it said of the
    /// contact and of the lead, then what its phone system was given along.
    pub fn pointers(&self) -> [Option<&str>; 4] {
        let facts = &self.facts;
        let extra = |name: &str| facts.extra.get(name).map(Personal::expose);
        [
            facts.contact_id.as_deref(),
            facts.lead_id.as_deref(),
            extra("ref_id"),
            extra("custom_identifier"),
        ]
        .map(|id| id.map(str::trim).filter(|id| !id.is_empty()))
    }

    /// A fingerprint of what a CRM would want to be told about: when it differs from what a CRM
    /// was told, there is news.
    pub fn fingerprint(&self) -> Digest {
        let facts = &self.facts;
        let told = (
            (self.outcome, facts.direction),
            (facts.talk, facts.total),
            &facts.summary,
            &facts.recordings,
            (&facts.contact_name, &facts.campaign),
            facts.transcript.as_ref().map(transcript_identity),
            (&facts.from, &facts.to, &facts.contact, &facts.employee),
        );
        // These are structs and lists of text and numbers, which always serialize.
        let told = serde_json::to_vec(&told).unwrap_or_default();
        let ids = (&facts.contact_id, &facts.lead_id);
        // A call without them has the fingerprint that it had before they were known of.
        if ids == (&None, &None) {
            return Digest::of(&[&told]);
        }
        Digest::of(&[&told, &serde_json::to_vec(&ids).unwrap_or_default()])
    }
}

fn transcript_identity(text: &Text) -> &str {
    match text {
        Text::Inline(text) => text.expose(),
        Text::Stored(blob) => blob.digest.as_str(),
    }
}

/// Folds a set of updates into a call.
///
/// The order of the arguments does not matter: updates are taken by state, then by the provider's
/// order, then by digest, so that what a message says at the end of a call beats what one said at
/// its start; and last of all by what a caller of the API said, who knows what the call is about.
/// A later value replaces an earlier one, nothing replaces something, the call's
/// state only rises, the start is the earliest and the end the latest that anyone says.
pub fn fold<'a>(updates: impl IntoIterator<Item = &'a Update>) -> Call {
    let mut updates: Vec<&Update> = updates.into_iter().collect();
    updates.sort_by_key(|update| {
        (update.is_context(), update.facts.state, update.order, &update.digest)
    });
    updates.dedup_by_key(|update| &update.digest);

    let mut facts = Facts::default();
    for update in &updates {
        merge(&mut facts, &update.facts);
    }
    // A context may be given long before the call: it says nothing about when that was.
    let reports = updates.iter().filter(|update| !update.is_context());
    let reported_at = reports.map(|update| update.received_at).min();
    settle_times(&mut facts, reported_at);
    Call { outcome: outcome(&facts), facts }
}

fn merge(known: &mut Facts, newer: &Facts) {
    fn latest<T: Clone>(known: &mut Option<T>, newer: &Option<T>) {
        if newer.is_some() {
            known.clone_from(newer);
        }
    }
    fn best<T: Copy>(known: &mut Option<T>, newer: Option<T>, better: impl Fn(T, T) -> T) {
        *known = match (*known, newer) {
            (Some(a), Some(b)) => Some(better(a, b)),
            (a, b) => a.or(b),
        };
    }
    // Destructured in full, so that a new fact cannot be forgotten here.
    let Facts {
        state,
        disposition,
        answered_by,
        direction,
        from,
        to,
        contact,
        employee,
        contact_name,
        campaign,
        contact_id,
        lead_id,
        started_at,
        answered_at,
        ended_at,
        talk,
        total,
        billed,
        recordings,
        conversation,
        summary,
        transcript,
        parent,
        script_context,
        auto_analyze,
        create_tasks,
        cause,
        flags,
        extra,
    } = newer;
    best(&mut known.state, *state, Ord::max);
    latest(&mut known.disposition, disposition);
    best(&mut known.answered_by, *answered_by, Ord::max);
    latest(&mut known.direction, direction);
    latest(&mut known.from, from);
    latest(&mut known.to, to);
    latest(&mut known.contact, contact);
    latest(&mut known.employee, employee);
    latest(&mut known.contact_name, contact_name);
    latest(&mut known.campaign, campaign);
    latest(&mut known.contact_id, contact_id);
    latest(&mut known.lead_id, lead_id);
    best(&mut known.started_at, *started_at, Ord::min);
    best(&mut known.answered_at, *answered_at, Ord::min);
    best(&mut known.ended_at, *ended_at, Ord::max);
    latest(&mut known.talk, talk);
    latest(&mut known.total, total);
    latest(&mut known.billed, billed);
    for (id, recording) in recordings {
        let seen = known.recordings.entry(id.clone()).or_insert_with(|| recording.clone());
        latest(&mut seen.url, &recording.url);
        latest(&mut seen.path, &recording.path);
        latest(&mut seen.duration, &recording.duration);
        latest(&mut seen.status, &recording.status);
    }
    latest(&mut known.conversation, conversation);
    latest(&mut known.summary, summary);
    latest(&mut known.transcript, transcript);
    latest(&mut known.parent, parent);
    latest(&mut known.script_context, script_context);
    latest(&mut known.auto_analyze, auto_analyze);
    latest(&mut known.create_tasks, create_tasks);
    latest(&mut known.cause, cause);
    known.flags.extend(flags);
    known.extra.extend(extra.iter().map(|(name, value)| (name.clone(), value.clone())));
}

/// Fills in a start where none was reported, and flags times that cannot be.
fn settle_times(facts: &mut Facts, reported_at: Option<Timestamp>) {
    if facts.state != Some(State::Ended) {
        return;
    }
    if facts.started_at.is_none() {
        let lasted = facts.total.or(facts.talk).unwrap_or_default();
        facts.started_at = facts.ended_at.or(reported_at).map(|end| earlier(end, lasted));
        facts.flags.insert(Flag::StartEstimated);
    }
    let Some(ended_at) = facts.ended_at else { return };
    if facts.started_at.is_some_and(|started_at| ended_at < started_at) {
        facts.flags.insert(Flag::EndsBeforeStart);
    }
    if reported_at.is_some_and(|reported_at| is_in_future(ended_at, reported_at)) {
        facts.flags.insert(Flag::InFuture);
    }
}

/// The outcome of a call that has ended.
///
/// A machine that picked up makes it voicemail, whatever else was said. A call that was answered
/// and dropped at once is not one that was held.
fn outcome(facts: &Facts) -> Option<Outcome> {
    if facts.state != Some(State::Ended) {
        return None;
    }
    if facts.answered_by == Some(AnsweredBy::Machine) {
        return Some(Outcome::Voicemail);
    }
    let talked = facts.talk.map(|talk| talk > Seconds(0));
    match (facts.disposition, talked) {
        (Some(Disposition::Answered), Some(false)) => Some(Outcome::NoAnswer),
        (Some(Disposition::Answered), _) => Some(Outcome::Answered),
        (Some(Disposition::NoAnswer), _) => Some(Outcome::NoAnswer),
        (Some(Disposition::Busy), _) => Some(Outcome::Busy),
        (Some(Disposition::Failed), _) => Some(Outcome::Failed),
        (Some(Disposition::Canceled), _) => Some(Outcome::Canceled),
        (None, Some(true)) => Some(Outcome::Answered),
        (None, Some(false)) => Some(Outcome::NoAnswer),
        (None, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(facts: Facts) -> Call {
        Call { outcome: None, facts }
    }

    fn sides(facts: Facts) -> (Option<String>, Option<String>) {
        let call = call(facts);
        let text = |party: Option<&Party>| party.map(|party| party.raw.expose().to_owned());
        (text(call.contact()), text(call.employee()))
    }

    #[test]
    fn a_side_that_is_named_needs_no_direction() {
        let facts = Facts { contact: Party::read("+61491570156"), ..Facts::default() };
        assert_eq!(sides(facts), (Some("+61491570156".into()), None));
        let facts = Facts { employee: Party::read("101"), ..Facts::default() };
        assert_eq!(sides(facts), (None, Some("101".into())));
    }

    #[test]
    fn the_direction_tells_which_end_is_the_customers() {
        let ends = |direction| Facts {
            direction,
            from: Party::read("101"),
            to: Party::read("+61491570156"),
            ..Facts::default()
        };
        let (far, near) = (Some("+61491570156".to_owned()), Some("101".to_owned()));
        assert_eq!(sides(ends(Some(Direction::Outbound))), (far.clone(), near.clone()));
        assert_eq!(sides(ends(Some(Direction::Inbound))), (near.clone(), far));
        assert_eq!(sides(ends(Some(Direction::Internal))), (None, near));
        assert_eq!(sides(ends(None)), (None, None));
    }

    #[test]
    fn the_outcome_weighs_who_picked_up_and_for_how_long() {
        let outcome_of = |disposition, talk, answered_by| {
            outcome(&Facts {
                state: Some(State::Ended),
                disposition,
                talk,
                answered_by,
                ..Facts::default()
            })
        };
        let answered = Some(Disposition::Answered);
        let machine = Some(AnsweredBy::Machine);
        for (disposition, talk, answered_by, expected) in [
            (answered, Some(Seconds(49)), None, Some(Outcome::Answered)),
            (answered, None, None, Some(Outcome::Answered)),
            (answered, Some(Seconds(0)), None, Some(Outcome::NoAnswer)),
            (answered, Some(Seconds(12)), machine, Some(Outcome::Voicemail)),
            (answered, Some(Seconds(0)), machine, Some(Outcome::Voicemail)),
            (answered, Some(Seconds(9)), Some(AnsweredBy::Unknown), Some(Outcome::Answered)),
            (answered, Some(Seconds(9)), Some(AnsweredBy::Fax), Some(Outcome::Answered)),
            (Some(Disposition::NoAnswer), Some(Seconds(30)), None, Some(Outcome::NoAnswer)),
            (Some(Disposition::Busy), Some(Seconds(0)), None, Some(Outcome::Busy)),
            (Some(Disposition::Failed), None, None, Some(Outcome::Failed)),
            (Some(Disposition::Canceled), None, None, Some(Outcome::Canceled)),
            (None, Some(Seconds(5)), None, Some(Outcome::Answered)),
            (None, Some(Seconds(0)), None, Some(Outcome::NoAnswer)),
            (None, None, None, None),
        ] {
            assert_eq!(outcome_of(disposition, talk, answered_by), expected);
        }
    }
}
