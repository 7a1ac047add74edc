//! The one list of providers, and of what each can do. A function links no more of it than it uses.

use switchboard_domain::{ConfigError, Personal};

use crate::dial::Dialer;
use crate::provider::Provider;
use crate::pull::Pull;
use crate::recordings::{self, Wanted};
use crate::source::Source;

#[path = "asterisk/mod.rs"]
pub mod asterisk;
#[path = "elevenlabs/mod.rs"]
pub mod elevenlabs;
#[path = "fmc/mod.rs"]
pub mod fmc;
#[path = "intake.rs"]
pub mod intake;
#[path = "onecom/mod.rs"]
pub mod onecom;
#[path = "smartflo/mod.rs"]
pub mod smartflo;
#[path = "threecx/mod.rs"]
pub mod threecx;
#[path = "twilio/mod.rs"]
pub mod twilio;

macro_rules! providers {
    ($($provider:expr),* $(,)?) => {
        /// Every provider with a webhook of its own. A provider that is listed needs samples in `events/<name>/`.
        pub static ALL: &[&dyn Provider] = &[$(&$provider),*];

        /// Whether calls of a provider may not come by the generic intake: it has a webhook of its own.
        /// Each type is looked at by itself, since through [`ALL`] every provider would be linked
        /// into the intake.
        fn has_webhook_alone(name: &str) -> bool {
            $(if $provider.name() == name {
                return !$provider.speaks_intake();
            })*
            false
        }
    };
}

#[rustfmt::skip]
providers! {
    asterisk::Asterisk,
    elevenlabs::ElevenLabs,
    fmc::Fmc,
    INTAKE,
    onecom::OneCom,
    smartflo::Smartflo,
    threecx::ThreeCx,
    twilio::Twilio,
}

/// The generic intake, which refuses providers that have a webhook of their own.
pub static INTAKE: intake::Intake = intake::Intake { refuses: has_webhook_alone };

/// Every provider whose calls can be pulled.
#[rustfmt::skip]
pub static PULLS: &[&dyn Pull] = &[
    &elevenlabs::pull::ElevenLabsPull,
    &onecom::pull::OneComPull,
    &smartflo::pull::SmartfloPull,
    &twilio::pull::TwilioPull,
];

/// Every provider that can place calls.
pub static DIALERS: &[&dyn Dialer] =
    &[&smartflo::dial::SmartfloDialer, &twilio::dial::TwilioDialer];

/// Makes the request for a recording at an address.
type FetchRecording = fn(&Source, &Personal) -> Result<Wanted, ConfigError>;

/// Providers whose recordings need more than their address.
const RECORDINGS: &[(&str, FetchRecording)] = &[("twilio", twilio::recording::request)];

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

/// How a provider's calls are pulled, if they can be.
pub fn pull(provider: &str) -> Option<&'static dyn Pull> {
    PULLS.iter().copied().find(|one| one.provider().name() == provider)
}

/// How a provider's calls are placed, if they can be.
pub fn dialer(provider: &str) -> Option<&'static dyn Dialer> {
    DIALERS.iter().copied().find(|one| one.provider().name() == provider)
}

/// Checks the member `dial` of a source, if it has one, as the function that dials will.
/// `allow_private` is for the local stage: the REST interface may then be without TLS.
pub fn check_dial(provider: &str, source: &Source, allow_private: bool) -> Result<(), ConfigError> {
    let Some(dialing) = &source.dial else { return Ok(()) };
    let Some(dialer) = dialer(provider) else {
        return Err(ConfigError::new("dial", "cannot be: this provider places no calls"));
    };
    dialing.check(allow_private)?;
    dialer.check(dialing, source)
}

/// The request for a recording that a provider gave an address for.
pub fn recording(provider: &str, source: &Source, url: &Personal) -> Result<Wanted, ConfigError> {
    match RECORDINGS.iter().find(|(name, _)| *name == provider) {
        Some((_, request)) => request(source, url),
        None => Ok(recordings::at(url)),
    }
}
