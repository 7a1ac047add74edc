//! Lists, page by page.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use switchboard_domain::directory::{Contact, ContactKind, Entry, Handle, Holder};
use switchboard_domain::{Name, Personal};
use switchboard_store::{EntryCursor, EntryPage, StoreError};

use super::{DirectoryArea, Who, number_of, page_problem, view};
use crate::access::Caller;
use crate::problem::Problem;
use crate::request::Request;
use crate::serve::{Response, ok};

/// Which page of which list is asked for.
pub(super) struct Listed {
    list: String,
    page: Option<EntryCursor>,
    limit: u16,
}

impl Listed {
    /// The page that the parameters `cursor` and `limit` ask for.
    fn new(request: &Request, list: &str) -> Result<Self, Problem> {
        let page = request.parameter("cursor").map(|cursor| {
            let bytes = URL_SAFE_NO_PAD.decode(cursor).ok();
            let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
            let place = text.and_then(|text| {
                let place = text.strip_prefix(list)?.strip_prefix('/')?;
                Some(EntryCursor(place.to_owned()))
            });
            place.ok_or_else(Self::wrong_cursor)
        });
        Ok(Self { list: list.to_owned(), page: page.transpose()?, limit: request.limit()? })
    }

    /// The error for a cursor of another list.
    pub(super) fn wrong_cursor() -> Problem {
        Problem::invalid("cursor", "does not belong to this list: begin without it")
    }

    /// The response with a page: those of its entries that `show` shows.
    fn page<T>(
        &self,
        read: Result<EntryPage<T>, StoreError>,
        show: impl FnMut(&T) -> Option<Value>,
    ) -> Result<Response, Problem> {
        let EntryPage { items, next } = read.map_err(page_problem)?;
        ok(self.body(items.iter().filter_map(show).collect(), next))
    }

    /// The body of a page. A cursor leads on in this list alone.
    fn body(&self, items: Vec<Value>, next: Option<EntryCursor>) -> Value {
        let next =
            next.map(|EntryCursor(place)| URL_SAFE_NO_PAD.encode(format!("{}/{place}", self.list)));
        json!({ "items": items, "next": next })
    }
}

impl DirectoryArea {
    pub(super) async fn contacts(
        &self,
        request: &Request,
        caller: &Caller,
    ) -> Result<Response, Problem> {
        request.only(&[
            "kind",
            "status",
            "number",
            "country",
            "email",
            "external_id",
            "cursor",
            "limit",
        ])?;
        let kind: Option<ContactKind> = request.word("kind", "is neither client nor lead")?;
        let status = request.parameter("status");
        let is_wanted = |contact: &Contact| {
            kind.is_none_or(|kind| contact.kind == kind)
                && status.is_none_or(|status| contact.status.as_deref() == Some(status))
        };
        if let Some(found) = self.found(request, Who::Contact).await? {
            let contacts = found.into_iter().filter_map(|entry| match entry {
                Entry::Contact(contact) if is_wanted(&contact) => Some(contact),
                _ => None,
            });
            let items = contacts.map(|contact| view::contact(&contact, caller)).collect();
            return ok(Listed::new(request, "found")?.body(items, None));
        }
        if kind == Some(ContactKind::Lead) {
            return self.lead_page(request, caller, status).await;
        }
        let listed = Listed::new(request, "contacts")?;
        let read = self.directory.contacts(listed.page.clone(), listed.limit).await;
        listed.page(read, |one| is_wanted(one).then(|| view::contact(one, caller)))
    }

    pub(super) async fn leads(
        &self,
        request: &Request,
        caller: &Caller,
    ) -> Result<Response, Problem> {
        request.only(&["status", "cursor", "limit"])?;
        self.lead_page(request, caller, request.parameter("status")).await
    }

    async fn lead_page(
        &self,
        request: &Request,
        caller: &Caller,
        status: Option<&str>,
    ) -> Result<Response, Problem> {
        let listed = Listed::new(request, &format!("leads/{}", status.unwrap_or("*")))?;
        let read = self.directory.leads(status, listed.page.clone(), listed.limit).await;
        listed.page(read, |one| Some(view::contact(one, caller)))
    }

    pub(super) async fn employees(
        &self,
        request: &Request,
        caller: &Caller,
    ) -> Result<Response, Problem> {
        request.only(&["number", "country", "email", "external_id", "cursor", "limit"])?;
        if let Some(found) = self.found(request, Who::Employee).await? {
            let items = found.iter().map(|entry| view::entry(entry, caller)).collect();
            return ok(Listed::new(request, "found")?.body(items, None));
        }
        let listed = Listed::new(request, "employees")?;
        let read = self.directory.employees(listed.page.clone(), listed.limit).await;
        listed.page(read, |one| Some(view::employee(one, caller)))
    }

    pub(super) async fn activities(
        &self,
        request: &Request,
        caller: &Caller,
        id: &str,
    ) -> Result<Response, Problem> {
        request.only(&["cursor", "limit"])?;
        let contact = self.entry(Who::Contact, id).await?;
        let listed = Listed::new(request, &format!("activities/{}", contact.id()))?;
        let read = self.directory.activities(contact.id(), listed.page.clone(), listed.limit).await;
        listed.page(read, |one| Some(view::activity(one, caller)))
    }

    /// Who has all that is asked for; `None`: nothing that people are found by is.
    async fn found(&self, request: &Request, who: Who) -> Result<Option<Vec<Entry>>, Problem> {
        let mut handles = BTreeSet::new();
        if let Some(number) = request.query.get("number").filter(|number| !number.trim().is_empty())
        {
            // A plus sign that was not encoded is read as a space.
            let number = match number.strip_prefix(' ') {
                Some(rest) => format!("+{rest}"),
                None => number.clone(),
            };
            handles.insert(Handle::Number(number_of(request, &number)?));
        }
        let email = request.parameter("email").map(str::to_lowercase);
        handles.extend(email.map(|email| Handle::Email(Personal::new(email))));
        let external = request.parameter("external_id").map(Personal::new);
        handles.extend(external.map(Handle::External));
        if handles.is_empty() {
            return Ok(None);
        }
        let held = self.directory.holders(&handles).await?;
        let is_of_kind = |holder: &Holder| match Name::new("id", "any") {
            Ok(any) => who.holder(any).is_of_kind(holder),
            Err(_) => false,
        };
        let mut everyone = handles.iter().map(|handle| {
            let held = held.get(handle).into_iter().flatten().filter(|one| is_of_kind(one));
            held.cloned().collect::<BTreeSet<Holder>>()
        });
        let first = everyone.next().unwrap_or_default();
        let all = everyone.fold(first, |all, these| &all & &these);
        Ok(Some(self.directory.entries(&all).await?.into_values().collect()))
    }
}
