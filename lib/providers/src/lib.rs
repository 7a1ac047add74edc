//! Phone and voice-AI systems: how each authenticates a message, and what a message says.
//!
//! A provider is one module and one line in [`ALL`]. A body cannot be parsed before it was
//! authenticated: [`Provider::parse`] takes an [`Authenticated`], which only [`authenticate`] makes.

pub mod elevenlabs;
pub mod intake;
pub mod json;
pub mod reject;
pub mod request;
pub mod secret;
pub mod source;
pub mod twilio;

use std::collections::BTreeMap;

use switchboard_domain::{CallKey, Name, Personal, Recording, Seconds, Update};

pub use reject::{Refusal, Reject};
pub use request::{Authenticated, Request, authenticate};
pub use source::{Credential, Source};
pub use switchboard_domain::ConfigError;

/// Every provider with a webhook of its own. A provider that is listed needs samples in `events/<name>/`.
pub static ALL: &[&dyn Provider] = &[&intake::Intake, &twilio::Twilio];

/// A kind of phone or voice-AI system.
pub trait Provider: Sync {
    /// The provider's name: in call keys, paths of parameters, metrics.
    fn name(&self) -> &'static str;

    /// How long after a call's end its last messages still trickle in, where the source does not say.
    fn settle(&self) -> Seconds {
        Seconds(0)
    }

    /// What a source of this provider must say beyond what every source must.
    fn check(&self, _source: &Source) -> Result<(), ConfigError> {
        Ok(())
    }

    /// Whether systems of this kind may also post to the generic intake under their own name. One
    /// whose messages are signed may not: the intake's secret would open its calls.
    fn speaks_intake(&self) -> bool {
        false
    }

    /// Whether a signature or secret came at all. Asked before any source is looked at, so that
    /// the answer to a request without one tells nothing about which sources there are.
    fn presents_credential(&self, request: &Request) -> Result<(), Reject>;

    /// Whether the request was sent by someone who knows `credential`, compared in constant time.
    fn authenticate(
        &self,
        request: &Request,
        source: &Source,
        credential: &Credential,
    ) -> Result<(), Refusal>;

    /// What the body says: one result per record in it. `Err` is a body that is not even a list
    /// of records.
    fn parse(&self, message: &Authenticated<'_>) -> Result<Vec<Parsed>, Reject>;
}

/// One record of a body: an update of a call, or why it is none.
pub type Parsed = Result<(CallKey, Update), Unread>;

/// A record that was not understood, and its bytes for the quarantine.
#[derive(Clone, PartialEq, Eq)]
pub struct Unread {
    /// Why.
    pub why: Reject,
    /// The record alone, not its neighbours.
    pub raw: Vec<u8>,
}

/// The provider of a name, among those with a webhook.
pub fn provider(name: &str) -> Option<&'static dyn Provider> {
    ALL.iter().copied().find(|provider| provider.name() == name)
}

/// The sources of one provider, by name.
pub type Sources = BTreeMap<Name, Source>;

/// A recording from what a provider calls its URL: an address, or only a path on the PBX's disk.
pub(crate) fn recording(text: &str) -> Recording {
    let place = Some(Personal::new(text));
    let is_address = text.starts_with("https://") || text.starts_with("http://");
    let (url, path) = if is_address { (place, None) } else { (None, place) };
    Recording { url, path, duration: None, status: None }
}
