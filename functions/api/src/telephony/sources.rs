//! The sources that may place calls.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;

use switchboard_domain::{ConfigError, Name};
use switchboard_flow::Telemetry;
use switchboard_flow::Values;
use switchboard_people::dialled;
use switchboard_providers::dial::{Account, Dialer};
use switchboard_providers::{Source, registry};
use switchboard_shell::parameters::Cached;

use crate::problem::Problem;

/// Sources by provider and name.
#[derive(Clone, Debug, Default)]
pub struct Sources(BTreeMap<(String, Name), Source>);

impl Sources {
    /// Reads the parameters `sources/<provider>/<source>`. One that cannot be read is left out and
    /// named in the log.
    pub fn read(values: &Values, allow_private: bool, telemetry: &Telemetry) -> Self {
        let mut sources = BTreeMap::new();
        for (path, json) in values {
            let Some((provider, name)) =
                path.strip_prefix("sources/").and_then(|rest| rest.split_once('/'))
            else {
                continue;
            };
            match read(provider, name, json, allow_private) {
                Ok((name, source)) => drop(sources.insert((provider.to_owned(), name), source)),
                Err(problem) => telemetry
                    .error("a source is not used", &[("parameter", path), ("problem", &problem)]),
            }
        }
        Self(sources)
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

fn read(
    provider: &str,
    name: &str,
    json: &str,
    allow_private: bool,
) -> Result<(Name, Source), ConfigError> {
    let name = Name::new("source", name);
    let name = name.map_err(|error| ConfigError::new("source", error.to_string()))?;
    let dialer = registry::dialer(provider).map(|dialer| dialer.provider());
    let source = Source::parse(json, dialer)?;
    registry::check_dial(provider, &source, allow_private)?;
    let unknown = |country: &&String| !dialled::is_country(country);
    if let Some(dialing) = &source.dial
        && dialing.countries.iter().find(unknown).is_some()
    {
        let problem = "holds a country that numbers are not known of: it would allow nothing";
        return Err(ConfigError::new("dial.countries", problem));
    }
    Ok((name, source))
}

/// Where the sources are known from.
pub trait Configured: Send + Sync {
    /// As they were read last.
    fn get(&self) -> impl Future<Output = Result<Arc<Sources>, Problem>> + Send;

    /// Read anew: after a provider did not take our credentials.
    fn get_again(&self) -> impl Future<Output = Result<Arc<Sources>, Problem>> + Send;
}

impl Configured for Cached<Sources> {
    async fn get(&self) -> Result<Arc<Sources>, Problem> {
        Cached::get(self).await.map_err(|_| Problem::ours("the configuration cannot be read"))
    }

    async fn get_again(&self) -> Result<Arc<Sources>, Problem> {
        Cached::get_again(self).await.map_err(|_| Problem::ours("the configuration cannot be read"))
    }
}
