//! Checks a model's response: its form, its criteria, and its quotes against the transcript.
//!
//! An instruction that a model heard on the phone gets no further than this: words of a fixed list,
//! numbers within their scale, verbatim quotes, and plain text without a link.

use jiff::civil::Date;
use jiff::{Timestamp, ToSpan as _};
use serde_json::Value;
use switchboard_domain::analysis::{Conclusion, Evidence, Owner, Score, Sentiment, Task, Tokens};
use switchboard_domain::{Analysis, Digest, Personal};

use crate::clean::clean;
use crate::criteria::RequestedScore;
use crate::fields::{Fault, Faults, Fields, whole};
use crate::prompt::AnalysisRequest;
use crate::schema::{LONGEST_QUOTE, LONGEST_SUMMARY, LONGEST_TITLE, MOST_QUOTES, MOST_TASKS};

/// A quote of fewer characters shows nothing, unless the whole turn is no longer.
const SHORTEST_QUOTE: usize = 3;
/// A task may be due so many days after the call.
const FURTHEST_DUE: i32 = 366;

/// A response that passed the checks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    summary: Personal,
    outcome: Conclusion,
    sentiment: Sentiment,
    scorecard: Vec<Score>,
    tasks: Vec<Task>,
}

impl Checked {
    /// The analysis, with how it was made.
    pub fn by(
        self,
        model: &str,
        tokens: Tokens,
        basis: Digest,
        request: &AnalysisRequest<'_>,
        made_at: Timestamp,
    ) -> Analysis {
        let Self { summary, outcome, sentiment, scorecard, tasks } = self;
        let (model, turns) = (model.to_owned(), request.cut.counted());
        Analysis {
            summary,
            outcome,
            sentiment,
            scorecard,
            tasks,
            turns,
            model,
            tokens,
            basis,
            made_at,
        }
    }
}

/// Checks a response. `Err`: everything that is wrong with it.
pub fn check(response: &Value, request: &AnalysisRequest<'_>) -> Result<Checked, Vec<Fault>> {
    let mut faults = Faults::default();
    let Some(mut fields) = faults.object(response, "the answer") else { return Err(faults.0) };
    let summary = fields.text("summary", LONGEST_SUMMARY, &mut faults);
    let outcome = fields.word::<Conclusion>("outcome", &mut faults);
    let sentiment = fields.word::<Sentiment>("sentiment", &mut faults);
    let scorecard = match request.criteria.is_empty() {
        true => Vec::new(),
        false => {
            let list = fields.list("scorecard", request.criteria.len(), &mut faults);
            scorecard(list, request, &mut faults)
        }
    };
    let tasks = match request.tasks {
        true => {
            let list = fields.list("tasks", MOST_TASKS, &mut faults);
            let task = |(n, one): (usize, &Value)| task(n, one, request.day, &mut faults);
            list.iter().enumerate().filter_map(task).collect()
        }
        false => Vec::new(),
    };
    fields.end(&mut faults);
    match (summary, outcome, sentiment) {
        (Some(summary), Some(outcome), Some(sentiment)) if faults.0.is_empty() => {
            Ok(Checked { summary, outcome, sentiment, scorecard, tasks })
        }
        _ => Err(faults.0),
    }
}

/// One score for each criterion, in their order.
fn scorecard(list: &[Value], request: &AnalysisRequest<'_>, faults: &mut Faults) -> Vec<Score> {
    let mut scores: Vec<Option<Score>> = vec![None; request.criteria.len()];
    for (n, entry) in list.iter().enumerate() {
        let path = format!("scorecard[{n}]");
        let Some(mut fields) = faults.object(entry, &path) else { continue };
        let place =
            |name: &str| request.criteria.iter().position(|criterion| criterion.name == name);
        let name = fields.take("criterion", faults);
        let Some(at) = name.and_then(|name| place(name.as_str()?)) else {
            faults.say(&path, "criterion", "is none of the requested ones");
            continue;
        };
        let Some(criterion) = request.criteria.get(at) else { continue };
        let score = score(&path, fields, criterion, request, faults);
        match scores.get_mut(at) {
            Some(slot) if slot.is_none() => *slot = score,
            _ => faults.say(&path, "criterion", "is there twice"),
        }
    }
    let missing = scores.iter().filter(|score| score.is_none()).count();
    if missing > 0 && faults.0.is_empty() {
        faults.0.push(Fault(format!("scorecard: lacks {missing} of the requested criteria")));
    }
    scores.into_iter().flatten().collect()
}

fn score(
    path: &str,
    mut fields: Fields<'_>,
    criterion: &RequestedScore,
    request: &AnalysisRequest<'_>,
    faults: &mut Faults,
) -> Option<Score> {
    let before = faults.0.len();
    let score = match fields.take("score", faults)? {
        Value::Null => None,
        other => match whole(other, criterion.scale) {
            Some(score) => Some(score),
            None => {
                let expected =
                    format!("must be a whole number from 0 to {}, or null", criterion.scale);
                faults.say(path, "score", &expected);
                None
            }
        },
    };
    let confidence = fields.take("confidence", faults).and_then(|value| whole(value, 100));
    if confidence.is_none() {
        faults.say(path, "confidence", "must be a whole number from 0 to 100");
    }
    let mut evidence = Vec::new();
    for (n, one) in fields.list("evidence", MOST_QUOTES, faults).iter().enumerate() {
        evidence.extend(quote(&format!("{path}.evidence[{n}]"), one, request, faults));
    }
    fields.end(faults);
    if score.is_some_and(|score| score > 0) && evidence.is_empty() && faults.0.len() == before {
        faults.say(path, "evidence", "is empty: a score above 0 needs a quote");
    }
    Some(Score {
        criterion: criterion.name.clone(),
        asked: criterion.description.clone(),
        score,
        scale: criterion.scale,
        confidence: confidence.unwrap_or_default(),
        evidence,
    })
}

/// A verbatim quote of the turn that it names.
fn quote(
    path: &str,
    value: &Value,
    request: &AnalysisRequest<'_>,
    faults: &mut Faults,
) -> Option<Evidence> {
    let mut fields = faults.object(value, path)?;
    let number = fields.take("turn", faults).and_then(|value| whole(value, u32::MAX));
    let quote = fields.text("quote", LONGEST_QUOTE, faults);
    fields.end(faults);
    let Some(turn) = number.and_then(|number| request.cut.turn(number)) else {
        faults.say(path, "turn", "is not the number of a turn that was shown");
        return None;
    };
    let (said, quote) = (clean(turn.text), quote?);
    if !said.contains(quote.expose()) {
        faults.say(path, "quote", "is not in that turn, word for word");
        return None;
    }
    if quote.expose().chars().count() < SHORTEST_QUOTE && said != quote.expose() {
        faults.say(path, "quote", "is too short to show anything");
        return None;
    }
    Some(Evidence { turn: turn.number, quote })
}

fn task(n: usize, value: &Value, day: Date, faults: &mut Faults) -> Option<Task> {
    let path = format!("tasks[{n}]");
    let mut fields = faults.object(value, &path)?;
    let title = fields.text("title", LONGEST_TITLE, faults);
    let due = match fields.take("due", faults) {
        None | Some(Value::Null) => None,
        Some(value) => {
            let due = value.as_str().and_then(read_day);
            let last = day.checked_add(FURTHEST_DUE.days()).unwrap_or(Date::MAX);
            match due {
                None => faults.say(&path, "due", "must be a day as YYYY-MM-DD, or null"),
                Some(due) if due < day => faults.say(&path, "due", "is before the call"),
                Some(due) if due > last => {
                    faults.say(&path, "due", "is more than a year after the call");
                }
                Some(_) => {}
            }
            due
        }
    };
    let owner = match fields.take("owner", faults) {
        None | Some(Value::Null) => None,
        Some(value) => {
            let owner: Option<Owner> = value.as_str().and_then(|word| word.parse().ok());
            if owner.is_none() {
                faults.say(&path, "owner", "must be employee, contact or null");
            }
            owner
        }
    };
    fields.end(faults);
    Some(Task { title: title?, due, owner })
}

/// A day, and nothing beside it.
fn read_day(text: &str) -> Option<Date> {
    let is_plain = text.len() == 10 && text.bytes().all(|b| b.is_ascii_digit() || b == b'-');
    text.parse().ok().filter(|_| is_plain)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;
    use switchboard_domain::analysis::{Criterion, Settings};
    use switchboard_domain::{Call, Facts};

    use super::*;

    const SAID: &str = "agent: Hello, this is Fake Ltd.\nuser: OK\nagent: Until Monday then.";

    fn settings() -> Settings {
        let criterion = |name: &str| -> Criterion {
            serde_json::from_value(json!({"name": name, "description": "Is kind."})).unwrap()
        };
        Settings { criteria: vec![criterion("one"), criterion("two")], ..Settings::default() }
    }

    fn request() -> AnalysisRequest<'static> {
        let call = Call { outcome: None, facts: Facts::default() };
        let day = "2026-02-20".parse().unwrap();
        AnalysisRequest::about(&call, SAID, &settings(), day, 9_000).unwrap()
    }

    fn sound() -> Value {
        json!({
            "summary": "A fake summary.", "outcome": "follow_up", "sentiment": "neutral",
            "scorecard": [
                {"criterion": "two", "score": 0, "confidence": 50, "evidence": []},
                {"criterion": "one", "score": 5, "confidence": 100, "evidence": [
                    {"turn": 1, "quote": "this is Fake"}, {"turn": 2, "quote": "OK"},
                ]},
            ],
            "tasks": [{"title": "Call back", "due": "2026-02-20", "owner": "contact"}],
        })
    }

    #[test]
    fn scores_are_in_the_order_of_the_criteria() {
        let checked = check(&sound(), &request()).unwrap();
        let names: Vec<&str> =
            checked.scorecard.iter().map(|score| score.criterion.as_str()).collect();
        assert_eq!(names, ["one", "two"]);
        let tokens = Tokens { input: 7, output: 3 };
        let made = checked.by("m", tokens, Digest::of(&[]), &request(), Timestamp::UNIX_EPOCH);
        assert_eq!((made.model.as_str(), made.tokens, made.turns.total), ("m", tokens, 3));
        assert_eq!(made.tasks[0].due, Some("2026-02-20".parse().unwrap()));
    }

    #[test]
    fn all_faults_are_listed_at_once_and_none_with_its_text() {
        let mut response = sound();
        response["summary"] = json!("see https://secret.example");
        response["secret field"] = json!(1);
        response["outcome"] = json!("secret word");
        response["scorecard"][0]["criterion"] = json!("secret criterion");
        response["scorecard"][1]["evidence"][0]["quote"] = json!("secret quote");
        response["tasks"][0]["due"] = json!("secret day");
        let faults = check(&response, &request()).unwrap_err();
        let text: Vec<&str> = faults.iter().map(|Fault(fault)| fault.as_str()).collect();
        assert_eq!(
            text,
            [
                "summary: holds a link or markup",
                "outcome: must be one of agreed, follow_up, declined, resolved, unresolved, unclear",
                "scorecard[0].criterion: is none of the requested ones",
                "scorecard[1].evidence[0].quote: is not in that turn, word for word",
                "tasks[0].due: must be a day as YYYY-MM-DD, or null",
                "the answer: has 1 fields that were not requested",
            ]
        );
    }

    /// Puts something at any place in a value, found step by step.
    fn put_at(value: &mut Value, path: &[prop::sample::Index], put: Value) {
        let step = path.split_first();
        match (value, step) {
            (Value::Array(items), Some((first, rest))) if !items.is_empty() => {
                let n = first.index(items.len());
                put_at(&mut items[n], rest, put);
            }
            (Value::Object(map), Some((first, rest))) if !map.is_empty() => {
                let n = first.index(map.len());
                put_at(map.values_mut().nth(n).unwrap(), rest, put);
            }
            (value, _) => *value = put,
        }
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            (-3i64..130).prop_map(Value::from),
            (0u32..12).prop_map(|n| json!(f64::from(n) / 2.0)),
            "[a-zA-Z ]{0,12}".prop_map(Value::from),
            prop::sample::select(vec!["OK", "Hello, this", "one", "two", "agreed", "2026-03-01"])
                .prop_map(Value::from),
        ];
        leaf.prop_recursive(2, 8, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-z]{1,6}", inner, 0..3)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn whatever_is_answered_is_refused_or_holds(
            path in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
            put in any_json(),
        ) {
            let request = request();
            let mut response = sound();
            put_at(&mut response, &path, put);
            let checked = match check(&response, &request) {
                Ok(checked) => checked,
                Err(faults) => {
                    prop_assert!(!faults.is_empty());
                    return Ok(());
                }
            };
            for (score, criterion) in checked.scorecard.iter().zip(&request.criteria) {
                prop_assert_eq!(&score.criterion, &criterion.name);
                prop_assert!(score.score.is_none_or(|score| score <= criterion.scale));
                prop_assert!(score.score.is_none_or(|n| n == 0) || !score.evidence.is_empty());
                for one in &score.evidence {
                    let turn = request.cut.turn(one.turn).unwrap();
                    prop_assert!(clean(turn.text).contains(one.quote.expose()));
                }
            }
            prop_assert_eq!(checked.scorecard.len(), request.criteria.len());
            // What is taken is also right by the schema that the model was given.
            let (mut schemas, mut compiler) = (boon::Schemas::new(), boon::Compiler::new());
            compiler.add_resource("answer.json", request.prompt(&[]).schema).unwrap();
            let schema = compiler.compile("answer.json", &mut schemas).unwrap();
            prop_assert!(schemas.validate(&response, schema).is_ok(), "{}", response);
        }
    }
}
