//! Metrics in CloudWatch's embedded metric format (EMF): one JSON object per line of standard output,
//! and no call to a metrics service.

use std::sync::OnceLock;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

/// The namespace of every metric.
const NAMESPACE: &str = "Switchboard";

/// What is the same for all metrics of a process.
pub(crate) struct Emitter {
    pub(crate) function: &'static str,
    pub(crate) stage: String,
    /// Writes one line, with its line break.
    pub(crate) write: fn(&[u8]),
}

static EMITTER: OnceLock<Emitter> = OnceLock::new();

/// Sets where the metrics of this process go. The first call counts; before it, metrics go nowhere.
pub(crate) fn start(emitter: Emitter) {
    let _ = EMITTER.set(emitter);
}

/// Counts things under the stage, and under each further dimension together with those before it: what
/// is counted by provider and reason is counted by provider as well. Zeros are left out.
pub fn count(counts: &[(&str, u64)], dimensions: &[(&str, &str)]) {
    let counts: Vec<_> = counts.iter().filter(|(_, count)| *count > 0).copied().collect();
    if !counts.is_empty() {
        gauge(&counts, dimensions);
    }
}

/// As [`count`], for values of which zero is one.
pub fn gauge(values: &[(&str, u64)], dimensions: &[(&str, &str)]) {
    let Some(Emitter { function, stage, write }) = EMITTER.get() else { return };
    let mut line = object(function, stage, values, dimensions).to_string();
    line.push('\n');
    write(line.as_bytes());
}

fn object(
    function: &str,
    stage: &str,
    values: &[(&str, u64)],
    dimensions: &[(&str, &str)],
) -> Value {
    let names: Vec<&str> =
        std::iter::once("stage").chain(dimensions.iter().map(|(name, _)| *name)).collect();
    let sets: Vec<&[&str]> = (1..=names.len()).map(|length| &names[..length]).collect();
    let metrics: Vec<Value> =
        values.iter().map(|(name, _)| json!({"Name": name, "Unit": "Count"})).collect();
    let mut line = Map::new();
    let directive = json!({"Namespace": NAMESPACE, "Dimensions": sets, "Metrics": metrics});
    let at = Timestamp::now().as_millisecond();
    line.insert("_aws".into(), json!({"Timestamp": at, "CloudWatchMetrics": [directive]}));
    line.insert("function".into(), function.into());
    line.insert("stage".into(), stage.into());
    line.extend(dimensions.iter().map(|(name, value)| ((*name).to_owned(), Value::from(*value))));
    line.extend(values.iter().map(|(name, value)| ((*name).to_owned(), Value::from(*value))));
    Value::Object(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_line_is_in_the_embedded_format() {
        let log = crate::telemetry::capture();
        let dimensions = [("provider", "twilio"), ("reason", "mismatch")];
        count(&[("received", 1), ("stored", 0)], &dimensions);
        let line: Value = serde_json::from_str(&log.lines()[0]).unwrap();
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
}
