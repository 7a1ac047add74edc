//! The members of a source's configuration that OneCom's sources have.

use std::collections::BTreeMap;

use serde::Deserialize;
use switchboard_domain::{ConfigError, Secret};

use crate::settings::{Checked, check_secrets};

/// OneCom's own settings of a source.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// How call detail records are listed.
    pub pull: Option<Pull>,
}

/// The member `pull`. Installations differ, so the address, its parameters, the format and the dates
/// can be configured.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Pull {
    /// The address of `proxyapi.php`, without parameters.
    pub url: Option<String>,
    /// The tenant's API key.
    pub token: Option<Secret>,
    /// The header that carries the key, where it is no parameter.
    pub header: Option<String>,
    /// The tenant's code.
    pub tenant: Option<String>,
    /// Parameters that differ from the usual ones; an empty one is left out.
    pub parameters: BTreeMap<String, String>,
    /// The format of the response. Default `csv`.
    pub format: Format,
    /// How dates are written, in `strftime`'s way. Default `%Y-%m-%d`.
    pub date_format: Option<String>,
}

/// The format of a list of calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// A line of names, and a line for each record.
    #[default]
    Csv,
    /// A list of objects, or an object with one.
    Json,
}

impl Checked for Settings {
    fn check(&self) -> Result<(), ConfigError> {
        let Some(pull) = &self.pull else { return Ok(()) };
        check_secrets(&[("pull.token", &pull.token)])?;
        if let Some(url) = &pull.url {
            let is_address = url.starts_with("https://") || url.starts_with("http://");
            if !is_address || url.contains(['?', '#', '@', ' ']) {
                let problem = "must be https://host/path without query or user";
                return Err(ConfigError::new("pull.url", problem));
            }
        }
        if let Some(format) = &pull.date_format {
            let sample = jiff::civil::datetime(2026, 2, 20, 9, 30, 0, 0);
            if jiff::fmt::strtime::format(format, sample).is_err() {
                let problem = "cannot write a date: as %Y-%m-%d or %d/%m/%Y %H:%M:%S";
                return Err(ConfigError::new("pull.date_format", problem));
            }
        }
        Ok(())
    }
}
