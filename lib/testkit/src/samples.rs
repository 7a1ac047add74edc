//! What `events` has for a function: the first sample, jobs, and the parameters of an account.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use switchboard_providers::{ALL, Provider};

use crate::Failure;
use crate::function::PREFIX;

/// The token of the API's samples, with every right on the account.
const TOKEN: &str = "fake-token-with-every-right-000";

/// Parameters by their full names.
pub type Parameters = BTreeMap<String, String>;

/// The provider of a hook.
pub fn provider(name: &str) -> Option<&'static dyn Provider> {
    ALL.iter().copied().find(|provider| provider.name() == name)
}

/// The first sample in `events/<name>`.
pub fn sample_event(root: &Path, name: &str) -> Option<Value> {
    let files = fs::read_dir(root.join("events").join(name)).ok()?;
    let paths = files.flatten().map(|file| file.path());
    let first = paths.filter(|path| path.extension().is_some_and(|end| end == "json")).min()?;
    serde_json::from_slice(&fs::read(first).ok()?).ok()
}

/// The queue of an event whose job is about a call.
pub fn queue(event: &Value) -> Option<String> {
    let record = &event["Records"][0];
    let job: Value = serde_json::from_str(record["body"].as_str()?).ok()?;
    job.get("call")?;
    record["eventSourceARN"].as_str()?.rsplit('-').next().map(str::to_owned)
}

/// An SQS event of one job.
pub fn job_event(job: &str) -> Vec<u8> {
    let record = json!({
        "messageId": "059f36b4-87a3-44ab-83d2-000000000000", "receiptHandle": "bench", "body": job,
        "attributes": {
            "ApproximateReceiveCount": "1", "SentTimestamp": "1771579800000", "SenderId": "AIDASAMPLE",
            "ApproximateFirstReceiveTimestamp": "1771579800001",
        },
        "messageAttributes": {}, "eventSource": "aws:sqs", "awsRegion": "eu-central-1",
        "md5OfBody": "00000000000000000000000000000000",
        "eventSourceARN": "arn:aws:sqs:eu-central-1:123456789012:switchboard-bench",
    });
    json!({"Records": [record]}).to_string().into_bytes()
}

/// Every sample source, a CRM, a model and the token of the API's samples. With `makes_jobs`, calls are due at
/// once, no conversation is fetched, and transcripts are analysed.
pub fn parameters(root: &Path, crm: u16, makes_jobs: bool) -> Result<Parameters, Failure> {
    let mut parameters = BTreeMap::new();
    for provider in ALL.iter().map(|provider| provider.name()) {
        for file in fs::read_dir(root.join("events").join(provider))? {
            let file = file?;
            let name = file.file_name().into_string().unwrap_or_default();
            let Some(name) = name.strip_prefix("source.") else { continue };
            let name = name.strip_suffix(".json").unwrap_or(provider);
            let mut source: Value = serde_json::from_slice(&fs::read(file.path())?)?;
            if let Some(source) = source.as_object_mut().filter(|_| makes_jobs) {
                source.remove("conversations");
                source.insert("settle_seconds".into(), 0.into());
                source.insert("analyze".into(), json!({}));
            }
            parameters.insert(format!("{PREFIX}/sources/{provider}/{name}"), source.to_string());
        }
    }
    let here = format!("http://127.0.0.1:{crm}");
    let (url, base_url) = (format!("{here}/calls"), format!("{here}/v1"));
    let secrets = ["whsec_ZmFrZS1iZW5jaC1zaWduaW5nLXNlY3JldC0wMDAwMDA="];
    let rights = ["read", "personal", "deliver", "context", "directory", "dial", "sync"];
    for (name, value) in [
        ("models/default", json!({"api": "openai", "model": "bench", "base_url": base_url})),
        (
            "destinations/crm",
            json!({"url": url, "format": "canonical", "signing_secrets": secrets}),
        ),
        ("api/bench", json!({"tokens": [TOKEN], "rights": rights})),
    ] {
        parameters.insert(format!("{PREFIX}/{name}"), value.to_string());
    }
    Ok(parameters)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_carry_the_token_of_the_account_and_name_the_queues_of_workers() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let parameters = parameters(&root, 1, false).unwrap();
        assert!(parameters[&format!("{PREFIX}/api/bench")].contains(TOKEN));
        for name in ["calls", "directory", "sync", "telephony"] {
            let event = sample_event(&root, name).unwrap();
            assert_eq!(event["headers"]["authorization"], format!("Bearer {TOKEN}"), "{name}");
        }
        let queue = |name: &str| queue(&sample_event(&root, name).unwrap());
        for name in ["enrich", "deliver", "analyze"] {
            assert_eq!(queue(name).as_deref(), Some(name));
        }
        assert_eq!((queue("pull"), queue("sweep")), (None, None));
    }
}
