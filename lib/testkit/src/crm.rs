//! A CRM that accepts every delivery, and beside it a model that answers chat completions at once.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::{Request, Response};
use serde_json::{Value, json};

use crate::http::{Reply, serve};
use crate::{Failure, lock};

const MODEL: &str = "/v1/chat/completions";

/// The delay of each response in milliseconds, and the requests so far: a name and the bytes of the body.
type State = (AtomicU64, Mutex<Vec<(String, usize)>>);

/// A CRM and a model at one address of loopback, over plain HTTP.
pub struct Crm {
    /// The port.
    pub port: u16,
    state: Arc<State>,
}

impl Crm {
    /// Starts both.
    pub async fn start() -> Result<Self, Failure> {
        let state: Arc<State> = Arc::default();
        let shared = state.clone();
        let handle = move |request: Request<Bytes>| {
            let state = shared.clone();
            async move {
                let is_model = request.uri().path() == MODEL;
                let name = if is_model { "model" } else { "crm" };
                let name = format!("{name} {}", request.method());
                lock(&state.1).push((name, request.body().len()));
                let delay = state.0.load(Ordering::Relaxed);
                if delay > 0 {
                    tokio::time::sleep(Duration::from_millis(delay)).await;
                }
                reply(if is_model { completion(request.body()) } else { json!({"ok": true}) })
            }
        };
        Ok(Self { port: serve(None, Arc::default(), handle).await?, state })
    }

    /// Answers so late from now on.
    pub fn delay(&self, delay: Duration) {
        let millis = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        self.state.0.store(millis, Ordering::Relaxed);
    }

    /// The requests since the last call, as `crm POST`, with the lengths of their bodies.
    pub fn take_received(&self) -> Vec<(String, usize)> {
        std::mem::take(&mut lock(&self.state.1))
    }
}

fn reply(body: Value) -> Reply {
    let response = Response::builder().header("content-type", "application/json");
    response.body(Full::from(body.to_string())).unwrap_or_default()
}

/// The least that is a valid response: every criterion of the scorecard, without a score.
fn completion(request: &[u8]) -> Value {
    let request: Value = serde_json::from_slice(request).unwrap_or_default();
    let fields = &request["tools"][0]["function"]["parameters"]["properties"];
    let mut answer = json!({
        "summary": "A fake summary of a fake talk.", "outcome": "unclear", "sentiment": "neutral",
    });
    if let Some(names) = fields["scorecard"]["items"]["properties"]["criterion"]["enum"].as_array()
    {
        let score = |name: &Value| json!({"criterion": name, "score": null, "confidence": 0, "evidence": []});
        answer["scorecard"] = names.iter().map(score).collect();
    }
    if fields.get("tasks").is_some() {
        answer["tasks"] = json!([]);
    }
    let call = json!({
        "id": "call_1", "type": "function",
        "function": {"name": "record_analysis", "arguments": answer.to_string()},
    });
    let message = json!({"role": "assistant", "content": null, "tool_calls": [call]});
    json!({
        "id": "chatcmpl-bench", "object": "chat.completion", "model": "bench",
        "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}],
        "usage": {"prompt_tokens": 900, "completion_tokens": 120, "total_tokens": 1_020},
    })
}
