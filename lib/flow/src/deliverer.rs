//! One attempt to deliver a call to a destination: with what is known of its CRM from before, with an
//! access token where it needs one, and with what is learned kept for the next call.

use std::sync::Arc;

use switchboard_crm::{Clock, ContactRef, Contacts, Destination, Outcome, Payload};
use switchboard_domain::directory::Contact;
use switchboard_domain::{Delivery, Name, Remote};
use switchboard_http::Http;
use switchboard_store::{Directory, StoreError};
use tracing::warn;

use crate::tokens::TokenCache;
use crate::update::update_contact;

/// Delivers calls to destinations.
pub struct Deliverer {
    /// What sends.
    pub http: Arc<dyn Http>,
    /// The directory, which remembers CRMs' ids of its contacts.
    pub directory: Directory,
    /// Access tokens.
    pub tokens: TokenCache,
}

impl Deliverer {
    /// One attempt to deliver a payload, with as many requests as that takes: what came of it, and the
    /// CRM's ids of the call and its contact.
    pub async fn deliver(
        &self,
        claimed: &Delivery,
        destination: &Destination,
        body: &[u8],
        clock: Clock<'_>,
    ) -> (Outcome, Remote) {
        let name = &claimed.id.destination;
        let mut remote = claimed.remote.clone();
        let contact = self.contact(destination, body).await;
        let known = contact.as_ref().and_then(|contact| contact.known_as.get(name));
        remote.contact = remote.contact.or(known.cloned());
        let (correlation_id, key) = (claimed.key.correlation_id(), claimed.idempotency_key());
        let payload =
            Payload { body, idempotency_key: &key, correlation_id: correlation_id.as_str() };
        let tokens = self.tokens.of(name, clock);
        let outcome = destination.deliver(&*self.http, &tokens, &payload, &mut remote, clock).await;
        let is_delivered = outcome.is_delivered();
        if let Some(contact) = contact
            && let Err(error) = self.remember(contact, name, &remote, is_delivered).await
        {
            // It will be searched for again.
            warn!(
                destination = %name, problem = %error,
                "CRM contact id could not be stored"
            );
        }
        (outcome, remote)
    }

    /// The directory's contact of a call that is to be linked to one of the CRM's. One that cannot be read
    /// just now is searched for in the CRM.
    async fn contact(&self, destination: &Destination, body: &[u8]) -> Option<Contact> {
        if destination.contacts == Contacts::None {
            return None;
        }
        let entry = ContactRef::of(body)?.entry?;
        self.directory.contact(&entry).await.ok().flatten()
    }

    /// Writes the CRM's id of a contact, or that it has none any more.
    async fn remember(
        &self,
        contact: Contact,
        name: &Name,
        remote: &Remote,
        is_delivered: bool,
    ) -> Result<(), StoreError> {
        let with_id = |contact: &Contact| {
            let mut contact = contact.clone();
            match &remote.contact {
                Some(id) if contact.known_as.get(name) != Some(id) => {
                    contact.known_as.insert(name.clone(), id.clone());
                }
                None if is_delivered && contact.known_as.contains_key(name) => {
                    contact.known_as.remove(name);
                }
                _ => return None,
            }
            Some(contact)
        };
        update_contact(&self.directory, contact, with_id).await.map(drop)
    }
}
