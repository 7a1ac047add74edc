//! A model that answers chat completions at once, with as little as is an answer.

use hyper::body::Bytes;
use serde_json::{Value, json};

/// The path at which it is asked.
pub const PATH: &str = "/v1/chat/completions";

/// The answer to a request: every criterion that is asked for, judged as not to be told.
pub fn completion(request: &[u8]) -> Bytes {
    let request: Value = serde_json::from_slice(request).unwrap_or_default();
    let asked = &request["tools"][0]["function"]["parameters"]["properties"];
    let mut answer = json!({
        "summary": "A fake summary of a fake talk.", "outcome": "unclear", "sentiment": "neutral",
    });
    if let Some(names) = asked["scorecard"]["items"]["properties"]["criterion"]["enum"].as_array() {
        let score = |name: &Value| json!({ "criterion": name, "score": null, "confidence": 0, "evidence": [] });
        answer["scorecard"] = names.iter().map(score).collect();
    }
    if asked.get("tasks").is_some() {
        answer["tasks"] = json!([]);
    }
    let call = json!({
        "id": "call_1", "type": "function",
        "function": { "name": "record_analysis", "arguments": answer.to_string() },
    });
    let message = json!({ "role": "assistant", "content": null, "tool_calls": [call] });
    let body = json!({
        "id": "chatcmpl-bench", "object": "chat.completion", "model": "bench",
        "choices": [{ "index": 0, "message": message, "finish_reason": "tool_calls" }],
        "usage": { "prompt_tokens": 900, "completion_tokens": 120, "total_tokens": 1_020 },
    });
    Bytes::from(body.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_answered() {
        let properties = json!({
            "tasks": {}, "scorecard": {"items": {"properties": {"criterion": {"enum": ["a", "b"]}}}},
        });
        let request = json!({"tools": [{"function": {"parameters": {"properties": properties}}}]});
        let body: Value =
            serde_json::from_slice(&completion(request.to_string().as_bytes())).unwrap();
        let call = &body["choices"][0]["message"]["tool_calls"][0]["function"];
        let answer: Value = serde_json::from_str(call["arguments"].as_str().unwrap()).unwrap();
        let names: Vec<&Value> =
            answer["scorecard"].as_array().unwrap().iter().map(|one| &one["criterion"]).collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(answer["tasks"], json!([]));
    }
}
