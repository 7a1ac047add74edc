//! An AWS service that speaks JSON: requests signed by hand (Signature Version 4).

use std::env::var;
use std::sync::Arc;

use hmac::{Hmac, Mac as _};
use jiff::Timestamp;
use rustls::ClientConfig;
use sha2::{Digest as _, Sha256};

use crate::Failure;
use crate::connection::{Connection, Response};

/// A service, its connection, and what its requests are signed with.
pub struct Service {
    connection: Connection,
    name: &'static str,
    region: String,
    key_id: String,
    secret: String,
    token: String,
    /// The day (`20260220`) and the key that is valid for it.
    key: (String, Vec<u8>),
}

impl Service {
    /// A service at its own address, or where `AWS_ENDPOINT_URL_<NAME>` leads.
    pub fn new(name: &'static str, tls: &Arc<ClientConfig>) -> Result<Self, Failure> {
        let region = var("AWS_REGION")?;
        let authority = match var(format!("AWS_ENDPOINT_URL_{}", name.to_ascii_uppercase())) {
            Ok(url) => url.strip_prefix("https://").ok_or("an endpoint without TLS")?.to_owned(),
            Err(_) => format!("{name}.{region}.amazonaws.com"),
        };
        Ok(Self {
            connection: Connection::new(&authority, Some(tls.clone())),
            name,
            region,
            key_id: var("AWS_ACCESS_KEY_ID")?,
            secret: var("AWS_SECRET_ACCESS_KEY")?,
            token: var("AWS_SESSION_TOKEN")?,
            key: Default::default(),
        })
    }

    /// Opens the connection.
    pub fn open(&mut self) -> Result<(), Failure> {
        self.connection.open()
    }

    /// Requests an operation, as `AmazonSQS.SendMessage`.
    pub fn request(&mut self, target: &str, body: &str) -> Result<Response, Failure> {
        let request = self.signed(target, body, Timestamp::now())?;
        self.connection.send(request.as_bytes())
    }

    fn signed(&mut self, target: &str, body: &str, now: Timestamp) -> Result<String, Failure> {
        let time = now.strftime("%Y%m%dT%H%M%SZ").to_string();
        let (day, _) = time.split_once('T').unwrap_or_default();
        let (name, region) = (self.name, &self.region);
        if self.key.0 != day {
            let mut key = mac(format!("AWS4{}", self.secret).as_bytes(), day)?;
            for part in [region, name, "aws4_request"] {
                key = mac(&key, part)?;
            }
            self.key = (day.to_owned(), key);
        }
        // DynamoDB and SQS use version 1.0 of the protocol, SSM version 1.1.
        let version = if name == "ssm" { "1.1" } else { "1.0" };
        let headers = format!(
            "content-type:application/x-amz-json-{version}\nhost:{}\nx-amz-date:{time}\nx-amz-security-token:{}\nx-amz-target:{target}\n",
            self.connection.authority, self.token,
        );
        let names = "content-type;host;x-amz-date;x-amz-security-token;x-amz-target";
        let hash = hex(&Sha256::digest(body));
        let hash = hex(&Sha256::digest(format!("POST\n/\n\n{headers}\n{names}\n{hash}")));
        let scope = format!("{day}/{region}/{name}/aws4_request");
        let to_sign = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{hash}");
        let signature = hex(&mac(&self.key.1, &to_sign)?);
        Ok(format!(
            "POST / HTTP/1.1\r\n{}authorization:AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={signature}\r\ncontent-length:{}\r\n\r\n{body}",
            headers.replace('\n', "\r\n"),
            self.key_id,
            body.len(),
        ))
    }
}

fn mac(key: &[u8], text: &str) -> Result<Vec<u8>, Failure> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key)?;
    mac.update(text.as_bytes());
    Ok(mac.finalize().into_bytes().to_vec())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
