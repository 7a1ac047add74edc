//! Calls on which a template is tried when it is configured: every outcome, way and event, with all that
//! can be known, with next to nothing, with each thing missing and each thing alone, with texts that
//! break what is put together carelessly, and with what the template itself compares with.

use serde_json::{Map, Value as Json, json};
use switchboard_domain::{Event, VariantArray as _};

use super::scan::Seen;

/// More of what a template compares with is not tried.
const MOST_COMPARED: usize = 40;
/// More recordings than a call has messages cannot be.
const MOST_RECORDINGS: usize = 100;
/// What identifies a call, and is therefore always known.
const KEY: [&str; 4] = ["provider", "source", "call_id", "correlation_id"];
/// What breaks JSON, markup, lines or the eye, where it is not written as it must be.
const HOSTILE: &str = "\"}] \\ ' </script> {{ x }} \n\r\t\0\u{7f}\u{202e}\u{feff}👩‍👩‍👧 Zoë";

/// All that can be known of a call, as the format `canonical` renders it. `None` cannot be: it is JSON.
pub fn full() -> Option<Json> {
    serde_json::from_str(include_str!("sample.json")).ok()
}

/// The same call, of which all that is known is that it ended.
fn nothing(full: &Json) -> Json {
    let mut document = full.clone();
    document["timestamp"] = Json::Null;
    for (name, value) in document["data"].as_object_mut().into_iter().flatten() {
        if !KEY.contains(&name.as_str()) {
            *value = if value.is_array() { json!([]) } else { Json::Null };
        }
    }
    document
}

/// The samples, each with a few words that say what kind of call it is.
pub fn samples(seen: &Seen) -> Vec<(String, Json)> {
    let Some(full) = full() else { return Vec::new() };
    let nothing = nothing(&full);
    let mut samples = vec![
        ("of which all is known".to_owned(), full.clone()),
        ("of which next to nothing is known".to_owned(), nothing.clone()),
    ];
    for event in Event::VARIANTS.iter().copied() {
        for (words, document) in [("full", &full), ("bare", &nothing)] {
            let changed = with(document, &[], "type", json!(event.as_str()));
            samples.push((format!("delivered as {} ({words})", event.as_str()), changed));
        }
    }
    vary_words(&mut samples, &full, &nothing);
    vary_fields(&mut samples, &full, &nothing);
    let one = full["data"]["recordings"][0].clone();
    let bare = json!({"id": "RE2", "url": one["url"], "duration_seconds": null, "status": null});
    for (words, recordings) in [
        ("with a recording of which little is known", json!([bare.clone()])),
        ("with two recordings", json!([one, bare])),
        ("with a hundred recordings", Json::Array(vec![one.clone(); MOST_RECORDINGS])),
    ] {
        samples.push((words.to_owned(), with(&full, &["data"], "recordings", recordings)));
    }
    samples.push(("with hostile texts".to_owned(), texts(&full, HOSTILE)));
    samples.push(("with empty texts".to_owned(), texts(&full, "")));
    for text in seen.texts.iter().take(MOST_COMPARED) {
        samples.push(("with a text of the template's own".to_owned(), texts(&full, text)));
    }
    for number in seen.numbers.iter().take(MOST_COMPARED) {
        for seconds in [number.saturating_sub(1), *number, number.saturating_add(1)] {
            let words = format!("that lasted {seconds} seconds");
            samples.push((words, lasting(&full, seconds)));
        }
    }
    samples
}

/// Every outcome and direction.
fn vary_words(samples: &mut Vec<(String, Json)>, full: &Json, nothing: &Json) {
    let outcomes = ["answered", "no_answer", "busy", "failed", "canceled", "voicemail"];
    let directions = ["inbound", "outbound", "internal"];
    for (field, values) in [("outcome", &outcomes[..]), ("direction", &directions)] {
        for value in values {
            for document in [full, nothing] {
                let changed = with(document, &["data"], field, json!(value));
                samples.push((format!("whose {field} is {value}"), changed));
            }
        }
    }
}

/// Each field missing, and each alone.
fn vary_fields(samples: &mut Vec<(String, Json)>, full: &Json, nothing: &Json) {
    let all = full["data"].as_object().cloned().unwrap_or_default();
    for (field, value) in &all {
        let none = nothing["data"].get(field).cloned().unwrap_or_default();
        let changed = with(full, &["data"], field, none);
        samples.push((format!("of which all is known but {field}"), changed));
        let changed = with(nothing, &["data"], field, value.clone());
        samples.push((format!("of which {field} alone is known"), changed));
        // What an object holds may be missing while the object is there.
        for (inner, value) in value.as_object().into_iter().flatten() {
            let may_be_null = !["address", "kind"].contains(&inner.as_str());
            let none = if value.is_array() { json!([]) } else { Json::Null };
            if may_be_null {
                let changed = with(full, &["data", field], inner, none);
                samples.push((format!("of which all is known but {field}.{inner}"), changed));
            }
        }
    }
}

/// A document with one field another.
fn with(document: &Json, path: &[&str], field: &str, value: Json) -> Json {
    let mut changed = document.clone();
    let mut here = &mut changed;
    for name in path {
        here = &mut here[*name];
    }
    here[field] = value;
    changed
}

/// With this text wherever words of a person or of another system may stand.
fn texts(document: &Json, text: &str) -> Json {
    let free = [
        "address",
        "call_id",
        "campaign",
        "contact_id",
        "contact_name",
        "conversation_id",
        "id",
        "lead_id",
        "name",
        "parent_call_id",
        "provider",
        "source",
        "status",
        "summary",
        "transcript",
        "url",
    ];
    change(document, &|name, value| match value {
        Json::String(_) if free.contains(&name) => Some(json!(text)),
        Json::Array(items) if name == "external_ids" => Some(json!(vec![text; items.len()])),
        _ => None,
    })
}

/// With this many seconds wherever there are some.
fn lasting(document: &Json, seconds: u32) -> Json {
    change(document, &|name, _| name.ends_with("_seconds").then(|| json!(seconds)))
}

fn change(value: &Json, to: &dyn Fn(&str, &Json) -> Option<Json>) -> Json {
    match value {
        Json::Object(fields) => {
            let one = |(name, value): (&String, &Json)| {
                (name.clone(), to(name, value).unwrap_or_else(|| change(value, to)))
            };
            Json::Object(fields.iter().map(one).collect::<Map<_, _>>())
        }
        Json::Array(items) => items.iter().map(|item| change(item, to)).collect(),
        other => other.clone(),
    }
}
