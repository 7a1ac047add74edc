//! The conversation that was held on a call, from ElevenLabs' REST API.

use std::time::Duration;

use jiff::Timestamp;
use switchboard_domain::CallRecord;
use switchboard_http::Http;
use switchboard_providers::Source;
use switchboard_providers::elevenlabs::lookup::{self, LookupResult};

/// The whole search ends within this: the function has half a minute for it and its writes.
const BUDGET: Duration = Duration::from_secs(18);

/// Finds the conversation of a call. A search that takes too long is a failure like any other, so that
/// its deadline counts.
pub async fn find(
    http: &dyn Http,
    source: &Source,
    record: &CallRecord,
    now: Timestamp,
) -> LookupResult {
    match tokio::time::timeout(BUDGET, lookup::find(http, source, record, now)).await {
        Ok(found) => found,
        Err(_) => LookupResult::failed(None, "the search took too long".to_owned()),
    }
}
