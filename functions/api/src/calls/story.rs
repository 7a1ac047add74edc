//! One call in full: its updates, its facts, its follow-ups, its deliveries.

use serde::Serialize;
use serde_json::{Map, Value, json};
use switchboard_domain::analysis::{Score, Task};
use switchboard_domain::{
    Analysis, CallKey, CallRecord, Delivery, Order, Party, Person, Personal, Recording,
    RecordingCopy, Text, Update, fold,
};

use super::list::DeliveryStatus;
use super::{Calls, Shown, TwilioSources};
use crate::{Caller, Problem, Request, Response, Right, ok};

/// A function answers 6 MB at most, and a text in JSON may be longer than it is. Bytes.
const LONGEST_TRANSCRIPT: usize = 4 * 1024 * 1024;

impl<N: TwilioSources> Calls<N> {
    /// All that is known of a call.
    pub(super) async fn story(
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
        ok(tell(&record, &deliveries, analysis.as_ref(), Shown::to(caller)))
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
fn tell(
    record: &CallRecord,
    deliveries: &[Delivery],
    analysis: Option<&Analysis>,
    shown: Shown,
) -> Value {
    let call = &record.call;
    let facts = &call.facts;
    let mut story = Map::new();
    let mut add = |members: Value| {
        if let Value::Object(members) = members {
            story.extend(members);
        }
    };
    add(super::name(&record.key));
    add(json!({
        "correlation_id": record.key.correlation_id(),
        "parent_call_id": facts.parent,
        "state": facts.state,
        "outcome": call.outcome,
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
    }));
    add(json!({
        "campaign": facts.campaign,
        "contact_id": facts.contact_id,
        "lead_id": facts.lead_id,
        "conversation_id": facts.conversation,
        "from": facts.from.as_ref().map(|party| end(party, shown)),
        "to": facts.to.as_ref().map(|party| end(party, shown)),
        "contact": side(call.contact(), record.people.contact.as_ref(), shown),
        "employee": side(call.employee(), record.people.employee.as_ref(), shown),
        "contact_name": shown.some(facts.contact_name.as_ref()),
        "summary": shown.some(facts.summary.as_ref()),
        "has_transcript": facts.transcript.is_some(),
    }));
    let extra = facts.extra.iter().map(|(name, value)| (name.clone(), json!(shown.value(value))));
    let owes = record.owed.iter().map(|(work, due_at)| json!({ "work": work, "due_at": due_at }));
    add(json!({
        "recordings": facts
            .recordings
            .iter()
            .map(|one| recording(one, record.copies.get(one.0), shown))
            .collect::<Vec<_>>(),
        "extra": extra.collect::<Map<_, _>>(),
        "updates": updates(record),
        "replayed_at": record.replayed_at,
        "owes": owes.collect::<Vec<_>>(),
        "lookup": record.lookup,
        "analysis": analysed(record, analysis, shown),
        "tasks": analysis.map_or_else(Vec::new, |analysis| tasks(&analysis.tasks, shown)),
        "delivery": DeliveryStatus::of(deliveries),
        "deliveries": deliveries.iter().map(delivery).collect::<Vec<_>>(),
    }));
    Value::Object(story)
}

/// How the analysis stands, and what it says where there is one.
fn analysed(record: &CallRecord, analysis: Option<&Analysis>, shown: Shown) -> Option<Value> {
    let mark = record.analysis.as_ref()?;
    Some(json!({
        "state": mark.state,
        "reason": mark.reason,
        "since": mark.since,
        "attempts": mark.attempts,
        "runs": mark.runs,
        "tokens": mark.tokens,
        "summary": shown.some(analysis.map(|analysis| &analysis.summary)),
        "outcome": analysis.map(|analysis| analysis.outcome),
        "sentiment": analysis.map(|analysis| analysis.sentiment),
        "scorecard": analysis.map_or_else(Vec::new, |analysis| scorecard(&analysis.scorecard, shown)),
        "turns": analysis.map(|analysis| analysis.turns),
        "model": analysis.map(|analysis| &analysis.model),
        "made_at": analysis.map(|analysis| analysis.made_at),
    }))
}

fn scorecard(scores: &[Score], shown: Shown) -> Vec<Value> {
    let show = |score: &Score| {
        let evidence = score.evidence.iter();
        let evidence =
            evidence.map(|one| json!({ "turn": one.turn, "quote": shown.value(&one.quote) }));
        json!({
            "criterion": score.criterion,
            "asked": shown.value(&score.asked),
            "score": score.score,
            "scale": score.scale,
            "confidence": score.confidence,
            "evidence": evidence.collect::<Vec<_>>(),
        })
    };
    scores.iter().map(show).collect()
}

fn tasks(tasks: &[Task], shown: Shown) -> Vec<Value> {
    let show = |task: &Task| json!({ "title": shown.value(&task.title), "due": task.due, "owner": task.owner });
    tasks.iter().map(show).collect()
}

fn end(party: &Party, shown: Shown) -> Value {
    json!({ "kind": party.kind, "address": shown.address(party.kind, &party.raw) })
}

fn side(party: Option<&Party>, person: Option<&Person>, shown: Shown) -> Option<Value> {
    let party = party?;
    let kind = person.map_or(party.kind, |person| person.kind);
    Some(json!({
        "kind": kind,
        "address": shown.address(kind, &party.raw),
        "e164": shown.some(person.and_then(|person| person.e164.as_ref())),
        "id": person.and_then(|person| person.entry.as_ref()),
        "matched_by": person.and_then(|person| person.matched_by),
        "unmatched": person.and_then(|person| person.unmatched),
    }))
}

fn recording(
    (id, recording): (&String, &Recording),
    copy: Option<&RecordingCopy>,
    shown: Shown,
) -> Value {
    json!({
        "id": id,
        "url": shown.some(recording.url.as_ref()),
        "path": shown.some(recording.path.as_ref()),
        "duration_seconds": recording.duration,
        "status": recording.status,
        "copy": copy.map(|copy| kept(copy, shown)),
    })
}

/// How far the copy of a recording is.
fn kept(copy: &RecordingCopy, shown: Shown) -> Value {
    let object = copy.object.as_ref();
    json!({
        "state": copy.state,
        "due_at": copy.due_at,
        "failures": copy.failures,
        "problem": copy.problem,
        "link": shown.some(copy.link.as_ref()),
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

#[derive(Serialize)]
struct Sent<'a> {
    destination: &'a str,
    event: &'a str,
    state: switchboard_domain::DeliveryState,
    due_at: Option<jiff::Timestamp>,
    failures: u32,
    idempotency_key: String,
    attempts: Vec<Value>,
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
    json!(Sent {
        destination: delivery.id.destination.as_str(),
        event: delivery.id.event.as_str(),
        state: delivery.state,
        due_at: delivery.due_at,
        failures: delivery.failures,
        idempotency_key: delivery.idempotency_key(),
        attempts: attempts.collect(),
    })
}
