//! The fields of a template that people fill with an FMC system's own variables.

use switchboard_domain::{AnsweredBy, Direction, Disposition, Facts, Order, Party, State, Text};

use crate::body::ParsedRecord;
use crate::cdr::{self, MOST_EXTRA};
use crate::json::Fields;
use crate::provider::Authenticated;
use crate::reject::Reject;

/// Reads one call that has ended.
pub(super) fn read(
    message: &Authenticated<'_>,
    mut fields: Fields,
) -> Result<ParsedRecord, Reject> {
    let call_id = fields.id("call_id")?.ok_or_else(|| {
        let problem = "is required (a body with externalCallId goes to /api/crm/intake/calls)";
        Reject::malformed("call_id", problem)
    })?;
    let in_body = fields.text("source")?;
    let (key, source) = message.call(in_body.as_deref(), None, &call_id)?;

    let zone = source.zone();
    let mut facts = Facts { state: Some(State::Ended), ..Facts::default() };
    if let Some(status) = fields.text("status")? {
        how_it_went(&status, &mut facts)?;
    }
    facts.direction = fields.optional("direction").as_deref().and_then(direction);
    facts.contact = fields.optional("client_number").as_deref().and_then(Party::read);
    facts.employee = fields.optional("employee_number").as_deref().and_then(Party::read);
    facts.contact_name = fields.personal("client_name").ok().flatten();
    facts.started_at = cdr::moment(&mut fields, "start_time", zone.as_ref(), &mut facts);
    facts.ended_at = cdr::moment(&mut fields, "end_time", zone.as_ref(), &mut facts);
    facts.talk = cdr::lasted(&mut fields, "duration_sec");
    cdr::keep_recording(&mut facts, fields.optional("record_url"));
    facts.transcript = fields.personal_up_to(usize::MAX, "transcript")?.map(Text::Inline);
    facts.extra = fields.rest(MOST_EXTRA).collect();

    let order = facts.ended_at.or(facts.started_at).map_or(Order::Unordered, Order::At);
    Ok(ParsedRecord::new(key, "call", order, facts))
}

/// The words of the generic intake, in any case, and those of Asterisk. A word that is not known
/// fails the record: left out, a busy line with a duration would become a call that was answered.
fn how_it_went(status: &str, facts: &mut Facts) -> Result<(), Reject> {
    let letters: String = status.chars().filter(char::is_ascii_alphabetic).collect();
    if letters.eq_ignore_ascii_case("voicemail") {
        facts.answered_by = Some(AnsweredBy::Machine);
        return Ok(());
    }
    let disposition: Option<Disposition> = cdr::disposition(status);
    facts.disposition = Some(disposition.ok_or_else(|| {
        let known = "answered, no_answer, busy, failed, canceled or voicemail";
        Reject::malformed("status", format!("must be {known}"))
    })?);
    Ok(())
}

/// Which way a call went, as the intake says it, in any case.
fn direction(word: &str) -> Option<Direction> {
    match word.to_ascii_lowercase().as_str() {
        "inbound" | "in" => Some(Direction::Inbound),
        "outbound" | "out" => Some(Direction::Outbound),
        "internal" => Some(Direction::Internal),
        _ => None,
    }
}
