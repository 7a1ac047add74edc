//! Beeline's cloud PBX: the XML events of BroadWorks' Xtended Services Interface (XSI, name space
//! `http://schema.broadsoft.com/xsi`) that a subscription has posted.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use roxmltree::{Document, Node, ParsingOptions};
use serde_json::{Map, Value};
use switchboard_domain::{Direction, Disposition, Facts, Order, Party, Personal, Seconds, State};

use crate::body::ParsedRecord;
use crate::cdr::{self, MOST_EXTRA};
use crate::json::Fields;
use crate::provider::Authenticated;
use crate::reject::Reject;

/// The field of a record that names the event, and by which this format is known.
pub(super) const EVENT: &str = "xsiEvent";

/// An event is some kilobytes. What is larger is none, and is not parsed.
const LARGEST: usize = 64 * 1024;
/// An event has about fifty elements, texts and attributes.
const MOST_NODES: u32 = 4_096;
/// How deep the elements of a call lie in one another, at most. Deeper ones are not looked at.
const DEEPEST: usize = 8;

/// The calls of an event, each flat: `xsiEvent`, what the event says of itself, and the call's
/// elements by their path (`remoteParty.address`). An event about no call is one record without one.
pub(super) fn records(body: &[u8]) -> Result<Vec<Value>, Reject> {
    if body.len() > LARGEST {
        return Err(Reject::malformed("body", format!("is XML of more than {LARGEST} bytes")));
    }
    // What may not stand in XML shows as U+FFFD.
    let is_known = |c: char| !c.is_control() || "\t\n\r".contains(c);
    let text = String::from_utf8_lossy(body).replace(|c| !is_known(c), "\u{fffd}");
    let options =
        ParsingOptions { allow_dtd: false, nodes_limit: MOST_NODES, ..Default::default() };
    let document = Document::parse_with_options(&text, options).map_err(|error| match error {
        roxmltree::Error::DtdDetected => {
            Reject::malformed("body", "is XML with a <!DOCTYPE, which is never read: leave it out")
        }
        roxmltree::Error::NodesLimitReached => {
            Reject::malformed("body", format!("is XML of more than {MOST_NODES} nodes"))
        }
        // The place, not the message: that quotes the body.
        other => {
            let place = other.pos();
            let place = format!("line {}, column {}", place.row, place.col);
            Reject::malformed("body", format!("is not valid XML ({place})"))
        }
    })?;
    let event = document.root_element();
    if event.tag_name().name() != "Event" {
        return Err(Reject::malformed("body", "is XML, and not an Event of XSI"));
    }
    let data = child(event, "eventData");
    // A subscription's own messages may have no data: then the event's type says what they are.
    let kind = data
        .and_then(kind)
        .or_else(|| kind(event))
        .ok_or_else(|| Reject::malformed("eventData", "has no type, as xsi:CallReceivedEvent"))?;

    let mut about = Map::new();
    about.insert(EVENT.to_owned(), Value::String(kind));
    for name in ["sequenceNumber", "subscriptionId", "targetId"] {
        if let Some(text) = child(event, name).and_then(|node| node.text()) {
            about.insert(name.to_owned(), Value::String(text.trim().to_owned()));
        }
    }
    let Some(data) = data else { return Ok(vec![Value::Object(about)]) };
    let mut calls: Vec<Node<'_, '_>> = elements(data).filter(|node| is(*node, "call")).collect();
    if calls.is_empty() {
        // Some events have the call's elements in their data, without a `call` around them.
        calls.push(data);
    }
    let flat = |call: Node<'_, '_>| {
        let mut record = about.clone();
        flatten(call, "", 0, &mut record);
        Value::Object(record)
    };
    Ok(calls.into_iter().map(flat).collect())
}

/// Whether a record is an event that names no call: of a subscription, of a phone's hook.
pub(super) fn is_about_no_call(record: &Value) -> bool {
    let has = |name| record.get(name).is_some();
    has(EVENT) && !has("callId") && !has("extTrackingId") && !has("personality")
}

/// The type of an event or of its data, without its prefix.
fn kind(node: Node<'_, '_>) -> Option<String> {
    let written = node.attributes().find(|attribute| attribute.name() == "type")?.value();
    let name = written.rsplit(':').next().unwrap_or_default();
    let is_name = (1..=64).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric());
    is_name.then(|| name.to_owned())
}

fn elements<'a, 'input>(node: Node<'a, 'input>) -> impl Iterator<Item = Node<'a, 'input>> {
    node.children().filter(Node::is_element)
}

fn is(node: Node<'_, '_>, name: &str) -> bool {
    node.tag_name().name() == name
}

fn child<'a, 'input>(node: Node<'a, 'input>, name: &str) -> Option<Node<'a, 'input>> {
    elements(node).find(|node| is(*node, name))
}

/// The texts in an element by their path. Of a repeated one the last counts: the last of several
/// redirections is the number that was called.
fn flatten(node: Node<'_, '_>, path: &str, depth: usize, into: &mut Map<String, Value>) {
    if depth > DEEPEST {
        return;
    }
    for element in elements(node) {
        let name = format!("{path}{}", element.tag_name().name());
        if elements(element).next().is_some() {
            flatten(element, &format!("{name}."), depth + 1, into);
        } else if let Some(text) = element.text().map(str::trim).filter(|text| !text.is_empty()) {
            into.insert(name, Value::String(text.to_owned()));
        }
    }
}

/// Reads one call of an event.
pub(super) fn read(
    message: &Authenticated<'_>,
    mut fields: Fields,
) -> Result<ParsedRecord, Reject> {
    let kind = fields.text(EVENT)?.unwrap_or_default();
    // The same for every leg of a call; `callId` is of one leg.
    let tracking = fields.id("extTrackingId")?;
    let leg = if tracking.is_some() { None } else { fields.id("callId")? };
    let call_id = tracking
        .or(leg)
        .ok_or_else(|| Reject::malformed("extTrackingId", "is required, or callId in its place"))?;
    let (key, source) = message.call(None, None, &call_id)?;

    let zone = source.zone();
    let mut facts = Facts::default();
    facts.state = state(&kind, fields.optional("state").as_deref());
    facts.disposition = so_far(facts.state);
    parties(&mut fields, &mut facts);
    facts.started_at = cdr::moment(&mut fields, "startTime", zone.as_ref(), &mut facts);
    facts.answered_at = cdr::moment(&mut fields, "answerTime", zone.as_ref(), &mut facts);
    let sequence = fields.optional("sequenceNumber").and_then(|n| n.parse().ok());
    let order = if facts.state == Some(State::Ended) {
        release(&mut fields, zone.as_ref(), &mut facts)
    } else {
        sequence.map_or(Order::Unordered, Order::Sequence)
    };
    facts.extra = fields.rest(MOST_EXTRA).collect();
    Ok(ParsedRecord::new(key, kind, order, facts))
}

/// How far a call is. Nothing but `CallReleasedEvent` ends one: a leg that was redirected is
/// released too, and the call goes on.
fn state(kind: &str, said: Option<&str>) -> Option<State> {
    match (kind, said) {
        ("CallReleasedEvent", _) => Some(State::Ended),
        ("CallAnsweredEvent", _) => Some(State::InProgress),
        ("CallReceivedEvent" | "CallOriginatedEvent", _) | (_, Some("Alerting")) => {
            Some(State::Ringing)
        }
        (_, Some("Active" | "Held" | "Remote Held" | "Remotely Held")) => Some(State::InProgress),
        _ => None,
    }
}

/// The disposition of a call without a cause: a call that rang without a reported answer was not
/// answered. The release of an unanswered leg does not say so of the whole call.
fn so_far(state: Option<State>) -> Option<Disposition> {
    match state {
        Some(State::Ringing) => Some(Disposition::NoAnswer),
        Some(State::InProgress) => Some(Disposition::Answered),
        _ => None,
    }
}

/// The end of a leg.
fn release(fields: &mut Fields, zone: Option<&TimeZone>, facts: &mut Facts) -> Order {
    facts.ended_at = cdr::moment(fields, "releaseTime", zone, facts);
    facts.total = between(facts.started_at, facts.ended_at);
    facts.talk = between(facts.answered_at, facts.ended_at);
    let cause = fields
        .optional("releaseCause.internalReleaseCause")
        .or_else(|| fields.optional("releaseCause"));
    // Of a group, one phone may be busy while another is picked up: that says nothing of the call.
    if fields.optional("huntGroupUserId").is_none() {
        facts.cause = cause;
    }
    facts.disposition = match facts.cause.as_deref() {
        _ if facts.answered_at.is_some() => Some(Disposition::Answered),
        Some("Busy") => Some(Disposition::Busy),
        Some("Temporarily Unavailable") => Some(Disposition::NoAnswer),
        Some(
            "Forbidden"
            | "User Not Found"
            | "Routing Failure"
            | "Global Failure"
            | "Request Failure"
            | "Server Failure"
            | "Translation Failure",
        ) => Some(Disposition::Failed),
        _ => None,
    };
    let position = facts.ended_at.and_then(|end| u64::try_from(end.as_second()).ok());
    cdr::leg_order(position.unwrap_or_default(), facts.disposition)
}

/// Who called whom. The other end is a colleague where its call type is `Group` or `Enterprise`;
/// of our own end there is rarely more than whose phone the subscription is for.
fn parties(fields: &mut Fields, facts: &mut Facts) {
    let mut party = |name| fields.optional(name).as_deref().and_then(Party::read);
    let remote = party("remoteParty.address");
    let called = party("redirections.redirection.party.address");
    let own = party("targetId").or_else(|| party("endpoint.addressOfRecord"));
    let name = fields.optional("remoteParty.name");
    let is_colleague =
        matches!(fields.optional("remoteParty.callType").as_deref(), Some("Group" | "Enterprise"));
    let direction = match fields.optional("personality").as_deref() {
        Some("Terminator") => Some(Direction::Inbound),
        Some("Originator" | "Click-to-Dial") => Some(Direction::Outbound),
        _ => None,
    };
    (facts.from, facts.to) = match direction {
        Some(Direction::Inbound) => (remote.clone(), called),
        Some(_) => (own.clone(), remote.clone()),
        None => (None, None),
    };
    facts.employee = own;
    if is_colleague {
        facts.direction = Some(Direction::Internal);
    } else {
        facts.direction = direction;
        facts.contact = remote;
        facts.contact_name = name.map(Personal::new);
    }
}

/// Whole seconds from one moment to a later one.
fn between(from: Option<Timestamp>, to: Option<Timestamp>) -> Option<Seconds> {
    let seconds = to?.duration_since(from?).as_secs();
    u32::try_from(seconds).ok().map(Seconds)
}
