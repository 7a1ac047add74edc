//! Which copies of its recordings a call owes, and when.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::copies::{CONVERSATION, CopyState, RecordingCopy};
use crate::digest::Digest;
use crate::plan::Work;
use crate::private::Personal;
use crate::record::CallRecord;
use crate::update::Recording;

/// More recordings of one call than this are not copied: its item would grow without end.
const MOST: usize = 20;

/// The words of providers for a recording that cannot be fetched, or not yet.
const NOT_THERE: [&str; 7] =
    ["in-progress", "in_progress", "processing", "paused", "absent", "failed", "deleted"];

/// Whether a recording can be fetched, as far as its provider says. One on a PBX's own disk cannot.
fn is_there(id: &str, recording: &Recording) -> bool {
    let status = recording.status.as_deref().unwrap_or_default().to_ascii_lowercase();
    let has_place = recording.url.is_some() || id == CONVERSATION;
    has_place && !NOT_THERE.contains(&status.as_str())
}

impl CallRecord {
    /// The address of a recording that CRMs receive: our link where there is one, else the provider's.
    pub fn address<'a>(&'a self, id: &str, recording: &'a Recording) -> Option<&'a Personal> {
        let link = self.copies.get(id).and_then(|copy| copy.link.as_ref());
        link.or(recording.url.as_ref())
    }

    /// Plans a copy of each recording that is wanted, is there, and has none; and of one whose copy
    /// failed and whose address has changed since. Whether it planned any.
    pub fn plan_copies(
        &mut self,
        is_wanted: impl Fn(&str) -> bool,
        link: impl Fn(&str) -> Option<Personal>,
        now: Timestamp,
    ) -> bool {
        let mut planned = BTreeMap::new();
        for (id, recording) in &self.call.facts.recordings {
            if !is_there(id, recording) || !is_wanted(id) {
                continue;
            }
            let of = self.address_digest(id, recording);
            let kept = match self.copies.get(id) {
                None if self.copies.len() + planned.len() >= MOST => continue,
                None => None,
                Some(copy) if copy.state == CopyState::Failed && copy.of != of => Some(copy),
                Some(_) => continue,
            };
            // A link that a CRM may know stays as it is.
            let link = kept.map_or_else(|| link(id), |copy| copy.link.clone());
            planned.insert(id.clone(), RecordingCopy::planned(of, link, now));
        }
        let any = !planned.is_empty();
        self.copies.extend(planned);
        self.owe_copies();
        any
    }

    fn address_digest(&self, id: &str, recording: &Recording) -> Digest {
        let url = recording.url.as_ref().map_or("", Personal::expose);
        let conversation = self.call.facts.conversation.as_deref().unwrap_or_default();
        let conversation = if id == CONVERSATION { conversation } else { "" };
        Digest::of(&[url.as_bytes(), conversation.as_bytes()])
    }

    /// The copy that is due first.
    pub fn due_copy(&self, now: Timestamp) -> Option<&String> {
        let due = self.copies.iter().filter(|(_, copy)| copy.is_due(now));
        due.min_by_key(|(id, copy)| (copy.due_at, *id)).map(|(id, _)| id)
    }

    /// Makes the call owe its copies when the next of them is due, or not at all.
    pub fn owe_copies(&mut self) {
        match self.copies.values().filter_map(|copy| copy.due_at).min() {
            Some(due_at) => self.owed.insert(Work::Recordings, due_at),
            None => self.owed.remove(&Work::Recordings),
        };
    }
}

#[cfg(test)]
mod tests;
