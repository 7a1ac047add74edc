//! A model with the APIs of Bedrock's Converse and of chat completions: it returns the configured
//! responses, or those of a good model for the transcript in the request.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use serde_json::{Map, Value, json};

use crate::effects::Effects;
use crate::servers::{Answer, Clock, Received, serve, status};

const ID: &str = "fake.model-v1:0";

/// What the model says.
#[derive(Clone, Debug)]
pub enum Says {
    /// This, as the tool's input or the text, in the API's words.
    Answer(Value),
    /// What a good model says, with this changed.
    Changed(fn(&mut Value)),
    /// What a good model says, with a value put at a JSON pointer.
    Set(&'static str, Value),
    /// This text where JSON is expected.
    Text(&'static str),
    /// That it will not.
    Refusal,
    /// That it had to stop.
    CutOff,
    /// The tool twice.
    Twice,
    /// A tool that there is not.
    OtherTool,
    /// No tool and no text.
    Nothing,
    /// This over HTTP.
    Http(Answer),
}

#[derive(Default)]
struct State {
    received: Vec<Received>,
    script: VecDeque<Says>,
    always: Option<Says>,
}

/// The model. Answering is an effect.
#[derive(Clone)]
pub struct Oracle {
    pub base: String,
    state: Arc<Mutex<State>>,
}

impl Oracle {
    pub async fn start(clock: &Clock, effects: &Effects) -> Self {
        let state: Arc<Mutex<State>> = Arc::default();
        let (inner, effects) = (state.clone(), effects.clone());
        let base = serve(clock.clone(), move |received| {
            let (state, effects) = (inner.clone(), effects.clone());
            async move {
                let take = async {
                    let mut state = state.lock().unwrap();
                    let usual = state.always.clone().unwrap_or(Says::Changed(|_| {}));
                    let says = state.script.pop_front().unwrap_or(usual);
                    let answer = answer(&received, says);
                    state.received.push(received);
                    Ok(answer)
                };
                effects.act("model", take, |_| Err(())).await.unwrap_or(Answer::Close)
            }
        })
        .await;
        Self { base, state }
    }

    /// The parameter by which it is asked in an API's way.
    pub fn parameter(&self, api: &str) -> Value {
        match api {
            "bedrock" => json!({ "api": "bedrock", "model": ID, "timeout_seconds": 1 }),
            _ => json!({
                "api": "openai", "model": ID, "base_url": format!("{}/v1/", self.base),
                "api_key": "fake-model-key", "timeout_seconds": 1,
                "answers": if api == "json_schema" { "json_schema" } else { "tool" },
            }),
        }
    }

    /// What it says next, one after the other; then what is right.
    pub fn says(&self, script: impl IntoIterator<Item = Says>) {
        self.state.lock().unwrap().script.extend(script);
    }

    /// What it says from now on.
    pub fn always(&self, says: Says) {
        self.state.lock().unwrap().always = Some(says);
    }

    pub fn received(&self) -> Vec<Received> {
        self.state.lock().unwrap().received.clone()
    }

    /// The prompts that it was asked.
    pub fn prompts(&self) -> Vec<String> {
        self.received().iter().map(|one| prompt(&one.json())).collect()
    }
}

/// What was asked, in either API's words.
fn prompt(body: &Value) -> String {
    let chat = body["messages"].as_array().unwrap().last().unwrap();
    let text = chat["content"].as_str().or(chat["content"][0]["text"].as_str());
    text.unwrap().to_owned()
}

fn schema(body: &Value) -> &Value {
    [
        "/toolConfig/tools/0/toolSpec/inputSchema/json",
        "/tools/0/function/parameters",
        "/response_format/json_schema/schema",
    ]
    .iter()
    .find_map(|path| body.pointer(path))
    .unwrap()
}

/// The objects that stand on lines of their own between two tags.
fn between(prompt: &str, tag: &str) -> Vec<Value> {
    let Some((_, rest)) = prompt.split_once(&format!("<{tag}>\n")) else { return Vec::new() };
    let (inside, _) = rest.split_once(&format!("</{tag}>")).unwrap();
    inside.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What a good model says of what it is shown: every word of it is there.
pub fn sound(body: &Value) -> Value {
    let prompt = prompt(body);
    let turns: Vec<Value> = between(&prompt, "transcript");
    let turn = turns.iter().find(|line| line.get("turn").is_some()).unwrap();
    let quote: String = turn["text"].as_str().unwrap().chars().take(300).collect();
    let scores: Vec<Value> = between(&prompt, "criteria")
        .iter()
        .map(|one| {
            json!({
                "criterion": one["criterion"], "score": one["scale"], "confidence": 80,
                "evidence": [{ "turn": turn["turn"], "quote": quote.trim() }],
            })
        })
        .collect();
    let mut answer = Map::new();
    answer.insert("summary".into(), json!("A fake analysis of the talk."));
    answer.insert("outcome".into(), json!("follow_up"));
    answer.insert("sentiment".into(), json!("neutral"));
    if !scores.is_empty() {
        answer.insert("scorecard".into(), scores.into());
    }
    if schema(body)["properties"].get("tasks").is_some() {
        let task = json!({ "title": "Call back", "due": "2026-02-23", "owner": "employee" });
        answer.insert("tasks".into(), json!([task]));
    }
    Value::Object(answer)
}

fn answer(received: &Received, says: Says) -> Answer {
    if let Says::Http(answer) = says {
        return answer;
    }
    let body: Value = serde_json::from_slice(&received.body).unwrap();
    let is_chat = match received.target.as_str() {
        "/v1/chat/completions" => true,
        "/model/fake.model-v1%3A0/converse" => false,
        _ => return status(404),
    };
    let answer = match is_chat {
        true => chat(&body, received, changed(&body, says)),
        false => converse(&body, received, changed(&body, says)),
    };
    match answer {
        Ok(body) => {
            let json = ("content-type", "application/json".to_owned());
            Answer::Status(200, vec![json], body.to_string())
        }
        Err(code) => status(code),
    }
}

/// What a model says in place of what a good one says.
fn changed(body: &Value, says: Says) -> Says {
    match says {
        Says::Changed(change) => {
            let mut answer = sound(body);
            change(&mut answer);
            Says::Answer(answer)
        }
        Says::Set("", value) => Says::Answer(value),
        Says::Set(pointer, value) => {
            let mut answer = sound(body);
            let (parent, name) = pointer.rsplit_once('/').unwrap();
            answer.pointer_mut(parent).unwrap()[name] = value;
            Says::Answer(answer)
        }
        as_it_is => as_it_is,
    }
}

fn converse(body: &Value, received: &Received, says: Says) -> Result<Value, u16> {
    let signed = received.header("authorization");
    let scope = "/eu-central-1/bedrock/aws4_request";
    if !signed.starts_with("AWS4-HMAC-SHA256 Credential=AKIDFAKE/") || !signed.contains(scope) {
        return Err(403);
    }
    assert_eq!(received.header("x-amz-security-token"), "fake-session");
    assert_eq!(body["toolConfig"]["toolChoice"]["tool"]["name"], "record_analysis");
    assert!(body["system"][0]["text"].as_str().unwrap().len() > 100);
    assert_eq!(body["inferenceConfig"]["maxTokens"], 4_096);
    let tool = |input: Value, name: &str| json!({ "toolUse": { "toolUseId": "tooluse_1", "name": name, "input": input } });
    let ours = |input| tool(input, "record_analysis");
    let (stop, content) = match says {
        Says::Answer(input) => ("tool_use", vec![ours(input)]),
        Says::Text(text) => ("end_turn", vec![json!({ "text": text })]),
        Says::Refusal => ("content_filtered", vec![json!({ "text": "I cannot." })]),
        Says::CutOff => ("max_tokens", vec![ours(json!({ "summary": "A fake" }))]),
        Says::Twice => ("tool_use", vec![ours(sound(body)), ours(sound(body))]),
        Says::OtherTool => ("tool_use", vec![tool(sound(body), "transfer_money")]),
        _ => ("end_turn", vec![]),
    };
    Ok(json!({
        "output": { "message": { "role": "assistant", "content": content } },
        "stopReason": stop,
        "usage": { "inputTokens": 700, "outputTokens": 90, "totalTokens": 790 },
        "metrics": { "latencyMs": 1 },
    }))
}

fn chat(body: &Value, received: &Received, says: Says) -> Result<Value, u16> {
    if received.header("authorization") != "Bearer fake-model-key" {
        return Err(401);
    }
    assert_eq!((&body["model"], &body["max_tokens"]), (&json!(ID), &json!(4_096)));
    assert_eq!(body["messages"][0]["role"], "system");
    let with_tool = body.get("tools").is_some();
    let tool = |arguments: String, name: &str| json!({ "id": "call_1", "type": "function", "function": { "name": name, "arguments": arguments } });
    let said = |arguments: String| match with_tool {
        true => json!({
            "role": "assistant", "content": null, "tool_calls": [tool(arguments, "record_analysis")],
        }),
        false => json!({ "role": "assistant", "content": arguments, "refusal": null }),
    };
    let calls =
        |calls: Vec<Value>| json!({ "role": "assistant", "content": null, "tool_calls": calls });
    let sound = || sound(body).to_string();
    let (finish, message) = match says {
        Says::Answer(answer) => ("stop", said(answer.to_string())),
        Says::Text(text) => ("stop", said(text.to_owned())),
        Says::Refusal => {
            ("stop", json!({ "role": "assistant", "content": null, "refusal": "I cannot." }))
        }
        Says::CutOff => ("length", said(r#"{"summary": "A fa"#.to_owned())),
        Says::Twice => (
            "tool_calls",
            calls(vec![tool(sound(), "record_analysis"), tool(sound(), "record_analysis")]),
        ),
        Says::OtherTool => ("tool_calls", calls(vec![tool(sound(), "transfer_money")])),
        _ => ("stop", json!({ "role": "assistant", "content": null })),
    };
    Ok(json!({
        "id": "chatcmpl-1", "object": "chat.completion", "model": ID,
        "choices": [{ "index": 0, "message": message, "finish_reason": finish }],
        "usage": { "prompt_tokens": 700, "completion_tokens": 90, "total_tokens": 790 },
    }))
}
