//! Fetching recordings from providers: what to request, and what a response's status means.

use http::header::{HeaderName, HeaderValue};
use jiff::Timestamp;
use serde::Deserialize;
use switchboard_domain::{ConfigError, Personal};
use switchboard_http::retry_after;

use crate::rest;

const MEGABYTE: u64 = 1024 * 1024;
/// What a function can hold on its disk, less what else is there, MB.
const LARGEST: u32 = 400;

/// What is done with a source's recordings: the member `recordings` of its configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Whether they are copied to our bucket.
    pub copy: bool,
    /// Larger ones are not copied, MB.
    pub largest_megabytes: u32,
    /// The format in which they are fetched, where the provider has several.
    pub format: Format,
    /// From which hosts alone they are fetched. Empty: from any public one.
    pub hosts: Vec<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { copy: false, largest_megabytes: 100, format: Format::Mp3, hosts: Vec::new() }
    }
}

/// The audio format of a recording.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// A fifteenth of the size.
    #[default]
    Mp3,
    /// As it was recorded.
    Wav,
}

impl Settings {
    /// Checks what types cannot say.
    pub fn check(&self) -> Result<(), ConfigError> {
        if !(1..=LARGEST).contains(&self.largest_megabytes) {
            let problem = "must be from 1 to 400";
            return Err(ConfigError::new("recordings.largest_megabytes", problem));
        }
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b".-".contains(&b);
        let is_host = |host: &String| host.contains('.') && host.bytes().all(plain);
        if !self.hosts.iter().all(is_host) {
            let problem = "holds one that is no host name in small letters, as pbx.example.com";
            return Err(ConfigError::new("recordings.hosts", problem));
        }
        Ok(())
    }

    /// The largest recording that is copied, bytes.
    pub fn largest(&self) -> u64 {
        u64::from(self.largest_megabytes) * MEGABYTE
    }

    /// Whether recordings may be fetched from a host.
    pub fn allows(&self, host: &str) -> bool {
        self.hosts.is_empty() || self.hosts.iter().any(|one| one == host)
    }
}

/// What to fetch. It does not print: an address may hold a token.
pub struct Wanted {
    /// Where.
    pub url: Personal,
    /// Our credentials. For that host alone, and none that it redirects to.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

/// A recording at its address, fetched without credentials.
pub fn at(url: &Personal) -> Wanted {
    Wanted { url: url.clone(), headers: Vec::new() }
}

/// A header of a request for a recording.
pub fn sensitive(name: HeaderName, value: &str) -> Result<(HeaderName, HeaderValue), ConfigError> {
    let value = rest::sensitive(value);
    let wrong = |_| ConfigError::new("secrets", "holds one that cannot stand in a header");
    Ok((name, value.map_err(wrong)?))
}

/// What a response's status means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// The recording.
    Here,
    /// It may come.
    Later {
        /// Not before this moment, if the response has one.
        not_before: Option<Timestamp>,
        /// The response.
        problem: String,
    },
    /// It will not.
    Never {
        /// The response.
        problem: String,
    },
}

/// Reads a status. `has_credentials`: our credentials were sent, so that they may be mended; without
/// them, a refusal means that the address has expired. `wait` is `Retry-After` as it came.
pub fn judge(status: u16, has_credentials: bool, wait: Option<&str>, now: Timestamp) -> Status {
    let words = match status {
        200 => return Status::Here,
        401 | 403 if has_credentials => "not authorized: check the source's credentials",
        401 | 403 => {
            let problem = format!("responded {status}: the address has expired, or opens nothing");
            return Status::Never { problem };
        }
        404 | 409 | 422 | 425 => "not there yet, or not any more",
        410 => return Status::Never { problem: format!("responded {status}: gone") },
        408 | 429 | 500..=599 => "in trouble",
        _ => "not understood",
    };
    let not_before = wait.and_then(|text| retry_after(text, now));
    Status::Later { not_before, problem: format!("responded {status}: {words}") }
}
