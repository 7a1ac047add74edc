//! One row of an import, read to a draft.

use std::collections::BTreeSet;

use serde::Deserialize;
use switchboard_domain::directory::{ContactKind, Draft, EntryFault, EntryKind, Extension};
use switchboard_domain::{Name, Personal};

use crate::number::e164;

/// What holds where a row does not say otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Defaults {
    /// What the people are to us.
    pub kind: EntryKind,
    /// The country of national numbers: two capital letters (ISO 3166-1).
    pub country: Option<String>,
}

/// One row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// On which line it begins; the first is 1.
    pub line: u64,
    /// What it says, or why it cannot be read.
    pub draft: Result<Draft, EntryFault>,
}

/// Why nothing of a text can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable(pub String);

/// One person as JSON. Members that it does not know are refused.
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Written {
    /// Its id in the directory.
    pub id: Option<String>,
    /// `contact` (or `client`), `lead` or `employee`.
    pub kind: Option<String>,
    /// The name.
    #[serde(alias = "full_name")]
    pub name: Option<Personal>,
    /// Phone numbers, in international form, or national of the country.
    #[serde(alias = "number", alias = "phone")]
    pub numbers: Several,
    /// Internal numbers: `101`, or, of one source alone, `pbx/101`.
    #[serde(alias = "extension")]
    pub extensions: Several,
    /// Email addresses.
    #[serde(alias = "email")]
    pub emails: Several,
    /// What other systems call them.
    #[serde(alias = "external_id", alias = "ref_id", alias = "custom_identifier")]
    pub external_ids: Several,
    /// Where a lead stands.
    pub status: Option<String>,
    /// The country of this one's national numbers.
    pub country: Option<String>,
}

/// One text, or several.
#[derive(Clone, Default, Deserialize)]
#[serde(from = "OneOrMany")]
pub struct Several(pub Vec<Personal>);

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    None(()),
    One(Personal),
    Many(Vec<Personal>),
}

impl From<OneOrMany> for Several {
    fn from(written: OneOrMany) -> Self {
        Self(match written {
            OneOrMany::None(()) => Vec::new(),
            OneOrMany::One(one) => vec![one],
            OneOrMany::Many(many) => many,
        })
    }
}

impl Written {
    /// What it says, with its numbers in E.164.
    pub fn draft(self, defaults: &Defaults) -> Result<Draft, EntryFault> {
        let kind = known(self.kind.as_deref()).map_or(Ok(defaults.kind), entry_kind)?;
        let country = country(known(self.country.as_deref()), defaults)?;
        let id = known(self.id.as_deref());
        let id = id.map(|id| Name::new("id", id)).transpose();
        let draft = Draft {
            kind,
            id: id.map_err(|error| EntryFault::new("id", error.problem))?,
            name: self.name.and_then(|name| Personal::known(name.expose())),
            numbers: numbers(&self.numbers.0, country)?,
            extensions: extensions(&self.extensions.0)?,
            emails: emails(&self.emails.0),
            external_ids: external_ids(&self.external_ids.0),
            status: known(self.status.as_deref()).map(str::to_owned),
        };
        match kind {
            EntryKind::Contact(_) if !draft.extensions.is_empty() => {
                Err(EntryFault::new("extensions", "are for employees only"))
            }
            EntryKind::Employee if draft.status.is_some() => {
                Err(EntryFault::new("status", "is for leads only"))
            }
            _ => Ok(draft),
        }
    }
}

/// Phone numbers in E.164, read with a country.
pub fn numbers(
    written: &[Personal],
    country: Option<&str>,
) -> Result<BTreeSet<Personal>, EntryFault> {
    let read = |number: &Personal| {
        e164(number.expose(), country).map(Personal::new).ok_or_else(|| {
            let how = match country {
                Some(country) => format!("holds one that is no phone number of {country}, nor international"),
                None => "holds one that is no international phone number; give the country of national ones".to_owned(),
            };
            EntryFault::new("numbers", how)
        })
    };
    filled(written).map(read).collect()
}

/// Internal numbers: `101`, or, of one source alone, `pbx/101`.
pub fn extensions(written: &[Personal]) -> Result<BTreeSet<Extension>, EntryFault> {
    let read = |extension: &Personal| match extension.expose().split_once('/') {
        None => Ok(Extension { source: None, number: trimmed(extension.expose()) }),
        Some((source, number)) => {
            let source = Name::new("source", source.trim());
            let source = source.map_err(|error| {
                EntryFault::new("extensions", format!("hold one whose {error}"))
            })?;
            Ok(Extension { source: Some(source), number: trimmed(number) })
        }
    };
    filled(written).map(read).collect()
}

/// Email addresses in lower case.
pub fn emails(written: &[Personal]) -> BTreeSet<Personal> {
    filled(written).map(|email| trimmed(&email.expose().to_lowercase())).collect()
}

/// Ids of other systems.
pub fn external_ids(written: &[Personal]) -> BTreeSet<Personal> {
    filled(written).map(|id| trimmed(id.expose())).collect()
}

/// The kind of an entry, by its word.
pub fn entry_kind(word: &str) -> Result<EntryKind, EntryFault> {
    match word.to_ascii_lowercase().as_str() {
        "contact" | "client" => Ok(EntryKind::Contact(ContactKind::Client)),
        "lead" => Ok(EntryKind::Contact(ContactKind::Lead)),
        "employee" => Ok(EntryKind::Employee),
        _ => Err(EntryFault::new("kind", "is not one of contact, client, lead, employee")),
    }
}

/// Whether it is a country as it is written here.
pub fn is_country(country: &str) -> bool {
    country.len() == 2 && country.bytes().all(|b| b.is_ascii_uppercase())
}

fn country<'a>(
    said: Option<&'a str>,
    defaults: &'a Defaults,
) -> Result<Option<&'a str>, EntryFault> {
    match said.or(defaults.country.as_deref()) {
        Some(country) if !is_country(country) => {
            Err(EntryFault::new("country", "must be two capital letters, as AU"))
        }
        country => Ok(country),
    }
}

fn known(text: Option<&str>) -> Option<&str> {
    text.map(str::trim).filter(|text| !text.is_empty())
}

fn filled(written: &[Personal]) -> impl Iterator<Item = &Personal> {
    written.iter().filter(|one| !one.expose().trim().is_empty())
}

fn trimmed(text: &str) -> Personal {
    Personal::new(text.trim())
}
