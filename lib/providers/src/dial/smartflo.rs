//! Tata Smartflo's "Click to Call", "Hangup" and "Live Calls" (API v1), and its login.
//!
//! Since October 2024 a click-to-call is asynchronous: the answer comes before anybody is rung,
//! has no call id, and has a `ref_id` of Smartflo's own. What we give it is the
//! `custom_identifier`; its webhooks repeat both.

use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{Request, Response};
use serde_json::{Map, Value, json};
use switchboard_domain::dial_request::{DialFault, DialRequest};
use switchboard_domain::directory::Employee;
use switchboard_domain::{ConfigError, Name, Personal, Seconds, Secret};

use super::{
    Built, Dial, Dialing, Ending, Live, Login, Placing, Site, Trouble, id, not_placed, parts,
};
use crate::source::Source;

const BASE: &str = "https://api-smartflo.tatateleservices.com";
/// What a login lasts where the answer does not say, seconds.
const LOGIN_LASTS: u64 = 3600;

/// Tata Smartflo.
pub struct SmartfloDial;

impl Dial for SmartfloDial {
    fn name(&self) -> &'static str {
        "smartflo"
    }

    fn check(&self, dialing: &Dialing, _source: &Source) -> Result<(), ConfigError> {
        let wrong = |field: &str, problem| Err(ConfigError::new(format!("dial.{field}"), problem));
        let Dialing { account, auth_token, api_key, api_secret, .. } = dialing;
        if account.is_some() || auth_token.is_some() || api_key.is_some() || api_secret.is_some() {
            return wrong(
                "account",
                "and auth_token, api_key, api_secret are Twilio's: leave them out",
            );
        }
        match (&dialing.token, &dialing.email, &dialing.password) {
            (Some(_), None, None) | (None, Some(_), Some(_)) => Ok(()),
            (Some(_), _, _) => wrong("token", "or email and password, not both"),
            (None, _, _) => wrong("token", "is required, or email and password"),
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

    fn login(&self, site: &Site<'_>) -> Option<Built> {
        let (email, password) = (site.dialing.email.as_ref()?, site.dialing.password.as_ref()?);
        let body = json!({"email": email.expose(), "password": password.expose()});
        Some(post(site, None, "/v1/auth/login", &body))
    }

    fn read_login(&self, answer: &Response<Vec<u8>>) -> Result<Login, Trouble> {
        let (status, body) = parts(answer);
        if !answer.status().is_success() {
            return Err(Trouble::of(status));
        }
        let token = body["access_token"].as_str().filter(|token| !token.is_empty());
        let token = token.filter(|token| token.bytes().all(|b| (0x21..0x7f).contains(&b)));
        let lasts = body["expires_in"].as_u64().unwrap_or(LOGIN_LASTS);
        let lasts = Seconds(u32::try_from(lasts).unwrap_or(u32::MAX));
        token
            .map(|token| Login { token: Secret::new(token), lasts })
            .ok_or_else(Trouble::unreadable)
    }

    fn place(&self, site: &Site<'_>, token: Option<&Secret>, dial_request: &DialRequest) -> Built {
        let order = &dial_request.order;
        let reference = order.context.lead_id.as_deref().unwrap_or(dial_request.id.as_str());
        let mut body = Map::new();
        body.insert("agent_number".into(), order.agent.expose().into());
        body.insert("destination_number".into(), order.to.expose().into());
        body.insert("async".into(), 1.into());
        body.insert("custom_identifier".into(), reference.into());
        if let Some(caller_id) = &order.caller_id {
            body.insert("caller_id".into(), caller_id.expose().into());
        }
        if let Some(longest) = site.dialing.longest_seconds {
            body.insert("call_timeout".into(), longest.into());
        }
        post(site, token, "/v1/click_to_call", &Value::Object(body))
    }

    fn read_placing(&self, answer: &Response<Vec<u8>>) -> Placing {
        let (status, body) = parts(answer);
        if !answer.status().is_success() {
            return not_placed(status, None);
        }
        match success(&body) {
            Some(true) => {
                Placing::Placed { call_id: id(&body["call_id"]), ref_id: id(&body["ref_id"]) }
            }
            Some(false) => {
                let why = "the provider answered that it was no success".to_owned();
                Placing::Refused { fault: DialFault::Request, why }
            }
            None => Placing::Unknown {
                why: format!("the provider answered {status} and nothing known"),
            },
        }
    }

    /// `1775719461.306731`, with or without the name of a host; a `uuid` ends nothing.
    fn can_end(&self, call_id: &str) -> bool {
        let is_part = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        plain(call_id).split_once('.').is_some_and(|(at, n)| is_part(at) && is_part(n))
    }

    fn hang_up(&self, site: &Site<'_>, token: Option<&Secret>, call_id: &str) -> Built {
        post(site, token, "/v1/call/hangup", &json!({"call_id": plain(call_id)}))
    }

    fn read_ending(&self, answer: &Response<Vec<u8>>) -> Ending {
        let (status, body) = parts(answer);
        match status {
            200..=299 => match success(&body) {
                Some(true) => Ending::Done,
                Some(false) => Ending::NotLive,
                None => Ending::Trouble(Trouble::unreadable()),
            },
            400 | 404 | 422 => Ending::NotLive,
            401 => Ending::NotAuthenticated,
            status => Ending::Trouble(Trouble::of(status)),
        }
    }

    fn live(&self, site: &Site<'_>, token: Option<&Secret>, _press: Option<&DialRequest>) -> Built {
        let request = Request::get(format!("{}/v1/live_calls", base(site))).header(ACCEPT, JSON);
        authorized(request, site, token).body(Vec::new())
    }

    fn read_live(&self, answer: &Response<Vec<u8>>) -> Result<Vec<Live>, Trouble> {
        let (status, body) = parts(answer);
        if !answer.status().is_success() {
            return Err(Trouble::of(status));
        }
        let calls = body.as_array().or_else(|| body["data"].as_array());
        let calls = calls.ok_or_else(Trouble::unreadable)?.iter();
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

const JSON: &str = "application/json";

fn base<'a>(site: &Site<'a>) -> &'a str {
    site.dialing.api_url.as_deref().unwrap_or(BASE)
}

fn authorized(
    request: http::request::Builder,
    site: &Site<'_>,
    token: Option<&Secret>,
) -> http::request::Builder {
    match token.or(site.dialing.token.as_ref()) {
        Some(token) => request.header(AUTHORIZATION, format!("Bearer {}", token.expose())),
        None => request,
    }
}

fn post(site: &Site<'_>, token: Option<&Secret>, path: &str, body: &Value) -> Built {
    let request = Request::post(format!("{}{path}", base(site)));
    let request = request.header(CONTENT_TYPE, JSON).header(ACCEPT, JSON);
    // Nobody is known before the login.
    let request = if path == "/v1/auth/login" { request } else { authorized(request, site, token) };
    request.body(body.to_string().into_bytes())
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
