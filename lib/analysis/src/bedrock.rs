//! Amazon Bedrock's Converse, with one tool whose input is the answer.
//!
//! <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html>

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::json;

use crate::model::Model;
use crate::prompt::{Prompt, TOOL};
use crate::reply::{Received, Reply, tokens};

/// A model's id is one segment of the path, also where it is an ARN with slashes.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The path of a request to a model.
pub fn path(model: &str) -> String {
    format!("/model/{}/converse", utf8_percent_encode(model, SEGMENT))
}

/// The body of a request. `force`: the model is made to use the tool, which not every model can be.
pub fn body(model: &Model, prompt: &Prompt, force: bool) -> Vec<u8> {
    let mut tools = json!({
        "tools": [{ "toolSpec": {
            "name": TOOL,
            "description": "Records the analysis of the call.",
            "inputSchema": { "json": prompt.schema },
        }}],
    });
    if force {
        tools["toolChoice"] = json!({ "tool": { "name": TOOL } });
    }
    let body = json!({
        "system": [{ "text": prompt.system }],
        "messages": [{ "role": "user", "content": [{ "text": prompt.user }] }],
        "inferenceConfig": { "maxTokens": model.max_output_tokens },
        "toolConfig": tools,
    });
    // JSON always serializes.
    serde_json::to_vec(&body).unwrap_or_default()
}

/// Reads what came back.
pub fn read(received: Received<'_>) -> Reply {
    let value = match received.json() {
        Ok(value) => value,
        Err(reply) => return reply,
    };
    let tokens = tokens(&value["usage"], "inputTokens", "outputTokens");
    let malformed = |problem| Reply::Malformed { problem, tokens };
    match value["stopReason"].as_str() {
        Some("guardrail_intervened") => {
            return Reply::Declined { problem: "a guardrail kept the answer back", tokens };
        }
        Some("content_filtered" | "refusal") => {
            return Reply::Declined { problem: "the model refused to answer", tokens };
        }
        Some("max_tokens") => {
            return malformed("was cut off: it took more than the tokens allowed");
        }
        Some(_) => {}
        None => {
            let problem = "the model's answer is not one of Converse".to_owned();
            return Reply::Trouble { problem, not_before: None };
        }
    }
    let content = value["output"]["message"]["content"].as_array();
    let mut uses = content.into_iter().flatten().filter_map(|block| block.get("toolUse"));
    match (uses.next(), uses.next()) {
        (Some(one), None) if one["name"] == TOOL => {
            Reply::Content { response: one["input"].clone(), tokens }
        }
        (Some(_), Some(_)) => malformed("called the tool more than once"),
        (Some(_), None) => malformed("called an unknown tool"),
        (None, _) => malformed("did not call the tool"),
    }
}
