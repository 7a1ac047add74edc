//! Zoho's contacts and leads. The id of one is its module and id: `Contacts/…`.

use async_trait::async_trait;
use http::Method;
use serde_json::{Value, json};
use switchboard_http::{Request, Response};

use super::api::{Api, CONTACTS, LEADS};
use super::response::{ParsedRecord, id, parse_record};
use crate::contacts::{ContactsApi, Match};
use crate::outcome::Outcome;
use crate::{payload, phone};

/// Where Zoho keeps numbers of people.
const NUMBERS: [&str; 5] = ["Phone", "Mobile", "Home_Phone", "Other_Phone", "Asst_Phone"];
/// What names take.
const LONGEST_FIRST_NAME: usize = 40;
const LONGEST_LAST_NAME: usize = 80;

impl Api<'_> {
    async fn send(&self, request: Request) -> Result<Response, Outcome> {
        let response = as_meant(self.http.send(request).await?);
        match response.is_success() {
            true => Ok(response),
            false => Err(self.judge(&response)),
        }
    }
}

/// A response with the status that it means: an error of the one record is an error, and that a contact
/// with this number is there already is what was wanted.
fn as_meant(response: Response) -> Response {
    let body = response.json();
    let status = match parse_record(&body) {
        ParsedRecord { code: "DUPLICATE_DATA", id: Some(_), .. } => 200,
        ParsedRecord { code: "" | "SUCCESS", .. } => response.status,
        ParsedRecord { .. } if response.is_success() => 400,
        ParsedRecord { .. } => response.status,
    };
    Response { status, ..response }
}

#[async_trait]
impl ContactsApi for Api<'_> {
    async fn search(
        &self,
        e164: &str,
        nth: usize,
        creates: bool,
    ) -> Result<Option<Vec<Match>>, Outcome> {
        let (module, number) = match nth {
            0 => (CONTACTS, e164),
            1 => (LEADS, e164),
            // Before one is created, those are searched for whose number is written as inside its country.
            2 if creates => (CONTACTS, phone::national(e164)),
            _ => return Ok(None),
        };
        if number.is_empty() {
            return Ok(None);
        }
        let mut url = self.endpoint.at(&["crm", "v8", module, "search"]);
        url.query_pairs_mut().append_pair("phone", number).append_pair("per_page", "20");
        let response = self.send(Request::new(Method::GET, url)).await?;
        if response.status == 204 {
            return Ok(Some(Vec::new()));
        }
        let body = response.json();
        let people = body["data"].as_array();
        let people = people.ok_or_else(|| Outcome::not_understood(response.status))?;
        let one = |person: &Value| {
            let number = |name: &&str| person[*name].as_str().map(str::to_owned);
            let id = format!("{module}/{}", id(&person["id"])?);
            Some(Match { id, numbers: NUMBERS.iter().filter_map(number).collect(), rank: 0 })
        };
        Ok(Some(people.iter().filter_map(one).collect()))
    }

    async fn create(&self, e164: &str, name: Option<&str>) -> Result<String, Outcome> {
        let name = name.map(|name| payload::clean(name).replace('\n', " "));
        let mut contact = json!({ "Phone": e164 });
        let (first, last) = match name.as_deref().map(str::trim) {
            Some(name) if !name.is_empty() => payload::names(name),
            _ => (None, e164),
        };
        contact["Last_Name"] = json!(payload::cut(last, LONGEST_LAST_NAME));
        if let Some(first) = first {
            contact["First_Name"] = json!(payload::cut(first, LONGEST_FIRST_NAME));
        }
        let url = self.endpoint.at(&["crm", "v8", CONTACTS]);
        let body = json!({ "data": [contact] });
        let response = self.send(Request::json(Method::POST, url, &body)).await?;
        let id = parse_record(&response.json()).id.map(|id| format!("{CONTACTS}/{id}"));
        id.ok_or_else(|| Outcome::not_understood(response.status))
    }
}
