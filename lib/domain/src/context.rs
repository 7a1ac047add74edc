//! The context of a call, which a caller of the API sends: its campaign, contact, lead and conversation.
//! It may come before the call's first message or after its last.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use crate::call::fold;
use crate::private::Personal;
use crate::record::CallRecord;
use crate::update::{CONTEXT, Facts, Order, Update};

/// A call's context changes at most so often: the rest of its room is the provider's.
const MOST: usize = 20;
/// A longer text is no id, no name and no campaign, bytes.
const LONGEST: usize = 256;

/// The context of a call. A member that is left out says nothing.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Context {
    /// What the call was made for.
    pub campaign: Option<String>,
    /// The contact's id in the directory.
    pub contact_id: Option<String>,
    /// The lead's id, in the directory or in the system that placed the call.
    pub lead_id: Option<String>,
    /// The id of the AI conversation that was held on the call.
    pub conversation_id: Option<String>,
    /// The contact's name.
    pub contact_name: Option<Personal>,
}

/// The result of giving a call a context.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Given {
    /// It repeats what is known: nothing is to be written.
    Unchanged,
    /// It is an update to add.
    New(Box<Update>),
    /// The call's context was changed too often already.
    TooMany,
}

impl Context {
    /// Trims every member, and checks them. `Err`: which member, and what is wrong with it.
    pub fn checked(self) -> Result<Self, (&'static str, &'static str)> {
        fn one(
            name: &'static str,
            value: Option<String>,
        ) -> Result<Option<String>, (&'static str, &'static str)> {
            let Some(value) = value else { return Ok(None) };
            let value = value.trim();
            if value.is_empty() {
                return Err((name, "is empty: leave out what is not known"));
            }
            if value.len() > LONGEST {
                return Err((name, "is longer than 256 bytes"));
            }
            if value.chars().any(char::is_control) {
                return Err((name, "has a control character"));
            }
            Ok(Some(value.to_owned()))
        }
        let name = self.contact_name.map(|name| name.expose().to_owned());
        let checked = Self {
            campaign: one("campaign", self.campaign)?,
            contact_id: one("contact_id", self.contact_id)?,
            lead_id: one("lead_id", self.lead_id)?,
            conversation_id: one("conversation_id", self.conversation_id)?,
            contact_name: one("contact_name", name)?.map(Personal::new),
        };
        if checked == Self::default() {
            return Err(("body", "is empty: give at least one member"));
        }
        Ok(checked)
    }

    /// The context that a call has so far. Members that were never given are absent.
    pub fn of(record: &CallRecord) -> Self {
        let Facts { campaign, contact_id, lead_id, conversation, contact_name, .. } =
            fold(record.updates.values().filter(|update| update.is_context())).facts;
        Self { campaign, contact_id, lead_id, conversation_id: conversation, contact_name }
    }

    /// This context as an update of a call, or of one that is not stored yet.
    pub fn given_to(&self, record: Option<&CallRecord>, now: Timestamp) -> Given {
        let known = record.map(Self::of).unwrap_or_default();
        fn says<T: PartialEq>(new: &Option<T>, known: &Option<T>) -> bool {
            new.is_some() && new != known
        }
        let has_changes = says(&self.campaign, &known.campaign)
            || says(&self.contact_id, &known.contact_id)
            || says(&self.lead_id, &known.lead_id)
            || says(&self.conversation_id, &known.conversation_id)
            || says(&self.contact_name, &known.contact_name);
        if !has_changes {
            return Given::Unchanged;
        }
        let contexts = record.into_iter().flat_map(|record| record.updates.values());
        let count = contexts.filter(|update| update.is_context()).count();
        if count >= MOST {
            return Given::TooMany;
        }
        let facts = Facts {
            campaign: self.campaign.clone(),
            contact_id: self.contact_id.clone(),
            lead_id: self.lead_id.clone(),
            conversation: self.conversation_id.clone(),
            contact_name: self.contact_name.clone(),
            ..Facts::default()
        };
        // The count is part of the body: going back to an earlier context is another update, and the
        // same request twice is not.
        let body = (count, self);
        // A number and five texts always serialize.
        let raw = serde_json::to_vec(&body).unwrap_or_default();
        Given::New(Box::new(Update::new(CONTEXT, Order::Sequence(count as u64), now, facts, raw)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Legs, Policy};
    use crate::time::Seconds;
    use crate::update::State;

    const POLICY: Policy = Policy { settle: Seconds(0), legs: Legs::Parent, starts: false };

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_771_577_000 + second).unwrap()
    }

    fn campaign(text: &str) -> Context {
        Context { campaign: Some(text.into()), ..Context::default() }
    }

    fn give(record: &mut CallRecord, context: &Context) -> bool {
        match context.given_to(Some(record), at(9)) {
            Given::New(update) => {
                record.absorb(*update, POLICY, at(9));
                true
            }
            _ => false,
        }
    }

    fn stub(context: &Context) -> CallRecord {
        let Given::New(update) = context.given_to(None, at(0)) else { panic!("it is new") };
        CallRecord::first("twilio/twilio/CA1".parse().unwrap(), *update, POLICY, at(0))
    }

    fn ended(raw: &str, facts: Facts) -> Update {
        let facts = Facts { state: Some(State::Ended), ..facts };
        let order = Order::At(at(500));
        Update::new("status", order, at(500), facts, raw.as_bytes().to_vec())
    }

    #[test]
    fn a_context_alone_is_a_call_that_owes_nothing() {
        let stub = stub(&campaign("Spring"));
        assert!(stub.owed.is_empty() && !stub.call.has_ended());
        assert_eq!(stub.call.facts.campaign.as_deref(), Some("Spring"));
    }

    #[test]
    fn what_was_said_before_is_known_and_going_back_is_news() {
        let mut record = stub(&campaign("Spring"));
        assert!(!give(&mut record, &campaign("Spring")));
        assert!(give(&mut record, &campaign("Autumn")));
        let lead = Context { lead_id: Some("L1".into()), ..Context::default() };
        assert!(give(&mut record, &lead));
        assert!(!give(&mut record, &lead) && !give(&mut record, &campaign("Autumn")));
        assert!(give(&mut record, &campaign("Spring")));
        assert_eq!(
            Context::of(&record),
            Context { lead_id: Some("L1".into()), ..campaign("Spring") }
        );
        assert_eq!(record.updates.len(), 4);
    }

    #[test]
    fn what_was_given_beats_what_the_provider_says_before_and_after() {
        let says = |text: &str| Facts { campaign: Some(text.into()), ..Facts::default() };
        let mut record = stub(&campaign("Spring"));
        record.absorb(ended("1", says("Autumn")), POLICY, at(500));
        assert_eq!(record.call.facts.campaign.as_deref(), Some("Spring"));
        assert!(!record.owed.is_empty());
        give(&mut record, &campaign("Winter"));
        record.absorb(ended("2", says("Summer")), POLICY, at(501));
        assert_eq!(record.call.facts.campaign.as_deref(), Some("Winter"));
    }

    #[test]
    fn the_moment_of_a_context_says_nothing_about_the_times_of_the_call() {
        let facts = Facts { total: Some(Seconds(30)), ended_at: None, ..Facts::default() };
        let mut with = stub(&campaign("Spring"));
        with.absorb(ended("1", facts.clone()), POLICY, at(500));
        assert_eq!(with.call.facts.started_at, Some(at(470)));
        let mut later = Facts { ended_at: Some(at(500)), ..facts };
        later.started_at = Some(at(470));
        let mut with = stub(&campaign("Spring"));
        with.absorb(ended("1", later), POLICY, at(500));
        assert!(with.call.facts.flags.is_empty(), "{:?}", with.call.facts.flags);
    }

    #[test]
    fn a_context_after_the_end_is_news() {
        let mut record = stub(&campaign("Spring"));
        record.absorb(ended("1", Facts::default()), POLICY, at(500));
        for context in [
            campaign("Autumn"),
            Context { contact_id: Some("C1".into()), ..Context::default() },
            Context { lead_id: Some("L1".into()), ..Context::default() },
            Context { contact_name: Some(Personal::new("Kim")), ..Context::default() },
            Context { conversation_id: Some("conv_1".into()), ..Context::default() },
        ] {
            record.owed.clear();
            assert!(give(&mut record, &context));
            assert!(!record.owed.is_empty(), "{context:?}");
            record.owed.clear();
            assert!(!give(&mut record, &context));
            assert!(record.owed.is_empty());
        }
    }

    #[test]
    fn a_call_is_not_talked_about_for_ever() {
        let mut record = stub(&campaign("0"));
        for n in 1..MOST {
            assert!(give(&mut record, &campaign(&n.to_string())));
        }
        assert_eq!(campaign("more").given_to(Some(&record), at(9)), Given::TooMany);
        assert_eq!(campaign("19").given_to(Some(&record), at(9)), Given::Unchanged);
    }

    #[test]
    fn a_context_that_says_nothing_or_too_much_is_refused() {
        let checked = |context: Context| context.checked().map_err(|(field, _)| field);
        assert_eq!(checked(Context::default()), Err("body"));
        assert_eq!(checked(campaign(" ")), Err("campaign"));
        assert_eq!(checked(campaign(&"x".repeat(257))), Err("campaign"));
        let name =
            |text: &str| Context { contact_name: Some(Personal::new(text)), ..Context::default() };
        assert_eq!(checked(name("a\nb")), Err("contact_name"));
        assert_eq!(checked(name(" Kim ")), Ok(name("Kim")));
    }
}
