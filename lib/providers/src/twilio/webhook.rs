//! Twilio voice: status, answering-machine and recording callbacks, in any order.
//!
//! Twilio sends each of them to its own path, but what a message says is read from its fields, so
//! one path for all works too. Fields and their traps: Twilio's "Call resource", "Answering Machine
//! Detection" and "Recording status callback" pages.

use std::borrow::Cow;
use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::fmt::rfc2822;
use serde_json::{Map, Value};
use switchboard_domain::{
    AnsweredBy, ConfigError, Direction, Disposition, Facts, Order, Party, Personal, Seconds, State,
    Update,
};

use super::settings::Settings;
use super::signature;
use crate::body;
use crate::cdr;
use crate::provider::{Authenticated, Content, Provider, Record, Route, Unread};
use crate::reject::{Refusal, Reject};
use crate::request::{Form, Request};
use crate::settings::ProviderSettings;
use crate::source::{Credential, Source};
use crate::{ids, json};

/// The parameters of a callback's URL that say what the call is about; most have a long name and a
/// short one.
const CAMPAIGN: &str = "campaign";
const CONTACT: (&str, &str) = ("contact_id", "contact");
const LEAD: (&str, &str) = ("lead_id", "lead");
const CONVERSATION: (&str, &str) = ("conversation_id", "conversation");
const NAME: (&str, &str) = ("contact_name", "name");
/// The customer, of a call that rings an agent first.
const CONTACT_NUMBER: &str = "contact_number";

/// Twilio voice.
pub struct Twilio;

impl Provider for Twilio {
    fn name(&self) -> &'static str {
        "twilio"
    }

    fn routes(&self) -> &'static [Route] {
        &[
            ("POST", "/call-status-callback"),
            ("POST", "/amd-status-callback"),
            ("POST", "/recording-status-callback"),
        ]
    }

    fn is_signed(&self) -> bool {
        true
    }

    /// Answering-machine results and recordings come within seconds of `completed`.
    fn settle(&self) -> Seconds {
        Seconds(3)
    }

    fn settings(&self, json: &str) -> Result<ProviderSettings, ConfigError> {
        ProviderSettings::read::<Settings>(json)
    }

    fn check(&self, source: &Source) -> Result<(), ConfigError> {
        if source.public_url.is_none() {
            return Err(ConfigError::new("public_url", "is required: Twilio signs the URL"));
        }
        Ok(())
    }

    fn secret_header(&self) -> &'static str {
        "X-Twilio-Signature"
    }

    fn authenticate(
        &self,
        request: &Request,
        source: &Source,
        credential: &Credential,
    ) -> Result<(), Refusal> {
        let sent = request.get_header("x-twilio-signature").unwrap_or_default();
        let base = source.public_url.as_deref().ok_or(Refusal::NoSecret)?;
        let url = format!("{base}{}", request.target());

        // A form is signed parameter by parameter; any other body through its hash in the query.
        let (parameters, hash_holds) = if request.is_form() {
            (signature::parameters(request.signed_form()), true)
        } else {
            let body = request.signed_bytes();
            let hash = request.query_parameter("bodySHA256");
            let holds = match hash {
                Some(hash) => signature::is_body_hash(&hash, body),
                None => body.is_empty(),
            };
            (signature::Parameters::new(), holds)
        };
        let valid = signature::is_valid(&url, &parameters, &credential.secret, sent);
        match (valid, hash_holds) {
            (true, true) => Ok(()),
            (true, false) => Err(Refusal::BodyHash),
            (false, _) => Err(Refusal::Mismatch),
        }
    }

    fn parse(&self, message: &Authenticated<'_>) -> Result<Content, Reject> {
        let mut parameters = Fields::new();
        if message.request().is_form() {
            parameters = first_values(message.form());
        }
        if !parameters.contains_key("CallSid") {
            let Value::Object(fields) = body::value(message)? else {
                return Err(Reject::malformed("body", "is neither a form nor a JSON object"));
            };
            parameters = from_json(fields);
        }
        Ok(Content::Calls(vec![
            read(message, Parameters(parameters))
                .map_err(|why| Unread { why, raw: message.body().to_vec() }),
        ]))
    }
}

/// The parameters of one callback, by name.
pub(crate) type Fields<'a> = BTreeMap<Cow<'a, str>, Cow<'a, str>>;

/// Parameters of which each is taken once; what is left has no place in a call.
struct Parameters<'a>(Fields<'a>);

impl Parameters<'_> {
    fn take(&mut self, name: &str) -> Option<String> {
        let value = self.0.remove(name)?;
        known(&value).map(str::to_owned)
    }

    fn id(&mut self, name: &str) -> Option<String> {
        self.take(name).filter(|text| ids::id(text).is_some())
    }

    fn either(&mut self, (long, short): (&str, &str)) -> Option<String> {
        self.take(long).or_else(|| self.take(short))
    }

    fn either_id(&mut self, (long, short): (&str, &str)) -> Option<String> {
        self.id(long).or_else(|| self.id(short))
    }

    fn seconds(&mut self, name: &str) -> Option<Seconds> {
        self.take(name).as_deref().and_then(json::seconds)
    }
}

/// A value with something in it, and short enough for the call's item.
fn known(value: &str) -> Option<&str> {
    let value = value.trim();
    (1..=json::SHORT).contains(&value.len()).then_some(value)
}

fn first_values(form: &Form) -> Fields<'_> {
    let mut fields = Fields::new();
    for (name, value) in form {
        fields.entry(name.into()).or_insert_with(|| value.into());
    }
    fields
}

/// The parameters of a callback that comes as JSON, or inside another's message.
pub(crate) fn from_json(fields: Map<String, Value>) -> Fields<'static> {
    let text = |value| match value {
        Value::String(text) => text,
        Value::Null => String::new(),
        other => other.to_string(),
    };
    fields.into_iter().map(|(name, value)| (name.into(), text(value).into())).collect()
}

/// What the parameters of a callback say, and where Twilio puts it among the call's others.
pub(crate) fn callback(parameters: Fields<'_>) -> (Order, Facts) {
    let mut parameters = Parameters(parameters);
    for ours in ["CallSid", "AccountSid"] {
        parameters.take(ours);
    }
    let at = parameters.take("Timestamp").as_deref().and_then(timestamp);
    let order = match (parameters.seconds("SequenceNumber"), at) {
        (Some(sequence), _) => Order::Sequence(sequence.0.into()),
        (None, Some(at)) => Order::At(at),
        (None, None) => Order::Unordered,
    };
    (order, facts(parameters, at))
}

fn read(message: &Authenticated<'_>, mut parameters: Parameters<'_>) -> Result<Record, Reject> {
    let request = message.request();
    let missing = || Reject::malformed("CallSid", "is required");
    let call_id = parameters.id("CallSid").ok_or_else(missing)?;
    let account = parameters.take("AccountSid");
    let (key, _) = message.call(None, account.as_deref(), &call_id)?;

    let kind = match request.path.rsplit('/').next() {
        Some("amd-status-callback") => "amd",
        Some("recording-status-callback") => "recording",
        _ => "status",
    };
    let (order, mut facts) = callback(parameters.0);
    // The application that places a call may put its context into the callback URL, which Twilio signs.
    let mut query = Parameters(request.query_parameters());
    facts.campaign = query.take(CAMPAIGN);
    facts.contact_id = query.either_id(CONTACT);
    facts.lead_id = query.either_id(LEAD);
    facts.conversation = query.either_id(CONVERSATION);
    if let Some(name) = query.either(NAME) {
        facts.contact_name = Some(Personal::new(name));
    }
    // A call that we placed rings the agent first: then that is who `To` is.
    if let Some(contact) = query.take(CONTACT_NUMBER).as_deref().and_then(Party::read) {
        facts.employee = facts.to.clone();
        facts.contact = Some(contact);
    }
    let raw = message.body().to_vec();
    let order = request.order(order);
    let update = Update::new(kind, order, request.received_at, facts, raw);
    Ok(Record { key, near: Vec::new(), update: update.sent_to(&request.target()) })
}

fn facts(mut parameters: Parameters<'_>, at: Option<Timestamp>) -> Facts {
    let mut facts = Facts::default();
    (facts.state, facts.disposition) = status(parameters.0.get("CallStatus").map(AsRef::as_ref));
    if facts.state.is_some() {
        parameters.take("CallStatus");
    }
    match facts.state {
        Some(State::Queued | State::Ringing) => facts.started_at = at,
        Some(State::InProgress) => facts.answered_at = at,
        Some(State::Ended) => facts.ended_at = at,
        None => {}
    }
    // Of the list of calls alone: a callback tells each time in a message of its own.
    let start = parameters.take("StartTime").as_deref().and_then(timestamp);
    facts.started_at = facts.started_at.or(start);
    facts.answered_by = parameters.take("AnsweredBy").map(|by| match by.as_str() {
        "human" => AnsweredBy::Human,
        "fax" => AnsweredBy::Fax,
        by if by.starts_with("machine_") => AnsweredBy::Machine,
        _ => AnsweredBy::Unknown,
    });
    // `trunking-originating` is a call that Twilio brings to us, `-terminating` one that we make.
    facts.direction = parameters.take("Direction").and_then(|direction| match direction.as_str() {
        "inbound" | "trunking-originating" => Some(Direction::Inbound),
        "outbound-api" | "outbound-dial" | "trunking-terminating" => Some(Direction::Outbound),
        _ => None,
    });
    let (caller, called) = (parameters.take("Caller"), parameters.take("Called"));
    facts.from = parameters.take("From").or(caller).as_deref().and_then(Party::read);
    facts.to = parameters.take("To").or(called).as_deref().and_then(Party::read);
    if facts.direction == Some(Direction::Inbound) {
        facts.contact_name = parameters.take("CallerName").map(Personal::new);
    }
    facts.talk = parameters.seconds("CallDuration");
    // `Duration` counts begun minutes, for billing.
    facts.billed =
        parameters.seconds("Duration").map(|minutes| Seconds(minutes.0.saturating_mul(60)));
    facts.parent = parameters.id("ParentCallSid");
    facts.cause = parameters.take("SipResponseCode").map(|code| format!("SIP {code}"));
    if let Some(id) = parameters.take("RecordingSid") {
        let url = parameters.take("RecordingUrl").unwrap_or_default();
        let mut recording = cdr::recording(&url);
        if url.is_empty() {
            recording.path = None;
        }
        recording.duration = parameters.seconds("RecordingDuration");
        recording.status = parameters.take("RecordingStatus");
        facts.recordings.insert(id, recording);
    }
    facts.extra = extra(parameters);
    facts
}

fn status(status: Option<&str>) -> (Option<State>, Option<Disposition>) {
    let ended = |disposition| (Some(State::Ended), Some(disposition));
    match status.map(str::trim) {
        Some("queued" | "initiated") => (Some(State::Queued), None),
        Some("ringing") => (Some(State::Ringing), None),
        Some("in-progress") => (Some(State::InProgress), None),
        Some("completed") => ended(Disposition::Answered),
        Some("busy") => ended(Disposition::Busy),
        Some("failed") => ended(Disposition::Failed),
        Some("no-answer") => ended(Disposition::NoAnswer),
        Some("canceled") => ended(Disposition::Canceled),
        _ => (None, None),
    }
}

/// RFC 2822, and the `Etc/UTC` that Twilio-compatible senders write for the offset.
fn timestamp(text: &str) -> Option<Timestamp> {
    let text = text.trim().replace("Etc/UTC", "+0000");
    rfc2822::parse(&text).ok().map(|zoned| zoned.timestamp())
}

/// What says nothing about a call that is not said elsewhere: it stays in the body that is kept.
const NOT_KEPT: [&str; 9] = [
    "ApiVersion",
    "CallbackSource",
    "CallerName",
    "MachineDetectionDuration",
    "RecordingChannels",
    "RecordingSource",
    "RecordingStartTime",
    "RecordingTrack",
    "bodySHA256",
];

/// Fields that Twilio added since, which are kept because nothing may be lost that was not understood.
fn extra(parameters: Parameters<'_>) -> BTreeMap<String, Personal> {
    let is_place = |name: &str| {
        let sides = ["From", "To", "Caller", "Called"];
        let parts = ["City", "State", "Zip", "Country"];
        sides.iter().any(|side| name.strip_prefix(side).is_some_and(|part| parts.contains(&part)))
    };
    let ours = [CONTACT, LEAD, CONVERSATION, NAME, ("source", CAMPAIGN)];
    let is_ours = |name: &str| ours.iter().any(|(long, short)| name == *long || name == *short);
    let known = |name: &str| is_place(name) || NOT_KEPT.contains(&name) || is_ours(name);
    parameters
        .0
        .into_iter()
        .filter(|(name, value)| !known(name) && !value.trim().is_empty())
        .filter(|(name, value)| (1..=64).contains(&name.len()) && value.len() <= 512)
        .take(20)
        .map(|(name, value)| (name.into_owned(), Personal::new(value.into_owned())))
        .collect()
}
