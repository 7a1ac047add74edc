//! What is to be dialled, and whether it may be.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use switchboard_domain::dial_request::{Context, Order};
use switchboard_domain::directory::{Employee, Extension, Handle, Holder};
use switchboard_domain::{Digest, Name, Personal};
use switchboard_people::{dialled, number};
use switchboard_providers::dial::{Account, Dialer};
use switchboard_store::Directory;

use super::{Caller, NotDone};

/// The longest a value of the context may be, characters.
const LONGEST: usize = 256;
/// The longest an agent's id or number may be.
const LONGEST_AGENT: usize = 64;

/// A dial request, in one format for all providers.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// `provider/source`, or the provider alone for its default source.
    pub source: String,
    /// Who is rung first: an employee's id, an extension, or what the provider knows them by. A
    /// token that is bound to an employee need not say.
    #[serde(default)]
    pub agent: Option<Personal>,
    /// The customer's number.
    pub to: Personal,
    /// The number that the customer is shown.
    #[serde(default)]
    pub caller_id: Option<Personal>,
    /// What it is about.
    #[serde(default)]
    pub context: Context,
}

impl Wanted {
    /// Fingerprint of what was asked for.
    pub fn digest(&self) -> Digest {
        // Texts alone: there is nothing in it that could fail to serialize.
        Digest::of(&[&serde_json::to_vec(self).unwrap_or_default()])
    }

    /// The provider and the source that are named.
    pub fn source(&self) -> Result<(&str, Name), NotDone> {
        named(&self.source)
    }

    /// What is to be dialled, if it may be: by this caller, over this source.
    pub async fn order(
        &self,
        caller: &Caller<'_>,
        directory: &Directory,
        dialer: &dyn Dialer,
        account: &Account<'_>,
    ) -> Result<Order, NotDone> {
        let context = &self.context;
        for (field, value) in [
            ("context.campaign", &context.campaign),
            ("context.contact_id", &context.contact_id),
            ("context.lead_id", &context.lead_id),
            ("context.conversation_id", &context.conversation_id),
        ] {
            let is_good = |value: &String| {
                (1..=LONGEST).contains(&value.chars().count())
                    && !value.chars().any(char::is_control)
            };
            if !value.as_ref().is_none_or(is_good) {
                return Err(NotDone::Invalid(field, "must be 1 to 256 characters of plain text"));
            }
        }
        let home = account.source.country.as_deref();
        let judge = |field, text: &Personal| {
            let judged = dialled::e164(text.expose(), home, &account.dialing.countries);
            judged.map_err(|why| NotDone::NotAllowed(field, why.problem()))
        };
        let to = judge("to", &self.to)?;
        let (agent, employee) = self.agent(caller, directory, dialer, account).await?;
        let agent = if dialer.rings_numbers() { judge("agent", &agent)? } else { agent };
        let asked = self.caller_id.as_ref().map(Personal::expose);
        let caller_id = account.dialing.caller_id(asked);
        let caller_id = caller_id
            .map_err(|_| NotDone::NotAllowed("caller_id", "is not configured for this source"))?;

        let is_it =
            |one: &Personal| number::e164(one.expose(), home).as_deref() == Some(to.expose());
        if account.dialing.caller_ids.iter().any(is_it) || is_it(&agent) {
            return Err(NotDone::NotAllowed("to", "is one of our own numbers"));
        }
        let handle = Handle::Number(to.clone());
        let found = directory.holders(&BTreeSet::from([handle.clone()])).await?;
        if found.get(&handle).is_some_and(|holders| holders.contains(&Holder::Own)) {
            return Err(NotDone::NotAllowed("to", "is one of our own numbers"));
        }
        Ok(Order {
            provider: Name::new("provider", dialer.provider().name())
                .map_err(|_| NotDone::Unknown("source"))?,
            source: account.name.clone(),
            agent,
            employee,
            to,
            caller_id,
            context: context.clone(),
        })
    }

    /// Who is rung first, and which employee that is.
    async fn agent(
        &self,
        caller: &Caller<'_>,
        directory: &Directory,
        dialer: &dyn Dialer,
        account: &Account<'_>,
    ) -> Result<(Personal, Option<Name>), NotDone> {
        let said = self.agent.as_ref().map(|agent| agent.expose().trim());
        let text = said.or(caller.employee).unwrap_or_default();
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"+._-@: ()".contains(&b);
        if !(1..=LONGEST_AGENT).contains(&text.len()) || !text.bytes().all(is_plain) {
            return Err(NotDone::Invalid("agent", "is required: 1 to 64 letters, digits or signs"));
        }
        let employee = employee(text, directory, account).await?;
        let id = employee.as_ref().map(|employee| employee.id.as_str());
        if caller.employee.is_some() && caller.employee != id {
            return Err(NotDone::NotTheirAgent);
        }
        match employee {
            None => Ok((Personal::new(text), None)),
            Some(employee) => {
                let agent = dialer.agent_of(&employee, account.name);
                let missing = || {
                    NotDone::NotAllowed(
                        "agent",
                        "is an employee without a number or extension to ring",
                    )
                };
                Ok((agent.ok_or_else(missing)?, Some(employee.id)))
            }
        }
    }
}

/// The one employee of this id, or with this extension or number.
async fn employee(
    text: &str,
    directory: &Directory,
    account: &Account<'_>,
) -> Result<Option<Employee>, NotDone> {
    if let Ok(id) = Name::new("employee", text)
        && let Some(employee) = directory.employee(&id).await?
    {
        return Ok(Some(employee));
    }
    let extension = |source: Option<&Name>| {
        let (source, number) = (source.cloned(), Personal::new(text));
        Handle::Extension(Extension { source, number })
    };
    let mut handles = BTreeSet::from([extension(Some(account.name)), extension(None)]);
    if let Some(number) = number::e164(text, account.source.country.as_deref()) {
        handles.insert(Handle::Number(Personal::new(number)));
    }
    let found = directory.holders(&handles).await?;
    let employees: BTreeSet<&Name> = found
        .values()
        .flatten()
        .filter_map(|holder| match holder {
            Holder::Employee(id) => Some(id),
            Holder::Contact(_) | Holder::Own => None,
        })
        .collect();
    match employees.iter().next() {
        // Several employees with one extension: the request belongs to none, and no rate would count.
        Some(_) if employees.len() > 1 => {
            Err(NotDone::NotAllowed("agent", "belongs to several employees: name one by id"))
        }
        Some(id) => Ok(directory.employee(id).await?),
        None => Ok(None),
    }
}

/// Reads `provider/source`, or a provider alone.
pub fn named(text: &str) -> Result<(&str, Name), NotDone> {
    let (provider, source) = text.split_once('/').unwrap_or((text, text));
    let name = Name::new("source", source);
    let name = name.map_err(|error| NotDone::Invalid("source", error.problem))?;
    Ok((provider, name))
}
