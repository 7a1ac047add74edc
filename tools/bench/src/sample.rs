//! A hook's invocations: one of the provider's samples, made a new call each time.
//!
//! The call's id is found by parsing the sample with the provider itself, and replaced wherever it
//! stands. Where the id is made of other things (times, numbers), digits of the body are tried one
//! run after the other until the provider sees another call.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde_json::Value;
use switchboard_domain::update::INLINE_LIMIT;
use switchboard_domain::{CallKey, CallRecord, Name, Policy};
use switchboard_providers::{Content, Provider, Source, Sources, authenticate};

use crate::Failure;
use crate::message::{Message, Opener};

/// Numbers of calls have nine digits, so that they fit where a number may not begin with a zero.
const FIRST: u64 = 100_000_000;
/// A run of fewer digits cannot tell enough calls apart.
const SHORTEST: usize = 4;

/// A sample and how it becomes a new call.
pub struct Sample {
    /// The file that it is from, without its ending.
    pub name: String,
    message: Message,
    opener: Opener,
    change: Change,
}

/// What is changed.
#[derive(Clone, Debug)]
enum Change {
    /// The id, wherever it stands.
    Id(String),
    /// A run of digits in the body, by its place.
    Digits(Range<usize>),
}

impl Sample {
    /// The sample of a provider that costs a hook its whole work: about one call that is over, one
    /// record, in one item; of several the one that says most.
    pub fn of(root: &Path, provider: &dyn Provider) -> Result<Self, Failure> {
        let folder = root.join("events").join(provider.name());
        let text = fs::read_to_string(folder.join("source.json"))?;
        let opener = Opener::of(&serde_json::from_str(&text)?);
        let opener = opener.ok_or_else(|| Failure::new("its source has no secret"))?;
        let reader = Reader::new(provider, &text)?;
        let mut events: Vec<PathBuf> =
            fs::read_dir(folder.join("gateway"))?.flatten().map(|entry| entry.path()).collect();
        events.sort();
        let samples = events.iter().filter_map(|path| {
            let message = Message::of(serde_json::from_slice(&fs::read(path).ok()?).ok()?)?;
            let change = reader.change(&message, &opener)?;
            let name = path.file_stem()?.to_str()?.to_owned();
            Some(Self { name, message, opener: opener.clone(), change })
        });
        samples
            .filter(|sample| sample.message.body.len() <= INLINE_LIMIT)
            .max_by_key(|sample| sample.message.body.len())
            .ok_or_else(|| Failure::new("none of its samples can be made a new call"))
    }

    /// The n-th call's webhook.
    pub fn new_call(&self, n: u64) -> Vec<u8> {
        self.call(n).signed(&self.opener, &self.opener).event()
    }

    /// Another message about the n-th call, as long as the first: with a parameter more. `None`
    /// where the body is no form.
    pub fn further(&self, n: u64) -> Option<Vec<u8>> {
        let message = self.call(n);
        if !message.body.first().is_some_and(u8::is_ascii_alphabetic) {
            return None;
        }
        let body = [message.body.as_slice(), b"&Further=1"].concat();
        Some(message.with_body(body).signed(&self.opener, &self.opener).event())
    }

    /// The n-th call's webhook, from somebody who does not know the secret.
    pub fn rejected(&self, n: u64) -> Vec<u8> {
        self.call(n).signed(&self.opener, &self.opener.wrong()).event()
    }

    /// One webhook that holds many calls, as a JSON list of what the sample says of one.
    pub fn list(&self, calls: Range<u64>) -> Option<Vec<u8>> {
        let records: Option<Vec<Value>> = calls
            .map(|n| match serde_json::from_slice(&self.call(n).body).ok()? {
                Value::Array(mut records) => records.pop(),
                record => Some(record),
            })
            .collect();
        let body = serde_json::to_vec(&records?).ok()?;
        Some(self.message.with_body(body).signed(&self.opener, &self.opener).event())
    }

    fn call(&self, n: u64) -> Message {
        self.change.apply(&self.message, n)
    }
}

impl Change {
    fn apply(&self, message: &Message, n: u64) -> Message {
        match self {
            Self::Id(id) => message.replaced(id, &numbered(id, n)),
            Self::Digits(range) => {
                let mut body = message.body.clone();
                if let Some(digits) = body.get_mut(range.clone()) {
                    let width = digits.len();
                    let number = format!("{:0>width$}", n % 10_u64.pow(width.min(9) as u32));
                    digits.copy_from_slice(number.as_bytes());
                }
                message.with_body(body)
            }
        }
    }
}

/// A text with its last nine letters and digits replaced by a number; one that has fewer gets the
/// number behind it.
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

/// A provider with its default source.
struct Reader<'a> {
    provider: &'a dyn Provider,
    sources: Sources,
    policy: Policy,
}

impl<'a> Reader<'a> {
    fn new(provider: &'a dyn Provider, source: &str) -> Result<Self, Failure> {
        let source = Source::parse(source, Some(provider))
            .map_err(|error| Failure::new(error.to_string()))?;
        let policy = source.policy(provider);
        let name = Name::new("source", provider.name())
            .map_err(|error| Failure::new(error.to_string()))?;
        Ok(Self { provider, sources: Sources::from([(name, source)]), policy })
    }

    /// The call that a message is about, if it is about one that then owes something.
    fn key(&self, message: &Message) -> Option<CallKey> {
        let request = message.request();
        let message = authenticate(self.provider, &request, &self.sources).ok()?;
        let Ok(Content::Calls(records)) = self.provider.parse(&message) else { return None };
        let [Ok(record)] = records.as_slice() else { return None };
        let update = record.update.clone();
        let call = CallRecord::first(record.key.clone(), update, self.policy, Timestamp::now());
        (!call.owed.is_empty()).then(|| record.key.clone())
    }

    /// How a message becomes another call, if it can.
    fn change(&self, message: &Message, opener: &Opener) -> Option<Change> {
        let signed = message.clone().signed(opener, opener);
        let own = self.key(&signed)?;
        let works = |change: &Change| {
            let mut keys = vec![own.clone()];
            for n in [0, 1, 2, 1_234] {
                match self.key(&change.apply(message, n).signed(opener, opener)) {
                    Some(key) if !keys.contains(&key) => keys.push(key),
                    _ => return false,
                }
            }
            true
        };
        let id = Change::Id(own.call_id().to_owned());
        let digits = runs(&message.body).into_iter().map(Change::Digits);
        std::iter::once(id).chain(digits).find(works)
    }
}

/// The runs of digits in a body that are long enough, the last [`SHORTEST`] to nine digits of each.
fn runs(body: &[u8]) -> Vec<Range<usize>> {
    let mut runs = Vec::new();
    let mut start = None;
    for (at, byte) in body.iter().chain(std::iter::once(&b' ')).enumerate() {
        match (byte.is_ascii_digit(), start) {
            (true, None) => start = Some(at),
            (false, Some(from)) => {
                if at - from >= SHORTEST {
                    // The first digit stays, where it can: a number begins with no zero.
                    runs.push((from + 1).max(at.saturating_sub(9))..at);
                }
                start = None;
            }
            _ => {}
        }
    }
    runs.retain(|run| run.len() >= SHORTEST);
    runs
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use switchboard_providers::ALL;

    use super::*;

    fn root() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
    }

    #[test]
    fn every_provider_has_a_sample_that_becomes_new_calls_and_is_refused_with_another_secret() {
        for provider in ALL {
            let name = provider.name();
            let sample = Sample::of(&root(), *provider).unwrap_or_else(|e| panic!("{name}: {e}"));
            let source = fs::read_to_string(root().join("events").join(name).join("source.json"));
            let reader = Reader::new(*provider, &source.unwrap()).unwrap();
            let read = |event: Vec<u8>| {
                reader.key(&Message::of(serde_json::from_slice(&event).unwrap()).unwrap())
            };
            let keys: BTreeSet<_> =
                (0..3_000).step_by(7).map(|n| read(sample.new_call(n))).collect();
            assert_eq!(keys.len(), 429, "{name}: {}", sample.name);
            assert!(!keys.contains(&None), "{name}: {}", sample.name);
            if let Some(further) = sample.further(7) {
                assert_eq!(read(further), read(sample.new_call(7)), "{name}: {}", sample.name);
            }
            assert_eq!(read(sample.rejected(1)), None, "{name}: {}", sample.name);
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
