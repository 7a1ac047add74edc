//! The JSON Schema of a response. It guides the model; [`crate::response`] is what decides.

use serde::Serialize;
use serde_json::{Map, Value, json};
use switchboard_domain::VariantArray;
use switchboard_domain::analysis::{Conclusion, Owner, Sentiment};

use crate::criteria::RequestedScore;

/// Of a summary, characters.
pub const LONGEST_SUMMARY: usize = 2_000;
/// Of a task's title, characters.
pub const LONGEST_TITLE: usize = 200;
/// Of a quote, characters.
pub const LONGEST_QUOTE: usize = 300;
/// Quotes for one score.
pub const MOST_QUOTES: usize = 3;
/// Tasks of one call.
pub const MOST_TASKS: usize = 10;

/// What an answer must be: with these criteria, of a transcript of so many turns, with tasks or without.
pub fn schema(criteria: &[RequestedScore], turns: u32, tasks: bool) -> Value {
    let mut properties = Map::new();
    properties.insert(
        "summary".into(),
        json!({ "type": "string", "minLength": 1, "maxLength": LONGEST_SUMMARY }),
    );
    properties.insert("outcome".into(), words::<Conclusion>());
    properties.insert("sentiment".into(), words::<Sentiment>());
    if !criteria.is_empty() {
        properties.insert("scorecard".into(), scorecard(criteria, turns));
    }
    if tasks {
        properties.insert("tasks".into(), tasks_schema());
    }
    let required: Vec<String> = properties.keys().cloned().collect();
    json!({
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    })
}

fn words<T: VariantArray + Serialize>() -> Value {
    json!({ "type": "string", "enum": T::VARIANTS })
}

fn scorecard(criteria: &[RequestedScore], turns: u32) -> Value {
    let names: Vec<&str> = criteria.iter().map(|criterion| criterion.name.as_str()).collect();
    let best = criteria.iter().map(|criterion| criterion.scale).max().unwrap_or_default();
    json!({
        "type": "array",
        "minItems": names.len(),
        "maxItems": names.len(),
        "items": {
            "type": "object",
            "properties": {
                "criterion": { "type": "string", "enum": names },
                "score": { "type": ["integer", "null"], "minimum": 0, "maximum": best },
                "confidence": { "type": "integer", "minimum": 0, "maximum": 100 },
                "evidence": {
                    "type": "array",
                    "maxItems": MOST_QUOTES,
                    "items": {
                        "type": "object",
                        "properties": {
                            "turn": { "type": "integer", "minimum": 1, "maximum": turns },
                            "quote": { "type": "string", "minLength": 1, "maxLength": LONGEST_QUOTE },
                        },
                        "required": ["turn", "quote"],
                        "additionalProperties": false,
                    },
                },
            },
            "required": ["criterion", "score", "confidence", "evidence"],
            "additionalProperties": false,
        },
    })
}

fn tasks_schema() -> Value {
    let owners: Vec<Option<&Owner>> = Owner::VARIANTS.iter().map(Some).chain([None]).collect();
    json!({
        "type": "array",
        "maxItems": MOST_TASKS,
        "items": {
            "type": "object",
            "properties": {
                "title": { "type": "string", "minLength": 1, "maxLength": LONGEST_TITLE },
                "due": { "type": ["string", "null"], "description": "YYYY-MM-DD" },
                "owner": { "enum": owners },
            },
            "required": ["title", "due", "owner"],
            "additionalProperties": false,
        },
    })
}
