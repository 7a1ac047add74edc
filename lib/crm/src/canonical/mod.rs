//! Our own format: all that is known about a call, versioned. Its schema is
//! `docs/schema/call.v1.json`. Every field is always there; null means that it is not known.

use std::collections::BTreeSet;

use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use serde_json::Value;
use switchboard_domain::analysis::{Conclusion, Evidence, Owner, Score, Sentiment, Task, Turns};
use switchboard_domain::time::Flag;
use switchboard_domain::{
    Analysis, AnsweredBy, Call, CallRecord, Digest, Direction, Event, MatchedBy, Name, Outcome,
    Party, PartyKind, Person, Personal, Recording, Seconds, Text, Unmatched,
};

use crate::format::{Capabilities, RenderContext};
use crate::payload::{self, e164};
use crate::webhook;

/// Fields are added under the same version; one that changes its meaning or goes away takes the next.
const VERSION: &str = "1";

#[derive(Serialize)]
struct Body<'a> {
    r#type: Event,
    version: &'static str,
    timestamp: Option<Timestamp>,
    data: Data<'a>,
}

#[derive(Serialize)]
struct Data<'a> {
    provider: &'a Name,
    source: &'a Name,
    call_id: &'a str,
    correlation_id: Digest,
    parent_call_id: Option<&'a str>,
    direction: Option<Direction>,
    outcome: Option<Outcome>,
    answered_by: Option<AnsweredBy>,
    from: Option<Side<'a>>,
    to: Option<Side<'a>>,
    contact: Option<Matched<'a>>,
    employee: Option<Matched<'a>>,
    contact_name: Option<&'a Personal>,
    campaign: Option<&'a str>,
    contact_id: Option<&'a str>,
    lead_id: Option<&'a str>,
    started_at: Option<Timestamp>,
    answered_at: Option<Timestamp>,
    ended_at: Option<Timestamp>,
    talk_seconds: Option<Seconds>,
    total_seconds: Option<Seconds>,
    billed_seconds: Option<Seconds>,
    recordings: Vec<Listen<'a>>,
    conversation_id: Option<&'a str>,
    summary: Option<&'a Personal>,
    transcript: Option<&'a str>,
    analysis: Option<Analysed<'a>>,
    tasks: Vec<Due<'a>>,
    flags: &'a BTreeSet<Flag>,
}

/// What a model made of the transcript.
#[derive(Serialize)]
struct Analysed<'a> {
    summary: &'a Personal,
    outcome: Conclusion,
    sentiment: Sentiment,
    scorecard: Vec<Scored<'a>>,
    turns: Turns,
    model: &'a str,
}

#[derive(Serialize)]
struct Scored<'a> {
    criterion: &'a str,
    asked: &'a Personal,
    score: Option<u32>,
    scale: u32,
    confidence: u32,
    evidence: &'a [Evidence],
}

/// What is to be done after the call.
#[derive(Serialize)]
struct Due<'a> {
    title: &'a Personal,
    due: Option<Date>,
    owner: Option<Owner>,
}

/// One side of a call.
#[derive(Serialize)]
struct Side<'a> {
    address: &'a str,
    kind: PartyKind,
    e164: Option<&'a str>,
}

/// The customer's side or ours, with what the directory has for it.
#[derive(Serialize)]
struct Matched<'a> {
    #[serde(flatten)]
    side: Side<'a>,
    id: Option<&'a Name>,
    #[serde(flatten)]
    contact: Option<Contact<'a>>,
    matched_by: Option<MatchedBy>,
    unmatched: Option<Unmatched>,
}

/// What the directory has for a customer alone.
#[derive(Serialize)]
struct Contact<'a> {
    name: Option<&'a Personal>,
    external_ids: Vec<&'a Personal>,
}

#[derive(Serialize)]
struct Listen<'a> {
    id: &'a str,
    url: &'a Personal,
    duration_seconds: Option<Seconds>,
    status: Option<&'a str>,
}

/// What the format is and can.
pub static CAPABILITIES: Capabilities = Capabilities::webhook("canonical", |endpoint, settings| {
    webhook::without_settings(endpoint, &settings, render)
});

/// The payload of a call.
fn render(context: &RenderContext<'_>) -> Vec<u8> {
    payload::bytes(&body(context))
}

/// The same as a value, for a format that makes something else of it.
pub fn document(context: &RenderContext<'_>) -> Value {
    serde_json::to_value(body(context)).unwrap_or_default()
}

fn body<'a>(context: &RenderContext<'a>) -> Body<'a> {
    let RenderContext { record, event, transcript, analysis } = *context;
    let call = &record.call;
    let facts = &call.facts;
    let people = &record.people;
    let in_place = match &facts.transcript {
        Some(Text::Inline(text)) => Some(text.expose()),
        Some(Text::Stored(_)) | None => None,
    };
    Body {
        r#type: event,
        version: VERSION,
        timestamp: if event == Event::Started { call.facts.started_at } else { ended(call) },
        data: Data {
            provider: &record.key.provider,
            source: &record.key.source,
            call_id: record.key.call_id(),
            correlation_id: record.key.correlation_id(),
            parent_call_id: facts.parent.as_deref(),
            direction: facts.direction,
            outcome: call.outcome,
            answered_by: facts.answered_by,
            from: facts.from.as_ref().map(|party| side(party, payload::person_of(record, party))),
            to: facts.to.as_ref().map(|party| side(party, payload::person_of(record, party))),
            contact: contact(call.contact(), people.contact.as_ref()),
            employee: matched(call.employee(), people.employee.as_ref()),
            contact_name: facts.contact_name.as_ref(),
            campaign: facts.campaign.as_deref(),
            contact_id: facts.contact_id.as_deref(),
            lead_id: facts.lead_id.as_deref(),
            started_at: facts.started_at,
            answered_at: facts.answered_at,
            ended_at: facts.ended_at,
            talk_seconds: facts.talk,
            total_seconds: facts.total,
            billed_seconds: facts.billed,
            recordings: facts.recordings.iter().filter_map(|one| listen(record, one)).collect(),
            conversation_id: facts.conversation.as_deref(),
            summary: facts.summary.as_ref(),
            transcript: transcript.or(in_place),
            analysis: analysis.map(analysed),
            tasks: analysis
                .map_or_else(Vec::new, |analysis| analysis.tasks.iter().map(due).collect()),
            flags: &facts.flags,
        },
    }
}

/// When the event happened: the end of the call and not the moment of rendering, so that every
/// rendering of a call is the same. Where no message said it, it is worked out from the start.
fn ended(call: &Call) -> Option<Timestamp> {
    let Seconds(lasted) = call.facts.total.or(call.facts.talk).unwrap_or_default();
    let worked_out = || {
        let started_at = call.facts.started_at?;
        started_at.checked_add(SignedDuration::from_secs(lasted.into())).ok()
    };
    call.facts.ended_at.or_else(worked_out)
}

/// One end of the line, with what we concluded about whose it is.
fn side<'a>(party: &'a Party, person: Option<&'a Person>) -> Side<'a> {
    Side {
        address: party.raw.expose(),
        kind: person.map_or(party.kind, |person| person.kind),
        e164: e164(Some(party), person),
    }
}

/// A side that no message names may still be known, by an id that came along.
const NOT_REPORTED: Side<'static> = Side { address: "", kind: PartyKind::Unparseable, e164: None };

fn matched<'a>(party: Option<&'a Party>, person: Option<&'a Person>) -> Option<Matched<'a>> {
    let reported = party.map(|party| side(party, person));
    let side = reported.or_else(|| person.and(Some(NOT_REPORTED)))?;
    Some(Matched {
        side,
        id: person.and_then(|person| person.entry.as_ref()),
        contact: None,
        matched_by: person.and_then(|person| person.matched_by),
        unmatched: person.and_then(|person| person.unmatched),
    })
}

fn contact<'a>(party: Option<&'a Party>, person: Option<&'a Person>) -> Option<Matched<'a>> {
    let contact = Contact {
        name: person.and_then(|person| person.name.as_ref()),
        external_ids: person.map_or_else(Vec::new, |person| person.external_ids.iter().collect()),
    };
    Some(Matched { contact: Some(contact), ..matched(party, person)? })
}

fn analysed(analysis: &Analysis) -> Analysed<'_> {
    Analysed {
        summary: &analysis.summary,
        outcome: analysis.outcome,
        sentiment: analysis.sentiment,
        scorecard: analysis.scorecard.iter().map(scored).collect(),
        turns: analysis.turns,
        model: &analysis.model,
    }
}

fn scored(score: &Score) -> Scored<'_> {
    Scored {
        criterion: &score.criterion,
        asked: &score.asked,
        score: score.score,
        scale: score.scale,
        confidence: score.confidence,
        evidence: &score.evidence,
    }
}

fn due(task: &Task) -> Due<'_> {
    Due { title: &task.title, due: task.due, owner: task.owner }
}

/// A recording that can be fetched: from us, where it is copied. A path on the PBX's own disk is no
/// address.
fn listen<'a>(
    record: &'a CallRecord,
    (id, recording): (&'a String, &'a Recording),
) -> Option<Listen<'a>> {
    Some(Listen {
        id,
        url: record.address(id, recording)?,
        duration_seconds: recording.duration,
        status: recording.status.as_deref(),
    })
}

#[cfg(test)]
mod tests;
