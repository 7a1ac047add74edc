//! The AWS clients: one HTTP client and one set of credentials for all of them.
//!
//! Region and credentials are those that Lambda puts into the environment; there is no profile,
//! no SSO and no metadata service to ask. `AWS_ENDPOINT_URL` and `AWS_ENDPOINT_URL_<SERVICE>`
//! lead elsewhere, as to the local AWS.

use std::time::Duration;

use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_async::rt::sleep::TokioSleep;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use aws_smithy_runtime_api::client::behavior_version::BehaviorVersion;
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;
use aws_types::SdkConfig;
use aws_types::region::Region;

use crate::environment::{EnvironmentError, optional, required};

/// No single try of a request takes longer: a hook has ten seconds in all, and its sender fewer.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(3);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// The first try and two more, for throttling and broken connections.
const ATTEMPTS: u32 = 3;

/// A connection that was idle for longer is not used again: the services close theirs after a minute
/// or more, and a request on one that is closed has to be sent twice.
const IDLE_TIMEOUT: Duration = Duration::from_secs(50);

/// What every client is made from.
pub fn config() -> Result<SdkConfig, EnvironmentError> {
    let credentials = Credentials::new(
        required("AWS_ACCESS_KEY_ID")?,
        required("AWS_SECRET_ACCESS_KEY")?,
        optional("AWS_SESSION_TOKEN"),
        None,
        "environment",
    );
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .operation_attempt_timeout(ATTEMPT_TIMEOUT)
        .build();
    let mut config = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(required("AWS_REGION")?))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .http_client(http_client())
        .sleep_impl(TokioSleep::new())
        .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS))
        .timeout_config(timeouts);
    if let Some(url) = optional("AWS_ENDPOINT_URL") {
        config = config.endpoint_url(url);
    }
    Ok(config.build())
}

/// The one HTTP client that all of them share: TLS by rustls and ring, and by nothing else.
pub fn http_client() -> SharedHttpClient {
    aws_smithy_http_client::Builder::new()
        .pool_idle_timeout(IDLE_TIMEOUT)
        .tls_provider(Provider::Rustls(CryptoMode::Ring))
        .build_https()
}

/// Opens a connection before the first event, at full CPU. A service that is slow just then must not
/// keep the function from starting: after a second it is left to the first request.
pub async fn briefly(opening: impl Future<Output = ()>) {
    let _ = tokio::time::timeout(Duration::from_secs(1), opening).await;
}

/// A client for DynamoDB.
pub fn dynamodb(config: &SdkConfig) -> aws_sdk_dynamodb::Client {
    let mut own = aws_sdk_dynamodb::config::Builder::from(config);
    own.set_endpoint_url(endpoint("AWS_ENDPOINT_URL_DYNAMODB", config));
    aws_sdk_dynamodb::Client::from_conf(own.build())
}

/// A client for SQS.
pub fn sqs(config: &SdkConfig) -> aws_sdk_sqs::Client {
    let mut own = aws_sdk_sqs::config::Builder::from(config);
    own.set_endpoint_url(endpoint("AWS_ENDPOINT_URL_SQS", config));
    aws_sdk_sqs::Client::from_conf(own.build())
}

/// A client for the Systems Manager's Parameter Store.
pub fn ssm(config: &SdkConfig) -> aws_sdk_ssm::Client {
    let mut own = aws_sdk_ssm::config::Builder::from(config);
    own.set_endpoint_url(endpoint("AWS_ENDPOINT_URL_SSM", config));
    aws_sdk_ssm::Client::from_conf(own.build())
}

fn endpoint(service: &'static str, config: &SdkConfig) -> Option<String> {
    optional(service).or_else(|| config.endpoint_url().map(str::to_owned))
}
