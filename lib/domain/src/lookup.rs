//! The search for a conversation's summary: how often to ask, and when to stop.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use crate::backoff::Backoff;
use crate::call::{Call, Outcome};
use crate::time::{Seconds, later};

/// The waits between two requests, seconds; the last repeats until the deadline.
const BACKOFF: Backoff<'_> = Backoff::new(&[5, 10, 20, 40, 80, 160, 300]);

/// How far the search for a call's conversation has come.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lookup {
    /// Its state.
    pub state: LookupState,
    /// How many requests were sent.
    pub attempts: u32,
    /// When the first request was sent: deadlines count from here.
    pub since: Timestamp,
    /// The conversation's id, once it is known and while its summary is not.
    pub conversation: Option<String>,
}

/// The state of a lookup. Everything but `Waiting` is final.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LookupState {
    /// Further requests follow.
    Waiting,
    /// The summary is there.
    Found,
    /// There was no conversation on this call.
    NoConversation,
    /// There was one, and it will never have a summary.
    ConversationFailed,
    /// The deadline passed; deliveries go out without a summary.
    GaveUp,
}

/// The result of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LookupResult {
    /// A finished conversation.
    Done,
    /// A conversation that is not analysed yet.
    Processing,
    /// A conversation that failed.
    Failed,
    /// No conversation with this call's id.
    Absent,
    /// The service sent no usable response, or asked for time.
    Trouble {
        /// Not before this moment, if it asked for that.
        not_before: Option<Timestamp>,
    },
}

/// How long to wait for a summary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// For a conversation that is there, or a service in trouble.
    pub wait: Seconds,
    /// For a conversation to show up at all: the list lags a little behind the call.
    pub grace: Seconds,
}

/// Whether a conversation may have been held on this call, and its summary is not known yet. A search
/// that found none begins again when the conversation's id is reported.
pub fn is_wanted(call: &Call, lookup: Option<&Lookup>) -> bool {
    let open = lookup.is_none_or(|lookup| match lookup.state {
        LookupState::Waiting => true,
        LookupState::NoConversation => {
            call.facts.conversation.is_some() && call.facts.conversation != lookup.conversation
        }
        _ => false,
    });
    let talked = matches!(call.outcome, Some(Outcome::Answered | Outcome::Voicemail));
    open && talked && call.facts.summary.is_none()
}

/// The lookup after a request's result and, while it waits, when to send the next.
pub fn next(
    previous: Option<&Lookup>,
    result: LookupResult,
    now: Timestamp,
    patience: Patience,
) -> (Lookup, Option<Timestamp>) {
    // One that ended and begins again counts anew.
    let previous = previous.filter(|lookup| lookup.state == LookupState::Waiting);
    let since = previous.map_or(now, |lookup| lookup.since);
    let attempts = previous.map_or(0, |lookup| lookup.attempts) + 1;
    let conversation = previous.and_then(|lookup| lookup.conversation.clone());
    let lookup = |state| Lookup { state, attempts, since, conversation };

    let (limit, when_over) = match result {
        LookupResult::Done => return (lookup(LookupState::Found), None),
        LookupResult::Failed => return (lookup(LookupState::ConversationFailed), None),
        LookupResult::Absent => (patience.grace.min(patience.wait), LookupState::NoConversation),
        LookupResult::Processing | LookupResult::Trouble { .. } => {
            (patience.wait, LookupState::GaveUp)
        }
    };
    let deadline = later(since, limit);
    if now >= deadline {
        return (lookup(when_over), None);
    }
    let mut again = later(now, BACKOFF.endless_wait(attempts));
    if let LookupResult::Trouble { not_before: Some(not_before) } = result {
        again = again.max(not_before);
    }
    // The last request is sent at the deadline, never after it.
    (lookup(LookupState::Waiting), Some(again.min(deadline)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience = Patience { wait: Seconds(600), grace: Seconds(30) };

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    /// Repeats a result until the lookup ends; gives the moments of its requests.
    fn moments(result: LookupResult) -> (Vec<i64>, LookupState) {
        let (mut asked, mut now, mut lookup) = (vec![], at(0), None);
        loop {
            asked.push(now.as_second() - 1_800_000_000);
            let (next, again) = next(lookup.as_ref(), result, now, PATIENCE);
            let Some(again) = again else { return (asked, next.state) };
            (now, lookup) = (again, Some(next));
        }
    }

    #[test]
    fn processing_is_asked_at_growing_intervals_until_the_deadline() {
        let (asked, state) = moments(LookupResult::Processing);
        assert_eq!(asked, [0, 5, 15, 35, 75, 155, 315, 600]);
        assert_eq!(state, LookupState::GaveUp);
    }

    #[test]
    fn a_conversation_that_does_not_show_up_is_given_a_short_grace() {
        let (asked, state) = moments(LookupResult::Absent);
        assert_eq!(asked, [0, 5, 15, 30]);
        assert_eq!(state, LookupState::NoConversation);
    }

    #[test]
    fn final_answers_end_it_at_once() {
        assert_eq!(moments(LookupResult::Done), (vec![0], LookupState::Found));
        assert_eq!(moments(LookupResult::Failed), (vec![0], LookupState::ConversationFailed));
    }

    #[test]
    fn a_service_that_asks_for_time_gets_it_up_to_the_deadline() {
        let wait = |until| LookupResult::Trouble { not_before: Some(at(until)) };
        assert_eq!(next(None, wait(90), at(0), PATIENCE).1, Some(at(90)));
        assert_eq!(next(None, wait(90_000), at(0), PATIENCE).1, Some(at(600)));
    }
}
