//! Every sample in `events/<provider>/` against the call expected beside it.
//!
//! A new provider is covered by adding files; one without any fails. After a mapping was changed on
//! purpose, `UPDATE_EXPECTED=1 cargo test -p switchboard-providers --test samples` writes the
//! expected files anew: read the difference before you commit it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde_json::{Value, json};
use switchboard_domain::{CallKey, Name, Update, fold};
use switchboard_providers::{
    ALL, Content, Provider, Record, Reject, Request, Source, Sources, authenticate,
};

const RECEIVED_AT: &str = "2026-02-20T09:30:00Z";

fn events() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../events")
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// `source.json` is the default source, `source.<name>.json` the one of that name.
fn sources(provider: &dyn Provider) -> Sources {
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

fn files(provider: &dyn Provider, ending: &str) -> Vec<PathBuf> {
    let folder = events().join(provider.name());
    let Ok(entries) = std::fs::read_dir(&folder) else { return Vec::new() };
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.to_str().unwrap().ends_with(ending));
    files.sort();
    files
}

fn requests(text: &str) -> Vec<Request> {
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

/// What a sample comes to: its calls, folded, and what was rejected.
fn outcome(provider: &dyn Provider, sources: &Sources, text: &str) -> Value {
    let mut updates: BTreeMap<CallKey, Vec<Update>> = BTreeMap::new();
    let mut rejected = Vec::new();
    let mut other = Vec::new();
    let mut reject = |why: Reject| {
        rejected.push(json!({"status": why.status(), "error": why.to_string()}));
    };
    for request in requests(text) {
        let parsed =
            authenticate(provider, &request, sources).and_then(|message| provider.parse(&message));
        match parsed {
            Err(why) => reject(why),
            Ok(Content::Other(answer)) => other.push(answer),
            Ok(Content::Calls(records)) => {
                for record in records {
                    match record {
                        Ok(record) => {
                            let key = near(&updates, &record).unwrap_or(record.key);
                            updates.entry(key).or_default().push(record.update);
                        }
                        Err(unread) => reject(unread.why),
                    }
                }
            }
        }
    }
    let calls: BTreeMap<String, Value> = updates
        .into_iter()
        .map(|(key, updates)| {
            let call = fold(&updates);
            let mut shown = serde_json::to_value(&call).unwrap();
            shown["updates"] = updates.len().into();
            (key.to_string(), shown)
        })
        .collect();
    let mut outcome = json!({ "calls": calls });
    if !rejected.is_empty() {
        outcome["rejected"] = rejected.into();
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

#[test]
fn every_sample_gives_the_call_beside_it() {
    let update = std::env::var_os("UPDATE_EXPECTED").is_some();
    for provider in ALL {
        let samples = files(*provider, ".http");
        assert!(!samples.is_empty(), "{} has no samples", provider.name());
        let sources = sources(*provider);
        for sample in samples {
            let expected_path = sample.with_extension("call.json");
            let shown = outcome(*provider, &sources, &read(&sample));
            if update {
                let text = serde_json::to_string_pretty(&shown).unwrap() + "\n";
                std::fs::write(&expected_path, text).unwrap();
                continue;
            }
            let expected: Value = serde_json::from_str(&read(&expected_path)).unwrap();
            assert_eq!(shown, expected, "{}", sample.display());
        }
    }
}

#[test]
fn no_expected_call_is_left_without_its_sample() {
    for provider in ALL {
        for expected in files(*provider, ".call.json") {
            let name = expected.to_str().unwrap().strip_suffix(".call.json").unwrap().to_owned();
            assert!(Path::new(&format!("{name}.http")).exists(), "{name}");
        }
    }
}

#[test]
fn the_order_of_a_samples_messages_does_not_matter() {
    for provider in ALL {
        let sources = sources(*provider);
        for sample in files(*provider, ".http") {
            let text = read(&sample);
            let mut parts: Vec<&str> = text.split("\n###\n").collect();
            parts.reverse();
            assert_eq!(
                outcome(*provider, &sources, &parts.join("\n###\n")),
                outcome(*provider, &sources, &text),
                "{}",
                sample.display()
            );
        }
    }
}

#[test]
fn every_sample_is_refused_with_another_secret() {
    for provider in ALL {
        let mut sources = sources(*provider);
        for source in sources.values_mut() {
            for credential in &mut source.secrets {
                credential.secret = switchboard_domain::Secret::new("fake-other-secret");
            }
        }
        for sample in files(*provider, ".http") {
            for request in requests(&read(&sample)) {
                let refused = authenticate(*provider, &request, &sources).err();
                let status = refused.map(|reject| reject.status());
                assert_eq!(status, Some(403), "{}", sample.display());
            }
        }
    }
}
