//! Tata Smartflo: webhooks whose body is a template that the customer edits.
//!
//! Any key can be missing or renamed, a variable that Smartflo does not fill arrives as its own
//! name (`$campaign_id`), numbers are texts, and several fields change their shape from message to
//! message. So only the call's id can fail a record; what else cannot be read is left out. Fields
//! and triggers: Smartflo's "Webhook" page.

#[cfg(test)]
mod tests;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Map, Value};
use switchboard_domain::{
    ConfigError, Direction, Disposition, Facts, Order, Party, Seconds, State,
};

use super::agent::{self, present};
use super::outcome::{self, Cause};
use super::settings::Settings;
use crate::body::{self, ParsedRecord};
use crate::cdr::{self, MOST_EXTRA};
use crate::json::{self, Fields};
use crate::provider::{Authenticated, Content, Provider, Route};
use crate::reject::Reject;
use crate::settings::ProviderSettings;

/// Smartflo runs in India, and its wall clocks are Indian.
const ZONE: &str = "Asia/Kolkata";

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

    fn settings(&self, json: &str) -> Result<ProviderSettings, ConfigError> {
        ProviderSettings::read::<Settings>(json)
    }

    fn parse(&self, message: &Authenticated<'_>) -> Result<Content, Reject> {
        let records = json::some_records(body::value(message)?)?;
        Ok(body::each(message, records, |record| read(message, record)))
    }
}

fn read(message: &Authenticated<'_>, record: Value) -> Result<ParsedRecord, Reject> {
    let mut record = cleaned(record)?;
    let agents = agent::Agents::take(&mut record);
    for name in NOT_KEPT {
        record.remove(name);
    }
    let mut fields = Fields::of(Value::Object(record))?;

    let (uuid, call_id) = (fields.optional_id("uuid"), fields.optional_id("call_id"));
    let id = uuid.as_ref().or(call_id.as_ref());
    let id = id.ok_or_else(|| Reject::malformed("uuid", "is required (or call_id)"))?;
    let in_body = fields.optional("source");
    let (key, source) = message.call(in_body.as_deref(), None, id)?;

    let zone = source.zone().or_else(|| switchboard_domain::time::zone(ZONE));
    let mut facts = facts(&mut fields, call_id.as_deref(), agents, zone.as_ref());
    // Where there is no `uuid`, the call's id says it already.
    cdr::keep(&mut facts, "call_id", call_id.filter(|_| uuid.is_some()));
    for name in ["ref_id", "custom_identifier", "campaign_id"] {
        cdr::keep(&mut facts, name, fields.optional(name));
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
    Ok(ParsedRecord::new(key, kind, order, facts))
}

/// What is not kept beside the call, only in its body: our own parameters; what the caller typed
/// into the keypad, which may be a PIN; what says the same at greater length; and
/// `call_connected`, which is 1 for unanswered calls.
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

fn facts(
    fields: &mut Fields,
    call_id: Option<&str>,
    agents: agent::Agents,
    zone: Option<&TimeZone>,
) -> Facts {
    let direction = fields.optional("direction").as_deref().and_then(direction);
    let mut facts = Facts { direction, ..Facts::default() };
    let is_outbound = facts.direction == Some(Direction::Outbound);
    let cause = Cause::take(fields);

    // The times that are written, before what they mean is known.
    let started = cdr::moment(fields, "start_stamp", zone, &mut facts);
    facts.started_at = started.or_else(|| call_id.and_then(start_in));
    let answered = cdr::moment(fields, "answer_stamp", zone, &mut facts);
    facts.ended_at = cdr::moment(fields, "end_stamp", zone, &mut facts);

    let billed = cdr::lasted(fields, "billsec");
    let far_end = cdr::lasted(fields, "outbound_sec").filter(|talk| *talk > Seconds(0));
    facts.total = cdr::lasted(fields, "duration");
    facts.billed = billed;

    let words = [fields.optional("call_status"), fields.optional("status")];
    let talked = if is_outbound { far_end } else { billed }.is_some_and(|talk| talk > Seconds(0));
    let reported = outcome::Reported {
        words: words.iter().flatten().map(String::as_str).collect(),
        cause: &cause,
        talked,
        has_end: facts.ended_at.is_some(),
        has_answer: answered.is_some(),
        has_start: facts.started_at.is_some(),
    };
    (facts.state, facts.disposition) = outcome::decide(&reported);
    let is_over = facts.state == Some(State::Ended);

    // Of a click to call, the agent picks up first: that alone is not a call that was answered.
    let not_answered = is_over && facts.disposition.is_some_and(|d| d != Disposition::Answered);
    let by_agent_alone = !is_over && is_outbound && !outcome::is_by_customer(&reported);
    facts.answered_at = answered.filter(|_| !not_answered && !by_agent_alone);
    facts.cause = cause.into_text();
    facts.talk = talk(&facts, is_over, is_outbound, far_end);

    sides(fields, &mut facts, agents, not_answered);
    facts.campaign = fields.optional("campaign_name");
    cdr::keep_recording(&mut facts, fields.optional("recording_url"));
    facts
}

/// How long the customer was on the line. `far_end` is the leg to the customer of a call that we
/// made; `billsec` counts every leg.
fn talk(
    facts: &Facts,
    is_over: bool,
    is_outbound: bool,
    far_end: Option<Seconds>,
) -> Option<Seconds> {
    match facts.disposition {
        // The test message that people send by hand has neither.
        Some(Disposition::Answered) if is_outbound => far_end.or(facts.billed).or(facts.total),
        Some(Disposition::Answered) => facts.billed.or(far_end).or(facts.total),
        Some(_) => Some(Seconds(0)),
        // Nothing but the customer's own leg is proof of a talk.
        None => far_end.filter(|_| is_over && is_outbound),
    }
}

/// Who was on the line. `call_to_number` was dialled and `caller_id_number` was shown, so that of
/// the two one is our own number and which one depends on the direction.
fn sides(fields: &mut Fields, facts: &mut Facts, agents: agent::Agents, not_answered: bool) {
    let dialled = fields.optional("call_to_number");
    let shown = fields.optional("caller_id_number");
    let mut customer = None;
    for name in ["customer_no_with_prefix", "customer_number_with_prefix", "customer_number"] {
        let number = fields.optional(name);
        customer = customer.or(number);
    }
    let contact = match facts.direction {
        Some(Direction::Outbound) => dialled.clone().or(customer),
        Some(Direction::Inbound) => shown.clone().or(customer),
        Some(Direction::Internal) | None => customer,
    };
    let numbers = [fields.optional("agent_number"), fields.optional("answer_agent_number")];
    let agent = agents.chosen(numbers, contact.as_deref(), not_answered);
    let name = fields.optional("answered_agent_name").or(agent.name);
    cdr::keep(facts, "agent_name", name);

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
