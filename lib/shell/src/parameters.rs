//! Configuration from the Parameter Store: one SecureString per source and per destination.
//!
//! Read at start, again when older than five minutes, and at once when a signature fails, so that a
//! rotated secret works without a deployment.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use aws_sdk_ssm::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_ssm::operation::get_parameter::GetParameterError;
use aws_sdk_ssm::types::ParameterType;

use switchboard_flow::{JobError, Values};
use tracing::warn;

/// The Parameter Store could not be read.
#[derive(Debug, thiserror::Error)]
#[error("parameters under {path} could not be read or written ({code}); check the function's role")]
pub struct ParameterError {
    path: String,
    code: String,
}

impl From<ParameterError> for JobError {
    fn from(error: ParameterError) -> Self {
        Self::Configuration(error.to_string())
    }
}

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

    /// Reads one, decrypted, with its version. Without an error where there is none.
    pub async fn one(&self, path: &str) -> Result<Option<(String, u64)>, ParameterError> {
        let sent = self.client.get_parameter().name(path).with_decryption(true).send().await;
        match sent {
            Ok(answer) => Ok(answer.parameter.and_then(|parameter| {
                Some((parameter.value?, u64::try_from(parameter.version).unwrap_or_default()))
            })),
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(GetParameterError::is_parameter_not_found) =>
            {
                Ok(None)
            }
            Err(error) => Err(ParameterError { path: path.into(), code: code(&error) }),
        }
    }

    /// Writes one, encrypted, over what is there; gives its version.
    pub async fn put(&self, path: &str, value: &str) -> Result<u64, ParameterError> {
        let put = self.client.put_parameter().name(path).value(value).overwrite(true);
        let sent = put.r#type(ParameterType::SecureString).send().await;
        let answer =
            sent.map_err(|error| ParameterError { path: path.into(), code: code(&error) })?;
        Ok(u64::try_from(answer.version).unwrap_or_default())
    }
}

fn code<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>) -> String {
    match error {
        SdkError::ServiceError(service) => service.err().code().unwrap_or("unknown code").into(),
        SdkError::TimeoutError(_) => "timed out".into(),
        _ => "not reached".into(),
    }
}

/// How long parameters are kept, and how long they are waited for.
#[derive(Clone, Copy, Debug)]
pub struct Ages {
    /// Older than this, they are read again.
    pub fresh: Duration,
    /// However many signatures fail, and however often reading fails, they are not read more often.
    pub not_sooner: Duration,
    /// Where older ones are at hand, so long is waited for newer: a webhook must be answered.
    pub patience: Duration,
}

impl Default for Ages {
    fn default() -> Self {
        Self {
            fresh: Duration::from_secs(300),
            not_sooner: Duration::from_secs(5),
            patience: Duration::from_secs(2),
        }
    }
}

/// A value made from parameters, kept while it is fresh.
pub struct Cached<T> {
    parameters: Parameters,
    prefix: String,
    folders: Vec<String>,
    ages: Ages,
    read: Box<dyn Fn(&Values) -> T + Send + Sync>,
    kept: Mutex<Option<Kept<T>>>,
}

struct Kept<T> {
    /// When reading was tried last.
    tried_at: Instant,
    /// When it succeeded last.
    read_at: Instant,
    value: Arc<T>,
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
        let ages = Ages::default();
        let kept = Mutex::new(None);
        Self { parameters, prefix, folders, ages, read: Box::new(read), kept }
    }

    /// Keeps to other ages.
    pub fn with_ages(mut self, ages: Ages) -> Self {
        self.ages = ages;
        self
    }

    /// The value, read again if it is not fresh. Where reading fails, the old value serves on.
    pub async fn get(&self) -> Result<Arc<T>, ParameterError> {
        self.get_newer_than(self.ages.fresh).await
    }

    /// The value, read again unless that was just done: after something failed that a changed
    /// configuration would explain.
    pub async fn get_again(&self) -> Result<Arc<T>, ParameterError> {
        self.get_newer_than(self.ages.not_sooner).await
    }

    async fn get_newer_than(&self, age: Duration) -> Result<Arc<T>, ParameterError> {
        let old = match &*self.kept() {
            Some(kept) if kept.read_at.elapsed() < age => return Ok(kept.value.clone()),
            Some(kept) if kept.tried_at.elapsed() < self.ages.not_sooner => {
                return Ok(kept.value.clone());
            }
            Some(kept) => Some(kept.value.clone()),
            None => None,
        };
        let Some(old) = old else {
            let values = self.read_folders().await?;
            return Ok(self.keep(&values));
        };
        let problem = match tokio::time::timeout(self.ages.patience, self.read_folders()).await {
            Ok(Ok(values)) => return Ok(self.keep(&values)),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "parameters could not be read in time".to_owned(),
        };
        warn!(problem, "configuration could not be read; cached values stay in use");
        if let Some(kept) = &mut *self.kept() {
            kept.tried_at = Instant::now();
        }
        Ok(old)
    }

    fn kept(&self) -> MutexGuard<'_, Option<Kept<T>>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, values: &Values) -> Arc<T> {
        let value = Arc::new((self.read)(values));
        let now = Instant::now();
        *self.kept() = Some(Kept { tried_at: now, read_at: now, value: value.clone() });
        value
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use aws_sdk_ssm::config::{BehaviorVersion, Credentials, Region};
    use switchboard_flow::telemetry::capture;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// A Parameter Store that answers `answers` requests, each with another value, and then is
    /// silent. Counts what it is asked.
    async fn store(answers: usize) -> (Parameters, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        tokio::spawn(async move {
            let mut silent = Vec::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                let n = count.fetch_add(1, Ordering::SeqCst);
                let _ = stream.read(&mut [0; 4096]).await;
                if n >= answers {
                    silent.push(stream);
                    continue;
                }
                let body =
                    format!(r#"{{"Parameters": [{{"Name": "/test/sources/x", "Value": "{n}"}}]}}"#);
                let head = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length";
                let answer = format!("{head}: {}\r\n\r\n{body}", body.len());
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        let config = aws_sdk_ssm::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("eu-central-1"))
            .credentials_provider(Credentials::new("fake", "fake", None, None, "test"))
            .http_client(crate::aws::http_client())
            .endpoint_url(endpoint)
            .build();
        (Parameters::new(aws_sdk_ssm::Client::from_conf(config)), asked)
    }

    fn cached(parameters: Parameters, ages: Ages) -> Cached<String> {
        let folders = vec!["sources".to_owned()];
        let read = |values: &Values| values["sources/x"].clone();
        let cached = Cached::new(parameters, "/test".into(), folders, read);
        cached.with_ages(ages)
    }

    const SOON: Duration = Duration::ZERO;
    const LATE: Duration = Duration::from_secs(600);

    #[tokio::test]
    async fn fresh_values_are_not_read_again_and_others_are() {
        let (parameters, asked) = store(9).await;
        let ages = Ages { fresh: LATE, not_sooner: LATE, patience: LATE };
        let values = cached(parameters.clone(), ages);
        for _ in 0..3 {
            assert_eq!(*values.get().await.unwrap(), "0");
            assert_eq!(*values.get_again().await.unwrap(), "0");
        }
        assert_eq!(asked.load(Ordering::SeqCst), 1);
        let values = cached(parameters, Ages { not_sooner: SOON, ..ages });
        assert_eq!(*values.get().await.unwrap(), "1");
        assert_eq!(*values.get().await.unwrap(), "1");
        assert_eq!(*values.get_again().await.unwrap(), "2");
    }

    #[tokio::test]
    async fn a_silent_store_holds_nobody_up_for_long_and_is_not_asked_again_at_once() {
        let (parameters, asked) = store(1).await;
        let patience = Duration::from_millis(50);
        let log = capture();
        let values = cached(parameters, Ages { fresh: SOON, not_sooner: LATE, patience });
        assert_eq!(*values.get().await.unwrap(), "0");
        // As if the value had been read long ago.
        values.kept().as_mut().unwrap().tried_at = Instant::now().checked_sub(LATE).unwrap();
        for _ in 0..3 {
            assert_eq!(*values.get().await.unwrap(), "0");
        }
        assert_eq!(asked.load(Ordering::SeqCst), 2);
        let said = log.lines();
        assert_eq!(said.len(), 1);
        assert!(
            said[0].contains("configuration could not be read; cached values stay in use"),
            "{}",
            said[0]
        );
    }
}
