//! The payload of a call, in HubSpot's words.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use switchboard_domain::{Direction, Outcome as CallOutcome, Personal};

use super::settings::Settings;
use crate::contacts::ContactRef;
use crate::format::RenderContext;
use crate::payload;

/// How many characters HubSpot takes in a text of several lines.
pub const LONGEST_BODY: usize = 65_536;
/// How many characters it takes in a text of one line.
pub const LONGEST_TITLE: usize = 255;

/// What a delivery keeps.
#[derive(Serialize, Deserialize)]
pub struct Payload {
    /// The key that the unique property holds.
    pub key: String,
    /// The properties of the call.
    pub properties: BTreeMap<String, Personal>,
    /// Whom the call was with.
    pub contact: ContactRef,
}

impl Payload {
    /// Of a call.
    pub fn of(settings: &Settings, context: &RenderContext<'_>) -> Self {
        Self {
            key: payload::key(context.record),
            properties: properties(settings, context),
            contact: payload::contact(context.record),
        }
    }
}

fn properties(settings: &Settings, context: &RenderContext<'_>) -> BTreeMap<String, Personal> {
    let record = context.record;
    let call = &record.call;
    let facts = &call.facts;
    let mut properties = BTreeMap::new();
    let mut put = |name: &str, value: Option<String>| {
        properties.extend(value.map(|value| (name.to_owned(), Personal::new(value))));
    };
    let owned = |text: &str| text.to_owned();
    put("hs_timestamp", Some(payload::began(record).to_string()));
    put("hs_call_title", Some(owned(payload::cut(payload::title(record), LONGEST_TITLE))));
    put("hs_call_source", Some(owned("INTEGRATIONS_PLATFORM")));
    put("hs_call_direction", direction(facts.direction).map(owned));
    put("hs_call_status", status(call.outcome).map(owned));
    put("hs_call_disposition", disposition(call.outcome).map(owned));
    put(
        "hs_call_duration",
        payload::talk(call).map(|talk| (u64::from(talk.0) * 1_000).to_string()),
    );
    put("hs_call_from_number", payload::side(record, facts.from.as_ref()).map(owned));
    put("hs_call_to_number", payload::side(record, facts.to.as_ref()).map(owned));
    put("hs_call_body", payload::summary(context).map(|text| payload::html(text, LONGEST_BODY)));
    put("hs_call_recording_url", payload::recording(record).map(owned));
    let owner = payload::employee(record).and_then(|employee| settings.owners.get(employee));
    put("hubspot_owner_id", owner.cloned());
    properties
}

fn direction(direction: Option<Direction>) -> Option<&'static str> {
    match direction? {
        Direction::Inbound => Some("INBOUND"),
        Direction::Outbound => Some("OUTBOUND"),
        // HubSpot has no word for it.
        Direction::Internal => None,
    }
}

fn status(outcome: Option<CallOutcome>) -> Option<&'static str> {
    Some(match outcome? {
        CallOutcome::Answered | CallOutcome::Voicemail => "COMPLETED",
        CallOutcome::NoAnswer => "NO_ANSWER",
        CallOutcome::Busy => "BUSY",
        CallOutcome::Failed => "FAILED",
        CallOutcome::Canceled => "CANCELED",
    })
}

/// The ids of the outcomes that every HubSpot account has from the beginning.
fn disposition(outcome: Option<CallOutcome>) -> Option<&'static str> {
    match outcome? {
        CallOutcome::Answered => Some("f240bbac-87c9-4f6e-bf70-924b57d47db7"),
        CallOutcome::Voicemail => Some("b2cf5968-551e-4856-9783-52b3da59a7d0"),
        CallOutcome::NoAnswer => Some("73a0d17f-1163-4015-bdd5-ec830791da20"),
        CallOutcome::Busy => Some("9d9162e7-6cf3-4944-bf63-4dff82258764"),
        CallOutcome::Failed | CallOutcome::Canceled => None,
    }
}
