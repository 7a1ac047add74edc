//! The sources that may place calls.

use std::collections::BTreeMap;

use switchboard_domain::{ConfigError, Name};
use switchboard_people::dialled;
use switchboard_providers::dial::{Account, Dialer};
use switchboard_providers::{Source, registry};

use crate::{Values, config};

/// Sources by provider and name.
#[derive(Clone, Debug, Default)]
pub struct Sources(BTreeMap<(String, Name), Source>);

impl Sources {
    /// Reads the parameters `sources/<provider>/<source>`.
    pub fn read(values: &Values, allow_private: bool) -> Self {
        let read = config::read(values, "sources", |path, json| read(path, json, allow_private));
        Self(read.into_iter().collect())
    }

    /// A source that places calls, and how.
    pub fn account(
        &self,
        provider: &str,
        name: &Name,
    ) -> Option<(&'static dyn Dialer, Account<'_>)> {
        let ((_, name), source) = self.0.get_key_value(&(provider.to_owned(), name.clone()))?;
        let dialing = source.dial.as_ref()?;
        Some((registry::dialer(provider)?, Account { name, source, dialing }))
    }

    /// The countries of all that is dialled, each once.
    pub fn countries(&self) -> Vec<&str> {
        let dialling = self.0.values().filter_map(|source| source.dial.as_ref());
        let mut countries: Vec<&str> =
            dialling.flat_map(|dialing| dialing.countries.iter().map(String::as_str)).collect();
        countries.sort_unstable();
        countries.dedup();
        countries
    }
}

/// A source by `<provider>/<source>`, with the check of its provider and of its dialling.
fn read(
    path: &str,
    json: &str,
    allow_private: bool,
) -> Result<((String, Name), Source), ConfigError> {
    let (kind, name) = path.split_once('/').unwrap_or((path, ""));
    let dialer =
        registry::dialer(kind).ok_or_else(|| ConfigError::new("dial", "places no calls"))?;
    let (name, source) = config::source(dialer.provider(), name, json)?;
    registry::check_dial(kind, &source, allow_private)?;
    let unknown = |country: &&String| !dialled::is_country(country);
    if let Some(dialing) = &source.dial
        && dialing.countries.iter().find(unknown).is_some()
    {
        let problem = "holds a country that numbers are not known of: it would allow nothing";
        return Err(ConfigError::new("dial.countries", problem));
    }
    Ok(((kind.to_owned(), name), source))
}
