//! Parameters to typed values: the one reader of the functions and of the command line. What it accepts
//! passed the check of its provider or format.

use switchboard_domain::{ConfigError, Name};
use switchboard_providers::{Provider, Source};
use tracing::error;

use crate::Values;

/// The parameters below a folder, each read by `parse` from its name there and its JSON. An invalid one is
/// left out, and the log names it without its value.
pub fn read<T>(
    values: &Values,
    folder: &str,
    parse: impl Fn(&str, &str) -> Result<T, ConfigError>,
) -> Vec<T> {
    let below = |path: &str| path.strip_prefix(folder)?.strip_prefix('/').map(str::to_owned);
    let read = values.iter().filter_map(|(path, json)| match parse(&below(path)?, json) {
        Ok(value) => Some(value),
        Err(problem) => {
            not_used(path, &problem);
            None
        }
    });
    read.collect()
}

/// Logs that a parameter is left out.
pub(crate) fn not_used(parameter: &str, problem: &ConfigError) {
    error!(parameter, %problem, "invalid parameter ignored");
}

/// A source by its name, with its provider's check.
pub fn source(
    provider: &dyn Provider,
    name: &str,
    json: &str,
) -> Result<(Name, Source), ConfigError> {
    Ok((name_of("source", name)?, Source::parse(json, Some(provider))?))
}

/// A name that is the last part of a parameter's path.
pub fn name_of(part: &'static str, name: &str) -> Result<Name, ConfigError> {
    Name::new(part, name).map_err(|error| ConfigError::new(part, error.to_string()))
}

/// A source by `<provider>/<source>`, with the check of its provider, if that has a webhook here. Gives the
/// provider's name too.
#[cfg(feature = "workers")]
pub fn any_source<'a>(path: &'a str, json: &str) -> Result<(&'a str, Name, Source), ConfigError> {
    let (kind, name) = path.split_once('/').unwrap_or((path, ""));
    let source = Source::parse(json, switchboard_providers::provider(kind))?;
    Ok((kind, name_of("source", name)?, source))
}
