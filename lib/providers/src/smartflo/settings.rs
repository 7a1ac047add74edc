//! The members of a source's configuration that Smartflo's sources have.

use serde::Deserialize;
use switchboard_domain::{ConfigError, Personal, Secret};

use crate::settings::{Checked, check_page_size, check_secrets};

/// Where the REST API is, unless the source says otherwise.
pub const API_URL: &str = "https://api-smartflo.tatateleservices.com";

/// Smartflo's own settings of a source.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// How call detail records are listed.
    pub pull: Option<Pull>,
    /// With which credentials calls are placed.
    pub dial: Option<Credentials>,
}

/// The member `pull`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Pull {
    /// A token of the portal.
    pub token: Option<Secret>,
    /// In place of a token: the user of a login.
    pub email: Option<Personal>,
    /// The user's password.
    pub password: Option<Secret>,
    /// How many records a page has.
    pub page_size: Option<u32>,
}

/// The credentials in the member `dial`: a token, or a login.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Credentials {
    /// A token of the portal.
    pub token: Option<Secret>,
    /// In place of a token: the user of a login.
    pub email: Option<Personal>,
    /// The user's password.
    pub password: Option<Secret>,
}

impl Checked for Settings {
    fn check(&self) -> Result<(), ConfigError> {
        let Some(pull) = &self.pull else { return Ok(()) };
        check_secrets(&[("pull.token", &pull.token), ("pull.password", &pull.password)])?;
        check_page_size(pull.page_size)
    }
}
