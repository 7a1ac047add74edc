//! Twilio: the lists of calls and of recordings. Parameters, fields and pages: Twilio's "Call
//! resource" and "Recordings resource" pages; times in a filter as its own SDKs write them.

use async_trait::async_trait;
use http::header::AUTHORIZATION;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value};
use switchboard_domain::sync::Step;
use switchboard_domain::{ConfigError, later};

use super::settings::{self, API_URL, Settings};
use super::webhook::Twilio;
use crate::provider::Provider;
use crate::pull::{Page, Problem, Pull, Session, not_set_up};
use crate::request::Request;
use crate::rest::{self, query};
use crate::source::Source;

const CALLS: &str = "calls";
const RECORDINGS: &str = "recordings";
/// A page of calls or recordings, of 1,000 at most.
const PAGE_SIZE: u32 = 500;
/// A recording may be made so long after its call began.
const LATE: SignedDuration = SignedDuration::from_hours(4);
/// As long as an address of a next page may be, bytes.
const LONGEST_PAGE_URI: usize = 1_024;

/// Calls and recordings of an account.
pub struct TwilioPull;

#[async_trait]
impl Pull for TwilioPull {
    fn provider(&self) -> &'static dyn Provider {
        &Twilio
    }

    fn check(&self, source: &Source) -> Result<(), ConfigError> {
        let settings = settings(source)?;
        settings.token(source, settings.account(source)?).map(|_| ())
    }

    fn steps(&self, source: &Source, from: Timestamp, to: Timestamp) -> Vec<Step> {
        let mut steps = vec![Step::first(CALLS, from, to)];
        if settings(source).is_ok_and(|settings| settings.recordings) {
            steps.push(Step::first(RECORDINGS, from, later(to, LATE)));
        }
        steps
    }

    async fn page(&self, session: &Session<'_>, step: &Step) -> Result<Page, Problem> {
        let source = session.source;
        let settings = settings(source)?;
        let account = settings.account(source)?;
        let token = settings.token(source, account)?;
        let base = source.api_url.as_deref().unwrap_or(API_URL);
        let folder = format!("/2010-04-01/Accounts/{account}");
        let url = match &step.at {
            Some(next) => format!("{base}{next}"),
            None => {
                let size = settings.page_size.unwrap_or(PAGE_SIZE);
                format!("{base}{folder}/{}", first_page(step, size))
            }
        };
        let authorization = rest::basic(settings.key.as_deref().unwrap_or(account), token)?;
        let response = session.get(&url, Some((AUTHORIZATION, authorization))).await?;

        let mut value = session.json(&response)?;
        let Some(Value::Array(records)) = value.get_mut(&step.of).map(Value::take) else {
            return Err(Problem::unreadable("it is not the list that was requested"));
        };
        let mut page = Page::default();
        for record in records {
            match step.of.as_str() {
                RECORDINGS => page.records.push(recording(session, &record)),
                _ if is_over(&record) => page.records.push(call(session, &record)),
                _ => page.unfinished += 1,
            }
        }
        if let Some(next) = value.get("next_page_uri").and_then(Value::as_str) {
            // The token is sent to our base address with this path.
            if !next.starts_with(&format!("{folder}/")) || next.len() > LONGEST_PAGE_URI {
                return Err(Problem::unreadable("its next page is elsewhere"));
            }
            page.next.push(step.at(next));
        }
        Ok(page)
    }
}

fn settings(source: &Source) -> Result<&settings::Pull, ConfigError> {
    source.own::<Settings>().and_then(|settings| settings.pull.as_ref()).ok_or_else(not_set_up)
}

/// The list of a step, and its query.
fn first_page(step: &Step, size: u32) -> String {
    let (list, time) = match step.of.as_str() {
        RECORDINGS => ("Recordings", "DateCreated"),
        _ => ("Calls", "StartTime"),
    };
    let second = |at: Timestamp| at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let (after, before) = (format!("{time}>"), format!("{time}<"));
    let pairs = [
        (after.as_str(), second(step.from)),
        (before.as_str(), second(step.to)),
        ("PageSize", size.to_string()),
    ];
    format!("{list}.json?{}", query(pairs))
}

fn is_over(record: &Value) -> bool {
    let status = record.get("status").and_then(Value::as_str).unwrap_or_default();
    // An unknown status is read, and says nothing about the state.
    !matches!(status, "queued" | "initiated" | "ringing" | "in-progress")
}

/// A call of the list as a status callback.
fn call(session: &Session<'_>, record: &Value) -> Request {
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
    // It has no duration of unanswered calls; the callback of one says 0.
    let unanswered = ["busy", "failed", "no-answer", "canceled"];
    let status = text(&fields, "CallStatus").unwrap_or_default();
    if unanswered.contains(&status.as_str()) && !fields.contains_key("CallDuration") {
        fields.insert("CallDuration".into(), "0".into());
    }
    session.webhook("/call-status-callback", &Value::Object(fields))
}

/// A recording of the list as a recording callback.
fn recording(session: &Session<'_>, record: &Value) -> Request {
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
    session.webhook("/recording-status-callback", &Value::Object(fields))
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
