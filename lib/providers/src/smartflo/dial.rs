//! Tata Smartflo's "Click to Call", "Hangup" and "Live Calls" (API v1).
//!
//! Since October 2024 a click-to-call is asynchronous: the response comes before any phone rings,
//! has no call id, and has a `ref_id` of Smartflo's own. What we give it is the
//! `custom_identifier`; its webhooks repeat both.

use async_trait::async_trait;
use http::HeaderValue;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use switchboard_domain::dial_request::{DialFault, DialRequest};
use switchboard_domain::directory::Employee;
use switchboard_domain::{ConfigError, Name, Personal};
use switchboard_http::{Http, SendError};

use super::login::{self, LoginError};
use super::settings::{API_URL, Credentials, Settings};
use super::webhook::Smartflo;
use crate::dial::{
    Account, Client, DialError, Dialer, Ending, LIMITS, LOGIN, Live, Placing, id, not_placed,
};
use crate::dialing::Dialing;
use crate::provider::Provider;
use crate::rest::{self, Logins};
use crate::settings::check_sendable;
use crate::source::Source;

/// A token is not used in its last minute.
const MARGIN: SignedDuration = SignedDuration::from_secs(60);

/// Tata Smartflo.
pub struct SmartfloDialer;

#[async_trait]
impl Dialer for SmartfloDialer {
    fn provider(&self) -> &'static dyn Provider {
        &Smartflo
    }

    fn check(&self, _dialing: &Dialing, source: &Source) -> Result<(), ConfigError> {
        let wrong = |problem| Err(ConfigError::new("dial.token", problem));
        let none = Credentials::default();
        let dial = own(source).unwrap_or(&none);
        check_sendable("dial.token", &dial.token)?;
        match (&dial.token, &dial.email, &dial.password) {
            (Some(_), None, None) | (None, Some(_), Some(_)) => Ok(()),
            (Some(_), _, _) => wrong("or email and password, not both"),
            (None, _, _) => wrong("is required, or email and password"),
        }
    }

    fn rings_numbers(&self) -> bool {
        false
    }

    fn agent_of(&self, employee: &Employee, source: &Name) -> Option<Personal> {
        let of = |wanted: Option<&Name>| {
            employee.extensions.iter().find(|extension| extension.source.as_ref() == wanted)
        };
        let extension = of(Some(source)).or_else(|| of(None));
        extension.map(|extension| &extension.number).or(employee.numbers.first()).cloned()
    }

    /// `1775719461.306731`, with or without the name of a host; a `uuid` ends nothing.
    fn can_end(&self, call_id: &str) -> bool {
        let is_part = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        plain(call_id).split_once('.').is_some_and(|(at, n)| is_part(at) && is_part(n))
    }

    async fn authorize(
        &self,
        http: &dyn Http,
        logins: &Logins,
        account: &Account<'_>,
        now: Timestamp,
    ) -> Result<HeaderValue, DialError> {
        let dial = own(account.source).ok_or(SendError::NotBuilt)?;
        if let Some(token) = &dial.token {
            return Ok(rest::bearer(token)?);
        }
        let (Some(email), Some(password)) = (&dial.email, &dial.password) else {
            return Err(SendError::NotBuilt.into());
        };
        let user = (base(account), email, password);
        let token =
            login::token(http, logins, &account.place(), user, (MARGIN, LOGIN), &|| now).await;
        match token {
            Ok(token) => Ok(rest::bearer(&token)?),
            Err(LoginError::Unsent(error)) => Err(error.into()),
            Err(LoginError::Answered(response)) if response.is_success() => {
                Err(DialError::unreadable())
            }
            Err(LoginError::Answered(response)) => Err(DialError::of(response.status)),
        }
    }

    async fn place(&self, client: &Client<'_>, dial_request: &DialRequest) -> Placing {
        let order = &dial_request.order;
        let reference = order.context.lead_id.as_deref().unwrap_or(dial_request.id.as_str());
        let mut body = json!({
            "agent_number": order.agent.expose(),
            "destination_number": order.to.expose(),
            "async": 1,
            "custom_identifier": reference,
        });
        if let Some(caller_id) = &order.caller_id {
            body["caller_id"] = caller_id.expose().into();
        }
        if let Some(longest) = client.account.dialing.longest_seconds {
            body["call_timeout"] = longest.into();
        }
        let (status, body) = match post(client, "/v1/click_to_call", &body).await {
            Ok(response) => response,
            Err(error) => return error.into(),
        };
        if !(200..300).contains(&status) {
            return not_placed(status, None);
        }
        match success(&body) {
            Some(true) => {
                Placing::Placed { call_id: id(&body["call_id"]), ref_id: id(&body["ref_id"]) }
            }
            Some(false) => {
                let why = "the provider reported a failure".to_owned();
                Placing::Refused { fault: DialFault::Request, why }
            }
            None => Placing::Unknown {
                why: format!("the provider responded {status} with an unknown body"),
            },
        }
    }

    async fn hang_up(&self, client: &Client<'_>, call_id: &str) -> Ending {
        let body = json!({"call_id": plain(call_id)});
        let (status, body) = match post(client, "/v1/call/hangup", &body).await {
            Ok(response) => response,
            Err(error) => return Ending::Failed(error.into()),
        };
        match status {
            200..=299 => match success(&body) {
                Some(true) => Ending::Done,
                Some(false) => Ending::NotLive,
                None => Ending::Failed(DialError::unreadable()),
            },
            400 | 404 | 422 => Ending::NotLive,
            401 => Ending::NotAuthenticated,
            status => Ending::Failed(DialError::of(status)),
        }
    }

    async fn live(
        &self,
        client: &Client<'_>,
        _dial_request: &DialRequest,
    ) -> Result<Vec<Live>, DialError> {
        let url = format!("{}/v1/live_calls", base(&client.account));
        let (status, body) = client.send(rest::get(&url, LIMITS)).await?;
        if !(200..300).contains(&status) {
            return Err(DialError::of(status));
        }
        let calls = body.as_array().or_else(|| body["data"].as_array());
        let calls = calls.ok_or_else(DialError::unreadable)?.iter();
        // 1 is inbound, 2 is outbound: as a number, or as text.
        let is_outbound = |call: &&Value| {
            call["direction"] == json!(2)
                || call["direction"].as_str().is_some_and(|way| way == "2" || way == "outbound")
        };
        let read = |call: &Value| {
            let call_id = id(&call["call_id"])?;
            let customer = call["customer_number"].as_str().and_then(Personal::known);
            Some(Live { call_id, customer, agent: None })
        };
        Ok(calls.filter(is_outbound).filter_map(read).collect())
    }
}

fn own(source: &Source) -> Option<&Credentials> {
    source.own::<Settings>()?.dial.as_ref()
}

fn base<'a>(account: &Account<'a>) -> &'a str {
    account.dialing.api_url.as_deref().unwrap_or(API_URL)
}

async fn post(client: &Client<'_>, path: &str, body: &Value) -> Result<(u16, Value), SendError> {
    let url = format!("{}{path}", base(&client.account));
    client.send(rest::post_json(&url, body, LIMITS)).await
}

fn success(body: &Value) -> Option<bool> {
    match &body["success"] {
        Value::Bool(success) => Some(*success),
        Value::String(text) if text.eq_ignore_ascii_case("true") => Some(true),
        Value::String(text) if text.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

/// A call's id without the name of a host that webhooks write before it: `h11.08-1770532638.2135`.
fn plain(call_id: &str) -> &str {
    match call_id.split_once('-') {
        Some((host, rest))
            if host.strip_prefix('h').is_some_and(|host| {
                !host.is_empty() && host.bytes().all(|b| b.is_ascii_digit() || b == b'.')
            }) =>
        {
            rest
        }
        _ => call_id,
    }
}
