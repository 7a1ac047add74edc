//! The requests of one attempt: is the record there; whom is it attached to; make it, or change it.

use std::cell::Cell;

use http::Method;
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use switchboard_domain::delivery::{Remote, Verdict};
use url::Url;

use super::Sheet;
use super::answer::{Said, id, judge, said};
use crate::contacts::{Attaching, Book, Match, Turn};
use crate::destination::{Deduplication, Destination};
use crate::exchange::{Answer, Ask, Exchange, Over, Step, Told, below, not_begun};
use crate::format::sheet;
use crate::phone;

/// Fields that cannot be changed once a call is there, or that people change.
const SET_ONCE: [&str; 3] = ["Call_Type", "Call_Start_Time", "Owner"];
const CONTACTS: &str = "Contacts";
const LEADS: &str = "Leads";
/// Where Zoho keeps numbers of people.
const NUMBERS: [&str; 5] = ["Phone", "Mobile", "Home_Phone", "Other_Phone", "Asst_Phone"];

/// Begins an attempt.
pub fn begin(destination: &Destination, told: &Told<'_>) -> Box<dyn Exchange> {
    let sheet: Option<Sheet> = serde_json::from_slice(told.body).ok();
    let remote = told.remote.clone();
    Box::new(Recording {
        people: People { base: destination.url.clone(), module: Cell::new(CONTACTS) },
        looks: destination.deduplication == Deduplication::Search,
        doing: Doing::Beginning,
        sheet: sheet.map(|sheet| {
            let (contacts, whom) = (destination.contacts, sheet.contact.clone());
            (sheet, Attaching::new(contacts, whom, remote.contact.as_ref()))
        }),
        knew_contact: remote.contact.is_some(),
        call: remote.call,
        made_anew: false,
    })
}

struct Recording {
    people: People,
    /// Whether the record is looked for before it is made.
    looks: bool,
    doing: Doing,
    sheet: Option<(Sheet, Attaching)>,
    /// What Zoho calls the record of this call.
    call: Option<String>,
    /// Whether the contact was known before this attempt.
    knew_contact: bool,
    /// Whether the record that was known turned out to be gone.
    made_anew: bool,
}

#[derive(Clone, Copy)]
enum Doing {
    Beginning,
    Looking,
    Attaching,
    Creating,
    Changing,
}

impl Exchange for Recording {
    fn next(&mut self, answer: Option<&Answer>, now: Timestamp) -> Step {
        let Some((sheet, _)) = &self.sheet else { return Step::Over(not_begun()) };
        match (self.doing, answer) {
            (Doing::Beginning, _) if self.call.is_none() && self.looks => {
                self.doing = Doing::Looking;
                Step::Ask(look(&self.people.base, sheet))
            }
            (Doing::Beginning, _) => self.attach(None, now),
            (Doing::Looking, Some(answer)) => self.looked(answer, now),
            (Doing::Attaching, answer) => self.attach(answer, now),
            (Doing::Creating | Doing::Changing, Some(answer)) => self.written(answer, now),
            (_, None) => Step::Over(not_begun()),
        }
    }

    fn learned(&self) -> Remote {
        let contact = self.sheet.as_ref().and_then(|(_, contact)| contact.contact());
        Remote { call: self.call.clone(), contact: contact.map(str::to_owned) }
    }
}

impl Recording {
    fn looked(&mut self, answer: &Answer, now: Timestamp) -> Step {
        let Some((sheet, _)) = &self.sheet else { return Step::Over(not_begun()) };
        match answer.status {
            // Nothing was found.
            204 => {}
            200..=299 => match found(answer, sheet) {
                Some(found) => self.call = found,
                None => return self.retry(answer, "not understood"),
            },
            _ => return self.judged(answer, now),
        }
        self.attach(None, now)
    }

    fn attach(&mut self, answer: Option<&Answer>, now: Timestamp) -> Step {
        self.doing = Doing::Attaching;
        let Some((_, contact)) = &mut self.sheet else { return Step::Over(not_begun()) };
        let answer = answer.map(as_meant);
        match contact.next(&self.people, answer.as_ref(), now) {
            Turn::Ask(ask) => Step::Ask(ask),
            Turn::Settled => self.write(),
            Turn::Later(verdict, status, result) => {
                let remote = self.learned();
                Step::Over(Over { verdict, status: Some(status), result, remote })
            }
        }
    }

    fn write(&mut self) -> Step {
        let Some((sheet, contact)) = &self.sheet else { return Step::Over(not_begun()) };
        let mut call = sheet.call.clone();
        if let Some(link) = contact.contact() {
            attach_to(&mut call, link);
        }
        let base = &self.people.base;
        let (method, url, doing) = match &self.call {
            Some(id) => {
                SET_ONCE.iter().for_each(|name| drop(call.remove(*name)));
                (Method::PUT, below(base, &["crm", "v8", "Calls", id]), Doing::Changing)
            }
            None if sheet.may_create || self.looks && !self.made_anew => {
                (Method::POST, below(base, &["crm", "v8", "Calls"]), Doing::Creating)
            }
            None => return self.over(Verdict::Refused, None, "refused: its record is not there"),
        };
        self.doing = doing;
        Step::Ask(Ask::json(method, url, &json!({"data": [call]})))
    }

    fn written(&mut self, answer: &Answer, now: Timestamp) -> Step {
        let Some((sheet, contact)) = &mut self.sheet else { return Step::Over(not_begun()) };
        let body = answer.json();
        let Said { code, field, id } = said(&body);
        let creating = matches!(self.doing, Doing::Creating);
        let names_it = field == Some("id") || field.is_none() && id.is_some() && id == self.call;
        let is_gone = !creating && names_it;
        match (code, field) {
            ("SUCCESS", _) if answer.is_success() => {
                self.call = id.or(self.call.take());
                let words = if creating { "created" } else { "changed" };
                self.over(Verdict::Delivered, Some(answer), words)
            }
            // The key's field is unique, and the search had not yet seen the record that has it.
            ("DUPLICATE_DATA", Some(field)) if creating && field == sheet.field && id.is_some() => {
                self.call = id;
                self.write()
            }
            ("INVALID_DATA", Some("Who_Id" | "What_Id")) if contact.contact().is_some() => {
                // Who was found just now would be found again.
                match contact.is_gone() && std::mem::take(&mut self.knew_contact) {
                    true => self.attach(None, now),
                    false => self.write(),
                }
            }
            // Somebody has deleted the record.
            ("INVALID_DATA", _) if is_gone && !self.made_anew => {
                self.call = None;
                self.made_anew = true;
                self.write()
            }
            // What was not said to be wrong was done: to send it again would make a second one.
            ("", _) if answer.is_success() && creating => {
                self.over(Verdict::Delivered, Some(answer), "created, its id was not told")
            }
            _ => self.judged(answer, now),
        }
    }

    fn judged(&self, answer: &Answer, now: Timestamp) -> Step {
        let (verdict, result) = judge(answer, now);
        let remote = self.learned();
        Step::Over(Over { verdict, status: Some(answer.status), result, remote })
    }

    fn retry(&self, answer: &Answer, words: &str) -> Step {
        let (verdict, remote) = (Verdict::Retry { not_before: None }, self.learned());
        let result = format!("{words}: {}", answer.status);
        Step::Over(Over { verdict, status: Some(answer.status), result, remote })
    }

    fn over(&self, verdict: Verdict, answer: Option<&Answer>, words: &str) -> Step {
        let status = answer.map(|answer| answer.status);
        let attached = self.sheet.as_ref().map_or("", |(_, contact)| contact.outcome());
        let result = match status {
            Some(status) => format!("{words}: {status}{attached}"),
            None => words.to_owned(),
        };
        Step::Over(Over { verdict, status, result, remote: self.learned() })
    }
}

/// The search for the record that has the call's key. The key is of letters and digits, so that nothing
/// in it means anything to the search.
fn look(base: &Url, sheet: &Sheet) -> Ask {
    let mut url = below(base, &["crm", "v8", "Calls", "search"]);
    url.query_pairs_mut()
        .append_pair("criteria", &format!("({}:equals:{})", sheet.field, sheet.key))
        .append_pair("fields", &format!("id,{}", sheet.field));
    Ask::bare(Method::GET, url)
}

/// The oldest record that really has the key: to Zoho's search what holds a text equals it. `None`: the
/// answer cannot be understood.
fn found(answer: &Answer, sheet: &Sheet) -> Option<Option<String>> {
    let told = answer.json();
    let records = told["data"].as_array()?;
    let has_it = |record: &&Value| {
        let text = record[&sheet.field].as_str().unwrap_or_default();
        text.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| word == sheet.key)
    };
    let ids = records.iter().filter(has_it).filter_map(|record| id(&record["id"]));
    Some(ids.min_by_key(|id| (id.len(), id.clone())))
}

/// A contact is who it was with; a lead is what it was about.
fn attach_to(call: &mut Map<String, Value>, link: &str) {
    match link.split_once('/') {
        Some((CONTACTS, id)) => {
            call.insert("Who_Id".into(), json!({"id": id}));
        }
        Some((LEADS, id)) => {
            call.insert("What_Id".into(), json!({"id": id}));
            call.insert("$se_module".into(), json!(LEADS));
        }
        _ => {}
    }
}

/// An answer with the status that it means: an error of the one record is an error, and that a contact
/// with this number is there already is what was wanted.
fn as_meant(answer: &Answer) -> Answer {
    let body = answer.json();
    let status = match said(&body) {
        Said { code: "DUPLICATE_DATA", id: Some(_), .. } => 200,
        Said { code: "" | "SUCCESS", .. } => answer.status,
        Said { .. } if answer.is_success() => 400,
        Said { .. } => answer.status,
    };
    Answer { status, ..answer.clone() }
}

/// Zoho's contacts and leads. Who was found is called by module and id: `Contacts/…`.
struct People {
    base: Url,
    /// Where was searched last: the records do not say it.
    module: Cell<&'static str>,
}

impl Book for People {
    fn search(&self, e164: &str, n: usize, creates: bool) -> Option<Ask> {
        let (module, number) = match n {
            0 => (CONTACTS, e164),
            1 => (LEADS, e164),
            // Before one is created, those are looked for whose number is written as inside its country.
            2 if creates => (CONTACTS, phone::national(e164)),
            _ => return None,
        };
        if number.is_empty() {
            return None;
        }
        self.module.set(module);
        let mut url = below(&self.base, &["crm", "v8", module, "search"]);
        url.query_pairs_mut().append_pair("phone", number).append_pair("per_page", "20");
        Some(Ask::bare(Method::GET, url))
    }

    fn found(&self, answer: &Answer) -> Option<Vec<Match>> {
        if answer.status == 204 {
            return Some(Vec::new());
        }
        let told = answer.json();
        let people = told["data"].as_array()?;
        let module = self.module.get();
        let one = |person: &Value| {
            let number = |name: &&str| person[*name].as_str().map(str::to_owned);
            let id = format!("{module}/{}", id(&person["id"])?);
            Some(Match { id, numbers: NUMBERS.iter().filter_map(number).collect(), rank: 0 })
        };
        Some(people.iter().filter_map(one).collect())
    }

    fn create(&self, e164: &str, name: Option<&str>) -> Ask {
        let name = name.map(|name| sheet::clean(name).replace('\n', " "));
        let mut contact = json!({"Phone": e164});
        let (first, last) = match name.as_deref().map(str::trim) {
            Some(name) if !name.is_empty() => sheet::names(name),
            _ => (None, e164),
        };
        // A first name holds 40 characters, a last name 80.
        contact["Last_Name"] = json!(sheet::cut(last, 80));
        if let Some(first) = first {
            contact["First_Name"] = json!(sheet::cut(first, 40));
        }
        let url = below(&self.base, &["crm", "v8", CONTACTS]);
        Ask::json(Method::POST, url, &json!({"data": [contact]}))
    }

    fn created(&self, answer: &Answer) -> Option<String> {
        let body = answer.json();
        said(&body).id.map(|id| format!("{CONTACTS}/{id}"))
    }

    fn judge(&self, answer: &Answer, now: Timestamp) -> (Verdict, String) {
        judge(answer, now)
    }
}
