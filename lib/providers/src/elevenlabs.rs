//! ElevenLabs Agents: what a conversation says about the call it was held on.
//!
//! The model of `GET /v1/convai/conversations/{id}`, which is also the `data` of the post-call
//! webhook. Fields are added freely, so unknown ones are passed over.

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::{Map, Value};
use switchboard_domain::{Facts, Order, Personal, Text, Update};

use crate::json;
use crate::reject::Reject;

/// The provider's name: whose sources hold the API key.
pub const NAME: &str = "elevenlabs";
/// Where the REST API is, unless the source says another residency's base.
pub const API_URL: &str = "https://api.elevenlabs.io";

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

/// A conversation, normalized.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conversation {
    /// Its id.
    pub id: String,
    /// How far it has come.
    pub status: Status,
    /// The id of the phone call that it was held on, as the telephone system knows it.
    pub call_sid: Option<String>,
    /// What it says about that call.
    pub update: Update,
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

#[derive(Deserialize)]
struct Model {
    conversation_id: String,
    status: Status,
    #[serde(default)]
    transcript: Vec<Turn>,
    #[serde(default)]
    metadata: Metadata,
    #[serde(default)]
    analysis: Option<Analysis>,
    #[serde(default)]
    conversation_initiation_client_data: Option<ClientData>,
}

#[derive(Deserialize)]
struct Turn {
    role: String,
    #[serde(default)]
    message: Option<String>,
}

#[derive(Default, Deserialize)]
struct Metadata {
    #[serde(default)]
    start_time_unix_secs: Option<i64>,
    #[serde(default)]
    call_duration_secs: Option<i64>,
    #[serde(default)]
    phone_call: Option<PhoneCall>,
}

#[derive(Deserialize)]
struct PhoneCall {
    #[serde(default)]
    call_sid: Option<String>,
}

#[derive(Deserialize)]
struct Analysis {
    #[serde(default)]
    transcript_summary: Option<String>,
    #[serde(default)]
    call_successful: Option<String>,
}

#[derive(Deserialize)]
struct ClientData {
    #[serde(default)]
    dynamic_variables: Map<String, Value>,
}

/// Reads a conversation.
pub fn conversation(body: &[u8], received_at: Timestamp) -> Result<Conversation, Reject> {
    let value = json::parse(body)?;
    let model: Model = serde_json::from_value(value).map_err(|_| {
        Reject::malformed("conversation", "is not of the shape of ElevenLabs' conversation model")
    })?;
    let variables = model.conversation_initiation_client_data.map(|data| data.dynamic_variables);
    let variable = |names: &[&str]| {
        let variables = variables.as_ref()?;
        let text = names.iter().find_map(|name| variables.get(*name)?.as_str())?;
        json::present(text).map(str::to_owned)
    };
    let call_sid = model
        .metadata
        .phone_call
        .and_then(|phone_call| phone_call.call_sid)
        .filter(|sid| !sid.trim().is_empty())
        .or_else(|| variable(&["system__call_sid"]));

    let analysis = model.analysis.as_ref();
    let summary = analysis.and_then(|analysis| analysis.transcript_summary.as_deref());
    let successful = analysis.and_then(|analysis| analysis.call_successful.clone());
    let facts = Facts {
        conversation: Some(model.conversation_id.clone()),
        summary: summary.and_then(Personal::known),
        transcript: transcript(&model.transcript),
        campaign: variable(&["campaign", "campaign_name"]),
        contact_name: variable(&["contact_name", "customer_name", "name"]).map(Personal::new),
        extra: successful
            .map(|value| ("call_successful".to_owned(), Personal::new(value)))
            .into_iter()
            .collect(),
        ..Facts::default()
    };
    let order = model.metadata.start_time_unix_secs.and_then(|start| {
        let lasted = model.metadata.call_duration_secs.unwrap_or(0);
        let start = Timestamp::from_second(start).ok()?;
        start.checked_add(SignedDuration::from_secs(lasted)).ok().map(Order::At)
    });
    Ok(Conversation {
        id: model.conversation_id,
        status: model.status,
        call_sid,
        update: Update::new(
            "conversation",
            order.unwrap_or_default(),
            received_at,
            facts,
            body.to_vec(),
        ),
    })
}

/// Reads a page of the list of conversations.
pub fn page(body: &[u8]) -> Result<Page, Reject> {
    serde_json::from_slice(body)
        .map_err(|_| Reject::malformed("conversations", "is not of the shape of ElevenLabs' list"))
}

/// The turns as lines, each with who spoke.
fn transcript(turns: &[Turn]) -> Option<Text> {
    let spoken = |turn: &Turn| {
        let message = turn.message.as_deref().map(str::trim).filter(|text| !text.is_empty())?;
        Some(format!("{}: {message}", turn.role))
    };
    let lines: Vec<String> = turns.iter().filter_map(spoken).collect();
    Personal::known(&lines.join("\n")).map(Text::Inline)
}
