//! Twilio's webhook: its signature, its fields, and the item of its call.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac as _};
use jiff::Timestamp;
use jiff::fmt::rfc2822;
use serde_json::{Value, json};
use sha1::Sha1;

/// One installation of Twilio: its secrets, and its address in signatures.
pub struct Source {
    /// The last part of its parameter's name.
    pub name: String,
    /// Its parameter.
    pub settings: Value,
}

/// A call of one webhook.
pub struct Call<'a> {
    /// The source's name.
    pub source: &'a str,
    /// Twilio's id.
    pub id: String,
    fields: Vec<(String, String)>,
    target: String,
    body: Vec<u8>,
}

/// Authenticates and reads a request. The error is an HTTP status and its reason.
pub fn read<'a>(event: &Value, sources: &'a [Source]) -> Result<Call<'a>, (u16, &'static str)> {
    let text = |name: &str| event[name].as_str().unwrap_or_default();
    let signature = event["headers"]["x-twilio-signature"].as_str();
    let signature = signature.ok_or((401, "X-Twilio-Signature is required"))?;
    let body = match event["isBase64Encoded"] == true {
        true => STANDARD.decode(text("body")).map_err(|_| (400, "the body is not Base64"))?,
        false => text("body").into(),
    };
    let mark = if text("rawQueryString").is_empty() { "" } else { "?" };
    let target = [text("rawPath"), mark, text("rawQueryString")].concat();
    let mut fields: Vec<(String, String)> = form_urlencoded::parse(&body).into_owned().collect();
    let source = signer(&target, &fields, signature, sources);
    let source = &source.ok_or((403, "the signature does not match"))?.name;
    fields.retain(|(_, value)| !value.trim().is_empty());
    let id = find(&fields, "CallSid").ok_or((400, "CallSid is required"))?.to_owned();
    Ok(Call { source, id, fields, target, body })
}

/// The source one of whose secrets made the signature. Every secret is tried, so that time reveals nothing.
fn signer<'a>(
    target: &str,
    fields: &[(String, String)],
    signature: &str,
    sources: &'a [Source],
) -> Option<&'a Source> {
    let sent = STANDARD.decode(signature).unwrap_or_default();
    let mut sorted: Vec<&(String, String)> = fields.iter().collect();
    sorted.sort_unstable();
    sorted.dedup();
    let pairs: String = sorted.into_iter().flat_map(|(name, value)| [&**name, &**value]).collect();
    let mut found = None;
    for source in sources {
        let url = source.settings["public_url"].as_str().unwrap_or_default();
        let signed = [url, target, &pairs].concat();
        for secret in source.settings["secrets"].as_array().into_iter().flatten() {
            let secret = secret.as_str().unwrap_or_default();
            let Ok(mac) = Hmac::<Sha1>::new_from_slice(secret.as_bytes()) else { continue };
            // In constant time.
            if mac.chain_update(&signed).verify_slice(&sent).is_ok() {
                found = found.or(Some(source));
            }
        }
    }
    found
}

fn find<'a>(fields: &'a [(String, String)], name: &str) -> Option<&'a str> {
    fields.iter().find(|(this, _)| this == name).map(|(_, value)| value.trim())
}

impl Call<'_> {
    /// Whether there is work once it is stored: the call has ended, and is no leg of another.
    pub fn owes(&self) -> bool {
        self.state() == Some("ended") && find(&self.fields, "ParentCallSid").is_none()
    }

    fn state(&self) -> Option<&'static str> {
        match find(&self.fields, "CallStatus")? {
            "queued" | "initiated" => Some("queued"),
            "ringing" => Some("ringing"),
            "in-progress" => Some("in_progress"),
            "completed" | "busy" | "failed" | "no-answer" | "canceled" => Some("ended"),
            _ => None,
        }
    }

    /// The item of the table. `expires_at` is in seconds, `due_at` in milliseconds.
    pub fn item(&self, now: Timestamp, expires_at: i64, due_at: Option<i64>) -> Value {
        let field = |name: &str| find(&self.fields, name);
        let at = field("Timestamp").and_then(|at| rfc2822::parse(at).ok());
        let at = at.map(|at| format!("{:.3}", at.timestamp()));
        let (expires_at, due) = (expires_at.to_string(), due_at.map(|at| at.to_string()));
        let shard = format!("{:02}", self.id.bytes().next_back().unwrap_or_default() % 16);
        let digits = |name| field(name).filter(|value| value.bytes().all(|b| b.is_ascii_digit()));
        let (pk, raw) =
            (format!("call#twilio#{}#{}", self.source, self.id), STANDARD.encode(&self.body));
        let all = [
            ("pk", "S", Some(pk.as_str())),
            ("sk", "S", Some("call")),
            ("received_at", "S", Some(&format!("{now:.3}"))),
            ("expires_at", "N", Some(&expires_at)),
            ("target", "S", Some(&self.target)),
            ("raw", "B", Some(&raw)),
            ("state", "S", self.state()),
            ("status", "S", field("CallStatus")),
            ("at", "S", at.as_deref()),
            ("direction", "S", field("Direction")),
            ("from", "S", field("From").or_else(|| field("Caller"))),
            ("to", "S", field("To").or_else(|| field("Called"))),
            ("answered_by", "S", field("AnsweredBy")),
            ("parent", "S", field("ParentCallSid")),
            ("cause", "S", field("SipResponseCode")),
            ("recording_id", "S", field("RecordingSid")),
            ("recording_url", "S", field("RecordingUrl")),
            ("recording_seconds", "N", digits("RecordingDuration")),
            ("talk_seconds", "N", digits("CallDuration")),
            ("sequence", "N", digits("SequenceNumber")),
            ("due_shard", "S", due.as_ref().map(|_| shard.as_str())),
            ("due_at", "N", due.as_deref()),
        ];
        let known = all.into_iter().filter_map(|(name, kind, value)| Some((name, kind, value?)));
        known.map(|(name, kind, value)| (name.to_owned(), json!({ kind: value }))).collect()
    }
}
