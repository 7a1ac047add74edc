//! The payload of a call, in Zoho's words.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use switchboard_domain::{Direction, Event, Outcome as CallOutcome, Seconds};

use super::settings::Settings;
use crate::contacts::ContactRef;
use crate::format::RenderContext;
use crate::payload;

/// A field of one line holds no more.
const LONGEST_LINE: usize = 255;
/// The description holds no more.
pub const LONGEST_DESCRIPTION: usize = 32_000;
/// In front of the call's key, where it stands in the description.
pub const MARK: &str = "Switchboard ";

/// What a delivery keeps.
#[derive(Serialize, Deserialize)]
pub struct Payload {
    /// The key by which the record is searched for.
    pub key: String,
    /// The field that holds it.
    pub field: String,
    /// Whether the record may be created. An update must not bring back what was deleted there.
    pub may_create: bool,
    /// The fields of the record.
    pub call: Map<String, Value>,
    /// Whom the call was with.
    pub contact: ContactRef,
}

impl Payload {
    /// Of a call.
    pub fn of(settings: &Settings, context: &RenderContext<'_>) -> Self {
        let key = payload::key(context.record);
        let mut call = fields(context, settings);
        let field = settings.key_field.clone().unwrap_or_else(|| "Description".to_owned());
        let holder = match field.as_str() {
            "Description" => described(context, Some(&key)),
            _ => key.clone(),
        };
        call.insert(field.clone(), json!(holder));
        let may_create = context.event != Event::Updated;
        Self { key, field, may_create, call, contact: payload::contact(context.record) }
    }
}

fn fields(context: &RenderContext<'_>, settings: &Settings) -> Map<String, Value> {
    let record = context.record;
    let call = &record.call;
    let kind = kind(call.facts.direction, call.outcome);
    // One that was missed has none, whatever it rang.
    let talk = payload::talk(call).filter(|_| kind != "Missed").unwrap_or_default();
    let mut fields = Map::new();
    fields.insert("Subject".into(), json!(payload::subject(record, LONGEST_LINE)));
    fields.insert("Call_Type".into(), json!(kind));
    fields.insert("Call_Start_Time".into(), json!(iso(payload::began(record))));
    fields.insert("Call_Duration".into(), json!(minutes(talk)));
    if let Some(outcome) = call.outcome {
        let text = settings.results.get(&outcome).map_or(payload::outcome(outcome), String::as_str);
        fields.insert("Call_Result".into(), json!(text));
    }
    let description = described(context, None);
    if !description.is_empty() {
        fields.insert("Description".into(), json!(description));
    }
    if let Some(id) = payload::employee(record).and_then(|id| settings.owners.get(id)) {
        fields.insert("Owner".into(), json!({"id": id}));
    }
    fields
}

/// The numbers, the recording and the summary, and the call's key where it has no field of its own.
fn described(context: &RenderContext<'_>, key: Option<&str>) -> String {
    let record = context.record;
    let [from, to] = payload::ends(record);
    let summary = payload::summary(context).map(|summary| summary.trim().to_owned());
    let mark = key.map(|key| format!("{MARK}{key}"));
    let lines = [
        from.map(|number| format!("From: {number}")),
        to.map(|number| format!("To: {number}")),
        payload::recording(record).map(|url| format!("Recording: {url}")),
        summary.filter(|summary| !summary.is_empty()),
    ];
    let text = lines.into_iter().flatten().collect::<Vec<_>>().join("\n");
    let room = LONGEST_DESCRIPTION - mark.as_ref().map_or(0, |mark| mark.len() + 1);
    let text = payload::clean(&text);
    let text = payload::cut(&text, room).trim_end();
    match mark {
        Some(mark) if text.is_empty() => mark,
        Some(mark) => format!("{text}\n{mark}"),
        None => text.to_owned(),
    }
}

/// Zoho knows three kinds. A call that came in and was not answered was missed; an internal one
/// went out.
fn kind(direction: Option<Direction>, outcome: Option<CallOutcome>) -> &'static str {
    match (direction, outcome) {
        (Some(Direction::Inbound), Some(CallOutcome::Answered) | None) => "Inbound",
        (Some(Direction::Inbound), Some(_)) => "Missed",
        (Some(Direction::Outbound | Direction::Internal) | None, _) => "Outbound",
    }
}

/// ISO 8601 with an offset, without parts of a second.
fn iso(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S+00:00").to_string()
}

/// Minutes and seconds: `125:04`.
fn minutes(Seconds(seconds): Seconds) -> String {
    format!("{:02}:{:02}", seconds / 60, seconds % 60)
}
