//! Who was on the line, as the provider wrote it.

use serde::{Deserialize, Serialize};

use crate::private::Personal;
use crate::written;

/// One end of a call, kept as it came with its kind where that is plain to see.
///
/// A hook knows no country and no directory, so a national number stays [`PartyKind::Number`]
/// here; `enrich` turns it into E.164.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Party {
    /// What kind of address `raw` is.
    pub kind: PartyKind,
    /// The address as the provider wrote it, trimmed; a number or an extension in ASCII, and without
    /// what stood around it.
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
        let written = written::number(raw.expose());
        if written.is_empty() {
            return None;
        }
        let kind = kind_of(&written);
        let is_digits = matches!(kind, PartyKind::E164 | PartyKind::Number | PartyKind::Extension);
        let raw = if is_digits { Personal::new(written) } else { raw };
        Some(Self { kind, raw })
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
        for text in ["  ", "\u{200e}", "\u{a0}", "<>"] {
            assert_eq!(Party::read(text), None, "{text:?}");
        }
    }

    #[test]
    fn harmless_characters_change_no_number() {
        for (text, plain) in [
            ("+61\u{a0}491\u{202f}570\u{2009}156", "+61 491 570 156"),
            ("\u{202a}+61491570156\u{202c}", "+61491570156"),
            ("\u{feff}+6149157\u{200b}0156", "+61491570156"),
            ("+61\u{2011}491\u{2013}570-156", "+61-491-570-156"),
            ("＋６１４９１５７０１５６", "+61491570156"),
            ("（０２）５５５０　１２３４", "(02)5550 1234"),
            ("٠٤٩١٥٧٠١٥٦", "0491570156"),
            ("+۶۱۴۹۱۵۷۰۱۵۶", "+61491570156"),
            ("+61491570156 ext. 12", "+61491570156"),
            ("0491-570-156 Extension: 12", "0491-570-156"),
            ("+61491570156x12", "+61491570156"),
            ("+61491570156 × 12", "+61491570156"),
            ("+61491570156 (ext 12)", "+61491570156"),
            ("tel:+61491570156;ext=12", "tel:+61491570156"),
            ("+61491570156,,12", "+61491570156"),
            ("\"Kim\" <+61491570156>", "+61491570156"),
            ("Kim Example <0491 570 156>", "0491 570 156"),
            ("+61491570156 (mobile)", "+61491570156"),
            ("(Kim's phone) +61491570156", "+61491570156"),
            ("Mobile: 0491 570 156", "0491 570 156"),
            ("0491 570 156 - work", "0491 570 156"),
            ("+61 491 570 156 mob., ext 7 [home]", "+61 491 570 156"),
            ("whatsapp:+61491570156", "+61491570156"),
            ("Тел. +61491570156 доб. 12", "+61491570156"),
            ("'+61491570156", "+61491570156"),
            ("=\"+61491570156\"", "+61491570156"),
            ("61491570156.0", "61491570156"),
            ("101.0", "101"),
            ("Ext. 101", "101"),
            ("+61 (0)491 570 156", "+61 (0)491 570 156"),
            ("02.5550.1234", "02.5550.1234"),
            ("#019#0501234567", "#019#0501234567"),
        ] {
            let party = Party::read(text).unwrap();
            assert_eq!(party.raw.expose(), plain, "{text}");
            assert_eq!(party.kind, Party::read(plain).unwrap().kind, "{text}");
            assert!(party.is_number() || party.kind == PartyKind::Extension, "{text}");
        }
    }

    #[test]
    fn what_is_no_number_stays_as_it_came() {
        for text in [
            "front–desk 12",
            "101-decker",
            "Taxi 131008",
            "PJSIP/201-0000abcd",
            "agent007",
            "s\u{a0}",
            "1800FLOWERS",
            "sip:+61491570156@pbx.example",
            "client:ann–2",
            "0491,570,156",
        ] {
            let party = Party::read(text).unwrap();
            assert_eq!(party.raw.expose(), text.trim());
            assert!(!party.is_number() && party.kind != PartyKind::Extension, "{text}");
        }
    }
}
