//! HubSpot: one call per call, upserted by a unique property, linked to the contact that has the number.
//!
//! Of the reference of HubSpot's CRM API v3 (objects, search) and v4 (associations), and its SDKs.

mod api;
mod render;
mod settings;
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

use api::Api;
use render::Payload;
use settings::Settings;

/// What the format is and can.
pub static CAPABILITIES: Capabilities = Capabilities {
    deduplications: &[Deduplication::Upsert, Deduplication::None],
    no_other_deduplication: "HubSpot obeys no idempotency key, and its search does not show what was \
                             just created",
    host: Some("https://api.hubapi.com"),
    auths: &["bearer", "oauth_refresh"],
    token: Some(&TokenEndpoint {
        scheme: "Bearer",
        url: |base| Some(below(base, &["oauth", "v1", "token"])),
        client_in_header: false,
    }),
    ..Capabilities::api("hubspot", |endpoint, settings| {
        Ok(Arc::new(HubSpot { endpoint, settings: Settings::read(settings)? }))
    })
};

/// HubSpot's calls.
struct HubSpot {
    endpoint: Endpoint,
    settings: Settings,
}

#[async_trait]
impl Format for HubSpot {
    fn render(&self, context: &RenderContext<'_>) -> Vec<u8> {
        payload::bytes(&Payload::of(&self.settings, context))
    }

    /// Contact, call, association: in this order, so that all that is left after the call is there can
    /// be done again without making another.
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
        let mut left_out = LeftOut::default();
        let status = loop {
            if let Some(status) = api.write(&payload, remote, &mut left_out).await? {
                break status;
            }
        };
        while let (Some(call), Some(id)) = (remote.call.clone(), remote.contact.clone()) {
            let Err(problem) = api.associate(&call, &id).await else { break };
            if !problem.is_refusal() {
                return Err(problem.during("association"));
            }
            if problem.status == Some(404) || problem.result.contains("OBJECT_NOT_FOUND") {
                contact.replace_gone(&api, remote).await?;
            } else {
                contact.not_attached(&problem.result);
                break;
            }
        }
        let notes = [contact.note(), &left_out.note()].concat();
        Ok(Outcome::delivered(status, format!("delivered: {status}{notes}")))
    }
}
