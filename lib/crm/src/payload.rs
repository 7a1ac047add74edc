//! What formats take from a call for the payloads that they render.

use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use switchboard_domain::{
    Call, CallRecord, Direction, Outcome as CallOutcome, Party, PartyKind, Person, Personal,
    Seconds, Unmatched,
};

use crate::contacts::ContactRef;
use crate::format::RenderContext;
use crate::outcome::Outcome;

/// The bytes of a payload, which a delivery keeps. Texts, numbers and lists of them always serialize.
pub fn bytes<T: Serialize>(payload: &T) -> Vec<u8> {
    serde_json::to_vec(payload).unwrap_or_default()
}

/// A payload out of the bytes that a delivery keeps. What an older release rendered may be unreadable:
/// a redelivery renders it anew.
pub fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Outcome> {
    let unreadable = "the payload cannot be read: redeliver it";
    serde_json::from_slice(bytes).map_err(|_| Outcome::refused(None, unreadable))
}

/// A party's number in E.164: as `enrich` concluded, or as the provider wrote it.
pub fn e164<'a>(party: Option<&'a Party>, person: Option<&'a Person>) -> Option<&'a str> {
    let concluded = person.and_then(|person| person.e164.as_ref()).map(|number| number.expose());
    concluded.or_else(|| {
        let party = party.filter(|party| party.kind == PartyKind::E164)?;
        Some(number(party))
    })
}

/// A party's address without the scheme that a number may come with.
pub fn number(party: &Party) -> &str {
    let raw = party.raw.expose();
    match raw.get(..4) {
        Some(scheme) if scheme.eq_ignore_ascii_case("tel:") => &raw[4..],
        _ => raw,
    }
}

/// By what the CRM recognises the call: the same for every event and every attempt, of letters and
/// digits, and without personal data.
pub fn key(record: &CallRecord) -> String {
    record.key.correlation_id().to_string()
}

/// Whom the call was with. Our own numbers and colleagues are no customer's contact.
pub fn contact(record: &CallRecord) -> ContactRef {
    let person = record.people.contact.as_ref();
    let is_ours = |person: &Person| {
        matches!(person.unmatched, Some(Unmatched::OwnNumber | Unmatched::Colleague))
    };
    let number = e164(record.call.contact(), person).filter(|_| !person.is_some_and(is_ours));
    let reported = record.call.facts.contact_name.as_ref();
    let known = || person.and_then(|person| person.name.as_ref());
    ContactRef {
        e164: number.map(Personal::new),
        name: reported.or_else(known).cloned(),
        entry: person.and_then(|person| person.entry.clone()),
    }
}

/// Our employee on the call, as the directory calls them.
pub fn employee(record: &CallRecord) -> Option<&str> {
    record.people.employee.as_ref()?.entry.as_ref().map(|entry| entry.as_str())
}

/// What the call was made for, or which way it went.
pub fn title(record: &CallRecord) -> &str {
    let facts = &record.call.facts;
    match (&facts.campaign, facts.direction) {
        (Some(campaign), _) => campaign,
        (None, Some(Direction::Inbound)) => "Inbound call",
        (None, Some(Direction::Internal)) => "Internal call",
        (None, Some(Direction::Outbound)) => "Outbound call",
        (None, None) => "Call",
    }
}

/// The same on one line and no longer than a CRM's field; never empty.
pub fn subject(record: &CallRecord, most: usize) -> String {
    let line = |text: &str| clean(text).replace('\n', " ").trim().to_owned();
    let title = line(title(record));
    let title = if title.is_empty() { "Call" } else { &title };
    cut(title, most).to_owned()
}

/// When the call began, as well as it is known.
pub fn began(record: &CallRecord) -> Timestamp {
    record.call.facts.started_at.or(record.call.facts.ended_at).unwrap_or_else(|| record.began_at())
}

/// How long the talk was. Where a phone system reports only how long the call lasted, that is the best
/// there is for one that was answered: 0 would deny the conversation.
pub fn talk(call: &Call) -> Option<Seconds> {
    let lasted = call.facts.total.filter(|_| call.outcome == Some(CallOutcome::Answered));
    call.facts.talk.or(lasted)
}

/// What we concluded about a party: of the customer's side or of ours, if it is one of them.
pub fn person_of<'a>(record: &'a CallRecord, party: &Party) -> Option<&'a Person> {
    if record.call.contact() == Some(party) {
        record.people.contact.as_ref()
    } else if record.call.employee() == Some(party) {
        record.people.employee.as_ref()
    } else {
        None
    }
}

/// A side's number: in E.164, or as it came where it is a number at all.
pub fn side<'a>(record: &'a CallRecord, party: Option<&'a Party>) -> Option<&'a str> {
    let party = party?;
    let as_written = || party.is_number().then(|| number(party));
    e164(Some(party), person_of(record, party)).or_else(as_written)
}

/// An outcome in words, for CRMs that take any.
pub fn outcome(outcome: CallOutcome) -> &'static str {
    match outcome {
        CallOutcome::Answered => "Answered",
        CallOutcome::NoAnswer => "No answer",
        CallOutcome::Busy => "Busy",
        CallOutcome::Failed => "Failed",
        CallOutcome::Canceled => "Canceled",
        CallOutcome::Voicemail => "Voicemail",
    }
}

/// What was said, in short: the provider's summary or, where it gives none, that of the analysis.
pub fn summary<'a>(context: &RenderContext<'a>) -> Option<&'a str> {
    let reported = context.record.call.facts.summary.as_ref();
    reported.or(context.analysis.map(|analysis| &analysis.summary)).map(Personal::expose)
}

/// The number that called and the one that was called. Where a provider names only the customer and
/// our side, they stand where the direction puts them; where it is not known either, we called.
pub fn ends(record: &CallRecord) -> [Option<&str>; 2] {
    let (call, facts) = (&record.call, &record.call.facts);
    let (caller, called) = match facts.direction {
        Some(Direction::Inbound) => (call.contact(), call.employee()),
        Some(Direction::Outbound | Direction::Internal) | None => (call.employee(), call.contact()),
    };
    let (from, to) = (facts.from.as_ref(), facts.to.as_ref());
    let caller = caller.filter(|party| to != Some(*party));
    let called = called.filter(|party| from != Some(*party));
    [side(record, from.or(caller)), side(record, to.or(called))]
}

/// Where the call can be listened to: the first of its recordings that a CRM can be pointed to.
pub fn recording(record: &CallRecord) -> Option<&str> {
    let recordings = record.call.facts.recordings.iter();
    let urls = recordings.filter_map(|(id, recording)| record.address(id, recording));
    urls.map(Personal::expose).find(|url| url.starts_with("https://"))
}

/// The beginning of a text that is no longer than a CRM's field, counted as CRMs count: a character
/// beyond the first plane is two.
pub fn cut(text: &str, most: usize) -> &str {
    let mut length = 0;
    for (at, character) in text.char_indices() {
        length += character.len_utf16();
        if length > most {
            return text.get(..at).unwrap_or_default();
        }
    }
    text
}

/// A text without what no CRM shows and some refuse: control characters, except the end of a line.
pub fn clean(text: &str) -> String {
    let text = text.replace("\r\n", "\n").replace('\t', " ");
    text.chars().filter(|c| *c == '\n' || !c.is_control()).collect()
}

/// A text as HTML that shows it as it is: what was said on a call must not become markup. Not longer than
/// a CRM's field, counted as [`cut`] counts, and never cut inside an entity.
pub fn html(text: &str, most: usize) -> String {
    let mut html = String::with_capacity(text.len());
    let mut length = 0;
    for character in text.chars() {
        let mut plain = [0; 4];
        let piece: &str = match character {
            '&' => "&amp;",
            '<' => "&lt;",
            '>' => "&gt;",
            '"' => "&quot;",
            '\n' => "<br>",
            '\r' => continue,
            other => other.encode_utf8(&mut plain),
        };
        length += piece.chars().map(char::len_utf16).sum::<usize>();
        if length > most {
            break;
        }
        html.push_str(piece);
    }
    html
}

/// A name's first part and its last word. One word alone is a last name.
pub fn names(name: &str) -> (Option<&str>, &str) {
    match name.trim().rsplit_once(char::is_whitespace) {
        Some((first, last)) => (Some(first.trim()), last),
        None => (None, name.trim()),
    }
}

/// A CRM's code of an error, if it is one: what came in its place could be anything.
pub fn code(text: &str) -> Option<&str> {
    let is_one =
        (2..=64).contains(&text.len()) && text.bytes().all(|b| b == b'_' || b.is_ascii_uppercase());
    is_one.then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Case, record};

    #[test]
    fn a_text_is_cut_on_a_character() {
        for (text, most, expected) in [
            ("abc", 3, "abc"),
            ("abcd", 3, "abc"),
            ("añb", 2, "añ"),
            ("a𝄞b", 2, "a"),
            ("a𝄞b", 3, "a𝄞"),
            ("", 0, ""),
            ("a", 0, ""),
        ] {
            assert_eq!(cut(text, most), expected, "{text}");
        }
    }

    #[test]
    fn who_is_only_named_as_a_side_stands_at_an_end() {
        let ends = |direction: Option<Direction>, from: &str, to: &str| {
            let record = record(Case::Held, |facts| {
                facts.direction = direction;
                (facts.from, facts.to) = (Party::read(from), Party::read(to));
                facts.contact = Party::read("+61491570156");
                facts.employee = Party::read("+61255501234");
            });
            ends(&record).map(|number| number.map(str::to_owned).unwrap_or_default())
        };
        let (us, them) = ("+61255501234", "+61491570156");
        for (direction, from, to, expected) in [
            (Some(Direction::Inbound), "", "", [them, us]),
            (Some(Direction::Outbound), "", "", [us, them]),
            (None, "", "", [us, them]),
            (None, them, "", [them, ""]),
            (Some(Direction::Inbound), "", them, ["", them]),
            (Some(Direction::Inbound), "+61491570157", "101", ["+61491570157", ""]),
        ] {
            assert_eq!(ends(direction, from, to), expected, "{direction:?} {from} {to}");
        }
    }

    #[test]
    fn what_no_crm_shows_is_left_out() {
        assert_eq!(clean("a\tb\r\nc\0\u{7f}\u{85}é"), "a b\ncé");
    }

    #[test]
    fn a_subject_is_one_line_and_never_empty() {
        let subject = |campaign: &str, most: usize| {
            let mut record = record(Case::Held, |_| {});
            // As an earlier release stored it.
            record.call.facts.campaign = Some(campaign.to_owned());
            subject(&record, most)
        };
        assert_eq!(subject(" a\nb\0 ", 9), "a b");
        assert_eq!(subject("abc", 2), "ab");
        for blank in ["", " ", "\n\0"] {
            assert_eq!(subject(blank, 9), "Call");
        }
    }

    #[test]
    fn a_name_has_a_last_word() {
        for (name, expected) in [
            ("Zoë Example", (Some("Zoë"), "Example")),
            (" Zoë van  Example ", (Some("Zoë van"), "Example")),
            ("Zoë", (None, "Zoë")),
        ] {
            assert_eq!(names(name), expected);
        }
    }

    #[test]
    fn only_codes_are_codes() {
        assert_eq!(code("VALIDATION_ERROR"), Some("VALIDATION_ERROR"));
        for other in ["", "A", "Zoe", "+61491570156", "61491570156", "A B", "ZOË"] {
            assert_eq!(code(other), None, "{other}");
        }
    }
}
