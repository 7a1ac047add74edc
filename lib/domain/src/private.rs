//! Personal data and secrets, as types that do not print.
//!
//! Both can be stored and sent where that is their purpose; neither can reach a log line, an
//! error text or a panic message through `Debug` or `Display`.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How long a name may be, in characters: in a message, and in the directory.
pub(crate) const LONGEST_NAME: usize = 2_000;

/// A phone number, name, summary, transcript or recording URL.
///
/// It serializes as itself, because the table and the CRM need the value; it never prints.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Personal(String);

impl Personal {
    /// Wraps a value. Empty text stays empty: use [`Personal::known`] where empty means unknown.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The trimmed value, or `None` where nothing is left of it.
    pub fn known(value: &str) -> Option<Self> {
        let value = value.trim();
        (!value.is_empty()).then(|| Self(value.to_owned()))
    }

    /// The value itself. Every use of this is a place where personal data leaves the type.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// A form safe to show to an operator: how long the value is and its last two characters.
    pub fn masked(&self) -> String {
        let count = self.0.chars().count();
        let tail: String = self.0.chars().skip(count.saturating_sub(2)).collect();
        if count <= 4 {
            "•".repeat(count)
        } else {
            format!("{}{tail}", "•".repeat((count - 2).min(10)))
        }
    }
}

impl fmt::Debug for Personal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[personal]")
    }
}

/// A signing secret, token or API key. Read from configuration, never written back by a function.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Wraps a value.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value itself, for computing a signature or filling a header.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether there is anything in it: an empty secret opens nothing.
    pub fn is_empty(&self) -> bool {
        self.0.trim().is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_private_prints() {
        let personal = Personal::new("+61491570156");
        let secret = Secret::new("fake-secret");
        let printed = format!("{personal:?} {secret:?}");
        assert_eq!(printed, "[personal] [secret]");
    }

    #[test]
    fn a_masked_value_shows_two_characters_at_most() {
        assert_eq!(Personal::new("+61491570156").masked(), "••••••••••56");
        assert_eq!(Personal::new("Ann").masked(), "•••");
    }
}
