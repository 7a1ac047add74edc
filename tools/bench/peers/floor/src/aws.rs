//! An AWS service that speaks JSON: requests signed by hand (Signature Version 4).

use std::fmt::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use hmac::{Hmac, Mac as _};
use http_body_util::Full;
use hyper::Request;
use jiff::Timestamp;
use rustls::ClientConfig;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use crate::Failure;
use crate::connection::Connection;

/// Who signs.
pub struct Credentials {
    /// The access key's id.
    pub id: String,
    /// The access key's secret.
    pub secret: String,
    /// The session's token, if there is a session.
    pub token: Option<String>,
}

/// A service, its connection and the key of the day.
pub struct Service {
    connection: Connection,
    signer: Signer,
}

struct Signer {
    name: &'static str,
    region: String,
    credentials: Arc<Credentials>,
    authority: String,
    /// The day (`20260220`) and the key that is good for it.
    key: Option<(String, [u8; 32])>,
}

#[derive(Deserialize)]
struct ServiceError {
    #[serde(rename = "__type")]
    kind: String,
}

/// Whether an answer is the error of that name.
pub fn is_error(answer: &[u8], name: &str) -> bool {
    serde_json::from_slice(answer).is_ok_and(|error: ServiceError| error.kind.ends_with(name))
}

impl Service {
    /// A service at its own address, or where `AWS_ENDPOINT_URL_<NAME>` leads.
    pub fn new(
        name: &'static str,
        region: &str,
        credentials: &Arc<Credentials>,
        tls: &Arc<ClientConfig>,
    ) -> Result<Self, Failure> {
        let variable = format!("AWS_ENDPOINT_URL_{}", name.to_ascii_uppercase());
        let authority = match std::env::var(&variable) {
            Ok(url) => {
                let url = url.strip_prefix("https://").ok_or("an endpoint without TLS")?;
                url.trim_end_matches('/').to_owned()
            }
            Err(_) => format!("{name}.{region}.amazonaws.com"),
        };
        let signer = Signer {
            name,
            region: region.to_owned(),
            credentials: credentials.clone(),
            authority: authority.clone(),
            key: None,
        };
        Ok(Self { connection: Connection::tls(&authority, tls.clone()), signer })
    }

    /// Opens the connection ahead of the first request.
    pub async fn connect(&mut self) -> Result<(), Failure> {
        self.connection.open().await
    }

    /// Asks for an operation (`AmazonSQS.SendMessage`). The answer's status and body.
    pub async fn ask(&mut self, target: &str, body: String) -> Result<(u16, Bytes), Failure> {
        let (body, signer) = (Bytes::from(body), &mut self.signer);
        let request = || signer.signed(target, body.clone(), Timestamp::now());
        let (head, answer) = self.connection.send(request).await?;
        Ok((head.status.as_u16(), answer))
    }
}

impl Signer {
    fn signed(
        &mut self,
        target: &str,
        body: Bytes,
        now: Timestamp,
    ) -> Result<Request<Full<Bytes>>, Failure> {
        // DynamoDB and SQS take version 1.0 of the protocol, SSM version 1.1.
        let version = if self.name == "ssm" { "1.1" } else { "1.0" };
        let content_type = format!("application/x-amz-json-{version}");
        let time = now.strftime("%Y%m%dT%H%M%SZ").to_string();
        let (day, _) = time.split_once('T').unwrap_or_default();
        let key = self.key(day)?;
        let scope = format!("{day}/{}/{}/aws4_request", self.region, self.name);

        let host = &self.authority;
        let (token_line, token_name) = match &self.credentials.token {
            Some(token) => (format!("x-amz-security-token:{token}\n"), "x-amz-security-token;"),
            None => (String::new(), ""),
        };
        let names = format!("content-type;host;x-amz-date;{token_name}x-amz-target");
        let hash = hex(&Sha256::digest(&body));
        let canonical = format!(
            "POST\n/\n\ncontent-type:{content_type}\nhost:{host}\nx-amz-date:{time}\n{token_line}x-amz-target:{target}\n\n{names}\n{hash}"
        );
        let hash = hex(&Sha256::digest(canonical));
        let to_sign = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{hash}");
        let signature = hex(&mac(&key, &to_sign)?);
        let id = &self.credentials.id;
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={id}/{scope}, SignedHeaders={names}, Signature={signature}"
        );

        let mut request = Request::post("/")
            .header("host", host)
            .header("content-type", content_type)
            .header("x-amz-date", &time)
            .header("x-amz-target", target)
            .header("authorization", authorization);
        if let Some(token) = &self.credentials.token {
            request = request.header("x-amz-security-token", token);
        }
        Ok(request.body(Full::new(body))?)
    }

    /// The key of a day, made when the day is new.
    fn key(&mut self, day: &str) -> Result<[u8; 32], Failure> {
        if let Some((of, key)) = &self.key
            && of == day
        {
            return Ok(*key);
        }
        let secret = format!("AWS4{}", self.credentials.secret);
        let key = mac(secret.as_bytes(), day)?;
        let key = mac(&mac(&mac(&key, &self.region)?, self.name)?, "aws4_request")?;
        self.key = Some((day.to_owned(), key));
        Ok(key)
    }
}

fn mac(key: &[u8], text: &str) -> Result<[u8; 32], Failure> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key)?;
    mac.update(text.as_bytes());
    Ok(mac.finalize().into_bytes().into())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(64), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
