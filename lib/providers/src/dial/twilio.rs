//! Twilio's Call resource: the agent's phone is rung, and when it is picked up the customer's.
//!
//! Parameters and error codes: Twilio's "Call resource" and "TwiML Dial" pages.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use form_urlencoded::Serializer;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{Request, Response};
use serde_json::Value;
use switchboard_domain::dial_request::DialRequest;
use switchboard_domain::directory::Employee;
use switchboard_domain::{ConfigError, Name, Personal, Secret};

use super::{
    Built, Dial, Dialing, Ending, Live, Placing, Site, Trouble, id, is_id, not_placed, parts,
};
use crate::source::Source;

const BASE: &str = "https://api.twilio.com";
/// The code of a hang-up that came too late.
const CALL_IS_OVER: u64 = 21220;
/// The statuses of calls that are going on.
const LIVE: [&str; 4] = ["queued", "initiated", "ringing", "in-progress"];

/// Twilio voice.
pub struct TwilioDial;

impl Dial for TwilioDial {
    fn name(&self) -> &'static str {
        "twilio"
    }

    fn check(&self, dialing: &Dialing, source: &Source) -> Result<(), ConfigError> {
        let wrong = |field: &str, problem| Err(ConfigError::new(format!("dial.{field}"), problem));
        if dialing.token.is_some() || dialing.email.is_some() || dialing.password.is_some() {
            return wrong("token", "and email, password are Smartflo's: leave them out");
        }
        if !dialing.account.as_deref().is_some_and(is_id) {
            return wrong("account", "is required: the account's SID, as AC…");
        }
        match (&dialing.auth_token, &dialing.api_key, &dialing.api_secret) {
            (Some(_), None, None) => {}
            (None, Some(key), Some(_)) if is_id(key) => {}
            (Some(_), _, _) => return wrong("auth_token", "or api_key and api_secret, not both"),
            _ => return wrong("auth_token", "is required, or api_key and api_secret"),
        }
        let is_e164 = |number: &Personal| number.expose().starts_with('+');
        if dialing.caller_ids.is_empty() || !dialing.caller_ids.iter().all(is_e164) {
            return wrong(
                "caller_ids",
                "must hold numbers of the account's in E.164, at least one",
            );
        }
        if source.public_url.is_none() {
            return Err(ConfigError::new("public_url", "is required: callbacks are sent there"));
        }
        Ok(())
    }

    fn rings_numbers(&self) -> bool {
        true
    }

    fn agent_of(&self, employee: &Employee, _source: &Name) -> Option<Personal> {
        employee.numbers.first().cloned()
    }

    fn place(&self, site: &Site<'_>, _token: Option<&Secret>, dial_request: &DialRequest) -> Built {
        let (order, dialing) = (&dial_request.order, site.dialing);
        let from = order.caller_id.as_ref().map(Personal::expose).unwrap_or_default();
        let ring = dialing.ring_seconds.to_string();
        let mut form = Serializer::new(String::new());
        form.append_pair("To", order.agent.expose())
            .append_pair("From", from)
            .append_pair("Timeout", &ring)
            .append_pair("Twiml", &twiml(dial_request, from, dialing))
            .append_pair("StatusCallback", &callback(site, dial_request))
            .append_pair("StatusCallbackMethod", "POST");
        for event in ["initiated", "ringing", "answered", "completed"] {
            form.append_pair("StatusCallbackEvent", event);
        }
        if let Some(longest) = dialing.longest_seconds {
            form.append_pair("TimeLimit", &longest.to_string());
        }
        post(site, &format!("{}.json", calls(site)), form.finish())
    }

    fn read_placing(&self, answer: &Response<Vec<u8>>) -> Placing {
        let (status, body) = parts(answer);
        if !answer.status().is_success() {
            return not_placed(status, body["code"].as_u64());
        }
        match id(&body["sid"]) {
            Some(call_id) => Placing::Placed { call_id: Some(call_id), ref_id: None },
            None => Placing::Unknown { why: format!("the provider answered {status} and no call") },
        }
    }

    fn can_end(&self, call_id: &str) -> bool {
        is_id(call_id)
    }

    fn hang_up(&self, site: &Site<'_>, _token: Option<&Secret>, call_id: &str) -> Built {
        post(site, &format!("{}/{call_id}.json", calls(site)), "Status=completed".to_owned())
    }

    fn read_ending(&self, answer: &Response<Vec<u8>>) -> Ending {
        let (status, body) = parts(answer);
        match status {
            200..=299 => Ending::Done,
            404 => Ending::NotLive,
            400 if body["code"].as_u64() == Some(CALL_IS_OVER) => Ending::NotLive,
            401 => Ending::NotAuthenticated,
            status => Ending::Trouble(Trouble::of(status)),
        }
    }

    fn live(
        &self,
        site: &Site<'_>,
        _token: Option<&Secret>,
        dial_request: Option<&DialRequest>,
    ) -> Built {
        let mut query = Serializer::new(String::new());
        if let Some(dial_request) = dial_request {
            query.append_pair("To", dial_request.order.agent.expose());
        }
        query.append_pair("PageSize", "50");
        let url = format!("{}.json?{}", calls(site), query.finish());
        let request = Request::get(url).header(ACCEPT, "application/json");
        request.header(AUTHORIZATION, basic(site)).body(Vec::new())
    }

    fn read_live(&self, answer: &Response<Vec<u8>>) -> Result<Vec<Live>, Trouble> {
        let (status, body) = parts(answer);
        if !answer.status().is_success() {
            return Err(Trouble::of(status));
        }
        let calls = body["calls"].as_array().ok_or_else(Trouble::unreadable)?;
        let is_live = |call: &&Value| {
            let status = call["status"].as_str().unwrap_or_default();
            LIVE.contains(&status) && call["direction"] == "outbound-api"
        };
        let read = |call: &Value| {
            let agent = call["to"].as_str().and_then(Personal::known);
            Some(Live { call_id: id(&call["sid"])?, customer: None, agent })
        };
        Ok(calls.iter().filter(is_live).filter_map(read).collect())
    }
}

/// Where the account's calls are, without `.json`.
fn calls(site: &Site<'_>) -> String {
    let base = site.dialing.api_url.as_deref().unwrap_or(BASE);
    let account = site.dialing.account.as_deref().unwrap_or_default();
    format!("{base}/2010-04-01/Accounts/{account}/Calls")
}

fn basic(site: &Site<'_>) -> String {
    let dialing = site.dialing;
    let user = dialing.api_key.as_deref().or(dialing.account.as_deref()).unwrap_or_default();
    let secret = dialing.api_secret.as_ref().or(dialing.auth_token.as_ref());
    let secret = secret.map(Secret::expose).unwrap_or_default();
    format!("Basic {}", STANDARD.encode(format!("{user}:{secret}")))
}

fn post(site: &Site<'_>, url: &str, form: String) -> Built {
    Request::post(url)
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header(ACCEPT, "application/json")
        .header(AUTHORIZATION, basic(site))
        .body(form.into_bytes())
}

/// What Twilio does when the agent picks up.
fn twiml(dial_request: &DialRequest, from: &str, dialing: &Dialing) -> String {
    let limit = dialing.longest_seconds.map(|longest| format!(" timeLimit=\"{longest}\""));
    format!(
        "<Response><Dial callerId=\"{}\" timeout=\"{}\"{}><Number>{}</Number></Dial></Response>",
        escaped(from),
        dialing.ring_seconds,
        limit.unwrap_or_default(),
        escaped(dial_request.order.to.expose()),
    )
}

fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&apos;"),
            c => safe.push(c),
        }
    }
    safe
}

/// Where Twilio tells how the call goes, and what it is about: it signs the whole URL, so that
/// nobody else can say so.
///
/// Of this call `To` is the agent's phone, so that the customer's number has to be named.
fn callback(site: &Site<'_>, dial_request: &DialRequest) -> String {
    let context = &dial_request.order.context;
    let mut query = Serializer::new(String::new());
    query.append_pair("source", site.name.as_str());
    query.append_pair("press_id", dial_request.id.as_str());
    query.append_pair("contact_number", dial_request.order.to.expose());
    for (name, value) in [
        ("campaign", &context.campaign),
        ("contact_id", &context.contact_id),
        ("lead_id", &context.lead_id),
        ("conversation_id", &context.conversation_id),
    ] {
        if let Some(value) = value {
            query.append_pair(name, value);
        }
    }
    let base = site.source.public_url.as_deref().unwrap_or_default();
    // A space as %20: a plus sign means one only in forms.
    let query = query.finish().replace('+', "%20");
    format!("{base}/call-status-callback?{query}")
}
