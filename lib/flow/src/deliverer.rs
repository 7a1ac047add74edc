//! One attempt to tell a destination of a call: with what is known of its CRM from before, with an access
//! token where it asks for one, and with what is learned kept for the next call.

use std::future::Future;

use crate::Telemetry;
use jiff::Timestamp;
use switchboard_crm::destination::{Contacts, Destination};
use switchboard_crm::exchange::{self, Over, Told, Whom};
use switchboard_crm::{Client, Headers};
use switchboard_domain::delivery::Verdict;
use switchboard_domain::directory::Contact;
use switchboard_domain::{Delivery, Name};
use switchboard_store::{Directory, PutIf, StoreError};

use crate::tokens::{TokenCache, TokenStore};

/// How often it is tried to write down what a CRM calls a contact.
const ROUNDS: usize = 5;

/// What tells destinations: a [`Deliverer`] or, where time is not the real one, a model of it.
pub trait Tell: Send + Sync {
    /// One attempt to tell a destination of a call, with as many requests as that takes.
    fn tell(
        &self,
        claimed: &Delivery,
        destination: &Destination,
        body: &[u8],
        clock: &(impl Fn() -> Timestamp + Sync),
    ) -> impl Future<Output = Over> + Send;
}

/// Tells destinations of calls.
pub struct Deliverer<V> {
    /// What sends.
    pub client: Client,
    /// The directory, which remembers what CRMs call its contacts.
    pub directory: Directory,
    /// Access tokens.
    pub tokens: TokenCache<V>,
    /// Where it says what it does.
    pub telemetry: Telemetry,
}

impl<V: TokenStore> Tell for Deliverer<V> {
    async fn tell(
        &self,
        claimed: &Delivery,
        destination: &Destination,
        body: &[u8],
        clock: &(impl Fn() -> Timestamp + Sync),
    ) -> Over {
        let name = &claimed.id.destination;
        let is_api = destination.format.kind().is_api;
        let mut remote = claimed.remote.clone();
        let mut contact = None;
        if is_api {
            contact = self.contact(destination, body).await;
            let known = contact.as_ref().and_then(|contact| contact.known_as.get(name));
            remote.contact = remote.contact.or(known.cloned());
        }
        let (correlation_id, key) = (claimed.key.correlation_id(), claimed.idempotency_key());
        let headers = Headers { idempotency_key: &key, correlation_id: correlation_id.as_str() };
        let told = Told { body, idempotency_key: &key, remote: &remote };
        let mut exchange = exchange::begin(destination, &told);
        let tokens = self.tokens.of(name, clock);
        let over = self.client.tell(destination, &tokens, headers, exchange.as_mut(), clock).await;
        if let Some(contact) = contact
            && let Err(error) = self.remember(contact, name, &over).await
        {
            // It will be looked for again.
            self.telemetry.warn(
                "what a CRM calls a contact could not be kept",
                &[("destination", name), ("call", &claimed.key), ("problem", &error)],
            );
        }
        over
    }
}

impl<V: TokenStore> Deliverer<V> {
    /// The directory's contact of a call that is to be attached to one of the CRM's. One that cannot be
    /// read just now is looked for in the CRM.
    async fn contact(&self, destination: &Destination, body: &[u8]) -> Option<Contact> {
        if destination.contacts == Contacts::None {
            return None;
        }
        let entry = Whom::of(body)?.entry?;
        self.directory.contact(&entry).await.ok().flatten()
    }

    /// Writes down what the CRM calls a contact, or that it knows it no more.
    async fn remember(
        &self,
        mut contact: Contact,
        name: &Name,
        over: &Over,
    ) -> Result<(), StoreError> {
        let is_gone = over.verdict == Verdict::Delivered && over.remote.contact.is_none();
        for _ in 0..ROUNDS {
            match &over.remote.contact {
                Some(id) if contact.known_as.get(name) != Some(id) => {
                    contact.known_as.insert(name.clone(), id.clone());
                }
                None if is_gone && contact.known_as.contains_key(name) => {
                    contact.known_as.remove(name);
                }
                _ => return Ok(()),
            }
            if self.directory.put_contact(&contact).await? != PutIf::Conflict {
                return Ok(());
            }
            match self.directory.contact(&contact.id).await? {
                Some(stored) => contact = stored,
                None => return Ok(()),
            }
        }
        Ok(())
    }
}
