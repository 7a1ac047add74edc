//! The people on a call: the query of the directory, and what its result means.
//!
//! Pure: [`query`] names everything to look up, in one go, and [`people`] decides from the result. The
//! rules, case by case, are the table in `docs/matching.md`, which is also their test.

use std::collections::{BTreeMap, BTreeSet};

use switchboard_domain::directory::{Contact, Extension, Handle, Holder, Origin};
use switchboard_domain::{
    Call, CallKey, Digest, Direction, MatchedBy, Name, Party, PartyKind, People, Person, Personal,
    Unmatched,
};

use crate::number;

/// How many of a contact's ids in other systems are kept with a call.
const MOST_EXTERNAL_IDS: usize = 20;

/// Fields of providers that name our side by an id, without case, `_` and `-`.
const AGENT_IDS: [&str; 2] = ["agentid", "employeeid"];
/// The same for an email address.
const AGENT_EMAILS: [&str; 2] = ["agentemail", "employeeemail"];

/// The source of a call, as far as numbers are concerned.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The call's source: extensions belong to one.
    pub source: &'a Name,
    /// The country of national numbers (ISO 3166-1 alpha-2).
    pub country: Option<&'a str>,
    /// Our own numbers, as they are configured: in E.164 or national form.
    pub own_numbers: &'a [Personal],
}

/// The handles and ids to look up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// The handles whose holders are wanted.
    pub handles: BTreeSet<Handle>,
    /// Ids that may be contacts.
    pub ids: BTreeSet<Name>,
}

/// The result of a lookup.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LookupResult {
    /// The holders of each handle; one without holders is left out.
    pub holders: BTreeMap<Handle, BTreeSet<Holder>>,
    /// The contacts among the ids.
    pub contacts: BTreeSet<Name>,
}

impl LookupResult {
    fn of(&self, handle: &Handle) -> impl Iterator<Item = &Holder> {
        self.holders.get(handle).into_iter().flatten()
    }

    fn contacts(&self, handle: &Handle) -> BTreeSet<&Name> {
        self.of(handle).filter_map(Holder::contact).collect()
    }

    fn employees(&self, handle: &Handle) -> BTreeSet<&Name> {
        self.of(handle).filter_map(Holder::employee).collect()
    }
}

/// The query for a call.
pub fn query(call: &Call, place: &Place<'_>) -> Query {
    let mut query = Query::default();
    let number = call.contact().and_then(|party| number::person(party, place.country).e164);
    query.handles.extend(number.map(Handle::Number));
    for (kind, id) in pointers(call) {
        query.handles.insert(external(id));
        if kind == MatchedBy::Context {
            query.ids.extend(Name::new("contact", id));
        }
    }
    for (_, handles) in employee_handles(call, place) {
        query.handles.extend(handles);
    }
    query
}

/// The people on the two sides, by the result of the lookup.
pub fn people(call: &Call, place: &Place<'_>, found: &LookupResult) -> People {
    People { contact: contact(call, place, found), employee: employee(call, place, found) }
}

/// The number for which a contact is to be created: one without holders, on the customer's side of
/// a call that is not internal, and that was not matched for this call before. A contact that an
/// operator deleted does not come back with the next message about an old call.
pub fn to_create<'a>(call: &Call, people: &'a People, former: &People) -> Option<&'a Personal> {
    let person = people.contact.as_ref()?;
    let number = person.e164.as_ref()?;
    let is_unknown = person.unmatched == Some(Unmatched::Unknown);
    let was_concluded = former
        .contact
        .as_ref()
        .is_some_and(|former| former.is_concluded() && former.e164 == person.e164);
    let is_internal = call.facts.direction == Some(Direction::Internal);
    (is_unknown && !was_concluded && !is_internal).then_some(number)
}

/// The id of the contact that is created for a number, where this call is the first of it. The same
/// each time, so that trying again makes no second one.
pub fn id_of_created(key: &CallKey, number: &Personal) -> Option<Name> {
    let correlation = key.correlation_id();
    let digest = Digest::of(&[correlation.as_str().as_bytes(), number.expose().as_bytes()]);
    Name::new("contact", &format!("c-{digest}")).ok()
}

/// A side with its directory entry: what CRMs receive of it is stored with the call.
pub fn introduced(mut person: Person, contact: &Contact, key: &CallKey) -> Person {
    person.entry = Some(contact.id.clone());
    person.unmatched = None;
    person.name.clone_from(&contact.name);
    person.external_ids = contact.external_ids.iter().take(MOST_EXTERNAL_IDS).cloned().collect();
    let by_number = matches!(person.matched_by, None | Some(MatchedBy::Number));
    if by_number {
        let is_first = contact.origin == Origin::Call(key.clone());
        person.matched_by = Some(if is_first { MatchedBy::Created } else { MatchedBy::Number });
    }
    person
}

/// The ids that name the call's contact, the surest first, each with how it matches.
fn pointers(call: &Call) -> impl Iterator<Item = (MatchedBy, &str)> {
    use MatchedBy::{Context, ExternalId};
    let kinds = [Context, Context, ExternalId, ExternalId];
    kinds.into_iter().zip(call.pointers()).filter_map(|(kind, id)| Some((kind, id?)))
}

fn external(id: &str) -> Handle {
    Handle::External(Personal::new(id))
}

fn contact(call: &Call, place: &Place<'_>, found: &LookupResult) -> Option<Person> {
    let party = call.contact();
    let person = party.map(|party| number::person(party, place.country));
    let handle = person.as_ref().and_then(|person| person.e164.clone()).map(Handle::Number);
    let by_number = handle.as_ref().map(|handle| found.contacts(handle)).unwrap_or_default();
    // An id may be all that is known: a conversation on a web page has no number.
    let unknown = || Person::unknown(PartyKind::Unparseable, None);

    for (kind, id) in pointers(call) {
        let own_id = Name::new("contact", id).ok().filter(|id| found.contacts.contains(id));
        if let Some(id) = own_id.filter(|_| kind == MatchedBy::Context) {
            return Some(linked(person.unwrap_or_else(unknown), &id, kind));
        }
        let mut holders = found.contacts(&external(id));
        if holders.len() > 1 && holders.intersection(&by_number).count() == 1 {
            holders.retain(|id| by_number.contains(id));
        }
        match (holders.first(), holders.len()) {
            (Some(id), 1) => return Some(linked(person.unwrap_or_else(unknown), id, kind)),
            (Some(_), _) => {
                return Some(alone(person.unwrap_or_else(unknown), Unmatched::Ambiguous));
            }
            // There is no such entry, so it says nothing.
            (None, _) => {}
        }
    }

    let person = person?;
    let Some(handle) = handle else {
        let is_anonymous = person.kind == PartyKind::Anonymous;
        let why = if is_anonymous { Unmatched::Anonymous } else { Unmatched::NoNumber };
        return Some(alone(person, why));
    };
    if is_own(&person, place, found) {
        return Some(alone(person, Unmatched::OwnNumber));
    }
    Some(match (by_number.first(), by_number.len()) {
        (Some(id), 1) => linked(person, id, MatchedBy::Number),
        (Some(_), _) => alone(person, Unmatched::Ambiguous),
        (None, _) if !found.employees(&handle).is_empty() => alone(person, Unmatched::Colleague),
        (None, _) => alone(person, Unmatched::Unknown),
    })
}

fn employee(call: &Call, place: &Place<'_>, found: &LookupResult) -> Option<Person> {
    let party = call.employee();
    let person = party.map(|party| number::person(party, place.country));
    for (kind, handles) in employee_handles(call, place) {
        let holders: BTreeSet<&Name> =
            handles.iter().flat_map(|handle| found.employees(handle)).collect();
        let person = || {
            let unknown = || Person::unknown(PartyKind::Unparseable, None);
            person.clone().unwrap_or_else(unknown)
        };
        match (holders.first(), holders.len()) {
            (Some(id), 1) => return Some(linked(person(), id, kind)),
            (Some(_), _) => return Some(alone(person(), Unmatched::Ambiguous)),
            (None, _) => {}
        }
    }
    let person = person?;
    let why = match person.kind {
        PartyKind::Anonymous => Unmatched::Anonymous,
        _ if is_own(&person, place, found) => Unmatched::OwnNumber,
        PartyKind::E164 | PartyKind::Extension => Unmatched::Unknown,
        _ => Unmatched::NoNumber,
    };
    Some(alone(person, why))
}

/// What our side is found by, the surest first: an id, an email address, a number, an extension of
/// this very source, one of any source.
fn employee_handles(call: &Call, place: &Place<'_>) -> Vec<(MatchedBy, Vec<Handle>)> {
    let named = |names: &[&str]| -> Vec<&str> {
        let plain = |name: &str| name.to_ascii_lowercase().replace(['_', '-'], "");
        let is_named = |name: &str| names.contains(&plain(name).as_str());
        let fields = call.facts.extra.iter().filter(|(name, _)| is_named(name));
        fields.map(|(_, value)| value.expose().trim()).filter(|text| !text.is_empty()).collect()
    };
    let email = |text: &str| Handle::Email(Personal::new(text.to_lowercase()));
    let mut ids: Vec<Handle> = named(&AGENT_IDS).into_iter().map(external).collect();
    let mut emails: Vec<Handle> = named(&AGENT_EMAILS).into_iter().map(email).collect();
    let (mut numbers, mut here, mut anywhere) = (Vec::new(), Vec::new(), Vec::new());
    if let Some(party) = call.employee().filter(|party| party.kind != PartyKind::Anonymous) {
        let person = number::person(party, place.country);
        match person.e164 {
            Some(number) => numbers.push(Handle::Number(number)),
            // A seat's or a login's name may look like anything.
            None => {
                let extension =
                    |source| Handle::Extension(Extension { source, number: party.raw.clone() });
                here.push(extension(Some(place.source.clone())));
                anywhere.push(extension(None));
                if person.kind != PartyKind::Extension {
                    ids.push(external(party.raw.expose()));
                    emails.extend(address(party).map(email));
                }
            }
        }
    }
    let tiers = [
        (MatchedBy::ExternalId, ids),
        (MatchedBy::Email, emails),
        (MatchedBy::Number, numbers),
        (MatchedBy::Extension, here),
        (MatchedBy::Extension, anywhere),
    ];
    tiers.into_iter().filter(|(_, handles)| !handles.is_empty()).collect()
}

/// What may be an email address: a SIP address often is one.
fn address(party: &Party) -> Option<&str> {
    let raw = party.raw.expose();
    let scheme =
        raw.split_once(':').filter(|(scheme, _)| scheme.to_ascii_lowercase().starts_with("sip"));
    let address = scheme.map_or(raw, |(_, address)| address);
    address.contains('@').then_some(address)
}

fn is_own(person: &Person, place: &Place<'_>, found: &LookupResult) -> bool {
    let Some(number) = &person.e164 else { return false };
    let configured = place
        .own_numbers
        .iter()
        .filter_map(|own| number::e164(own.expose(), place.country))
        .any(|own| own == number.expose());
    configured || found.of(&Handle::Number(number.clone())).any(|holder| *holder == Holder::Own)
}

fn linked(person: Person, id: &Name, by: MatchedBy) -> Person {
    Person { entry: Some(id.clone()), matched_by: Some(by), ..person }
}

fn alone(person: Person, why: Unmatched) -> Person {
    Person { unmatched: Some(why), ..person }
}
