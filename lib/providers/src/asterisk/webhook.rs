//! Asterisk: call detail records (CDRs), as its dialplan, its CSV file, its beanstalkd back end or
//! its manager interface (AMI) give them.
//!
//! Fields and their meaning are those of Asterisk's `main/cdr.c`, `funcs/func_cdr.c` and `cdr/*.c`.
//! A call is what shares a `linkedid`; each record of it, one per leg or fork, is an update.

#[cfg(test)]
mod tests;

use serde_json::{Map, Value};
use switchboard_domain::{CallKey, Disposition, Facts, Name, Personal, Seconds, State};

use super::sides::Sides;
use crate::body::{self, ParsedRecord};
use crate::cdr::{self, MOST_EXTRA};
use crate::json::{self, Fields};
use crate::provider::{Authenticated, Content, Provider, Route};
use crate::reject::Reject;
use crate::source::Source;

/// What `cdr_beanstalkd`, the AMI's `Cdr` event and other people's templates call the fields,
/// in lower case, and their names as CDR variables.
const ALIASES: [(&str, &str); 15] = [
    ("source", "src"),
    ("destination", "dst"),
    ("destinationcontext", "dcontext"),
    ("callerid", "clid"),
    ("destinationchannel", "dstchannel"),
    ("lastapplication", "lastapp"),
    ("starttime", "start"),
    ("answertime", "answer"),
    ("endtime", "end"),
    ("billableseconds", "billsec"),
    ("recording", "recordingfile"),
    ("recordingurl", "recordingfile"),
    ("cause", "hangupcause"),
    ("q850", "hangupcause"),
    ("cdrsequence", "sequence"),
];

/// Fields that are never kept: what a template says of itself, and what may hold a PIN or a secret
/// (`lastdata` is whatever the last application was given).
const DROPPED: [&str; 8] =
    ["event", "privilege", "lastdata", "pin", "pincode", "password", "secret", "authcode"];

/// Asterisk.
pub struct Asterisk;

impl Provider for Asterisk {
    fn name(&self) -> &'static str {
        "asterisk"
    }

    fn routes(&self) -> &'static [Route] {
        &[("POST", "/webhooks/asterisk")]
    }

    /// The records of one call are written one after the other as it is taken down.
    fn settle(&self) -> Seconds {
        Seconds(5)
    }

    fn speaks_intake(&self) -> bool {
        true
    }

    fn parse(&self, message: &Authenticated<'_>) -> Result<Content, Reject> {
        let records = json::some_records(body::value(message)?)?;
        // Only the URL names the source: `Source` in a record is the caller's number.
        let (name, source) = message.source(None, None)?;
        Ok(body::each(message, records, |record| read(record, &name, source)))
    }
}

fn read(record: Value, source_name: &Name, source: &Source) -> Result<ParsedRecord, Reject> {
    let mut fields = Fields::of(named_as_variables(record))?;
    if fields.text("event")?.is_some_and(|event| !event.eq_ignore_ascii_case("cdr")) {
        return Err(Reject::malformed("Event", "is not Cdr: no other event covers a whole call"));
    }
    let linked = fields.id("linkedid")?;
    let unique = fields.id("uniqueid")?;
    let Some(call_id) = linked.as_ref().or(unique.as_ref()) else {
        let is_intakes = fields.text("externalcallid")?.is_some();
        return Err(if is_intakes {
            let hint = "belongs to the generic intake, POST /api/crm/intake/calls";
            Reject::malformed("externalCallId", hint)
        } else {
            Reject::malformed("uniqueid", "is required, or linkedid")
        });
    };
    let provider = Name::new("provider", Asterisk.name())?;
    let key = CallKey::new(provider, source_name.clone(), call_id)?;

    let sequence = fields.optional("sequence").and_then(|text| text.parse::<u64>().ok());
    let mut facts = facts(&mut fields, source);
    let started = facts.started_at.and_then(|at| u64::try_from(at.as_second()).ok());
    let order = cdr::leg_order(sequence.or(started).unwrap_or_default(), facts.disposition);

    for name in DROPPED {
        let _ = fields.text_up_to(usize::MAX, name);
    }
    facts.extra = fields.rest(MOST_EXTRA).collect();
    if let Some(unique) = unique.filter(|unique| Some(unique) != linked.as_ref())
        && linked.is_some()
    {
        facts.extra.insert("uniqueid".to_owned(), Personal::new(unique));
    }
    Ok(ParsedRecord::new(key, "cdr", order, facts))
}

/// A record with its fields under the names that the CDR variables have. Where a record says one
/// under two names, the first that is not blank counts.
fn named_as_variables(record: Value) -> Value {
    let Value::Object(fields) = record else { return record };
    let mut named = Map::new();
    for (name, value) in fields {
        let lower = name.trim().to_ascii_lowercase();
        let alias = ALIASES.iter().find(|(theirs, _)| *theirs == lower);
        let name = alias.map_or(lower, |(_, ours)| (*ours).to_owned());
        let is_blank = |value: &Value| value.is_null() || value.as_str() == Some("");
        if named.get(&name).is_none_or(is_blank) {
            named.insert(name, value);
        }
    }
    Value::Object(named)
}

fn facts(fields: &mut Fields, source: &Source) -> Facts {
    let mut facts = Facts { state: Some(State::Ended), ..Facts::default() };
    let zone = source.zone();
    let zone = zone.as_ref();
    facts.started_at = cdr::moment(fields, "start", zone, &mut facts);
    // Unanswered it is blank, `0.000000`, or 1970 in some databases: then it says nothing.
    facts.answered_at = cdr::moment_if_any(fields, "answer", zone, &mut facts);
    facts.ended_at = cdr::moment(fields, "end", zone, &mut facts);
    facts.total = cdr::lasted(fields, "duration");
    facts.talk = cdr::lasted(fields, "billsec");
    facts.disposition = fields.optional("disposition").and_then(|text| cdr::disposition(&text));
    facts.cause = fields.optional("hangupcause").and_then(|text| q850(&text));
    cdr::keep_recording(&mut facts, fields.optional("recordingfile"));
    let mut dstchannel = fields.optional("dstchannel");
    if let Some(dialled) = dialled(fields) {
        facts.disposition = Some(Disposition::Answered);
        facts.talk = facts.talk.max(dialled.talk);
        dstchannel = dialled.channel.or(dstchannel);
    }

    let (name, number) = cdr::caller_id(&fields.optional("clid").unwrap_or_default());
    Sides {
        src: fields.optional("src").or(number),
        name,
        dst: fields.optional("dst"),
        // Both stay among the fields, to be kept.
        dcontext: fields.peek("dcontext"),
        lastapp: fields.peek("lastapp"),
        channel: fields.optional("channel"),
        dstchannel,
    }
    .tell(&mut facts);
    facts
}

/// What `Dial()` leaves in its channel's variables.
struct Dialled {
    talk: Option<Seconds>,
    channel: Option<String>,
}

/// The party that answered, if `Dial()` reports one. Of several phones that rang at once, the
/// dialplan's `CDR()` shows the record of the last alone, whichever of them was answered.
fn dialled(fields: &mut Fields) -> Option<Dialled> {
    let status = fields.optional("dialstatus");
    let talk = cdr::lasted(fields, "answeredtime");
    let channel = fields.optional("dialedpeername");
    let picked_up = status.as_deref().and_then(cdr::disposition) == Some(Disposition::Answered);
    picked_up.then_some(Dialled { talk, channel })
}

/// A hang-up cause by its number in Q.850. Asterisk's 0 is "unknown".
fn q850(text: &str) -> Option<String> {
    let number: u8 = text.parse().ok()?;
    (1..=127).contains(&number).then(|| format!("Q.850 {number}"))
}
