//! HubSpot: one call per call, upserted by a unique property, attached to the contact that has the
//! number.
//!
//! Of the reference of HubSpot's CRM API v3 (objects, search) and v4 (associations), and its SDKs.

use std::collections::BTreeMap;

use http::Method;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use switchboard_domain::delivery::{Remote, Verdict};
use switchboard_domain::{ConfigError, Direction, Outcome, Personal};
use url::Url;

use super::sheet;
use super::{ENTRY_EVENTS, Kind, RenderContext, Token};
use crate::contacts::{Attaching, Book, Match, Turn};
use crate::destination::{Deduplication, Destination};
use crate::exchange::{Answer, Ask, Exchange, Over, Step, Told, Whom, below, not_begun};
use crate::fields::Fields;
use crate::phone;
use crate::verdict;

/// What the format is and can.
pub const KIND: Kind = Kind {
    name: "hubspot",
    events: ENTRY_EVENTS,
    tells_transcript: false,
    tells_analysis: true,
    deduplications: &[Deduplication::Upsert, Deduplication::None],
    cannot: "HubSpot obeys no idempotency key, and its search does not show what was just created",
    is_api: true,
    host: Some("https://api.hubapi.com"),
    has_contacts: true,
    auths: &["bearer", "oauth_refresh"],
    token: Some(&Token { scheme: "Bearer", url: token_url, client_in_header: false }),
    check: |settings| Settings::read(settings).map(|_| ()),
    render: |destination, context| render(&settings(destination), context),
    begin,
};

/// The unique property of calls that holds our key, where a configuration names no other.
pub const PROPERTY: &str = "switchboard_call_key";
/// So many characters HubSpot takes in a text of several lines.
const LONGEST_BODY: usize = 65_536;
const LONGEST_TITLE: usize = 255;

/// What a configuration says under `settings`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The unique property of calls that holds our key.
    property: String,
    /// HubSpot's owners by the directory's employees.
    owners: BTreeMap<String, String>,
}

impl Settings {
    /// Reads and checks them.
    pub fn read(settings: &Value) -> Result<Self, ConfigError> {
        let mut fields = Fields::of("settings", "settings.", settings.clone())?;
        let expected =
            "must be a property's internal name: small letters, digits and _, 64 at most";
        let property: Option<String> = fields.optional("property", expected)?;
        let property = property.unwrap_or_else(|| PROPERTY.to_owned());
        let is_plain = |b: u8| b == b'_' || b.is_ascii_lowercase() || b.is_ascii_digit();
        let begins = property.starts_with(|c: char| c.is_ascii_lowercase());
        if !begins || property.len() > 64 || !property.bytes().all(is_plain) {
            return Err(fields.fault("property", expected));
        }
        let expected = "must be an object of owner ids, in digits, by employee ids";
        let owners: BTreeMap<String, String> =
            fields.optional("owners", expected)?.unwrap_or_default();
        let is_id = |id: &String| !id.is_empty() && id.bytes().all(|b| b.is_ascii_digit());
        if !owners.values().all(is_id) {
            return Err(fields.fault("owners", expected));
        }
        fields.end()?;
        Ok(Self { property, owners })
    }
}

/// They were checked when the configuration was read.
fn settings(destination: &Destination) -> Settings {
    let usual = Settings { property: PROPERTY.to_owned(), owners: BTreeMap::new() };
    Settings::read(&destination.settings).unwrap_or(usual)
}

/// Beside the API, or the only one that there is.
fn token_url(base: &Url) -> Option<Url> {
    Some(below(base, &["oauth", "v1", "token"]))
}

/// What a delivery keeps.
#[derive(Serialize, Deserialize)]
struct Sheet {
    key: String,
    properties: BTreeMap<String, Personal>,
    contact: Whom,
}

/// What every attempt tells of a call.
fn render(settings: &Settings, context: &RenderContext<'_>) -> Vec<u8> {
    let record = context.record;
    let sheet = Sheet {
        key: sheet::key(record),
        properties: properties(settings, context),
        contact: sheet::whom(record),
    };
    // Texts always serialize.
    serde_json::to_vec(&sheet).unwrap_or_default()
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
    put("hs_timestamp", Some(sheet::began(record).to_string()));
    put("hs_call_title", Some(owned(sheet::cut(sheet::title(record), LONGEST_TITLE))));
    put("hs_call_source", Some(owned("INTEGRATIONS_PLATFORM")));
    put("hs_call_direction", direction(facts.direction).map(owned));
    put("hs_call_status", status(call.outcome).map(owned));
    put("hs_call_disposition", disposition(call.outcome).map(owned));
    put("hs_call_duration", sheet::talk(call).map(|talk| (u64::from(talk.0) * 1_000).to_string()));
    put("hs_call_from_number", sheet::side(record, facts.from.as_ref()).map(owned));
    put("hs_call_to_number", sheet::side(record, facts.to.as_ref()).map(owned));
    put("hs_call_body", sheet::summary(context).map(html));
    put("hs_call_recording_url", sheet::recording(record).map(owned));
    let owner = sheet::employee(record).and_then(|employee| settings.owners.get(employee));
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

fn status(outcome: Option<Outcome>) -> Option<&'static str> {
    Some(match outcome? {
        Outcome::Answered | Outcome::Voicemail => "COMPLETED",
        Outcome::NoAnswer => "NO_ANSWER",
        Outcome::Busy => "BUSY",
        Outcome::Failed => "FAILED",
        Outcome::Canceled => "CANCELED",
    })
}

/// The ids of the outcomes that every HubSpot account has from the beginning.
fn disposition(outcome: Option<Outcome>) -> Option<&'static str> {
    match outcome? {
        Outcome::Answered => Some("f240bbac-87c9-4f6e-bf70-924b57d47db7"),
        Outcome::Voicemail => Some("b2cf5968-551e-4856-9783-52b3da59a7d0"),
        Outcome::NoAnswer => Some("73a0d17f-1163-4015-bdd5-ec830791da20"),
        Outcome::Busy => Some("9d9162e7-6cf3-4944-bf63-4dff82258764"),
        Outcome::Failed | Outcome::Canceled => None,
    }
}

/// A text as HubSpot shows it, which takes it for HTML: what somebody said on a call must not become
/// markup. It is never cut inside an entity.
fn html(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut length = 0;
    for character in text.chars() {
        let mut plain = [0; 4];
        let piece: &str = match character {
            '&' => "&amp;",
            '<' => "&lt;",
            '>' => "&gt;",
            '"' => "&quot;",
            '\n' => "<br>",
            '\r' => continue,
            other => other.encode_utf8(&mut plain),
        };
        length += piece.chars().map(char::len_utf16).sum::<usize>();
        if length > LONGEST_BODY {
            break;
        }
        shown.push_str(piece);
    }
    shown
}

fn begin(destination: &Destination, told: &Told<'_>) -> Box<dyn Exchange> {
    let sheet = serde_json::from_slice::<Sheet>(told.body).ok();
    let known = told.remote.contact.as_ref();
    let whom = sheet.as_ref().map(|sheet| sheet.contact.clone()).unwrap_or_default();
    Box::new(Telling {
        api: Api { base: destination.url.clone(), property: settings(destination).property },
        is_upsert: destination.deduplication == Deduplication::Upsert,
        sheet,
        attaching: Attaching::new(destination.contacts, whom, known),
        call: told.remote.call.clone(),
        status: 0,
        made_again: false,
        phase: Phase::Contact,
    })
}

/// Contact, call, association: in this order, so that all that is left after the call is there can be
/// done again without making another.
struct Telling {
    api: Api,
    is_upsert: bool,
    sheet: Option<Sheet>,
    attaching: Attaching,
    call: Option<String>,
    /// Of the answer that took the call.
    status: u16,
    made_again: bool,
    phase: Phase,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Contact,
    Call,
    Association,
}

impl Exchange for Telling {
    fn next(&mut self, answer: Option<&Answer>, now: Timestamp) -> Step {
        let Some(sheet) = &self.sheet else { return Step::Over(not_begun()) };
        match (self.phase, answer) {
            (Phase::Contact, answer) => match self.attaching.next(&self.api, answer, now) {
                Turn::Ask(ask) => Step::Ask(ask),
                Turn::Later(verdict, status, result) => self.over(verdict, status, result),
                // The call was told before its contact was found to be gone.
                Turn::Settled if self.status != 0 => self.associate(),
                Turn::Settled => {
                    self.phase = Phase::Call;
                    Step::Ask(self.api.tell(sheet, self.known_call(), self.is_upsert))
                }
            },
            (Phase::Call, Some(answer)) => self.told(answer, now),
            (Phase::Association, Some(answer)) => self.associated(answer, now),
            (_, None) => Step::Over(not_begun()),
        }
    }

    fn learned(&self) -> Remote {
        let contact = self.attaching.contact().map(str::to_owned);
        Remote { call: self.call.clone(), contact }
    }
}

impl Telling {
    /// The id that the call is told under again. By the unique property it is found without.
    fn known_call(&self) -> Option<&str> {
        self.call.as_deref().filter(|_| !self.is_upsert)
    }

    fn told(&mut self, answer: &Answer, now: Timestamp) -> Step {
        let was_deleted = answer.status == 404 && self.known_call().is_some();
        if was_deleted
            && !self.made_again
            && let Some(sheet) = &self.sheet
        {
            (self.made_again, self.call) = (true, None);
            return Step::Ask(self.api.tell(sheet, None, self.is_upsert));
        }
        let (verdict, words) = self.api.judge(answer, now);
        if verdict != Verdict::Delivered {
            return self.over(verdict, answer.status, words);
        }
        let body = answer.json();
        let result = body.pointer("/results/0/id").or_else(|| body.pointer("/id"));
        let Some(id) = result.and_then(Value::as_str) else {
            let verdict = Verdict::Retry { not_before: None };
            return self.over(verdict, answer.status, format!("not understood: {}", answer.status));
        };
        self.call = Some(id.to_owned());
        self.status = answer.status;
        self.associate()
    }

    fn associate(&mut self) -> Step {
        match (&self.call, self.attaching.contact()) {
            (Some(call), Some(contact)) => {
                self.phase = Phase::Association;
                Step::Ask(self.api.associate(call, contact))
            }
            _ => self.delivered(),
        }
    }

    fn associated(&mut self, answer: &Answer, now: Timestamp) -> Step {
        let (verdict, words) = self.api.judge(answer, now);
        match verdict {
            Verdict::Delivered => return self.delivered(),
            Verdict::Retry { .. } | Verdict::Gone => {
                return self.over(verdict, answer.status, format!("association: {words}"));
            }
            Verdict::Refused => {}
        }
        let is_gone = answer.status == 404 || words.contains("OBJECT_NOT_FOUND");
        if !is_gone {
            self.attaching.is_refused(&words);
            return self.delivered();
        }
        if self.attaching.is_gone() {
            self.phase = Phase::Contact;
            return self.next(None, now);
        }
        self.delivered()
    }

    fn delivered(&mut self) -> Step {
        let words = format!("delivered: {}{}", self.status, self.attaching.outcome());
        self.over(Verdict::Delivered, self.status, words)
    }

    fn over(&self, verdict: Verdict, status: u16, result: String) -> Step {
        Step::Over(Over { verdict, status: Some(status), result, remote: self.learned() })
    }
}

/// The requests, and what their answers mean.
struct Api {
    base: Url,
    property: String,
}

impl Api {
    fn tell(&self, sheet: &Sheet, known: Option<&str>, is_upsert: bool) -> Ask {
        let objects = ["crm", "v3", "objects", "calls"];
        if is_upsert {
            let url = below(&self.base, &[&objects[..], &["batch", "upsert"]].concat());
            let input = json!({
                "idProperty": self.property, "id": sheet.key, "properties": sheet.properties,
            });
            return Ask::json(Method::POST, url, &json!({ "inputs": [input] }));
        }
        let body = json!({ "properties": sheet.properties });
        match known {
            Some(id) => {
                Ask::json(Method::PATCH, below(&self.base, &[&objects[..], &[id]].concat()), &body)
            }
            None => Ask::json(Method::POST, below(&self.base, &objects), &body),
        }
    }

    /// HubSpot's own kind of association between a call and a contact: making it again changes
    /// nothing.
    fn associate(&self, call: &str, contact: &str) -> Ask {
        let path = ["crm", "v4", "objects", "calls", call, "associations", "default", "contacts"];
        Ask::bare(Method::PUT, below(&self.base, &[&path[..], &[contact]].concat()))
    }
}

impl Book for Api {
    /// HubSpot keeps what was typed, and beside it the digits without the country's calling code.
    fn search(&self, e164: &str, n: usize, _creates: bool) -> Option<Ask> {
        let national = phone::national(e164);
        let group = |property: &str, value: &str| json!({"filters": [{"propertyName": property, "operator": "EQ", "value": value}]});
        let body = json!({
            "filterGroups": [
                group("phone", e164),
                group("mobilephone", e164),
                group("hs_searchable_calculated_phone_number", national),
                group("hs_searchable_calculated_mobile_number", national),
            ],
            "properties": ["phone", "mobilephone"],
            "limit": 20,
        });
        let url = below(&self.base, &["crm", "v3", "objects", "contacts", "search"]);
        (n == 0).then(|| Ask::json(Method::POST, url, &body))
    }

    fn found(&self, answer: &Answer) -> Option<Vec<Match>> {
        let body = answer.json();
        let results = body.get("results")?.as_array()?;
        Some(results.iter().filter_map(found).collect())
    }

    fn create(&self, e164: &str, name: Option<&str>) -> Ask {
        let mut properties = json!({ "phone": e164 });
        if let Some(name) = name {
            let (first, last) = sheet::names(name);
            properties["lastname"] = json!(sheet::cut(last, LONGEST_TITLE));
            if let Some(first) = first {
                properties["firstname"] = json!(sheet::cut(first, LONGEST_TITLE));
            }
        }
        let url = below(&self.base, &["crm", "v3", "objects", "contacts"]);
        Ask::json(Method::POST, url, &json!({ "properties": properties }))
    }

    fn created(&self, answer: &Answer) -> Option<String> {
        answer.json().get("id")?.as_str().map(str::to_owned)
    }

    /// | answer | meaning |
    /// | --- | --- |
    /// | 207 with errors | as its first error: a rate limit or a conflict will pass, all else not |
    /// | 400 that names our property, or one that does not exist | to be set up there: tried again |
    /// | 423, 477 | locked or being moved: tried again |
    /// | 429 | tried again when the named limit lets it pass: `SECONDLY` 1 s, `TEN_SECONDLY_ROLLING` 10 s, `DAILY` an hour |
    /// | others | as everywhere |
    fn judge(&self, answer: &Answer, now: Timestamp) -> (Verdict, String) {
        let (verdict, words) = verdict::judge(answer.status, answer.retry_after.as_deref(), now);
        let body = answer.json();
        let text =
            |pointer: &str| body.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let error = match verdict {
            Verdict::Delivered => text("/errors/0/category"),
            _ => text("/category"),
        };
        if verdict == Verdict::Delivered && body.get("errors").is_none_or(is_empty) {
            return (verdict, words);
        }
        let code = sheet::code(error).map(|code| format!(" {code}")).unwrap_or_default();
        let retry = |words: &str| {
            let not_before = match verdict {
                Verdict::Retry { not_before } => not_before,
                _ => None,
            };
            (Verdict::Retry { not_before }, format!("{words}: {}{code}", answer.status))
        };
        let message = text("/message");
        match answer.status {
            200..=299 if ["RATE_LIMITS", "CONFLICT"].contains(&error) => retry("asked to wait"),
            200..=299 => (Verdict::Refused, format!("refused: {}{code}", answer.status)),
            423 | 477 => retry("asked to wait"),
            429 => {
                let wait = match text("/policyName") {
                    "SECONDLY" => 1,
                    "DAILY" => 3_600,
                    _ if message.contains("secondly") && !message.contains("ten") => 1,
                    _ => 10,
                };
                let soonest = now.checked_add(SignedDuration::from_secs(wait)).unwrap_or(now);
                let said = match verdict {
                    Verdict::Retry { not_before } => not_before,
                    _ => None,
                };
                let not_before = Some(said.map_or(soonest, |said| said.max(soonest)));
                (Verdict::Retry { not_before }, format!("{words}{code}"))
            }
            400 if message.contains("PROPERTY_DOESNT_EXIST")
                || message.contains(&self.property) =>
            {
                retry(&format!("to be set up there: the property {} or another", self.property))
            }
            _ => (verdict, format!("{words}{code}")),
        }
    }
}

fn is_empty(errors: &Value) -> bool {
    errors.as_array().is_none_or(Vec::is_empty)
}

fn found(result: &Value) -> Option<Match> {
    let numbers = ["phone", "mobilephone"]
        .iter()
        .filter_map(|name| result.get("properties")?.get(name)?.as_str().map(str::to_owned));
    Some(Match { id: result.get("id")?.as_str()?.to_owned(), numbers: numbers.collect(), rank: 0 })
}

#[cfg(test)]
mod tests;
