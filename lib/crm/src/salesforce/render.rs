//! The payload of a call, in Salesforce's words.

use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use switchboard_domain::{Direction, Personal};

use super::settings::Settings;
use crate::contacts::ContactRef;
use crate::format::RenderContext;
use crate::payload;

/// What the fields of a task take.
const LONGEST_SUBJECT: usize = 255;
const LONGEST_DESCRIPTION: usize = 32_000;

/// What a delivery keeps.
#[derive(Serialize, Deserialize)]
pub struct Payload {
    /// The key that the external id holds.
    pub key: String,
    /// The task.
    pub task: Task,
    /// Whom the call was with.
    pub contact: ContactRef,
}

impl Payload {
    /// Of a call.
    pub fn of(settings: &Settings, context: &RenderContext<'_>) -> Self {
        let key = payload::key(context.record);
        let task = task(settings, &key, context);
        Self { task, key, contact: payload::contact(context.record) }
    }
}

/// A task, in Salesforce's words.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Task {
    subject: Personal,
    status: String,
    activity_date: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    call_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    call_disposition: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    call_duration_in_seconds: Option<u32>,
    /// Our key once more, by which a task is found where there is no field of our own.
    call_object: String,
    description: Personal,
    #[serde(skip_serializing_if = "Option::is_none")]
    owner_id: Option<String>,
}

fn task(settings: &Settings, key: &str, context: &RenderContext<'_>) -> Task {
    let record = context.record;
    let call = &record.call;
    let owner = payload::employee(record).and_then(|employee| settings.owners.get(employee));
    Task {
        subject: Personal::new(payload::cut(payload::title(record), LONGEST_SUBJECT)),
        status: settings.status.clone(),
        activity_date: payload::began(record).to_zoned(TimeZone::UTC).date().to_string(),
        call_type: call.facts.direction.map(call_type).map(str::to_owned),
        call_disposition: call.outcome.map(payload::outcome).map(str::to_owned),
        call_duration_in_seconds: payload::talk(call).map(|talk| talk.0),
        call_object: key.to_owned(),
        description: Personal::new(payload::cut(&description(context), LONGEST_DESCRIPTION)),
        owner_id: owner.cloned(),
    }
}

/// What a task has no fields for: when the call was, between which numbers, its recording; and the
/// summary.
fn description(context: &RenderContext<'_>) -> String {
    let record = context.record;
    let facts = &record.call.facts;
    let mut lines = vec![format!("Began: {}", payload::began(record))];
    for (name, party) in [("From", &facts.from), ("To", &facts.to)] {
        let side = payload::side(record, party.as_ref());
        lines.extend(side.map(|side| format!("{name}: {side}")));
    }
    lines.extend(payload::recording(record).map(|url| format!("Recording: {url}")));
    lines.extend(payload::summary(context).map(|summary| format!("\n{summary}")));
    lines.join("\n")
}

fn call_type(direction: Direction) -> &'static str {
    match direction {
        Direction::Inbound => "Inbound",
        Direction::Outbound => "Outbound",
        Direction::Internal => "Internal",
    }
}
