//! Zoho CRM's calls: a record of its own per call, looked for before it is made, attached to the contact
//! or lead who has the number.
//!
//! Requests and answers are those of Zoho CRM's API, version 8: Calls, Contacts, Leads, and the search in
//! them (zoho.com/crm/developer/docs/api/v8, 2026). Zoho's own upsert leaves calls out.

mod answer;
mod exchange;
#[cfg(test)]
mod stand_in;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use switchboard_domain::{ConfigError, Direction, Event, Outcome, Seconds};
use url::Url;

use super::{ENTRY_EVENTS, Kind, RenderContext, Token, sheet};
use crate::destination::{Deduplication, Destination};
use crate::exchange::Whom;
use crate::fields::Fields;

/// A field of one line holds no more.
const LONGEST_LINE: usize = 255;
/// The description holds no more.
const LONGEST_DESCRIPTION: usize = 32_000;
/// In front of the call's key, where it stands in the description.
const MARK: &str = "Switchboard ";

/// What the format is and can.
pub const KIND: Kind = Kind {
    name: "zoho",
    events: ENTRY_EVENTS,
    tells_transcript: false,
    tells_analysis: true,
    deduplications: &[Deduplication::Search, Deduplication::None],
    cannot: "Zoho's upsert leaves out calls, and it remembers no key of a request",
    is_api: true,
    // Which one it is depends on where the account is.
    host: None,
    has_contacts: true,
    auths: &["oauth_refresh", "header"],
    token: Some(&Token { scheme: "Zoho-oauthtoken", url: accounts, client_in_header: false }),
    check: |settings| Settings::read(settings).map(drop),
    render,
    begin: exchange::begin,
};

/// Where the tokens of a data centre come from.
fn accounts(api: &Url) -> Option<Url> {
    let host = match api.host_str()? {
        "www.zohoapis.com" => "accounts.zoho.com",
        "www.zohoapis.eu" => "accounts.zoho.eu",
        "www.zohoapis.in" => "accounts.zoho.in",
        "www.zohoapis.com.au" => "accounts.zoho.com.au",
        "www.zohoapis.jp" => "accounts.zoho.jp",
        "www.zohoapis.ca" => "accounts.zohocloud.ca",
        "www.zohoapis.sa" => "accounts.zoho.sa",
        "www.zohoapis.com.cn" => "accounts.zoho.com.cn",
        _ => return None,
    };
    Url::parse(&format!("https://{host}/oauth/v2/token")).ok()
}

/// What an operator says of the records.
#[derive(Debug, Default)]
struct Settings {
    /// The field of a call that holds its key, by its API name. None: the description does.
    key_field: Option<String>,
    /// The text of an outcome, where an organisation has its own.
    results: BTreeMap<Outcome, String>,
    /// Who owns a record: Zoho's user, by the directory's employee.
    owners: BTreeMap<String, String>,
}

impl Settings {
    fn read(settings: &Value) -> Result<Self, ConfigError> {
        const KEY_FIELD: &str = "must be the API name of a field of one line in the module Calls, \
                                 as Switchboard_Key";
        const RESULTS: &str = "must be an object: an outcome (answered, no_answer, busy, failed, \
                               canceled, voicemail), and the text of it, up to 120 characters";
        const OWNERS: &str = "must be an object: the directory's id of an employee, and the id of \
                              Zoho's user, a text of digits";
        let mut fields = Fields::of("settings", "settings.", settings.clone())?;
        let key_field: Option<String> = fields.optional("key_field", KEY_FIELD)?;
        if key_field.as_deref().is_some_and(|name| !is_api_name(name) || OURS.contains(&name)) {
            return Err(fields.fault("key_field", KEY_FIELD));
        }
        let results: BTreeMap<Outcome, String> =
            fields.optional("results", RESULTS)?.unwrap_or_default();
        if results.values().any(|text| text.trim().is_empty() || text.chars().count() > 120) {
            return Err(fields.fault("results", RESULTS));
        }
        let owners: BTreeMap<String, String> =
            fields.optional("owners", OWNERS)?.unwrap_or_default();
        let is_id =
            |id: &String| (1..=32).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_digit());
        if !owners.values().all(is_id) {
            return Err(fields.fault("owners", OWNERS));
        }
        fields.end()?;
        Ok(Self { key_field, results, owners })
    }
}

/// Fields that hold something else.
const OURS: [&str; 10] = [
    "Subject",
    "Call_Type",
    "Call_Start_Time",
    "Call_Duration",
    "Call_Result",
    "Description",
    "Owner",
    "Who_Id",
    "What_Id",
    "id",
];

/// Whether a text can be the API name of a field.
fn is_api_name(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|b| b == b'_' || b.is_ascii_alphanumeric())
}

/// What a delivery keeps.
#[derive(Serialize, Deserialize)]
struct Sheet {
    /// By what the record is looked for.
    key: String,
    /// In which field.
    field: String,
    /// Whether it may be made. What came late is not to bring back what somebody has deleted.
    may_create: bool,
    /// The fields of the record, in Zoho's words.
    call: Map<String, Value>,
    contact: Whom,
}

fn render(destination: &Destination, context: &RenderContext<'_>) -> Vec<u8> {
    // They were checked when they were configured.
    let settings = Settings::read(&destination.settings).unwrap_or_default();
    let record = context.record;
    let key = sheet::key(record);
    let mut call = fields(context, &settings);
    let field = match settings.key_field {
        Some(field) => {
            call.insert(field.clone(), json!(key));
            field
        }
        None => "Description".to_owned(),
    };
    if field == "Description" {
        call.insert(field.clone(), json!(described(context, Some(&key))));
    }
    let sheet = Sheet {
        key,
        field,
        may_create: context.event != Event::Updated,
        call,
        contact: sheet::whom(record),
    };
    // Texts and flags always serialize.
    serde_json::to_vec(&sheet).unwrap_or_default()
}

fn fields(context: &RenderContext<'_>, settings: &Settings) -> Map<String, Value> {
    let record = context.record;
    let call = &record.call;
    let kind = kind(call.facts.direction, call.outcome);
    // One that was missed has none, whatever it rang.
    let talk = sheet::talk(call).filter(|_| kind != "Missed").unwrap_or_default();
    let mut fields = Map::new();
    fields.insert("Subject".into(), json!(sheet::subject(record, LONGEST_LINE)));
    fields.insert("Call_Type".into(), json!(kind));
    fields.insert("Call_Start_Time".into(), json!(iso(sheet::began(record))));
    fields.insert("Call_Duration".into(), json!(minutes(talk)));
    if let Some(outcome) = call.outcome {
        let text = settings.results.get(&outcome).map_or(result(outcome), String::as_str);
        fields.insert("Call_Result".into(), json!(text));
    }
    let description = described(context, None);
    if !description.is_empty() {
        fields.insert("Description".into(), json!(description));
    }
    if let Some(id) = sheet::employee(record).and_then(|id| settings.owners.get(id)) {
        fields.insert("Owner".into(), json!({"id": id}));
    }
    fields
}

/// The numbers, the recording and the summary, and the call's key where it has no field of its own.
fn described(context: &RenderContext<'_>, key: Option<&str>) -> String {
    let record = context.record;
    let [from, to] = sheet::ends(record);
    let told = sheet::summary(context).map(|summary| summary.trim().to_owned());
    let mark = key.map(|key| format!("{MARK}{key}"));
    let lines = [
        from.map(|number| format!("From: {number}")),
        to.map(|number| format!("To: {number}")),
        sheet::recording(record).map(|url| format!("Recording: {url}")),
        told.filter(|summary| !summary.is_empty()),
    ];
    let text = lines.into_iter().flatten().collect::<Vec<_>>().join("\n");
    let room = LONGEST_DESCRIPTION - mark.as_ref().map_or(0, |mark| mark.len() + 1);
    let text = sheet::clean(&text);
    let text = sheet::cut(&text, room).trim_end();
    match mark {
        Some(mark) if text.is_empty() => mark,
        Some(mark) => format!("{text}\n{mark}"),
        None => text.to_owned(),
    }
}

/// Zoho knows three kinds. A call that came in and that nobody talked to was missed; what is inside the
/// house went out.
fn kind(direction: Option<Direction>, outcome: Option<Outcome>) -> &'static str {
    match (direction, outcome) {
        (Some(Direction::Inbound), Some(Outcome::Answered) | None) => "Inbound",
        (Some(Direction::Inbound), Some(_)) => "Missed",
        (Some(Direction::Outbound | Direction::Internal) | None, _) => "Outbound",
    }
}

fn result(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Answered => "Answered",
        Outcome::NoAnswer => "No answer",
        Outcome::Busy => "Busy",
        Outcome::Failed => "Failed",
        Outcome::Canceled => "Canceled",
        Outcome::Voicemail => "Voicemail",
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
