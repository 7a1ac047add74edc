//! A HubSpot account that enforces the documented rules of the requests that we make.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use switchboard_http::{Request, Response};

use crate::stand_in::{Crm, Received, StandIn, digits, response};

type Properties = BTreeMap<String, String>;

/// An account.
#[derive(Default, Serialize, Deserialize)]
pub struct Portal {
    /// The unique properties of calls that were created there.
    pub unique: BTreeSet<String>,
    /// Properties by id.
    pub calls: BTreeMap<String, Properties>,
    /// Properties by id.
    pub contacts: BTreeMap<String, Properties>,
    /// Call and contact.
    pub associations: BTreeSet<(String, String)>,
    /// Owners who have left, and words that are no option any more.
    pub refused: BTreeSet<String>,
    /// Whether a batch says under 207 what is wrong with its only input.
    pub says_207: bool,
    /// Contacts that the search does not show yet.
    pub unseen: BTreeSet<String>,
    /// Refresh tokens that are accepted.
    pub refresh_tokens: BTreeSet<String>,
    /// Whether a refresh token is good for one use.
    pub rotates: bool,
    /// How long an access token lives, in seconds, where that is given.
    pub expires_in: Option<u32>,
    grants: u32,
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
        Self {
            unique: BTreeSet::from(["switchboard_call_key".to_owned()]),
            refresh_tokens: BTreeSet::from(["fake-refresh-0".to_owned()]),
            ..Self::default()
        }
    }

    /// Adds a contact.
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
        let request = Received::of(request);
        let (method, path) = request.route();
        let Ok(body) = &request.body else { return invalid("Invalid input JSON") };
        let response = match (method, &path[..]) {
            ("POST", ["crm", "v3", "objects", "calls"]) => {
                let id = self.id();
                self.write(&id, body, true)
            }
            ("PATCH", ["crm", "v3", "objects", "calls", id]) => {
                if !self.calls.contains_key(*id) {
                    return error(404, "OBJECT_NOT_FOUND", "Object not found.");
                }
                self.write(id, body, false)
            }
            ("POST", ["crm", "v3", "objects", "calls", "batch", "upsert"]) => self.upsert(body),
            ("POST", ["crm", "v3", "objects", "contacts", "search"]) => self.search(body),
            ("POST", ["crm", "v3", "objects", "contacts"]) => self.create_contact(body),
            (
                "PUT",
                ["crm", "v4", "objects", "calls", call, "associations", "default", "contacts", id],
            ) => {
                if !self.calls.contains_key(*call) || !self.contacts.contains_key(*id) {
                    return error(404, "OBJECT_NOT_FOUND", "No object with that id");
                }
                self.associations.insert(((*call).to_owned(), (*id).to_owned()));
                Ok(response(
                    200,
                    json!({"status": "COMPLETE", "results": [{"from": {"id": call}}]}),
                ))
            }
            _ => Err(error(404, "OBJECT_NOT_FOUND", "no such path")),
        };
        response.unwrap_or_else(|refused| refused)
    }
}

impl Crm for Portal {
    const TOKEN_PATH: Option<&'static str> = Some("/oauth/v1/token");

    fn grant(&mut self, form: &BTreeMap<String, String>, _: &str) -> Result<Value, Response> {
        let is = |name: &str, value: &str| form.get(name).is_some_and(|given| given == value);
        let refresh_token = form.get("refresh_token").map_or("", String::as_str);
        let is_known = form.len() == 4
            && is("grant_type", "refresh_token")
            && is("client_id", "fake-client")
            && is("client_secret", "fake-secret")
            && self.refresh_tokens.contains(refresh_token);
        if !is_known {
            let body = json!({"error": "invalid_grant", "error_description": refresh_token});
            return Err(response(400, body));
        }
        let mut body = json!({"token_type": "bearer", "refresh_token": refresh_token});
        if let Some(seconds) = self.expires_in {
            body["expires_in"] = json!(seconds);
        }
        self.grants += 1;
        if self.rotates {
            let next = format!("fake-refresh-{}", self.grants);
            body["refresh_token"] = json!(next);
            self.refresh_tokens = BTreeSet::from([next]);
        }
        Ok(body)
    }

    fn refuse(&self, status: u16) -> Response {
        match status {
            401 => error(401, "EXPIRED_AUTHENTICATION", "The OAuth token of this call expired"),
            _ => response(status, json!({})),
        }
    }
}

impl Portal {
    fn write(&mut self, id: &str, body: &Value, is_new: bool) -> Result<Response, Response> {
        let known: &[&str] = if is_new { &["properties", "associations"] } else { &["properties"] };
        let properties = self.checked(only(body, known)?.get("properties"), is_new)?;
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
            let properties = match self.checked(input.get("properties"), there.is_none()) {
                Err(refused) if self.says_207 => {
                    let errors = json!([refused.json()]);
                    let body = json!({"status": "COMPLETE", "results": [], "numErrors": 1, "errors": errors});
                    return Ok(response(207, body));
                }
                properties => properties?,
            };
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
                "hs_call_body" | "hs_call_title" | "hs_call_from_number" | "hs_call_to_number" => {
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
            if self.refused.contains(text) {
                let code = match name.as_str() {
                    "hubspot_owner_id" => "INVALID_OWNER_ID",
                    _ => "INVALID_OPTION",
                };
                let message = format!(
                    "Property values were not valid: [{{\"isValid\":false,\"message\":\"{text} does not exist\",\"error\":\"{code}\",\"name\":\"{name}\"}}]"
                );
                return Err(invalid(&message));
            }
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
        if !(1..=5).contains(&groups.len())
            || body.get("limit").and_then(Value::as_u64).is_some_and(|n| n > 200)
        {
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
                    all &= searchable(contact, name).is_some_and(|stored| stored == value);
                }
                fits |= all;
            }
            if fits && !self.unseen.contains(id) {
                let names = body.get("properties").and_then(Value::as_array).into_iter().flatten();
                let names = names.filter_map(Value::as_str);
                let shown: BTreeMap<_, _> = names.map(|name| (name, contact.get(name))).collect();
                results.push(json!({"id": id, "properties": shown}));
            }
        }
        Ok(response(200, json!({"total": results.len(), "results": results})))
    }

    fn create_contact(&mut self, body: &Value) -> Result<Response, Response> {
        let body = only(body, &["properties"])?;
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

/// A property of a contact as the search has it: of its numbers HubSpot computes the digits without the country's
/// calling code and trunk prefix. It does so here for the countries of the tests.
fn searchable(contact: &Properties, name: &str) -> Option<String> {
    let of = match name {
        "hs_searchable_calculated_phone_number" => "phone",
        "hs_searchable_calculated_mobile_number" => "mobilephone",
        _ => name,
    };
    if of == name || contact.contains_key(name) {
        return contact.get(name).cloned();
    }
    let digits = digits(contact.get(of)?);
    let codes = ["0061", "0044", "001", "007", "61", "44", "1", "7", ""];
    let national = codes.iter().find_map(|code| {
        let rest = digits.strip_prefix(code)?;
        [rest.strip_prefix('0').unwrap_or(rest), rest]
            .into_iter()
            .find(|rest| [9, 10].contains(&rest.len()))
    });
    Some(national.unwrap_or(&digits).to_owned())
}
