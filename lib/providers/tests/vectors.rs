//! Every vector in `events/vectors/`: who is let in, and what messages say. `docs/vectors.md` has the
//! format. A file of a provider that does not exist here is passed over.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::collections::BTreeMap;
use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use common::Came;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use switchboard_domain::{Name, fold};
use switchboard_providers::{
    ALL, Provider, Reject, Request, Source, Sources, authenticate, provider,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File<Case> {
    #[serde(rename = "about")]
    _about: String,
    provider: String,
    source: Map<String, Value>,
    #[serde(default)]
    sources: BTreeMap<String, Value>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Authentication {
    name: String,
    received_at: Timestamp,
    #[serde(default)]
    sender: Option<IpAddr>,
    method: String,
    target: String,
    headers: BTreeMap<String, String>,
    #[serde(default)]
    body: String,
    #[serde(default)]
    body_base64: Option<String>,
    accept: bool,
    refusal: Option<String>,
    /// `null` differs from absent: then there is no default source.
    #[serde(default = "nothing_else")]
    with: Option<Map<String, Value>>,
    #[serde(default, rename = "computed_by")]
    _computed_by: String,
}

fn nothing_else() -> Option<Map<String, Value>> {
    Some(Map::new())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Payload {
    name: String,
    messages: Vec<Message>,
    expect: Expect,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Message {
    method: String,
    target: String,
    headers: BTreeMap<String, String>,
    body: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expect {
    calls: Option<Value>,
    #[serde(default)]
    rejected: Vec<Rejected>,
    other: Option<usize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rejected {
    status: u16,
    error: Option<String>,
    refusal: Option<String>,
}

/// The files of one kind whose provider exists here.
fn files<Case: serde::de::DeserializeOwned>(
    kind: &str,
) -> Vec<(&'static dyn Provider, File<Case>)> {
    let folder = std::fs::read_dir(common::events().join("vectors")).unwrap();
    let mut paths: Vec<_> = folder.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.to_str().unwrap().ends_with(&format!("-{kind}.json")));
    paths.sort();
    let read = |path: &std::path::PathBuf| {
        let file: File<Case> = serde_json::from_str(&common::read(path))
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let name = path.file_name().unwrap().to_str().unwrap();
        assert_eq!(name, format!("{}-{kind}.json", file.provider));
        Some((provider(&file.provider)?, file))
    };
    paths.iter().filter_map(read).collect()
}

/// The sources of a file, `with` put over the default one.
fn sources<Case>(file: &File<Case>, with: Option<&Map<String, Value>>) -> Sources {
    let default = with.map(|with| {
        let mut source = file.source.clone();
        source.extend(with.clone());
        (&file.provider, Value::Object(source))
    });
    let named = file.sources.iter().map(|(name, source)| (name, source.clone()));
    named
        .chain(default)
        // Without the check of a configuration: a vector may have a URL that none would be given.
        .map(|(name, source)| {
            let source = Source::read(&source.to_string(), provider(&file.provider)).unwrap();
            (Name::new("source", name).unwrap(), source)
        })
        .collect()
}

fn with_headers(request: Request, headers: &BTreeMap<String, String>) -> Request {
    headers.iter().fold(request, |request, (name, value)| request.header(name, value))
}

#[test]
fn every_provider_has_vectors() {
    let of = |names: Vec<String>| names;
    let authentication = files::<Authentication>("authentication");
    let payload = files::<Payload>("payload");
    let authentication = of(authentication.into_iter().map(|(_, file)| file.provider).collect());
    let payload = of(payload.into_iter().map(|(_, file)| file.provider).collect());
    for provider in ALL {
        let name = provider.name().to_owned();
        assert!(authentication.contains(&name), "events/vectors/{name}-authentication.json");
        assert!(payload.contains(&name), "events/vectors/{name}-payload.json");
    }
}

#[test]
fn who_is_let_in() {
    let mut wrong = Vec::new();
    for (provider, file) in files::<Authentication>("authentication") {
        assert!(file.cases.len() > 20, "{}", file.provider);
        for case in &file.cases {
            let body = case.body_base64.as_ref().map(|body| STANDARD.decode(body).unwrap());
            let body = body.unwrap_or_else(|| case.body.clone().into_bytes());
            let request = Request::new(&case.method, &case.target, case.received_at)
                .sender(case.sender)
                .body(body);
            let request = with_headers(request, &case.headers);
            let refused =
                match authenticate(provider, &request, &sources(&file, case.with.as_ref())) {
                    Ok(_) => None,
                    Err(Reject::Unauthenticated { .. }) => Some("unauthenticated"),
                    Err(Reject::Forbidden(refusal)) => Some(refusal.as_str()),
                    Err(other) => Some(other.reason()),
                };
            assert_eq!(case.accept, case.refusal.is_none(), "{}: {}", file.provider, case.name);
            if refused != case.refusal.as_deref() {
                let expected = &case.refusal;
                wrong.push(format!(
                    "{}: {}: {refused:?}, not {expected:?}",
                    file.provider, case.name
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn what_messages_say() {
    let mut wrong = Vec::new();
    for (provider, file) in files::<Payload>("payload") {
        let sources = sources(&file, Some(&Map::new()));
        for case in &file.cases {
            let request = |message: &Message| {
                let at = common::RECEIVED_AT.parse().unwrap();
                let request = Request::new(&message.method, &message.target, at)
                    .body(message.body.clone().into_bytes());
                with_headers(request, &message.headers)
            };
            let requests: Vec<Request> = case.messages.iter().map(request).collect();
            let came = Came::of(provider, &sources, &requests);
            for problem in problems(&case.expect, &came) {
                wrong.push(format!("{}: {}: {problem}", file.provider, case.name));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// What is not as expected.
fn problems(expect: &Expect, came: &Came) -> Vec<String> {
    let mut problems = Vec::new();
    let calls: BTreeMap<String, Value> = came
        .updates
        .iter()
        .map(|(key, updates)| {
            let call = fold(updates);
            let mut shown = serde_json::to_value(&call).unwrap();
            // Whichever way a provider names the sides, a vector names these two.
            shown["contact"] = json!(call.contact());
            shown["employee"] = json!(call.employee());
            (key.to_string(), shown)
        })
        .collect();
    if let Some(expected) = &expect.calls {
        problems.extend(in_calls(expected, &calls));
    }
    let shown: Vec<String> = came.rejected.iter().map(Reject::to_string).collect();
    let fits = |(expected, why): (&Rejected, &Reject)| {
        let error = expected.error.as_ref().is_none_or(|field| why.to_string().starts_with(field));
        let refusal = expected.refusal.as_ref().is_none_or(|refusal| why.reason() == refusal);
        expected.status == why.status() && error && refusal
    };
    if expect.rejected.len() != came.rejected.len()
        || !expect.rejected.iter().zip(&came.rejected).all(fits)
    {
        problems.push(format!("rejected {shown:?}"));
    }
    if expect.other.is_some_and(|other| other != came.other.len()) {
        problems.push(format!("{} answered as something else", came.other.len()));
    }
    problems
}

/// What is not as expected in the calls: named by their keys, or in any order.
fn in_calls(expected: &Value, calls: &BTreeMap<String, Value>) -> Vec<String> {
    match expected {
        Value::Object(expected) => {
            let mut problems = Vec::new();
            if !expected.keys().eq(calls.keys()) {
                problems.push(format!("calls {:?}", calls.keys().collect::<Vec<_>>()));
            }
            for (key, expected) in expected {
                let Some(call) = calls.get(key) else { continue };
                problems.extend(missing(expected, call).map(|what| format!("{key}{what}")));
            }
            problems
        }
        Value::Array(expected) => {
            let mut left: Vec<&Value> = calls.values().collect();
            let mut problems = Vec::new();
            for (index, expected) in expected.iter().enumerate() {
                match left.iter().position(|call| missing(expected, call).is_none()) {
                    Some(at) => drop(left.remove(at)),
                    None => {
                        let nearest = left.first().and_then(|call| missing(expected, call));
                        problems.push(format!("call {index}{}", nearest.unwrap_or_default()));
                    }
                }
            }
            if expected.len() != calls.len() {
                problems.push(format!("{} calls", calls.len()));
            }
            problems
        }
        _ => vec!["is neither calls by key nor a list".to_owned()],
    }
}

/// Where `found` does not hold what is expected. `null` is absent; of a list each element must be there.
fn missing(expected: &Value, found: &Value) -> Option<String> {
    match (expected, found) {
        (Value::Object(fields), found) => fields.iter().find_map(|(name, expected)| {
            let found = found.get(name).unwrap_or(&Value::Null);
            missing(expected, found).map(|what| format!(".{name}{what}"))
        }),
        (Value::Array(expected), Value::Array(found)) => expected
            .iter()
            .find(|expected| !found.iter().any(|found| missing(expected, found).is_none()))
            .map(|expected| format!(" has no {expected}")),
        (expected, found) if expected == found => None,
        (expected, found) => Some(format!(": {found}, not {expected}")),
    }
}
