//! What a record can do without: an owner who has left, a contact that must not be linked, a word that is on
//! no list. A call whose record is refused for such a field is sent once more without it, and the result
//! says so.

use std::collections::BTreeSet;

use serde_json::{Map, Value};
use switchboard_domain::delivery::Verdict;

use crate::outcome::Outcome;

/// A field that a record can do without.
pub struct Optional {
    /// Its name in the record.
    pub field: &'static str,
    /// Whether it names a user or another record: what an error that names no field is taken to be about.
    pub is_reference: bool,
    /// Codes and words by which errors that do not name it are about it.
    pub words: &'static [&'static str],
}

impl Optional {
    /// A user or another record.
    pub const fn reference(field: &'static str, words: &'static [&'static str]) -> Self {
        Self { field, is_reference: true, words }
    }

    /// A word of a list.
    pub const fn word(field: &'static str) -> Self {
        Self { field, is_reference: false, words: &[] }
    }
}

/// A response that refuses a record.
pub struct Refusal {
    /// What it means otherwise.
    pub outcome: Outcome,
    /// Its body.
    pub text: String,
    /// Whether it says which field it is about, in a place of its own.
    pub names_a_field: bool,
}

/// The fields that a record is sent without, because they were refused.
#[derive(Default)]
pub struct LeftOut(BTreeSet<&'static str>);

impl LeftOut {
    /// How many fields are left out one by one. Then all are: an attempt has a budget.
    const ONE_BY_ONE: usize = 2;

    /// Takes the fields out of a record.
    pub fn strip(&self, record: &mut Map<String, Value>) {
        self.0.iter().for_each(|field| drop(record.remove(*field)));
    }

    /// Whether the record that was sent was refused for something that it can do without. That is left
    /// out from now on.
    pub fn explains(
        &mut self,
        optional: &[Optional],
        sent: &Map<String, Value>,
        refusal: &Refusal,
    ) -> bool {
        // 403 and 404 mean something else as well, and so does a success that is none.
        let may_guess = match (refusal.outcome.verdict, refusal.outcome.status) {
            (Verdict::Refused, _) => true,
            (_, Some(200..=299 | 403 | 404)) => false,
            _ => return false,
        };
        let text = refusal.text.as_str();
        let are = |is: &dyn Fn(&Optional) -> bool| -> Vec<&'static str> {
            let there = optional.iter().filter(|one| sent.contains_key(one.field));
            there.filter(|one| is(one)).map(|one| one.field).collect()
        };
        let mut about = are(&|one| holds_word(text, one.field));
        if about.is_empty() {
            about = are(&|one| sent.get(one.field).is_some_and(|value| holds_value(text, value)));
        }
        if about.is_empty() {
            about = are(&|one| one.words.iter().any(|words| text.contains(words)));
        }
        let names_one = || refusal.names_a_field || sent.keys().any(|name| holds_word(text, name));
        if about.is_empty() && may_guess && !names_one() {
            about = are(&|one| one.is_reference);
        }
        if !about.is_empty() && self.0.len() >= Self::ONE_BY_ONE {
            about = are(&|_| true);
        }
        let is_explained = !about.is_empty();
        self.0.extend(about);
        is_explained
    }

    /// What was left out, to stand behind the words of a result.
    pub fn note(&self) -> String {
        self.0.iter().map(|field| format!(", without {field}: refused")).collect()
    }
}

/// Whether a text holds a name as a whole word.
fn holds_word(text: &str, word: &str) -> bool {
    text.split(|c: char| c != '_' && !c.is_ascii_alphanumeric()).any(|one| one == word)
}

/// Whether a text quotes a value or, of a reference, its id: as it was sent, or in the shorter form that some
/// CRMs have of the same id.
fn holds_value(text: &str, value: &Value) -> bool {
    const SHORTEST: usize = 4;
    const SHORT_FORM: usize = 15;
    let value = match value.get("id").unwrap_or(value) {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return false,
    };
    let short = value.get(..SHORT_FORM).filter(|_| value.len() == 18).unwrap_or(&value);
    short.len() >= SHORTEST && text.contains(short)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const OPTIONAL: &[Optional] = &[
        Optional::reference("OwnerId", &["INACTIVE_USER"]),
        Optional::reference("WhoId", &["NO_ACCESS"]),
        Optional::word("Disposition"),
    ];

    #[test]
    fn what_is_left_out_is_what_the_refusal_is_about() {
        let refused = Verdict::Refused;
        let retry = Verdict::Retry { not_before: None };
        let sent = json!({
            "Subject": "Call", "OwnerId": "005000000000001AAA", "WhoId": {"id": "77000"},
            "Disposition": "Answered",
        });
        for (verdict, status, text, names_a_field, expected) in [
            (refused, 400, "OwnerId is not active", true, "OwnerId"),
            (refused, 422, "user 005000000000001 is not active", false, "OwnerId"),
            (refused, 400, "INACTIVE_USER", false, "OwnerId"),
            (retry, 403, "NO_ACCESS", false, "WhoId"),
            (retry, 403, "no right to 77000", false, "WhoId"),
            (refused, 400, "bad value: Answered", false, "Disposition"),
            (refused, 400, "OwnerId, WhoId", false, "OwnerId WhoId"),
            // Nothing is named: it may be any of the references.
            (refused, 400, "no such thing", false, "OwnerId WhoId"),
            // Something else is named, or it means something else.
            (refused, 400, "Subject is too long", false, ""),
            (refused, 400, "Region__c is missing", true, ""),
            (retry, 403, "no right", false, ""),
            (retry, 503, "OwnerId", false, ""),
            (refused, 400, "PreviousOwnerId", true, ""),
        ] {
            let outcome = Outcome { verdict, status: Some(status), result: String::new() };
            let refusal = Refusal { outcome, text: text.to_owned(), names_a_field };
            let mut left_out = LeftOut::default();
            let sent = sent.as_object().unwrap();
            assert_eq!(left_out.explains(OPTIONAL, sent, &refusal), !expected.is_empty(), "{text}");
            let fields: Vec<&str> = left_out.0.iter().copied().collect();
            assert_eq!(fields.join(" "), expected, "{text}");
            let mut again = sent.clone();
            left_out.strip(&mut again);
            assert_eq!(again.len(), 4 - fields.len());
        }
    }
}
