//! A dial request of the button "call": placed with a key of the caller's, dialled at most once.
//!
//! It is at most once because [`DialState::Dialling`] is written, on condition of the version that was
//! read, before the provider is called, and because no state leads back from it.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use crate::digest::Digest;
use crate::key::{CallKey, Name};
use crate::private::Personal;
use crate::time::later;

/// The lease on a dial request: longer than the function that holds it can run.
pub const LEASE: SignedDuration = SignedDuration::from_secs(30);

/// One dial request of the button, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DialRequest {
    /// Its id: derived from the caller and their key, so that the same key is the same dial request.
    pub id: Digest,
    /// Fingerprint of what was asked for: the same key with another request is a mistake.
    pub request: Digest,
    /// The invocation that holds or held its lease: identifies its writes.
    pub attempt: String,
    /// The order.
    pub order: Order,
    /// Its state.
    pub state: DialState,
    /// When it was pressed.
    pub pressed_at: Timestamp,
    /// When its lease ends.
    pub until: Timestamp,
    /// Counts the writes: 0 is a dial request that was never stored.
    #[serde(default)]
    pub version: u64,
}

/// An order to dial.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// The kind of phone system.
    pub provider: Name,
    /// The installation of it.
    pub source: Name,
    /// The agent that is rung first, as the provider identifies them: a number, an extension, an id.
    pub agent: Personal,
    /// The agent's employee, where the directory has one.
    pub employee: Option<Name>,
    /// The customer's number in E.164.
    pub to: Personal,
    /// The number that the customer is shown.
    pub caller_id: Option<Personal>,
    /// The call's context.
    #[serde(default)]
    pub context: Context,
}

/// The context of a call, from the caller who places it.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Context {
    /// The campaign.
    pub campaign: Option<String>,
    /// The contact, by its id in the directory.
    pub contact_id: Option<String>,
    /// The lead, by its id.
    pub lead_id: Option<String>,
    /// The AI conversation.
    pub conversation_id: Option<String>,
}

/// The state of a dial request. It never goes back.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "is")]
pub enum DialState {
    /// Its key is taken. No number was dialled.
    Reserved,
    /// The request was sent: from here on the provider may have dialled.
    Dialling,
    /// The provider accepted it.
    Placed {
        /// The provider's id of the call, where it returns one.
        call_id: Option<String>,
        /// The provider's reference, which its webhook repeats.
        ref_id: Option<String>,
    },
    /// It was certainly not dialled.
    Refused {
        /// The side at fault.
        fault: DialFault,
        /// The reason, without personal data.
        why: String,
    },
    /// It is unknown whether the provider dialled.
    Unknown {
        /// The reason, without personal data.
        why: String,
    },
}

/// The side whose fault it is that a call was not placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DialFault {
    /// The caller's: the provider does not take this agent, number or caller id.
    Request,
    /// The configuration's: the credentials do not open the account.
    Configuration,
    /// The provider's: it is out of reach, or wants no more calls now.
    Provider,
}

/// What may be done with a stored dial request, at some moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// No number was dialled and its lease has ended: it may be claimed.
    Free,
    /// Its lease lasts for so long yet.
    InProgress(SignedDuration),
    /// It has ended.
    Over(DialState),
}

impl DialRequest {
    /// The id of the dial request that a caller means by a key.
    pub fn id_of(caller: &str, key: &str) -> Digest {
        Digest::of(&[b"press", caller.as_bytes(), key.as_bytes()])
    }

    /// A dial request that is not stored yet.
    pub fn new(id: Digest, request: Digest, attempt: &str, order: Order, now: Timestamp) -> Self {
        let attempt = attempt.to_owned();
        let (state, until) = (DialState::Reserved, later(now, LEASE));
        Self { id, request, attempt, order, state, pressed_at: now, until, version: 0 }
    }

    /// The same dial request in its next state.
    pub fn with(&self, state: DialState, now: Timestamp) -> Self {
        Self { state, until: later(now, LEASE), ..self.clone() }
    }

    /// The same dial request, released: a request with its key may claim it at once. It is never
    /// deleted, because its version must not be used again.
    pub fn released(&self, now: Timestamp) -> Self {
        Self { until: now, ..self.clone() }
    }

    /// Its status.
    pub fn status(&self, now: Timestamp) -> Status {
        let left = self.until.duration_since(now);
        match &self.state {
            DialState::Reserved if left <= SignedDuration::ZERO => Status::Free,
            DialState::Reserved => Status::InProgress(left),
            DialState::Dialling if left <= SignedDuration::ZERO => {
                let why = "the function that dialled stopped before it stored a result".to_owned();
                Status::Over(DialState::Unknown { why })
            }
            DialState::Dialling => Status::InProgress(left),
            over => Status::Over(over.clone()),
        }
    }

    /// The key of the call, where the provider returned its id.
    pub fn call(&self) -> Option<CallKey> {
        let DialState::Placed { call_id: Some(id), .. } = &self.state else { return None };
        CallKey::new(self.order.provider.clone(), self.order.source.clone(), id).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dial_request(state: DialState) -> DialRequest {
        let name = |text| Name::new("name", text).unwrap();
        let order = Order {
            provider: name("twilio"),
            source: name("main"),
            agent: Personal::new("+61491570156"),
            employee: None,
            to: Personal::new("+61491570157"),
            caller_id: None,
            context: Context::default(),
        };
        let digest = Digest::of(&[b"request"]);
        DialRequest::new(DialRequest::id_of("crm", "1"), digest, "a1", order, at(0))
            .with(state, at(0))
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_771_577_000 + second).unwrap()
    }

    #[test]
    fn only_what_was_never_dialled_can_be_taken_over_and_only_after_its_lease() {
        let left = |seconds| Status::InProgress(SignedDuration::from_secs(seconds));
        assert_eq!(dial_request(DialState::Reserved).status(at(0)), left(30));
        assert_eq!(dial_request(DialState::Reserved).status(at(29)), left(1));
        assert_eq!(dial_request(DialState::Reserved).status(at(30)), Status::Free);
        assert_eq!(dial_request(DialState::Reserved).released(at(1)).status(at(1)), Status::Free);
        assert_eq!(dial_request(DialState::Dialling).status(at(29)), left(1));
        let status = dial_request(DialState::Dialling).status(at(30));
        assert!(matches!(status, Status::Over(DialState::Unknown { .. })), "{status:?}");
        for state in [
            DialState::Placed { call_id: None, ref_id: None },
            DialState::Refused { fault: DialFault::Request, why: String::new() },
            DialState::Unknown { why: String::new() },
        ] {
            assert_eq!(dial_request(state.clone()).status(at(9_999)), Status::Over(state));
        }
    }

    #[test]
    fn the_keys_of_two_callers_are_two_dial_requests() {
        assert_ne!(DialRequest::id_of("crm", "1"), DialRequest::id_of("erp", "1"));
        assert_ne!(DialRequest::id_of("crm", "1"), DialRequest::id_of("crm", "2"));
        assert_ne!(DialRequest::id_of("crm1", "1"), DialRequest::id_of("crm", "11"));
    }

    #[test]
    fn the_call_is_known_as_soon_as_its_id_is() {
        let placed = |id: Option<&str>| {
            let call_id = id.map(str::to_owned);
            dial_request(DialState::Placed { call_id, ref_id: Some("r".into()) }).call()
        };
        assert_eq!(placed(Some("CA1")).unwrap().to_string(), "twilio/main/CA1");
        assert_eq!(placed(None), None);
    }
}
