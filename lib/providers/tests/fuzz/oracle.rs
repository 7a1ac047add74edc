//! Who may be let in, worked out a second time and in another way than the providers do.
//!
//! A signature cannot be made up without its key. So of a provider that signs, a request may be taken
//! only if what is signed and the signature both are those of a request that was signed here.

use std::collections::HashSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac as _};
use jiff::SignedDuration;
use sha1::Sha1;
use sha2::{Digest as _, Sha256};
use switchboard_domain::Name;
use switchboard_providers::{Provider, Source, Sources};

use crate::common;
use crate::input::Input;

/// How a provider signs with HMAC-SHA256, as `events/<provider>/signature.json` says.
#[derive(serde::Deserialize)]
struct Scheme {
    /// The header of the signature.
    header: String,
    /// What is signed: a text with `{body}` at its end and perhaps `{time}`, in Unix seconds.
    signed: String,
    /// The header's value, with `{hex}` at its end and perhaps `{time}`.
    value: String,
}

impl Scheme {
    fn of(provider: &dyn Provider) -> Option<Self> {
        let path = common::events().join(provider.name()).join("signature.json");
        Some(serde_json::from_str(&std::fs::read_to_string(path).ok()?).unwrap())
    }

    fn text(&self, time: &str, body: &[u8]) -> Vec<u8> {
        let before = self.signed.strip_suffix("{body}").unwrap().replace("{time}", time);
        [before.as_bytes(), body].concat()
    }

    fn sign(&self, input: &mut Input, secret: &str) {
        let time = input.received_at().as_second().to_string();
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
        mac.update(&self.text(&time, &input.body));
        let code = hex(&mac.finalize().into_bytes());
        let value = self.value.replace("{time}", &time).replace("{hex}", &code);
        input.set_header(&self.header, &value);
    }
}

/// What was signed, and the signature.
type Signed = (Vec<u8>, Vec<u8>);

/// The requests that were signed with the sources' secrets.
#[derive(Default)]
pub struct Known(HashSet<Signed>);

impl Known {
    /// Remembers a request that carries a good signature.
    pub fn add(&mut self, provider: &dyn Provider, input: &Input, source: &Source) {
        self.0.extend(signed(provider, input, source));
    }
}

/// Whether a request may be taken at all.
pub fn may_open(provider: &dyn Provider, input: &Input, sources: &Sources, known: &Known) -> bool {
    candidates(provider, input, sources).iter().any(|(_, source)| {
        let inside = |nets: &[ipnet::IpNet]| {
            input.sender.is_some_and(|sender| nets.iter().any(|net| net.contains(&sender)))
        };
        if !provider.is_signed() && inside(&source.trusted_networks) {
            return true;
        }
        if !source.allowed_networks.is_empty() && !inside(&source.allowed_networks) {
            return false;
        }
        if provider.is_signed() {
            return signed(provider, input, source).iter().any(|pair| known.0.contains(pair));
        }
        let sent = shared(provider, input);
        let secrets = source.secrets.iter().map(|credential| credential.secret.expose());
        secrets
            .into_iter()
            .any(|secret| !secret.trim().is_empty() && sent.iter().any(|s| s == secret))
    })
}

/// The sources that a request may be meant for.
fn candidates<'a>(
    provider: &dyn Provider,
    input: &Input,
    sources: &'a Sources,
) -> Vec<(&'a Name, &'a Source)> {
    let named = input.parameters().into_iter().map(|(name, value)| (name, value.trim().to_owned()));
    let named = named.into_iter().find(|(name, value)| name == "source" && !value.is_empty());
    let Some((_, named)) = named else { return sources.iter().collect() };
    let find = |wanted: &str| sources.iter().find(|(name, _)| name.as_str() == wanted);
    find(&named).or_else(|| find(provider.name())).into_iter().collect()
}

/// The places in which a shared secret may stand.
fn shared(provider: &dyn Provider, input: &Input) -> Vec<String> {
    let headers = ["x-webhook-secret", "x-api-key", "x-crm-intake-secret"];
    let mut sent: Vec<String> =
        headers.iter().filter_map(|name| input.header(name)).map(str::to_owned).collect();
    let bearer = input.header("authorization").and_then(|value| value.trim().split_once(' '));
    sent.extend(
        bearer
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| token.trim().to_owned()),
    );
    let pairs = input.parameters();
    sent.extend(
        pairs.into_iter().filter(|(name, _)| name == "secret").map(|(_, v)| v.trim().to_owned()),
    );
    if provider.name() == "fmc" {
        sent.extend(tokens(&input.body));
    }
    sent
}

/// The values of MegaFon's field for the secret in a form or in JSON, even if other fields of it
/// cannot be read.
pub fn tokens(body: &[u8]) -> Vec<String> {
    #[derive(serde::Deserialize)]
    struct Sent {
        crm_token: String,
    }
    if body.trim_ascii_start().starts_with(b"{") {
        let text = String::from_utf8_lossy(body);
        let sent = serde_json::from_str(&text).ok().map(|sent: Sent| sent.crm_token);
        return sent.into_iter().map(|token| token.trim().to_owned()).collect();
    }
    if body.trim_ascii_start().first().is_some_and(|first| b"[<".contains(first)) {
        return Vec::new();
    }
    let fields = form_urlencoded::parse(body).filter(|(name, _)| name == "crm_token");
    fields.map(|(_, token)| token.trim().to_owned()).collect()
}

/// What each signature of a request covers, with the signature.
fn signed(provider: &dyn Provider, input: &Input, source: &Source) -> Vec<Signed> {
    match provider.name() {
        "twilio" => {
            let sent = input.header("x-twilio-signature").unwrap_or_default();
            if !input.is_form() && !input.body.is_empty() {
                let hash = hex(&Sha256::digest(&input.body));
                let sent = input
                    .parameters()
                    .into_iter()
                    .find(|(name, value)| name == "bodySHA256" && !value.trim().is_empty());
                if sent.is_none_or(|(_, sent)| sent.trim() != hash) {
                    return Vec::new();
                }
            }
            vec![(twilio_text(input, source), sent.as_bytes().to_vec())]
        }
        "elevenlabs" => {
            let header = input.header("elevenlabs-signature").unwrap_or_default();
            let parts = |prefix: &'static str| {
                header.split(',').filter_map(move |part| part.trim().strip_prefix(prefix))
            };
            let recent = |stamp: &&str| {
                let at =
                    stamp.trim().parse().ok().and_then(|at| jiff::Timestamp::from_second(at).ok());
                let age = at.map(|at| input.received_at().duration_since(at).abs());
                age.is_some_and(|age| age <= SignedDuration::from_mins(30))
            };
            let times: Vec<&str> = parts("t=").filter(recent).collect();
            let text = |t: &&str| [t.trim().as_bytes(), b".", &input.body].concat();
            let one = |v0: &str| v0.trim().to_ascii_lowercase().into_bytes();
            parts("v0=").flat_map(|v0| times.iter().map(move |t| (text(t), one(v0)))).collect()
        }
        other => {
            let scheme = Scheme::of(provider)
                .unwrap_or_else(|| panic!("{other} signs: say how in its signature.json"));
            let before = scheme.value.strip_suffix("{hex}").unwrap();
            assert!(!before.contains("{time}"), "the oracle must know how old {other} lets it be");
            let sent = input.header(&scheme.header).and_then(|sent| sent.strip_prefix(before));
            let code = sent.unwrap_or_default().to_ascii_lowercase().into_bytes();
            vec![(scheme.text("", &input.body), code)]
        }
    }
}

fn twilio_text(input: &Input, source: &Source) -> Vec<u8> {
    let mut pairs: Vec<(String, String)> = Vec::new();
    if input.is_form() {
        pairs = form_urlencoded::parse(&input.body).into_owned().collect();
        pairs.sort();
        pairs.dedup();
    }
    let mark = if input.query().is_empty() { "" } else { "?" };
    let base = source.public_url.clone().unwrap_or_default();
    let mut text = format!("{base}{}{mark}{}", input.path(), input.query());
    for (name, value) in pairs {
        text += &name;
        text += &value;
    }
    text.into_bytes()
}

/// Gives a request what opens a source, as the provider's own system would. `None`: nothing can.
pub fn grant(provider: &dyn Provider, input: &Input, sources: &Sources) -> Option<Input> {
    let candidates = candidates(provider, input, sources);
    let (_, source) = candidates
        .iter()
        .find(|(name, _)| name.as_str() == provider.name())
        .or(candidates.first())?;
    let secret = source.secrets.first()?.secret.expose();
    let mut input = input.clone();
    if let Some(network) = source.allowed_networks.first() {
        input.sender = Some(network.network());
    }
    match provider.name() {
        "twilio" => {
            if !input.is_form() {
                let is_hash = |pair: &&str| {
                    form_urlencoded::parse(pair.as_bytes())
                        .next()
                        .is_some_and(|(name, _)| name == "bodySHA256")
                };
                let query = input.query().to_owned();
                let mut pairs: Vec<&str> = query.split('&').filter(|pair| !is_hash(pair)).collect();
                let hash = format!("bodySHA256={}", hex(&Sha256::digest(&input.body)));
                pairs.push(&hash);
                input.set_query(&pairs.join("&"));
            }
            let mut mac = Hmac::<Sha1>::new_from_slice(secret.as_bytes()).unwrap();
            mac.update(&twilio_text(&input, source));
            let signature = STANDARD.encode(mac.finalize().into_bytes());
            input.set_header("X-Twilio-Signature", &signature);
        }
        _ if provider.is_signed() => Scheme::of(provider)?.sign(&mut input, secret),
        _ => {
            for name in ["x-api-key", "x-crm-intake-secret", "authorization"] {
                input.remove_header(name);
            }
            input.set_header("X-Webhook-Secret", secret);
        }
    }
    Some(input)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
