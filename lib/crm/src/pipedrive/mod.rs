//! Pipedrive's call logs: an entry of its own per call, linked to the person who has the number.
//!
//! Requests and responses are those of Pipedrive's API, `POST /v1/callLogs` and the persons of its
//! version 2 (developers.pipedrive.com, 2026). A call log has no id of ours and cannot be changed.

mod api;
mod render;
mod settings;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use async_trait::async_trait;
use switchboard_domain::Event;
use switchboard_domain::delivery::Remote;
use switchboard_http::Http;
use url::Url;

use crate::contacts::ContactMatcher;
use crate::format::{
    Capabilities, Clock, Deduplication, Endpoint, Format, RenderContext, TokenEndpoint,
};
use crate::optional::LeftOut;
use crate::outcome::Outcome;
use crate::payload;

use api::Api;
use render::Payload;
use settings::Settings;

/// What the format is and can.
pub static CAPABILITIES: Capabilities = Capabilities {
    // A call log cannot be changed.
    events: &[Event::Completed],
    deduplications: &[Deduplication::None],
    no_other_deduplication: "a call log of Pipedrive has no place for a key",
    host: Some("https://api.pipedrive.com"),
    auths: &["header", "oauth_refresh"],
    token: Some(&TokenEndpoint {
        scheme: "Bearer",
        url: |_| Url::parse("https://oauth.pipedrive.com/oauth/token").ok(),
        client_in_header: true,
    }),
    ..Capabilities::api("pipedrive", |endpoint, settings| {
        Ok(Arc::new(Pipedrive { endpoint, settings: Settings::read(settings)? }))
    })
};

/// Pipedrive's call logs.
struct Pipedrive {
    endpoint: Endpoint,
    settings: Settings,
}

#[async_trait]
impl Format for Pipedrive {
    fn render(&self, context: &RenderContext<'_>) -> Vec<u8> {
        payload::bytes(&Payload::of(&self.settings, context))
    }

    /// An entry that is known is left as it is. Else the person first, then the entry, which names them.
    async fn deliver(
        &self,
        http: &dyn Http,
        payload: &[u8],
        remote: &mut Remote,
        clock: Clock<'_>,
    ) -> Result<Outcome, Outcome> {
        let Payload { mut call, contact } = payload::read(payload)?;
        let api = Api { http, clock, endpoint: &self.endpoint };
        let mut person = ContactMatcher::new(self.endpoint.contacts, &contact, remote);
        if let Some(id) = &remote.call {
            if let Some(status) = api.exists(id).await? {
                let result = format!("is there already: {status}{}", person.note());
                return Ok(Outcome::delivered(status, result));
            }
            // It was deleted there, and is delivered on purpose once more.
            remote.call = None;
        }
        person.find_or_create(&api, remote).await?;
        let mut left_out = LeftOut::default();
        loop {
            call.person_id = remote.contact.as_ref().and_then(|id| id.parse().ok());
            let sent = api::fields(&call, &left_out);
            let refusal = match api.create_log(&sent, remote).await? {
                Ok(status) => {
                    let notes = [person.note(), &left_out.note()].concat();
                    return Ok(Outcome::delivered(status, format!("created: {status}{notes}")));
                }
                Err(refusal) => refusal,
            };
            if sent.contains_key("person_id") && api::is_about_person(&refusal) {
                person.replace_gone(&api, remote).await?;
            } else if !left_out.explains(api::OPTIONAL, &sent, &refusal) {
                return Err(refusal.outcome);
            }
        }
    }
}
