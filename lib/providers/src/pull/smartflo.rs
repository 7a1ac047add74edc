//! Tata Smartflo: the call detail records. Parameters, fields and pages: Smartflo's "Call Detail
//! Records" page; the token of a login: its "Login" page.

use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};
use switchboard_domain::sync::Step;
use switchboard_domain::{ConfigError, Secret};

use super::{Answer, Asked, Page, Problem, Pull, Question, Settings, get, query, wall_clock};
use crate::smartflo::Smartflo;
use crate::{Provider, Source};

/// Where the REST API is, unless the source says otherwise (`api_url`).
const API_URL: &str = "https://api-smartflo.tatateleservices.com";
const PATH: &str = "/api/v1/smartflo/webhook";
/// Smartflo's wall clocks are Indian, whatever the source's zone is for days.
const ZONE: &str = "Asia/Kolkata";
const PAGE_SIZE: u32 = 100;
/// A login's token is not used in its last minutes.
const MARGIN: SignedDuration = SignedDuration::from_mins(5);

/// The call detail records of an account.
pub struct Records;

impl Pull for Records {
    fn provider(&self) -> &'static dyn Provider {
        &Smartflo
    }

    fn check(&self, _source: &Source, settings: &Settings) -> Result<(), ConfigError> {
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

    fn login(&self, source: &Source) -> Option<Result<Question, Problem>> {
        let settings = source.pull.as_ref().filter(|settings| settings.token.is_none())?;
        let (email, password) = (settings.email.as_ref()?, settings.password.as_ref()?);
        let url = format!("{}/v1/auth/login", base(source));
        let body = json!({"email": email, "password": password.expose()});
        let request = http::Request::post(url)
            .header(ACCEPT, "application/json")
            .header(CONTENT_TYPE, "application/json")
            .body(body.to_string().into_bytes());
        let fault = |_| Problem::configuration(&ConfigError::new("api_url", "is no address"));
        Some(request.map_err(fault))
    }

    fn token(&self, answer: &Answer, now: Timestamp) -> Result<(Secret, Timestamp), Problem> {
        let value = super::json(answer, now)?;
        let token = value.get("access_token").and_then(Value::as_str);
        let token = token.ok_or_else(|| Problem::unreadable("a login without a token"))?;
        let lasts = value.get("expires_in").and_then(Value::as_i64).unwrap_or(3_600);
        let lasts = SignedDuration::from_secs(lasts.clamp(0, 86_400)).saturating_sub(MARGIN);
        Ok((Secret::new(token), now.checked_add(lasts).unwrap_or(now)))
    }

    fn ask(
        &self,
        source: &Source,
        step: &Step,
        token: Option<&Secret>,
    ) -> Result<Question, Problem> {
        let settings = super::settings(self, source).map_err(|e| Problem::configuration(&e))?;
        let token = settings.token.as_ref().or(token);
        let missing = || Problem::Refused { why: "no token: the login brought none".to_owned() };
        let token = token.ok_or_else(missing)?.expose().trim();
        let token = token.strip_prefix("Bearer ").unwrap_or(token);
        let zone = source.zone().unwrap_or_else(indian);
        // Both ends belong to the range that is asked for, and ours does not.
        let last = step.to.checked_sub(SignedDuration::from_secs(1)).unwrap_or(step.to);
        let pairs = [
            ("from_date", wall_clock(step.from, &zone)),
            ("to_date", wall_clock(last, &zone)),
            ("page", step.at.clone().unwrap_or_else(|| "1".to_owned())),
            ("limit", settings.page_size.unwrap_or(PAGE_SIZE).to_string()),
        ];
        let url = format!("{}/v1/call/records?{}", base(source), query(pairs));
        get(&url, Some((AUTHORIZATION, &format!("Bearer {token}"))))
    }

    fn read(&self, to: &Asked<'_>, step: &Step, answer: &Answer) -> Result<Page, Problem> {
        let mut value = super::json(answer, to.now)?;
        let Some(Value::Array(results)) = value.get_mut("results").map(Value::take) else {
            return Err(Problem::unreadable("it has no results"));
        };
        let size = to.source.pull.as_ref().and_then(|settings| settings.page_size);
        let size = u64::from(size.unwrap_or(PAGE_SIZE));
        let number = step.at.as_deref().and_then(|page| page.parse::<u64>().ok()).unwrap_or(1);
        let has_more = match whole(value.get("count")) {
            Some(count) => number.saturating_mul(size) < count,
            None => results.len() as u64 >= size,
        };
        let mut page = Page::default();
        if has_more && !results.is_empty() {
            page.next.push(step.at((number + 1).to_string()));
        }
        page.records = results.iter().map(|record| to.webhook(PATH, &call(record))).collect();
        Ok(page)
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

/// A record as a hangup that a webhook tells.
fn call(record: &Value) -> Value {
    let get = |name: &str| {
        record.get(name).filter(|value| !value.is_null() && value.as_str() != Some("")).cloned()
    };
    let text = |name: &str| get(name).and_then(|value| value.as_str().map(str::to_owned));
    let mut said = Map::new();
    let mut say = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            said.insert(name.to_owned(), value);
        }
    };
    for name in ["uuid", "call_id", "direction", "recording_url", "hangup_cause", "ref_id"] {
        say(name, get(name));
    }
    for name in ["custom_identifier", "campaign_name", "campaign_id"] {
        say(name, get(name));
    }
    say("call_status", get("status"));
    say("reason_key", get("reason_key"));
    say("duration", get("call_duration"));
    say("billsec", get("answered_seconds"));

    let start = text("date").map(|date| format!("{date} {}", text("time").unwrap_or_default()));
    let start = start.map(|start| start.trim().to_owned());
    let end = text("end_stamp").or_else(|| {
        let lasted = i64::try_from(whole(record.get("call_duration"))?).ok()?;
        let wall: DateTime = start.as_ref()?.replace(' ', "T").parse().ok()?;
        let end = wall.checked_add(SignedDuration::from_secs(lasted)).ok()?;
        Some(end.strftime("%Y-%m-%d %H:%M:%S").to_string())
    });
    say("start_stamp", start.map(Value::from));
    say("end_stamp", end.map(Value::from));

    // Of the two numbers one is shown and one is dialled, which depends on the direction.
    let is_inbound = text("direction").is_some_and(|way| way.eq_ignore_ascii_case("inbound"));
    let (shown, dialled) =
        if is_inbound { ("client_number", "did_number") } else { ("did_number", "client_number") };
    say("caller_id_number", get(shown));
    say("call_to_number", get(dialled));
    say("customer_no_with_prefix", get("client_number"));
    say("agent_number", get("agent_number"));
    say("answered_agent_name", get("agent_name"));
    say("missed_agent", get("missed_agents"));
    Value::Object(said)
}
