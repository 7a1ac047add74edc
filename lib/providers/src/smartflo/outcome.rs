//! How far a call has come and how it ended, from Smartflo's words.

use switchboard_domain::{Disposition, State};

use crate::cdr;
use crate::json::Fields;

/// How long one part of a cause may be, bytes.
const LONGEST_PART: usize = 120;

/// Why a call ended, as it is written.
pub(super) struct Cause {
    /// Q.850's number: 16 is a normal clearing, 17 a busy line, 0 says nothing.
    code: Option<u32>,
    /// Names and texts, in the order of the message.
    parts: Vec<String>,
    /// Smartflo's own word for the side that hung up, or for no answer.
    reason: Option<String>,
}

impl Cause {
    /// Takes every field that may say it.
    pub(super) fn take(fields: &mut Fields) -> Self {
        let names = [
            "hangup_cause_code",
            "hangup_cause_key",
            "hangup_cause",
            "hangup_cause_description",
            "reason_key",
        ];
        let [code, key, cause, description, reason] = names.map(|name| fields.optional(name));
        let number = |text: &String| text.parse().ok();
        Self {
            code: code.as_ref().and_then(number).or_else(|| cause.as_ref().and_then(number)),
            parts: [code, key, cause, description].into_iter().flatten().collect(),
            reason,
        }
    }

    fn is_known(&self) -> bool {
        !self.parts.is_empty() || self.reason.is_some()
    }

    fn is_busy(&self) -> bool {
        self.code == Some(17) || self.parts.iter().any(|part| letters(part) == "userbusy")
    }

    /// The disposition by the cause alone, for a call without a status.
    fn disposition(&self, talked: bool) -> Option<Disposition> {
        if self.is_busy() {
            return Some(Disposition::Busy);
        }
        if self.reason.as_deref().and_then(cdr::disposition) == Some(Disposition::NoAnswer) {
            return Some(Disposition::NoAnswer);
        }
        match self.code? {
            0 | 16 => None,
            18 | 19 => Some(Disposition::NoAnswer),
            _ if talked => None,
            _ => Some(Disposition::Failed),
        }
    }

    /// All of it in one line.
    pub(super) fn into_text(self) -> Option<String> {
        let mut parts: Vec<String> = Vec::new();
        for part in self.parts.into_iter().chain(self.reason) {
            if part.len() <= LONGEST_PART && !parts.contains(&part) {
                parts.push(part);
            }
        }
        (!parts.is_empty()).then(|| parts.join(", "))
    }
}

/// What a message says about how far its call has come.
pub(super) struct Reported<'a> {
    /// `call_status`, and the `status` that some messages have beside it.
    pub(super) words: Vec<&'a str>,
    pub(super) cause: &'a Cause,
    /// Whether the customer was on the line.
    pub(super) talked: bool,
    pub(super) has_end: bool,
    pub(super) has_answer: bool,
    pub(super) has_start: bool,
}

/// The state and the end of a call. The words decide; never how many seconds were billed, because
/// those of a click to call run from the moment the agent picked up.
///
/// Of two words the one that is further on counts: an agent's answer is reported as `queued` beside
/// `Answered by agent`. Without a word that is known, what the trigger has filled in tells.
pub(super) fn decide(reported: &Reported<'_>) -> (Option<State>, Option<Disposition>) {
    let mut best: Option<(State, Option<Disposition>)> = None;
    for known in reported.words.iter().filter_map(|word| word_means(word)) {
        if best.is_none_or(|(state, _)| state < known.0) {
            best = Some(known);
        }
    }
    if let Some((state, disposition)) = best {
        let is_busy = reported.cause.is_busy()
            && matches!(disposition, Some(Disposition::NoAnswer | Disposition::Failed));
        return (Some(state), if is_busy { Some(Disposition::Busy) } else { disposition });
    }
    if reported.has_end || reported.cause.is_known() {
        let by_cause =
            reported.words.is_empty().then(|| reported.cause.disposition(reported.talked));
        return (Some(State::Ended), by_cause.flatten());
    }
    let state = match (reported.has_answer, reported.has_start) {
        (true, _) => Some(State::InProgress),
        (false, true) => Some(State::Ringing),
        (false, false) => None,
    };
    (state, None)
}

fn word_means(word: &str) -> Option<(State, Option<Disposition>)> {
    let ended = |disposition| Some((State::Ended, Some(disposition)));
    match letters(word).as_str() {
        "answered" | "contacted" | "connected" => ended(Disposition::Answered),
        "missed" => ended(Disposition::NoAnswer),
        "queued" => Some((State::Queued, None)),
        "ringing" => Some((State::Ringing, None)),
        "answeredbyagent" | "answeredbycustomer" => Some((State::InProgress, None)),
        _ => cdr::disposition(word).and_then(ended),
    }
}

/// Whether it is the customer who has picked up.
pub(super) fn is_by_customer(reported: &Reported<'_>) -> bool {
    reported.words.iter().any(|word| letters(word) == "answeredbycustomer")
}

/// The letters of a word, in lower case: `Answered by agent`, `click_to_call` and `clicktocall`
/// are compared without what is between.
pub(super) fn letters(word: &str) -> String {
    let letters: String = word.chars().filter(char::is_ascii_alphabetic).collect();
    letters.to_ascii_lowercase()
}
