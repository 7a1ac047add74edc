//! Bodies in quarantine, processed like webhooks.

use jiff::Timestamp;
use switchboard_domain::Name;
use switchboard_flow::ingest::{Ingest, NotIngested, quarantined};
use switchboard_providers::{
    Authenticated, Content, Parsed, Provider, Reject, Request, Sources, Unread,
};
use switchboard_store::{Between, Quarantined, StoreError};

use super::{RateCounter, Replayer, Report, changes};
use crate::{Failure, quarantine};

impl Replayer<'_> {
    /// Parses bodies of one provider, the oldest first.
    pub(super) async fn bodies(
        &self,
        provider: &'static dyn Provider,
        name: &Name,
        id: Option<&str>,
        between: &Between,
        report: &mut Report<'_>,
    ) -> Result<RateCounter, Failure> {
        let mut found = match id {
            Some(id) => quarantine::find_one(self.store, name, between, id).await?,
            None => quarantine::find(self.store, name, between, usize::MAX).await?,
        };
        found.reverse();
        report.begin(Some(found.len()));
        let mut tally = RateCounter::default();
        for one in &found {
            self.body(provider, one, &mut tally, report).await?;
            report.bar.inc(1);
        }
        Ok(tally)
    }

    async fn body(
        &self,
        provider: &'static dyn Provider,
        one: &Quarantined,
        tally: &mut RateCounter,
        report: &mut Report<'_>,
    ) -> Result<(), Failure> {
        tally.read += 1;
        let head = format!("{:.3} {}", one.received_at, quarantine::id(one));
        let body = match self.store.quarantined_body(one).await {
            Ok(body) => body,
            Err(error @ StoreError::Damaged { .. }) => {
                tally.unread += 1;
                report.line(&format!("{head} {error}"));
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        let request = kept_request(&one.target, &one.content_type, body, one.received_at);
        let sources = self.configured.of(provider.name());
        let opened: Vec<Name> =
            one.source.split(',').filter_map(|name| Name::new("source", name).ok()).collect();
        let Some(message) = opened_by(provider, &request, sources, &opened) else {
            tally.unread += 1;
            report.line(&format!("{head} its source is unknown"));
            return Ok(());
        };
        let records = match provider.parse(&message) {
            Ok(Content::Calls(records)) => records,
            Ok(Content::Other(_)) => {
                report.line(&format!("{head} is valid, and about no call"));
                return self.release(one, tally).await;
            }
            Err(why) => {
                tally.unread += 1;
                report.line(&format!("{head} {}", still(&why)));
                return Ok(());
            }
        };
        let ingest = Ingest { provider, store: self.store, sources };
        let mut unread = Vec::new();
        for record in records {
            match self.record(&ingest, record, tally).await? {
                Ok(line) => report.line(&format!("{head} {line}")),
                Err(left) => unread.push(left),
            }
        }
        // As the webhook does, each invalid record is stored by itself, and the body is removed, unless it is
        // that very record, or a record that is not stored.
        let mut apart = Vec::new();
        let mut stays = false;
        for Unread { why, raw } in &unread {
            tally.unread += 1;
            report.line(&format!("{head} {}", still(why)));
            match quarantined(provider, &message, why, raw) {
                Some(kept) if kept.digest != one.digest => apart.push((kept, raw)),
                _ => stays = true,
            }
        }
        if stays {
            return Ok(());
        }
        for (kept, raw) in apart {
            self.store.put_quarantined(&kept, raw).await?;
            report.line(&format!(
                "{head} leaves a record of it in quarantine as {}",
                quarantine::id(&kept)
            ));
        }
        self.release(one, tally).await
    }

    /// Ingests one record, and returns its changes.
    async fn record(
        &self,
        ingest: &Ingest<'_>,
        record: Parsed,
        tally: &mut RateCounter,
    ) -> Result<Result<String, Unread>, Failure> {
        let record = match record {
            Ok(record) => record,
            Err(unread) => return Ok(Err(unread)),
        };
        let before = self.store.call(&ingest.place(&record).await?).await?;
        let taken = match ingest.ingest(record, self.now).await {
            Ok(taken) => taken,
            Err(NotIngested::Unread(unread)) => return Ok(Err(unread)),
            Err(NotIngested::Store(error)) => return Err(error.into()),
        };
        let after = self.store.call(&taken.key).await?;
        let before = before.filter(|before| before.key == taken.key);
        let changed = match (&before, &after) {
            (None, Some(after)) => {
                tally.new += 1;
                Some(changes::new(after))
            }
            (Some(before), Some(after)) => {
                let changed = changes::between(before, after);
                tally.changed += u64::from(changed.is_some());
                changed
            }
            (_, None) => None,
        };
        tally.same += u64::from(changed.is_none());
        Ok(Ok(changed.unwrap_or_else(|| format!("call {} has it already", taken.key))))
    }

    async fn release(&self, one: &Quarantined, tally: &mut RateCounter) -> Result<(), Failure> {
        self.store.delete_quarantined(one).await?;
        tally.released += 1;
        Ok(())
    }
}

/// A request as received, as far as it is stored. Its method is not stored: a request without a body is
/// a GET.
pub(super) fn kept_request(
    target: &str,
    content_type: &str,
    body: Vec<u8>,
    received_at: Timestamp,
) -> Request {
    let method = if body.is_empty() { "GET" } else { "POST" };
    let request = Request::new(method, target, received_at).body(body);
    if content_type.is_empty() { request } else { request.header("content-type", content_type) }
}

/// A message authenticated by the secrets of these sources. `None` without any source.
pub(super) fn opened_by<'a>(
    provider: &dyn Provider,
    request: &'a Request,
    sources: &'a Sources,
    opened: &'a [Name],
) -> Option<Authenticated<'a>> {
    let (first, others) = opened.split_first()?;
    let message = Authenticated::kept(provider, request, sources, first);
    Some(others.iter().fold(message, |message, source| message.opened_by(source)))
}

/// The current error.
fn still(why: &Reject) -> String {
    match why {
        Reject::Forbidden(refusal) => {
            format!("belongs to a source that is not configured ({})", refusal.as_str())
        }
        why => format!("is still invalid: {why}"),
    }
}
