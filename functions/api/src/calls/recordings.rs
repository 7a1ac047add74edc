//! From a recording's link to its copy: an address in the bucket, made when it is asked for and good for
//! some minutes. A link proves by itself that it may be opened; without one, a token does.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use switchboard_domain::copies::{CopyState, Object};
use switchboard_domain::{CallKey, RecordingCopy, later};
use switchboard_recordings::{Bucket, Links, Refused};
use switchboard_shell::parameters::{Cached, ParameterError};
use tracing::info;

use super::{Calls, TwilioSources};
use crate::{Caller, Problem, Request, Response, Right, with_status};

/// So long is an address in the bucket good.
const GOOD_FOR: Duration = Duration::from_secs(300);
/// A copy that is not there yet is worth asking for again after as many seconds.
const AGAIN: std::ops::RangeInclusive<i64> = 5..=3_600;
/// Who a line of the log says it was that opened a link.
const BEARER_OF_A_LINK: &str = "link";

/// Where copies of recordings lie.
pub struct Kept {
    /// The bucket.
    pub bucket: Bucket,
    /// After how many days copies are deleted from it.
    pub retention_days: u32,
    /// How links are checked.
    pub links: Box<dyn KnowsLinks>,
}

/// What [`KnowsLinks::links`] gives. `None` where links are not configured.
pub type Known<'a> =
    Pin<Box<dyn Future<Output = Result<Arc<Option<Links>>, ParameterError>> + Send + 'a>>;

/// Who knows how links are checked.
pub trait KnowsLinks: Send + Sync {
    /// How they are. `again`: a link was refused that newer keys may open.
    fn links(&self, again: bool) -> Known<'_>;
}

impl KnowsLinks for Cached<Option<Links>> {
    fn links(&self, again: bool) -> Known<'_> {
        Box::pin(async move { if again { self.get_again().await } else { self.get().await } })
    }
}

impl<N: TwilioSources> Calls<N> {
    /// Redirects to a copy: with a token, or by a signed link.
    pub(super) async fn recording(
        &self,
        key: &CallKey,
        id: &str,
        request: &Request,
        caller: &Caller,
    ) -> Result<Response, Problem> {
        if caller.is_anonymous {
            return self.linked(key, id, request).await;
        }
        caller.needs(Right::Read)?;
        caller.needs(Right::Personal)?;
        request.only(&["until", "signature"])?;
        let copy = self.stored(key).await?.copies.remove(id);
        let copy = copy.ok_or_else(|| Problem::not_found("recording, or it is not copied"))?;
        self.lead(key, &copy, request, &caller.name)
    }

    async fn linked(
        &self,
        key: &CallKey,
        id: &str,
        request: &Request,
    ) -> Result<Response, Problem> {
        request.only(&["until", "signature"])?;
        let kept = self.kept()?;
        let (until, signature) = (request.parameter("until"), request.parameter("signature"));
        let (until, signature) = (until.unwrap_or_default(), signature.unwrap_or_default());
        let check = |links: Arc<Option<Links>>| match links.as_ref() {
            Some(links) => links.check(key, id, until, signature, request.now),
            None => Err(Refused::Forged),
        };
        let unreadable = |_| Problem::ours("the configuration cannot be read");
        let mut checked = check(kept.links.links(false).await.map_err(unreadable)?);
        if checked == Err(Refused::Forged) {
            // It may be signed with a key that is newer than what we know.
            checked = check(kept.links.links(true).await.map_err(unreadable)?);
        }
        match checked {
            Err(Refused::Forged) => Err(Problem::unauthenticated()),
            Err(Refused::Expired) => Err(Problem::gone("this link has expired")),
            Ok(()) => {
                // There was such a recording when the link was made.
                let copy = self.store.call(key).await?.and_then(|mut call| call.copies.remove(id));
                let copy = copy.ok_or_else(|| Problem::gone("the call was deleted"))?;
                self.lead(key, &copy, request, BEARER_OF_A_LINK)
            }
        }
    }

    fn kept(&self) -> Result<&Kept, Problem> {
        self.recordings.as_ref().ok_or_else(|| Problem::not_found("recording, or it is not copied"))
    }

    fn lead(
        &self,
        key: &CallKey,
        copy: &RecordingCopy,
        request: &Request,
        who: &str,
    ) -> Result<Response, Problem> {
        let kept = self.kept()?;
        let object = match (&copy.object, copy.state) {
            (Some(object), CopyState::Copied) => object,
            (_, CopyState::Failed) => return Err(failed(copy)),
            (_, _) => return Err(not_yet(copy, request.now)),
        };
        if is_deleted(object, kept.retention_days, request.now) {
            return Err(Problem::gone("the recording was deleted after its retention period"));
        }
        let address = kept.bucket.presigned(&object.key, GOOD_FOR, SystemTime::from(request.now));
        let address = address.map_err(|error| Problem::ours(&error.to_string()))?;
        info!(caller = who, call = %key, correlation_id = %key.correlation_id(), "recording opened");
        let answer = with_status(
            302,
            json!({
                "media_type": object.media_type,
                "bytes": object.bytes,
                "sha256": object.sha256,
            }),
        )?;
        Ok(answer.header("location", address.expose().to_owned()))
    }
}

fn is_deleted(object: &Object, retention_days: u32, now: Timestamp) -> bool {
    let kept = SignedDuration::from_hours(i64::from(retention_days) * 24);
    later(object.at, kept) <= now
}

fn failed(copy: &RecordingCopy) -> Problem {
    let problem = copy.problem.as_deref().unwrap_or("no reason is stored");
    let detail = format!("the recording could not be copied: {problem}");
    Problem::new(404, "not-copied", "Recording not copied", &detail)
}

fn not_yet(copy: &RecordingCopy, now: Timestamp) -> Problem {
    let wait = copy.due_at.map_or(*AGAIN.start(), |due_at| due_at.duration_since(now).as_secs());
    let wait = wait.clamp(*AGAIN.start(), *AGAIN.end());
    let detail = "the recording is not copied yet: retry after Retry-After";
    Problem::new(404, "not-copied-yet", "Recording not copied yet", detail)
        .with("retryable", json!(true))
        .with("retry_after", json!(wait))
}

#[cfg(test)]
mod tests;
