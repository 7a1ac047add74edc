//! Who was on the line, as the provider wrote it.

use serde::{Deserialize, Serialize};

use crate::private::Personal;

/// One end of a call, kept as it came with its kind where that is plain to see.
///
/// A hook knows no country and no directory, so a national number stays [`PartyKind::Number`]
/// here; `enrich` turns it into E.164.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Party {
    /// What kind of address `raw` is.
    pub kind: PartyKind,
    /// The address as the provider wrote it, trimmed.
    pub raw: Personal,
}

/// What kind of address a party has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PartyKind {
    /// `+` and digits: already in international form.
    E164,
    /// A phone number in some national form.
    Number,
    /// An internal number of a PBX.
    Extension,
    /// A software client (`client:…`).
    Client,
    /// A SIP address.
    Sip,
    /// A SIM (`sim:…`).
    Sim,
    /// A caller that withheld its number.
    Anonymous,
    /// Something else.
    Unparseable,
}

/// Withheld numbers spelled on a keypad, as carriers send them: ANONYMOUS, RESTRICTED, BLOCKED,
/// UNKNOWN, UNAVAILABLE. Compared before any parsing, because two of them look like Chinese numbers.
const KEYPAD_SPELLED: [&str; 5] = ["266696687", "7378742833", "2562533", "8656696", "86282452253"];

const WITHHELD: [&str; 7] =
    ["anonymous", "restricted", "blocked", "unknown", "unavailable", "private", "withheld"];

/// A PBX extension has at most this many digits; the shortest public numbers are longer.
const LONGEST_EXTENSION: usize = 5;

impl Party {
    /// Reads an address. Empty text is no party.
    pub fn read(text: &str) -> Option<Self> {
        let raw = Personal::known(text)?;
        Some(Self { kind: kind_of(raw.expose()), raw })
    }

    /// Whether this can be a person on the public telephone network.
    pub fn is_number(&self) -> bool {
        matches!(self.kind, PartyKind::E164 | PartyKind::Number)
    }
}

fn kind_of(text: &str) -> PartyKind {
    let lower = text.to_ascii_lowercase();
    if lower.starts_with("client:") {
        return PartyKind::Client;
    }
    if lower.starts_with("sip:") || lower.starts_with("sips:") {
        return PartyKind::Sip;
    }
    if lower.starts_with("sim:") {
        return PartyKind::Sim;
    }
    if WITHHELD.contains(&lower.as_str()) {
        return PartyKind::Anonymous;
    }
    let number = lower.strip_prefix("tel:").unwrap_or(&lower);
    let digits: String = number.chars().filter(char::is_ascii_digit).collect();
    if KEYPAD_SPELLED.contains(&digits.as_str()) && number.trim_start_matches('+') == digits {
        return PartyKind::Anonymous;
    }
    if number.contains('@') {
        return PartyKind::Sip;
    }
    let written_like_a_number =
        number.chars().all(|c| c.is_ascii_digit() || "+()-./ #*".contains(c));
    if digits.is_empty() || !written_like_a_number {
        return PartyKind::Unparseable;
    }
    match number.strip_prefix('+') {
        Some(rest) if rest == digits && (7..=15).contains(&digits.len()) => PartyKind::E164,
        Some(_) => PartyKind::Number,
        None if number == digits && digits.len() <= LONGEST_EXTENSION => PartyKind::Extension,
        None => PartyKind::Number,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_that_are_plain_to_see() {
        for (text, kind) in [
            ("+61491570156", PartyKind::E164),
            ("tel:+61491570156", PartyKind::E164),
            ("0413 052 898", PartyKind::Number),
            ("8 (999) 111-22-33", PartyKind::Number),
            ("101", PartyKind::Extension),
            ("10016", PartyKind::Extension),
            ("client:charlie", PartyKind::Client),
            ("sip:ann@pbx.example", PartyKind::Sip),
            ("sim:HS0000", PartyKind::Sim),
            ("anonymous", PartyKind::Anonymous),
            ("Restricted", PartyKind::Anonymous),
            ("+266696687", PartyKind::Anonymous),
            ("+86282452253", PartyKind::Anonymous),
            ("$client_number", PartyKind::Unparseable),
        ] {
            assert_eq!(Party::read(text).unwrap().kind, kind, "{text}");
        }
    }

    #[test]
    fn nothing_is_nobody() {
        assert_eq!(Party::read("  "), None);
    }
}
