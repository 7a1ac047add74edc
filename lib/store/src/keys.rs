//! The key of every item, and the indexes: the one place that makes and reads them.
//!
//! Table `calls`:
//!
//! | item | pk | sk |
//! | --- | --- | --- |
//! | call | `call#<provider>#<source>#<call id>` | `call` |
//! | its analysis; the tasks of that | same | `analysis`; `task#<n>` |
//! | delivery | same | `delivery#<destination>#<event>` |
//! | part of a large value | same | `blob#<digest>#<n>` |
//! | quarantined body; its parts | `quarantine#<provider>`; `quarantine-body#<provider>` | `<time>#<digest>`; …`#<n>` |
//! | gate; end of its line | `destinations`; `destination-pace#<destination>` | `<destination>`; `pace` |
//! | lease | `lease#<name>` | `lease` |
//! | job | `sync#<job id>` | `job` |
//! | job in the list; job that has a slot | `syncs` | `<job id>`; `slot#<slot>` |
//! | calls that a job found missing on a day | `gap#<provider>#<source>` | `<day>#<job id>` |
//! | dial request; counter of them | `press#<id>`; `press-rate#<caller>` | `press`; `<window>` |
//!
//! Table `directory`:
//!
//! | item | pk | sk | in the index `lists` |
//! | --- | --- | --- | --- |
//! | contact, employee | `contact#<id>`, `employee#<id>` | `entry` | list `contact`, `employee`; place `<id>` |
//! | mark of a lead | `contact#<id>` | `lead` | list `lead`; place `<status>#<id>` |
//! | call on a timeline | `contact#<id>` | `activity#<call key>` | list `timeline#<id>`; place `<time>#<call key>` |
//! | holders of a number, … | `number#<E.164>`, `extension#<source>#<number>`, `email#<email>`, `external#<id>` | `holders` | – |

use jiff::Timestamp;
use jiff::civil::Date;
use switchboard_domain::directory::{Handle, Holder};
use switchboard_domain::sync::Gap;
use switchboard_domain::{CallKey, Deferred, DeliveryId, Digest, Name};

use crate::table::{Index, Key};

/// What is overdue.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Overdue {
    /// A call's own follow-up.
    Call(CallKey),
    /// A delivery of a call.
    Delivery(CallKey, DeliveryId),
    /// A job that pulls calls.
    Pull(Name),
}

/// Everything due, by shard and time.
pub const DUE: Index =
    Index { name: "due", partition: "due_shard", sort: "due_at", projects: None };
/// Calls by day.
pub const DAY: Index =
    Index { name: "day", partition: "day_shard", sort: "began", projects: Some("line") };
/// Calls by contact.
pub const CONTACT: Index =
    Index { name: "contact", partition: "contact", sort: "began", projects: Some("line") };
/// The lists of the directory.
pub const LISTS: Index = Index { name: "lists", partition: "list", sort: "place", projects: None };
/// Every index of both tables.
pub const INDEXES: [&Index; 4] = [&DUE, &DAY, &CONTACT, &LISTS];

/// The sort key of a call.
pub(crate) const CALL_SK: &str = "call";
/// What the partition key of every call begins with.
pub(crate) const CALLS: &str = "call#";
pub(crate) const DELIVERIES: &str = "delivery#";
pub(crate) const TASKS: &str = "task#";
/// The partition of all gates: one request reads them.
pub(crate) const GATES: &str = "destinations";
/// The partition of the list of jobs.
pub(crate) const JOBS: &str = "syncs";
/// What follows all jobs in their list: ids begin with a digit.
pub(crate) const SLOTS: &str = "slot#";
pub(crate) const CONTACTS: &str = "contact";
pub(crate) const EMPLOYEES: &str = "employee";
pub(crate) const LEADS: &str = "lead";
pub(crate) const ACTIVITIES: &str = "activity#";
pub(crate) const ENTRY_SK: &str = "entry";

pub(crate) fn call_pk(key: &CallKey) -> String {
    format!("{CALLS}{}#{}#{}", key.provider, key.source, key.call_id())
}

pub(crate) fn call(key: &CallKey) -> Key {
    Key::new(call_pk(key), CALL_SK)
}

pub(crate) fn delivery(key: &CallKey, id: &DeliveryId) -> Key {
    Key::new(call_pk(key), format!("{DELIVERIES}{id}"))
}

pub(crate) fn analysis(key: &CallKey) -> Key {
    Key::new(call_pk(key), "analysis")
}

/// The key of a task of an analysis, counted from 0.
pub(crate) fn task(key: &CallKey, n: usize) -> Key {
    Key::new(call_pk(key), format!("{TASKS}{:02}", n + 1))
}

/// What the sort keys of a large value's parts begin with.
pub(crate) fn blob_parts(digest: &Digest) -> String {
    format!("blob#{digest}#")
}

pub(crate) fn quarantined(provider: &Name, received_at: Timestamp, digest: &Digest) -> Key {
    Key::new(quarantine_pk(provider), format!("{}#{digest}", moment(received_at)))
}

pub(crate) fn quarantine_pk(provider: &Name) -> String {
    format!("quarantine#{provider}")
}

pub(crate) fn quarantine_body_pk(provider: &Name) -> String {
    format!("quarantine-body#{provider}")
}

pub(crate) fn gate(destination: &Name) -> Key {
    Key::new(GATES, destination.as_str())
}

pub(crate) fn pace(destination: &Name) -> Key {
    Key::new(format!("destination-pace#{destination}"), "pace")
}

pub(crate) fn lease(name: &str) -> Key {
    Key::new(format!("lease#{name}"), "lease")
}

pub(crate) fn job(id: &Name) -> Key {
    Key::new(format!("sync#{id}"), "job")
}

pub(crate) fn listed_job(id: &Name) -> Key {
    Key::new(JOBS, id.as_str())
}

pub(crate) fn slot(slot: &str) -> Key {
    Key::new(JOBS, format!("{SLOTS}{slot}"))
}

pub(crate) fn gap_pk(provider: &Name, source: &Name) -> String {
    format!("gap#{provider}#{source}")
}

pub(crate) fn gap(gap: &Gap) -> Key {
    Key::new(gap_pk(&gap.provider, &gap.source), format!("{}#{}", gap.day, gap.job))
}

pub(crate) fn dial_request(id: &Digest) -> Key {
    Key::new(format!("press#{id}"), "press")
}

pub(crate) fn rate(who: &Digest, window: &str) -> Key {
    Key::new(format!("press-rate#{who}"), window)
}

pub(crate) fn entry_pk(holder: &Holder) -> String {
    match holder {
        Holder::Contact(id) => format!("{CONTACTS}#{id}"),
        Holder::Employee(id) => format!("{EMPLOYEES}#{id}"),
        Holder::Own => "own".to_owned(),
    }
}

pub(crate) fn entry(holder: &Holder) -> Key {
    Key::new(entry_pk(holder), ENTRY_SK)
}

/// Which entry a partition key names.
pub(crate) fn read_entry(pk: &str) -> Option<Holder> {
    let (kind, id) = pk.split_once('#')?;
    match kind {
        CONTACTS => Name::new("contact", id).ok().map(Holder::Contact),
        EMPLOYEES => Name::new("employee", id).ok().map(Holder::Employee),
        _ => None,
    }
}

pub(crate) fn lead(holder: &Holder) -> Key {
    Key::new(entry_pk(holder), "lead")
}

pub(crate) fn activity(contact: &Name, call: &str) -> Key {
    Key::new(entry_pk(&Holder::Contact(contact.clone())), format!("{ACTIVITIES}{call}"))
}

/// The list of a contact's calls.
pub(crate) fn timeline(contact: &Name) -> String {
    format!("timeline#{contact}")
}

/// Where a call stands on a timeline.
pub(crate) fn activity_place(at: Timestamp, call: &CallKey) -> String {
    format!("{}#{call}", moment(at))
}

pub(crate) fn handle(handle: &Handle) -> Key {
    let pk = match handle {
        Handle::Number(number) => format!("number#{}", number.expose()),
        Handle::Extension(extension) => {
            let source = extension.source.as_ref().map_or("", Name::as_str);
            format!("extension#{source}#{}", extension.number.expose())
        }
        Handle::Email(email) => format!("email#{}", email.expose()),
        Handle::External(id) => format!("external#{}", id.expose()),
    };
    Key::new(pk, "holders")
}

/// A moment as text that sorts by time: with all digits, because of two texts of one second the
/// shorter would come last.
pub(crate) fn moment(at: Timestamp) -> String {
    format!("{at:.9}")
}

/// A partition of the index of everything due.
pub(crate) fn due_shard(shard: u16) -> String {
    format!("{shard:02}")
}

/// The partition in which deliveries wait for the gate of a destination.
pub(crate) fn deferred_shard(destination: &Name, among: Deferred, shard: u16) -> String {
    format!("{}#{destination}#{shard}", among.as_str())
}

/// A partition of the index of calls by day.
pub(crate) fn day_shard(day: Date, shard: u16) -> String {
    format!("{day}#{shard}")
}

/// What the keys of an entry in the index of everything due point to.
pub(crate) fn read_due(Key { pk, sk }: &Key) -> Option<Overdue> {
    if let Some(id) = pk.strip_prefix("sync#") {
        return Name::new("job", id).ok().map(Overdue::Pull);
    }
    let mut parts = pk.strip_prefix(CALLS)?.splitn(3, '#');
    let provider = Name::new("provider", parts.next()?).ok()?;
    let source = Name::new("source", parts.next()?).ok()?;
    let key = CallKey::new(provider, source, parts.next()?).ok()?;
    match sk.strip_prefix(DELIVERIES) {
        Some(id) => Some(Overdue::Delivery(key, id.parse().ok()?)),
        None => Some(Overdue::Call(key)),
    }
}
