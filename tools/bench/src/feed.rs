//! What a program is given: webhooks for a hook, jobs about calls for a worker, anything else as it stands
//! in `events/<name>`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use switchboard_providers::{ALL, Provider};

use crate::Failure;
use crate::aws::Account;
use crate::parameters::Parameters;
use crate::programs::PARAMETER_PREFIX;
use crate::sample::Sample;

/// What the samples of the API's functions bring. It opens nothing but the stand.
const TOKEN: &str = "fake-token-with-every-right-000";

/// Where a program's events come from.
pub enum Feed {
    /// Webhooks, each about a new call.
    Hook(Box<Sample>),
    /// Jobs of a queue, each about a call that is in the account.
    Jobs {
        /// The account in which the jobs are due.
        account: Box<Account>,
        /// The messages.
        messages: Vec<String>,
    },
    /// The same event each time.
    Plain(Vec<u8>),
}

impl Feed {
    /// The n-th invocation's event; `None` when there are no more.
    pub fn event(&self, n: u64) -> Option<Vec<u8>> {
        match self {
            Self::Hook(sample) => Some(sample.new_call(n)),
            Self::Plain(event) => Some(event.clone()),
            Self::Jobs { messages, .. } => {
                let at = usize::try_from(n).ok()?;
                Some(batch(messages.get(at..=at)?))
            }
        }
    }

    /// How many different events there are.
    pub fn len(&self) -> u64 {
        match self {
            Self::Jobs { messages, .. } => messages.len() as u64,
            _ => u64::MAX,
        }
    }

    /// What is in the account when the program starts.
    pub fn account(&self, root: &Path, crm: u16) -> Result<Account, Failure> {
        match self {
            Self::Jobs { account, .. } => Ok((**account).clone()),
            _ => Ok(Account { parameters: parameters(root, crm, false)?, ..Account::default() }),
        }
    }

    /// The stage that the program is told. Only on that one may a CRM be on this machine.
    pub fn stage(&self) -> &'static str {
        if matches!(self, Self::Jobs { .. }) { "local" } else { "bench" }
    }
}

/// The provider whose hook a function is.
pub fn provider(name: &str) -> Option<&'static dyn Provider> {
    ALL.iter().copied().find(|provider| provider.name() == name)
}

/// The queue whose jobs about calls a function takes: its samples say so. A job about no call is of
/// nobody's making here, and is given as it stands.
pub fn queue(root: &Path, name: &str) -> Option<String> {
    let event = sample_event(root, name)?;
    let record = event.get("Records")?.get(0)?;
    (record["eventSource"] == "aws:sqs").then_some(())?;
    let job: Value = serde_json::from_str(record["body"].as_str()?).ok()?;
    job.get("call")?;
    let arn = record["eventSourceARN"].as_str()?;
    arn.rsplit('-').next().map(str::to_owned)
}

/// The first sample in `events/<name>`.
pub fn sample_event(root: &Path, name: &str) -> Option<Value> {
    let folder = fs::read_dir(root.join("events").join(name)).ok()?;
    let mut paths: Vec<_> = folder.flatten().map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    paths.sort();
    serde_json::from_slice(&fs::read(paths.first()?).ok()?).ok()
}

/// An SQS event of these messages.
pub fn batch(messages: &[String]) -> Vec<u8> {
    let record = |(n, body): (usize, &String)| {
        json!({
            "messageId": format!("059f36b4-87a3-44ab-83d2-{n:012}"),
            "receiptHandle": "bench",
            "body": body,
            "attributes": {
                "ApproximateReceiveCount": "1",
                "SentTimestamp": "1771579800000",
                "SenderId": "AIDASAMPLE",
                "ApproximateFirstReceiveTimestamp": "1771579800001",
            },
            "messageAttributes": {},
            "md5OfBody": format!("{:x}", md5::compute(body)),
            "eventSource": "aws:sqs",
            "eventSourceARN": "arn:aws:sqs:eu-central-1:123456789012:switchboard-bench",
            "awsRegion": "eu-central-1",
        })
    };
    let records: Vec<Value> = messages.iter().enumerate().map(record).collect();
    json!({ "Records": records }).to_string().into_bytes()
}

/// Every sample source, a CRM, a model, and the token that the API's samples bring. Where jobs are to
/// come of the calls, they are due at once, no conversation is looked for, and transcripts are analysed.
pub fn parameters(root: &Path, crm: u16, at_once: bool) -> Result<Parameters, Failure> {
    let mut parameters = BTreeMap::new();
    for provider in ALL {
        let folder = root.join("events").join(provider.name());
        for file in fs::read_dir(folder)? {
            let path = file?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let Some(rest) = name.strip_prefix("source.") else { continue };
            let name = rest.strip_suffix("json").unwrap_or(rest).trim_end_matches('.');
            let name = if name.is_empty() { provider.name() } else { name };
            let mut source: Value = serde_json::from_slice(&fs::read(&path)?)?;
            if let Some(source) = source.as_object_mut().filter(|_| at_once) {
                source.remove("conversations");
                source.insert("settle_seconds".into(), 0.into());
                source.insert("analyze".into(), json!({}));
            }
            let full = format!("{PARAMETER_PREFIX}/sources/{}/{name}", provider.name());
            parameters.insert(full, source.to_string());
        }
    }
    let model = json!({
        "api": "openai", "model": "bench", "base_url": format!("http://127.0.0.1:{crm}/v1"),
    });
    parameters.insert(format!("{PARAMETER_PREFIX}/models/default"), model.to_string());
    let crm = json!({
        "url": format!("http://127.0.0.1:{crm}/calls"),
        "format": "canonical",
        "signing_secrets": ["whsec_ZmFrZS1iZW5jaC1zaWduaW5nLXNlY3JldC0wMDAwMDA="],
    });
    parameters.insert(format!("{PARAMETER_PREFIX}/destinations/crm"), crm.to_string());
    let token = json!({
        "tokens": [TOKEN],
        "rights": ["read", "personal", "deliver", "context", "directory", "dial", "sync"],
    });
    parameters.insert(format!("{PARAMETER_PREFIX}/api/bench"), token.to_string());
    Ok(Parameters(parameters))
}

/// Whether a program did what it was asked to.
pub fn is_done(answer: &Value) -> bool {
    match (answer["statusCode"].as_u64(), answer["batchItemFailures"].as_array()) {
        (Some(status), _) => (200..300).contains(&status),
        (None, Some(failures)) => failures.is_empty(),
        (None, None) => answer.get("errorMessage").is_none(),
    }
}

/// Whether a program looked for what the event asks for, and there is no such thing here: the answer
/// to a sample that reads, on an account where nothing is stored.
pub fn is_not_there(event: &[u8], answer: &Value) -> bool {
    let is_get = || {
        let event: Value = serde_json::from_slice(event).unwrap_or_default();
        event["requestContext"]["http"]["method"] == "GET"
    };
    answer["statusCode"] == 404 && is_get()
}

/// Whether a program turned a webhook away.
pub fn is_refused(answer: &Value) -> bool {
    answer["statusCode"].as_u64().is_some_and(|status| (400..500).contains(&status))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_apart() {
        for (answer, done, refused) in [
            (json!({"statusCode": 200}), true, false),
            (json!({"statusCode": 403}), false, true),
            (json!({"statusCode": 503}), false, false),
            (json!({"batchItemFailures": []}), true, false),
            (json!({"batchItemFailures": [{"itemIdentifier": "1"}]}), false, false),
            (json!({"sent": 3}), true, false),
            (json!({"errorMessage": "no"}), false, false),
        ] {
            assert_eq!((is_done(&answer), is_refused(&answer)), (done, refused), "{answer}");
        }
    }

    #[test]
    fn that_nothing_is_there_answers_who_reads_and_nobody_else() {
        let event = |method: &str| {
            json!({"requestContext": {"http": {"method": method}}}).to_string().into_bytes()
        };
        let answer = |status: u16| json!({ "statusCode": status });
        assert!(is_not_there(&event("GET"), &answer(404)));
        assert!(!is_not_there(&event("POST"), &answer(404)));
        assert!(!is_not_there(&event("GET"), &answer(403)));
        assert!(!is_not_there(b"{}", &answer(404)));
    }

    #[test]
    fn the_samples_of_the_api_bring_the_token_of_the_stand() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let parameters = parameters(&root, 1, false).unwrap();
        assert!(parameters.0[&format!("{PARAMETER_PREFIX}/api/bench")].contains(TOKEN));
        for name in ["calls", "directory", "sync", "telephony"] {
            let event = sample_event(&root, name).unwrap();
            assert_eq!(event["headers"]["authorization"], format!("Bearer {TOKEN}"), "{name}");
        }
    }

    #[test]
    fn a_worker_is_known_by_its_sample() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        assert_eq!(queue(&root, "enrich").as_deref(), Some("enrich"));
        assert_eq!(queue(&root, "deliver").as_deref(), Some("deliver"));
        assert_eq!(queue(&root, "analyze").as_deref(), Some("analyze"));
        assert_eq!(queue(&root, "pull"), None);
        assert_eq!(queue(&root, "sweep"), None);
        assert_eq!(queue(&root, "twilio"), None);
    }
}
