//! Salesforce's contacts and leads.

use http::Method;
use jiff::Timestamp;
use serde_json::{Value, json};
use switchboard_domain::delivery::Verdict;

use super::answers::problem;
use super::{Api, Creates};
use crate::contacts::{Book, Match};
use crate::exchange::{Answer, Ask};
use crate::format::sheet;
use crate::phone;

/// The fields of each kind that hold numbers, the kind that is preferred first.
const KINDS: [(&str, &[&str]); 2] = [
    ("Contact", &["Phone", "MobilePhone", "HomePhone", "OtherPhone"]),
    ("Lead", &["Phone", "MobilePhone"]),
];
/// More than one is none.
const MOST: u32 = 20;
/// What names take.
const LONGEST_NAME: usize = 80;
const LONGEST_FIRST_NAME: usize = 40;

impl Book for Api {
    /// Among what is indexed of all numbers, however they are written. The index lags a little: before
    /// somebody is created, whom we may have created just now is looked for in the records themselves.
    fn search(&self, e164: &str, n: usize, creates: bool) -> Option<Ask> {
        match n {
            0 => {
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
                Some(Ask::json(Method::POST, self.at(&["parameterizedSearch"]), &body))
            }
            1 if creates => {
                let name = self.settings.creates.name();
                let unconverted = match self.settings.creates {
                    Creates::Contact => "",
                    Creates::Lead => " AND IsConverted = false",
                };
                Some(self.query(&format!(
                    "SELECT Id, Phone FROM {name} WHERE Phone = '{e164}'{unconverted} LIMIT {MOST}"
                )))
            }
            _ => None,
        }
    }

    fn found(&self, answer: &Answer) -> Option<Vec<Match>> {
        let body = answer.json();
        let records = body.get("searchRecords").or_else(|| body.get("records"))?;
        Some(records.as_array()?.iter().filter_map(found).collect())
    }

    fn create(&self, e164: &str, name: Option<&str>) -> Ask {
        // A last name must be there.
        let (first, last) = name.map_or((None, e164), sheet::names);
        let mut body = json!({"LastName": sheet::cut(last, LONGEST_NAME), "Phone": e164});
        if let Some(first) = first {
            body["FirstName"] = json!(sheet::cut(first, LONGEST_FIRST_NAME));
        }
        if self.settings.creates == Creates::Lead {
            // So must a company; this is what Salesforce itself writes where there is none.
            body["Company"] = json!("[not provided]");
        }
        Ask::json(Method::POST, self.at(&["sobjects", self.settings.creates.name()]), &body)
    }

    fn created(&self, answer: &Answer) -> Option<String> {
        answer.json().get("id")?.as_str().map(str::to_owned)
    }

    fn judge(&self, answer: &Answer, now: Timestamp) -> (Verdict, String) {
        let problem = problem(answer, &self.settings.field, now);
        (problem.verdict, problem.words)
    }
}

impl Creates {
    fn name(self) -> &'static str {
        match self {
            Self::Contact => "Contact",
            Self::Lead => "Lead",
        }
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
