//! What a call does to the contact that it was with: its timeline, when it was last reached, and, of a
//! lead, where it stands.

use jiff::Timestamp;
use serde::Deserialize;
use switchboard_domain::directory::{Activity, Contact, ContactKind};
use switchboard_domain::{
    CallKey, CallRecord, ConfigError, Direction, Name, Outcome, Seconds, later,
};

/// Which statuses there are, and which calls move a lead on.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rules {
    /// Every status, in the order in which a lead comes to them. It never goes back. A lead
    /// without one stands at the first.
    pub statuses: Vec<String>,
    /// Which call moves a lead. Tried in their order, each on what the one before left.
    #[serde(default)]
    pub rules: Vec<Rule>,
}

/// Which calls move a lead where.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Which calls.
    pub when: When,
    /// Of which leads: those that stand at one of these. Without it: at any that comes earlier.
    #[serde(default)]
    pub from: Option<Vec<String>>,
    /// The status they get.
    pub to: String,
}

/// Which calls: all that is given must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct When {
    /// How the call went.
    pub outcome: Option<Outcome>,
    /// So long was talked at least, seconds.
    pub min_talk_seconds: Option<u32>,
    /// Which way it went.
    pub direction: Option<Direction>,
    /// The provider, as it stands in the call's key.
    pub provider: Option<Name>,
    /// The source, as it stands in the call's key.
    pub source: Option<Name>,
}

/// An answered call with more than 30 seconds of talk moves a `new` lead to `contacted`.
impl Default for Rules {
    fn default() -> Self {
        let when = When {
            outcome: Some(Outcome::Answered),
            min_talk_seconds: Some(31),
            ..When::default()
        };
        Self {
            statuses: vec!["new".to_owned(), "contacted".to_owned()],
            rules: vec![Rule { when, from: None, to: "contacted".to_owned() }],
        }
    }
}

impl Rules {
    /// Rules by which no lead moves.
    pub fn none() -> Self {
        Self { statuses: Vec::new(), rules: Vec::new() }
    }

    /// Reads and checks the JSON of the parameter `leads/rules`.
    pub fn parse(json: &str) -> Result<Self, ConfigError> {
        let rules: Self = ConfigError::read(json, "leads")?;
        rules.check()?;
        Ok(rules)
    }

    fn check(&self) -> Result<(), ConfigError> {
        if self.statuses.is_empty() {
            return Err(ConfigError::new(
                "statuses",
                "is empty: name every status, the first first",
            ));
        }
        for (n, status) in self.statuses.iter().enumerate() {
            let field = format!("statuses[{n}]");
            if status.is_empty() || status.len() > 64 || status.trim() != status {
                let problem = "must be 1 to 64 characters without space at its ends";
                return Err(ConfigError::new(field, problem));
            }
            if self.place(status) != Some(n) {
                return Err(ConfigError::new(field, "is there twice"));
            }
        }
        for (n, rule) in self.rules.iter().enumerate() {
            let error = |field: &str, problem: &str| {
                Err(ConfigError::new(format!("rules[{n}].{field}"), problem))
            };
            if rule.when == When::default() {
                return error("when", "is empty: every call would move every lead");
            }
            let Some(to) = self.place(&rule.to) else {
                return error("to", "is not among the statuses");
            };
            for status in rule.from.iter().flatten() {
                match self.place(status) {
                    None => return error("from", "holds one that is not among the statuses"),
                    Some(from) if from >= to => {
                        return error("from", "holds one that does not come before `to`");
                    }
                    Some(_) => {}
                }
            }
        }
        Ok(())
    }

    fn place(&self, status: &str) -> Option<usize> {
        self.statuses.iter().position(|one| one == status)
    }

    /// The status to which a call moves a lead that has `status`, if it does. A lead whose status is not
    /// in the rules keeps it: it was set by hand.
    fn moved(&self, status: Option<&str>, key: &CallKey, record: &CallRecord) -> Option<&str> {
        let first = self.statuses.first()?;
        let mut at = self.place(status.unwrap_or(first))?;
        let mut moved = None;
        for rule in self.rules.iter().filter(|rule| rule.when.holds(key, record)) {
            let Some(to) = self.place(&rule.to).filter(|to| *to > at) else { continue };
            let stands = |from: &Vec<String>| from.iter().any(|one| self.place(one) == Some(at));
            if rule.from.as_ref().is_none_or(stands) {
                at = to;
                moved = Some(rule.to.as_str());
            }
        }
        moved
    }
}

impl When {
    fn holds(&self, key: &CallKey, record: &CallRecord) -> bool {
        let Self { outcome, min_talk_seconds, direction, provider, source } = self;
        let call = &record.call;
        let Seconds(talked) = call.facts.talk.unwrap_or_default();
        outcome.is_none_or(|outcome| call.outcome == Some(outcome))
            && min_talk_seconds.is_none_or(|least| talked >= least)
            && direction.is_none_or(|direction| call.facts.direction == Some(direction))
            && provider.as_ref().is_none_or(|provider| key.provider == *provider)
            && source.as_ref().is_none_or(|source| key.source == *source)
    }
}

/// The call on its contact's timeline. `None` where it has no contact.
pub fn activity(record: &CallRecord) -> Option<Activity> {
    let contact = record.people.contact.as_ref()?.entry.clone()?;
    let facts = &record.call.facts;
    Some(Activity {
        contact,
        call: record.key.clone(),
        at: record.began_at(),
        direction: facts.direction,
        outcome: record.call.outcome,
        talk: facts.talk,
        recording: facts.recordings.values().rev().find_map(|recording| recording.url.clone()),
        employee: record.people.employee.as_ref().and_then(|person| person.entry.clone()),
    })
}

/// The contact as the call leaves it, or `None` where the call changes nothing: when it was last
/// reached, and, of a lead, its status. Doing it again changes nothing more.
pub fn touched(contact: &Contact, record: &CallRecord, rules: &Rules) -> Option<Contact> {
    let mut after = contact.clone();
    if record.call.outcome == Some(Outcome::Answered) {
        // `None` is before everything.
        after.last_contacted_at = contact.last_contacted_at.max(ended(record));
    }
    if contact.kind == ContactKind::Lead
        && let Some(status) = rules.moved(contact.status.as_deref(), &record.key, record)
    {
        after.status = Some(status.to_owned());
    }
    (after != *contact).then_some(after)
}

/// The end of a call, or what its start and length make it.
fn ended(record: &CallRecord) -> Option<Timestamp> {
    let facts = &record.call.facts;
    let lasted = facts.total.or(facts.talk).unwrap_or_default();
    facts.ended_at.or_else(|| Some(later(facts.started_at?, lasted)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use switchboard_domain::directory::Origin;
    use switchboard_domain::{
        Disposition, Facts, Legs, Order, Party, PartyKind, Person, Personal, Policy, Recording,
        State, Update,
    };

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn record(change: impl FnOnce(&mut Facts)) -> CallRecord {
        let mut facts = Facts {
            state: Some(State::Ended),
            disposition: Some(Disposition::Answered),
            direction: Some(Direction::Outbound),
            to: Party::read("+61491570156"),
            started_at: Some(at("2026-02-20T09:00:00Z")),
            ended_at: Some(at("2026-02-20T09:02:00Z")),
            talk: Some(Seconds(100)),
            ..Facts::default()
        };
        change(&mut facts);
        let heard_at = at("2026-02-20T09:02:07Z");
        let update = Update::new("status", Order::Unordered, heard_at, facts, b"{}".to_vec());
        let policy = Policy { settle: Seconds(0), legs: Legs::Parent, starts: false };
        let key = "smartflo/pune/1".parse().unwrap();
        let mut record = CallRecord::first(key, update, policy, heard_at);
        let mut person = Person::unknown(PartyKind::E164, None);
        person.entry = Some(Name::new("contact", "lead-1").unwrap());
        record.people.contact = Some(person);
        record
    }

    fn lead(status: Option<&str>) -> Contact {
        let id = Name::new("contact", "lead-1").unwrap();
        let written_at = at("2026-02-01T00:00:00Z");
        let status = status.map(str::to_owned);
        let contact = Contact::new(id, ContactKind::Lead, Origin::Import, written_at);
        Contact { status, version: 1, ..contact }
    }

    fn status(rules: &Rules, before: Option<&str>, call: &CallRecord) -> Option<String> {
        let lead = lead(before);
        touched(&lead, call, rules).unwrap_or(lead).status
    }

    #[test]
    fn by_default_a_call_of_more_than_thirty_seconds_makes_a_new_lead_contacted() {
        let rules = Rules::default();
        rules.check().unwrap();
        let talked = |seconds| record(move |facts| facts.talk = Some(Seconds(seconds)));
        let contacted = Some("contacted".to_owned());
        for (before, seconds, after) in [
            (Some("new"), 31, contacted.clone()),
            (None, 31, contacted.clone()),
            (Some("new"), 30, Some("new".to_owned())),
            (None, 30, None),
            // Its status is further on, or was set by hand.
            (Some("contacted"), 31, contacted.clone()),
            (Some("won"), 31, Some("won".to_owned())),
        ] {
            assert_eq!(status(&rules, before, &talked(seconds)), after, "{before:?} {seconds}");
        }
        let missed = record(|facts| facts.disposition = Some(Disposition::NoAnswer));
        assert_eq!(status(&rules, None, &missed), None);
        let mut client = lead(None);
        client.kind = ContactKind::Client;
        assert_eq!(touched(&client, &talked(31), &rules).unwrap().status, None);
    }

    #[test]
    fn rules_follow_one_another_and_never_back() {
        let json = r#"{"statuses": ["new", "tried", "contacted", "qualified"], "rules": [
            {"when": {"direction": "outbound"}, "to": "tried"},
            {"when": {"outcome": "answered", "min_talk_seconds": 60, "provider": "smartflo"},
             "from": ["tried"], "to": "contacted"},
            {"when": {"source": "delhi"}, "to": "qualified"}]}"#;
        let rules = Rules::parse(json).unwrap();
        let call = record(|_| {});
        for (before, after) in [
            ("new", "contacted"),
            ("tried", "contacted"),
            ("contacted", "contacted"),
            ("qualified", "qualified"),
            ("lost", "lost"),
        ] {
            assert_eq!(status(&rules, Some(before), &call).unwrap(), after);
        }
        let inbound = record(|facts| facts.direction = Some(Direction::Inbound));
        assert_eq!(status(&rules, Some("new"), &inbound).unwrap(), "new");
        assert_eq!(status(&Rules::none(), Some("new"), &call).unwrap(), "new");
    }

    #[test]
    fn doing_it_again_changes_nothing() {
        let rules = Rules::default();
        let call = record(|_| {});
        let once = touched(&lead(Some("new")), &call, &rules).unwrap();
        assert_eq!(once.last_contacted_at, Some(at("2026-02-20T09:02:00Z")));
        assert_eq!(touched(&once, &call, &rules), None);
        // An older call does not make it older, an unanswered one does not count.
        let older = record(|facts| facts.ended_at = Some(at("2026-02-19T09:02:00Z")));
        assert_eq!(touched(&once, &older, &rules), None);
        let missed = record(|facts| {
            facts.disposition = Some(Disposition::NoAnswer);
            facts.ended_at = Some(at("2026-02-21T09:02:00Z"));
        });
        assert_eq!(touched(&once, &missed, &rules), None);
        let open = record(|facts| (facts.ended_at, facts.total) = (None, Some(Seconds(150))));
        let touched = touched(&lead(None), &open, &rules).unwrap();
        assert_eq!(touched.last_contacted_at, Some(at("2026-02-20T09:02:30Z")));
    }

    #[test]
    fn the_timeline_tells_how_the_call_went() {
        let mut call = record(|facts| {
            let recording = |url: Option<&str>| Recording {
                url: url.map(Personal::new),
                path: None,
                duration: None,
                status: None,
            };
            facts.recordings = [
                ("RE1".to_owned(), recording(Some("https://pbx.example/1"))),
                ("RE2".to_owned(), recording(Some("https://pbx.example/2"))),
                ("RE3".to_owned(), recording(None)),
            ]
            .into();
        });
        let activity = activity(&call).unwrap();
        assert_eq!(activity.contact.as_str(), "lead-1");
        assert_eq!(
            (activity.at, activity.outcome),
            (at("2026-02-20T09:00:00Z"), Some(Outcome::Answered))
        );
        assert_eq!(
            (activity.talk, activity.direction),
            (Some(Seconds(100)), Some(Direction::Outbound))
        );
        assert_eq!(activity.recording, Some(Personal::new("https://pbx.example/2")));
        call.people.contact = None;
        assert_eq!(super::activity(&call), None);
    }

    #[test]
    fn rules_that_cannot_be_meant_are_refused_by_field() {
        for (json, field) in [
            (r#"{"rules": []}"#, "leads: is missing"),
            (r#"{"statuses": []}"#, "statuses: "),
            (r#"{"statuses": ["new", "new"]}"#, "statuses[1]: is there twice"),
            (r#"{"statuses": [" new"]}"#, "statuses[0]: "),
            (
                r#"{"statuses": ["new"], "rules": [{"when": {"outcome": "won"}, "to": "new"}]}"#,
                "rules[0].when.outcome: ",
            ),
            (r#"{"statuses": ["new"], "rules": [{"when": {}, "to": "new"}]}"#, "rules[0].when: "),
            (
                r#"{"statuses": ["new"], "rules": [{"when": {"talk": 1}, "to": "new"}]}"#,
                "rules[0].when.talk: ",
            ),
            (
                r#"{"statuses": ["new"], "rules": [{"when": {"outcome": "busy"}, "to": "old"}]}"#,
                "rules[0].to: ",
            ),
            (
                r#"{"statuses": ["a", "b"],
                 "rules": [{"when": {"outcome": "busy"}, "from": ["b"], "to": "b"}]}"#,
                "rules[0].from: holds one that does not come before",
            ),
            (
                r#"{"statuses": ["a", "b"],
                 "rules": [{"when": {"outcome": "busy"}, "from": ["c"], "to": "b"}]}"#,
                "rules[0].from: holds one that is not",
            ),
            ("{", "leads: is not valid JSON"),
        ] {
            let said = Rules::parse(json).unwrap_err().to_string();
            assert!(said.starts_with(field), "{said} for {json}");
        }
    }
}
