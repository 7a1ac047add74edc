//! Tata Smartflo: webhooks whose body is a template that the customer edits.
//!
//! Any key can be missing or renamed, a variable that Smartflo does not fill arrives as its own
//! name (`$campaign_id`), numbers are texts, and several fields change their shape from message to
//! message. So only the call's id can fail a record; what else cannot be read is left out. Fields
//! and triggers: Smartflo's "Webhook" page.

mod agent;
mod outcome;
#[cfg(test)]
mod tests;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Map, Value};
use switchboard_domain::{
    CallKey, Direction, Disposition, Facts, Name, Order, Party, Personal, Seconds, State,
};

use crate::body::{self, Said};
use crate::json::{self, Fields};
use crate::reject::Reject;
use crate::request::Authenticated;
use crate::{Content, Provider, Route, cdr};
use outcome::Cause;

/// Smartflo runs in India, and its wall clocks are Indian.
const ZONE: &str = "Asia/Kolkata";
/// So many fields beyond the known ones are kept; a call is not a document store.
const MOST_EXTRA: usize = 20;
/// How long a field that is kept so may be, bytes.
const LONGEST_EXTRA: usize = 512;

/// Tata Smartflo.
pub struct Smartflo;

impl Provider for Smartflo {
    fn name(&self) -> &'static str {
        "smartflo"
    }

    fn routes(&self) -> &'static [Route] {
        &[("POST", "/api/v1/smartflo/webhook"), ("GET", "/api/v1/smartflo/webhook")]
    }

    /// Several triggers tell the same hangup, each in a message of its own.
    fn settle(&self) -> Seconds {
        Seconds(3)
    }

    fn parse(&self, message: &Authenticated<'_>) -> Result<Content, Reject> {
        let records = json::records(body::value(message)?)?;
        if records.is_empty() {
            return Err(Reject::malformed("body", "holds no record"));
        }
        Ok(body::each(message, records, |record| read(message, record)))
    }
}

fn read(message: &Authenticated<'_>, record: Value) -> Result<Said, Reject> {
    let mut record = cleaned(record)?;
    let agents = agent::Agents::take(&mut record);
    for name in NOT_KEPT {
        record.remove(name);
    }
    let mut fields = Fields::of(Value::Object(record))?;

    let (uuid, call_id) = (text(&mut fields, "uuid"), text(&mut fields, "call_id"));
    let id = uuid.as_ref().or(call_id.as_ref());
    let id = id.ok_or_else(|| Reject::malformed("uuid", "is required (or call_id)"))?;
    let in_body = text(&mut fields, "source");
    let (name, source) = message.source(in_body.as_deref(), None)?;
    let key = CallKey::new(Name::new("provider", Smartflo.name())?, name, id)?;

    let zone = source.zone().or_else(|| switchboard_domain::time::zone(ZONE));
    let mut facts = facts(&mut fields, call_id.as_deref(), agents, zone.as_ref());
    // Where there is no `uuid`, the call's id says it already.
    keep("call_id", call_id.filter(|_| uuid.is_some()), &mut facts);
    for name in ["ref_id", "custom_identifier", "campaign_id"] {
        keep(name, text(&mut fields, name), &mut facts);
    }
    let room = MOST_EXTRA.saturating_sub(facts.extra.len());
    facts.extra.extend(fields.rest(room));

    let kind = match facts.state {
        Some(State::Queued) => "queued",
        Some(State::Ringing) => "ringing",
        Some(State::InProgress) => "answered",
        Some(State::Ended) => "hangup",
        None => "status",
    };
    let at = facts.ended_at.or(facts.answered_at).or(facts.started_at);
    let order = message.request().order(at.map_or(Order::Unordered, Order::At));
    Ok(Said { key, near: Vec::new(), kind: kind.to_owned(), order, facts })
}

/// What is not kept beside the call, only in its body: our own parameters; what the caller typed
/// into the keypad, which may be a PIN; what says the same at greater length; and
/// `call_connected`, which is 1 of calls that nobody answered.
const NOT_KEPT: [&str; 4] = ["secret", "digits_dialed", "call_flow", "call_connected"];

/// The fields of a record by the names they were meant to have, without those that say nothing.
///
/// Smartflo's own template has a key with a space at its end, and some people write `$call_id` on
/// both sides of the colon.
fn cleaned(record: Value) -> Result<Map<String, Value>, Reject> {
    let Value::Object(record) = record else {
        return Err(Reject::malformed("record", "is not an object"));
    };
    let mut fields = Map::new();
    for (name, value) in record {
        let name = name.trim_matches(|c: char| c.is_whitespace() || c == '$');
        let says_nothing = match &value {
            Value::Null => true,
            Value::String(text) => present(text).is_none(),
            _ => false,
        };
        if !says_nothing && !fields.contains_key(name) {
            fields.insert(name.to_owned(), value);
        }
    }
    Ok(fields)
}

/// Text with something in it: not blank, not `null`, not the name of a variable that was not filled.
fn present(text: &str) -> Option<&str> {
    let text = json::present(text)?;
    let is_name = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    };
    let unfilled =
        text.strip_prefix('$').is_some_and(|name| is_name(name.strip_suffix('$').unwrap_or(name)));
    (!unfilled && !text.eq_ignore_ascii_case("null")).then_some(text)
}

/// Takes a field as text. One of another shape, or too long, is left out.
fn text(fields: &mut Fields, name: &str) -> Option<String> {
    fields.text(name).ok().flatten()
}

/// Takes a field as a duration. One that cannot be read is left out.
fn seconds(fields: &mut Fields, name: &str) -> Option<Seconds> {
    text(fields, name).as_deref().and_then(cdr::duration)
}

fn keep(name: &str, value: Option<String>, facts: &mut Facts) {
    if let Some(value) = value.filter(|value| value.len() <= LONGEST_EXTRA) {
        facts.extra.insert(name.to_owned(), Personal::new(value));
    }
}

fn facts(
    fields: &mut Fields,
    call_id: Option<&str>,
    agents: agent::Agents,
    zone: Option<&TimeZone>,
) -> Facts {
    let direction = text(fields, "direction").as_deref().and_then(direction);
    let mut facts = Facts { direction, ..Facts::default() };
    let is_outbound = facts.direction == Some(Direction::Outbound);
    let cause = Cause::take(fields);

    // The times that are written, before what they mean is known.
    let stamp = |facts: &mut Facts, written: Option<String>| {
        cdr::place(written.as_deref().and_then(|text| cdr::time(text, zone)), facts)
    };
    let started = text(fields, "start_stamp");
    facts.started_at = stamp(&mut facts, started).or_else(|| call_id.and_then(start_in));
    let answered = text(fields, "answer_stamp");
    let answered = stamp(&mut facts, answered);
    let ended = text(fields, "end_stamp");
    facts.ended_at = stamp(&mut facts, ended);

    let billed = seconds(fields, "billsec");
    let far_end = seconds(fields, "outbound_sec").filter(|talk| *talk > Seconds(0));
    facts.total = seconds(fields, "duration");
    facts.billed = billed;

    let words = [text(fields, "call_status"), text(fields, "status")];
    let talked = if is_outbound { far_end } else { billed }.is_some_and(|talk| talk > Seconds(0));
    let told = outcome::Told {
        words: words.iter().flatten().map(String::as_str).collect(),
        cause: &cause,
        talked,
        has_end: facts.ended_at.is_some(),
        has_answer: answered.is_some(),
        has_start: facts.started_at.is_some(),
    };
    (facts.state, facts.disposition) = outcome::decide(&told);
    let is_over = facts.state == Some(State::Ended);

    // Of a click to call, the agent picks up first: that alone is not a call that was answered.
    let not_answered = is_over && facts.disposition.is_some_and(|d| d != Disposition::Answered);
    let by_agent_alone = !is_over && is_outbound && !outcome::is_by_customer(&told);
    facts.answered_at = answered.filter(|_| !not_answered && !by_agent_alone);
    facts.cause = cause.into_text();
    facts.talk = match facts.disposition {
        // The leg to the customer; `billsec` counts whoever was on the line, and the test message
        // that people send by hand has neither.
        Some(Disposition::Answered) if is_outbound => far_end.or(billed).or(facts.total),
        Some(Disposition::Answered) => billed.or(far_end).or(facts.total),
        Some(_) => Some(Seconds(0)),
        // Nothing but the customer's own leg is proof of a talk.
        None => far_end.filter(|_| is_over && is_outbound),
    };

    sides(fields, &mut facts, agents, not_answered);
    facts.campaign = text(fields, "campaign_name");
    if let Some(url) = text(fields, "recording_url") {
        facts.recordings.insert("recording".to_owned(), crate::recording(&url));
    }
    facts
}

/// Who was on the line. `call_to_number` was dialled and `caller_id_number` was shown, so that of
/// the two one is our own number and which one depends on the direction.
fn sides(fields: &mut Fields, facts: &mut Facts, agents: agent::Agents, not_answered: bool) {
    let dialled = text(fields, "call_to_number");
    let shown = text(fields, "caller_id_number");
    let mut customer = None;
    for name in ["customer_no_with_prefix", "customer_number_with_prefix", "customer_number"] {
        let number = text(fields, name);
        customer = customer.or(number);
    }
    let contact = match facts.direction {
        Some(Direction::Outbound) => dialled.clone().or(customer),
        Some(Direction::Inbound) => shown.clone().or(customer),
        Some(Direction::Internal) | None => customer,
    };
    let numbers = [text(fields, "agent_number"), text(fields, "answer_agent_number")];
    let agent = agents.chosen(numbers, contact.as_deref(), not_answered);
    let name = text(fields, "answered_agent_name").or(agent.name);
    keep("agent_name", name, facts);

    let party = |number: Option<&str>| number.and_then(Party::read);
    facts.contact = party(contact.as_deref());
    facts.employee = party(agent.number.as_deref());
    (facts.from, facts.to) = match facts.direction {
        Some(Direction::Outbound) => {
            (party(shown.as_deref()).or_else(|| facts.employee.clone()), facts.contact.clone())
        }
        Some(Direction::Inbound) => (facts.contact.clone(), party(dialled.as_deref())),
        Some(Direction::Internal) | None => (party(shown.as_deref()), party(dialled.as_deref())),
    };
}

/// `clicktocall` (at the hangup) and `click_to_call` (at the answer) are the same.
fn direction(text: &str) -> Option<Direction> {
    match outcome::letters(text).as_str() {
        "inbound" | "dialerinbound" => Some(Direction::Inbound),
        "outbound" | "clicktocall" | "dialer" | "dialeroutbound" => Some(Direction::Outbound),
        _ => None,
    }
}

/// The start that is in a call id, `1771576805.306731` or `h11.08-1771576805.306731`: Asterisk's
/// unique id, behind the name of a host. From 2001 to 2096: greater is a phone number of India.
fn start_in(call_id: &str) -> Option<Timestamp> {
    let is_host = |host: &str| {
        host.strip_prefix('h')
            .is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_digit() || b == b'.'))
    };
    let id = match call_id.split_once('-') {
        Some((host, id)) if is_host(host) => id,
        _ => call_id,
    };
    let (whole, _) = id.split_once('.')?;
    cdr::epoch(id).filter(|_| whole.len() == 10 && whole.starts_with(['1', '2', '3']))
}
