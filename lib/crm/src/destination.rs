//! One CRM endpoint, as it is configured: the JSON of one parameter; and one attempt to deliver to it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};
use switchboard_domain::delivery::Remote;
use switchboard_domain::plan::Subscriber;
use switchboard_domain::{CallRecord, ConfigError, Event, Name, Pace, Planned, Seconds, Secret};
use switchboard_http::Http;
use switchboard_http::layers::{Budget, Deadline};
use url::Url;

use crate::auth::{self, Auth};
use crate::contacts::Contacts;
use crate::fields::{Fields, listed, read_url};
pub use crate::filter::Filter;
use crate::format::{Capabilities, Clock, Deduplication, Endpoint, Format};
use crate::layers::{Authorized, Signed};
use crate::oauth::Tokens;
use crate::outcome::Outcome;
use crate::{registry, signing};

/// No attempt sends more requests, whatever the responses are. The most that is of use: a cached contact
/// is gone, a new one is searched for twice and created, the call is searched for, created and linked, and
/// sent three times more without what is refused.
pub const MOST_REQUESTS: usize = 13;
/// How long one attempt may take, however many requests it is, where a destination has none of its own:
/// seconds.
pub const DEFAULT_TIMEOUT: u32 = 15;
/// The waits after the first, second, … failed attempt, where a destination has none of its own:
/// those of Standard Webhooks, seconds. A little over three days in all.
pub const DEFAULT_RETRIES: [u32; 9] =
    [5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400];

/// A worker must be able to wait for a response and to store the outcome.
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

/// A CRM endpoint. Its name is that of its parameter and not in the JSON.
#[derive(Clone)]
pub struct Destination {
    /// Where requests go. A query may hold a key: log [`Destination::host`] instead.
    pub url: Url,
    /// What its format is and can.
    pub capabilities: &'static Capabilities,
    /// Its format, with the settings of this destination.
    pub format: Arc<dyn Format>,
    /// The credentials of its requests.
    pub auth: Auth,
    /// What requests are signed with. The first is the one in use; each further one, while they are
    /// rotated, adds a signature. None: they are not signed, which only a CRM's own API may want.
    pub signing_secrets: Vec<Secret>,
    /// Which calls and events are delivered to it.
    pub filter: Filter,
    /// Which contacts of the CRM calls are linked to.
    pub contacts: Contacts,
    /// How long one attempt may take, all its requests together.
    pub timeout: Seconds,
    /// The waits after the first, second, … failed attempt, seconds.
    pub retries: Vec<u32>,
    /// How it recognises a request that it has seen.
    pub deduplication: Deduplication,
    /// How fast deliveries to it may be, if it has a limit.
    pub pace: Option<Pace>,
    /// While it is set nothing is sent, and nothing is lost.
    pub paused: bool,
}

/// What one attempt delivers: all of it is stored with the delivery, so that every attempt delivers the
/// same.
#[derive(Clone, Copy)]
pub struct Payload<'a> {
    /// What [`Format::render`] made of the call at the first attempt.
    pub body: &'a [u8],
    /// The delivery's idempotency key: the same for every attempt, for ever.
    pub idempotency_key: &'a str,
    /// The call's correlation id, from the webhook's log line to this request's header.
    pub correlation_id: &'a str,
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

        let expected = format!("must be {}", registry::names());
        let format: String = fields.required("format", &expected)?;
        let capabilities =
            registry::find(&format).ok_or_else(|| fields.fault("format", expected))?;
        let url = read_base(&mut fields, capabilities, allow_private)?;
        let auth = auth::read(fields.raw("auth"), capabilities, &url, allow_private)?;
        let settings = fields.raw("settings").unwrap_or_else(|| Value::Object(Map::new()));
        let contacts = read_contacts(&mut fields, capabilities)?;
        let deduplication = read_deduplication(&mut fields, capabilities)?;
        let endpoint = Endpoint { url: url.clone(), contacts, deduplication };
        let destination = Self {
            url,
            capabilities,
            format: (capabilities.open)(endpoint, settings)?,
            auth,
            signing_secrets: read_signing_secrets(&mut fields, capabilities)?,
            filter: match fields.raw("filter") {
                Some(filter) => Filter::read(filter, Some(capabilities.events))?,
                None => Filter::default(),
            },
            contacts,
            timeout: read_timeout(&mut fields)?,
            retries: read_retries(&mut fields)?,
            deduplication,
            pace: read_pace(&mut fields)?,
            paused: fields.optional("paused", "must be true or false")?.unwrap_or_default(),
        };
        fields.end()?;
        Ok(destination)
    }

    /// One attempt to deliver a payload, with as many requests as that takes, all of them within the
    /// timeout. `remote` holds what the CRM is known to call the call and its contact, from earlier
    /// deliveries and attempts; what the attempt learns is there even where it fails.
    pub async fn deliver(
        &self,
        http: &dyn Http,
        tokens: &dyn Tokens,
        payload: &Payload<'_>,
        remote: &mut Remote,
        clock: Clock<'_>,
    ) -> Outcome {
        let within = Deadline::new(http, Duration::from_secs(self.timeout.0.into()));
        let signed = Signed {
            inner: &within,
            secrets: &self.signing_secrets,
            idempotency_key: payload.idempotency_key,
            correlation_id: payload.correlation_id,
            is_webhook: !self.capabilities.is_api,
            clock,
        };
        let authorized = Authorized::new(&signed, &self.auth, tokens);
        let http = Budget::new(&authorized, MOST_REQUESTS);
        let delivered = self.format.deliver(&http, payload.body, remote, clock).await;
        match authorized.failure() {
            Some(no_token) => no_token.into(),
            None => delivered.unwrap_or_else(|ended| ended),
        }
    }

    /// The host that requests go to: what of the URL may be logged.
    pub fn host(&self) -> &str {
        self.url.host_str().unwrap_or_default()
    }

    /// Whether this event of this call is delivered to it.
    pub fn wants(&self, record: &CallRecord, event: Event) -> bool {
        self.filter.excludes(&record.key, &record.as_planned(), event).is_none()
    }

    /// The events of this call that are delivered to it, for the plan of its deliveries.
    pub fn subscriber(&self, name: Name, record: &CallRecord) -> Subscriber {
        let wanted = |call: &Planned| -> Vec<Event> {
            let events = self.filter.events.iter().copied();
            events
                .filter(|event| self.filter.excludes(&record.key, call, *event).is_none())
                .collect()
        };
        let wanted_before = match &record.planned {
            None => Vec::new(),
            Some(before) if record.knew(&name) => {
                let mut wanted = wanted(before);
                // The tasks may be new.
                wanted.retain(|event| *event != Event::TaskCreated || before.tasks > 0);
                wanted
            }
            Some(_) => self.filter.events.iter().copied().collect(),
        };
        Subscriber { destination: name, events: wanted(&record.as_planned()), wanted_before }
    }
}

impl fmt::Debug for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Destination")
            .field("host", &self.host())
            .field("format", &self.capabilities)
            .field("paused", &self.paused)
            .finish_non_exhaustive()
    }
}

/// Where requests go. A CRM's own API has one host for all, or the operator says which.
fn read_base(
    fields: &mut Fields,
    format: &Capabilities,
    allow_private: bool,
) -> Result<Url, ConfigError> {
    let expected = "must be a text, as https://crm.example.com/calls";
    let text = match (fields.optional::<String>("url", expected)?, format.host) {
        (Some(text), _) => text,
        (None, Some(host)) => host.to_owned(),
        (None, None) => return Err(fields.fault("url", format!("is missing: {expected}"))),
    };
    let url = read_url("url", &text, allow_private)?;
    if format.is_api && url.query().is_some() {
        return Err(fields.fault("url", "must not have a query: it is where the API begins"));
    }
    Ok(url)
}

fn read_signing_secrets(
    fields: &mut Fields,
    format: &Capabilities,
) -> Result<Vec<Secret>, ConfigError> {
    const FIELD: &str = "signing_secrets";
    const EXPECTED: &str = "must be a list of one to four secrets, each whsec_ and the base64 of \
                            24 to 64 random bytes";
    let secrets = fields.checked(FIELD, EXPECTED, |secrets: &Vec<Secret>| {
        (1..=MOST_SIGNING_SECRETS).contains(&secrets.len()) && secrets.iter().all(signing::is_valid)
    })?;
    match secrets {
        Some(secrets) => Ok(secrets),
        None if format.is_api => Ok(Vec::new()),
        None => Err(fields.fault(FIELD, format!("is missing: {EXPECTED}"))),
    }
}

fn read_contacts(fields: &mut Fields, format: &Capabilities) -> Result<Contacts, ConfigError> {
    const FIELD: &str = "contacts";
    let said = fields.optional(FIELD, "must be none, find or find_or_create")?;
    match said {
        Some(Contacts::Find | Contacts::FindOrCreate) if !format.has_contacts => {
            Err(fields.fault(FIELD, "must be none: this format knows no contacts of the CRM"))
        }
        Some(said) => Ok(said),
        None if format.has_contacts => Ok(Contacts::Find),
        None => Ok(Contacts::None),
    }
}

fn read_timeout(fields: &mut Fields) -> Result<Seconds, ConfigError> {
    let is_valid = |seconds: &u32| (1..=LONGEST_TIMEOUT).contains(seconds);
    let expected = "must be a whole number of seconds, 1 to 25";
    let seconds = fields.checked("timeout_seconds", expected, is_valid)?;
    Ok(Seconds(seconds.unwrap_or(DEFAULT_TIMEOUT)))
}

fn read_retries(fields: &mut Fields) -> Result<Vec<u32>, ConfigError> {
    let is_valid = |waits: &Vec<u32>| {
        waits.len() <= MOST_RETRIES && waits.iter().all(|wait| (1..=LONGEST_RETRY).contains(wait))
    };
    let expected = "must be a list of up to 20 waits in seconds, each 1 to 86400";
    let waits = fields.checked("retry_seconds", expected, is_valid)?;
    Ok(waits.unwrap_or_else(|| DEFAULT_RETRIES.to_vec()))
}

fn read_pace(fields: &mut Fields) -> Result<Option<Pace>, ConfigError> {
    let rate: Option<f64> = fields.checked(
        "rate_per_second",
        "must be a number of requests per second, 0.01 to 1000",
        |rate| (SLOWEST..=FASTEST).contains(rate),
    )?;
    let burst: Option<u32> =
        fields.checked("burst", "must be a whole number, 1 to 1000", |burst| {
            (1..=LARGEST_BURST).contains(burst)
        })?;
    match (rate, burst) {
        // By default as much at once as a second lets through.
        (Some(rate), burst) => Ok(Some(Pace::new(rate, burst.unwrap_or(rate.ceil() as u32)))),
        (None, Some(_)) => Err(fields.fault("burst", "needs rate_per_second")),
        (None, None) => Ok(None),
    }
}

fn read_deduplication(
    fields: &mut Fields,
    format: &Capabilities,
) -> Result<Deduplication, ConfigError> {
    const FIELD: &str = "deduplication";
    let can = format.deduplications;
    let words = format!("must be {}", listed(can.iter().map(Into::into)));
    match fields.optional::<Deduplication>(FIELD, &words)? {
        Some(said) if can.contains(&said) => Ok(said),
        Some(said) => {
            let why = format.no_other_deduplication;
            Err(fields.fault(FIELD, format!("{words}, and not {}: {why}", <&str>::from(said))))
        }
        None => Ok(can.first().copied().unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests;
