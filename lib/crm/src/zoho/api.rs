//! The requests about calls: search for the record, create it, change it.

use http::Method;
use serde_json::{Map, Value, json};
use switchboard_domain::delivery::Remote;
use switchboard_http::{Http, Request, Response};

use super::render::Payload;
use super::response::{ParsedRecord, id, judge, parse_record};
use crate::format::{Clock, Endpoint};
use crate::optional::{LeftOut, Optional, Refusal};
use crate::outcome::Outcome;

/// The module of contacts.
pub const CONTACTS: &str = "Contacts";
/// The module of leads.
pub const LEADS: &str = "Leads";
/// Fields that cannot be changed once a call is there, or that people change.
const SET_ONCE: [&str; 3] = ["Call_Type", "Call_Start_Time", "Owner"];
/// What a record can do without.
pub const OPTIONAL: &[Optional] = &[
    Optional::reference("Owner", &["inactive", "INACTIVE"]),
    Optional::reference("Who_Id", &[]),
    Optional::reference("What_Id", &[]),
    Optional::word("Call_Result"),
];

/// Zoho's API during one attempt.
pub struct Api<'a> {
    pub http: &'a dyn Http,
    pub clock: Clock<'a>,
    pub endpoint: &'a Endpoint,
}

/// What came of writing a record.
pub enum Written {
    /// It is there, with this status; whether it was created or changed.
    Done(u16, &'static str),
    /// It is there already, with this id: the search had not seen it yet.
    Exists(String),
    /// The contact that it names is not there.
    ContactGone,
    /// The record was deleted there. What that means if it happens again.
    Deleted(Outcome),
    /// It was not taken.
    Refused(Refusal),
}

/// The fields of the record as they are sent: all of them, or those that may be changed.
pub fn fields(payload: &Payload, remote: &Remote, left_out: &LeftOut) -> Map<String, Value> {
    let mut call = payload.call.clone();
    if let Some(contact) = &remote.contact {
        link(&mut call, contact);
    }
    if remote.call.is_some() {
        SET_ONCE.iter().for_each(|name| drop(call.remove(*name)));
    }
    left_out.strip(&mut call);
    if !call.contains_key("What_Id") {
        call.remove("$se_module");
    }
    call
}

impl Api<'_> {
    /// What a response means where it is not a success.
    pub fn judge(&self, response: &Response) -> Outcome {
        judge(response, (self.clock)())
    }

    /// The oldest record that really has the key: to Zoho's search what holds a text equals it. The key is
    /// of letters and digits, so that nothing in it means anything to the search.
    pub async fn find_call(&self, payload: &Payload) -> Result<Option<String>, Outcome> {
        let mut url = self.endpoint.at(&["crm", "v8", "Calls", "search"]);
        url.query_pairs_mut()
            .append_pair("criteria", &format!("({}:equals:{})", payload.field, payload.key))
            .append_pair("fields", &format!("id,{}", payload.field));
        let response = self.http.send(Request::new(Method::GET, url)).await?;
        match response.status {
            // Nothing was found.
            204 => return Ok(None),
            200..=299 => {}
            _ => {
                let what = format!("the search for {}", payload.field);
                return Err(self.judge(&response).to_be_set_up(&what));
            }
        }
        let body = response.json();
        let records = body["data"].as_array();
        let records = records.ok_or_else(|| Outcome::not_understood(response.status))?;
        let has_it = |record: &&Value| {
            let text = record[&payload.field].as_str().unwrap_or_default();
            text.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| word == payload.key)
        };
        let ids = records.iter().filter(has_it).filter_map(|record| id(&record["id"]));
        Ok(ids.min_by_key(|id| (id.len(), id.clone())))
    }

    /// Creates the record or, where its id is known, changes it.
    pub async fn write(
        &self,
        payload: &Payload,
        call: &Map<String, Value>,
        remote: &mut Remote,
    ) -> Result<Written, Outcome> {
        let (method, url) = match &remote.call {
            Some(id) => (Method::PUT, self.endpoint.at(&["crm", "v8", "Calls", id])),
            None => (Method::POST, self.endpoint.at(&["crm", "v8", "Calls"])),
        };
        let request = Request::json(method, url, &json!({ "data": [call] }));
        let response = self.http.send(request).await?;
        Ok(self.written(payload, call, remote, &response))
    }

    fn written(
        &self,
        payload: &Payload,
        call: &Map<String, Value>,
        remote: &mut Remote,
        response: &Response,
    ) -> Written {
        let (status, body) = (response.status, response.json());
        let ParsedRecord { code, field, id } = parse_record(&body);
        let creates = remote.call.is_none();
        let names_it = field == Some("id") || field.is_none() && id.is_some() && id == remote.call;
        match (code, field, id) {
            ("SUCCESS", _, id) if response.is_success() => {
                remote.call = id.or(remote.call.take());
                Written::Done(status, if creates { "created" } else { "changed" })
            }
            // The key's field is unique.
            ("DUPLICATE_DATA", Some(field), Some(id)) if creates && field == payload.field => {
                Written::Exists(id)
            }
            ("INVALID_DATA", Some(link @ ("Who_Id" | "What_Id")), _) if call.contains_key(link) => {
                Written::ContactGone
            }
            ("INVALID_DATA", ..) if !creates && names_it => Written::Deleted(self.judge(response)),
            // The status itself says so: to send it again would make a second record.
            _ if status == 201 && response.body.is_empty() && creates => {
                Written::Done(status, "created, its id is not known")
            }
            (_, field, _) => {
                let outcome = self.judge(response);
                let outcome = match field {
                    Some(field) if field == payload.field && code == "INVALID_DATA" => {
                        outcome.to_be_set_up("the field of the key")
                    }
                    _ => outcome,
                };
                let text = String::from_utf8_lossy(&response.body).into_owned();
                let names_a_field = field.is_some();
                Written::Refused(Refusal { outcome, text, names_a_field })
            }
        }
    }
}

/// A contact is whom it was with; a lead is what it was about.
fn link(call: &mut Map<String, Value>, contact: &str) {
    match contact.split_once('/') {
        Some((CONTACTS, id)) => {
            call.insert("Who_Id".into(), json!({ "id": id }));
        }
        Some((LEADS, id)) => {
            call.insert("What_Id".into(), json!({ "id": id }));
            call.insert("$se_module".into(), json!(LEADS));
        }
        _ => {}
    }
}
