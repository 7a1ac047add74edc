//! Chat completions as OpenAI has them, and many others: with one tool, or with a format of the answer.
//!
//! <https://platform.openai.com/docs/api-reference/chat/create>

use serde_json::{Value, json};

use crate::model::{Model, ResponseForm};
use crate::prompt::{Prompt, TOOL};
use crate::reply::{Received, Reply, tokens};

/// The body of a request. `limit` is the name of the field that limits the answer's tokens, which is
/// another for some models.
pub fn body(model: &Model, prompt: &Prompt, answers: ResponseForm, limit: &str) -> Vec<u8> {
    let mut body = json!({
        "model": model.id,
        "messages": [
            { "role": "system", "content": prompt.system },
            { "role": "user", "content": prompt.user },
        ],
    });
    body[limit] = model.max_output_tokens.into();
    match answers {
        ResponseForm::Tool => {
            body["tools"] = json!([{ "type": "function", "function": {
                "name": TOOL,
                "description": "Records the analysis of the call.",
                "parameters": prompt.schema,
            }}]);
            body["tool_choice"] = json!({ "type": "function", "function": { "name": TOOL } });
        }
        ResponseForm::JsonSchema => {
            body["response_format"] = json!({
                "type": "json_schema",
                "json_schema": { "name": TOOL, "schema": prompt.schema },
            });
        }
    }
    // JSON always serializes.
    serde_json::to_vec(&body).unwrap_or_default()
}

/// Reads what came back: the tool's arguments or, from models that know no tools, the text.
pub fn read(received: Received<'_>) -> Reply {
    let value = match received.json() {
        Ok(value) => value,
        Err(reply) => return reply,
    };
    let tokens = tokens(&value["usage"], "prompt_tokens", "completion_tokens");
    let malformed = |problem| Reply::Malformed { problem, tokens };
    let choice = &value["choices"][0];
    let message = &choice["message"];
    if !message.is_object() {
        let problem = "the model's answer is no chat completion".to_owned();
        return Reply::Trouble { problem, not_before: None };
    }
    if message["refusal"].as_str().is_some_and(|refusal| !refusal.is_empty()) {
        return Reply::Declined { problem: "the model refused to answer", tokens };
    }
    match choice["finish_reason"].as_str() {
        Some("content_filter") => {
            return Reply::Declined { problem: "a filter kept the answer back", tokens };
        }
        Some("length") => return malformed("was cut off: it took more than the tokens allowed"),
        _ => {}
    }
    let parsed = |text: &str| match serde_json::from_str::<Value>(text) {
        Ok(response) => Reply::Content { response, tokens },
        Err(_) => malformed("is no JSON"),
    };
    match message["tool_calls"].as_array().map(Vec::as_slice) {
        Some([one]) if one["function"]["name"] == TOOL => {
            match one["function"]["arguments"].as_str() {
                Some(text) => parsed(text),
                None => malformed("called the tool without arguments"),
            }
        }
        Some([_]) => malformed("called an unknown tool"),
        Some([_, _, ..]) => malformed("called the tool more than once"),
        Some([]) | None => match message["content"].as_str() {
            Some(text) => parsed(text),
            None => malformed("says nothing"),
        },
    }
}
