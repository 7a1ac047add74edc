//! Pipedrive's call logs: an entry of its own per call, attached to the person who has the number.
//!
//! Requests and answers are those of Pipedrive's API, `POST /v1/callLogs` and the persons of its
//! version 2 (developers.pipedrive.com, 2026). A call log has no id of ours and cannot be changed.

mod exchange;
#[cfg(test)]
mod stand_in;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use switchboard_domain::{CallRecord, ConfigError, Event, Outcome, Personal, Seconds};
use url::Url;

use super::{Kind, RenderContext, Token, sheet};
use crate::destination::{Deduplication, Destination};
use crate::exchange::Whom;
use crate::fields::Fields;

/// An activity's subject, which a call log's is, holds no more.
const LONGEST_SUBJECT: usize = 255;
/// A note is not worth more.
const LONGEST_NOTE: usize = 32_000;
/// Where a number must stand and none is known.
const NO_NUMBER: &str = "unknown";

/// What the format is and can.
pub const KIND: Kind = Kind {
    name: "pipedrive",
    // A call log cannot be changed.
    events: &[Event::Completed],
    tells_transcript: false,
    tells_analysis: true,
    deduplications: &[Deduplication::None],
    cannot: "a call log of Pipedrive has no place for a key",
    is_api: true,
    host: Some("https://api.pipedrive.com"),
    has_contacts: true,
    auths: &["header", "oauth_refresh"],
    token: Some(&Token {
        scheme: "Bearer",
        url: |_| Url::parse("https://oauth.pipedrive.com/oauth/token").ok(),
        client_in_header: true,
    }),
    check: |settings| Settings::read(settings).map(drop),
    render,
    begin: exchange::begin,
};

/// What an operator says of the entries.
#[derive(Debug, Default)]
struct Settings {
    /// Who owns an entry: Pipedrive's user, by the directory's employee.
    owners: BTreeMap<String, u64>,
}

impl Settings {
    fn read(settings: &Value) -> Result<Self, ConfigError> {
        const OWNERS: &str = "must be an object: the directory's id of an employee, and the id of \
                              Pipedrive's user, a whole number";
        let mut fields = Fields::of("settings", "settings.", settings.clone())?;
        let owners = fields.optional("owners", OWNERS)?.unwrap_or_default();
        fields.end()?;
        Ok(Self { owners })
    }
}

/// What a delivery keeps.
#[derive(Serialize, Deserialize)]
struct Sheet {
    call: CallLog,
    contact: Whom,
}

/// The fields of a call log, in Pipedrive's words.
#[derive(Clone, Serialize, Deserialize)]
struct CallLog {
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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    person_id: Option<u64>,
}

fn render(destination: &Destination, context: &RenderContext<'_>) -> Vec<u8> {
    // They were checked when they were configured.
    let settings = Settings::read(&destination.settings).unwrap_or_default();
    let sheet = Sheet { call: call_log(context, &settings), contact: sheet::whom(context.record) };
    // Texts and numbers always serialize.
    serde_json::to_vec(&sheet).unwrap_or_default()
}

fn call_log(context: &RenderContext<'_>, settings: &Settings) -> CallLog {
    let record = context.record;
    let call = &record.call;
    let [from, to] = sheet::ends(record).map(|number| number.map(Personal::new));
    let began = sheet::began(record);
    let summary = sheet::summary(context).map(|summary| summary.trim().to_owned());
    let recording = sheet::recording(record).map(|url| format!("Recording: {url}"));
    let lines: Vec<String> = [recording, summary].into_iter().flatten().collect();
    let note = html(&lines.join("\n"), LONGEST_NOTE);
    CallLog {
        subject: sheet::subject(record, LONGEST_SUBJECT),
        duration: sheet::talk(call).unwrap_or_default().0.to_string(),
        outcome: outcome(call.outcome, sheet::talk(call)).to_owned(),
        from_phone_number: from,
        to_phone_number: to.unwrap_or_else(|| Personal::new(NO_NUMBER)),
        start_time: utc(began),
        end_time: utc(ended(record, began)),
        note: Personal::known(&note),
        user_id: sheet::employee(record).and_then(|id| settings.owners.get(id)).copied(),
        person_id: None,
    }
}

/// When the call ended: as was said, or worked out from how long it lasted; never before it began.
fn ended(record: &CallRecord, began: Timestamp) -> Timestamp {
    let facts = &record.call.facts;
    let Seconds(lasted) = facts.total.or(facts.talk).unwrap_or_default();
    let worked_out = || began.checked_add(SignedDuration::from_secs(lasted.into())).ok();
    facts.ended_at.or_else(worked_out).unwrap_or(began).max(began)
}

fn utc(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// Pipedrive's word for an outcome. It has none for a call that failed or was given up, nor for "nothing
/// told us": where nobody talked, nobody answered.
fn outcome(outcome: Option<Outcome>, talk: Option<Seconds>) -> &'static str {
    match outcome {
        Some(Outcome::Answered) => "connected",
        Some(Outcome::NoAnswer | Outcome::Failed | Outcome::Canceled) => "no_answer",
        Some(Outcome::Busy) => "busy",
        Some(Outcome::Voicemail) => "left_voicemail",
        None if talk.unwrap_or_default() > Seconds(0) => "connected",
        None => "no_answer",
    }
}

/// A text as HTML that shows it as it is.
fn html(text: &str, most: usize) -> String {
    let mut html = String::new();
    for character in sheet::clean(text.trim()).chars() {
        let mut plain = [0; 4];
        let piece = match character {
            '&' => "&amp;",
            '<' => "&lt;",
            '>' => "&gt;",
            '"' => "&quot;",
            '\n' => "<br>",
            other => other.encode_utf8(&mut plain),
        };
        if html.len() + piece.len() > most {
            break;
        }
        html.push_str(piece);
    }
    html
}
