//! The template engine as this format has it: JSON alone comes out, nothing can be read but the call,
//! and nothing can run for long.

use std::io;

use jiff::fmt::strtime;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use minijinja::value::ValueKind;
use minijinja::{
    Environment, Error, ErrorKind, Output, State, UndefinedBehavior, Value, filters, tests,
};
use serde_json::Value as Json;

use super::document::Known;

/// Instructions of one rendering.
const FUEL: u64 = 100_000;
/// Loops within loops, and the like.
const DEEPEST: usize = 50;
/// The largest body, bytes: several times a long transcript.
pub const LARGEST_BODY: usize = 4 * 1024 * 1024;

/// Every filter there is.
pub const FILTERS: [&str; 20] = [
    "abs", "cut", "default", "digits", "first", "hhmmss", "int", "join", "last", "length", "local",
    "lower", "mmss", "replace", "round", "string", "title", "tojson", "trim", "upper",
];
/// Every test there is.
pub const TESTS: [&str; 9] = [
    "defined",
    "divisibleby",
    "endingwith",
    "even",
    "none",
    "number",
    "odd",
    "startingwith",
    "string",
];

/// The environment in which templates run.
pub fn environment<'source>() -> Environment<'source> {
    let mut environment = Environment::empty();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_formatter(write_json);
    environment.set_fuel(Some(FUEL));
    environment.set_recursion_limit(DEEPEST);

    environment.add_filter("abs", filters::abs);
    environment.add_filter("cut", cut);
    environment.add_filter("default", default);
    environment.add_filter("digits", digits);
    environment.add_filter("first", filters::first);
    environment.add_filter("hhmmss", hhmmss);
    environment.add_filter("int", filters::int);
    environment.add_filter("join", filters::join);
    environment.add_filter("last", filters::last);
    environment.add_filter("length", filters::length);
    environment.add_filter("local", local);
    environment.add_filter("lower", filters::lower);
    environment.add_filter("mmss", mmss);
    environment.add_filter("replace", filters::replace);
    environment.add_filter("round", filters::round);
    environment.add_filter("string", string);
    environment.add_filter("title", filters::title);
    // Everything is written as JSON anyway: who is used to asking for it may.
    environment.add_filter("tojson", |value: &Value| value.clone());
    environment.add_filter("trim", filters::trim);
    environment.add_filter("upper", filters::upper);

    environment.add_test("defined", tests::is_defined);
    environment.add_test("divisibleby", tests::is_divisibleby);
    environment.add_test("endingwith", tests::is_endingwith);
    environment.add_test("even", tests::is_even);
    environment.add_test("none", |value: &Value| is_nothing(value));
    environment.add_test("number", tests::is_number);
    environment.add_test("odd", tests::is_odd);
    environment.add_test("startingwith", tests::is_startingwith);
    environment.add_test("string", tests::is_string);
    environment
}

/// Renders a call. What comes out may still be no JSON.
pub fn render(source: &str, call: Value) -> Result<Vec<u8>, Error> {
    let environment = environment();
    let template = environment.template_from_str(source)?;
    let mut body = Body(Vec::new());
    template.render_captured_to(call, &mut body)?;
    Ok(body.0)
}

/// A body that is refused before it is too large to be held.
struct Body(Vec<u8>);

impl io::Write for Body {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > LARGEST_BODY {
            return Err(io::Error::other("the body is larger than 4 MiB"));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes a value as JSON: a text with its quotation marks, and nothing as null.
fn write_json(out: &mut Output<'_>, _: &mut State<'_, '_>, value: &Value) -> Result<(), Error> {
    let text = json(value)?.to_string();
    out.write_str(&text).map_err(|_| fault("the body cannot be written"))
}

fn json(value: &Value) -> Result<Json, Error> {
    if let Some(known) = value.downcast_object_ref::<Known>() {
        let fields = known.fields().iter();
        return match known.is_there() {
            true => fields.map(|(name, value)| Ok((name.clone(), json(value)?))).collect(),
            false => Ok(Json::Null),
        };
    }
    Ok(match value.kind() {
        ValueKind::None => Json::Null,
        ValueKind::Bool => Json::Bool(value.is_true()),
        ValueKind::Number => number(value),
        ValueKind::String => Json::from(value.as_str().unwrap_or_default()),
        ValueKind::Seq | ValueKind::Iterable => {
            let items = value.try_iter()?.map(|item| json(&item));
            Json::Array(items.collect::<Result<_, _>>()?)
        }
        ValueKind::Map => {
            let entry = |name: Value| Ok((name.to_string(), json(&value.get_item(&name)?)?));
            value.try_iter()?.map(entry).collect::<Result<_, Error>>()?
        }
        ValueKind::Undefined => {
            let words =
                "there is nothing to write: an if without an else, or a name that is not set";
            return Err(Error::new(ErrorKind::UndefinedError, words));
        }
        // It is an error, and says so itself.
        ValueKind::Invalid => {
            return Err(value.try_iter().err().unwrap_or_else(|| fault("a value is no value")));
        }
        kind => return Err(fault(format!("a {kind} cannot be written as JSON"))),
    })
}

/// What is no number in JSON (infinity) is null.
fn number(value: &Value) -> Json {
    match i64::try_from(value.clone()) {
        Ok(whole) if value.is_integer() => Json::from(whole),
        _ => f64::try_from(value.clone()).map_or(Json::Null, Json::from),
    }
}

fn fault(words: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidOperation, words)
}

/// Null, or an object of the document that a call has not.
fn is_nothing(value: &Value) -> bool {
    value.is_none() || value.downcast_object_ref::<Known>().is_some_and(|known| !known.is_there())
}

/// Another value in the place of nothing.
fn default(value: &Value, other: Value) -> Value {
    if value.is_undefined() || is_nothing(value) { other } else { value.clone() }
}

/// Makes a text of a text; of nothing, nothing.
fn of_text(
    value: &Value,
    make: impl FnOnce(&str) -> Result<String, Error>,
) -> Result<Value, Error> {
    if is_nothing(value) {
        return Ok(Value::from(()));
    }
    let text = value.as_str().ok_or_else(|| fault(format!("a {} is no text", value.kind())))?;
    make(text).map(Value::from)
}

/// The digits of a text: of a number in E.164 all but its plus sign.
fn digits(value: &Value) -> Result<Value, Error> {
    of_text(value, |text| Ok(text.chars().filter(char::is_ascii_digit).collect()))
}

/// The first so many characters.
fn cut(value: &Value, most: usize) -> Result<Value, Error> {
    of_text(value, |text| Ok(text.chars().take(most).collect()))
}

/// As a text.
fn string(value: &Value) -> Value {
    if is_nothing(value) { Value::from(()) } else { Value::from(value.to_string()) }
}

/// A time in a zone, in ISO 8601 with its offset or as a format says.
fn local(value: &Value, zone: &str, format: Option<&str>) -> Result<Value, Error> {
    of_text(value, |text| {
        let at: Timestamp = text.parse().map_err(|_| fault("this is no time"))?;
        let zone = TimeZone::get(zone).map_err(|_| fault("there is no time zone of that name"))?;
        let local = Zoned::new(at, zone);
        let format = format.unwrap_or("%Y-%m-%dT%H:%M:%S%:z");
        strtime::format(format, &local).map_err(|_| fault("this is no format of a time"))
    })
}

/// Seconds as minutes and seconds: `125:04`.
fn mmss(value: &Value) -> Result<Value, Error> {
    of_seconds(value, |seconds| format!("{:02}:{:02}", seconds / 60, seconds % 60))
}

/// Seconds as hours, minutes and seconds: `02:05:04`.
fn hhmmss(value: &Value) -> Result<Value, Error> {
    of_seconds(value, |seconds| {
        format!("{:02}:{:02}:{:02}", seconds / 3_600, seconds / 60 % 60, seconds % 60)
    })
}

fn of_seconds(value: &Value, make: impl FnOnce(u32) -> String) -> Result<Value, Error> {
    if is_nothing(value) {
        return Ok(Value::from(()));
    }
    let seconds = value.as_i64().and_then(|seconds| u32::try_from(seconds).ok());
    seconds.map(make).map(Value::from).ok_or_else(|| fault("this is no whole number of seconds"))
}
