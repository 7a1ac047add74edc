//! Deliveries over the real client, to real servers on loopback.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use http::{HeaderMap, HeaderName, Method};
use jiff::{SignedDuration, Timestamp};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use standardwebhooks::Webhook;
use switchboard_crm::auth::Auth;
use switchboard_crm::destination::MOST_REQUESTS;
use switchboard_crm::oauth::OAuth;
use switchboard_crm::{
    Clock, Destination, Format, NoToken, Outcome, Payload, RenderContext, Tokens,
};
use switchboard_domain::Secret;
use switchboard_domain::delivery::{Remote, Verdict};
use switchboard_http::{Client, Http, Limits, Request, SendError};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use url::Url;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const OLD_SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
const BODY: &str = r#"{"type":"call.completed"}"#;

/// What a server does with a request.
#[derive(Clone)]
enum Reply {
    /// These bytes, and it waits for the next request.
    Bytes(String),
    /// These bytes, and it closes the connection.
    Last(String),
    /// These bytes, and nothing more for ever.
    Hang(String),
}

fn status(status: u16) -> Reply {
    Reply::Bytes(format!("HTTP/1.1 {status} X\r\ncontent-length: 2\r\n\r\n{{}}"))
}

fn with_header(status: u16, header: &str) -> Reply {
    Reply::Bytes(format!("HTTP/1.1 {status} X\r\n{header}\r\ncontent-length: 0\r\n\r\n"))
}

/// A request as it came in.
struct Seen {
    line: String,
    headers: HeaderMap,
    body: Vec<u8>,
}

/// A real HTTP server on loopback, and what it has seen.
struct Server {
    port: u16,
    seen: Arc<Mutex<Vec<Seen>>>,
    connections: Arc<Mutex<usize>>,
}

impl Server {
    async fn start(reply: Reply) -> Self {
        Self::listen(reply, None).await
    }

    async fn listen(reply: Reply, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (seen, connections) = (Arc::default(), Arc::default());
        let server = Self { port, seen, connections };
        let (seen, connections) = (server.seen.clone(), server.connections.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                *connections.lock().unwrap() += 1;
                let (reply, seen, tls) = (reply.clone(), seen.clone(), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => serve(stream, reply, &seen).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream, reply, &seen).await;
                            }
                        }
                    }
                });
            }
        });
        server
    }

    fn requests(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    fn connections(&self) -> usize {
        *self.connections.lock().unwrap()
    }
}

async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    reply: Reply,
    seen: &Mutex<Vec<Seen>>,
) {
    let mut bytes = Vec::new();
    loop {
        let Some(request) = read_request(&mut stream, &mut bytes).await else { return };
        seen.lock().unwrap().push(request);
        let (Reply::Bytes(text) | Reply::Last(text) | Reply::Hang(text)) = &reply;
        let _ = stream.write_all(text.as_bytes()).await;
        let _ = stream.flush().await;
        match reply {
            Reply::Bytes(_) => {}
            Reply::Last(_) => return,
            Reply::Hang(_) => std::future::pending().await,
        }
    }
}

async fn read_request(stream: &mut (impl AsyncRead + Unpin), bytes: &mut Vec<u8>) -> Option<Seen> {
    let mut headers_end = None;
    let mut length = 0;
    loop {
        if headers_end.is_none()
            && let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n")
        {
            headers_end = Some(end + 4);
            let text = std::str::from_utf8(&bytes[..end]).unwrap();
            let header = text.lines().find_map(|line| line.strip_prefix("content-length: "));
            length = header.map_or(0, |length| length.parse().unwrap());
        }
        if let Some(end) = headers_end.filter(|end| bytes.len() >= end + length) {
            let request: Vec<u8> = bytes.drain(..end + length).collect();
            let text = std::str::from_utf8(&request[..end]).unwrap();
            let mut lines = text.trim_end().lines();
            let line = lines.next().unwrap().to_owned();
            let headers = lines.map(|line| {
                let (name, value) = line.split_once(": ").unwrap();
                (HeaderName::try_from(name).unwrap(), value.parse().unwrap())
            });
            return Some(Seen { line, headers: headers.collect(), body: request[end..].to_vec() });
        }
        if stream.read_buf(bytes).await.ok()? == 0 {
            return None;
        }
    }
}

/// A destination as a local stage reads it, with some fields changed.
fn configured(mut json: Value, changes: Value) -> Destination {
    json.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    Destination::parse(&json.to_string(), true).unwrap()
}

fn destination(url: &str, changes: Value) -> Destination {
    configured(json!({"url": url, "format": "canonical", "signing_secrets": [SECRET]}), changes)
}

fn at(server: &Server) -> Destination {
    destination(&format!("http://127.0.0.1:{}/calls?org=7", server.port), json!({}))
}

const PAYLOAD: Payload<'static> = Payload {
    body: BODY.as_bytes(),
    idempotency_key: "msg_0123456789abcdef",
    correlation_id: "6932446ea73ad5d66b0238bd255805d1",
};

/// No destination here needs an access token.
struct NoTokens;

#[async_trait]
impl Tokens for NoTokens {
    async fn access(&self, _: &OAuth, _: Option<&Secret>) -> Result<Secret, NoToken> {
        Err(NoToken::Unkept("nowhere".to_owned()))
    }
}

async fn deliver(destination: &Destination) -> Outcome {
    deliver_by(&Client::new(true).unwrap(), destination).await
}

async fn deliver_by(client: &Client, destination: &Destination) -> Outcome {
    let (mut remote, clock) = (Remote::default(), Timestamp::now);
    destination.deliver(client, &NoTokens, &PAYLOAD, &mut remote, &clock).await
}

#[tokio::test]
async fn a_request_is_what_the_documentation_promises() {
    let server = Server::start(status(200)).await;
    let secrets = json!({"signing_secrets": [SECRET, OLD_SECRET]});
    let destination =
        destination(&format!("http://127.0.0.1:{}/calls?org=7", server.port), secrets);
    let outcome = deliver(&destination).await;
    assert_eq!((outcome.status, outcome.result.as_str()), (Some(200), "delivered: 200"));

    let seen = server.seen.lock().unwrap();
    let [Seen { line, headers, body }] = &seen[..] else { panic!("{} requests", seen.len()) };
    assert_eq!(line, "POST /calls?org=7 HTTP/1.1");
    assert_eq!(body, BODY.as_bytes());
    let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
    names.sort_unstable();
    let expected = [
        "accept",
        "content-length",
        "content-type",
        "host",
        "idempotency-key",
        "user-agent",
        "webhook-id",
        "webhook-signature",
        "webhook-timestamp",
        "x-correlation-id",
    ];
    assert_eq!(names, expected);
    assert_eq!(headers["content-type"], "application/json");
    assert_eq!(headers["user-agent"], format!("switchboard/{}", env!("CARGO_PKG_VERSION")));
    assert_eq!(headers["idempotency-key"], "msg_0123456789abcdef");
    assert_eq!(headers["webhook-id"], headers["idempotency-key"]);
    assert_eq!(headers["x-correlation-id"], "6932446ea73ad5d66b0238bd255805d1");
    for secret in [SECRET, OLD_SECRET] {
        Webhook::new(secret).unwrap().verify(body, headers).unwrap();
    }
}

#[tokio::test]
async fn every_kind_of_auth_is_its_header() {
    let server = Server::start(status(204)).await;
    let url = format!("http://127.0.0.1:{}/", server.port);
    for (auth, name, value) in [
        (json!({"type": "bearer", "token": "fake-token"}), "authorization", "Bearer fake-token"),
        (
            json!({"type": "basic", "user": "Aladdin", "password": "open sesame"}),
            "authorization",
            "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==",
        ),
        (json!({"type": "header", "name": "X-Api-Key", "value": "fake"}), "x-api-key", "fake"),
    ] {
        deliver(&destination(&url, json!({ "auth": auth }))).await;
        let seen = server.seen.lock().unwrap().pop().unwrap();
        assert_eq!(seen.headers[name], value);
    }
}

#[tokio::test]
async fn every_status_is_a_response() {
    for code in [200, 201, 400, 401, 404, 410, 422, 500, 503] {
        let server = Server::start(status(code)).await;
        assert_eq!(deliver(&at(&server)).await.status, Some(code));
    }
}

#[tokio::test]
async fn retry_after_is_obeyed() {
    let now: Timestamp = "2026-02-20T09:00:00Z".parse().unwrap();
    let in_two_minutes = Some(now + SignedDuration::from_mins(2));
    for (header, not_before) in [
        ("Retry-After: 120", in_two_minutes),
        ("retry-after: Fri, 20 Feb 2026 09:02:00 GMT", in_two_minutes),
        ("Retry-After: später", None),
    ] {
        let server = Server::start(with_header(429, header)).await;
        let (client, mut remote, clock) = (Client::new(true).unwrap(), Remote::default(), || now);
        let destination = at(&server);
        let delivered =
            destination.deliver(&client, &NoTokens, &PAYLOAD, &mut remote, &clock).await;
        assert_eq!(delivered.verdict, Verdict::Retry { not_before });
    }
}

#[tokio::test]
async fn a_redirect_is_a_response_and_is_not_followed() {
    let elsewhere = Server::start(status(200)).await;
    let there = format!("location: http://127.0.0.1:{}/", elsewhere.port);
    let metadata = "location: http://169.254.169.254/latest/meta-data/";
    for (code, location) in [(302, there.as_str()), (307, &there), (308, metadata), (301, metadata)]
    {
        let server = Server::start(with_header(code, location)).await;
        assert_eq!(deliver(&at(&server)).await.status, Some(code));
        assert_eq!((server.requests(), elsewhere.requests()), (1, 0));
    }
}

#[tokio::test]
async fn a_destination_that_hangs_is_left_after_its_timeout() {
    let server = Server::start(Reply::Hang(String::new())).await;
    let url = format!("http://127.0.0.1:{}/", server.port);
    let started = Instant::now();
    let outcome = deliver(&destination(&url, json!({"timeout_seconds": 1}))).await;
    assert_eq!(outcome, Outcome::from(SendError::TimedOut));
    let took = started.elapsed().as_millis();
    assert!((1_000..3_000).contains(&took), "{took} ms");
    assert_eq!(server.requests(), 1);
}

#[tokio::test]
async fn a_body_that_dawdles_breaks_off_or_is_huge_changes_nothing() {
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 10000000\r\n\r\n";
    let huge = format!("{head}{}", "x".repeat(10_000_000));
    for reply in
        [Reply::Hang(format!("{head}{{")), Reply::Last(format!("{head}{{")), Reply::Bytes(huge)]
    {
        let server = Server::start(reply).await;
        let started = Instant::now();
        assert_eq!(deliver(&at(&server)).await.status, Some(200));
        assert!(started.elapsed() < Duration::from_secs(3));
    }
}

#[tokio::test]
async fn what_is_no_http_breaks_off() {
    for text in ["", "SSH-2.0-x\r\n\r\n", "HTTP/1.1 200"] {
        let server = Server::start(Reply::Last(text.to_owned())).await;
        assert_eq!(deliver(&at(&server)).await, Outcome::from(SendError::BrokeOff), "{text}");
    }
}

#[tokio::test]
async fn a_port_without_a_listener() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    drop(listener);
    let outcome = deliver(&destination(&url, json!({}))).await;
    assert_eq!(outcome, Outcome::from(SendError::NotConnected));
}

#[tokio::test]
async fn a_name_that_leads_nowhere() {
    let nowhere = destination("https://crm.invalid/", json!({}));
    assert_eq!(deliver(&nowhere).await, Outcome::from(SendError::NotResolved));
    let careful = Client::new(false).unwrap();
    assert_eq!(deliver_by(&careful, &nowhere).await, Outcome::from(SendError::NotResolved));
}

#[tokio::test]
async fn a_connection_is_used_again_and_a_closed_one_is_not() {
    let client = Client::new(true).unwrap();
    let server = Server::start(status(200)).await;
    for _ in 0..3 {
        assert!(deliver_by(&client, &at(&server)).await.is_delivered());
    }
    assert_eq!((server.requests(), server.connections()), (3, 1));

    let closing = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
    let server = Server::start(Reply::Last(closing.to_owned())).await;
    for _ in 0..3 {
        assert!(deliver_by(&client, &at(&server)).await.is_delivered());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!((server.requests(), server.connections()), (3, 3));
}

#[tokio::test]
async fn no_private_address_is_connected_to() {
    let server = Server::start(status(200)).await;
    let careful = Client::new(false).unwrap();
    for host in ["127.0.0.1", "localhost", "[::1]", "2130706433", "[::ffff:127.0.0.1]"] {
        for scheme in ["http", "https"] {
            let url = format!("{scheme}://{host}:{}/", server.port);
            let outcome = deliver_by(&careful, &destination(&url, json!({}))).await;
            assert_eq!(outcome, Outcome::from(SendError::PrivateAddress), "{url}");
        }
    }
    assert_eq!(server.connections(), 0);
}

/// A server's TLS side for `localhost`, and the roots that trust it.
fn tls() -> (TlsAcceptor, rustls::RootCertStore) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let certificate = made.cert.der().clone();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let server = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    (TlsAcceptor::from(Arc::new(server)), roots)
}

#[tokio::test]
async fn a_certificate_must_be_trusted_and_of_the_host() {
    let (acceptor, roots) = tls();
    let server = Server::listen(status(200), Some(acceptor)).await;
    let url = |host: &str| format!("https://{host}:{}/", server.port);
    let to = |host: &str| destination(&url(host), json!({}));
    let trusting = Client::trusting(roots, true).unwrap();

    assert_eq!(deliver_by(&trusting, &to("localhost")).await.status, Some(200));
    assert_eq!(deliver_by(&trusting, &to("127.0.0.1")).await, Outcome::from(SendError::NotSecure));
    assert_eq!(deliver(&to("localhost")).await, Outcome::from(SendError::NotSecure));
    assert_eq!(server.requests(), 1);
}

#[tokio::test]
async fn what_does_not_speak_tls_gets_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
        std::future::pending::<()>().await;
    });
    assert_eq!(deliver(&destination(&url, json!({}))).await, Outcome::from(SendError::NotSecure));
}

#[tokio::test]
async fn no_error_holds_where_it_was_sent() {
    let url = "https://crm.invalid/fakeCANARY?key=fakeCANARY";
    let auth = json!({"auth": {"type": "bearer", "token": "fakeCANARY"}});
    let outcome = deliver(&destination(url, auth)).await;
    assert_eq!(outcome.status, None);
    assert!(!format!("{} {outcome:?}", outcome.result).contains("CANARY"));
}

/// A format that sends requests for ever, to one place and then to another.
struct Endless(Vec<Url>);

#[async_trait]
impl Format for Endless {
    fn render(&self, _: &RenderContext<'_>) -> Vec<u8> {
        Vec::new()
    }

    async fn deliver(
        &self,
        http: &dyn Http,
        _: &[u8],
        remote: &mut Remote,
        _: Clock<'_>,
    ) -> Result<Outcome, Outcome> {
        *remote = learned();
        for n in 0.. {
            let url = self.0[n.min(self.0.len() - 1)].clone();
            http.send(Request::json(Method::POST, url, &json!({}))).await?;
        }
        unreachable!()
    }
}

fn learned() -> Remote {
    Remote { call: Some("1".into()), contact: Some("2".into()) }
}

fn endless(servers: &[&Server], changes: Value) -> Destination {
    let url = |server: &&Server| format!("http://127.0.0.1:{}/", server.port).parse().unwrap();
    let format = Arc::new(Endless(servers.iter().map(url).collect()));
    Destination { format, ..api(servers[0], changes) }
}

fn api(server: &Server, changes: Value) -> Destination {
    let json = json!({
        "format": "hubspot", "url": format!("http://127.0.0.1:{}", server.port),
        "auth": {"type": "bearer", "token": "fake-token"},
    });
    configured(json, changes)
}

#[tokio::test]
async fn an_attempt_ends_after_so_many_requests() {
    let server = Server::start(status(200)).await;
    let (client, mut remote) = (Client::new(true).unwrap(), Remote::default());
    let destination = endless(&[&server], json!({}));
    let delivered = destination.deliver(&client, &NoTokens, &PAYLOAD, &mut remote, &Timestamp::now);
    let outcome = delivered.await;
    assert_eq!(server.requests(), MOST_REQUESTS);
    assert_eq!(outcome.verdict, Verdict::Retry { not_before: None });
    assert_eq!(outcome.result, format!("not done after {MOST_REQUESTS} requests"));
    // What was learned on the way is not lost.
    assert_eq!(remote, learned());
}

#[tokio::test]
async fn all_requests_of_an_attempt_share_one_timeout() {
    // It answers when most of the time is over.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_request(&mut stream, &mut Vec::new()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(1_400)).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await;
        std::future::pending::<()>().await;
    });
    let slow = Server { port, seen: Arc::default(), connections: Arc::default() };
    let hanging = Server::start(Reply::Hang(String::new())).await;
    let destination = endless(&[&slow, &hanging], json!({"timeout_seconds": 2}));
    let started = Instant::now();
    let outcome = deliver(&destination).await;
    let took = started.elapsed().as_millis();
    assert_eq!((outcome.result.as_str(), hanging.requests()), ("timed out", 1));
    assert!((2_000..2_800).contains(&took), "{took} ms");
}

#[tokio::test]
async fn a_request_to_an_api_is_not_signed_unless_it_is_wanted() {
    let server = Server::start(status(200)).await;
    let secrets = json!({"signing_secrets": [SECRET]});
    for (changes, is_signed) in [(json!({}), false), (secrets, true)] {
        let body = json!({"key": "k", "properties": {}, "contact": {}}).to_string();
        let payload = Payload { body: body.as_bytes(), ..PAYLOAD };
        let (client, mut remote) = (Client::new(true).unwrap(), Remote::default());
        let destination = api(&server, changes);
        destination.deliver(&client, &NoTokens, &payload, &mut remote, &Timestamp::now).await;
        let seen = server.seen.lock().unwrap().pop().unwrap();
        assert_eq!(seen.line, "POST /crm/v3/objects/calls/batch/upsert HTTP/1.1");
        assert_eq!(seen.headers["authorization"], "Bearer fake-token");
        assert_eq!(seen.headers["x-correlation-id"], PAYLOAD.correlation_id);
        assert_eq!(seen.headers.contains_key("webhook-signature"), is_signed);
        // It would be the same for each of the requests.
        assert!(!seen.headers.contains_key("idempotency-key"));
    }
}

#[tokio::test]
async fn a_response_of_an_api_that_breaks_off_or_is_huge_is_none() {
    let huge = "x".repeat(Limits::default().largest + 1);
    for (reply, result) in [
        (Reply::Last("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{".into()), "broke off"),
        (
            Reply::Bytes(format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{huge}",
                huge.len()
            )),
            "the response is too large",
        ),
    ] {
        let server = Server::start(reply).await;
        let outcome = deliver(&endless(&[&server], json!({}))).await;
        assert_eq!((outcome.result.as_str(), outcome.status), (result, None));
    }
}

#[tokio::test]
async fn a_token_endpoint_at_a_private_address_gets_nothing() {
    let json = json!({
        "format": "hubspot",
        "auth": {
            "type": "oauth_refresh", "client_id": "fake", "client_secret": "fake",
            "refresh_token": "fake", "token_url": "https://tokens.example.com",
        },
    });
    let Auth::OAuth(mut oauth) = Destination::parse(&json.to_string(), false).unwrap().auth else {
        panic!("another auth")
    };
    oauth.token_url = "https://169.254.169.254/token".parse().unwrap();
    let client = Client::new(false).unwrap();
    let error = oauth.grant(&client, None, Timestamp::now()).await.unwrap_err();
    assert_eq!(error.to_string(), "no access token: private address refused");
}
