//! The AWS clients: one HTTP client and one set of credentials for all of them.
//!
//! Region and credentials are those that Lambda puts into the environment; there is no profile,
//! no SSO and no metadata service to ask. `AWS_ENDPOINT_URL` and `AWS_ENDPOINT_URL_<SERVICE>`
//! lead elsewhere, as to the local AWS.

mod headers;

use std::time::Duration;

use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_ssm::config::IdentityCache;
use aws_smithy_async::rt::sleep::TokioSleep;
use aws_smithy_http_client::Connector;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use aws_smithy_runtime_api::client::behavior_version::BehaviorVersion;
use aws_smithy_runtime_api::client::http::{
    HttpConnectorSettings, SharedHttpClient, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;
use aws_types::SdkConfig;
use aws_types::region::Region;

use self::headers::ShortHeaders;
use crate::environment::{EnvironmentError, optional, required};

/// No single try of a request takes longer: a hook has ten seconds in all, and its sender fewer.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(3);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// The first try and two more, for throttling and broken connections.
const ATTEMPTS: u32 = 3;

/// A connection that was idle for longer is not used again: the services close theirs after a minute
/// or more, and a request on one that is closed has to be sent twice.
const IDLE_TIMEOUT: Duration = Duration::from_secs(50);

/// The authorities of Amazon Trust Services, as they publish them: one of them stands behind every
/// service of the partitions `aws` and `aws-us-gov`.
const AMAZON_ROOTS: &str = include_str!("aws/amazon-roots.pem");

/// What every client is made from.
pub fn config() -> Result<SdkConfig, EnvironmentError> {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .operation_attempt_timeout(ATTEMPT_TIMEOUT)
        .build();
    let region = required("AWS_REGION")?;
    let mut config = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .http_client(http_client_trusting(authorities(&region)))
        .region(Region::new(region))
        .credentials_provider(SharedCredentialsProvider::new(credentials()?))
        .sleep_impl(TokioSleep::new())
        .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS))
        // An attempt's timeout bounds its body too; and credentials that are there need no cache.
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .identity_cache(IdentityCache::no_cache())
        .timeout_config(timeouts);
    if let Some(url) = optional("AWS_ENDPOINT_URL") {
        config = config.endpoint_url(url);
    }
    Ok(config.build())
}

/// An HTTP client with the system's root certificates, for the command line.
pub fn http_client() -> SharedHttpClient {
    http_client_trusting(TrustStore::default())
}

/// The one HTTP client that all of them share: TLS by rustls and ring, and by nothing else. It is made
/// here, once: the library's own client parses the authorities again for every service.
fn http_client_trusting(authorities: TrustStore) -> SharedHttpClient {
    // What is built here is checked when the connector parses it.
    let tls = TlsContext::builder().with_trust_store(authorities).build().unwrap_or_default();
    let settings = HttpConnectorSettings::builder().connect_timeout(CONNECT_TIMEOUT).build();
    let connector = Connector::builder()
        .connector_settings(settings)
        .sleep_impl(TokioSleep::new())
        .pool_idle_timeout(IDLE_TIMEOUT)
        .tls_provider(Provider::Rustls(CryptoMode::Ring))
        .tls_context(tls)
        .build();
    let connector = SharedHttpConnector::new(connector);
    http_client_fn(move |_, _| connector.clone())
}

/// Whose certificates a function takes for AWS: Amazon's own authorities, since to parse the system's
/// hundred and more takes as long as all else that a hook does before its first event. Elsewhere (China,
/// isolated regions), and where `SSL_CERT_FILE` or `SSL_CERT_DIR` says so, what the system trusts.
fn authorities(region: &str) -> TrustStore {
    let says_so =
        ["SSL_CERT_FILE", "SSL_CERT_DIR"].into_iter().any(|name| optional(name).is_some());
    if says_so || !is_behind_amazon_roots(region) {
        return TrustStore::default();
    }
    TrustStore::empty().with_pem_certificate(AMAZON_ROOTS)
}

/// Whether a region is one of the partitions `aws` and `aws-us-gov`.
fn is_behind_amazon_roots(region: &str) -> bool {
    !["cn-", "us-iso", "eu-iso", "eusc-"].into_iter().any(|other| region.starts_with(other))
}

/// Opens a connection before the first event, at full CPU. A service that is slow just then must not
/// keep the function from starting: after a second it is left to the first request.
pub async fn briefly(opening: impl Future<Output = ()>) {
    let _ = tokio::time::timeout(Duration::from_secs(1), opening).await;
}

/// A client for DynamoDB.
pub fn dynamodb(config: &SdkConfig) -> aws_sdk_dynamodb::Client {
    let mut own = aws_sdk_dynamodb::config::Builder::from(config).interceptor(ShortHeaders);
    own.set_endpoint_url(endpoint("AWS_ENDPOINT_URL_DYNAMODB", config));
    aws_sdk_dynamodb::Client::from_conf(own.build())
}

/// A client for SQS.
pub fn sqs(config: &SdkConfig) -> aws_sdk_sqs::Client {
    let mut own = aws_sdk_sqs::config::Builder::from(config).interceptor(ShortHeaders);
    own.set_endpoint_url(endpoint("AWS_ENDPOINT_URL_SQS", config));
    aws_sdk_sqs::Client::from_conf(own.build())
}

/// A client for the Systems Manager's Parameter Store.
pub fn ssm(config: &SdkConfig) -> aws_sdk_ssm::Client {
    let mut own = aws_sdk_ssm::config::Builder::from(config).interceptor(ShortHeaders);
    own.set_endpoint_url(endpoint("AWS_ENDPOINT_URL_SSM", config));
    aws_sdk_ssm::Client::from_conf(own.build())
}

/// What requests to S3 are made and signed with: they are few and made by hand, without its SDK.
pub struct S3 {
    /// The region.
    pub region: String,
    /// Where another S3 is, if one is set.
    pub endpoint: Option<String>,
    /// The function's own.
    pub credentials: Credentials,
}

/// Where S3 is, and who we are.
pub fn s3(config: &SdkConfig) -> Result<S3, EnvironmentError> {
    Ok(S3 {
        region: required("AWS_REGION")?,
        endpoint: endpoint("AWS_ENDPOINT_URL_S3", config),
        credentials: credentials()?,
    })
}

/// Those that Lambda puts into the environment.
fn credentials() -> Result<Credentials, EnvironmentError> {
    Ok(Credentials::new(
        required("AWS_ACCESS_KEY_ID")?,
        required("AWS_SECRET_ACCESS_KEY")?,
        optional("AWS_SESSION_TOKEN"),
        None,
        "environment",
    ))
}

fn endpoint(service: &'static str, config: &SdkConfig) -> Option<String> {
    optional(service).or_else(|| config.endpoint_url().map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use rustls_pki_types::CertificateDer;
    use rustls_pki_types::pem::PemObject as _;

    use super::*;

    /// Mozilla's list, which another crate carries, has them too, and no other of Amazon's.
    #[test]
    fn amazons_roots_are_those_that_mozilla_knows() {
        let subjects = |roots: &[rustls_pki_types::TrustAnchor<'_>]| -> Vec<Vec<u8>> {
            let mut found: Vec<Vec<u8>> = roots
                .iter()
                .map(|root| root.subject.to_vec())
                .filter(|subject| {
                    let text = String::from_utf8_lossy(subject).into_owned();
                    text.contains("Amazon Root CA") || text.contains("Starfield Services Root")
                })
                .collect();
            found.sort();
            found
        };
        let certificates: Vec<_> = CertificateDer::pem_slice_iter(AMAZON_ROOTS.as_bytes())
            .collect::<Result<_, _>>()
            .unwrap();
        let anchors: Vec<_> =
            certificates.iter().map(|one| webpki::anchor_from_trusted_cert(one).unwrap()).collect();
        let known = webpki_roots::TLS_SERVER_ROOTS;
        assert_eq!(subjects(&anchors), subjects(known));
        for anchor in &anchors {
            let same = known.iter().find(|one| one.subject == anchor.subject).unwrap();
            assert_eq!(same.subject_public_key_info, anchor.subject_public_key_info);
        }
    }

    #[test]
    fn other_partitions_have_other_authorities() {
        for (region, amazons) in [
            ("us-east-1", true),
            ("eu-central-1", true),
            ("us-gov-west-1", true),
            ("cn-north-1", false),
            ("us-iso-east-1", false),
            ("us-isob-east-1", false),
            ("eu-isoe-west-1", false),
            ("eusc-de-east-1", false),
        ] {
            assert_eq!(is_behind_amazon_roots(region), amazons, "{region}");
        }
    }
}
