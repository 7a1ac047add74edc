//! One CRM endpoint, as it is configured: the JSON of one parameter.

use std::collections::BTreeSet;
use std::fmt;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use switchboard_domain::plan::Subscriber;
use switchboard_domain::{
    CallRecord, ConfigError, Direction, Event, Name, Outcome, Seconds, Secret,
};
use switchboard_http::address::leads_nowhere_public;
use url::Url;

use crate::format::Format;
use crate::signing;

/// How long a destination may take to answer, where it says nothing else: seconds.
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
/// More are never needed to rotate one, and each makes a header longer.
const MOST_SIGNING_SECRETS: usize = 4;

/// Headers that a request has anyway: `auth` may set none of them.
const OWN_HEADERS: [&str; 11] = [
    "connection",
    "content-length",
    "content-type",
    "host",
    "idempotency-key",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "x-correlation-id",
];

/// A CRM endpoint. Its name is that of its parameter and does not stand in the JSON.
#[derive(Clone, PartialEq, Eq)]
pub struct Destination {
    /// Where requests go. A query may hold a key: log [`Destination::host`] instead.
    pub url: Url,
    /// In which shape a call is told.
    pub format: Format,
    /// How requests prove that they may come in.
    pub auth: Auth,
    /// What requests are signed with. The first is the one in use; each further one, while they are
    /// rotated, adds a signature.
    pub signing_secrets: Vec<Secret>,
    /// Which calls and events it is told of.
    pub filter: Filter,
    /// How long it may take to answer.
    pub timeout: Seconds,
    /// The waits after the first, second, … failed attempt, seconds.
    pub retries: Vec<u32>,
    /// How it recognises a request that it has seen.
    pub deduplication: Deduplication,
    /// While it is set nothing is sent, and nothing is lost.
    pub paused: bool,
}

/// How requests prove that they may come in, beside their signature.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Auth {
    /// By the signature alone.
    #[default]
    None,
    /// `Authorization: Bearer …`.
    Bearer {
        /// The token.
        token: Secret,
    },
    /// `Authorization: Basic …`.
    Basic {
        /// The user's name.
        user: String,
        /// The password.
        password: Secret,
    },
    /// A header of the CRM's own.
    Header {
        /// Its name.
        name: String,
        /// Its value.
        value: Secret,
    },
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

/// How a destination recognises a request that it has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Deduplication {
    /// By `Idempotency-Key`, which is also `webhook-id`.
    #[default]
    Key,
    /// Not at all.
    None,
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

        let url: String =
            fields.required("url", "must be a text, as https://crm.example.com/calls")?;
        let format = fields.required("format", "must be conversation-ai or canonical")?;
        let destination = Self {
            url: read_url(&url, allow_private)?,
            format,
            auth: fields.raw("auth").map(read_auth).transpose()?.unwrap_or_default(),
            signing_secrets: read_signing_secrets(&mut fields)?,
            filter: match fields.raw("filter") {
                Some(filter) => read_filter(filter, format)?,
                None => Filter::default(),
            },
            timeout: read_timeout(&mut fields)?,
            retries: read_retries(&mut fields)?,
            deduplication: read_deduplication(&mut fields)?,
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
            && lists(outcomes, call.outcome.as_ref())
            && call.facts.talk.unwrap_or_default() >= *min_talk
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

/// The fields of a JSON object, taken out one by one, so that every error names its field and
/// none shows a value.
struct Fields {
    prefix: &'static str,
    map: Map<String, Value>,
}

impl Fields {
    fn of(name: &str, prefix: &'static str, value: Value) -> Result<Self, ConfigError> {
        match value {
            Value::Object(map) => Ok(Self { prefix, map }),
            _ => Err(ConfigError::new(name, "must be a JSON object")),
        }
    }

    fn raw(&mut self, name: &str) -> Option<Value> {
        self.map.remove(name)
    }

    fn optional<T: DeserializeOwned>(
        &mut self,
        name: &str,
        expected: &str,
    ) -> Result<Option<T>, ConfigError> {
        let Some(value) = self.raw(name) else { return Ok(None) };
        serde_json::from_value(value).map(Some).map_err(|_| self.fault(name, expected))
    }

    fn required<T: DeserializeOwned>(
        &mut self,
        name: &str,
        expected: &str,
    ) -> Result<T, ConfigError> {
        self.optional(name, expected)?
            .ok_or_else(|| self.fault(name, format!("is missing: {expected}")))
    }

    fn fault(&self, name: &str, problem: impl Into<String>) -> ConfigError {
        ConfigError::new(format!("{}{name}", self.prefix), problem)
    }

    /// Refuses what was not taken out: a misspelt field would silently do nothing.
    fn end(self) -> Result<(), ConfigError> {
        let Some(name) = self.map.keys().next() else { return Ok(()) };
        // A secret in the place of a name is not shown either.
        let looks_like_a_name =
            name.len() <= 24 && name.bytes().all(|b| b == b'_' || b.is_ascii_lowercase());
        let name = if looks_like_a_name { name } else { "(a field)" };
        Err(self.fault(name, "is not a field that exists here"))
    }
}

fn read_url(text: &str, allow_private: bool) -> Result<Url, ConfigError> {
    let fault = |problem: &str| Err(ConfigError::new("url", problem));
    let Ok(url) = Url::parse(text) else {
        return fault("is not a URL, as https://crm.example.com/calls");
    };
    match url.scheme() {
        "https" => {}
        "http" if allow_private => {}
        _ => return fault("must begin with https://"),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return fault("must not hold a user or password: use auth");
    }
    if url.fragment().is_some() {
        return fault("must not have a fragment (#…): it would not be sent");
    }
    if !allow_private && leads_nowhere_public(&url) {
        return fault("must not lead to a private, local or otherwise special address");
    }
    Ok(url)
}

fn read_auth(value: Value) -> Result<Auth, ConfigError> {
    const TYPES: &str = "must be none, bearer, basic or header";
    let mut fields = Fields::of("auth", "auth.", value)?;
    let kind: String = fields.required("type", TYPES)?;
    let auth = match kind.as_str() {
        "none" => Auth::None,
        "bearer" => Auth::Bearer { token: header_value(&mut fields, "token")? },
        "basic" => {
            let user: String = fields.required("user", "must be a text")?;
            if user.is_empty() || user.contains(':') || user.chars().any(char::is_control) {
                return Err(fields.fault("user", "must not be empty, nor hold a colon"));
            }
            let password: Secret = fields.required("password", "must be a text")?;
            if password.is_empty() || password.expose().chars().any(char::is_control) {
                return Err(fields.fault("password", "must not be empty, nor hold line ends"));
            }
            Auth::Basic { user, password }
        }
        "header" => {
            let name: String = fields.required("name", "must be a text")?;
            let name = name.to_ascii_lowercase();
            let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
            if name.is_empty() || !name.bytes().all(is_token) {
                return Err(fields.fault("name", "is not the name of an HTTP header"));
            }
            if OWN_HEADERS.contains(&name.as_str()) || name.starts_with("webhook-") {
                return Err(fields.fault("name", "is a header that every request has already"));
            }
            Auth::Header { name, value: header_value(&mut fields, "value")? }
        }
        _ => return Err(fields.fault("type", TYPES)),
    };
    fields.end()?;
    Ok(auth)
}

/// A secret that goes into a header as it is.
fn header_value(fields: &mut Fields, name: &str) -> Result<Secret, ConfigError> {
    let secret: Secret = fields.required(name, "must be a text")?;
    let text = secret.expose();
    if secret.is_empty() || text.trim() != text {
        return Err(fields.fault(name, "must not be empty, nor begin or end with a space"));
    }
    if !text.bytes().all(|b| (b' '..=b'~').contains(&b)) {
        return Err(fields.fault(name, "must be of plain ASCII characters, on one line"));
    }
    Ok(secret)
}

fn read_signing_secrets(fields: &mut Fields) -> Result<Vec<Secret>, ConfigError> {
    const FIELD: &str = "signing_secrets";
    const EXPECTED: &str = "must be a list of one to four secrets, each whsec_ and the base64 of \
                            24 to 64 random bytes";
    let secrets: Vec<Secret> = fields.required(FIELD, EXPECTED)?;
    let count_is_good = (1..=MOST_SIGNING_SECRETS).contains(&secrets.len());
    if !count_is_good || !secrets.iter().all(signing::is_good) {
        return Err(fields.fault(FIELD, EXPECTED));
    }
    Ok(secrets)
}

fn read_filter(value: Value, format: Format) -> Result<Filter, ConfigError> {
    let mut fields = Fields::of("filter", "filter.", value)?;
    let names = "must be a list of names, each 1 to 64 of A-Z a-z 0-9 . _ -";
    let directions = "must be a list of inbound, outbound, internal";
    let outcomes = "must be a list of answered, no_answer, busy, failed, canceled, voicemail";
    let events = "must be a list of call.completed, call.updated";
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
    if !filter.events.contains(&Event::Completed) {
        let problem = "must have call.completed: an update is only sent after it";
        return Err(fields.fault("events", problem));
    }
    if filter.events.contains(&Event::Updated) && !format.takes_updates() {
        let problem = "must not have call.updated: this format has no id by which to update";
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

fn read_deduplication(fields: &mut Fields) -> Result<Deduplication, ConfigError> {
    const FIELD: &str = "deduplication";
    let written = fields.raw(FIELD).unwrap_or_else(|| Value::from("key"));
    match written.as_str() {
        Some("key") => Ok(Deduplication::Key),
        Some("none") => Ok(Deduplication::None),
        Some("upsert" | "search") => Err(fields
            .fault(FIELD, "upsert and search need a format that can do them: use key or none")),
        _ => Err(fields.fault(FIELD, "must be key or none")),
    }
}

#[cfg(test)]
mod tests;
