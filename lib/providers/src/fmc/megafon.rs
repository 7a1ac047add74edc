//! MegaFon's virtual PBX (VATS), as its REST API describes what it sends to a CRM: a form with a
//! command in `cmd` and the key of the CRM in `crm_token`. Other operators run the same system
//! under their own names.

use serde::Deserialize;
use serde_json::{Value, json};
use switchboard_domain::{Direction, Disposition, Facts, Order, Party, State, later};

use crate::body::ParsedRecord;
use crate::cdr::{self, MOST_EXTRA};
use crate::form;
use crate::json::Fields;
use crate::provider::Authenticated;
use crate::reject::Reject;
use crate::request::{Form, Request};

/// The field that holds the secret.
pub(super) const TOKEN: &str = "crm_token";
/// The field that says what a message is, and by which this format is known.
pub(super) const COMMAND: &str = "cmd";

/// The token in the body of a form or of a JSON object. Asked before the sender is known.
pub(super) fn token(request: &Request) -> Option<String> {
    #[derive(Deserialize)]
    struct Sent {
        crm_token: String,
    }
    let body = request.signed_bytes();
    let token = match body.trim_ascii_start().first()? {
        b'{' => serde_json::from_slice::<Sent>(body).ok()?.crm_token,
        b'[' | b'<' => return None,
        _ => form_urlencoded::parse(body).find(|(name, _)| name == TOKEN)?.1.into_owned(),
    };
    let token = token.trim();
    (!token.is_empty()).then(|| token.to_owned())
}

/// Takes the token out of a body that was read. Says whether there was one.
pub(super) fn take_token(value: &mut Value) -> bool {
    match value {
        Value::Object(fields) => fields.remove(TOKEN).is_some(),
        // Every one of them, not only the first.
        Value::Array(records) => records.iter_mut().fold(false, |any, one| take_token(one) | any),
        _ => false,
    }
}

/// The bytes of a body without its token. `value` is what was read of it, without it already.
pub(super) fn without_token(body: &[u8], value: &Value) -> Vec<u8> {
    let rest = form_urlencoded::parse(body).filter(|(name, _)| name != TOKEN);
    let rest: Form = rest.map(|(name, value)| (name.into_owned(), value.into_owned())).collect();
    let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(&rest).finish();
    // JSON and forms with records in a field are kept as they were read.
    if form::value(rest).as_ref() == Ok(value) { form } else { value.to_string() }.into_bytes()
}

/// Whether a record asks who a caller is, and waits for the answer.
pub(super) fn is_lookup(record: &Value) -> bool {
    let command = record.get(COMMAND).and_then(Value::as_str);
    command.is_some_and(|command| command.trim().eq_ignore_ascii_case("contact"))
}

/// The answer that the caller is not known: the employee is shown the number, as without a CRM.
pub(super) fn unknown() -> Value {
    json!({"contact_name": "", "responsible": ""})
}

/// Reads one command about a call.
pub(super) fn read(
    message: &Authenticated<'_>,
    mut fields: Fields,
) -> Result<ParsedRecord, Reject> {
    let command = fields.text(COMMAND)?.unwrap_or_default().to_ascii_lowercase();
    if !["history", "event", "rating"].contains(&command.as_str()) {
        let problem = "must be history, event, rating, or contact in a body of its own";
        return Err(Reject::malformed(COMMAND, problem));
    }
    let call_id = fields.id("callid")?.ok_or_else(|| Reject::malformed("callid", "is required"))?;
    let in_body = fields.text("source")?;
    let (key, source) = message.call(in_body.as_deref(), None, &call_id)?;

    let mut facts = Facts::default();
    let (kind, order) = match command.as_str() {
        "history" => (command, history(&mut fields, source.zone().as_ref(), &mut facts)),
        "event" => (event(&mut fields, &mut facts), Order::Unordered),
        _ => (command, Order::Unordered),
    };
    parties(&mut fields, &mut facts);
    facts.extra = fields.rest(MOST_EXTRA).collect();
    Ok(ParsedRecord::new(key, kind, order, facts))
}

/// What the record of a call that is over says. Of a call that was passed on there may be several
/// under one id, one of each leg.
fn history(fields: &mut Fields, zone: Option<&jiff::tz::TimeZone>, facts: &mut Facts) -> Order {
    facts.state = Some(State::Ended);
    facts.direction = fields.optional("type").as_deref().and_then(direction);
    if let Some(status) = fields.optional("status") {
        facts.disposition = disposition(&status);
        // What the disposition does not say already.
        if matches!(facts.disposition, None | Some(Disposition::Failed))
            || status.eq_ignore_ascii_case("NotAvailable")
        {
            facts.cause = Some(status);
        }
    }
    facts.started_at = cdr::moment(fields, "start", zone, facts);
    // From the first ring to the end. How long they talked is not said.
    facts.total = cdr::lasted(fields, "duration");
    if let (Some(start), Some(total)) = (facts.started_at, facts.total) {
        facts.ended_at = Some(later(start, total));
    }
    cdr::keep_recording(facts, fields.optional("link"));
    let position = facts.started_at.and_then(|start| u64::try_from(start.as_second()).ok());
    position.map_or(Order::Unordered, |position| cdr::leg_order(position, facts.disposition))
}

/// What happens on one employee's phone. It has no time. Returns what happened.
///
/// `CANCELLED` does not end the call: it is also said of every phone of a group but the one
/// that was picked up, under the same id. The history that follows tells how the call went.
fn event(fields: &mut Fields, facts: &mut Facts) -> String {
    let kind = fields.optional("type").unwrap_or_default().to_ascii_uppercase();
    let (state, by_kind) = match kind.as_str() {
        "INCOMING" => (Some(State::Ringing), Some(Direction::Inbound)),
        "OUTGOING" => (Some(State::Ringing), Some(Direction::Outbound)),
        "ACCEPTED" | "TRANSFERRED" => (Some(State::InProgress), None),
        "COMPLETED" => (Some(State::Ended), None),
        _ => (None, None),
    };
    facts.state = state;
    facts.direction = fields.optional("direction").as_deref().and_then(direction).or(by_kind);
    if state.is_none() && kind != "CANCELLED" { "event".to_owned() } else { kind }
}

/// Who called whom. `phone` is always the customer, `diversion` our number that was called or
/// through which the call went out, `telnum` the employee's own.
fn parties(fields: &mut Fields, facts: &mut Facts) {
    let mut party = |name| fields.optional(name).as_deref().and_then(Party::read);
    let customer = party("phone");
    let ours = party("diversion");
    let direct = party("telnum");
    (facts.from, facts.to) = match facts.direction {
        Some(Direction::Inbound) => (customer.clone(), ours),
        Some(Direction::Outbound) => (direct.clone().or(ours), customer.clone()),
        Some(Direction::Internal) | None => (None, None),
    };
    facts.contact = customer;
    facts.employee = direct.or_else(|| party("ext")).or_else(|| party("user"));
}

fn direction(word: &str) -> Option<Direction> {
    match word.to_ascii_lowercase().as_str() {
        "in" => Some(Direction::Inbound),
        "out" => Some(Direction::Outbound),
        _ => None,
    }
}

/// The statuses of a history, whose case varies.
fn disposition(status: &str) -> Option<Disposition> {
    match status.to_ascii_lowercase().as_str() {
        "success" => Some(Disposition::Answered),
        "missed" | "notavailable" => Some(Disposition::NoAnswer),
        "cancel" => Some(Disposition::Canceled),
        "busy" => Some(Disposition::Busy),
        "notallowed" | "notfound" => Some(Disposition::Failed),
        _ => None,
    }
}
