//! ElevenLabs: the list of conversations, and each of them. The model of one is the `data` of the
//! webhook: "Get conversation" and "List conversations" of ElevenLabs' API reference.

use http::header::HeaderName;
use jiff::Timestamp;
use serde_json::{Value, json};
use switchboard_domain::sync::Step;
use switchboard_domain::{ConfigError, Secret};

use super::{Answer, Asked, Page, Problem, Pull, Question, Settings, get, query};
use crate::elevenlabs::{API_URL, ElevenLabs, Status, page};
use crate::{Provider, Source};

const LIST: &str = "list";
const CONVERSATION: &str = "conversation";
const PATH: &str = "/webhooks/elevenlabs";
/// The most that a page of the list holds.
const PAGE_SIZE: u32 = 100;
/// So many conversations are read before progress is written.
const TOGETHER: usize = 10;

/// The conversations of a source's agents.
pub struct Conversations;

impl Pull for Conversations {
    fn provider(&self) -> &'static dyn Provider {
        &ElevenLabs
    }

    fn check(&self, source: &Source, _settings: &Settings) -> Result<(), ConfigError> {
        match &source.api_key {
            Some(key) if !key.is_empty() => Ok(()),
            _ => Err(ConfigError::new("api_key", "is required to pull conversations")),
        }
    }

    fn steps(&self, source: &Source, from: Timestamp, to: Timestamp) -> Vec<Step> {
        let list = Step::first(LIST, from, to);
        if source.agents.is_empty() {
            return vec![list];
        }
        let of = |agent: &String| Step { agent: Some(agent.clone()), ..list.clone() };
        source.agents.iter().map(of).collect()
    }

    fn together(&self, steps: &[Step]) -> usize {
        steps.iter().take(TOGETHER).take_while(|step| step.of == CONVERSATION).count().max(1)
    }

    fn ask(
        &self,
        source: &Source,
        step: &Step,
        _token: Option<&Secret>,
    ) -> Result<Question, Problem> {
        let settings = super::settings(self, source).map_err(|e| Problem::configuration(&e))?;
        let base = source.api_url.as_deref().unwrap_or(API_URL);
        let at = step.at.clone();
        let url = if step.of == CONVERSATION {
            // An id comes from their list: escaped, it can only name something below the path.
            let id = at.unwrap_or_default();
            let id: String = form_urlencoded::byte_serialize(id.as_bytes()).collect();
            format!("{base}/v1/convai/conversations/{}", id.replace('+', "%20"))
        } else {
            let size = settings.page_size.unwrap_or(PAGE_SIZE).min(PAGE_SIZE);
            let mut pairs = vec![
                ("call_start_after_unix", step.from.as_second().to_string()),
                ("call_start_before_unix", step.to.as_second().to_string()),
                ("page_size", size.to_string()),
            ];
            pairs.extend(step.agent.clone().map(|agent| ("agent_id", agent)));
            pairs.extend(at.map(|cursor| ("cursor", cursor)));
            format!("{base}/v1/convai/conversations?{}", query(pairs))
        };
        let key = source.api_key.as_ref().map_or("", |key| key.expose());
        get(&url, Some((HeaderName::from_static("xi-api-key"), key)))
    }

    fn read(&self, to: &Asked<'_>, step: &Step, answer: &Answer) -> Result<Page, Problem> {
        if step.of == CONVERSATION {
            return conversation(to, answer);
        }
        let listed = body(answer, to.now)?;
        let listed =
            page(listed).map_err(|_| Problem::unreadable("it is no list of conversations"))?;
        let mut found = Page::default();
        for one in listed.conversations {
            match one.status {
                // What is still being analysed has no summary yet, and is told when it has.
                Status::Done | Status::Failed => {
                    let at = Some(one.conversation_id);
                    found.next.push(Step { of: CONVERSATION.into(), at, ..step.clone() });
                }
                _ => found.unfinished += 1,
            }
        }
        let next = listed.next_cursor.filter(|_| listed.has_more);
        found.next.extend(next.map(|cursor| step.at(cursor)));
        Ok(found)
    }
}

fn conversation(to: &Asked<'_>, answer: &Answer) -> Result<Page, Problem> {
    if answer.status().as_u16() == 404 {
        // Deleted since it was listed.
        return Ok(Page::default());
    }
    let data: Value = serde_json::from_slice(body(answer, to.now)?)
        .map_err(|_| Problem::unreadable("it is not JSON"))?;
    let second = |path: &str| data.pointer(path).and_then(Value::as_i64);
    let start = second("/metadata/start_time_unix_secs").unwrap_or_default();
    let lasted = second("/metadata/call_duration_secs").unwrap_or_default();
    let told = json!({
        "type": "post_call_transcription",
        "event_timestamp": start.saturating_add(lasted),
        "data": data,
    });
    Ok(Page { records: vec![to.webhook(PATH, &told)], ..Page::default() })
}

/// As for every provider, but a used-up quota comes as 401.
fn body(answer: &Answer, now: Timestamp) -> Result<&[u8], Problem> {
    if answer.status().as_u16() == 401 {
        let said: Value = serde_json::from_slice(answer.body()).unwrap_or_default();
        if said.pointer("/detail/status").and_then(Value::as_str) == Some("quota_exceeded") {
            let until = now.checked_add(jiff::SignedDuration::from_hours(1)).unwrap_or(now);
            return Err(Problem::Wait { until, why: "answered that the quota is used up".into() });
        }
    }
    super::body(answer, now)
}
