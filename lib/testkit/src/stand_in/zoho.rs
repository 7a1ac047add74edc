//! Zoho CRM, as far as it is asked: calls, contacts and leads, by the rules of its reference.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use switchboard_http::{Request, Response};

use crate::stand_in::guarded::header;
use crate::stand_in::{Crm, Received, StandIn, digits, is_text, response};

/// An organisation.
#[derive(Serialize, Deserialize)]
pub struct Organisation {
    /// Records by module.
    pub records: BTreeMap<String, Vec<Value>>,
    /// The field of calls of our own, if there is one, and whether no two may have the same value.
    pub key_field: Option<(String, bool)>,
    /// Whether the search has not seen yet what was just made.
    pub lags: bool,
    /// Fields of calls that this organisation insists on beside the usual.
    pub mandatory: Vec<String>,
    /// What `Call_Result` may be, where that is a list of the organisation's own.
    pub results: Vec<String>,
    /// The status of an answer whose only record was not taken.
    pub not_taken: u16,
    /// What it responds instead, once each.
    #[serde(skip)]
    pub instead: Vec<Response>,
    /// The method and path of each request.
    pub asked: Vec<String>,
    /// How many records were created.
    pub made: u64,
}

impl Default for Organisation {
    fn default() -> Self {
        Self {
            records: ["Calls", "Contacts", "Leads"]
                .map(|module| (module.to_owned(), Vec::new()))
                .into(),
            key_field: None,
            lags: false,
            mandatory: Vec::new(),
            results: Vec::new(),
            not_taken: 202,
            instead: Vec::new(),
            asked: Vec::new(),
            made: 0,
        }
    }
}

/// What is wrong with a record: the code, the field, and what else is said of it.
type Problem = (&'static str, String, Value);

impl StandIn for Organisation {
    fn respond(&mut self, request: &Request) -> Response {
        let request = &Received::of(request);
        let (method, path) = request.route();
        self.asked.push(format!("{method} /{}", path.join("/")));
        if !self.instead.is_empty() {
            return self.instead.remove(0);
        }
        let Ok(body) = &request.body else {
            return error(400, "INVALID_REQUEST", json!({}));
        };
        let Some(["crm", "v8", module, rest @ ..]) = path.get(..) else {
            return error(404, "INVALID_URL_PATTERN", json!({}));
        };
        if !self.records.contains_key(*module) {
            return error(400, "INVALID_MODULE", json!({}));
        }
        match (method, rest) {
            ("GET", ["search"]) => self.search(module, request),
            ("POST", []) => self.write(module, None, body),
            ("PUT", [id]) => self.write(module, Some(id), body),
            _ => error(404, "INVALID_URL_PATTERN", json!({})),
        }
    }
}

impl Crm for Organisation {
    const TOKEN_PATH: Option<&'static str> = Some("/oauth/v2/token");

    fn token(request: &Request) -> Option<&str> {
        header(request, "authorization")?.strip_prefix("Zoho-oauthtoken ")
    }

    fn grant(&mut self, form: &BTreeMap<String, String>, _: &str) -> Result<Value, Response> {
        let expected = [
            ("client_id", "1000.FAKECLIENT"),
            ("client_secret", "fake-zoho-secret"),
            ("grant_type", "refresh_token"),
            ("refresh_token", "1000.fake-refresh"),
        ];
        match form.iter().map(|(name, value)| (&**name, &**value)).eq(expected) {
            true => Ok(json!({"expires_in": 3600, "token_type": "Bearer"})),
            // Zoho says so under 200.
            false => Err(response(200, json!({"error": "invalid_code"}))),
        }
    }

    fn refuse(&self, status: u16) -> Response {
        match status {
            401 => error(401, "INVALID_TOKEN", json!({})),
            _ => error(status, "TOO_MANY_REQUESTS", json!({})),
        }
    }
}

impl Organisation {
    /// With a unique field for our key.
    pub fn set_up() -> Self {
        Self { key_field: Some(("Switchboard_Key".to_owned(), true)), ..Self::default() }
    }

    /// With one record more.
    pub fn with(mut self, module: &str, record: Value) -> Self {
        self.records.entry(module.to_owned()).or_default().push(record);
        self
    }

    /// With responses that come instead.
    pub fn responding(mut self, instead: Vec<Response>) -> Self {
        self.instead = instead;
        self
    }

    /// The calls.
    pub fn calls(&self) -> &[Value] {
        &self.records["Calls"]
    }

    fn search(&self, module: &str, request: &Received) -> Response {
        let known = ["criteria", "phone", "fields", "page", "per_page"];
        let per_page = request.asked("per_page").map_or(Ok(200), str::parse::<u32>);
        if request.query.iter().any(|(name, _)| !known.contains(&&**name))
            || !per_page.is_ok_and(|count| (1..=200).contains(&count))
        {
            return error(400, "INVALID_QUERY", json!({}));
        }
        let found: Vec<Value> = match (request.asked("criteria"), request.asked("phone")) {
            (Some(criteria), None) => {
                let Some((field, value)) = criterion(criteria) else {
                    return error(400, "INVALID_QUERY", json!({"reason": "invalid query formed"}));
                };
                if field != "Description"
                    && self.key_field.as_ref().is_none_or(|(known, _)| *known != field)
                {
                    return error(400, "INVALID_QUERY", json!({"api_name": field}));
                }
                let holds = |record: &&Value| {
                    record[&field].as_str().is_some_and(|text| text.contains(&value))
                };
                let all = self.records[module].iter().filter(|_| !self.lags);
                all.filter(holds).cloned().collect()
            }
            (None, Some(phone)) if digits(phone).len() > 1 => {
                let has = |record: &&Value| {
                    ["Phone", "Mobile"].iter().any(|name| {
                        let number = record[*name].as_str().unwrap_or_default();
                        digits(number).contains(&digits(phone))
                    })
                };
                self.records[module].iter().filter(has).cloned().collect()
            }
            _ => return error(400, "INVALID_QUERY", json!({})),
        };
        match found.is_empty() {
            true => response(204, Value::Null),
            false => response(200, json!({"data": found, "info": {"more_records": false}})),
        }
    }

    fn write(&mut self, module: &str, id: Option<&str>, body: &Value) -> Response {
        let (Some([record]), Some(1)) =
            (body["data"].as_array().map(Vec::as_slice), body.as_object().map(|body| body.len()))
        else {
            return error(400, "INVALID_DATA", json!({"api_name": "data"}));
        };
        let place = id.map(|id| self.records[module].iter().position(|one| one["id"] == id));
        if let Some(None) = place {
            return self
                .refuse("INVALID_DATA", json!({"api_name": "id", "json_path": "$.data[0].id"}));
        }
        let problem = match module {
            "Calls" => self.check_call(record, id),
            _ => check_person(record, id),
        };
        if let Err((code, field, more)) = problem {
            let mut details = json!({"api_name": field, "json_path": format!("$.data[0].{field}")});
            for (name, value) in more.as_object().into_iter().flatten() {
                details[name] = value.clone();
            }
            return self.refuse(code, details);
        }
        let records = self.records.entry(module.to_owned()).or_default();
        let id = match (place, id) {
            (Some(Some(place)), Some(id)) => {
                for (name, value) in record.as_object().into_iter().flatten() {
                    records[place][name] = value.clone();
                }
                id.to_owned()
            }
            _ => {
                self.made += 1;
                let id = format!("{}", 4_876_876_000_000_000_000 + self.made);
                let mut record = record.clone();
                record["id"] = json!(id);
                records.push(record);
                id
            }
        };
        let status = if place.is_some() { 200 } else { 201 };
        let one =
            json!({"code": "SUCCESS", "details": {"id": id}, "message": "", "status": "success"});
        response(status, json!({ "data": [one] }))
    }

    fn refuse(&self, code: &str, details: Value) -> Response {
        let one = json!({"code": code, "details": details, "message": "no", "status": "error"});
        response(self.not_taken, json!({ "data": [one] }))
    }

    fn check_call(&self, call: &Value, id: Option<&str>) -> Result<(), Problem> {
        let invalid = |field: &str| Err(("INVALID_DATA", field.to_owned(), json!({})));
        let exists = |module: &str, link: &Value| {
            link.as_object().is_some_and(|link| link.len() == 1)
                && self.records[module]
                    .iter()
                    .any(|one| one["id"] == link["id"] && !link["id"].is_null())
        };
        let Some(fields) = call.as_object() else { return invalid("data") };
        for (name, value) in fields {
            let is_good = match name.as_str() {
                "Subject" => line(value, 255),
                "Call_Type" => {
                    ["Inbound", "Outbound", "Missed"].iter().any(|kind| value == kind)
                        && id.is_none()
                }
                "Call_Start_Time" => is_time(value),
                "Call_Duration" => is_duration(value),
                "Call_Result" => {
                    let is_listed = self.results.iter().any(|word| value == word);
                    line(value, 120) && (self.results.is_empty() || is_listed)
                }
                "Description" => is_text(value, 0, 32_000),
                "Owner" => value["id"] == "4876876000000000017",
                "Who_Id" => exists("Contacts", value),
                "What_Id" => call["$se_module"] == "Leads" && exists("Leads", value),
                "$se_module" => fields.contains_key("What_Id"),
                _ => match &self.key_field {
                    Some((field, _)) if field == name => line(value, 255),
                    _ => false,
                },
            };
            if !is_good {
                return invalid(name);
            }
        }
        let usual = ["Subject", "Call_Type", "Call_Start_Time", "Call_Duration"];
        let mandatory = usual.into_iter().chain(self.mandatory.iter().map(String::as_str));
        for name in mandatory.filter(|_| id.is_none()) {
            if fields.get(name).is_none_or(Value::is_null) {
                return Err(("MANDATORY_NOT_FOUND", name.to_owned(), json!({})));
            }
        }
        let was_missed = call["Call_Type"] == "Missed";
        if was_missed && call["Call_Duration"] != "00:00" {
            return invalid("Call_Duration");
        }
        if let Some((field, true)) = &self.key_field {
            let same = |one: &&Value| one[field] == call[field] && one["id"].as_str() != id;
            if let Some(there) =
                self.records["Calls"].iter().find(same).filter(|_| !call[field].is_null())
            {
                let more = json!({"duplicate_record": {"id": there["id"], "module": {"api_name": "Calls"}}});
                return Err(("DUPLICATE_DATA", field.to_owned(), more));
            }
        }
        Ok(())
    }
}

fn check_person(person: &Value, id: Option<&str>) -> Result<(), Problem> {
    for (name, value) in person.as_object().into_iter().flatten() {
        let is_good = match name.as_str() {
            "Last_Name" => line(value, 80),
            "First_Name" => line(value, 40),
            "Phone" | "Mobile" => line(value, 30),
            _ => false,
        };
        if !is_good {
            return Err(("INVALID_DATA", name.clone(), json!({})));
        }
    }
    match id.is_some() || person["Last_Name"].is_string() {
        true => Ok(()),
        false => Err(("MANDATORY_NOT_FOUND", "Last_Name".to_owned(), json!({}))),
    }
}

/// `(field:equals:value)`: what parts a criterion must be escaped inside a value.
fn criterion(text: &str) -> Option<(String, String)> {
    let inner = text.strip_prefix('(')?.strip_suffix(')')?;
    let (field, rest) = inner.split_once(':')?;
    let value = rest.strip_prefix("equals:")?;
    let mut read = String::new();
    let mut characters = value.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => read.push(characters.next()?),
            '(' | ')' | ',' | ':' | '"' => return None,
            other => read.push(other),
        }
    }
    (!read.is_empty()).then(|| (field.to_owned(), read))
}

/// A text on one line.
fn line(value: &Value, most: usize) -> bool {
    is_text(value, 1, most) && !value.as_str().unwrap_or_default().contains('\n')
}

/// ISO 8601 with an offset in hours and minutes, to the second.
fn is_time(value: &Value) -> bool {
    let text = value.as_str().unwrap_or_default();
    text.len() == 25 && text.as_bytes()[19] != b'.' && text.parse::<Timestamp>().is_ok()
}

fn is_duration(value: &Value) -> bool {
    let number = |text: &str| text.len() >= 2 && text.bytes().all(|b| b.is_ascii_digit());
    value.as_str().and_then(|text| text.split_once(':')).is_some_and(|(minutes, seconds)| {
        number(minutes)
            && number(seconds)
            && seconds.parse::<u32>().is_ok_and(|seconds| seconds < 60)
    })
}

/// An error in Zoho's form.
pub fn error(status: u16, code: &str, details: Value) -> Response {
    let said = json!({"code": code, "details": details, "message": "Zoe", "status": "error"});
    response(status, said)
}
