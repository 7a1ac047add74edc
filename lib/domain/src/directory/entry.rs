//! Contacts and employees, and the handles that they are found by.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use crate::call::Outcome;
use crate::key::{CallKey, Name};
use crate::private::Personal;
use crate::time::Seconds;
use crate::update::Direction;

/// A person on the customer's side.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contact {
    /// Its id in the directory.
    pub id: Name,
    /// Its kind.
    pub kind: ContactKind,
    /// The name.
    pub name: Option<Personal>,
    /// Phone numbers in E.164.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub numbers: BTreeSet<Personal>,
    /// Email addresses, in lower case.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub emails: BTreeSet<Personal>,
    /// Its ids in other systems: a CRM's id of the lead, what is sent as `custom_identifier`.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub external_ids: BTreeSet<Personal>,
    /// A lead's status: a word of the configured rules, as `new` or `contacted`.
    pub status: Option<String>,
    /// The end of the last call with it.
    pub last_contacted_at: Option<Timestamp>,
    /// Its ids in CRMs, by destination.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub known_as: BTreeMap<Name, String>,
    /// Where it came from.
    pub origin: Origin,
    /// When it was written last.
    pub updated_at: Timestamp,
    /// Counts the writes: 0 is an entry that was never stored. The store counts.
    #[serde(default)]
    pub version: u64,
}

/// The kind of a contact.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum ContactKind {
    /// A customer.
    #[default]
    Client,
    /// A prospective customer, with a status.
    Lead,
}

/// Where an entry came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// A call with an unknown number.
    Call(CallKey),
    /// An import.
    Import,
    /// The API.
    Api,
}

/// A person on our side.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Employee {
    /// Its id in the directory.
    pub id: Name,
    /// The name.
    pub name: Option<Personal>,
    /// Phone numbers in E.164.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub numbers: BTreeSet<Personal>,
    /// Extensions of PBXs.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub extensions: BTreeSet<Extension>,
    /// Email addresses, in lower case.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub emails: BTreeSet<Personal>,
    /// Its ids in other systems: a provider's id of the agent.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub external_ids: BTreeSet<Personal>,
    /// Where it came from.
    pub origin: Origin,
    /// When it was written last.
    pub updated_at: Timestamp,
    /// Counts the writes, as [`Contact::version`].
    #[serde(default)]
    pub version: u64,
}

/// An internal number of a PBX.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Extension {
    /// The source that it belongs to; without one, all.
    pub source: Option<Name>,
    /// The number, as it is dialled.
    pub number: Personal,
}

/// A handle: one thing that an entry is found by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Handle {
    /// A phone number in E.164.
    Number(Personal),
    /// An internal number.
    Extension(Extension),
    /// An email address, in lower case.
    Email(Personal),
    /// An id in another system.
    External(Personal),
}

/// The holder of a handle.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Holder {
    /// A contact.
    Contact(Name),
    /// An employee.
    Employee(Name),
    /// No person: it is one of our own numbers (a main line, a DID).
    Own,
}

/// A contact or an employee.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A contact.
    Contact(Contact),
    /// An employee.
    Employee(Employee),
}

impl Entry {
    /// Its id.
    pub fn id(&self) -> &Name {
        match self {
            Self::Contact(contact) => &contact.id,
            Self::Employee(employee) => &employee.id,
        }
    }

    /// Which version it is.
    pub fn version(&self) -> u64 {
        match self {
            Self::Contact(contact) => contact.version,
            Self::Employee(employee) => employee.version,
        }
    }

    /// The holder that its handles point to.
    pub fn holder(&self) -> Holder {
        match self {
            Self::Contact(contact) => Holder::Contact(contact.id.clone()),
            Self::Employee(employee) => Holder::Employee(employee.id.clone()),
        }
    }

    /// Every handle that it is found by.
    pub fn handles(&self) -> BTreeSet<Handle> {
        match self {
            Self::Contact(contact) => contact.handles(),
            Self::Employee(employee) => employee.handles(),
        }
    }

    /// Whether both are equal but for version and time of writing.
    pub(super) fn says_the_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Contact(a), Self::Contact(b)) => {
                let Contact { updated_at, version, .. } = *a;
                *a == Contact { updated_at, version, ..b.clone() }
            }
            (Self::Employee(a), Self::Employee(b)) => {
                let Employee { updated_at, version, .. } = *a;
                *a == Employee { updated_at, version, ..b.clone() }
            }
            _ => false,
        }
    }
}

impl Handle {
    /// The handles of these values.
    pub(super) fn all(
        numbers: &BTreeSet<Personal>,
        extensions: &BTreeSet<Extension>,
        emails: &BTreeSet<Personal>,
        external_ids: &BTreeSet<Personal>,
    ) -> BTreeSet<Self> {
        let numbers = numbers.iter().cloned().map(Self::Number);
        let extensions = extensions.iter().cloned().map(Self::Extension);
        let emails = emails.iter().cloned().map(Self::Email);
        let external_ids = external_ids.iter().cloned().map(Self::External);
        numbers.chain(extensions).chain(emails).chain(external_ids).collect()
    }

    /// The field of an entry that holds it.
    pub fn field(&self) -> &'static str {
        match self {
            Self::Number(_) => "numbers",
            Self::Extension(_) => "extensions",
            Self::Email(_) => "emails",
            Self::External(_) => "external_ids",
        }
    }
}

impl Holder {
    /// The contact's id, if it is one.
    pub fn contact(&self) -> Option<&Name> {
        if let Self::Contact(id) = self { Some(id) } else { None }
    }

    /// The employee's id, if it is one.
    pub fn employee(&self) -> Option<&Name> {
        if let Self::Employee(id) = self { Some(id) } else { None }
    }

    /// Whether both are contacts, or both employees, or both own numbers.
    pub fn is_of_kind(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }
}

impl Contact {
    /// An empty contact.
    pub fn new(id: Name, kind: ContactKind, origin: Origin, now: Timestamp) -> Self {
        Self {
            id,
            kind,
            name: None,
            numbers: BTreeSet::new(),
            emails: BTreeSet::new(),
            external_ids: BTreeSet::new(),
            status: None,
            last_contacted_at: None,
            known_as: BTreeMap::new(),
            origin,
            updated_at: now,
            version: 0,
        }
    }

    /// Every handle that it is found by.
    pub fn handles(&self) -> BTreeSet<Handle> {
        Handle::all(&self.numbers, &BTreeSet::new(), &self.emails, &self.external_ids)
    }
}

impl Employee {
    /// An empty employee.
    pub fn new(id: Name, origin: Origin, now: Timestamp) -> Self {
        Self {
            id,
            name: None,
            numbers: BTreeSet::new(),
            extensions: BTreeSet::new(),
            emails: BTreeSet::new(),
            external_ids: BTreeSet::new(),
            origin,
            updated_at: now,
            version: 0,
        }
    }

    /// Every handle that it is found by.
    pub fn handles(&self) -> BTreeSet<Handle> {
        Handle::all(&self.numbers, &self.extensions, &self.emails, &self.external_ids)
    }
}

/// One call on a contact's timeline.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Activity {
    /// The contact whose timeline it is on.
    pub contact: Name,
    /// The call: there is one activity for each.
    pub call: CallKey,
    /// When the call began or, where that is unknown, when its first message came.
    pub at: Timestamp,
    /// Which way it went.
    pub direction: Option<Direction>,
    /// How it went.
    pub outcome: Option<Outcome>,
    /// How long the two sides were connected.
    pub talk: Option<Seconds>,
    /// The newest recording.
    pub recording: Option<Personal>,
    /// The employee, by id.
    pub employee: Option<Name>,
}
