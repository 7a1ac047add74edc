//! ElevenLabs: the list of conversations, and each of them. The model of one is the `data` of the
//! webhook: "Get conversation" and "List conversations" of ElevenLabs' API reference.

use async_trait::async_trait;
use http::header::HeaderName;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use switchboard_domain::sync::Step;
use switchboard_domain::{ConfigError, later};
use switchboard_http::Response;

use super::conversation::page;
use super::settings::{self, Settings, agents, api_key, api_url};
use super::webhook::ElevenLabs;
use crate::json as read_json;
use crate::provider::Provider;
use crate::pull::{Page, Problem, Pull, Session, not_set_up};
use crate::rest::{self, query};
use crate::source::Source;

const LIST: &str = "list";
const CONVERSATION: &str = "conversation";
const PATH: &str = "/webhooks/elevenlabs";
/// The most that a page of the list holds.
const PAGE_SIZE: u32 = 100;
/// So many conversations are read before progress is written.
const TOGETHER: usize = 10;

/// The conversations of a source's agents.
pub struct ElevenLabsPull;

#[async_trait]
impl Pull for ElevenLabsPull {
    fn provider(&self) -> &'static dyn Provider {
        &ElevenLabs
    }

    fn check(&self, source: &Source) -> Result<(), ConfigError> {
        settings(source)?;
        match api_key(source) {
            Some(key) if !key.is_empty() => Ok(()),
            _ => Err(ConfigError::new("api_key", "is required to pull conversations")),
        }
    }

    fn steps(&self, source: &Source, from: Timestamp, to: Timestamp) -> Vec<Step> {
        let list = Step::first(LIST, from, to);
        let agents = agents(source);
        if agents.is_empty() {
            return vec![list];
        }
        let of = |agent: &String| Step { agent: Some(agent.clone()), ..list.clone() };
        agents.iter().map(of).collect()
    }

    fn together(&self, steps: &[Step]) -> usize {
        steps.iter().take(TOGETHER).take_while(|step| step.of == CONVERSATION).count().max(1)
    }

    async fn page(&self, session: &Session<'_>, step: &Step) -> Result<Page, Problem> {
        if step.of == CONVERSATION {
            conversation(session, step).await
        } else {
            list(session, step).await
        }
    }
}

fn settings(source: &Source) -> Result<&settings::Pull, ConfigError> {
    source.own::<Settings>().and_then(|settings| settings.pull.as_ref()).ok_or_else(not_set_up)
}

async fn list(session: &Session<'_>, step: &Step) -> Result<Page, Problem> {
    let size = settings(session.source)?.page_size.unwrap_or(PAGE_SIZE).min(PAGE_SIZE);
    let mut pairs = vec![
        ("call_start_after_unix", step.from.as_second().to_string()),
        ("call_start_before_unix", step.to.as_second().to_string()),
        ("page_size", size.to_string()),
    ];
    pairs.extend(step.agent.clone().map(|agent| ("agent_id", agent)));
    pairs.extend(step.at.clone().map(|cursor| ("cursor", cursor)));
    let response = get(session, &format!("?{}", query(pairs))).await?;
    let listed = page(body(session, &response)?)
        .map_err(|_| Problem::unreadable("it is no list of conversations"))?;
    let mut found = Page::default();
    for one in listed.conversations {
        // Until it is analysed it has no summary, and its webhook is yet to come.
        if one.status.is_final() {
            let at = Some(one.conversation_id);
            found.next.push(Step { of: CONVERSATION.into(), at, ..step.clone() });
        } else {
            found.unfinished += 1;
        }
    }
    let next = listed.next_cursor.filter(|_| listed.has_more);
    found.next.extend(next.map(|cursor| step.at(cursor)));
    Ok(found)
}

async fn conversation(session: &Session<'_>, step: &Step) -> Result<Page, Problem> {
    // An id comes from their list: escaped, it can only name something below the path.
    let id = step.at.as_deref().unwrap_or_default();
    let id: String = form_urlencoded::byte_serialize(id.as_bytes()).collect();
    let response = get(session, &format!("/{}", id.replace('+', "%20"))).await?;
    if response.status == 404 {
        // Deleted since it was listed.
        return Ok(Page::default());
    }
    let data = read_json::parse(body(session, &response)?)
        .map_err(|_| Problem::unreadable("it is not JSON"))?;
    let second = |path: &str| data.pointer(path).and_then(Value::as_i64);
    let start = second("/metadata/start_time_unix_secs").unwrap_or_default();
    let lasted = second("/metadata/call_duration_secs").unwrap_or_default();
    let message = json!({
        "type": "post_call_transcription",
        "event_timestamp": start.saturating_add(lasted),
        "data": data,
    });
    Ok(Page { records: vec![session.webhook(PATH, &message)], ..Page::default() })
}

async fn get(session: &Session<'_>, rest_of_url: &str) -> Result<Response, Problem> {
    let url = format!("{}/v1/convai/conversations{rest_of_url}", api_url(session.source));
    let key = rest::sensitive(api_key(session.source).map_or("", |key| key.expose()))?;
    session.get(&url, Some((HeaderName::from_static("xi-api-key"), key))).await
}

/// As for every provider, but a used-up quota comes as 401.
fn body<'r>(session: &Session<'_>, response: &'r Response) -> Result<&'r [u8], Problem> {
    if response.status == 401 {
        let detail: Value = serde_json::from_slice(&response.body).unwrap_or_default();
        if detail.pointer("/detail/status").and_then(Value::as_str) == Some("quota_exceeded") {
            let until = later((session.clock)(), SignedDuration::from_hours(1));
            return Err(Problem::Wait { until, why: "the quota is used up".into() });
        }
    }
    session.body(response)
}
