//! A large recording goes through disk: memory hardly grows, whatever its size. In a process of its own,
//! so that nothing else counts.

#![cfg(feature = "client")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::time::{Duration, SystemTime};

use http::HeaderMap;
use switchboard_http::{Client, Limits};
use switchboard_recordings::spool::Spooled;
use switchboard_recordings::{Bucket, bucket};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

const MEGABYTE: usize = 1024 * 1024;
const PIECE: [u8; 16 * 1024] = [b'a'; 16 * 1024];

/// A server that sends as many bytes as its path says.
async fn phone_system() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = vec![0; 4096];
            let length = stream.read(&mut head).await.unwrap();
            let asked = String::from_utf8_lossy(&head[..length]).into_owned();
            let bytes: usize = asked.split(['/', ' ']).nth(2).unwrap().parse().unwrap();
            let head = "HTTP/1.1 200 OK\r\ncontent-type: audio/wav\r\nconnection: close";
            let head = format!("{head}\r\ncontent-length: {bytes}\r\n\r\n");
            stream.write_all(head.as_bytes()).await.unwrap();
            for _ in 0..bytes / PIECE.len() {
                stream.write_all(&PIECE).await.unwrap();
            }
        }
    });
    base
}

/// A server that takes whatever comes, and keeps none of it.
async fn s3() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (mut buffer, mut head, mut left) = (vec![0; PIECE.len()], Vec::new(), None);
            while left != Some(0) {
                let read = stream.read(&mut buffer).await.unwrap();
                let Some(left) = &mut left else {
                    head.extend_from_slice(&buffer[..read]);
                    let text = String::from_utf8_lossy(&head).to_ascii_lowercase();
                    let Some((before, _)) = text.split_once("\r\n\r\n") else { continue };
                    let length = before.split("content-length: ").nth(1).unwrap();
                    let length: usize = length.lines().next().unwrap().parse().unwrap();
                    left = Some(length - (head.len() - before.len() - 4));
                    continue;
                };
                *left -= read;
            }
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        }
    });
    base
}

/// The most memory that this process ever had, bytes.
fn peak() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
}

#[tokio::test]
async fn memory_does_not_grow_with_the_size_of_a_recording() {
    let (phones, s3) = (phone_system().await, s3().await);
    let client = Client::new(true).unwrap();
    let transport = switchboard_http::client::transport(true).unwrap();
    let credentials = bucket::credentials("FAKEKEYID", "fake-secret");
    let bucket = Bucket::new("b", "eu-central-1", Some(&s3), credentials).unwrap();
    let limits = Limits { timeout: Duration::from_secs(120), largest: 200 * MEGABYTE };
    let copy = async |bytes: usize| {
        let url = format!("{phones}/{bytes}").parse().unwrap();
        let download = client.open(url, HeaderMap::new(), limits).await.expect("it answers");
        let spooled = Spooled::read(download).await.unwrap();
        assert_eq!(spooled.bytes, bytes as u64);
        let now = SystemTime::now();
        let put = bucket.put(&transport, "x", "audio/wav", spooled, Duration::from_secs(60), now);
        put.await.unwrap();
    };
    copy(MEGABYTE).await;
    let before = peak();
    copy(100 * MEGABYTE).await;
    let grown = peak() - before;
    assert!(grown < 4 * MEGABYTE, "{} KB more", grown / 1024);
}
