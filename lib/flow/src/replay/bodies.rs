//! Bodies in quarantine, processed like webhooks.

use switchboard_domain::Name;
use switchboard_providers::{Authenticated, Content, Parsed, Provider, Reject, Unread};
use switchboard_store::{Quarantined, StoreError};

use super::{Replay, Stopped, changes, kept_request, opened_by, short_id};
use crate::ingest::{Ingest, NotIngested, quarantined};

impl Replay<'_> {
    /// Parses bodies of one provider.
    pub async fn bodies(
        &mut self,
        provider: &'static dyn Provider,
        bodies: &[Quarantined],
    ) -> Result<(), Stopped> {
        self.progress.begin(Some(bodies.len()));
        for one in bodies {
            self.body(provider, one).await?;
            self.progress.read();
        }
        Ok(())
    }

    async fn body(
        &mut self,
        provider: &'static dyn Provider,
        one: &Quarantined,
    ) -> Result<(), Stopped> {
        self.counts.read += 1;
        let body = match self.store.quarantined_body(one).await {
            Ok(body) => body,
            Err(error @ StoreError::Damaged { .. }) => {
                self.stays(one, &error.to_string());
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        let request = kept_request(&one.target, &one.content_type, body, one.received_at);
        let sources = self.configuration.of(provider.name());
        let opened: Vec<Name> =
            one.source.split(',').filter_map(|name| Name::new("source", name).ok()).collect();
        let Some(message) = opened_by(provider, &request, sources, &opened) else {
            self.stays(one, "its source is unknown");
            return Ok(());
        };
        match provider.parse(&message) {
            Ok(Content::Calls(records)) => self.records(provider, &message, one, records).await,
            Ok(Content::Other(_)) => {
                self.say(one, "is valid, and about no call");
                self.release(one).await
            }
            Err(why) => {
                self.stays(one, &still(&why));
                Ok(())
            }
        }
    }

    /// Ingests the records of a body. As the webhook does, each invalid record is stored by itself, and
    /// the body is removed, unless it is that very record, or a record that is not stored.
    async fn records(
        &mut self,
        provider: &'static dyn Provider,
        message: &Authenticated<'_>,
        one: &Quarantined,
        records: Vec<Parsed>,
    ) -> Result<(), Stopped> {
        let sources = self.configuration.of(provider.name());
        let ingest = Ingest { provider, store: self.store, sources };
        let mut unread = Vec::new();
        for record in records {
            match self.record(&ingest, record).await? {
                Ok(line) => self.say(one, &line),
                Err(left) => unread.push(left),
            }
        }
        let (mut apart, mut stays) = (Vec::new(), false);
        for Unread { why, raw } in &unread {
            self.stays(one, &still(why));
            match quarantined(provider, message, why, raw) {
                Some(kept) if kept.digest != one.digest => apart.push((kept, raw)),
                _ => stays = true,
            }
        }
        if stays {
            return Ok(());
        }
        for (kept, raw) in apart {
            self.store.put_quarantined(&kept, raw).await?;
            let id = short_id(&kept);
            self.say(one, &format!("leaves a record of it in quarantine as {id}"));
        }
        self.release(one).await
    }

    /// Ingests one record, and returns its changes.
    async fn record(
        &mut self,
        ingest: &Ingest<'_>,
        record: Parsed,
    ) -> Result<Result<String, Unread>, Stopped> {
        let record = match record {
            Ok(record) => record,
            Err(unread) => return Ok(Err(unread)),
        };
        let before = self.store.call(&ingest.place(&record).await?).await?;
        let ingested = match ingest.ingest(record, self.now).await {
            Ok(ingested) => ingested,
            Err(NotIngested::Unread(unread)) => return Ok(Err(unread)),
            Err(NotIngested::Store(error)) => return Err(error.into()),
        };
        let after = self.store.call(&ingested.key).await?;
        let before = before.filter(|before| before.key == ingested.key);
        let changed = match (&before, &after) {
            (None, Some(after)) => {
                self.counts.new += 1;
                Some(changes::new(after))
            }
            (Some(before), Some(after)) => {
                let changed = changes::between(before, after);
                self.counts.changed += u64::from(changed.is_some());
                changed
            }
            (_, None) => None,
        };
        self.counts.same += u64::from(changed.is_none());
        Ok(Ok(changed.unwrap_or_else(|| format!("call {} has it already", ingested.key))))
    }

    async fn release(&mut self, one: &Quarantined) -> Result<(), Stopped> {
        self.store.delete_quarantined(one).await?;
        self.counts.released += 1;
        Ok(())
    }

    /// Counts and shows what still cannot be parsed.
    fn stays(&mut self, one: &Quarantined, problem: &str) {
        self.counts.unread += 1;
        self.say(one, problem);
    }

    fn say(&mut self, one: &Quarantined, text: &str) {
        self.progress.line(&format!("{:.3} {} {text}", one.received_at, short_id(one)));
    }
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
