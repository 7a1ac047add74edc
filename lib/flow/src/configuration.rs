//! What the workers know: every source and every destination.

use std::collections::{BTreeMap, BTreeSet};

use switchboard_analysis::Model;
use switchboard_crm::Destination;
use switchboard_domain::{CallKey, CallRecord, ConfigError, Name, Personal, copies};
use switchboard_people::leads::Rules;
use switchboard_people::number;
use switchboard_providers::elevenlabs::ElevenLabs;
use switchboard_providers::{Provider as _, Source, Sources, intake, provider, registry};
use switchboard_recordings::Links;

use crate::api_token::Token;
use crate::{Values, config};

/// No source.
static NONE: Sources = Sources::new();

/// Sources by provider and name, destinations by name.
#[derive(Clone, Debug, Default)]
pub struct Configuration {
    sources: BTreeMap<String, Sources>,
    /// Where calls are delivered to. An invalid one is here without settings: its
    /// deliveries wait until it is corrected.
    pub destinations: BTreeMap<Name, Option<Destination>>,
    /// Which calls move a lead on. Invalid rules move none.
    pub leads: Rules,
    /// The model that analyses transcripts, if there is one. An invalid one is here without settings: its
    /// analyses wait a while for it to be corrected.
    pub model: Option<Option<Model>>,
    /// How links to copies of recordings are made. Without it, CRMs receive the providers' addresses.
    pub links: Option<Links>,
    /// Whether the stack has a bucket for recordings.
    pub has_bucket: bool,
}

impl Configuration {
    /// Reads the parameters of a stage: `sources/<provider>/<source>` and
    /// `destinations/<destination>`, `leads/rules`, `models/default`, `recordings/links`. An invalid one
    /// is left out and named in the log.
    pub fn read(values: &Values, allow_private: bool) -> Self {
        let mut configuration = Self::default();
        for (path, json) in values {
            if let Err(problem) = configuration.add(path, json, allow_private) {
                config::not_used(path, &problem);
            }
        }
        configuration
    }

    /// Reads one parameter. Where it is invalid, a destination and a model are known without settings,
    /// and leads are moved by no rules.
    pub fn add(&mut self, path: &str, json: &str, allow_private: bool) -> Result<(), ConfigError> {
        match path.split_once('/') {
            Some(("sources", path)) => {
                let (kind, name, source) = config::any_source(path, json)?;
                self.sources.entry(kind.to_owned()).or_default().insert(name, source);
            }
            Some(("destinations", name)) => {
                let name = config::name_of("destination", name)?;
                self.destinations.insert(name.clone(), None);
                self.destinations.insert(name, Some(Destination::parse(json, allow_private)?));
            }
            Some(("leads", "rules")) => {
                self.leads = Rules::none();
                self.leads = Rules::parse(json)?;
            }
            Some(("models", "default")) => {
                self.model = Some(None);
                self.model = Some(Some(Model::parse(json, allow_private)?));
            }
            Some(("recordings", "links")) => self.links = Some(Links::parse(json)?),
            _ => {
                let form = "must be sources/<provider>/<source>, destinations/<destination>, \
                            models/default, api/<token>, leads/rules or recordings/links";
                return Err(ConfigError::new("path", form));
            }
        }
        Ok(())
    }

    /// The sources of one provider.
    pub fn of(&self, provider: &str) -> &Sources {
        self.sources.get(provider).unwrap_or(&NONE)
    }

    /// The source of a call: its own, the intake's of that name, or one of the defaults.
    pub fn source(&self, key: &CallKey) -> Option<&Source> {
        let (own, generic) = (self.of(key.provider.as_str()), self.of(intake::NAME));
        own.get(&key.source)
            .or_else(|| generic.get(&key.source))
            .or_else(|| own.get(&key.provider))
            .or_else(|| {
                generic.iter().find(|(name, _)| name.as_str() == intake::NAME).map(|(_, one)| one)
            })
    }

    /// A source by provider and name.
    pub fn source_named(&self, provider: &str, name: &Name) -> Option<&Source> {
        self.of(provider).get(name)
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
        let sources = self.sources.values().flat_map(Sources::values);
        sources.filter_map(|source| source.country.as_deref()).collect()
    }
}

/// Checks a parameter, by its path below the stage, as every function that reads it does.
pub fn check(path: &str, json: &str, allow_private: bool) -> Result<(), ConfigError> {
    if let Some(name) = path.strip_prefix("api/").filter(|name| !name.contains('/')) {
        return Token::read(name, json).map(drop);
    }
    let Some(path) = path.strip_prefix("sources/") else {
        return Configuration::default().add(path, json, allow_private);
    };
    let (kind, _, source) = config::any_source(path, json)?;
    if provider(kind).is_none() {
        return Err(ConfigError::new("source", format!("there is no provider {kind}")));
    }
    registry::check_dial(kind, &source, allow_private)?;
    if source.pull.is_some() {
        let none = || ConfigError::new("pull", "this provider has none");
        registry::pull(kind).ok_or_else(none)?.check(&source)?;
    }
    // Only workers have the numbering plans, so a hook would compare with an invalid number.
    let country = source.country.as_deref();
    let is_number = |own: &Personal| number::e164(own.expose(), country).is_some();
    match source.own_numbers.iter().all(is_number) {
        true => Ok(()),
        false => {
            let problem = "holds one that is not a possible number in its country";
            Err(ConfigError::new("own_numbers", problem))
        }
    }
}
