//! Fetching the audio of a conversation.

use http::header::HeaderName;
use switchboard_domain::{ConfigError, Personal};

use super::settings::{api_key, api_url};
use crate::recordings::{Wanted, sensitive};
use crate::source::Source;

/// The audio of a conversation.
pub fn request(source: &Source, conversation: &str) -> Result<Wanted, ConfigError> {
    let missing = || ConfigError::new("api_key", "is required to fetch audio");
    let key = api_key(source).ok_or_else(missing)?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"_-".contains(&b);
    if conversation.is_empty() || !conversation.bytes().all(plain) {
        // It came in a message: it may only name something below the path.
        return Err(ConfigError::new("conversation", "has an id of another form"));
    }
    let base = api_url(source);
    let url = Personal::new(format!("{base}/v1/convai/conversations/{conversation}/audio"));
    let name = HeaderName::from_static("xi-api-key");
    Ok(Wanted { url, headers: vec![sensitive(name, key.expose())?] })
}
