//! A Salesforce org that enforces the documented rules of the requests that we make.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use ring::signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, RsaKeyPair, UnparsedPublicKey};
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject as _;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use switchboard_http::{Request, Response};

use crate::stand_in::{Crm, Received, StandIn, digits, response};

type Record = BTreeMap<String, Value>;

/// The key of the connected app. Made for tests, and for nothing else.
pub const PRIVATE_KEY: &str = include_str!("salesforce-key.pem");

/// An org.
#[derive(Default, Serialize, Deserialize)]
pub struct Org {
    /// The external id of tasks, if an administrator created it.
    pub field: Option<String>,
    /// Tasks by id.
    pub tasks: BTreeMap<String, Record>,
    /// Contacts and leads by id.
    pub people: BTreeMap<String, (String, Record)>,
    /// Not yet in the search's index.
    pub unindexed: BTreeSet<String>,
    /// Deleted, and known to have been there.
    pub deleted: BTreeSet<String>,
    /// Users who have left, and words that are on no list any more.
    pub refused: BTreeSet<String>,
    /// Contacts and leads that the search shows and that tasks must not name.
    pub forbidden: BTreeSet<String>,
    /// Whether an error says of a field which one it is.
    pub names_no_field: bool,
    /// Whether `TaskSubtype` may be set when a task is changed.
    pub takes_subtype_later: bool,
    /// The number of the newest id.
    pub next: u32,
}

/// Texts and their limits.
const TEXTS: [(&str, usize); 9] = [
    ("Subject", 255),
    ("Status", 40),
    ("CallDisposition", 255),
    ("CallObject", 255),
    ("CallType", 40),
    ("Description", 32_000),
    ("OwnerId", 18),
    ("WhoId", 18),
    ("TaskSubtype", 40),
];

fn error(status: u16, code: &str, message: &str, fields: &[&str]) -> Response {
    response(status, json!([{"errorCode": code, "message": message, "fields": fields}]))
}

impl Org {
    /// With our external id.
    pub fn set_up() -> Self {
        Self { field: Some("Switchboard_Call_Key__c".to_owned()), ..Self::default() }
    }

    /// Adds a contact or a lead.
    pub fn person(&mut self, id: &str, kind: &str, fields: &[(&str, &str)]) {
        let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), json!(value)));
        self.people.insert(id.to_owned(), (kind.to_owned(), fields.collect()));
    }

    fn id(&mut self, prefix: &str) -> String {
        self.next += 1;
        format!("{prefix}{:015}", self.next)
    }
}

impl StandIn for Org {
    fn respond(&mut self, request: &Request) -> Response {
        let request = Received::of(request);
        let (method, path) = request.route();
        let ["services", "data", "v62.0", rest @ ..] = &path[..] else {
            return error(404, "NOT_FOUND", "The requested resource does not exist", &[]);
        };
        let Ok(body) = &request.body else {
            return error(400, "JSON_PARSER_ERROR", "Unexpected character", &[]);
        };
        let answered = match (method, rest) {
            ("POST", ["parameterizedSearch"]) => self.search(body),
            ("GET", ["query"]) => self.query(&request),
            ("POST", ["sobjects", "Task"]) => self.create_task(body, None),
            ("PATCH", ["sobjects", "Task", id]) => self.change_task(id, body),
            ("PATCH", ["sobjects", "Task", field, value]) => self.upsert_task(field, value, body),
            ("POST", ["sobjects", kind @ ("Contact" | "Lead")]) => self.create_person(kind, body),
            _ => Err(error(404, "NOT_FOUND", "The requested resource does not exist", &[])),
        };
        answered.unwrap_or_else(|refused| refused)
    }
}

impl Crm for Org {
    const TOKEN_PATH: Option<&'static str> = Some("/services/oauth2/token");

    fn grant(&mut self, form: &BTreeMap<String, String>, host: &str) -> Result<Value, Response> {
        let grant = "urn:ietf:params:oauth:grant-type:jwt-bearer";
        let assertion = form.get("assertion").filter(|_| form.len() == 2);
        let Some(assertion) =
            assertion.filter(|_| form.get("grant_type").is_some_and(|one| one == grant))
        else {
            return Err(response(400, json!({"error": "unsupported_grant_type"})));
        };
        if is_signed(assertion).is_none() {
            let description = "invalid assertion";
            let body = json!({"error": "invalid_grant", "error_description": description});
            return Err(response(400, body));
        }
        let instance = format!("http://{host}");
        Ok(json!({"instance_url": instance, "token_type": "Bearer", "issued_at": "0"}))
    }

    fn refuse(&self, status: u16) -> Response {
        match status {
            401 => error(401, "INVALID_SESSION_ID", "Session expired or invalid", &[]),
            _ => response(status, json!({})),
        }
    }
}

/// Whether a JWT is the connected app's, for its user, and lives for at most five minutes.
fn is_signed(assertion: &str) -> Option<()> {
    let (signed, signature) = assertion.rsplit_once('.')?;
    let (head, claims) = signed.split_once('.')?;
    let json = |part: &str| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok();
    let (head, mut claims): (Value, Value) = (json(head)?, json(claims)?);
    let key = PrivatePkcs8KeyDer::from_pem_slice(PRIVATE_KEY.as_bytes()).ok()?;
    let key = RsaKeyPair::from_pkcs8(key.secret_pkcs8_der()).ok()?;
    let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key.public_key().as_ref());
    key.verify(signed.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).ok()?).ok()?;
    let lives = claims.as_object_mut()?.remove("exp")?.as_i64()? - Timestamp::now().as_second();
    let expected = json!({
        "iss": "fake-consumer-key", "sub": "switchboard@example.com",
        "aud": "https://login.salesforce.com",
    });
    (head == json!({"alg": "RS256"}) && claims == expected && (1..=300).contains(&lives))
        .then_some(())
}

impl Org {
    /// The fields of a task, if all of them are good.
    fn checked(&self, body: &Value, is_new: bool) -> Result<Record, Response> {
        let body = object(body)?;
        for (name, value) in body {
            let text = value.as_str();
            if let Some((_, most)) = TEXTS.iter().find(|(text, _)| text == name) {
                let invalid = || error(400, "JSON_PARSER_ERROR", "Cannot deserialize", &[]);
                let text = text.ok_or_else(invalid)?;
                if text.encode_utf16().count() > *most {
                    return Err(error(400, "STRING_TOO_LONG", "data value too large", &[name]));
                }
            } else if name == "ActivityDate" {
                let date = text.and_then(|text| text.parse::<jiff::civil::Date>().ok());
                if date.is_none() || text.is_some_and(|text| text.len() != 10) {
                    return Err(error(400, "JSON_PARSER_ERROR", "not a date", &[]));
                }
            } else if name == "CallDurationInSeconds" {
                if value.as_i64().is_none() {
                    return Err(error(400, "JSON_PARSER_ERROR", "not an integer", &[]));
                }
            } else if self.field.as_ref() != Some(name) {
                let message = format!("No such column '{name}' on sobject of type Task");
                return Err(error(400, "INVALID_FIELD", &message, &[]));
            }
        }
        let text = |name: &str| body.get(name).and_then(Value::as_str);
        let is = |name: &str, values: &[&str]| {
            body.get(name).and_then(Value::as_str).is_none_or(|value| values.contains(&value))
        };
        let picklist = "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST";
        if !is("CallType", &["Inbound", "Outbound", "Internal"]) {
            return Err(error(400, picklist, "bad value", &["CallType"]));
        }
        if !is("TaskSubtype", &["Call", "Task", "Email"]) {
            return Err(error(400, picklist, "bad value", &["TaskSubtype"]));
        }
        if !is_new && body.contains_key("TaskSubtype") && !self.takes_subtype_later {
            let message =
                "Unable to create/update fields: TaskSubtype. Please check the security settings";
            return Err(error(400, "INVALID_FIELD_FOR_INSERT_UPDATE", message, &["TaskSubtype"]));
        }
        if is_new && body.get("Subject").is_none_or(|subject| subject == "") {
            let message = "Required fields are missing: [Subject]";
            return Err(error(400, "REQUIRED_FIELD_MISSING", message, &["Subject"]));
        }
        let named = |name: &'static str| match self.names_no_field {
            true => Vec::new(),
            false => vec![name],
        };
        for name in ["CallDisposition", "CallType", "Status", "TaskSubtype"] {
            if text(name).is_some_and(|word| self.refused.contains(word)) {
                let message = format!("bad value for restricted picklist field: {}", body[name]);
                return Err(error(400, picklist, &message, &named(name)));
            }
        }
        if let Some(owner) = text("OwnerId").filter(|owner| self.refused.contains(*owner)) {
            let message = format!("operation performed with inactive user [{}]", &owner[..15]);
            return Err(error(400, "INACTIVE_OWNER_OR_USER", &message, &[]));
        }
        if let Some(who) = text("WhoId").filter(|who| self.forbidden.contains(*who)) {
            let message = format!("insufficient access rights on cross-reference id: {who}");
            let code = "INSUFFICIENT_ACCESS_ON_CROSS_REFERENCE_ENTITY";
            return Err(error(403, code, &message, &[]));
        }
        if let Some(who) = body.get("WhoId").and_then(Value::as_str) {
            if self.deleted.contains(who) {
                return Err(error(400, "ENTITY_IS_DELETED", "entity is deleted", &[]));
            }
            if !self.people.contains_key(who) {
                let message = "Name ID: id value of incorrect type";
                return Err(error(400, "INVALID_CROSS_REFERENCE_KEY", message, &["WhoId"]));
            }
        }
        Ok(body.iter().map(|(name, value)| (name.clone(), value.clone())).collect())
    }

    fn create_task(
        &mut self,
        body: &Value,
        key: Option<(&str, &str)>,
    ) -> Result<Response, Response> {
        let mut task = self.checked(body, true)?;
        task.extend(key.map(|(field, value)| (field.to_owned(), json!(value))));
        let id = self.id("00T");
        self.tasks.insert(id.clone(), task);
        Ok(response(201, json!({"id": id, "success": true, "errors": [], "created": true})))
    }

    fn change_task(&mut self, id: &str, body: &Value) -> Result<Response, Response> {
        if !self.tasks.contains_key(id) {
            let message = "Provided external ID field does not exist or is not accessible";
            return Err(error(404, "NOT_FOUND", message, &[]));
        }
        let task = self.checked(body, false)?;
        self.tasks.entry(id.to_owned()).or_default().extend(task);
        Ok(response(204, Value::Null))
    }

    fn upsert_task(
        &mut self,
        field: &str,
        value: &str,
        body: &Value,
    ) -> Result<Response, Response> {
        if self.field.as_deref() != Some(field) {
            let message =
                format!("Provided external ID field does not exist or is not accessible: {field}");
            return Err(error(404, "NOT_FOUND", &message, &[]));
        }
        if object(body)?.contains_key(field) {
            let message = "The Id or external id must not be in the body";
            return Err(error(400, "INVALID_FIELD", message, &[field]));
        }
        let having = |(_, task): &(&String, &Record)| task.get(field).is_some_and(|v| v == value);
        let ids: Vec<String> = self.tasks.iter().filter(having).map(|(id, _)| id.clone()).collect();
        match &ids[..] {
            [] => self.create_task(body, Some((field, value))),
            [id] => {
                let task = self.checked(body, false)?;
                self.tasks.entry(id.clone()).or_default().extend(task);
                Ok(response(
                    200,
                    json!({"id": id, "success": true, "errors": [], "created": false}),
                ))
            }
            several => {
                let url = |id: &String| format!("/services/data/v62.0/sobjects/Task/{id}");
                Err(response(300, several.iter().map(url).collect::<Vec<_>>().into()))
            }
        }
    }

    fn search(&self, body: &Value) -> Result<Response, Response> {
        let body = object(body)?;
        let known = ["q", "in", "sobjects", "fields", "overallLimit", "defaultLimit"];
        if body.keys().any(|name| !known.contains(&name.as_str())) {
            return Err(error(400, "JSON_PARSER_ERROR", "Unrecognized field", &[]));
        }
        let malformed = || error(400, "MALFORMED_SEARCH", "search term must be longer", &[]);
        let query = body.get("q").and_then(Value::as_str);
        let terms: Vec<&str> = query.ok_or_else(malformed)?.split(" OR ").collect();
        let is_term = |term: &&str| term.len() > 1 && digits(term) == **term;
        if body.get("in").is_none_or(|one| one != "PHONE") || !terms.iter().all(is_term) {
            return Err(malformed());
        }
        let returned = body.get("sobjects").and_then(Value::as_array).ok_or_else(malformed)?;
        let mut records = Vec::new();
        for (id, (kind, fields)) in &self.people {
            let of_kind = |wanted: &&Value| wanted.get("name").is_some_and(|name| name == kind);
            let Some(wanted) = returned.iter().find(of_kind) else { continue };
            let converted = fields.get("IsConverted").is_some_and(|value| value == "true");
            let only_unconverted = wanted.get("where").is_some_and(|w| w == "IsConverted = false");
            if self.unindexed.contains(id) || (converted && only_unconverted) {
                continue;
            }
            // What is indexed of a number are its digits, as they were typed.
            let phones = fields.iter().filter(|(name, _)| name.contains("Phone"));
            if phones
                .map(|(_, value)| digits(value.as_str().unwrap_or_default()))
                .any(|phone| terms.contains(&phone.as_str()))
            {
                records.push(self.shown(id, wanted.get("fields")));
            }
        }
        Ok(response(200, json!({ "searchRecords": records })))
    }

    fn shown(&self, id: &str, fields: Option<&Value>) -> Value {
        let (kind, record) = &self.people[id];
        let mut shown = json!({"attributes": {"type": kind}, "Id": id});
        for name in fields.and_then(Value::as_array).into_iter().flatten() {
            let name = name.as_str().unwrap_or_default();
            if name != "Id" {
                shown[name] = record.get(name).cloned().unwrap_or(Value::Null);
            }
        }
        shown
    }

    /// The two queries that there are.
    fn query(&self, request: &Received) -> Result<Response, Response> {
        let malformed = || error(400, "MALFORMED_QUERY", "unexpected token", &[]);
        let soql = request.asked("q").ok_or_else(malformed)?;
        let [select, quoted, rest] = soql.split('\'').collect::<Vec<_>>()[..] else {
            return Err(malformed());
        };
        let is_task = select == "SELECT Id FROM Task WHERE CallObject = "
            && rest == " ORDER BY CreatedDate ASC, Id ASC LIMIT 1"
            && quoted.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let records: Vec<Value> = if is_task {
            let having = |(_, task): &(&String, &Record)| {
                task.get("CallObject").is_some_and(|v| v == quoted)
            };
            self.tasks.iter().filter(having).take(1).map(|(id, _)| json!({"Id": id})).collect()
        } else if let Some(kind) = select.strip_prefix("SELECT Id, Phone FROM ") {
            let kind = kind.strip_suffix(" WHERE Phone = ").ok_or_else(malformed)?;
            let limit = rest.strip_prefix(" AND IsConverted = false").unwrap_or(rest);
            let limit = limit.strip_prefix(" LIMIT ").map(str::parse::<u32>);
            let is_number = quoted.strip_prefix('+').is_some_and(|rest| digits(rest) == rest);
            if !["Contact", "Lead"].contains(&kind) || !matches!(limit, Some(Ok(_))) || !is_number {
                return Err(malformed());
            }
            let having = |(_, (of, record)): &(&String, &(String, Record))| {
                *of == kind && record.get("Phone").is_some_and(|phone| phone == quoted)
            };
            let fields = json!(["Phone"]);
            self.people.iter().filter(having).map(|(id, _)| self.shown(id, Some(&fields))).collect()
        } else {
            return Err(malformed());
        };
        Ok(response(200, json!({"totalSize": records.len(), "done": true, "records": records})))
    }

    fn create_person(&mut self, kind: &str, body: &Value) -> Result<Response, Response> {
        let body = object(body)?;
        let required: &[&str] =
            if kind == "Lead" { &["LastName", "Company"] } else { &["LastName"] };
        for name in required {
            let text = body.get(*name).and_then(Value::as_str).unwrap_or_default();
            if text.is_empty() {
                let message = format!("Required fields are missing: [{name}]");
                return Err(error(400, "REQUIRED_FIELD_MISSING", &message, &[name]));
            }
        }
        for (name, most) in [("FirstName", 40), ("LastName", 80), ("Phone", 40), ("Company", 255)] {
            let text = body.get(name).and_then(Value::as_str).unwrap_or_default();
            if text.encode_utf16().count() > most {
                return Err(error(400, "STRING_TOO_LONG", "data value too large", &[name]));
            }
        }
        let id = self.id(if kind == "Lead" { "00Q" } else { "003" });
        let record = body.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        self.people.insert(id.clone(), (kind.to_owned(), record));
        self.unindexed.insert(id.clone());
        Ok(response(201, json!({"id": id, "success": true, "errors": []})))
    }
}

fn object(body: &Value) -> Result<&Map<String, Value>, Response> {
    body.as_object().ok_or_else(|| error(400, "JSON_PARSER_ERROR", "not an object", &[]))
}
