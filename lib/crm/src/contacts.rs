//! Which contact of a CRM a call is linked to: the one it is known to be, or the one that has the
//! customer's number, or one that is created. Where several have the number the call is linked to none:
//! a wrong one would be worse.

use std::collections::BTreeSet;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use switchboard_domain::delivery::Remote;
use switchboard_domain::{Name, Personal};

use crate::outcome::Outcome;
use crate::phone;

/// Whether calls are linked to contacts of the CRM.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Contacts {
    /// They are not.
    #[default]
    None,
    /// To the one that has the customer's number, if there is exactly one.
    Find,
    /// The same, and where there is none, one is created.
    FindOrCreate,
}

/// Whom the call was with. A format that links calls to the CRM's contacts has it under `contact` in the
/// payload that it renders.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContactRef {
    /// The number by which the CRM's contact is searched for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub e164: Option<Personal>,
    /// The name that one is created with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<Personal>,
    /// The directory's contact, which remembers the CRM's id of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entry: Option<Name>,
}

impl ContactRef {
    /// Out of a rendered payload.
    pub fn of(payload: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct Payload {
            contact: ContactRef,
        }
        serde_json::from_slice(payload).ok().map(|payload: Payload| payload.contact)
    }
}

/// A CRM's contacts. An error is what the response means.
#[async_trait]
pub trait ContactsApi: Send + Sync {
    /// The n-th search for a number, from 0. `None`: there is no further one. `creates` says that a
    /// contact is created if nothing is found.
    async fn search(
        &self,
        e164: &str,
        nth: usize,
        creates: bool,
    ) -> Result<Option<Vec<Match>>, Outcome>;

    /// Creates a contact and gives its id.
    async fn create(&self, e164: &str, name: Option<&str>) -> Result<String, Outcome>;
}

/// A contact that a search brought.
pub struct Match {
    /// The CRM's id of it.
    pub id: String,
    /// Its numbers as they are written there.
    pub numbers: Vec<String>,
    /// Of several kinds the lowest is taken: a customer before a lead.
    pub rank: u8,
}

/// Finds or creates the contact of one call. The contact's id is in [`Remote::contact`] as soon as it is
/// known, so that it is kept when a later request fails.
pub struct ContactMatcher<'a> {
    mode: Contacts,
    contact: &'a ContactRef,
    may_search_again: bool,
    note: String,
}

impl<'a> ContactMatcher<'a> {
    /// Begins with the contact that is known, if one is.
    pub fn new(mode: Contacts, contact: &'a ContactRef, remote: &mut Remote) -> Self {
        if mode == Contacts::None {
            remote.contact = None;
        }
        let note = remote.contact.as_ref().map_or("", |_| ", contact known").to_owned();
        Self { mode, contact, may_search_again: true, note }
    }

    /// Whether the call is linked to a contact or why not, to stand behind the words of a result.
    pub fn note(&self) -> &str {
        &self.note
    }

    /// Finds the contact, or creates it. A refusal for good leaves the call without one; any other
    /// failure ends the attempt.
    pub async fn find_or_create(
        &mut self,
        api: &dyn ContactsApi,
        remote: &mut Remote,
    ) -> Result<(), Outcome> {
        if self.mode == Contacts::None || remote.contact.is_some() {
            return Ok(());
        }
        let Some(e164) = &self.contact.e164 else {
            self.note = ", no contact: no number".to_owned();
            return Ok(());
        };
        match self.matched(api, e164.expose()).await {
            Ok((contact, note)) => {
                remote.contact = contact;
                self.note = note.to_owned();
            }
            // A conflict is one with a record that is there already: it does not pass.
            Err(refused) if refused.is_refusal() || refused.status == Some(409) => {
                self.note = format!(", no contact: {}", refused.result);
            }
            Err(failed) => return Err(failed.during("contact")),
        }
        Ok(())
    }

    async fn matched(
        &self,
        api: &dyn ContactsApi,
        e164: &str,
    ) -> Result<(Option<String>, &'static str), Outcome> {
        let creates = self.mode == Contacts::FindOrCreate;
        let mut nth = 0;
        while let Some(matches) = api.search(e164, nth, creates).await? {
            let mut ids = having(matches, e164);
            match (ids.pop_first(), ids.is_empty()) {
                (Some(id), true) => return Ok((Some(id), ", contact found")),
                (Some(_), false) => return Ok((None, ", no contact: ambiguous")),
                (None, _) => nth += 1,
            }
        }
        if !creates {
            return Ok((None, ", no contact: unknown"));
        }
        let name = self.contact.name.as_ref().map(|name| name.expose().trim());
        let id = api.create(e164, name.filter(|name| !name.is_empty())).await?;
        Ok((Some(id), ", contact created"))
    }

    /// The contact does not exist any more: forgets it and searches once more, the first time.
    pub async fn replace_gone(
        &mut self,
        api: &dyn ContactsApi,
        remote: &mut Remote,
    ) -> Result<(), Outcome> {
        remote.contact = None;
        self.note = ", no contact: it is gone".to_owned();
        if std::mem::take(&mut self.may_search_again) {
            self.find_or_create(api, remote).await?;
        }
        Ok(())
    }

    /// A contact that is gone is not searched for again: the search would find the same one.
    pub fn search_no_more(&mut self) {
        self.may_search_again = false;
    }

    /// The CRM refused the link for good.
    pub fn not_attached(&mut self, words: &str) {
        self.note = format!(", contact not attached: {words}");
    }
}

/// The ids of those who have the number, by what is written there and not by what the search took for
/// like it; of the lowest rank alone.
fn having(mut matches: Vec<Match>, e164: &str) -> BTreeSet<String> {
    matches.retain(|one| one.numbers.iter().any(|written| phone::is_same(written, e164)));
    let rank = matches.iter().map(|one| one.rank).min();
    matches.into_iter().filter(|one| Some(one.rank) == rank).map(|one| one.id).collect()
}
