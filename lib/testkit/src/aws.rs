//! DynamoDB, SQS and the Parameter Store over TLS, one address each. DynamoDB is `dynoxide`; the other two
//! know the operations that the functions use.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use dynoxide::{Database, DynoxideError};
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::http::request::Parts;
use hyper::{Request, Response, StatusCode};
use serde_json::{Value, json};
use tokio_rustls::TlsAcceptor;

use crate::http::{Connections, Reply, serve};
use crate::{Failure, lock};

/// The services, in the order of [`Aws::ports`].
pub const SERVICES: [&str; 3] = ["dynamodb", "sqs", "ssm"];
/// The Parameter Store returns at most so many parameters in one response.
const PAGE: usize = 10;
/// Bytes that DynamoDB bills for each item beside its own.
const ITEM_OVERHEAD: i64 = 100;
/// What makes an item due: without these attributes a call owes nothing.
const DUE: [&str; 3] = ["owed", "due_shard", "due_at"];

/// A status and a JSON body.
type Answer = (u16, Vec<u8>);

/// The contents of an account. Clones share the database and the queues.
#[derive(Clone)]
pub struct Account {
    /// The tables `calls` and `directory`.
    pub database: Database,
    parameters: Arc<BTreeMap<String, String>>,
    queues: Arc<Mutex<BTreeMap<String, VecDeque<String>>>>,
}

impl Account {
    /// Empty tables and queues, and parameters by their full names.
    pub fn new(parameters: BTreeMap<String, String>) -> Result<Self, Failure> {
        let database = Database::memory()?;
        let due = ("due", "due_shard", ("due_at", "N"), json!({"ProjectionType": "KEYS_ONLY"}));
        let line = json!({"ProjectionType": "INCLUDE", "NonKeyAttributes": ["line"]});
        let day = ("day", "day_shard", ("began", "S"), line.clone());
        let contact = ("contact", "contact", ("began", "S"), line);
        let lists = ("lists", "list", ("place", "S"), json!({"ProjectionType": "KEYS_ONLY"}));
        for (name, indexes) in [("calls", vec![due, day, contact]), ("directory", vec![lists])] {
            let keys = |hash: &str, range: &str| json!([{"AttributeName": hash, "KeyType": "HASH"}, {"AttributeName": range, "KeyType": "RANGE"}]);
            let mut attributes = BTreeMap::from([("pk", "S"), ("sk", "S")]);
            let mut all = Vec::new();
            for (index, hash, (range, kind), projection) in indexes {
                attributes.extend([(hash, "S"), (range, kind)]);
                all.push(json!({"IndexName": index, "KeySchema": keys(hash, range), "Projection": projection}));
            }
            let attribute = |(name, kind)| json!({"AttributeName": name, "AttributeType": kind});
            let attributes: Vec<Value> = attributes.into_iter().map(attribute).collect();
            database.create_table(serde_json::from_value(json!({
                "TableName": name, "BillingMode": "PAY_PER_REQUEST", "KeySchema": keys("pk", "sk"),
                "AttributeDefinitions": attributes, "GlobalSecondaryIndexes": all,
            }))?)?;
        }
        Ok(Self { database, parameters: Arc::new(parameters), queues: Arc::default() })
    }

    /// Takes the oldest message out of a queue.
    pub fn receive(&self, queue: &str) -> Option<String> {
        lock(&self.queues).get_mut(queue)?.pop_front()
    }

    /// How many messages wait in a queue.
    pub fn waiting(&self, queue: &str) -> usize {
        lock(&self.queues).get(queue).map_or(0, VecDeque::len)
    }

    /// What DynamoDB bills as stored in the tables, without their indexes, bytes.
    pub fn stored_bytes(&self) -> Result<i64, Failure> {
        let size = |table: &dynoxide::TableStats| {
            i64::try_from(table.size_bytes).unwrap_or(i64::MAX) + ITEM_OVERHEAD * table.item_count
        };
        Ok(self.database.table_stats()?.iter().map(size).sum())
    }

    /// Marks every follow-up of every call as done.
    pub fn clear_due(&self) -> Result<(), Failure> {
        let scan = serde_json::from_value(json!({"TableName": "calls", "IndexName": "due"}))?;
        for key in self.database.scan(scan)?.items.into_iter().flatten() {
            let update = json!({
                "TableName": "calls", "Key": {"pk": key.get("pk"), "sk": key.get("sk")},
                "UpdateExpression": format!("REMOVE {}", DUE.join(", ")),
            });
            self.database.update_item(serde_json::from_value(update)?)?;
        }
        Ok(())
    }

    fn sqs(&self, operation: &str, request: &Value) -> Answer {
        let url = request["QueueUrl"].as_str().unwrap_or_default();
        let queue = url.rsplit('/').next().unwrap_or_default();
        let send = |message: &Value| {
            let body = message["MessageBody"].as_str().unwrap_or_default();
            lock(&self.queues).entry(queue.to_owned()).or_default().push_back(body.to_owned());
            let md5 = format!("{:x}", md5::compute(body));
            json!({"Id": message["Id"], "MessageId": "0-0-0-0-0", "MD5OfMessageBody": md5})
        };
        match (operation, request["Entries"].as_array()) {
            // A function opens its connection with a message that SQS refuses.
            ("SendMessage", _) if request["MessageBody"].as_str().is_none_or(str::is_empty) => {
                error("com.amazonaws.sqs#MissingParameter", "a message needs a body")
            }
            ("SendMessage", _) => ok(&send(request)),
            ("SendMessageBatch", Some(entries)) if entries.len() <= 10 => {
                let sent: Vec<Value> = entries.iter().map(send).collect();
                ok(&json!({"Successful": sent, "Failed": []}))
            }
            // To the functions the queues are empty, as if the workers were quick.
            ("GetQueueAttributes", _) => {
                let names =
                    ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"];
                ok(&json!({"Attributes": BTreeMap::from(names.map(|name| (name, "0")))}))
            }
            _ => error("UnknownOperationException", operation),
        }
    }

    fn ssm(&self, operation: &str, request: &Value) -> Answer {
        if operation != "GetParametersByPath" {
            return error("UnknownOperationException", operation);
        }
        let path = request["Path"].as_str().unwrap_or_default().trim_end_matches('/');
        let start: usize = request["NextToken"].as_str().and_then(|n| n.parse().ok()).unwrap_or(0);
        let under = |name: &str| name.strip_prefix(path).is_some_and(|rest| rest.starts_with('/'));
        let mut found = self.parameters.iter().filter(|(name, _)| under(name)).skip(start);
        let page: Vec<Value> = found
            .by_ref()
            .take(PAGE)
            .map(|(name, value)| {
                let arn = format!("arn:aws:ssm:eu-central-1:123456789012:parameter{name}");
                json!({
                    "Name": name, "Type": "SecureString", "Value": value, "Version": 1, "ARN": arn,
                    "LastModifiedDate": 1_771_579_800.0, "DataType": "text",
                })
            })
            .collect();
        let mut answer = json!({ "Parameters": page });
        if found.next().is_some() {
            answer["NextToken"] = (start + PAGE).to_string().into();
        }
        ok(&answer)
    }
}

fn ok(answer: &Value) -> Answer {
    (200, answer.to_string().into_bytes())
}

fn error(kind: &str, message: &str) -> Answer {
    (400, json!({"__type": kind, "message": message}).to_string().into_bytes())
}

fn dynamodb(database: &Database, operation: &str, body: &[u8]) -> Answer {
    macro_rules! operations {
        ($($name:literal => $method:ident),*) => { match operation {
            $($name => serde_json::from_slice(body)
                .map_err(|error| DynoxideError::ValidationException(error.to_string()))
                .and_then(|request| database.$method(request))
                .map(|response| serde_json::to_vec(&response).unwrap_or_default()),)*
            _ => Err(DynoxideError::ValidationException(format!("{operation} is unknown here"))),
        }};
    }
    let answer = operations!(
        "GetItem" => get_item, "PutItem" => put_item, "UpdateItem" => update_item,
        "DeleteItem" => delete_item, "Query" => query, "Scan" => scan,
        "BatchGetItem" => batch_get_item, "BatchWriteItem" => batch_write_item,
        "TransactWriteItems" => transact_write_items
    );
    answer.map_or_else(|e| (e.status_code(), e.to_json().into_bytes()), |body| (200, body))
}

/// Request units of DynamoDB.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Units {
    /// Read request units.
    pub reads: f64,
    /// Write request units, those of the indexes included.
    pub writes: f64,
}

/// As [`dynamodb`], and adds what DynamoDB would charge. A refused write is charged by the length of its request.
fn metered(database: &Database, operation: &str, body: &[u8], units: &mut Units) -> Answer {
    let mut request: Value = serde_json::from_slice(body).unwrap_or_default();
    request["ReturnConsumedCapacity"] = "TOTAL".into();
    let (status, answer) = dynamodb(database, operation, request.to_string().as_bytes());
    let mut answer: Value = serde_json::from_slice(&answer).unwrap_or_default();
    let capacity = answer.as_object_mut().and_then(|answer| answer.remove("ConsumedCapacity"));
    let each = match &capacity {
        Some(Value::Array(tables)) => tables.iter().collect(),
        one => Vec::from_iter(one),
    };
    let charged: f64 = each.iter().filter_map(|one| one["CapacityUnits"].as_f64()).sum();
    match operation {
        "GetItem" | "BatchGetItem" | "Query" | "Scan" => units.reads += charged,
        _ if status == 200 => units.writes += charged,
        _ => units.writes += body.len().div_ceil(1_024) as f64,
    }
    (status, answer.to_string().into_bytes())
}

/// A request as AWS received it.
pub struct Received {
    /// When.
    pub at: Instant,
    /// One of [`SERVICES`].
    pub service: &'static str,
    /// The operation, as `PutItem`.
    pub operation: String,
    /// Method, path and headers.
    pub head: Parts,
    /// The body.
    pub body: Bytes,
}

#[derive(Default)]
struct State {
    account: Option<Account>,
    received: Vec<Received>,
    delays: [Duration; 3],
    units: Option<Units>,
    failure: Option<(&'static str, u16)>,
}

impl State {
    fn answer(&mut self, service: &str, operation: &str, body: &[u8]) -> Answer {
        if let Some((_, status)) = self.failure.take_if(|(failing, _)| *failing == operation) {
            let kind = if status == 400 { "AccessDeniedException" } else { "InternalServerError" };
            return (status, error(kind, "as ordered").1);
        }
        let Some(account) = &self.account else { return error("NotReady", "no account") };
        match (service, &mut self.units) {
            ("dynamodb", None) => dynamodb(&account.database, operation, body),
            ("dynamodb", Some(units)) => metered(&account.database, operation, body, units),
            _ => match (serde_json::from_slice(body), service) {
                (Ok(request), "sqs") => account.sqs(operation, &request),
                (Ok(request), _) => account.ssm(operation, &request),
                (Err(_), _) => error("SerializationException", "the body is not JSON"),
            },
        }
    }
}

/// The three services. They answer for one account at a time.
pub struct Aws {
    /// The ports on loopback, in the order of [`SERVICES`].
    pub ports: [u16; 3],
    /// The connections to all of them.
    pub connections: Arc<Connections>,
    state: Arc<Mutex<State>>,
}

impl Aws {
    /// Starts the services.
    pub async fn start(tls: &TlsAcceptor) -> Result<Self, Failure> {
        let (connections, state) = (Arc::<Connections>::default(), Arc::<Mutex<State>>::default());
        let mut ports = [0; 3];
        for (index, port) in ports.iter_mut().enumerate() {
            let state = state.clone();
            let handle = move |request| handle(index, state.clone(), request);
            *port = serve(Some(tls.clone()), connections.clone(), handle).await?;
        }
        Ok(Self { ports, connections, state })
    }

    /// Answers for another account from now on.
    pub fn serve(&self, account: Account) {
        let mut state = lock(&self.state);
        state.account = Some(account);
        state.received.clear();
    }

    /// The requests since the last call.
    pub fn take_received(&self) -> Vec<Received> {
        std::mem::take(&mut lock(&self.state).received)
    }

    /// Responds so late from now on, by the order of [`SERVICES`].
    pub fn delay(&self, delays: [Duration; 3]) {
        lock(&self.state).delays = delays;
    }

    /// Counts from now on what DynamoDB would charge, or no longer.
    pub fn meter(&self, is_on: bool) {
        lock(&self.state).units = is_on.then(Units::default);
    }

    /// The units charged since the last call.
    pub fn take_units(&self) -> Units {
        lock(&self.state).units.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Refuses the next request for an operation: with 400 for good, with 500 so that it is retried.
    pub fn fail(&self, operation: &'static str, status: u16) {
        lock(&self.state).failure = Some((operation, status));
    }
}

async fn handle(index: usize, state: Arc<Mutex<State>>, request: Request<Bytes>) -> Reply {
    let (at, (head, body)) = (Instant::now(), request.into_parts());
    let header = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
    let target = header("x-amz-target").unwrap_or_default();
    let operation = target.rsplit('.').next().unwrap_or_default().to_owned();
    let content_type = header("content-type").unwrap_or("application/x-amz-json-1.0").to_owned();
    let service = SERVICES[index];
    let ((status, answer), delay) = {
        let mut state = lock(&state);
        let answer = state.answer(service, &operation, &body);
        state.received.push(Received { at, service, operation, head, body });
        (answer, state.delays[index])
    };
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
    let response = Response::builder()
        .status(StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR))
        .header("content-type", content_type)
        .header("x-amzn-requestid", "00000000-0000-0000-0000-000000000000");
    response.body(Full::from(answer)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account() -> Account {
        let names = (0..12).map(|n| (format!("/stage/sources/x/{n:02}"), n.to_string()));
        let other = ("/stage/sources/xy/other".to_owned(), "no".to_owned());
        Account::new(names.chain([other]).collect()).unwrap()
    }

    fn json((status, body): Answer) -> (u16, Value) {
        (status, serde_json::from_slice(&body).unwrap())
    }

    #[test]
    fn a_path_returns_its_parameters_in_pages() {
        let mut request = json!({"Path": "/stage/sources/x", "Recursive": true});
        let (status, first) = json(account().ssm("GetParametersByPath", &request));
        assert_eq!((status, first["Parameters"].as_array().unwrap().len()), (200, 10));
        request["NextToken"] = first["NextToken"].clone();
        let (_, second) = json(account().ssm("GetParametersByPath", &request));
        assert_eq!(second["Parameters"].as_array().unwrap().len(), 2);
        assert_eq!(second.get("NextToken"), None);
    }

    #[test]
    fn messages_are_kept_in_order_and_acknowledged_with_their_md5() {
        let account = account();
        let url = "https://localhost:1/123456789012/enrich";
        let one = json!({"QueueUrl": url, "MessageBody": "hello"});
        let (_, sent) = json(account.sqs("SendMessage", &one));
        assert_eq!(sent["MD5OfMessageBody"], "5d41402abc4b2a76b9719d911017c592");
        assert_eq!(account.sqs("SendMessage", &json!({"QueueUrl": url, "MessageBody": ""})).0, 400);
        let entry = |n: usize| json!({"Id": n.to_string(), "MessageBody": n.to_string()});
        let batch =
            |n: usize| json!({"QueueUrl": url, "Entries": (0..n).map(entry).collect::<Vec<_>>()});
        let (status, sent) = json(account.sqs("SendMessageBatch", &batch(10)));
        assert_eq!((status, sent["Successful"][9]["Id"].as_str()), (200, Some("9")));
        assert_eq!(account.sqs("SendMessageBatch", &batch(11)).0, 400);
        assert_eq!((account.waiting("enrich"), account.waiting("deliver")), (11, 0));
        assert_eq!(account.receive("enrich").as_deref(), Some("hello"));
        assert_eq!(account.receive("enrich").as_deref(), Some("0"));
    }

    #[test]
    fn writes_are_metered_with_their_indexes_and_follow_ups_can_be_cleared() {
        let account = account();
        let put = json!({
            "TableName": "calls", "ConditionExpression": "attribute_not_exists(pk)",
            "Item": {
                "pk": {"S": "p"}, "sk": {"S": "call"}, "owed": {"S": "x"}, "due_shard": {"S": "01"},
                "due_at": {"N": "1"}, "pad": {"S": "x".repeat(1_100)},
            },
        });
        let mut units = Units::default();
        let mut ask = |operation: &str, request: &Value| {
            let body = request.to_string();
            json(metered(&account.database, operation, body.as_bytes(), &mut units))
        };
        assert_eq!(ask("PutItem", &put), (200, json!({})));
        let (status, refused) = ask("PutItem", &put);
        assert_eq!(status, 400);
        assert!(refused["__type"].as_str().unwrap().ends_with("ConditionalCheckFailedException"));
        let get = json!({"TableName": "calls", "Key": {"pk": {"S": "p"}, "sk": {"S": "call"}}});
        assert_eq!(ask("GetItem", &get).1["Item"]["due_at"]["N"], "1");
        account.clear_due().unwrap();
        let item = ask("GetItem", &get).1["Item"].clone();
        assert_eq!(
            (item.get("due_at"), item.get("owed"), item["sk"]["S"].as_str()),
            (None, None, Some("call"))
        );
        // Two units of the item and one of the index; two of the refused write; two halves of the reads.
        assert_eq!(units, Units { reads: 1.0, writes: 5.0 });
        assert!((1_200..1_400).contains(&account.stored_bytes().unwrap()));
    }
}
