//! The shapes in which a CRM is told of a call. One module each, one name and one line in this list.

#[cfg(test)]
pub(crate) mod any_call;
pub mod canonical;
pub mod conversation_ai;
pub mod hubspot;
pub mod pipedrive;
#[cfg(test)]
pub(crate) mod rehearsal;
pub mod salesforce;
pub mod sheet;
pub mod template;
#[cfg(test)]
pub(crate) mod testing;
pub mod zoho;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use switchboard_domain::{Analysis, CallRecord, ConfigError, Event, Party, PartyKind, Person};
use url::Url;

use crate::destination::{Deduplication, Destination};
use crate::exchange::{Exchange, Told};

/// A shape in which a destination is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// All that is known about a call: our own format, versioned.
    Canonical,
    /// Seven fields about a call, for a CRM that has an endpoint of that shape.
    ConversationAi,
    /// HubSpot's calls.
    Hubspot,
    /// Pipedrive's call logs.
    Pipedrive,
    /// Salesforce's tasks.
    Salesforce,
    /// Whatever the operator's template makes of what is known about a call.
    Template,
    /// Zoho CRM's calls.
    Zoho,
}

/// What there is to tell.
#[derive(Clone, Copy)]
pub struct RenderContext<'a> {
    /// The call.
    pub record: &'a CallRecord,
    /// What happened.
    pub event: Event,
    /// The transcript where it was stored as a blob; a short one is in the record.
    pub transcript: Option<&'a str>,
    /// What a model made of the transcript, where there is such a thing.
    pub analysis: Option<&'a Analysis>,
}

/// What a format is and can.
pub struct Kind {
    /// Its name in a configuration.
    pub name: &'static str,
    /// Which events it can tell of.
    pub events: &'static [Event],
    /// Whether the body holds the transcript, so that a stored one must be read first.
    pub tells_transcript: bool,
    /// Whether the body tells something of the analysis, so that it must be read first.
    pub tells_analysis: bool,
    /// How it can recognise a call that it was told of. The first is the default.
    pub deduplications: &'static [Deduplication],
    /// Why not in the other ways.
    pub cannot: &'static str,
    /// Whether it is a CRM's own API, with requests of its own, and not a webhook of ours. An API's
    /// requests need not be signed, and hold no idempotency key: one attempt is several of them.
    pub is_api: bool,
    /// Where the API stands, if that is one place for all.
    pub host: Option<&'static str>,
    /// Whether calls can be attached to the CRM's contacts.
    pub has_contacts: bool,
    /// Which types of `auth` it takes. Without `none` there must be one.
    pub auths: &'static [&'static str],
    /// How it gives out access tokens, if it does.
    pub token: Option<&'static Token>,
    /// Checks `settings`.
    pub check: fn(&Value) -> Result<(), ConfigError>,
    /// Makes the bytes that a delivery keeps.
    pub render: fn(&Destination, &RenderContext<'_>) -> Vec<u8>,
    /// Begins an attempt.
    pub begin: fn(&Destination, &Told<'_>) -> Box<dyn Exchange>,
}

/// What a CRM's entry of a call can tell: the call, and what becomes known of it later.
pub const ENTRY_EVENTS: &[Event] = &[Event::Completed, Event::Updated];

/// How a CRM gives out access tokens.
pub struct Token {
    /// The word before the token in `Authorization`.
    pub scheme: &'static str,
    /// The token endpoint, given where the API stands.
    pub url: fn(&Url) -> Option<Url>,
    /// Whether the client's id and secret go into a header and not into the form.
    pub client_in_header: bool,
}

/// What webhooks take to know who asks.
pub const WEBHOOK_AUTHS: &[&str] = &["none", "bearer", "basic", "header"];
/// How webhooks can de-duplicate.
pub const WEBHOOK_DEDUPLICATIONS: &[Deduplication] = &[Deduplication::Key, Deduplication::None];
/// Why not otherwise.
pub const WEBHOOK_CANNOT: &str = "to look for an entry or to overwrite it, a format must speak the \
                                  CRM's own API";

impl Format {
    /// All of them, in the order of their names.
    pub const ALL: [Self; 7] = [
        Self::Canonical,
        Self::ConversationAi,
        Self::Hubspot,
        Self::Pipedrive,
        Self::Salesforce,
        Self::Template,
        Self::Zoho,
    ];

    /// What it is and can.
    pub fn kind(self) -> &'static Kind {
        match self {
            Self::Canonical => &canonical::KIND,
            Self::ConversationAi => &conversation_ai::KIND,
            Self::Hubspot => &hubspot::KIND,
            Self::Pipedrive => &pipedrive::KIND,
            Self::Salesforce => &salesforce::KIND,
            Self::Template => &template::KIND,
            Self::Zoho => &zoho::KIND,
        }
    }

    /// Their names, as a sentence lists them.
    pub fn names() -> String {
        listed(Self::ALL.iter().map(|format| format.kind().name))
    }

    /// The bytes that a delivery keeps and every attempt tells. They depend on nothing but the
    /// arguments, and of the record on nothing but the key, the call, the people, the links to its recordings and when it was heard of
    /// first: however the call's messages arrived, and however often it is rendered, the bytes are the
    /// same.
    pub fn render(self, destination: &Destination, context: &RenderContext<'_>) -> Vec<u8> {
        (self.kind().render)(destination, context)
    }

    /// Which events it can tell of.
    pub fn events(self) -> &'static [Event] {
        self.kind().events
    }

    /// Whether the body holds the transcript, so that a stored one must be read first.
    pub fn tells_transcript(self) -> bool {
        self.kind().tells_transcript
    }
}

/// The check of a format that has no settings.
pub(crate) fn no_settings(settings: &Value) -> Result<(), ConfigError> {
    match settings.as_object().is_some_and(serde_json::Map::is_empty) {
        true => Ok(()),
        false => Err(ConfigError::new("settings", "must be left out: this format has none")),
    }
}

/// Words as a sentence lists them: `a, b or c`.
pub(crate) fn listed<'a>(words: impl Iterator<Item = &'a str>) -> String {
    let words: Vec<&str> = words.collect();
    match words.split_last() {
        Some((last, [])) => (*last).to_owned(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
        None => String::new(),
    }
}

/// A party's number in E.164: as `enrich` concluded, or as the provider wrote it.
fn e164<'a>(party: Option<&'a Party>, person: Option<&'a Person>) -> Option<&'a str> {
    let concluded = person.and_then(|person| person.e164.as_ref()).map(|number| number.expose());
    concluded.or_else(|| {
        let party = party.filter(|party| party.kind == PartyKind::E164)?;
        Some(number(party))
    })
}

/// A party's address without the scheme that a number may come with.
fn number(party: &Party) -> &str {
    let raw = party.raw.expose();
    match raw.get(..4) {
        Some(scheme) if scheme.eq_ignore_ascii_case("tel:") => &raw[4..],
        _ => raw,
    }
}
