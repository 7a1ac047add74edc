//! A call as it is stored: its updates, the call folded from them, and the follow-ups that it owes.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;
use strum::IntoStaticStr;

use crate::analysis::Analysed;
use crate::call::{Call, fold};
use crate::copies::RecordingCopy;
use crate::delivery::{DeliveryId, Event};
use crate::digest::Digest;
use crate::key::{CallKey, Name};
use crate::lookup::Lookup;
use crate::party::PartyKind;
use crate::plan::{Owed, Planned, Policy, follow_ups};
use crate::private::Personal;
use crate::update::{INLINE_LIMIT, Update};

/// From this many updates on, no further body is kept inside the call's item.
const CROWDED: usize = 24;
/// More messages than this about one call are not a call but a fault of the sender.
const MOST_UPDATES: usize = 100;

/// A start that is delivered later than this after the first message is of no use.
const START_IS_NEWS_FOR: SignedDuration = SignedDuration::from_secs(60);

/// What the updates of one call may weigh together, bytes. With the call folded from them, which
/// weighs as much as one of them, the item stays below DynamoDB's 400 KB.
const HEAVIEST: usize = 300 * 1024;

/// Everything stored about one call, except its blobs and deliveries.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallRecord {
    /// The call's key.
    pub key: CallKey,
    /// Counts the writes: 0 is a record that was never stored. The store counts.
    pub version: u64,
    /// Every distinct update of the call.
    pub updates: BTreeMap<Digest, Update>,
    /// The call folded from them.
    pub call: Call,
    /// The follow-ups that the call owes, and when each is due. Absent when it owes none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub owed: Owed,
    /// The people on the call, as matched in the directory.
    #[serde(default)]
    pub people: People,
    /// The contacts on whose timelines the call stands, or may stand: written before it is put there.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub timelines: BTreeSet<Name>,
    /// The search for its conversation, once begun.
    pub lookup: Option<Lookup>,
    /// The state of its analysis, once it was tried.
    pub analysis: Option<Analysed>,
    /// The copies of its recordings in our bucket, by the provider's id of each.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub copies: BTreeMap<String, RecordingCopy>,
    /// The deliveries that were planned; each is a record of its own.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub deliveries: BTreeSet<DeliveryId>,
    /// What its deliveries depended on, once they were planned.
    pub planned: Option<Planned>,
    /// When a replay changed its updates last.
    pub replayed_at: Option<Timestamp>,
    /// What could not be done beside the call (`contact`, `timeline`), and why: without values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub problems: BTreeMap<String, String>,
}

/// The two sides of a call, as far as we know them.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct People {
    /// The customer's side.
    pub contact: Option<Person>,
    /// Our side.
    pub employee: Option<Person>,
}

/// One side of a call after its number was read with the source's country.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Person {
    /// The kind of its address.
    pub kind: PartyKind,
    /// The number, where it is one.
    pub e164: Option<Personal>,
    /// The id of its contact or employee in the directory.
    pub entry: Option<Name>,
    /// A contact's name, as the directory had it.
    pub name: Option<Personal>,
    /// A contact's ids in other systems, as the directory had them.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub external_ids: BTreeSet<Personal>,
    /// How that entry was found.
    pub matched_by: Option<MatchedBy>,
    /// Why there is no entry.
    pub unmatched: Option<Unmatched>,
}

impl Person {
    /// One side, before it is looked up in the directory.
    pub fn unknown(kind: PartyKind, e164: Option<Personal>) -> Self {
        Self {
            kind,
            e164,
            entry: None,
            name: None,
            external_ids: BTreeSet::new(),
            matched_by: None,
            unmatched: None,
        }
    }

    /// Whether it was looked up in the directory.
    pub fn is_concluded(&self) -> bool {
        self.entry.is_some() || self.unmatched.is_some()
    }

    /// How an entry was found, or why there is none: the word that is stored.
    pub fn reason(&self) -> Option<&'static str> {
        self.matched_by.map(Into::into).or_else(|| self.unmatched.map(Into::into))
    }
}

/// How an entry of the directory was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, IntoStaticStr)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum MatchedBy {
    /// Its phone number.
    Number,
    /// Its extension.
    Extension,
    /// Its email address.
    Email,
    /// An id that the provider sent along (`ref_id`, `custom_identifier`).
    ExternalId,
    /// The context that was sent with the call.
    Context,
    /// It was created for this call.
    Created,
}

/// Why a side of a call has no entry of the directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, IntoStaticStr)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Unmatched {
    /// Several entries hold the number: it is linked to none.
    Ambiguous,
    /// The number is our own.
    OwnNumber,
    /// The customer's side is one of our employees.
    Colleague,
    /// The caller withheld it.
    Anonymous,
    /// Nothing that could be looked up: a SIP address, a software client, text.
    NoNumber,
    /// No entry holds it, and none is created for it.
    Unknown,
}

/// What happened to an update that was offered to a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absorbed {
    /// It is new and was folded in.
    New,
    /// The same message was there already.
    Duplicate,
}

impl CallRecord {
    /// The record of a call with its first update.
    pub fn first(key: CallKey, update: Update, policy: Policy, now: Timestamp) -> Self {
        let updates = BTreeMap::from([(update.digest.clone(), update)]);
        let call = fold(updates.values());
        let owed = follow_ups(None, &call, &Owed::new(), policy, now);
        Self {
            key,
            version: 0,
            updates,
            call,
            owed,
            people: People::default(),
            timelines: BTreeSet::new(),
            lookup: None,
            analysis: None,
            copies: BTreeMap::new(),
            deliveries: BTreeSet::new(),
            planned: None,
            replayed_at: None,
            problems: BTreeMap::new(),
        }
    }

    /// Adds an update: folds the call anew and plans its follow-ups.
    pub fn absorb(&mut self, update: Update, policy: Policy, now: Timestamp) -> Absorbed {
        if self.updates.contains_key(&update.digest) {
            return Absorbed::Duplicate;
        }
        self.updates.insert(update.digest.clone(), update);
        self.refold(policy, now);
        Absorbed::New
    }

    /// Replaces its updates by the same messages as they are parsed today: folds the call anew and
    /// plans its follow-ups. Whether that changed anything.
    pub fn reread(
        &mut self,
        updates: BTreeMap<Digest, Update>,
        policy: Policy,
        now: Timestamp,
    ) -> bool {
        if self.updates == updates && self.call == fold(updates.values()) {
            return false;
        }
        self.updates = updates;
        self.refold(policy, now);
        self.replayed_at = Some(now);
        true
    }

    fn refold(&mut self, policy: Policy, now: Timestamp) {
        let after = fold(self.updates.values());
        self.owed = follow_ups(Some(&self.call), &after, &self.owed, policy, now);
        self.call = after;
    }

    /// A fingerprint of what CRMs receive: the call's own, its contact and employee, and its analysis.
    pub fn fingerprint(&self) -> Digest {
        let entry = |person: Option<&Person>| person.and_then(|person| person.entry.clone());
        let (contact, employee) =
            (entry(self.people.contact.as_ref()), entry(self.people.employee.as_ref()));
        let call = self.call.fingerprint();
        let text = |name: &Option<Name>| name.as_ref().map_or("", Name::as_str).to_owned();
        let known = match (&contact, &employee) {
            (None, None) => call,
            _ => Digest::of(&[
                call.as_str().as_bytes(),
                text(&contact).as_bytes(),
                text(&employee).as_bytes(),
            ]),
        };
        // A call that was never analysed has the fingerprint that it had before it could be.
        match self.analysis.as_ref().and_then(|analysis| analysis.digest.as_ref()) {
            Some(analysis) => {
                Digest::of(&[known.as_str().as_bytes(), analysis.as_str().as_bytes()])
            }
            None => known,
        }
    }

    /// What its deliveries depend on, as it is now.
    pub fn as_planned(&self) -> Planned {
        Planned::of(&self.call, self.analysis.as_ref().map_or(0, |analysis| analysis.tasks))
    }

    /// Whether a destination was there when its deliveries were planned.
    pub fn knew(&self, destination: &Name) -> bool {
        let completed = DeliveryId { destination: destination.clone(), event: Event::Completed };
        let planned = self.planned.as_ref();
        self.deliveries.contains(&completed)
            || planned.is_none_or(|planned| planned.kept_back.contains(destination))
    }

    /// When the next follow-up of the call itself is due.
    pub fn due_at(&self) -> Option<Timestamp> {
        self.owed.values().min().copied()
    }

    /// When the call began or, where that is unknown, when its first message came: its place in lists.
    pub fn began_at(&self) -> Timestamp {
        self.call.facts.started_at.unwrap_or_else(|| self.heard_at())
    }

    /// When its first message came. A context counts last: it may be sent long before the call.
    pub fn heard_at(&self) -> Timestamp {
        let heard = |update: &&Update| (update.is_context(), update.received_at);
        let first = self.updates.values().min_by_key(heard);
        first.map_or(Timestamp::UNIX_EPOCH, |update| update.received_at)
    }

    /// When its last message came.
    pub fn last_heard_at(&self) -> Timestamp {
        let received = self.updates.values().map(|update| update.received_at);
        received.max().unwrap_or(Timestamp::UNIX_EPOCH)
    }

    /// Whether a `call.started` would be delivered too late: the call has ended, or the first message
    /// came over a minute ago.
    pub fn is_start_overdue(&self, now: Timestamp) -> bool {
        self.call.has_ended() || now.duration_since(self.heard_at()) > START_IS_NEWS_FOR
    }

    /// Whether no further update can be stored.
    pub fn is_full(&self) -> bool {
        let weight: usize = self.updates.values().map(Update::weight).sum();
        self.updates.len() >= MOST_UPDATES || weight > HEAVIEST
    }

    /// The largest body, bytes, that stays inside the item from now on.
    pub fn inline_limit(&self) -> usize {
        if self.updates.len() < CROWDED { INLINE_LIMIT } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::party::Party;
    use crate::plan::Legs;
    use crate::time::Seconds;
    use crate::update::{Facts, Order};

    #[test]
    fn a_call_is_full_before_its_item_is() {
        let policy = Policy { settle: Seconds(0), legs: Legs::Parent, starts: false };
        let text = |length: usize| Personal::new("x".repeat(length));
        let party = || Party::read(&"9".repeat(2_000));
        let long = Facts {
            summary: Some(text(16 * 1024)),
            script_context: Some(text(16 * 1024)),
            ..Facts::default()
        };
        let many = Facts {
            from: party(),
            to: party(),
            contact: party(),
            employee: party(),
            campaign: Some("x".repeat(2_000)),
            contact_name: Some(text(2_000)),
            cause: Some("x".repeat(2_000)),
            extra: (0..20).map(|n| (format!("field {n}"), text(512))).collect(),
            ..Facts::default()
        };
        for facts in [long, many] {
            let heavy = |n: u8| {
                let raw = vec![n; INLINE_LIMIT];
                let at = Timestamp::UNIX_EPOCH;
                Update::new("status", Order::Unordered, at, facts.clone(), raw).sent_to("/path")
            };
            let key: CallKey = "asterisk/main/1".parse().unwrap();
            let mut record = CallRecord::first(key, heavy(0), policy, Timestamp::UNIX_EPOCH);
            for n in 1.. {
                if record.is_full() {
                    break;
                }
                record.absorb(heavy(n), policy, Timestamp::UNIX_EPOCH);
            }
            assert!(record.updates.len() > 5);
            // In the table bytes stay bytes; JSON writes each as a number and a comma.
            let raw: usize = record
                .updates
                .values()
                .map(|update| serde_json::to_vec(&update.raw).unwrap().len() - INLINE_LIMIT)
                .sum();
            let bytes = serde_json::to_vec(&record).unwrap().len() - raw;
            assert!(bytes < 400 * 1024, "{bytes} bytes");
        }
    }
}
