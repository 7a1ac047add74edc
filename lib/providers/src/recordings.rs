//! Fetching recordings from providers: requests out of plain values, and what an answer's status means.
//! Nothing here sends anything. Apart from [`crate::ALL`], because no hook fetches recordings.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, HeaderName, HeaderValue};
use jiff::Timestamp;
use serde::Deserialize;
use switchboard_domain::{ConfigError, Personal, Secret};
use switchboard_http::retry_after;

use crate::source::Source;
use crate::{elevenlabs, pull};

/// Where Twilio's REST API is, unless the source says otherwise (`api_url`).
const TWILIO_API: &str = "https://api.twilio.com";
/// Below this name are Twilio's regional APIs.
const TWILIO_ZONE: &str = ".twilio.com";
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
    /// Twilio: in which format they are fetched.
    pub format: Format,
    /// From which hosts alone they are fetched. Empty: from any public one.
    pub hosts: Vec<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { copy: false, largest_megabytes: 100, format: Format::Mp3, hosts: Vec::new() }
    }
}

/// In which format Twilio gives a recording.
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
    /// Who we are. For that host alone, and none that it redirects to.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

/// Of a recording that a provider gave an address for. Our credentials go to the provider's own host
/// alone, whatever address it gave.
pub fn at(provider: &str, source: &Source, url: &Personal) -> Result<Wanted, ConfigError> {
    if provider == "twilio" { twilio(source, url) } else { Ok(plain(url)) }
}

fn plain(url: &Personal) -> Wanted {
    Wanted { url: url.clone(), headers: Vec::new() }
}

/// Twilio: the recording's resource and a file extension. With the account's credentials, which it
/// asks for where the account is set to.
fn twilio(source: &Source, url: &Personal) -> Result<Wanted, ConfigError> {
    let base = source.api_url.as_deref().unwrap_or(TWILIO_API);
    if !is_twilio(url.expose(), base) {
        // A bucket of the customer's own, to which Twilio was told to record.
        return Ok(plain(url));
    }
    let format = source.recordings.as_ref().map_or_else(Format::default, |set| set.format);
    let extension = match format {
        Format::Mp3 => ".mp3",
        Format::Wav => ".wav",
    };
    let resource = url.expose();
    let resource = resource.split(['?', '#']).next().unwrap_or(resource);
    let resource = [".mp3", ".wav", ".json"]
        .iter()
        .find_map(|old| resource.strip_suffix(old))
        .unwrap_or(resource);
    let account = resource.split("/Accounts/").nth(1).and_then(|rest| rest.split('/').next());
    let account = account.unwrap_or_default();
    let missing = || ConfigError::new("secrets", "holds no auth token of the recording's account");
    let (user, password) = credentials(source, account).ok_or_else(missing)?;
    let pair = STANDARD.encode(format!("{user}:{}", password.expose()));
    let url = Personal::new(format!("{resource}{extension}"));
    Ok(Wanted { url, headers: vec![sensitive(AUTHORIZATION, &format!("Basic {pair}"))?] })
}

fn is_twilio(url: &str, base: &str) -> bool {
    let rest = |url: &str, base: &str| {
        let rest = url.strip_prefix(base)?;
        Some(rest.is_empty() || rest.starts_with('/'))
    };
    if rest(url, base) == Some(true) {
        return true;
    }
    let host = url.strip_prefix("https://").and_then(|rest| rest.split(['/', '?', '#']).next());
    let plain = |b: u8| b.is_ascii_alphanumeric() || b".-".contains(&b);
    host.is_some_and(|host| host.ends_with(TWILIO_ZONE) && host.bytes().all(plain))
}

/// Who we are for one account: as set for pulling, else by the account's signing token.
fn credentials<'a>(source: &'a Source, account: &'a str) -> Option<(&'a str, &'a Secret)> {
    let set = source.pull.as_ref().filter(|set| set.account.as_deref() == Some(account));
    if let Some(pull::Settings { token: Some(token), key, .. }) = set {
        return Some((key.as_deref().unwrap_or(account), token));
    }
    let bound = source.secrets.iter().find(|one| one.account.as_deref() == Some(account));
    let any = || source.secrets.iter().find(|one| one.account.is_none());
    bound.or_else(any).map(|one| (account, &one.secret))
}

/// ElevenLabs: the audio of a conversation.
pub fn of_conversation(source: &Source, conversation: &str) -> Result<Wanted, ConfigError> {
    let key = source.api_key.as_ref();
    let key = key.ok_or_else(|| ConfigError::new("api_key", "is required to fetch audio"))?;
    let base = source.api_url.as_deref().unwrap_or(elevenlabs::API_URL);
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"_-".contains(&b);
    if conversation.is_empty() || !conversation.bytes().all(plain) {
        // It came in a message: it may only name something below the path.
        return Err(ConfigError::new("conversation", "has an id of another form"));
    }
    let url = Personal::new(format!("{base}/v1/convai/conversations/{conversation}/audio"));
    let name = HeaderName::from_static("xi-api-key");
    Ok(Wanted { url, headers: vec![sensitive(name, key.expose())?] })
}

fn sensitive(name: HeaderName, value: &str) -> Result<(HeaderName, HeaderValue), ConfigError> {
    let mut value = HeaderValue::from_str(value)
        .map_err(|_| ConfigError::new("secrets", "holds one that cannot stand in a header"))?;
    value.set_sensitive(true);
    Ok((name, value))
}

/// What an answer's status means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// The recording.
    Here,
    /// It may come.
    Later {
        /// Not before this moment, if that was said.
        not_before: Option<Timestamp>,
        /// What was answered.
        problem: String,
    },
    /// It will not.
    Never {
        /// What was answered.
        problem: String,
    },
}

/// Reads a status. `knows_us`: our credentials went along, so that they may be mended; without them, a
/// refusal means that the address is good no more. `wait` is `Retry-After` as it came.
pub fn judge(status: u16, knows_us: bool, wait: Option<&str>, now: Timestamp) -> Status {
    let words = match status {
        200 => return Status::Here,
        401 | 403 if knows_us => "not authorized: check the source's credentials",
        401 | 403 => {
            let problem = format!("answered {status}: the address has expired, or opens nothing");
            return Status::Never { problem };
        }
        404 | 409 | 422 | 425 => "not there yet, or not any more",
        410 => return Status::Never { problem: format!("answered {status}: gone") },
        408 | 429 | 500..=599 => "in trouble",
        _ => "not understood",
    };
    let not_before = wait.and_then(|text| retry_after(text, now));
    Status::Later { not_before, problem: format!("answered {status}: {words}") }
}

#[cfg(test)]
mod tests;
