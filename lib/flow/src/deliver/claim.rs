//! Claiming a delivery: its payload, rendered once, and a lease.

use jiff::Timestamp;
use switchboard_crm::{Destination, RenderContext};
use switchboard_domain::delivery::RenderedPayload;
use switchboard_domain::{Blob, Body, CallKey, CallRecord, Delivery, Event, Seconds, Text};
use switchboard_store::{PutIf, StoreError};

use super::{Claim, Deliver, LEASE_MARGIN};

/// Payloads up to this many bytes stay inside the delivery's item.
const INLINE_BODY: usize = 64 * 1024;

impl Deliver {
    /// Claims a delivery and, at the first attempt, renders its payload: every attempt sends the same
    /// bytes.
    pub(super) async fn claim(
        &self,
        delivery: Delivery,
        destination: &Destination,
        now: Timestamp,
    ) -> Result<Claim, StoreError> {
        let event = delivery.id.event;
        let kept = match &delivery.rendered {
            Some(rendered) => {
                Some((rendered.clone(), self.read_body(&delivery.key, &rendered.body).await?))
            }
            None => None,
        };
        let (rendered, body, call_version) = match kept {
            Some((rendered, body)) if event != Event::Started => (rendered, body, None),
            // A start is sent only while the call lasts, however often it was tried.
            kept => {
                let gone = || StoreError::Damaged { what: "call", problem: "it is gone".into() };
                let record = self.store.call(&delivery.key).await?.ok_or_else(gone)?;
                let is_overdue = event == Event::Started && record.is_start_overdue(now);
                // An operator who redelivers overrules the filter.
                let is_excluded = delivery.nonce.is_none() && !destination.wants(&record, event);
                if is_overdue || is_excluded {
                    let unwanted = delivery.unwanted();
                    let put = self.store.put_delivery(&unwanted, Some(record.version)).await?;
                    return Ok(match put {
                        PutIf::Stored(_) => Claim::Unwanted,
                        PutIf::Conflict => Claim::Outdated,
                    });
                }
                let (rendered, body) = match kept {
                    Some(kept) => kept,
                    None => self.render(&record, event, destination).await?,
                };
                (rendered, body, Some(record.version))
            }
        };
        let lease = Seconds(destination.timeout.0 + LEASE_MARGIN);
        let mut claimed = delivery.claimed(now, lease, rendered);
        match self.store.put_delivery(&claimed, call_version).await? {
            PutIf::Stored(version) => {
                claimed.version = version;
                Ok(Claim::Claimed(Box::new(claimed), body))
            }
            PutIf::Conflict => Ok(Claim::Outdated),
        }
    }

    /// The payload of the call as it is now, stored beside it where it is large.
    async fn render(
        &self,
        record: &CallRecord,
        event: Event,
        destination: &Destination,
    ) -> Result<(RenderedPayload, Vec<u8>), StoreError> {
        // A short transcript is in the record; a long one is read for a format that sends it.
        let transcript = match &record.call.facts.transcript {
            Some(Text::Stored(blob)) if destination.capabilities.needs_transcript => {
                let bytes = self.store.blob(&record.key, blob).await?;
                Some(String::from_utf8_lossy(&bytes).into_owned())
            }
            _ => None,
        };
        let is_done = record.analysis.as_ref().is_some_and(|mark| mark.digest.is_some());
        let analysis = match is_done && destination.capabilities.needs_analysis {
            true => self.store.analysis(&record.key).await?,
            false => None,
        };
        let (transcript, analysis) = (transcript.as_deref(), analysis.as_ref());
        let body =
            destination.format.render(&RenderContext { record, event, transcript, analysis });
        let kept = if body.len() <= INLINE_BODY {
            Body::Inline(body.clone())
        } else {
            let blob = Blob::new(body.clone());
            self.store.put_blob(&record.key, &blob).await?;
            Body::Stored(blob.reference())
        };
        Ok((RenderedPayload { fingerprint: record.fingerprint(), body: kept }, body))
    }

    async fn read_body(&self, key: &CallKey, body: &Body) -> Result<Vec<u8>, StoreError> {
        match body {
            Body::Inline(bytes) => Ok(bytes.clone()),
            Body::Stored(blob) => self.store.blob(key, blob).await,
        }
    }
}
