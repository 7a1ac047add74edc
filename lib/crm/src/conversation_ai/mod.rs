//! The conversation-AI call: seven fields, no id, one body per call.

use serde::Serialize;
use switchboard_domain::{CallRecord, Direction, Event, Outcome, Personal};

use crate::format::{Capabilities, RenderContext};
use crate::payload::{self, e164, number};
use crate::webhook;

/// The body. The order of the fields is the order in which they are written.
#[derive(Serialize)]
struct Body<'a> {
    r#type: &'static str,
    subject: &'a str,
    to: &'a str,
    name: &'a str,
    summary: &'a str,
    status: &'static str,
    duration: u32,
}

/// What the format is and can.
pub static CAPABILITIES: Capabilities = Capabilities {
    // It has no id and no type: a second body would be a second call.
    events: &[Event::Completed],
    needs_transcript: false,
    ..Capabilities::webhook("conversation-ai", |endpoint, settings| {
        webhook::without_settings(endpoint, &settings, render)
    })
};

/// The body of a call. Neither the event nor a transcript has a place in it.
fn render(context: &RenderContext<'_>) -> Vec<u8> {
    let call = &context.record.call;
    payload::bytes(&Body {
        r#type: "conversationAICall",
        subject: subject(context.record),
        to: to(context.record),
        name: name(context.record),
        summary: payload::summary(context).unwrap_or_default(),
        status: status(call.outcome),
        duration: payload::talk(call).unwrap_or_default().0,
    })
}

/// The customer's name: as the call has it, or as the directory has it.
fn name(record: &CallRecord) -> &str {
    let known = || record.people.contact.as_ref()?.name.as_ref();
    let reported = record.call.facts.contact_name.as_ref();
    reported.or_else(known).map(Personal::expose).unwrap_or_default()
}

/// What the call was made for, or which way it went.
fn subject(record: &CallRecord) -> &str {
    let facts = &record.call.facts;
    match (&facts.campaign, facts.direction) {
        (Some(campaign), _) => campaign,
        (None, Some(Direction::Inbound)) => "Inbound Call",
        (None, Some(Direction::Internal)) => "Internal Call",
        (None, Some(Direction::Outbound) | None) => "Outbound Call",
    }
}

/// The customer's number. Where the direction is not known either, the number that was called:
/// that is what the field says. An address that is no number (a withheld one, an extension, SIP)
/// is left out, because a CRM would make a contact of it.
fn to(record: &CallRecord) -> &str {
    let call = &record.call;
    let called = call.facts.to.as_ref().filter(|_| call.facts.direction.is_none());
    let party = call.contact().or(called);
    let in_e164 = e164(party, record.people.contact.as_ref());
    let as_written = || party.filter(|party| party.is_number()).map(number);
    in_e164.or_else(as_written).unwrap_or_default()
}

/// The CRM's word for an outcome. It has four, and none for an unknown one. Of those, `held`
/// would claim a conversation and `no connection` a fault of the line, so the weakest claim is
/// made.
fn status(outcome: Option<Outcome>) -> &'static str {
    match outcome {
        Some(Outcome::Answered) => "held",
        Some(Outcome::NoAnswer | Outcome::Busy) | None => "no answer",
        Some(Outcome::Failed | Outcome::Canceled) => "no connection",
        Some(Outcome::Voicemail) => "voicemail",
    }
}

#[cfg(test)]
mod tests;
