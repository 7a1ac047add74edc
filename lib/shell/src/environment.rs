//! What a function is started with: environment variables, whose errors name the variable, and logs.

use std::str::FromStr;

use lambda_http::Context;
use switchboard_flow::telemetry;
use tracing::{Level, Span, error_span};

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

/// Starts logs and metrics of a function, as `STAGE` and `LOG_LEVEL` (`info` if it is not set) say.
/// Returns the stage.
pub fn start_logs(function: &'static str) -> Result<String, EnvironmentError> {
    let stage = required("STAGE")?;
    let level = optional("LOG_LEVEL").and_then(|level| level.parse().ok());
    telemetry::start(function, stage.clone(), level.unwrap_or(Level::INFO));
    Ok(stage)
}

/// The span of one invocation: what is logged in it carries its request id.
pub fn invocation(context: &Context) -> Span {
    error_span!("invocation", request_id = context.request_id)
}
