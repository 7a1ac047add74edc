//! Salesforce's tasks: found, created, overwritten.

use http::Method;
use serde_json::{Map, Value, json};
use switchboard_domain::delivery::Remote;
use switchboard_http::{Http, Request, Response};
use url::Url;

use super::problem::Problem;
use super::render::Payload;
use super::settings::Settings;
use crate::format::{Clock, Deduplication, Endpoint};
use crate::optional::{LeftOut, Optional};
use crate::outcome::{Outcome, object};

/// What a task can do without.
pub const OPTIONAL: &[Optional] = &[
    Optional::reference(
        "OwnerId",
        &[
            "INACTIVE_OWNER_OR_USER",
            "INVALID_OWNER",
            "TRANSFER_REQUIRES_READ",
            "INVALID_CROSS_REFERENCE_KEY",
            "INSUFFICIENT_ACCESS_ON_CROSS_REFERENCE_ENTITY",
        ],
    ),
    Optional::reference(
        "WhoId",
        &[
            "ENTITY_IS_DELETED",
            "INVALID_CROSS_REFERENCE_KEY",
            "INSUFFICIENT_ACCESS_ON_CROSS_REFERENCE_ENTITY",
        ],
    ),
    Optional::word("TaskSubtype"),
    Optional::word("CallDisposition"),
    Optional::word("CallType"),
    Optional::word("Status"),
];

/// Salesforce's API during one attempt.
pub struct Api<'a> {
    pub http: &'a dyn Http,
    pub clock: Clock<'a>,
    pub endpoint: &'a Endpoint,
    pub settings: &'a Settings,
}

/// How the task is written.
pub struct Writing {
    /// The subtype can be set when a task is created, and not later.
    has_subtype: bool,
    /// A task that was deleted there is made again, once.
    may_recreate: bool,
}

impl Writing {
    /// With what the task is known to be called.
    pub fn of(remote: &Remote) -> Self {
        Self { has_subtype: remote.call.is_none(), may_recreate: true }
    }

    /// After it was searched for: one that is not there is created.
    pub fn searched(remote: &Remote) -> Self {
        Self { has_subtype: remote.call.is_none(), may_recreate: remote.call.is_some() }
    }

    /// The task as it is sent.
    pub fn task(
        &self,
        payload: &Payload,
        remote: &Remote,
        left_out: &LeftOut,
    ) -> Map<String, Value> {
        let task = serde_json::to_value(&payload.task).unwrap_or_default();
        // A task always serializes, as an object.
        let Value::Object(mut task) = task else { return Map::new() };
        if self.has_subtype {
            task.insert("TaskSubtype".into(), json!("Call"));
        }
        if let Some(contact) = &remote.contact {
            task.insert("WhoId".into(), json!(contact));
        }
        left_out.strip(&mut task);
        task
    }

    /// Whether the task can be written otherwise than it was refused.
    pub fn avoids(
        &mut self,
        problem: &Problem,
        deduplication: Deduplication,
        remote: &mut Remote,
    ) -> bool {
        if self.has_subtype && problem.is_about("INVALID_FIELD_FOR_INSERT_UPDATE", "TaskSubtype") {
            self.has_subtype = false;
            return true;
        }
        let was_deleted = problem.refusal.outcome.status == Some(404)
            && deduplication != Deduplication::Upsert
            && remote.call.is_some();
        if was_deleted && self.may_recreate {
            (remote.call, self.has_subtype, self.may_recreate) = (None, true, false);
            return true;
        }
        false
    }
}

impl Api<'_> {
    /// A path of the REST API.
    pub fn at(&self, path: &[&str]) -> Url {
        let version = self.settings.version.as_str();
        self.endpoint.at(&[&["services", "data", version], path].concat())
    }

    /// Sends a request whose response must be a success.
    pub async fn send(&self, request: Request) -> Result<Response, Outcome> {
        let response = self.http.send(request).await?;
        match self.problem(&response) {
            Some(problem) => Err(problem.refusal.outcome),
            None => Ok(response),
        }
    }

    /// What a response says is wrong, if it does.
    fn problem(&self, response: &Response) -> Option<Problem> {
        Problem::of(response, &self.settings.field, (self.clock)())
    }

    /// A query in SOQL.
    pub fn query(&self, soql: &str) -> Request {
        let mut url = self.at(&["query"]);
        url.query_pairs_mut().append_pair("q", soql);
        Request::new(Method::GET, url)
    }

    /// The oldest task that has our key.
    pub async fn find_task(&self, key: &str) -> Result<Option<String>, Outcome> {
        let soql = format!(
            "SELECT Id FROM Task WHERE CallObject = '{key}' ORDER BY CreatedDate ASC, Id ASC LIMIT 1"
        );
        let failed = |failed: Outcome| failed.to_be_set_up("the field CallObject").during("search");
        let response = self.send(self.query(&soql)).await.map_err(failed)?;
        let body = response.json();
        let records = body.get("records").and_then(Value::as_array);
        let records = records.ok_or_else(|| Outcome::not_understood(response.status))?;
        let id = records.first().and_then(|record| record.get("Id")?.as_str());
        Ok(id.map(str::to_owned))
    }

    /// Creates the task or overwrites it, and gives the status or what is wrong.
    pub async fn write(
        &self,
        key: &str,
        task: &Map<String, Value>,
        remote: &mut Remote,
    ) -> Result<Result<u16, Problem>, Outcome> {
        let is_upsert = self.endpoint.deduplication == Deduplication::Upsert;
        let field = self.settings.field.as_str();
        let (method, path) = match &remote.call {
            _ if is_upsert => (Method::PATCH, vec!["sobjects", "Task", field, key]),
            Some(id) => (Method::PATCH, vec!["sobjects", "Task", id]),
            None => (Method::POST, vec!["sobjects", "Task"]),
        };
        let request = Request::json(method, self.at(&path), &json!(task));
        let response = self.http.send(request).await?;
        if let Some(problem) = self.problem(&response) {
            return Ok(Err(problem));
        }
        // What was changed has no body: it is there by the id or the key that the path names.
        if response.status == 204 && (is_upsert || remote.call.is_some()) {
            return Ok(Ok(response.status));
        }
        let id = object(&response)?.get("id").and_then(Value::as_str).map(str::to_owned);
        remote.call = Some(id.ok_or_else(|| Outcome::not_understood(response.status))?);
        Ok(Ok(response.status))
    }
}
