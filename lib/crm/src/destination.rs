//! One CRM endpoint, as it is configured: the JSON of one parameter.

use std::collections::BTreeSet;
use std::fmt;

use serde::Deserialize;
use serde_json::{Map, Value};
use switchboard_domain::plan::Subscriber;
use switchboard_domain::{
    CallRecord, ConfigError, Direction, Event, Name, Outcome, Pace, Seconds, Secret,
};
use url::Url;

use crate::auth;
pub use crate::auth::Auth;
use crate::fields::{Fields, read_url};
use crate::format::{Format, listed};
use crate::signing;

/// How long one attempt may take, however many requests it is, where a destination says nothing else:
/// seconds.
pub const DEFAULT_TIMEOUT: u32 = 15;
/// The waits after the first, second, … failed attempt, where a destination says nothing else:
/// those of Standard Webhooks, seconds. A little over three days in all.
pub const DEFAULT_RETRIES: [u32; 9] =
    [5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400];

/// A worker must be able to wait for an answer and to write down what came of it.
const LONGEST_TIMEOUT: u32 = 25;
/// As many attempts as a delivery remembers.
const MOST_RETRIES: usize = 20;
const LONGEST_RETRY: u32 = 86_400;
/// Requests per second that a destination may be held to.
const SLOWEST: f64 = 0.01;
const FASTEST: f64 = 1_000.0;
const LARGEST_BURST: u32 = 1_000;
/// More are never needed to rotate one, and each makes a header longer.
const MOST_SIGNING_SECRETS: usize = 4;

/// A CRM endpoint. Its name is that of its parameter and does not stand in the JSON.
#[derive(Clone, PartialEq, Eq)]
pub struct Destination {
    /// Where requests go. A query may hold a key: log [`Destination::host`] instead.
    pub url: Url,
    /// In which shape a call is told.
    pub format: Format,
    /// What that format wants to know beside: an object, checked by it.
    pub settings: Value,
    /// How requests prove that they may come in.
    pub auth: Auth,
    /// What requests are signed with. The first is the one in use; each further one, while they are
    /// rotated, adds a signature. None: they are not signed, which only a CRM's own API may want.
    pub signing_secrets: Vec<Secret>,
    /// Which calls and events it is told of.
    pub filter: Filter,
    /// What calls are attached to.
    pub contacts: Contacts,
    /// How long one attempt may take, all its requests together.
    pub timeout: Seconds,
    /// The waits after the first, second, … failed attempt, seconds.
    pub retries: Vec<u32>,
    /// How it recognises a request that it has seen.
    pub deduplication: Deduplication,
    /// How fast it may be sent to, if it has a limit.
    pub pace: Option<Pace>,
    /// While it is set nothing is sent, and nothing is lost.
    pub paused: bool,
}

/// Which calls and events a destination is told of. An empty set lets every call pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// Kinds of phone system.
    pub providers: BTreeSet<Name>,
    /// Installations.
    pub sources: BTreeSet<Name>,
    /// Ways. A call of unknown direction passes only where none is listed.
    pub directions: BTreeSet<Direction>,
    /// Outcomes. A call of unknown outcome passes only where none is listed.
    pub outcomes: BTreeSet<Outcome>,
    /// Calls with less talk do not pass. A talk of unknown length counts as none.
    pub min_talk: Seconds,
    /// Which events.
    pub events: BTreeSet<Event>,
}

impl Default for Filter {
    fn default() -> Self {
        Self {
            providers: BTreeSet::new(),
            sources: BTreeSet::new(),
            directions: BTreeSet::new(),
            outcomes: BTreeSet::new(),
            min_talk: Seconds(0),
            events: BTreeSet::from([Event::Completed]),
        }
    }
}

/// How a destination recognises a call that it was told of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Deduplication {
    /// By `Idempotency-Key`, which is also `webhook-id`.
    #[default]
    Key,
    /// By a field of its own that holds the call's key and is unique: what is there is overwritten.
    Upsert,
    /// It is looked for before it is created.
    Search,
    /// Not at all.
    None,
}

impl Deduplication {
    /// The word as it is written everywhere.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Upsert => "upsert",
            Self::Search => "search",
            Self::None => "none",
        }
    }
}

/// Whether calls are attached to contacts of the CRM.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Contacts {
    /// They are not.
    #[default]
    None,
    /// To the one that has the customer's number, if there is exactly one.
    Find,
    /// The same, and where there is none, one is created.
    FindOrCreate,
}

impl Destination {
    /// Reads and checks the JSON of a destination's parameter. With `allow_private`, for a stage
    /// on one's own machine, its URL may be `http` and lead to private addresses.
    pub fn parse(json: &str, allow_private: bool) -> Result<Self, ConfigError> {
        let value: Value = serde_json::from_str(json).map_err(|error| {
            // The place and not the message, which may quote a secret.
            let place = format!("line {}, column {}", error.line(), error.column());
            ConfigError::new("destination", format!("is not valid JSON ({place})"))
        })?;
        let mut fields = Fields::of("destination", "", value)?;

        let format: Format = fields.required("format", &format!("must be {}", Format::names()))?;
        let url = read_base(&mut fields, format, allow_private)?;
        let auth = auth::read(fields.raw("auth"), format, &url, allow_private)?;
        let settings = fields.raw("settings").unwrap_or_else(|| Value::Object(Map::new()));
        (format.kind().check)(&settings)?;
        let destination = Self {
            url,
            format,
            settings,
            auth,
            signing_secrets: read_signing_secrets(&mut fields, format)?,
            filter: match fields.raw("filter") {
                Some(filter) => read_filter(filter, format)?,
                None => Filter::default(),
            },
            contacts: read_contacts(&mut fields, format)?,
            timeout: read_timeout(&mut fields)?,
            retries: read_retries(&mut fields)?,
            deduplication: read_deduplication(&mut fields, format)?,
            pace: read_pace(&mut fields)?,
            paused: fields.optional("paused", "must be true or false")?.unwrap_or_default(),
        };
        fields.end()?;
        Ok(destination)
    }

    /// The host that requests go to: what of the URL may be logged.
    pub fn host(&self) -> &str {
        self.url.host_str().unwrap_or_default()
    }

    /// Whether it wants to be told this of this call.
    pub fn wants(&self, record: &CallRecord, event: Event) -> bool {
        fn lists<T: Ord>(set: &BTreeSet<T>, value: Option<&T>) -> bool {
            set.is_empty() || value.is_some_and(|value| set.contains(value))
        }
        let Filter { providers, sources, directions, outcomes, min_talk, events } = &self.filter;
        let call = &record.call;
        events.contains(&event)
            && lists(providers, Some(&record.key.provider))
            && lists(sources, Some(&record.key.source))
            && lists(directions, call.facts.direction.as_ref())
            // How a call goes, and for how long, is not known when it starts.
            && (event == Event::Started
                || (lists(outcomes, call.outcome.as_ref())
                    && call.facts.talk.unwrap_or_default() >= *min_talk))
    }

    /// What it wants to hear of this call, for the plan of its deliveries.
    pub fn subscriber(&self, name: Name, record: &CallRecord) -> Subscriber {
        let events = self.filter.events.iter().copied();
        let events = events.filter(|event| self.wants(record, *event)).collect();
        Subscriber { destination: name, events }
    }
}

impl fmt::Debug for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Destination")
            .field("host", &self.host())
            .field("format", &self.format)
            .field("paused", &self.paused)
            .finish_non_exhaustive()
    }
}

/// Where requests go. A CRM's own API has one host for all, or the operator says which.
fn read_base(fields: &mut Fields, format: Format, allow_private: bool) -> Result<Url, ConfigError> {
    let kind = format.kind();
    let expected = "must be a text, as https://crm.example.com/calls";
    let text = match fields.optional::<String>("url", expected)? {
        Some(text) => text,
        None => match kind.host {
            Some(host) => host.to_owned(),
            None => return Err(fields.fault("url", format!("is missing: {expected}"))),
        },
    };
    let url = read_url("url", &text, allow_private)?;
    if kind.is_api && url.query().is_some() {
        return Err(fields.fault("url", "must not have a query: it is where the API begins"));
    }
    Ok(url)
}

fn read_signing_secrets(fields: &mut Fields, format: Format) -> Result<Vec<Secret>, ConfigError> {
    const FIELD: &str = "signing_secrets";
    const EXPECTED: &str = "must be a list of one to four secrets, each whsec_ and the base64 of \
                            24 to 64 random bytes";
    let secrets: Vec<Secret> = match format.kind().is_api {
        true => match fields.optional(FIELD, EXPECTED)? {
            Some(secrets) => secrets,
            None => return Ok(Vec::new()),
        },
        false => fields.required(FIELD, EXPECTED)?,
    };
    let count_is_good = (1..=MOST_SIGNING_SECRETS).contains(&secrets.len());
    if !count_is_good || !secrets.iter().all(signing::is_good) {
        return Err(fields.fault(FIELD, EXPECTED));
    }
    Ok(secrets)
}

fn read_contacts(fields: &mut Fields, format: Format) -> Result<Contacts, ConfigError> {
    const FIELD: &str = "contacts";
    let has_them = format.kind().has_contacts;
    let said = fields.optional(FIELD, "must be none, find or find_or_create")?;
    match said {
        Some(Contacts::Find | Contacts::FindOrCreate) if !has_them => {
            Err(fields.fault(FIELD, "must be none: this format knows no contacts of the CRM"))
        }
        Some(said) => Ok(said),
        None if has_them => Ok(Contacts::Find),
        None => Ok(Contacts::None),
    }
}

fn read_filter(value: Value, format: Format) -> Result<Filter, ConfigError> {
    let mut fields = Fields::of("filter", "filter.", value)?;
    let names = "must be a list of names, each 1 to 64 of A-Z a-z 0-9 . _ -";
    let directions = "must be a list of inbound, outbound, internal";
    let outcomes = "must be a list of answered, no_answer, busy, failed, canceled, voicemail";
    let events = "must be a list of call.started, call.completed, call.updated, task.created";
    let filter = Filter {
        providers: fields.optional("providers", names)?.unwrap_or_default(),
        sources: fields.optional("sources", names)?.unwrap_or_default(),
        directions: fields.optional("directions", directions)?.unwrap_or_default(),
        outcomes: fields.optional("outcomes", outcomes)?.unwrap_or_default(),
        min_talk: fields
            .optional("min_talk_seconds", "must be a whole number of seconds")?
            .unwrap_or_default(),
        events: match fields.optional("events", events)? {
            Some(events) => events,
            None => Filter::default().events,
        },
    };
    if filter.events.is_empty() {
        return Err(fields.fault("events", "must have at least one event"));
    }
    if filter.events.contains(&Event::Updated) && !filter.events.contains(&Event::Completed) {
        let problem = "must have call.completed: an update is only sent after it";
        return Err(fields.fault("events", problem));
    }
    if let Some(event) = filter.events.iter().find(|event| !format.events().contains(event)) {
        let problem = format!("must not have {}: this format cannot tell it", event.as_str());
        return Err(fields.fault("events", problem));
    }
    fields.end()?;
    Ok(filter)
}

fn read_timeout(fields: &mut Fields) -> Result<Seconds, ConfigError> {
    const EXPECTED: &str = "must be a whole number of seconds, 1 to 25";
    let seconds: u32 = fields.optional("timeout_seconds", EXPECTED)?.unwrap_or(DEFAULT_TIMEOUT);
    if !(1..=LONGEST_TIMEOUT).contains(&seconds) {
        return Err(fields.fault("timeout_seconds", EXPECTED));
    }
    Ok(Seconds(seconds))
}

fn read_retries(fields: &mut Fields) -> Result<Vec<u32>, ConfigError> {
    const EXPECTED: &str = "must be a list of up to 20 waits in seconds, each 1 to 86400";
    let Some(waits) = fields.optional::<Vec<u32>>("retry_seconds", EXPECTED)? else {
        return Ok(DEFAULT_RETRIES.to_vec());
    };
    let all_good = waits.iter().all(|wait| (1..=LONGEST_RETRY).contains(wait));
    if waits.len() > MOST_RETRIES || !all_good {
        return Err(fields.fault("retry_seconds", EXPECTED));
    }
    Ok(waits)
}

fn read_pace(fields: &mut Fields) -> Result<Option<Pace>, ConfigError> {
    const RATE: &str = "must be a number of requests per second, 0.01 to 1000";
    const BURST: &str = "must be a whole number, 1 to 1000";
    let rate: Option<f64> = fields.optional("rate_per_second", RATE)?;
    let burst: Option<u32> = fields.optional("burst", BURST)?;
    let Some(rate) = rate else {
        return match burst {
            Some(_) => Err(fields.fault("burst", "needs rate_per_second")),
            None => Ok(None),
        };
    };
    if !(SLOWEST..=FASTEST).contains(&rate) {
        return Err(fields.fault("rate_per_second", RATE));
    }
    if burst.is_some_and(|burst| !(1..=LARGEST_BURST).contains(&burst)) {
        return Err(fields.fault("burst", BURST));
    }
    // Without a word, as much at once as a second lets through.
    Ok(Some(Pace::new(rate, burst.unwrap_or_else(|| rate.ceil() as u32))))
}

fn read_deduplication(fields: &mut Fields, format: Format) -> Result<Deduplication, ConfigError> {
    const FIELD: &str = "deduplication";
    let can = format.kind().deduplications;
    let words = format!("must be {}", listed(can.iter().map(|one| one.as_str())));
    match fields.optional(FIELD, &words)? {
        Some(said) if can.contains(&said) => Ok(said),
        Some(said) => {
            let why = format.kind().cannot;
            Err(fields.fault(FIELD, format!("{words}, and not {}: {why}", said.as_str())))
        }
        None => Ok(can.first().copied().unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests;
