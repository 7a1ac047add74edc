//! Which side of a call is the customer's and which is ours. A record does not say; its contexts,
//! numbers and channels do.

use switchboard_domain::{Direction, Facts, Party, PartyKind, Personal};

/// Words in the names of contexts that calls from outside come in by, without hyphens.
const FROM_OUTSIDE: [&str; 8] = [
    "fromtrunk",
    "frompstn",
    "fromoutside",
    "fromexternal",
    "fromdid",
    "extdid",
    "inbound",
    "incoming",
];

/// Words in the names of contexts that our own phones dial out by, without hyphens.
const FROM_INSIDE: [&str; 4] = ["frominternal", "frominside", "outbound", "outgoing"];

/// Asterisk's own extensions (start, hang-up, invalid, timeout), which are no party's number.
const SPECIAL: [&str; 6] = ["s", "h", "i", "t", "~~s~~", "fax"];

/// Channel technologies whose channels are named after the phone: `PJSIP/201-0000abcd`. DAHDI's
/// are named after ports.
const NAMED_AFTER_PHONES: [&str; 6] = ["pjsip", "sip", "iax2", "sccp", "agent", "local"];

/// A public number has more digits than this; feature codes (`*97`) and extensions have not.
const SHORT: usize = 5;

/// What a record says about its ends.
#[derive(Default)]
pub(super) struct Sides {
    /// The caller's number.
    pub(super) src: Option<String>,
    /// The caller's name.
    pub(super) name: Option<String>,
    /// The extension or number that was dialled.
    pub(super) dst: Option<String>,
    /// The context in which it was dialled.
    pub(super) dcontext: Option<String>,
    /// The last application.
    pub(super) lastapp: Option<String>,
    /// The caller's channel.
    pub(super) channel: Option<String>,
    /// The called party's channel.
    pub(super) dstchannel: Option<String>,
}

impl Sides {
    /// Puts the two ends, the direction and what follows from it into the facts.
    pub(super) fn tell(self, facts: &mut Facts) {
        let dialled = self.dst.as_deref().filter(|dst| !SPECIAL.contains(dst));
        facts.from = self.src.as_deref().and_then(Party::read);
        facts.to = dialled.and_then(Party::read);
        facts.direction = self.direction(facts);
        let from = facts.from.clone();
        let to = facts.to.clone();
        match facts.direction {
            Some(Direction::Inbound) => {
                facts.contact = from;
                facts.employee = self.called_phone(to);
                let name = self.name.filter(|name| !Party::read(name).is_some_and(|n| is_long(&n)));
                facts.contact_name = name.map(Personal::new);
            }
            Some(Direction::Outbound) => {
                facts.contact = to;
                facts.employee = from.filter(is_extension).or_else(|| phone(self.channel));
            }
            Some(Direction::Internal) | None => {}
        }
    }

    fn direction(&self, facts: &Facts) -> Option<Direction> {
        let letters = |text: &str| text.to_ascii_lowercase().replace(['-', '_', ' '], "");
        let context = self.dcontext.as_deref().map(letters).unwrap_or_default();
        let is_in = |words: &[&str]| words.iter().any(|word| context.contains(word));
        let from = facts.from.as_ref();
        let (dials_out, from_phone) =
            (facts.to.as_ref().is_some_and(is_long), from.is_some_and(is_extension));
        if is_in(&FROM_OUTSIDE) {
            return Some(Direction::Inbound);
        }
        // A call that the PBX itself sends on (to a mobile, say) is a leg of one that came from outside.
        let sent_on = !from_phone
            && self.channel.as_deref().is_some_and(|name| letters(name).starts_with("local/"));
        if dials_out && sent_on {
            return None;
        }
        let calls_from_inside = from_phone || phone(self.channel.clone()).is_some();
        if dials_out && (is_in(&FROM_INSIDE) || calls_from_inside) {
            return Some(Direction::Outbound);
        }
        if from_phone {
            let inside = facts.to.as_ref().is_some_and(is_extension);
            return inside.then_some(Direction::Internal);
        }
        let from_outside = from.is_some_and(|p| is_long(p) || p.kind == PartyKind::Anonymous);
        let rings_inside = !dials_out || phone(self.dstchannel.clone()).is_some();
        (from_outside && rings_inside).then_some(Direction::Inbound)
    }

    /// The phone that was called: the extension dialled, or, of a queue, a menu or a number of
    /// ours, the one that rang.
    fn called_phone(&self, to: Option<Party>) -> Option<Party> {
        let is_queue = self.lastapp.as_deref().is_some_and(|app| app.eq_ignore_ascii_case("queue"));
        let dialled = to.filter(is_extension);
        let rang = phone(self.dstchannel.clone());
        if is_queue { rang.or(dialled) } else { dialled.or(rang) }
    }
}

/// The extension in a channel's name: `PJSIP/201-0000abcd`, `Local/201@from-queue-00000001;1`.
pub(super) fn phone(channel: Option<String>) -> Option<Party> {
    let channel = channel?;
    let (technology, rest) = channel.split_once('/')?;
    if !NAMED_AFTER_PHONES.contains(&technology.to_ascii_lowercase().as_str()) {
        return None;
    }
    let name = match rest.split_once('@') {
        Some((name, _)) => name,
        None => rest.rsplit_once('-').map_or(rest, |(name, _)| name),
    };
    Party::read(name).filter(is_extension)
}

fn is_extension(party: &Party) -> bool {
    party.kind == PartyKind::Extension
}

fn is_long(party: &Party) -> bool {
    let digits = party.raw.expose().chars().filter(char::is_ascii_digit).count();
    party.is_number() && digits > SHORT
}
