use http::{HeaderValue, Method};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;

const LIMITS: Limits = Limits { timeout: Duration::from_secs(5), largest: 16 };

/// A server that answers one request with these bytes and then keeps silent. Its address, and what
/// it was asked.
async fn server(answer: &'static str) -> (String, tokio::task::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let asked = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut seen = vec![0; 4096];
        let length = stream.read(&mut seen).await.unwrap();
        stream.write_all(answer.as_bytes()).await.unwrap();
        seen.truncate(length);
        String::from_utf8(seen).unwrap()
    });
    (address, asked)
}

fn request(url: &str) -> Request {
    let text = HeaderValue::from_static("text/plain");
    let request = Request::new(Method::POST, url.parse().unwrap());
    let mut request = request.with_body(text, b"asked".to_vec());
    request.headers.insert("x-test", HeaderValue::from_static("1"));
    Request { limits: LIMITS, ..request }
}

#[tokio::test]
async fn a_response_is_read_whole_whatever_its_status() {
    let answer = "HTTP/1.1 429 X\r\nretry-after: 7\r\ncontent-length: 16\r\n\r\n0123456789abcdef";
    let (address, asked) = server(answer).await;
    let client = Client::new(true).unwrap();
    let request = request(&format!("http://{address}/a?b=c"));
    let response = client.send(request).await.unwrap();
    assert_eq!((response.status, response.header("retry-after")), (429, Some("7")));
    assert_eq!(response.body, b"0123456789abcdef");
    let asked = asked.await.unwrap();
    assert!(asked.starts_with("POST /a?b=c HTTP/1.1\r\n"), "{asked}");
    assert!(asked.contains("x-test: 1\r\n") && asked.ends_with("asked"), "{asked}");
}

#[tokio::test]
async fn a_response_that_is_too_large_or_breaks_off_is_none() {
    let client = Client::new(true).unwrap();
    for (answer, error) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 17\r\n\r\n0123456789abcdefg", SendError::TooLarge),
        ("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n0123", SendError::BrokeOff),
    ] {
        let (address, _) = server(answer).await;
        let url = format!("http://{address}/");
        assert_eq!(client.send(request(&url)).await.unwrap_err(), error);
    }
}

#[tokio::test]
async fn what_does_not_answer_in_time_timed_out() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let limits = Limits { timeout: Duration::from_millis(50), ..LIMITS };
    let request = Request { limits, ..request(&url) };
    let error = Client::new(true).unwrap().send(request).await.unwrap_err();
    assert_eq!(error, SendError::TimedOut);
}

#[tokio::test]
async fn a_private_address_is_refused_before_it_is_connected_to() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let careful = Client::new(false).unwrap();
    for host in ["127.0.0.1", "localhost", "[::1]", "2130706433"] {
        let error = careful.send(request(&format!("https://{host}:{port}/"))).await;
        assert_eq!(error.unwrap_err(), SendError::PrivateAddress, "{host}");
    }
    // The transport alone, past the look at the URL: `localhost` stands for any name.
    let request = transport(false).unwrap().post(format!("https://localhost:{port}/"));
    assert_eq!(classify(&request.send().await.unwrap_err()), SendError::PrivateAddress);
}

#[test]
fn of_a_names_addresses_the_public_ones_are_left() {
    let sockets = |texts: &[&str]| -> Vec<SocketAddr> {
        texts.iter().map(|text| SocketAddr::new(text.parse().unwrap(), 0)).collect()
    };
    let mixed = sockets(&["10.0.0.1", "8.8.8.8", "::1", "2a00:1450:4001::1", "169.254.169.254"]);
    assert_eq!(allowed_ones(mixed, is_global), Ok(sockets(&["8.8.8.8", "2a00:1450:4001::1"])));
    let private = sockets(&["10.0.0.1", "fd00::1"]);
    assert_eq!(allowed_ones(private, is_global), Err(SendError::PrivateAddress));
    assert_eq!(allowed_ones(vec![], is_global), Err(SendError::NotResolved));
}
