//! Twilio's webhook: its signature, what it says of a call, and the call's item.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac as _};
use jiff::Timestamp;
use jiff::fmt::rfc2822;
use serde::Deserialize;
use sha1::Sha1;

/// One installation of Twilio: who may call, and under which address.
#[derive(Deserialize)]
pub struct Source {
    /// Its name: the last part of its parameter's.
    #[serde(skip)]
    pub name: String,
    secrets: Vec<String>,
    public_url: String,
}

/// An event of an API Gateway HTTP API, payload format 2.0.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event<'a> {
    #[serde(borrow)]
    raw_path: Cow<'a, str>,
    #[serde(borrow, default)]
    raw_query_string: Cow<'a, str>,
    headers: Headers<'a>,
    #[serde(borrow, default)]
    body: Cow<'a, str>,
    #[serde(rename = "isBase64Encoded", default)]
    is_base64: bool,
}

#[derive(Deserialize)]
struct Headers<'a> {
    #[serde(rename = "x-twilio-signature", borrow, default)]
    signature: Cow<'a, str>,
}

/// Why a request is not taken.
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// In words for the sender, without a quote in them.
    pub why: &'static str,
}

/// A call as one webhook tells of it.
pub struct Call<'a> {
    /// The source's name.
    pub source: &'a str,
    /// Twilio's id.
    pub id: String,
    fields: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    target: String,
    body: Cow<'a, str>,
}

/// Lets a request in, or not, and reads it.
pub fn read<'a>(event: &'a Event<'a>, sources: &'a [Source]) -> Result<Call<'a>, Refusal> {
    if event.headers.signature.is_empty() {
        return Err(Refusal { status: 401, why: "X-Twilio-Signature is required" });
    }
    let malformed = |why| Refusal { status: 400, why };
    let decoded = match event.is_base64 {
        true => STANDARD.decode(&*event.body).map_err(|_| malformed("the body is not Base64"))?,
        false => event.body.as_bytes().to_vec(),
    };
    let target = match &*event.raw_query_string {
        "" => event.raw_path.to_string(),
        query => format!("{}?{query}", event.raw_path),
    };
    let mut fields: Vec<(Cow<str>, Cow<str>)> = form_urlencoded::parse(&decoded)
        .map(|(name, value)| (Cow::Owned(name.into_owned()), Cow::Owned(value.into_owned())))
        .collect();
    let Some(source) = signer(&target, &fields, &event.headers.signature, sources) else {
        return Err(Refusal { status: 403, why: "the signature does not match" });
    };
    fields.retain(|(_, value)| !value.trim().is_empty());
    let id = find(&fields, "CallSid").ok_or(malformed("CallSid is required"))?.to_owned();
    // The table takes bytes as Base64: as they came, unless they came as text.
    let body = match event.is_base64 {
        true => Cow::Borrowed(&*event.body),
        false => Cow::Owned(STANDARD.encode(&decoded)),
    };
    Ok(Call { source: &source.name, id, fields, target, body })
}

/// The source one of whose secrets made the signature. Every secret is tried, whichever fits.
fn signer<'a>(
    target: &str,
    fields: &[(Cow<str>, Cow<str>)],
    signature: &str,
    sources: &'a [Source],
) -> Option<&'a Source> {
    let sent = STANDARD.decode(signature).unwrap_or_default();
    let mut sorted: Vec<&(Cow<str>, Cow<str>)> = fields.iter().collect();
    sorted.sort_unstable();
    sorted.dedup();
    let mut found = None;
    for source in sources {
        for secret in &source.secrets {
            let Ok(mut mac) = Hmac::<Sha1>::new_from_slice(secret.as_bytes()) else { continue };
            mac.update(source.public_url.as_bytes());
            mac.update(target.as_bytes());
            for (name, value) in &sorted {
                mac.update(name.as_bytes());
                mac.update(value.as_bytes());
            }
            // In constant time.
            if mac.verify_slice(&sent).is_ok() {
                found = found.or(Some(source));
            }
        }
    }
    found
}

fn find<'a>(fields: &'a [(Cow<str>, Cow<str>)], name: &str) -> Option<&'a str> {
    fields.iter().find(|(this, _)| this == name).map(|(_, value)| value.trim())
}

impl Call<'_> {
    /// Whether there is something to do once it is stored: the call has ended, and is no leg of another.
    pub fn owes(&self) -> bool {
        self.state() == Some("ended") && self.field("ParentCallSid").is_none()
    }

    fn field(&self, name: &str) -> Option<&str> {
        find(&self.fields, name)
    }

    fn state(&self) -> Option<&'static str> {
        match self.field("CallStatus")? {
            "queued" | "initiated" => Some("queued"),
            "ringing" => Some("ringing"),
            "in-progress" => Some("in_progress"),
            "completed" | "busy" | "failed" | "no-answer" | "canceled" => Some("ended"),
            _ => None,
        }
    }

    /// The item of the table, in DynamoDB's JSON. Times are in seconds and milliseconds.
    pub fn item(&self, now: Timestamp, expires_at: i64, due_at: Option<i64>) -> String {
        let mut item = Item(String::with_capacity(1_024 + self.body.len()));
        item.put("pk", "S", &format!("call#twilio#{}#{}", self.source, self.id));
        item.put("sk", "S", "call");
        item.put("received_at", "S", &format!("{now:.3}"));
        item.put("expires_at", "N", &expires_at.to_string());
        item.put("target", "S", &self.target);
        item.put("raw", "B", &self.body);
        let at = self.field("Timestamp").and_then(|at| rfc2822::parse(at).ok());
        let at = at.map(|at| format!("{:.3}", at.timestamp()));
        for (name, value) in [
            ("state", self.state()),
            ("status", self.field("CallStatus")),
            ("at", at.as_deref()),
            ("direction", self.field("Direction")),
            ("from", self.field("From").or_else(|| self.field("Caller"))),
            ("to", self.field("To").or_else(|| self.field("Called"))),
            ("answered_by", self.field("AnsweredBy")),
            ("parent", self.field("ParentCallSid")),
            ("cause", self.field("SipResponseCode")),
            ("recording_id", self.field("RecordingSid")),
            ("recording_url", self.field("RecordingUrl")),
        ] {
            if let Some(value) = value {
                item.put(name, "S", value);
            }
        }
        for (name, field) in [
            ("recording_seconds", "RecordingDuration"),
            ("talk_seconds", "CallDuration"),
            ("sequence", "SequenceNumber"),
        ] {
            let value = self.field(field);
            if let Some(value) = value.filter(|value| value.bytes().all(|b| b.is_ascii_digit())) {
                item.put(name, "N", value);
            }
        }
        if let Some(due_at) = due_at {
            let last = self.id.chars().next_back().map_or(0, u32::from);
            item.put("due_shard", "S", &format!("{:02}", last % 16));
            item.put("due_at", "N", &due_at.to_string());
        }
        item.0.push('}');
        item.0
    }
}

/// DynamoDB's JSON as it is written.
struct Item(String);

impl Item {
    fn put(&mut self, name: &str, kind: &str, value: &str) {
        self.0.push(if self.0.is_empty() { '{' } else { ',' });
        // Text always serializes.
        let value = serde_json::to_string(value).unwrap_or_default();
        for part in ["\"", name, "\":{\"", kind, "\":", &value, "}"] {
            self.0.push_str(part);
        }
    }
}
