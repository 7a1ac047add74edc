//! ElevenLabs Agents: what a conversation says about the call it was held on.
//!
//! The post-call webhook comes once for a whole workspace, from no particular phone number: it is
//! joined to the phone call by Twilio's call SID, or is a call of its own. Messages and fields:
//! ElevenLabs' "Post-call webhooks" page.

use jiff::Timestamp;
use serde_json::{Value, json};
use switchboard_domain::{
    CallKey, ConfigError, Direction, Disposition, Facts, Name, Order, Party, Seconds, State,
};

use super::settings::{Settings, agents};
use super::{conversation, signature};
use crate::body::{self, ParsedRecord};
use crate::ids;
use crate::json::{self, present};
use crate::provider::{Authenticated, Content, Provider, Route};
use crate::reject::{Refusal, Reject};
use crate::request::Request;
use crate::settings::ProviderSettings;
use crate::source::{Credential, Source};
use crate::twilio::webhook::{Twilio, callback, from_json};

/// Says in [`Settings::calls`] that conversations are calls of their own.
const ON_NO_CALL: &str = "none";

/// ElevenLabs Agents.
pub struct ElevenLabs;

impl Provider for ElevenLabs {
    fn name(&self) -> &'static str {
        "elevenlabs"
    }

    fn routes(&self) -> &'static [Route] {
        &[("POST", "/webhooks/elevenlabs")]
    }

    fn is_signed(&self) -> bool {
        true
    }

    fn settings(&self, json: &str) -> Result<ProviderSettings, ConfigError> {
        ProviderSettings::read::<Settings>(json)
    }

    fn secret_header(&self) -> &'static str {
        "ElevenLabs-Signature"
    }

    fn authenticate(
        &self,
        request: &Request,
        _source: &Source,
        credential: &Credential,
    ) -> Result<(), Refusal> {
        let header = request.get_header("elevenlabs-signature").unwrap_or_default();
        let body = request.signed_bytes();
        signature::check(header, body, &credential.secret, request.received_at)
    }

    fn parse(&self, message: &Authenticated<'_>) -> Result<Content, Reject> {
        let value = body::value(message)?;
        let kind = value.get("type").and_then(Value::as_str);
        let kind = kind.ok_or_else(|| Reject::malformed("type", "is required"))?;
        let data = value.get("data").unwrap_or(&Value::Null);
        let (name, source) = message.source(None, None)?;
        let agent = data.get("agent_id").and_then(Value::as_str).unwrap_or_default();
        let ours = agents(source);
        if !ours.is_empty() && !ours.iter().any(|own| own == agent) {
            return Ok(ignored("another agent's"));
        }
        let read = |name, source| match kind {
            "post_call_transcription" => held(message, data, name, source),
            _ => failed(&value, data, name, source),
        };
        match kind {
            "post_call_transcription" | "call_initiation_failure" => {
                // The whole body is one record; what is read out of it is its `data`.
                Ok(body::each(message, vec![Value::Null], |_| read(&name, source)))
            }
            "post_call_audio" => Ok(ignored("audio, which is not stored")),
            _ => Ok(ignored("of a type that is about no call")),
        }
    }
}

/// Answered like any other, because anything but 200 counts as a failure.
fn ignored(what: &str) -> Content {
    Content::Other(json!({ "ignored": what }))
}

/// A conversation that was held.
fn held(
    message: &Authenticated<'_>,
    data: &Value,
    name: &Name,
    source: &Source,
) -> Result<ParsedRecord, Reject> {
    let read = conversation::read(data, message.request().received_at, b"")?;
    let (key, facts) = match on_call(source, read.call_sid.as_deref())? {
        Some(key) => (key, read.update.facts),
        None => (own_key(name, &read.id)?, read.alone),
    };
    let order = message.request().order(read.update.order);
    Ok(ParsedRecord::new(key, "post_call_transcription", order, facts))
}

/// A call that did not come about. Twilio's own words for it stand inside; of a SIP call there are
/// ElevenLabs' words alone.
fn failed(
    value: &Value,
    data: &Value,
    name: &Name,
    source: &Source,
) -> Result<ParsedRecord, Reject> {
    let text = |path: &str| match data.pointer(path)? {
        Value::String(text) => {
            let text = present(text)?;
            (text.len() <= json::SHORT).then(|| text.to_owned())
        }
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    let id = conversation::id(data, "data.conversation_id")?;
    let stated_at = timestamp(value.get("event_timestamp"));

    let body = data.pointer("/metadata/body").and_then(Value::as_object);
    let (sid, mut order, mut facts) = match body {
        Some(body) => {
            let parameters = from_json(body.clone());
            let sid = parameters.get("CallSid").filter(|sid| ids::id(sid).is_some()).cloned();
            let (order, facts) = callback(parameters);
            (sid, order, facts)
        }
        None => {
            let party = |path| text(path).as_deref().and_then(Party::read);
            let code = text("/metadata/sip_status_code").map(|code| format!("SIP {code}"));
            let facts = Facts {
                direction: Some(Direction::Outbound),
                from: party("/metadata/from_number"),
                to: party("/metadata/to_number"),
                cause: code.or_else(|| text("/metadata/error_reason")),
                ended_at: stated_at,
                ..Facts::default()
            };
            (None, Order::Unordered, facts)
        }
    };
    if order == Order::Unordered {
        order = stated_at.map_or(Order::Unordered, Order::At);
    }
    facts.state = Some(State::Ended);
    facts.disposition = facts.disposition.or(match text("/failure_reason").as_deref() {
        Some("busy") => Some(Disposition::Busy),
        Some("no-answer") => Some(Disposition::NoAnswer),
        _ => Some(Disposition::Failed),
    });
    facts.talk = facts.talk.or(Some(Seconds(0)));
    facts.conversation = Some(id.clone());
    let key = match on_call(source, sid.as_deref())? {
        Some(key) => key,
        None => own_key(name, &id)?,
    };
    Ok(ParsedRecord::new(key, "call_initiation_failure", order, facts))
}

/// The Twilio call that a conversation was held on, if the source joins them.
fn on_call(source: &Source, sid: Option<&str>) -> Result<Option<CallKey>, Reject> {
    let own = source.own::<Settings>().and_then(|own| own.calls.as_ref());
    let calls = own.map_or(Twilio.name(), Name::as_str);
    let Some(sid) = sid.filter(|_| calls != ON_NO_CALL) else { return Ok(None) };
    let provider = Name::new("provider", Twilio.name())?;
    Ok(Some(CallKey::new(provider, Name::new("calls", calls)?, sid)?))
}

fn own_key(name: &Name, id: &str) -> Result<CallKey, Reject> {
    let provider = Name::new("provider", ElevenLabs.name())?;
    Ok(CallKey::new(provider, name.clone(), id)?)
}

/// Unix seconds, as a number or, as another page has it, as text.
fn timestamp(value: Option<&Value>) -> Option<Timestamp> {
    let seconds = match value? {
        Value::Number(number) => number.as_f64()? as i64,
        Value::String(text) => text.trim().parse().ok()?,
        _ => return None,
    };
    Timestamp::from_second(seconds).ok()
}
