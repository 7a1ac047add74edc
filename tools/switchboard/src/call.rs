//! A call in full, for the operator.

use std::fmt::Write as _;

use switchboard_crm::filter::{Undelivered, configured, undelivered};
use switchboard_domain::{CallKey, CallRecord, Delivery, Party, Person};
use switchboard_store::Store;

use crate::Failure;
use crate::parameter::Stage;

/// Reads a call and its deliveries, and shows them without an unmasked number or name; and which of the stage's
/// destinations did not receive it, unless the operator may not read the configuration.
pub async fn story(store: &Store, key: &CallKey, stage: &Stage) -> Result<String, Failure> {
    let Some(record) = store.call(key).await? else {
        return Err(Failure::Wrong(format!("{key} is not stored")));
    };
    let deliveries = store.deliveries(key).await?;
    let destinations = stage.values("destinations").await.ok();
    let missing =
        destinations.map(|values| undelivered(&record, &deliveries, &configured(&values)));
    Ok(show(&record, &deliveries, missing.as_deref()))
}

fn show(record: &CallRecord, deliveries: &[Delivery], missing: Option<&[Undelivered]>) -> String {
    let facts = &record.call.facts;
    let mut story = String::new();
    let mut line = |name: &str, text: String| {
        let _ = writeln!(story, "{name:<12} {text}");
    };
    line("call", record.key.to_string());
    line("correlation", record.key.correlation_id().to_string());
    line("state", word(&facts.state));
    line("outcome", word(&record.call.outcome));
    line("direction", word(&facts.direction));
    line("contact", side(record.call.contact(), record.people.contact.as_ref()));
    line("employee", side(record.call.employee(), record.people.employee.as_ref()));
    let time = |at: Option<_>| at.map_or("–".to_owned(), |at: jiff::Timestamp| at.to_string());
    line("started", time(facts.started_at));
    line("ended", time(facts.ended_at));
    line("talk", facts.talk.map_or("–".to_owned(), |talk| format!("{} s", talk.0)));
    line("summary", if facts.summary.is_some() { "yes".into() } else { "no".into() });
    if let Some(lookup) = &record.lookup {
        line("lookup", format!("{:?}, {} attempts", lookup.state, lookup.attempts));
    }
    for (what, problem) in &record.problems {
        line("problem", format!("{what}: {problem}"));
    }
    if let Some(mark) = &record.analysis {
        let why = mark.reason.as_ref().map_or(String::new(), |reason| format!(": {reason}"));
        let tokens = format!("{} + {} tokens", mark.tokens.input, mark.tokens.output);
        let state = mark.state.as_str();
        line("analysis", format!("{state}{why}; {} tasks, {tokens}", mark.tasks));
    }
    for update in record.updates.values() {
        line("update", format!("{} {} {}", update.received_at, update.kind, update.digest));
    }
    if let Some(replayed_at) = record.replayed_at {
        line("replayed", replayed_at.to_string());
    }
    for (work, due_at) in &record.owed {
        line("owes", format!("{work:?} since {due_at}"));
    }
    for copy in record.copies.values() {
        let next = copy.due_at.map_or(String::new(), |due_at| format!(", due {due_at}"));
        let problem = copy.problem.as_ref().map_or(String::new(), |why| format!(", {why}"));
        let state = format!("{:?}", copy.state).to_lowercase();
        line("recording", format!("{state}{next}{problem}"));
    }
    for delivery in deliveries {
        let next = delivery.due_at.map_or(String::new(), |due_at| format!(", due {due_at}"));
        let state = format!("{:?}", delivery.state).to_lowercase();
        line("delivery", format!("{} {state}{next}", delivery.id));
        for attempt in &delivery.attempts {
            let text = format!("{} {} ({} ms)", attempt.at, attempt.result, attempt.took_ms);
            line("  attempt", text);
        }
    }
    for text in not_delivered(missing) {
        line("undelivered", text);
    }
    story.trim_end().to_owned()
}

fn not_delivered(missing: Option<&[Undelivered]>) -> Vec<String> {
    let unknown = || vec!["unknown: the destinations' configuration could not be read".to_owned()];
    let show =
        |one: &Undelivered| format!("{} {}: {}", one.destination, one.reason.as_str(), one.detail);
    missing.map_or_else(unknown, |missing| missing.iter().map(show).collect())
}

fn word<T: std::fmt::Debug>(value: &Option<T>) -> String {
    value.as_ref().map_or("–".to_owned(), |value| format!("{value:?}"))
}

fn side(party: Option<&Party>, person: Option<&Person>) -> String {
    let Some(party) = party else {
        // The id alone may be known.
        let entry = person.and_then(|person| Some((person.entry.as_ref()?, person.reason()?)));
        return entry.map_or("–".to_owned(), |(entry, reason)| format!("{entry} by {reason}"));
    };
    let kind = person.map_or(party.kind, |person| person.kind);
    let number = person.and_then(|person| person.e164.as_ref()).unwrap_or(&party.raw);
    let who = match (person.and_then(|p| p.entry.as_ref()), person.and_then(Person::reason)) {
        (Some(entry), Some(reason)) => format!(", {entry} by {reason}"),
        (None, Some(reason)) => format!(", none: {reason}"),
        (_, None) => String::new(),
    };
    format!("{kind:?} {}{who}", number.masked())
}

#[cfg(test)]
mod tests {
    use switchboard_domain::{
        Analysed, AnalysisState, Attempt, DeliveryState, Facts, Legs, MatchedBy, Name, Order,
        PartyKind, Personal, Policy, Seconds, State, Tokens, Unmatched, Update,
    };

    use super::*;

    #[test]
    fn a_call_is_shown_in_full_and_masked() {
        let now: jiff::Timestamp = "2026-02-20T09:00:00Z".parse().unwrap();
        let facts = Facts {
            state: Some(State::Ended),
            contact: Party::read("+61491570156"),
            contact_name: Some(Personal::new("Kim Example")),
            summary: Some(Personal::new("About prices")),
            talk: Some(Seconds(42)),
            ..Facts::default()
        };
        let update = Update::new("call_finished", Order::Unordered, now, facts, b"{}".to_vec());
        let policy = Policy { settle: Seconds(0), legs: Legs::Parent, starts: false };
        let key: CallKey = "asterisk/main/1".parse().unwrap();
        let mut record = CallRecord::first(key.clone(), update, policy, now);
        record.replayed_at = Some(now);
        record.analysis = Some(Analysed {
            reason: Some("the model throttles (429)".into()),
            tokens: Tokens { input: 900, output: 120 },
            ..Analysed::new(AnalysisState::Failed)
        });
        let mut person = Person::unknown(PartyKind::E164, None);
        person.unmatched = Some(Unmatched::Ambiguous);
        record.people.contact = Some(person.clone());
        person.entry = Name::new("employee", "ann").ok();
        person.matched_by = Some(MatchedBy::Context);
        record.people.employee = Some(person);
        let mut delivery = Delivery::planned(key, "crm#call.completed".parse().unwrap(), now);
        delivery.state = DeliveryState::Failed;
        let result = "refused: 422".to_owned();
        delivery.attempts = vec![Attempt { at: now, took_ms: 12, status: Some(422), result }];
        let busy = r#"{"filter": {"outcomes": ["busy"]}}"#;
        let values = [("crm", "{}"), ("erp", busy)].map(|(name, json)| (name.into(), json.into()));
        let missing = undelivered(&record, &[delivery.clone()], &configured(&values.into()));
        let story = show(&record, &[delivery], Some(&missing));
        for expected in [
            "asterisk/main/1",
            "Answered",
            "56",
            "42 s",
            "Enrich since",
            "refused: 422",
            "undelivered  crm failed: refused: 422: correct the cause and redeliver it",
            "undelivered  erp not_planned: ",
            "replayed ",
            "failed: the model throttles (429); 0 tasks, 900 + 120 tokens",
            ", none: ambiguous",
            "ann by context",
        ] {
            assert!(story.contains(expected), "{expected} is not in:\n{story}");
        }
        for kept in ["6149157", "Kim", "prices"] {
            assert!(!story.contains(kept), "{kept} is in:\n{story}");
        }
    }
}
