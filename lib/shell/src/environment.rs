//! Environment variables, read once at start. An error names the variable.

use std::str::FromStr;

/// A variable is missing or cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("environment variable {name} {problem}; the template sets it")]
pub struct EnvironmentError {
    name: &'static str,
    problem: &'static str,
}

/// A variable, if it is set and not empty.
pub fn optional(name: &'static str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// A variable that must be set.
pub fn required(name: &'static str) -> Result<String, EnvironmentError> {
    optional(name).ok_or(EnvironmentError { name, problem: "is not set" })
}

/// A variable of some type, or its default.
pub fn parsed<T: FromStr>(name: &'static str, default: T) -> Result<T, EnvironmentError> {
    match optional(name) {
        None => Ok(default),
        Some(value) => {
            value.parse().map_err(|_| EnvironmentError { name, problem: "cannot be read" })
        }
    }
}
