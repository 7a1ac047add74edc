//! Creating, changing and deleting one entry. A request that names a version applies to that version
//! or is refused.

use serde::{Deserialize, Deserializer};
use serde_json::json;
use switchboard_domain::directory::{Entry, EntryKind, EntryWrite, Origin};
use switchboard_domain::{Name, Personal};
use switchboard_people::import::{
    Defaults, Several, Written, emails, entry_kind, extensions, external_ids, is_country, numbers,
};
use switchboard_store::{PutIf, fresh_id};

use super::{DirectoryArea, Who, problem_of, view};
use crate::access::Caller;
use crate::problem::Problem;
use crate::request::Request;
use crate::serve::{Response, ok, with_status};

/// So often a change is made anew of what another has written meanwhile.
const ATTEMPTS: usize = 5;

/// A JSON merge patch (RFC 7396) of an entry: what is not there stays, `null` takes it away.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
#[derive(Default)]
struct Patch {
    #[serde(deserialize_with = "there")]
    name: Option<Option<Personal>>,
    #[serde(deserialize_with = "there")]
    numbers: Option<Option<Several>>,
    #[serde(deserialize_with = "there")]
    extensions: Option<Option<Several>>,
    #[serde(deserialize_with = "there")]
    emails: Option<Option<Several>>,
    #[serde(deserialize_with = "there")]
    external_ids: Option<Option<Several>>,
    #[serde(deserialize_with = "there")]
    status: Option<Option<String>>,
    /// `client` or `lead`.
    kind: Option<String>,
    /// Of the national numbers in it.
    country: Option<String>,
    /// Which version it changes.
    version: Option<u64>,
}

/// A member that is there, be it `null`.
fn there<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    from: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(from).map(Some)
}

/// Which version a caller means.
#[derive(Clone, Copy)]
enum Meant {
    /// Whichever is there.
    Any,
    /// The one of `If-Match`.
    ByHeader(u64),
    /// The one of the member `version`.
    ByMember(u64),
}

impl Meant {
    fn new(request: &Request, member: Option<u64>) -> Result<Self, Problem> {
        let Some(header) = request.header("if-match") else {
            return Ok(member.map_or(Self::Any, Self::ByMember));
        };
        if header == "*" {
            return Ok(member.map_or(Self::Any, Self::ByMember));
        }
        let version = header.trim_start_matches("W/").trim_matches('"').parse();
        let wrong = |_| Problem::invalid("If-Match", "must be a version, as \"3\"");
        version.map(Self::ByHeader).map_err(wrong)
    }

    fn check(self, version: u64) -> Result<(), Problem> {
        match self {
            Self::Any => Ok(()),
            Self::ByHeader(meant) | Self::ByMember(meant) if meant == version => Ok(()),
            Self::ByHeader(_) => Err(Problem::new(
                412,
                "precondition-failed",
                "Precondition failed",
                "If-Match is not the stored version: read the entry and retry with its version",
            )),
            Self::ByMember(_) => Err(Problem::conflict(
                "version is not the stored version: read the entry and retry with its version",
            )),
        }
    }
}

impl DirectoryArea {
    pub(super) async fn create(
        &self,
        request: &Request,
        caller: &Caller,
        who: Who,
    ) -> Result<Response, Problem> {
        request.only(&[])?;
        let defaults = Defaults { kind: who.kind(), country: None };
        let written: Written = request.json()?;
        let mut draft = written.draft(&defaults).map_err(problem_of)?;
        if (draft.kind == EntryKind::Employee) != (who == Who::Employee) {
            return Err(Problem::invalid("kind", "does not belong to this path"));
        }
        let fresh = fresh_id()?;
        let id = draft.id.get_or_insert(fresh).clone();
        for _ in 0..ATTEMPTS {
            let holders = self.directory.holders(&draft.handles()).await?;
            let write = draft.write(None, &id, &holders, Origin::Api, request.now);
            // Of nothing, something is always made.
            let Some(write) = write.map_err(problem_of)? else { break };
            if let Some(entry) = self.put(write).await? {
                return with_status(201, view::entry(&entry, caller));
            }
            if self.entry(who, id.as_str()).await.is_ok() {
                return Err(Problem::conflict(&format!(
                    "a {} with this id exists: send another id, or change that entry",
                    who.what()
                )));
            }
        }
        Err(busy())
    }

    pub(super) async fn change(
        &self,
        request: &Request,
        caller: &Caller,
        who: Who,
        id: &str,
    ) -> Result<Response, Problem> {
        request.only(&[])?;
        let patch: Patch = request.json()?;
        let meant = Meant::new(request, patch.version)?;
        for _ in 0..ATTEMPTS {
            let stored = self.entry(who, id).await?;
            meant.check(stored.version())?;
            let entry = patch.apply(&stored, request)?;
            let holders = self.directory.holders(&entry.handles()).await?;
            let write = EntryWrite::new(entry, Some(&stored), &holders).map_err(problem_of)?;
            if let Some(entry) = self.put(write).await? {
                return ok(view::entry(&entry, caller));
            }
        }
        Err(busy())
    }

    pub(super) async fn delete(
        &self,
        request: &Request,
        who: Who,
        id: &str,
    ) -> Result<Response, Problem> {
        request.only(&[])?;
        let meant = Meant::new(request, None)?;
        for _ in 0..ATTEMPTS {
            let stored = match self.entry(who, id).await {
                Ok(stored) => stored,
                Err(problem) => {
                    // An earlier deletion may have been stopped before the timeline was gone.
                    if let (404, Who::Contact, Ok(id)) = (problem.status, who, Name::new("id", id))
                    {
                        self.directory.delete_contact(&id, 0).await?;
                    }
                    return Err(problem);
                }
            };
            meant.check(stored.version())?;
            let put = match who {
                Who::Contact => {
                    self.directory.delete_contact(stored.id(), stored.version()).await?
                }
                Who::Employee => {
                    self.directory.delete_employee(stored.id(), stored.version()).await?
                }
            };
            if put != PutIf::Conflict {
                return ok(json!({ "id": stored.id(), "deleted": true }));
            }
        }
        Err(busy())
    }

    /// The entry as it is stored then; nothing where another was in the way.
    async fn put(&self, write: EntryWrite) -> Result<Option<Entry>, Problem> {
        let put = self.directory.put_entries(std::slice::from_ref(&write)).await?;
        let Some(PutIf::Stored(version)) = put.first() else { return Ok(None) };
        Ok(Some(match write.entry {
            Entry::Contact(mut contact) => {
                contact.version = *version;
                Entry::Contact(contact)
            }
            Entry::Employee(mut employee) => {
                employee.version = *version;
                Entry::Employee(employee)
            }
        }))
    }
}

fn busy() -> Problem {
    Problem::conflict("other requests keep changing the entry: retry")
}

impl Patch {
    fn apply(&self, stored: &Entry, request: &Request) -> Result<Entry, Problem> {
        let country = self.country.as_deref();
        if country.is_some_and(|country| !is_country(country)) {
            return Err(Problem::invalid("country", "must be two capital letters, as AU"));
        }
        fn list(member: &Option<Several>) -> &[Personal] {
            member.as_ref().map_or(&[], |several| &several.0)
        }
        let mut entry = stored.clone();
        let (name, held_numbers, held_emails, held_ids) = match &mut entry {
            Entry::Contact(one) => {
                one.updated_at = request.now;
                (&mut one.name, &mut one.numbers, &mut one.emails, &mut one.external_ids)
            }
            Entry::Employee(one) => {
                one.updated_at = request.now;
                (&mut one.name, &mut one.numbers, &mut one.emails, &mut one.external_ids)
            }
        };
        if let Some(said) = &self.name {
            *name = said.as_ref().and_then(|name| Personal::known(name.expose()));
        }
        if let Some(said) = &self.numbers {
            *held_numbers = numbers(list(said), country).map_err(problem_of)?;
        }
        if let Some(said) = &self.emails {
            *held_emails = emails(list(said));
        }
        if let Some(said) = &self.external_ids {
            *held_ids = external_ids(list(said));
        }
        match &mut entry {
            Entry::Contact(contact) => {
                if self.extensions.is_some() {
                    return Err(Problem::invalid("extensions", "are for employees only"));
                }
                if let Some(kind) = &self.kind {
                    match entry_kind(kind).map_err(problem_of)? {
                        EntryKind::Contact(kind) => contact.kind = kind,
                        EntryKind::Employee => {
                            return Err(Problem::invalid("kind", "is neither client nor lead"));
                        }
                    }
                }
                if let Some(said) = &self.status {
                    contact.status.clone_from(said);
                }
            }
            Entry::Employee(employee) => {
                if self.status.is_some() || self.kind.is_some() {
                    return Err(Problem::invalid("status, kind", "are for contacts only"));
                }
                if let Some(said) = &self.extensions {
                    employee.extensions = extensions(list(said)).map_err(problem_of)?;
                }
            }
        }
        Ok(entry)
    }
}
