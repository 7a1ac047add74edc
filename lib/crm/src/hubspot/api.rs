//! The requests to HubSpot, and what its responses mean.

use async_trait::async_trait;
use http::Method;
use serde_json::{Map, Value, json};
use switchboard_domain::delivery::Remote;
use switchboard_domain::{Seconds, later};
use switchboard_http::{Http, Request, Response};

use super::render::{LONGEST_TITLE, Payload};
use super::settings::Settings;
use crate::contacts::{ContactsApi, Match};
use crate::format::{Clock, Deduplication, Endpoint};
use crate::optional::{LeftOut, Optional, Refusal};
use crate::outcome::{Outcome, object};
use crate::{payload, phone};

const CALLS: [&str; 4] = ["crm", "v3", "objects", "calls"];
const CONTACTS: [&str; 4] = ["crm", "v3", "objects", "contacts"];
/// What a call can do without.
const OPTIONAL: &[Optional] = &[
    Optional::reference("hubspot_owner_id", &["INVALID_OWNER_ID", "OWNER"]),
    Optional::word("hs_call_disposition"),
    Optional::word("hs_call_direction"),
    Optional::word("hs_call_status"),
    Optional::word("hs_call_source"),
    Optional::word("hs_call_recording_url"),
];

/// HubSpot's API during one attempt.
pub struct Api<'a> {
    pub http: &'a dyn Http,
    pub clock: Clock<'a>,
    pub endpoint: &'a Endpoint,
    pub settings: &'a Settings,
}

impl Api<'_> {
    async fn send(&self, request: Request) -> Result<Response, Outcome> {
        let response = self.http.send(request).await?;
        self.accepted(&response).map(|()| response)
    }

    fn json(&self, method: Method, path: &[&str], body: &Value) -> Request {
        Request::json(method, self.endpoint.at(path), body)
    }

    /// Creates the call or overwrites it, and gives the status; none, where it is to be written once more,
    /// without what was refused. By the unique property it is found without its id.
    pub async fn write(
        &self,
        payload: &Payload,
        remote: &mut Remote,
        left_out: &mut LeftOut,
    ) -> Result<Option<u16>, Outcome> {
        // Texts always serialize.
        let properties = serde_json::to_value(&payload.properties).unwrap_or_default();
        let Value::Object(mut properties) = properties else { return Ok(None) };
        left_out.strip(&mut properties);
        let is_upsert = self.endpoint.deduplication == Deduplication::Upsert;
        let known = remote.call.clone().filter(|_| !is_upsert);
        let body = json!({ "properties": properties });
        let create = || self.json(Method::POST, &CALLS, &body);
        let request = match &known {
            _ if is_upsert => self.upsert(&payload.key, &properties),
            Some(id) => self.json(Method::PATCH, &[&CALLS[..], &[id]].concat(), &body),
            None => create(),
        };
        let mut response = self.http.send(request).await?;
        if response.status == 404 && known.is_some() {
            // It was deleted there: it is made again.
            remote.call = None;
            response = self.http.send(create()).await?;
        }
        if let Err(outcome) = self.accepted(&response) {
            let text = String::from_utf8_lossy(&response.body).into_owned();
            let refusal = Refusal { outcome, text, names_a_field: false };
            return match left_out.explains(OPTIONAL, &properties, &refusal) {
                true => Ok(None),
                false => Err(refusal.outcome),
            };
        }
        let body = object(&response)?;
        let id = body.pointer("/results/0/id").or_else(|| body.pointer("/id"));
        let id = id.and_then(Value::as_str);
        remote.call = Some(id.ok_or_else(|| Outcome::not_understood(response.status))?.to_owned());
        Ok(Some(response.status))
    }

    fn upsert(&self, key: &str, properties: &Map<String, Value>) -> Request {
        let input = json!({
            "idProperty": self.settings.property,
            "id": key,
            "properties": properties,
        });
        let path = [&CALLS[..], &["batch", "upsert"]].concat();
        self.json(Method::POST, &path, &json!({ "inputs": [input] }))
    }

    /// Links a call to a contact by HubSpot's own kind of association: to make it again changes nothing.
    pub async fn associate(&self, call: &str, contact: &str) -> Result<(), Outcome> {
        let calls = ["crm", "v4", "objects", "calls", call];
        let path = [&calls[..], &["associations", "default", "contacts", contact]].concat();
        let url = self.endpoint.at(&path);
        object(&self.send(Request::new(Method::PUT, url)).await?).map(drop)
    }

    /// Whether a response is a success.
    ///
    /// | response | meaning |
    /// | --- | --- |
    /// | 207 with errors | as its first error: a rate limit or a conflict will pass, all else as under 400 |
    /// | 400 that names our property, or one that does not exist | to be set up there: tried again |
    /// | 477 | being moved: tried again |
    /// | 429 | tried again when the named limit lets it pass: `SECONDLY` 1 s, `TEN_SECONDLY_ROLLING` 10 s, `DAILY` an hour |
    /// | others | as everywhere |
    fn accepted(&self, response: &Response) -> Result<(), Outcome> {
        let (status, now) = (response.status, (self.clock)());
        let outcome = Outcome::of(response, now);
        let body = response.json();
        let error = match outcome.is_delivered() {
            false => Some(&body),
            true => body.pointer("/errors/0"),
        };
        let Some(error) = error else { return Ok(()) };
        let text = |name: &str| error.get(name).and_then(Value::as_str).unwrap_or_default();
        let category = text("category");
        let code = payload::code(category).map(|code| format!(" {code}")).unwrap_or_default();
        let retry = |words: &str| Outcome::retry(status, None, format!("{words}: {status}{code}"));
        let property = &self.settings.property;
        let message = text("message");
        let is_to_be_set_up =
            || message.contains("PROPERTY_DOESNT_EXIST") || message.contains(property);
        Err(match status {
            200..=299 if ["RATE_LIMITS", "CONFLICT"].contains(&category) => retry("retry later"),
            200..=299 | 400 if is_to_be_set_up() => {
                retry(&format!("to be set up there: the property {property} or another"))
            }
            200..=299 => Outcome::refused(status, format!("refused: {status}{code}")),
            477 => retry("retry later"),
            429 => {
                let wait = match text("policyName") {
                    "SECONDLY" => 1,
                    "DAILY" => 3_600,
                    _ if message.contains("secondly") && !message.contains("ten") => 1,
                    _ => 10,
                };
                let soonest = Some(later(now, Seconds(wait)));
                Outcome::retry(status, soonest.max(outcome.not_before()), outcome.result)
                    .with(&code)
            }
            _ => outcome.with(&code),
        })
    }
}

#[async_trait]
impl ContactsApi for Api<'_> {
    /// HubSpot keeps what was typed, and beside it the digits without the country's calling code.
    async fn search(
        &self,
        e164: &str,
        nth: usize,
        _creates: bool,
    ) -> Result<Option<Vec<Match>>, Outcome> {
        if nth > 0 {
            return Ok(None);
        }
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
        let path = [&CONTACTS[..], &["search"]].concat();
        let response = self.send(self.json(Method::POST, &path, &body)).await?;
        let body = response.json();
        let results = body.get("results").and_then(Value::as_array);
        let results = results.ok_or_else(|| Outcome::not_understood(response.status))?;
        Ok(Some(results.iter().filter_map(found).collect()))
    }

    async fn create(&self, e164: &str, name: Option<&str>) -> Result<String, Outcome> {
        let mut properties = json!({ "phone": e164 });
        if let Some(name) = name {
            let (first, last) = payload::names(name);
            properties["lastname"] = json!(payload::cut(last, LONGEST_TITLE));
            if let Some(first) = first {
                properties["firstname"] = json!(payload::cut(first, LONGEST_TITLE));
            }
        }
        let body = json!({ "properties": properties });
        let response = self.send(self.json(Method::POST, &CONTACTS, &body)).await?;
        let id = response.json().get("id").and_then(Value::as_str).map(str::to_owned);
        id.ok_or_else(|| Outcome::not_understood(response.status))
    }
}

fn found(result: &Value) -> Option<Match> {
    let numbers = ["phone", "mobilephone"]
        .iter()
        .filter_map(|name| result.get("properties")?.get(name)?.as_str().map(str::to_owned));
    Some(Match { id: result.get("id")?.as_str()?.to_owned(), numbers: numbers.collect(), rank: 0 })
}
