use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use http::HeaderValue;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::address::is_global;
use crate::address::tests::INSIDE;
use crate::client::testing::client_over;

const NAMES: [&str; 3] = ["start.example", "other.example", "rebind.example"];
const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const LIMITS: Limits = Limits { timeout: Duration::from_secs(5), largest: 1_000 };

/// What a server saw of a request: the host's name, the path, and the header that must go to no other host.
type Seen = (String, String, Option<String>);
type Answering = Arc<dyn Fn(&str, &str) -> Vec<u8> + Send + Sync>;

/// A server with a certificate for each of the names, and a client that takes its address for public.
struct World {
    port: u16,
    seen: Arc<Mutex<Vec<Seen>>>,
    client: Client,
}

impl World {
    /// `answer` makes the bytes of an answer of host and path.
    async fn new(answer: impl Fn(&str, &str) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let made = rcgen::generate_simple_self_signed(NAMES.map(str::to_owned)).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let mut roots = rustls::RootCertStore::empty();
        roots.add(made.cert.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let server = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(server));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        tokio::spawn(serve(listener, acceptor, Arc::new(answer), seen.clone()));

        let asked = Arc::new(AtomicUsize::new(0));
        let lookup = move |host: &str| match host {
            "start.example" | "other.example" => Ok(vec![LOOPBACK]),
            // It leads to its server once, and inside from then on.
            "rebind.example" => Ok(match asked.fetch_add(1, Ordering::SeqCst) {
                0 => vec![LOOPBACK],
                _ => vec!["169.254.169.254".parse().unwrap(), "10.0.0.1".parse().unwrap()],
            }),
            "inside.example" => Ok(vec!["10.1.2.3".parse().unwrap(), "fd00::1".parse().unwrap()]),
            _ => Err(io::Error::other("no such name")),
        };
        Self {
            port,
            seen,
            client: client_over(roots, |one| one == LOOPBACK || is_global(one), lookup),
        }
    }

    async fn open(&self, target: &str) -> Result<Download, OpenError> {
        let url = format!("https://{}", target.replace("{port}", &self.port.to_string()));
        let mut headers = HeaderMap::new();
        headers.insert("authorization", HeaderValue::from_static("Basic ZmFrZTpmYWtl"));
        self.client.open(url.parse().unwrap(), headers, LIMITS).await
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

async fn serve(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    answer: Answering,
    seen: Arc<Mutex<Vec<Seen>>>,
) {
    while let Ok((stream, _)) = listener.accept().await {
        let (acceptor, answer, seen) = (acceptor.clone(), answer.clone(), seen.clone());
        tokio::spawn(async move {
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            let mut bytes = Vec::new();
            while !bytes.ends_with(b"\r\n\r\n") {
                if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
                    return;
                }
            }
            let text = String::from_utf8(bytes).unwrap();
            let header = |name: &str| {
                let mut lines = text.lines().filter_map(|line| line.split_once(": "));
                lines
                    .find(|(one, _)| one.eq_ignore_ascii_case(name))
                    .map(|(_, value)| value.to_owned())
            };
            let path = text.split(' ').nth(1).unwrap().to_owned();
            let host = header("host").unwrap().split(':').next().unwrap().to_owned();
            let bytes = answer(&host, &path);
            seen.lock().unwrap().push((host, path, header("authorization")));
            let _ = stream.write_all(&bytes).await;
            let _ = stream.shutdown().await;
        });
    }
}

fn ok(body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}").into()
}

fn redirect(status: u16, to: &str) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: 0\r\n");
    format!("{head}location: {to}\r\n\r\n").into()
}

async fn whole(mut download: Download) -> Result<Vec<u8>, SendError> {
    let mut body = Vec::new();
    while let Some(chunk) = download.chunk().await? {
        body.extend_from_slice(chunk.as_ref());
    }
    Ok(body)
}

/// Opens `/` of a host that redirects to `to`.
async fn redirected(to: &str) -> (Result<Download, OpenError>, Vec<Seen>) {
    let location = to.to_owned();
    let world = World::new(move |_, path| match path {
        "/" => redirect(302, &location),
        _ => ok("what must not be read"),
    })
    .await;
    let result = world.open("start.example:{port}/").await;
    (result, world.seen())
}

#[tokio::test]
async fn our_credentials_go_to_the_first_host_alone() {
    for status in [301, 302, 303, 307, 308] {
        let port = Arc::new(AtomicUsize::new(0));
        let known = port.clone();
        let world = World::new(move |host, path| match (host, path) {
            ("start.example", "/") => redirect(status, "/here?token=1"),
            ("start.example", "/here?token=1") => redirect(
                status,
                &format!("https://other.example:{}/a", known.load(Ordering::SeqCst)),
            ),
            // And back: what was dropped is not taken up again.
            ("other.example", "/a") => redirect(
                status,
                &format!("https://start.example:{}/b", known.load(Ordering::SeqCst)),
            ),
            _ => ok("audio"),
        })
        .await;
        port.store(world.port.into(), Ordering::SeqCst);
        let download = world.open("start.example:{port}/").await.unwrap();
        assert_eq!(download.status, 200);
        assert_eq!(whole(download).await.unwrap(), b"audio");
        let sent: Vec<(String, bool)> = world
            .seen()
            .into_iter()
            .map(|(host, path, who)| (host + &path, who.is_some()))
            .collect();
        let expected = [
            ("start.example/", true),
            ("start.example/here?token=1", true),
            ("other.example/a", false),
            ("start.example/b", false),
        ];
        assert_eq!(sent, expected.map(|(at, who)| (at.to_owned(), who)), "{status}");
    }
}

#[tokio::test]
async fn no_redirect_leads_inside() {
    let spellings = [
        // Some of them in other spellings: decimal, octal, hexadecimal, shortened, full-width.
        "2852039166",
        "0251.0376.0251.0376",
        "0xa9fea9fe",
        "0xa9.0xfe.0xa9.0xfe",
        "127.1",
        "127.0.1",
        "2130706433",
        "0x7f000001",
        "017700000001",
        "0",
        "%EF%BC%91%EF%BC%92%EF%BC%97.0.0.1",
        "127.0.0.1.",
    ];
    let names =
        ["localhost", "LOCALHOST.", "metadata.google.internal", "printer.local", "inside.example"];
    let bracketed = |host: &&str| match host.contains(':') {
        true => format!("[{host}]"),
        false => (*host).to_owned(),
    };
    let hosts: Vec<String> = INSIDE.iter().chain(&spellings).chain(&names).map(bracketed).collect();
    assert!(hosts.len() >= 60, "{}", hosts.len());
    for host in hosts {
        let to = format!("https://{host}/latest/meta-data/");
        // At once, and behind a redirect.
        let world = World::new(|_, _| ok("")).await;
        let error = world.open(&format!("{host}/latest/meta-data/")).await.err();
        assert_eq!(error, Some(SendError::PrivateAddress.into()), "{host}");
        let (result, seen) = redirected(&to).await;
        assert_eq!(result.err(), Some(SendError::PrivateAddress.into()), "redirected to {host}");
        assert_eq!(seen.len(), 1, "{host}");
    }
}

#[tokio::test]
async fn a_name_that_leads_inside_the_second_time_is_refused_then() {
    let world = World::new(|_, path| match path {
        "/" => redirect(302, "/again"),
        _ => ok("what must not be read"),
    })
    .await;
    let error = world.open("rebind.example:{port}/").await.err();
    assert_eq!(error, Some(SendError::PrivateAddress.into()));
    assert_eq!(world.seen().len(), 1);
}

#[tokio::test]
async fn no_redirect_leaves_tls_or_carries_a_password() {
    for (to, error) in [
        ("http://other.example/", SendError::NotSecure.into()),
        ("http://8.8.8.8/", SendError::NotSecure.into()),
        ("ftp://other.example/", SendError::NotSecure.into()),
        ("file:///etc/passwd", SendError::NotSecure.into()),
        ("data:audio/mpeg;base64,AAAA", SendError::NotSecure.into()),
        ("https://user:fake@other.example/", OpenError::RedirectedNowhere),
        ("https://user@other.example/", OpenError::RedirectedNowhere),
        ("https://", OpenError::RedirectedNowhere),
        ("https://nowhere.example/", SendError::NotResolved.into()),
    ] {
        let (result, seen) = redirected(to).await;
        assert_eq!((result.err(), seen.len()), (Some(error), 1), "{to}");
    }
}

#[tokio::test]
async fn a_circle_ends() {
    let world = World::new(|_, _| redirect(302, "/")).await;
    assert_eq!(
        world.open("start.example:{port}/").await.err(),
        Some(OpenError::RedirectedTooOften)
    );
    assert_eq!(world.seen().len(), 1 + MOST_REDIRECTS);
}

#[tokio::test]
async fn a_redirect_to_nowhere_is_an_answer_like_any_other() {
    let world = World::new(|_, _| b"HTTP/1.1 302 X\r\nconnection: close\r\n\r\n".to_vec()).await;
    assert_eq!(world.open("start.example:{port}/").await.unwrap().status, 302);
}

#[tokio::test]
async fn the_limit_holds_whatever_length_is_declared() {
    for (length, is_declared, taken) in [
        (999, true, true),
        (1_000, true, true),
        (1_001, true, false),
        (999, false, true),
        (1_000, false, true),
        (1_001, false, false),
        (5_000_000, false, false),
    ] {
        let world = World::new(move |_, _| {
            let body = "a".repeat(length);
            let length =
                if is_declared { format!("content-length: {length}\r\n") } else { String::new() };
            format!("HTTP/1.1 200 OK\r\nconnection: close\r\n{length}\r\n{body}").into_bytes()
        })
        .await;
        let read =
            async { Ok::<_, OpenError>(whole(world.open("start.example:{port}/").await?).await?) }
                .await;
        let expected = if taken { Ok(length) } else { Err(SendError::TooLarge.into()) };
        assert_eq!(read.map(|body| body.len()), expected, "{length}, declared: {is_declared}");
    }
}

#[tokio::test]
async fn a_body_that_is_cut_is_none() {
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n0123",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\n0123\r\n",
    ] {
        let world = World::new(move |_, _| answer.as_bytes().to_vec()).await;
        let download = world.open("start.example:{port}/").await.unwrap();
        assert_eq!(whole(download).await, Err(SendError::BrokeOff), "{answer}");
    }
}

#[tokio::test]
async fn a_server_that_is_too_slow_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let mut open = Vec::new();
        for answer in ["", "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n01"] {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 4096]).await;
            stream.write_all(answer.as_bytes()).await.unwrap();
            open.push(stream);
        }
        std::future::pending::<()>().await;
    });
    let client = Client::new(true).unwrap();
    let limits = Limits { timeout: Duration::from_millis(100), ..LIMITS };
    let open = || client.open(url.parse().unwrap(), HeaderMap::new(), limits);
    assert_eq!(open().await.err(), Some(SendError::TimedOut.into()), "no head");
    assert_eq!(whole(open().await.unwrap()).await, Err(SendError::TimedOut), "half a body");
}
