//! Pulling calls out of providers' REST interfaces: what to ask, and how to read the answers.
//!
//! An answer is turned into requests in the shape of the provider's own webhook, and those are read
//! by the provider's own module: there is one mapping for each provider. What is pulled stands
//! behind what a webhook told ([`Request::order`]), so that a pull adds to a call and overrides none
//! of it.
//!
//! The modules here are in a list of their own, so that a webhook function does not link them.

pub mod elevenlabs;
pub mod onecom;
mod settings;
pub mod smartflo;
pub mod twilio;

use http::header::{ACCEPT, HeaderName, HeaderValue, RETRY_AFTER};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use switchboard_domain::sync::Step;
use switchboard_domain::{ConfigError, Name, Secret};
use switchboard_http::retry_after;

use crate::{Authenticated, Content, Parsed, Provider, Reject, Request, Source, Sources};

pub use settings::{Format, Settings};

/// A provider that asks us to wait, and does not say for how long, is asked again after this.
const UNTOLD_WAIT: SignedDuration = SignedDuration::from_mins(1);

/// Every provider whose calls can be pulled.
#[rustfmt::skip]
pub static ALL: &[&dyn Pull] = &[
    &elevenlabs::Conversations,
    &onecom::Records,
    &smartflo::Records,
    &twilio::Calls,
];

/// How the calls of a provider are pulled.
pub trait Pull: Sync {
    /// Whose calls they are, and whose module reads them.
    fn provider(&self) -> &'static dyn Provider;

    /// What must be configured for it, beyond what the provider's webhook needs.
    fn check(&self, source: &Source, settings: &Settings) -> Result<(), ConfigError>;

    /// In which zone a day of this source begins.
    fn zone(&self, source: &Source) -> TimeZone {
        source.zone().unwrap_or(TimeZone::UTC)
    }

    /// What to ask first for the calls that began in `from..to`.
    fn steps(&self, source: &Source, from: Timestamp, to: Timestamp) -> Vec<Step>;

    /// How many of the next steps are done before their progress is written.
    fn together(&self, _steps: &[Step]) -> usize {
        1
    }

    /// The request for a token, where the source logs in with a password.
    fn login(&self, _source: &Source) -> Option<Result<Question, Problem>> {
        None
    }

    /// The token out of the answer to a login, and until when it is good.
    fn token(&self, _answer: &Answer, _now: Timestamp) -> Result<(Secret, Timestamp), Problem> {
        Err(Problem::unreadable("a login that nobody asked for"))
    }

    /// The request of a step. `token` is what a login brought.
    fn ask(
        &self,
        source: &Source,
        step: &Step,
        token: Option<&Secret>,
    ) -> Result<Question, Problem>;

    /// What the answer to a step says.
    fn read(&self, to: &Asked<'_>, step: &Step, answer: &Answer) -> Result<Page, Problem>;
}

/// An HTTP request to a provider. Its headers with secrets are marked sensitive.
pub type Question = http::Request<Vec<u8>>;
/// What a provider answers.
pub type Answer = http::Response<Vec<u8>>;

/// Who asked, and when.
pub struct Asked<'a> {
    /// The source's name.
    pub name: &'a Name,
    /// The source.
    pub source: &'a Source,
    /// What the records of this unit carry, [`switchboard_domain::sync::Job::mark`].
    pub mark: &'a str,
    /// The time of the answer.
    pub now: Timestamp,
}

impl Asked<'_> {
    /// A record in the shape of a webhook to `path`.
    fn webhook(&self, path: &str, record: &Value) -> Request {
        // Names and marks are letters, digits, dots, hyphens and underscores.
        let target =
            format!("{path}?source={}&{}={}", self.name, crate::request::PULLED, self.mark);
        Request::new("POST", &target, self.now)
            .header("content-type", "application/json")
            .body(record.to_string().into_bytes())
    }
}

/// What one answer brought.
#[derive(Default)]
pub struct Page {
    /// Records of calls that are over, each in the shape of a webhook.
    pub records: Vec<Request>,
    /// How many calls were listed that are not over: they are left to a later job.
    pub unfinished: u64,
    /// What is to be asked next.
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
        /// What it said.
        why: String,
    },
    /// The provider did not do it, and may yet.
    #[error("{why}")]
    Trouble {
        /// What it said, or how the connection failed.
        why: String,
    },
    /// The provider refuses, and will again: somebody has to mend something.
    #[error("{why}")]
    Refused {
        /// Whose fault it is and what to do.
        why: String,
    },
}

impl Problem {
    /// An answer that is not of the form that it should have. It may be a fault page that passes.
    pub fn unreadable(what: &str) -> Self {
        Self::Trouble { why: format!("answered what cannot be read: {what}") }
    }

    /// The configuration of the source is at fault.
    pub fn configuration(error: &ConfigError) -> Self {
        Self::Refused { why: format!("mend the source's configuration: {error}") }
    }
}

/// How a provider's calls are pulled, if they can be.
pub fn pull(provider: &str) -> Option<&'static dyn Pull> {
    ALL.iter().copied().find(|one| one.provider().name() == provider)
}

/// The settings of a source that can be pulled and is right.
pub fn settings<'a>(pull: &dyn Pull, source: &'a Source) -> Result<&'a Settings, ConfigError> {
    let missing = || ConfigError::new("pull", "is missing: this source is not set up for it");
    let settings = source.pull.as_ref().ok_or_else(missing)?;
    settings.check()?;
    pull.check(source, settings)?;
    Ok(settings)
}

/// What a record in the shape of a webhook says: read by the provider's own module.
pub fn read(pull: &dyn Pull, message: &Authenticated<'_>) -> Result<Vec<Parsed>, Reject> {
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

/// A GET of an address, with a header that holds a secret.
fn get(url: &str, header: Option<(HeaderName, &str)>) -> Result<Question, Problem> {
    let fault = |field: &str, problem| Problem::configuration(&ConfigError::new(field, problem));
    let mut request = http::Request::get(url).header(ACCEPT, "application/json, text/csv;q=0.9");
    if let Some((name, secret)) = header {
        let mut value = HeaderValue::from_str(secret)
            .map_err(|_| fault("pull", "holds a secret that no header can carry"))?;
        value.set_sensitive(true);
        request = request.header(name, value);
    }
    request.body(Vec::new()).map_err(|_| fault("pull.url", "makes no address that can be asked"))
}

/// The body of an answer that is one, or what is wrong.
fn body(answer: &Answer, now: Timestamp) -> Result<&[u8], Problem> {
    let status = answer.status().as_u16();
    let said = format!("answered {status}");
    let header =
        |name| answer.headers().get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    match status {
        200..=299 => Ok(answer.body()),
        429 | 503 => match (header(RETRY_AFTER).and_then(|at| retry_after(at, now)), status) {
            (None, 503) => Err(Problem::Trouble { why: said }),
            (until, _) => {
                let untold = || now.checked_add(UNTOLD_WAIT).unwrap_or(now);
                Err(Problem::Wait { until: until.unwrap_or_else(untold), why: said })
            }
        },
        401 | 403 => {
            let why =
                format!("{said}: the source's credentials for pulling open nothing; renew them");
            Err(Problem::Refused { why })
        }
        408 | 409 | 425 | 500.. => Err(Problem::Trouble { why: said }),
        _ => {
            let why = format!("{said}: the source's address or account for pulling is not right");
            Err(Problem::Refused { why })
        }
    }
}

/// The body of an answer, as JSON.
fn json(answer: &Answer, now: Timestamp) -> Result<Value, Problem> {
    serde_json::from_slice(body(answer, now)?).map_err(|_| Problem::unreadable("it is not JSON"))
}

/// A query of names and values.
fn query<'a>(pairs: impl IntoIterator<Item = (&'a str, String)>) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

/// A wall clock as phone systems write one.
fn wall_clock(at: Timestamp, zone: &TimeZone) -> String {
    zone.to_datetime(at).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

#[cfg(test)]
mod tests;
