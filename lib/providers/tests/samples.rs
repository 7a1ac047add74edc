//! Every sample in `events/<provider>/` against the call expected beside it.
//!
//! A new provider is covered by adding files; one without any fails. After a mapping was changed on
//! purpose, `UPDATE_EXPECTED=1 cargo test -p switchboard-providers --test samples` writes the
//! expected files anew: read the difference before you commit it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::path::Path;

use common::{Came, files, read, requests, sources};
use serde_json::Value;
use switchboard_providers::{ALL, Provider, Sources, authenticate};

/// What a sample comes to: its calls, folded, and what was rejected.
fn outcome(provider: &dyn Provider, sources: &Sources, text: &str) -> Value {
    common::outcome(provider, sources, &requests(text))
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

/// In no sample.
const NO_ID: &str = "\u{0}";

/// The ids of a sample's calls, with an id in its text replaced.
fn ids(provider: &dyn Provider, text: &str, id: &str, by: &str) -> Vec<String> {
    let calls = Came::of(provider, &sources(provider), &requests(&text.replace(id, by))).updates;
    calls.into_keys().map(|key| key.call_id().to_owned()).collect()
}

#[test]
fn an_unfilled_id_is_none_and_a_numeric_one_keeps_its_digits() {
    let unfilled = ["undefined", "null", "NaN", "(null)", "N/A", "-", "0", "$uuid", "{call_id}"];
    let mut numeric = 0;
    for provider in ALL {
        for sample in files(*provider, ".http") {
            let text = read(&sample);
            for id in ids(*provider, &text, NO_ID, "") {
                for placeholder in unfilled {
                    let read = ids(*provider, &text, &id, placeholder);
                    assert!(!read.contains(&placeholder.to_owned()), "{sample:?} {placeholder}");
                }
                let quoted = format!("\"{id}\"");
                for digits in ["1708416000.10", "12345678901234567890123"] {
                    let was_read = ids(*provider, &text, &quoted, &format!("\"{digits}\""));
                    if was_read.contains(&digits.to_owned()) {
                        numeric += 1;
                        assert_eq!(ids(*provider, &text, &quoted, digits), was_read, "{sample:?}");
                    }
                }
            }
        }
    }
    assert!(numeric > 20, "{numeric}");
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
