//! Fetching a recording from Twilio.

use http::header::AUTHORIZATION;
use switchboard_domain::{ConfigError, Personal, Secret};

use super::settings::{API_URL, Pull, Settings};
use crate::recordings::{self, Format, Wanted};
use crate::rest;
use crate::source::Source;

/// Below this name are Twilio's regional APIs.
const ZONE: &str = ".twilio.com";

/// The recording's resource with a file extension, and the account's credentials, which Twilio
/// requires where the account is set to. Credentials go to Twilio's own hosts alone, whatever address
/// the message gave.
pub fn request(source: &Source, url: &Personal) -> Result<Wanted, ConfigError> {
    let base = source.api_url.as_deref().unwrap_or(API_URL);
    if !is_twilio(url.expose(), base) {
        // A bucket of the customer's own, to which Twilio records.
        return Ok(recordings::at(url));
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
    let authorization = rest::basic(user, password)
        .map_err(|_| ConfigError::new("secrets", "holds one that cannot stand in a header"))?;
    let url = Personal::new(format!("{resource}{extension}"));
    Ok(Wanted { url, headers: vec![(AUTHORIZATION, authorization)] })
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
    host.is_some_and(|host| host.ends_with(ZONE) && host.bytes().all(plain))
}

/// The user and password for an account: as set for pulling, else the account's signing secret.
fn credentials<'a>(source: &'a Source, account: &'a str) -> Option<(&'a str, &'a Secret)> {
    let pull = source.own::<Settings>().and_then(|settings| settings.pull.as_ref());
    let pull = pull.filter(|pull| pull.account.as_deref() == Some(account));
    if let Some(Pull { token: Some(token), key, .. }) = pull {
        return Some((key.as_deref().unwrap_or(account), token));
    }
    let bound = source.secrets.iter().find(|one| one.account.as_deref() == Some(account));
    let any = || source.secrets.iter().find(|one| one.account.is_none());
    bound.or_else(any).map(|one| (account, &one.secret))
}
