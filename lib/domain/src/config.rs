//! What is wrong with a configuration, whoever reads it.

use std::fmt;

/// What is wrong with a configuration. It never holds the value.
#[derive(Clone, Debug, PartialEq, Eq)]
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
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.problem)
    }
}

impl std::error::Error for ConfigError {}
