//! What `enrich` does with a call: it waits for a summary or an analysis, or plans the deliveries.

use jiff::Timestamp;

use crate::analysis::Settings;
use crate::analysis_plan::{AnalysisPlan, schedule};
use crate::lookup::Lookup;
use crate::plan::{Legs, Policy};
use crate::record::CallRecord;
use crate::time::Seconds;
use crate::update::Update;

/// What a source wants of its calls once they have ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wishes<'a> {
    /// Which legs are delivered.
    pub legs: Legs,
    /// How transcripts are analysed, if they are.
    pub analyze: Option<&'a Settings>,
}

/// The result of a search for a call's conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Search {
    /// The state of the search.
    pub lookup: Lookup,
    /// When to search again, while it goes on.
    pub again: Option<Timestamp>,
    /// What the conversation adds to the call, once it is found.
    pub update: Option<Update>,
}

/// What to do with a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The call with the search's result, and owing its analysis where one is wanted.
    pub record: CallRecord,
    /// Until when deliveries wait for the summary or the analysis. `None`: they are planned now.
    pub wait_until: Option<Timestamp>,
}

/// Decides about a call, given the result of a search where there was one. It depends on nothing else,
/// so it is repeated on the newer version after a conflict.
pub fn decide(
    mut record: CallRecord,
    wishes: Wishes<'_>,
    search: Option<&Search>,
    now: Timestamp,
) -> Plan {
    if let Some(search) = search {
        record.lookup = Some(search.lookup.clone());
        if let Some(update) = &search.update {
            let policy = Policy { settle: Seconds(0), legs: wishes.legs, starts: false };
            record.absorb(update.clone(), policy, now);
        }
        if search.again.is_some() {
            return Plan { record, wait_until: search.again };
        }
    }
    let wait_until = match schedule(&mut record, wishes.analyze, wishes.legs, now) {
        AnalysisPlan::WaitUntil(until) => Some(until),
        AnalysisPlan::Overdue | AnalysisPlan::Over => None,
    };
    Plan { record, wait_until }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lookup::LookupState;
    use crate::plan::Work;
    use crate::private::Personal;
    use crate::update::{Facts, Order, State, Text};

    const LEGS: Legs = Legs::Parent;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn update(kind: &str, facts: Facts) -> Update {
        Update::new(kind, Order::Unordered, at(0), facts, kind.as_bytes().to_vec())
    }

    fn ended() -> CallRecord {
        let facts = Facts { state: Some(State::Ended), ..Facts::default() };
        let policy = Policy { settle: Seconds(0), legs: LEGS, starts: false };
        CallRecord::first("twilio/main/1".parse().unwrap(), update("end", facts), policy, at(0))
    }

    fn search(state: LookupState, again: Option<i64>) -> Search {
        let lookup = Lookup { state, attempts: 1, since: at(0), conversation: None };
        let transcript = Some(Text::Inline(Personal::new("agent: hello")));
        let facts = Facts { transcript, ..Facts::default() };
        let update = again.is_none().then(|| update("conversation", facts));
        Search { lookup, again: again.map(at), update }
    }

    #[test]
    fn a_search_that_goes_on_is_waited_for_before_any_analysis() {
        let settings = Settings::default();
        let wishes = Wishes { legs: LEGS, analyze: Some(&settings) };
        let plan = decide(ended(), wishes, Some(&search(LookupState::Waiting, Some(5))), at(1));
        assert_eq!(plan.wait_until, Some(at(5)));
        assert_eq!(plan.record.lookup.map(|lookup| lookup.state), Some(LookupState::Waiting));
        assert!(plan.record.analysis.is_none() && !plan.record.owed.contains_key(&Work::Analyze));
    }

    #[test]
    fn a_conversation_that_was_found_is_added_and_its_analysis_waited_for() {
        let settings = Settings::default();
        let found = search(LookupState::Found, None);
        let wishes = Wishes { legs: LEGS, analyze: Some(&settings) };
        let plan = decide(ended(), wishes, Some(&found), at(1));
        assert_eq!(plan.wait_until, Some(at(61)));
        assert!(plan.record.call.facts.transcript.is_some());
        assert!(plan.record.owed.contains_key(&Work::Analyze));
        // Again on its own result, the decision is the same; after the wait, deliveries go out.
        let again = decide(plan.record.clone(), wishes, Some(&found), at(2));
        assert_eq!((again.wait_until, again.record.updates.len()), (Some(at(61)), 2));
        assert_eq!(decide(plan.record, wishes, Some(&found), at(61)).wait_until, None);
    }

    #[test]
    fn a_call_without_search_or_analysis_is_delivered_at_once() {
        let wishes = Wishes { legs: LEGS, analyze: None };
        let plan = decide(ended(), wishes, None, at(1));
        assert_eq!((plan.wait_until, plan.record), (None, ended()));
        let found = search(LookupState::Found, None);
        assert_eq!(decide(ended(), wishes, Some(&found), at(1)).wait_until, None);
    }
}
