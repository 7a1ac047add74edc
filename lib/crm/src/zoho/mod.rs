//! Zoho CRM's calls: a record of its own per call, searched for before it is created, linked to the
//! contact or lead who has the number.
//!
//! Requests and responses are those of Zoho CRM's API, version 8: Calls, Contacts, Leads, and the search
//! in them (zoho.com/crm/developer/docs/api/v8, 2026). Zoho's own upsert leaves calls out.

mod api;
mod people;
mod render;
mod response;
mod settings;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use async_trait::async_trait;
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

use api::{Api, OPTIONAL, Written};
use render::Payload;
use settings::Settings;

/// What the format is and can.
pub static CAPABILITIES: Capabilities = Capabilities {
    deduplications: &[Deduplication::Search, Deduplication::None],
    no_other_deduplication: "Zoho's upsert leaves out calls, and it remembers no key of a request",
    auths: &["oauth_refresh", "header"],
    token: Some(&TokenEndpoint {
        scheme: "Zoho-oauthtoken",
        url: accounts,
        client_in_header: false,
    }),
    // Which host it is depends on where the account is.
    ..Capabilities::api("zoho", |endpoint, settings| {
        Ok(Arc::new(Zoho { endpoint, settings: Settings::read(settings)? }))
    })
};

/// Where the tokens of a data centre come from.
fn accounts(api: &Url) -> Option<Url> {
    let host = match api.host_str()? {
        "www.zohoapis.com" => "accounts.zoho.com",
        "www.zohoapis.eu" => "accounts.zoho.eu",
        "www.zohoapis.in" => "accounts.zoho.in",
        "www.zohoapis.com.au" => "accounts.zoho.com.au",
        "www.zohoapis.jp" => "accounts.zoho.jp",
        "www.zohoapis.ca" => "accounts.zohocloud.ca",
        "www.zohoapis.sa" => "accounts.zoho.sa",
        "www.zohoapis.com.cn" => "accounts.zoho.com.cn",
        _ => return None,
    };
    Url::parse(&format!("https://{host}/oauth/v2/token")).ok()
}

/// Zoho's calls.
struct Zoho {
    endpoint: Endpoint,
    settings: Settings,
}

#[async_trait]
impl Format for Zoho {
    fn render(&self, context: &RenderContext<'_>) -> Vec<u8> {
        payload::bytes(&Payload::of(&self.settings, context))
    }

    /// The record that is there, the contact, then the record, which names it.
    async fn deliver(
        &self,
        http: &dyn Http,
        payload: &[u8],
        remote: &mut Remote,
        clock: Clock<'_>,
    ) -> Result<Outcome, Outcome> {
        let payload: Payload = payload::read(payload)?;
        let api = Api { http, clock, endpoint: &self.endpoint };
        let mut contact = ContactMatcher::new(self.endpoint.contacts, &payload.contact, remote);
        if remote.contact.is_none() {
            // Who is found now would be found again.
            contact.search_no_more();
        }
        let searches = self.endpoint.deduplication == Deduplication::Search;
        if searches && remote.call.is_none() {
            remote.call = api.find_call(&payload).await?;
        }
        contact.find_or_create(&api, remote).await?;
        let (mut was_deleted, mut left_out) = (false, LeftOut::default());
        loop {
            let may_create = payload.may_create || searches && !was_deleted;
            if remote.call.is_none() && !may_create {
                return Err(Outcome::refused(None, "refused: its record is not there"));
            }
            let call = api::fields(&payload, remote, &left_out);
            match api.write(&payload, &call, remote).await? {
                Written::Done(status, words) => {
                    let notes = [contact.note(), &left_out.note()].concat();
                    let result = format!("{words}: {status}{notes}");
                    return Ok(Outcome::delivered(status, result));
                }
                Written::Exists(id) => remote.call = Some(id),
                Written::ContactGone => contact.replace_gone(&api, remote).await?,
                Written::Deleted(_) if !was_deleted => {
                    (remote.call, was_deleted) = (None, true);
                }
                Written::Deleted(outcome) => return Err(outcome),
                Written::Refused(refusal) => {
                    if !left_out.explains(OPTIONAL, &call, &refusal) {
                        return Err(refusal.outcome);
                    }
                }
            }
        }
    }
}
