//! The stand-ins as a program sees them: over TLS, trusting the authority of the run.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use hyper::client::conn::http1::{SendRequest, handshake};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use tokio_rustls::TlsConnector;

use super::*;
use crate::aws::{Aws, Delays};
use crate::certificate;
use crate::process::Process;
use crate::runtime_api::RuntimeApi;

type Client = SendRequest<Full<Bytes>>;

async fn plain(port: u16) -> Client {
    let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let (client, connection) = handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    client
}

async fn over_tls(port: u16, authority: &str) -> Result<Client, std::io::Error> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    let (client, connection) = handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    Ok(client)
}

async fn ask(client: &mut Client, target: &str, body: &Value) -> (u16, Value) {
    let request = Request::post("/")
        .header("host", "localhost")
        .header("x-amz-target", target)
        .body(Full::new(Bytes::from(body.to_string())))
        .unwrap();
    client.ready().await.unwrap();
    let answer = client.send_request(request).await.unwrap();
    let status = answer.status().as_u16();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
}

#[tokio::test]
async fn the_services_answer_over_tls_and_count_what_they_are_asked() {
    let (tls, shared) = (certificate::make().unwrap(), Arc::default());
    let aws = Aws::start(&tls, &shared, Delays::default()).await.unwrap();
    lock(&aws.account).parameters.0.insert("/a/b".into(), "secret".into());

    let mut dynamodb = over_tls(aws.dynamodb, &tls.authority).await.unwrap();
    let put = json!({
        "TableName": "calls", "ConditionExpression": "attribute_not_exists(pk)",
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        "Item": {"pk": {"S": "x"}, "sk": {"S": "call"}},
    });
    assert_eq!(ask(&mut dynamodb, "DynamoDB_20120810.PutItem", &put).await.0, 200);
    let (status, answer) = ask(&mut dynamodb, "DynamoDB_20120810.PutItem", &put).await;
    assert_eq!((status, &answer["Item"]["pk"]["S"]), (400, &json!("x")));

    let mut sqs = over_tls(aws.sqs, &tls.authority).await.unwrap();
    let send = json!({"QueueUrl": "https://localhost/1/enrich", "MessageBody": "hello"});
    let (_, sent) = ask(&mut sqs, "AmazonSQS.SendMessage", &send).await;
    assert_eq!(sent["MD5OfMessageBody"], "5d41402abc4b2a76b9719d911017c592");

    let mut ssm = over_tls(aws.ssm, &tls.authority).await.unwrap();
    let by_path = json!({"Path": "/a", "WithDecryption": true});
    let (_, found) = ask(&mut ssm, "AmazonSSM.GetParametersByPath", &by_path).await;
    assert_eq!(found["Parameters"][0]["Value"], "secret");
    assert_eq!(ask(&mut ssm, "AmazonSSM.DeleteParameter", &by_path).await.0, 400);

    let counts = shared.take_counts();
    assert_eq!(counts.requests["dynamodb PutItem"], 2);
    assert_eq!(counts.requests["sqs SendMessage"], 1);
    assert_eq!(counts.connected(), 3);
    let sent = [&put, &put, &send, &by_path, &by_path].map(|body| body.to_string().len() as u64);
    assert_eq!(counts.sent(), sent.iter().sum::<u64>());
    assert_eq!(shared.take_counts(), Counts::default());
}

#[tokio::test]
async fn an_authority_of_another_run_is_not_trusted() {
    let (tls, other) = (certificate::make().unwrap(), certificate::make().unwrap());
    let aws = Aws::start(&tls, &Arc::default(), Delays::default()).await.unwrap();
    assert!(over_tls(aws.ssm, &other.authority).await.is_err());
}

#[tokio::test]
async fn answers_come_as_late_as_they_should_and_idle_connections_can_be_closed() {
    let (tls, shared) = (certificate::make().unwrap(), Arc::default());
    let aws = Aws::start(&tls, &shared, Delays::all(Duration::from_millis(60))).await.unwrap();
    let mut client = over_tls(aws.dynamodb, &tls.authority).await.unwrap();
    let key = json!({"Key": {"pk": {"S": "x"}, "sk": {"S": "call"}}});
    let started = Instant::now();
    assert_eq!(ask(&mut client, "DynamoDB_20120810.GetItem", &key).await, (200, json!({})));
    assert!(started.elapsed() >= Duration::from_millis(60));
    shared.close_idle();
    for _ in 0..100 {
        if client.is_closed() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the connection is still open");
}

#[tokio::test]
async fn a_function_is_handed_events_one_at_a_time() {
    let mut api = RuntimeApi::start().await.unwrap();
    let port = api.port;
    tokio::spawn(async move {
        let mut client = plain(port).await;
        loop {
            let next = Request::get("/2018-06-01/runtime/invocation/next")
                .header("host", "localhost")
                .body(Full::default())
                .unwrap();
            client.ready().await.unwrap();
            let event = client.send_request(next).await.unwrap();
            let head = event.headers().clone();
            let id = head["lambda-runtime-aws-request-id"].to_str().unwrap();
            assert!(head["lambda-runtime-deadline-ms"].to_str().unwrap().parse::<u64>().is_ok());
            assert!(head.contains_key("lambda-runtime-invoked-function-arn"));
            let event = event.into_body().collect().await.unwrap().to_bytes();
            tokio::time::sleep(Duration::from_millis(30)).await;
            let how = if event.starts_with(b"{") { "response" } else { "error" };
            let answer = Request::post(format!("/2018-06-01/runtime/invocation/{id}/{how}"))
                .header("host", "localhost")
                .body(Full::new(event))
                .unwrap();
            client.ready().await.unwrap();
            assert_eq!(client.send_request(answer).await.unwrap().status(), 202);
        }
    });
    let patience = Duration::from_secs(5);
    api.asked(patience).await.unwrap();
    for n in 0..3 {
        let event = json!({ "n": n });
        let invocation = api.invoke(event.to_string().into_bytes(), patience).await.unwrap();
        assert_eq!(invocation.answer, event);
        assert!((30..1_000).contains(&invocation.took.as_millis()), "{:?}", invocation.took);
    }
    let failure = api.invoke(b"no JSON".to_vec(), patience).await.unwrap_err();
    assert_eq!(failure.to_string(), "it failed: no JSON");
}

#[tokio::test]
async fn a_program_is_watched_and_its_last_words_are_kept() {
    let script =
        "echo one; echo two >&2; i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; sleep 60";
    let command = ["sh", "-c", script].map(str::to_owned);
    let process = Process::start(&command, &PathBuf::from("/"), &Default::default()).unwrap();
    tokio::time::sleep(Duration::from_millis(600)).await;
    let cpu = process.cpu().unwrap();
    assert!(cpu > Duration::from_millis(1) && cpu < Duration::from_secs(2), "{cpu:?}");
    assert!(process.peak_memory().unwrap() > 100_000);
    let mut said = process.last_words();
    said.sort();
    assert_eq!(said, ["one", "two"]);
    process.end().await;
}
