//! Twilio's Call resource: the agent's phone is rung, and when it is picked up the customer's.
//!
//! Parameters and error codes: Twilio's "Call resource" and "TwiML Dial" pages.

use async_trait::async_trait;
use form_urlencoded::Serializer;
use http::HeaderValue;
use jiff::Timestamp;
use serde_json::Value;
use switchboard_domain::dial_request::DialRequest;
use switchboard_domain::directory::Employee;
use switchboard_domain::{ConfigError, Name, Personal, Secret};
use switchboard_http::{Http, SendError};

use super::settings::{API_URL, Dial, Settings};
use super::webhook::Twilio;
use crate::dial::{
    Account, Client, DialError, Dialer, Ending, LIMITS, Live, Placing, id, is_id, not_placed,
};
use crate::dialing::Dialing;
use crate::provider::Provider;
use crate::rest::{self, Logins, query};
use crate::settings::check_sendable;
use crate::source::Source;

/// The code of a hang-up that came too late.
const CALL_IS_OVER: u64 = 21220;
/// The statuses of live calls.
const LIVE: [&str; 4] = ["queued", "initiated", "ringing", "in-progress"];

/// Twilio voice.
pub struct TwilioDialer;

#[async_trait]
impl Dialer for TwilioDialer {
    fn provider(&self) -> &'static dyn Provider {
        &Twilio
    }

    fn check(&self, dialing: &Dialing, source: &Source) -> Result<(), ConfigError> {
        let none = Dial::default();
        let dial = own(source).unwrap_or(&none);
        let wrong = |field: &str, problem| Err(ConfigError::new(format!("dial.{field}"), problem));
        check_sendable("dial.auth_token", &dial.auth_token)?;
        check_sendable("dial.api_secret", &dial.api_secret)?;
        if !dial.account.as_deref().is_some_and(is_id) {
            return wrong("account", "is required: the account's SID, as AC…");
        }
        match (&dial.auth_token, &dial.api_key, &dial.api_secret) {
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

    fn can_end(&self, call_id: &str) -> bool {
        is_id(call_id)
    }

    async fn authorize(
        &self,
        _http: &dyn Http,
        _logins: &Logins,
        account: &Account<'_>,
        _now: Timestamp,
    ) -> Result<HeaderValue, DialError> {
        let dial = own(account.source).ok_or(SendError::NotBuilt)?;
        let user = dial.api_key.as_deref().or(dial.account.as_deref()).unwrap_or_default();
        let none = Secret::new("");
        let secret = dial.api_secret.as_ref().or(dial.auth_token.as_ref()).unwrap_or(&none);
        Ok(rest::basic(user, secret)?)
    }

    async fn place(&self, client: &Client<'_>, dial_request: &DialRequest) -> Placing {
        let url = format!("{}.json", calls(&client.account));
        let (status, body) = match client
            .send(rest::post_form(&url, form(&client.account, dial_request), LIMITS))
            .await
        {
            Ok(response) => response,
            Err(error) => return error.into(),
        };
        if !(200..300).contains(&status) {
            return not_placed(status, body["code"].as_u64());
        }
        match id(&body["sid"]) {
            Some(call_id) => Placing::Placed { call_id: Some(call_id), ref_id: None },
            None => {
                Placing::Unknown { why: format!("the provider responded {status} without a call") }
            }
        }
    }

    async fn hang_up(&self, client: &Client<'_>, call_id: &str) -> Ending {
        let url = format!("{}/{call_id}.json", calls(&client.account));
        let (status, body) =
            match client.send(rest::post_form(&url, "Status=completed".to_owned(), LIMITS)).await {
                Ok(response) => response,
                Err(error) => return Ending::Failed(error.into()),
            };
        match status {
            200..=299 => Ending::Done,
            404 => Ending::NotLive,
            400 if body["code"].as_u64() == Some(CALL_IS_OVER) => Ending::NotLive,
            401 => Ending::NotAuthenticated,
            status => Ending::Failed(DialError::of(status)),
        }
    }

    async fn live(
        &self,
        client: &Client<'_>,
        dial_request: &DialRequest,
    ) -> Result<Vec<Live>, DialError> {
        let pairs = [("To", dial_request.order.agent.expose()), ("PageSize", "50")];
        let query = query(pairs.map(|(name, value)| (name, value.to_owned())));
        let url = format!("{}.json?{query}", calls(&client.account));
        let (status, body) = client.send(rest::get(&url, LIMITS)).await?;
        if !(200..300).contains(&status) {
            return Err(DialError::of(status));
        }
        let calls = body["calls"].as_array().ok_or_else(DialError::unreadable)?;
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

fn own(source: &Source) -> Option<&Dial> {
    source.own::<Settings>()?.dial.as_ref()
}

/// Where the account's calls are, without `.json`.
fn calls(account: &Account<'_>) -> String {
    let base = account.dialing.api_url.as_deref().unwrap_or(API_URL);
    let sid = own(account.source).and_then(|dial| dial.account.as_deref()).unwrap_or_default();
    format!("{base}/2010-04-01/Accounts/{sid}/Calls")
}

/// The parameters of a call that rings the agent first.
fn form(account: &Account<'_>, dial_request: &DialRequest) -> String {
    let (order, dialing) = (&dial_request.order, account.dialing);
    let from = order.caller_id.as_ref().map(Personal::expose).unwrap_or_default();
    let mut form = Serializer::new(String::new());
    form.append_pair("To", order.agent.expose())
        .append_pair("From", from)
        .append_pair("Timeout", &dialing.ring_seconds.to_string())
        .append_pair("Twiml", &twiml(dial_request, from, dialing))
        .append_pair("StatusCallback", &callback(account, dial_request))
        .append_pair("StatusCallbackMethod", "POST");
    for event in ["initiated", "ringing", "answered", "completed"] {
        form.append_pair("StatusCallbackEvent", event);
    }
    if let Some(longest) = dialing.longest_seconds {
        form.append_pair("TimeLimit", &longest.to_string());
    }
    form.finish()
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
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    text.replace('"', "&quot;").replace('\'', "&apos;")
}

/// The callback URL of the call, with its context: Twilio signs the whole URL, so the context is
/// authenticated.
///
/// Of this call `To` is the agent's phone, so that the customer's number has to be named.
fn callback(account: &Account<'_>, dial_request: &DialRequest) -> String {
    let context = &dial_request.order.context;
    let mut query = Serializer::new(String::new());
    query.append_pair("source", account.name.as_str());
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
    let base = account.source.public_url.as_deref().unwrap_or_default();
    // A space as %20: a plus sign means one only in forms.
    let query = query.finish().replace('+', "%20");
    format!("{base}/call-status-callback?{query}")
}
