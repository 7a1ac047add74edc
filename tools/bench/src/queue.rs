//! Queues in memory. What is sent stays, in order, for the worker that is measured next.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::aws::{Answer, error};
use crate::table::Table;

/// Message bodies by queue.
#[derive(Clone, Debug, Default)]
pub struct Queues(pub BTreeMap<String, Vec<String>>);

impl Queues {
    /// Answers an operation of SQS. What is sent leaves the table's index of due work, as if a
    /// worker had taken it up at once.
    pub fn answer(&mut self, operation: &str, request: &Value, table: &mut Table) -> Answer {
        let url = request["QueueUrl"].as_str().unwrap_or_default();
        let queue = url.rsplit('/').next().unwrap_or_default().to_owned();
        match operation {
            // A function that only opens its connection sends what SQS refuses.
            "SendMessage" if request["MessageBody"].as_str().is_none_or(str::is_empty) => {
                error("com.amazonaws.sqs#MissingParameter", "a message needs a body")
            }
            "SendMessage" => (200, self.send(&queue, request, table)),
            "SendMessageBatch" => {
                let Some(entries) = request["Entries"].as_array() else {
                    return error("com.amazonaws.sqs#EmptyBatchRequest", "no entries");
                };
                if entries.len() > 10 {
                    return error("com.amazonaws.sqs#TooManyEntriesInBatchRequest", "over 10");
                }
                let sent: Vec<Value> = entries
                    .iter()
                    .map(|entry| {
                        let mut sent = self.send(&queue, entry, table);
                        sent["Id"] = entry["Id"].clone();
                        sent
                    })
                    .collect();
                (200, json!({ "Successful": sent, "Failed": [] }))
            }
            "GetQueueAttributes" => {
                // Whoever asks how many wait is told none: the stand-in's workers are quick.
                (200, json!({"Attributes": {"ApproximateNumberOfMessages": "0"}}))
            }
            _ => error("UnknownOperationException", operation),
        }
    }

    fn send(&mut self, queue: &str, message: &Value, table: &mut Table) -> Value {
        let body = message["MessageBody"].as_str().unwrap_or_default();
        let messages = self.0.entry(queue.to_owned()).or_default();
        messages.push(body.to_owned());
        table.taken_up(body);
        json!({
            "MessageId": format!("00000000-0000-0000-0000-{:012}", messages.len()),
            "MD5OfMessageBody": format!("{:x}", md5::compute(body)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_is_kept_and_acknowledged_with_its_md5() {
        let (mut queues, mut table) = (Queues::default(), Table::default());
        let url = "https://localhost:1/123456789012/enrich";
        let one = json!({"QueueUrl": url, "MessageBody": "hello"});
        let (_, sent) = queues.answer("SendMessage", &one, &mut table);
        assert_eq!(sent["MD5OfMessageBody"], "5d41402abc4b2a76b9719d911017c592");
        let empty = json!({"QueueUrl": url, "MessageBody": ""});
        assert_eq!(queues.answer("SendMessage", &empty, &mut table).0, 400);
        let entries: Vec<Value> =
            (0..10).map(|n| json!({"Id": n.to_string(), "MessageBody": n.to_string()})).collect();
        let batch = json!({"QueueUrl": url, "Entries": entries});
        let (status, sent) = queues.answer("SendMessageBatch", &batch, &mut table);
        assert_eq!((status, sent["Successful"][9]["Id"].as_str()), (200, Some("9")));
        assert_eq!(queues.0["enrich"].len(), 11);
        let entries = vec![json!({"Id": "1", "MessageBody": "x"}); 11];
        let batch = json!({"QueueUrl": url, "Entries": entries});
        assert_eq!(queues.answer("SendMessageBatch", &batch, &mut table).0, 400);
    }
}
