//! A HubSpot account that enforces the documented rules of the requests that we make.

#![allow(clippy::result_large_err, reason = "a refusal is a response like any other")]

use std::collections::{BTreeMap, BTreeSet};

use http::Method;
use serde_json::{Map, Value, json};

use crate::testing::{StandIn, response};
use switchboard_http::{Request, Response};

type Properties = BTreeMap<String, String>;

#[derive(Default)]
pub struct Portal {
    /// The unique properties of calls that were created there.
    pub unique: BTreeSet<String>,
    pub calls: BTreeMap<String, Properties>,
    pub contacts: BTreeMap<String, Properties>,
    /// Call and contact.
    pub associations: BTreeSet<(String, String)>,
    /// Contacts that the search does not show yet.
    pub unseen: BTreeSet<String>,
    next: u32,
}

const STATUSES: [&str; 10] = [
    "BUSY",
    "CALLING_CRM_USER",
    "CANCELED",
    "COMPLETED",
    "CONNECTING",
    "FAILED",
    "IN_PROGRESS",
    "NO_ANSWER",
    "QUEUED",
    "RINGING",
];
const DISPOSITIONS: [&str; 6] = [
    "9d9162e7-6cf3-4944-bf63-4dff82258764",
    "f240bbac-87c9-4f6e-bf70-924b57d47db7",
    "a4c4c377-d246-4b32-a13b-75a56a4cd0ff",
    "b2cf5968-551e-4856-9783-52b3da59a7d0",
    "73a0d17f-1163-4015-bdd5-ec830791da20",
    "17b47fee-58de-441e-a44c-c6300d46f273",
];

fn error(status: u16, category: &str, message: &str) -> Response {
    response(
        status,
        json!({
            "status": "error", "message": message, "category": category,
            "correlationId": "00000000-0000-0000-0000-000000000000",
        }),
    )
}

fn invalid(message: &str) -> Response {
    error(400, "VALIDATION_ERROR", message)
}

impl Portal {
    /// With our unique property.
    pub fn set_up() -> Self {
        Self { unique: BTreeSet::from(["switchboard_call_key".to_owned()]), ..Self::default() }
    }

    pub fn contact(&mut self, id: &str, properties: &[(&str, &str)]) {
        let properties = properties.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        self.contacts.insert(id.to_owned(), properties.collect());
    }

    fn id(&mut self) -> String {
        self.next += 1;
        (90_000 + self.next).to_string()
    }
}

impl StandIn for Portal {
    fn respond(&mut self, request: &Request) -> Response {
        let path: Vec<&str> = request.url.path().trim_start_matches('/').split('/').collect();
        let body: Value = match request.body.is_empty() {
            true => Value::Null,
            false => match serde_json::from_slice(&request.body) {
                Ok(body) => body,
                Err(_) => return invalid("Invalid input JSON"),
            },
        };
        match (&request.method, &path[..]) {
            (&Method::POST, ["crm", "v3", "objects", "calls"]) => {
                let id = self.id();
                self.write(&id, &body, true).unwrap_or_else(|refused| refused)
            }
            (&Method::PATCH, ["crm", "v3", "objects", "calls", id]) => {
                if !self.calls.contains_key(*id) {
                    return error(404, "OBJECT_NOT_FOUND", "Object not found.");
                }
                self.write(id, &body, false).unwrap_or_else(|refused| refused)
            }
            (&Method::POST, ["crm", "v3", "objects", "calls", "batch", "upsert"]) => {
                self.upsert(&body).unwrap_or_else(|refused| refused)
            }
            (&Method::POST, ["crm", "v3", "objects", "contacts", "search"]) => {
                self.search(&body).unwrap_or_else(|refused| refused)
            }
            (&Method::POST, ["crm", "v3", "objects", "contacts"]) => {
                self.create_contact(&body).unwrap_or_else(|refused| refused)
            }
            (
                &Method::PUT,
                ["crm", "v4", "objects", "calls", call, "associations", "default", "contacts", id],
            ) => {
                if !self.calls.contains_key(*call) || !self.contacts.contains_key(*id) {
                    return error(404, "OBJECT_NOT_FOUND", "No object with that id");
                }
                self.associations.insert(((*call).to_owned(), (*id).to_owned()));
                response(200, json!({"status": "COMPLETE", "results": [{"from": {"id": call}}]}))
            }
            _ => error(404, "OBJECT_NOT_FOUND", "no such path"),
        }
    }
}

impl Portal {
    fn write(&mut self, id: &str, body: &Value, is_new: bool) -> Result<Response, Response> {
        let body = only(body, &["properties", "associations"])?;
        let properties = self.checked(body.get("properties"), is_new)?;
        self.calls.entry(id.to_owned()).or_default().extend(properties);
        let status = if is_new { 201 } else { 200 };
        Ok(response(status, json!({"id": id, "properties": self.calls[id], "archived": false})))
    }

    fn upsert(&mut self, body: &Value) -> Result<Response, Response> {
        let body = only(body, &["inputs"])?;
        let inputs = body.get("inputs").and_then(Value::as_array);
        let inputs = inputs.ok_or_else(|| invalid("inputs is required"))?;
        if !(1..=100).contains(&inputs.len()) {
            return Err(invalid("a batch has 1 to 100 inputs"));
        }
        let mut results = Vec::new();
        for input in inputs {
            let input = only(input, &["idProperty", "id", "properties", "objectWriteTraceId"])?;
            let text = |name: &str| input.get(name).and_then(Value::as_str);
            let property = text("idProperty").ok_or_else(|| invalid("idProperty is required"))?;
            let value = text("id").ok_or_else(|| invalid("id is required"))?;
            if !self.unique.contains(property) {
                let message = format!("Property \"{property}\" is not a unique property");
                return Err(invalid(&message));
            }
            let there =
                self.calls.iter().find(|(_, call)| call.get(property).is_some_and(|v| v == value));
            let there = there.map(|(id, _)| id.clone());
            let properties = self.checked(input.get("properties"), there.is_none())?;
            let id = there.clone().unwrap_or_else(|| self.id());
            let call = self.calls.entry(id.clone()).or_default();
            call.extend(properties);
            call.insert(property.to_owned(), value.to_owned());
            results.push(json!({"id": id, "new": there.is_none(), "properties": call}));
        }
        Ok(response(200, json!({"status": "COMPLETE", "results": results})))
    }

    /// The properties of a call, if all of them are good.
    fn checked(&self, properties: Option<&Value>, is_new: bool) -> Result<Properties, Response> {
        let properties = properties.and_then(Value::as_object);
        let properties = properties.ok_or_else(|| invalid("properties is required"))?;
        let mut good = Properties::new();
        for (name, value) in properties {
            let text =
                value.as_str().ok_or_else(|| invalid(&format!("{name} must be a string")))?;
            let digits = text.parse::<u64>().is_ok_and(|number| number.to_string() == text);
            let is_good = match name.as_str() {
                "hs_timestamp" => {
                    digits || (text.ends_with('Z') && text.parse::<jiff::Timestamp>().is_ok())
                }
                "hs_call_status" => STATUSES.contains(&text),
                "hs_call_direction" => ["INBOUND", "OUTBOUND"].contains(&text),
                "hs_call_disposition" => DISPOSITIONS.contains(&text),
                "hs_call_duration" | "hubspot_owner_id" => digits,
                "hs_call_source" => text == "INTEGRATIONS_PLATFORM",
                "hs_call_recording_url" => text.starts_with("https://"),
                "hs_call_body" => text.encode_utf16().count() <= 65_536,
                "hs_call_title" | "hs_call_from_number" | "hs_call_to_number" => {
                    text.encode_utf16().count() <= 65_536
                }
                name if self.unique.contains(name) => true,
                _ => {
                    let message = format!(
                        "Property values were not valid: [{{\"isValid\":false,\"message\":\"Property \\\"{name}\\\" does not exist\",\"error\":\"PROPERTY_DOESNT_EXIST\",\"name\":\"{name}\"}}]"
                    );
                    return Err(invalid(&message));
                }
            };
            if !is_good {
                let message = format!("Property values were not valid: {name}: {text}");
                return Err(invalid(&message));
            }
            good.insert(name.clone(), text.to_owned());
        }
        if is_new && !good.contains_key("hs_timestamp") {
            return Err(invalid("hs_timestamp is required"));
        }
        Ok(good)
    }

    fn search(&self, body: &Value) -> Result<Response, Response> {
        let body = only(body, &["filterGroups", "properties", "limit", "after", "sorts", "query"])?;
        let groups = body.get("filterGroups").and_then(Value::as_array);
        let groups = groups.ok_or_else(|| invalid("filterGroups is required"))?;
        if groups.len() > 5 || body.get("limit").and_then(Value::as_u64).is_some_and(|n| n > 200) {
            return Err(invalid("too many filter groups, or too high a limit"));
        }
        let mut results = Vec::new();
        for (id, contact) in &self.contacts {
            let mut fits = false;
            for group in groups {
                let filters = group.get("filters").and_then(Value::as_array);
                let filters = filters.ok_or_else(|| invalid("filters is required"))?;
                if filters.is_empty() || filters.len() > 6 {
                    return Err(invalid("1 to 6 filters"));
                }
                let mut all = true;
                for filter in filters {
                    let text = |name: &str| filter.get(name).and_then(Value::as_str);
                    let (Some(name), Some("EQ"), Some(value)) =
                        (text("propertyName"), text("operator"), text("value"))
                    else {
                        return Err(invalid("a filter is a property, an operator and a value"));
                    };
                    all &= contact.get(name).is_some_and(|stored| stored == value);
                }
                fits |= all;
            }
            if fits && !self.unseen.contains(id) {
                results.push(json!({"id": id, "properties": contact}));
            }
        }
        Ok(response(200, json!({"total": results.len(), "results": results})))
    }

    fn create_contact(&mut self, body: &Value) -> Result<Response, Response> {
        let body = only(body, &["properties", "associations"])?;
        let properties = body.get("properties").and_then(Value::as_object);
        let properties = properties.ok_or_else(|| invalid("properties is required"))?;
        let known = ["phone", "mobilephone", "firstname", "lastname", "email"];
        if let Some(name) = properties.keys().find(|name| !known.contains(&name.as_str())) {
            return Err(invalid(&format!("PROPERTY_DOESNT_EXIST: {name}")));
        }
        let id = self.id();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let properties = properties.iter().map(|(name, value)| (name.clone(), text(value)));
        self.contacts.insert(id.clone(), properties.collect());
        Ok(response(201, json!({"id": id, "properties": self.contacts[&id]})))
    }
}

/// An object that has no other members than these.
fn only<'a>(body: &'a Value, names: &[&str]) -> Result<&'a Map<String, Value>, Response> {
    let body = body.as_object().ok_or_else(|| invalid("Invalid input JSON"))?;
    match body.keys().find(|name| !names.contains(&name.as_str())) {
        Some(name) => Err(invalid(&format!("unknown field {name}"))),
        None => Ok(body),
    }
}
