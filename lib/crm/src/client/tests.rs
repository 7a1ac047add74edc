use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use http::{HeaderMap, HeaderName, Method};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use standardwebhooks::Webhook;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use switchboard_domain::delivery::Remote;
use switchboard_http::client::transport_trusting;

use super::*;
use crate::exchange::{self, Told};

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

/// A destination at `url`, as a local stage reads it, with some fields changed.
fn destination(url: &str, changes: Value) -> Destination {
    let mut json = json!({"url": url, "format": "canonical", "signing_secrets": [SECRET]});
    for (name, value) in changes.as_object().unwrap() {
        json[name] = value.clone();
    }
    Destination::parse(&json.to_string(), true).unwrap()
}

fn at(server: &Server) -> Destination {
    destination(&format!("http://127.0.0.1:{}/calls?org=7", server.port), json!({}))
}

const HEADERS: Headers<'static> = Headers {
    idempotency_key: "msg_0123456789abcdef",
    correlation_id: "6932446ea73ad5d66b0238bd255805d1",
};

async fn send(destination: &Destination) -> Result<Answer, SendError> {
    send_by(&Client::new(true).unwrap(), destination).await
}

async fn send_by(client: &Client, destination: &Destination) -> Result<Answer, SendError> {
    let ask = Ask::bytes(Method::POST, destination.url.clone(), BODY.as_bytes().to_vec());
    let timeout = Duration::from_secs(destination.timeout.0.into());
    client.send(destination, None, HEADERS, ask, Timestamp::now(), timeout).await
}

/// Runs a test, which may not take longer than anything here is allowed to.
fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        tokio::time::timeout(Duration::from_secs(10), test).await.expect("it hangs");
    });
}

#[test]
fn a_request_is_what_the_documentation_promises() {
    run(async {
        let server = Server::start(status(200)).await;
        let secrets = json!({"signing_secrets": [SECRET, OLD_SECRET]});
        let destination =
            destination(&format!("http://127.0.0.1:{}/calls?org=7", server.port), secrets);
        let answer = send(&destination).await.unwrap();
        assert_eq!((answer.status, answer.retry_after), (200, None));

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
    });
}

#[test]
fn every_kind_of_auth_is_its_header() {
    run(async {
        let server = Server::start(status(204)).await;
        let url = format!("http://127.0.0.1:{}/", server.port);
        for (auth, name, value) in [
            (
                json!({"type": "bearer", "token": "fake-token"}),
                "authorization",
                "Bearer fake-token",
            ),
            (
                json!({"type": "basic", "user": "Aladdin", "password": "open sesame"}),
                "authorization",
                "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==",
            ),
            (json!({"type": "header", "name": "X-Api-Key", "value": "fake"}), "x-api-key", "fake"),
        ] {
            send(&destination(&url, json!({"auth": auth}))).await.unwrap();
            let seen = server.seen.lock().unwrap().pop().unwrap();
            assert_eq!(seen.headers[name], value);
        }
    });
}

#[test]
fn every_status_is_an_answer() {
    run(async {
        for code in [200, 201, 400, 401, 404, 410, 422, 500, 503] {
            let server = Server::start(status(code)).await;
            assert_eq!(send(&at(&server)).await.unwrap().status, code);
        }
    });
}

#[test]
fn retry_after_is_handed_on_as_it_came() {
    run(async {
        for (header, expected) in [
            ("Retry-After: 120", Some("120")),
            ("retry-after: Fri, 20 Feb 2026 09:02:00 GMT", Some("Fri, 20 Feb 2026 09:02:00 GMT")),
            ("Retry-After: später", None),
        ] {
            let server = Server::start(with_header(429, header)).await;
            let answer = send(&at(&server)).await.unwrap();
            assert_eq!((answer.status, answer.retry_after.as_deref()), (429, expected));
        }
    });
}

#[test]
fn a_redirect_is_an_answer_and_is_not_followed() {
    run(async {
        let elsewhere = Server::start(status(200)).await;
        let there = format!("location: http://127.0.0.1:{}/", elsewhere.port);
        let metadata = "location: http://169.254.169.254/latest/meta-data/";
        for (code, location) in
            [(302, there.as_str()), (307, &there), (308, metadata), (301, metadata)]
        {
            let server = Server::start(with_header(code, location)).await;
            assert_eq!(send(&at(&server)).await.unwrap().status, code);
            assert_eq!((server.requests(), elsewhere.requests()), (1, 0));
        }
    });
}

#[test]
fn a_destination_that_hangs_is_left_after_its_timeout() {
    run(async {
        let server = Server::start(Reply::Hang(String::new())).await;
        let url = format!("http://127.0.0.1:{}/", server.port);
        let started = Instant::now();
        let sent = send(&destination(&url, json!({"timeout_seconds": 1}))).await;
        assert_eq!(sent, Err(SendError::TimedOut));
        let took = started.elapsed().as_millis();
        assert!((1_000..3_000).contains(&took), "{took} ms");
        assert_eq!(server.requests(), 1);
    });
}

#[test]
fn a_body_that_dawdles_breaks_off_or_is_huge_changes_nothing() {
    run(async {
        let head = "HTTP/1.1 200 OK\r\ncontent-length: 10000000\r\n\r\n";
        let huge = format!("{head}{}", "x".repeat(10_000_000));
        for reply in
            [Reply::Hang(format!("{head}{{")), Reply::Last(format!("{head}{{")), Reply::Bytes(huge)]
        {
            let server = Server::start(reply).await;
            let started = Instant::now();
            assert_eq!(send(&at(&server)).await.unwrap().status, 200);
            assert!(started.elapsed() < Duration::from_secs(3));
        }
    });
}

#[test]
fn what_is_no_http_breaks_off() {
    run(async {
        for text in ["", "SSH-2.0-x\r\n\r\n", "HTTP/1.1 200"] {
            let server = Server::start(Reply::Last(text.to_owned())).await;
            assert_eq!(send(&at(&server)).await, Err(SendError::BrokeOff), "{text}");
        }
    });
}

#[test]
fn a_port_that_nobody_listens_on() {
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        drop(listener);
        assert_eq!(send(&destination(&url, json!({}))).await, Err(SendError::NotConnected));
    });
}

#[test]
fn a_name_that_leads_nowhere() {
    run(async {
        let nowhere = destination("https://crm.invalid/", json!({}));
        assert_eq!(send(&nowhere).await, Err(SendError::NotResolved));
        let careful = Client::new(false).unwrap();
        assert_eq!(send_by(&careful, &nowhere).await, Err(SendError::NotResolved));
    });
}

#[test]
fn a_connection_is_used_again_and_a_closed_one_is_not() {
    run(async {
        let client = Client::new(true).unwrap();
        let server = Server::start(status(200)).await;
        for _ in 0..3 {
            send_by(&client, &at(&server)).await.unwrap();
        }
        assert_eq!((server.requests(), server.connections()), (3, 1));

        let closing = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
        let server = Server::start(Reply::Last(closing.to_owned())).await;
        for _ in 0..3 {
            send_by(&client, &at(&server)).await.unwrap();
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!((server.requests(), server.connections()), (3, 3));
    });
}

#[test]
fn no_private_address_is_connected_to() {
    run(async {
        let server = Server::start(status(200)).await;
        let careful = Client::new(false).unwrap();
        for host in ["127.0.0.1", "localhost", "[::1]", "2130706433", "[::ffff:127.0.0.1]"] {
            for scheme in ["http", "https"] {
                let url = format!("{scheme}://{host}:{}/", server.port);
                let sent = send_by(&careful, &destination(&url, json!({}))).await;
                assert_eq!(sent, Err(SendError::PrivateAddress), "{url}");
            }
        }
        assert_eq!(server.connections(), 0);
    });
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

#[test]
fn a_certificate_must_be_trusted_and_of_the_host() {
    run(async {
        let (acceptor, roots) = tls();
        let server = Server::listen(status(200), Some(acceptor)).await;
        let url = |host: &str| format!("https://{host}:{}/", server.port);
        let to = |host: &str| destination(&url(host), json!({}));
        let trusting =
            Client { http: transport_trusting(roots, true).unwrap(), allow_private: true };

        assert_eq!(send_by(&trusting, &to("localhost")).await.unwrap().status, 200);
        assert_eq!(send_by(&trusting, &to("127.0.0.1")).await, Err(SendError::NotSecure));
        assert_eq!(send(&to("localhost")).await, Err(SendError::NotSecure));
        assert_eq!(server.requests(), 1);
    });
}

#[test]
fn what_does_not_speak_tls_gets_nothing() {
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}/", listener.local_addr().unwrap());
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
            std::future::pending::<()>().await;
        });
        assert_eq!(send(&destination(&url, json!({}))).await, Err(SendError::NotSecure));
    });
}

#[test]
fn no_error_tells_where_it_was_sent() {
    run(async {
        let url = "https://crm.invalid/fakeCANARY?key=fakeCANARY";
        let auth = json!({"auth": {"type": "bearer", "token": "fakeCANARY"}});
        let error = send(&destination(url, auth)).await.unwrap_err();
        assert!(!format!("{error} {error:?}").contains("CANARY"));
    });
}

/// Asks for ever, at one place and then another.
struct Endless(Vec<Ask>, usize);

impl Exchange for Endless {
    fn next(&mut self, _: Option<&Answer>, _: Timestamp) -> Step {
        let ask = self.0[self.1.min(self.0.len() - 1)].clone();
        self.1 += 1;
        Step::Ask(ask)
    }

    fn learned(&self) -> Remote {
        Remote { call: Some("1".into()), contact: Some("2".into()) }
    }
}

fn asking(servers: &[&Server]) -> Endless {
    let ask = |server: &&Server| {
        let url = format!("http://127.0.0.1:{}/", server.port).parse().unwrap();
        Ask::json(Method::POST, url, &json!({}))
    };
    Endless(servers.iter().map(ask).collect(), 0)
}

fn api(server: &Server, changes: Value) -> Destination {
    let mut json = json!({
        "format": "hubspot", "url": format!("http://127.0.0.1:{}", server.port),
        "auth": {"type": "bearer", "token": "fake-token"},
    });
    for (name, value) in changes.as_object().unwrap() {
        json[name] = value.clone();
    }
    Destination::parse(&json.to_string(), true).unwrap()
}

async fn tell(destination: &Destination, exchange: &mut dyn Exchange) -> Over {
    let client = Client::new(true).unwrap();
    client.tell(destination, &NoTokens, HEADERS, exchange, &Timestamp::now).await
}

#[test]
fn an_attempt_ends_after_so_many_requests() {
    run(async {
        let server = Server::start(status(200)).await;
        let over = tell(&api(&server, json!({})), &mut asking(&[&server])).await;
        assert_eq!(server.requests(), MOST_REQUESTS);
        assert_eq!(over.verdict, Verdict::Retry { not_before: None });
        assert_eq!(over.result, "not done after 10 requests");
        // What was learned on the way is not lost.
        assert_eq!(over.remote, asking(&[&server]).learned());
    });
}

#[test]
fn all_requests_of_an_attempt_share_one_timeout() {
    run(async {
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
        let destination = api(&slow, json!({"timeout_seconds": 2}));
        let started = Instant::now();
        let over = tell(&destination, &mut asking(&[&slow, &hanging])).await;
        let took = started.elapsed().as_millis();
        assert_eq!((over.result.as_str(), hanging.requests()), ("timed out", 1));
        assert!((2_000..2_800).contains(&took), "{took} ms");
    });
}

#[test]
fn a_request_to_an_api_is_not_signed_unless_it_is_wanted() {
    run(async {
        let server = Server::start(status(200)).await;
        let secrets = json!({"signing_secrets": [SECRET]});
        for (changes, is_signed) in [(json!({}), false), (secrets, true)] {
            let body = json!({"key": "k", "properties": {}, "contact": {}}).to_string();
            let destination = api(&server, changes);
            let remote = Remote::default();
            let told = Told { body: body.as_bytes(), idempotency_key: "msg_1", remote: &remote };
            let mut exchange = exchange::begin(&destination, &told);
            tell(&destination, exchange.as_mut()).await;
            let seen = server.seen.lock().unwrap().pop().unwrap();
            assert_eq!(seen.line, "POST /crm/v3/objects/calls/batch/upsert HTTP/1.1");
            assert_eq!(seen.headers["authorization"], "Bearer fake-token");
            assert_eq!(seen.headers["x-correlation-id"], HEADERS.correlation_id);
            assert_eq!(seen.headers.contains_key("webhook-signature"), is_signed);
            // It would be the same for each of the requests.
            assert!(!seen.headers.contains_key("idempotency-key"));
        }
    });
}

#[test]
fn an_answer_of_an_api_that_breaks_off_or_is_huge_is_none() {
    run(async {
        let huge = "x".repeat(LARGEST_API_ANSWER + 1);
        for (reply, result) in [
            (Reply::Last("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{".into()), "broke off"),
            (
                Reply::Bytes(format!(
                    "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{huge}",
                    huge.len()
                )),
                "answered too much",
            ),
        ] {
            let server = Server::start(reply).await;
            let over = tell(&api(&server, json!({})), &mut asking(&[&server])).await;
            assert_eq!((over.result.as_str(), over.status), (result, None));
        }
    });
}

#[test]
fn a_token_endpoint_at_a_private_address_gets_nothing() {
    run(async {
        let json = json!({
            "format": "hubspot",
            "auth": {
                "type": "oauth_refresh", "client_id": "fake", "client_secret": "fake",
                "refresh_token": "fake", "token_url": "https://tokens.example.com",
            },
        });
        let Auth::OAuth(mut oauth) = Destination::parse(&json.to_string(), false).unwrap().auth
        else {
            panic!("another auth")
        };
        oauth.token_url = "https://169.254.169.254/token".parse().unwrap();
        let client = Client::new(false).unwrap();
        let timeout = Duration::from_secs(1);
        let error = client.grant(&oauth, None, Timestamp::now(), timeout).await.unwrap_err();
        assert_eq!(error.to_string(), "no access token: private address refused");
    });
}
