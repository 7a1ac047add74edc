//! Twilio: the lists of calls and of recordings. Parameters, fields and pages: Twilio's "Call
//! resource" and "Recordings resource" pages; times in a filter as its own SDKs write them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::AUTHORIZATION;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value};
use switchboard_domain::sync::Step;
use switchboard_domain::{ConfigError, Secret};

use super::{Answer, Asked, Page, Problem, Pull, Question, Settings, get, json, query};
use crate::twilio::Twilio;
use crate::{Provider, Source};

/// Where the REST API is, unless the source says otherwise (`api_url`).
const API_URL: &str = "https://api.twilio.com";
const CALLS: &str = "calls";
const RECORDINGS: &str = "recordings";
/// A page of calls or recordings, of 1,000 at most.
const PAGE_SIZE: u32 = 500;
/// A recording may be made so long after its call began.
const LATE: SignedDuration = SignedDuration::from_hours(4);
/// As long as an address of a next page may be, bytes.
const LONGEST_PAGE_URI: usize = 1_024;

/// Calls and recordings of an account.
pub struct Calls;

impl Pull for Calls {
    fn provider(&self) -> &'static dyn Provider {
        &Twilio
    }

    fn check(&self, source: &Source, settings: &Settings) -> Result<(), ConfigError> {
        let account = account(source, settings)?;
        let plain = |b: u8| b.is_ascii_alphanumeric();
        if account.is_empty() || !account.bytes().all(plain) {
            return Err(ConfigError::new("pull.account", "must be the account's SID, AC…"));
        }
        if settings.key.is_some() && settings.token.is_none() {
            return Err(ConfigError::new("pull.token", "is required: the secret of pull.key"));
        }
        token(source, settings, account).map(|_| ())
    }

    fn steps(&self, source: &Source, from: Timestamp, to: Timestamp) -> Vec<Step> {
        let mut steps = vec![Step::first(CALLS, from, to)];
        if source.pull.as_ref().is_none_or(|settings| settings.recordings) {
            steps.push(Step::first(RECORDINGS, from, to.checked_add(LATE).unwrap_or(to)));
        }
        steps
    }

    fn ask(
        &self,
        source: &Source,
        step: &Step,
        _token: Option<&Secret>,
    ) -> Result<Question, Problem> {
        let fault = |error: ConfigError| Problem::configuration(&error);
        let settings = super::settings(self, source).map_err(fault)?;
        let account = account(source, settings).map_err(fault)?;
        let token = token(source, settings, account).map_err(fault)?;
        let base = source.api_url.as_deref().unwrap_or(API_URL);
        let (list, time) = match step.of.as_str() {
            RECORDINGS => ("Recordings", "DateCreated"),
            _ => ("Calls", "StartTime"),
        };
        let url = match &step.at {
            Some(next) => format!("{base}{next}"),
            None => {
                let second = |at: Timestamp| at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
                let (after, before) = (format!("{time}>"), format!("{time}<"));
                let size = settings.page_size.unwrap_or(PAGE_SIZE).to_string();
                let pairs = [
                    (after.as_str(), second(step.from)),
                    (before.as_str(), second(step.to)),
                    ("PageSize", size),
                ];
                format!("{base}{}/{list}.json?{}", folder(account), query(pairs))
            }
        };
        let user = settings.key.as_deref().unwrap_or(account);
        let basic = format!("Basic {}", STANDARD.encode(format!("{user}:{}", token.expose())));
        get(&url, Some((AUTHORIZATION, &basic)))
    }

    fn read(&self, to: &Asked<'_>, step: &Step, answer: &Answer) -> Result<Page, Problem> {
        let mut value = json(answer, to.now)?;
        let listed = value.get_mut(&step.of).map(Value::take);
        let Some(Value::Array(records)) = listed else {
            return Err(Problem::unreadable("it is no list of what was asked for"));
        };
        let mut page = Page::default();
        for record in records {
            match step.of.as_str() {
                RECORDINGS => page.records.push(recording(to, &record)),
                _ if is_over(&record) => page.records.push(call(to, &record)),
                _ => page.unfinished += 1,
            }
        }
        if let Some(next) = value.get("next_page_uri").and_then(Value::as_str) {
            let fault = |error: ConfigError| Problem::configuration(&error);
            let settings = super::settings(self, to.source).map_err(fault)?;
            let own = format!("{}/", folder(account(to.source, settings).map_err(fault)?));
            // It is put behind our base address and asked for with the token.
            if !next.starts_with(&own) || next.len() > LONGEST_PAGE_URI {
                return Err(Problem::unreadable("its next page is elsewhere"));
            }
            page.next.push(step.at(next));
        }
        Ok(page)
    }
}

fn folder(account: &str) -> String {
    format!("/2010-04-01/Accounts/{account}")
}

/// The account: as set for pulling, else the one that a secret is bound to.
fn account<'a>(source: &'a Source, settings: &'a Settings) -> Result<&'a str, ConfigError> {
    let bound = || source.secrets.iter().find_map(|secret| secret.account.as_deref());
    let missing = || ConfigError::new("pull.account", "is required: the account's SID, AC…");
    settings.account.as_deref().or_else(bound).ok_or_else(missing)
}

/// The token: as set for pulling, else the account's signing token.
fn token<'a>(
    source: &'a Source,
    settings: &'a Settings,
    account: &str,
) -> Result<&'a Secret, ConfigError> {
    let signs = || {
        let mut secrets = source.secrets.iter();
        let fits = |of: &Option<String>| of.as_deref().is_none_or(|of| of == account);
        secrets.find(|secret| fits(&secret.account)).map(|secret| &secret.secret)
    };
    let missing = || ConfigError::new("pull.token", "is required: the account's auth token");
    settings.token.as_ref().or_else(signs).ok_or_else(missing)
}

fn is_over(record: &Value) -> bool {
    let status = record.get("status").and_then(Value::as_str).unwrap_or_default();
    // A status that nobody knows is read, and says nothing about the state.
    !matches!(status, "queued" | "initiated" | "ringing" | "in-progress")
}

/// A call of the list as a status callback.
fn call(to: &Asked<'_>, record: &Value) -> super::Request {
    let mut fields = renamed(
        record,
        &[
            ("sid", "CallSid"),
            ("account_sid", "AccountSid"),
            ("parent_call_sid", "ParentCallSid"),
            ("from", "From"),
            ("to", "To"),
            ("status", "CallStatus"),
            ("direction", "Direction"),
            ("start_time", "StartTime"),
            ("end_time", "Timestamp"),
            ("duration", "CallDuration"),
            ("answered_by", "AnsweredBy"),
            ("forwarded_from", "ForwardedFrom"),
            ("caller_name", "CallerName"),
        ],
    );
    let text = |fields: &Map<String, Value>, name: &str| {
        fields.get(name).and_then(Value::as_str).map(str::to_owned)
    };
    // The list says only `machine`.
    if text(&fields, "AnsweredBy").as_deref() == Some("machine") {
        fields.insert("AnsweredBy".into(), "machine_start".into());
    }
    // It has no duration of calls that nobody answered; the callback of one says 0.
    let unanswered = ["busy", "failed", "no-answer", "canceled"];
    let status = text(&fields, "CallStatus").unwrap_or_default();
    if unanswered.contains(&status.as_str()) && !fields.contains_key("CallDuration") {
        fields.insert("CallDuration".into(), "0".into());
    }
    to.webhook("/call-status-callback", &Value::Object(fields))
}

/// A recording of the list as a recording callback.
fn recording(to: &Asked<'_>, record: &Value) -> super::Request {
    let mut fields = renamed(
        record,
        &[
            ("call_sid", "CallSid"),
            ("account_sid", "AccountSid"),
            ("sid", "RecordingSid"),
            ("status", "RecordingStatus"),
            ("duration", "RecordingDuration"),
        ],
    );
    let media = record.get("media_url").and_then(Value::as_str).map(str::to_owned);
    // Older answers have the resource's own path alone: the media is there without `.json`.
    let beside = || {
        let uri = record.get("uri").and_then(Value::as_str)?;
        Some(format!("{API_URL}{}", uri.strip_suffix(".json").unwrap_or(uri)))
    };
    if let Some(url) = media.or_else(beside) {
        fields.insert("RecordingUrl".into(), url.into());
    }
    to.webhook("/recording-status-callback", &Value::Object(fields))
}

/// The fields of a record that a callback has too, under the callback's names.
fn renamed(record: &Value, names: &[(&str, &str)]) -> Map<String, Value> {
    let is_known = |value: &Value| !value.is_null() && value.as_str() != Some("");
    names
        .iter()
        .filter_map(|(from, to)| Some(((*to).to_owned(), record.get(from)?.clone())))
        .filter(|(_, value)| is_known(value))
        .collect()
}
