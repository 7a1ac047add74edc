//! The requests to HubSpot, and what its responses mean.

use async_trait::async_trait;
use http::Method;
use serde_json::{Value, json};
use switchboard_domain::delivery::Remote;
use switchboard_domain::{Seconds, later};
use switchboard_http::{Http, Request, Response};

use super::render::{LONGEST_TITLE, Payload};
use super::settings::Settings;
use crate::contacts::{ContactsApi, Match};
use crate::format::{Clock, Deduplication, Endpoint};
use crate::outcome::Outcome;
use crate::{payload, phone};

const CALLS: [&str; 4] = ["crm", "v3", "objects", "calls"];
const CONTACTS: [&str; 4] = ["crm", "v3", "objects", "contacts"];

/// HubSpot's API during one attempt.
pub struct Api<'a> {
    pub http: &'a dyn Http,
    pub clock: Clock<'a>,
    pub endpoint: &'a Endpoint,
    pub settings: &'a Settings,
}

impl Api<'_> {
    async fn send(&self, request: Request) -> Result<Response, Outcome> {
        self.accepted(self.http.send(request).await?)
    }

    fn json(&self, method: Method, path: &[&str], body: &Value) -> Request {
        Request::json(method, self.endpoint.at(path), body)
    }

    /// Creates the call or overwrites it, and gives the status. By the unique property it is found
    /// without its id.
    pub async fn write(&self, payload: &Payload, remote: &mut Remote) -> Result<u16, Outcome> {
        let is_upsert = self.endpoint.deduplication == Deduplication::Upsert;
        let known = remote.call.clone().filter(|_| !is_upsert);
        let body = json!({ "properties": payload.properties });
        let create = || self.json(Method::POST, &CALLS, &body);
        let request = match &known {
            _ if is_upsert => self.upsert(payload),
            Some(id) => self.json(Method::PATCH, &[&CALLS[..], &[id]].concat(), &body),
            None => create(),
        };
        let mut response = self.http.send(request).await?;
        if response.status == 404 && known.is_some() {
            // It was deleted there: it is made again.
            remote.call = None;
            response = self.http.send(create()).await?;
        }
        let response = self.accepted(response)?;
        let body = response.json();
        let id = body.pointer("/results/0/id").or_else(|| body.pointer("/id"));
        let id = id.and_then(Value::as_str);
        remote.call = Some(id.ok_or_else(|| Outcome::not_understood(response.status))?.to_owned());
        Ok(response.status)
    }

    fn upsert(&self, payload: &Payload) -> Request {
        let input = json!({
            "idProperty": self.settings.property,
            "id": payload.key,
            "properties": payload.properties,
        });
        let path = [&CALLS[..], &["batch", "upsert"]].concat();
        self.json(Method::POST, &path, &json!({ "inputs": [input] }))
    }

    /// Links a call to a contact by HubSpot's own kind of association: to make it again changes nothing.
    pub async fn associate(&self, call: &str, contact: &str) -> Result<(), Outcome> {
        let calls = ["crm", "v4", "objects", "calls", call];
        let path = [&calls[..], &["associations", "default", "contacts", contact]].concat();
        let url = self.endpoint.at(&path);
        self.send(Request::new(Method::PUT, url)).await.map(drop)
    }

    /// The response, if it is a success.
    ///
    /// | response | meaning |
    /// | --- | --- |
    /// | 207 with errors | as its first error: a rate limit or a conflict will pass, all else not |
    /// | 400 that names our property, or one that does not exist | to be set up there: tried again |
    /// | 423, 477 | locked or being moved: tried again |
    /// | 429 | tried again when the named limit lets it pass: `SECONDLY` 1 s, `TEN_SECONDLY_ROLLING` 10 s, `DAILY` an hour |
    /// | others | as everywhere |
    fn accepted(&self, response: Response) -> Result<Response, Outcome> {
        let (status, now) = (response.status, (self.clock)());
        let outcome = Outcome::of(&response, now);
        let body = response.json();
        let text =
            |pointer: &str| body.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let has_errors =
            body.get("errors").and_then(Value::as_array).is_some_and(|e| !e.is_empty());
        if outcome.is_delivered() && !has_errors {
            return Ok(response);
        }
        let error = text(if outcome.is_delivered() { "/errors/0/category" } else { "/category" });
        let code = payload::code(error).map(|code| format!(" {code}")).unwrap_or_default();
        let retry = |words: &str| Outcome::retry(status, None, format!("{words}: {status}{code}"));
        let property = &self.settings.property;
        let message = text("/message");
        Err(match status {
            200..=299 if ["RATE_LIMITS", "CONFLICT"].contains(&error) => retry("retry later"),
            200..=299 => Outcome::refused(status, format!("refused: {status}{code}")),
            423 | 477 => retry("retry later"),
            429 => {
                let wait = match text("/policyName") {
                    "SECONDLY" => 1,
                    "DAILY" => 3_600,
                    _ if message.contains("secondly") && !message.contains("ten") => 1,
                    _ => 10,
                };
                let soonest = Some(later(now, Seconds(wait)));
                Outcome::retry(status, soonest.max(outcome.not_before()), outcome.result)
                    .with(&code)
            }
            400 if message.contains("PROPERTY_DOESNT_EXIST") || message.contains(property) => {
                retry(&format!("to be set up there: the property {property} or another"))
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
