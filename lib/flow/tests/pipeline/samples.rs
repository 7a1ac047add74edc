//! Webhooks: the files in `events/`, and Twilio messages signed here.

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac as _};
use jiff::Timestamp;
use sha1::Sha1;
use sha2::Sha256;
use switchboard_providers::Request;

pub const TOKEN: &str = "fake-twilio-auth-token-new";
pub const PUBLIC_URL: &str = "https://calls.example.com";

/// One request, to be sent at any time and as often as one likes.
#[derive(Clone, Debug)]
pub struct Webhook {
    pub provider: &'static str,
    pub target: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Webhook {
    pub fn request(&self, at: Timestamp) -> Request {
        let request = Request::new("POST", &self.target, at);
        let add = |request: Request, (name, value): &(String, String)| request.header(name, value);
        self.headers.iter().fold(request, add).body(self.body.clone())
    }

    /// With a header replaced, or without it.
    pub fn header(mut self, name: &str, value: Option<&str>) -> Self {
        self.headers.retain(|(own, _)| !own.eq_ignore_ascii_case(name));
        self.headers.extend(value.map(|value| (name.to_owned(), value.to_owned())));
        self
    }
}

fn folder(provider: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../events")).join(provider)
}

/// The text of a file in `events/`.
pub fn text(provider: &str, file: &str) -> String {
    let path = folder(provider).join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The requests of one sample.
pub fn sample(provider: &'static str, name: &str) -> Vec<Webhook> {
    let one = |text: &str| {
        let (head, body) = text.trim_start_matches('\n').split_once("\n\n").unwrap();
        let mut lines = head.lines();
        let target = lines.next().unwrap().split(' ').nth(1).unwrap().to_owned();
        let headers = lines.map(|line| line.split_once(": ").unwrap());
        Webhook {
            provider,
            target,
            headers: headers.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            body: body.trim_matches('\n').as_bytes().to_vec(),
        }
    };
    text(provider, &format!("{name}.http")).split("\n###\n").map(one).collect()
}

/// The names of all samples of a provider.
pub fn names(provider: &str) -> Vec<String> {
    let files = std::fs::read_dir(folder(provider)).unwrap();
    let mut names: Vec<String> = files
        .filter_map(|file| {
            let name = file.unwrap().file_name().into_string().unwrap();
            name.strip_suffix(".http").map(str::to_owned)
        })
        .collect();
    names.sort();
    names
}

/// A signed Twilio callback.
pub fn twilio(target: &str, parameters: &[(&str, &str)]) -> Webhook {
    let mut sorted = parameters.to_vec();
    sorted.sort();
    let mut signed = format!("{PUBLIC_URL}{target}");
    for (name, value) in sorted {
        signed.push_str(name);
        signed.push_str(value);
    }
    let mut mac = Hmac::<Sha1>::new_from_slice(TOKEN.as_bytes()).unwrap();
    mac.update(signed.as_bytes());
    let signature = STANDARD.encode(mac.finalize().into_bytes());
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.extend_pairs(parameters);
    Webhook {
        provider: "twilio",
        target: target.to_owned(),
        headers: vec![
            ("Content-Type".into(), "application/x-www-form-urlencoded".into()),
            ("X-Twilio-Signature".into(), signature),
        ],
        body: form.finish().into_bytes(),
    }
}

/// A status callback of an outbound call of 60 seconds from 09:00:00 on.
pub fn call_status(sid: &str, status: &str) -> Webhook {
    call_status_at("/call-status-callback", sid, status)
}

/// The same to another path, or with a query.
pub fn call_status_at(target: &str, sid: &str, status: &str) -> Webhook {
    let (sequence, time) = match status {
        "initiated" => ("0", "Fri, 20 Feb 2026 09:00:00 +0000"),
        "ringing" => ("1", "Fri, 20 Feb 2026 09:00:02 +0000"),
        "in-progress" => ("2", "Fri, 20 Feb 2026 09:00:05 +0000"),
        _ => ("3", "Fri, 20 Feb 2026 09:01:05 +0000"),
    };
    let mut parameters = vec![
        ("CallSid", sid),
        ("AccountSid", "AC00000000000000000000000000000001"),
        ("From", "+61255501234"),
        ("To", "+61491570156"),
        ("Direction", "outbound-api"),
        ("CallStatus", status),
        ("SequenceNumber", sequence),
        ("Timestamp", time),
    ];
    match status {
        "completed" => parameters.extend([("CallDuration", "60"), ("Duration", "1")]),
        "no-answer" | "busy" => parameters.push(("CallDuration", "0")),
        _ => {}
    }
    twilio(target, &parameters)
}

/// The result of answering-machine detection: a machine.
pub fn machine(sid: &str) -> Webhook {
    let account = ("AccountSid", "AC00000000000000000000000000000001");
    twilio("/amd-status-callback", &[("CallSid", sid), account, ("AnsweredBy", "machine_end_beep")])
}

/// A recording that is ready.
pub fn recording(sid: &str) -> Webhook {
    twilio(
        "/recording-status-callback",
        &[
            ("CallSid", sid),
            ("AccountSid", "AC00000000000000000000000000000001"),
            ("RecordingSid", "RE00000000000000000000000000000001"),
            ("RecordingUrl", "https://api.twilio.com/recordings/RE1"),
            ("RecordingStatus", "completed"),
            ("RecordingDuration", "58"),
        ],
    )
}

/// An answered call of 61 seconds from an Asterisk, by the generic intake, with these members too.
pub fn asterisk(id: &str, more: serde_json::Value) -> Webhook {
    let base = serde_json::json!({
        "provider": "asterisk", "externalCallId": id, "clientPhone": "+79991234567",
        "durationSec": 61, "status": "answered",
    });
    intake(&crate::world::merged(base, more))
}

/// A JSON body to the generic intake.
pub fn intake(body: &serde_json::Value) -> Webhook {
    Webhook {
        provider: "intake",
        target: "/api/crm/intake/calls".into(),
        headers: vec![
            ("Content-Type".into(), "application/json".into()),
            ("X-Crm-Intake-Secret".into(), "fake-intake-secret".into()),
        ],
        body: body.to_string().into_bytes(),
    }
}

/// ElevenLabs' post-call webhook about a conversation on a Twilio call, signed at `now`.
pub fn conversation(data: serde_json::Value, now: Timestamp) -> Webhook {
    let body = serde_json::json!({
        "type": "post_call_transcription", "event_timestamp": now.as_second(), "data": data,
    });
    let body = body.to_string().into_bytes();
    let mut mac = Hmac::<Sha256>::new_from_slice(b"wsec_fake-elevenlabs-secret").unwrap();
    mac.update(format!("{}.", now.as_second()).as_bytes());
    mac.update(&body);
    let code: String =
        mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    let signature = format!("t={},v0={code}", now.as_second());
    Webhook {
        provider: "elevenlabs",
        target: "/webhooks/elevenlabs".into(),
        headers: vec![
            ("Content-Type".into(), "application/json".into()),
            ("ElevenLabs-Signature".into(), signature),
        ],
        body,
    }
}
