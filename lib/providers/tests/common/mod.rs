//! What several of the tests need: reading the samples, and what requests come to.

#![allow(dead_code, reason = "no test needs all of it")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde_json::{Value, json};
use switchboard_domain::{CallKey, Name, Update, fold};
use switchboard_providers::{
    Content, Parsed, Provider, Record, Reject, Request, Source, Sources, authenticate,
};

/// When every sample arrives.
pub const RECEIVED_AT: &str = "2026-02-20T09:30:00Z";

/// Where the samples and vectors are.
pub fn events() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../events")
}

/// A file as text.
pub fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// `source.json` is the default source, `source.<name>.json` the one of that name.
pub fn sources(provider: &dyn Provider) -> Sources {
    let mut sources = Sources::new();
    for path in files(provider, ".json") {
        let file = path.file_name().unwrap().to_str().unwrap().to_owned();
        let Some(rest) = file.strip_prefix("source.") else { continue };
        let name = rest.strip_suffix("json").unwrap().trim_end_matches('.');
        let name = if name.is_empty() { provider.name() } else { name };
        let source = Source::parse(&read(&path), Some(provider)).unwrap();
        sources.insert(Name::new("source", name).unwrap(), source);
    }
    sources
}

/// The files of a provider with this ending, in order.
pub fn files(provider: &dyn Provider, ending: &str) -> Vec<PathBuf> {
    let folder = events().join(provider.name());
    let Ok(entries) = std::fs::read_dir(&folder) else { return Vec::new() };
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.to_str().unwrap().ends_with(ending));
    files.sort();
    files
}

/// The requests of a sample.
pub fn requests(text: &str) -> Vec<Request> {
    text.split("\n###\n").map(request).collect()
}

fn request(text: &str) -> Request {
    let (head, body) = text.trim_start_matches('\n').split_once("\n\n").unwrap();
    let mut lines = head.lines();
    let mut first = lines.next().unwrap().split(' ');
    let (method, target) = (first.next().unwrap(), first.next().unwrap());
    let request = Request::new(method, target, RECEIVED_AT.parse::<Timestamp>().unwrap());
    let request = lines.fold(request, |request, line| {
        let (name, value) = line.split_once(": ").unwrap();
        request.header(name, value)
    });
    request.body(body.trim_matches('\n').as_bytes().to_vec())
}

/// What requests come to.
#[derive(Default)]
pub struct Came {
    /// The updates of each call.
    pub updates: BTreeMap<CallKey, Vec<Update>>,
    /// Why a request or a record was not taken.
    pub rejected: Vec<Reject>,
    /// The answers to what is about no call.
    pub other: Vec<Value>,
}

impl Came {
    /// Of requests that come one after the other.
    pub fn of(provider: &dyn Provider, sources: &Sources, requests: &[Request]) -> Self {
        let mut came = Self::default();
        for request in requests {
            let parsed = authenticate(provider, request, sources)
                .and_then(|message| provider.parse(&message));
            match parsed {
                Err(why) => came.rejected.push(why),
                Ok(Content::Other(answer)) => came.other.push(answer),
                Ok(Content::Calls(records)) => records.into_iter().for_each(|r| came.take(r)),
            }
        }
        came
    }

    fn take(&mut self, record: Parsed) {
        match record {
            Ok(record) => {
                let key = near(&self.updates, &record).unwrap_or(record.key);
                self.updates.entry(key).or_default().push(record.update);
            }
            Err(unread) => self.rejected.push(unread.why),
        }
    }
}

/// What requests come to, as the files beside the samples show it: the calls, folded, and what was
/// rejected.
pub fn outcome(provider: &dyn Provider, sources: &Sources, requests: &[Request]) -> Value {
    let Came { updates, rejected, other } = Came::of(provider, sources, requests);
    let calls: BTreeMap<String, Value> = updates
        .into_iter()
        .map(|(key, updates)| {
            let mut shown = serde_json::to_value(fold(&updates)).unwrap();
            shown["updates"] = updates.len().into();
            (key.to_string(), shown)
        })
        .collect();
    let shown = |why: &Reject| json!({"status": why.status(), "error": why.to_string()});
    let mut outcome = json!({ "calls": calls });
    if !rejected.is_empty() {
        outcome["rejected"] = rejected.iter().map(shown).collect();
    }
    if !other.is_empty() {
        outcome["other"] = other.into();
    }
    outcome
}

/// The key that a call is stored under already, if its own may be another by a second.
fn near(stored: &BTreeMap<CallKey, Vec<Update>>, record: &Record) -> Option<CallKey> {
    let mut keys = std::iter::once(&record.key).chain(&record.near);
    keys.find(|key| stored.contains_key(key)).cloned()
}
