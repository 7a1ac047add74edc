//! The sources of a stage, for parsing stored messages again.

use std::collections::BTreeMap;

use switchboard_domain::{CallKey, Policy, Seconds};
use switchboard_flow::{Values, config};
use switchboard_providers::{Source, Sources, intake};

use crate::Failure;

/// The sources of every provider.
#[derive(Default)]
pub struct Configured {
    by_provider: BTreeMap<String, Sources>,
    none: Sources,
}

impl Configured {
    /// Reads parameters named `<provider>/<source>`.
    pub fn read(values: &Values) -> Result<Self, Failure> {
        let mut configured = Self::default();
        for (path, json) in values {
            let wrong = |problem: String| Failure::Wrong(format!("sources/{path}: {problem}"));
            let read = config::any_source(path, json);
            let (kind, name, source) = read.map_err(|error| wrong(error.to_string()))?;
            configured.by_provider.entry(kind.to_owned()).or_default().insert(name, source);
        }
        Ok(configured)
    }

    /// The sources of one provider.
    pub fn of(&self, provider: &str) -> &Sources {
        self.by_provider.get(provider).unwrap_or(&self.none)
    }

    /// The source of a call, found as the workers do: its own, the intake's of that name, or one of the
    /// defaults.
    pub fn source(&self, key: &CallKey) -> Option<&Source> {
        let generic = intake::NAME;
        let own = key.provider.as_str();
        let named = |provider: &str, name: &str| {
            self.of(provider).iter().find(|(one, _)| one.as_str() == name).map(|(_, one)| one)
        };
        named(own, key.source.as_str())
            .or_else(|| named(generic, key.source.as_str()))
            .or_else(|| named(own, own))
            .or_else(|| named(generic, generic))
    }

    /// The policy for a call that ended long ago: no settling time.
    pub fn policy(&self, key: &CallKey) -> Policy {
        let legs = self.source(key).map(|source| source.legs);
        Policy { settle: Seconds(0), legs: legs.unwrap_or_default(), starts: false }
    }
}
