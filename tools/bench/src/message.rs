//! A webhook of a sample's event: taken apart, changed, signed anew.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac as _};
use jiff::Timestamp;
use serde_json::Value;
use sha1::Sha1;
use sha2::Sha256;
use switchboard_providers::Request;

/// What a source's parameter says of secrets and signatures.
#[derive(Clone, Debug)]
pub struct Opener {
    /// The first secret.
    pub secret: String,
    /// The address that a signature may cover.
    pub public_url: String,
}

impl Opener {
    /// Reads it of a source's JSON. `None` where nothing opens the source.
    pub fn of(source: &Value) -> Option<Self> {
        let first = source.get("secrets")?.get(0)?;
        let secret = first.as_str().or_else(|| first.get("secret")?.as_str())?.to_owned();
        let public_url = source["public_url"].as_str().unwrap_or_default().to_owned();
        Some(Self { secret, public_url })
    }

    /// One that opens nothing, of the same length.
    pub fn wrong(&self) -> Self {
        let secret = self.secret.chars().rev().map(|c| if c == 'x' { 'y' } else { 'x' }).collect();
        Self { secret, public_url: self.public_url.clone() }
    }
}

/// A webhook, and the event that it stands in.
#[derive(Clone, Debug)]
pub struct Message {
    event: Value,
    /// The body as it was sent.
    pub body: Vec<u8>,
    /// The query, without its question mark.
    pub query: String,
}

impl Message {
    /// Of an API Gateway event, payload format 2.0.
    pub fn of(event: Value) -> Option<Self> {
        let body = event["body"].as_str().unwrap_or_default();
        let body = match event["isBase64Encoded"].as_bool()? {
            true => STANDARD.decode(body).ok()?,
            false => body.as_bytes().to_vec(),
        };
        let query = event["rawQueryString"].as_str().unwrap_or_default().to_owned();
        Some(Self { event, body, query })
    }

    fn path(&self) -> &str {
        self.event["rawPath"].as_str().unwrap_or("/")
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.event["headers"].get(name)?.as_str()
    }

    /// The request as a provider sees it.
    pub fn request(&self) -> Request {
        let method = self.event["requestContext"]["http"]["method"].as_str().unwrap_or("POST");
        let target = format!("{}?{}", self.path(), self.query);
        let mut request = Request::new(method, &target, Timestamp::now());
        for (name, value) in self.event["headers"].as_object().into_iter().flatten() {
            request = request.header(name, value.as_str().unwrap_or_default());
        }
        request.body(self.body.clone())
    }

    /// The same with every occurrence of a text replaced, in body and query.
    pub fn replaced(&self, old: &str, new: &str) -> Self {
        let body = String::from_utf8_lossy(&self.body).replace(old, new);
        let query = self.query.replace(old, new);
        Self { event: self.event.clone(), body: body.into_bytes(), query }
    }

    /// The same with another body.
    pub fn with_body(&self, body: Vec<u8>) -> Self {
        Self { body, ..self.clone() }
    }

    /// Signs it as the header that is there asks for. Where none does, the secret itself is in a
    /// header, the query or the body: then that of `opener` stands in for the sample's.
    pub fn signed(mut self, sample: &Opener, opener: &Opener) -> Self {
        let signature = if self.header("x-twilio-signature").is_some() {
            Some(("x-twilio-signature", self.twilio(opener)))
        } else if self.header("elevenlabs-signature").is_some() {
            Some(("elevenlabs-signature", self.elevenlabs(opener)))
        } else {
            None
        };
        match signature {
            Some((name, value)) => self.event["headers"][name] = value.into(),
            None if sample.secret != opener.secret => {
                self = self.replaced(&sample.secret, &opener.secret);
                for value in self.event["headers"].as_object_mut().into_iter().flatten() {
                    let with = value.1.as_str().unwrap_or_default();
                    *value.1 = with.replace(&sample.secret, &opener.secret).into();
                }
            }
            None => {}
        }
        self
    }

    /// HMAC-SHA1 of the public URL and the sorted parameters, as Twilio documents it.
    fn twilio(&self, opener: &Opener) -> String {
        let mark = if self.query.is_empty() { "" } else { "?" };
        let mut signed = format!("{}{}{mark}{}", opener.public_url, self.path(), self.query);
        let mut parameters: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (name, value) in form_urlencoded::parse(&self.body) {
            parameters.entry(name.into_owned()).or_default().insert(value.into_owned());
        }
        for (name, values) in parameters {
            for value in values {
                signed.push_str(&name);
                signed.push_str(&value);
            }
        }
        // An HMAC takes a key of any length: this is never the empty signature.
        let Ok(mut mac) = Hmac::<Sha1>::new_from_slice(opener.secret.as_bytes()) else {
            return String::new();
        };
        mac.update(signed.as_bytes());
        STANDARD.encode(mac.finalize().into_bytes())
    }

    /// `t=<now>,v0=<HMAC-SHA256 of "<now>.<body>">`, as ElevenLabs documents it.
    fn elevenlabs(&self, opener: &Opener) -> String {
        let now = Timestamp::now().as_second();
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(opener.secret.as_bytes()) else {
            return String::new();
        };
        mac.update(format!("{now}.").as_bytes());
        mac.update(&self.body);
        let code = mac.finalize().into_bytes();
        let code: String = code.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("t={now},v0={code}")
    }

    /// The event to hand out.
    pub fn event(&self) -> Vec<u8> {
        let mut event = self.event.clone();
        event["rawQueryString"] = self.query.clone().into();
        let is_base64 = event["isBase64Encoded"].as_bool().unwrap_or(false);
        event["body"] = match is_base64 {
            true => STANDARD.encode(&self.body).into(),
            false => String::from_utf8_lossy(&self.body).into_owned().into(),
        };
        event.to_string().into_bytes()
    }
}
