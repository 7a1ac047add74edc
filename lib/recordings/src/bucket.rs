//! The bucket: addresses of objects, and requests signed for it (AWS Signature Version 4, as S3 wants it).
//!
//! Two requests are all that is asked of S3, so its SDK is not linked: one PUT of a file whose length and
//! digest are known, and an address to GET it for some minutes.

use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SignatureLocation,
    SigningInstructions, SigningSettings, UriPathNormalizationMode, sign,
};
use aws_sigv4::sign::v4::SigningParams;
use aws_smithy_runtime_api::client::identity::Identity;
use switchboard_domain::Personal;
use url::Url;

/// A request to the bucket that was not done. Texts hold no address and no secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BucketError {
    /// It could not be made.
    #[error("the request to the bucket could not be signed")]
    NotSigned,
    /// There was no answer.
    #[error("the bucket was not reached ({0})")]
    NotReached(String),
    /// The bucket answered something else than yes.
    #[error("the bucket responded {0}: check the function's role, and that the bucket is there")]
    Answered(u16),
}

/// A bucket of ours. It does not print: it holds our credentials.
#[derive(Clone)]
pub struct Bucket {
    /// Of all objects, with a slash at the end.
    base: Url,
    region: String,
    identity: Identity,
}

impl Bucket {
    /// A bucket of a region, by the credentials of the function. `endpoint` is where another S3 is, as
    /// that of the local AWS. `None`: the name makes no address.
    pub fn new(
        name: &str,
        region: &str,
        endpoint: Option<&str>,
        credentials: Credentials,
    ) -> Option<Self> {
        let base = match endpoint {
            Some(endpoint) => format!("{}/{name}/", endpoint.trim_end_matches('/')),
            None => {
                let suffix = if region.starts_with("cn-") { ".cn" } else { "" };
                format!("https://{name}.s3.{region}.amazonaws.com{suffix}/")
            }
        };
        let base = Url::parse(&base).ok()?;
        Some(Self { base, region: region.to_owned(), identity: credentials.into() })
    }

    /// An address at which anybody can get an object for so long.
    pub fn presigned(
        &self,
        key: &str,
        good_for: Duration,
        now: SystemTime,
    ) -> Result<Personal, BucketError> {
        let mut settings = settings();
        settings.signature_location = SignatureLocation::QueryParams;
        settings.expires_in = Some(good_for);
        // The address alone is signed, whatever headers are sent with it.
        settings.payload_checksum_kind = PayloadChecksumKind::NoHeader;
        let mut url = self.object(key)?;
        let instructions =
            self.sign("GET", &url, &[], SignableBody::UnsignedPayload, settings, now)?;
        url.query_pairs_mut().extend_pairs(instructions.params());
        Ok(Personal::new(url))
    }

    fn object(&self, key: &str) -> Result<Url, BucketError> {
        self.base.join(key).map_err(|_| BucketError::NotSigned)
    }

    fn sign(
        &self,
        method: &str,
        url: &Url,
        headers: &[(&str, &str)],
        body: SignableBody<'_>,
        settings: SigningSettings,
        now: SystemTime,
    ) -> Result<SigningInstructions, BucketError> {
        let params = SigningParams::builder()
            .identity(&self.identity)
            .region(&self.region)
            .name("s3")
            .time(now)
            .settings(settings)
            .build()
            .map_err(|_| BucketError::NotSigned)?;
        let request = SignableRequest::new(method, url.as_str(), headers.iter().copied(), body);
        let request = request.map_err(|_| BucketError::NotSigned)?;
        let signed = sign(request, &params.into()).map_err(|_| BucketError::NotSigned)?;
        Ok(signed.into_parts().0)
    }
}

/// Credentials that last, as those of a user: for tests, and for other S3s.
pub fn credentials(key_id: &str, secret: &str) -> Credentials {
    Credentials::new(key_id, secret, None, None, "given")
}

/// As S3 wants it: the path is signed as it is sent.
fn settings() -> SigningSettings {
    let mut settings = SigningSettings::default();
    settings.percent_encoding_mode = PercentEncodingMode::Single;
    settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
    settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
    settings
}

#[cfg(feature = "client")]
mod put {
    use http::header::CONTENT_TYPE;
    use switchboard_http::client::classify;

    use super::*;
    use crate::spool::Spooled;

    impl Bucket {
        /// Opens a connection, so that the first copy need not wait for it. What is answered does not
        /// matter.
        pub async fn connect(&self, transport: &reqwest::Client) {
            let _ = transport.head(self.base.clone()).send().await;
        }

        /// Puts a file there under a name, over whatever was there. The digest is signed, so S3 refuses
        /// a body that is not the one that was spooled.
        pub async fn put(
            &self,
            transport: &reqwest::Client,
            key: &str,
            media_type: &str,
            file: Spooled,
            timeout: Duration,
            now: SystemTime,
        ) -> Result<(), BucketError> {
            let url = self.object(key)?;
            let length = file.bytes.to_string();
            let headers = [("content-length", length.as_str()), ("content-type", media_type)];
            let digest = SignableBody::Precomputed(file.sha256.clone());
            let signed = self.sign("PUT", &url, &headers, digest, settings(), now)?;
            let mut request = transport.put(url).timeout(timeout).header(CONTENT_TYPE, media_type);
            for (name, value) in signed.headers() {
                request = request.header(name, value);
            }
            let body = file.into_body().map_err(|_| BucketError::NotSigned)?;
            let answer = request.body(reqwest::Body::wrap(body)).send().await;
            let answer =
                answer.map_err(|error| BucketError::NotReached(classify(&error).to_string()))?;
            match answer.status().as_u16() {
                200..=299 => Ok(()),
                status => Err(BucketError::Answered(status)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of "Authenticating Requests: Using Query Parameters" in the S3 documentation.
    #[test]
    fn an_address_is_signed_as_in_the_documentation_of_s3() {
        let credentials = Credentials::new(
            "AKIAIOSFODNN7EXAMPLE",
            "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
            None,
            None,
            "test",
        );
        let mut bucket = Bucket::new("examplebucket", "us-east-1", None, credentials).unwrap();
        assert_eq!(bucket.base.as_str(), "https://examplebucket.s3.us-east-1.amazonaws.com/");
        bucket.base = Url::parse("https://examplebucket.s3.amazonaws.com/").unwrap();
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_369_353_600);
        let address = bucket.presigned("test.txt", Duration::from_secs(86_400), at).unwrap();
        let url = Url::parse(address.expose()).unwrap();
        let mut query: Vec<(String, String)> = url.query_pairs().into_owned().collect();
        query.sort();
        let parameters: Vec<String> =
            query.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(
            parameters,
            [
                "X-Amz-Algorithm=AWS4-HMAC-SHA256",
                "X-Amz-Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request",
                "X-Amz-Date=20130524T000000Z",
                "X-Amz-Expires=86400",
                "X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404",
                "X-Amz-SignedHeaders=host",
            ]
        );
        assert_eq!(url.path(), "/test.txt");
    }

    #[test]
    fn a_bucket_is_where_its_region_or_its_endpoint_is() {
        let base = |region: &str, endpoint: Option<&str>| {
            let credentials = Credentials::new("fake", "fake", None, None, "test");
            Bucket::new("b-1", region, endpoint, credentials).unwrap().base.to_string()
        };
        assert_eq!(base("eu-central-1", None), "https://b-1.s3.eu-central-1.amazonaws.com/");
        assert_eq!(base("cn-north-1", None), "https://b-1.s3.cn-north-1.amazonaws.com.cn/");
        assert_eq!(
            base("eu-central-1", Some("http://127.0.0.1:4566")),
            "http://127.0.0.1:4566/b-1/"
        );
    }
}
