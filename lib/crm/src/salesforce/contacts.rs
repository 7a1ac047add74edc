//! Salesforce's contacts and leads.

use async_trait::async_trait;
use http::Method;
use serde_json::{Value, json};
use switchboard_http::Request;

use super::settings::Creates;
use super::tasks::Api;
use crate::contacts::{ContactsApi, Match};
use crate::outcome::Outcome;
use crate::{payload, phone};

/// The fields of each kind that hold numbers, the kind that is preferred first.
const KINDS: [(&str, &[&str]); 2] = [
    ("Contact", &["Phone", "MobilePhone", "HomePhone", "OtherPhone"]),
    ("Lead", &["Phone", "MobilePhone"]),
];
/// How many records of each kind a search brings.
const MOST: u32 = 20;
/// What names take.
const LONGEST_NAME: usize = 80;
const LONGEST_FIRST_NAME: usize = 40;

#[async_trait]
impl ContactsApi for Api<'_> {
    /// Among what is indexed of all numbers, however they are written. The index lags a little: before a
    /// contact is created, the one that was created just now is searched for in the records themselves.
    async fn search(
        &self,
        e164: &str,
        nth: usize,
        creates: bool,
    ) -> Result<Option<Vec<Match>>, Outcome> {
        let request = match nth {
            0 => self.search_indexed(e164),
            1 if creates => self.query_created(e164),
            _ => return Ok(None),
        };
        let response = self.send(request).await?;
        let body = response.json();
        let records = body.get("searchRecords").or_else(|| body.get("records"));
        let records = records.and_then(Value::as_array);
        let records = records.ok_or_else(|| Outcome::not_understood(response.status))?;
        Ok(Some(records.iter().filter_map(found).collect()))
    }

    async fn create(&self, e164: &str, name: Option<&str>) -> Result<String, Outcome> {
        // A last name must be there.
        let (first, last) = name.map_or((None, e164), payload::names);
        let mut body = json!({"LastName": payload::cut(last, LONGEST_NAME), "Phone": e164});
        if let Some(first) = first {
            body["FirstName"] = json!(payload::cut(first, LONGEST_FIRST_NAME));
        }
        let creates = self.settings.creates;
        if creates == Creates::Lead {
            // So must a company; this is what Salesforce itself writes where there is none.
            body["Company"] = json!("[not provided]");
        }
        let url = self.at(&["sobjects", creates.object()]);
        let response = self.send(Request::json(Method::POST, url, &body)).await?;
        let id = response.json().get("id").and_then(Value::as_str).map(str::to_owned);
        id.ok_or_else(|| Outcome::not_understood(response.status))
    }
}

impl Api<'_> {
    fn search_indexed(&self, e164: &str) -> Request {
        let inside = phone::national(e164);
        let whole = e164.trim_start_matches('+');
        let returned = |(name, fields): (&str, &[&str])| {
            let mut fields: Vec<&str> = fields.to_vec();
            fields.insert(0, "Id");
            let mut returned = json!({"name": name, "fields": fields, "limit": MOST});
            if name == "Lead" {
                returned["where"] = json!("IsConverted = false");
            }
            returned
        };
        let body = json!({
            "q": format!("{whole} OR {inside} OR 0{inside}"),
            "in": "PHONE",
            "sobjects": KINDS.map(returned),
            "overallLimit": 2 * MOST,
        });
        Request::json(Method::POST, self.at(&["parameterizedSearch"]), &body)
    }

    fn query_created(&self, e164: &str) -> Request {
        let creates = self.settings.creates;
        let unconverted = match creates {
            Creates::Contact => "",
            Creates::Lead => " AND IsConverted = false",
        };
        let object = creates.object();
        self.query(&format!(
            "SELECT Id, Phone FROM {object} WHERE Phone = '{e164}'{unconverted} LIMIT {MOST}"
        ))
    }
}

fn found(record: &Value) -> Option<Match> {
    let kind = record.pointer("/attributes/type")?.as_str()?;
    let rank = KINDS.iter().position(|(name, _)| *name == kind)?;
    let fields = KINDS.get(rank)?.1;
    let number = |name: &&str| record.get(*name)?.as_str().map(str::to_owned);
    Some(Match {
        id: record.get("Id")?.as_str()?.to_owned(),
        numbers: fields.iter().filter_map(number).collect(),
        rank: u8::try_from(rank).unwrap_or(u8::MAX),
    })
}
