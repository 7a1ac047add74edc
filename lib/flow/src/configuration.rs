//! What the workers know: every source and every destination.

use std::collections::{BTreeMap, BTreeSet};

use crate::Telemetry;
use crate::Values;
use switchboard_analysis::Model;
use switchboard_crm::Destination;
use switchboard_domain::{CallKey, CallRecord, Name, copies};
use switchboard_people::leads::Rules;
use switchboard_providers::elevenlabs::ElevenLabs;
use switchboard_providers::{Provider, Source, intake, provider};
use switchboard_recordings::Links;

/// Sources by `provider/source`, destinations by name.
#[derive(Clone, Debug, Default)]
pub struct Configuration {
    sources: BTreeMap<String, Source>,
    /// Where calls are delivered to. A destination that cannot be read has no configuration here,
    /// and is still one: what it is to be told waits until it is mended.
    pub destinations: BTreeMap<Name, Option<Destination>>,
    /// Which calls move a lead on. Rules that cannot be read move none.
    pub leads: Rules,
    /// Who analyses transcripts, if anybody. One that cannot be read has no settings here, and is still
    /// one: what it is to be asked waits a while for it to be mended.
    pub model: Option<Option<Model>>,
    /// How links to copies of recordings are made. Without, CRMs are told the providers' addresses.
    pub links: Option<Links>,
    /// Whether the stack has a bucket for recordings.
    pub has_bucket: bool,
}

impl Configuration {
    /// Reads the parameters of a stage: `sources/<provider>/<source>` and
    /// `destinations/<destination>`, `leads/rules`, `models/default`, `recordings/links`. One that
    /// cannot be read is left out and named in the log.
    pub fn read(values: &Values, allow_private: bool, telemetry: &Telemetry) -> Self {
        let mut configuration = Self::default();
        for (path, json) in values {
            let problem = match path.split_once('/') {
                Some(("sources", name)) => match Source::parse(json, named(name)) {
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
                Some(("models", "default")) => match Model::parse(json, allow_private) {
                    Ok(model) => {
                        configuration.model = Some(Some(model));
                        continue;
                    }
                    Err(error) => {
                        configuration.model = Some(None);
                        error.to_string()
                    }
                },
                Some(("recordings", "links")) => match Links::parse(json) {
                    Ok(links) => {
                        configuration.links = Some(links);
                        continue;
                    }
                    Err(error) => error.to_string(),
                },
                _ => "is no source, no destination, and none of leads/rules, models/default and \
                      recordings/links"
                    .to_owned(),
            };
            telemetry
                .error("a parameter is not used", &[("parameter", path), ("problem", &problem)]);
        }
        configuration
    }

    /// The source of a call: its own, the intake's of that name, or one of the defaults.
    pub fn source(&self, key: &CallKey) -> Option<&Source> {
        let generic = intake::NAME;
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

    /// Where a recording of a call is fetched from: the source of the call or, of the conversation that
    /// was held on it, the source that has the conversations.
    pub fn recorder(&self, record: &CallRecord, recording: &str) -> Option<&Source> {
        let own = self.source(&record.key)?;
        let elevenlabs = ElevenLabs.name();
        if recording != copies::CONVERSATION || record.key.provider.as_str() == elevenlabs {
            return Some(own);
        }
        self.source_named(elevenlabs, &own.conversations.as_ref()?.source)
    }

    /// Whether a recording of a call is to be copied.
    pub fn copies(&self, record: &CallRecord, recording: &str) -> bool {
        let settings = self.recorder(record, recording).and_then(|one| one.recordings.as_ref());
        settings.is_some_and(|settings| settings.copy)
    }

    /// The countries of all sources, each once.
    pub fn countries(&self) -> BTreeSet<&str> {
        self.sources.values().filter_map(|source| source.country.as_deref()).collect()
    }
}

/// The provider of a source's name, `provider/source`, if it has a webhook here.
fn named(source: &str) -> Option<&'static dyn Provider> {
    source.split('/').next().and_then(provider)
}
