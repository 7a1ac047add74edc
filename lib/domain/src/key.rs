//! What a call is called: `provider / source / call id`, the idempotency key of everything.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_with::{DeserializeFromStr, SerializeDisplay};

use crate::digest::Digest;

/// How many shards the index of due work has: enough that none of them is ever hot.
pub const DUE_SHARDS: u16 = 16;

const LONGEST_NAME: usize = 64;
/// Longer than any provider's id (Asterisk's is the longest at 149), short enough for a table key.
const LONGEST_CALL_ID: usize = 256;

/// Why a part of a call key was not accepted. It never holds the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{part} {problem}")]
pub struct KeyError {
    /// Which part: `provider`, `source`, `destination` or `call id`.
    pub part: &'static str,
    /// What is wrong with it, as a phrase that follows the part's name.
    pub problem: &'static str,
}

/// The name of a provider, a source or a destination: 1 to 64 of `A-Z a-z 0-9 . _ -`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

impl Name {
    /// Checks a name; `part` says in the error whose name it was to be.
    pub fn new(part: &'static str, value: &str) -> Result<Self, KeyError> {
        let fault = |problem| Err(KeyError { part, problem });
        if value.is_empty() {
            return fault("is empty");
        }
        if value.len() > LONGEST_NAME {
            return fault("is longer than 64 characters");
        }
        if !value.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)) {
            return fault("has a character other than A-Z a-z 0-9 . _ -");
        }
        Ok(Self(value.to_owned()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Name {
    type Error = KeyError;
    fn try_from(value: String) -> Result<Self, KeyError> {
        Self::new("name", &value)
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The identity of a call. Written `provider/source/call id`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, SerializeDisplay, DeserializeFromStr)]
pub struct CallKey {
    /// The kind of phone system, in lower case.
    pub provider: Name,
    /// The installation of it: two PBXs may use the same call ids.
    pub source: Name,
    call_id: String,
}

impl CallKey {
    /// Puts a key together. The call id is trimmed; it may not be empty, longer than 256 bytes,
    /// or hold control characters.
    pub fn new(provider: Name, source: Name, call_id: &str) -> Result<Self, KeyError> {
        let fault = |problem| Err(KeyError { part: "call id", problem });
        let call_id = call_id.trim();
        if call_id.is_empty() {
            return fault("is empty");
        }
        if call_id.len() > LONGEST_CALL_ID {
            return fault("is longer than 256 bytes");
        }
        if call_id.chars().any(char::is_control) {
            return fault("has a control character");
        }
        Ok(Self { provider, source, call_id: call_id.to_owned() })
    }

    /// The provider's own id of the call.
    pub fn call_id(&self) -> &str {
        &self.call_id
    }

    /// One id for everything that happens to this call, from the request to the CRM's header.
    /// It is derived, so every message and worker of a call logs the same one.
    pub fn correlation_id(&self) -> Digest {
        Digest::of(&[
            self.provider.as_str().as_bytes(),
            self.source.as_str().as_bytes(),
            self.call_id.as_bytes(),
        ])
    }

    /// Under which shard of the due index this call's work is found.
    pub fn due_shard(&self) -> u16 {
        self.correlation_id().bucket(DUE_SHARDS)
    }
}

impl fmt::Display for CallKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.provider, self.source, self.call_id)
    }
}

impl fmt::Debug for CallKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for CallKey {
    type Err = KeyError;
    fn from_str(text: &str) -> Result<Self, KeyError> {
        let mut parts = text.splitn(3, '/');
        let mut next = || parts.next().unwrap_or_default();
        let provider = Name::new("provider", next())?;
        let source = Name::new("source", next())?;
        Self::new(provider, source, next())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_survives_being_written_and_read() {
        let key: CallKey = "asterisk/asterisk-main/pbx/1708416000.1#2".parse().unwrap();
        assert_eq!(key.call_id(), "pbx/1708416000.1#2");
        assert_eq!(key.to_string().parse::<CallKey>().unwrap(), key);
    }

    #[test]
    fn errors_name_the_part_and_never_the_value() {
        let error = "twilio/bad source/CA1".parse::<CallKey>().unwrap_err();
        assert_eq!(error.to_string(), "source has a character other than A-Z a-z 0-9 . _ -");
        let error = "twilio/twilio/ ".parse::<CallKey>().unwrap_err();
        assert_eq!(error.to_string(), "call id is empty");
    }

    #[test]
    fn equal_call_ids_of_two_sources_are_two_calls() {
        let one: CallKey = "asterisk/north/1708416000.1".parse().unwrap();
        let two: CallKey = "asterisk/south/1708416000.1".parse().unwrap();
        assert_ne!(one.correlation_id(), two.correlation_id());
    }

    #[test]
    fn due_work_spreads_over_every_shard() {
        let mut seen = [0u32; DUE_SHARDS as usize];
        for n in 0..4_000 {
            let key: CallKey = format!("twilio/twilio/CA{n}").parse().unwrap();
            seen[usize::from(key.due_shard())] += 1;
        }
        assert!(seen.iter().all(|count| (150..350).contains(count)), "{seen:?}");
    }
}
