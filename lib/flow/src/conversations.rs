//! The conversation that was held on a call, from ElevenLabs' REST API.

use std::time::Duration;

use http::Request;
use http::header::{HeaderValue, RETRY_AFTER};
use jiff::{SignedDuration, Timestamp};
use switchboard_domain::CallRecord;
use switchboard_domain::lookup::LookupResult;
use switchboard_http::{Client, Limits, retry_after};
use switchboard_providers::Source;
use switchboard_providers::elevenlabs::{self, Conversation, Status};
use url::Url;

/// What is not answered within this counts as trouble. A conversation with its transcript is far smaller.
const LIMITS: Limits = Limits { timeout: Duration::from_secs(8), largest: 8 * 1024 * 1024 };
/// And the whole search within this: the function has half a minute for it and its writes.
const BUDGET: Duration = Duration::from_secs(18);
/// How far a conversation's start may lie from its call's.
const WINDOW: SignedDuration = SignedDuration::from_mins(2);
/// So many conversations of the same minutes are looked into for one call at a time.
const MOST_CANDIDATES: usize = 25;
/// So many pages of the list are read.
const MOST_PAGES: usize = 4;

/// A client of the conversations API.
#[derive(Clone)]
pub struct Conversations {
    client: Client,
}

/// What a search brought.
pub struct Found {
    /// Where the search stands.
    pub finding: LookupResult,
    /// The conversation of the call, if it was found.
    pub conversation: Option<Conversation>,
    /// What went wrong, in words for the log.
    pub problem: Option<String>,
}

/// An answer that is not the one asked for.
enum Trouble {
    /// There is no such thing.
    Absent,
    /// The service cannot answer now.
    Later { not_before: Option<Timestamp>, problem: String },
}

impl Conversations {
    /// Over an HTTP client.
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    /// Looks for the conversation of a call: by its id where that is known, else among those of
    /// the same minutes, by the call's id in each.
    ///
    /// A search that takes too long is trouble like any other, so that its deadline counts.
    pub async fn find(&self, source: &Source, record: &CallRecord, now: Timestamp) -> Found {
        match tokio::time::timeout(BUDGET, self.ask(source, record, now)).await {
            Ok(found) => found,
            Err(_) => Found {
                finding: LookupResult::Trouble { not_before: None },
                conversation: None,
                problem: Some("the search took too long".to_owned()),
            },
        }
    }

    async fn ask(&self, source: &Source, record: &CallRecord, now: Timestamp) -> Found {
        let known = record.lookup.as_ref().and_then(|lookup| lookup.conversation.as_ref());
        let result = match record.call.facts.conversation.as_ref().or(known) {
            Some(id) => self.conversation(source, id, now).await.map(|found| (Some(found), false)),
            None => self.search(source, record, now).await,
        };
        let found = |finding, conversation| Found { finding, conversation, problem: None };
        match result {
            Ok((Some(conversation), _)) => {
                let finding = match conversation.status {
                    Status::Done => LookupResult::Done,
                    Status::Failed => LookupResult::Failed,
                    _ => LookupResult::Processing,
                };
                found(finding, Some(conversation))
            }
            Ok((None, true)) => found(LookupResult::Processing, None),
            Ok((None, false)) | Err(Trouble::Absent) => found(LookupResult::Absent, None),
            Err(Trouble::Later { not_before, problem }) => Found {
                finding: LookupResult::Trouble { not_before },
                conversation: None,
                problem: Some(problem),
            },
        }
    }

    /// The conversation with this call's id, and whether one that is still under way may yet turn
    /// out to be it.
    async fn search(
        &self,
        source: &Source,
        record: &CallRecord,
        now: Timestamp,
    ) -> Result<(Option<Conversation>, bool), Trouble> {
        let facts = &record.call.facts;
        let begin = facts.started_at.or(facts.ended_at).unwrap_or(now);
        let end = facts.ended_at.unwrap_or(now).max(begin);
        let after = begin.checked_sub(WINDOW).unwrap_or(begin);
        let before = end.checked_add(WINDOW).unwrap_or(end);

        let agents: Vec<Option<&String>> = match source.agents.is_empty() {
            true => vec![None],
            false => source.agents.iter().map(Some).collect(),
        };
        let mut looked_into = 0;
        let mut may_come = false;
        for agent in agents {
            let mut cursor: Option<String> = None;
            for _ in 0..MOST_PAGES {
                let mut query = vec![
                    ("call_start_after_unix", after.as_second().to_string()),
                    ("call_start_before_unix", before.as_second().to_string()),
                    ("page_size", "100".to_owned()),
                ];
                if record.key.provider.as_str() == "twilio" {
                    query.push(("conversation_initiation_source", "twilio".to_owned()));
                }
                query.extend(agent.map(|agent| ("agent_id", agent.clone())));
                query.extend(cursor.take().map(|cursor| ("cursor", cursor)));
                let body =
                    self.get(source, &["v1", "convai", "conversations"], &query, now).await?;
                let page = elevenlabs::page(&body).map_err(unreadable)?;
                for listed in page.conversations {
                    if looked_into == MOST_CANDIDATES {
                        return Ok((None, may_come));
                    }
                    looked_into += 1;
                    let candidate =
                        match self.conversation(source, &listed.conversation_id, now).await {
                            Ok(candidate) => candidate,
                            Err(Trouble::Absent) => continue,
                            Err(later) => return Err(later),
                        };
                    match &candidate.call_sid {
                        Some(sid) if sid == record.key.call_id() => {
                            return Ok((Some(candidate), false));
                        }
                        Some(_) => {}
                        None => {
                            may_come |= !matches!(candidate.status, Status::Done | Status::Failed)
                        }
                    }
                }
                cursor = page.next_cursor.filter(|_| page.has_more);
                if cursor.is_none() {
                    break;
                }
            }
        }
        Ok((None, may_come))
    }

    async fn conversation(
        &self,
        source: &Source,
        id: &str,
        now: Timestamp,
    ) -> Result<Conversation, Trouble> {
        let body = self.get(source, &["v1", "convai", "conversations", id], &[], now).await?;
        elevenlabs::conversation(&body, now).map_err(unreadable)
    }

    async fn get(
        &self,
        source: &Source,
        path: &[&str],
        query: &[(&str, String)],
        now: Timestamp,
    ) -> Result<Vec<u8>, Trouble> {
        let later =
            |problem: &str| Trouble::Later { not_before: None, problem: problem.to_owned() };
        let key = source.api_key.as_ref().ok_or_else(|| later("the source has no api_key"))?;
        let base = source.api_url.as_deref().unwrap_or(elevenlabs::API_URL);
        let mut url = Url::parse(base).map_err(|_| later("the source's api_url is no URL"))?;
        if let Ok(mut segments) = url.path_segments_mut() {
            // Ids come from messages: as segments they can only name something below the path.
            segments.pop_if_empty().extend(path);
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let mut key = HeaderValue::from_str(key.expose())
            .map_err(|_| later("the source's api_key cannot stand in a header"))?;
        key.set_sensitive(true);
        let request = Request::get(url.as_str()).header("xi-api-key", key).body(Vec::new());
        let request = request.map_err(|_| later("the source's api_url cannot be asked"))?;
        let answer = self.client.send(request, LIMITS).await;
        let answer = answer.map_err(|error| later(&error.to_string()))?;
        match answer.status().as_u16() {
            200 => Ok(answer.into_body()),
            404 | 422 => Err(Trouble::Absent),
            // 401 is also how ElevenLabs says that a quota is used up, so it is worth waiting.
            status => {
                let said = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
                let not_before = said.and_then(|text| retry_after(text, now));
                Err(Trouble::Later { not_before, problem: format!("answered {status}") })
            }
        }
    }
}

fn unreadable(_: switchboard_providers::Reject) -> Trouble {
    Trouble::Later { not_before: None, problem: "answered what cannot be read".into() }
}
