//! What the workers know: every source and every destination.

use std::collections::{BTreeMap, BTreeSet};

use switchboard_crm::Destination;
use switchboard_domain::{CallKey, Name};
use switchboard_people::leads::Rules;
use switchboard_providers::{Provider as _, Source, intake};
use switchboard_shell::Telemetry;
use switchboard_shell::parameters::Values;

/// Sources by `provider/source`, destinations by name.
#[derive(Clone, Debug, Default)]
pub struct Configuration {
    sources: BTreeMap<String, Source>,
    /// Where calls are delivered to. A destination that cannot be read has no configuration here,
    /// and is still one: what it is to be told waits until it is mended.
    pub destinations: BTreeMap<Name, Option<Destination>>,
    /// Which calls move a lead on. Rules that cannot be read move none.
    pub leads: Rules,
}

impl Configuration {
    /// Reads the parameters of a stage: `sources/<provider>/<source>` and
    /// `destinations/<destination>`, `leads/rules`. One that cannot be read is left out and named in
    /// the log.
    pub fn read(values: &Values, allow_private: bool, telemetry: &Telemetry) -> Self {
        let mut configuration = Self::default();
        for (path, json) in values {
            let problem = match path.split_once('/') {
                Some(("sources", name)) => match Source::parse(json, None) {
                    Ok(source) => {
                        configuration.sources.insert(name.to_owned(), source);
                        continue;
                    }
                    Err(error) => error.to_string(),
                },
                Some(("destinations", name)) => match Name::new("destination", name) {
                    Ok(name) => {
                        let destination = Destination::parse(json, allow_private);
                        let problem = destination.as_ref().err().map(ToString::to_string);
                        configuration.destinations.insert(name, destination.ok());
                        match problem {
                            Some(problem) => problem,
                            None => continue,
                        }
                    }
                    Err(error) => error.to_string(),
                },
                Some(("leads", "rules")) => match Rules::parse(json) {
                    Ok(rules) => {
                        configuration.leads = rules;
                        continue;
                    }
                    Err(error) => {
                        configuration.leads = Rules::none();
                        error.to_string()
                    }
                },
                _ => "is neither a source, nor a destination, nor leads/rules".to_owned(),
            };
            telemetry
                .error("a parameter is not used", &[("parameter", path), ("problem", &problem)]);
        }
        configuration
    }

    /// The source of a call: its own, the intake's of that name, or one of the defaults.
    pub fn source(&self, key: &CallKey) -> Option<&Source> {
        let generic = intake::Intake.name();
        [
            format!("{}/{}", key.provider, key.source),
            format!("{generic}/{}", key.source),
            format!("{0}/{0}", key.provider),
            format!("{generic}/{generic}"),
        ]
        .iter()
        .find_map(|name| self.sources.get(name))
    }

    /// A source by provider and name.
    pub fn source_named(&self, provider: &str, name: &Name) -> Option<&Source> {
        self.sources.get(&format!("{provider}/{name}"))
    }

    /// The countries of all sources, each once.
    pub fn countries(&self) -> BTreeSet<&str> {
        self.sources.values().filter_map(|source| source.country.as_deref()).collect()
    }
}
