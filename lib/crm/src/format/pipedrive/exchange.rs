//! The requests of one attempt: is the entry there that we know of; whom is it attached to; create it.

use http::Method;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use switchboard_domain::Personal;
use switchboard_domain::delivery::{Remote, Verdict};
use url::Url;

use super::{CallLog, Sheet};
use crate::contacts::{Attaching, Book, Match, Turn};
use crate::destination::Destination;
use crate::exchange::{Answer, Ask, Exchange, Over, Step, Told, below, not_begun};
use crate::format::sheet;
use crate::{phone, verdict};

/// A person's name holds no more.
const LONGEST_NAME: usize = 255;
/// Fields that an error may name: what it says beside may be what we sent.
const FIELDS: [&str; 10] = [
    "to_phone_number",
    "from_phone_number",
    "start_time",
    "end_time",
    "person_id",
    "user_id",
    "outcome",
    "duration",
    "subject",
    "note",
];

/// Begins an attempt.
pub fn begin(destination: &Destination, told: &Told<'_>) -> Box<dyn Exchange> {
    let sheet: Option<Sheet> = serde_json::from_slice(told.body).ok();
    let remote = told.remote.clone();
    Box::new(Logging {
        persons: Persons { base: destination.url.clone() },
        doing: Doing::Beginning,
        sheet: sheet.map(|sheet| {
            let known = remote.contact.as_ref();
            (sheet.call, Attaching::new(destination.contacts, sheet.contact, known))
        }),
        call: remote.call,
    })
}

struct Logging {
    persons: Persons,
    doing: Doing,
    sheet: Option<(CallLog, Attaching)>,
    /// What Pipedrive calls the entry that we made for this call.
    call: Option<String>,
}

#[derive(Clone, Copy)]
enum Doing {
    Beginning,
    Checking,
    Attaching,
    Creating,
}

impl Exchange for Logging {
    fn next(&mut self, answer: Option<&Answer>, now: Timestamp) -> Step {
        if self.sheet.is_none() {
            return Step::Over(not_begun());
        }
        match (self.doing, answer) {
            (Doing::Beginning, _) => match &self.call {
                Some(id) => {
                    self.doing = Doing::Checking;
                    let url = below(&self.persons.base, &["v1", "callLogs", id]);
                    Step::Ask(Ask::bare(Method::GET, url))
                }
                None => self.attach(None, now),
            },
            (Doing::Checking, Some(answer)) => match answer.status {
                200..=299 => self.over(Verdict::Delivered, answer, "is there already"),
                // Somebody has deleted it, and somebody wants it to be there again.
                404 | 410 => {
                    self.call = None;
                    self.attach(None, now)
                }
                _ => self.judged(answer, now),
            },
            (Doing::Attaching, answer) => self.attach(answer, now),
            (Doing::Creating, Some(answer)) => self.created(answer, now),
            (Doing::Checking | Doing::Creating, None) => Step::Over(not_begun()),
        }
    }

    fn learned(&self) -> Remote {
        let contact = self.sheet.as_ref().and_then(|(_, person)| person.contact());
        Remote { call: self.call.clone(), contact: contact.map(str::to_owned) }
    }
}

impl Logging {
    fn attach(&mut self, answer: Option<&Answer>, now: Timestamp) -> Step {
        self.doing = Doing::Attaching;
        let Some((_, person)) = &mut self.sheet else { return Step::Over(not_begun()) };
        match person.next(&self.persons, answer, now) {
            Turn::Ask(ask) => Step::Ask(ask),
            Turn::Settled => self.create(),
            Turn::Later(verdict, status, result) => {
                let remote = self.learned();
                Step::Over(Over { verdict, status: Some(status), result, remote })
            }
        }
    }

    fn create(&mut self) -> Step {
        self.doing = Doing::Creating;
        let Some((call, person)) = &self.sheet else { return Step::Over(not_begun()) };
        let mut call = call.clone();
        call.person_id = person.contact().and_then(|id| id.parse().ok());
        let url = below(&self.persons.base, &["v1", "callLogs"]);
        let body = serde_json::to_vec(&call).unwrap_or_default();
        Step::Ask(Ask::bytes(Method::POST, url, body))
    }

    fn created(&mut self, answer: &Answer, now: Timestamp) -> Step {
        let told = answer.json();
        if answer.is_success() {
            self.call = id(&told["data"]["id"]);
            // Without an id it is there all the same: to tell it again would make a second one.
            return self.over(Verdict::Delivered, answer, "created");
        }
        let about_person = named(&told) == Some("person_id");
        let Some((_, person)) = &mut self.sheet else { return Step::Over(not_begun()) };
        if matches!(answer.status, 400 | 404) && about_person && person.contact().is_some() {
            return match person.is_gone() {
                true => self.attach(None, now),
                false => self.create(),
            };
        }
        self.judged(answer, now)
    }

    fn judged(&self, answer: &Answer, now: Timestamp) -> Step {
        let (verdict, result) = judge(answer, now);
        let remote = self.learned();
        Step::Over(Over { verdict, status: Some(answer.status), result, remote })
    }

    fn over(&self, verdict: Verdict, answer: &Answer, words: &str) -> Step {
        let attached = self.sheet.as_ref().map_or("", |(_, person)| person.outcome());
        Step::Over(Over {
            verdict,
            status: Some(answer.status),
            result: format!("{words}: {}{attached}", answer.status),
            remote: self.learned(),
        })
    }
}

/// What an answer means. As for every destination, but for what Pipedrive means otherwise: 402 is that
/// the account is closed, which passes when somebody pays; and how long to wait after 429 stands in
/// `x-ratelimit-reset`, in seconds.
fn judge(answer: &Answer, now: Timestamp) -> (Verdict, String) {
    let status = answer.status;
    let (verdict, words) = verdict::judge(status, answer.retry_after.as_deref(), now);
    match (status, verdict) {
        (402, _) => {
            (Verdict::Retry { not_before: None }, format!("the account is closed: {status}"))
        }
        (429, Verdict::Retry { not_before: None }) => {
            let seconds = answer.reset.as_ref().and_then(|text| text.trim().parse::<u32>().ok());
            let wait =
                |seconds: u32| now.checked_add(SignedDuration::from_secs(seconds.into())).ok();
            (Verdict::Retry { not_before: seconds.and_then(wait) }, words)
        }
        (_, Verdict::Refused) => match named(&answer.json()) {
            Some(field) => (verdict, format!("{words}, for {field}")),
            None => (verdict, words),
        },
        _ => (verdict, words),
    }
}

/// Which of our fields an error is about.
fn named(told: &Value) -> Option<&'static str> {
    let words = [&told["error"], &told["error_info"]].map(|text| text.as_str().unwrap_or_default());
    FIELDS.into_iter().find(|field| words.iter().any(|text| text.contains(field)))
}

/// An id as Pipedrive writes it: persons have numbers, call logs have texts.
fn id(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.is_empty() && text.len() <= 64 => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// Pipedrive's persons.
struct Persons {
    base: Url,
}

impl Book for Persons {
    fn search(&self, e164: &str, n: usize, creates: bool) -> Option<Ask> {
        let term = match n {
            0 => e164,
            // Before one is created, those are looked for whose number is written as inside its country.
            1 if creates => phone::national(e164),
            _ => return None,
        };
        if term.len() < 2 {
            return None;
        }
        let mut url = below(&self.base, &["api", "v2", "persons", "search"]);
        url.query_pairs_mut().append_pair("term", term).append_pair("fields", "phone");
        Some(Ask::bare(Method::GET, url))
    }

    fn found(&self, answer: &Answer) -> Option<Vec<Match>> {
        let told = answer.json();
        let items = told["data"]["items"].as_array()?;
        let one = |item: &Value| {
            let person = &item["item"];
            let phones = person["phones"].as_array().into_iter().flatten();
            let numbers = phones.filter_map(Value::as_str).map(str::to_owned).collect();
            Some(Match { id: id(&person["id"])?, numbers, rank: 0 })
        };
        Some(items.iter().filter_map(one).collect())
    }

    fn create(&self, e164: &str, name: Option<&str>) -> Ask {
        let name = name.map(sheet::clean).filter(|name| !name.trim().is_empty());
        let name = name.unwrap_or_else(|| e164.to_owned());
        let body = json!({
            "name": sheet::cut(&name, LONGEST_NAME),
            "phones": [{"value": Personal::new(e164), "primary": true, "label": "work"}],
        });
        Ask::json(Method::POST, below(&self.base, &["api", "v2", "persons"]), &body)
    }

    fn created(&self, answer: &Answer) -> Option<String> {
        id(&answer.json()["data"]["id"])
    }

    fn judge(&self, answer: &Answer, now: Timestamp) -> (Verdict, String) {
        judge(answer, now)
    }
}
