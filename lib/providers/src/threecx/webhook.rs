//! 3CX: the call journaling of its CRM templates, and the two bodies that people post by hand.
//!
//! 3CX tells of a call once, when it is over, in the variables of a template ("CRM Template XML
//! Description", Call Journaling), and gives it no id: `[CallID]` is no variable and is left
//! empty. So a call's key is made of what every message about it says: when it began, whose
//! phone it was, with whom, and which way. See [`start`] for what that means for its times.

#[cfg(test)]
mod tests;

use jiff::Timestamp;
use serde_json::{Value, json};
use switchboard_domain::{
    CallKey, ConfigError, Digest, Direction, Disposition, Facts, Name, Order, Party, Personal,
    Seconds, State, Text,
};

use super::settings::Settings;
use super::start::{self, Clock, Moment, ReadTime};
use super::variables::Variables;
use crate::body::{self, ParsedRecord};
use crate::cdr::{self, MOST_EXTRA};
use crate::json;
use crate::provider::{Authenticated, Content, Provider, Route};
use crate::reject::Reject;
use crate::request::Request;
use crate::settings::ProviderSettings;
use crate::source::Source;

const CALL_EVENT: &str = "/webhook/3cx/call-event";
const TEST: &str = "/webhook/3cx/test";
const HEALTH: &str = "/webhook/3cx/health";

/// How far a start that was worked out may be from one that was stated, seconds, where the source
/// does not say: two roundings, and a clock read twice.
const TOLERANCE: u32 = 3;
/// So many keys are looked up at once: as many as fit into one request to the table.
const MOST_KEYS: usize = 99;
/// So many digits of a number tell callers apart, however its prefix is written: `+4122…`,
/// `0041…` and `022…` end the same.
const TELLING_DIGITS: usize = 8;
/// How long a summary may be, bytes. A transcript may be of any length.
const LONG: usize = 16 * 1024;

/// 3CX.
pub struct ThreeCx;

impl Provider for ThreeCx {
    fn name(&self) -> &'static str {
        "threecx"
    }

    fn routes(&self) -> &'static [Route] {
        &[("POST", CALL_EVENT), ("POST", TEST), ("GET", HEALTH)]
    }

    fn settle(&self) -> Seconds {
        Seconds(2)
    }

    fn settings(&self, json: &str) -> Result<ProviderSettings, ConfigError> {
        ProviderSettings::read::<Settings>(json)
    }

    fn public(&self, request: &Request) -> Option<Value> {
        let is_health = request.method == "GET" && request.path.ends_with(HEALTH);
        is_health.then(|| json!({"status": "ok"}))
    }

    fn parse(&self, message: &Authenticated<'_>) -> Result<Content, Reject> {
        if message.request().path.ends_with(TEST) {
            let (source, _) = message.source(None, None)?;
            let said = "the secret is valid; nothing was stored";
            return Ok(Content::Other(json!({"test": true, "source": source, "message": said})));
        }
        let records = json::some_records(body::value(message)?)?;
        Ok(body::each(message, records, |record| read(message, record)))
    }
}

/// What 3CX calls the type of a call: which way it went, and whether anybody picked up.
#[derive(Clone, Copy)]
struct CallType {
    direction: Direction,
    is_answered: bool,
}

impl CallType {
    fn read(text: &str) -> Option<Self> {
        let of = |direction, is_answered| Some(Self { direction, is_answered });
        match text.to_ascii_lowercase().as_str() {
            "inbound" => of(Direction::Inbound, true),
            "outbound" => of(Direction::Outbound, true),
            "missed" => of(Direction::Inbound, false),
            "notanswered" => of(Direction::Outbound, false),
            _ => None,
        }
    }
}

fn read(message: &Authenticated<'_>, record: Value) -> Result<ParsedRecord, Reject> {
    let mut variables = Variables::of(record)?;
    let (name, source) = message.source(variables.text(&["source"]).as_deref(), None)?;
    let moments = Moments::read(&mut variables, source);
    let facts = facts(&mut variables, &moments);
    let is_end = facts.state == Some(State::Ended);

    // Without a duration the end has to do, but only where there is nothing else.
    let lasted = facts.total.or(facts.talk).unwrap_or_default();
    let is_usable = lasted > Seconds(0) || moments.starts.is_empty();
    let worked_out = moments.end.filter(|_| is_usable).map(|end| end.worked_out(lasted));
    let Some(start) = start::best(moments.starts.into_iter().chain(worked_out)) else {
        let problem = "is not there or not readable, and there is no end to work it out from";
        return Err(Reject::malformed("startTime", problem));
    };

    let key_at = |at| key(&name, at, &facts);
    // An end that states its start to the second is stored under that, for one request.
    let is_sure = is_end && start.is_stated && !start.is_whole_minute;
    let tolerance =
        source.own::<Settings>().and_then(|own| own.start_tolerance_seconds).unwrap_or(TOLERANCE);
    let others = if is_sure { Vec::new() } else { start.others(tolerance, MOST_KEYS - 1) };
    let near = others.into_iter().map(key_at).collect::<Result<_, _>>()?;
    let key = key_at(start.at)?;

    let mut facts = facts;
    if start.is_stated {
        facts.started_at = Some(start.at);
        facts.flags.extend(start.flag);
    }
    if let Some(end) = moments.end {
        facts.ended_at = Some(end.at);
        facts.flags.extend(end.flag);
    }
    facts.extra = variables.rest(MOST_EXTRA);
    let order = Order::At(facts.ended_at.unwrap_or(start.at));
    let kind = if is_end { "released" } else { "established" };
    Ok(ParsedRecord { key, near, kind: kind.to_owned(), order, facts })
}

/// The key of a call that began at `start`.
fn key(source: &Name, start: Timestamp, facts: &Facts) -> Result<CallKey, Reject> {
    let text = |party: &Option<Party>| {
        party.as_ref().map(|party| party.raw.expose().to_owned()).unwrap_or_default()
    };
    let digits: Vec<u8> =
        text(&facts.contact).into_bytes().into_iter().filter(u8::is_ascii_digit).collect();
    let telling = digits.get(digits.len().saturating_sub(TELLING_DIGITS)..).unwrap_or_default();
    let direction = match facts.direction {
        Some(Direction::Inbound) => "inbound",
        Some(Direction::Outbound) => "outbound",
        Some(Direction::Internal) | None => "",
    };
    let id = Digest::of(&[
        start.as_second().to_string().as_bytes(),
        text(&facts.employee).as_bytes(),
        telling,
        direction.as_bytes(),
    ]);
    let provider = Name::new("provider", ThreeCx.name())?;
    Ok(CallKey::new(provider, source.clone(), id.as_str())?)
}

/// What a record says about its times.
struct Moments {
    /// Every start that it states, the most trustworthy first.
    starts: Vec<Moment>,
    answered: Option<Moment>,
    end: Option<Moment>,
    /// Whether it has one, readable or not. A call that lasts has none, or the year 1.
    has_end: bool,
}

impl Moments {
    fn read(variables: &mut Variables, source: &Source) -> Self {
        let zone = source.zone();
        let date_order = source.own::<Settings>().and_then(|own| own.date_order);
        let mut take = |clock: Clock, names: &[&str]| {
            let text = variables.text(names)?;
            Some(start::read(&text, clock, zone.as_ref(), date_order))
        };
        let starts = [
            take(Clock::Utc, &["callstarttimeutc", "starttimeutc", "startutc"]),
            take(Clock::Utc, &["starttime"]),
            take(Clock::Local, &["callstarttimelocal"]),
            take(Clock::Local, &["datetime"]),
        ];
        let answered = take(Clock::Utc, &["callestablishedtimeutc"]);
        let ends = [
            take(Clock::Utc, &["callendtimeutc", "endtimeutc", "endutc"]),
            take(Clock::Utc, &["endtime"]),
            take(Clock::Local, &["callendtimelocal"]),
        ];
        let ever = |read: Option<ReadTime>| read.and_then(ReadTime::moment);
        Self {
            starts: starts.into_iter().filter_map(ever).collect(),
            answered: ever(answered),
            end: start::best(ends.into_iter().filter_map(ever)),
            has_end: ends.into_iter().flatten().any(|end| end != ReadTime::Never),
        }
    }
}

/// What a record says about its call, but for the start and the end.
fn facts(variables: &mut Variables, moments: &Moments) -> Facts {
    let call_type = variables.text(&["calltype"]).as_deref().and_then(CallType::read);
    let direction = variables.text(&["direction", "calldirection"]);
    let direction = direction.as_deref().and_then(CallType::read).map(|read| read.direction);
    let direction = call_type.map(|call_type| call_type.direction).or(direction);
    let duration = variables.all(&["durationseconds", "duration", "durationtimespan"]);
    let duration = duration.iter().find_map(|text| cdr::duration(text));
    let cause = variables.text(&["reasonterminated"]);

    let is_end = call_type.is_some() || duration.is_some() || moments.has_end || cause.is_some();
    let (disposition, talk) = match (call_type, duration) {
        (Some(CallType { is_answered: false, .. }), _) => {
            (Some(Disposition::NoAnswer), Some(Seconds(0)))
        }
        (Some(CallType { is_answered: true, .. }), _) => (Some(Disposition::Answered), duration),
        (None, Some(Seconds(1..))) => (Some(Disposition::Answered), duration),
        (None, _) => (None, duration),
    };
    let is_unanswered = disposition == Some(Disposition::NoAnswer);
    // What an unanswered call lasted, it rang.
    let total = duration.filter(|rang| is_unanswered && *rang > Seconds(0));
    let answered_at = moments.answered.filter(|_| !is_unanswered).map(|moment| moment.at);

    let mut party = |names: &[&str]| variables.text(names).as_deref().and_then(Party::read);
    let (from, to) = (party(&["caller"]), party(&["callee"]));
    let employee = party(&["agentext", "agent", "extension", "agentextension"])
        .or_else(|| party(&["partynumber"]));
    let contact = party(&["number", "otherpartynumber"])
        .or_else(|| other_side(direction, employee.as_ref(), from.as_ref(), to.as_ref()));

    let transcript = variables.text_up_to(usize::MAX, &["transcription", "transcript"]);
    let summary = variables.text_up_to(LONG, &["summary"]);
    let recording = variables.text(&["recordingurl", "wav"]);
    let recordings =
        recording.map(|place| ("recording".to_owned(), cdr::recording(&place))).into_iter();
    Facts {
        state: Some(if is_end { State::Ended } else { State::InProgress }),
        disposition,
        direction,
        from,
        to,
        contact,
        employee,
        contact_name: variables.text(&["name", "contactname"]).map(Personal::new),
        answered_at,
        talk,
        total,
        recordings: recordings.collect(),
        summary: summary.map(Personal::new),
        transcript: transcript.map(|text| Text::Inline(Personal::new(text))),
        cause,
        ..Facts::default()
    }
}

/// The end of a call that is not ours: by its direction, or as the one that is not the agent's.
fn other_side(
    direction: Option<Direction>,
    agent: Option<&Party>,
    caller: Option<&Party>,
    callee: Option<&Party>,
) -> Option<Party> {
    match direction {
        Some(Direction::Inbound) => caller.cloned(),
        Some(Direction::Outbound) => callee.cloned(),
        Some(Direction::Internal) => None,
        None if agent.is_some() && agent == callee => caller.cloned(),
        None if agent.is_some() && agent == caller => callee.cloned(),
        None => None,
    }
}
