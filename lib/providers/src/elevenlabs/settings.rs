//! The members of a source's configuration that ElevenLabs' sources have.

use serde::Deserialize;
use switchboard_domain::{ConfigError, Name, Secret};

use crate::settings::{Checked, check_page_size};
use crate::source::Source;

/// Where the REST API is, unless the source has another `api_url` (data residency).
const API_URL: &str = "https://api.elevenlabs.io";

/// ElevenLabs' own settings of a source.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// The key of the REST API.
    pub api_key: Option<Secret>,
    /// The ids of the agents whose conversations are read. Empty: all of the workspace.
    pub agents: Vec<String>,
    /// The `twilio` source on whose calls the conversations are held; default `twilio`. With `none`,
    /// each conversation is a call of its own.
    pub calls: Option<Name>,
    /// How conversations are listed.
    pub pull: Option<Pull>,
}

/// The member `pull`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Pull {
    /// How many conversations a page has.
    pub page_size: Option<u32>,
}

impl Checked for Settings {
    fn check(&self) -> Result<(), ConfigError> {
        check_page_size(self.pull.as_ref().and_then(|pull| pull.page_size))
    }
}

/// The base of the REST API.
pub fn api_url(source: &Source) -> &str {
    source.api_url.as_deref().unwrap_or(API_URL)
}

/// The ids of the agents whose conversations are read.
pub fn agents(source: &Source) -> &[String] {
    source.own::<Settings>().map(|settings| settings.agents.as_slice()).unwrap_or_default()
}

/// The key of the REST API.
pub fn api_key(source: &Source) -> Option<&Secret> {
    source.own::<Settings>()?.api_key.as_ref()
}
