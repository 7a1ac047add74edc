//! Salesforce: one completed task of the subtype call per call, upserted by an external id, attached to
//! the contact or lead that has the number.
//!
//! Of the references of Salesforce's REST API and of the object Task.

use std::collections::BTreeMap;

use http::Method;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use switchboard_domain::delivery::{Remote, Verdict};
use switchboard_domain::{ConfigError, Direction, Outcome, Personal};
use url::Url;

use super::sheet;
use super::{ENTRY_EVENTS, Kind, RenderContext, Token};
use crate::contacts::{Attaching, Turn};
use crate::destination::{Deduplication, Destination};
use crate::exchange::{Answer, Ask, Exchange, Over, Step, Told, Whom, below, not_begun};
use crate::fields::Fields;

mod answers;
mod book;

use answers::{Problem, problem};

/// What the format is and can.
pub const KIND: Kind = Kind {
    name: "salesforce",
    events: ENTRY_EVENTS,
    tells_transcript: false,
    tells_analysis: true,
    deduplications: &[Deduplication::Upsert, Deduplication::Search, Deduplication::None],
    cannot: "Salesforce obeys no idempotency key",
    is_api: true,
    // Each org has a host of its own.
    host: None,
    has_contacts: true,
    auths: &["oauth_jwt", "oauth_refresh"],
    token: Some(&Token { scheme: "Bearer", url: token_url, client_in_header: false }),
    check: |settings| Settings::read(settings).map(|_| ()),
    render: |destination, context| render(&settings(destination), context),
    begin,
};

/// The external id of tasks that holds our key, where a configuration names no other field.
pub const FIELD: &str = "Switchboard_Call_Key__c";
const VERSION: &str = "v62.0";
/// What the fields of a task take.
const LONGEST_SUBJECT: usize = 255;
const LONGEST_DESCRIPTION: usize = 32_000;
/// Who has used up the org's requests of a day is not let in again soon.
const USED_UP: SignedDuration = SignedDuration::from_mins(15);

/// What a configuration says under `settings`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The external id of tasks that holds our key.
    field: String,
    version: String,
    /// What a task's status is called that is over.
    status: String,
    creates: Creates,
    /// Salesforce's users by the directory's employees.
    owners: BTreeMap<String, String>,
}

/// What somebody unknown becomes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Creates {
    #[default]
    Contact,
    Lead,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            field: FIELD.to_owned(),
            version: VERSION.to_owned(),
            status: "Completed".to_owned(),
            creates: Creates::Contact,
            owners: BTreeMap::new(),
        }
    }
}

impl Settings {
    /// Reads and checks them.
    pub fn read(settings: &Value) -> Result<Self, ConfigError> {
        let mut fields = Fields::of("settings", "settings.", settings.clone())?;
        let usual = Self::default();
        let expected = "must be the API name of a field, as Switchboard_Call_Key__c";
        let field = fields.optional("field", expected)?.unwrap_or(usual.field);
        let is_plain = |b: u8| b == b'_' || b.is_ascii_alphanumeric();
        let begins = field.starts_with(|c: char| c.is_ascii_alphabetic());
        if !begins || field.len() > 80 || !field.bytes().all(is_plain) {
            return Err(fields.fault("field", expected));
        }
        let expected = "must be a version of the REST API, as v62.0";
        let version: String = fields.optional("api_version", expected)?.unwrap_or(usual.version);
        let number = version.strip_prefix('v').and_then(|rest| rest.strip_suffix(".0"));
        // From v46 on the answer to an upsert holds the id.
        let is_version = number.and_then(|number| number.parse().ok());
        if !is_version.is_some_and(|version: u16| (46..1_000).contains(&version)) {
            return Err(fields.fault("api_version", expected));
        }
        let expected = "must be a status of tasks, as Completed";
        let status: String = fields.optional("status", expected)?.unwrap_or(usual.status);
        if status.trim().is_empty() || status.chars().count() > 40 {
            return Err(fields.fault("status", expected));
        }
        let creates = fields.optional("creates", "must be contact or lead")?.unwrap_or_default();
        let expected =
            "must be an object of user ids, 15 or 18 letters and digits, by employee ids";
        let owners: BTreeMap<String, String> =
            fields.optional("owners", expected)?.unwrap_or_default();
        let is_id = |id: &String| {
            [15, 18].contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric())
        };
        if !owners.values().all(is_id) {
            return Err(fields.fault("owners", expected));
        }
        fields.end()?;
        Ok(Self { field, version, status, creates, owners })
    }
}

/// They were checked when the configuration was read.
fn settings(destination: &Destination) -> Settings {
    Settings::read(&destination.settings).unwrap_or_default()
}

fn token_url(base: &Url) -> Option<Url> {
    Some(below(base, &["services", "oauth2", "token"]))
}

/// What a delivery keeps.
#[derive(Serialize, Deserialize)]
struct Sheet {
    key: String,
    task: Task,
    contact: Whom,
}

/// A task, in Salesforce's words.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Task {
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

/// What every attempt tells of a call.
fn render(settings: &Settings, context: &RenderContext<'_>) -> Vec<u8> {
    let record = context.record;
    let call = &record.call;
    let key = sheet::key(record);
    let owner = sheet::employee(record).and_then(|employee| settings.owners.get(employee));
    let task = Task {
        subject: Personal::new(sheet::cut(sheet::title(record), LONGEST_SUBJECT)),
        status: settings.status.clone(),
        activity_date: sheet::began(record).to_zoned(TimeZone::UTC).date().to_string(),
        call_type: call.facts.direction.map(call_type).map(str::to_owned),
        call_disposition: call.outcome.map(disposition).map(str::to_owned),
        call_duration_in_seconds: sheet::talk(call).map(|talk| talk.0),
        call_object: key.clone(),
        description: Personal::new(sheet::cut(&description(context), LONGEST_DESCRIPTION)),
        owner_id: owner.cloned(),
    };
    // Texts and numbers always serialize.
    serde_json::to_vec(&Sheet { key, task, contact: sheet::whom(record) }).unwrap_or_default()
}

/// What a task has no fields for: when the call was, between which numbers, its recording; and the
/// summary.
fn description(context: &RenderContext<'_>) -> String {
    let record = context.record;
    let facts = &record.call.facts;
    let mut lines = vec![format!("Began: {}", sheet::began(record))];
    for (name, party) in [("From", &facts.from), ("To", &facts.to)] {
        let side = sheet::side(record, party.as_ref());
        lines.extend(side.map(|side| format!("{name}: {side}")));
    }
    lines.extend(sheet::recording(record).map(|url| format!("Recording: {url}")));
    lines.extend(sheet::summary(context).map(|summary| format!("\n{summary}")));
    lines.join("\n")
}

fn call_type(direction: Direction) -> &'static str {
    match direction {
        Direction::Inbound => "Inbound",
        Direction::Outbound => "Outbound",
        Direction::Internal => "Internal",
    }
}

fn disposition(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Answered => "Answered",
        Outcome::NoAnswer => "No answer",
        Outcome::Busy => "Busy",
        Outcome::Failed => "Failed",
        Outcome::Canceled => "Canceled",
        Outcome::Voicemail => "Voicemail",
    }
}

fn begin(destination: &Destination, told: &Told<'_>) -> Box<dyn Exchange> {
    let sheet = serde_json::from_slice::<Sheet>(told.body).ok();
    let whom = sheet.as_ref().map(|sheet| sheet.contact.clone()).unwrap_or_default();
    Box::new(Telling {
        api: Api { base: destination.url.clone(), settings: settings(destination) },
        by: destination.deduplication,
        sheet,
        attaching: Attaching::new(destination.contacts, whom, told.remote.contact.as_ref()),
        call: told.remote.call.clone(),
        has_subtype: told.remote.call.is_none(),
        made_again: false,
        phase: Phase::Contact,
    })
}

/// The requests.
struct Api {
    base: Url,
    settings: Settings,
}

impl Api {
    fn at(&self, path: &[&str]) -> Url {
        let version = self.settings.version.as_str();
        below(&self.base, &[&["services", "data", version], path].concat())
    }

    fn query(&self, soql: &str) -> Ask {
        let mut url = self.at(&["query"]);
        url.query_pairs_mut().append_pair("q", soql);
        Ask::bare(Method::GET, url)
    }
}

/// Contact first, then the task, which names it: nothing is left to do after the task is there.
struct Telling {
    api: Api,
    by: Deduplication,
    sheet: Option<Sheet>,
    attaching: Attaching,
    call: Option<String>,
    /// The subtype can be set when a task is created, and not later.
    has_subtype: bool,
    made_again: bool,
    phase: Phase,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Contact,
    Search,
    Task,
}

impl Exchange for Telling {
    fn next(&mut self, answer: Option<&Answer>, now: Timestamp) -> Step {
        if self.sheet.is_none() {
            return Step::Over(not_begun());
        }
        match (self.phase, answer) {
            (Phase::Contact, answer) => match self.attaching.next(&self.api, answer, now) {
                Turn::Ask(ask) => Step::Ask(ask),
                Turn::Later(verdict, status, result) => self.over(verdict, status, result),
                Turn::Settled => self.tell(),
            },
            (Phase::Search, Some(answer)) => self.searched(answer, now),
            (Phase::Task, Some(answer)) => self.told(answer, now),
            (_, None) => Step::Over(not_begun()),
        }
    }

    fn learned(&self) -> Remote {
        let contact = self.attaching.contact().map(str::to_owned);
        Remote { call: self.call.clone(), contact }
    }
}

impl Telling {
    /// The next request about the task itself.
    fn tell(&mut self) -> Step {
        let Some(sheet) = &self.sheet else { return Step::Over(not_begun()) };
        if self.by == Deduplication::Search && self.call.is_none() && !self.made_again {
            self.phase = Phase::Search;
            let key = &sheet.key;
            let soql = format!(
                "SELECT Id FROM Task WHERE CallObject = '{key}' ORDER BY CreatedDate ASC, Id ASC LIMIT 1"
            );
            return Step::Ask(self.api.query(&soql));
        }
        self.phase = Phase::Task;
        // A task always serializes.
        let mut body = serde_json::to_value(&sheet.task).unwrap_or_default();
        if self.has_subtype {
            body["TaskSubtype"] = json!("Call");
        }
        if let Some(contact) = self.attaching.contact() {
            body["WhoId"] = json!(contact);
        }
        let tasks = ["sobjects", "Task"];
        let (method, path) = match (&self.call, self.by) {
            (_, Deduplication::Upsert) => {
                (Method::PATCH, vec![self.api.settings.field.as_str(), sheet.key.as_str()])
            }
            (Some(id), _) => (Method::PATCH, vec![id.as_str()]),
            (None, _) => (Method::POST, Vec::new()),
        };
        Step::Ask(Ask::json(method, self.api.at(&[&tasks[..], &path].concat()), &body))
    }

    fn searched(&mut self, answer: &Answer, now: Timestamp) -> Step {
        let problem = problem(answer, &self.api.settings.field, now);
        if problem.verdict != Verdict::Delivered {
            return self.over(problem.verdict, answer.status, format!("search: {}", problem.words));
        }
        let body = answer.json();
        let Some(records) = body.get("records").and_then(Value::as_array) else {
            return self.not_understood(answer);
        };
        let id = records.first().and_then(|record| record.get("Id")?.as_str());
        self.call = id.map(str::to_owned);
        self.has_subtype = self.call.is_none();
        // It was looked for: what is not there is created.
        self.made_again = self.call.is_none();
        self.tell()
    }

    fn told(&mut self, answer: &Answer, now: Timestamp) -> Step {
        let problem = problem(answer, &self.api.settings.field, now);
        if self.may_go_on(answer, &problem) {
            // The contact is looked for once more, or left out; the task is told otherwise.
            return self.next(None, now);
        }
        if problem.verdict != Verdict::Delivered {
            return self.over(problem.verdict, answer.status, problem.words);
        }
        let said = answer.json().get("id").and_then(Value::as_str).map(str::to_owned);
        let Some(id) = said.or(self.call.take()) else {
            return match self.by {
                // Before v46 the answer to an upsert that found a task held nothing.
                Deduplication::Upsert => self.delivered(answer.status),
                _ => self.not_understood(answer),
            };
        };
        self.call = Some(id);
        self.delivered(answer.status)
    }

    /// Whether the task can be told otherwise than it was refused.
    fn may_go_on(&mut self, answer: &Answer, problem: &Problem) -> bool {
        if self.has_subtype && problem.is_about("INVALID_FIELD_FOR_INSERT_UPDATE", "TaskSubtype") {
            self.has_subtype = false;
            self.phase = Phase::Contact;
            return true;
        }
        if self.attaching.contact().is_some() && problem.is_about_a_missing_contact() {
            self.attaching.is_gone();
            self.phase = Phase::Contact;
            return true;
        }
        // The task was deleted: it is made again, once.
        if answer.status == 404
            && self.by != Deduplication::Upsert
            && self.call.is_some()
            && !self.made_again
        {
            (self.made_again, self.call, self.has_subtype) = (true, None, true);
            self.phase = Phase::Contact;
            return true;
        }
        false
    }

    fn delivered(&self, status: u16) -> Step {
        let words = format!("delivered: {status}{}", self.attaching.outcome());
        self.over(Verdict::Delivered, status, words)
    }

    fn not_understood(&self, answer: &Answer) -> Step {
        let verdict = Verdict::Retry { not_before: None };
        self.over(verdict, answer.status, format!("not understood: {}", answer.status))
    }

    fn over(&self, verdict: Verdict, status: u16, result: String) -> Step {
        Step::Over(Over { verdict, status: Some(status), result, remote: self.learned() })
    }
}

#[cfg(test)]
mod tests;
