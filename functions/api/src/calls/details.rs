//! One call in full: its updates, its facts, its follow-ups, its deliveries.

use serde_json::{Map, Value, json};
use switchboard_crm::filter::undelivered;
use switchboard_domain::analysis::{Score, Task};
use switchboard_domain::{
    Analysis, CallKey, CallRecord, Delivery, Order, Party, Person, Personal, Recording,
    RecordingCopy, Text, Update, fold,
};

use super::list::DeliveryStatus;
use super::{Calls, TwilioSources};
use crate::{Caller, Problem, Request, Response, Right, ok};

/// A function answers 6 MB at most, and a text in JSON may be longer than it is. Bytes.
const LONGEST_TRANSCRIPT: usize = 4 * 1024 * 1024;

impl<N: TwilioSources> Calls<N> {
    /// All that is known of a call.
    pub(super) async fn details(
        &self,
        key: &CallKey,
        request: &Request,
        caller: &Caller,
    ) -> Result<Response, Problem> {
        caller.needs(Right::Read)?;
        request.only(&[])?;
        let record = self.stored(key).await?;
        let deliveries = self.store.deliveries(key).await?;
        let has_analysis = record.analysis.as_ref().is_some_and(|mark| mark.digest.is_some());
        let analysis = match has_analysis {
            true => self.store.analysis(key).await?,
            false => None,
        };
        let destinations = self.destinations.destinations(false).await.ok();
        let undelivered =
            destinations.map(|destinations| undelivered(&record, &deliveries, &destinations));
        let mut details = details(&record, &deliveries, analysis.as_ref(), caller);
        details["undelivered"] = json!(undelivered);
        ok(details)
    }

    /// What was said on a call, in full.
    pub(super) async fn transcript(
        &self,
        key: &CallKey,
        request: &Request,
        caller: &Caller,
    ) -> Result<Response, Problem> {
        caller.needs(Right::Read)?;
        caller.needs(Right::Personal)?;
        request.only(&[])?;
        let text = match self.stored(key).await?.call.facts.transcript {
            None => return Err(Problem::not_found("transcript")),
            Some(Text::Inline(text)) => text,
            Some(Text::Stored(blob)) => {
                let bytes = self.store.blob(key, &blob).await?;
                Personal::new(String::from_utf8_lossy(&bytes))
            }
        };
        let text = text.expose();
        let shown = text.get(..text.floor_char_boundary(LONGEST_TRANSCRIPT)).unwrap_or(text);
        ok(json!({
            "transcript": shown,
            "bytes": text.len(),
            "is_whole": shown.len() == text.len(),
        }))
    }
}

/// A call in full. Every member is always present; null means unknown.
fn details(
    record: &CallRecord,
    deliveries: &[Delivery],
    analysis: Option<&Analysis>,
    caller: &Caller,
) -> Value {
    let parts =
        [course(record), content(record, caller), work(record, deliveries, analysis, caller)];
    super::named(&record.key, parts)
}

/// What happened when.
fn course(record: &CallRecord) -> Value {
    let facts = &record.call.facts;
    json!({
        "correlation_id": record.key.correlation_id(),
        "parent_call_id": facts.parent,
        "state": facts.state,
        "outcome": record.call.outcome,
        "direction": facts.direction,
        "answered_by": facts.answered_by,
        "cause": facts.cause,
        "began_at": record.began_at(),
        "started_at": facts.started_at,
        "answered_at": facts.answered_at,
        "ended_at": facts.ended_at,
        "talk_seconds": facts.talk,
        "total_seconds": facts.total,
        "billed_seconds": facts.billed,
        "flags": facts.flags,
    })
}

/// Who talked with whom, and what about.
fn content(record: &CallRecord, caller: &Caller) -> Value {
    let (call, facts, people) = (&record.call, &record.call.facts, &record.people);
    let recordings =
        facts.recordings.iter().map(|one| recording(one, record.copies.get(one.0), caller));
    let extra = facts.extra.iter().map(|(name, value)| (name.clone(), json!(caller.show(value))));
    json!({
        "campaign": facts.campaign,
        "contact_id": facts.contact_id,
        "lead_id": facts.lead_id,
        "conversation_id": facts.conversation,
        "from": facts.from.as_ref().map(|party| end(party, caller)),
        "to": facts.to.as_ref().map(|party| end(party, caller)),
        "contact": side(call.contact(), people.contact.as_ref(), caller),
        "employee": side(call.employee(), people.employee.as_ref(), caller),
        "contact_name": caller.show_known(facts.contact_name.as_ref()),
        "summary": caller.show_known(facts.summary.as_ref()),
        "has_transcript": facts.transcript.is_some(),
        "recordings": recordings.collect::<Vec<_>>(),
        "extra": extra.collect::<Map<_, _>>(),
    })
}

/// The call's messages and follow-ups, and what came of them.
fn work(
    record: &CallRecord,
    deliveries: &[Delivery],
    analysis: Option<&Analysis>,
    caller: &Caller,
) -> Value {
    let owes = record.owed.iter().map(|(work, due_at)| json!({ "work": work, "due_at": due_at }));
    json!({
        "updates": updates(record),
        "replayed_at": record.replayed_at,
        "owes": owes.collect::<Vec<_>>(),
        "lookup": record.lookup,
        "problems": record.problems,
        "analysis": analysed(record, analysis, caller),
        "tasks": analysis.map_or_else(Vec::new, |analysis| tasks(&analysis.tasks, caller)),
        "delivery": DeliveryStatus::of(deliveries),
        "deliveries": deliveries.iter().map(delivery).collect::<Vec<_>>(),
    })
}

/// How the analysis stands, and what it says where there is one.
fn analysed(record: &CallRecord, analysis: Option<&Analysis>, caller: &Caller) -> Option<Value> {
    let mark = record.analysis.as_ref()?;
    Some(json!({
        "state": mark.state,
        "reason": mark.reason,
        "since": mark.since,
        "attempts": mark.attempts,
        "runs": mark.runs,
        "tokens": mark.tokens,
        "summary": caller.show_known(analysis.map(|analysis| &analysis.summary)),
        "outcome": analysis.map(|analysis| analysis.outcome),
        "sentiment": analysis.map(|analysis| analysis.sentiment),
        "scorecard": analysis.map_or_else(Vec::new, |analysis| scorecard(&analysis.scorecard, caller)),
        "turns": analysis.map(|analysis| analysis.turns),
        "model": analysis.map(|analysis| &analysis.model),
        "made_at": analysis.map(|analysis| analysis.made_at),
    }))
}

fn scorecard(scores: &[Score], caller: &Caller) -> Vec<Value> {
    let show = |score: &Score| {
        let evidence = score.evidence.iter();
        let evidence =
            evidence.map(|one| json!({ "turn": one.turn, "quote": caller.show(&one.quote) }));
        json!({
            "criterion": score.criterion,
            "asked": caller.show(&score.asked),
            "score": score.score,
            "scale": score.scale,
            "confidence": score.confidence,
            "evidence": evidence.collect::<Vec<_>>(),
        })
    };
    scores.iter().map(show).collect()
}

fn tasks(tasks: &[Task], caller: &Caller) -> Vec<Value> {
    let show = |task: &Task| json!({ "title": caller.show(&task.title), "due": task.due, "owner": task.owner });
    tasks.iter().map(show).collect()
}

fn end(party: &Party, caller: &Caller) -> Value {
    json!({ "kind": party.kind, "address": caller.show_address(party.kind, &party.raw) })
}

fn side(party: Option<&Party>, person: Option<&Person>, caller: &Caller) -> Option<Value> {
    let party = party?;
    let kind = person.map_or(party.kind, |person| person.kind);
    Some(json!({
        "kind": kind,
        "address": caller.show_address(kind, &party.raw),
        "e164": caller.show_known(person.and_then(|person| person.e164.as_ref())),
        "id": person.and_then(|person| person.entry.as_ref()),
        "matched_by": person.and_then(|person| person.matched_by),
        "unmatched": person.and_then(|person| person.unmatched),
    }))
}

fn recording(
    (id, recording): (&String, &Recording),
    copy: Option<&RecordingCopy>,
    caller: &Caller,
) -> Value {
    json!({
        "id": id,
        "url": caller.show_known(recording.url.as_ref()),
        "path": caller.show_known(recording.path.as_ref()),
        "duration_seconds": recording.duration,
        "status": recording.status,
        "copy": copy.map(|copy| kept(copy, caller)),
    })
}

/// How far the copy of a recording is.
fn kept(copy: &RecordingCopy, caller: &Caller) -> Value {
    let object = copy.object.as_ref();
    json!({
        "state": copy.state,
        "due_at": copy.due_at,
        "failures": copy.failures,
        "problem": copy.problem,
        "link": caller.show_known(copy.link.as_ref()),
        "bytes": object.map(|object| object.bytes),
        "media_type": object.map(|object| &object.media_type),
        "sha256": object.map(|object| &object.sha256),
        "copied_at": object.map(|object| object.at),
    })
}

/// The messages in the order of their coming, each with the names of what it changed then.
fn updates(record: &CallRecord) -> Vec<Value> {
    let mut updates: Vec<&Update> = record.updates.values().collect();
    updates.sort_by_key(|update| (update.received_at, &update.digest));
    let mut before = Map::new();
    let mut shown_updates = Vec::new();
    for (n, update) in updates.iter().enumerate() {
        let so_far = fold(updates.iter().take(n + 1).copied());
        let after = match serde_json::to_value(&so_far) {
            Ok(Value::Object(after)) => after,
            _ => Map::new(),
        };
        let changed: Vec<&String> = after
            .iter()
            .filter(|(name, is)| before.get(*name) != Some(is))
            .map(|(n, _)| n)
            .collect();
        shown_updates.push(json!({
            "digest": update.digest,
            "kind": update.kind,
            "received_at": update.received_at,
            "order": order(update.order),
            "changed": changed,
        }));
        before = after;
    }
    shown_updates
}

/// Where the provider puts a message among the call's others.
fn order(order: Order) -> Value {
    match order {
        Order::Unordered => Value::Null,
        Order::Sequence(sequence) => json!({ "sequence": sequence }),
        Order::At(at) => json!({ "at": at }),
    }
}

/// A delivery with every attempt that it remembers.
pub(super) fn delivery(delivery: &Delivery) -> Value {
    let attempts = delivery.attempts.iter().map(|attempt| {
        json!({
            "at": attempt.at,
            "took_ms": attempt.took_ms,
            "status": attempt.status,
            "result": attempt.result,
        })
    });
    json!({
        "destination": delivery.id.destination,
        "event": delivery.id.event.as_str(),
        "state": delivery.state,
        "due_at": delivery.due_at,
        "failures": delivery.failures,
        "idempotency_key": delivery.idempotency_key(),
        "attempts": attempts.collect::<Vec<_>>(),
    })
}
