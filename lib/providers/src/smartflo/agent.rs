//! The agent of a call, in whatever shape it comes.

use serde_json::{Map, Value};
use switchboard_domain::{Party, PartyKind, written};

use crate::json;

/// What a record says about agents.
pub(super) struct Agents {
    /// `answered_agent`.
    answered: Vec<Agent>,
    /// `answered_agent_number`.
    number: Vec<Agent>,
    /// `missed_agent`: every agent whose phone rang.
    missed: Vec<Agent>,
}

/// One agent as an entry names it.
#[derive(Default)]
struct Agent {
    name: Option<String>,
    /// A number on the telephone network.
    phone: Option<String>,
    /// Smartflo's own number of the seat (`0600000000101`).
    extension: Option<String>,
}

/// Who was on our side.
pub(super) struct Chosen {
    pub(super) name: Option<String>,
    pub(super) number: Option<String>,
}

impl Agents {
    /// Takes the fields that may be objects, lists, texts, or JSON in a text.
    pub(super) fn take(record: &mut Map<String, Value>) -> Self {
        let mut take = |name| record.remove(name).map(entries).unwrap_or_default();
        Self {
            answered: take("answered_agent"),
            number: take("answered_agent_number"),
            missed: take("missed_agent"),
        }
    }

    /// The agent and the number to know them by: `numbers` are what other fields say, a phone is
    /// better than a seat. Of several agents the last had the call. For an unanswered call
    /// it is the agent whose phone rang, if there was only one.
    ///
    /// A number that is the contact's is no agent's: of a call that rings the customer first,
    /// Smartflo says so.
    pub(super) fn chosen(
        self,
        numbers: [Option<String>; 2],
        contact: Option<&str>,
        not_answered: bool,
    ) -> Chosen {
        let Self { answered, number, missed } = self;
        let [agent_number, answer_agent_number] = numbers;
        let mut answered = answered.into_iter().next_back().unwrap_or_default();
        let mut number = number.into_iter().next_back().unwrap_or_default();
        let mut rung = Agent::default();
        if let [_] = missed.as_slice()
            && not_answered
        {
            rung = missed.into_iter().next().unwrap_or_default();
        }
        let number_of_agent = [
            agent_number,
            answered.phone.take(),
            number.phone.take(),
            answer_agent_number,
            number.extension.take(),
            answered.extension.take(),
            rung.phone.take(),
            rung.extension.take(),
        ]
        .into_iter()
        .flatten()
        .find(|number| !contact.is_some_and(|contact| is_same(number, contact)));
        Chosen { name: answered.name.or(number.name).or(rung.name), number: number_of_agent }
    }
}

/// The entries of a field of any shape.
fn entries(value: Value) -> Vec<Agent> {
    let value = match value {
        Value::String(text) => match serde_json::from_str(&text) {
            Ok(inner @ (Value::Object(_) | Value::Array(_))) => inner,
            _ => Value::String(text),
        },
        other => other,
    };
    let entries = match value {
        Value::Array(entries) => entries,
        other => vec![other],
    };
    entries.iter().filter_map(agent).collect()
}

fn agent(entry: &Value) -> Option<Agent> {
    let Value::Object(fields) = entry else { return bare(&text(entry)?) };
    let get = |name: &str| fields.get(name).and_then(text);
    let phone = get("agent_number").or_else(|| get("follow_me_number"));
    let agent = Agent { name: get("name"), phone, extension: get("number") };
    let says_something = [&agent.name, &agent.phone, &agent.extension].iter().any(|f| f.is_some());
    says_something.then_some(agent)
}

/// An agent of whom there is only a text: the seat's number, or a name. Broken JSON is neither.
fn bare(text: &str) -> Option<Agent> {
    if text.starts_with(['{', '[']) {
        return None;
    }
    let text = text.strip_prefix("Extension-").unwrap_or(text);
    match Party::read(text)?.kind {
        PartyKind::Unparseable => Some(Agent { name: Some(text.to_owned()), ..Agent::default() }),
        _ => Some(Agent { extension: Some(text.to_owned()), ..Agent::default() }),
    }
}

/// A text or a number, if there is something in it that may be a name or a number.
fn text(value: &Value) -> Option<String> {
    let text = match value {
        Value::String(text) => present(text)?.to_owned(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    (text.len() <= 256).then_some(text)
}

/// Whether two numbers are the same but for how their country is written: Indian numbers have ten
/// digits.
fn is_same(one: &str, other: &str) -> bool {
    let last = |text: &str| {
        let text = written::number(text);
        let digits = text.chars().rev().filter(char::is_ascii_digit);
        digits.take(10).collect::<String>()
    };
    last(one) == last(other)
}

/// Text with something in it: not blank, not `null`, not the name of a variable that was not filled.
pub(super) fn present(text: &str) -> Option<&str> {
    let text = json::present(text)?;
    let is_name = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    };
    let unfilled =
        text.strip_prefix('$').is_some_and(|name| is_name(name.strip_suffix('$').unwrap_or(name)));
    (!unfilled && !text.eq_ignore_ascii_case("null")).then_some(text)
}
