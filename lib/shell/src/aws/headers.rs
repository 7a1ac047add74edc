//! What a request to AWS says of its sender: our name, instead of the SDK's description of itself.
//!
//! The SDK describes itself, the machine and each attempt in four headers, and makes and signs them anew
//! for every request, which is felt in a hook that does little else. AWS reads none of them to answer.
//! Our name stays, since it is what CloudTrail shows.

use aws_runtime::invocation_id::InvocationIdInterceptor;
use aws_runtime::request_info::RequestInfoInterceptor;
use aws_runtime::user_agent::UserAgentInterceptor;
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::{
    BeforeSerializationInterceptorContextRef, BeforeTransmitInterceptorContextMut,
};
use aws_smithy_runtime_api::client::interceptors::{
    Intercept, disable_interceptor, dyn_dispatch_hint,
};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;

/// Who we are.
const USER_AGENT: &str = concat!("switchboard/", env!("CARGO_PKG_VERSION"));
const WHY: &str = "nothing that answers reads it";

/// Makes the headers of a client's requests short.
#[derive(Debug)]
pub struct ShortHeaders;

#[dyn_dispatch_hint]
impl Intercept for ShortHeaders {
    fn name(&self) -> &'static str {
        "ShortHeaders"
    }

    fn read_before_execution(
        &self,
        _: &BeforeSerializationInterceptorContextRef<'_>,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        config
            .interceptor_state()
            .store_put(disable_interceptor::<UserAgentInterceptor>(WHY))
            .store_put(disable_interceptor::<InvocationIdInterceptor>(WHY))
            .store_put(disable_interceptor::<RequestInfoInterceptor>(WHY));
        Ok(())
    }

    fn modify_before_signing(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        context.request_mut().headers_mut().insert("user-agent", USER_AGENT);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_sqs::config::{BehaviorVersion, Credentials, Region};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_request_says_who_sent_it_and_nothing_of_the_sdk() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let config = aws_sdk_sqs::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("eu-central-1"))
            .credentials_provider(Credentials::new("fake", "fake", None, None, "test"))
            .http_client(crate::aws::http_client())
            .endpoint_url(endpoint)
            .interceptor(ShortHeaders)
            .build();
        let client = aws_sdk_sqs::Client::from_conf(config);
        let asked = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = vec![0; 4096];
            let length = stream.read(&mut head).await.unwrap();
            let answer = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}";
            stream.write_all(answer.as_bytes()).await.unwrap();
            String::from_utf8_lossy(&head[..length]).to_lowercase()
        };
        let (asked, answer) = tokio::join!(asked, client.list_queues().send());
        answer.unwrap();
        assert!(asked.contains("\r\nuser-agent: switchboard/"), "{asked}");
        assert!(asked.contains("\r\nauthorization: aws4-hmac-sha256 "), "{asked}");
        for left_out in ["x-amz-user-agent", "amz-sdk-", "aws-sdk-rust"] {
            assert!(!asked.contains(left_out), "{left_out} in {asked}");
        }
    }
}
