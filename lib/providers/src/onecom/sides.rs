//! Which way a call went, and who was on which side of it.
//!
//! MiRTA says it in several places that do not always agree: a marker in `userfield`, the numbers
//! themselves, and the dialplan context that the call entered by (`dcontext`).

#[cfg(test)]
mod tests;

use switchboard_domain::{Direction, Facts, Party, PartyKind, Personal, written};

use crate::cdr::{self, keep};
use crate::json::Fields;

/// The shortest number that is plainly one of the public network: between an extension of up to
/// five digits and this there are service codes.
const SHORTEST_OUTSIDE: usize = 6;

/// Contexts of calls that come from outside and from inside, without hyphens and underscores.
const FROM_OUTSIDE: [&str; 3] = ["fromoutside", "frompstn", "fromexternal"];
const FROM_INSIDE: [&str; 3] = ["frominternal", "fromotherpbx", "fromsip"];

/// The addresses of a record, each without what the PBX put around it.
#[derive(Default)]
struct Ends {
    src: Option<Party>,
    realsrc: Option<Party>,
    dst: Option<Party>,
    firstdst: Option<Party>,
    lastdst: Option<Party>,
}

/// Reads the direction and the two sides, and keeps what they were read from.
pub(super) fn read(fields: &mut Fields, facts: &mut Facts) {
    let mut end = |name| {
        let text = fields.optional(name)?;
        let party = party(&text);
        Some((name, text, party))
    };
    let read = ["src", "realsrc", "dst", "firstdst", "lastdst"].map(&mut end);
    let [src, realsrc, dst, firstdst, lastdst] =
        read.each_ref().map(|end| end.as_ref().and_then(|(_, _, party)| party.clone()));
    let ends = Ends { src, realsrc, dst, firstdst, lastdst };
    let (name, number) = cdr::caller_id(&fields.optional("clid").unwrap_or_default());
    let number = number.as_deref().and_then(party);
    let userfield = fields.optional("userfield");
    let dcontext = fields.optional("dcontext");

    facts.from = ends.from().cloned();
    facts.to = ends.to().cloned();
    facts.direction = direction(userfield.as_deref(), dcontext.as_deref(), &ends);
    (facts.contact, facts.employee) = match facts.direction {
        Some(Direction::Inbound) => {
            (outside([&ends.src, &ends.realsrc, &number]), extension([&ends.lastdst, &ends.dst]))
        }
        Some(Direction::Outbound) => (
            outside([&ends.dst, &ends.lastdst, &ends.firstdst]),
            extension([&ends.realsrc, &ends.src]),
        ),
        Some(Direction::Internal) | None => (None, None),
    };
    if is_contacts(facts, number.as_ref()) {
        facts.contact_name = name.filter(|name| is_name(name)).map(Personal::new);
    }

    keep(facts, "userfield", userfield);
    keep(facts, "dcontext", dcontext);
    // What `from` and `to` do not say already.
    for (name, text, party) in read.into_iter().flatten() {
        if party != facts.from && party != facts.to {
            keep(facts, name, Some(text));
        }
    }
}

impl Ends {
    /// Who called: `src`, unless that is no address (`s`, a device's name).
    fn from(&self) -> Option<&Party> {
        first_address([&self.src, &self.realsrc])
    }

    /// Who was called.
    fn to(&self) -> Option<&Party> {
        first_address([&self.dst, &self.lastdst, &self.firstdst])
    }
}

/// The first that can be reached, or else the first.
fn first_address<const N: usize>(parties: [&Option<Party>; N]) -> Option<&Party> {
    let known = || parties.iter().filter_map(|party| party.as_ref());
    known().find(|party| party.kind != PartyKind::Unparseable).or_else(|| known().next())
}

/// The first that is a number of the public network, else the first that is no extension, else
/// the first.
fn outside<const N: usize>(parties: [&Option<Party>; N]) -> Option<Party> {
    let known = || parties.iter().filter_map(|party| party.as_ref());
    let is_address =
        |party: &&Party| !matches!(party.kind, PartyKind::Extension | PartyKind::Unparseable);
    known()
        .find(|party| is_public_number(party))
        .or_else(|| known().find(is_address))
        .or_else(|| known().next())
        .cloned()
}

/// The first that is an extension.
fn extension<const N: usize>(parties: [&Option<Party>; N]) -> Option<Party> {
    let mut known = parties.into_iter().flatten();
    known.find(|party| party.kind == PartyKind::Extension).cloned()
}

/// Whether the caller id speaks of the customer: it is the caller's, so of one who called us; and of
/// one whom we called only if it has their number.
fn is_contacts(facts: &Facts, number: Option<&Party>) -> bool {
    match number {
        Some(number) if facts.contact.as_ref() == Some(number) => true,
        Some(number) if number.kind == PartyKind::Extension => false,
        _ => facts.direction == Some(Direction::Inbound),
    }
}

/// Whether a caller's name is one, and not the number again, or that there is none.
fn is_name(name: &str) -> bool {
    let kind = Party::read(&bare(name)).map(|party| party.kind);
    name.chars().any(char::is_alphabetic) && kind == Some(PartyKind::Unparseable)
}

/// Which way the call went.
///
/// A marker in `userfield` is the PBX's own judgement of the whole call. Then an extension at one end
/// and a public number at the other leave no doubt, whatever the context is called: records are seen
/// that say `from-outside` and have the extension as the caller. Then the context decides; and last the
/// less usual fields. Two extensions are a call between colleagues unless it came from outside.
fn direction(userfield: Option<&str>, dcontext: Option<&str>, ends: &Ends) -> Option<Direction> {
    use Side::{Extension, Public};
    let context = dcontext.and_then(context);
    let less_usual = || match (side(ends.realsrc.as_ref()), side(ends.lastdst.as_ref())) {
        (Some(Extension), None | Some(Public)) => Some(Direction::Outbound),
        (None | Some(Public), Some(Extension)) => Some(Direction::Inbound),
        _ => None,
    };
    let numbers = || match (side(ends.from()), side(ends.to())) {
        (Some(Extension), Some(Public)) => Some(Direction::Outbound),
        (Some(Public), Some(Extension)) => Some(Direction::Inbound),
        (Some(Extension), Some(Extension)) if context != Some(Direction::Inbound) => {
            Some(Direction::Internal)
        }
        _ => context.or_else(less_usual),
    };
    userfield.and_then(marker).or_else(numbers)
}

/// What `[inbound]` in a `userfield` says.
fn marker(userfield: &str) -> Option<Direction> {
    let text = userfield.to_ascii_lowercase();
    [
        ("[inbound]", Direction::Inbound),
        ("[outbound]", Direction::Outbound),
        ("[internal]", Direction::Internal),
    ]
    .into_iter()
    .find_map(|(marker, direction)| text.contains(marker).then_some(direction))
}

/// What the context says that a call entered the dialplan by. It may have a tenant's name behind it.
fn context(dcontext: &str) -> Option<Direction> {
    let letters: String = dcontext.chars().filter(|c| !"-_ ".contains(*c)).collect();
    let letters = letters.to_ascii_lowercase();
    let starts = |known: &[&str]| known.iter().any(|start| letters.starts_with(start));
    if starts(&FROM_OUTSIDE) {
        return Some(Direction::Inbound);
    }
    starts(&FROM_INSIDE).then_some(Direction::Outbound)
}

/// On which side of the PBX an address plainly is.
#[derive(Clone, Copy, PartialEq)]
enum Side {
    Extension,
    Public,
}

fn side(party: Option<&Party>) -> Option<Side> {
    let party = party?;
    if party.kind == PartyKind::Extension {
        return Some(Side::Extension);
    }
    // Who withholds a number has one.
    let is_public = party.kind == PartyKind::Anonymous || is_public_number(party);
    is_public.then_some(Side::Public)
}

fn is_public_number(party: &Party) -> bool {
    let digits = party.raw.expose().bytes().filter(u8::is_ascii_digit).count();
    party.is_number() && digits >= SHORTEST_OUTSIDE
}

fn party(text: &str) -> Option<Party> {
    Party::read(&bare(text))
}

/// An address without what the PBX puts around it: a route's prefix (`#019#0501234567`) and a
/// tenant's name (`101-decker`). The hyphens of a number as people write it (`050-123-4567`) stay.
fn bare(text: &str) -> String {
    let text = written::number(text);
    let is_prefix = |prefix: &str| !prefix.is_empty() && prefix.bytes().all(|b| b.is_ascii_digit());
    let number = match text.strip_prefix('#').and_then(|rest| rest.split_once('#')) {
        Some((prefix, rest)) if is_prefix(prefix) && !rest.trim().is_empty() => rest.trim(),
        _ => &text,
    };
    let mut parts = number.split('-');
    let holds_no_letter = |part: &&str| !part.chars().any(char::is_alphabetic);
    let kept: Vec<&str> = parts.by_ref().take_while(holds_no_letter).collect();
    let kept = kept.join("-");
    // A name with a hyphen in it (`front-desk`) has nothing before it.
    if kept.bytes().any(|b| b.is_ascii_digit()) { kept } else { number.to_owned() }
}
