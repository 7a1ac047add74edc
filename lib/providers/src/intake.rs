//! The generic intake: any phone system that can post JSON, Asterisk and FMC among them.
//!
//! The contract is documented in `docs/providers/intake.md`. The sender is known by the shared
//! secret in `x-crm-intake-secret`.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::Value;
use switchboard_domain::time::read_iso;
use switchboard_domain::{
    AnsweredBy, CallKey, Direction, Disposition, Facts, Name, Order, Party, State, Text,
};

use crate::body::{self, ParsedRecord};
use crate::cdr::{self, MOST_EXTRA};
use crate::json::{self, Fields};
use crate::provider::{Authenticated, Content, Provider, Route};
use crate::reject::Reject;

/// How long a summary and a script may be, bytes. A transcript may be of any length.
const LONG: usize = 16 * 1024;

/// The name of this provider, and of its default source.
pub const NAME: &str = "intake";

/// The generic intake.
pub struct Intake {
    /// Whether calls of a provider may not come this way: it has a webhook of its own.
    pub refuses: fn(&str) -> bool,
}

impl Provider for Intake {
    fn name(&self) -> &'static str {
        NAME
    }

    fn routes(&self) -> &'static [Route] {
        &[("POST", "/api/crm/intake/calls")]
    }

    fn speaks_intake(&self) -> bool {
        true
    }

    fn secret_header(&self) -> &'static str {
        "x-crm-intake-secret"
    }

    fn parse(&self, message: &Authenticated<'_>) -> Result<Content, Reject> {
        let records = json::some_records(body::value(message)?)?;
        Ok(body::each(message, records, |record| self.read(message, record)))
    }
}

impl Intake {
    fn read(&self, message: &Authenticated<'_>, record: Value) -> Result<ParsedRecord, Reject> {
        let mut fields = Fields::of(record)?;
        let provider = required(&mut fields, "provider")?.to_ascii_lowercase();
        let provider = Name::new("provider", &provider)?;
        if (self.refuses)(provider.as_str()) {
            return Err(Reject::malformed("provider", "has a webhook of its own: use that"));
        }
        let call_id = fields.id("externalCallId")?;
        let call_id = call_id.ok_or_else(|| Reject::malformed("externalCallId", "is required"))?;

        let in_body = fields.text("source")?;
        let (mut name, source) = message.source(in_body.as_deref(), None)?;
        if name.as_str() == NAME {
            // Opened by the default source, and nothing says which system it is.
            name = provider.clone();
        }
        let key = CallKey::new(provider, name, &call_id)?;

        let kind = fields.text("eventType")?.unwrap_or_else(|| "call_finished".to_owned());
        let sequence = fields.seconds("sequence")?.map(|n| n.0.into());
        let facts = facts(&mut fields, &kind, source.zone())?;
        let order = match (sequence, facts.ended_at.or(facts.started_at)) {
            (Some(sequence), _) => Order::Sequence(sequence),
            (None, Some(at)) => Order::At(at),
            (None, None) => Order::Unordered,
        };
        let facts = Facts { extra: fields.rest(MOST_EXTRA).collect(), ..facts };
        Ok(ParsedRecord::new(key, kind, order, facts))
    }
}

fn required(fields: &mut Fields, name: &'static str) -> Result<String, Reject> {
    fields.text(name)?.ok_or_else(|| Reject::malformed(name, "is required"))
}

fn facts(fields: &mut Fields, kind: &str, zone: Option<TimeZone>) -> Result<Facts, Reject> {
    let mut facts = Facts::default();
    (facts.state, facts.disposition) = match kind {
        "call_started" | "call_ringing" => (Some(State::Ringing), None),
        "call_answered" => (Some(State::InProgress), None),
        "call_finished" => (Some(State::Ended), None),
        "call_missed" => (Some(State::Ended), Some(Disposition::NoAnswer)),
        _ => {
            let known = "call_started, call_answered, call_finished or call_missed";
            return Err(Reject::malformed("eventType", format!("must be {known}")));
        }
    };
    match fields.text("status")?.as_deref() {
        None => {}
        Some("answered") => facts.disposition = Some(Disposition::Answered),
        Some("no_answer") => facts.disposition = Some(Disposition::NoAnswer),
        Some("busy") => facts.disposition = Some(Disposition::Busy),
        Some("failed") => facts.disposition = Some(Disposition::Failed),
        Some("canceled") => facts.disposition = Some(Disposition::Canceled),
        Some("voicemail") => facts.answered_by = Some(AnsweredBy::Machine),
        Some(_) => {
            let known = "answered, no_answer, busy, failed, canceled or voicemail";
            return Err(Reject::malformed("status", format!("must be {known}")));
        }
    }
    facts.direction = match fields.text("direction")?.as_deref() {
        None => None,
        Some("inbound" | "in") => Some(Direction::Inbound),
        Some("outbound" | "out") => Some(Direction::Outbound),
        Some("internal") => Some(Direction::Internal),
        Some(_) => {
            return Err(Reject::malformed("direction", "must be inbound, outbound or internal"));
        }
    };
    facts.contact = fields.text("clientPhone")?.as_deref().and_then(Party::read);
    facts.contact_name = fields.personal("clientName")?;
    facts.employee = fields.text("employeePhone")?.as_deref().and_then(Party::read);
    facts.campaign = fields.text("campaign")?;
    facts.contact_id = fields.id("contactId")?;
    facts.lead_id = fields.id("leadId")?;
    facts.started_at = instant(fields, "startedAt", zone.as_ref(), &mut facts)?;
    facts.answered_at = instant(fields, "answeredAt", zone.as_ref(), &mut facts)?;
    facts.ended_at = instant(fields, "endedAt", zone.as_ref(), &mut facts)?;
    facts.talk = fields.seconds("durationSec")?;
    cdr::keep_recording(&mut facts, fields.text("recordingUrl")?);
    facts.conversation = fields.id("conversationId")?;
    facts.summary = fields.personal_up_to(LONG, "summary")?;
    facts.transcript = fields.personal_up_to(usize::MAX, "transcriptRaw")?.map(Text::Inline);
    facts.script_context = fields.personal_up_to(LONG, "scriptContext")?;
    facts.auto_analyze = fields.flag("autoAnalyze")?;
    facts.create_tasks = fields.flag("createTasks")?;
    Ok(facts)
}

/// Reads a time, if it is one that can be.
fn instant(
    fields: &mut Fields,
    name: &'static str,
    zone: Option<&TimeZone>,
    facts: &mut Facts,
) -> Result<Option<Timestamp>, Reject> {
    let Some(text) = fields.text(name)? else { return Ok(None) };
    let reading = read_iso(&text, zone).ok_or_else(|| {
        Reject::malformed(name, "is not an ISO 8601 time, as 2026-02-20T09:00:00Z")
    })?;
    Ok(cdr::place(Some(reading), facts))
}
