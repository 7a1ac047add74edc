//! The directory: contacts, leads and employees, their timelines, and our own numbers.

use std::collections::BTreeSet;

use switchboard_domain::directory::{ContactKind, Entry, EntryFault, EntryKind, Handle, Holder};
use switchboard_domain::{Name, Personal};
use switchboard_people::import::is_country;
use switchboard_people::number::e164;
use switchboard_store::{Directory, StoreError};

use crate::access::{Caller, Right};
use crate::problem::Problem;
use crate::request::Request;
use crate::serve::{Area, Response, ok};

mod change;
mod import;
mod list;
pub mod start;
mod view;

use list::Listed;

/// The area `directory`.
pub struct DirectoryArea {
    /// Where people are kept.
    pub directory: Directory,
}

/// Which of two kinds of entries a path is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Contact,
    Employee,
}

impl Who {
    fn what(self) -> &'static str {
        match self {
            Self::Contact => "contact",
            Self::Employee => "employee",
        }
    }

    fn holder(self, id: Name) -> Holder {
        match self {
            Self::Contact => Holder::Contact(id),
            Self::Employee => Holder::Employee(id),
        }
    }

    fn kind(self) -> EntryKind {
        match self {
            Self::Contact => EntryKind::Contact(ContactKind::Client),
            Self::Employee => EntryKind::Employee,
        }
    }
}

impl Area for DirectoryArea {
    async fn respond(&self, request: &Request, caller: &Caller) -> Result<Response, Problem> {
        let (method, path) = request.route();
        caller.needs(if method == "GET" { Right::Read } else { Right::Directory })?;
        match (method, &path[..]) {
            ("GET", ["contacts"]) => self.contacts(request, caller).await,
            ("POST", ["contacts"]) => self.create(request, caller, Who::Contact).await,
            ("POST", ["contacts", "import"]) => self.import(request).await,
            ("GET", ["contacts", id]) => self.show(request, caller, Who::Contact, id).await,
            ("PATCH", ["contacts", id]) => self.change(request, caller, Who::Contact, id).await,
            ("DELETE", ["contacts", id]) => self.delete(request, Who::Contact, id).await,
            ("GET", ["contacts", id, "activities"]) => self.activities(request, caller, id).await,
            ("GET", ["employees"]) => self.employees(request, caller).await,
            ("POST", ["employees"]) => self.create(request, caller, Who::Employee).await,
            ("GET", ["employees", id]) => self.show(request, caller, Who::Employee, id).await,
            ("PATCH", ["employees", id]) => self.change(request, caller, Who::Employee, id).await,
            ("DELETE", ["employees", id]) => self.delete(request, Who::Employee, id).await,
            ("GET", ["leads"]) => self.leads(request, caller).await,
            ("GET", ["leads", id]) => self.lead(request, caller, id).await,
            ("GET" | "PUT" | "DELETE", ["own-numbers", number]) => {
                self.own_number(request, caller, method, number).await
            }
            _ => Err(Problem::not_found("path")),
        }
    }
}

impl DirectoryArea {
    async fn show(
        &self,
        request: &Request,
        caller: &Caller,
        who: Who,
        id: &str,
    ) -> Result<Response, Problem> {
        request.only(&[])?;
        ok(view::entry(&self.entry(who, id).await?, caller))
    }

    async fn lead(
        &self,
        request: &Request,
        caller: &Caller,
        id: &str,
    ) -> Result<Response, Problem> {
        request.only(&[])?;
        match self.entry(Who::Contact, id).await {
            Ok(Entry::Contact(lead)) if lead.kind == ContactKind::Lead => {
                ok(view::contact(&lead, caller))
            }
            Ok(_) => Err(Problem::not_found("lead")),
            Err(problem) if problem.status == 404 => Err(Problem::not_found("lead")),
            Err(problem) => Err(problem),
        }
    }

    /// An entry that is there.
    async fn entry(&self, who: Who, id: &str) -> Result<Entry, Problem> {
        // An invalid id belongs to no entry.
        let id = Name::new("id", id).map_err(|_| Problem::not_found(who.what()))?;
        let holder = who.holder(id);
        let mut found = self.directory.entries(&BTreeSet::from([holder.clone()])).await?;
        found.remove(&holder).ok_or_else(|| Problem::not_found(who.what()))
    }

    async fn own_number(
        &self,
        request: &Request,
        caller: &Caller,
        method: &str,
        number: &str,
    ) -> Result<Response, Problem> {
        request.only(&["country"])?;
        let number = number_of(request, number)?;
        let own = match method {
            "GET" => {
                let handle = Handle::Number(number.clone());
                let held = self.directory.holders(&BTreeSet::from([handle.clone()])).await?;
                if !held.get(&handle).is_some_and(|held| held.contains(&Holder::Own)) {
                    return Err(Problem::not_found("number of our own"));
                }
                true
            }
            method => {
                let own = method == "PUT";
                self.directory.set_own_number(&number, own).await?;
                own
            }
        };
        ok(view::own_number(&number, own, caller))
    }
}

/// A number as it is asked for, in E.164.
fn number_of(request: &Request, text: &str) -> Result<Personal, Problem> {
    let country = request.parameter("country");
    if country.is_some_and(|country| !is_country(country)) {
        return Err(Problem::invalid("country", "must be two capital letters, as AU"));
    }
    let number = e164(text, country).map(Personal::new);
    number.ok_or_else(|| {
        Problem::invalid("number", "is not a phone number: give the country of a national number")
    })
}

/// The error response for a fault of an entry.
fn problem_of(fault: EntryFault) -> Problem {
    if fault.is_taken {
        Problem::conflict(&fault.to_string())
    } else {
        Problem::invalid(fault.field, &fault.problem)
    }
}

/// A cursor that the store cannot read was not given out by us, or for another list.
fn page_problem(error: StoreError) -> Problem {
    match error {
        StoreError::Damaged { what: "cursor", .. } => Listed::wrong_cursor(),
        error => error.into(),
    }
}
