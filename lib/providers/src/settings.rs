//! Reading a source's JSON: the members that every source may have, and those of one provider, each
//! into its own typed struct.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use switchboard_domain::{ConfigError, Secret};

/// Settings that are checked when they are read.
pub trait Checked: DeserializeOwned + Send + Sync + 'static {
    /// Checks what types cannot say, and every function that reads the source has to know.
    fn check(&self) -> Result<(), ConfigError>;
}

/// A provider's own settings of one source, typed by the provider's folder.
#[derive(Clone, Default)]
pub struct ProviderSettings {
    settings: Option<Arc<dyn Any + Send + Sync>>,
    ignored: Vec<String>,
}

impl ProviderSettings {
    /// Reads and checks the members that `T` has from a source's JSON.
    pub fn read<T: Checked>(json: &str) -> Result<Self, ConfigError> {
        let (settings, ignored) = read::<T>(json)?;
        settings.check()?;
        Ok(Self { settings: Some(Arc::new(settings)), ignored })
    }

    /// The settings, if they were read as `T`.
    pub fn get<T: 'static>(&self) -> Option<&T> {
        self.settings.as_deref()?.downcast_ref()
    }

    /// The members of the JSON that the settings do not have, by path. `None`: none were read.
    pub(crate) fn ignored(&self) -> Option<&[String]> {
        self.settings.as_ref().map(|_| self.ignored.as_slice())
    }
}

impl fmt::Debug for ProviderSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProviderSettings")
    }
}

/// Reads JSON; returns the paths of the members that `T` does not have, too. Errors name the field and
/// the place, and no value: it may be a secret.
pub(crate) fn read<T: DeserializeOwned>(json: &str) -> Result<(T, Vec<String>), ConfigError> {
    let mut reader = serde_json::Deserializer::from_str(json);
    let (mut track, mut ignored) = (serde_path_to_error::Track::new(), Vec::new());
    let tracked = serde_path_to_error::Deserializer::new(&mut reader, &mut track);
    // An optional member is a step of its own in the path, written as a question mark.
    let ignore = |path: serde_ignored::Path<'_>| ignored.push(path.to_string().replace(".?", ""));
    let read = serde_ignored::deserialize(tracked, ignore);
    let read = read.map_err(|error: serde_json::Error| {
        let place = format!("line {}, column {}", error.line(), error.column());
        match error.classify() {
            serde_json::error::Category::Data => {
                let problem = format!("is unknown or of a wrong type ({place})");
                ConfigError::new(shown(&track.path().to_string()), problem)
            }
            _ => ConfigError::new("source", format!("is not valid JSON ({place})")),
        }
    })?;
    Ok((read, ignored))
}

/// A path as an error may show it: after a lost quotation mark a name may hold a value.
pub(crate) fn shown(path: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-[]".contains(&b);
    let is_plain = path.len() <= 64 && path.bytes().all(plain);
    if is_plain { path } else { "source" }.to_owned()
}

/// Checks that secrets which are configured are not blank.
pub(crate) fn check_secrets(secrets: &[(&str, &Option<Secret>)]) -> Result<(), ConfigError> {
    let is_blank = |secret: &Option<Secret>| secret.as_ref().is_some_and(Secret::is_empty);
    match secrets.iter().find(|(_, secret)| is_blank(secret)) {
        Some((field, _)) => Err(ConfigError::new(*field, "is empty: leave it out")),
        None => Ok(()),
    }
}

/// Checks that a token which is configured can stand in a header.
pub(crate) fn check_sendable(field: &str, secret: &Option<Secret>) -> Result<(), ConfigError> {
    let is_sendable = |secret: &Secret| {
        !secret.is_empty() && secret.expose().bytes().all(|b| (0x21..0x7f).contains(&b))
    };
    if secret.as_ref().is_none_or(is_sendable) {
        return Ok(());
    }
    Err(ConfigError::new(field, "must be characters without spaces, and some"))
}

/// Checks how many records a page of a list has.
pub(crate) fn check_page_size(size: Option<u32>) -> Result<(), ConfigError> {
    if size.is_some_and(|size| !(1..=1_000).contains(&size)) {
        return Err(ConfigError::new("pull.page_size", "must be 1 to 1000"));
    }
    Ok(())
}
