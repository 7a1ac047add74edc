//! The payload of a call, in Pipedrive's words.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use switchboard_domain::{CallRecord, Outcome as CallOutcome, Personal, Seconds};

use super::settings::Settings;
use crate::contacts::ContactRef;
use crate::format::RenderContext;
use crate::payload;

/// An activity's subject, which a call log's is, holds no more.
const LONGEST_SUBJECT: usize = 255;
/// A note is not worth more.
const LONGEST_NOTE: usize = 32_000;
/// Where a number must stand and none is known.
const NO_NUMBER: &str = "unknown";

/// What a delivery keeps.
#[derive(Serialize, Deserialize)]
pub struct Payload {
    /// The entry.
    pub call: CallLog,
    /// Whom the call was with.
    pub contact: ContactRef,
}

impl Payload {
    /// Of a call.
    pub fn of(settings: &Settings, context: &RenderContext<'_>) -> Self {
        Self { call: call_log(context, settings), contact: payload::contact(context.record) }
    }
}

/// The fields of a call log, in Pipedrive's words.
#[derive(Clone, Serialize, Deserialize)]
pub struct CallLog {
    subject: String,
    /// Seconds, as a text.
    duration: String,
    outcome: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    from_phone_number: Option<Personal>,
    to_phone_number: Personal,
    /// UTC.
    start_time: String,
    end_time: String,
    /// HTML.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    note: Option<Personal>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    user_id: Option<u64>,
    /// The person who has the number, once known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub person_id: Option<u64>,
}

fn call_log(context: &RenderContext<'_>, settings: &Settings) -> CallLog {
    let record = context.record;
    let call = &record.call;
    let [from, to] = payload::ends(record).map(|number| number.map(Personal::new));
    let began = payload::began(record);
    let summary = payload::summary(context).map(|summary| summary.trim().to_owned());
    let recording = payload::recording(record).map(|url| format!("Recording: {url}"));
    let lines: Vec<String> = [recording, summary].into_iter().flatten().collect();
    let note = note(&lines.join("\n"), LONGEST_NOTE);
    CallLog {
        subject: payload::subject(record, LONGEST_SUBJECT),
        duration: payload::talk(call).unwrap_or_default().0.to_string(),
        outcome: outcome(call.outcome, payload::talk(call)).to_owned(),
        from_phone_number: from,
        to_phone_number: to.unwrap_or_else(|| Personal::new(NO_NUMBER)),
        start_time: utc(began),
        end_time: utc(ended(record, began)),
        note: Personal::known(&note),
        user_id: payload::employee(record).and_then(|id| settings.owners.get(id)).copied(),
        person_id: None,
    }
}

/// When the call ended: as was reported, or worked out from how long it lasted; never before it began.
fn ended(record: &CallRecord, began: Timestamp) -> Timestamp {
    let facts = &record.call.facts;
    let Seconds(lasted) = facts.total.or(facts.talk).unwrap_or_default();
    let worked_out = || began.checked_add(SignedDuration::from_secs(lasted.into())).ok();
    facts.ended_at.or_else(worked_out).unwrap_or(began).max(began)
}

fn utc(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// Pipedrive's word for an outcome. It has none for a call that failed or was given up, nor for an unknown
/// one: without talk there was no answer.
fn outcome(outcome: Option<CallOutcome>, talk: Option<Seconds>) -> &'static str {
    match outcome {
        Some(CallOutcome::Answered) => "connected",
        Some(CallOutcome::NoAnswer | CallOutcome::Failed | CallOutcome::Canceled) => "no_answer",
        Some(CallOutcome::Busy) => "busy",
        Some(CallOutcome::Voicemail) => "left_voicemail",
        None if talk.unwrap_or_default() > Seconds(0) => "connected",
        None => "no_answer",
    }
}

/// A text as HTML that shows it as it is.
pub fn note(text: &str, most: usize) -> String {
    payload::html(&payload::clean(text.trim()), most)
}
