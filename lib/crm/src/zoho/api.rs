//! The requests about calls: search for the record, create it, change it.

use http::Method;
use serde_json::{Map, Value, json};
use switchboard_domain::delivery::Remote;
use switchboard_http::{Http, Request, Response};

use super::render::Payload;
use super::response::{ParsedRecord, id, judge, parse_record};
use crate::format::{Clock, Endpoint};
use crate::outcome::Outcome;

/// The module of contacts.
pub const CONTACTS: &str = "Contacts";
/// The module of leads.
pub const LEADS: &str = "Leads";
/// Fields that cannot be changed once a call is there, or that people change.
const SET_ONCE: [&str; 3] = ["Call_Type", "Call_Start_Time", "Owner"];

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
            _ => return Err(self.judge(&response)),
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
    pub async fn write(&self, payload: &Payload, remote: &mut Remote) -> Result<Written, Outcome> {
        let mut call = payload.call.clone();
        if let Some(contact) = &remote.contact {
            link(&mut call, contact);
        }
        let (method, url) = match &remote.call {
            Some(id) => {
                SET_ONCE.iter().for_each(|name| drop(call.remove(*name)));
                (Method::PUT, self.endpoint.at(&["crm", "v8", "Calls", id]))
            }
            None => (Method::POST, self.endpoint.at(&["crm", "v8", "Calls"])),
        };
        let request = Request::json(method, url, &json!({ "data": [call] }));
        let response = self.http.send(request).await?;
        self.written(payload, remote, &response)
    }

    fn written(
        &self,
        payload: &Payload,
        remote: &mut Remote,
        response: &Response,
    ) -> Result<Written, Outcome> {
        let (status, body) = (response.status, response.json());
        let ParsedRecord { code, field, id } = parse_record(&body);
        let creates = remote.call.is_none();
        let names_it = field == Some("id") || field.is_none() && id.is_some() && id == remote.call;
        match (code, field, id) {
            ("SUCCESS", _, id) if response.is_success() => {
                remote.call = id.or(remote.call.take());
                Ok(Written::Done(status, if creates { "created" } else { "changed" }))
            }
            // The key's field is unique.
            ("DUPLICATE_DATA", Some(field), Some(id)) if creates && field == payload.field => {
                Ok(Written::Exists(id))
            }
            ("INVALID_DATA", Some("Who_Id" | "What_Id"), _) if remote.contact.is_some() => {
                Ok(Written::ContactGone)
            }
            ("INVALID_DATA", ..) if !creates && names_it => {
                Ok(Written::Deleted(self.judge(response)))
            }
            // What is not called wrong was done: to send it again would make a second record.
            ("", ..) if response.is_success() && creates => {
                Ok(Written::Done(status, "created, its id is not known"))
            }
            _ => Err(self.judge(response)),
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
