//! Checks the signatures of requests to AWS, version 4.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use hmac::{Hmac, Mac as _};
use sha2::{Digest as _, Sha256};

use crate::Failure;
use crate::aws::Received;
use crate::function::{KEY_ID, SECRET_KEY};

impl Received {
    /// Whether the request is signed with the key of the environment, with its host and session token.
    pub fn check_signature(&self) -> Result<(), Failure> {
        let header = |name: &str| -> Result<&str, Failure> {
            Ok(self.head.headers.get(name).ok_or(format!("no {name}"))?.to_str()?)
        };
        let parts = header("authorization")?.strip_prefix("AWS4-HMAC-SHA256 ").unwrap_or_default();
        let parts = parts.split(',').filter_map(|part| part.trim().split_once('='));
        let parts: BTreeMap<&str, &str> = parts.collect();
        let part = |name: &str| parts.get(name).copied().ok_or(format!("no {name}"));
        let (key_id, scope) = part("Credential")?.split_once('/').ok_or("no scope")?;
        let names = part("SignedHeaders")?;
        let is_signed = |name: &str| names.split(';').any(|signed| signed == name);
        let ends = format!("/{}/aws4_request", self.service);
        if key_id != KEY_ID
            || !scope.ends_with(&ends)
            || !is_signed("host")
            || !is_signed("x-amz-security-token")
        {
            return Err(format!("signed {names} for {key_id}/{scope}").into());
        }
        let mut canonical = format!("POST\n{}\n\n", self.head.uri.path());
        for name in names.split(';') {
            let words: Vec<&str> = header(name)?.split_whitespace().collect();
            writeln!(canonical, "{name}:{}", words.join(" "))?;
        }
        write!(canonical, "\n{names}\n{}", hex(&Sha256::digest(&self.body)))?;
        let digest = hex(&Sha256::digest(canonical));
        let to_sign = format!("AWS4-HMAC-SHA256\n{}\n{scope}\n{digest}", header("x-amz-date")?);
        let mut key = format!("AWS4{SECRET_KEY}").into_bytes();
        for part in scope.split('/').chain([to_sign.as_str()]) {
            let mut mac = Hmac::<Sha256>::new_from_slice(&key)?;
            mac.update(part.as_bytes());
            key = mac.finalize().into_bytes().to_vec();
        }
        match hex(&key) == part("Signature")? {
            true => Ok(()),
            false => Err(format!("{}: the signature is wrong", self.operation).into()),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
