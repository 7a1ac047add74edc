//! The checks of an entry of the directory: it must be possible to store and find it.

use std::collections::BTreeSet;

use super::entry::{Contact, Employee, Entry, Extension};
use crate::private::{LONGEST_NAME, Personal};

/// As many numbers as an entry may have. With the other limits, replacing all that an entry is found
/// by, and the entry, is one transaction of at most 100 items.
pub const MOST_NUMBERS: usize = 16;
/// As many extensions as an employee may have.
pub const MOST_EXTENSIONS: usize = 12;
/// As many email addresses as an entry may have.
pub const MOST_EMAILS: usize = 8;
/// As many ids of other systems as an entry may have.
pub const MOST_EXTERNAL_IDS: usize = 12;
/// So many contacts may share a number, and so many employees. A number with more holders is a
/// placeholder.
pub const MOST_HOLDERS: usize = 100;

/// RFC 5321's limit of a path, without its brackets.
const LONGEST_EMAIL: usize = 254;
const LONGEST_EXTERNAL_ID: usize = 256;
const LONGEST_EXTENSION: usize = 32;
const LONGEST_STATUS: usize = 32;

/// Why an entry is not accepted. It never holds the value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[error("{field} {problem}")]
pub struct EntryFault {
    /// Which field.
    pub field: &'static str,
    /// The problem, as a phrase that follows the field's name.
    pub problem: String,
    /// Whether the value is valid and another entry holds it.
    pub is_taken: bool,
}

impl EntryFault {
    /// A fault of one field.
    pub fn new(field: &'static str, problem: impl Into<String>) -> Self {
        Self { field, problem: problem.into(), is_taken: false }
    }

    /// A field whose value is valid and held by another entry.
    pub fn taken(field: &'static str, problem: impl Into<String>) -> Self {
        Self { field, problem: problem.into(), is_taken: true }
    }
}

impl Entry {
    /// Whether it can be stored and found.
    pub fn check(&self) -> Result<(), EntryFault> {
        match self {
            Self::Contact(contact) => contact.check(),
            Self::Employee(employee) => employee.check(),
        }
    }
}

impl Contact {
    /// Whether it can be stored and found.
    pub fn check(&self) -> Result<(), EntryFault> {
        common(&self.name, &self.numbers, &self.emails, &self.external_ids)?;
        match &self.status {
            Some(status) if !is_status(status) => Err(EntryFault::new(
                "status",
                "is not a word of 1 to 32 lower-case letters, digits, - and _",
            )),
            _ => Ok(()),
        }
    }
}

impl Employee {
    /// Whether it can be stored and found.
    pub fn check(&self) -> Result<(), EntryFault> {
        common(&self.name, &self.numbers, &self.emails, &self.external_ids)?;
        at_most("extensions", self.extensions.len(), MOST_EXTENSIONS)?;
        let problem = "holds one that is not 1 to 32 digits, letters, * # + - . or _";
        all("extensions", self.extensions.iter().all(is_extension), problem)
    }
}

fn common(
    name: &Option<Personal>,
    numbers: &BTreeSet<Personal>,
    emails: &BTreeSet<Personal>,
    external_ids: &BTreeSet<Personal>,
) -> Result<(), EntryFault> {
    let is_name = |name: &Personal| {
        (1..=LONGEST_NAME).contains(&name.expose().chars().count()) && is_plain(name.expose())
    };
    let problem = "is empty, longer than 2000 characters or has control characters";
    all("name", name.iter().all(is_name), problem)?;
    at_most("numbers", numbers.len(), MOST_NUMBERS)?;
    at_most("emails", emails.len(), MOST_EMAILS)?;
    at_most("external_ids", external_ids.len(), MOST_EXTERNAL_IDS)?;
    all("numbers", numbers.iter().all(is_e164), "holds one that is not in E.164")?;
    let problem = "holds one that is not an email address in lower case";
    all("emails", emails.iter().all(is_email), problem)?;
    let problem = "holds one that is empty, longer than 256 bytes or has control characters";
    all("external_ids", external_ids.iter().all(is_external_id), problem)
}

fn at_most(field: &'static str, count: usize, most: usize) -> Result<(), EntryFault> {
    all(field, count <= most, &format!("are {count}; at most {most} can be stored"))
}

fn all(field: &'static str, is_valid: bool, problem: &str) -> Result<(), EntryFault> {
    if is_valid { Ok(()) } else { Err(EntryFault::new(field, problem)) }
}

fn is_plain(text: &str) -> bool {
    !text.chars().any(char::is_control)
}

fn is_e164(number: &Personal) -> bool {
    let digits = number.expose().strip_prefix('+').unwrap_or_default();
    (4..=17).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit())
}

fn is_email(email: &Personal) -> bool {
    let text = email.expose();
    let has_sides = text.rsplit_once('@').is_some_and(|(a, b)| !a.is_empty() && !b.is_empty());
    has_sides
        && text.len() <= LONGEST_EMAIL
        && is_plain(text)
        && !text.contains(char::is_whitespace)
        && text.to_lowercase() == text
}

fn is_external_id(id: &Personal) -> bool {
    let text = id.expose();
    (1..=LONGEST_EXTERNAL_ID).contains(&text.len()) && is_plain(text) && text.trim() == text
}

fn is_extension(extension: &Extension) -> bool {
    let text = extension.number.expose();
    (1..=LONGEST_EXTENSION).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"*#+-._".contains(&b))
}

fn is_status(status: &str) -> bool {
    (1..=LONGEST_STATUS).contains(&status.len())
        && status
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_".contains(&b))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::directory::{ContactKind, Origin};
    use crate::key::Name;

    fn contact() -> Contact {
        let id = Name::new("contact", "c1").unwrap();
        Contact {
            name: Some(Personal::new("Kim Example")),
            numbers: BTreeSet::from([Personal::new("+61491570156")]),
            emails: BTreeSet::from([Personal::new("kim@example.com")]),
            external_ids: BTreeSet::from([Personal::new("CRM 1/é")]),
            status: Some("new".into()),
            ..Contact::new(id, ContactKind::Lead, Origin::Api, Timestamp::UNIX_EPOCH)
        }
    }

    fn many(count: usize, value: impl Fn(usize) -> String) -> BTreeSet<Personal> {
        (0..count).map(|n| Personal::new(value(n))).collect()
    }

    #[test]
    fn what_cannot_be_stored_or_found_is_named_without_its_value() {
        assert_eq!(contact().check(), Ok(()));
        let set = |value: &str| BTreeSet::from([Personal::new(value)]);
        for (field, wrong) in [
            ("name", Contact { name: Some(Personal::new("")), ..contact() }),
            ("name", Contact { name: Some(Personal::new("Kim\nExample")), ..contact() }),
            ("numbers", Contact { numbers: set("0491570156"), ..contact() }),
            ("numbers", Contact { numbers: set("+6149157O156"), ..contact() }),
            (
                "numbers",
                Contact { numbers: many(17, |n| format!("+614915701{n:02}")), ..contact() },
            ),
            ("emails", Contact { emails: set("Kim@example.com"), ..contact() }),
            ("emails", Contact { emails: set("kim@"), ..contact() }),
            ("emails", Contact { emails: set("kim example.com"), ..contact() }),
            ("emails", Contact { emails: many(9, |n| format!("kim{n}@example.com")), ..contact() }),
            ("external_ids", Contact { external_ids: set(" Kim1"), ..contact() }),
            ("external_ids", Contact { external_ids: set(&"Kim".repeat(86)), ..contact() }),
            ("external_ids", Contact { external_ids: many(13, |n| n.to_string()), ..contact() }),
            ("status", Contact { status: Some("Kim#".into()), ..contact() }),
        ] {
            let fault = wrong.check().unwrap_err();
            assert_eq!(fault.field, field);
            let text = format!("{fault} {fault:?}").to_lowercase();
            assert!(!text.contains("kim") && !text.contains("915"), "{text}");
        }
    }

    #[test]
    fn a_change_of_everything_is_one_transaction() {
        let handles = MOST_NUMBERS + MOST_EXTENSIONS + MOST_EMAILS + MOST_EXTERNAL_IDS;
        assert!(2 * handles + 2 <= 100, "the entry, its place among leads, all old and all new");
    }
}
