//! Log lines and metrics: one JSON object per line on standard output.
//!
//! A field's value must be `Display`. Personal data and secrets are not, so that the compiler keeps
//! them out. Metrics are CloudWatch's embedded metric format: no call to a metrics service.

use std::fmt::Display;
use std::io::Write as _;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use serde::Serialize;
use serde::ser::{SerializeMap as _, Serializer as _};
use serde_json::Serializer;
use serde_json::ser::{CompactFormatter, Compound};

/// The namespace of every metric.
const NAMESPACE: &str = "Switchboard";
/// Most lines have no more bytes.
const LINE: usize = 512;

/// How much a line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// For looking closely.
    Debug,
    /// What happened.
    Info,
    /// Something is wrong and will be tried again.
    Warn,
    /// Something is wrong and needs a person.
    Error,
}

impl std::str::FromStr for Level {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        match text.to_ascii_lowercase().as_str() {
            "debug" => Ok(Self::Debug),
            "info" => Ok(Self::Info),
            "warn" => Ok(Self::Warn),
            "error" => Ok(Self::Error),
            _ => Err(()),
        }
    }
}

/// Where a function says what it does.
#[derive(Clone)]
pub struct Telemetry {
    function: &'static str,
    stage: String,
    level: Level,
    sink: Sink,
}

#[derive(Clone)]
enum Sink {
    Stdout,
    Memory(Arc<Mutex<Vec<String>>>),
    Nowhere,
}

/// A field of a log line.
pub type Field<'a> = (&'a str, &'a dyn Display);

impl Telemetry {
    /// To standard output, which Lambda hands to CloudWatch.
    pub fn stdout(function: &'static str, stage: String, level: Level) -> Self {
        Self { function, stage, level, sink: Sink::Stdout }
    }

    /// To memory, for tests that read what was said.
    pub fn memory(function: &'static str) -> Self {
        Self {
            function,
            stage: "test".into(),
            level: Level::Debug,
            sink: Sink::Memory(Arc::default()),
        }
    }

    /// Nowhere, for simulations of many calls.
    pub fn silent() -> Self {
        let stage = "test".into();
        Self { function: "test", stage, level: Level::Error, sink: Sink::Nowhere }
    }

    /// The lines said so far, if they are kept.
    pub fn lines(&self) -> Vec<String> {
        match &self.sink {
            Sink::Stdout | Sink::Nowhere => Vec::new(),
            Sink::Memory(lines) => lines.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    /// What happened.
    pub fn info(&self, message: &str, fields: &[Field<'_>]) {
        self.log(Level::Info, message, fields);
    }

    /// Something is wrong and will be tried again.
    pub fn warn(&self, message: &str, fields: &[Field<'_>]) {
        self.log(Level::Warn, message, fields);
    }

    /// Something is wrong and needs a person.
    pub fn error(&self, message: &str, fields: &[Field<'_>]) {
        self.log(Level::Error, message, fields);
    }

    /// A line of some level.
    pub fn log(&self, level: Level, message: &str, fields: &[Field<'_>]) {
        if level < self.level {
            return;
        }
        let level = format!("{level:?}").to_ascii_uppercase();
        self.write(|line| {
            line.serialize_entry("time", &Shown(&Timestamp::now()))?;
            line.serialize_entry("level", &level)?;
            line.serialize_entry("message", message)?;
            line.serialize_entry("function", self.function)?;
            fields.iter().try_for_each(|(name, value)| line.serialize_entry(name, &Shown(value)))
        });
    }

    /// Counts things under the stage, and under each further dimension together with those before
    /// it: what is counted by provider and reason is counted by provider too.
    pub fn count(&self, counts: &[(&str, u64)], dimensions: &[(&str, &str)]) {
        let counts: Vec<_> = counts.iter().filter(|(_, count)| *count > 0).copied().collect();
        if !counts.is_empty() {
            self.measured(&counts, dimensions);
        }
    }

    /// As [`Telemetry::count`], where zero says something too.
    pub fn measured(&self, counts: &[(&str, u64)], dimensions: &[(&str, &str)]) {
        let names: Vec<&str> =
            std::iter::once("stage").chain(dimensions.iter().map(|(name, _)| *name)).collect();
        let directive = Directive {
            timestamp: Timestamp::now().as_millisecond(),
            metrics: [Metrics {
                namespace: NAMESPACE,
                dimensions: (1..=names.len()).map(|length| &names[..length]).collect(),
                metrics: counts.iter().map(|(name, _)| Metric { name, unit: "Count" }).collect(),
            }],
        };
        self.write(|line| {
            line.serialize_entry("_aws", &directive)?;
            line.serialize_entry("function", self.function)?;
            line.serialize_entry("stage", &self.stage)?;
            dimensions.iter().try_for_each(|(name, value)| line.serialize_entry(name, value))?;
            counts.iter().try_for_each(|(name, count)| line.serialize_entry(name, count))
        });
    }

    /// Writes one object on a line of its own. It is written as it is made: hooks say two such lines
    /// for each webhook.
    fn write(&self, entries: impl FnOnce(&mut Line<'_>) -> serde_json::Result<()>) {
        if matches!(self.sink, Sink::Nowhere) {
            return;
        }
        let mut bytes = Vec::with_capacity(LINE);
        let mut serializer = Serializer::new(&mut bytes);
        let made = serializer.serialize_map(None).and_then(|mut line| {
            entries(&mut line)?;
            line.end()
        });
        // Names and texts, of which nothing can fail to be written to memory.
        if made.is_err() {
            return;
        }
        match &self.sink {
            // One write per line; a closed pipe is no reason to fail a call.
            Sink::Stdout => {
                bytes.push(b'\n');
                let _ = std::io::stdout().write_all(&bytes);
            }
            Sink::Memory(lines) => {
                let line = String::from_utf8_lossy(&bytes).into_owned();
                lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
            Sink::Nowhere => {}
        }
    }
}

/// The object of one line, as it is written.
type Line<'a> = Compound<'a, &'a mut Vec<u8>, CompactFormatter>;

/// A value as its text.
struct Shown<'a>(&'a dyn Display);

impl Serialize for Shown<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self.0)
    }
}

/// What makes a line one of metrics. The names are the format's.
#[derive(Serialize)]
struct Directive<'a> {
    #[serde(rename = "Timestamp")]
    timestamp: i64,
    #[serde(rename = "CloudWatchMetrics")]
    metrics: [Metrics<'a>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Metrics<'a> {
    namespace: &'static str,
    dimensions: Vec<&'a [&'a str]>,
    metrics: Vec<Metric<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Metric<'a> {
    name: &'a str,
    unit: &'static str,
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_metric_line_is_in_the_embedded_format() {
        let telemetry = Telemetry::memory("twilio");
        let dimensions = [("provider", "twilio"), ("reason", "mismatch")];
        telemetry.count(&[("received", 1), ("stored", 0)], &dimensions);
        let line: Value = serde_json::from_str(&telemetry.lines()[0]).unwrap();
        let directive = &line["_aws"]["CloudWatchMetrics"][0];
        assert_eq!(directive["Namespace"], "Switchboard");
        assert_eq!(
            directive["Dimensions"],
            json!([["stage"], ["stage", "provider"], ["stage", "provider", "reason"]])
        );
        assert_eq!(directive["Metrics"], json!([{"Name": "received", "Unit": "Count"}]));
        assert_eq!((&line["received"], &line["provider"]), (&json!(1), &json!("twilio")));
        assert!(line["_aws"]["Timestamp"].as_i64().is_some());
    }

    #[test]
    fn quiet_levels_say_nothing() {
        let mut telemetry = Telemetry::memory("twilio");
        telemetry.level = Level::Warn;
        telemetry.info("not said", &[]);
        telemetry.warn("said", &[("attempt", &3)]);
        assert_eq!(telemetry.lines().len(), 1);
        assert!(telemetry.lines()[0].contains(r#""attempt":"3""#));
    }
}
