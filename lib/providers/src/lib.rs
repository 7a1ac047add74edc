//! Phone and voice-AI systems: how each authenticates a message, and what a message says.
//!
//! A provider is one module and one line in [`ALL`]. A body cannot be parsed before it was
//! authenticated: [`Provider::parse`] takes an [`Authenticated`], which only [`authenticate`] makes.

pub mod asterisk;
pub mod body;
pub mod cdr;
pub mod dial;
pub mod elevenlabs;
pub mod fmc;
pub mod intake;
pub mod json;
pub mod onecom;
pub mod pull;
pub mod recordings;
pub mod reject;
pub mod request;
pub mod secret;
pub mod smartflo;
pub mod source;
pub mod threecx;
pub mod twilio;

use std::collections::BTreeMap;

use serde_json::Value;
use switchboard_domain::{CallKey, Name, Personal, Recording, Seconds, Update};

pub use reject::{Refusal, Reject};
pub use request::{Authenticated, Request, authenticate};
pub use source::{Credential, Source};
pub use switchboard_domain::ConfigError;

macro_rules! providers {
    ($($provider:expr),* $(,)?) => {
        /// Every provider with a webhook of its own. A provider that is listed needs samples in `events/<name>/`.
        pub static ALL: &[&dyn Provider] = &[$(&$provider),*];

        /// Whether calls of a provider may come by the generic intake; `None`: there is no provider of
        /// that name. Each type is asked by itself, since through [`ALL`] all of every provider would be
        /// linked into the intake.
        pub(crate) fn speaks_intake(name: &str) -> Option<bool> {
            $(if $provider.name() == name {
                return Some($provider.speaks_intake());
            })*
            None
        }
    };
}

#[rustfmt::skip]
providers! {
    asterisk::Asterisk,
    elevenlabs::ElevenLabs,
    fmc::Fmc,
    intake::Intake,
    onecom::OneCom,
    smartflo::Smartflo,
    threecx::ThreeCx,
    twilio::Twilio,
}

/// A method and the path of a webhook, as they stand in the template.
pub type Route = (&'static str, &'static str);

/// A kind of phone or voice-AI system.
pub trait Provider: Sync {
    /// The provider's name: in call keys, paths of parameters, metrics.
    fn name(&self) -> &'static str;

    /// Where it posts.
    fn routes(&self) -> &'static [Route];

    /// How long after a call's end its last messages still trickle in, where the source does not say.
    fn settle(&self) -> Seconds {
        Seconds(0)
    }

    /// The status that tells this provider that its message was taken.
    fn accepted(&self) -> u16 {
        200
    }

    /// What a source of this provider must say beyond what every source must.
    fn check(&self, _source: &Source) -> Result<(), ConfigError> {
        Ok(())
    }

    /// Whether its messages are signed. Then nothing but a signature opens a source: no network is
    /// trusted in its place.
    fn is_signed(&self) -> bool {
        false
    }

    /// Whether systems of this kind may also post to the generic intake under their own name. Of
    /// one that may, the intake's secret opens the calls.
    fn speaks_intake(&self) -> bool {
        false
    }

    /// The header in which its set-up page tells people to send the secret.
    fn secret_header(&self) -> &'static str {
        "X-Webhook-Secret"
    }

    /// Whether a signature or secret came at all. Asked before any source is looked at, so that
    /// the answer to a request without one tells nothing about which sources there are.
    fn presents_credential(&self, request: &Request) -> Result<(), Reject> {
        match secret::presented(request) {
            Some(_) => Ok(()),
            None => Err(Reject::Unauthenticated { expected: self.secret_header() }),
        }
    }

    /// Whether the request was sent by someone who knows `credential`, compared in constant time.
    fn authenticate(
        &self,
        request: &Request,
        _source: &Source,
        credential: &Credential,
    ) -> Result<(), Refusal> {
        let sent = secret::presented(request).unwrap_or_default();
        if secret::is(&sent, &credential.secret) { Ok(()) } else { Err(Refusal::Mismatch) }
    }

    /// The answer to a request that anybody may make: that the webhook is there, how to set it
    /// up. It is asked before anything is authenticated and knows no configuration.
    fn public(&self, _request: &Request) -> Option<Value> {
        None
    }

    /// What the body says. `Err` is a body that is not even a list of records.
    fn parse(&self, message: &Authenticated<'_>) -> Result<Content, Reject>;
}

/// What an authenticated body holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Messages about calls: one result per record.
    Calls(Vec<Parsed>),
    /// Something else that was understood, as a test or a ping: it is answered with this, and
    /// nothing is stored.
    Other(Value),
}

/// One record of a body: an update of a call, or why it is none.
pub type Parsed = Result<Record, Unread>;

/// An update and the call that it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The call.
    pub key: CallKey,
    /// Other keys that the same call may be stored under, the likeliest first. For providers
    /// that give no id, whose key is derived from times that may differ by a second.
    pub near: Vec<CallKey>,
    /// What was said about it.
    pub update: Update,
}

/// A record that was not understood, and its bytes for the quarantine.
#[derive(Clone, PartialEq, Eq)]
pub struct Unread {
    /// Why.
    pub why: Reject,
    /// The record alone, not its neighbours.
    pub raw: Vec<u8>,
}

impl std::fmt::Debug for Unread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Unread({}, {} bytes)", self.why, self.raw.len())
    }
}

/// The provider of a name, among those with a webhook.
pub fn provider(name: &str) -> Option<&'static dyn Provider> {
    ALL.iter().copied().find(|provider| provider.name() == name)
}

/// The provider whose webhook a path is, whatever stands before it (a stage, a base path).
pub fn provider_at(path: &str) -> Option<&'static dyn Provider> {
    let is_at =
        |provider: &&dyn Provider| provider.routes().iter().any(|(_, route)| path.ends_with(route));
    ALL.iter().copied().find(is_at)
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
