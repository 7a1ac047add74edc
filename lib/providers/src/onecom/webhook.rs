//! OneCom: the call detail records of a MiRTA PBX, posted after each call, alone or in batches.
//!
//! The fields are those of MiRTA's CDR table, which is Asterisk's with more columns. Who is who in
//! a record is decided in [`sides`]. OneCom is an Israeli provider and writes wall clocks without a
//! zone: where the source names none, they are read as Israel's.

#[cfg(test)]
mod tests;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Map, Value, json};
use switchboard_domain::{
    ConfigError, Direction, Disposition, Facts, Order, Personal, Seconds, State, later, time,
};

use super::settings::Settings;
use super::sides;
use crate::body::{self, ParsedRecord};
use crate::cdr::{self, MOST_EXTRA, keep};
use crate::json::{self, Fields};
use crate::provider::{Authenticated, Content, Provider, Route, Unread};
use crate::reject::Reject;
use crate::request::Request;
use crate::settings::ProviderSettings;

/// Where it posts, and where a browser reads how to set it up.
pub(super) const PATH: &str = "/api/onecom/webhook";
/// Where the wall clocks of a source without a zone are.
pub(super) const HOME: &str = "Asia/Jerusalem";
/// So many records of one body are read: what one function can store before it must answer.
const MOST_RECORDS: usize = 1_000;
/// What identifies a call, the best first. `linkedid` is the same in every leg of one phone call.
const IDS: [&str; 3] = ["linkedid", "uniqueid", "call_id"];
/// What is taken out of a body before anything of it is kept. `pincode` is what an employee
/// dials to be allowed to call.
const SECRETS: [&str; 7] =
    ["pincode", "pin", "password", "secret", "token", "api_key", "webhook_secret"];
/// What a ping may hold: it asks to fetch the calls of a phone, and tells of none.
const PING: [&str; 4] = ["phone", "extension", "source", "tenant"];
/// Where a recording's address or file may stand.
const RECORDINGS: [&str; 4] = ["recording_url", "recordingurl", "recordingfile", "recording"];

/// OneCom's webhook.
pub struct OneCom;

impl Provider for OneCom {
    fn name(&self) -> &'static str {
        "onecom"
    }

    fn routes(&self) -> &'static [Route] {
        &[("POST", PATH), ("GET", PATH)]
    }

    /// The legs of one call come one after the other.
    fn settle(&self) -> Seconds {
        Seconds(3)
    }

    fn accepted(&self) -> u16 {
        202
    }

    fn settings(&self, json: &str) -> Result<ProviderSettings, ConfigError> {
        ProviderSettings::read::<Settings>(json)
    }

    fn public(&self, request: &Request) -> Option<Value> {
        (request.method == "GET" && request.path.ends_with(PATH)).then(set_up)
    }

    fn parse(&self, message: &Authenticated<'_>) -> Result<Content, Reject> {
        let mut value = body::value(message)?;
        let had_secrets = forget_secrets(&mut value);
        if is_ping(&value) {
            let said = "this is about no call, and Switchboard fetches none: send call records";
            return Ok(Content::Other(json!({"ping": true, "accepted": 0, "message": said})));
        }
        let records = json::records(unwrapped(value))?;
        if records.len() > MOST_RECORDS {
            let why = Reject::malformed("body", format!("holds more than {MOST_RECORDS} records"));
            // As one record that was not read, so that the quarantine gets it without its secrets.
            let raw = Value::Array(records).to_string().into_bytes();
            return Ok(Content::Calls(vec![Err(Unread { why, raw })]));
        }
        let kept = match records.as_slice() {
            [one] if had_secrets => one.to_string().into_bytes(),
            _ => message.body().to_vec(),
        };
        Ok(body::each_kept(message, &kept, records, |record| read(message, record)))
    }
}

/// What a GET is answered.
fn set_up() -> Value {
    json!({
        "webhook": "OneCom (MiRTA PBX) call detail records",
        "configure": {
            "method": "POST",
            "path": PATH,
            "content_type": ["application/json", "application/x-www-form-urlencoded"],
            "event": "CDR (call complete)",
            "authentication": "the source's secret in the header X-Webhook-Secret, or as ?secret= in the URL",
        },
        "formats": ["one record", "a list of records", {"data": "a list of records"}],
        "limits": {"records": MOST_RECORDS},
        "required": "one of linkedid, uniqueid, call_id",
        "times": "YYYY-MM-DD HH:MM:SS, wall clock of the source's time zone, else Asia/Jerusalem",
        "example": {
            "uniqueid": "1234567890.123",
            "call_id": "1234567890",
            "start": "2024-01-15 10:30:00",
            "src": "101",
            "dst": "0501234567",
            "duration": 120,
            "billsec": 112,
            "disposition": "ANSWERED",
        },
        "answer": {"status": 202, "body": {"accepted": 1, "duplicates": 0}},
    })
}

/// Takes the secrets out, however deep they are. Whether there were any.
fn forget_secrets(value: &mut Value) -> bool {
    match value {
        Value::Array(values) => {
            values.iter_mut().fold(false, |found, value| forget_secrets(value) | found)
        }
        Value::Object(fields) => {
            let before = fields.len();
            fields.retain(|name, _| !SECRETS.contains(&plain(name).as_str()));
            let found = fields.len() < before;
            fields.values_mut().fold(found, |found, value| forget_secrets(value) | found)
        }
        _ => false,
    }
}

/// A field's name as it is looked for: PBXs and templates write it in any case.
fn plain(name: &str) -> String {
    name.trim().to_ascii_lowercase()
}

/// Whether nothing is in a field.
fn is_blank(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => json::present(text).is_none(),
        _ => false,
    }
}

/// Whether a body asks to fetch the calls of a phone, instead of telling of one.
fn is_ping(value: &Value) -> bool {
    let Value::Object(fields) = value else { return false };
    let said = || fields.iter().filter(|(_, value)| !is_blank(value)).map(|(name, _)| plain(name));
    said().all(|name| PING.contains(&name.as_str()))
        && said().any(|name| name == "phone" || name == "extension")
}

/// The records in `{"data": …}`, or the body itself where that is the record or the list.
fn unwrapped(value: Value) -> Value {
    let Value::Object(mut fields) = value else { return value };
    let has_id = fields.keys().any(|name| IDS.contains(&plain(name).as_str()));
    match fields.remove("data") {
        Some(data @ (Value::Array(_) | Value::Object(_))) if !has_id => data,
        Some(data) => {
            fields.insert("data".to_owned(), data);
            Value::Object(fields)
        }
        None => Value::Object(fields),
    }
}

/// The record with its names in lower case. Of two that differ in case alone, the lower one counts.
fn with_plain_names(record: Value) -> Value {
    let Value::Object(fields) = record else { return record };
    let mut plain_fields = Map::new();
    for (name, value) in fields {
        let plain_name = plain(&name);
        if plain_name == name || !plain_fields.contains_key(&plain_name) {
            plain_fields.insert(plain_name, value);
        }
    }
    Value::Object(plain_fields)
}

fn read(message: &Authenticated<'_>, record: Value) -> Result<ParsedRecord, Reject> {
    let record = with_plain_names(record);
    let mut fields = Fields::of(record)?;
    let mut ids = Vec::new();
    for name in IDS {
        ids.extend(fields.id(name)?.map(|id| (name, id)));
    }
    let Some((_, id)) = ids.first().cloned() else {
        let problem = "is required where there is neither linkedid nor call_id";
        return Err(Reject::malformed("uniqueid", problem));
    };
    let in_body = fields.text("source")?;
    let (key, source) = message.call(in_body.as_deref(), None, &id)?;
    let leg = ids.iter().find(|(name, _)| *name == "uniqueid").map_or(&id, |(_, id)| id).clone();

    let zone = source.zone().or_else(|| time::zone(HOME));
    let mut facts = facts(&mut fields, zone.as_ref(), &leg)?;
    let others = ids.into_iter().filter(|(_, other)| *other != id);
    facts.extra.extend(others.map(|(name, other)| (name.to_owned(), Personal::new(other))));
    for channel in ["srcchannel", "dstchannel"] {
        let _ = fields.text(channel);
    }
    let room = MOST_EXTRA.saturating_sub(facts.extra.len());
    facts.extra.extend(fields.rest(room));

    let order = order(&facts, leg != id);
    Ok(ParsedRecord::new(key, "cdr", order, facts))
}

/// The place of a leg's record. What two colleagues say to each other, as before a transfer, never
/// stands for the call with the customer that it is a leg of.
fn order(facts: &Facts, is_further_leg: bool) -> Order {
    if is_further_leg && facts.direction == Some(Direction::Internal) {
        return cdr::leg_order(0, None);
    }
    let at = facts.started_at.or(facts.ended_at).map_or(0, Timestamp::as_second);
    cdr::leg_order(u64::try_from(at).unwrap_or(0), facts.disposition)
}

fn facts(fields: &mut Fields, zone: Option<&TimeZone>, leg: &str) -> Result<Facts, Reject> {
    let mut facts = Facts { state: Some(State::Ended), ..Facts::default() };
    facts.total = fields.seconds("duration")?;
    let connected = fields.seconds("billsec")?;

    let word = fields.optional("disposition");
    facts.disposition = word.as_deref().and_then(cdr::disposition);
    if facts.disposition.is_none() {
        keep(&mut facts, "disposition", word);
    }

    facts.started_at = cdr::moment(fields, "start", zone, &mut facts);
    // An answer or an end before 2000 is a blank column, and not a start that was dropped.
    facts.answered_at = cdr::moment_if_any(fields, "answer", zone, &mut facts);
    facts.ended_at = cdr::moment_if_any(fields, "end", zone, &mut facts);
    // Also of a call that ends before it starts: over the night when clocks go back, it lasted.
    if let (Some(start), Some(total)) = (facts.started_at, facts.total)
        && facts.ended_at.is_none_or(|end| end < start)
    {
        facts.ended_at = Some(later(start, total));
    }
    facts.talk = talk(&facts, connected);

    if let Some(place) = RECORDINGS.iter().find_map(|name| fields.optional(name)) {
        facts.recordings.insert(leg.to_owned(), cdr::recording(&place));
    }
    sides::read(fields, &mut facts);
    Ok(facts)
}

/// The talk time: `billsec`, and nothing for an unanswered call. Of an answered call without
/// `billsec`, from the answer to the end, or else all of its duration.
fn talk(facts: &Facts, billsec: Option<Seconds>) -> Option<Seconds> {
    let since_answer = || {
        let lasted = facts.ended_at?.duration_since(facts.answered_at?);
        u32::try_from(lasted.as_secs()).ok().map(Seconds)
    };
    match facts.disposition {
        Some(Disposition::Answered) => billsec.or_else(since_answer).or(facts.total),
        Some(_) => Some(Seconds(0)),
        None => billsec,
    }
}
