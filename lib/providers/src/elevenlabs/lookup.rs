//! Finding the conversation that was held on a call, over the REST API.

use std::time::Duration;

use http::header::{HeaderName, RETRY_AFTER};
use jiff::{SignedDuration, Timestamp};
use switchboard_domain::lookup::LookupResult;
use switchboard_domain::{CallRecord, earlier, later};
use switchboard_http::{Http, Limits, SendError, retry_after};
use url::Url;

use super::conversation::{Conversation, Page, Status, conversation, page};
use super::settings::{agents, api_key, api_url};
use crate::provider::Provider as _;
use crate::reject::Reject;
use crate::rest;
use crate::source::Source;
use crate::twilio::Twilio;

/// A conversation with its transcript is far smaller, and comes sooner.
const LIMITS: Limits = Limits { timeout: Duration::from_secs(8), largest: 8 * 1024 * 1024 };
/// How far a conversation's start may lie from its call's.
const WINDOW: SignedDuration = SignedDuration::from_mins(2);
/// So many conversations of the same minutes are looked into for one call at a time.
const MOST_CANDIDATES: usize = 25;
/// So many pages of the list are read.
const MOST_PAGES: usize = 4;

/// What a search brought.
pub struct SearchResult {
    /// How far the search has come.
    pub finding: LookupResult,
    /// The conversation of the call, if it was found.
    pub conversation: Option<Conversation>,
    /// What went wrong, in words for the log.
    pub problem: Option<String>,
}

impl SearchResult {
    fn of(finding: LookupResult, conversation: Option<Conversation>) -> Self {
        Self { finding, conversation, problem: None }
    }

    /// A search that failed, and may be tried again.
    pub fn failed(not_before: Option<Timestamp>, problem: String) -> Self {
        let finding = LookupResult::Trouble { not_before };
        Self { finding, conversation: None, problem: Some(problem) }
    }
}

/// Why a request brought nothing.
enum Problem {
    /// There is no such thing.
    Absent,
    /// The service cannot answer now.
    Later { not_before: Option<Timestamp>, why: String },
}

impl From<SendError> for Problem {
    fn from(error: SendError) -> Self {
        Self::Later { not_before: None, why: error.to_string() }
    }
}

impl From<Reject> for Problem {
    fn from(_: Reject) -> Self {
        Self::Later { not_before: None, why: "the response cannot be parsed".into() }
    }
}

/// Finds the conversation of a call: by its id where that is known, else among those of the same
/// minutes, by the call's id in each.
pub async fn find(
    http: &dyn Http,
    source: &Source,
    record: &CallRecord,
    now: Timestamp,
) -> SearchResult {
    let client = Client { http, source, now };
    let known = record.lookup.as_ref().and_then(|lookup| lookup.conversation.as_ref());
    let found = match record.call.facts.conversation.as_ref().or(known) {
        Some(id) => client.conversation(id).await.map(|found| (Some(found), false)),
        None => client.search(record).await,
    };
    match found {
        Ok((Some(conversation), _)) => {
            let finding = match conversation.status {
                Status::Done => LookupResult::Done,
                Status::Failed => LookupResult::Failed,
                _ => LookupResult::Processing,
            };
            SearchResult::of(finding, Some(conversation))
        }
        Ok((None, true)) => SearchResult::of(LookupResult::Processing, None),
        Ok((None, false)) | Err(Problem::Absent) => SearchResult::of(LookupResult::Absent, None),
        Err(Problem::Later { not_before, why }) => SearchResult::failed(not_before, why),
    }
}

struct Client<'a> {
    http: &'a dyn Http,
    source: &'a Source,
    now: Timestamp,
}

impl Client<'_> {
    /// The conversation with this call's id, and whether one that is not over may yet turn out to be
    /// it.
    async fn search(&self, record: &CallRecord) -> Result<(Option<Conversation>, bool), Problem> {
        let mut candidates = 0;
        let mut may_come = false;
        let agents = agents(self.source);
        let every = if agents.is_empty() { vec![None] } else { agents.iter().map(Some).collect() };
        for agent in every {
            let mut cursor = None;
            for _ in 0..MOST_PAGES {
                let page = self.list(record, agent, cursor).await?;
                for listed in page.conversations {
                    if candidates == MOST_CANDIDATES {
                        return Ok((None, may_come));
                    }
                    candidates += 1;
                    let candidate = match self.conversation(&listed.conversation_id).await {
                        Err(Problem::Absent) => continue,
                        found => found?,
                    };
                    match &candidate.call_sid {
                        Some(sid) if sid == record.key.call_id() => {
                            return Ok((Some(candidate), false));
                        }
                        Some(_) => {}
                        None => may_come |= !candidate.status.is_final(),
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

    /// A page of the conversations that began about when a call did.
    async fn list(
        &self,
        record: &CallRecord,
        agent: Option<&String>,
        cursor: Option<String>,
    ) -> Result<Page, Problem> {
        let facts = &record.call.facts;
        let begin = facts.started_at.or(facts.ended_at).unwrap_or(self.now);
        let end = facts.ended_at.unwrap_or(self.now).max(begin);
        let after = earlier(begin, WINDOW);
        let before = later(end, WINDOW);
        let mut query = vec![
            ("call_start_after_unix", after.as_second().to_string()),
            ("call_start_before_unix", before.as_second().to_string()),
            ("page_size", "100".to_owned()),
        ];
        if record.key.provider.as_str() == Twilio.name() {
            query.push(("conversation_initiation_source", "twilio".to_owned()));
        }
        query.extend(agent.map(|agent| ("agent_id", agent.clone())));
        query.extend(cursor.map(|cursor| ("cursor", cursor)));
        Ok(page(&self.get(None, &query).await?)?)
    }

    async fn conversation(&self, id: &str) -> Result<Conversation, Problem> {
        Ok(conversation(&self.get(Some(id), &[]).await?, self.now)?)
    }

    async fn get(&self, id: Option<&str>, query: &[(&str, String)]) -> Result<Vec<u8>, Problem> {
        let later = |why: &str| Problem::Later { not_before: None, why: why.to_owned() };
        let key = api_key(self.source).ok_or_else(|| later("the source has no api_key"))?;
        let base = api_url(self.source);
        let mut url = Url::parse(base).map_err(|_| later("the source's api_url is no URL"))?;
        if let Ok(mut segments) = url.path_segments_mut() {
            // Ids come from messages: as segments they can only name something below the path.
            segments.pop_if_empty().extend(["v1", "convai", "conversations"]).extend(id);
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let key = rest::sensitive(key.expose())
            .map_err(|_| later("the source's api_key cannot stand in a header"))?;
        let request = rest::get(url.as_str(), LIMITS)?;
        let request = rest::with(request, HeaderName::from_static("xi-api-key"), key);
        let response = self.http.send(request).await?;
        match response.status {
            200 => Ok(response.body),
            404 | 422 => Err(Problem::Absent),
            // 401 is also how ElevenLabs says that a quota is used up, so it is worth waiting.
            status => {
                let wait = response.header(RETRY_AFTER.as_str());
                let not_before = wait.and_then(|text| retry_after(text, self.now));
                Err(Problem::Later { not_before, why: format!("responded {status}") })
            }
        }
    }
}
