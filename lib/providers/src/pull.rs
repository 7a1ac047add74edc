//! Pulling calls out of providers' REST interfaces.
//!
//! What is pulled is turned into requests in the shape of the provider's own webhook, and those are
//! parsed by the provider: there is one mapping for each provider. Pulled records rank behind the
//! messages of a webhook ([`Request::order`]): they add to a call and override none of it.

use std::time::Duration;

use async_trait::async_trait;
use http::HeaderName;
use http::header::{ACCEPT, HeaderValue, RETRY_AFTER};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use switchboard_domain::sync::Step;
use switchboard_domain::{ConfigError, Name, later};
use switchboard_http::{Http, Limits, Response, SendError, retry_after};

use crate::provider::{Authenticated, Content, Parsed, Provider, Sources};
use crate::reject::Reject;
use crate::request::{PULLED, Request};
use crate::rest::{self, Logins};
use crate::source::Source;

/// A response comes within this, or the step fails and is tried again.
pub const LIMITS: Limits = Limits { timeout: Duration::from_secs(25), largest: 8 * 1024 * 1024 };
/// A provider that asks us to wait, and does not say for how long, is asked again after this.
const DEFAULT_WAIT: SignedDuration = SignedDuration::from_mins(1);

/// How the calls of a provider are pulled.
#[async_trait]
pub trait Pull: Sync {
    /// The provider, which parses what is pulled.
    fn provider(&self) -> &'static dyn Provider;

    /// Checks what pulling needs beyond what the provider's webhook needs. Such a source has `pull`.
    fn check(&self, source: &Source) -> Result<(), ConfigError>;

    /// In which zone a day of this source begins.
    fn zone(&self, source: &Source) -> TimeZone {
        source.zone().unwrap_or(TimeZone::UTC)
    }

    /// The first steps to pull the calls that began in `from..to`.
    fn steps(&self, source: &Source, from: Timestamp, to: Timestamp) -> Vec<Step>;

    /// How many of the next steps are done before their progress is written.
    fn together(&self, _steps: &[Step]) -> usize {
        1
    }

    /// Does one step.
    async fn page(&self, session: &Session<'_>, step: &Step) -> Result<Page, Problem>;
}

/// What the steps of a job are done with.
pub struct Session<'a> {
    /// What reaches the provider.
    pub http: &'a dyn Http,
    /// The logins of this process.
    pub logins: &'a Logins,
    /// The source's name.
    pub name: &'a Name,
    /// The source.
    pub source: &'a Source,
    /// What the records of this unit carry, [`switchboard_domain::sync::Job::mark`].
    pub mark: &'a str,
    /// The time.
    pub clock: &'a (dyn Fn() -> Timestamp + Sync),
}

impl Session<'_> {
    /// The source among the logins.
    pub fn place(&self) -> String {
        format!("pull {}", self.name)
    }

    /// Sends a GET with a header that holds a secret. The response may have any status.
    pub async fn get(
        &self,
        url: &str,
        secret: Option<(HeaderName, HeaderValue)>,
    ) -> Result<Response, Problem> {
        let mut request = rest::get(url, LIMITS)?;
        let accept = HeaderValue::from_static("application/json, text/csv;q=0.9");
        request.headers.insert(ACCEPT, accept);
        request.headers.extend(secret);
        Ok(self.http.send(request).await?)
    }

    /// The body of a response with status 2xx, or the problem that the status means.
    pub fn body<'r>(&self, response: &'r Response) -> Result<&'r [u8], Problem> {
        let why = format!("responded {}", response.status);
        let now = (self.clock)();
        match response.status {
            200..=299 => Ok(&response.body),
            429 | 503 => {
                let until =
                    response.header(RETRY_AFTER.as_str()).and_then(|at| retry_after(at, now));
                match until {
                    None if response.status == 503 => Err(Problem::Failed { why }),
                    until => {
                        let default = || later(now, DEFAULT_WAIT);
                        Err(Problem::Wait { until: until.unwrap_or_else(default), why })
                    }
                }
            }
            401 | 403 => {
                let why =
                    format!("{why}: the source's credentials for pulling open nothing; renew them");
                Err(Problem::Refused { why })
            }
            408 | 409 | 425 | 500.. => Err(Problem::Failed { why }),
            _ => {
                let why =
                    format!("{why}: the source's address or account for pulling is not correct");
                Err(Problem::Refused { why })
            }
        }
    }

    /// The body of a response with status 2xx, as JSON.
    pub fn json(&self, response: &Response) -> Result<Value, Problem> {
        crate::ids::read(self.body(response)?).map_err(|_| Problem::unreadable("it is not JSON"))
    }

    /// A record in the shape of a webhook to `path`.
    pub fn webhook(&self, path: &str, record: &Value) -> Request {
        // Names and marks are letters, digits, dots, hyphens and underscores.
        let target = format!("{path}?source={}&{PULLED}={}", self.name, self.mark);
        Request::new("POST", &target, (self.clock)())
            .header("content-type", "application/json")
            .body(record.to_string().into_bytes())
    }
}

/// What one step brought.
#[derive(Default)]
pub struct Page {
    /// Records of calls that are over, each in the shape of a webhook.
    pub records: Vec<Request>,
    /// How many calls were listed that are not over: they are left to a later job.
    pub unfinished: u64,
    /// The steps that follow.
    pub next: Vec<Step>,
}

/// Why a step brought nothing. Texts name no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The provider asks us to wait.
    #[error("{why}")]
    Wait {
        /// Until then.
        until: Timestamp,
        /// Its response.
        why: String,
    },
    /// The step failed, and may succeed when it is tried again.
    #[error("{why}")]
    Failed {
        /// The response, or how the connection failed.
        why: String,
    },
    /// The provider refuses, and will refuse again until its settings or ours are mended.
    #[error("{why}")]
    Refused {
        /// What to mend.
        why: String,
    },
}

impl Problem {
    /// A response that is not of the form that it should have. It may be an error page that passes.
    pub fn unreadable(what: &str) -> Self {
        Self::Failed { why: format!("the response cannot be parsed: {what}") }
    }
}

impl From<ConfigError> for Problem {
    fn from(error: ConfigError) -> Self {
        Self::Refused { why: format!("correct the source's configuration: {error}") }
    }
}

impl From<SendError> for Problem {
    fn from(error: SendError) -> Self {
        let why = error.to_string();
        match error {
            SendError::PrivateAddress | SendError::NotBuilt | SendError::TooLarge => {
                Self::Refused {
                    why: format!("{why}: correct the source's address or request less"),
                }
            }
            _ => Self::Failed { why },
        }
    }
}

/// The error of a source that has no `pull`.
pub fn not_set_up() -> ConfigError {
    ConfigError::new("pull", "is missing: this source is not set up for it")
}

/// Parses a record in the shape of a webhook.
pub fn parse(pull: &dyn Pull, message: &Authenticated<'_>) -> Result<Vec<Parsed>, Reject> {
    match pull.provider().parse(message)? {
        Content::Calls(records) => Ok(records),
        Content::Other(_) => Ok(Vec::new()),
    }
}

/// The record as a message that its source sent.
pub fn message<'a>(
    pull: &dyn Pull,
    request: &'a Request,
    sources: &'a Sources,
    name: &'a Name,
) -> Authenticated<'a> {
    Authenticated::kept(pull.provider(), request, sources, name)
}

/// The day that a moment falls on at a source.
pub fn day(pull: &dyn Pull, source: &Source, at: Timestamp) -> Date {
    pull.zone(source).to_datetime(at).date()
}

/// From the beginning of a day to that of the day after another, at a source.
pub fn days(
    pull: &dyn Pull,
    source: &Source,
    first: Date,
    last: Date,
) -> Option<(Timestamp, Timestamp)> {
    let zone = pull.zone(source);
    let begins = |day: Date| Some(day.to_zoned(zone.clone()).ok()?.timestamp());
    Some((begins(first)?, begins(last.tomorrow().ok()?)?))
}

/// The last second before a moment, for ranges whose end belongs to them.
pub fn last_second(to: Timestamp) -> Timestamp {
    to.checked_sub(SignedDuration::from_secs(1)).unwrap_or(to)
}

/// The number of a step's page, from 1.
pub fn page_number(step: &Step) -> u64 {
    step.at.as_deref().and_then(|at| at.parse().ok()).unwrap_or(1)
}
