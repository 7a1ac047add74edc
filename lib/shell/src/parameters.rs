//! Configuration from the Parameter Store: one SecureString per source and per destination.
//!
//! Read at start, again when older than five minutes, and at once when a signature fails, so that a
//! rotated secret works without a deployment.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use aws_sdk_ssm::error::{ProvideErrorMetadata as _, SdkError};

/// Parameters older than this are read again.
const FRESH: Duration = Duration::from_secs(300);
/// However many signatures fail, parameters are not read more often than this.
const NOT_SOONER: Duration = Duration::from_secs(5);

/// The Parameter Store could not be read.
#[derive(Debug, thiserror::Error)]
#[error("parameters under {path} could not be read ({code}); check the function's role")]
pub struct ParameterError {
    path: String,
    code: String,
}

/// The values under a path, by the rest of their names (`sources/twilio/main`).
pub type Values = BTreeMap<String, String>;

/// Where configuration comes from.
#[derive(Clone)]
pub struct Parameters {
    client: aws_sdk_ssm::Client,
}

impl Parameters {
    /// Over a client.
    pub fn new(client: aws_sdk_ssm::Client) -> Self {
        Self { client }
    }

    /// Reads everything under a path, decrypted.
    pub async fn under(&self, path: &str) -> Result<Values, ParameterError> {
        let mut values = Values::new();
        let mut page = None;
        loop {
            let answer = self
                .client
                .get_parameters_by_path()
                .path(path)
                .recursive(true)
                .with_decryption(true)
                .set_next_token(page)
                .send()
                .await
                .map_err(|error| ParameterError { path: path.into(), code: code(&error) })?;
            for parameter in answer.parameters() {
                let name = parameter.name().and_then(|name| name.strip_prefix(path));
                if let (Some(name), Some(value)) = (name, parameter.value()) {
                    values.insert(name.trim_start_matches('/').to_owned(), value.to_owned());
                }
            }
            page = answer.next_token().map(str::to_owned);
            if page.is_none() {
                return Ok(values);
            }
        }
    }
}

fn code<R>(
    error: &SdkError<aws_sdk_ssm::operation::get_parameters_by_path::GetParametersByPathError, R>,
) -> String {
    match error {
        SdkError::ServiceError(service) => service.err().code().unwrap_or("unknown code").into(),
        SdkError::TimeoutError(_) => "timed out".into(),
        _ => "not reached".into(),
    }
}

/// A value made from parameters, kept while it is fresh.
pub struct Cached<T> {
    parameters: Parameters,
    prefix: String,
    folders: Vec<String>,
    read: Box<dyn Fn(&Values) -> T + Send + Sync>,
    kept: Mutex<Option<(Instant, Arc<T>)>>,
}

impl<T> Cached<T> {
    /// What `read` makes of the parameters in `folders` under `prefix`. A function may read its
    /// own folders alone, so the folders are asked for one by one.
    pub fn new(
        parameters: Parameters,
        prefix: String,
        folders: Vec<String>,
        read: impl Fn(&Values) -> T + Send + Sync + 'static,
    ) -> Self {
        Self { parameters, prefix, folders, read: Box::new(read), kept: Mutex::new(None) }
    }

    /// The value, read again if it is not fresh. Where reading fails, the old value serves on.
    pub async fn get(&self) -> Result<Arc<T>, ParameterError> {
        self.get_newer_than(FRESH).await
    }

    /// The value, read again unless that was just done: after something failed that a changed
    /// configuration would explain.
    pub async fn get_again(&self) -> Result<Arc<T>, ParameterError> {
        self.get_newer_than(NOT_SOONER).await
    }

    async fn get_newer_than(&self, age: Duration) -> Result<Arc<T>, ParameterError> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((at, value)) = &kept
            && at.elapsed() < age
        {
            return Ok(value.clone());
        }
        match (self.read_folders().await, kept) {
            (Ok(values), _) => {
                let value = Arc::new((self.read)(&values));
                let now = Instant::now();
                *self.kept.lock().unwrap_or_else(PoisonError::into_inner) =
                    Some((now, value.clone()));
                Ok(value)
            }
            (Err(_), Some((_, value))) => Ok(value),
            (Err(error), None) => Err(error),
        }
    }

    async fn read_folders(&self) -> Result<Values, ParameterError> {
        let mut values = Values::new();
        for folder in &self.folders {
            let path = format!("{}/{folder}", self.prefix);
            let found = self.parameters.under(&path).await?;
            values
                .extend(found.into_iter().map(|(name, value)| (format!("{folder}/{name}"), value)));
        }
        Ok(values)
    }
}
