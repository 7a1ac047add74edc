//! The requests to Pipedrive, and what its responses mean.

use async_trait::async_trait;
use http::Method;
use serde_json::{Map, Value, json};
use switchboard_domain::delivery::{Remote, Verdict};
use switchboard_domain::{Personal, Seconds, later};
use switchboard_http::{Http, Request, Response};

use super::render::CallLog;
use crate::contacts::{ContactsApi, Match};
use crate::format::{Clock, Endpoint};
use crate::optional::{LeftOut, Optional, Refusal};
use crate::outcome::{Outcome, object};
use crate::{payload, phone};

/// A person's name holds no more.
const LONGEST_NAME: usize = 255;
/// Fields that an error may name: what it says beside may be what we sent.
const FIELDS: [&str; 10] = [
    "to_phone_number",
    "from_phone_number",
    "start_time",
    "end_time",
    "person_id",
    "user_id",
    "outcome",
    "duration",
    "subject",
    "note",
];
/// What a call log can do without.
pub const OPTIONAL: &[Optional] = &[
    Optional::reference("user_id", &["user", "User"]),
    Optional::reference("person_id", &["person", "Person"]),
];

/// The fields of a call log that are sent.
pub fn fields(call: &CallLog, left_out: &LeftOut) -> Map<String, Value> {
    // A call log always serializes, as an object.
    let fields = serde_json::to_value(call).unwrap_or_default();
    let mut fields = fields.as_object().cloned().unwrap_or_default();
    left_out.strip(&mut fields);
    fields
}

/// Pipedrive's API during one attempt.
pub struct Api<'a> {
    pub http: &'a dyn Http,
    pub clock: Clock<'a>,
    pub endpoint: &'a Endpoint,
}

impl Api<'_> {
    async fn send(&self, request: Request) -> Result<Response, Outcome> {
        let response = self.http.send(request).await?;
        match response.is_success() {
            true => Ok(response),
            false => Err(self.judge(&response)),
        }
    }

    /// Whether a call log exists, and the status that says so.
    pub async fn exists(&self, id: &str) -> Result<Option<u16>, Outcome> {
        let url = self.endpoint.at(&["v1", "callLogs", id]);
        let response = self.http.send(Request::new(Method::GET, url)).await?;
        match response.status {
            200..=299 => object(&response).map(|_| Some(response.status)),
            404 | 410 => Ok(None),
            _ => Err(self.judge(&response)),
        }
    }

    /// Creates a call log, and gives the status or what is wrong.
    pub async fn create_log(
        &self,
        fields: &Map<String, Value>,
        remote: &mut Remote,
    ) -> Result<Result<u16, Refusal>, Outcome> {
        let url = self.endpoint.at(&["v1", "callLogs"]);
        let response = self.http.send(Request::json(Method::POST, url, &json!(fields))).await?;
        let status = response.status;
        let is_created = match object(&response) {
            Ok(body) => {
                remote.call = id(&body["data"]["id"]);
                response.is_success() && remote.call.is_some()
            }
            // The status itself says so: to deliver it again would make a second one.
            Err(_) => status == 201 && response.body.is_empty(),
        };
        if is_created {
            return Ok(Ok(status));
        }
        let outcome = match response.is_success() {
            true => Outcome::not_understood(status),
            false => self.judge(&response),
        };
        let text = String::from_utf8_lossy(&response.body).into_owned();
        Ok(Err(Refusal { outcome, text, names_a_field: named(&response).is_some() }))
    }

    /// What a response means. As everywhere, but for what Pipedrive means otherwise: 402 is that the
    /// account is closed, which passes when it is paid for; and how long to wait after 429 stands in
    /// `x-ratelimit-reset`, in seconds.
    pub fn judge(&self, response: &Response) -> Outcome {
        let (status, now) = (response.status, (self.clock)());
        let outcome = Outcome::of(response, now);
        match (status, outcome.verdict) {
            (402, _) => Outcome::retry(status, None, format!("the account is closed: {status}")),
            (429, Verdict::Retry { not_before: None }) => {
                let seconds = response.header("x-ratelimit-reset");
                let seconds = seconds.and_then(|text| text.trim().parse::<u32>().ok());
                let not_before = seconds.map(|seconds| later(now, Seconds(seconds)));
                Outcome::retry(status, not_before, outcome.result)
            }
            (_, Verdict::Refused | Verdict::RetryBriefly { .. }) => match named(response) {
                Some(field) => outcome.with(&format!(", for {field}")),
                None => outcome,
            },
            _ => outcome,
        }
    }
}

/// Whether the person that a call log names is refused as one that is not there.
pub fn is_about_person(refusal: &Refusal) -> bool {
    matches!(refusal.outcome.status, Some(400 | 404)) && refusal.text.contains("person_id")
}

/// Which of our fields an error is about.
fn named(response: &Response) -> Option<&'static str> {
    let body = response.json();
    let words = [&body["error"], &body["error_info"]].map(|text| text.as_str().unwrap_or_default());
    FIELDS.into_iter().find(|field| words.iter().any(|text| text.contains(field)))
}

/// An id as Pipedrive writes it: persons have numbers, call logs have texts.
pub fn id(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.is_empty() && text.len() <= 64 => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// Pipedrive's persons.
#[async_trait]
impl ContactsApi for Api<'_> {
    async fn search(
        &self,
        e164: &str,
        nth: usize,
        creates: bool,
    ) -> Result<Option<Vec<Match>>, Outcome> {
        let term = match nth {
            0 => e164,
            // Before one is created, those are searched for whose number is written as inside its country.
            1 if creates => phone::national(e164),
            _ => return Ok(None),
        };
        if term.len() < 2 {
            return Ok(None);
        }
        let mut url = self.endpoint.at(&["api", "v2", "persons", "search"]);
        url.query_pairs_mut().append_pair("term", term).append_pair("fields", "phone");
        let response = self.send(Request::new(Method::GET, url)).await?;
        let body = response.json();
        let items = body["data"]["items"].as_array();
        let items = items.ok_or_else(|| Outcome::not_understood(response.status))?;
        let one = |item: &Value| {
            let person = &item["item"];
            let phones = person["phones"].as_array().into_iter().flatten();
            let numbers = phones.filter_map(Value::as_str).map(str::to_owned).collect();
            Some(Match { id: id(&person["id"])?, numbers, rank: 0 })
        };
        Ok(Some(items.iter().filter_map(one).collect()))
    }

    async fn create(&self, e164: &str, name: Option<&str>) -> Result<String, Outcome> {
        let name = name.map(payload::clean).filter(|name| !name.trim().is_empty());
        let name = name.unwrap_or_else(|| e164.to_owned());
        let body = json!({
            "name": payload::cut(&name, LONGEST_NAME),
            "phones": [{"value": Personal::new(e164), "primary": true, "label": "work"}],
        });
        let url = self.endpoint.at(&["api", "v2", "persons"]);
        let response = self.send(Request::json(Method::POST, url, &body)).await?;
        id(&response.json()["data"]["id"]).ok_or_else(|| Outcome::not_understood(response.status))
    }
}
