//! Salesforce: one completed task of the subtype call per call, upserted by an external id, linked to the
//! contact or lead that has the number.
//!
//! Of the references of Salesforce's REST API and of the object Task.

mod contacts;
mod problem;
mod render;
mod settings;
mod tasks;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use async_trait::async_trait;
use switchboard_domain::delivery::Remote;
use switchboard_http::Http;

use crate::contacts::ContactMatcher;
use crate::format::{
    Capabilities, Clock, Deduplication, Endpoint, Format, RenderContext, TokenEndpoint, below,
};
use crate::optional::LeftOut;
use crate::outcome::Outcome;
use crate::payload;

use render::Payload;
use settings::Settings;
use tasks::{Api, OPTIONAL, Writing};

/// What the format is and can.
pub static CAPABILITIES: Capabilities = Capabilities {
    deduplications: &[Deduplication::Upsert, Deduplication::Search, Deduplication::None],
    no_other_deduplication: "Salesforce obeys no idempotency key",
    auths: &["oauth_jwt", "oauth_refresh"],
    token: Some(&TokenEndpoint {
        scheme: "Bearer",
        url: |base| Some(below(base, &["services", "oauth2", "token"])),
        client_in_header: false,
    }),
    // Each org has a host of its own.
    ..Capabilities::api("salesforce", |endpoint, settings| {
        Ok(Arc::new(Salesforce { endpoint, settings: Settings::read(settings)? }))
    })
};

/// Salesforce's tasks.
struct Salesforce {
    endpoint: Endpoint,
    settings: Settings,
}

#[async_trait]
impl Format for Salesforce {
    fn render(&self, context: &RenderContext<'_>) -> Vec<u8> {
        payload::bytes(&Payload::of(&self.settings, context))
    }

    /// Contact first, then the task, which names it: nothing is left to do after the task is there.
    async fn deliver(
        &self,
        http: &dyn Http,
        payload: &[u8],
        remote: &mut Remote,
        clock: Clock<'_>,
    ) -> Result<Outcome, Outcome> {
        let payload: Payload = payload::read(payload)?;
        let api = Api { http, clock, endpoint: &self.endpoint, settings: &self.settings };
        let mut contact = ContactMatcher::new(self.endpoint.contacts, &payload.contact, remote);
        contact.find_or_create(&api, remote).await?;
        let mut writing = Writing::of(remote);
        if self.endpoint.deduplication == Deduplication::Search && remote.call.is_none() {
            remote.call = api.find_task(&payload.key).await?;
            writing = Writing::searched(remote);
        }
        let mut left_out = LeftOut::default();
        loop {
            let task = writing.task(&payload, remote, &left_out);
            let problem = match api.write(&payload.key, &task, remote).await? {
                Ok(status) => {
                    let notes = [contact.note(), &left_out.note()].concat();
                    let result = format!("delivered: {status}{notes}");
                    return Ok(Outcome::delivered(status, result));
                }
                Err(problem) => problem,
            };
            if task.contains_key("WhoId") && problem.is_about_a_missing_contact() {
                contact.replace_gone(&api, remote).await?;
            } else if !writing.avoids(&problem, self.endpoint.deduplication, remote)
                && !left_out.explains(OPTIONAL, &task, &problem.refusal)
            {
                return Err(problem.refusal.outcome);
            }
        }
    }
}
