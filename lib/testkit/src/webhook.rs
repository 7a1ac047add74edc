//! A hook's events: one of the provider's samples in `events`, turned into a new call each time and signed.
//!
//! The provider itself parses the sample. The call's id is replaced wherever it stands; where the id is made
//! of other values (times, numbers), the run of digits is changed that makes the provider see another call.

use std::collections::BTreeSet;
use std::fs;
use std::ops::Range;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::Hmac;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use sha1::Sha1;
use sha2::Sha256;
use switchboard_domain::update::INLINE_LIMIT;
use switchboard_domain::{CallKey, CallRecord, Name, Policy};
use switchboard_providers::{Content, Provider, Request, Source, Sources, authenticate};

use crate::Failure;

/// The numbers of calls have nine digits and begin with a one: a leading zero would make some ids invalid.
const FIRST: u64 = 100_000_000;
/// A shorter run of digits has too few values.
const SHORTEST: usize = 4;

/// A sample, and how it is turned into another call.
pub struct Sample {
    webhook: Webhook,
    change: Change,
}

#[derive(Clone)]
struct Webhook {
    /// The API Gateway event, payload format 2.0. Body and query below replace its own.
    event: Value,
    body: Vec<u8>,
    query: String,
    /// The first secret of the source, and the URL that a signature may cover.
    secret: String,
    public_url: String,
    scheme: Option<Scheme>,
}

/// How a provider signs with HMAC-SHA256: its `signature.json`.
#[derive(Clone, Deserialize)]
struct Scheme {
    /// The header of the signature.
    header: String,
    /// What is signed: a text with `{body}` at its end and perhaps `{time}`, in Unix seconds.
    signed: String,
    /// The header's value, with `{hex}` and perhaps `{time}`.
    value: String,
}

/// What stands beside a provider's samples.
struct Folder {
    source: String,
    scheme: Option<Scheme>,
}

impl Folder {
    fn read(path: &Path) -> Result<Self, Failure> {
        let scheme = fs::read(path.join("signature.json")).ok();
        let scheme = scheme.map(|scheme| serde_json::from_slice(&scheme)).transpose()?;
        Ok(Self { source: fs::read_to_string(path.join("source.json"))?, scheme })
    }
}

impl Scheme {
    fn value(&self, body: &[u8], secret: &str) -> String {
        let time = Timestamp::now().as_second().to_string();
        let before = self.signed.trim_end_matches("{body}").replace("{time}", &time);
        let code = hmac::<Hmac<Sha256>>(secret, &[before.as_bytes(), body]);
        let code: String = code.iter().map(|byte| format!("{byte:02x}")).collect();
        self.value.replace("{time}", &time).replace("{hex}", &code)
    }
}

enum Change {
    /// Replaces this id.
    Id(String),
    /// Replaces these digits of the body.
    Digits(Range<usize>),
}

impl Sample {
    /// The longest sample that makes a hook do all of its work: one record, in one item, of a call that has ended.
    pub fn of(root: &Path, provider: &dyn Provider) -> Result<Self, Failure> {
        let folder = root.join("events").join(provider.name());
        let beside = Folder::read(&folder)?;
        let reader = Reader::new(provider, &beside.source)?;
        let mut events: Vec<_> =
            fs::read_dir(folder.join("gateway"))?.flatten().map(|entry| entry.path()).collect();
        events.sort();
        let samples = events.iter().filter_map(|path| {
            let event = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
            let webhook = Webhook::of(event, &beside)?;
            let change = reader.change(&webhook)?;
            (webhook.body.len() <= INLINE_LIMIT).then_some(Self { webhook, change })
        });
        let longest = samples.max_by_key(|sample| sample.webhook.body.len());
        Ok(longest.ok_or("none of its samples can be turned into a new call")?)
    }

    /// The webhook of the n-th call.
    pub fn new_call(&self, n: u64) -> Vec<u8> {
        self.change.apply(&self.webhook, n).signed(&self.webhook.secret).event()
    }

    /// Another message about the n-th call: a form with one more parameter. `None` if the body is no form.
    pub fn further(&self, n: u64) -> Option<Vec<u8>> {
        let mut webhook = self.change.apply(&self.webhook, n);
        webhook.body.first().filter(|first| first.is_ascii_alphabetic())?;
        webhook.body.extend(b"&Further=1");
        Some(webhook.signed(&self.webhook.secret).event())
    }

    /// An event with another body, signed with the first secret of its folder's source or another one.
    pub fn resigned(
        folder: &Path,
        event: Value,
        body: &[u8],
        secret: Option<&str>,
    ) -> Result<Value, Failure> {
        let webhook = Webhook::of(event, &Folder::read(folder)?).ok_or("no webhook")?;
        let own = webhook.secret.clone();
        let webhook = Webhook { body: body.to_vec(), ..webhook };
        Ok(serde_json::from_slice(&webhook.signed(secret.unwrap_or(&own)).event())?)
    }

    /// The webhook of the n-th call with a wrong signature or secret.
    pub fn rejected(&self, n: u64) -> Vec<u8> {
        let wrong = |c| if c == 'x' { 'y' } else { 'x' };
        let wrong: String = self.webhook.secret.chars().map(wrong).collect();
        self.change.apply(&self.webhook, n).signed(&wrong).event()
    }
}

impl Change {
    fn apply(&self, webhook: &Webhook, n: u64) -> Webhook {
        match self {
            Self::Id(id) => webhook.replaced(id, &numbered(id, n)),
            Self::Digits(range) => {
                let mut webhook = webhook.clone();
                let (width, modulus) = (range.len(), 10_u64.pow(range.len() as u32));
                let digits = format!("{:0>width$}", n % modulus).into_bytes();
                webhook.body.splice(range.clone(), digits);
                webhook
            }
        }
    }
}

/// An id with its last nine letters and digits replaced by a number; a shorter id gets the number appended.
fn numbered(id: &str, n: u64) -> String {
    let number = (FIRST + n).to_string();
    if id.chars().filter(char::is_ascii_alphanumeric).count() < number.len() {
        return format!("{id}{number}");
    }
    let mut digits = number.chars().rev();
    let replaced = |c: char| if c.is_ascii_alphanumeric() { digits.next().unwrap_or(c) } else { c };
    let reversed: Vec<char> = id.chars().rev().map(replaced).collect();
    reversed.into_iter().rev().collect()
}

/// The runs of digits in a body, without their first one, at most nine of each.
fn runs(body: &[u8]) -> Vec<Range<usize>> {
    let (mut runs, mut start) = (Vec::new(), 0);
    for (at, byte) in body.iter().chain(b" ").enumerate() {
        if byte.is_ascii_digit() {
            continue;
        }
        let run = (start + 1).max(at.saturating_sub(9))..at;
        if run.len() >= SHORTEST {
            runs.push(run);
        }
        start = at + 1;
    }
    runs
}

fn hmac<M: hmac::Mac + hmac::digest::KeyInit>(secret: &str, parts: &[&[u8]]) -> Vec<u8> {
    let Ok(mut mac) = <M as hmac::digest::KeyInit>::new_from_slice(secret.as_bytes()) else {
        return Vec::new();
    };
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().to_vec()
}

impl Webhook {
    fn of(event: Value, folder: &Folder) -> Option<Self> {
        let source: Value = serde_json::from_str(&folder.source).ok()?;
        let secret = source["secrets"].get(0)?;
        let secret = secret.as_str().or_else(|| secret["secret"].as_str())?.to_owned();
        let public_url = source["public_url"].as_str().unwrap_or_default().to_owned();
        let body = event["body"].as_str().unwrap_or_default();
        let body = match event["isBase64Encoded"].as_bool()? {
            true => STANDARD.decode(body).ok()?,
            false => body.as_bytes().to_vec(),
        };
        let query = event["rawQueryString"].as_str().unwrap_or_default().to_owned();
        let scheme = folder.scheme.clone();
        Some(Self { event, body, query, secret, public_url, scheme })
    }

    fn path(&self) -> &str {
        self.event["rawPath"].as_str().unwrap_or("/")
    }

    /// As a provider's webhook function sees it.
    fn request(&self) -> Request {
        let method = self.event["requestContext"]["http"]["method"].as_str().unwrap_or("POST");
        let target = format!("{}?{}", self.path(), self.query);
        let mut request = Request::new(method, &target, Timestamp::now());
        for (name, value) in self.event["headers"].as_object().into_iter().flatten() {
            request = request.header(name, value.as_str().unwrap_or_default());
        }
        request.body(self.body.clone())
    }

    /// With a text replaced in body and query.
    fn replaced(&self, old: &str, new: &str) -> Self {
        let body = String::from_utf8_lossy(&self.body).replace(old, new).into_bytes();
        Self { body, query: self.query.replace(old, new), ..self.clone() }
    }

    /// Signed as its header demands. Without a signature, the secret itself is in a header, the query or the body.
    fn signed(self, secret: &str) -> Self {
        let mut signed = self.replaced(&self.secret, secret);
        let query = if self.query.is_empty() { String::new() } else { format!("?{}", self.query) };
        let signs = |name: &str| {
            self.scheme.as_ref().filter(|scheme| scheme.header.eq_ignore_ascii_case(name))
        };
        for (name, value) in signed.event["headers"].as_object_mut().into_iter().flatten() {
            let text = match (name.as_str(), signs(name)) {
                (_, Some(scheme)) => scheme.value(&self.body, secret),
                ("x-twilio-signature", _) => {
                    let pairs: BTreeSet<_> = form_urlencoded::parse(&self.body).collect();
                    let pairs: String = pairs.into_iter().flat_map(|(n, v)| [n, v]).collect();
                    let url = [self.public_url.as_str(), self.path(), &query, &pairs].concat();
                    STANDARD.encode(hmac::<Hmac<Sha1>>(secret, &[url.as_bytes()]))
                }
                _ => value.as_str().unwrap_or_default().replace(&self.secret, secret),
            };
            *value = text.into();
        }
        signed
    }

    /// The event to hand out.
    fn event(mut self) -> Vec<u8> {
        self.event["rawQueryString"] = self.query.into();
        self.event["body"] = match self.event["isBase64Encoded"].as_bool() {
            Some(true) => STANDARD.encode(&self.body).into(),
            _ => String::from_utf8_lossy(&self.body).into(),
        };
        self.event.to_string().into_bytes()
    }
}

/// A provider with its default source.
struct Reader<'a> {
    provider: &'a dyn Provider,
    sources: Sources,
    policy: Policy,
}

impl<'a> Reader<'a> {
    fn new(provider: &'a dyn Provider, source: &str) -> Result<Self, Failure> {
        let source = Source::parse(source, Some(provider)).map_err(|error| error.to_string())?;
        let policy = source.policy(provider);
        let name = Name::new("source", provider.name()).map_err(|error| error.to_string())?;
        Ok(Self { provider, sources: Sources::from([(name, source)]), policy })
    }

    /// The call of a webhook, if it is authenticated, has one record and makes the call owe something.
    fn key(&self, webhook: &Webhook) -> Option<CallKey> {
        let request = webhook.request();
        let message = authenticate(self.provider, &request, &self.sources).ok()?;
        let Ok(Content::Calls(records)) = self.provider.parse(&message) else { return None };
        let [Ok(record)] = records.as_slice() else { return None };
        let update = record.update.clone();
        let call = CallRecord::first(record.key.clone(), update, self.policy, Timestamp::now());
        (!call.owed.is_empty()).then(|| record.key.clone())
    }

    /// The change that makes other calls of a webhook, if there is one.
    fn change(&self, webhook: &Webhook) -> Option<Change> {
        let signed = |webhook: Webhook| webhook.clone().signed(&webhook.secret);
        let own = self.key(&signed(webhook.clone()))?;
        let works = |change: &Change| {
            let keys = [0, 1, 2, 1_234].map(|n| self.key(&signed(change.apply(webhook, n))));
            let distinct: BTreeSet<_> = keys.iter().flatten().chain([&own]).collect();
            distinct.len() == keys.len() + 1
        };
        let digits = runs(&webhook.body).into_iter().map(Change::Digits);
        std::iter::once(Change::Id(own.call_id().to_owned())).chain(digits).find(works)
    }
}

#[cfg(test)]
mod tests {
    use switchboard_providers::ALL;

    use super::*;

    #[test]
    fn every_provider_has_a_sample_that_becomes_new_calls_and_fails_with_a_wrong_secret() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        for provider in ALL {
            let name = provider.name();
            let sample = Sample::of(&root, *provider).unwrap_or_else(|e| panic!("{name}: {e}"));
            let folder = Folder::read(&root.join("events").join(name)).unwrap();
            let reader = Reader::new(*provider, &folder.source).unwrap();
            let read = |event: Vec<u8>| {
                reader.key(&Webhook::of(serde_json::from_slice(&event).unwrap(), &folder).unwrap())
            };
            let keys: BTreeSet<_> =
                (0..3_000).step_by(7).map(|n| read(sample.new_call(n))).collect();
            assert_eq!(keys.len(), 429, "{name}");
            assert!(!keys.contains(&None), "{name}");
            if let Some(further) = sample.further(7) {
                assert_eq!(read(further), read(sample.new_call(7)), "{name}");
            }
            assert_eq!(read(sample.rejected(1)), None, "{name}");
        }
    }

    #[test]
    fn ids_keep_their_form() {
        assert_eq!(
            numbered("CA0000000000000000000000000000000a", 7),
            "CA00000000000000000000000100000007"
        );
        assert_eq!(numbered("1234567890.123", 42), "1234100000.042");
        assert_eq!(numbered("abc", 1), "abc100000001");
    }

    #[test]
    fn runs_of_digits_are_found() {
        assert_eq!(runs(b"a=1234&b=12345&c=+61491570156"), [10..14, 20..29]);
    }
}
