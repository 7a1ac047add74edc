//! What a format is: its capabilities, how it renders a call, and how it delivers what it rendered.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use strum::IntoStaticStr;
use switchboard_domain::delivery::Remote;
use switchboard_domain::{Analysis, CallRecord, ConfigError, Event, VariantArray as _};
use switchboard_http::Http;
use url::Url;

use crate::contacts::Contacts;
use crate::outcome::Outcome;

/// A format with the settings of one destination.
#[async_trait]
pub trait Format: Send + Sync {
    /// The payload that a delivery keeps and every attempt delivers. It depends on nothing but the
    /// settings and the arguments, and of the record on nothing but the key, the call, the people, the
    /// links to its recordings and when it was first heard of: however the call's messages arrived, and
    /// however often it is rendered, the bytes are the same.
    fn render(&self, context: &RenderContext<'_>) -> Vec<u8>;

    /// One attempt to deliver a rendered payload, with as many requests as that takes. `remote` holds the
    /// CRM's ids of the call and its contact, as far as they are known at any time.
    async fn deliver(
        &self,
        http: &dyn Http,
        payload: &[u8],
        remote: &mut Remote,
        clock: Clock<'_>,
    ) -> Result<Outcome, Outcome>;
}

/// The time, from which a CRM's `Retry-After` counts and which is signed.
pub type Clock<'a> = &'a (dyn Fn() -> Timestamp + Sync);

/// What a payload is rendered from.
#[derive(Clone, Copy)]
pub struct RenderContext<'a> {
    /// The call.
    pub record: &'a CallRecord,
    /// What happened.
    pub event: Event,
    /// The transcript where it was stored as a blob; a short one is in the record.
    pub transcript: Option<&'a str>,
    /// The analysis of the transcript, where there is one.
    pub analysis: Option<&'a Analysis>,
}

/// Where a format delivers to, and what of it every format with an API knows.
#[derive(Clone)]
pub struct Endpoint {
    /// Where requests go, or where the API begins.
    pub url: Url,
    /// Which contacts calls are linked to.
    pub contacts: Contacts,
    /// How it recognises a call that it knows already.
    pub deduplication: Deduplication,
}

impl Endpoint {
    /// A path of the API.
    pub fn at(&self, path: &[&str]) -> Url {
        below(&self.url, path)
    }
}

/// A path below where an API begins. Ids in it come from a CRM: as segments they can only name something
/// below.
pub fn below(base: &Url, path: &[&str]) -> Url {
    let mut url = base.clone();
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().extend(path);
    }
    url
}

/// How a destination recognises a call that was delivered before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, IntoStaticStr)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Deduplication {
    /// By `Idempotency-Key`, which is also `webhook-id`.
    #[default]
    Key,
    /// By a field of its own that holds the call's key and is unique: what is there is overwritten.
    Upsert,
    /// It is searched for before it is created.
    Search,
    /// Not at all.
    None,
}

/// What a format is and can.
pub struct Capabilities {
    /// Its name in a configuration.
    pub name: &'static str,
    /// Which events it can deliver.
    pub events: &'static [Event],
    /// Whether the payload holds the transcript, so that a stored one must be read first.
    pub needs_transcript: bool,
    /// Whether the payload holds something of the analysis, so that it must be read first.
    pub needs_analysis: bool,
    /// How it can recognise a call that was delivered before. The first is the default.
    pub deduplications: &'static [Deduplication],
    /// Why not in the other ways.
    pub no_other_deduplication: &'static str,
    /// Whether it is a CRM's own API, with requests of its own, and not a webhook of ours. An API's
    /// requests need not be signed, and hold no idempotency key: one attempt is several of them.
    pub is_api: bool,
    /// Where the API is, if that is one place for all.
    pub host: Option<&'static str>,
    /// Whether calls can be linked to the CRM's contacts.
    pub has_contacts: bool,
    /// Which types of `auth` it takes. Without `none` there must be one.
    pub auths: &'static [&'static str],
    /// How it grants access tokens, if it does.
    pub token: Option<&'static TokenEndpoint>,
    /// Makes it from `settings`, which it checks.
    pub open: fn(Endpoint, Value) -> Result<Arc<dyn Format>, ConfigError>,
}

impl fmt::Debug for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl Capabilities {
    /// A webhook: one signed request that holds the whole payload.
    pub const fn webhook(
        name: &'static str,
        open: fn(Endpoint, Value) -> Result<Arc<dyn Format>, ConfigError>,
    ) -> Self {
        Self {
            name,
            events: Event::VARIANTS,
            needs_transcript: true,
            needs_analysis: true,
            deduplications: &[Deduplication::Key, Deduplication::None],
            no_other_deduplication: "to look for an entry or to overwrite it, a format must speak the \
                                     CRM's own API",
            is_api: false,
            host: None,
            has_contacts: false,
            auths: &["none", "bearer", "basic", "header"],
            token: None,
            open,
        }
    }

    /// A CRM's own API, whose entry of a call holds the call and what becomes known of it later.
    pub const fn api(
        name: &'static str,
        open: fn(Endpoint, Value) -> Result<Arc<dyn Format>, ConfigError>,
    ) -> Self {
        Self {
            events: &[Event::Completed, Event::Updated],
            needs_transcript: false,
            is_api: true,
            has_contacts: true,
            ..Self::webhook(name, open)
        }
    }
}

/// How a CRM grants access tokens.
pub struct TokenEndpoint {
    /// The word before the token in `Authorization`.
    pub scheme: &'static str,
    /// Where it is, given where the API is.
    pub url: fn(&Url) -> Option<Url>,
    /// Whether the client's id and secret go into a header and not into the form.
    pub client_in_header: bool,
}
