//! A conversation, and the list of them: the model of `GET /v1/convai/conversations/{id}`, which is
//! also the `data` of the post-call webhook.
//!
//! Fields are added freely and may be null until the analysis is done, so all but the id may be
//! absent, of another type, or beside unknown ones.

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::Value;
use switchboard_domain::{
    Direction, Disposition, Facts, Order, Party, Personal, Recording, Seconds, State, Text, Update,
    copies,
};

use crate::provider::Provider as _;
use crate::reject::Reject;
use crate::twilio::Twilio;
use crate::{ids, json};

/// What data collection found is kept up to this many bytes an item.
const LONGEST_ITEM: usize = 512;
/// How long a summary is kept, bytes; what is longer is cut.
const LONGEST_SUMMARY: usize = 16 * 1024;
/// How long the id of a conversation may be, bytes: as that of a call.
const LONGEST_ID: usize = 256;
/// So many items of data collection are kept.
const MOST_ITEMS: usize = 15;

/// How far a conversation has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// Begun.
    Initiated,
    /// Being held.
    InProgress,
    /// Over, not analysed yet.
    Processing,
    /// Over and analysed.
    Done,
    /// It will never be analysed.
    Failed,
    /// A status that did not exist when this was written.
    #[serde(other)]
    Unknown,
}

impl Status {
    /// Whether nothing more will be known of the conversation.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Done | Self::Failed)
    }
}

/// A conversation, normalized.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conversation {
    /// Its id.
    pub id: String,
    /// How far it has come.
    pub status: Status,
    /// The agent that held it.
    pub agent: Option<String>,
    /// Twilio's id of the phone call that it was held on. A SIP call's id is none.
    pub call_sid: Option<String>,
    /// What it says about that call.
    pub update: Update,
    /// What it says where it is a call of its own: ends, times and outcome beside what was said.
    pub alone: Facts,
}

/// One item of the list of conversations. It has neither call ids nor numbers.
#[derive(Clone, Debug, Deserialize)]
pub struct Listed {
    /// Its id.
    pub conversation_id: String,
    /// How far it has come.
    pub status: Status,
}

/// A page of the list of conversations.
#[derive(Clone, Debug, Deserialize)]
pub struct Page {
    /// The conversations.
    pub conversations: Vec<Listed>,
    /// Where the next page begins.
    #[serde(default)]
    pub next_cursor: Option<String>,
    /// Whether there is one.
    #[serde(default)]
    pub has_more: bool,
}

/// Reads the answer to a request for one conversation.
pub fn conversation(body: &[u8], received_at: Timestamp) -> Result<Conversation, Reject> {
    read(&json::parse(body)?, received_at, body)
}

/// Reads a page of the list of conversations.
pub fn page(body: &[u8]) -> Result<Page, Reject> {
    serde_json::from_value(json::parse(body)?)
        .map_err(|_| Reject::malformed("conversations", "is not of the shape of ElevenLabs' list"))
}

/// Reads a conversation out of the body that holds it.
pub(super) fn read(
    data: &Value,
    received_at: Timestamp,
    body: &[u8],
) -> Result<Conversation, Reject> {
    let id = id(data, "conversation_id")?;
    let status = data.get("status").cloned().unwrap_or_default();
    let status = serde_json::from_value(status).unwrap_or(Status::Unknown);
    let facts = said(data, &id);
    let alone = alone(data, status, &facts);
    let order = alone.ended_at.map_or(Order::Unordered, Order::At);
    Ok(Conversation {
        status,
        agent: text(data, "/agent_id"),
        call_sid: call_sid(data),
        update: Update::new("conversation", order, received_at, facts, body.to_vec()),
        alone,
        id,
    })
}

/// Twilio's id of the call: of the phone call itself, else from the variables that the agent was
/// given. A phone call over SIP or Exotel has ids of another kind.
fn call_sid(data: &Value) -> Option<String> {
    if text(data, "/metadata/phone_call/type").is_some_and(|system| system != Twilio.name()) {
        return None;
    }
    let names = ["system__call_sid", "twilio_call_sid", "call_sid", "callSid", "CallSid"];
    let is_id = |sid: &String| ids::id(sid).is_some();
    let own = text(data, "/metadata/phone_call/call_sid").filter(is_id);
    own.or_else(|| variable(data, &names).filter(is_id))
}

/// What was said, and what is known about whom it was said to.
fn said(data: &Value, id: &str) -> Facts {
    let mut facts = Facts {
        conversation: Some(id.to_owned()),
        summary: summary(data),
        transcript: transcript(data),
        campaign: variable(data, &["campaign", "campaign_name"]),
        contact_name: variable(data, &["contact_name", "customer_name", "name"]).map(Personal::new),
        ..Facts::default()
    };
    if data.get("has_audio").and_then(Value::as_bool) == Some(true) {
        let lasted = data.pointer("/metadata/call_duration_secs").and_then(Value::as_u64);
        let duration = lasted.and_then(|lasted| u32::try_from(lasted).ok()).map(Seconds);
        let recording = Recording { url: None, path: None, duration, status: None };
        facts.recordings.insert(copies::CONVERSATION.to_owned(), recording);
    }
    if let Some(value) = text(data, "/analysis/call_successful") {
        facts.extra.insert("call_successful".to_owned(), Personal::new(value));
    }
    let collected = data.pointer("/analysis/data_collection_results").and_then(Value::as_object);
    for (name, result) in collected.into_iter().flatten().take(MOST_ITEMS) {
        let value = match result.get("value") {
            Some(Value::String(text)) => text.clone(),
            None | Some(Value::Null) => continue,
            Some(other) => other.to_string(),
        };
        if name.len() <= 40 && value.len() <= LONGEST_ITEM {
            facts.extra.insert(format!("collected.{name}"), Personal::new(value));
        }
    }
    facts
}

/// The call that a conversation is by itself, where no telephone system will tell of it.
fn alone(data: &Value, status: Status, said: &Facts) -> Facts {
    let second = |path| data.pointer(path).and_then(Value::as_f64).map(|second| second as i64);
    let started_at =
        second("/metadata/start_time_unix_secs").and_then(|at| Timestamp::from_second(at).ok());
    let lasted = second("/metadata/call_duration_secs").filter(|lasted| *lasted >= 0);
    let ended_at = started_at
        .and_then(|start| start.checked_add(SignedDuration::from_secs(lasted.unwrap_or(0))).ok());
    let party = |path| text(data, path).as_deref().and_then(Party::read);
    let (agent, external) =
        (party("/metadata/phone_call/agent_number"), party("/metadata/phone_call/external_number"));
    let direction = match text(data, "/metadata/phone_call/direction").as_deref() {
        Some("inbound") => Some(Direction::Inbound),
        Some("outbound") => Some(Direction::Outbound),
        _ => None,
    };
    let (from, to) = match direction {
        Some(Direction::Inbound) => (external.clone(), agent),
        Some(_) => (agent, external.clone()),
        None => (None, None),
    };
    let is_over = matches!(status, Status::Done | Status::Failed | Status::Processing);
    Facts {
        state: Some(if is_over { State::Ended } else { State::InProgress }),
        disposition: match status {
            Status::Failed => Some(Disposition::Failed),
            _ if is_over => Some(Disposition::Answered),
            _ => None,
        },
        direction,
        from,
        to,
        contact: external,
        started_at,
        ended_at: ended_at.filter(|_| is_over),
        talk: lasted.and_then(|lasted| u32::try_from(lasted).ok()).map(Seconds),
        ..said.clone()
    }
}

/// The id of the conversation; `name` is what an error calls it.
pub(super) fn id(data: &Value, name: &str) -> Result<String, Reject> {
    let id = data.get("conversation_id").and_then(Value::as_str).and_then(ids::id);
    let id = id.ok_or_else(|| Reject::malformed(name, "is required"))?;
    if id.len() > LONGEST_ID {
        return Err(Reject::malformed(name, format!("is longer than {LONGEST_ID} bytes")));
    }
    Ok(id.to_owned())
}

fn summary(data: &Value) -> Option<Personal> {
    let text = data.pointer("/analysis/transcript_summary")?.as_str().and_then(json::present)?;
    text.get(..text.floor_char_boundary(LONGEST_SUMMARY)).map(Personal::new)
}

/// A text that is short enough for the call's item.
fn text(data: &Value, path: &str) -> Option<String> {
    let text = data.pointer(path).and_then(Value::as_str).and_then(json::present)?;
    (text.len() <= json::SHORT).then(|| text.to_owned())
}

fn variable(data: &Value, names: &[&str]) -> Option<String> {
    let variables = data.pointer("/conversation_initiation_client_data/dynamic_variables")?;
    names.iter().find_map(|name| text(variables.get(*name)?, ""))
}

/// The turns, each as one line with who spoke: what looks like the line of another speaker is
/// still what this one said.
fn transcript(data: &Value) -> Option<Text> {
    let turns = data.get("transcript")?.as_array()?;
    let spoken = |turn: &Value| {
        let message = turn.get("message")?.as_str()?.trim();
        let role = turn.get("role").and_then(Value::as_str).unwrap_or("unknown");
        let line = message.split(['\n', '\r']).map(str::trim).filter(|part| !part.is_empty());
        let line = line.collect::<Vec<_>>().join(" ");
        (!line.is_empty()).then(|| format!("{role}: {line}"))
    };
    let lines: Vec<String> = turns.iter().filter_map(spoken).collect();
    Personal::known(&lines.join("\n")).map(Text::Inline)
}
