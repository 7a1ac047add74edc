//! Pipedrive, as far as it is asked: call logs and persons, by the rules of its reference.

use jiff::civil::DateTime;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use switchboard_http::{Request, Response};

use crate::stand_in::guarded::header;
use crate::stand_in::{Crm, Received, StandIn, digits, is_text, response};

/// An account.
#[derive(Default, Serialize, Deserialize)]
pub struct Account {
    /// The call logs.
    pub logs: Vec<Value>,
    /// The persons.
    pub persons: Vec<Value>,
    /// What it responds instead, once each.
    #[serde(skip)]
    pub instead: Vec<Response>,
    /// Persons that the search still shows and that are not there any more.
    pub deleted: Vec<u64>,
    /// The method and path of each request.
    pub asked: Vec<String>,
}

impl StandIn for Account {
    fn respond(&mut self, request: &Request) -> Response {
        let request = &Received::of(request);
        let (method, path) = request.route();
        self.asked.push(format!("{method} /{}", path.join("/")));
        if !self.instead.is_empty() {
            return self.instead.remove(0);
        }
        let Ok(body) = &request.body else { return refuse("the body is no JSON") };
        match (method, &path[..]) {
            ("POST", ["v1", "callLogs"]) => self.log(body),
            ("GET", ["v1", "callLogs", id]) => {
                match self.logs.iter().find(|log| log["id"] == *id) {
                    Some(log) => response(200, json!({"success": true, "data": log})),
                    None => error(404, "Resource not found"),
                }
            }
            ("GET", ["api", "v2", "persons", "search"]) => self.search(request),
            ("POST", ["api", "v2", "persons"]) => self.person(body),
            _ => error(404, "Unknown method ."),
        }
    }
}

impl Crm for Account {
    /// It grants none: the account has one.
    fn token(request: &Request) -> Option<&str> {
        header(request, "x-api-token")
    }

    fn refuse(&self, status: u16) -> Response {
        error(status, if status == 401 { "unauthorized access" } else { "request over limit" })
    }
}

impl Account {
    /// With one person more.
    pub fn with_person(mut self, id: u64, phone: &str) -> Self {
        self.persons.push(json!({"id": id, "type": "person", "name": "Ann", "phones": [phone]}));
        self
    }

    /// With responses that come instead.
    pub fn responding(mut self, instead: Vec<Response>) -> Self {
        self.instead = instead;
        self
    }

    fn log(&mut self, body: &Value) -> Response {
        if let Err(problem) = self.check(body) {
            return refuse(&problem);
        }
        let mut log = body.clone();
        log["id"] = json!(format!("cl_{:012}", self.logs.len() + 1));
        self.logs.push(log.clone());
        response(200, json!({"success": true, "data": log}))
    }

    fn check(&self, body: &Value) -> Result<(), String> {
        let fields = body.as_object().ok_or("the body is no object")?;
        for (name, value) in fields {
            let is_good = match name.as_str() {
                "subject" => is_text(value, 1, 255),
                "note" => is_text(value, 0, 65_536),
                "duration" => value.as_str().is_some_and(|text| text.parse::<u32>().is_ok()),
                "outcome" => {
                    let words = [
                        "connected",
                        "no_answer",
                        "left_message",
                        "left_voicemail",
                        "wrong_number",
                        "busy",
                    ];
                    value.as_str().is_some_and(|text| words.contains(&text))
                }
                "from_phone_number" | "to_phone_number" => is_text(value, 1, 255),
                "start_time" | "end_time" => time(value).is_some(),
                "user_id" => value == 17,
                "person_id" => self.knows(value),
                _ => return Err(format!("{name} is not allowed")),
            };
            if !is_good {
                return Err(format!("{name} is not valid: {value}"));
            }
        }
        for name in ["outcome", "to_phone_number", "start_time", "end_time"] {
            fields.get(name).ok_or(format!("{name} is required"))?;
        }
        match time(&body["start_time"]) <= time(&body["end_time"]) {
            true => Ok(()),
            false => Err("end_time is before start_time".to_owned()),
        }
    }

    fn knows(&self, id: &Value) -> bool {
        let is_deleted = id.as_u64().is_some_and(|id| self.deleted.contains(&id));
        id.is_u64() && !is_deleted && self.persons.iter().any(|person| person["id"] == *id)
    }

    fn search(&self, request: &Received) -> Response {
        let known = ["term", "fields", "exact_match", "limit"];
        if let Some((name, _)) = request.query.iter().find(|(name, _)| !known.contains(&&**name)) {
            return refuse(&format!("{name} is not allowed"));
        }
        let term = request.asked("term").unwrap_or_default();
        if term.chars().count() < 2 || request.asked("fields") != Some("phone") {
            return refuse("term is too short");
        }
        let has = |person: &&Value| {
            let phones = person["phones"].as_array().into_iter().flatten();
            phones.filter_map(Value::as_str).any(|phone| digits(phone).contains(&digits(term)))
        };
        let found = self.persons.iter().filter(has);
        let items: Vec<_> = found.map(|one| json!({"result_score": 0.5, "item": one})).collect();
        let more = json!({"next_cursor": null});
        response(200, json!({"success": true, "data": {"items": items}, "additional_data": more}))
    }

    fn person(&mut self, body: &Value) -> Response {
        let fields = body.as_object().cloned().unwrap_or_default();
        let phone = &body["phones"][0];
        let phone_fields = phone.as_object().cloned().unwrap_or_default();
        let only = |fields: &Map<String, Value>, known: &[&str]| {
            fields.keys().all(|name| known.contains(&name.as_str()))
        };
        let is_good = only(&fields, &["name", "phones"])
            && only(&phone_fields, &["value", "primary", "label"])
            && is_text(&body["name"], 1, 255)
            && body["phones"].as_array().is_some_and(|phones| phones.len() == 1)
            && body["name"].as_str().is_some_and(|name| !name.trim().is_empty())
            && is_text(&phone["value"], 1, 255)
            && phone["primary"].is_boolean();
        if !is_good {
            return refuse("the person is not valid");
        }
        let id = 900 + self.persons.len() as u64;
        let person = json!({"id": id, "name": body["name"], "phones": [phone["value"]]});
        self.persons.push(person.clone());
        response(201, json!({"success": true, "data": person}))
    }
}

fn time(value: &Value) -> Option<DateTime> {
    let text = value.as_str().filter(|text| text.len() == 19)?;
    DateTime::strptime("%Y-%m-%d %H:%M:%S", text).ok()
}

fn refuse(problem: &str) -> Response {
    error(400, problem)
}

/// An error in Pipedrive's form.
pub fn error(status: u16, problem: &str) -> Response {
    response(
        status,
        json!({
            "success": false, "error": problem, "error_info": "See developers.pipedrive.com.",
            "data": null, "additional_data": null,
        }),
    )
}
