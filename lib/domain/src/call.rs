//! A call: the fold of all updates of one call key.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use crate::digest::Digest;
use crate::party::Party;
use crate::private::Personal;
use crate::time::{Flag, Seconds, earlier, is_in_future};
use crate::update::{AnsweredBy, Direction, Disposition, Facts, Recording, State, Text, Update};

/// How a call went, decided from all that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Two sides talked.
    Answered,
    /// It rang out, or the line dropped at once.
    NoAnswer,
    /// The line was engaged.
    Busy,
    /// It could not be connected.
    Failed,
    /// The caller gave up before it was picked up.
    Canceled,
    /// A machine picked up.
    Voicemail,
}

/// All that is known about one call. Made by [`fold`], never by hand.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// How it went. Absent while the call lasts, and where it is unknown.
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

    /// The ids that name the call's contact, the surest first: the contact's and the lead's id from its
    /// context, then the ids that its phone system was given along.
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

    /// A fingerprint of what CRMs receive: when it differs from that of a delivered payload, an update
    /// is due.
    pub fn fingerprint(&self) -> Digest {
        let facts = &self.facts;
        let content = (
            (self.outcome, facts.direction),
            (facts.talk, facts.total),
            &facts.summary,
            &facts.recordings,
            (&facts.contact_name, &facts.campaign),
            facts.transcript.as_ref().map(transcript_identity),
            (&facts.from, &facts.to, &facts.contact, &facts.employee),
        );
        // These are structs and lists of text and numbers, which always serialize.
        let content = serde_json::to_vec(&content).unwrap_or_default();
        let ids = (&facts.contact_id, &facts.lead_id);
        // A call without them has the fingerprint that it had before they were known of.
        if ids == (&None, &None) {
            return Digest::of(&[&content]);
        }
        Digest::of(&[&content, &serde_json::to_vec(&ids).unwrap_or_default()])
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
/// its start; and last of all come contexts, whose senders know what the call is about.
/// A later value replaces an earlier one, nothing replaces something, the call's
/// state only rises, the start is the earliest and the end the latest that anyone says.
pub fn fold<'a>(updates: impl IntoIterator<Item = &'a Update>) -> Call {
    let mut updates: Vec<&Update> = updates.into_iter().collect();
    updates.sort_by_key(|update| {
        (update.is_context(), update.facts.state, update.order, &update.digest)
    });
    updates.dedup_by_key(|update| &update.digest);

    let mut facts =
        updates.iter().fold(Facts::default(), |known, update| merge(known, &update.facts));
    // A context may be given long before the call: it says nothing about when that was.
    let reports = updates.iter().filter(|update| !update.is_context());
    let reported_at = reports.map(|update| update.received_at).min();
    settle_times(&mut facts, reported_at);
    Call { outcome: outcome(&facts), facts }
}

/// The facts known so far with a newer message's. The literal names every field, so that a new fact
/// cannot be forgotten here.
fn merge(known: Facts, newer: &Facts) -> Facts {
    fn latest<T: Clone>(known: Option<T>, newer: &Option<T>) -> Option<T> {
        newer.clone().or(known)
    }
    fn earliest(known: Option<Timestamp>, newer: Option<Timestamp>) -> Option<Timestamp> {
        known.into_iter().chain(newer).min()
    }
    let mut recordings = known.recordings;
    for (id, newer) in &newer.recordings {
        let Recording { url, path, duration, status } =
            recordings.remove(id).unwrap_or_else(|| newer.clone());
        let merged = Recording {
            url: latest(url, &newer.url),
            path: latest(path, &newer.path),
            duration: latest(duration, &newer.duration),
            status: latest(status, &newer.status),
        };
        recordings.insert(id.clone(), merged);
    }
    let mut extra = known.extra;
    extra.extend(newer.extra.clone());
    Facts {
        state: known.state.max(newer.state),
        disposition: latest(known.disposition, &newer.disposition),
        answered_by: known.answered_by.max(newer.answered_by),
        direction: latest(known.direction, &newer.direction),
        from: latest(known.from, &newer.from),
        to: latest(known.to, &newer.to),
        contact: latest(known.contact, &newer.contact),
        employee: latest(known.employee, &newer.employee),
        contact_name: latest(known.contact_name, &newer.contact_name),
        campaign: latest(known.campaign, &newer.campaign),
        contact_id: latest(known.contact_id, &newer.contact_id),
        lead_id: latest(known.lead_id, &newer.lead_id),
        started_at: earliest(known.started_at, newer.started_at),
        answered_at: earliest(known.answered_at, newer.answered_at),
        ended_at: known.ended_at.max(newer.ended_at),
        talk: latest(known.talk, &newer.talk),
        total: latest(known.total, &newer.total),
        billed: latest(known.billed, &newer.billed),
        recordings,
        conversation: latest(known.conversation, &newer.conversation),
        summary: latest(known.summary, &newer.summary),
        transcript: latest(known.transcript, &newer.transcript),
        parent: latest(known.parent, &newer.parent),
        script_context: latest(known.script_context, &newer.script_context),
        auto_analyze: latest(known.auto_analyze, &newer.auto_analyze),
        create_tasks: latest(known.create_tasks, &newer.create_tasks),
        cause: latest(known.cause, &newer.cause),
        flags: known.flags.union(&newer.flags).copied().collect(),
        extra,
    }
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
