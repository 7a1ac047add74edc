//! Tata Smartflo: the call detail records. Parameters, fields and pages: Smartflo's "Call Detail
//! Records" page.

use async_trait::async_trait;
use http::header::AUTHORIZATION;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value};
use switchboard_domain::sync::Step;
use switchboard_domain::{ConfigError, Secret};

use super::login::{self, LoginError};
use super::settings::{self, API_URL, Settings};
use super::webhook::Smartflo;
use crate::provider::Provider;
use crate::pull::{LIMITS, Page, Problem, Pull, Session, last_second, not_set_up, page_number};
use crate::rest::{self, query};
use crate::source::Source;

const PATH: &str = "/api/v1/smartflo/webhook";
/// Smartflo's wall clocks are Indian, whatever the source's zone is for days.
const ZONE: &str = "Asia/Kolkata";
const PAGE_SIZE: u32 = 100;
/// A login's token is not used in its last minutes.
const MARGIN: SignedDuration = SignedDuration::from_mins(5);

/// The call detail records of an account.
pub struct SmartfloPull;

#[async_trait]
impl Pull for SmartfloPull {
    fn provider(&self) -> &'static dyn Provider {
        &Smartflo
    }

    fn check(&self, source: &Source) -> Result<(), ConfigError> {
        let settings = settings(source)?;
        let has_login = settings.email.is_some() && settings.password.is_some();
        if settings.token.is_none() && !has_login {
            let problem = "is required, or pull.email and pull.password";
            return Err(ConfigError::new("pull.token", problem));
        }
        Ok(())
    }

    fn zone(&self, source: &Source) -> TimeZone {
        source.zone().unwrap_or_else(indian)
    }

    fn steps(&self, _source: &Source, from: Timestamp, to: Timestamp) -> Vec<Step> {
        vec![Step::first("records", from, to)]
    }

    async fn page(&self, session: &Session<'_>, step: &Step) -> Result<Page, Problem> {
        let settings = settings(session.source)?;
        let (token, is_login) = match &settings.token {
            Some(token) => (token.clone(), false),
            None => (log_in(session, settings).await?, true),
        };
        let zone = self.zone(session.source);
        let wall_clock = |at| zone.to_datetime(at).strftime("%Y-%m-%d %H:%M:%S").to_string();
        let (number, size) = (page_number(step), settings.page_size.unwrap_or(PAGE_SIZE));
        let pairs = [
            ("from_date", wall_clock(step.from)),
            ("to_date", wall_clock(last_second(step.to))),
            ("page", number.to_string()),
            ("limit", size.to_string()),
        ];
        let url = format!("{}/v1/call/records?{}", base(session.source), query(pairs));
        let response = session.get(&url, Some((AUTHORIZATION, rest::bearer(&token)?))).await?;

        let mut value = match session.json(&response) {
            Err(Problem::Refused { why }) if is_login => {
                // The token may have ended early: the next try logs in again.
                session.logins.forget(&session.place());
                return Err(Problem::Failed { why });
            }
            read => read?,
        };
        let Some(Value::Array(results)) = value.get_mut("results").map(Value::take) else {
            return Err(Problem::unreadable("it has no results"));
        };
        let has_more = match whole(value.get("count")) {
            Some(count) => number.saturating_mul(size.into()) < count,
            None => results.len() as u64 >= size.into(),
        };
        let mut page = Page::default();
        if has_more && !results.is_empty() {
            page.next.push(step.at((number + 1).to_string()));
        }
        page.records = results.iter().map(|record| session.webhook(PATH, &call(record))).collect();
        Ok(page)
    }
}

fn settings(source: &Source) -> Result<&settings::Pull, ConfigError> {
    source.own::<Settings>().and_then(|settings| settings.pull.as_ref()).ok_or_else(not_set_up)
}

async fn log_in(session: &Session<'_>, settings: &settings::Pull) -> Result<Secret, Problem> {
    let missing = || ConfigError::new("pull.token", "is required, or pull.email and pull.password");
    let (email, password) =
        settings.email.as_ref().zip(settings.password.as_ref()).ok_or_else(missing)?;
    let user = (base(session.source), email, password);
    let Session { http, logins, clock, .. } = session;
    let token = login::token(*http, logins, &session.place(), user, (MARGIN, LIMITS), clock).await;
    match token {
        Ok(token) => Ok(token),
        Err(LoginError::Unsent(error)) => Err(error.into()),
        Err(LoginError::Answered(response)) => {
            session.body(&response)?;
            Err(Problem::unreadable("a login without a token"))
        }
    }
}

fn base(source: &Source) -> &str {
    source.api_url.as_deref().unwrap_or(API_URL)
}

fn indian() -> TimeZone {
    switchboard_domain::time::zone(ZONE).unwrap_or(TimeZone::UTC)
}

fn whole(value: Option<&Value>) -> Option<u64> {
    match value? {
        Value::String(text) => text.trim().parse().ok(),
        other => other.as_u64(),
    }
}

/// A record as the webhook's message of a hangup.
fn call(record: &Value) -> Value {
    let get = |name: &str| {
        record.get(name).filter(|value| !value.is_null() && value.as_str() != Some("")).cloned()
    };
    let text = |name: &str| get(name).and_then(|value| value.as_str().map(str::to_owned));
    let mut message = Map::new();
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            message.insert(name.to_owned(), value);
        }
    };
    for name in ["uuid", "call_id", "direction", "recording_url", "hangup_cause", "ref_id"] {
        put(name, get(name));
    }
    for name in ["custom_identifier", "campaign_name", "campaign_id"] {
        put(name, get(name));
    }
    put("call_status", get("status"));
    put("reason_key", get("reason_key"));
    put("duration", get("call_duration"));
    put("billsec", get("answered_seconds"));

    let start = text("date").map(|date| format!("{date} {}", text("time").unwrap_or_default()));
    let start = start.map(|start| start.trim().to_owned());
    let end = text("end_stamp").or_else(|| {
        let lasted = i64::try_from(whole(record.get("call_duration"))?).ok()?;
        let wall: DateTime = start.as_ref()?.replace(' ', "T").parse().ok()?;
        let end = wall.checked_add(SignedDuration::from_secs(lasted)).ok()?;
        Some(end.strftime("%Y-%m-%d %H:%M:%S").to_string())
    });
    put("start_stamp", start.map(Value::from));
    put("end_stamp", end.map(Value::from));

    // Of the two numbers one is shown and one is dialled, which depends on the direction.
    let is_inbound = text("direction").is_some_and(|way| way.eq_ignore_ascii_case("inbound"));
    let (shown, dialled) =
        if is_inbound { ("client_number", "did_number") } else { ("did_number", "client_number") };
    put("caller_id_number", get(shown));
    put("call_to_number", get(dialled));
    put("customer_no_with_prefix", get("client_number"));
    put("agent_number", get("agent_number"));
    put("answered_agent_name", get("agent_name"));
    put("missed_agent", get("missed_agents"));
    Value::Object(message)
}
