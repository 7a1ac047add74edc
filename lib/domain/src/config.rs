//! What is wrong with a configuration, in whichever function reads it.

use serde::de::DeserializeOwned;

/// What is wrong with a configuration. It never holds the value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct ConfigError {
    /// Which field.
    pub field: String,
    /// What is wrong with it, and what to write instead.
    pub problem: String,
}

impl ConfigError {
    /// An error about one field.
    pub fn new(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { field: field.into(), problem: problem.into() }
    }

    /// Reads the JSON of a parameter. The error names the field, or `whole` where that is unknown, and
    /// the place in the JSON, but not serde's message: that may quote a secret.
    pub fn read<T: DeserializeOwned>(json: &str, whole: &str) -> Result<T, Self> {
        let mut reader = serde_json::Deserializer::from_str(json);
        let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
            let (inner, path) = (error.inner(), error.path().to_string());
            let place = format!("line {}, column {}", inner.line(), inner.column());
            if !inner.is_data() {
                return Self::new(whole, format!("is not valid JSON ({place})"));
            }
            // After a lost quotation mark a name may hold what was meant as a value.
            let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"._-[]".contains(&b);
            let is_field = path != "." && path.len() <= 64 && path.bytes().all(is_plain);
            let problem = format!("is missing, unknown or of a wrong type ({place})");
            Self::new(if is_field { path.as_str() } else { whole }, problem)
        })?;
        reader.end().map_err(|_| Self::new(whole, "has something after its JSON"))?;
        Ok(value)
    }
}
